from __future__ import annotations

import operator
import threading
from typing import Any

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow import hooks
from taskflow.errors import CannotPickle, ConfigError, CycleError, GraphError, UnknownNode, UsageError
from taskflow.ids import NodeId
from taskflow.plan import Output
from taskflow.policy import Options
from taskflow.records import Edge, EdgeMode
from taskflow.workflow import Workflow
from tests.unit.evaluator import evaluate, new_draft


def values(wf: Workflow, **inputs: Any) -> dict[str, Any]:
    draft = new_draft()
    ids = wf.compile(draft, inputs=inputs)
    ran = evaluate(draft)
    return {name: ran.value(node) for name, node in ids.items()}


def test_nodes_among_the_arguments_are_steps_before() -> None:
    wf = Workflow("sum")
    a = wf.add(int, "1", name="a")
    b = wf.add(int, "2", name="b")
    wf.add(lambda parts, more: sum(parts) + more["x"][0], [a, b], more={"x": (b,)}, name="all")

    assert list(wf.graph.edges) == [("a", "all"), ("b", "all")]
    assert values(wf) == {"a": 1, "b": 2, "all": 5}


def test_a_diamond_computes_its_top_once() -> None:
    wf = Workflow()
    top = wf.add(int, "3")
    left, right = wf.add(operator.neg, top), wf.add(abs, top)
    wf.add(operator.add, left, right)

    assert list(wf.graph) == ["int", "neg", "abs", "add"]
    assert values(wf)["add"] == 0


def test_what_is_waited_for_gives_nothing() -> None:
    wf = Workflow()
    first = wf.add(int, "1", name="first")
    wf.add(dict, name="second", after=first)

    draft = new_draft()
    ids = wf.compile(draft)

    assert draft.nodes[1].edges == (Edge(ids["first"], EdgeMode.AFTER),)
    assert wf.graph.edges["first", "second"] == {"gives_value": False}


def test_an_edge_added_to_the_graph_by_hand_makes_its_end_wait() -> None:
    wf = Workflow()
    wf.add(int, "1", name="late")
    wf.add(int, "2", name="early")
    wf.graph.add_edge("early", "late")

    draft = new_draft()
    ids = wf.compile(draft)

    assert draft.nodes[0].edges == (Edge(ids["early"], EdgeMode.AFTER),)


def test_a_map_over_known_items_has_its_width() -> None:
    wf = Workflow()
    squares = wf.map(lambda x, by: x * by, (i for i in range(4)), name="scaled", by=wf.add(int, "10"))
    wf.reduce(operator.add, squares, name="total")

    draft = new_draft()
    wf.compile(draft)

    assert [node.width for node in draft.nodes] == [1, 4, 1]
    assert values(wf)["total"] == values(wf)["total"] == 60


def test_a_map_over_the_result_of_a_node_gets_its_width_when_that_is_there() -> None:
    wf = Workflow()
    numbers = wf.add(range, 5, name="numbers")
    squares = wf.map(lambda x: x * x, numbers, name="squares")
    again = wf.map(str, squares, name="again")
    wf.add(len, again, name="count")

    draft = new_draft()
    wf.compile(draft)

    assert [node.label for node in draft.nodes if node.width is None] == ["squares", "again"]
    assert values(wf)["again"] == ["0", "1", "4", "9", "16"]
    assert values(wf)["count"] == 5


def test_a_reduction_folds_from_the_left() -> None:
    wf = Workflow()
    parts = wf.map(str, "abc", name="parts")
    wf.reduce(operator.add, parts, name="joined")
    wf.reduce(operator.add, [parts, parts], initial=["x"], name="twice")
    wf.reduce(operator.add, wf.map(str, "", name="none"), initial="empty", name="nothing")

    found = values(wf)

    assert (found["joined"], found["twice"], found["nothing"]) == ("abc", [*"xabcabc"], "empty")


def test_the_parameters_of_a_decorated_function_are_the_nodes_of_those_names() -> None:
    wf = Workflow("etl")

    @wf.task
    def load(path: str, sep: str = ",") -> list[str]:
        return path.split(sep)

    @wf.task(name="count", queue="cpu")
    def tally(load: list[str]) -> int:
        return len(load)

    assert tally.options == {"queue": "cpu"}
    assert list(wf.graph.edges) == [("path", "load"), ("load", "count")]
    assert values(wf, path="a,b,c") == {"path": "a,b,c", "load": ["a", "b", "c"], "count": 3}


def test_inputs_are_given_when_it_is_run_and_checked_before() -> None:
    wf = Workflow()
    wf.add(operator.mul, wf.input("x"), wf.input("by", 2), name="product")

    assert values(wf, x=4)["product"] == 8
    assert values(wf, x=4, by=3)["product"] == 12
    with pytest.raises(ConfigError, match=r"needs a value for 'x': run\(x=...\)"):
        wf.compile(new_draft())
    with pytest.raises(ConfigError, match=r"no input 'bi'.*Did you mean 'by'"):
        wf.compile(new_draft(), inputs={"x": 1, "bi": 2})


def test_each_run_has_ids_of_its_own() -> None:
    wf = Workflow()
    wf.add(abs, wf.add(int, "1"))

    assert not set(wf.compile(new_draft()).values()) & set(wf.compile(new_draft()).values())


def test_a_future_from_outside_is_an_input_as_any_other() -> None:
    draft = new_draft()
    seven = draft.call(int, ("7",))
    wf = Workflow()
    wf.add(abs, Output(seven), name="a", after=[Output(seven)])
    wf.map(abs, Output(draft.call(range, (3,))), name="m")

    ids = wf.compile(draft)

    ran = evaluate(draft)
    assert (ran.value(ids["a"]), ran.value(ids["m"])) == (7, [0, 1, 2])


def test_options_of_a_node_go_over_those_of_the_workflow_and_the_client() -> None:
    wf = Workflow(retry=2)
    wf.add(int, "1").set(priority=9)
    wf.add(int, "2")

    draft = new_draft()
    wf.compile(draft, Options(priority=1, label="all"))

    assert [node.priority for node in draft.nodes] == [9, 1]
    assert [node.label for node in draft.nodes] == ["int", "int-2"]
    assert {node.policy.max_deliveries for node in draft.nodes} == {5}
    assert {node.policy.on_failure for node in draft.nodes} == {"stop"}


def test_a_cycle_is_named() -> None:
    wf = Workflow()
    wf.add(int, name="a")
    wf.add(int, wf["a"], name="b")
    wf.graph.add_edge("b", "a")

    with pytest.raises(CycleError, match="a → b → a") as caught:
        wf.validate()

    assert caught.value.cycle == ["a", "b"]


def test_an_edge_to_a_node_that_is_not_there_is_named() -> None:
    wf = Workflow()
    wf.add(int, name="load")
    wf.graph.add_edge("lode", "load")

    with pytest.raises(UnknownNode, match=r"'lode'.*Did you mean 'load'"):
        wf.compile(new_draft())


def test_a_node_that_was_removed_is_missed() -> None:
    wf = Workflow()
    wf.add(abs, wf.add(int, "1", name="gone"), name="left")
    wf.graph.remove_node("gone")

    with pytest.raises(UnknownNode, match="argument of 'left' is the node 'gone'"):
        wf.compile(new_draft())


def test_a_node_of_another_workflow_is_refused() -> None:
    with pytest.raises(UnknownNode, match="'int' belongs to another"):
        Workflow().add(abs, Workflow().add(int, "1"))


def test_a_name_is_given_once() -> None:
    wf = Workflow()
    wf.add(int, name="a")

    with pytest.raises(GraphError, match="already"):
        wf.add(int, name="a")
    with pytest.raises(UnknownNode, match="no node 'b'"):
        wf["b"]


def test_the_graph_as_mermaid_text() -> None:
    wf = Workflow()
    parts = wf.map(abs, wf.input("x"), name='the "map"')
    wf.add(sum, parts, name="sum", after=wf["x"])

    assert wf.to_mermaid().splitlines() == [
        "graph TD",
        '    n0(["x"])',
        '    n1[["the &quot;map&quot;"]]',
        '    n2["sum"]',
        "    n0 --> n1",
        "    n0 -.-> n2",
        "    n1 --> n2",
    ]


def test_a_map_reduce_is_a_node_like_any_other() -> None:
    wf = Workflow()
    words = wf.add(str.split, "a b a c a", name="words")
    counts = wf.map_reduce(words, _one, _count, name="counts", partitions=2)
    wf.map_reduce(["x y", "x"], _words, _count, name="other")
    wf.add(sorted, counts, name="keys")

    assert values(wf)["counts"] == {"a": 3, "b": 1, "c": 1}
    assert values(wf)["other"] == {"x": 2, "y": 1}
    assert values(wf)["keys"] == ["a", "b", "c"]


def test_it_goes_to_the_client_in_use() -> None:
    class Sent:
        def submit_workflow(self, wf: Workflow, inputs: dict[str, Any]) -> Any:
            return values(wf, **inputs)

    wf = Workflow()
    wf.add(abs, wf.input("x"), name="y")

    with hooks.using(Sent()):  # type: ignore[arg-type]
        assert wf.run(x=-1) == {"x": -1, "y": 1}
    assert wf.run(Sent(), x=-2) == {"x": -2, "y": 2}


# ── workflows inside workflows ────────────────────────────────────────────────────────


def scaled(name: str = "scaled") -> Workflow:
    wf = Workflow(name)
    wf.add(operator.mul, wf.input("x"), wf.input("by", 10), name="product")
    wf.add(operator.neg, wf["product"], name="minus")
    return wf


def test_the_steps_of_a_workflow_inside_have_names_of_two_parts() -> None:
    wf = Workflow()
    start = wf.add(int, "3", name="start")
    sub = wf.add(scaled(), x=start, by=2, name="sub")
    wf.add(abs, sub, name="end")

    assert list(wf.graph.edges) == [("start", "sub"), ("sub", "end")]
    assert values(wf) == {
        "start": 3, "sub/by": 2, "sub/product": 6, "sub/minus": -6, "end": 6, "sub/x": 3, "sub": -6
    }  # fmt: skip


def test_a_workflow_inside_may_be_used_twice_and_however_deep() -> None:
    twice = Workflow("twice")
    once = twice.add(scaled(), x=twice.input("x"), name="once")
    twice.add(scaled(), x=once, by=1, name="again")
    wf = Workflow()
    wf.add(sum, [wf.add(twice, x=1, name="a"), wf.add(twice, x=wf.add(int, "2"), name="b")], name="sum")

    found = values(wf)

    assert (found["a"], found["b"], found["sum"]) == (10, 20, 30)
    assert found["b/again/minus"] == 20
    assert found["b/once"] == found["b/again/x"] == -20


def test_the_result_of_several_last_steps_is_a_dict() -> None:
    inner = Workflow("inner")
    inner.add(min, inner.input("numbers"), name="low")
    inner.add(max, inner["numbers"], name="high")
    wf = Workflow()
    wf.add(dict, wf.add(inner, numbers=[wf.add(int, "4"), 9]), name="ends")

    assert values(wf)["ends"] == {"low": 4, "high": 9}
    assert values(wf)["inner"] == {"low": 4, "high": 9}


def test_all_of_a_workflow_inside_waits_for_what_it_is_after() -> None:
    inner = scaled()
    inner.add(int, "1", name="alone")
    wf = Workflow()
    first, x = wf.add(int, "1", name="first"), wf.add(int, "2", name="x")
    wf.add(inner, x=x, after=first, name="sub")
    wf.add(int, "5", name="last", after=wf["sub"])

    draft = new_draft()
    ids = wf.compile(draft)

    below = {node.id: {edge.parent for edge in node.edges} for node in draft.nodes}
    assert all(ids["first"] in below[ids[name]] for name in ("sub/by", "sub/alone"))
    assert ids["sub/by"] in below[ids["sub/product"]]
    assert below[ids["sub"]] == {ids["sub/minus"], ids["sub/alone"]}
    assert ids["sub"] in below[ids["last"]]


def test_a_step_whose_only_input_comes_from_outside_waits_too() -> None:
    inner = Workflow("inner")
    inner.add(abs, inner.input("x"), name="abs")
    wf = Workflow()
    wf.add(inner, x=wf.add(int, "1", name="x"), after=wf.add(int, "2", name="first"), name="sub")

    draft = new_draft()
    ids = wf.compile(draft)

    (edges,) = [node.edges for node in draft.nodes if node.id == ids["sub/abs"]]
    assert {edge.parent for edge in edges} == {ids["x"], ids["first"]}


def test_options_of_a_workflow_inside() -> None:
    inner = Workflow("inner", retry=3, on_failure="stop")
    inner.add(int, "1", name="a").set(priority=7)
    inner.add(int, "2", name="b")
    wf = Workflow(on_failure="continue")
    wf.add(inner).set(queue="gpu", priority=5, retry=3)
    inner.options["retry"] = 2

    draft = new_draft()
    wf.compile(draft)

    steps = {node.label: node for node in draft.nodes if "/" in node.label}
    assert {node.queue for node in steps.values()} == {"gpu"}
    assert (steps["inner/a"].priority, steps["inner/b"].priority) == (7, 5)
    assert {node.policy.max_deliveries for node in steps.values()} == {6}
    assert {node.policy.on_failure for node in steps.values()} == {"continue"}


def test_a_workflow_cannot_be_a_step_of_itself() -> None:
    a, b = Workflow("a"), Workflow("b")
    a.add(b)

    with pytest.raises(CycleError, match="step of itself: a → a"):
        a.add(a)
    with pytest.raises(CycleError, match="b → a → b") as caught:
        b.add(a)
    assert caught.value.cycle == ["b", "a"]


def test_what_a_workflow_inside_lacks_is_named() -> None:
    wf = Workflow()
    wf.add(Workflow("empty"))
    with pytest.raises(GraphError, match=r"'empty'.*has no steps"):
        wf.validate()

    wf = Workflow()
    wf.add(scaled(), name="sub")
    with pytest.raises(ConfigError, match="needs a value for 'sub/x'"):
        wf.compile(new_draft())
    with pytest.raises(GraphError, match="given by name"):
        wf.add(scaled(), 3)
    with pytest.raises(UnknownNode, match="input 'x' is the node 'a' of another"):
        scaled().compile(new_draft(), inputs={"x": Workflow().add(int, name="a")})
    wf.add(scaled(), xx=3)
    with pytest.raises(ConfigError, match=r"no input 'xx'.*Did you mean 'x'"):
        wf.compile(new_draft())


def test_names_of_two_parts_are_not_given_twice() -> None:
    wf = Workflow()
    wf.add(int, "1", name="sub/minus")
    wf.add(scaled(), x=1, name="sub")

    with pytest.raises(GraphError, match="called 'sub/minus'"):
        wf.compile(new_draft())


# ── a part of it ─────────────────────────────────────────────────────────────────────


def test_only_some_steps_and_what_they_need() -> None:
    wf = Workflow()
    a = wf.add(int, "1", name="a")
    wf.add(abs, a, name="b")
    wf.add(abs, wf.input("x"), name="c")
    sub = wf.add(scaled(), x=a, name="sub")
    wf.add(abs, sub, name="d", after=wf["c"])

    def drawn(*names: str) -> set[str]:
        return set(wf.compile(new_draft(), only=names))

    assert drawn("b") == {"a", "b"}
    assert drawn("sub") == {"a", "sub/x", "sub/by", "sub/product", "sub/minus", "sub"}
    assert drawn("sub/product", "b") == {"a", "sub/x", "sub/by", "sub/product", "b"}
    with pytest.raises(ConfigError, match="'x'"):
        drawn("d")
    with pytest.raises(UnknownNode, match="Did you mean 'sub'"):
        drawn("subb")


def test_an_input_may_not_be_called_as_an_argument_of_run() -> None:
    with pytest.raises(GraphError, match="argument 'only'"):
        Workflow().input("only")


# ── what is wrong, before anything is stored ─────────────────────────────────────────


def test_a_function_that_does_not_take_the_arguments_is_named() -> None:
    wf = Workflow()

    with pytest.raises(GraphError, match=r"step 'f' cannot call two\(.*: missing.*'b'"):
        wf.add(two, 1, name="f")
    with pytest.raises(GraphError, match="unexpected keyword argument 'c'"):
        wf.add(two, 1, 2, c=3)
    with pytest.raises(GraphError, match=r"missing.*'b'"):
        wf.map(two, [1, 2])
    with pytest.raises(GraphError, match="too many positional"):
        wf.reduce(abs_, wf.map(two, [1, 2], b=3))
    with pytest.raises(GraphError, match="step 'two-2'"):
        wf.map_reduce(["x"], two, _count)
    assert wf.map(two, [1, 2], 5, name="shared")
    assert list(wf.graph) == ["two", "shared"]


def two(a: int, b: int) -> int:
    return a + b


def abs_(a: int) -> int:
    return abs(a)


def test_what_cannot_be_taken_apart_is_refused() -> None:
    with pytest.raises(GraphError, match="'m' maps over a 'int'"):
        Workflow().map(abs, 5, name="m")

    wf = Workflow()
    wf.map(abs, wf.add(int, "5"), name="m")
    draft = new_draft()
    ids = wf.compile(draft)
    with pytest.raises(UsageError, match=r"needs an iterable.*given a 'int'"):
        evaluate(draft).value(NodeId(f"{ids['m']}/items"))


def test_a_map_over_nothing() -> None:
    wf = Workflow()
    nothing = wf.map(abs, wf.add(list, name="empty"), name="nothing")
    wf.add(len, nothing, name="length")
    wf.reduce(operator.add, nothing, initial=7, name="folded")
    wf.reduce(operator.add, wf.map(abs, []), initial=8, name="other")

    found = values(wf)

    assert (found["nothing"], found["length"], found["folded"], found["other"]) == ([], 0, 7, 8)


def test_a_step_that_cannot_travel_is_named_with_its_variable() -> None:
    lock = threading.Lock()
    wf = Workflow()
    wf.add(scaled(), x=lock, name="sub")

    with pytest.raises(CannotPickle, match=r"step 'sub/x'.*lock") as caught:
        wf.compile(new_draft())
    assert "args" in caught.value.culprit

    wf = Workflow()
    wf.add(lambda: lock, name="locked")
    with pytest.raises(CannotPickle, match=r"step 'locked'.*variable `lock`"):
        wf.compile(new_draft())


def test_many_steps_of_one_function_get_names_quickly() -> None:
    wf = Workflow()
    for _ in range(3000):
        wf.add(int)

    assert wf._numbers == {"int": 3000}
    assert wf["int-3000"].name == "int-3000"


def test_policies_of_a_step_reach_the_plan() -> None:
    wf = Workflow()
    options: dict[str, Any] = {
        "retry": 4, "time_limit": 5.0, "queue": "q", "priority": 3, "on_failure": "continue"
    }  # fmt: skip
    wf.add(int, name="added").set(**options)
    wf.task(name="decorated", **options)(two_without)
    wf.map(abs, [1], name="mapped").set(**options)

    draft = new_draft()
    wf.compile(draft)

    for node in draft.nodes:
        assert (node.queue, node.priority) == ("q", 3)
        assert (node.policy.max_deliveries, node.policy.time_limit_s) == (7, 5.0)
        assert node.policy.on_failure == "continue"


def two_without() -> int:
    return 2


# ── graphs of networkx ───────────────────────────────────────────────────────────────


def test_a_networkx_graph_becomes_a_workflow() -> None:
    graph: Any = nx.DiGraph(name="g")
    graph.add_node("a", fn=int, args=("5",))
    graph.add_node("b", fn=lambda a, k: a * k, kwargs={"k": 2}, options={"priority": 3})
    graph.add_node("c", fn=lambda *, x: x + 1)
    graph.add_node("d", fn=lambda: "done")
    graph.add_edges_from([("a", "b"), ("b", "c", {"arg": "x"}), ("c", "d", {"after": True})])

    wf = Workflow.from_graph(graph)

    assert set(wf.graph.edges) == set(graph.edges)
    assert wf["b"].options == {"priority": 3}
    assert values(wf) == {"a": 5, "b": 10, "c": 11, "d": "done"}


def test_the_graph_of_a_workflow_becomes_a_workflow_again() -> None:
    wf = Workflow("first")
    numbers = wf.add(range, wf.input("n"), name="numbers")
    sizes, before = wf.map(abs, numbers, name="sizes"), wf.add(int, name="before")
    wf.add(sum, sizes, name="total", after=before).set(queue="q")
    wf.add(scaled(), x=wf["total"], name="sub")

    again = Workflow.from_graph(wf.graph)
    part = Workflow.from_graph(wf.graph.subgraph(["n", "numbers"]))
    renamed = Workflow.from_graph(nx.relabel_nodes(wf.graph, {"numbers": 7, "sub": "inner"}))

    assert dict(again.graph.edges) == dict(wf.graph.edges)
    assert values(again, n=4) == values(wf, n=4)
    assert again["total"].options == {"queue": "q"}
    assert values(part, n=4) == {"n": 4, "numbers": range(4)}
    assert values(renamed, n=4)["7"] == range(4)
    assert values(renamed, n=4)["inner/minus"] == -60
    with pytest.raises(UnknownNode, match="argument of 'numbers' is the node 'n'"):
        Workflow.from_graph(wf.graph.subgraph(["numbers"])).validate()


def test_graphs_can_be_put_together() -> None:
    one, two = Workflow("one"), Workflow("two")
    one.add(int, "3", name="three")
    two.add(operator.neg, two.add(int, "4", name="four"), name="minus")
    both: Any = nx.compose(one.graph, two.graph)
    both.add_node("sum", fn=operator.add)
    both.add_edges_from([("three", "sum"), ("minus", "sum")])

    assert values(Workflow.from_graph(both))["sum"] == -1


def test_a_graph_that_cannot_run_is_refused() -> None:
    with pytest.raises(CycleError, match="1 → 2 → 1"):
        Workflow.from_graph(nx.DiGraph([(1, 2), (2, 1)]), call=print)
    with pytest.raises(UnknownNode, match="1 has no function"):
        Workflow.from_graph(nx.DiGraph([(1, 2)]))


@given(st.integers(1, 12), st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11))))
def test_any_graph_gives_what_its_nodes_give_in_topological_order(
    size: int, pairs: set[tuple[int, int]]
) -> None:
    graph: Any = nx.DiGraph()
    graph.add_nodes_from(range(size))
    graph.add_edges_from((a, b) for a, b in pairs if a < b < size)

    found = values(Workflow.from_graph(graph, call=_combine))

    expected: dict[int, int] = {}
    for node in nx.topological_sort(graph):
        expected[node] = _combine(node, *(expected[parent] for parent, _ in graph.in_edges(node)))
    assert found == {str(node): value for node, value in expected.items()}


def _combine(node: int, *parents: int) -> int:
    return (node + 31 * sum((i + 1) * p for i, p in enumerate(parents))) % 1_000_003


def _one(word: str) -> list[tuple[str, int]]:
    return [(word, 1)]


def _words(text: str) -> list[tuple[str, int]]:
    return [(word, 1) for word in text.split()]


def _count(_: str, ones: list[int]) -> int:
    return sum(ones)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda wf: wf.add(5), "no function"),
        (lambda wf: wf.map("abs", [1]), "no function"),
        (lambda wf: wf.branch(1, 2), "not a step"),
        (lambda wf: wf.run(), "no steps"),
    ],
)
def test_what_makes_no_graph_is_said_at_once(build: Any, words: str) -> None:
    with pytest.raises(GraphError, match=words):
        build(Workflow("odd"))
