"""The pool of an engine that is already there: a Dask, Ray or Celery cluster runs the calls.

::

    worker ── start ──► backlog ── messages ──► Engine ──► a process of the cluster: taskflow.pools.guest
       ◄── settlements ── finished ◄── Mailbox ◄── answers, words, losses ──┘

The store keeps the truth: graph, retries, results, who may settle. The engine is asked for slots, given
messages, and hears nothing of the rest. It may run a message twice, or lose it; what it says of a message
that is not in flight any more counts for nothing.
"""

from __future__ import annotations

import logging
import marshal
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from taskflow.codec import blob_names
from taskflow.errors import ResultExpired
from taskflow.pools.engine import Engine, Mailbox, Packet
from taskflow.pools.guest import MISSING, Answer, Limits, Terms
from taskflow.pools.ledger import Cancel, Ledger
from taskflow.pools.link import Item, Message
from taskflow.pools.packing import Work, packet
from taskflow.pools.verdict import Why, lost, of_kill
from taskflow.pools.wire import Lane, Say
from taskflow.ports import WHOLE
from taskflow.records import Edge, Failure, Kind, Lease, LeaseKey, Note, Outcome, Page, Segment, Settlement

if TYPE_CHECKING:
    from taskflow.ports import Blobs, Promises

__all__ = ["ClusterPool"]

_log = logging.getLogger(__name__)

_MESSAGE_S = 0.03
_AHEAD_S = 0.1
_QUICK_S = 0.5
_UNKNOWN_S = 1.0
_LOOK_S = 1.0
_ALONE_KEPT = 1000
_STAYS_KEPT = 10_000
_MESSAGE_ITEMS = 20_000
Start = tuple[Lease, Mapping[Edge, list[Segment]], Sequence[Page]]


class _Flight:
    """A message that the engine has; the part of a child's link that the ledger needs."""

    def __init__(self, message: Message, cost_s: float) -> None:
        self.flying: OrderedDict[int, Message] = OrderedDict({message.number: message})
        self.leaked: dict[Item, Lane] = {}
        self.message = message
        self.cost_s = cost_s
        self.sent_at = time.monotonic()
        self.end_at = inf
        self.lent = 0
        self.calls = 0
        self.stuck = False

    def count(self, fn: str, more: int, /) -> None:
        """Nothing: what is in flight is counted by messages."""

    def take_leaked(self, number: int, at: int, lo: int, hi: int, /) -> str:
        """Nothing: what bypasses Python is the engine's."""
        return ""


class ClusterPool:
    """Runs calls on a cluster; see `taskflow.ports.Pool`.

    Args:
        engine: Made here, with the mailbox that it speaks to.
        terms: What guests are told.
        blobs: Where data is read that guests do not have, and kept that they made; opened when needed.
        most: Use no more slots than this.
        grace_s: What a cancelled task gets to clean up before it is ended by force.

    Attributes:
        pace_s: Seconds an item takes, by function, as measured there.

    Raises:
        ConfigError: The cluster cannot be used, see the engine.
    """

    def __init__(
        self,
        engine: Callable[[Mailbox], Engine],
        terms: Terms,
        blobs: Callable[[], Blobs],
        *,
        most: int | None = None,
        grace_s: float = 5.0,
    ) -> None:
        self._terms, self._most, self._grace_s = terms, most, grace_s
        self._open_blobs = blobs
        self._blobs: Blobs | None = None
        self._mailbox = Mailbox()
        self._ledger = Ledger()
        self.pace_s = self._ledger.pace_s
        self._backlog: deque[Work] = deque()
        self._flights: dict[int, _Flight] = {}
        self._overdue: set[int] = set()
        self._alone: OrderedDict[str, None] = OrderedDict()
        self._stays: OrderedDict[str, int] = OrderedDict()
        self._number = secrets.randbits(38) << 24
        self._looked_at = -inf
        self._closed = False
        try:
            self._engine = engine(self._mailbox)
        except BaseException:
            self._mailbox.close()
            raise
        self._slots = self._measure()

    # ── the port ────────────────────────────────────────────────────────────────────

    @property
    def promises(self) -> Promises:
        """What the engine keeps."""
        return self._engine.promises

    @property
    def slots(self) -> int:
        """What the cluster has now, or may be used of it."""
        return self._slots

    def free(self) -> int:
        """Slots that will have nothing to do within a moment; quick calls are sent ahead."""
        slots = self._able()
        if self._closed or not slots:
            return 0
        load, quick = 0.0, True
        for flight in self._flights.values():
            load += min(1.0, flight.cost_s / _AHEAD_S) - flight.lent
            quick = quick and flight.cost_s < _QUICK_S
        for work in self._backlog:
            load += min(1.0, self._cost_s(work) / _AHEAD_S)
        return max(0, min(slots, int(slots * (2 if quick else 1) - load)))

    def start(self, lease: Lease, inputs: Mapping[Edge, list[Segment]], pages: Sequence[Page], /) -> None:
        """Run a lease on the cluster; the outcome comes by `finished`."""
        self.start_many([(lease, inputs, pages)])

    def start_many(self, batch: Iterable[Start], /) -> None:
        """Run leases; as `start` for each of them, but in fewer messages."""
        for lease, inputs, pages in batch:
            if not self._ledger.refuses(lease, self.promises):
                self._backlog.append(Work.of(lease, inputs, pages))
        self._feed()

    def kill(self, key: LeaseKey, reason: str, /, *, grace_s: float | None = None) -> None:
        """Cancel a lease: at once what waits, with `TaskCancelled` what runs, by force after the grace.

        Where the engine cannot end a call by force it goes on, and what becomes of it is not heard.
        """
        grace_s = self._grace_s if grace_s is None else grace_s
        cancelled = self._ledger.cancelled
        for old in [k for k in cancelled if not self._has(k)]:
            del cancelled[old]
        cancelled[key] = Cancel(reason, grace_s, set())
        for _ in range(len(self._backlog)):
            work = self._backlog.popleft()
            if work.lease.key == key:
                self._ledger.cancel(work)
            else:
                self._backlog.append(work)
        for number, flight in list(self._flights.items()):
            left = flight.message.left()
            if any(work.lease.key == key for work in left):
                flight.end_at = min(flight.end_at, time.monotonic() + grace_s)
                if grace_s > 0 and all(work.lease.key == key for work in left):
                    self._engine.cancel(number, force=False)
        self._end_overdue(time.monotonic())

    def finished(self) -> tuple[list[Settlement], list[Note]]:
        """What ended and what was said since the last call; does not wait."""
        for what, *post in self._mailbox.take():
            if what == "changed":
                self._looked_at = -inf
            else:
                getattr(self, f"_take_{what}")(*post)
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_S and not self._closed:
            self._slots = self._measure()
        self._end_overdue(now)
        self._feed()
        return self._ledger.fetch()

    def filenos(self) -> Sequence[int]:
        """One file, which is readable when the engine has heard something."""
        return () if self._closed else (self._mailbox.fd,)

    def due_s(self) -> float | None:
        """Seconds until the cluster is looked at again, or a grace is over."""
        if self._ledger:
            return 0.0
        if self._closed:
            return None
        ends = min((flight.end_at for flight in self._flights.values()), default=inf)
        return max(0.0, min(ends, self._looked_at + _LOOK_S) - time.monotonic())

    def resize(self, slots: int, /) -> None:
        """Use no more than so many slots of the cluster, and so many if it can grow."""
        self._most = slots
        if (wish := getattr(self._engine, "wish", None)) is not None:
            wish(slots if slots < WHOLE else 0)
        self._slots = self._measure()

    def close(self, /, *, drain_s: float) -> list[Settlement]:
        """Let running calls end, then end those that can be ended; what did not end is *released*."""
        if self._closed:
            return self._ledger.fetch()[0]
        self._ledger.release(self._backlog)
        self._backlog.clear()
        settlements: list[Settlement] = []
        end = time.monotonic() + drain_s
        while self._flights and (left := end - time.monotonic()) > 0:
            self._mailbox.wait(min(left, self.due_s() or 0.0))
            settlements += self.finished()[0]
        for number in self._flights:
            self._engine.cancel(number, force=True)
        for flight in self._flights.values():
            self._ledger.release(flight.message.left())
        self._flights.clear()
        self._closed = True
        self._engine.close()
        self._mailbox.close()
        return settlements + self._ledger.fetch()[0]

    # ── sending ─────────────────────────────────────────────────────────────────────

    def _measure(self) -> int:
        self._looked_at = time.monotonic()
        slots = self._engine.slots()
        return slots if self._most is None else min(slots, self._most)

    def _able(self) -> int:
        """The slots that run what they were given, not what nobody wants any more."""
        return max(0, self._slots - len(self._overdue))

    def _cost_s(self, work: Work) -> float:
        return (work.hi - work.lo) * self.pace_s.get(work.lease.fn, _UNKNOWN_S)

    def _feed(self) -> None:
        """Send what there is, as long as the cluster has not enough; what is quick goes together."""
        load = sum(flight.cost_s for flight in self._flights.values())
        waiting = sum(self._cost_s(work) for work in self._backlog)
        message_s: float = getattr(self._engine, "message_s", _MESSAGE_S)
        share = max(1e-6, min(message_s, (load + waiting) / max(1, self._slots)))
        while self._backlog and (self._room() or load < self._slots * _AHEAD_S):
            works, cost_s = self._next(share)
            self._send(works, cost_s)
            load += cost_s

    def _room(self) -> bool:
        return len(self._flights) - sum(f.lent for f in self._flights.values()) < max(1, self._able())

    def _next(self, share_s: float) -> tuple[list[Work], float]:
        """The works of the next message: as much as takes about `share_s`, one item at least."""
        first = self._backlog[0].lease
        limits, fn = _limits(first), first.fn
        alone = limits != (None, None) or first.key.node in self._alone
        pace_s = self.pace_s.get(fn, _UNKNOWN_S)
        items = 1 if alone else max(1, min(_MESSAGE_ITEMS, int(share_s / pace_s)))
        works: list[Work] = []
        count = 0
        while self._backlog and count < items:
            work = self._backlog[0]
            if works and not self._goes_with(work, fn, limits):
                break
            if work.hi - work.lo > items - count:
                works.append(work.cut(items - count))
                count = items
            else:
                works.append(self._backlog.popleft())
                count += work.hi - work.lo
        return works, count * pace_s

    def _goes_with(self, work: Work, fn: str, limits: Limits) -> bool:
        lease = work.lease
        return lease.fn == fn and _limits(lease) == limits and lease.key.node not in self._alone

    def _send(self, works: list[Work], cost_s: float, given: dict[str, bytes] | None = None) -> None:
        self._number += 1
        number, lease = self._number, works[0].lease
        limits = _limits(lease)
        told: Any = (tuple(self._terms), limits, packet(number, works))
        message = marshal.dumps(told, 2)
        self._flights[number] = _Flight(Message(number, works), cost_s)
        alone = lease.key.node in self._alone
        data = self._staying(works) | (given or {})
        self._engine.send(Packet(number, message, limits, lease.label, lease.priority, data, alone))

    def _staying(self, works: Iterable[Work]) -> dict[str, bytes | None]:
        """What these need of that which was made on the cluster and is there: as often as it has slots, and
        once more for each, since a message may come again. After that its processes have it, or ask for it.
        """
        found: dict[str, bytes | None] = {}
        if self._stays:
            for name in {name for work in works for value in _inputs(work) for name in blob_names(value)}:
                if self._stays.get(name, 0) > 0:
                    self._stays[name] -= 1
                    found[name] = None
        return found

    def _send_with(self, works: list[Work], cost_s: float, names: Iterable[str]) -> None:
        """Send works again, with the data that was missing there."""
        try:
            given = {name: bytes(self._store().open(name)) for name in names}
        except ResultExpired as error:
            known = {"error": "ResultExpired"}
            failure = Failure("failed", "taskflow.errors.ResultExpired", str(error), data=known).to_json()
            for work in works:
                for index in range(work.lo, work.hi):
                    self._ledger.settle(work.lease, Outcome(index, index + 1, Kind.FAILED, error=failure))
            return
        self._send(works, cost_s, given)

    def _has(self, key: LeaseKey) -> bool:
        works = [work for flight in self._flights.values() for work in flight.message.works]
        return any(work.lease.key == key for work in (*self._backlog, *works))

    # ── what is heard ───────────────────────────────────────────────────────────────

    def _landed(self, number: int) -> _Flight | None:
        """Have a message in flight no more; nothing of one that nobody waits for."""
        self._overdue.discard(number)
        return self._flights.pop(number, None)

    def _take_answer(self, number: int, answer: bytes, stays: Collection[str]) -> None:
        flight = self._landed(number)
        if flight is None:
            return
        records, missing, made = Answer(*marshal.loads(answer))
        for name, data in made.items():
            self._store().put(name, [data])
        self._stays.update(dict.fromkeys(stays, max(2, 2 * self._slots)))
        while len(self._stays) > _STAYS_KEPT:
            self._stays.popitem(last=False)
        lacking = self._take_records(flight, records)
        self._ledger.release(flight.message.left())
        if lacking:
            self._send_with(lacking, flight.cost_s, dict.fromkeys(missing))

    def _take_said(self, records: bytes) -> None:
        told = marshal.loads(records)
        for record in told:
            if (flight := self._flights.get(record[1])) is not None:
                self._take_records(flight, [record])

    def _take_records(self, flight: _Flight, records: Iterable[tuple[Any, ...]]) -> list[Work]:
        """Enter what was told; gives the items that have to be sent again, with data."""
        lacking: list[Work] = []
        for record in records:
            say = record[0]
            if say == Say.CALLS:
                self._ledger.take_calls(flight, *record[1:])
            elif say == Say.OUTCOME:
                self._ledger.take_outcome(flight, *record[1:])
            elif say == Say.NOTE:
                self._ledger.take_note(flight, *record[1:])
            elif say == Say.BACK:
                self._ledger.release(flight.message.drop(record[2], record[3]))
            elif say == Say.LEND:
                flight.lent += record[2]
            elif say == MISSING and flight.message.settle(record[2], record[4]):
                work = flight.message.works[record[2]]
                lacking.append(work.part(record[3], record[4]))
        return lacking

    def _take_dropped(self, number: int) -> None:
        flight = self._landed(number)
        if flight is not None:
            self._ledger.release(flight.message.left())

    def _take_lost(self, number: int, why: str, began: bool, error: str, sure: bool) -> None:
        flight = self._landed(number)
        if flight is None:
            return
        left = [work for work in flight.message.left() if work.lo < work.hi]
        if not began or not sure or len(left) != 1 or left[0].hi - left[0].lo != 1:
            # Any of them may have been its end: each will be sent by itself.
            for work in left if began else ():
                self._alone[work.lease.key.node] = None
                while len(self._alone) > _ALONE_KEPT:
                    self._alone.popitem(last=False)
            self._ledger.release(left)
            return
        work, now = left[0], time.monotonic()
        if work.lease.key in self._ledger.cancelled:
            self._ledger.cancel(work)
            return
        hard = work.lease.policy.time_limit_s
        if hard is not None and now - flight.sent_at >= hard:
            kind, failure = of_kill(Why.TIME, {"limit_s": hard})
        else:
            kind, failure = Kind.LOST, lost(-1, out_of_memory=False, why=why)
            if error != "WorkerLost":
                failure = Failure("lost", f"taskflow.errors.{error}", why, data={"error": error})
        self._ledger.settle(
            work.lease,
            Outcome(work.lo, work.hi, kind, None, None if failure is None else failure.to_json(), 0.0,
                    time.time() - (now - flight.sent_at), now - flight.sent_at),
        )  # fmt: skip

    def _end_overdue(self, now: float) -> None:
        """End by force what was asked to end and had its time."""
        for number, flight in [(n, f) for n, f in self._flights.items() if f.end_at <= now]:
            flight.end_at = inf
            self._engine.cancel(number, force=self.promises.force)
            if self.promises.force:
                continue
            del self._flights[number]
            self._overdue.add(number)
            self._ledger.release(flight.message.left())
            works = flight.message.works
            _log.warning(
                "%s cannot end a call that runs: %r goes on there until it ends by itself, unheard",
                self._engine.kind,
                works[0].lease.label if works else "",
                extra={"action": "cancel"},
            )

    def _store(self) -> Blobs:
        if self._blobs is None:
            self._blobs = self._open_blobs()
        return self._blobs


def _inputs(work: Work) -> Iterator[bytes]:
    """The values that tasks before it gave."""
    for *_, segments in work.inputs or ():
        yield from (value for _, _, _, _, value, *_ in segments if value is not None)


def _limits(lease: Lease) -> Limits:
    return lease.policy.soft_time_limit_s, lease.policy.time_limit_s
