"""Where the vertices of ordered layers stand from left to right: no overlaps, and long edges straight.

Source: U. Brandes, B. Köpf, "Fast and Simple Horizontal Coordinate Assignment", Graph Drawing 2001: four
alignments of each vertex with a median neighbour, and of the four places of each vertex the mean of the
inner two. Blocks are compacted by longest paths over their neighbourhood, which has no need of the classes
and shifts that were corrected later (U. Brandes, J. Walter, J. Zink, "Erratum", arXiv:2008.01252, 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

__all__ = ["centres"]

Lists = list[list[int]]
Apart = Callable[[int, int], float]


def centres(
    rows: Sequence[list[int]], above: Lists, below: Lists, bend: Sequence[bool], apart: Apart
) -> list[float]:
    """The centre of each vertex, counted from the leftmost one.

    Args:
        rows: The vertices of each layer from left to right.
        above: For each vertex its neighbours in the layer before.
        below: For each vertex those in the layer behind.
        bend: Whether a vertex is a bend of a long edge: edges between two bends become vertical first.
        apart: Least distance between the centres of two vertices that stand side by side.
    """
    if not any(rows):
        return []
    place = {vertex: i for row in rows for i, vertex in enumerate(row)}
    refused = _conflicts(rows, above, bend, place)
    found: list[list[float]] = []
    for near, way in ((above, rows), (below, rows[::-1])):
        for mirrored in (False, True):
            turned = [row[::-1] for row in way] if mirrored else [list(row) for row in way]
            root = _aligned(turned, near, refused)
            xs = _compacted(turned, root, apart)
            found.append([-x for x in xs] if mirrored else xs)
    return _balanced(found)


def _conflicts(
    rows: Sequence[list[int]], above: Lists, bend: Sequence[bool], place: dict[int, int]
) -> set[tuple[int, int]]:
    """Edges that cross one between two bends: they must give way."""
    refused: set[tuple[int, int]] = set()
    for upper, row in pairwise(rows):
        low, start = -1, 0
        for i, vertex in enumerate(row):
            inner = next((n for n in above[vertex] if bend[vertex] and bend[n]), None)
            if inner is None and i < len(row) - 1:
                continue
            high = len(upper) if inner is None else place[inner]
            for other in row[start : i + 1]:
                for near in above[other]:
                    if not low <= place[near] <= high and not (bend[other] and bend[near]):
                        refused.add((near, other))
            low, start = high, i + 1
    return refused


def _aligned(rows: Lists, near: Lists, refused: set[tuple[int, int]]) -> dict[int, int]:
    """Blocks of vertices that shall stand above each other: for each vertex the root of its block."""
    place = {vertex: i for row in rows for i, vertex in enumerate(row)}
    root = {vertex: vertex for vertex in place}
    for row in rows:
        last = -1
        for vertex in row:
            ends = sorted(near[vertex], key=place.__getitem__)
            for i in sorted({(len(ends) - 1) // 2, len(ends) // 2}) if ends else ():
                other = ends[i]
                free = (other, vertex) not in refused and (vertex, other) not in refused
                if free and last < place[other]:
                    root[vertex] = root[other]
                    last = place[other]
                    break
    return root


def _compacted(rows: Lists, root: dict[int, int], apart: Apart) -> list[float]:
    """Blocks as far left as they go, then back to the right where there is room."""
    after: dict[int, dict[int, float]] = {block: {} for block in root.values()}
    missing = dict.fromkeys(after, 0)
    for row in rows:
        for left, right in pairwise(row):
            one, other = root[left], root[right]
            if other not in after[one]:
                missing[other] += 1
            after[one][other] = max(after[one].get(other, 0.0), apart(left, right))
    x = dict.fromkeys(after, 0.0)
    ready = [block for block in after if not missing[block]]
    for block in ready:  # grows while it is read
        for other, gap in after[block].items():
            x[other] = max(x[other], x[block] + gap)
            missing[other] -= 1
            if not missing[other]:
                ready.append(other)
    for block in reversed(ready):
        if after[block]:
            x[block] = max(x[block], min(x[other] - gap for other, gap in after[block].items()))
    return [x[root[vertex]] for vertex in range(len(root))]


def _balanced(found: list[list[float]]) -> list[float]:
    """Set all against the narrowest of them, and take the mean of the inner two places of each vertex."""
    ends = [(min(xs), max(xs)) for xs in found]
    low, high = min(ends, key=lambda end: end[1] - end[0])
    for number, xs in enumerate(found):
        shift = low - ends[number][0] if number % 2 == 0 else high - ends[number][1]
        found[number] = [x + shift for x in xs]
    middle = [sorted(each)[1:3] for each in zip(*found, strict=True)]
    first = min((a + b) / 2 for a, b in middle)
    return [(a + b) / 2 - first for a, b in middle]
