"""The layout: nothing overlaps, every edge leads down, and it is the same every time."""

from __future__ import annotations

import time
from itertools import combinations, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from taskflow.workflow.layers import backward, crossings, layers_of, neighbours, ordered, tightened
from taskflow.workflow.layout import Layout, lay_out

Edges = list[tuple[int, int]]
Graph = tuple[dict[int, tuple[float, float]], Edges]


@st.composite
def graphs(draw: st.DrawFn, acyclic: bool = True) -> Graph:
    count = draw(st.integers(0, 24))
    widths = draw(st.lists(st.integers(20, 200), min_size=count, max_size=count))
    ends = st.integers(0, max(0, count - 1))
    pairs = draw(st.lists(st.tuples(ends, ends), max_size=60)) if count else []
    edges = [(a, b) for a, b in pairs if a < b] if acyclic else [(a, b) for a, b in pairs if a != b]
    return {i: (float(width), 40.0) for i, width in enumerate(widths)}, list(dict.fromkeys(edges))


@given(graphs())
@settings(deadline=None)
def test_every_edge_leads_from_the_lower_side_of_a_box_down_to_the_upper_side_of_another(
    graph: Graph,
) -> None:
    sizes, edges = graph
    found = lay_out(sizes, edges)

    assert set(found.lines) == set(edges)
    for (a, b), points in found.lines.items():
        upper, lower = found.boxes[a], found.boxes[b]
        assert upper.y + upper.height < lower.y
        assert points[0] == (upper.x + upper.width / 2, upper.y + upper.height)
        assert points[-1] == (lower.x + lower.width / 2, lower.y)
        assert all(here.y <= there.y for here, there in pairwise(points))


@given(graphs(acyclic=False))
@settings(deadline=None)
def test_no_boxes_overlap_and_all_are_inside(graph: Graph) -> None:
    sizes, edges = graph
    found = lay_out(sizes, edges)

    assert list(found.boxes) == list(sizes)
    for one, other in combinations(found.boxes.values(), 2):
        apart = (
            one.x + one.width <= other.x + 1e-6
            or other.x + other.width <= one.x + 1e-6
            or one.y + one.height <= other.y + 1e-6
            or other.y + other.height <= one.y + 1e-6
        )
        assert apart, (one, other)
    for box in found.boxes.values():
        assert box.x >= -1e-6 and box.x + box.width <= found.width + 1e-6
        assert box.y >= -1e-6 and box.y + box.height <= found.height + 1e-6


@given(graphs(acyclic=False))
@settings(deadline=None)
def test_lines_do_not_pass_through_boxes_of_others(graph: Graph) -> None:
    """Where a line passes a layer it is vertical, and keeps clear of the boxes of that layer."""
    sizes, edges = graph
    found = lay_out(sizes, edges)

    for link, points in found.lines.items():
        for here, there in pairwise(points[1:-1]):
            if here.x == there.x:
                assert not any(
                    box.x < here.x < box.x + box.width
                    and min(here.y, there.y) < box.y + 1 < max(here.y, there.y)
                    for key, box in found.boxes.items()
                    if key not in link
                )


@given(graphs(acyclic=False))
@settings(deadline=None)
def test_the_same_graph_gives_the_same_layout(graph: Graph) -> None:
    assert lay_out(*graph) == lay_out(*graph)


@given(graphs(acyclic=False))
def test_without_the_edges_that_close_a_cycle_there_is_none(graph: Graph) -> None:
    sizes, edges = graph
    left = [edge for edge in edges if edge not in backward(len(sizes), edges)]

    layer = layers_of(len(sizes), left)

    assert all(layer[a] < layer[b] for a, b in left)


@given(graphs())
def test_shorter_edges_still_lead_down(graph: Graph) -> None:
    sizes, edges = graph
    before = layers_of(len(sizes), edges)
    after = tightened(before, edges)

    assert all(after[a] < after[b] for a, b in edges)
    assert sum(after[b] - after[a] for a, b in edges) <= sum(before[b] - before[a] for a, b in edges)


def test_an_acyclic_graph_has_no_edge_that_closes_a_cycle() -> None:
    assert backward(4, [(0, 1), (0, 2), (1, 3), (2, 3), (0, 3)]) == set()


def test_lines_that_need_not_cross_do_not() -> None:
    ways = [(0, 5), (1, 4), (2, 3)]
    rows = ordered([0, 0, 0, 1, 1, 1], ways)

    assert crossings(rows, neighbours(6, ways)[1]) == 0


def test_crossings_are_counted_as_they_are_seen() -> None:
    complete = [(a, b) for a in (0, 1, 2) for b in (3, 4, 5)]

    assert crossings([[0, 1, 2], [3, 4, 5]], neighbours(6, complete)[1]) == 9


def test_a_chain_is_straight_and_a_diamond_symmetric() -> None:
    chain = lay_out(dict.fromkeys("abc", (60.0, 40.0)), [("a", "b"), ("b", "c")])
    diamond = lay_out(dict.fromkeys("abcd", (60.0, 40.0)), [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])

    assert len({box.x for box in chain.boxes.values()}) == 1
    a, b, c, d = (diamond.boxes[key].x for key in "abcd")
    assert a == d == (b + c) / 2


def test_a_long_edge_is_vertical_where_it_passes_layers() -> None:
    sizes = dict.fromkeys("abcde", (60.0, 40.0))
    found = lay_out(sizes, [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("a", "e")])

    assert len({point.x for point in found.lines["a", "e"][1:-1]}) == 1


def test_parts_that_do_not_hang_together_stand_beside_each_other() -> None:
    found = lay_out(dict.fromkeys(range(100), (100.0, 40.0)), [])

    assert found.width < 2500
    assert found.height < 2500


def test_an_edge_that_closes_a_cycle_leads_upwards() -> None:
    found: Layout[str] = lay_out(dict.fromkeys("abc", (60.0, 40.0)), [("a", "b"), ("b", "c"), ("c", "a")])

    assert found.lines["a", "b"][0].y < found.lines["a", "b"][-1].y
    assert found.lines["c", "a"][0].y > found.lines["c", "a"][-1].y


def test_two_thousand_boxes_are_placed_in_seconds() -> None:
    edges = [(i - 100 + (i * 37 + k * 11) % 100, i) for i in range(100, 2000) for k in (0, 1)]
    edges = [(a, b) for a, b in edges if a // 100 < b // 100]
    began = time.process_time()

    found = lay_out(dict.fromkeys(range(2000), (100.0, 40.0)), edges)

    assert len(found.boxes) == 2000
    assert time.process_time() - began < 10  # about half a second on a quiet machine


def test_edges_past_very_many_layers_do_not_take_for_ever() -> None:
    chain = [(i, i + 1) for i in range(499)]
    found = lay_out(dict.fromkeys(range(500), (100.0, 40.0)), [*chain, *((0, i) for i in range(2, 500))])

    assert len(found.lines) == 499 + 498
