"""The graph in a terminal: steps folded, each below its parents, and lines that can be followed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.ids import NodeId, RunId
from taskflow.observe.board import Board
from taskflow.observe.lanes import LANES_MOST, graph_lines, rows_of
from taskflow.observe.steps import Step, picture_of_run, steps_of
from taskflow.observe.terminal import Sheet
from taskflow.observe.text import cells
from taskflow.records import Edge, EdgeMode, NodeView, RunView
from taskflow.states import State

S = State


def node(
    name: str,
    *parents: str,
    state: State = S.SUCCEEDED,
    width: int | None = 1,
    counts: dict[State, int] | None = None,
    mode: EdgeMode = EdgeMode.ALL,
    label: str | None = None,
) -> NodeView:
    return NodeView(
        id=NodeId(name),
        run=RunId("run"),
        label=name if label is None else label,
        state=state,
        width=width,
        array=width != 1,
        counts={state: width or 0} if counts is None else counts,
        queue="default",
        priority=0,
        parents=tuple(Edge(NodeId(parent), mode) for parent in parents),
        created_at=0.0,
        started_at=1.0 if state in (S.RUNNING, S.SUCCEEDED, S.FAILED) else None,
        ended_at=3.0 if state in (S.SUCCEEDED, S.FAILED) else None,
        attempts=0,
        deliveries=0,
        worker=None,
        error=None,
        fn="f",
    )


def run(*nodes: NodeView) -> RunView:
    return RunView(RunId("run"), "census", S.RUNNING, {}, len(nodes), 0.0, None, {}, nodes)


def drawn(*nodes: NodeView, plain: bool = False) -> list[str]:
    rows = rows_of(steps_of(run(*nodes)), plain=plain)
    return [f"{graph} {step.label}" if step else graph for graph, step in rows]


def test_a_diamond() -> None:
    assert drawn(node("a"), node("b", "a"), node("c", "a", state=S.FAILED), node("d", "b", "c")) == [
        "✓ a",
        "├─╮",
        "│ ✓ b",
        "✗ │ c",
        "├─╯",
        "✓ d",
    ]


def test_the_same_in_ascii() -> None:
    lines = drawn(node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c"), plain=True)

    assert lines == ["+ a", "+-+", "| + b", "+ | c", "+-+", "+ d"]


def test_a_chain_has_one_lane_and_strangers_stand_apart() -> None:
    assert drawn(node("a"), node("b", "a"), node("x"), node("c", "b")) == ["✓ a", "✓ b", "✓ c", "", "✓ x"]


def test_a_line_that_crosses_another_is_not_joined_to_it() -> None:
    lines = drawn(
        node("a"), node("b"), node("c", "b"), node("d", "c", "a"), node("e", "b", "d"), node("f", "a")
    )

    assert "│ ├─╮" in lines
    assert lines.index("✓ a") < min(i for i, line in enumerate(lines) if line.endswith((" d", " f")))


def test_what_only_prepares_a_map_is_part_of_it() -> None:
    helper = node("h", "load", label="items of parse", state=S.RUNNING)
    parse = node("parse", "h", width=None, state=S.BLOCKED, counts={}, mode=EdgeMode.AFTER)

    (load, step) = steps_of(run(node("load"), helper, parse))

    assert (load.label, step.label, step.state, step.width) == ("load", "parse", S.RUNNING, None)
    assert step.parents == {"load": True}


def test_the_failure_of_what_prepares_a_map_is_seen_at_the_map() -> None:
    helper = node("h", label="items of parse", state=S.FAILED)
    parse = node("parse", "h", width=None, state=S.SKIPPED, counts={}, mode=EdgeMode.AFTER)

    assert [step.state for step in steps_of(run(helper, parse))] == [S.FAILED]


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        ({S.QUEUED: 10}, S.QUEUED),
        ({S.QUEUED: 9, S.RUNNING: 1}, S.RUNNING),
        ({S.QUEUED: 9, S.FAILED: 1}, S.RUNNING),
    ],
)
def test_a_map_runs_while_some_of_its_items_have_begun(counts: dict[State, int], state: State) -> None:
    (step,) = steps_of(run(node("map", width=10, state=S.QUEUED, counts=counts)))

    assert step.state is state


def test_two_hundred_steps_that_are_alike_are_few_lines() -> None:
    nodes = [node("load"), *(node(f"parse-{i}", "load") for i in range(200))]
    nodes[7] = nodes[7]._replace(state=S.FAILED, counts={S.FAILED: 1})
    nodes.append(node("sum", *(f"parse-{i}" for i in range(200)), state=S.SKIPPED))

    steps = steps_of(run(*nodes), 40)

    assert [(step.label, step.state) for step in steps] == [
        ("load", S.SUCCEEDED),
        ("parse × 200", S.FAILED),
        ("sum", S.SKIPPED),
    ]
    assert steps[1].counts == {S.SUCCEEDED: 199, S.FAILED: 1}
    assert [graph for graph, _ in rows_of(steps)] == ["✓", "✗", "»"]


def test_too_many_lanes_are_no_lanes() -> None:
    wide = [node("a"), *(node(f"b{i}", "a") for i in range(2 * LANES_MOST))]
    wide.append(node("c", *(f"b{i}" for i in range(2 * LANES_MOST))))

    assert {graph for graph, _ in rows_of(steps_of(run(*wide)))} == {"✓"}


def test_it_is_a_picture_too() -> None:
    counts = {S.SUCCEEDED: 700, S.FAILED: 3, S.QUEUED: 297}
    picture = picture_of_run(
        run(
            node("load"),
            node("parse", "load", width=1000, state=S.QUEUED, counts=counts, mode=EdgeMode.AFTER),
        )
    )

    box = picture.boxes["parse"]
    assert (box.kind, box.width, box.state, box.note) == ("map", 1000, S.RUNNING, "703 done, 3 failed")
    assert picture.links == {("load", "parse"): False}


@st.composite
def runs(draw: st.DrawFn) -> RunView:
    count = draw(st.integers(1, 16))
    states = draw(st.lists(st.sampled_from(S), min_size=count, max_size=count))
    nodes = []
    for i in range(count):
        parents = draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else set()
        nodes.append(node(f"n{i}", *(f"n{p}" for p in sorted(parents)), state=states[i]))
    return run(*nodes)


@given(runs())
def test_every_step_is_shown_once_and_below_its_parents(run: RunView) -> None:
    rows = rows_of(steps_of(run))
    order = [step.key for _, step in rows if step]

    assert sorted(order) == sorted(each.id for each in run.nodes)
    for step in steps_of(run):
        assert all(order.index(parent) < order.index(step.key) for parent in step.parents)


UP, DOWN, LEFT, RIGHT = "│├┤┼╰╯┴", "│├┤┼╭╮┬", "─┤┼╯┴╮┬", "─├┼╰┴╭┬"


@given(runs())
def test_no_line_ends_in_nothing(run: RunView) -> None:
    """Each stroke meets another one, or a step."""
    rows = rows_of(steps_of(run))
    if len({row.graph[:1] for row in rows}) == 1 and all(len(row.graph) == 1 for row in rows):
        return
    lines = [row.graph for row in rows]
    signs = set("◇~○►✓✗⊘!»✘")
    for upper, lower in pairwise([*lines, ""]):
        for x in range(max(len(upper), len(lower))):
            above, below = upper[x : x + 1] or " ", lower[x : x + 1] or " "
            if below in UP:
                assert above in DOWN or above in signs, lines
            if above in DOWN:
                assert below in UP or below in signs, lines
    for line in lines:
        for here, there in pairwise(f"{line} "):
            crossing = {here, there} & set("│")
            assert crossing or (here in RIGHT) == (there in LEFT), lines


@given(runs(), st.integers(20, 120), st.integers(1, 30), st.booleans())
def test_a_drawing_fits_the_terminal(run: RunView, width: int, height: int, plain: bool) -> None:
    steps = steps_of(run)
    board = Board(lambda view: {each.id: each.id for each in view.nodes})
    board.show(run, now=10.0)

    lines = graph_lines(steps, board.stages(10.0), Sheet(width, height, plain=plain))

    assert len(lines) <= height
    assert all(cells(line) <= width for line in lines)


def test_a_drawing_tells_how_far_each_step_is() -> None:
    counts = {S.SUCCEEDED: 700, S.FAILED: 3, S.RUNNING: 2, S.QUEUED: 9295}
    view = run(node("load"), node("parse", "load", width=10_000, state=S.QUEUED, counts=counts))
    board = Board(lambda view: {each.id: each.id for each in view.nodes})
    board.show(view, now=10.0)

    first, second = graph_lines(steps_of(view), board.stages(10.0), Sheet(100, 20))

    assert first.split()[:2] == ["✓", "load"]
    assert second.split()[:2] == ["►", "parse"]
    assert "703/10,000  2 running  3 failed" in second


def test_a_step_of_which_nothing_is_known_is_one_of_its_own() -> None:
    (step,) = steps_of(run(node("a", "elsewhere")))

    assert isinstance(step, Step)
    assert step.parents == {}
