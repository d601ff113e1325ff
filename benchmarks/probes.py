"""Where time goes in running code: functions are replaced by ones that take the time.

A step's time is its own: what steps inside it took is theirs. Each process keeps its sums in a file that all
can read, also after a fork; so nothing has to be sent, and nothing is lost when a process is killed.
"""

from __future__ import annotations

import functools
import mmap
import os
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any, NamedTuple

_COUNT, _WALL, _CPU = range(3)


class Step(NamedTuple):
    """A step of a call's way: a name, and the function that does it, as ``module:Class.function``."""

    name: str
    place: str


class Sums(NamedTuple):
    """What a step took, over all processes of one role."""

    times: float
    wall_s: float
    cpu_s: float

    def since(self, before: Sums) -> Sums:
        """The difference."""
        return Sums(*(now - then for now, then in zip(self, before, strict=True)))


class Probes:
    """The steps of one role; processes that are forked from this one have the role `forked`.

    Args:
        folder: Where the sums are kept.
        role: Of this process.
        steps: What is timed.
        forked: The role of what is forked from here.
    """

    def __init__(self, folder: Path, role: str, steps: Sequence[Step], forked: str = "") -> None:
        self._folder, self._steps, self._forked = folder, steps, forked
        self._local = threading.local()
        self._open(role)
        for number, step in enumerate(steps):
            _replace(step.place, functools.partial(self._timed, number))
        os.register_at_fork(after_in_child=self._after_fork)

    def _open(self, role: str) -> None:
        path = self._folder / f"{role}-{os.getpid()}"
        size = 3 * 8 * len(self._steps)
        path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._cells = memoryview(mmap.mmap(file.fileno(), size)).cast("d")

    def _after_fork(self) -> None:
        self._local = threading.local()
        self._open(self._forked)

    def _timed(self, number: int, fn: Callable[..., Any]) -> Callable[..., Any]:
        at = 3 * number

        @functools.wraps(fn)
        def probe(*args: Any, **kwargs: Any) -> Any:
            local = self._local
            outer = getattr(local, "inside", (0.0, 0.0))
            local.inside = (0.0, 0.0)
            wall, cpu = perf_counter(), thread_time()
            try:
                return fn(*args, **kwargs)
            finally:
                cpu, wall = thread_time() - cpu, perf_counter() - wall
                cells, inside = self._cells, local.inside
                cells[at + _COUNT] += 1
                cells[at + _WALL] += wall - inside[0]
                cells[at + _CPU] += cpu - inside[1]
                local.inside = (outer[0] + wall, outer[1] + cpu)

        return probe


def read(folder: Path, steps: dict[str, Sequence[Step]]) -> dict[tuple[str, str], Sums]:
    """The sums so far: by role and step, over all processes of the role."""
    found: dict[tuple[str, str], Sums] = {}
    for path in folder.iterdir():
        role = path.name.partition("-")[0]
        cells = memoryview(path.read_bytes()).cast("d")
        for number, step in enumerate(steps.get(role, ())):
            here = Sums(*cells[3 * number : 3 * number + 3])
            known = found.get((role, step.name), Sums(0, 0, 0))
            found[role, step.name] = Sums(*(a + b for a, b in zip(known, here, strict=True)))
    return found


def _replace(place: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    module, _, name = place.partition(":")
    owner: Any = import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, last, wrap(getattr(owner, last)))
