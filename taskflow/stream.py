"""`Stream`: the items of a map that an iterator gives, handed to the store as they are wanted.

Nobody knows how many there are, and there may be no end of them. So the map begins with the first of them,
and a call beside it, which this process holds, adds the others while the map runs::

    iterator ──► reader ──► items ──► keeper ──► store: pages, and a greater width
                   ▲                    │
                   └── not beyond the window: what was handed out, and some more

The lease of that call is renewed here. When nobody renews it, since this process has died, the store ends the
call as it ends any other, and with it closes the map: nothing is pending for ever.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from taskflow.errors import CannotPickle, LeaseLost, StoreError
from taskflow.ids import NodeId, RunId, WorkerId
from taskflow.plan import pages
from taskflow.policy import FEEDERS
from taskflow.records import Growth, Kind, LeaseKey, Outcome, Page, Settlement, Want

if TYPE_CHECKING:
    from taskflow.codec import Codec
    from taskflow.ports import Store

__all__ = ["Head", "Stream", "head_of"]

log = logging.getLogger(__name__)

HEAD_ITEMS = 4096
HEAD_BYTES = 4 << 20
HEAD_S = 0.1
AHEAD_LEAST = 1024
AHEAD_ITEMS = 65_536
AHEAD_BYTES = 64 << 20
AHEAD_S = 2.0
STEP_BYTES = 4 << 20
LEASE_S = 60.0
RENEW_S = 15.0
UNCLAIMED_S = 60.0
AGAIN_S = 1.0
CLOSE_S = 5.0


class Head(NamedTuple):
    """The first items of an iterator, and what is left of it; `rest` is `None` when that was all."""

    items: list[Any]
    rest: Iterator[Any] | None


def head_of(source: Iterator[Any], most: int | None = None) -> Head:
    """Read the beginning of an iterator: a short one to its end, of a long or slow one a moment's worth.

    Args:
        source: What to read; when it raises, so does what is left of it.
        most: Read no more items.

    Raises:
        BaseException: What the iterator raised in place of its first item.
    """
    found: list[Any] = []
    most = HEAD_ITEMS if most is None else min(most, HEAD_ITEMS)
    size, until = 0, time.monotonic() + HEAD_S
    while len(found) < most and size < HEAD_BYTES and time.monotonic() < until:
        try:
            item = next(source)
        except StopIteration:
            return Head(found, None)
        except Exception as error:  # it is raised at its place
            if not found:
                raise
            return Head(found, _Raising(error))
        found.append(item)
        size += _weight(item)
    return Head(found, source)


def _weight(item: Any) -> int:
    """About how many bytes an item takes; cheap, for there is one more every moment."""
    if isinstance(item, tuple) and item:
        return sum(map(_weight, item[:16]))
    size = getattr(item, "nbytes", None)
    return max(1, size if isinstance(size, int) else sys.getsizeof(item, 1))


class _Raising(Iterator[Any]):
    """What is left of an iterator that raised."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __next__(self) -> Any:
        raise self._error


class Stream:
    """Reads an iterator for a map.

    Args:
        store: What holds the map.
        codec: Packs the items.
        run, node: The map.
        feeder: The call that adds to it.
        digest: The function of the map.
        head: What the map has already, and where the rest comes from.
        buffersize: Read no further ahead of what was handed out than so many items; by default as far as two
            seconds of work, between 1,024 and 65,536 items, and 64 MiB.
        threads: Read and renew in threads of its own; else somebody calls `pump`.

    Attributes:
        error: What ended the stream before the iterator did, or what that raised.
        is_over: Nothing is added any more.
    """

    def __init__(
        self,
        store: Store,
        codec: Codec,
        run: RunId,
        node: NodeId,
        feeder: NodeId,
        digest: str,
        head: Head,
        buffersize: int | None = None,
        *,
        threads: bool = True,
    ) -> None:
        assert head.rest is not None
        self._store = store
        self._codec = codec
        self._run = run
        self._node = node
        self._feeder = feeder
        self._digest = digest
        self._source = head.rest
        self._buffersize = buffersize
        self._threads = threads
        self._key: LeaseKey | None = None
        self._changed = threading.Condition()
        self._items: deque[Any] = deque()
        self._given = self._read = len(head.items)
        self._weighed = sum(map(_weight, head.items))
        self._passed = 0
        self._sizes: deque[tuple[int, int]] = deque([(self._read, self._weighed)])
        self._handed = self._ended = self._wanted = 0
        self._whole = self._taken = False
        self._exhausted = False
        self._reason: str | None = None
        self._began = self._renewed = 0.0
        self._pumping = False
        self._threads_of: list[threading.Thread] = []
        self._when_over: list[Callable[[], object]] = []
        self.error: BaseException | None = None
        self.is_over = False

    # ── beginning ────────────────────────────────────────────────────────────────────

    def begin(self, lease_s: float | None = None) -> bool:
        """Take hold of the call that adds to the map; `False` when the store knows no such call."""
        self._lease_s = lease_s = LEASE_S if lease_s is None else lease_s
        want = Want(WorkerId(f"{FEEDERS}{self._run}"), (queue_of(self._feeder),), 1, lease_s=lease_s)
        leases = self._store.claim(want)
        if not leases:
            return False
        self._key = leases[0].key
        self._began = self._renewed = time.monotonic()
        if self._threads:
            for name, work in (("reader", self._read_on), ("keeper", self._keep)):
                thread = threading.Thread(target=work, name=f"taskflow-stream-{name}", daemon=True)
                self._threads_of.append(thread)
                thread.start()
        return True

    # ── what the map says ────────────────────────────────────────────────────────────

    @property
    def is_idle(self) -> bool:
        """Whether somebody has begun to take results, and nobody waits for all of them."""
        return self._taken and not self._whole

    def handed(self, index: int, ended: int) -> None:
        """Results before this one were handed out, and so many items have ended."""
        with self._changed:
            self._taken, self._handed, self._ended = True, max(self._handed, index), ended
            self._forget_sizes()
            self._changed.notify_all()

    def have_ended(self, items: int) -> None:
        """So many items have ended."""
        with self._changed:
            self._ended = items
            if self._whole:
                self._forget_sizes()
                self._changed.notify_all()

    def want(self, items: int | None = None) -> None:
        """Somebody waits for so many items, or for all of them, whether results are handed out or not."""
        with self._changed:
            if items is None:
                self._whole = True
            else:
                self._wanted = max(self._wanted, items)
            self._forget_sizes()
            self._changed.notify_all()

    def stop(self, reason: str | None = None, *, wait: bool = False) -> None:
        """Add nothing more.

        Args:
            reason: Why, told to who waits for the rest; without one the map has ended already.
            wait: Return when the store knows.
        """
        with self._changed:
            if self._reason is None and not self.is_over:
                self._reason = reason or ""
            self._changed.notify_all()
        if not self._threads and not self.is_over:
            self._close()
        elif wait and len(self._threads_of) == 2 and self._threads_of[1] is not threading.current_thread():
            self._threads_of[1].join(CLOSE_S)

    def when_over(self, tell: Callable[[], object]) -> None:
        """Call a function when nothing is added any more, or now if that is so."""
        with self._changed:
            if not self.is_over:
                self._when_over.append(tell)
                return
        tell()

    # ── the window ───────────────────────────────────────────────────────────────────

    def _ahead(self) -> int:
        if self._buffersize is not None:
            return self._buffersize
        pace = self._ended / max(time.monotonic() - self._began, AHEAD_S)
        return int(max(AHEAD_LEAST, min(pace * AHEAD_S, AHEAD_ITEMS)))

    def _room(self) -> int:
        """How many more items may be read now."""
        if self._read < self._wanted:
            return self._wanted - self._read
        if self._weighed - self._passed >= AHEAD_BYTES:
            return 0
        return max(0, self._base + self._ahead() - self._read)

    @property
    def _base(self) -> int:
        return max(self._handed, self._ended) if self._whole else self._handed

    def _forget_sizes(self) -> None:
        while self._sizes and self._sizes[0][0] <= self._base:
            self._passed = self._sizes.popleft()[1]

    # ── the reader ───────────────────────────────────────────────────────────────────

    def _read_on(self) -> None:
        """Read item after item, as long as there is room."""
        try:
            while room := self._wait_for_room():
                if not self._read_some(room):
                    break
        except BaseException as error:  # noqa: BLE001 - it is raised where its item would be
            self.error = error
        with self._changed:
            self._exhausted = True
            self._changed.notify_all()
        if self._reason is not None:
            self._let_go()

    def _wait_for_room(self) -> int:
        """How many items may be read, as soon as there are any; 0 when nobody wants more."""
        with self._changed:
            self._changed.wait_for(lambda: self._reason is not None or self.is_over or self._room() > 0)
            return 0 if self._reason is not None or self.is_over else self._room()

    def _read_some(self, room: int) -> bool:
        """Read so many items at most; `False` when there are no more. No lock is taken for an item alone."""
        until, size = self._read + room, self._weighed + STEP_BYTES
        for item in self._source:
            self._items.append(item)
            self._read += 1
            self._weighed += _weight(item)
            if len(self._items) == 1:
                with self._changed:
                    self._changed.notify_all()
            if self._read >= until or self._weighed >= size or self._reason is not None:
                return True
        return False

    def _let_go(self) -> None:
        """The iterator is not read to its end: what it holds open is closed."""
        close = getattr(self._source, "close", None)
        if close is not None:
            try:
                close()
            except Exception:
                log.exception("the iterator of a map did not close well")

    # ── the keeper ───────────────────────────────────────────────────────────────────

    def _keep(self) -> None:
        """Hand over what was read, and hold the lease, until there is no more."""
        try:
            while not self.is_over:
                with self._changed:
                    self._changed.wait_for(self._has_news, max(0.0, self._due_s()))
                    items, last = self._take()
                if self._due_s() <= 0:
                    self._renew()
                if self._reason is not None:
                    self._close()
                elif items or last:
                    self._give(items, last)
        except BaseException as error:
            log.exception("the stream of a map stumbled")
            self.error = self.error or error
            with contextlib.suppress(StoreError):
                self._store.cancel(self._feeder, reason=f"its iterator could not be read on: {error}")
            self._end()

    def _take(self) -> tuple[list[Any], bool]:
        """What was read since the last time, and whether that was all."""
        last = self._exhausted
        items = [self._items.popleft() for _ in range(len(self._items))]
        if items:
            self._sizes.append((self._given + len(items), self._weighed))
        return items, last

    def _has_news(self) -> bool:
        return bool(self._items) or self._exhausted or self._reason is not None

    def _due_s(self) -> float:
        return self._renewed + min(RENEW_S, self._lease_s / 4) - time.monotonic()

    def _renew(self) -> None:
        key = self._held
        try:
            renewal = self._store.renew([key], lease_s=self._lease_s)
        except StoreError:
            return  # it is away: whether the lease is still ours is asked when it is back
        self._renewed = time.monotonic()
        if key in renewal.lost:
            self._lost()
        elif key in renewal.cancelled and self._reason is None:
            self._reason = ""

    def _give(self, items: Sequence[Any], last: bool) -> None:
        """Add items to the map; with the last of them the call beside it ends, and so closes the map."""
        packed = self._patiently(lambda: self._pages(items))
        last = last or self.error is not None
        self._settle(packed, (self._outcome(),) if last else ())
        if last:
            self._end()

    def _pages(self, items: Sequence[Any]) -> list[Page]:
        """Items packed; of those that cannot travel only those before them, and that is the end."""
        try:
            return list(pages(self._codec, self._digest, items, first=self._given))
        except CannotPickle:
            found: list[Page] = []
            try:
                for at, item in enumerate(items, self._given):
                    found += pages(self._codec, self._digest, [item], first=at)
            except CannotPickle as error:
                self.error = error
            return found

    def _outcome(self) -> Outcome:
        key, codec = self._held, self._codec
        if self.error is None:
            return Outcome(0, 1, Kind.SUCCEEDED, codec.dump_result(key.node, 0, 1, key.fence, self._read))
        value = codec.dump_error(key.node, 0, key.fence, self.error)
        return Outcome(0, 1, Kind.FAILED, value, codec.failure(self.error).to_json())

    def _close(self) -> None:
        """Somebody wants no more of it."""
        if self._reason:
            told = f"{self._reason}: its iterator was read up to item {self._given:,}, and no further"
            self._patiently(lambda: self._store.cancel(self._feeder, reason=told))
        self._settle([], (Outcome(0, 1, Kind.CANCELLED),))
        self._end()
        if not self._threads:
            self._let_go()

    def _settle(self, packed: list[Page], outcomes: tuple[Outcome, ...]) -> None:
        key = self._held
        growth = Growth(widths={self._node: (packed[-1].hi, tuple(packed))}) if packed else None
        settled = self._patiently(lambda: self._store.settle([Settlement(key, outcomes, growth)]))
        if key in settled.lost:
            self._lost()
        elif packed:
            self._given = packed[-1].hi

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        """Ask the store until it answers, and has room: every step may be asked for twice."""
        told = False
        while True:
            try:
                return ask()
            except StoreError as error:
                if self._reason is not None:
                    raise
                if not told:
                    log.warning("the items of a map wait: %s", error)
                told = True
            with self._changed:
                self._changed.wait_for(lambda: self._reason is not None, AGAIN_S)
            if self._due_s() <= 0:
                self._renew()

    def _lost(self) -> None:
        """The store has closed the map: this process was away for too long."""
        if self._reason is None:
            self.error = LeaseLost(
                f"The iterator of this map was read up to item {self._given:,}, and no further: this process"
                f" did not renew its lease for {self._lease_s:g} s, and the map was closed."
            )
        self._end()

    @property
    def _held(self) -> LeaseKey:
        assert self._key is not None
        return self._key

    def _end(self) -> None:
        with self._changed:
            self.is_over = True
            self._items.clear()
            self._changed.notify_all()
            told, self._when_over = self._when_over, []
        for tell in told:
            tell()

    # ── without threads ──────────────────────────────────────────────────────────────

    def pump(self) -> bool:
        """Read a moment's worth of items and hand them over; `False` when there is no room, or no more."""
        if self._pumping or self.is_over or not (room := self._room()):
            return False
        self._pumping = True
        try:
            try:
                head = head_of(self._source, room)
            except Exception as error:  # noqa: BLE001 - it is raised where its item would be
                self.error, head = error, Head([], None)
            self._read += len(head.items)
            self._weighed += sum(map(_weight, head.items))
            self._sizes.append((self._read, self._weighed))
            self._source = head.rest or iter(())
            self._give(head.items, head.rest is None)
        finally:
            self._pumping = False
        return True


def queue_of(feeder: NodeId) -> str:
    """The queue of one call, which only the process that made it claims from."""
    return FEEDERS + feeder.partition("/")[0]
