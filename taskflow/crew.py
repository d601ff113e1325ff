"""The workers that this process starts for itself."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import Any

from taskflow.cores import cpu_count
from taskflow.errors import ConfigError
from taskflow.worker.queues import DEFAULT, Queues

__all__ = ["Crew", "Terms", "slots_of"]

IDLE_EXIT_S = 600.0
STOP_S = 5.0
EARLY_S = 3.0
MOST_EARLY_DEATHS = 3


@dataclass(frozen=True, slots=True)
class Terms:
    """What embedded workers serve, and how.

    Args:
        pool: How they run calls.
        pool_url: The address of the cluster that runs them.
        queues: What they serve.
        detach: They outlive this process.
        threads: Threads that numeric libraries may use in a call; `None` shares the cores among the slots.
    """

    pool: str = "process"
    pool_url: str = ""
    queues: Queues = DEFAULT
    detach: bool = False
    threads: int | None = None


class Crew:
    """The embedded workers: one worker process with some slots, started when it is needed.

    Clients of one store share it: `join` gives every client the same crew, and it stops when the last
    one leaves.

    Args:
        url: The store.
        slots: Calls at once; with 0 it never starts anything.
        terms: What it serves, and how.
    """

    def __init__(self, url: str, slots: int, terms: Terms) -> None:
        self.url = url
        self.slots = slots
        self.terms = terms
        self._process: Any = None
        self._spawned_at = 0.0
        self._early_deaths = 0
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._members = 0

    @classmethod
    def join(cls, url: str, slots: int, terms: Terms) -> Crew:
        """The crew of this process for a store; it grows to `slots` when it has fewer."""
        if slots == 0:
            alone = cls(url, 0, terms)
            alone._members = 1
            return alone
        key = (os.getpid(), url, terms)
        with _joining:
            crew = _crews.setdefault(key, cls(url, slots, terms))
            crew._members += 1
            if slots > crew.slots:
                crew.scale(slots)
            return crew

    def leave(self, *, at_once: bool = False) -> None:
        """Need it no more: when nobody does, it stops; or is ended, `at_once`, without a word."""
        with _joining:
            self._members -= 1
            if self._members > 0:
                return
            for key in [key for key, crew in _crews.items() if crew is self]:
                del _crews[key]
        if at_once and self._process is not None:
            self._process.kill()
        self._stop()

    @property
    def alive(self) -> bool:
        """Whether the worker process runs."""
        process = self._process
        return process is not None and process.poll() is None

    @property
    def broken(self) -> bool:
        """Whether the worker process could not be kept alive: it died at every start."""
        return self._early_deaths >= MOST_EARLY_DEATHS

    def ensure(self) -> None:
        """Start the worker process unless it runs; one that dies at every start is given up."""
        if self.slots and not self.alive and not self.broken and os.getpid() == self._pid:
            with self._lock:
                if not self.alive and self._members > 0:
                    self._spawn()

    def _spawn(self) -> None:
        from taskflow.worker.process import spawn

        now = time.monotonic()
        if self._process is not None:
            self._early_deaths = self._early_deaths + 1 if now - self._spawned_at < EARLY_S else 0
        self._spawned_at = now
        terms = self.terms
        self._process = spawn(
            self.url,
            self.slots,
            pool=terms.pool,
            pool_url=terms.pool_url,
            queues=terms.queues,
            detach=terms.detach,
            idle_exit_s=None if terms.detach else IDLE_EXIT_S,
            threads_per_slot=terms.threads,
        )

    def scale(self, slots: int) -> None:
        """Have another number of slots."""
        self.slots = slots
        if self.alive:
            self._process.resize(slots)
        else:
            self.ensure()

    def _stop(self) -> None:
        """Stop the worker process at once; what it had not ended goes back to the store."""
        with self._lock:
            process, self._process = self._process, None
        if process is None or self.terms.detach or os.getpid() != self._pid or process.poll() is not None:
            return
        process.leave()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def slots_of(workers: int | str, *, others: bool) -> int:
    """How many slots are meant.

    Args:
        workers: A number, or ``"auto"``.
        others: Whether others work there, as for a task or a store on a server: there are none by default.

    Raises:
        ConfigError: It is neither.
    """
    if workers == "auto":
        return 0 if others else cpu_count()
    if isinstance(workers, int) and workers >= 0:
        return int(workers)
    raise ConfigError(f"workers={workers!r} is not possible: give a number of at least 0, or 'auto'.")


_crews: dict[tuple[int, str, Terms], Crew] = {}
_joining = threading.RLock()
