"""The loop of a worker: one thread that waits in one place and does what the agenda says.

::

        store's bell ─┐                       ┌─► settle what ended + claim anew   (one step of the store)
      pool's children ─┼─► wait ─► collect ─► decide ─► start ─► renew ─► tend ─► reap ─► announce ─► sweep
    wake · parent pipe ─┘                       └─► leave

It batches what has gathered since it last looked, and has no timers of its own beyond the alarms of
the agenda: when nothing rings it sleeps. It installs no signal handlers, needs no main thread and never
ends the process; `taskflow.worker.process` does that. It never looks inside a payload.
"""

from __future__ import annotations

import logging
import os
import random
import select
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from math import ceil, inf
from typing import Any, TypeVar

from taskflow.errors import TaskflowError
from taskflow.ids import WorkerId
from taskflow.logs import write_records
from taskflow.ports import Pool, Store
from taskflow.records import (
    Heard,
    Kind,
    Lease,
    LeaseKey,
    Note,
    Settled,
    Settlement,
    Want,
    WorkerView,
)
from taskflow.worker.agenda import REST_S, Seen, Step, decide, gathers, rest_s
from taskflow.worker.card import Card, worker_name
from taskflow.worker.chronicle import Chronicle
from taskflow.worker.gate import KEPT_PER_SLOT, Gate
from taskflow.worker.holding import Holding, cancelled, failed, refused, released
from taskflow.worker.inputs import Inputs, Ready
from taskflow.worker.patience import Away, Patience
from taskflow.worker.queues import Queues
from taskflow.worker.refusals import Refusals
from taskflow.worker.steward import Steward
from taskflow.worker.telling import Telling
from taskflow.worker.wishes import Times, Wish

__all__ = ["Worker"]

T = TypeVar("T")
log = logging.getLogger(__name__)

TRUST_MARGIN_S = 2.0
RENEW_GAP_S = 0.05
GATHER_SHARE = 4.0
GATHER_MOST_S = 0.005
REAP_GAP_S = 0.1
PAUSE_S = 3.0
QUIET_S = 1.0
SWEEP_GAP_S = 60.0
SWEEP_IDLE_S = 3600.0
LAST_WORD_S = 2.0
NOTES_KEPT = 1000
_FIRST_CHORE = Step._fields.index("note")

steady = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
"""Seconds on a clock that nobody sets and that goes on while the machine sleeps: leases run out then too."""


class Worker:
    """Takes work from a store and has a pool run it, until it is told to stop.

    Use `run` in a thread of your own or in a process, or call `step` again and again. `stop` and `wake`
    may be called from any thread and from signal handlers; everything else belongs to one thread.

    Args:
        store: Where the work is. It is not closed by the worker.
        pool: Who runs it. It is closed by the worker.
        queues: What it serves, as `Queues` or as text that `Queues.parse` reads; ``worker/<name>`` is always
            among them.
        lease_s: How long a lease holds when it is not renewed, which is tried three times as often.
        name: The worker's id; made from host and process when not given.
        idle_exit_s: `run` returns after so long without work, unless something is due later.
        parent_fd: Reading end of a pipe: when the other side closes it the worker stops at once.
        keep_s: Ended runs older than this are forgotten.
        keep_bytes: The oldest ended runs are forgotten while the store is larger than this.
        info: Added to what the worker says of itself.
        autoscale: Most and least slots, between which their number follows the load.
        grace_s: What running calls get when the worker is told, by way of the store, to leave.
        steered: Whether it follows what is wanted of workers (`taskflow.control`).
        times: Limits of time for calls that have none of their own: soft, hard, seconds.
        chronicle: Told of each task that is taken, and that ends.
        clock: A steady clock, seconds.

    Raises:
        ConfigError: The queues cannot be meant.
    """

    def __init__(
        self,
        store: Store,
        pool: Pool,
        *,
        queues: Queues | str | Sequence[str] = ("default",),
        lease_s: float = 15.0,
        name: str | None = None,
        idle_exit_s: float | None = None,
        parent_fd: int | None = None,
        keep_s: float = 7 * 86_400.0,
        keep_bytes: int = 4 << 30,
        info: dict[str, Any] | None = None,
        autoscale: tuple[int, int] | None = None,
        grace_s: float = 30.0,
        steered: bool = True,
        times: Times = (None, None),
        chronicle: Chronicle | None = None,
        clock: Callable[[], float] = steady,
    ) -> None:
        self.name = WorkerId(name or worker_name())
        self.turns = 0
        self._store, self._pool = store, pool
        self._lease_s, self._grace_s = lease_s, grace_s
        self._trust_s = max(lease_s - TRUST_MARGIN_S, lease_s / 2)
        self._idle_exit_s, self._parent_fd = idle_exit_s, parent_fd
        self._keep_s, self._keep_bytes = keep_s, keep_bytes
        self._card = Card(self.name, info or {})
        self._clock = clock
        most, least = autoscale or (pool.slots, pool.slots)
        served = queues if isinstance(queues, Queues) else Queues.parse(queues)
        start = Wish(served, least, most)
        self._steward = Steward(
            store, pool, self.name, self._card.started_at, start, clock, alone=not steered
        )
        self._pace_s: dict[str, float] = getattr(pool, "pace_s", {})
        self._start_many: Callable[[Sequence[Ready]], None] | None = getattr(pool, "start_many", None)
        self._flush: Callable[[], None] | None = getattr(pool, "flush", None)

        self._holding = Holding()
        self._inputs = Inputs(store)
        self._refusals = Refusals(self.name, clock)
        self._gate = Gate(times)
        self._chronicle = chronicle
        self._telling = Telling(self, self.name, self._holding.has)
        self._unread: list[Lease] = []
        self._ended: list[Settlement] = []
        self._made: list[Settlement] = []
        self._notes: list[Note] = []
        self._dry = False
        self._share = pool.slots
        self._announce_gap_s = 1.0
        self._patience = Patience(clock, cap_s=min(5.0, lease_s / 5))

        now = clock()
        self._reap_at = self._announce_at = now
        self._trusted_until = self._renew_at = inf
        self._settle_at = 0.0
        self._renewed_at = self._reaped_at = -inf
        self._renew_gap_s = RENEW_GAP_S
        self._busy_at = self._swept_at = self._listened_at = now
        self._sweep_at = now + SWEEP_IDLE_S
        self._stop_at: float | None = None
        self._sig = ""
        self._later = False
        self._closed = False

        self._bell = store.listen("work", worker=self.name)
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)
        self._poll = select.poll()
        self._polled: tuple[int, ...] = ()

    # ── for others ───────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Work until `stop`, the end of the parent, or `idle_exit_s` without work; then `close`.

        Raises:
            Exception: What nobody expected; everything that was held has been released.
        """
        self._telling.begins()
        try:
            while self._goes_on():
                self.step()
        except TaskflowError as error:
            log.error("worker fails: %s", error, extra={"action": "fail", "worker": self.name})
            raise
        except Exception:
            log.exception("worker fails", extra={"action": "fail", "worker": self.name})
            raise
        finally:
            self.close()

    def step(self, timeout_s: float | None = None) -> bool:
        """One turn: wait until something rings or is due, but no longer than `timeout_s`, then do it.

        Returns:
            Whether anything was done; a `False` after ``step(0)`` means there is nothing to do now.
        """
        rang = self._wait(timeout_s)
        moved = self._collect() or rang
        todo = decide(self._seen())
        self.turns += 1
        try:
            self._do(todo)
        except Away:
            pass
        finally:
            if self._flush is not None:
                self._flush()
        return moved or any(todo[:-1])

    def report(self) -> None:
        """Give the store what has ended so far: for a pool that is asked in the middle of a start."""
        self._collect()
        if self._ended:
            self._settle(None)

    def wake(self) -> None:
        """Make a sleeping `step` look around."""
        with suppress(OSError):
            os.write(self._wake_w, b"!")

    def stop(self, drain_s: float = 30.0, sig: str = "") -> None:
        """Take no more work, and leave when what runs has ended, after `drain_s` seconds at the latest.

        What has not ended then goes back to the store as if it had never been handed out. A second call
        can only bring the end nearer.

        Args:
            drain_s: See above.
            sig: By which signal of the system it was told, for those who hear `worker_shutting_down`.
        """
        self._sig = self._sig or sig
        at = self._clock() + drain_s
        self._stop_at = at if self._stop_at is None else min(at, self._stop_at)
        self.wake()

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called, or the parent has ended."""
        return self._stop_at is not None

    @property
    def starts_anew(self) -> bool:
        """Whether it was told, by way of the store, to leave so that it is started again."""
        return self._steward.wish.shutdown == "again"

    @property
    def hostname(self) -> str:
        """Celery's word for its name."""
        return self.name

    @property
    def held(self) -> int:
        """How many leases are held."""
        return len(self._holding.held)

    def close(self) -> None:
        """Stop what runs, give back what is held, and go off the list of workers. Needs a store that
        answers within seconds; when it does not, the leases run out by themselves."""
        if self._closed:
            return
        self._closed = True
        reports = self._close_pool()
        for key in self._holding.open_keys():
            self._holding.stop(key, Kind.RELEASED)
        for report in reports:
            self._ended += self._holding.settled(report)
        self._ended += self._holding.released()
        self._unread.clear()
        self._last_word()
        self._bell.close()
        self._poll = select.poll()
        os.close(self._wake_r)
        os.close(self._wake_w)
        self._telling.left()

    def _close_pool(self) -> list[Settlement]:
        try:
            return self._pool.close(drain_s=0.0)
        except Exception:
            log.exception("pool does not close", extra={"action": "leave", "worker": self.name})
            return []

    # ── wait and collect ─────────────────────────────────────────────────────────────

    def _wait(self, timeout_s: float | None) -> bool:
        """Sleep until something is readable or due; whether the bell rang."""
        seen = self._seen()
        rest = rest_s(seen)
        if timeout_s is not None:
            rest = min(rest, timeout_s)
        self._watch()
        before = self._clock()
        if seen.ended and gathers(seen):  # those that report would wake it one by one
            time.sleep(rest)
            rest = 0.0
        ready = self._poll.poll(ceil(rest * 1000))
        if self._clock() - before > rest + PAUSE_S:
            self._was_paused()
        heard: Heard | None = None
        for fd, _ in ready:
            if fd == self._polled[0]:
                heard = self._bell.hush()
            elif fd == self._wake_r:
                _drain(fd)
            elif fd == self._parent_fd:
                self._hear_parent(fd)
        if heard is not None:
            self._on_bell(heard)
            if self._unread and len(ready) == 1 and not self._patience.until:
                with suppress(Away):  # at once: what else there is to look at can wait, who gave it does
                    self._start()
        self._listened_at = before
        return heard is not None

    def _watch(self) -> None:
        """Wait for the pool's descriptors of this moment: children come and go."""
        fds = (self._bell.fileno(), self._wake_r, *self._pool.filenos())
        if self._parent_fd is not None:
            fds = (*fds, self._parent_fd)
        if fds != self._polled:
            self._poll = select.poll()
            for fd in fds:
                self._poll.register(fd, select.POLLIN)
            self._polled = fds

    def _hear_parent(self, fd: int) -> None:
        """End of file: the process that started this one is gone. ``slots N`` resizes the pool."""
        try:
            said = os.read(fd, 4096)
        except BlockingIOError:
            return
        if not said:
            log.info("parent is gone", extra={"action": "stop", "worker": self.name})
            self._parent_fd = None
            self.stop(drain_s=0.0)
        for line in said.splitlines():
            word, _, number = line.partition(b" ")
            if word == b"slots" and number.isdigit():
                self._steward.resize(int(number))
                self._dry, self._announce_at = False, self._clock()

    def _on_bell(self, heard: Heard) -> None:
        """There may be work, a lease may have been cancelled, something may be due sooner than thought."""
        self._dry = False
        if heard.leases:
            self._receive(heard.leases)
        if heard.is_turn:
            return
        self._renew_at = min(self._renew_at, self._renewed_at + self._renew_gap_s)
        self._steward.look_soon()
        self._reap_soon()

    def _receive(self, leases: Sequence[Lease]) -> None:
        """The store claimed for us, at some moment since this worker last listened."""
        self._take(leases, self._listened_at)
        if self._stop_at is not None:
            self._ended += [one for lease in leases for one in self._holding.settled(released(lease.key))]
            self._unread = [lease for lease in self._unread if self._holding.has(lease.key)]

    def _reap_soon(self) -> None:
        self._reap_at = min(self._reap_at, self._reaped_at + REAP_GAP_S)

    def _was_paused(self) -> None:
        """This process was stopped, or the machine slept: everyone's leases look stale, so give their
        owners a moment to renew before any of them are reaped."""
        now = self._clock()
        log.warning("worker was held up", extra={"action": "pause", "worker": self.name})
        self._renew_at = now
        self._reap_at = max(self._reap_at, now + 1.0)

    def _collect(self) -> bool:
        """Take what the pool has for us."""
        reports, notes = self._pool.finished()
        for report in reports:
            self._refusals.look(report)
            self._telling.ended(report)
            if self._chronicle is not None:
                self._chronicle.ended(report)
            is_call = self._holding.is_call(report.key)
            settlements = self._holding.settled(report)
            self._ended += settlements
            if not self._holding.has(report.key):
                self._gate.forget(report.key)
            if is_call:
                self._made += settlements
        if notes:
            self._notes += write_records(notes)
            del self._notes[:-NOTES_KEPT]
        return self._pass_gate() or bool(reports or notes)

    def _pass_gate(self) -> bool:
        """What was kept for its rate, and is due; whether there was any."""
        if not self._gate.kept:
            return False
        if self.is_stopping:
            for lease in self._gate.clear():
                self._ended += self._holding.settled(released(lease.key))
            return True
        due = self._gate.due(self._clock())
        self._unread += due
        return bool(due)

    def _seen(self) -> Seen:
        now = self._clock()
        due_s, kept = self._pool.due_s(), len(self._gate.kept)
        pool_at = inf if due_s is None else now + due_s
        return Seen(
            now,
            self._free(kept),
            len(self._holding.held),
            len(self._ended),
            len(self._unread),
            bool(self._notes),
            self._dry,
            self._patience.until,
            self._settle_at,
            self._trusted_until,
            self._renew_at,
            self._steward.at,
            self._reap_at,
            self._announce_at,
            self._sweep_at,
            min(pool_at, self._gate.at) if kept else pool_at,
            self._idle_at(),
            self._stop_at,
        )

    def _free(self, kept: int) -> int:
        """Slots for which work may be asked for, when so many leases are kept for their rates."""
        keeps_much = kept > 0 and kept >= KEPT_PER_SLOT * self._pool.slots
        return self._pool.free() if self._steward.takes_work and not keeps_much else 0

    def _idle_at(self) -> float:
        stays = self._idle_exit_s is None or self._later or self._steward.wish.drains
        return inf if stays or self._idle_exit_s is None else self._busy_at + self._idle_exit_s

    # ── do ───────────────────────────────────────────────────────────────────────────

    def _do(self, todo: Step) -> None:
        if not any(todo):
            return
        before = self._clock()
        if todo.abandon:
            self._abandon()
        if todo.settle or todo.claim:
            self._exchange(todo.claim)
        if self._unread and (todo.start or todo.claim):
            self._start()
        if todo.claim and self._steward.wish.scales:
            self._steward.saw(self._spare())
        if any(todo[_FIRST_CHORE:]):
            self._do_chores(todo)
        if self._clock() - before > PAUSE_S:
            self._was_paused()

    def _do_chores(self, todo: Step) -> None:
        if todo.note:
            self._note()
        if todo.renew and self._holding.held:
            self._renew()
        if todo.tend:
            self._tend()
        if todo.reap:
            self._reap()
        if todo.announce:
            self._announce()
        if todo.sweep and not self._holding.held:
            self._sweep()

    def _exchange(self, slots: int) -> None:
        """Give outcomes and take work in one step of the store."""
        began = self._clock()
        want = self._want(slots) if slots else None
        if not self._ended:
            leases = self._patience.ask(self._store.claim, want) if want is not None else []
        else:
            leases = self._settle(want)
            self._reap_soon()
            now = self._clock()
            self._settle_at = now + min(GATHER_SHARE * (now - began), GATHER_MOST_S)
        if want is not None:
            self._take(leases, began)
            self._steward.took(min(slots, len(leases)))

    def _want(self, slots: int) -> Want:
        share = max(self._share, self._pool.slots)
        return self._steward.want(slots, share, self._lease_s, self._pace_s)

    def _spare(self) -> int:
        """Slots that are free and for which there is nothing."""
        return self._pool.free() if self._dry or self._steward.wish.drains else 0

    def _tend(self) -> None:
        """Be what is wanted; others should hear of it soon."""
        news, leases = self._patience.ask(self._steward.tend, self._spare())
        if news:
            self._announce_at, self._dry = self._clock(), False
            self._gate.become(self._steward.wish.rates, self._steward.wish.times, self._clock())
        if leases:
            self._receive(leases)
        shutdown = self._steward.wish.shutdown
        if shutdown is not None and (self._stop_at is None or shutdown == "now"):
            log.info("told to leave", extra={"action": "stop", "worker": self.name})
            self.stop(drain_s=0.0 if shutdown == "now" else self._grace_s)

    def _settle(self, want: Want | None) -> list[Lease]:
        """Outcomes stay here until the store has them."""
        done = self._ended
        try:
            settled: Settled = self._patience.ask(self._store.settle, done, want=want)
        except Away:
            raise
        except Exception:
            log.exception("settlements refused", extra={"action": "settle", "worker": self.name})
            self._made = []
            self._settle_apart()
            return []
        self._ended = []
        made, self._made = self._made, []
        if not settled.lost:
            self._inputs.made(made)
        self._count_delays(done)
        if not self._holding.held:
            self._be_quiet()
        if settled.lost:
            self._hear_lost(settled.lost)
        return settled.leases

    def _settle_apart(self) -> None:
        """One of the settlements cannot be stored, perhaps it adds a broken graph: its items fail."""
        while self._ended:
            settlement = self._ended[0]
            try:
                settled = self._patience.ask(self._store.settle, [settlement])
            except Away:
                raise
            except Exception as error:  # noqa: BLE001 - it is told to whoever waits for the item
                settled = self._patience.ask(self._store.settle, [refused(settlement, error)])
            self._ended.pop(0)
            self._hear_lost(settled.lost)

    def _hear_lost(self, lost: Iterable[LeaseKey]) -> None:
        """What else is held of a lost lease is lost too; the next renewal says so exactly."""
        if any(self._holding.has(key) for key in lost):
            self._renew_at = self._clock()

    def _count_delays(self, done: Iterable[Settlement]) -> None:
        """A retry is due when its wait is over, whatever the last reap said."""
        delays = [o.delay_s for s in done for o in s.outcomes if o.kind is Kind.RETRY]
        if delays:
            self._reap_at = min(self._reap_at, self._clock() + min(delays))

    def _take(self, leases: Sequence[Lease], began: float) -> None:
        if leases:
            if not self._holding.held:
                self._trusted_until = began + self._trust_s
                self._renew_at = began + self._lease_s / 3
            self._holding.add(leases)
            self._telling.took(leases)
            if self._chronicle is not None:
                self._chronicle.took(leases)
            self._unread += self._gate.admit(leases, self._clock())
        else:
            self._dry = True

    def _start(self) -> None:
        """Start what was claimed; a lease that cannot start fails, the others go on."""
        leases = [lease for lease in self._unread if self._holding.has(lease.key)]
        try:
            ready = self._patience.ask(self._inputs.read, leases)
        except Away:
            raise
        except TaskflowError:
            ready = [one for lease in leases for one in self._read_apart(lease)]
        self._unread = []
        self._give(ready)
        if self._flush is not None:
            self._flush()
        self._dry = self._pool.free() > 0

    def _give(self, ready: Sequence[Ready]) -> None:
        if self._start_many is not None:
            self._start_many(ready)
            return
        for one in ready:
            try:
                self._pool.start(*one)
            except TaskflowError as error:
                self._fail(one.lease, error)

    def _read_apart(self, lease: Lease) -> list[Ready]:
        """A predecessor of another run may have been forgotten meanwhile."""
        try:
            return self._patience.ask(self._inputs.read, [lease])
        except TaskflowError as error:
            self._fail(lease, error)
            return []

    def _fail(self, lease: Lease, error: Exception) -> None:
        self._ended += self._holding.settled(failed(lease.key, error))

    def _note(self) -> None:
        notes, self._notes = self._notes, []
        try:
            self._patience.ask(self._store.note, notes)
        except TaskflowError:
            log.warning("notes refused", exc_info=True, extra={"action": "note", "worker": self.name})

    def _renew(self) -> None:
        """Hold on to everything; stop what was cancelled or lost."""
        began = self._clock()
        self._renewed_at = began
        renewal = self._patience.ask(self._store.renew, self._holding.open_keys(), lease_s=self._lease_s)
        self._renewed_at = now = self._clock()
        self._renew_gap_s = max(RENEW_GAP_S, 20 * (now - began))
        self._renew_at = began + self._lease_s / 3
        self._trusted_until = began + self._trust_s
        for key in renewal.lost:
            known = self._holding.drop(key)
            if self._chronicle is not None:
                self._chronicle.forget(key)
            if known is not None:
                log.warning("lease lost", extra={"action": "lose", "worker": self.name, "node": key.node})
                self._gate.drop(key)
                self._kill(known, "the lease was lost", grace_s=0.0)
                self._gate.forget(key)
        unread = {(lease.key.node, lease.key.fence) for lease in self._unread}
        for key, why in renewal.cancelled.items():
            if (key.node, key.fence) in unread:
                continue
            known = self._holding.stop(key, Kind.CANCELLED)
            if known is not None:
                for kept in self._gate.drop(key):
                    self._ended += self._holding.settled(cancelled(kept.key, why))
                self._kill(known, why or "cancelled")
                self._telling.revoked(key, terminated=True)

    def _kill(self, key: LeaseKey, reason: str, *, grace_s: float | None = None) -> None:
        """Stop what has started of a lease."""
        for part in self._gate.parts(key):
            self._pool.kill(part, reason, grace_s=grace_s)

    def _abandon(self) -> None:
        """The store was silent for so long that others may have these leases: stop, and give them back."""
        self._trusted_until = inf
        log.warning("leases abandoned", extra={"action": "abandon", "worker": self.name, "count": self.held})
        for lease in (*self._unread, *self._gate.clear()):
            self._ended += self._holding.settled(released(lease.key))
        self._unread = []
        for key in self._holding.open_keys():
            known = self._holding.stop(key, Kind.RELEASED)
            if known is not None:
                self._kill(known, "the store did not answer for too long", grace_s=0.0)

    def _reap(self) -> None:
        """Do what time demands; look again when the store says, or when a lost ring would have been late."""
        due_s = self._patience.ask(self._store.reap)
        now = self._reaped_at = self._clock()
        self._later = due_s is not None
        if due_s == 0.0:
            self._reap_at = now
        else:
            wait = REST_S if due_s is None else min(due_s, REST_S)
            self._reap_at = now + max(wait, 0.01) + _jitter(wait)
        self._dry = False

    def _announce(self) -> None:
        now = self._clock()
        self._patience.ask(self._store.epoch)  # a file that was removed or replaced is opened anew
        self._patience.ask(self._store.announce, self._view())
        others = self._patience.ask(self._store.workers)
        self._share = sum(view.slots for view in others if view.id != self.name) + self._pool.slots
        self._announce_at = now + self._announce_gap_s
        self._announce_gap_s = REST_S
        self._telling.announced()

    def _view(self) -> WorkerView:
        return self._card.view(
            queues=self._steward.wish.queues.names,
            slots=self._pool.slots,
            free=self._pool.free(),
            held=self.held,
            told={"refused": self._refusals.count, **self._done(), **self._steward.told()},
        )

    def _done(self) -> dict[str, Any]:
        """What it has taken so far by task, and what it keeps for its rate."""
        kept = {"kept": self._gate.ids()} if self._gate.kept else {}
        return {"total": dict(self._gate.total), **kept}

    def _be_quiet(self) -> None:
        """The last lease is gone: from now the worker counts as idle, and may tidy up soon."""
        self._busy_at = self._clock()
        self._sweep_at = max(self._busy_at + QUIET_S, self._swept_at + SWEEP_GAP_S)

    def _sweep(self) -> None:
        now = self._swept_at = self._clock()
        self._sweep_at = now + SWEEP_IDLE_S
        try:
            self._patience.ask(self._steward.prune)
            self._patience.ask(self._store.sweep, age_s=self._keep_s, size_bytes=self._keep_bytes)
        except TaskflowError:
            log.warning("sweep failed", exc_info=True, extra={"action": "sweep", "worker": self.name})

    # ── leave ────────────────────────────────────────────────────────────────────────

    def _goes_on(self) -> bool:
        if self._stop_at is not None:
            self._telling.leaves(self._sig, drains=self._stop_at > self._clock())
        elif self._holding.held or self._clock() < self._idle_at():
            return True
        if not decide(self._seen()).leave:
            return True
        return self._stop_at is None and self._finds_more()

    def _finds_more(self) -> bool:
        """Who submits looks for a living worker: go off the list first, then look for work once more."""
        began = self._clock()
        try:
            self._patience.ask(self._store.announce, self._view(), gone=True)
            want = self._want(max(1, self._pool.free()))._replace(standing=False)
            leases = self._patience.ask(self._store.claim, want)
        except Away:
            return True
        if leases:
            self._take(leases, began)
            self._announce_at = began
        return bool(leases)

    def _last_word(self) -> None:
        until = self._clock() + LAST_WORD_S
        while True:
            try:
                given = self._patience.ask(self._store.claim, self._steward.nothing())
                self._ended += [released(lease.key) for lease in given]
                if self._ended:
                    self._settle(None)
                self._patience.ask(self._store.announce, self._view(), gone=True)
            except Away:
                if self._clock() < until:
                    time.sleep(0.05)
                    continue
                log.warning("leases left to run out", extra={"action": "leave", "worker": self.name})
            except Exception:
                log.exception("leaving fails", extra={"action": "leave", "worker": self.name})
            return


def _jitter(wait_s: float) -> float:
    """Workers that wait for the same moment should not all come at once."""
    return random.uniform(0.0, min(0.002 + wait_s / 100, 0.2))  # noqa: S311 - chance, not secrecy


def _drain(fd: int) -> None:
    with suppress(BlockingIOError):
        while os.read(fd, 4096):
            pass
