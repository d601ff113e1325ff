"""The two tables: taskflow in a file beside pools, and taskflow on Redis beside queues on Redis."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import cases, redis_cases, subjects
from benchmarks.cases import Case

HOME = Path(__file__).parent

Values = Mapping[str, Mapping[str, Sequence[float]]]
"""By figure, by subject: one number a round."""


@dataclass(frozen=True)
class Target:
    """What taskflow is to reach, as a number of its own or beside another in the same run.

    Args:
        figure: Which; the median of the run counts.
        least: At least so much; with a rival, so many times better than it.
        most: At most so much; with a rival or `over`, so many times that.
        rival: Of whom the same figure is compared.
        over: A figure of taskflow's own that this one is divided by.
        times: … and by this number.
        is_stretch: It would be nice.
        subject: Whose figure it is, when not that of the column that all others are compared with.
    """

    figure: str
    least: float | None = None
    most: float | None = None
    rival: str = ""
    over: str = ""
    times: float = 1.0
    is_stretch: bool = False
    subject: str = ""

    def found(self, values: Values, ours: str) -> float | None:
        """What the run has, to be held against `least` or `most`."""
        ours = self.subject or ours
        own = _median(values, self.figure, ours)
        if self.rival or self.over:
            other = _median(values, self.over or self.figure, self.rival or ours)
            if not own or not other:
                return None
            is_share = self.most is not None or self.figure.endswith("per_s")
            return (own / other if is_share else other / own) / self.times
        return own

    def beyond(self, values: Values, ours: str, timeout_s: float) -> float | None:
        """How many times better at least, when the rival's milliseconds ran out of time."""
        own = _median(values, self.figure, self.subject or ours)
        is_time = self.figure.endswith("_ms") and self.least is not None
        return timeout_s * 1e3 / own / self.times if own and is_time else None

    def is_met(self, found: float) -> bool:
        """Whether that is enough."""
        return found >= self.least if self.least is not None else found <= (self.most or 0.0)


@dataclass(frozen=True)
class Suite:
    """One table.

    Attributes:
        command: What makes it.
        cases: In the order of the rows.
        subjects: In the order of the columns.
        ours: The subject that all others are compared with.
        results, kept: Where a whole run is written.
        notes: Above the table, with places for ``rounds`` and ``workers``.
        has_cold_start: The case that begins before Python does is among them.
        needs_redis: Every measurement gets a server of its own.
        only: Subject → the cases it is there for.
        targets: What is to be reached.
    """

    command: str
    cases: Mapping[str, Case]
    subjects: tuple[str, ...]
    ours: str
    results: Path
    kept: Path
    notes: str
    has_cold_start: bool = False
    needs_redis: bool = False
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all cases."""
        return (*self.cases, cases.COLD) if self.has_cold_start else tuple(self.cases)

    @property
    def figures(self) -> Mapping[str, Mapping[str, str]]:
        """By case, by figure: its row in the table."""
        cold = {cases.COLD: cases.COLD_FIGURES} if self.has_cold_start else {}
        return {name: case.figures for name, case in self.cases.items()} | cold

    def case_of(self, figure: str) -> Case:
        """The case that gives a figure."""
        return next(case for case in self.cases.values() if figure in case.figures)

    @property
    def titles(self) -> Mapping[str, str]:
        """By figure: its row in the table."""
        return {key: title for figures in self.figures.values() for key, title in figures.items()}


def _median(values: Values, figure: str, subject: str) -> float | None:
    found = values.get(figure, {}).get(subject)
    return statistics.median(found) if found else None


_LOCAL_NOTES = """\
Medians of {rounds} rounds; what takes longer than some seconds is measured once, what is quick several times
within a round. Each measurement is made in a process of its own, with {workers} worker processes, in
alternating order; results are fetched and checked. Behind each figure stands how many times better (×) or
worse (below 1) taskflow is, of the medians of this run. On a shared machine trust ratios beyond 1.5, and no
p99. Nothing is tuned: everyone is used as it comes. The *ideal* is a schedule on {workers} workers that
costs nothing (each item goes, in order, to the first free worker); for items of 1 µs it is half of a plain
loop in the same process. Before a frame is measured, memory of five times its size is used and given back,
by all alike: a virtual machine is slow with memory that it never had. taskflow has no calls for frames yet:
partitions are items of a map, or were handed over by `client.scatter`. Empty cells are explained below the
table.
"""

_REDIS_NOTES = """\
Medians of {rounds} rounds; what takes longer than some seconds is measured once, what is quick several
times within a round, single calls in three processes each. Each measurement is made in a process of its
own, with {workers} worker processes, in alternating order; results are fetched and checked. Behind each
figure stands how many times better (×) or worse (below 1) taskflow is, of the medians of this run. On a
shared machine trust ratios beyond 1.5, and no p99.

Each measurement has a Redis server of its own, empty, on a private unix socket, with
`appendonly yes, appendfsync everysec`, the same for all. Client, workers and server share the processors.
Nothing is tuned but the column with chunks. Who is slow is measured in a smaller size, which is said below
the table: its calls a second are those of that size, its chord is scaled up in proportion. Dask and Ray do
not use Redis; they are there for graphs, which queues on Redis hardly have.

*All else* of a call of 1 ms is the processor time of client, workers and server for a call beside its
millisecond; the *ideal* is so many milliseconds on as many processors as there are, or workers when those are
fewer. A command of the server is any that it carried out, those inside scripts too; one at a time means that
each call waited for the result of the one before, with whatever the workers asked meanwhile.
"""

SUITES: dict[str, Suite] = {
    "local": Suite(
        command="make bench",
        cases=cases.CASES,
        subjects=subjects.NAMES,
        ours="taskflow",
        results=HOME / "RESULTS.md",
        kept=HOME / "results.json",
        notes=_LOCAL_NOTES,
        has_cold_start=True,
    ),
    "redis": Suite(
        command="make bench-redis",
        cases=redis_cases.CASES,
        subjects=subjects.ON_REDIS,
        ours="taskflow_redis",
        results=HOME / "RESULTS-redis.md",
        kept=HOME / "results-redis.json",
        notes=_REDIS_NOTES,
        needs_redis=True,
        only={
            "celery_chunked": ("map",),
            "dask": ("dag",),
            "ray": ("dag",),
            "taskflow_app": ("submit", "latency", "map", "chord-1k", "chord-10k", "memory"),
        },
        targets=(
            Target("submit_per_s", least=25, rival="celery"),
            Target("submit_per_s", least=6, rival="huey"),
            Target("submit_per_s", least=8, rival="dramatiq"),
            Target("submit_per_s", least=200, rival="rq"),
            Target("submit_per_s", least=60_000, is_stretch=True),
            Target("latency_p50_us", most=0.3, rival="celery"),
            Target("latency_p50_us", most=0.7, rival="huey"),
            Target("latency_p50_us", most=260, is_stretch=True),
            Target("latency_p99_us", most=1_000),
            Target("map_per_s", least=5, rival="celery_chunked"),
            Target("map_per_s", least=1_000_000, is_stretch=True),
            Target("chord_1k_ms", least=15, rival="celery"),
            Target("chord_1k_ms", most=50, is_stretch=True),
            Target("chord_10k_ms", least=80, rival="celery"),
            Target("chord_10k_ms", most=300, is_stretch=True),
            Target("chord_10k_ms", most=1.2, over="chord_1k_ms", times=10),
            Target("dag_2k_per_s", least=8, rival="dask"),
            Target("dag_2k_per_s", least=4, rival="ray"),
            Target("dag_2k_per_s", least=15_000, is_stretch=True),
            Target("crew_8_us", most=1.2, over="crew_1_us"),
            Target("worker_rss_mb", most=35),
            Target("submit_per_s", least=1 / 1.2, rival="taskflow_redis", subject="taskflow_app"),
            Target("submit_per_s", least=20, rival="celery", subject="taskflow_app"),
            Target("latency_p50_us", most=0.35, rival="celery", subject="taskflow_app"),
            Target("chord_1k_ms", least=15, rival="celery", subject="taskflow_app"),
            Target("worker_rss_mb", most=1.0, rival="celery", subject="taskflow_app"),
        ),
    ),
}
