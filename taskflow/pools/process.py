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

import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from taskflow.cores import cpu_count
from taskflow.errors import ConfigError, nearest
from taskflow.pools.children import Children
from taskflow.pools.ledger import Cancel, Ledger
from taskflow.pools.link import Link
from taskflow.pools.linux import tree_rss_bytes
from taskflow.pools.packing import Work
from taskflow.pools.promises import PROMISES
from taskflow.pools.template import Setup
from taskflow.pools.verdict import Why
from taskflow.pools.watch import Watch
from taskflow.pools.wire import BACK, Say
from taskflow.records import Edge, Lease, LeaseKey, Note, Page, Segment, Settlement

__all__ = ["ProcessPool"]

_MODES = ("process", "thread", "async")
_PARKED_S = 5.0
_MOST_CHILDREN = 512
_MOST_CROWDING = 4.0
_EXTRA_LANES = 192
_QUANTUM_S = 0.002
_WEIGH_S = 0.25
_NEVER = float("inf")

Start = tuple[Lease, Mapping[Edge, list[Segment]], Sequence[Page]]


class ProcessPool:
    """Runs calls in child processes; see `taskflow.ports.Pool`.

    Args:
        slots: Calls at once.
        mode: ``"process"`` gives each slot a process; ``"thread"`` and ``"async"`` run all slots in one.
        url: The store, for tasks that open a client.
        blobs: Where functions and large payloads are: a directory, or the URL of a store on a server.
        preload: Modules that are imported once, before children are forked.
        threads_per_slot: Threads of numeric libraries in a child; `None` shares the processors.
        recycle_after_calls: A child ends after so many items.
        recycle_rss_bytes: A child ends after an item when it is larger than this.
        grace_s: What a cancelled task gets to clean up before it is killed.
        worker: The name of the worker, for tasks that ask.
        accept: ``"pickle"`` for what is signed, ``"json"`` for calls by name, or both.
        allow: Which names may be called, with stars (`taskflow.canvas.allowing`).
        log_level: What tasks log from this level on comes as notes, for `taskflow.logs.write`; by default
            none.

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
        blobs: str | os.PathLike[str],
        preload: Sequence[str] = (),
        threads_per_slot: int | None = None,
        recycle_after_calls: int | None = None,
        recycle_rss_bytes: int | None = None,
        grace_s: float = 5.0,
        worker: str = "",
        accept: Sequence[str] = ("pickle",),
        allow: Sequence[str] = (),
        log_level: int | None = None,
    ) -> None:
        if mode not in _MODES:
            raise ConfigError(
                f"There is no pool mode {mode!r}.{nearest(str(mode), _MODES)} Use one of {_MODES}."
            )
        import sys

        self.slots = slots
        self.promises = PROMISES[mode]
        self._single = mode != "process"
        self._ledger = Ledger()
        self._watch = Watch(self._ledger, self._single, self._kill)
        self.pace_s = self._ledger.pace_s
        self.pace_s.crowding = self._crowding()
        self._recycle_after = recycle_after_calls
        self._recycle_rss = recycle_rss_bytes
        self._grace_s = grace_s
        lanes = slots + _EXTRA_LANES if self._single else 1
        setup = Setup(
            mode=mode,
            slots=slots,
            lanes=lanes,
            url=url,
            blobs=os.fspath(blobs),
            preload=tuple(preload),
            threads=threads_per_slot,
            worker=worker,
            path=tuple(sys.path),
            accept=tuple(accept),
            allow=tuple(allow),
            log_level=log_level,
        )
        self._lent_most = 0
        self._children = Children(setup, self._ledger, self._hear, self._balance, self._watch.again)
        self._links = self._children.links
        self._balance()

    # ── the port ────────────────────────────────────────────────────────────────────

    def free(self) -> int:
        """Slots that will have nothing to do within a moment: the next work should be there by then."""
        if self._children.closing:
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

    def start(self, lease: Lease, inputs: Mapping[Edge, list[Segment]], pages: Sequence[Page], /) -> None:
        """Run a lease in a free slot; the outcome comes by `finished`."""
        self.start_many([(lease, inputs, pages)])

    def start_many(self, batch: Iterable[Start], /) -> None:
        """Run leases; as `start` for each of them, but in fewer packets."""
        pace_s, single = self.pace_s, self._single
        links = self._open_links() or [self._children.spawn()]
        loads = {link: link.load_s(pace_s) / link.lanes for link in links}
        touched: dict[Link, None] = {}
        link, given = links[0], _NEVER
        counts: dict[str, int] = {}
        for lease, inputs, pages in batch:
            (_, lo, hi, _), _, fn, _, _, _, needs, *_ = lease
            if single and self._ledger.refuses(lease, self.promises):
                continue
            cost = (hi - lo) * pace_s.get(fn, 1.0)
            given += cost
            if given > _QUANTUM_S:
                loads[link] += given if given < _NEVER else 0.0
                link.count_all(counts)
                counts = {}
                link = min(loads, key=loads.__getitem__)
                touched[link] = None
                given = cost
            link.backlog.append(Work.of(lease, inputs, pages) if needs else Work(lease, lo, hi, None, pages))
            counts[fn] = counts.get(fn, 0) + hi - lo
        link.count_all(counts)
        for link in touched:
            link.feed(pace_s)
        self._watch.started()

    def kill(self, key: LeaseKey, reason: str, /, *, grace_s: float | None = None) -> None:
        """Cancel a lease: at once what waits, with `TaskCancelled` what runs, by force after the grace.

        Args:
            key: The lease.
            reason: Goes into the outcome.
            grace_s: Instead of that of the pool; 0 kills at once, for a lease that may be another's.
        """
        grace_s = self._grace_s if grace_s is None else grace_s
        cancelled = self._ledger.cancelled
        for old in [
            k for k in cancelled if not any(w.lease.key == k for x in self._links.values() for w in _works(x))
        ]:
            del cancelled[old]
        cancelled[key] = Cancel(reason, grace_s, set())
        self._cancel_suspects(key)
        for link in list(self._links.values()):
            if not any(work.lease.key == key for work in _works(link)):
                continue
            if not self._single:
                link.take_back()
            self._cancel_waiting(link, key)
            for _, lane, item, work in list(link.running()):
                if work.lease.key != key and not self._single:
                    self._watch.wish(link, lane, BACK, item)
            self._watch.cancel(link, time.monotonic())
            link.feed(self.pace_s)

    def finished(self) -> tuple[list[Settlement], list[Note]]:
        """What ended and what was said since the last call; does not wait.

        Raises:
            ConfigError: Children cannot be made; the message of the template says why.
        """
        self._children.listen()
        now = time.monotonic()
        if now >= self._watch.at:
            self._look(now)
        if self._children.broken is not None:
            raise ConfigError(self._children.broken)
        return self._ledger.fetch()

    def _kill(self, number: int, sig: int, group: bool) -> None:
        self._children.kill(number, sig, group)

    def _look(self, now: float) -> None:
        held_up, undead = self._watch.look(list(self._links.values()), now)
        for link in held_up:
            self._take_back(link)
            self._ledger.release(link.give_up())
        for link in undead:
            # It hangs in the kernel; its slot goes to another.
            self._children.abandon(link, "The process that ran the task does not end though it was killed.")
        self._children.tend()
        self._balance()

    def filenos(self) -> Sequence[int]:
        """One file, which is readable when any child or the template has something to say."""
        return [self._children.fd]

    def due_s(self) -> float | None:
        """Seconds until `finished` has to look at what runs, or `None` when nothing does."""
        if self._ledger:
            return 0.0
        return None if self._watch.at == _NEVER else max(0.0, self._watch.at - time.monotonic())

    def resize(self, slots: int, /) -> None:
        """Grow at once; shrink as slots fall free."""
        more, self.slots = slots - self.slots, slots
        self.pace_s.crowding = self._crowding()
        self._children.cells.most = slots
        if self._single:
            self._children.lanes = slots
            for link in self._links.values():
                link.lanes += more
                link.line.send(("slots", more))
        self._lent_most = 0
        self._balance()

    def _crowding(self) -> float:
        """How many children share a core; of very many, most wait for something else."""
        return 1.0 if self._single else min(_MOST_CROWDING, max(1.0, self.slots / cpu_count()))

    def close(self, /, *, drain_s: float) -> list[Settlement]:
        """Let running calls end, then end them: SIGTERM, and SIGKILL a moment later."""
        self._children.closing = True
        self._ledger.release(self._children.cells.give_up())
        settlements: list[Settlement] = []
        for link in self._links.values():
            self._take_back(link)
            self._ledger.release(link.give_up())
        self._wait(drain_s, settlements)
        for sig, wait_s in ((signal.SIGTERM, min(self._grace_s, 1.0)), (signal.SIGKILL, 1.0)):
            for link in self._links.values():
                if link.flying:
                    link.doom(Why.CLOSE)
                    self._children.kill(link.number, sig, sig == signal.SIGKILL)
            self._wait(wait_s, settlements)
        for link in list(self._links.values()):
            self._ledger.release([work for message in link.flying.values() for work in message.left()])
            self._children.forget(link)
        settlements += self._ledger.fetch()[0]
        self._children.close()
        return settlements

    def _wait(self, wait_s: float, settlements: list[Settlement]) -> None:
        end = time.monotonic() + wait_s
        while any(link.flying for link in self._links.values()) and (left := end - time.monotonic()) > 0:
            due = self.due_s()
            self._children.wait(left if due is None else min(left, due))
            settlements += self.finished()[0]

    # ── children ────────────────────────────────────────────────────────────────────

    def _balance(self) -> None:
        """Have as many children as there are slots, and one more for each that only waits.

        Those that were needed only while others waited are kept for a while: they will be again.
        """
        if self._children.closing or self._children.broken:
            return
        wanted = 1 if self._single else self.slots
        open_links = self._open_links()
        for _ in range(min(wanted - len(open_links), _MOST_CHILDREN - len(self._links))):
            if self._children.may_spawn():
                self._children.spawn()
        surplus = len(open_links) - wanted
        if surplus <= 0:
            return
        now = time.monotonic()
        kept = min(surplus, self._lent_most, self.slots)
        idle = [link for link in reversed(open_links) if not link.counts and not link.flying]
        for link in idle[:surplus]:
            if kept > 0 and now - link.idle_since < _PARKED_S:
                kept -= 1
                self._watch.again(now + _PARKED_S)
            else:
                self._retire(link)

    def _open_links(self) -> list[Link]:
        return [x for x in self._links.values() if not x.retiring and (not x.lent or self._single)]

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
                self._ledger.release([work])
                continue
            link = min(links, key=lambda x: x.load_s(self.pace_s))
            link.add(work)
            link.feed(self.pace_s)

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
                self._children.ignore(link.reports.fd)
                break
            for record in records:
                self._take(link, record)
            if not link.flying:
                break  # if it says more, that is heard the next time
        if self._recycle_after and link.calls >= self._recycle_after and not link.retiring:
            self._retire(link)
        if link.backlog:
            link.feed(self.pace_s)

    def _take(self, link: Link, record: tuple[Any, ...]) -> None:
        say = record[0]
        if say == Say.CALLS:
            if link.leaked:
                link.read_leak()
            self._ledger.take_calls(link, *record[1:])
        elif say == Say.OUTCOME:
            self._ledger.take_outcome(link, *record[1:])
        elif say == Say.DONE:
            self._take_done(link, record[1])
        elif say == Say.BACK:
            self._take_back_record(link, *record[1:])
        elif say in (Say.NOTE, Say.SAID):
            self._take_said(link, record)
        elif say == Say.LEND:
            self._take_lend(link, record[1])
        elif say == Say.RETIRE:
            self._retire(link)

    def _take_said(self, link: Link, record: tuple[Any, ...]) -> None:
        if record[0] == Say.NOTE:
            self._ledger.take_note(link, *record[1:])
            return
        now = time.monotonic()
        for number, lane, _, _ in list(link.running()):
            self._watch.listen(link, number, lane, now)

    def _take_done(self, link: Link, number: int) -> None:
        message = link.flying.pop(number, None)
        if message is None:
            return
        left = message.left()
        for work in left:
            link.count(work.lease.fn, work.lo - work.hi)
        self._ledger.release(left)
        link.done(number)
        if not link.flying and not link.backlog:
            self._rest(link)

    def _rest(self, link: Link) -> None:
        """A child has nothing to do."""
        link.idle_since = time.monotonic()
        if link.retiring:
            link.end()
        elif self._recycle_rss and link.idle_since >= link.weighed_at + _WEIGH_S and self._is_heavy(link):
            self._retire(link)
        elif len(self._links) > self.slots:
            self._balance()

    def _is_heavy(self, link: Link) -> bool:
        """Whether a child is larger than it should be; to look takes as long as a quick call."""
        link.weighed_at = link.idle_since
        return bool(self._recycle_rss and link.pid and tree_rss_bytes(link.pid) > self._recycle_rss)

    def _take_back_record(self, link: Link, number: int, at: int, lo: int) -> None:
        message = link.flying.get(number)
        if message is None:
            return
        works = message.drop(at, lo)
        for work in works:
            link.count(work.lease.fn, work.lo - work.hi)
        self._ledger.release(works)

    def _take_lend(self, link: Link, more: int) -> None:
        link.lent += more
        link.stuck = link.stuck and link.lent <= 0  # nothing is held up by what only waits
        self._lent_most = max(self._lent_most, sum(other.lent for other in self._links.values()))
        if link.lent > 0 and not self._single:
            self._take_back(link)
            self._ledger.release(link.give_up())
        self._balance()

    def _take_back(self, link: Link) -> None:
        if self._single:
            with suppress(OSError):
                link.line.send(("back",))
        else:
            link.take_back()

    def _cancel_suspects(self, key: LeaseKey) -> None:
        cells = self._children.cells
        for work in cells.give_up():
            if work.lease.key == key:
                self._ledger.cancel(work)
            else:
                cells.waiting.append(work)

    def _cancel_waiting(self, link: Link, key: LeaseKey) -> None:
        kept = []
        for work in link.give_up():
            if work.lease.key == key:
                self._ledger.cancel(work)
            else:
                kept.append(work)
        for work in kept:
            link.add(work)


def _works(link: Link) -> list[Work]:
    return [
        *link.backlog,
        *(work for message in link.flying.values() for work in message.works[message.at :]),
    ]
