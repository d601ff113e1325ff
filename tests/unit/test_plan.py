from __future__ import annotations

import operator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow import plan
from taskflow.errors import CannotPickle, GraphError
from taskflow.ids import NodeId, RunId
from taskflow.plan import Output, pages
from taskflow.policy import Options, RetryPolicy
from taskflow.records import Edge, EdgeMode
from tests.unit.evaluator import evaluate, new_codec, new_draft


def test_a_reference_in_the_arguments_becomes_an_edge() -> None:
    draft = new_draft()
    two = draft.call(int, ("2",))

    five = draft.call(operator.add, (Output(two), 3))

    assert draft.nodes[1].edges == (Edge(two, EdgeMode.ALL),)
    assert evaluate(draft).value(five) == 5


def test_references_are_found_however_deep_and_each_parent_is_one_input() -> None:
    draft = new_draft()
    a, b = draft.call(int, ("1",)), draft.call(int, ("2",))

    node = draft.call(repr, ({"x": [Output(b), (Output(a), Output(b))]},))

    assert [edge.parent for edge in draft.nodes[-1].edges] == [b, a]
    assert evaluate(draft).value(node) == repr({"x": [2, (1, 2)]})


def test_a_reference_may_ask_for_one_item_of_an_array() -> None:
    draft = new_draft()
    squares, _ = draft.map(pow, [range(5), [2] * 5])

    node = draft.call(operator.add, (Output(squares, 3), Output(squares, 4)))

    assert draft.nodes[-1].edges == (Edge(squares, EdgeMode.ALL),)
    assert evaluate(draft).value(node) == 25


def test_the_mode_of_a_reference_is_the_mode_of_its_edge() -> None:
    draft = new_draft()
    inverse, _ = draft.map(lambda x: 1 // x, [[1, 0, 1]])

    node = draft.call(sum, (Output(inverse, mode=EdgeMode.DROP),))

    assert draft.nodes[-1].edges == (Edge(inverse, EdgeMode.DROP),)
    assert evaluate(draft).value(node) == 2


def test_what_is_waited_for_comes_behind_the_inputs() -> None:
    draft = new_draft()
    a, b, c = (draft.call(int, (text,)) for text in "123")

    draft.call(abs, (Output(a),), None, Options(after=(Output(b),)), edges=[Edge(c, EdgeMode.ENDED)])

    assert draft.nodes[-1].edges == (
        Edge(a, EdgeMode.ALL),
        Edge(c, EdgeMode.ENDED),
        Edge(b, EdgeMode.AFTER),
    )


def test_waiting_for_an_input_adds_no_edge() -> None:
    draft = new_draft()
    a = draft.call(int, ("1",))

    draft.call(abs, (Output(a),), None, Options(after=(Output(a),)))

    assert draft.nodes[-1].edges == (Edge(a, EdgeMode.ALL),)


def test_a_parent_whose_failures_are_kept_can_also_be_required() -> None:
    draft = new_draft()
    a = draft.call(int, ("1",))

    draft.call(str, (Output(a, mode=EdgeMode.KEEP),), None, Options(after=(Output(a),)))

    assert draft.nodes[-1].edges == (Edge(a, EdgeMode.KEEP), Edge(a, EdgeMode.AFTER))


def test_an_alias_stands_for_another_id() -> None:
    draft = new_draft()
    template = NodeId("template")
    draft.alias[template] = draft.call(int, ("7",))

    node = draft.call(abs, (Output(template),), None, Options(after=(Output(template),)))

    assert [edge.parent for edge in draft.nodes[-1].edges] == [draft.nodes[0].id]
    assert evaluate(draft).value(node) == 7


def test_options_become_the_policy_and_the_times_of_a_node() -> None:
    draft = new_draft()
    options = Options(
        queue="gpu",
        priority=7,
        retry=RetryPolicy(2),
        time_limit=9,
        eta=datetime.fromtimestamp(1060, UTC),
        expires=100,
        label="seven",
    )

    draft.call(int, ("7",), None, options, node_id=NodeId("n"))

    node = draft.nodes[0]
    assert (node.id, node.queue, node.priority, node.label) == ("n", "gpu", 7, "seven")
    assert (node.delay_s, node.expires_s) == (60.0, 100)
    assert (node.policy.time_limit_s, node.policy.max_deliveries) == (9, 5)
    assert draft.codec.load_function(node.fn).retry == RetryPolicy(2)


def test_a_node_is_labelled_with_its_function_unless_told_otherwise() -> None:
    draft = new_draft()

    draft.call(operator.add, (1, 2))
    draft.map(operator.add, [[1], [2]], label="sums")

    assert [node.label for node in draft.nodes] == ["add", "sums"]


def test_several_iterables_end_with_the_shortest() -> None:
    draft = new_draft()

    node, width = draft.map(operator.add, [[1, 2, 3], [10, 20]])

    assert width == 2
    assert evaluate(draft).value(node) == [11, 22]


def test_items_that_are_tuples_stay_whole_in_a_map_over_one_iterable() -> None:
    draft = new_draft()

    node, _ = draft.map(sum, [[(1, 2), (3, 4)]])

    assert evaluate(draft).value(node) == [3, 7]


def test_shared_arguments_come_behind_the_item() -> None:
    draft = new_draft()

    node, _ = draft.map(lambda *args, **kwargs: (args, kwargs), ["ab"], args=(1,), kwargs={"k": 2})

    assert evaluate(draft).value(node) == [(("a", 1), {"k": 2}), (("b", 1), {"k": 2})]


def test_a_map_over_nothing_is_an_array_of_no_items() -> None:
    draft = new_draft()

    node, width = draft.map(abs, [[]])

    assert (width, draft.nodes[0].pages, draft.nodes[0].array) == (0, (), True)
    assert evaluate(draft).value(node) == []


def test_a_map_reads_its_iterable_page_by_page() -> None:
    draft = new_draft()
    alive: list[int] = []

    def items() -> Any:
        for i in range(20_000):
            alive.append(i)
            yield i

    _, width = draft.map(abs, [items()])

    sizes = [page.hi - page.lo for page in draft.nodes[0].pages]
    assert width == len(alive) == 20_000
    assert sizes[:3] == [64, 512, 4096]
    assert max(sizes) == plan.PAGE_ITEMS


def test_heavy_items_make_short_pages() -> None:
    codec = new_codec()
    digest = codec.function(len)

    heavy = list(pages(codec, digest, (bytes(100_000) for _ in range(10))))
    growing = list(pages(codec, digest, (bytes(100) for _ in range(20_000))))

    assert max(page.hi - page.lo for page in heavy) <= 3
    assert max(page.hi - page.lo for page in growing) <= plan.PAGE_BYTES // 100


@given(st.lists(st.integers() | st.text(max_size=400), max_size=200), st.integers(1, 70))
def test_pages_hold_the_items_in_order_without_a_gap(items: list[Any], most: int) -> None:
    codec = new_codec()

    made = list(pages(codec, "0" * 40, iter(items), most))

    assert [lo for lo, _, _ in made] == [0, *(hi for _, hi, _ in made)][: len(made)]
    assert [x for lo, _, value in made for x in codec.load_items("0" * 40, lo, value)] == items


def test_futures_among_the_items_become_inputs_of_the_whole_map() -> None:
    draft = new_draft()
    a, b = draft.call(int, ("1",)), draft.call(int, ("2",))

    bare, _ = draft.map(lambda x, plus: x + plus, [[Output(a), 5, Output(b)]], kwargs={"plus": 10})
    pairs, _ = draft.map(operator.add, [[Output(a), Output(b)], [Output(b), 3]])

    ran = evaluate(draft)
    assert ran.value(bare) == [11, 15, 12]
    assert ran.value(pairs) == [3, 5]
    assert draft.nodes[-1].label == "add"


def test_the_items_of_an_array_can_come_from_another_node() -> None:
    draft = new_draft()
    source = draft.call(range, (4,))

    squares = draft.array_of(pow, Output(source), args=(2,))
    total = draft.call(sum, (Output(squares),))

    assert [(node.width, node.array) for node in draft.nodes] == [
        (1, False),
        (1, False),
        (None, True),
        (1, False),
    ]
    assert evaluate(draft).value(total) == 14


def test_an_array_of_unknown_width_waits_for_the_call_that_makes_its_items() -> None:
    draft = new_draft()
    source = draft.call(range, (2,))

    target = draft.array_of(pow, Output(source), args=(2,), node_id=NodeId("squares"))

    spread, array = draft.nodes[1:]
    _, kwargs = draft.codec.load_args(spread.fn, spread.args, lambda *_: None)
    assert target == array.id == "squares"
    assert array.edges == (Edge(spread.id, EdgeMode.AFTER),)
    assert kwargs == {plan.EXPAND_KWARG: "squares", plan.EXPAND_FN_KWARG: array.fn}


def test_a_plan_holds_everything_that_was_drawn() -> None:
    draft = new_draft()
    draft.call(int, ("1",))
    draft.map(abs, ["ab"])

    made = draft.plan(RunId("r"), "name", {"tags": {"exp": 7}})

    assert (made.run, made.name, made.meta) == ("r", "name", {"tags": {"exp": 7}})
    assert made.nodes == tuple(draft.nodes)


def test_an_id_names_one_node() -> None:
    draft = new_draft()
    draft.call(int, ("1",), node_id=NodeId("n"))
    draft.call(abs, (1,), node_id=NodeId("n"))

    with pytest.raises(GraphError, match="used twice, by 'int' and by 'abs'"):
        draft.plan(RunId("r"))


def test_what_cannot_travel_is_said_before_anything_is_drawn() -> None:
    draft = new_draft()
    lock = __import__("threading").Lock()

    with pytest.raises(CannotPickle, match="lock"):
        draft.call(print, (lock,))
    with pytest.raises(CannotPickle, match="future"):
        draft.map(print, [[1, [Output(NodeId("n"))]]])

    assert draft.nodes == []
