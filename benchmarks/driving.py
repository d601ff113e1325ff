"""A graph on a pool that knows no graphs: the client sends each node when its parents have ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from benchmarks import work
from benchmarks.work import Graph

Send = Callable[[Callable[..., Any], tuple[Any, ...], Callable[[Any], None]], None]
"""Sends a call; the third argument is told its result."""


def drive(graph: Graph, send: Send) -> int:
    """Run a graph from here, as everyone writes it for such a pool."""
    ended: SimpleQueue[tuple[tuple[int, int], Any]] = SimpleQueue()
    values: dict[tuple[int, int], Any] = {}
    left = {(depth, at): 2 for depth in range(1, len(graph)) for at in range(len(graph[depth]))}
    children = defaultdict(list)
    for depth, at in left:
        for parent in graph[depth][at]:
            children[depth - 1, parent].append((depth, at))

    def begin(key: tuple[int, int], fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        send(fn, args, lambda value: ended.put((key, value)))

    for at, node in enumerate(graph[0]):
        begin((0, at), work.leaf, node)
    for _ in range(sum(map(len, graph))):
        key, values[key] = _take(ended)
        for child in children[key]:
            left[child] -= 1
            if not left[child]:
                depth, at = child
                begin(child, work.join, tuple(values[depth - 1, parent] for parent in graph[depth][at]))
    last = len(graph) - 1
    begin((last + 1, 0), work.total, ([values[last, at] for at in range(len(graph[last]))],))
    return int(_take(ended)[1])


def _take(ended: SimpleQueue[tuple[tuple[int, int], Any]]) -> tuple[tuple[int, int], Any]:
    return ended.get()
