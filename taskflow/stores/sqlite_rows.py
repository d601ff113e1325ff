"""`machine.Rows` over SQLite: one transaction's view of the tables, and the tables themselves.

Rows are loaded once, changed in place and written back together. A call keeps its part and its
segment in its own row; only array nodes have rows in ``part`` and ``segment``.
"""

from __future__ import annotations

import heapq
import json
import logging
import sqlite3
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from taskflow.codec import blob_names
from taskflow.errors import GraphError
from taskflow.ids import NodeId, RunId
from taskflow.machine.rows import NodeRow, Part, RunRow
from taskflow.policy import Policy
from taskflow.records import Edge, EdgeMode, ItemView, LeaseKey, Outcome, Page, Segment
from taskflow.states import State

__all__ = ["SCHEMA", "STATES", "VERSION", "SqliteRows"]

_log = logging.getLogger(__name__)

VERSION = 2

SCHEMA = """
create table meta(key text primary key, value) without rowid;
create table run(
    key integer primary key, id text not null unique, name text, meta text, created_at real,
    total int, open int, state text, counts text, ended_at real, worst text,
    held int);
create index run_ended on run(ended_at) where ended_at is not null;
create table node(
    key integer primary key, run int not null, id text not null unique, state text, fn text, args blob,
    width int, array int, queue text, priority int, policy text, label text, created_at real,
    cursor int, open int, held int, waiting int, returned int, bad int, worst text, fence int,
    remaining int, due_at real, expires_at real, alarm_at real, cancelled text, root text,
    final text, source text, started_at real, ended_at real, inputs text, ranged int,
    part_state text, part_fence int, worker text, until real, attempts int, deliveries int,
    part_started_at real, part_cancelled text, part_error text,
    end_state text, value blob, error text, end_fence int, item_started_at real, took_s real);
create index node_run on node(run);
create index node_ready on node(queue, priority desc, key) where state = 'queued';
create index node_alarm on node(alarm_at) where alarm_at is not null;
create index node_source on node(source) where source is not null;
create index node_dead on node(key) where end_state in ('dead', 'failed');
create table edge(
    parent int, child int, position int, mode text, live int, lo int, hi int,
    primary key(parent, child)) without rowid;
create index edge_child on edge(child);
create index edge_range on edge(parent, lo) where hi is not null;
create table page(node int, lo int, hi int, items blob, primary key(node, lo)) without rowid;
create table part(
    node int, lo int, hi int, state text, fence int, worker text, until real, attempts int,
    deliveries int, started_at real, cancelled text, error text, primary key(node, lo)) without rowid;
create index part_state on part(node, state, lo);
create index part_until on part(node, until);
create table segment(
    node int, lo int, hi int, state text, value blob, error text, fence int, attempts int,
    deliveries int, worker text, started_at real, took_s real, origin text, single int,
    primary key(node, lo));
create index segment_dead on segment(node) where state in ('dead', 'failed');
create table log(node int, lo int, text text);
create index log_node on log(node, lo);
create table todo(key integer primary key, node text, after text);
create table event(key integer primary key, at real, body text);
create table worker(id text primary key, view text, seen_at real) without rowid;
create table gone(id text primary key, at real) without rowid;
create table blob(node int, name text, primary key(node, name)) without rowid;
"""

STATES = {state.value: state for state in State}
MODES = {mode.value: mode for mode in EdgeMode}
_MAYBE: dict[str | None, State | None] = {None: None} | STATES

_FIXED = (
    "id",
    "fn",
    "args",
    "width",
    "array",
    "queue",
    "priority",
    "policy",
    "label",
    "created_at",
    "source",
)
_CHANGING = (
    *(
        "state",
        "width",
        "cursor",
        "open",
        "held",
        "waiting",
        "returned",
        "bad",
        "worst",
        "fence",
        "remaining",
    ),
    *("due_at", "expires_at", "alarm_at", "cancelled", "root", "final", "started_at", "ended_at", "ranged"),
)
_PART = (
    *("part_state", "part_fence", "worker", "until", "attempts", "deliveries"),
    *("part_started_at", "part_cancelled", "part_error"),
)
_LOAD = (
    "n.key, n.id, r.id, n.state, n.fn, {args}, n.width, n.array, n.queue, n.priority, n.policy, n.label,"
    " n.created_at, n.cursor, n.open, n.held, n.waiting, n.returned, n.bad, n.worst, n.fence, n.remaining,"
    " n.due_at, n.expires_at, n.alarm_at, n.cancelled, n.root, n.final, n.source, n.started_at, n.ended_at,"
    " n.ranged, n.inputs, " + ", ".join(f"n.{name}" for name in _PART)
)
LOAD_NODE = _LOAD.format(args="x''")
LOAD_NODE_ARGS = _LOAD.format(args="n.args")
_RUN = (
    *("key", "id", "name", "meta", "created_at", "total", "open", "state", "counts", "ended_at"),
    *("worst", "held"),
)
LOAD_RUN = ", ".join(f"r.{name}" for name in _RUN)
_LOAD_RUN_BRIEFLY = LOAD_RUN.replace("r.meta", "null")
_NODE_WIDTH = LOAD_NODE.count(",") + 1

_INSERT_COLUMNS = ("key", "run", *_FIXED, *(c for c in _CHANGING if c != "width"), "inputs", *_PART)
_INSERT = f"insert into node({', '.join(_INSERT_COLUMNS)}) values({', '.join('?' * len(_INSERT_COLUMNS))})"
_UPDATE = f"update node set {', '.join(f'{c}=?' for c in (*_CHANGING, *_PART))} where key=?"
_STORY = (
    "end_state",
    "value",
    "error",
    "end_fence",
    "item_started_at",
    "took_s",
    "worker",
    "attempts",
    "deliveries",
)
_UPDATE_ENDED = (
    f"update node set {', '.join(f'{c}=?' for c in (*_CHANGING, 'part_state', *_STORY))} where key=?"
)
_NO_PART = (None,) * len(_PART)


def node_from(t: Sequence[Any]) -> NodeRow:
    """A row of `LOAD_NODE` as the machine's."""
    row = NodeRow(
        t[1], t[2], STATES[t[3]], t[4], t[5], t[6], bool(t[7]), t[8], t[9], Policy.from_json(t[10]), t[11],
        t[12],
        t[13], t[14], t[15], t[16], t[17], t[18], _MAYBE[t[19]], t[20], t[21], t[22], t[23], t[24],
        t[25], t[26], t[27], t[28], t[29], t[30],
    )  # fmt: skip
    row.ranged = bool(t[31])
    if t[32]:
        row.inputs = tuple(_edge(*edge) for edge in json.loads(t[32]))
    if t[33] is not None:
        row.part = Part(0, 1, STATES[t[33]], *t[34:42])
    row.key = t[0]
    return row


def _edge(parent: str, mode: str, lo: int = 0, hi: int | None = None) -> Edge:
    return Edge(NodeId(parent), MODES[mode], lo, hi)


def _inputs(row: NodeRow) -> str | None:
    if not row.inputs:
        return None
    return json.dumps([(e.parent, e.mode.value, *(() if e.hi is None else e[2:])) for e in row.inputs])


class _Meta(Mapping[str, Any]):
    """What is told of a run, read when it is asked for: it may be long, and hardly any step needs it."""

    def __init__(self, db: sqlite3.Connection, key: int) -> None:
        self._db = db
        self._key = key

    @cached_property
    def _read(self) -> dict[str, Any]:
        found = self._db.execute("select meta from run where key=?", (self._key,)).fetchone()
        return json.loads(found[0])  # type: ignore[no-any-return]

    def __getitem__(self, name: str) -> Any:
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)


def run_from(t: Sequence[Any]) -> RunRow:
    """A row of `LOAD_RUN` as the machine's."""
    counts = {STATES[state]: items for state, items in json.loads(t[8]).items()}
    meta, worst = json.loads(t[3]) if t[3] is not None else {}, _MAYBE[t[10]]
    return RunRow(t[1], t[2], meta, t[4], t[5], t[6], STATES[t[7]], counts, t[9], worst, t[11], t[0])


def part_from(t: Sequence[Any]) -> Part:
    """A row of ``part`` (without its node) as the machine's."""
    return Part(t[0], t[1], STATES[t[2]], *t[3:])


PART_COLUMNS = "lo, hi, state, fence, worker, until, attempts, deliveries, started_at, cancelled, error"


class SqliteRows:
    """The rows of one transaction; `flush` writes what was changed.

    Args:
        db: A connection in a transaction.
        now: The time of this step.
        go_on: Go on with what an earlier step left to do.
    """

    def __init__(self, db: sqlite3.Connection, now: float, *, go_on: bool = False) -> None:
        self.now = now
        self.events: list[tuple[str, str, int, int, State]] = []
        self.ranges_ended: list[tuple[NodeRow, int, int]] = []
        self.freed = False
        self._db = db
        self._nodes: dict[str, NodeRow] = {}
        self._runs: dict[str, RunRow] = {}
        self._dirty: dict[str, NodeRow] = {}
        self._dirty_runs: dict[str, RunRow] = {}
        self._new: dict[str, NodeRow] = {}
        self._new_runs: dict[str, RunRow] = {}
        self._next_node = 0
        self._next_run = 0
        self._edges: list[tuple[Edge, int, int, bool]] = []
        self._widened: set[NodeId] = set()
        self._pages: list[tuple[int, int, int, bytes]] = []
        self._ends: dict[str, tuple[Any, ...]] = {}
        self._todo: deque[tuple[NodeId, str]] = deque()
        self._unchecked: list[NodeRow] = []
        self._stored_todo = go_on
        self._logs: list[tuple[int, int, str]] = []
        self._blobs: list[tuple[int, str]] = []

    # ── reading ──────────────────────────────────────────────────────────────────────

    def run(self, run: RunId, /) -> RunRow | None:
        """See `Rows.run`."""
        if run in self._runs:
            return self._runs[run]
        found = self._db.execute(f"select {_LOAD_RUN_BRIEFLY} from run r where id=?", (run,)).fetchone()
        return None if found is None else self._keep_run(found)

    def _keep_run(self, t: Sequence[Any]) -> RunRow:
        row = self._runs[t[1]] = run_from(t)
        row.meta = _Meta(self._db, row.key)
        return row

    def node(self, node: NodeId, /) -> NodeRow | None:
        """See `Rows.node`."""
        if node not in self._nodes:
            self.load((node,))
        return self._nodes.get(node)

    def load(self, nodes: Iterable[NodeId], /) -> None:
        """See `Rows.load`."""
        missing = [node for node in nodes if node not in self._nodes]
        if not missing:
            return
        one = len(missing) == 1
        where = "n.id = ?" if one else "n.id in (select value from json_each(?))"
        values = str(missing[0]) if one else json.dumps(missing)
        sql = f"select {LOAD_NODE}, {_LOAD_RUN_BRIEFLY} from node n join run r on r.key = n.run where {where}"
        for t in self._db.execute(sql, (values,)):
            row = node_from(t)
            self._nodes[row.id] = row
            if row.run not in self._runs:
                self._keep_run(t[_NODE_WIDTH:])

    def ready(self, queues: Sequence[str], /) -> Iterator[NodeRow]:
        """See `Rows.ready`."""
        self.flush()
        sql = (
            f"select {LOAD_NODE_ARGS} from node n join run r on r.key = n.run"
            " where n.state = 'queued' and n.queue = ? order by n.priority desc, n.key"
        )
        cursors = [self._db.execute(sql, (queue,)) for queue in queues]
        found: Iterable[Any]
        if len(cursors) == 1:
            found = cursors[0]
        else:
            found = heapq.merge(*cursors, key=lambda t: (-t[9], t[0]))
        for t in found:
            try:
                row = self._known(t)
            except (LookupError, TypeError, ValueError) as error:
                # Somebody else wrote it; it must not keep all other work from being claimed.
                _log.error("node %s cannot be read: %r", t[1], error, extra={"action": "claim", "node": t[1]})
                continue
            if row.state is State.QUEUED:
                yield row

    def nodes_of(self, run: RunId, /) -> list[NodeRow]:
        """See `Rows.nodes_of`."""
        self.flush()
        sql = f"select {LOAD_NODE_ARGS} from node n join run r on r.key = n.run where r.id = ? order by n.key"
        return [self._known(t) for t in self._db.execute(sql, (run,)).fetchall()]

    def _known(self, t: Sequence[Any]) -> NodeRow:
        row = self._nodes.get(t[1])
        if row is None:
            row = self._nodes[t[1]] = node_from(t)
        else:
            row.args = t[5]
        return row

    def alarms(self, limit: int, /) -> list[NodeRow]:
        """See `Rows.alarms`."""
        self.flush()
        sql = (
            f"select {LOAD_NODE} from node n join run r on r.key = n.run"
            " where n.alarm_at <= ? order by n.alarm_at limit ?"
        )
        return [self._known(t) for t in self._db.execute(sql, (self.now, limit)).fetchall()]

    def next_alarm(self) -> float | None:
        """See `Rows.next_alarm`."""
        self.flush()
        sql = "select alarm_at from node where alarm_at is not null order by alarm_at limit 1"
        found = self._db.execute(sql).fetchone()
        return found[0] if found else None

    def parents(self, node: NodeId, /) -> list[Edge]:
        """See `Rows.parents`."""
        self.flush()
        row = self.node(node)
        sql = (
            "select n.id, e.mode, e.lo, e.hi from edge e join node n on n.key = e.parent"
            " where e.child = ? order by e.position"
        )
        found = self._db.execute(sql, (row.key if row else None,))
        return [_edge(*edge) for edge in found]

    def children(self, node: NodeId, after: str, limit: int, /) -> list[tuple[NodeId, Edge]]:
        """See `Rows.children`."""
        row = self.node(node)
        if row is None:
            return []
        if self._edges:
            self.flush()
        last = self.node(NodeId(after)) if after else None
        sql = (
            "select n.id, e.mode, e.lo, e.hi from edge e join node n on n.key = e.child"
            " where e.parent = ? and e.child > ? and e.live order by e.child limit ?"
        )
        found = self._db.execute(sql, (row.key, last.key if last else 0, limit))
        return [(NodeId(child), _edge(node, *edge)) for child, *edge in found]

    def ranged(self, node: NodeRow, lo: int, hi: int, /) -> list[tuple[NodeId, Edge]]:
        """See `Rows.ranged`."""
        if self._edges:
            self.flush()
        sql = (
            "select n.id, e.mode, e.lo, e.hi from edge e join node n on n.key = e.child"
            " where e.parent = ? and e.hi is not null and e.lo < ? and e.hi > ? and e.live order by e.child"
        )
        found = self._db.execute(sql, (node.key, hi, lo)).fetchall()
        return [(NodeId(child), _edge(node.id, *edge)) for child, *edge in found]

    def release(self, node: NodeRow, child: NodeId, /) -> None:
        """See `Rows.release`."""
        row = self.node(child)
        if row is not None:
            self._db.execute("update edge set live = 0 where parent = ? and child = ?", (node.key, row.key))

    def ended_in(self, node: NodeRow, lo: int, hi: int, /) -> tuple[int, int]:
        """See `Rows.ended_in`."""
        sql = (
            "select coalesce(sum(size), 0), coalesce(sum(size * (state not in ('succeeded', 'skipped'))), 0)"
            " from (select state, min(hi, :hi) - max(lo, :lo) as size from segment where node = :node"
            " and lo >= coalesce((select max(lo) from segment where node = :node and lo <= :lo), 0)"
            " and lo < :hi and hi > :lo)"
        )
        found = self._db.execute(sql, {"node": node.key, "lo": lo, "hi": hi}).fetchone()
        return found[0], found[1]

    # ── parts ────────────────────────────────────────────────────────────────────────

    def held(self, node: NodeRow, key: LeaseKey, /) -> Part | None:
        """See `Rows.held`."""
        if not node.array:
            part = node.part
            return part if part is not None and part.fence == key.fence and key[1:3] == (0, 1) else None
        sql = f"select {PART_COLUMNS} from part where node=? and lo<=? order by lo desc limit 1"
        found = self._db.execute(sql, (node.key, key.lo)).fetchone()
        if found is None or found[1] < key.hi or found[3] != key.fence:
            return None
        return part_from(found)

    def queued(self, node: NodeRow, limit: int, /) -> list[Part]:
        """See `Rows.queued`."""
        return self._parts(node, "and state='queued' order by lo limit ?", limit)

    def parts(self, node: NodeRow, /) -> list[Part]:
        """See `Rows.parts`."""
        return self._parts(node, "order by lo limit ?", -1)

    def overdue(self, node: NodeRow, /) -> list[Part]:
        """See `Rows.overdue`."""
        late = self._parts(node, "and until <= ?", self.now)
        return [part for part in late if part.until is not None and part.until <= self.now]

    def _parts(self, node: NodeRow, rest: str, value: float, /) -> list[Part]:
        if not node.array:
            return [node.part] if node.part is not None else []
        sql = f"select {PART_COLUMNS} from part where node=? {rest}"
        return [part_from(t) for t in self._db.execute(sql, (node.key, value)).fetchall()]

    def first_until(self, node: NodeRow, /) -> float | None:
        """See `Rows.first_until`."""
        found = self._db.execute("select min(until) from part where node=?", (node.key,)).fetchone()
        return found[0]  # type: ignore[no-any-return]

    def put_part(self, node: NodeRow, part: Part, /) -> None:
        """See `Rows.put_part`."""
        if not node.array:
            node.part = part
            self._dirty[node.id] = node
            return
        self._db.execute(
            "insert or replace into part values(?,?,?,?,?,?,?,?,?,?,?,?)",
            (node.key, part.lo, part.hi, part.state.value, part.fence, part.worker, part.until, part.attempts,
             part.deliveries, part.started_at, part.cancelled, part.error),
        )  # fmt: skip

    def drop_part(self, node: NodeRow, part: Part, /) -> None:
        """See `Rows.drop_part`."""
        if not node.array:
            node.part = None
            self._dirty[node.id] = node
        else:
            self._db.execute("delete from part where node=? and lo=?", (node.key, part.lo))

    # ── ending ───────────────────────────────────────────────────────────────────────

    def end(self, node: NodeRow, part: Part, outcome: Outcome, state: State, /) -> None:
        """See `Rows.end`."""
        started = outcome.started_at or part.started_at
        if outcome.log:
            self._logs.append((node.key, outcome.lo, outcome.log))
        if outcome.value is not None:
            self._blobs += [(node.key, name) for name in blob_names(outcome.value)]
        if not node.array:
            self._dirty[node.id] = node
            self._ends[node.id] = (
                state.value, outcome.value, outcome.error, part.fence, started, outcome.took_s,
                part.worker, part.attempts, part.deliveries,
            )  # fmt: skip
            return
        self._db.execute(
            "insert into segment values(?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (node.key, outcome.lo, outcome.hi, state.value, outcome.value, outcome.error, part.fence,
             part.attempts, part.deliveries, part.worker, started, outcome.took_s, None, 0),
        )  # fmt: skip

    def end_as(self, node: NodeRow, part: Part, final: NodeRow, state: State, /) -> None:
        """See `Rows.end_as`."""
        self.flush()
        self._db.execute(
            "insert into segment select ?, ?, ?, ?, value, error, end_fence, attempts, deliveries, worker,"
            " item_started_at, took_s, id, 1 from node where key=?",
            (node.key, part.lo, part.hi, state.value, final.key),
        )
        self._db.execute(
            "insert or ignore into blob select ?, name from blob where node=?", (node.key, final.key)
        )

    def ended_by(self, node: NodeRow, index: int, /) -> int | None:
        """See `Rows.ended_by`."""
        self.flush()
        if not node.array:
            sql, values = "select end_fence, 1 from node where key=? and end_state is not null", (node.key,)
        else:
            sql = "select fence, hi from segment where node=? and lo<=? order by lo desc limit 1"
            values = (node.key, index)  # type: ignore[assignment]
        found = self._db.execute(sql, values).fetchone()
        return found[0] if found is not None and found[1] > index else None

    def copy_ended(self, source: NodeRow, target: NodeRow, /) -> list[tuple[int, int]]:
        """See `Rows.copy_ended`."""
        self.flush()
        self._db.execute(
            "insert into segment select ?, lo, hi, state, value, error, fence, attempts, deliveries, worker,"
            " started_at, took_s, coalesce(origin, ?), single from segment"
            " where node=? and state='succeeded'",
            (target.key, source.id, source.key),
        )
        self._db.execute(
            "insert or ignore into blob select ?, name from blob where node=?", (target.key, source.key)
        )
        missing, at = [], 0
        for lo, hi in self._db.execute("select lo, hi from segment where node=? order by lo", (target.key,)):
            if lo > at:
                missing.append((at, lo))
            at = hi
        if at < (source.width or 0):
            missing.append((at, source.width or 0))
        return missing

    # ── adding ───────────────────────────────────────────────────────────────────────

    def _next(self, table: str) -> int:
        found = self._db.execute(f"select max(key) from {table}").fetchone()
        return (found[0] or 0) + 1

    def add_run(self, run: RunRow, /) -> None:
        """See `Rows.add_run`."""
        run.key = self._next_run = self._next_run or self._next("run")
        self._next_run += 1
        self._runs[run.id] = self._new_runs[run.id] = run

    def add_node(
        self, node: NodeRow, edges: Sequence[Edge], pages: Sequence[Page], ended: Collection[NodeId], /
    ) -> None:
        """See `Rows.add_node`."""
        node.key = self._next_node = self._next_node or self._next("node")
        self._next_node += 1
        self._nodes[node.id] = self._new[node.id] = node
        for position, edge in enumerate(edges):
            self._edges.append((edge, node.key, position, edge.parent not in ended))
        self._blobs += [(node.key, name) for name in blob_names(node.args)]
        if pages:
            self.add_pages(node, pages)

    def add_edge(self, child: NodeId, edge: Edge, /) -> None:
        """See `Rows.add_edge`."""
        row = self._nodes[child]
        self._edges.append((edge, row.key, (1 << 20) + len(row.inputs), True))
        self._widened.add(child)

    def add_pages(self, node: NodeRow, pages: Sequence[Page], /) -> None:
        """See `Rows.add_pages`."""
        for page in pages:
            self._pages.append((node.key, page.lo, page.hi, page.items))
            self._blobs += [(node.key, name) for name in blob_names(page.items)]

    def save(self, row: NodeRow | RunRow, /) -> None:
        """See `Rows.save`."""
        if isinstance(row, NodeRow):
            self._dirty[row.id] = row
        else:
            self._dirty_runs[row.id] = row

    def emit(self, run: RunId, node: NodeId | str, lo: int, hi: int, state: State, /) -> None:
        """See `Rows.emit`."""
        if state is State.QUEUED or state is State.WAITING:
            self.freed = True
        self.events.append((run, node, lo, hi, state))

    def push(self, node: NodeId, after: str, /) -> None:
        """See `Rows.push`."""
        if after:
            self._todo.append((node, after))
        else:
            self._unchecked.append(self._nodes[node])

    def pop(self) -> tuple[NodeId, str] | None:
        """See `Rows.pop`."""
        if self._stored_todo:
            self._stored_todo = False
            stored = self._db.execute("delete from todo returning key, node, after").fetchall()
            self._todo.extendleft((NodeId(node), after) for _, node, after in sorted(stored, reverse=True))
        if self._unchecked:
            self._todo.extend((node, "") for node in self._with_children())
        return self._todo.popleft() if self._todo else None

    def _with_children(self) -> list[NodeId]:
        """Of the nodes that have just ended, those with successors: most calls have none."""
        if self._edges:
            self._write_new()
        ended, self._unchecked = {row.key: row.id for row in self._unchecked}, []
        sql = "select value from json_each(?) where exists (select 1 from edge where parent = value and live)"
        return [ended[key] for (key,) in self._db.execute(sql, (json.dumps(list(ended)),))]

    # ── writing ──────────────────────────────────────────────────────────────────────

    def finish(self) -> None:
        """Write what is left, and the work that the next step must go on with."""
        self.flush()
        if self._unchecked:
            self._todo.extend((node, "") for node in self._with_children())
        if self._todo:
            self._db.executemany("insert into todo(node, after) values(?,?)", self._todo)

    def flush(self) -> None:
        """Write everything that was changed since the last flush."""
        db = self._db
        self._write_new()
        if self._dirty:
            live = [_changing(row) for row in self._dirty.values() if row.id not in self._ends]
            if live:
                db.executemany(_UPDATE, live)
            if self._ends:
                db.executemany(
                    _UPDATE_ENDED, [_ended(self._nodes[node], end) for node, end in self._ends.items()]
                )
            self._dirty.clear()
            self._ends.clear()
        if self._dirty_runs:
            db.executemany(
                "update run set total=?, open=?, state=?, counts=?, ended_at=?, worst=?, held=? where key=?",
                [
                    (r.total, r.open, r.state.value, _counts(r), r.ended_at, _text(r.worst), r.held, r.key)
                    for r in self._dirty_runs.values()
                ],
            )
            self._dirty_runs.clear()
        if self._logs:
            db.executemany("insert into log values(?,?,?)", self._logs)
            self._logs.clear()
        if self._blobs:
            db.executemany("insert or ignore into blob values(?,?)", self._blobs)
            self._blobs.clear()

    def _write_new(self) -> None:
        db = self._db
        if self._new_runs:
            db.executemany(
                f"insert into run({', '.join(_RUN)}) values({', '.join('?' * len(_RUN))})",
                [
                    (r.key, r.id, r.name, json.dumps(dict(r.meta)) if r.meta else "{}", r.created_at, r.total,
                     r.open, r.state.value, _counts(r), r.ended_at, _text(r.worst), r.held)
                    for r in self._new_runs.values()
                ],
            )  # fmt: skip
            for run in self._new_runs:
                self._dirty_runs.pop(run, None)
            self._new_runs.clear()
        if self._new:
            try:
                db.executemany(_INSERT, [self._fresh(row) for row in self._new.values()])
            except sqlite3.IntegrityError:
                raise self._taken() from None
            for node in self._new.keys() - self._ends.keys():
                self._dirty.pop(node, None)
            self._new.clear()
        if self._edges:
            self._write_edges()
        if self._pages:
            db.executemany("insert into page values(?,?,?,?)", self._pages)
            self._pages.clear()

    def _taken(self) -> GraphError:
        sql = "select id from node where id in (select value from json_each(?)) limit 1"
        (name,) = self._db.execute(sql, (json.dumps(list(self._new)),)).fetchone()
        return GraphError(f"The store has a node {name!r} already: an id is given once.")

    def _write_edges(self) -> None:
        """Those whose predecessor is there: a plan may name its nodes in any order."""
        rows, later = [], []
        self.load({edge.parent for edge, *_ in self._edges})
        for new in self._edges:
            edge, child, position, live = new
            if edge.parent in self._nodes:
                parent = self._nodes[edge.parent].key
                rows.append((parent, child, position, edge.mode.value, int(live), edge.lo, edge.hi))
            else:
                later.append(new)
        self._db.executemany("insert or ignore into edge values(?,?,?,?,?,?,?)", rows)
        self._edges = later
        if self._widened:
            wider = [self._nodes[node] for node in self._widened]
            self._db.executemany("update node set inputs=? where key=?", [(_inputs(r), r.key) for r in wider])
            self._widened.clear()

    def _fresh(self, row: NodeRow) -> tuple[Any, ...]:
        changing = _changing(row)
        return (
            row.key, self._runs[row.run].key, row.id, row.fn, row.args, row.width, int(row.array), row.queue,
            row.priority, row.policy.to_json(), row.label, row.created_at, row.source,
            changing[0], *changing[2 : len(_CHANGING)], _inputs(row), *changing[len(_CHANGING) : -1],
        )  # fmt: skip


def _changing(row: NodeRow) -> tuple[Any, ...]:
    part = row.part
    story: tuple[Any, ...] = _NO_PART
    if part is not None:
        story = (
            part.state.value, part.fence, part.worker, part.until, part.attempts, part.deliveries,
            part.started_at, part.cancelled, part.error,
        )  # fmt: skip
    return (
        row.state.value, row.width, row.cursor, row.open, row.held, row.waiting, row.returned, row.bad,
        _text(row.worst), row.fence, row.remaining, row.due_at, row.expires_at,
        row.alarm_at, row.cancelled, row.root, row.final, row.started_at, row.ended_at, int(row.ranged),
        *story, row.key,
    )  # fmt: skip


def _ended(row: NodeRow, end: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*_changing(row)[: len(_CHANGING)], None, *end, row.key)


def _text(state: State | None) -> str | None:
    return state.value if state is not None else None


_ONE_SUCCEEDED = {State.SUCCEEDED: 1}


def _counts(run: RunRow) -> str:
    if not run.counts:
        return "{}"
    if run.counts == _ONE_SUCCEEDED:
        return '{"succeeded":1}'
    return json.dumps({state.value: items for state, items in run.counts.items()})


def segment_from(t: Sequence[Any]) -> Segment:
    """(node, lo, hi, state, value, error, fence, single) of an array node as a record."""
    return Segment(t[0], t[1], t[2], STATES[t[3]], t[4], t[5], t[6], True, bool(t[7]))


def item_from(t: Sequence[Any]) -> ItemView:
    """(lo, hi, state, attempts, deliveries, worker, started_at, took_s, error) as a record."""
    return ItemView(t[0], t[1], STATES[t[2]], *t[3:9])
