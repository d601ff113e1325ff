"""The pool of child processes: the default, and with modes ``thread`` and ``async`` two others.

::

    worker ── start ──► backlog of a link ── messages ──► child: slots run items
       ◄── settlements ── finished ◄── records ──────────┘
                             ▲
                 template: born, dead        board: which item runs since when, what it printed

The pool is not a thread and never waits: the worker's loop calls it when one of `ProcessPool.filenos` is
readable or `ProcessPool.due_s` is over. It keeps a few milliseconds of work ahead of each child, as packets
that the kernel lets it take back, and the rest to itself.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from taskflow.errors import ConfigError, InternalError, nearest
from taskflow.ids import NodeId
from taskflow.pools.link import Item, Link, Message, Target
from taskflow.pools.linux import oom_kills, tree_rss_bytes
from taskflow.pools.packing import Work
from taskflow.pools.packing import growth as growth_of
from taskflow.pools.template import Setup, Template
from taskflow.pools.verdict import Why, cancelled, lost, of_kill
from taskflow.pools.wire import BACK, CANCEL, SOFT, Lane, Say
from taskflow.records import Failure, Growth, Kind, Lease, LeaseKey, Note, Outcome, Page, Segment, Settlement

__all__ = ["ProcessPool"]

_log = logging.getLogger(__name__)

_MODES = ("process", "thread", "async")
_STUCK_S = 0.05
_STREAM_S = 0.5
_MEMORY_S = 0.1
_UNDEAD_S = 3.0
_PARKED_S = 5.0
_MOST_CHILDREN = 512
_EXTRA_LANES = 192
_QUANTUM_S = 0.002
_SUCCEEDED = Kind.SUCCEEDED
_NEVER = float("inf")

Start = tuple[Lease, Mapping[NodeId, list[Segment]], Sequence[Page]]


class ProcessPool:
    """Runs calls in child processes; see `taskflow.ports.Pool`.

    Args:
        slots: Calls at once.
        mode: ``"process"`` gives each slot a process; ``"thread"`` and ``"async"`` run all slots in one.
        url: The store, for tasks that open a client.
        blobs_dir: Where functions and large payloads are.
        preload: Modules that are imported once, before children are forked.
        threads_per_slot: Threads of numeric libraries in a child; `None` shares the processors.
        recycle_after_calls: A child ends after so many items.
        recycle_rss_bytes: A child ends after an item when it is larger than this.
        grace_s: What a cancelled task gets to clean up before it is killed.
        worker: The name of the worker, for tasks that ask.

    Attributes:
        pace_s: Seconds an item takes, by function, as measured here.

    Raises:
        ConfigError: No such mode.
    """

    def __init__(
        self,
        slots: int,
        *,
        mode: Literal["process", "thread", "async"] = "process",
        url: str = "",
        blobs_dir: str | os.PathLike[str],
        preload: Sequence[str] = (),
        threads_per_slot: int | None = None,
        recycle_after_calls: int | None = None,
        recycle_rss_bytes: int | None = None,
        grace_s: float = 5.0,
        worker: str = "",
    ) -> None:
        if mode not in _MODES:
            raise ConfigError(
                f"There is no pool mode {mode!r}.{nearest(str(mode), _MODES)} Use one of {_MODES}."
            )
        import sys

        self.slots = slots
        self.pace_s: dict[str, float] = {}
        self._single = mode != "process"
        self._recycle_after = recycle_after_calls
        self._recycle_rss = recycle_rss_bytes
        self._grace_s = grace_s
        lanes = slots + _EXTRA_LANES if self._single else 1
        self._setup = Setup(
            mode=mode,
            slots=slots,
            lanes=lanes,
            url=url,
            blobs_dir=os.fspath(blobs_dir),
            preload=tuple(preload),
            threads=threads_per_slot,
            worker=worker,
            path=tuple(sys.path),
        )
        self._selector = selectors.DefaultSelector()
        self._links: dict[int, Link] = {}
        self._undead: list[tuple[Link, float]] = []
        self._numbers = 0
        self._settlements: list[Settlement] = []
        self._notes: list[Note] = []
        self._cancelled: dict[LeaseKey, str] = {}
        self._watch_at = _NEVER
        self._oom_kills = oom_kills()
        self._lent_most = 0
        self._templates_lost = 0
        self._broken: str | None = None
        self._closing = False
        self._start_template()
        self._balance()

    # ── the port ────────────────────────────────────────────────────────────────────

    def free(self) -> int:
        """Slots that have less than two milliseconds of known work: quick calls are double-buffered."""
        if self._closing:
            return 0
        if self._single:
            return sum(link.free(self.pace_s) for link in self._links.values())
        free = busy = 0
        for link in self._links.values():
            if not link.lent:
                slots = link.free(self.pace_s)
                free += slots
                busy += not slots
        return max(0, min(free, self.slots - busy))

    def start(self, lease: Lease, inputs: Mapping[NodeId, list[Segment]], pages: Sequence[Page], /) -> None:
        """Run a lease in a free slot; the outcome comes by `finished`."""
        self.start_many([(lease, inputs, pages)])

    def start_many(self, batch: Iterable[Start], /) -> None:
        """Run leases; as `start` for each of them, but in fewer packets."""
        pace_s, single = self.pace_s, self._single
        links = self._open_links() or [self._spawn()]
        loads = {link.number: link.load_s(pace_s) / link.lanes for link in links}
        touched: dict[int, Link] = {}
        link, given = links[0], _NEVER
        counts: dict[str, int] = {}
        for lease, inputs, pages in batch:
            (_, lo, hi, _), _, fn, _, _, _, needs, policy, *_ = lease
            if single and policy.time_limit_s is not None:
                self._refuse_hard_limit(lease)
                continue
            cost = (hi - lo) * pace_s.get(fn, 1.0)
            given += cost
            if given > _QUANTUM_S:
                loads[link.number] += given if given < _NEVER else 0.0
                link.count_all(counts)
                counts = {}
                link = min(links, key=lambda x: loads[x.number])
                touched[link.number] = link
                given = cost
            link.backlog.append(Work.of(lease, inputs, pages) if needs else Work(lease, lo, hi, None, pages))
            counts[fn] = counts.get(fn, 0) + hi - lo
        link.count_all(counts)
        for link in touched.values():
            link.feed(pace_s)
        self._watch_at = min(self._watch_at, time.monotonic() + _STUCK_S)

    def kill(self, key: LeaseKey, reason: str, /, *, grace_s: float | None = None) -> None:
        """Cancel a lease: at once what waits, with `TaskCancelled` what runs, by force after the grace.

        Args:
            key: The lease.
            reason: Goes into the outcome.
            grace_s: Instead of that of the pool; 0 kills at once, for a lease that may be another's.
        """
        grace_s = self._grace_s if grace_s is None else grace_s
        self._cancelled[key] = reason
        for link in list(self._links.values()):
            if not any(work.lease.key == key for work in _works(link)):
                continue
            if not self._single:
                link.take_back()
            self._cancel_waiting(link, key)
            for _, lane, item, work in list(link.running()):
                if work.lease.key == key:
                    if grace_s > 0:
                        self._wish(link, lane, CANCEL, item)
                    self._aim(link, item, Why.CANCEL, time.monotonic() + grace_s, {"reason": reason})
                elif not self._single:
                    self._wish(link, lane, BACK, item)
            link.feed(self.pace_s)

    def finished(self) -> tuple[list[Settlement], list[Note]]:
        """What ended and what was said since the last call; does not wait.

        Raises:
            ConfigError: Children cannot be made; the message of the template says why.
        """
        for key, _ in self._selector.select(0):
            key.data()
        now = time.monotonic()
        if now >= self._watch_at:
            self._watch(now)
        if self._broken is not None:
            raise ConfigError(self._broken)
        settlements, self._settlements = self._settlements, []
        notes, self._notes = self._notes, []
        return settlements, notes

    def filenos(self) -> Sequence[int]:
        """One file, which is readable when any child or the template has something to say."""
        return [self._selector.fileno()]

    def due_s(self) -> float | None:
        """Seconds until `finished` has to look at what runs, or `None` when nothing does."""
        if self._settlements or self._notes:
            return 0.0
        return None if self._watch_at == _NEVER else max(0.0, self._watch_at - time.monotonic())

    def resize(self, slots: int, /) -> None:
        """Grow at once; shrink as slots fall free."""
        more, self.slots = slots - self.slots, slots
        if self._single:
            for link in self._links.values():
                link.lanes += more
                link.line.send(("slots", more))
        self._lent_most = 0
        self._balance()

    def close(self, /, *, drain_s: float) -> list[Settlement]:
        """Let running calls end, then end them: SIGTERM, and SIGKILL a moment later."""
        self._closing = True
        settlements: list[Settlement] = []
        for link in self._links.values():
            self._take_back(link)
            self._release(link.give_up())
        self._wait(drain_s, settlements)
        for sig, wait_s in ((signal.SIGTERM, min(self._grace_s, 1.0)), (signal.SIGKILL, 1.0)):
            for link in self._links.values():
                if link.flying:
                    self._aim_all(link, Why.CLOSE)
                    self._template.kill(link.number, sig, group=sig == signal.SIGKILL)
            self._wait(wait_s, settlements)
        for link in list(self._links.values()):
            self._release([work for message in link.flying.values() for work in message.left()])
            self._forget(link)
        settlements += self._settlements
        self._settlements = []
        self._template.close()
        self._selector.close()
        return settlements

    def _wait(self, wait_s: float, settlements: list[Settlement]) -> None:
        end = time.monotonic() + wait_s
        while any(link.flying for link in self._links.values()) and (left := end - time.monotonic()) > 0:
            due = self.due_s()
            self._selector.select(left if due is None else min(left, due))
            settlements += self.finished()[0]

    # ── children ────────────────────────────────────────────────────────────────────

    def _start_template(self, *, fork: bool | None = None) -> None:
        self._template = Template(self._setup, fork=fork)
        self._selector.register(self._template.fd, selectors.EVENT_READ, self._hear_template)

    def _balance(self) -> None:
        """Have as many children as there are slots, and one more for each that only waits.

        Those that were needed only while others waited are kept for a while: they will be again.
        """
        if self._closing or self._broken:
            return
        wanted = 1 if self._single else self.slots
        open_links = self._open_links()
        for _ in range(min(wanted - len(open_links), _MOST_CHILDREN - len(self._links))):
            self._spawn()
        surplus = len(open_links) - wanted
        if surplus <= 0:
            return
        now = time.monotonic()
        kept = min(surplus, self._lent_most, self.slots)
        idle = [link for link in reversed(open_links) if not link.counts and not link.flying]
        for link in idle[:surplus]:
            if kept > 0 and now - link.idle_since < _PARKED_S:
                kept -= 1
                self._look_again(now + _PARKED_S)
            else:
                self._retire(link)

    def _open_links(self) -> list[Link]:
        return [x for x in self._links.values() if not x.retiring and (not x.lent or self._single)]

    def _spawn(self) -> Link:
        self._numbers += 1
        lanes = self.slots if self._single else 1
        link = Link(self._numbers, lanes, self._setup.lanes)
        self._links[link.number] = link
        self._template.spawn(link.number, link.fds)
        link.sent()
        self._selector.register(link.reports.fd, selectors.EVENT_READ, lambda: self._hear(link))
        self._selector.register(link.leak.fd, selectors.EVENT_READ, lambda: self._hear_leak(link))
        return link

    def _retire(self, link: Link) -> None:
        """Give a child no more work, and end it when it has done what it has."""
        link.retiring = True
        self._take_back(link)
        moved = link.give_up()
        if not link.flying:
            link.end()
        self._balance()
        self._reassign(moved)

    def _reassign(self, works: list[Work]) -> None:
        links = self._open_links()
        for work in works:
            if not links:
                self._release([work])
                continue
            link = min(links, key=lambda x: x.load_s(self.pace_s))
            link.add(work)
            link.feed(self.pace_s)

    def _forget(self, link: Link) -> None:
        self._links.pop(link.number, None)
        for fd in (link.reports.fd, link.leak.fd):
            self._ignore(fd)
        link.close()

    def _hear_template(self) -> None:
        reports = self._template.reports()
        if reports is None:
            self._lose_template()
            return
        for report in reports:
            if report[0] == "born" and report[1] in self._links:
                self._links[report[1]].pid = report[2]
            elif report[0] == "dead" and report[1] in self._links:
                self._bury(self._links[report[1]], report[2], report[3])
            elif report[0] == "ready":
                self._templates_lost = 0
            elif report[0] == "broken":
                self._broken = f"Worker processes cannot start: {report[1]}: {report[2]}"
        self._balance()

    def _lose_template(self) -> None:
        """The template is gone and all children with it: a task killed it, or memory ran out."""
        self._selector.unregister(self._template.fd)
        self._template.close(wait_s=0.1)
        self._templates_lost += 1
        for link in list(self._links.values()):
            self._bury(link, signal.SIGKILL, "")
        if self._broken or self._closing:
            return
        if self._templates_lost > 3:
            raise InternalError(
                "The process that makes worker processes died again and again before it was ready."
            )
        self._start_template(fork=False)
        self._balance()

    def _bury(self, link: Link, status: int, why: str) -> None:
        """Make outcomes of a child's end: for what ran, its story; the rest goes back."""
        self._hear(link)
        link.read_leak()
        oom = self._oom_happened() if status >= 0 and os.WIFSIGNALED(status) else False
        ran = list(link.running())
        for _, lane, item, work in ran:
            self._tell(link, lane, item, work, status, oom, why)
        if status and not ran and link.target is None:
            text = "".join(lane.printed() for lane in link.board)
            _log.warning("a child ended between its tasks", extra={"status": status, "text": text or why})
        link.take_back()
        for message in link.flying.values():
            self._release(message.left())
        self._release(link.give_up())
        self._forget(link)

    def _tell(self, link: Link, lane: Lane, item: Item, work: Work, status: int, oom: bool, why: str) -> None:
        number, at, index = item
        message = link.flying[number]
        target = link.target
        if target is not None and target.killed:
            kind, failure = (
                of_kill(target.why, target.data) if target.item in (None, item) else (Kind.RELEASED, None)
            )
        else:
            kind, failure = Kind.LOST, lost(status, out_of_memory=oom, why=why)
        if kind is Kind.RELEASED:
            return
        if message.at < at or message.lo < index:
            self._release_between(message, at, index)
        message.settle(at, index + 1)
        log = (lane.printed() + link.take_leaked(number, at, index, index + 1)) or None
        began = time.time() - (time.monotonic() - lane.since)
        took = max(0.0, time.monotonic() - lane.since)
        error = failure.to_json() if failure else None
        self._settle(work.lease, Outcome(index, index + 1, kind, None, error, 0.0, began, took, log))
        self._templates_lost = 0

    def _release_between(self, message: Message, at: int, index: int) -> None:
        """Items before the one that ran had ended, but their outcome died with the child."""
        before = message.left()
        gone = at - message.at
        works = before[:gone]
        if gone < len(before) and before[gone].lo < index:
            work = before[gone]
            works.append(work.part(work.lo, index))
        self._release(works)

    def _oom_happened(self) -> bool:
        before, self._oom_kills = self._oom_kills, oom_kills()
        return self._oom_kills > before

    # ── records ─────────────────────────────────────────────────────────────────────

    def _hear(self, link: Link) -> None:
        receive = link.reports.receive
        while not link.closed:
            try:
                records = receive()
            except BlockingIOError:
                break
            except OSError:
                records = None
            if records is None:
                self._ignore(link.reports.fd)
                break
            for record in records:
                self._take(link, record)
        if link.backlog:
            link.feed(self.pace_s)

    def _hear_leak(self, link: Link) -> None:
        link.read_leak()
        if link.leak.ended:
            self._ignore(link.leak.fd)

    def _ignore(self, fd: int) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(fd)

    def _take(self, link: Link, record: tuple[Any, ...]) -> None:
        say = record[0]
        if say == Say.CALLS:
            self._take_calls(link, *record[1:])
        elif say == Say.OUTCOME:
            self._take_outcome(link, *record[1:])
        elif say == Say.DONE:
            self._take_done(link, record[1])
        elif say == Say.BACK:
            self._take_back_record(link, *record[1:])
        elif say == Say.NOTE:
            self._take_note(link, *record[1:])
        elif say == Say.LEND:
            self._take_lend(link, record[1])
        elif say == Say.RETIRE:
            self._retire(link)

    def _take_calls(
        self, link: Link, number: int, first: int, values: list[bytes], started: float, tooks: list[float]
    ) -> None:
        message = link.flying.get(number)
        if message is None or not values:
            return
        if link.leaked:
            link.read_leak()
        works = message.works[first : first + len(values)]
        if not works:
            return
        settle, new = self._settlements.append, tuple.__new__
        for work, value, took in zip(works, values, tooks, strict=False):
            key = work.lease[0]
            outcome = new(Outcome, (0, 1, _SUCCEEDED, value, None, 0.0, started, took, None))
            settle(new(Settlement, (key, (outcome,), None)))
            started += took
        if link.leaked:
            self._add_leaked(link, number, first, len(works))
        message.at = first + len(works)
        message.lo = message.works[message.at].lo if message.at < len(message.works) else 0
        self._count(link, works[0].lease.fn, len(works), sum(tooks))

    def _add_leaked(self, link: Link, number: int, first: int, count: int) -> None:
        """Add output that the pool read to the logs of the last outcomes."""
        for at in range(count):
            log = link.take_leaked(number, first + at, 0, 1)
            if log:
                key, (outcome,), _ = self._settlements[at - count]
                self._settlements[at - count] = Settlement(key, (outcome._replace(log=log),))

    def _take_outcome(
        self,
        link: Link,
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
        growth: tuple[Any, ...] | None,
    ) -> None:
        message = link.flying.get(number)
        if message is None or not message.settle(at, hi):
            return
        work = message.works[at]
        if link.leaked:
            log = (link.take_leaked(number, at, lo, hi) + (log or "")) or None
        if kind == Kind.CANCELLED:
            error = cancelled(self._cancelled.get(work.lease.key, "")).to_json()
        outcome = Outcome(lo, hi, Kind(kind), value, error, delay_s, started, took, log)
        self._settle(work.lease, outcome, growth_of(growth))
        if kind == Kind.RELEASED:
            link.count(work.lease.fn, lo - hi)
        else:
            self._count(link, work.lease.fn, hi - lo, took)

    def _take_done(self, link: Link, number: int) -> None:
        message = link.flying.pop(number, None)
        if message is None:
            return
        left = message.left()
        for work in left:
            link.count(work.lease.fn, work.lo - work.hi)
        self._release(left)
        link.stuck = False
        if link.target is not None and (link.target.item or (0,))[0] == number and not link.target.killed:
            link.target = None
        link.soft = {item for item in link.soft if item[0] != number}
        link.leaked = (
            {item: lane for item, lane in link.leaked.items() if item[0] != number} if link.leaked else {}
        )
        if not link.flying and not link.backlog:
            self._rest(link)

    def _rest(self, link: Link) -> None:
        """A child has nothing to do."""
        link.idle_since = time.monotonic()
        if link.retiring:
            link.end()
        elif self._recycle_rss and link.pid and tree_rss_bytes(link.pid) > self._recycle_rss:
            self._retire(link)
        elif len(self._links) > self.slots:
            self._balance()

    def _take_back_record(self, link: Link, number: int, at: int, lo: int) -> None:
        message = link.flying.get(number)
        if message is None:
            return
        works = message.drop(at, lo)
        for work in works:
            link.count(work.lease.fn, work.lo - work.hi)
        self._release(works)

    def _take_note(self, link: Link, number: int, at: int, index: int, kind: str, data: str) -> None:
        message = link.flying.get(number)
        if message is not None and at < len(message.works):
            key = message.works[at].lease.key
            self._notes.append(Note(key, kind, {"index": index, **json.loads(data)}))

    def _take_lend(self, link: Link, more: int) -> None:
        link.lent += more
        self._lent_most = max(self._lent_most, sum(other.lent for other in self._links.values()))
        if link.lent > 0 and not self._single:
            self._take_back(link)
            self._release(link.give_up())
        self._balance()

    def _count(self, link: Link, fn: str, items: int, took_s: float) -> None:
        link.count(fn, -items)
        link.calls += items
        link.stuck = False
        if self._recycle_after and link.calls >= self._recycle_after and not link.retiring:
            self._retire(link)
        pace = max(1e-8, took_s / items)
        known = self.pace_s.get(fn)
        if known is not None:
            weight = 0.5 if pace > known else min(0.5, 0.05 * items)
            pace = known + weight * (pace - known)
        self.pace_s[fn] = pace

    # ── outcomes ────────────────────────────────────────────────────────────────────

    def _settle(self, lease: Lease, outcome: Outcome, growth: Growth | None = None) -> None:
        self._settlements.append(Settlement(lease.key, (outcome,), growth))

    def _release(self, works: list[Work]) -> None:
        """Give work back to the store; what was cancelled meanwhile is."""
        for work in works:
            reason = self._cancelled.get(work.lease.key) if self._cancelled else None
            if reason is None:
                self._settle(work.lease, Outcome(work.lo, work.hi, Kind.RELEASED))
            else:
                self._settle_cancelled(work, reason)

    def _settle_cancelled(self, work: Work, reason: str) -> None:
        error = cancelled(reason).to_json()
        outcomes = tuple(Outcome(i, i + 1, Kind.CANCELLED, error=error) for i in range(work.lo, work.hi))
        if outcomes:
            self._settlements.append(Settlement(work.lease.key, outcomes))

    def _refuse_hard_limit(self, lease: Lease) -> None:
        text = (
            "A time limit that kills needs the process pool:"
            " use soft_time_limit, or workers with pool='process'."
        )
        error = Failure(
            "failed", "taskflow.errors.ConfigError", text, data={"error": "ConfigError"}
        ).to_json()
        for index in range(lease.key.lo, lease.key.hi):
            self._settle(lease, Outcome(index, index + 1, Kind.FAILED, error=error))

    def _take_back(self, link: Link) -> None:
        if self._single:
            with suppress(OSError):
                link.line.send(("back",))
        else:
            link.take_back()

    def _cancel_waiting(self, link: Link, key: LeaseKey) -> None:
        kept = []
        for work in link.give_up():
            if work.lease.key == key:
                self._settle_cancelled(work, self._cancelled[key])
            else:
                kept.append(work)
        for work in kept:
            link.add(work)

    # ── what runs ───────────────────────────────────────────────────────────────────

    def _watch(self, now: float) -> None:
        """Look at what runs: limits, output, memory, items that hold up others."""
        self._watch_at = _NEVER
        for link in list(self._links.values()):
            busy = bool(link.flying)
            if busy:
                self._look_again(now + _STREAM_S)
            for number, lane, item, work in list(link.running()):
                elapsed = now - lane.since
                self._watch_time(link, lane, item, work, now, elapsed)
                self._watch_waiting(link, lane, item, work, elapsed)
                self._stream(link, number, lane, item, work, elapsed)
            if busy:
                self._watch_memory(link)
                self._watch_unstarted(link, now)
            self._watch_target(link, now)
        self._undead = [(link, at) for link, at in self._undead if now - at < _PARKED_S]
        self._balance()

    def _look_again(self, at: float) -> None:
        self._watch_at = min(self._watch_at, at)

    def _watch_time(self, link: Link, lane: Lane, item: Item, work: Work, now: float, elapsed: float) -> None:
        soft, hard = work.lease.policy.soft_time_limit_s, work.lease.policy.time_limit_s
        if hard is not None:
            if elapsed >= hard:
                self._aim(link, item, Why.TIME, now, {"limit_s": hard})
            else:
                self._look_again(now + hard - elapsed)
        if soft is not None and item not in link.soft:
            if elapsed >= soft:
                link.soft.add(item)
                self._wish(link, lane, SOFT, item)
            else:
                self._look_again(now + soft - elapsed)

    def _watch_unstarted(self, link: Link, now: float) -> None:
        """Limits of what waits in the child: none can be over before it has begun."""
        for message in link.flying.values():
            policy = message.works[-1].lease.policy if message.works else None
            if policy is not None:
                for limit in (policy.soft_time_limit_s, policy.time_limit_s):
                    if limit is not None:
                        self._look_again(now + max(0.01, min(limit, _STREAM_S)))

    def _watch_waiting(self, link: Link, lane: Lane, item: Item, work: Work, elapsed: float) -> None:
        waiting = (
            len(link.flying) > link.lanes or link.backlog or (not self._single and len(_works(link)) > 1)
        )
        if not waiting or link.lent:
            return
        patience = max(_STUCK_S, 5.0 * self.pace_s.get(work.lease.fn, 0.0))
        if elapsed < patience:
            self._look_again(time.monotonic() + patience - elapsed)
            return
        link.stuck = True
        self._take_back(link)
        self._release(link.give_up())
        if not self._single:
            self._wish(link, lane, BACK, item)

    def _stream(self, link: Link, number: int, lane: Lane, item: Item, work: Work, elapsed: float) -> None:
        if elapsed < _STREAM_S:
            return
        last, seen = link.streamed.get(number, (item, 0))
        seen = seen if last == item else 0
        printed = lane.ints[Lane.PRINTED]
        if printed > seen:
            text = lane.printed(seen)
            self._notes.append(Note(work.lease.key, "log", {"index": item[2], "text": text}))
        link.streamed[number] = (item, printed)

    def _watch_memory(self, link: Link) -> None:
        if link.pid is None or link.target is not None:
            return
        limits = [
            (w.lease.policy.memory_limit_bytes, i)
            for _, _, i, w in link.running()
            if w.lease.policy.memory_limit_bytes
        ]
        if not limits:
            if any(w.lease.policy.memory_limit_bytes for w in _works(link)):
                self._look_again(time.monotonic() + _MEMORY_S)
            return
        self._look_again(time.monotonic() + _MEMORY_S)
        rss = tree_rss_bytes(link.pid)
        link.rss_peak = max(link.rss_peak, rss)
        for limit, item in limits:
            if limit is not None and rss > limit:
                known = {"rss_peak_bytes": link.rss_peak, "limit_bytes": limit}
                self._aim(link, item, Why.MEMORY, time.monotonic(), known)
                return

    def _wish(self, link: Link, lane: Lane, what: int, item: Item) -> None:
        from taskflow.pools.child import WISH_SIGNAL

        lane.wish(what, item)
        if self._single:
            with suppress(OSError):
                link.line.send(("wish", link.board.index(lane)))
        else:
            self._template.kill(link.number, WISH_SIGNAL, group=False)

    def _aim(self, link: Link, item: Item, why: Why, at: float, data: Mapping[str, Any]) -> None:
        if self._single and why is not Why.CLOSE:
            return
        if link.target is None or (why is Why.TIME and not link.target.killed):
            link.target = Target(item, why, at, data)
        self._watch_target(link, time.monotonic())

    def _aim_all(self, link: Link, why: Why) -> None:
        if link.target is None or not link.target.killed:
            link.target = Target(None, why, _NEVER, {})
            link.target.killed = True

    def _watch_target(self, link: Link, now: float) -> None:
        target = link.target
        if target is None or target.kill_at == _NEVER:
            return
        if target.killed:
            if now - target.kill_at > _UNDEAD_S:
                self._give_up_on(link)
            else:
                self._look_again(now + _UNDEAD_S)
        elif now >= target.kill_at:
            if target.item not in [item for _, _, item, _ in link.running()]:
                link.target = None
                return
            target.killed, target.kill_at = True, now
            self._template.kill(link.number, signal.SIGKILL)
            self._look_again(now + _UNDEAD_S)
        else:
            self._look_again(target.kill_at)

    def _give_up_on(self, link: Link) -> None:
        """A child does not die: it hangs in the kernel. Its slot goes to another."""
        self._undead.append((link, time.monotonic()))
        self._bury(link, -1, "The process that ran the task does not end though it was killed.")
        self._balance()


def _works(link: Link) -> list[Work]:
    return [
        *link.backlog,
        *(work for message in link.flying.values() for work in message.works[message.at :]),
    ]
