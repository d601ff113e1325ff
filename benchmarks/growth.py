"""How the cost of taskflow grows: ``python -m benchmarks.growth``, or ``make bench-growth``.

One picture each for items of a map, nodes of a graph, workers, and bytes of an argument and its result; the
process pool of the standard library beside it, where it can do the same. A straight line to the upper right
is growth in proportion. Points are medians of a few runs; every result is checked.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from benchmarks import work
from benchmarks.subject import WORKERS
from benchmarks.subjects.futures import Futures
from benchmarks.subjects.taskflow import Taskflow

HOME = Path(__file__).parents[1]
PICTURES = HOME / "docs" / "growth"
FIGURES = HOME / "benchmarks" / "growth.json"
ENOUGH_S = 0.5
MOST_RUNS = 5


@dataclass
class Curve:
    """What one picture shows: seconds by size, for each subject."""

    title: str
    size: str
    points: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def add(self, subject: str, size: int, seconds: float) -> None:
        """One more point."""
        self.points.setdefault(subject, []).append((size, seconds))
        print(f"{self.title}: {subject}, {size:,}: {seconds * 1e3:,.2f} ms", file=sys.stderr, flush=True)


def items(sizes: Sequence[int]) -> Curve:
    """A map of so many trivial items, results fetched."""
    curve = Curve("a map of trivial items", "items")
    for subject, most in ((Taskflow(), sizes[-1]), (Futures(), 100_000)):
        with _started(subject):
            for size in sizes:
                if size <= most:
                    numbers = range(size)
                    call = partial(subject.map, work.increment, numbers)
                    curve.add(subject.title, size, _median(call, list(range(1, size + 1))))
    return curve


def nodes(sizes: Sequence[int]) -> Curve:
    """A graph of layers of 20 nodes with two parents each, from a list to its result."""
    curve = Curve("a graph in layers of 20", "nodes")
    for subject in (Taskflow(), Futures()):
        with _started(subject):
            for size in sizes:
                graph = work.layered(size // 20, 20)
                call = partial(_graph, subject, graph)
                curve.add(subject.title, size, _median(call, work.answer(graph)))
    return curve


def workers(sizes: Sequence[int]) -> Curve:
    """A map of 400 items that wait 10 ms each, with so many workers: in the best case 4 s divided by them."""
    from taskflow import Client

    curve = Curve("400 items that wait for 10 ms", "workers")
    for size in sizes:
        folder = tempfile.TemporaryDirectory(prefix="taskflow-bench-")
        with folder as name, Client(f"sqlite:///{name}/runs.db", workers=size) as client:
            list(client.map(sleep, [0.0] * 4 * size))
            curve.add("taskflow", size, _median(partial(_naps, client)))
        with concurrent.futures.ProcessPoolExecutor(size) as pool:
            list(pool.map(sleep, [0.0] * 4 * size))
            curve.add(Futures.title, size, _median(partial(_naps, pool)))
        curve.add("nothing but the work", size, 4.0 / size)
    return curve


def payload(sizes: Sequence[int]) -> Curve:
    """One call whose argument, and whose result, is an array of so many bytes."""
    import numpy as np

    curve = Curve("one call with an array, there and back", "bytes")
    for subject in (Taskflow(), Futures()):
        with _started(subject):
            for size in sizes:
                array = np.arange(size // 8)
                call = partial(subject.call, _next_of, array)
                curve.add(subject.title, size, _median(call, check=partial(_is_next, array)))
    return curve


CURVES: dict[str, tuple[Callable[[Sequence[int]], Curve], tuple[int, ...]]] = {
    "items": (items, (100, 1_000, 10_000, 100_000, 1_000_000)),
    "nodes": (nodes, (200, 600, 2_000, 6_000, 20_000)),
    "workers": (workers, (1, 2, 4, 8, 16)),
    "payload": (payload, (1 << 10, 1 << 14, 1 << 18, 1 << 22, 1 << 26, 1 << 28)),
}


def draw(name: str, curve: Curve, folder: Path = PICTURES) -> Path:
    """A picture with logarithmic axes, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = name  # the same picture for the same figures
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for (subject, points), marker in zip(curve.points.items(), "os^", strict=False):
        axes.plot(*zip(*points, strict=True), marker=marker, label=subject)
    axes.set(xscale="log", yscale="log", xlabel=curve.size, ylabel="seconds", title=curve.title)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    return path


def main() -> int:
    """Measure what the command line asks for, and draw it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("curves", nargs="*", help="which: " + ", ".join(CURVES))
    parser.add_argument("--points", type=int, default=99, help="at most so many sizes of each")
    options = parser.parse_args()
    if unknown := set(options.curves).difference(CURVES):
        parser.error(f"no such curve: {', '.join(sorted(unknown))}")
    kept = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    for name in options.curves or CURVES:
        measure, sizes = CURVES[name]
        curve = measure(sizes[: options.points])
        if options.points >= len(sizes):
            print(f"drawn: {os.path.relpath(draw(name, curve))}")
            kept[name] = asdict(curve)
            FIGURES.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0


@contextmanager
def _started(subject: Any) -> Iterator[None]:
    subject.start()
    try:
        subject.map(work.increment, range(10 * WORKERS))
        yield
    finally:
        subject.stop()


def _median(
    call: Callable[[], Any], expected: Any = None, check: Callable[[Any], bool] | None = None
) -> float:
    took: list[float] = []
    while not took or (len(took) < MOST_RUNS and sum(took) < ENOUGH_S):
        began = perf_counter()
        answer = call()
        took.append(perf_counter() - began)
        if not (check(answer) if check is not None else expected is None or answer == expected):
            raise AssertionError(f"wrong answer: {str(answer)[:200]}")
    return statistics.median(took)


def _naps(pool: concurrent.futures.Executor) -> None:
    list(pool.map(sleep, [0.01] * 400))


def _graph(subject: Any, graph: work.Graph) -> int:
    return int(subject.graph(graph)())


def _next_of(array: Any) -> Any:
    return array + 1


def _is_next(array: Any, answer: Any) -> bool:
    return len(answer) == len(array) and answer[0] == 1 and answer[-1] == len(array)


if __name__ == "__main__":
    sys.exit(main())
