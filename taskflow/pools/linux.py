"""What the pools ask of the operating system: and how they go on where it has no answer."""

from __future__ import annotations

import ctypes
import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["Prctl", "forks_well", "humble", "oom_kills", "tree_rss_bytes"]

_PAGE_BYTES = resource.getpagesize()
_SMALL_BYTES = 64 << 20


class Prctl:
    """The few ``prctl`` calls that matter here; they do nothing where there is no such call."""

    _libc: Any = None

    @classmethod
    def _call(cls, option: int, value: int) -> None:
        if cls._libc is None:
            cls._libc = ctypes.CDLL(None, use_errno=True)
        with suppress(AttributeError):
            cls._libc.prctl(option, value, 0, 0, 0)

    @classmethod
    def die_with_parent(cls, sig: int) -> None:
        """Get a signal when the thread that forked this process ends."""
        cls._call(1, sig)

    @classmethod
    def adopt_orphans(cls) -> None:
        """Become the parent of descendants whose own parent ends."""
        cls._call(36, 1)

    @classmethod
    def flush_stdio(cls) -> None:
        """Write out what C code printed and its library still holds."""
        if cls._libc is not None:
            cls._libc.fflush(None)


def forks_well() -> bool:
    """Whether this process may be forked, and is small enough to be the ancestor of many."""
    try:
        with open("/proc/self/statm", "rb") as file:
            small = int(file.read().split()[1]) * _PAGE_BYTES < _SMALL_BYTES
        return small and len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def humble() -> None:
    """Make this process the one to go when memory is short, and let it leave no core file."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def tree_rss_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; 0 when it is gone."""
    total = 0
    todo = [pid]
    while todo:
        one = todo.pop()
        try:
            with open(f"/proc/{one}/statm", "rb") as file:
                total += int(file.read().split()[1]) * _PAGE_BYTES
            for name in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{name}/children", "rb") as file:
                    todo += map(int, file.read().split())
        except OSError:
            continue
    return total


def oom_kills() -> int:
    """How often the kernel killed a process for memory where this one lives."""
    for path, word in _counters():
        with suppress(OSError, ValueError):
            for line in path.read_text(encoding="ascii").splitlines():
                name, _, count = line.partition(" ")
                if name == word:
                    return int(count)
    return 0


def _counters() -> list[tuple[Path, str]]:
    found = []
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                found.append((Path("/sys/fs/cgroup" + path) / "memory.events", "oom_kill"))
            elif "memory" in controllers.split(","):
                found.append((Path("/sys/fs/cgroup/memory" + path) / "memory.oom_control", "oom_kill"))
    return [*found, (Path("/proc/vmstat"), "oom_kill")]
