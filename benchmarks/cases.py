"""What is measured. Each case runs in a process of its own, see `benchmarks.one`; every result is checked."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

from benchmarks import processes, work
from benchmarks.subject import WORKERS, Subject

ENOUGH_S = 1.0
MOST_RUNS = 5

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Case:
    """One measurement.

    Args:
        ability: What a subject needs for it.
        figures: Key of a figure → its row in the table. More is better in keys that end with ``per_s``.
        measure: Gives figures as it has them, of a subject that has run some calls, at a scale.
        timeout_s: It is given up after so long.
        after: A smaller case: who ran out of time there is not asked again.
        turns: So often in each round: for what is quick, and differs more from one time to the next than
            from one subject to another.
    """

    ability: str
    figures: Mapping[str, str]
    measure: Callable[[Subject, float], Iterator[Figures]]
    timeout_s: float = 60.0
    after: str = ""
    turns: int = 1


def warm(subject: Subject, ability: str) -> None:
    """Start all that starts with the first calls."""
    if ability in ("map", "frames"):
        check(sum(subject.map(work.increment, range(200))), 20_100)
        return
    for x in range(20):
        check(subject.call(work.leaf, x), x)


# ── single calls ─────────────────────────────────────────────────────────────────────


def submit(subject: Subject, scale: float) -> Iterator[Figures]:
    """Calls a second, sent one by one, every result fetched."""
    items = range(int(5_000 * scale))
    yield {
        "submit_per_s": len(items) / median_s(lambda: subject.submit(work.increment, items), _plus_one(items))
    }


def latency(subject: Subject, scale: float) -> Iterator[Figures]:
    """One call at a time, there and back."""
    took_us: list[float] = []
    until = perf_counter() + 2 * scale
    while len(took_us) < 100 or (perf_counter() < until and len(took_us) < 5_000):
        begin = perf_counter()
        check(subject.call(work.increment, 1), 2)
        took_us.append((perf_counter() - begin) * 1e6)
    cuts = statistics.quantiles(took_us, n=100)
    yield {"latency_p50_us": cuts[49], "latency_p99_us": cuts[98]}


def memory(subject: Subject, scale: float) -> Iterator[Figures]:
    """What the processes hold after some work."""
    for x in range(int(500 * scale)):
        subject.call(work.increment, x)
    worker = processes.memory_of(subject.call(work.process_id))
    others = [processes.memory_of(pid) for pid in processes.descendants(os.getpid())]
    yield {
        "worker_rss_mb": worker["Rss"],
        "worker_uss_mb": worker["Private_Clean"] + worker["Private_Dirty"],
        "all_pss_mb": sum(other["Pss"] for other in others),
        "process_count": sum(other["Rss"] > 0 for other in others),
    }


# ── maps and chords ──────────────────────────────────────────────────────────────────


def map_items(subject: Subject, scale: float) -> Iterator[Figures]:
    """Items a second of a map over 100,000 trivial items."""
    items = range(int(100_000 * scale))
    yield {"map_per_s": len(items) / median_s(lambda: subject.map(work.increment, items), _plus_one(items))}


def map_million(subject: Subject, scale: float) -> Iterator[Figures]:
    """A map over 1,000,000 trivial items, and by how much all processes grew meanwhile."""
    items = range(int(1_000_000 * scale))
    before = processes.resident_mb(os.getpid())
    took_s = median_s(lambda: subject.map(work.increment, items), _plus_one(items), runs=1)
    peaks = processes.peak_mb(os.getpid())
    grown = sum(max(0.0, peak - before.get(pid, 0.0)) for pid, peak in peaks.items())
    yield {"map_1m_per_s": len(items) / took_s, "map_1m_mb": grown}


def chord(subject: Subject, scale: float) -> Iterator[Figures]:
    """Calls, then one call on all their results."""
    for key, count in (("chord_1k_ms", 1_000), ("chord_10k_ms", 10_000)):
        items = range(int(count * scale))
        took_s = median_s(partial(subject.chord, work.increment, items), same(_sum_of(items)))
        yield {key: took_s * 1e3}


# ── graphs ───────────────────────────────────────────────────────────────────────────


def dag(subject: Subject, scale: float) -> Iterator[Figures]:
    """Nodes a second, from a list of layers to the checked sum of the last one."""
    for key, width in (("dag_2k_per_s", 20), ("dag_20k_per_s", 200)):
        graph = work.layered(int(100 * max(scale, 0.05)), width)
        took_s = median_s(partial(_run, subject, graph), same(work.answer(graph)))
        yield {key: sum(map(len, graph)) / took_s}


def _run(subject: Subject, graph: work.Graph) -> int:
    return subject.graph(graph)()


def graph_100k(subject: Subject, scale: float) -> Iterator[Figures]:
    """A graph of 100,000 nodes: until it is handed over, and until its result is there."""
    graph = work.layered(100, int(1_000 * max(scale, 0.003)))
    begin = perf_counter()
    wait = subject.graph(graph)
    if subject.keeps_graphs:
        yield {"graph_100k_submit_s": perf_counter() - begin}
    check(wait(), work.answer(graph))
    yield {"graph_100k_s": perf_counter() - begin}


# ── frames ───────────────────────────────────────────────────────────────────────────


def frames(subject: Subject, scale: float) -> Iterator[Figures]:
    """A frame in this process is cut into partitions, and what comes back is put together."""
    whole = work.frame(int(work.FRAME_BYTES * scale))
    parts = work.split(whole)
    tiny = work.split(whole.iloc[: 16 * work.PARTITIONS])
    for key, fn in (("small", work.summary), ("full", work.widened), ("heavy", work.ranked)):
        subject.frames(fn, tiny)
        call = partial(subject.frames, fn, parts)
        yield {f"frame_{key}_s": median_s(call, _like(fn, parts), _concat, before=partial(touch, whole))}


def frames_put(subject: Subject, scale: float) -> Iterator[Figures]:
    """The same partitions, handed over before the time begins to run."""
    whole = work.frame(int(work.FRAME_BYTES * scale))
    parts = work.split(whole)
    subject.frames(work.widened, work.split(whole.iloc[: 16 * work.PARTITIONS]))
    there = subject.put(parts)
    for key, fn in (("small", work.summary), ("full", work.widened)):
        call = partial(subject.frames, fn, there)
        yield {f"frame_{key}_put_s": median_s(call, _like(fn, parts), _concat, before=partial(touch, whole))}


# ── ranges: quick, middling and slow items, untuned ──────────────────────────────────


def microseconds(subject: Subject, scale: float) -> Iterator[Figures]:
    """1,000,000 items of about 1 µs; the ideal is half of a plain loop, measured before and after."""
    items = range(int(1_000_000 * scale))
    expected, before_s = _plain_loop(items)
    took_s = median_s(lambda: subject.map(work.microsecond, items), same(expected), runs=1)
    ideal_s = (before_s + _plain_loop(items)[1]) / 2 / WORKERS
    yield {"items_1us_of_ideal": took_s / ideal_s, "item_1us_us": ideal_s * WORKERS / len(items) * 1e6}


def milliseconds(subject: Subject, scale: float) -> Iterator[Figures]:
    """10,000 items that keep a processor busy for 1 ms."""
    items = range(int(10_000 * scale))
    took_s = median_s(lambda: subject.map(work.millisecond, items), _plus_one(items), runs=1)
    yield {"items_1ms_of_ideal": took_s / work.ideal_s([0.001] * len(items), WORKERS)}


def skewed(subject: Subject, scale: float) -> Iterator[Figures]:
    """50 items of 0.1 to 2 s, which wait."""
    items = work.skewed(max(4, int(50 * scale)))
    took_s = median_s(lambda: subject.map(work.wait, items), same(items), runs=1)
    yield {"items_skewed_of_ideal": took_s / work.ideal_s(items, WORKERS)}


# ── timing and checking ──────────────────────────────────────────────────────────────

Check = Callable[[Any], None]


def median_s(
    call: Callable[[], Any],
    check: Check,
    finish: Callable[[Any], Any] | None = None,
    runs: int = 0,
    before: Callable[[], object] = lambda: None,
) -> float:
    """The median of a few runs, or one run that takes long; what comes before and the check are not timed."""
    took: list[float] = []
    while not took or (len(took) < (runs or MOST_RUNS) and sum(took) < ENOUGH_S):
        before()
        begin = perf_counter()
        answer = call()
        if finish is not None:
            answer = finish(answer)
        took.append(perf_counter() - begin)
        check(answer)
    return statistics.median(took)


def touch(frame: Any) -> None:
    """Use as much memory as five frames take, and give it back.

    A virtual machine gets memory that it never used, or gave back a while ago, at half a gigabyte a second:
    without this the first who needs some pays for all others.
    """
    import numpy as np

    size = int(frame.memory_usage().sum()) * 5
    page = os.sysconf("SC_PAGE_SIZE")
    if size < os.sysconf("SC_AVPHYS_PAGES") * page // 2:
        np.empty(size, dtype=np.uint8)[::page] = 1


def check(answer: object, expected: object) -> None:
    """Nothing counts that is wrong."""
    if answer != expected:
        raise AssertionError(f"wrong answer: {str(answer)[:200]}, not {str(expected)[:200]}")


def same(expected: object) -> Check:
    """The check that an answer is what it should be."""
    return partial(check, expected=expected)


def _plus_one(items: range) -> Check:
    return same(list(range(items.start + 1, items.stop + 1)))


def _sum_of(items: range) -> int:
    return sum(items) + len(items)


def _concat(parts: list[Any]) -> Any:
    import pandas as pd

    return pd.concat(parts)


def _like(fn: Callable[[Any], Any], parts: list[Any]) -> Check:
    """The first and the last partition must be what pandas makes of them here, and nothing be missing."""
    import pandas as pd

    first, last = fn(parts[0]), fn(parts[-1])
    rows = len(first) * (len(parts) - 1) + len(last)

    def compare(answer: Any) -> None:
        check(len(answer), rows)
        pd.testing.assert_frame_equal(answer.iloc[: len(first)], first)
        pd.testing.assert_frame_equal(answer.iloc[-len(last) :], last)

    return compare


def _plain_loop(items: range) -> tuple[list[int], float]:
    begin = perf_counter()
    answer = [work.microsecond(item) for item in items]
    return answer, perf_counter() - begin


CASES: dict[str, Case] = {
    "submit": Case("submit", {"submit_per_s": "5,000 single calls, results fetched, calls/s"}, submit),
    "latency": Case(
        "call", {"latency_p50_us": "one call, p50, µs", "latency_p99_us": "one call, p99, µs"}, latency
    ),
    "map": Case("map", {"map_per_s": "map of 100,000, items/s"}, map_items, timeout_s=40),
    "map-1m": Case(
        "map",
        {"map_1m_per_s": "map of 1,000,000, items/s", "map_1m_mb": "… memory it took, all processes, MB"},
        map_million,
        timeout_s=120,
        after="map",
    ),
    "chord": Case(
        "chord", {"chord_1k_ms": "chord of 1,000, ms", "chord_10k_ms": "chord of 10,000, ms"}, chord
    ),
    "dag": Case(
        "graph",
        {
            "dag_2k_per_s": "graph of 100 layers of 20, nodes/s",
            "dag_20k_per_s": "graph of 100 layers of 200, nodes/s",
        },
        dag,
    ),
    "graph-100k": Case(
        "graph",
        {
            "graph_100k_submit_s": "graph of 100,000 nodes: handed over, s",
            "graph_100k_s": "… its result is there, s",
        },
        graph_100k,
        timeout_s=90,
    ),
    "frames": Case(
        "frames",
        {
            "frame_small_s": "400 MB frame, 16 partitions: small result, s",
            "frame_full_s": "… full-size result, s",
            "frame_heavy_s": "… work for a processor, s",
        },
        frames,
        timeout_s=120,
    ),
    "frames-put": Case(
        "put",
        {
            "frame_small_put_s": "… already put: small result, s",
            "frame_full_put_s": "… already put: full-size result, s",
        },
        frames_put,
        timeout_s=120,
    ),
    "items-1us": Case(
        "map",
        {
            "items_1us_of_ideal": "1,000,000 items of 1 µs, time ÷ ideal",
            "item_1us_us": "… an item in a plain loop, µs",
        },
        microseconds,
        timeout_s=120,
        after="map-1m",
    ),
    "items-1ms": Case("map", {"items_1ms_of_ideal": "10,000 items of 1 ms, time ÷ ideal"}, milliseconds),
    "items-skewed": Case("map", {"items_skewed_of_ideal": "50 items of 0.1 to 2 s, time ÷ ideal"}, skewed),
    "memory": Case(
        "call",
        {
            "worker_rss_mb": "worker process RSS, MB",
            "worker_uss_mb": "worker process USS, MB",
            "all_pss_mb": "all processes beside the client, PSS, MB",
            "process_count": "processes beside the client",
        },
        memory,
    ),
}
COLD = "cold-start"
COLD_FIGURES = {"cold_start_ms": "start of Python to first result, ms"}
NO_RATIO = ("process_count", "item_1us_us")
