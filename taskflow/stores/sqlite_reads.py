"""What readers ask of the file: `WatchPort`, and the half of `StatusPort` that only looks."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from taskflow.errors import (
    NoSuchRun,
    ResultExpired,
    TaskflowError,
)
from taskflow.ids import NodeId, RunId
from taskflow.machine.invariants import broken, miscounted
from taskflow.machine.rows import NodeRow, Part
from taskflow.records import (
    Call,
    Edge,
    EdgeMode,
    Event,
    ItemView,
    LimitView,
    NodeView,
    Page,
    Posted,
    RunView,
    Said,
    Segment,
    WorkerView,
)
from taskflow.states import TERMINAL, State
from taskflow.stores.sqlite_columns import (
    LOAD_LIMIT,
    LOAD_NODE,
    LOAD_NODE_ARGS,
    LOAD_RUN,
    PART_COLUMNS,
    STATES,
    item_from,
    limit_from,
    node_from,
    part_from,
    posted_as,
    run_from,
    segment_from,
)
from taskflow.stores.sqlite_file import CURSOR_BITS, WAL_BYTES, SqliteFile
from taskflow.stores.views import item_views, limit_view, node_view, queue_line, run_view

__all__ = ["SqliteReads"]


class SqliteReads(SqliteFile):
    """The reading verbs; those of one call see the store as it was at one moment."""

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

    def runs(
        self,
        /,
        *,
        limit: int = 100,
        states: Collection[str] = (),
        match: str = "",
        tags: Mapping[str, Any] | None = None,
        memo: str = "",
    ) -> list[RunView]:
        """See `WatchPort.runs`."""
        where, values = ["1"], []
        if states:
            where.append("r.state in (select value from json_each(?))")
            values.append(json.dumps([str(s) for s in states]))
        if match:
            where.append("(instr(r.name, ?) or r.id like ? escape '\\')")
            values += [match, _like(match)]
        if memo:
            where.append("r.key in (select run from memo where name = ?)")
            values.append(memo)
        for name, value in (tags or {}).items():
            where.append(
                "exists (select 1 from json_each(r.meta, '$.tags') t where t.key = ?"
                " and t.value is json_extract(?, '$'))"
            )
            values += [name, json.dumps(value)]
        sql = (
            f"select {LOAD_RUN} from run r where {' and '.join(where)}"
            " order by r.created_at desc, r.key desc limit ?"
        )
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
            "select e.child, p.id, e.mode, e.lo, e.hi from edge e join node p on p.key = e.parent"
            " join node c on c.key = e.child where c.run=? order by e.child, e.position"
        )
        for child, parent, mode, lo, hi in self._read(edges, (run,)):
            parents.setdefault(child, []).append(Edge(parent, EdgeMode(mode), lo, hi))
        ended: dict[int, dict[State, int]] = {}
        errors: dict[int, str | None] = {}
        sums = (
            "select s.node, s.state, sum(s.hi - s.lo), min(s.error)"
            " from segment s join node n on n.key = s.node where n.run=? group by 1, 2"
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
        return (found[0][0] << CURSOR_BITS) + found[0][1] - 1 if found else 0

    def events(self, after: int, /, *, limit: int = 1000) -> list[Event]:
        """See `WatchPort.events`."""
        if after < 0:
            newest = self._read("select key, at, body from event order by key desc limit 1")
            return [event for t in newest for event in _unpack(t)][-1:]
        found: list[Event] = []
        key = after >> CURSOR_BITS
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
            "select r.id, n.id from run r left join node n on 0 where r.id = ? union all"
            " select r.id, n.id from node n join run r on r.key = n.run where n.id = ?",
            (prefix, prefix),
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
        sql = (
            "select id, key, array, final, end_state, value, error, end_fence from node"
            " where id in (select value from json_each(?))"
        )
        found: dict[NodeId, list[Segment]] = {}
        finals: dict[NodeId, NodeId] = {}
        with self._one_moment():
            for node, key, array, final, state, *end in self._read(sql, (json.dumps(list(nodes)),)):
                found[node] = []
                if final is not None:
                    finals[node] = final
                elif array:
                    found[node] = self._segments(key, node, lo, hi)
                elif state is not None and lo == 0 and hi != 0:
                    found[node] = [Segment(node, 0, 1, STATES[state], *end)]
            if finals:
                theirs = self.values(list(set(finals.values())), lo=lo, hi=hi)
                found.update((node, theirs[final]) for node, final in finals.items())
        missing = [node for node in nodes if node not in found]
        if missing:
            raise self._missing(missing[0])
        return found

    def _segments(self, key: int, node: NodeId, lo: int, hi: int | None) -> list[Segment]:
        sql = (
            "select coalesce(origin, ?), lo, hi, state, value, error, fence, single from segment"
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
        return Call(row.fn, row.args, row.array, row.inputs, row.policy)

    def items(self, node: NodeId, /) -> list[ItemView]:
        """See `WatchPort.items`."""
        with self._one_moment():
            row, _ = self._node_row(node)
            if row.array:
                sql = (
                    "select lo, hi, state, attempts, deliveries, worker, started_at, took_s, error"
                    " from segment where node=?"
                )
            else:
                sql = (
                    "select 0, 1, end_state, attempts, deliveries, worker, item_started_at, took_s, error"
                    " from node where key=? and end_state is not null"
                )
            ended = [item_from(t) for t in self._read(sql, (row.key,))]
            parts = self._parts_of(row)
            return item_views(row, parts, ended, self._said_of(row) if row.held else ())

    def _said_of(self, row: NodeRow) -> list[tuple[int, Said]]:
        found = self._read("select lo, kind, body, value, fence from said where node=?", (row.key,))
        return [(lo, Said(kind, json.loads(body), value, fence)) for lo, kind, body, value, fence in found]

    def _parts_of(self, row: NodeRow) -> list[Part]:
        if not row.array:
            return [row.part] if row.part else []
        sql = f"select {PART_COLUMNS} from part where node=?"
        return [part_from(t) for t in self._read(sql, (row.key,))]

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
            "select queue,"
            " sum(returned + case when state != 'blocked' and due_at is null then width-cursor else 0 end),"
            " sum(waiting + case when state != 'blocked' and due_at is not null then width-cursor else 0"
            " end), sum(held) from node where open > 0 group by queue order by queue"
        )
        paused = {queue for (queue,) in self._read("select queue from paused")}
        table = {queue: queue_line(queue) | {"paused": True} for queue in paused}
        for queue, queued, waiting, running in self._read(sql):
            counts = {"queued": queued, "waiting": waiting, "running": running, "paused": queue in paused}
            table[queue] = queue_line(queue) | counts
        return [table[name] for name in sorted(table)]

    def posted(self, name: str, known: int = -1, /) -> Posted | None:
        """See `PostPort.posted`."""
        number, text = posted_as(name)
        revision = self._read("select value from meta where key=?", (number,))
        if not revision:
            return Posted(0, b"") if known != 0 else None
        if revision[0][0] == known:
            return None
        rows = dict(self._read("select key, value from meta where key in (?, ?)", (number, text)))
        return Posted(rows[number], rows[text])

    def now(self) -> float:
        """See `StatusPort.now`."""
        return self._clock.now()

    def waited_s(self, queues: Sequence[str], /) -> float | None:
        """See `StatusPort.waited_s`."""
        first = (
            "select created_at from node where state = 'queued' and {} order by priority desc, key limit 1"
        )
        asked = [
            queue for queue in queues if not self._read("select 1 from paused where queue = ?", (queue,))
        ]
        plain = first.format("queue = ? and lane is null")
        lanes = f"select ({first.format('lane = l.key')}) from lane l where l.queue = ? and l.open = 1"
        found = [t[0] for queue in asked for sql in (plain, lanes) for t in self._read(sql, (queue,))]
        firsts = [at for at in found if at is not None]
        return self._clock.now() - min(firsts) if firsts else None

    def dead(self, /, *, limit: int = 1000) -> list[tuple[RunId, NodeId, ItemView]]:
        """See `StatusPort.dead`."""
        calls = (
            "select r.id, n.id, n.key, 0, 1, end_state, attempts, deliveries, worker, item_started_at,"
            " took_s, error from node n join run r on r.key = n.run where end_state in ('dead', 'failed')"
            " order by n.key desc limit ?"
        )
        items = (
            "select r.id, n.id, n.key, s.lo, s.hi, s.state, s.attempts, s.deliveries, s.worker, s.started_at,"
            " s.took_s, s.error from segment s join node n on n.key = s.node join run r on r.key = n.run"
            " where s.state in ('dead', 'failed') order by s.node desc, s.lo limit ?"
        )
        found = self._read(calls, (limit,)) + self._read(items, (limit,))
        found.sort(key=lambda t: (-t[2], t[3]))
        return [(RunId(t[0]), NodeId(t[1]), item_from(t[3:])) for t in found[:limit]]

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

    def limits(self, /) -> list[LimitView]:
        """See `StatusPort.limits`."""
        now = self._clock.now()
        return [limit_view(limit_from(t), now) for t in self._read(f"{LOAD_LIMIT} order by name")]

    def _faults(self) -> list[str]:
        faults, rows = [], []
        with self._one_moment():
            sql = f"select {LOAD_NODE}, n.end_state from node n join run r on r.key = n.run"
            for t in self._read(sql):
                try:
                    row = node_from(t)
                except (LookupError, TypeError, ValueError) as error:
                    faults.append(f"node {t[1]} cannot be read: {error!r}")
                    continue
                if row.array:
                    ended = self._read("select lo, hi from segment where node=?", (row.key,))
                else:
                    ended = [(0, 1)] if t[-1] is not None else []
                faults += broken(row, self._parts_of(row), ended)
                if row.policy.limits:
                    rows.append(row)
            faults += miscounted(map(limit_from, self._read(LOAD_LIMIT)), rows)
        return faults


def _unpack(t: tuple[int, float, str], after: int = -1) -> list[Event]:
    key, at, body = t
    first = key << CURSOR_BITS
    events = [
        Event(first + n, at, RunId(run or node), NodeId(node), lo, hi, STATES[state])
        for n, (run, node, lo, hi, state) in enumerate(json.loads(body))
    ]
    return events[max(0, after + 1 - first) :]


def _like(text: str) -> str:
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return f"{text}%"
