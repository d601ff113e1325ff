"""What the pool has to tell the worker: records of children become settlements here."""

from __future__ import annotations

import json
import marshal
import os
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from taskflow.pools.link import Item, Link, Message, Target
from taskflow.pools.linux import oom_kills
from taskflow.pools.paces import Paces
from taskflow.pools.packing import Work
from taskflow.pools.packing import growth as growth_of
from taskflow.pools.verdict import cancelled, could_not_report, lost, of_kill
from taskflow.pools.wire import Lane, shortened
from taskflow.ports import Promises
from taskflow.records import Failure, Growth, Kind, Lease, LeaseKey, Note, Outcome, Settlement

__all__ = ["Cancel", "Carrier", "Ledger"]

_SUCCEEDED = Kind.SUCCEEDED
_OOM_EVERY_S = 1.0
_NO_HARD_LIMIT = (
    "A time limit that kills cannot be kept here, where calls run in threads: use soft_time_limit, or workers"
    " with pool='process'."
)
_NO_MEMORY_LIMIT = "A memory limit needs workers with pool='process': the processes here are shared."


class Carrier(Protocol):
    """Who runs messages: a child, or a cluster."""

    flying: OrderedDict[int, Message]
    leaked: dict[Item, Lane]
    calls: int
    stuck: bool

    def count(self, fn: str, more: int, /) -> None:
        """It has so many items more of a function."""
        ...

    def take_leaked(self, number: int, at: int, lo: int, hi: int, /) -> str:
        """What items printed past Python, once."""
        ...


class Cancel(NamedTuple):
    """A lease that is being cancelled.

    Attributes:
        reason: Why.
        grace_s: What an item that runs gets to clean up.
        asked: The running items that were told, by child.
    """

    reason: str
    grace_s: float
    asked: set[tuple[int, Item]]


class Ledger:
    """Settlements and notes until they are fetched, and what is learned from them.

    Attributes:
        pace_s: Seconds an item takes, by function.
        cancelled: Leases that are being cancelled.
    """

    def __init__(self) -> None:
        self.pace_s = Paces()
        self.cancelled: dict[LeaseKey, Cancel] = {}
        self._settlements: list[Settlement] = []
        self._notes: list[Note] = []
        self._oom_kills = [oom_kills()] * 2
        self._oom_at = time.monotonic()

    def __len__(self) -> int:
        return len(self._settlements) + len(self._notes)

    def fetch(self) -> tuple[list[Settlement], list[Note]]:
        """All that was entered since the last time."""
        settlements, self._settlements = self._settlements, []
        notes, self._notes = self._notes, []
        return settlements, notes

    # ── what children say ───────────────────────────────────────────────────────────

    def take_calls(
        self, link: Carrier, number: int, first: int, values: list[bytes], started: float, tooks: list[float]
    ) -> None:
        """Calls that succeeded, one after another; see `taskflow.pools.wire.Say`."""
        message = link.flying.get(number)
        works = message.works[first : first + len(values)] if message is not None else []
        if message is None or not works:
            return
        settle, new = self._settlements.append, tuple.__new__  # Several times quicker than the classes.
        for work, value, took in zip(works, values, tooks, strict=False):
            key = work.lease[0]
            outcome = new(Outcome, (0, 1, _SUCCEEDED, value, None, 0.0, started, took, None, False))
            settle(new(Settlement, (key, (outcome,), None)))
            started += took
        if link.leaked:
            self._add_leaked(link, number, first, len(works))
        message.settle(first + len(works) - 1, 1)
        self._learn(link, works[0].lease.fn, len(works), sum(tooks))

    def _add_leaked(self, link: Carrier, number: int, first: int, count: int) -> None:
        """Add output that the pool read to the logs of the last outcomes."""
        for at in range(count):
            log = link.take_leaked(number, first + at, 0, 1)
            if log:
                key, (outcome,), _ = self._settlements[at - count]
                self._settlements[at - count] = Settlement(key, (outcome._replace(log=log),))

    def take_outcome(
        self,
        link: Carrier,
        number: int,
        at: int,
        lo: int,
        hi: int,
        kind: str,
        value: bytes | None,
        error: str | None,
        delay_s: float,
        started: float,
        took: float,
        log: str | None,
        spared: bool,
        growth: tuple[Any, ...] | None,
    ) -> None:
        """Any other outcome."""
        message = link.flying.get(number)
        if message is None or not message.settle(at, hi):
            return
        work = message.works[at]
        if link.leaked:
            log = shortened(link.take_leaked(number, at, lo, hi) + (log or "")) or None
        if kind == Kind.CANCELLED:
            cancel = self.cancelled.get(work.lease.key)
            error = cancelled(cancel.reason if cancel else "").to_json()
        outcome = Outcome(lo, hi, Kind(kind), value, error, delay_s, started, took, log, spared)
        self.settle(work.lease, outcome, growth_of(growth))
        if kind == Kind.RELEASED:
            link.count(work.lease.fn, lo - hi)
        else:
            self._learn(link, work.lease.fn, hi - lo, took)

    def take_note(
        self, link: Carrier, number: int, at: int, index: int, kind: str, data: str, value: bytes | None
    ) -> None:
        """What an item says of itself."""
        message = link.flying.get(number)
        if message is not None and at < len(message.works):
            key = message.works[at].lease.key
            self._notes.append(Note(key, kind, {**json.loads(data), "index": index}, value))

    def take_said(self, link: Link, number: int, lane: Lane) -> bool:
        """What the item of a lane has said since the last time; whether that was anything."""
        count = lane.ints[Lane.SAID]
        if count == link.heard.get(number, 0):
            return False
        if (data := lane.said()) is not None:
            link.heard[number] = count
            message, at, index, said = marshal.loads(data)
            for kind, (told, value) in said.items():
                self.take_note(link, message, at, index, kind, told, value)
        return True

    def hear(self, link: Link, number: int, lane: Lane, item: Item, work: Work) -> None:
        """Tell what a running item printed since the last time."""
        last, seen = link.streamed.get(number, (item, 0))
        seen = seen if last == item else 0
        printed = lane.ints[Lane.PRINTED]
        if printed > seen:
            text = lane.printed(seen)
            self._notes.append(Note(work.lease.key, "log", {"index": item[2], "text": text}))
        link.streamed[number] = (item, printed)

    def _learn(self, link: Carrier, fn: str, items: int, took_s: float) -> None:
        link.count(fn, -items)
        link.calls += items
        link.stuck = False
        self.pace_s.learn(fn, items, took_s)

    # ── what the pool says ──────────────────────────────────────────────────────────

    def release(self, works: Iterable[Work]) -> None:
        """Give work back to the store; what was cancelled meanwhile is cancelled."""
        for work in works:
            if work.lo >= work.hi:
                continue
            if work.lease.key in self.cancelled:
                self.cancel(work)
            else:
                self.settle(work.lease, Outcome(work.lo, work.hi, Kind.RELEASED))

    def cancel(self, work: Work) -> None:
        """Cancel what was not started."""
        error = cancelled(self.cancelled[work.lease.key].reason).to_json()
        outcomes = tuple(Outcome(i, i + 1, Kind.CANCELLED, error=error) for i in range(work.lo, work.hi))
        self._settlements.append(Settlement(work.lease.key, outcomes))

    def refuses(self, lease: Lease, promises: Promises) -> bool:
        """Fail all of a lease that wants what this pool does not promise; whether it did."""
        policy = lease.policy
        if policy.time_limit_s is not None and not promises.hard_limit:
            self.refuse(lease, _NO_HARD_LIMIT)
        elif policy.memory_limit_bytes is not None and not promises.memory_limit:
            self.refuse(lease, _NO_MEMORY_LIMIT)
        else:
            return False
        return True

    def refuse(self, lease: Lease, text: str) -> None:
        """Fail all of a lease: it cannot be run here."""
        known = {"error": "ConfigError"}
        error = Failure("failed", "taskflow.errors.ConfigError", text, data=known).to_json()
        for index in range(lease.key.lo, lease.key.hi):
            self.settle(lease, Outcome(index, index + 1, Kind.FAILED, error=error))

    def bury(self, link: Link, status: int, why: str, *, sure: bool) -> list[Work]:
        """Make outcomes of a child's end: for the item that ended it, its story; the rest goes back.

        Args:
            link: The child.
            status: As `os.waitpid` gives it; negative when nobody knows.
            why: What is known beyond that.
            sure: It was ended by something that ran in it.

        Returns:
            Items of which any may have ended it: they have no outcome yet.
        """
        link.take_back()
        if link.target is not None and link.target.killed:
            self._bury_killed(link, link.target)
            return []
        oom = status >= 0 and os.WIFSIGNALED(status) and self._oom_happened()
        ran = list(link.running())
        suspects = [work for _, _, item, _ in ran for work in self._accuse(link, item, status)]
        if sure and not ran and status > 0:
            suspects = self._never_begun(link)
        self._release_all(link)
        if not sure or len(suspects) != 1 or suspects[0].hi - suspects[0].lo != 1:
            return suspects
        _, lane, item, _ = ran[0] if ran else (0, None, (0, 0, 0), None)
        self._end(link, lane, item, suspects[0], Kind.LOST, lost(status, out_of_memory=oom, why=why))
        return []

    def _bury_killed(self, link: Link, target: Target) -> None:
        """The pool killed it for the sake of one item, or of all."""
        kind, failure = of_kill(target.why, target.data)
        for _, lane, item, _ in list(link.running()):
            if failure is not None and target.item in (None, item):
                before, one, behind = link.flying.pop(item[0]).around(item[1], item[2])
                self.release([*before, *behind])
                self._end(link, lane, item, one, kind, failure)
        self._release_all(link)

    def _accuse(self, link: Link, item: Item, status: int) -> list[Work]:
        """Take what may have ended a child out of the message of an item that ran; the rest goes back."""
        before, one, behind = link.flying.pop(item[0]).around(item[1], item[2])
        self.release(behind)
        if could_not_report(status):
            # All that was started since the last report may be the reason that there are no more.
            return [work for work in (*before, one) if work.lo < work.hi]
        self.release(before)
        return [one]

    @staticmethod
    def _never_begun(link: Link) -> list[Work]:
        """What a child took and did not begin: reading it may have been its end."""
        begun = {lane.ints[Lane.NUMBER] for lane in link.board[: link.lanes]}
        taken = [number for number, m in link.flying.items() if number not in begun and not m.at]
        return [work for number in taken for work in link.flying.pop(number).left()]

    def _release_all(self, link: Link) -> None:
        for message in link.flying.values():
            self.release(message.left())
        link.flying.clear()
        self.release(link.give_up())

    def _end(
        self, link: Link, lane: Lane | None, item: Item, work: Work, kind: Kind, failure: Failure
    ) -> None:
        """The outcome of the item that pays for a child's end; `lane` is `None` when it had not begun."""
        log, took = None, 0.0
        if lane is not None:
            log = shortened(lane.printed() + link.take_leaked(*item, item[2] + 1)) or None
            took = max(0.0, time.monotonic() - lane.since)
        error = failure.to_json()
        self.settle(
            work.lease, Outcome(work.lo, work.hi, kind, None, error, 0.0, time.time() - took, took, log)
        )

    def watch_oom(self, now: float) -> None:
        """Keep the count of out-of-memory kills of a moment ago, to compare with when a child dies."""
        if now - self._oom_at > _OOM_EVERY_S:
            self._oom_at = now
            self._oom_kills = [self._oom_kills[1], oom_kills()]

    def _oom_happened(self) -> bool:
        before, now = self._oom_kills[0], oom_kills()
        self._oom_kills = [now, now]
        return now > before

    def settle(self, lease: Lease, outcome: Outcome, growth: Growth | None = None) -> None:
        """Enter an outcome of a lease."""
        self._settlements.append(Settlement(lease.key, (outcome,), growth))
