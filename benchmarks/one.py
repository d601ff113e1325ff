"""One measurement in this process: ``python -m benchmarks.one SUITE SUBJECT CASE SCALE STARTED``.

Figures go to standard output as JSON, a line each as they are there; `STARTED` is the clock
(`time.perf_counter`, which all processes share on Linux) as this process was started. It imports little, as
the cold start is measured with it.
"""

from __future__ import annotations

import signal
import sys
from time import perf_counter
from typing import NoReturn

from benchmarks.subject import Subject
from benchmarks.subjects import load


def main(suite: str, subject: str, case: str, scale: str, started: str) -> None:
    """Measure, and stop the subject whatever happens."""
    signal.signal(signal.SIGTERM, _leave)
    one = load(subject)()
    if case == "cold-start":
        _first_result(one, float(started))
        return
    from benchmarks import cases, processes
    from benchmarks.suite import SUITES

    processes.adopt_orphans()
    chosen = SUITES[suite].cases[case]
    try:
        one.start()
        cases.warm(one, chosen.ability)
        for figures in chosen.measure(one, float(scale)):
            _say(dict(figures))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        one.stop()


def _first_result(one: Subject, started: float) -> None:
    from benchmarks.work import increment

    one.start()
    try:
        if one.call(increment, 1) != 2:
            raise AssertionError("wrong answer")
        _say({"cold_start_ms": (perf_counter() - started) * 1e3})
    finally:
        one.stop()


def _say(figures: dict[str, float]) -> None:
    from benchmarks.apart import tell

    tell(figures)


def _leave(*_: object) -> NoReturn:
    sys.exit("over time")


if __name__ == "__main__":
    main(*sys.argv[1:])
