"""The embedded default: one SQLite file (WAL), many processes of one host, no daemon.

Every verb is one transaction: load the touched rows, let `taskflow.machine` change them, write them
back, append the events, ring the bells. Beside the file lies a private directory with the blobs
and the doorbells::

    store.db  store.db-wal  store.db-shm
    store.db.d/blobs/…      store.db.d/bells/{work,watch}/…

Writers take turns by trying again every fraction of a millisecond: SQLite's own waiting sleeps up
to 100 ms and starves the unlucky.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from taskflow.errors import (
    UsageError,
)
from taskflow.ids import NodeId, RunId
from taskflow.limits import BreakerWord, Limit
from taskflow.machine import moves
from taskflow.records import (
    SAID,
    WORKERS,
    Hold,
    Lease,
    LeaseKey,
    Note,
    Plan,
    Renewal,
    Settled,
    Settlement,
    Want,
    WorkerView,
)
from taskflow.states import TERMINAL, State
from taskflow.stores.sqlite_columns import NEXT_ALARM, posted_as, queues_with_work
from taskflow.stores.sqlite_reads import SqliteReads
from taskflow.stores.sqlite_retention import SqliteRetention

__all__ = ["SQLiteStore"]

PURGED_PER_STEP = 1000
_SUBMIT, _CLAIM, _SETTLE, _RENEW = (
    (f"{verb}.before", f"{verb}.inside", f"{verb}.after") for verb in ("submit", "claim", "settle", "renew")
)


class SQLiteStore(SqliteReads, SqliteRetention):
    """All ports over one SQLite file.

    Args:
        path: The file; it is made, private to the user, when it is not there.
        clock: Where time comes from.
        sync: ``"normal"`` survives the death of any process, and loses the last moments when the
            machine loses power; ``"full"`` loses nothing and pays a disk flush per step.
        wait_s: How long a step waits for its turn before `StoreUnavailable`.

    Raises:
        ConfigError: The file or its directory could be read or written by others, or is no store.
        VersionMismatch: Another release wrote it.
    """

    def submit(self, plans: Sequence[Plan], /) -> Mapping[RunId, RunId]:
        """See `GraphPort.submit`."""
        with self._step(_SUBMIT, own_bell=False) as rows:
            return moves.submit(rows, plans)

    def cancel(self, node: NodeId | RunId, /, *, index: int | None = None, reason: str = "") -> bool:
        """See `GraphPort.cancel`."""
        with self._step() as rows:
            changed = moves.cancel(rows, node, index, reason or "cancelled")
        self._bells.ring("work")
        return changed

    def purge(self, queue: str, /) -> int:
        """See `GraphPort.purge`."""
        items = 0
        after: str | None = ""
        while after is not None:
            with self._step() as rows:
                some, after = moves.purge(rows, queue, after, PURGED_PER_STEP)
            items += some
        return items

    def rerun(self, run: RunId, new: RunId, /) -> Mapping[NodeId, NodeId]:
        """See `GraphPort.rerun`."""
        with self._step() as rows:
            return moves.rerun(rows, run, new)

    def forget(self, run: RunId, /) -> None:
        """See `GraphPort.forget`."""
        with self._step() as rows:
            record = rows.run(run)
            if record is None:
                raise self._missing(run)
            if record.state not in TERMINAL:
                raise UsageError(f"Run {run} has not ended: cancel it first.")
            if not self._delete([record.key]):
                raise UsageError(
                    f"A run that has not ended, or a rerun, needs run {run}: forget or cancel that first."
                )

    def claim(self, want: Want, /) -> list[Lease]:
        """See `WorkPort.claim`. Takes no lock while there is nothing to claim."""
        if not self._may_claim(want.queues):
            return []
        with self._step(_CLAIM, keep=True) as rows:
            return moves.claim(rows, want)

    def _may_claim(self, queues: Sequence[str]) -> bool:
        if any(self._read(*queues_with_work(queues))[0]):
            return True
        due = self._read("select exists(select 1 from limits where alarm_at <= ?)", (self._clock.now(),))
        return bool(due[0][0])

    def renew(self, held: Sequence[LeaseKey], /, *, lease_s: float) -> Renewal:
        """See `WorkPort.renew`."""
        with self._step(_RENEW, keep=True) as rows:
            return moves.renew(rows, held, lease_s)

    def settle(self, done: Sequence[Settlement], /, *, want: Want | None = None) -> Settled:
        """See `WorkPort.settle`."""
        with self._step(_SETTLE, own_bell=False, keep=True) as rows:
            lost = moves.settle(rows, done)
            leases = moves.claim(rows, want) if want is not None else []
        return Settled(lost, leases)

    def reap(self, /, *, limit: int = 1000) -> float | None:
        """See `WorkPort.reap`. Also keeps the write-ahead log short."""
        self._checkpoint_aside()
        now = self._clock.now()
        alarm = self._read(NEXT_ALARM)[0][0]
        if not self._read("select 1 from todo limit 1") and (alarm is None or alarm > now):
            return None if alarm is None else max(0.0, alarm - now)
        with self._step(go_on=True) as rows:
            return moves.reap(rows, limit)

    def note(self, notes: Sequence[Note], /) -> None:
        """See `WorkPort.note`."""
        kept = [note for note in notes if note.kind == "log" or note.kind in SAID]
        if not kept:
            return
        with self._step(keep=True) as rows:
            new = {note.key.node: None for note in kept if rows.note(note)}
            for row in filter(None, map(rows.node, new)):
                rows.emit(row.run, row.id, 0, 0, State.RUNNING)
        if new:
            self._bells.ring("watch")

    def pause(self, queue: str, /, *, resume: bool = False) -> bool:
        """See `StatusPort.pause`."""
        statement = "delete from paused where queue=?" if resume else "insert or ignore into paused values(?)"
        with self._step():
            changed = self._writer.execute(statement, (queue,)).rowcount > 0
        if changed:
            self._bells.ring("work")
        return changed

    def post(self, name: str, revision: int, body: bytes, /) -> bool:
        """See `PostPort.post`."""
        number, text = posted_as(name)
        with self._step():
            found = self._writer.execute("select value from meta where key=?", (number,)).fetchone()
            if (found[0] if found else 0) != revision:
                return False
            self._writer.executemany(
                "insert or replace into meta values(?, ?)", [(number, revision + 1), (text, body)]
            )
        for topic in ("posted", "work") if name == WORKERS else ("posted",):
            self._bells.ring(topic)
        return True

    def hold(
        self,
        name: str,
        holder: str,
        /,
        *,
        most: int,
        ttl_s: float,
        wait_s: float = 0.0,
        together: bool = False,
    ) -> Hold:
        """See `SharingPort.hold`."""
        with self._step() as rows:
            held = Hold(*moves.hold(rows, name, holder, most, ttl_s, wait_s, together))
        if together and held.fence:
            self._bells.ring("holds")
        return held

    def let_go(self, name: str, holder: str, /) -> bool:
        """See `SharingPort.let_go`."""
        with self._step() as rows:
            had, others_wait = moves.let_go(rows, name, holder)
        if others_wait:
            self._bells.ring("holds")
        return had

    def tell_breaker(self, limit: Limit, word: BreakerWord, /, *, took_s: float = 0.0) -> bool:
        """See `SharingPort.tell_breaker`."""
        with self._step() as rows:
            return moves.tell_breaker(rows, limit, word, took_s)

    def announce(self, view: WorkerView, /, *, gone: bool = False) -> None:
        """See `StatusPort.announce`."""
        with self._step():
            if gone:
                self._writer.execute("delete from worker where id=?", (view.id,))
                return
            body = json.dumps(
                [view.host, view.pid, view.queues, view.slots, view.busy, view.started_at, dict(view.info)]
            )
            self._writer.execute(
                "insert or replace into worker values(?,?,?)", (view.id, body, self._clock.now())
            )
