from __future__ import annotations

import operator
from typing import Any

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow import hooks
from taskflow.errors import ConfigError, CycleError, GraphError, UnknownNode
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
