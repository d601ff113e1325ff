"""Group commit: plans that were submitted at the same time go to the store in one step.

There is no timer. While one step is under way the next plans gather; so a single call is committed
by the thread that submits it, and a burst costs one transaction per hundreds of calls.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from taskflow.errors import UsageError
from taskflow.ports import GraphPort
from taskflow.records import Plan

if TYPE_CHECKING:
    from taskflow.burst import Burst
    from taskflow.future import Future
    from taskflow.policy import Options

__all__ = ["Outbox"]

BATCH = 128
BATCH_CALLS = 512

Refused = Callable[[BaseException], None]
_Entry: TypeAlias = "tuple[Plan, Refused] | Burst"


class Outbox:
    """Plans and bursts on their way to the store.

    Args:
        store: Takes them.
        sent: Called with those that it has taken.
    """

    def __init__(self, store: GraphPort, sent: Callable[[Sequence[Plan]], None] = lambda _: None) -> None:
        self._store = store
        self._sent = sent
        self._entries: deque[_Entry] = deque()
        self._open: dict[str, Burst] = {}
        self._gathered = 0
        self._gathering = threading.Lock()
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
        self._entries.append((plan, refused))
        self._soon(at_once or len(self._entries) >= BATCH)

    def gather(self, digest: str, options: Options, item: Any, make: Callable[[], Burst]) -> Future[Any]:
        """Send a call with those that come meanwhile and are like it.

        Args:
            digest: The function.
            options: How the call is treated.
            item: Its arguments.
            make: Makes a burst for it, when there is none.
        """
        with self._gathering:
            burst = self._open.get(digest)
            if burst is None or burst.is_full or not (burst.options is options or burst.options == options):
                burst = self._open[digest] = make()
                self._entries.append(burst)
            future = burst.add(item)
            self._gathered += 1
        self._soon(self._gathered >= BATCH_CALLS)
        return future

    def _soon(self, at_once: bool) -> None:
        if at_once:
            self.flush()
        elif not self._kick.is_set():
            if self._thread is None:
                self._start()
            self._kick.set()

    def flush(self) -> None:
        """Return when everything that was put before is in the store, or was refused."""
        if not self._entries and not self._sending.locked():
            return
        with self._sending:
            while self._entries:
                self._send(self._batch())

    def _batch(self) -> list[tuple[Plan, Refused]]:
        """The next ones; when that is interrupted they stay where they were."""
        batch: list[tuple[Plan, Refused]] = []
        try:
            while self._entries and len(batch) < 4 * BATCH:
                entry = self._take()
                if entry is not None:
                    batch.append(entry)
        except BaseException:
            self._entries.extendleft(reversed(batch))
            raise
        return batch

    def _take(self) -> tuple[Plan, Refused] | None:
        """The next one, ready to submit; `None` when that cannot be, which its calls have been told."""
        with self._gathering:
            entry = self._entries.popleft()
            if isinstance(entry, tuple):
                return entry
            if self._open.get(entry.digest) is entry:
                del self._open[entry.digest]
            self._gathered = 0
        try:
            return entry.seal(), entry.fail
        except BaseException as error:
            entry.fail(error)
            if not isinstance(error, Exception):
                raise
            return None

    def _send(self, batch: list[tuple[Plan, Refused]]) -> None:
        if not batch:
            return
        plans = [plan for plan, _ in batch]
        try:
            self._store.submit(plans)
        except BaseException as error:
            if len(batch) > 1 and isinstance(error, UsageError):
                for one in batch:
                    self._send([one])
                return
            for _, refused in batch:
                refused(error)
            if not isinstance(error, Exception):
                raise
        else:
            self._sent(plans)

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
