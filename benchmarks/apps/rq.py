"""Jobs of RQ that read the results of those they depend on."""

from __future__ import annotations

from rq import get_current_job

from benchmarks import work


def join() -> int:
    """`work.join` of two jobs."""
    left, right = _results()
    return work.join(left, right)


def total() -> int:
    """`work.total` of all jobs."""
    return work.total(_results())


def _results() -> list[int]:
    return [job.return_value() for job in get_current_job().fetch_dependencies()]
