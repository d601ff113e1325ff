"""Group commit: plans that were submitted at the same time go to the store in one step.

There is no timer. While one step is under way the next plans gather; so a single call is committed
by the thread that submits it, and a burst costs one transaction per hundreds of calls.

What the store refuses for want of room is held, and handed over again by a thread of the outbox; meanwhile
who submits more to the same queue waits, so that little is ever held::

    put, gather ──► entries ──► a batch ──► the store
                      ▲           │ QueueFull
                      └── room ── held
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from taskflow.errors import QueueFull, UsageError
from taskflow.ports import GraphPort
from taskflow.records import Plan
from taskflow.room import Room

if TYPE_CHECKING:
    from taskflow.burst import Burst
    from taskflow.policy import Options

__all__ = ["Outbox"]

BATCH = 128
BATCH_CALLS = 512
STEP_CALLS = 16_384
RETRY_S = 0.1

T = TypeVar("T")
Refused = Callable[[BaseException], None]
_Entry: TypeAlias = "tuple[Plan, Refused] | Burst"


class Outbox:
    """Plans and bursts on their way to the store.

    Args:
        store: Takes them.
        room: Tells of waits.
        sent: Called with those that the store has taken.
    """

    def __init__(
        self,
        store: GraphPort,
        room: Room | None = None,
        sent: Callable[[Sequence[Plan]], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._room = room or Room()
        self._sent = sent
        self._entries: deque[_Entry] = deque()
        self._held: list[_Entry] = []
        self._full: dict[str | None, QueueFull] = {}
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
        entry = (plan, refused)
        if self._held and any(node.edges for node in plan.nodes):
            self.flush()  # it may depend on what is held
        if self._full:
            self._wait_for_room(_queue(entry))
        try:
            if at_once and not self._entries:
                with self._sending:
                    self._send([entry])
                if self._held:
                    self.flush()
            else:
                self._entries.append(entry)
                self._soon(at_once or len(self._entries) >= BATCH)
        except BaseException:
            self._take_back(entry)
            raise

    def gather(
        self,
        digest: str,
        options: Options,
        add: Callable[[Burst, Any], T],
        item: Any,
        make: Callable[[], Burst],
    ) -> T:
        """Send a call with those that come meanwhile and are like it.

        Args:
            digest: The function.
            options: How the call is treated.
            add: Adds the call to a burst.
            item: Its arguments.
            make: Makes a burst for it, when there is none.

        Returns:
            What adding it gave.
        """
        if self._full:
            self._wait_for_room(options.queue)
        with self._gathering:
            burst = self._open.get(digest)
            if burst is None or burst.is_full or not (burst.options is options or burst.options == options):
                burst = self._open[digest] = make()
                self._entries.append(burst)
            place = add(burst, item)
            self._gathered += 1
        self._soon(self._gathered >= BATCH_CALLS)
        return place

    def _soon(self, at_once: bool) -> None:
        if at_once:
            self.flush()
        elif not self._kick.is_set():
            if self._thread is None:
                self._start()
            self._kick.set()

    def flush(self, *, wait: bool = True) -> None:
        """Return when everything that was put before is in the store, or was refused.

        Args:
            wait: Wait for room; else what is held for want of it is left to go when there is some.
        """
        if self._entries or self._sending.locked():
            with self._sending:
                while self._entries:
                    self._send(self._batch())
        if wait and self._held:
            self._rest_while(lambda: next(iter(self._full.values()), None))

    def _wait_for_room(self, queue: str) -> None:
        self._rest_while(lambda: self._full.get(queue) or self._full.get(None))

    def _rest_while(self, full: Callable[[], QueueFull | None]) -> None:
        since = time.monotonic()
        while error := full():
            self._room.rest(error, since)

    def _take_back(self, entry: _Entry) -> None:
        """Whoever submitted it does not wait for room any more."""
        with self._sending:
            for entries in (self._held, self._entries):
                with contextlib.suppress(ValueError):
                    entries.remove(entry)

    def _batch(self) -> list[tuple[Plan, Refused]]:
        """The next ones; when that is interrupted they stay where they were."""
        batch: list[tuple[Plan, Refused]] = []
        calls = 0
        try:
            while self._entries and len(batch) < 4 * BATCH and calls < STEP_CALLS:
                entry = self._take()
                if entry is not None:
                    batch.append(entry)
                    calls += sum(node.width or 1 for node in entry[0].nodes)
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
        except QueueFull as error:
            self._hold(entry, error)
            return None
        except BaseException as error:
            entry.fail(error)
            if not isinstance(error, Exception):
                raise
            return None

    def _send(self, batch: list[tuple[Plan, Refused]]) -> None:
        if self._full:
            batch = [entry for entry in batch if not self._keep(entry)]
        if not batch:
            return
        plans = [plan for plan, _ in batch]
        try:
            self._store.submit(plans)
        except BaseException as error:
            if len(batch) == 1 and isinstance(error, QueueFull):
                self._hold(batch[0], error)
                return
            if len(batch) > 1 and isinstance(error, UsageError | QueueFull):
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
            self._kick.wait(RETRY_S if self._full else None)
            self._kick.clear()
            if self._full:
                self._try_again()
            self.flush(wait=False)

    # ── no room ──────────────────────────────────────────────────────────────────────

    def _hold(self, entry: _Entry, error: QueueFull) -> None:
        self._held.append(entry)
        self._full[error.queue] = error
        if self._thread is None:
            self._start()
        self._kick.set()

    def _keep(self, entry: _Entry) -> bool:
        """Hold what would only be refused like those before it."""
        is_held = _queue(entry) in self._full or None in self._full
        if is_held:
            self._held.append(entry)
        return is_held

    def _try_again(self) -> None:
        """Hand over the first that is held of each queue; when the store takes it the others follow."""
        with self._sending:
            for queue in list(self._full):
                mine = [entry for entry in self._held if queue is None or _queue(entry) == queue]
                others = [entry for entry in self._held if queue is not None and _queue(entry) != queue]
                if mine and not self._is_taken(mine, queue):
                    self._held = mine + others
                    continue
                del self._full[queue]
                self._held = others
                self._entries.extendleft(reversed(mine[1:]))

    def _is_taken(self, entries: list[_Entry], queue: str | None) -> bool:
        """Whether the first of these is held no more: the store has it, or will never have it."""
        entry = entries[0]
        refused = entry[1] if isinstance(entry, tuple) else entry.fail
        try:
            plan = entry[0] if isinstance(entry, tuple) else entry.seal()
            entries[0] = plan, refused
            self._store.submit([plan])
        except QueueFull as error:
            self._full[queue] = error
            return False
        except Exception as error:  # noqa: BLE001 - told to who waits for it
            refused(error)
        return True

    def close(self) -> None:
        """Send what is left and stop; what there was no room for is refused."""
        self.flush(wait=False)
        self._closed = True
        self._kick.set()
        with self._sending:
            held, self._held = self._held, []
        for entry in held:
            refused = entry[1] if isinstance(entry, tuple) else entry.fail
            refused(self._full.get(_queue(entry)) or next(iter(self._full.values())))


def _queue(entry: _Entry) -> str:
    """The queue of a call."""
    if not isinstance(entry, tuple):
        return entry.options.queue
    return entry[0].nodes[0].queue if entry[0].nodes else ""
