"""Processes and their memory, as the kernel tells it (Linux)."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_RESET_PEAK = "5"


def adopt_orphans() -> None:
    """Daemons that are started from here stay descendants of this process: they are counted, and ended."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(root: int) -> list[int]:
    """All that were started by a process, or by what it started."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = list(children.get(root, ()))
    for pid in found:
        found += children.get(pid, ())
    return found


def end(pids: list[int]) -> None:
    """End processes that this one, or what it started, has started."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def reap() -> None:
    """Take note of adopted processes that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def memory_of(pid: int) -> dict[str, float]:
    """Megabytes by the names of the kernel (``Rss``, ``Pss`` …); zeros when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return dict.fromkeys(("Rss", "Pss", "Private_Clean", "Private_Dirty"), 0.0)
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}


def resident_mb(root: int) -> dict[int, float]:
    """Memory of a process and its descendants now; `peak_mb` counts from here."""
    pids = [root, *descendants(root)]
    for pid in pids:
        with suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
    return {pid: _status_mb(pid, "VmRSS") for pid in pids}


def peak_mb(root: int) -> dict[int, float]:
    """The most memory that a process and its descendants had since `resident_mb`."""
    return {pid: _status_mb(pid, "VmHWM") for pid in [root, *descendants(root)]}


def cpu_s(pid: int) -> float:
    """Processor time of all threads of a process, in seconds."""
    total_ns = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):
            total_ns += int(task.read_text(encoding="ascii").split()[0])
    return total_ns / 1e9


def used_s(root: int) -> float:
    """Processor time of a process, its descendants, and those of them that have ended; to 10 ms a process."""
    ticks = 0
    for pid in [root, *descendants(root)]:
        with suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            ticks += sum(map(int, stat.rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def wait_until_gone(pids: list[int], timeout_s: float) -> list[int]:
    """Those that are still there after a while."""
    until = time.monotonic() + timeout_s
    left = pids
    while left and time.monotonic() < until:
        reap()
        left = [pid for pid in left if Path(f"/proc/{pid}").exists()]
        time.sleep(0.02)
    return left


def _status_mb(pid: int, field: str) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
    return 0.0
