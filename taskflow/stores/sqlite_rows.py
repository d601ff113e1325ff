"""`machine.Rows` over SQLite: one transaction's view of the tables.

Rows are loaded once, changed in place and written back together.
"""

from __future__ import annotations

import heapq
import json
import logging
import sqlite3
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

from taskflow.codec import blob_names
from taskflow.errors import GraphError
from taskflow.ids import NodeId, RunId
from taskflow.machine.rows import LimitRow, NodeRow, Part, RunRow
from taskflow.records import SAID, Edge, LeaseKey, Note, Outcome, Page
from taskflow.states import State
from taskflow.stores.sqlite_columns import (
    INSERT_NODE,
    INSERT_RUN,
    LOAD_LIMIT,
    LOAD_NODE,
    LOAD_NODE_ALONE,
    LOAD_NODE_ALONE_ARGS,
    LOAD_NODE_ARGS,
    LOAD_RUN_BRIEFLY,
    NEXT_ALARM,
    PART_COLUMNS,
    UPDATE_LIMIT,
    UPDATE_RUN,
    WORDS,
    changed_limit,
    changed_node,
    changed_run,
    edge_from,
    inputs_of,
    limit_from,
    new_node,
    new_run,
    node_from,
    part_from,
    queues_with_work,
    run_from,
    stored,
    update_node,
)
from taskflow.stores.sqlite_lanes import Lanes

__all__ = ["Known", "SqliteRows"]

_log = logging.getLogger(__name__)

_CHILDREN_AT_ONCE = 2000


class Known:
    """Rows as they are in the file. Those of nodes that have ended are let go: hardly any step needs them."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeRow] = {}
        self.runs: dict[str, RunRow] = {}
        self.by_key: dict[int, NodeRow] = {}
        self.run_ids: dict[int, RunId] = {}
        self.stored: dict[str, tuple[Any, ...]] = {}

    def clear(self) -> None:
        """Know nothing."""
        for known in (self.nodes, self.runs, self.by_key, self.run_ids, self.stored):
            known.clear()

    def add(self, row: NodeRow, stored: tuple[Any, ...]) -> None:
        """Know a node, and what the file holds of what may change of it."""
        self.nodes[row.id] = self.by_key[row.key] = row
        self.stored[row.id] = stored

    def drop(self, node: str) -> None:
        """Know nothing of a node."""
        row = self.nodes.pop(node, None)
        if row is not None:
            self.by_key.pop(row.key, None)
            self.stored.pop(node, None)


class SqliteRows:
    """The rows of one transaction; `flush` writes what was changed.

    Args:
        db: A connection in a transaction.
        now: The time of this step.
        go_on: Go on with what an earlier step left to do.
        known: Rows that need not be read; takes those that are.
    """

    def __init__(
        self, db: sqlite3.Connection, now: float, *, go_on: bool = False, known: Known | None = None
    ) -> None:
        self.now = now
        self.events: list[tuple[str, str, int, int, State]] = []
        self.ranges_ended: list[tuple[NodeRow, int, int]] = []
        self.freed = False
        self._db = db
        self._known = known or Known()
        self._nodes = self._known.nodes
        self._runs = self._known.runs
        self._released: dict[str, list[tuple[NodeId, Edge]]] = {}
        self._over: list[str] = []
        self._dirty: dict[str, NodeRow] = {}
        self._dirty_runs: dict[str, RunRow] = {}
        self._lanes = Lanes(db)
        self._limits: dict[str, LimitRow] = {}
        self._dirty_limits: dict[str, LimitRow | None] = {}
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
        self._pending: dict[str, int] = {}

    # ── reading ──────────────────────────────────────────────────────────────────────

    def run(self, run: RunId, /) -> RunRow | None:
        """See `Rows.run`."""
        if run in self._runs:
            return self._runs[run]
        found = self._db.execute(f"select {LOAD_RUN_BRIEFLY} from run r where id=?", (run,)).fetchone()
        return None if found is None else self._keep_run(found)

    def _keep_run(self, t: Sequence[Any]) -> RunRow:
        row = self._runs[t[1]] = run_from(t)
        row.meta = _Meta(self._db, row.key)
        self._known.run_ids[row.key] = row.id
        return row

    def node(self, node: NodeId, /) -> NodeRow | None:
        """See `Rows.node`."""
        if node not in self._nodes:
            self.load((node,))
        return self._nodes.get(node)

    def load(self, nodes: Iterable[NodeId], /) -> None:
        """See `Rows.load`."""
        missing = [node for node in nodes if node not in self._nodes]
        if missing:
            self._load(f"{LOAD_NODE_ALONE} from node n where n.id", missing)

    def _load(self, what: str, values: Sequence[Any]) -> None:
        """Read nodes that are not known, and their runs."""
        found = self._select(what, values)
        run_ids = self._known.run_ids
        new = {t[2] for t in found} - run_ids.keys()
        if new:
            for run in self._select(f"{LOAD_RUN_BRIEFLY} from run r where r.key", list(new)):
                self._keep_run(run)
        for t in found:
            self._known.add(node_from(t, run_ids[t[2]]), stored(t))

    def _select(self, what: str, values: Sequence[Any]) -> list[Any]:
        """Rows in which the last that is named is one of these values."""
        if len(values) == 1:
            return self._db.execute(f"select {what} = ?", values).fetchall()
        sql = f"select {what} in (select value from json_each(?))"
        return self._db.execute(sql, (json.dumps(values),)).fetchall()

    def ready(self, queues: Sequence[str], full: Collection[str], /) -> Iterator[NodeRow]:
        """See `Rows.ready`.

        What this step has queued itself is not in the file yet, and will mostly never be there as queued:
        it is claimed in the same step.
        """
        self._write_new()
        paused = {queue for (queue,) in self._db.execute("select queue from paused")}
        queues = [queue for queue in queues if queue not in paused]
        if not queues:
            return
        changed = {row.key for row in self._dirty.values()}
        fresh = sorted(
            (r for r in self._dirty.values() if r.state is State.QUEUED and r.queue in queues), key=_turn
        )
        stored = self._stored(queues, full, changed)
        for row in heapq.merge(self._with_args(fresh), stored, key=_turn) if fresh else stored:
            if row.state is State.QUEUED and (not full or row.lane not in full):
                yield row

    def _with_args(self, rows: Sequence[NodeRow]) -> Iterator[NodeRow]:
        """Rows with the arguments that a lease needs; these are read for some of them at a time."""
        source, most = iter(rows), 16
        while batch := list(islice(source, most)):
            keys = {row.key: row for row in batch if not row.args}
            if keys:
                sql = "select key, args from node where key in (select value from json_each(?))"
                for key, args in self._db.execute(sql, (json.dumps(list(keys)),)):
                    keys[key].args = args
            yield from batch
            most *= 2

    def _stored(
        self, queues: Sequence[str], full: Collection[str], changed: Collection[int]
    ) -> Iterator[NodeRow]:
        """Those in the file, as far as this step has not changed them."""
        for t in self._queued(self._with_work(queues), full):
            if t[0] in changed:
                continue
            try:
                row = self._keep(t)
            except (LookupError, TypeError, ValueError) as error:
                # Somebody else wrote it; it must not keep all other work from being claimed.
                _log.error("node %s cannot be read: %r", t[1], error, extra={"action": "claim", "node": t[1]})
                continue
            yield row

    def _with_work(self, queues: Sequence[str]) -> list[str]:
        """Those in which something is queued: the long statement is only run for these."""
        found = self._db.execute(*queues_with_work(queues)).fetchone()
        return [queue for queue, some in zip(queues, found, strict=True) if some]

    def _queued(self, queues: Sequence[str], full: Collection[str]) -> Iterable[Any]:
        """Queued nodes in order: those that stand in no lane, and those of the open lanes."""
        sql = f"select {LOAD_NODE_ARGS} from node n join run r on r.key = n.run where "
        plain = f"{sql}n.state = 'queued' and n.lane is null and n.queue = ? order by n.priority desc, n.key"
        cursors: list[Iterable[Any]] = [self._db.execute(plain, (queue,)) for queue in queues]
        for queue in queues:
            for lane, name in self._lanes.open_in(queue):
                keys = self._lanes.walk(lane, name, full)
                cursors.append(self._db.execute(f"{sql}n.key = ?", (key,)).fetchone() for key in keys)
        return cursors[0] if len(cursors) == 1 else heapq.merge(*cursors, key=lambda t: (-t[7], t[0]))

    def nodes_of(self, run: RunId, /) -> list[NodeRow]:
        """See `Rows.nodes_of`."""
        self.flush()
        sql = f"select {LOAD_NODE_ARGS} from node n join run r on r.key = n.run where r.id = ? order by n.key"
        return [self._keep(t) for t in self._db.execute(sql, (run,)).fetchall()]

    def _keep(self, t: Sequence[Any]) -> NodeRow:
        row = self._nodes.get(t[1])
        if row is None:
            row = node_from(t)
            self._known.add(row, stored(t))
        else:
            row.args = t[4]
        return row

    def alarms(self, limit: int, /) -> list[NodeRow]:
        """See `Rows.alarms`."""
        self.flush()
        sql = (
            f"select {LOAD_NODE} from node n join run r on r.key = n.run"
            " where n.alarm_at <= ? order by n.alarm_at limit ?"
        )
        return [self._keep(t) for t in self._db.execute(sql, (self.now, limit)).fetchall()]

    def next_alarm(self) -> float | None:
        """See `Rows.next_alarm`."""
        self.flush()
        found = self._db.execute(NEXT_ALARM).fetchone()
        return found[0]  # type: ignore[no-any-return]

    def limit(self, name: str, /) -> LimitRow:
        """See `Rows.limit`."""
        row = self._limits.get(name)
        if row is None:
            found = self._db.execute(f"{LOAD_LIMIT} where name=?", (name,)).fetchone()
            row = self._limits[name] = LimitRow(name) if found is None else limit_from(found)
        return row

    def shut(self, node: NodeRow, limit: str, /) -> None:
        """See `Rows.shut`."""
        self._lanes.shut(node, limit)

    def reopen(self, limit: str, /) -> None:
        """See `Rows.reopen`."""
        self._lanes.reopen(limit)

    def limits_due(self) -> list[LimitRow]:
        """See `Rows.limits_due`."""
        if self._dirty_limits:
            self._write_limits()
        sql = f"{LOAD_LIMIT} where alarm_at <= ? order by alarm_at, name"
        return [
            self._limits.setdefault(t[0], limit_from(t))
            for t in self._db.execute(sql, (self.now,)).fetchall()
        ]

    def drop_limit(self, row: LimitRow, /) -> None:
        """See `Rows.drop_limit`."""
        self._limits.pop(row.name, None)
        self._dirty_limits[row.name] = None

    def parents(self, node: NodeId, /) -> list[Edge]:
        """See `Rows.parents`."""
        self.flush()
        row = self.node(node)
        sql = (
            "select n.id, e.mode, e.lo, e.hi from edge e join node n on n.key = e.parent"
            " where e.child = ? order by e.position"
        )
        found = self._db.execute(sql, (row.key if row else None,))
        return [edge_from(*edge) for edge in found]

    def children(self, node: NodeId, after: str, limit: int, /) -> list[tuple[NodeId, Edge]]:
        """See `Rows.children`."""
        read = self._released.pop(node, None)
        if read is not None and not after and len(read) <= limit and not self._edges:
            return read
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
        return [(NodeId(child), edge_from(node, *edge)) for child, *edge in found]

    def ranged(self, node: NodeRow, lo: int, hi: int, /) -> list[tuple[NodeId, Edge]]:
        """See `Rows.ranged`."""
        if self._edges:
            self.flush()
        sql = (
            "select n.id, e.mode, e.lo, e.hi from edge e join node n on n.key = e.child"
            " where e.parent = ? and e.hi is not null and e.lo < ? and e.hi > ? and e.live order by e.child"
        )
        found = self._db.execute(sql, (node.key, hi, lo)).fetchall()
        return [(NodeId(child), edge_from(node.id, *edge)) for child, *edge in found]

    def release(self, node: NodeRow, child: NodeId, /) -> None:
        """See `Rows.release`."""
        row = self.node(child)
        if row is not None:
            self._released.pop(node.id, None)
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
        late = self._parts(node, "and until <= ? order by lo", self.now)
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
            (node.key, part.lo, part.hi, WORDS[part.state], part.fence, part.worker, part.until,
             part.attempts, part.deliveries, part.started_at, part.cancelled, part.error),
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
        if outcome.value is not None:
            self._blobs += [(node.key, name) for name in blob_names(outcome.value)]
        if not node.array:
            self._dirty[node.id] = node
            self._ends[node.id] = (
                WORDS[state], outcome.value, outcome.error, part.fence, started, outcome.took_s,
                part.worker, part.attempts, part.deliveries,
            )  # fmt: skip
            return
        self._db.execute(
            "insert into segment values(?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (node.key, outcome.lo, outcome.hi, WORDS[state], outcome.value, outcome.error, part.fence,
             part.attempts, part.deliveries, part.worker, started, outcome.took_s, None, 0),
        )  # fmt: skip

    def end_as(self, node: NodeRow, part: Part, final: NodeRow, state: State, /) -> None:
        """See `Rows.end_as`."""
        self.flush()
        self._db.execute(
            "insert into segment select ?, ?, ?, ?, value, error, end_fence, attempts, deliveries, worker,"
            " item_started_at, took_s, id, 1 from node where key=?",
            (node.key, part.lo, part.hi, WORDS[state], final.key),
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

    def copy_ended(self, source: NodeRow, target: NodeRow, anew: Collection[int], /) -> list[tuple[int, int]]:
        """See `Rows.copy_ended`."""
        self.flush()
        self._db.execute(
            "insert into segment select ?, lo, hi, state, value, error, fence, attempts, deliveries, worker,"
            " started_at, took_s, coalesce(origin, ?), single from segment"
            " where node=? and state='succeeded' and lo not in (select value from json_each(?))",
            (target.key, source.id, source.key, json.dumps(list(anew))),
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
        self._known.run_ids[run.key] = run.id

    def add_node(
        self, node: NodeRow, edges: Sequence[Edge], pages: Sequence[Page], ended: Collection[NodeId], /
    ) -> None:
        """See `Rows.add_node`."""
        node.key = self._next_node = self._next_node or self._next("node")
        self._next_node += 1
        self._nodes[node.id] = self._known.by_key[node.key] = self._new[node.id] = node
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

    def save(self, row: NodeRow | RunRow | LimitRow, /) -> None:
        """See `Rows.save`."""
        if isinstance(row, NodeRow):
            self._dirty[row.id] = row
        elif isinstance(row, RunRow):
            self._dirty_runs[row.id] = row
        else:
            self._dirty_limits[row.name] = row

    def emit(self, run: RunId, node: NodeId | str, lo: int, hi: int, state: State, /) -> None:
        """See `Rows.emit`."""
        if state is State.QUEUED or state is State.WAITING:
            self.freed = True
        self.events.append((run, node, lo, hi, state))

    def printed(self, node: NodeRow, index: int, text: str, /) -> None:
        """See `Rows.printed`."""
        self._logs.append((node.key, index, text))

    def note(self, note: Note) -> bool:
        """Keep what a running item says; whether it is what watchers are told of at once."""
        row, fence = self.node(note.key.node), note.key.fence
        if row is None or self.held(row, note.item) is None:
            return False
        if note.kind == "log":
            text = str(note.data["text"])
            self._db.execute("insert into log values(?, ?, ?)", (row.key, note.at, text))
        if note.kind not in SAID:
            return False
        body = json.dumps(dict(note.data), separators=(",", ":"))
        self._db.execute(
            "insert or replace into said values(?, ?, ?, ?, ?, ?)",
            (row.key, fence, note.kind, note.at, body, note.value),
        )
        others = "not in (select fence from part where node = ?)" if row.array else "!= ?"
        self._db.execute(
            f"delete from said where node = ? and fence {others}",
            (row.key, row.key if row.array else fence),
        )
        return True

    def push(self, node: NodeId, after: str, /) -> None:
        """See `Rows.push`."""
        if after:
            self._todo.append((node, after))
        else:
            self._unchecked.append(self._nodes[node])
            self._over.append(node)

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
        keys = json.dumps(list(ended))
        found = self._read_children(ended, keys)
        if found is not None:
            self._released.update(found)
            return [node for node in ended.values() if node in found]
        sql = "select value from json_each(?) where exists (select 1 from edge where parent = value and live)"
        return [ended[key] for (key,) in self._db.execute(sql, (keys,))]

    def _read_children(
        self, ended: Mapping[int, NodeId], keys: str
    ) -> dict[str, list[tuple[NodeId, Edge]]] | None:
        """The successors of all of them at once, with their rows; `None` when there are very many."""
        sql = (
            "select parent, child, mode, lo, hi from edge"
            " where parent in (select value from json_each(?)) and live order by parent, child limit ?"
        )
        edges = self._db.execute(sql, (keys, _CHILDREN_AT_ONCE)).fetchall()
        if len(edges) == _CHILDREN_AT_ONCE:
            return None
        by_key = self._known.by_key
        missing = {edge[1] for edge in edges} - by_key.keys()
        if missing:
            self._load(f"{LOAD_NODE_ALONE_ARGS} from node n where n.key", list(missing))
        found: dict[str, list[tuple[NodeId, Edge]]] = {}
        for key, child, *edge in edges:
            parent = ended[key]
            found.setdefault(parent, []).append((by_key[child].id, edge_from(parent, *edge)))
        return found

    # ── what is decided at a submit ──────────────────────────────────────────────────

    def pending(self, queue: str, /) -> int:
        """See `Rows.pending`."""
        found = self._db.execute("select calls from pending where queue=?", (queue,)).fetchone()
        return (found[0] if found else 0) + self._pending.get(queue, 0)

    def pend(self, queue: str, more: int, /) -> None:
        """See `Rows.pend`."""
        self._pending[queue] = self._pending.get(queue, 0) + more

    def locked(self, name: str, /) -> RunId | None:
        """See `Rows.locked`."""
        sql = "select run from lock where name=? and until > ?"
        found = self._db.execute(sql, (name, self.now)).fetchone()
        return found[0] if found else None

    def lock(self, name: str, run: RunId, until: float, /) -> None:
        """See `Rows.lock`."""
        self._db.execute("insert or replace into lock values(?,?,?)", (name, run, until))

    def unlock(self, name: str, run: RunId, /) -> None:
        """See `Rows.unlock`."""
        self._db.execute("delete from lock where name=? and run=?", (name, run))

    def pending_in(self, queue: str, after: str, limit: int, /) -> list[NodeRow]:
        """See `Rows.pending_in`."""
        self.flush()
        last = self.node(NodeId(after)) if after else None
        sql = (
            f"select {LOAD_NODE_ARGS} from node n join run r on r.key = n.run where n.queue = ? and n.key > ?"
            " and n.open > 0 and n.state != 'blocked' order by n.key limit ?"
        )
        found = self._db.execute(sql, (queue, last.key if last else 0, limit)).fetchall()
        return [self._keep(t) for t in found]

    def unstarted(self, node: NodeRow, limit: int, /) -> list[Part]:
        """See `Rows.unstarted`."""
        if node.array:
            return self._parts(node, "and state in ('queued', 'waiting') order by lo limit ?", limit)
        part = node.part
        return [part] if part is not None and part.state is not State.RUNNING else []

    # ── writing ──────────────────────────────────────────────────────────────────────

    def finish(self) -> None:
        """Write what is left, and the work that the next step must go on with."""
        self.flush()
        if self._unchecked:
            self._todo.extend((node, "") for node in self._with_children())
        self._write_pending()
        self._lanes.finish()
        if self._todo:
            self._db.executemany("insert into todo(node, after) values(?,?)", self._todo)
        for node in self._over:
            self._known.drop(node)

    def _write_pending(self) -> None:
        for queue, more in self._pending.items():
            if more:
                sql = (
                    "insert into pending values(?, ?) on conflict(queue)"
                    " do update set calls = calls + excluded.calls returning calls"
                )
                [(calls,)] = self._db.execute(sql, (queue, more)).fetchall()
                if not calls:
                    self._db.execute("delete from pending where queue=?", (queue,))
        self._pending.clear()

    def flush(self) -> None:
        """Write everything that was changed since the last flush."""
        db = self._db
        self._write_new()
        if self._dirty:
            self._write_changed()
        if self._dirty_runs:
            db.executemany(UPDATE_RUN, [changed_run(run) for run in self._dirty_runs.values()])
            self._dirty_runs.clear()
        if self._dirty_limits:
            self._write_limits()
        if self._logs:
            db.executemany("insert into log values(?,?,?)", self._logs)
            self._logs.clear()
        if self._blobs:
            db.executemany("insert or ignore into blob values(?,?)", self._blobs)
            self._blobs.clear()

    def _write_changed(self) -> None:
        known = self._known.stored
        alike: dict[str, list[list[Any]]] = {}
        for node, row in self._dirty.items():
            now = changed_node(row)
            sql, values = update_node(known.get(node), now, self._ends.get(node))
            known[node] = now
            alike.setdefault(sql, []).append([*values, row.key])
        for sql, changes in alike.items():
            if sql:
                self._db.executemany(sql, changes)
        if len(self._ends) < len(self._dirty):
            self._lanes.queued(self._dirty.values())
        self._dirty.clear()
        self._ends.clear()

    def _write_limits(self) -> None:
        for name, row in self._dirty_limits.items():
            if row is None:
                self._db.execute("delete from limits where name=?", (name,))
            else:
                self._db.execute(UPDATE_LIMIT, changed_limit(row))
        self._dirty_limits.clear()

    def _write_new(self) -> None:
        db = self._db
        if self._new_runs:
            db.executemany(INSERT_RUN, [new_run(run) for run in self._new_runs.values()])
            for run in self._new_runs.values():
                self._dirty_runs.pop(run.id, None)
                if "memo" in run.meta:
                    db.execute("insert into memo values(?, ?)", (run.key, run.meta["memo"]["name"]))
            self._new_runs.clear()
        if self._new:
            new = [
                new_node(row, self._runs[row.run].key, self._lanes.key_of(row)) for row in self._new.values()
            ]
            try:
                db.executemany(INSERT_NODE, new)
            except sqlite3.IntegrityError:
                raise self._taken() from None
            self._lanes.queued(self._new.values())
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
                rows.append((parent, child, position, str(edge.mode), int(live), edge.lo, edge.hi))
            else:
                later.append(new)
        self._db.executemany("insert or ignore into edge values(?,?,?,?,?,?,?)", rows)
        self._edges = later
        if self._widened:
            wider = [(inputs_of(row), row.key) for row in (self._nodes[node] for node in self._widened)]
            self._db.executemany("update node set inputs=? where key=?", wider)
            self._widened.clear()


def _turn(row: NodeRow) -> tuple[int, int]:
    """The order in which nodes are claimed."""
    return -row.priority, row.key


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
