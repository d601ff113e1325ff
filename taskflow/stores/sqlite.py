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

import contextlib
import json
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from taskflow import faults
from taskflow.blobs.files import FileBlobs
from taskflow.clock import Clock, SystemClock
from taskflow.codec import blob_names
from taskflow.errors import (
    ConfigError,
    NoSuchRun,
    QueueFull,
    ResultExpired,
    StoreUnavailable,
    TaskflowError,
    UsageError,
    VersionMismatch,
)
from taskflow.ids import NodeId, RunId
from taskflow.machine import moves
from taskflow.machine.invariants import broken
from taskflow.machine.rows import NodeRow
from taskflow.ports import Blobs
from taskflow.records import (
    Call,
    Edge,
    EdgeMode,
    Event,
    ItemView,
    Lease,
    LeaseKey,
    NodeView,
    Note,
    Page,
    Plan,
    Renewal,
    RunView,
    Segment,
    Settled,
    Settlement,
    Want,
    WorkerView,
)
from taskflow.states import TERMINAL, State
from taskflow.stores.bells import Bells, SocketBell
from taskflow.stores.place import private_directory, private_file
from taskflow.stores.sqlite_rows import (
    LOAD_NODE,
    LOAD_NODE_ARGS,
    LOAD_RUN,
    SCHEMA,
    STATES,
    VERSION,
    SqliteRows,
    item_from,
    node_from,
    part_from,
    run_from,
    segment_from,
)
from taskflow.stores.views import item_views, node_view, run_view

__all__ = ["SQLiteStore"]

T = TypeVar("T")

EVENTS_PER_ROW = 10_000
EVENTS_KEPT = 20_000
EVENT_BYTES_KEPT = 16 << 20
TOMBSTONES_KEPT = 100_000
TOMBSTONES_KEPT_S = 7 * 86_400.0
RUNS_PER_STEP = 200
VACUUM_PAGES = 1000
WAL_BYTES = 8 << 20
_CURSOR_BITS = 16
_TABLES = "select name from sqlite_master where type='table'"
_HAS_TABLES = "select 1 from sqlite_master where name='meta'"
_SUBMIT, _CLAIM, _SETTLE, _RENEW, _STEP = (
    (f"{verb}.before", f"{verb}.inside", f"{verb}.after")
    for verb in ("submit", "claim", "settle", "renew", "step")
)
_compact = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class SQLiteStore:
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

    def __init__(
        self, path: str | Path, *, clock: Clock | None = None, sync: str = "normal", wait_s: float = 20.0
    ) -> None:
        if sync not in ("normal", "full"):
            raise ConfigError(f"sync={sync!r} is not known: use 'normal' or 'full'.")
        self.path = Path(path).expanduser().absolute()
        self.url = f"sqlite:///{self.path}"
        self._clock = clock or SystemClock()
        self._sync = sync
        self._wait_s = wait_s
        self._lock = threading.RLock()
        self._read_lock = threading.RLock()
        side = private_directory(self.path)
        self._writer = self._connect()
        self._reader = self._connect()
        self._steps = 0
        with self._explained():
            self._make_tables()
        self.blobs: Blobs = FileBlobs(side / "blobs")
        self._bells = Bells(side / "bells")

    # ── the file ─────────────────────────────────────────────────────────────────────

    def _connect(self) -> sqlite3.Connection:
        private_file(self.path)
        with self._explained():
            db = sqlite3.connect(
                self.path, isolation_level=None, timeout=0, check_same_thread=False, cached_statements=256
            )
            if not self._patiently(lambda: db.execute("pragma page_count").fetchone())[0]:
                self._patiently(lambda: db.execute("pragma auto_vacuum=incremental"))
            else:
                self._refuse_foreign(self._patiently(lambda: db.execute(_TABLES).fetchall()))
            self._patiently(lambda: db.execute("pragma journal_mode=wal"))
            for pragma in (
                f"synchronous={self._sync}",
                "wal_autocheckpoint=0",
                "temp_store=memory",
                "cache_size=-16000",
            ):
                db.execute(f"pragma {pragma}")
        return db

    def _refuse_foreign(self, tables: list[tuple[str]]) -> None:
        if tables and ("meta",) not in tables:
            raise ConfigError(
                f"{self.path} is no taskflow store: it belongs to another program. Give another path."
            )

    def _make_tables(self) -> None:
        """Make the tables where there are none; a store that has them is opened without a lock."""
        if not self._read(_HAS_TABLES):
            with self._lock:
                self._begin()
                try:
                    if not self._writer.execute(_HAS_TABLES).fetchone():
                        self._write_tables()
                    self._writer.execute("commit")
                except BaseException:
                    self._writer.execute("rollback")
                    raise
        found = self._read("select value from meta where key='schema'")
        version = found[0][0] if found else None
        if version != VERSION:
            raise VersionMismatch(
                f"{self.path} has schema {version}, this release of taskflow reads {VERSION}."
                " Use the release that wrote it, or another file."
            )

    def _write_tables(self) -> None:
        for statement in SCHEMA.split(";"):
            if statement.strip():
                self._writer.execute(statement)
        self._writer.execute("insert into meta values('schema', ?)", (VERSION,))

    def _patiently(self, attempt: Any) -> Any:
        """Try until the file is not locked, with short random waits, for `wait_s` at most."""
        deadline = None
        while True:
            try:
                return attempt()
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) and "busy" not in str(error):
                    raise
                now = time.monotonic()
                deadline = deadline or now + self._wait_s
                if now > deadline:
                    raise StoreUnavailable(
                        f"{self.path} was locked by another process for {self._wait_s:g} s. Is one of them"
                        " stopped, or does another program have the file open?"
                    ) from error
            time.sleep(random.uniform(0.00005, 0.0005))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Give SQLite's errors a name and a cure."""
        try:
            yield
        except sqlite3.Error as error:
            raise _explain(error, self.path) from error

    # ── a step ───────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def _step(
        self, points: tuple[str, str, str] = _STEP, *, own_bell: bool = True, go_on: bool = False
    ) -> Iterator[SqliteRows]:
        before, inside, after = points
        with self._lock:
            faults.point(before)
            with self._explained():
                try:
                    self._begin()
                    rows = SqliteRows(self._writer, self._clock.now(), go_on=go_on)
                    yield rows
                    rows.finish()
                    self._append(rows)
                    faults.point(inside)
                    self._writer.execute("commit")
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        self._writer.execute("rollback")
                    raise
            faults.point(after)
            self._steps += 1
            if self._steps % 512 == 0:
                self._checkpoint(WAL_BYTES * 8)
        self._ring(rows, own_bell)

    def _begin(self) -> None:
        if self._writer.in_transaction:  # Ctrl-C came while the last step was rolled back
            self._writer.execute("rollback")
        self._patiently(lambda: self._writer.execute("begin immediate"))

    def _append(self, rows: SqliteRows) -> None:
        events = rows.events
        for at in range(0, len(events), EVENTS_PER_ROW):
            body = _compact(
                [
                    (run if run != node else "", node, lo, hi, state)
                    for run, node, lo, hi, state in events[at : at + EVENTS_PER_ROW]
                ]
            )
            self._writer.execute("insert into event(at, body) values(?, ?)", (rows.now, body))

    def _ring(self, rows: SqliteRows, own_bell: bool) -> None:
        """Wake workers when something may be claimed, and watchers when something has ended.

        That something began to run is told with the next end: nobody waits for it.
        """
        if rows.freed:
            self._bells.ring("work", others_only=not own_bell)
        if any(event[4] in TERMINAL for event in rows.events):
            self._bells.ring("watch")
        elif rows.freed:
            self._bells.ring("watch", others_only=not own_bell)

    def _checkpoint(self, above_bytes: int) -> None:
        with contextlib.suppress(OSError, sqlite3.Error):
            if os.stat(f"{self.path}-wal").st_size > above_bytes:
                self._writer.execute("pragma wal_checkpoint(restart)").fetchall()

    # ── GraphPort ────────────────────────────────────────────────────────────────────

    def submit(self, plans: Sequence[Plan], /) -> None:
        """See `GraphPort.submit`."""
        with self._step(_SUBMIT, own_bell=False) as rows:
            moves.submit(rows, plans)

    def cancel(self, node: NodeId | RunId, /, *, index: int | None = None, reason: str = "") -> bool:
        """See `GraphPort.cancel`."""
        with self._step() as rows:
            changed = moves.cancel(rows, node, index, reason or "cancelled")
        self._bells.ring("work")
        return changed

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

    # ── WorkPort ─────────────────────────────────────────────────────────────────────

    def claim(self, want: Want, /) -> list[Lease]:
        """See `WorkPort.claim`. Takes no lock while there is nothing to claim."""
        if not self._may_claim(want.queues):
            return []
        with self._step(_CLAIM) as rows:
            return moves.claim(rows, want)

    def _may_claim(self, queues: Sequence[str]) -> bool:
        sql = "select 1 from node where state='queued' and queue=? limit 1"
        return any(self._read(sql, (queue,)) for queue in queues)

    def renew(self, held: Sequence[LeaseKey], /, *, lease_s: float) -> Renewal:
        """See `WorkPort.renew`."""
        with self._step(_RENEW) as rows:
            return moves.renew(rows, held, lease_s)

    def settle(self, done: Sequence[Settlement], /, *, want: Want | None = None) -> Settled:
        """See `WorkPort.settle`."""
        with self._step(_SETTLE, own_bell=False) as rows:
            lost = moves.settle(rows, done)
            leases = moves.claim(rows, want) if want is not None else []
        return Settled(lost, leases)

    def reap(self, /, *, limit: int = 1000) -> float | None:
        """See `WorkPort.reap`. Also keeps the write-ahead log short."""
        with self._lock:
            self._checkpoint(WAL_BYTES)
        now = self._clock.now()
        alarm = self._read("select alarm_at from node where alarm_at is not null order by alarm_at limit 1")
        if not self._read("select 1 from todo limit 1") and (not alarm or alarm[0][0] > now):
            return max(0.0, alarm[0][0] - now) if alarm else None
        with self._step(go_on=True) as rows:
            return moves.reap(rows, limit)

    def pages(self, node: NodeId, lo: int, hi: int, /) -> list[Page]:
        """See `WorkPort.pages`."""
        sql = (
            "select lo, hi, items from page where node = (select key from node where id = ?)"
            " and lo < ? and hi > ? order by lo"
        )
        found = self._read(sql, (node, hi, lo))
        if not found:
            source = self._read("select source from node where id = ? and source is not null", (node,))
            found = self._read(sql, (source[0][0], hi, lo)) if source else []
        return [Page(*t) for t in found]

    def note(self, notes: Sequence[Note], /) -> None:
        """See `WorkPort.note`."""
        logs = [n for n in notes if n.kind == "log"]
        if not logs:
            return
        with self._step() as rows:
            for n in logs:
                row = rows.node(n.key.node)
                if row is not None and rows.held(row, n.key) is not None:
                    index = int(n.data.get("index", n.key.lo))
                    self._writer.execute(
                        "insert into log values(?,?,?)", (row.key, index, str(n.data["text"]))
                    )

    # ── WatchPort ────────────────────────────────────────────────────────────────────

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._read_lock, self._explained():
            found: list[Any] = self._patiently(lambda: self._reader.execute(sql, values).fetchall())
            return found

    @contextlib.contextmanager
    def _one_moment(self) -> Iterator[None]:
        """Reads inside see the store as it was at one moment."""
        with self._read_lock, self._explained():
            if self._reader.in_transaction:
                yield
                return
            try:
                self._reader.execute("begin")
                yield
            finally:
                self._reader.commit()  # nothing when the beginning was interrupted

    def runs(self, /, *, limit: int = 100, states: Collection[str] = (), match: str = "") -> list[RunView]:
        """See `WatchPort.runs`."""
        where, values = ["1"], []
        if states:
            where.append("r.state in (select value from json_each(?))")
            values.append(json.dumps([str(s) for s in states]))
        if match:
            where.append("(instr(r.name, ?) or r.id like ? escape '\\')")
            values += [match, _like(match)]
        sql = f"select {LOAD_RUN} from run r where {' and '.join(where)} order by r.created_at desc, r.key desc limit ?"
        with self._one_moment():
            rows = [run_from(t) for t in self._read(sql, (*values, limit))]
            return [run_view(row, counts=self._live_counts(row.key, row.counts)) for row in rows]

    def _live_counts(self, run: int, ended: Mapping[State, int]) -> dict[State, int]:
        counts = {state: items for state, items in ended.items() if items}
        sql = (
            "select state, due_at is not null, sum(held), sum(waiting), sum(returned), sum(open) from node"
            " where run=? and open > 0 group by 1, 2"
        )
        for state, due, held, waiting, returned, left in self._read(sql, (run,)):
            rest = left - held - waiting - returned
            fresh = State.BLOCKED if state == "blocked" else State.WAITING if due else State.QUEUED
            for word, items in (
                (State.RUNNING, held), (State.WAITING, waiting), (State.QUEUED, returned), (fresh, rest)
            ):  # fmt: skip
                if items:
                    counts[word] = counts.get(word, 0) + items
        return counts

    def snapshot(self, run: RunId, /) -> tuple[RunView, int]:
        """See `WatchPort.snapshot`."""
        with self._one_moment():
            found = self._read(f"select {LOAD_RUN} from run r where r.id=?", (run,))
            if not found:
                raise self._missing(run)
            row = run_from(found[0])
            return run_view(row, self._node_views(row.key)), self._newest()

    def _node_views(self, run: int) -> tuple[NodeView, ...]:
        sql = (
            f"select {LOAD_NODE}, n.end_state, n.error, n.attempts, n.deliveries, n.worker from node n"
            " join run r on r.key = n.run where n.run=? order by n.key"
        )
        parents: dict[int, list[Edge]] = {}
        edges = (
            "select e.child, p.id, e.mode from edge e join node p on p.key = e.parent"
            " join node c on c.key = e.child where c.run=? order by e.child, e.position"
        )
        for child, parent, mode in self._read(edges, (run,)):
            parents.setdefault(child, []).append(Edge(parent, EdgeMode(mode)))
        ended: dict[int, dict[State, int]] = {}
        errors: dict[int, str | None] = {}
        sums = (
            "select s.node, s.state, sum(s.hi - s.lo), min(s.error) from segment s join node n on n.key = s.node"
            " where n.run=? group by 1, 2"
        )
        for node, state, items, error in self._read(sums, (run,)):
            ended.setdefault(node, {})[State(state)] = items
            errors[node] = errors.get(node) or error
        return tuple(self._view(t, parents, ended, errors) for t in self._read(sql, (run,)))

    def _view(self, t: Any, parents: Any, ended: Any, errors: Any) -> NodeView:
        row = node_from(t)
        end_state, error, attempts, deliveries, worker = t[-5:]
        done = ended.get(row.key, {})
        if end_state is not None:
            done = {State(end_state): 1}
        elif row.state in TERMINAL and (row.final is not None or row.width is None):
            done = {row.state: 1}
        view = node_view(row, parents.get(row.key, ()), done, error or errors.get(row.key))
        if row.part is None:
            view = view._replace(attempts=attempts or 0, deliveries=deliveries or 0, worker=worker)
        return view

    def _newest(self) -> int:
        found = self._read("select key, json_array_length(body) from event order by key desc limit 1")
        return (found[0][0] << _CURSOR_BITS) + found[0][1] - 1 if found else 0

    def events(self, after: int, /, *, limit: int = 1000) -> list[Event]:
        """See `WatchPort.events`."""
        if after < 0:
            newest = self._read("select key, at, body from event order by key desc limit 1")
            return [event for t in newest for event in _unpack(t)][-1:]
        found: list[Event] = []
        key = after >> _CURSOR_BITS
        while len(found) < limit:
            batch = self._read("select key, at, body from event where key >= ? order by key limit 8", (key,))
            for t in batch:
                found += _unpack(t, after) if len(found) < limit else ()
            if len(batch) < 8:
                break
            key = batch[-1][0] + 1
        return found[:limit]

    def find(self, prefix: str, /) -> tuple[RunId, NodeId | None]:
        """See `WatchPort.find`."""
        exact = self._read(
            "select r.id, n.id from run r left join node n on 0 where r.id = ?1 union all"
            " select r.id, n.id from node n join run r on r.key = n.run where n.id = ?1",
            (prefix,),
        )
        if exact:
            return RunId(exact[0][0]), NodeId(exact[0][1]) if exact[0][1] else None
        runs = self._read("select id from run where id >= ? and id < ? limit 2", (prefix, prefix + "\x7f"))
        if len(runs) == 1:
            return RunId(runs[0][0]), None
        sql = "select r.id, n.id from node n join run r on r.key = n.run where n.id >= ? and n.id < ? limit 2"
        nodes = self._read(sql, (prefix, prefix + "\x7f"))
        if len(nodes) == 1 and not runs:
            return RunId(nodes[0][0]), NodeId(nodes[0][1])
        if runs or nodes:
            raise NoSuchRun(f"Several ids begin with {prefix!r}: give more of it.")
        raise self._missing(prefix)

    def values(
        self, nodes: Sequence[NodeId], /, *, lo: int = 0, hi: int | None = None
    ) -> dict[NodeId, list[Segment]]:
        """See `WatchPort.values`."""
        found: dict[NodeId, list[Segment]] = {}
        finals: dict[NodeId, list[NodeId]] = {}
        arrays: dict[int, NodeId] = {}
        sql = (
            "select id, key, array, final, end_state, value, error, end_fence from node"
            " where id in (select value from json_each(?))"
        )
        with self._one_moment():
            for node, key, array, final, state, value, error, fence in self._read(
                sql, (json.dumps(list(nodes)),)
            ):
                found[node] = []
                if final is not None:
                    finals.setdefault(final, []).append(node)
                elif array:
                    arrays[key] = node
                elif state is not None and lo == 0 and (hi is None or hi > 0):
                    found[node] = [Segment(node, 0, 1, State(state), value, error, fence)]
            for key, node in arrays.items():
                found[node] = self._segments(key, node, lo, hi)
            if finals:
                for final, segments in self.values(list(finals), lo=lo, hi=hi).items():
                    for node in finals[final]:
                        found[node] = segments
        for node in nodes:
            if node not in found:
                raise self._missing(node)
        return found

    def _segments(self, key: int, node: NodeId, lo: int, hi: int | None) -> list[Segment]:
        sql = (
            "select coalesce(origin, ?), lo, hi, state, value, error, fence from segment"
            " where node=? and lo < ? and hi > ? order by lo"
        )
        return [segment_from(t) for t in self._read(sql, (node, key, 1 << 62 if hi is None else hi, lo))]

    def call(self, node: NodeId, /) -> Call:
        """See `WatchPort.call`."""
        sql = f"select {LOAD_NODE_ARGS} from node n join run r on r.key = n.run where n.id=?"
        found = self._read(sql, (node,))
        if not found:
            raise self._missing(node)
        row = node_from(found[0])
        return Call(row.fn, row.args, row.array, row.inputs)

    def items(self, node: NodeId, /) -> list[ItemView]:
        """See `WatchPort.items`."""
        with self._one_moment():
            row, _ = self._node_row(node)
            if not row.array:
                parts = [row.part] if row.part else []
                sql = (
                    "select 0, 1, end_state, attempts, deliveries, worker, item_started_at, took_s, error"
                    " from node where key=? and end_state is not null"
                )
            else:
                columns = (
                    "lo, hi, state, fence, worker, until, attempts, deliveries, started_at, cancelled, error"
                )
                parts = [
                    part_from(t) for t in self._read(f"select {columns} from part where node=?", (row.key,))
                ]
                sql = (
                    "select lo, hi, state, attempts, deliveries, worker, started_at, took_s, error"
                    " from segment where node=?"
                )
            ended = [item_from(t) for t in self._read(sql, (row.key,))]
            return item_views(row, parts, ended)

    def _node_row(self, node: str) -> tuple[NodeRow, Any]:
        sql = f"select {LOAD_NODE} from node n join run r on r.key = n.run where n.id=?"
        found = self._read(sql, (node,))
        if not found:
            raise self._missing(node)
        return node_from(found[0]), found[0]

    def logs(self, node: NodeId, /, *, index: int | None = None) -> list[tuple[int, str]]:
        """See `WatchPort.logs`."""
        row, _ = self._node_row(node)
        sql = "select lo, text from log where node=? and (? is null or lo=?) order by lo, rowid"
        return [(lo, text) for lo, text in self._read(sql, (row.key, index, index))]

    def _missing(self, what: str) -> TaskflowError:
        gone = self._read("select at from gone where id=?", (what,))
        if gone:
            return ResultExpired(f"Run {what} was removed by retention.", expired_at=gone[0][0])
        return NoSuchRun(f"The store knows no run or node {what!r}; `taskflow runs` lists what it knows.")

    # ── StatusPort ───────────────────────────────────────────────────────────────────

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

    def workers(self, /) -> list[WorkerView]:
        """See `StatusPort.workers`."""
        found = []
        sql = "select id, view, seen_at from worker where seen_at > ? order by id"
        for name, body, seen_at in self._read(sql, (self._clock.now() - 60,)):
            host, pid, queues, slots, busy, started_at, info = json.loads(body)
            found.append(WorkerView(name, host, pid, tuple(queues), slots, busy, started_at, seen_at, info))
        return found

    def queues(self, /) -> list[Mapping[str, Any]]:
        """See `StatusPort.queues`."""
        sql = (
            "select queue, sum(case when state='queued' and due_at is null then open-held-waiting else returned end),"
            " sum(waiting) + sum(case when state='waiting' and due_at is not null then open-held-waiting-returned"
            " else 0 end), sum(held) from node where open > 0 group by queue order by queue"
        )
        return [
            {"queue": queue, "queued": queued, "waiting": waiting, "running": running}
            for queue, queued, waiting, running in self._read(sql)
        ]

    def dead(self, /, *, limit: int = 1000) -> list[tuple[RunId, NodeId, ItemView]]:
        """See `StatusPort.dead`."""
        calls = (
            "select r.id, n.id, n.key, 0, 1, end_state, attempts, deliveries, worker, item_started_at, took_s, error"
            " from node n join run r on r.key = n.run where end_state in ('dead', 'failed') order by n.key desc limit ?"
        )
        items = (
            "select r.id, n.id, n.key, s.lo, s.hi, s.state, s.attempts, s.deliveries, s.worker, s.started_at,"
            " s.took_s, s.error from segment s join node n on n.key = s.node join run r on r.key = n.run"
            " where s.state in ('dead', 'failed') order by s.node desc, s.lo limit ?"
        )
        found = self._read(calls, (limit,)) + self._read(items, (limit,))
        found.sort(key=lambda t: (-t[2], t[3]))
        return [(RunId(t[0]), NodeId(t[1]), item_from(t[3:])) for t in found[:limit]]

    def sweep(self, /, *, age_s: float, size_bytes: int) -> Mapping[str, int]:
        """See `StatusPort.sweep`."""
        self._compact()
        removed = self._forget_ended(self._clock.now() - age_s, lambda: False)
        removed += self._forget_ended(inf, lambda: self._compact_to(size_bytes))
        self._cut_history()
        self._compact()
        freed = self._sweep_blobs(age_s)
        return {"runs": removed, "blob_bytes": freed, "size_bytes": self._size()}

    def _cut_history(self) -> None:
        """Bound what grows with every run that ever was: events and tombstones."""
        with self._step():
            self._writer.execute(
                "delete from event where key <= (select key from"
                " (select key, sum(length(body)) over (order by key desc) total from event)"
                " where total > ? order by key desc limit 1)",
                (EVENT_BYTES_KEPT,),
            )
            self._writer.execute(
                "delete from event where key <= (select max(key) from event) - ?", (EVENTS_KEPT,)
            )
            self._writer.execute("delete from gone where at < ?", (self._clock.now() - TOMBSTONES_KEPT_S,))
            self._writer.execute(
                "delete from gone where id <= (select id from gone order by id desc limit 1 offset ?)",
                (TOMBSTONES_KEPT,),
            )

    def _forget_ended(self, before: float, enough: Callable[[], bool]) -> int:
        """Forget runs that ended before then, the oldest first, until it is enough; returns how many."""
        removed, ended_at, key = 0, 0.0, 0
        while not enough():
            sql = (
                "select ended_at, key from run where ended_at < ? and (ended_at, key) > (?, ?)"
                " order by ended_at, key limit ?"
            )
            old = self._read(sql, (before, ended_at, key, RUNS_PER_STEP))
            if not old:
                break
            ended_at, key = old[-1]
            removed += self._forget_runs([run for _, run in old])
        return removed

    def _forget_runs(self, runs: list[int]) -> int:
        if not runs:
            return 0
        with self._step():
            return self._delete(runs)

    def _delete(self, runs: Collection[int]) -> int:
        """Delete runs that nothing alive depends on; returns how many."""
        db = self._writer
        used = (
            "select 1 from node n where n.run = j.value and ("
            "exists (select 1 from edge e join node c on c.key = e.child join run o on o.key = c.run"
            " where e.parent = n.key and c.run != n.run and o.ended_at is null)"
            " or exists (select 1 from node c join run o on o.key = c.run"
            " where c.source = n.id and c.run != n.run and o.ended_at is null))"
        )
        found = db.execute(
            f"select j.value from json_each(?) j where not exists ({used})", (json.dumps(list(runs)),)
        ).fetchall()
        keys = json.dumps([key for (key,) in found])
        mine = "in (select key from node where run in (select value from json_each(?)))"
        for table in ("page", "part", "segment", "log", "blob"):
            db.execute(f"delete from {table} where node {mine}", (keys,))
        for column in ("child", "parent"):
            db.execute(f"delete from edge where {column} {mine}", (keys,))
        now = self._clock.now()
        db.execute(
            "insert or replace into gone select id, ? from run where key in (select value from json_each(?))",
            (now, keys),
        )
        db.execute("delete from node where run in (select value from json_each(?))", (keys,))
        return db.execute("delete from run where key in (select value from json_each(?))", (keys,)).rowcount

    def _compact(self) -> None:
        """Give what is free back to the disk, in pieces that hold up nobody."""
        with self._lock, contextlib.suppress(sqlite3.Error, StoreUnavailable):
            before, free = inf, self._free_pages()
            while 0 < free < before:
                # A script: each page is a step of its own, and `execute` takes only the first.
                self._patiently(
                    lambda: self._writer.executescript(f"pragma incremental_vacuum({VACUUM_PAGES})")
                )
                before, free = free, self._free_pages()
            self._writer.execute("pragma wal_checkpoint(truncate)").fetchall()

    def _free_pages(self) -> int:
        return int(self._read("pragma freelist_count")[0][0])

    def _compact_to(self, size_bytes: int) -> bool:
        """Whether the file is no larger than that, once what is free was given back."""
        if self._size() > size_bytes:
            self._compact()
        return self._size() <= size_bytes

    def _size(self) -> int:
        pages = self._read("pragma page_count")[0][0]
        return int(pages * self._read("pragma page_size")[0][0])

    def _sweep_blobs(self, age_s: float) -> int:
        with self._one_moment():
            keep = {name for (name,) in self._read("select name from blob")}
            functions = [name for (name,) in self._read("select distinct fn from node")]
        for name in functions:
            keep.add(name)
            with contextlib.suppress(ResultExpired):
                keep.update(blob_names(self.blobs.open(name)))
        return self.blobs.sweep(keep, age_s=max(age_s, 3600.0))

    def check(self, /) -> list[tuple[str, bool, str]]:
        """See `StatusPort.check`."""
        report = []
        faults = [t[0] for t in self._read("pragma quick_check(3)") if t[0] != "ok"]
        report.append(("file", not faults, "; ".join(faults) or f"{self.path} is sound"))
        faults = self._faults()
        report.append(("invariants", not faults, "; ".join(faults[:5]) or "every node is in order"))
        wal = Path(f"{self.path}-wal")
        size = wal.stat().st_size if wal.exists() else 0
        report.append(("log", size < WAL_BYTES * 32, f"write-ahead log of {size / 1e6:.1f} MB"))
        disk = os.statvfs(self.path.parent)
        free = disk.f_bavail * disk.f_frsize
        report.append(("disk", free > 1 << 28, f"{free / 1e9:.1f} GB free where the store is"))
        return report

    def _faults(self) -> list[str]:
        faults = []
        with self._one_moment():
            sql = f"select {LOAD_NODE}, n.end_state from node n join run r on r.key = n.run"
            for t in self._read(sql):
                try:
                    row = node_from(t)
                except (LookupError, TypeError, ValueError) as error:
                    faults.append(f"node {t[1]} cannot be read: {error!r}")
                    continue
                if row.array:
                    columns = "lo, hi, state, fence, worker, until, attempts, deliveries, started_at, cancelled, error"
                    parts = [
                        part_from(p)
                        for p in self._read(f"select {columns} from part where node=?", (row.key,))
                    ]
                    ended = self._read("select lo, hi from segment where node=?", (row.key,))
                else:
                    parts = [row.part] if row.part else []
                    ended = [(0, 1)] if t[-1] is not None else []
                faults += broken(row, parts, ended)
        return faults

    # ── the rest ─────────────────────────────────────────────────────────────────────

    def listen(self, topic: str, /) -> SocketBell:
        """See `Store.listen`."""
        return self._bells.listen(topic)

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._read_lock:
            self._bells.close()
            self._reader.close()
            self._writer.close()


def _unpack(t: tuple[int, float, str], after: int = -1) -> list[Event]:
    key, at, body = t
    first = key << _CURSOR_BITS
    events = [
        Event(first + n, at, RunId(run or node), NodeId(node), lo, hi, STATES[state])
        for n, (run, node, lo, hi, state) in enumerate(json.loads(body))
    ]
    return events[max(0, after + 1 - first) :]


def _like(text: str) -> str:
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return f"{text}%"


def _explain(error: sqlite3.Error, path: Path) -> Exception:
    text = str(error)
    if "full" in text:
        return QueueFull(
            f"The disk that holds {path} is full; nothing was stored. Free some space and try again."
        )
    if "readonly" in text or "unable to open" in text:
        return ConfigError(
            f"{path} cannot be opened for writing ({text}). Check the path and its permissions."
        )
    if "not a database" in text or "malformed" in text:
        return ConfigError(f"{path} is not a taskflow store ({text}). Give another path, or restore a copy.")
    if "disk I/O" in text:
        return StoreUnavailable(
            f"The disk that holds {path} refuses to read or write ({text}); nothing was stored. Is it over"
            " quota, or gone? It is safe to try again."
        )
    if isinstance(error, sqlite3.OperationalError):
        return StoreUnavailable(f"{path}: {text}")
    return error
