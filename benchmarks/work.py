"""What the workers of every subject run. It is trivial on purpose, and its results are known beforehand.

It imports next to nothing, as it is loaded within the measured cold start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import perf_counter, sleep, thread_time
from typing import Any

PARTITIONS = 16
FRAME_BYTES = 400_000_000
_COLUMNS = "abcdefghij"
_MODULUS = 1_000_003

Graph = list[list[tuple[int, ...]]]
"""Layers of nodes; a node is the positions of its two parents in the layer before, or its own value."""


# ── calls ────────────────────────────────────────────────────────────────────────────


def increment(x: int) -> int:
    """The trivial item: all that is measured is the engine around it."""
    return x + 1


def process_id() -> int:
    """Who runs this."""
    import os

    return os.getpid()


def memory() -> dict[str, float]:
    """Of who runs this: megabytes by the names of the kernel (``Rss``, ``Pss`` …)."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:  # noqa: PTH123 - pathlib would be measured
        lines = file.read().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}


def total(parts: Iterable[int]) -> int:
    """The body of a chord, and the last node of a graph."""
    return sum(parts)


def total_of(*parts: int) -> int:
    """`total`, for those who pass results one by one."""
    return sum(parts)


def microsecond(x: int) -> int:
    """About a microsecond of work, as a plain loop over it shows."""
    y = x
    for step in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67):
        y = (y * step + 1) & 0xFFFF
    return y


def millisecond(x: int) -> int:
    """A millisecond of a busy processor, by the clock on the wall."""
    until = perf_counter() + 0.001
    while perf_counter() < until:
        pass
    return x + 1


def processor_millisecond(x: int) -> int:
    """A millisecond of this thread on a processor, however many want it."""
    until = thread_time() + 0.001
    while thread_time() < until:
        pass
    return x + 1


def wait(seconds: float) -> float:
    """An item that takes as long as it says, and no processor."""
    sleep(seconds)
    return seconds


def skewed(count: int) -> list[float]:
    """Seconds of so many items between 0.1 and 2: most of them short, some of them long; always the same."""
    import random

    chance = random.Random(11)
    return [round(0.1 + 1.9 * chance.random() ** 6, 3) for _ in range(count)]


def ideal_s(durations_s: Sequence[float], workers: int) -> float:
    """When the last item ends if each goes, in order, to the first free worker, and all else is free."""
    free_at = [0.0] * workers
    for duration_s in durations_s:
        free_at[free_at.index(min(free_at))] += duration_s
    return max(free_at)


# ── graphs ───────────────────────────────────────────────────────────────────────────


def leaf(value: int) -> int:
    """A node of the first layer."""
    return value


def join(left: int, right: int) -> int:
    """A node of any other layer."""
    return (left + right) % _MODULUS


def layered(layers: int, width: int) -> Graph:
    """A graph in layers, each node with two parents by chance in the layer above; always the same."""
    import random

    chance = random.Random(7)
    first: list[tuple[int, ...]] = [(value,) for value in range(width)]
    return [
        first,
        *([tuple(chance.sample(range(width), 2)) for _ in range(width)] for _ in range(layers - 1)),
    ]


def answer(graph: Graph) -> int:
    """What the graph gives: the sum of its last layer."""
    values = [leaf(*node) for node in graph[0]]
    for layer in graph[1:]:
        values = [join(values[left], values[right]) for left, right in layer]
    return sum(values)


CALLS: tuple[Callable[..., Any], ...] = (increment, memory, processor_millisecond, total, leaf)
"""What those are told beforehand who cannot send a function."""


# ── frames ───────────────────────────────────────────────────────────────────────────


def frame(size_bytes: int = FRAME_BYTES) -> Any:
    """A DataFrame of ten columns of floats; always the same."""
    import numpy as np
    import pandas as pd

    chance = np.random.default_rng(0)
    rows = size_bytes // (8 * len(_COLUMNS))
    return pd.DataFrame({column: chance.random(rows) for column in _COLUMNS})


def split(whole: Any, parts: int = PARTITIONS) -> list[Any]:
    """Its partitions, by rows; no copies."""
    rows = -(-len(whole) // parts)
    return [whole.iloc[at : at + rows] for at in range(0, len(whole), rows)]


def summary(part: Any) -> Any:
    """Cheap, with a small result."""
    return part.assign(z=part.a * part.b).agg(["mean", "std", "min", "max"])


def widened(part: Any) -> Any:
    """Cheap, with a result of the size of its input."""
    return part.assign(z=part.a * part.b)


def ranked(part: Any) -> Any:
    """Work for a processor, with a small result."""
    return part[["a", "b", "c"]].rank().agg(["mean", "max"])
