"""How many cores this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path

__all__ = ["cpu_count", "memory_limit_bytes"]

_GROUPS = Path("/sys/fs/cgroup")


def cpu_count() -> int:
    """Cores that this process may use: its affinity, and the quota of its control group (containers)."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    quota = _quota()
    return max(1, cores if quota is None else min(cores, ceil(quota)))


def memory_limit_bytes() -> int | None:
    """The memory that the control groups grant, or `None` when they do not say; the smallest counts."""
    found = [_limit(group / name) for name in _MEMORY for group in _own_groups()]
    return min((limit for limit in found if limit is not None), default=None)


_MEMORY = ("memory.max", "memory/memory.limit_in_bytes")
_NO_LIMIT = 1 << 60


def _limit(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text and text.isdigit() and int(text) < _NO_LIMIT else None


def _quota() -> float | None:
    """Cores that the control groups grant: the smallest share on the way up counts."""
    return min((share for group in _own_groups() for share in _shares(group)), default=None)


def _shares(group: Path) -> Iterator[float]:
    limit, _, period = (_read(group / "cpu.max") or "").partition(" ")
    if limit.isdigit() and period.isdigit() and int(period):
        yield int(limit) / int(period)
    quota, span = _read(group / "cpu/cpu.cfs_quota_us"), _read(group / "cpu/cpu.cfs_period_us")
    if quota and span and quota.isdigit() and span.isdigit() and int(span):
        yield int(quota) / int(span)


def _own_groups() -> list[Path]:
    """The control group of this process and those above it, nearest first (version 2), then the root."""
    found = []
    for line in (_read(Path("/proc/self/cgroup")) or "").splitlines():
        if line.startswith("0::"):
            path = line[3:].strip("/")
            while path:
                found.append(_GROUPS / path)
                path = path.rpartition("/")[0]
    return [*found, _GROUPS]


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
