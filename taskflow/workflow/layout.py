"""Where the boxes and lines of a directed graph go, from top to bottom; pure, and the same every time.

The four steps of Sugiyama's method: cycles are broken and layers chosen (`layers`), long edges get a bend
in each layer that they pass, the order of each layer is chosen for few crossings (`layers`), and places from
left to right for straight lines (`columns`). Parts that do not hang together are laid out on their own, and
set side by side.

Sources: K. Sugiyama, S. Tagawa, M. Toda, "Methods for Visual Understanding of Hierarchical System
Structures", IEEE Trans. SMC 11(2), 1981; those of the steps are named in `layers` and `columns`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

from taskflow.workflow.columns import centres
from taskflow.workflow.layers import backward, layers_of, neighbours, ordered, tightened

__all__ = ["Layout", "Place", "Point", "lay_out"]

K = TypeVar("K", bound=Hashable)

GAP_X, LINE_GAP, GAP_Y = 22.0, 12.0, 34.0
GAP_Y_MOST = 110.0
STEEPEST = 0.08
"""Of the widest line between two layers, so much is added to their distance."""
BENDS_MOST = 20_000
ASPECT = 1.8


class Point(NamedTuple):
    """A point; y grows downwards."""

    x: float
    y: float


class Place(NamedTuple):
    """A box by its left upper corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass
class Layout(Generic[K]):
    """A drawing as numbers.

    Attributes:
        boxes: Where each box is.
        lines: The points of each edge, from the lower side of its box to the upper side of the other; an edge
            that closes a cycle leads upwards.
        width: Of the whole.
        height: Of the whole.
    """

    boxes: dict[K, Place] = field(default_factory=dict)
    lines: dict[tuple[K, K], list[Point]] = field(default_factory=dict)
    width: float = 0.0
    height: float = 0.0


def lay_out(sizes: Mapping[K, tuple[float, float]], edges: Iterable[tuple[K, K]]) -> Layout[K]:
    """Place boxes in layers, so that every edge leads downwards, and lines between them.

    Args:
        sizes: Width and height of each box; their order decides where nothing else does.
        edges: From box to box; doubles and edges from a box to itself are left out.

    Example:
        >>> found = lay_out({"a": (40, 20), "b": (40, 20)}, [("a", "b")])
        >>> [(key, box.x, box.y) for key, box in found.boxes.items()]
        [('a', 0.0, 0.0), ('b', 0.0, 54.0)]
        >>> found.lines["a", "b"]
        [Point(x=20.0, y=20.0), Point(x=20.0, y=54.0)]
    """
    keys = list(sizes)
    number = {key: i for i, key in enumerate(keys)}
    pairs = list(dict.fromkeys((number[a], number[b]) for a, b in edges if a != b))
    named = [[keys[v] for v in members] for members in _parts(len(keys), pairs)]
    home = {key: (part, i) for part, names in enumerate(named) for i, key in enumerate(names)}
    inside: list[list[tuple[int, int]]] = [[] for _ in named]
    for a, b in pairs:
        part, upper = home[keys[a]]
        inside[part].append((upper, home[keys[b]][1]))
    made = [_part([sizes[key] for key in names], some) for names, some in zip(named, inside, strict=True)]
    whole: Layout[K] = Layout()
    for names, laid, corner in zip(named, made, _shelves(made), strict=True):
        _put(whole, laid, names, corner)
    whole.boxes = {key: whole.boxes[key] for key in keys}
    whole.lines = {(keys[a], keys[b]): whole.lines[keys[a], keys[b]] for a, b in pairs}
    return whole


def _parts(count: int, pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The vertices that hang together, in the order in which they are given."""
    above, below = neighbours(count, pairs)
    found, seen = [], [False] * count
    for root in range(count):
        if seen[root]:
            continue
        seen[root], members = True, [root]
        for vertex in members:  # grows while it is read
            for near in (*above[vertex], *below[vertex]):
                if not seen[near]:
                    seen[near] = True
                    members.append(near)
        found.append(sorted(members))
    return found


def _part(sizes: Sequence[tuple[float, float]], pairs: Sequence[tuple[int, int]]) -> Layout[int]:
    """Lay out what hangs together."""
    turned = backward(len(sizes), pairs)
    downward = list(dict.fromkeys((b, a) if (a, b) in turned else (a, b) for a, b in pairs))
    layer = tightened(layers_of(len(sizes), downward), downward)
    chains = _with_bends(layer, downward)
    steps = [step for chain in chains.values() for step in pairwise(chain)]
    steps = [(upper, lower) for upper, lower in steps if layer[lower] - layer[upper] == 1]
    rows = ordered(layer, steps)
    bend = [vertex >= len(sizes) for vertex in range(len(layer))]
    wide = [LINE_GAP if bent else sizes[vertex][0] for vertex, bent in enumerate(bend)]

    def apart(left: int, right: int) -> float:
        return (wide[left] + wide[right]) / 2 + (LINE_GAP if bend[left] or bend[right] else GAP_X)

    x = centres(rows, *neighbours(len(layer), steps), bend, apart)
    leftmost = min((x[v] - wide[v] / 2 for v in range(len(layer))), default=0.0)
    x = [each - leftmost for each in x]
    tops, heights = _rows_down(rows, sizes, steps, x)
    made: Layout[int] = Layout(
        width=max((x[v] + wide[v] / 2 for v in range(len(layer))), default=0.0),
        height=tops[-1] + heights[-1] if tops else 0.0,
    )
    for vertex, (width, height) in enumerate(sizes):
        at = layer[vertex]
        top = tops[at] + (heights[at] - height) / 2
        made.boxes[vertex] = Place(x[vertex] - width / 2, top, width, height)
    for a, b in pairs:
        back = (a, b) in turned
        chain = chains[(b, a) if back else (a, b)]
        points = _points(chain, made, x, layer, tops, heights)
        made.lines[a, b] = points[::-1] if back else points
    return made


def _with_bends(layer: list[int], edges: Sequence[tuple[int, int]]) -> dict[tuple[int, int], list[int]]:
    """Each edge as a chain that passes every layer once: `layer` grows by the bends.

    Of very many bends the shortest edges get theirs; the others lead straight from box to box.
    """
    chains: dict[tuple[int, int], list[int]] = {}
    room = BENDS_MOST
    for upper, lower in sorted(edges, key=lambda edge: layer[edge[1]] - layer[edge[0]]):
        between = range(layer[upper] + 1, layer[lower])
        room -= len(between)
        if room < 0:
            chains[upper, lower] = []
            continue
        bends = list(range(len(layer), len(layer) + len(between)))
        layer += between
        chains[upper, lower] = [upper, *bends, lower]
    return {edge: chains[edge] or [edge[0], edge[1]] for edge in edges}


def _rows_down(
    rows: Sequence[Sequence[int]],
    sizes: Sequence[tuple[float, float]],
    steps: Iterable[tuple[int, int]],
    x: Sequence[float],
) -> tuple[list[float], list[float]]:
    """Top and height of each layer; those between which lines go far to the side are further apart."""
    at = {vertex: number for number, row in enumerate(rows) for vertex in row}
    aside = [0.0] * len(rows)
    for upper, lower in steps:
        aside[at[upper]] = max(aside[at[upper]], abs(x[upper] - x[lower]))
    tops, heights, top = [], [], 0.0
    for row, wide in zip(rows, aside, strict=True):
        height = max((sizes[v][1] for v in row if v < len(sizes)), default=0.0)
        tops.append(top)
        heights.append(height)
        top += height + min(GAP_Y_MOST, GAP_Y + STEEPEST * wide)
    return tops, heights


def _points(
    chain: Sequence[int],
    made: Layout[int],
    x: Sequence[float],
    layer: Sequence[int],
    tops: Sequence[float],
    heights: Sequence[float],
) -> list[Point]:
    first, last = made.boxes[chain[0]], made.boxes[chain[-1]]
    points = [Point(x[chain[0]], first.y + first.height)]
    for bend in chain[1:-1]:
        top = tops[layer[bend]]
        points += [Point(x[bend], top), Point(x[bend], top + heights[layer[bend]])]
    return [*points, Point(x[chain[-1]], last.y)]


def _shelves(parts: Sequence[Layout[int]]) -> list[Point]:
    """Set parts side by side, the tallest first; a new row begins when one is as wide as all shall be."""
    area = sum((part.width + 2 * GAP_X) * (part.height + GAP_Y) for part in parts)
    room = max([(ASPECT * area) ** 0.5, *(part.width for part in parts)])
    corners, x, y, deep = [Point(0.0, 0.0)] * len(parts), 0.0, 0.0, 0.0
    for number in sorted(range(len(parts)), key=lambda i: -parts[i].height):
        part = parts[number]
        if x and x + part.width > room:
            x, y, deep = 0.0, y + deep + GAP_Y, 0.0
        corners[number] = Point(x, y)
        x, deep = x + part.width + 2 * GAP_X, max(deep, part.height)
    return corners


def _put(whole: Layout[K], part: Layout[int], names: Sequence[K], corner: Point) -> None:
    for vertex, box in part.boxes.items():
        whole.boxes[names[vertex]] = box._replace(x=box.x + corner.x, y=box.y + corner.y)
    for (a, b), points in part.lines.items():
        whole.lines[names[a], names[b]] = [Point(p.x + corner.x, p.y + corner.y) for p in points]
    whole.width = max(whole.width, corner.x + part.width)
    whole.height = max(whole.height, corner.y + part.height)
