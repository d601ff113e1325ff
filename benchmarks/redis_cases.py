"""What is measured on Redis, beside others that keep their queue there. Every result is checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from itertools import repeat
from time import perf_counter

from benchmarks import cases, processes, redis_server, work
from benchmarks.cases import Case, Figures, check, median_s, same, warm
from benchmarks.subject import Subject

CREWS = (1, 2, 4, 8)


def submit(subject: Subject, scale: float) -> Iterator[Figures]:
    """Calls a second, sent one by one, every result fetched."""
    yield from cases.submit(subject, scale * _part(subject, "submit"))


def map_items(subject: Subject, scale: float) -> Iterator[Figures]:
    """Items a second of a map over 100,000 trivial items."""
    yield from cases.map_items(subject, scale * _part(subject, "map"))


def chord(case: str, key: str, count: int, subject: Subject, scale: float) -> Iterator[Figures]:
    """Calls, then one call on all their results; a part of them is scaled in proportion."""
    part = _part(subject, case)
    items = range(max(1, int(count * scale * part)))
    took_s = median_s(partial(subject.chord, work.increment, items), same(sum(items) + len(items)))
    yield {key: took_s * 1e3 / part}


def dag(subject: Subject, scale: float) -> Iterator[Figures]:
    """Nodes a second, from a list of layers to the checked sum of the last one."""
    graph = work.layered(int(100 * max(scale * _part(subject, "dag"), 0.05)), 20)
    took_s = median_s(partial(_run, subject, graph), same(work.answer(graph)))
    yield {"dag_2k_per_s": sum(map(len, graph)) / took_s}


def _run(subject: Subject, graph: work.Graph) -> int:
    return subject.graph(graph)()


def crews(subject: Subject, scale: float) -> Iterator[Figures]:
    """What a task of 1 ms costs beside its millisecond, with more and more workers on the same processors."""
    items = range(max(20, int(2_000 * scale * _part(subject, "crews"))))
    expected = list(range(1, len(items) + 1))
    for count in CREWS:
        subject.stop()
        subject.workers = count
        subject.start()
        warm(subject, "submit")
        check(subject.submit(work.processor_millisecond, range(20 * count)), list(range(1, 20 * count + 1)))
        used_s, began = _used_s(), perf_counter()
        answer = subject.submit(work.processor_millisecond, items)
        took_s, used_s = perf_counter() - began, _used_s() - used_s
        check(answer, expected)
        ideal_s = len(items) * 0.001 / min(count, os.cpu_count() or 1)
        yield {
            f"crew_{count}_us": (used_s / len(items) - 0.001) * 1e6,
            f"crew_{count}_of_ideal": took_s / ideal_s,
        }


def memory(subject: Subject, scale: float) -> Iterator[Figures]:
    """What the processes hold after some work; the server is not among them."""
    for x in range(int(500 * scale * _part(subject, "memory"))):
        subject.call(work.increment, x)
    worker = subject.call(work.memory)
    others = [processes.memory_of(pid) for pid in processes.descendants(os.getpid())]
    yield {
        "worker_rss_mb": worker["Rss"],
        "worker_uss_mb": worker["Private_Clean"] + worker["Private_Dirty"],
        "all_pss_mb": sum(other["Pss"] for other in others),
        "process_count": sum(other["Rss"] > 0 for other in others),
    }


def server(subject: Subject, scale: float) -> Iterator[Figures]:
    """What the server does for a call: of a burst, and of one at a time."""
    count = max(20, int(5_000 * scale * _part(subject, "server")))
    before = redis_server.usage()
    check(subject.submit(work.increment, range(count)), list(range(1, count + 1)))
    yield _each("burst", before, count)
    count = max(20, int(500 * scale * _part(subject, "server")))
    before = redis_server.usage()
    for x in repeat(1, count):
        check(subject.call(work.increment, x), 2)
    yield _each("single", before, count)


def _each(kind: str, before: redis_server.Usage, count: int) -> Figures:
    spent = [now - then for now, then in zip(redis_server.usage(), before, strict=True)]
    commands, scripts, size_bytes, cpu_s = (each / count for each in spent)
    return {
        f"server_{kind}_commands": commands,
        f"server_{kind}_scripts": scripts,
        f"server_{kind}_bytes": size_bytes,
        f"server_{kind}_cpu_us": cpu_s * 1e6,
    }


def _part(subject: Subject, case: str) -> float:
    return subject.parts.get(case, 1.0)


def _used_s() -> float:
    """By all that take part: this process, its workers, the server."""
    return processes.used_s(os.getpid()) + redis_server.usage().cpu_s


def _server_titles(kind: str, title: str) -> dict[str, str]:
    return {
        f"server_{kind}_commands": f"server: commands a call, {title}",
        f"server_{kind}_scripts": "… of them scripts",
        f"server_{kind}_bytes": "… bytes in and out a call",
        f"server_{kind}_cpu_us": "… processor time a call, µs",
    }


CASES: dict[str, Case] = {
    "submit": Case("submit", cases.CASES["submit"].figures, submit, turns=3),
    "latency": Case("call", cases.CASES["latency"].figures, cases.latency, turns=3),
    "map": Case("map", cases.CASES["map"].figures, map_items),
    "chord-1k": Case(
        "chord",
        {"chord_1k_ms": "chord of 1,000, ms"},
        partial(chord, "chord-1k", "chord_1k_ms", 1_000),
    ),
    "chord-10k": Case(
        "chord",
        {"chord_10k_ms": "chord of 10,000, ms"},
        partial(chord, "chord-10k", "chord_10k_ms", 10_000),
        timeout_s=240,
        after="chord-1k",
    ),
    "dag": Case("graph", {"dag_2k_per_s": "graph of 100 layers of 20, nodes/s"}, dag),
    "crews": Case(
        "submit",
        {f"crew_{count}_us": f"calls of 1 ms, workers: {count}: all else, µs a call" for count in CREWS}
        | {f"crew_{count}_of_ideal": f"… workers: {count}: time ÷ ideal" for count in CREWS},
        crews,
        timeout_s=90,
    ),
    "memory": Case("call", cases.CASES["memory"].figures, memory),
    "server": Case(
        "submit",
        _server_titles("burst", "5,000 single calls") | _server_titles("single", "one at a time"),
        server,
    ),
}
