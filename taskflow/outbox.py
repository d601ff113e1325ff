"""Group commit: plans that were submitted at the same time go to the store in one step.

There is no timer. While one step is under way the next plans gather; so a single call is committed
by the thread that submits it, and a burst costs one transaction per hundred calls.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from taskflow.errors import UsageError
from taskflow.ports import GraphPort
from taskflow.records import Plan

__all__ = ["Outbox"]

BATCH = 128

Refused = Callable[[BaseException], None]


class Outbox:
    """Plans on their way to the store."""

    def __init__(self, store: GraphPort) -> None:
        self._store = store
        self._plans: deque[tuple[Plan, Refused]] = deque()
        self._sending = threading.Lock()
        self._kick = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def put(self, plan: Plan, refused: Refused, *, at_once: bool) -> None:
        """Send a plan: in this thread, or together with those that come meanwhile.

        Args:
            plan: What to send.
            refused: Called with the reason when the store does not take it.
            at_once: Return only when the store has it.
        """
        self._plans.append((plan, refused))
        if at_once or len(self._plans) >= BATCH:
            self.flush()
        elif not self._kick.is_set():
            if self._thread is None:
                self._start()
            self._kick.set()

    def flush(self) -> None:
        """Return when everything that was put before is in the store, or was refused."""
        if not self._plans and not self._sending.locked():
            return
        with self._sending:
            while self._plans:
                self._send([self._plans.popleft() for _ in range(min(len(self._plans), 4 * BATCH))])

    def _send(self, batch: list[tuple[Plan, Refused]]) -> None:
        try:
            self._store.submit([plan for plan, _ in batch])
        except BaseException as error:
            if len(batch) > 1 and isinstance(error, UsageError):
                for one in batch:
                    self._send([one])
                return
            for _, refused in batch:
                refused(error)
            if not isinstance(error, Exception):
                raise

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="taskflow-outbox", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closed:
            self._kick.wait()
            self._kick.clear()
            self.flush()

    def close(self) -> None:
        """Send what is left and stop."""
        self.flush()
        self._closed = True
        self._kick.set()
