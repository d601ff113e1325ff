"""Layers of a directed graph from top to bottom, and the order inside each; pure, and deterministic.

Vertices are the numbers ``0 … n-1``, edges pairs of them.

Sources:
    - layers, vertices in the place of long edges, sweeps: K. Sugiyama, S. Tagawa, M. Toda, "Methods for
      Visual Understanding of Hierarchical System Structures", IEEE Trans. SMC 11(2), 1981.
    - short edges, weighted median, transposition: E. Gansner, E. Koutsofios, S. North, K.-P. Vo,
      "A Technique for Drawing Directed Graphs", IEEE Trans. Software Eng. 19(3), 1993.
    - crossings as inversions: W. Barth, M. Jünger, P. Mutzel, "Simple and Efficient Bilayer Cross
      Counting", Graph Drawing 2002.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from itertools import pairwise

__all__ = ["Edge", "backward", "crossings", "layers_of", "neighbours", "ordered", "tightened"]

Edge = tuple[int, int]
Lists = list[list[int]]

_ROUNDS = 8
_PATIENCE = 4
_SMALL, _LARGE = 1_500, 6_000


def neighbours(count: int, edges: Iterable[Edge]) -> tuple[Lists, Lists]:
    """For each vertex those above it, and those below it."""
    above: Lists = [[] for _ in range(count)]
    below: Lists = [[] for _ in range(count)]
    for upper, lower in edges:
        below[upper].append(lower)
        above[lower].append(upper)
    return above, below


def backward(count: int, edges: Iterable[Edge]) -> set[Edge]:
    """Edges that close a cycle, as a search in depth meets them; none in an acyclic graph.

    Example:
        >>> backward(3, [(0, 1), (1, 2), (2, 0)])
        {(2, 0)}
    """
    _, below = neighbours(count, edges)
    found: set[Edge] = set()
    new, open_, done = 0, 1, 2
    state = [new] * count
    for root in range(count):
        path = [(root, iter(below[root]))] if state[root] == new else []
        state[root] = open_ if path else state[root]
        while path:
            vertex, rest = path[-1]
            for child in rest:
                if state[child] == open_:
                    found.add((vertex, child))
                elif state[child] == new:
                    state[child] = open_
                    path.append((child, iter(below[child])))
                    break
            else:
                state[vertex] = done
                path.pop()
    return found


def layers_of(count: int, edges: Sequence[Edge]) -> list[int]:
    """The layer of each vertex: the longest way to it from a vertex that nothing is above.

    Example:
        >>> layers_of(4, [(0, 1), (1, 2), (0, 2)])
        [0, 1, 2, 0]
    """
    above, below = neighbours(count, edges)
    missing = [len(parents) for parents in above]
    layer = [0] * count
    ready = [vertex for vertex in range(count) if not missing[vertex]]
    for vertex in ready:  # grows while it is read
        for child in below[vertex]:
            layer[child] = max(layer[child], layer[vertex] + 1)
            missing[child] -= 1
            if not missing[child]:
                ready.append(child)
    return layer


def tightened(layer: Sequence[int], edges: Sequence[Edge]) -> list[int]:
    """Layers with shorter edges: each vertex moves to the side on which it has more neighbours.

    This is coordinate descent on the linear programme that a network simplex solves: it ends in
    a local optimum, after few rounds.
    """
    layer = list(layer)
    above, below = neighbours(len(layer), edges)
    for _ in range(_ROUNDS):
        moved = False
        for vertex in sorted(range(len(layer)), key=lambda v: -layer[v]):
            up, down = above[vertex], below[vertex]
            best = layer[vertex]
            if down and len(down) >= len(up):
                best = min(layer[child] for child in down) - 1
            elif up and len(up) > len(down):
                best = max(layer[parent] for parent in up) + 1
            moved = moved or best != layer[vertex]
            layer[vertex] = best
        if not moved:
            break
    first = min(layer, default=0)
    return [number - first for number in layer]


def ordered(layer: Sequence[int], edges: Sequence[Edge]) -> Lists:
    """The vertices of each layer from left to right, with few crossings.

    Args:
        layer: The layer of each vertex.
        edges: They lead from a layer to the next.
    """
    above, below = neighbours(len(layer), edges)
    rows = _first_order(layer, above, below)
    best, fewest = [list(row) for row in rows], crossings(rows, below)
    small, large = len(layer) <= _SMALL, len(layer) > _LARGE
    idle = 0
    for sweep in range(6 if large else 24):
        if not fewest or idle >= _PATIENCE:
            break
        _sweep(rows, above if sweep % 2 == 0 else below, downwards=sweep % 2 == 0)
        if small:
            _transpose(rows, above, below)
        found = crossings(rows, below)
        idle += 1
        if found < fewest:
            best, fewest, idle = [list(row) for row in rows], found, 0
    return best


def crossings(rows: Lists, below: Lists) -> int:
    """How often edges cross."""
    total = 0
    for row, lower in pairwise(rows):
        place = {vertex: i for i, vertex in enumerate(lower)}
        ends: list[int] = []
        for vertex in row:
            mine = sorted(place[child] for child in below[vertex])
            total += sum(len(ends) - bisect_right(ends, end) for end in mine)
            for end in mine:
                insort(ends, end)
    return total


def _first_order(layer: Sequence[int], above: Lists, below: Lists) -> Lists:
    """As a search in depth meets the vertices: what hangs together stands together."""
    rows: Lists = [[] for _ in range(max(layer, default=-1) + 1)]
    seen = [False] * len(layer)
    for root in sorted(range(len(layer)), key=lambda v: (layer[v], v)):
        stack = [root]
        while stack:
            vertex = stack.pop()
            if seen[vertex]:
                continue
            seen[vertex] = True
            rows[layer[vertex]].append(vertex)
            stack += [child for child in reversed(below[vertex]) if not seen[child]]
    return rows


def _sweep(rows: Lists, fixed: Lists, *, downwards: bool) -> None:
    """Sort each layer by the weighted medians of its neighbours in the layer before."""
    for before, row in _pairs(rows, downwards=downwards):
        place = {vertex: i for i, vertex in enumerate(before)}
        medians = {v: _median(sorted(place[n] for n in fixed[v])) for v in row if fixed[v]}
        movable = iter(sorted(medians, key=medians.__getitem__))  # stable: equals keep their order
        row[:] = [next(movable) if vertex in medians else vertex for vertex in row]


def _pairs(rows: Lists, *, downwards: bool) -> Iterable[tuple[list[int], list[int]]]:
    way = rows if downwards else rows[::-1]
    return pairwise(way)


def _median(places: Sequence[int]) -> float:
    middle = len(places) // 2
    if len(places) % 2:
        return places[middle]
    if len(places) == 2:
        return (places[0] + places[1]) / 2
    left, right = places[middle - 1] - places[0], places[-1] - places[middle]
    if left + right == 0:
        return (places[middle - 1] + places[middle]) / 2
    return (places[middle - 1] * right + places[middle] * left) / (left + right)


def _transpose(rows: Lists, above: Lists, below: Lists) -> None:
    """Exchange neighbours wherever that saves crossings."""
    for _ in range(_ROUNDS):
        better = False
        for number, row in enumerate(rows):
            sides = []
            if number:
                sides.append((above, {v: i for i, v in enumerate(rows[number - 1])}))
            if number + 1 < len(rows):
                sides.append((below, {v: i for i, v in enumerate(rows[number + 1])}))
            ends = [{v: sorted(place[n] for n in near[v]) for v in row} for near, place in sides]
            for i in range(len(row) - 1):
                left, right = row[i], row[i + 1]
                gain = sum(_crossed(e[left], e[right]) - _crossed(e[right], e[left]) for e in ends)
                if gain > 0:
                    row[i], row[i + 1] = right, left
                    better = True
        if not better:
            return


def _crossed(left: Sequence[int], right: Sequence[int]) -> int:
    """Crossings of the edges of two vertices that stand side by side; their ends are sorted."""
    return sum(len(left) - bisect_right(left, end) for end in right)
