"""The store in this process's memory: inline mode, and the double that tests use.

Nothing survives the process.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from taskflow.blobs.memory import MemoryBlobs
from taskflow.clock import Clock, SystemClock
from taskflow.errors import NoSuchRun, ResultExpired, UsageError
from taskflow.ids import NodeId, RunId
from taskflow.limits import BreakerWord, Limit
from taskflow.machine import moves
from taskflow.machine.invariants import broken, miscounted
from taskflow.machine.rows import RunRow
from taskflow.ports import Blobs
from taskflow.records import (
    WORKERS,
    Call,
    Event,
    Hold,
    ItemView,
    Lease,
    LeaseKey,
    LimitView,
    NodeView,
    Note,
    Page,
    Plan,
    Posted,
    Renewal,
    RunView,
    Segment,
    Settled,
    Settlement,
    Want,
    WorkerView,
)
from taskflow.states import TERMINAL, State
from taskflow.stores.bells import PipeBell
from taskflow.stores.memory_rows import MemoryRows, Record, Tables
from taskflow.stores.views import item_views, limit_view, node_view, queue_line, run_counts, run_view

__all__ = ["MemoryStore"]

EVENTS_KEPT = 200_000
_ALL = 1 << 60


class MemoryStore:
    """All ports over dictionaries, for one process; safe to use from threads."""

    def __init__(self, *, clock: Clock | None = None, url: str = "memory://") -> None:
        self.url = url
        self.blobs: Blobs = MemoryBlobs()
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._tables = Tables()
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._cursor = 0
        self._workers: dict[str, WorkerView] = {}
        self._gone: dict[str, float] = {}
        self._posted: dict[str, Posted] = {}
        self._bells: dict[str, list[PipeBell]] = {"work": [], "watch": [], "posted": [], "holds": []}

    # ── a step ───────────────────────────────────────────────────────────────────────

    @contextmanager
    def _step(self) -> Iterator[MemoryRows]:
        with self._lock:
            rows = MemoryRows(self._tables, self._clock.now())
            try:
                yield rows
            except BaseException:
                rows.undo()
                raise
            rows.finish()
            self._publish(rows)

    def _publish(self, rows: MemoryRows) -> None:
        for run, node, lo, hi, state in rows.events:
            self._cursor += 1
            self._events.append(Event(self._cursor, rows.now, run, node, lo, hi, state))
        if rows.events:
            self._ring("watch")
        if rows.freed:
            self._ring("work")

    def _ring(self, topic: str) -> None:
        for bell in self._bells[topic]:
            bell.ring()

    # ── GraphPort ────────────────────────────────────────────────────────────────────

    def submit(self, plans: Sequence[Plan], /) -> Mapping[RunId, RunId]:
        """See `GraphPort.submit`."""
        with self._step() as rows:
            return moves.submit(rows, plans)

    def cancel(self, node: NodeId | RunId, /, *, index: int | None = None, reason: str = "") -> bool:
        """See `GraphPort.cancel`."""
        with self._step() as rows:
            changed = moves.cancel(rows, node, index, reason or "cancelled")
            if changed:
                self._ring("work")
        return changed

    def purge(self, queue: str, /) -> int:
        """See `GraphPort.purge`."""
        with self._step() as rows:
            items, _ = moves.purge(rows, queue, "", _ALL)
            return items

    def rerun(self, run: RunId, new: RunId, /) -> Mapping[NodeId, NodeId]:
        """See `GraphPort.rerun`."""
        with self._step() as rows:
            return moves.rerun(rows, run, new)

    def forget(self, run: RunId, /) -> None:
        """See `GraphPort.forget`."""
        with self._lock:
            record = self._run(run)
            if record.state not in TERMINAL:
                raise UsageError(f"Run {run} has not ended: cancel it first.")
            if run in self._needed():
                raise UsageError(f"Run {run} is needed by a run that has not ended: cancel that one first.")
            self._drop(run)

    def _needed(self) -> set[str]:
        """Runs that nodes of other runs, which have not ended, depend on."""
        live = [r for r in self._tables.nodes.values() if self._tables.runs[r.row.run].state not in TERMINAL]
        used = {(r.row.run, node) for r in live for node in (r.row.source, *(e.parent for e in r.edges))}
        owners = {(run, self._tables.nodes[node].row.run) for run, node in used if node in self._tables.nodes}
        return {owner for run, owner in owners if owner != run}

    def _drop(self, run: str) -> None:
        for node in self._tables.members.pop(run, ()):
            record = self._tables.nodes.pop(node)
            self._tables.open.pop(node, None)
            for edge in record.edges:
                if edge.parent in self._tables.nodes:
                    self._tables.nodes[edge.parent].children.pop(node, None)
        del self._tables.runs[run]
        self._gone[run] = self._clock.now()

    # ── WorkPort ─────────────────────────────────────────────────────────────────────

    def claim(self, want: Want, /) -> list[Lease]:
        """See `WorkPort.claim`."""
        with self._step() as rows:
            return moves.claim(rows, want)

    def renew(self, held: Sequence[LeaseKey], /, *, lease_s: float) -> Renewal:
        """See `WorkPort.renew`."""
        with self._step() as rows:
            return moves.renew(rows, held, lease_s)

    def settle(self, done: Sequence[Settlement], /, *, want: Want | None = None) -> Settled:
        """See `WorkPort.settle`."""
        with self._step() as rows:
            lost = moves.settle(rows, done)
            return Settled(lost, moves.claim(rows, want) if want is not None else [])

    def reap(self, /, *, limit: int = 1000) -> float | None:
        """See `WorkPort.reap`."""
        with self._step() as rows:
            return moves.reap(rows, limit)

    def pages(self, node: NodeId, lo: int, hi: int, /) -> list[Page]:
        """See `WorkPort.pages`."""
        with self._lock:
            record = self._node(node)
            source = record if record.pages else self._tables.nodes.get(record.row.source or "", record)
            return [page for page in source.pages if page.lo < hi and lo < page.hi]

    def note(self, notes: Sequence[Note], /) -> None:
        """See `WorkPort.note`."""
        with self._step() as rows:
            new = {note.key.node: None for note in notes if rows.note(note)}
            for node in new:
                rows.emit(self._tables.nodes[node].row.run, node, 0, 0, State.RUNNING)
            self._ring("watch")

    # ── WatchPort ────────────────────────────────────────────────────────────────────

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
        with self._lock:
            found = []
            newest_first = list(self._tables.runs.values())[::-1]
            newest_first.sort(key=lambda run: -run.created_at)
            for run in newest_first:
                if (states and run.state not in states) or (match and not _matches(run, match)):
                    continue
                if memo and run.meta.get("memo", {}).get("name") != memo:
                    continue
                own = run.meta.get("tags", {})
                if any(name not in own or own[name] != value for name, value in (tags or {}).items()):
                    continue
                found.append(run_view(run, counts=run_counts(run, self._views(run.id))))
                if len(found) >= limit:
                    break
            return found

    def snapshot(self, run: RunId, /) -> tuple[RunView, int]:
        """See `WatchPort.snapshot`."""
        with self._lock:
            row = self._run(run)
            return run_view(row, self._views(run)), self._cursor

    def _views(self, run: str) -> tuple[NodeView, ...]:
        return tuple(self._view(self._tables.nodes[node]) for node in self._tables.members[run])

    def _view(self, record: Record) -> NodeView:
        ended: dict[State, int] = {}
        error = None
        for segment, _ in record.segments.values():
            ended[segment.state] = ended.get(segment.state, 0) + segment.hi - segment.lo
            error = error or segment.error
        if record.row.state in TERMINAL and (record.row.final is not None or record.row.width is None):
            ended[record.row.state] = 1
        view = node_view(record.row, record.edges, ended, error)
        if record.segments and not record.row.array:
            item = record.segments[0][1]
            view = view._replace(attempts=item.attempts, deliveries=item.deliveries, worker=item.worker)
        return view

    def events(self, after: int, /, *, limit: int = 1000) -> list[Event]:
        """See `WatchPort.events`."""
        with self._lock:
            if not self._events:
                return []
            if after < 0:
                return [self._events[-1]]
            start = max(0, after + 1 - self._events[0].cursor)
            stop = min(start + limit, len(self._events))
            return [self._events[i] for i in range(start, stop)]

    def epoch(self) -> str:
        """See `WatchPort.epoch`: what is in memory is not forgotten."""
        return ""

    def find(self, prefix: str, /) -> tuple[RunId, NodeId | None]:
        """See `WatchPort.find`."""
        with self._lock:
            runs, nodes = (_named(prefix, table) for table in (self._tables.runs, self._tables.nodes))
            if len(runs) == 1:
                return RunId(runs[0]), None
            if len(nodes) == 1 and not runs:
                return self._tables.nodes[nodes[0]].row.run, NodeId(nodes[0])
            raise not_found(prefix, runs or nodes, self._gone.get(prefix))

    def values(
        self, nodes: Sequence[NodeId], /, *, lo: int = 0, hi: int | None = None
    ) -> dict[NodeId, list[Segment]]:
        """See `WatchPort.values`."""
        with self._lock:
            found = {}
            for node in nodes:
                record = self._node(node)
                while record.row.final is not None and record.row.final in self._tables.nodes:
                    record = self._tables.nodes[record.row.final]
                ended = sorted(record.segments.values(), key=lambda pair: pair[0].lo)
                found[node] = [s for s, _ in ended if s.hi > lo and (hi is None or s.lo < hi)]
            return found

    def call(self, node: NodeId, /) -> Call:
        """See `WatchPort.call`."""
        with self._lock:
            row = self._node(node).row
            return Call(row.fn, row.args, row.array, row.inputs, row.policy)

    def items(self, node: NodeId, /) -> list[ItemView]:
        """See `WatchPort.items`."""
        with self._lock:
            record = self._node(node)
            ended = [view for _, view in record.segments.values()]
            return item_views(record.row, record.parts.values(), ended, record.said.values())

    def logs(self, node: NodeId, /, *, index: int | None = None) -> list[tuple[int, str]]:
        """See `WatchPort.logs`."""
        with self._lock:
            kept = sorted(self._node(node).logs, key=lambda log: log[0])
            return [log for log in kept if index is None or log[0] == index]

    # ── StatusPort ───────────────────────────────────────────────────────────────────

    def announce(self, view: WorkerView, /, *, gone: bool = False) -> None:
        """See `StatusPort.announce`."""
        with self._lock:
            if gone:
                self._workers.pop(view.id, None)
            else:
                self._workers[view.id] = view

    def workers(self, /) -> list[WorkerView]:
        """See `StatusPort.workers`."""
        with self._lock:
            return [w for w in self._workers.values() if w.seen_at > self._clock.now() - 60]

    def queues(self, /) -> list[Mapping[str, Any]]:
        """See `StatusPort.queues`."""
        with self._lock:
            table: dict[str, dict[str, Any]] = {}
            for record in self._tables.nodes.values():
                if record.row.state in TERMINAL:
                    continue
                line = table.setdefault(record.row.queue, queue_line(record.row.queue))
                for state, items in self._view(record).counts.items():
                    if state in line:
                        line[state] += items
            for queue in self._tables.paused:
                table.setdefault(queue, queue_line(queue))["paused"] = True
            return [table[name] for name in sorted(table)]

    def pause(self, queue: str, /, *, resume: bool = False) -> bool:
        """See `StatusPort.pause`."""
        with self._lock:
            paused = self._tables.paused
            if (queue in paused) is not resume:
                return False
            (paused.discard if resume else paused.add)(queue)
            self._ring("work")
            return True

    # ── SharingPort ──────────────────────────────────────────────────────────────────

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
                self._ring("holds")
        return held

    def let_go(self, name: str, holder: str, /) -> bool:
        """See `SharingPort.let_go`."""
        with self._step() as rows:
            had, others_wait = moves.let_go(rows, name, holder)
            if others_wait:
                self._ring("holds")
        return had

    def tell_breaker(self, limit: Limit, word: BreakerWord, /, *, took_s: float = 0.0) -> bool:
        """See `SharingPort.tell_breaker`."""
        with self._step() as rows:
            return moves.tell_breaker(rows, limit, word, took_s)

    # ── PostPort ─────────────────────────────────────────────────────────────────────

    def posted(self, name: str, known: int = -1, /) -> Posted | None:
        """See `PostPort.posted`."""
        with self._lock:
            found = self._posted.get(name, Posted(0, b""))
            return found if found.revision != known else None

    def post(self, name: str, revision: int, body: bytes, /) -> bool:
        """See `PostPort.post`."""
        with self._lock:
            if self._posted.get(name, Posted(0, b"")).revision != revision:
                return False
            self._posted[name] = Posted(revision + 1, body)
            for topic in ("posted", "work") if name == WORKERS else ("posted",):
                self._ring(topic)
            return True

    # ── seen ─────────────────────────────────────────────────────────────────────────

    def now(self) -> float:
        """See `StatusPort.now`."""
        return self._clock.now()

    def waited_s(self, queues: Sequence[str], /) -> float | None:
        """See `StatusPort.waited_s`."""
        with self._lock:
            rows = MemoryRows(self._tables, self._clock.now())
            firsts = (next(iter(rows.ready((queue,), ())), None) for queue in queues)
            return max((rows.now - row.created_at for row in firsts if row is not None), default=None)

    def dead(self, /, *, limit: int = 1000) -> list[tuple[RunId, NodeId, ItemView]]:
        """See `StatusPort.dead`."""
        with self._lock:
            letters = [
                (record.row.run, record.row.id, view)
                for record in sorted(self._tables.nodes.values(), key=lambda r: -r.seq)
                for segment, view in record.segments.values()
                if segment.state in (State.DEAD, State.FAILED)
            ]
            return letters[:limit]

    def sweep(self, /, *, age_s: float, size_bytes: int) -> Mapping[str, int]:
        """See `StatusPort.sweep`; memory has no size of its own, so only age counts."""
        with self._lock:
            now = self._clock.now()
            needed = self._needed()
            ended = [(r.id, r.ended_at) for r in self._tables.runs.values() if r.ended_at is not None]
            old = [run for run, at in ended if at < now - age_s and run not in needed]
            for run in old:
                self._drop(run)
            return {"runs": len(old), "size_bytes": 0}

    def check(self, /) -> list[tuple[str, bool, str]]:
        """See `StatusPort.check`."""
        with self._lock:
            faults = [
                fault
                for record in self._tables.nodes.values()
                for fault in broken(
                    record.row, record.parts.values(), [(s.lo, s.hi) for s, _ in record.segments.values()]
                )
            ]
            faults += miscounted(
                self._tables.limits.values(), [record.row for record in self._tables.nodes.values()]
            )
            return [("invariants", not faults, "; ".join(faults) or "every node is in order")]

    def limits(self, /) -> list[LimitView]:
        """See `StatusPort.limits`."""
        with self._lock:
            rows = sorted(self._tables.limits.values(), key=lambda row: row.name)
            return [limit_view(row, self._clock.now()) for row in rows]

    # ── the rest ─────────────────────────────────────────────────────────────────────

    def listen(self, topic: str, /, *, worker: str | None = None) -> PipeBell:
        """See `Store.listen`."""
        bells = self._bells["watch" if topic == "ends" else topic]
        bell = PipeBell(bells.remove)
        bells.append(bell)
        return bell

    def hurry(self, within_s: float, /) -> None:
        """See `Store.hurry`: it waits for nothing."""

    def close(self) -> None:
        """Nothing to let go of."""

    def _run(self, run: str) -> RunRow:
        if run not in self._tables.runs:
            raise not_found(run, (), self._gone.get(run))
        return self._tables.runs[run]

    def _node(self, node: str) -> Record:
        if node not in self._tables.nodes:
            raise not_found(node, (), self._gone.get(node))
        return self._tables.nodes[node]


def _named(prefix: str, table: Collection[str]) -> list[str]:
    return [prefix] if prefix in table else [name for name in table if name.startswith(prefix)]


def _matches(run: RunRow, match: str) -> bool:
    return run.id.startswith(match) or match in run.name


def not_found(prefix: str, found: Collection[str], gone_at: float | None) -> NoSuchRun | ResultExpired:
    """The error for an id that names nothing, several things, or something that was removed."""
    if gone_at is not None:
        return ResultExpired(f"Run {prefix} was removed by retention.", expired_at=gone_at)
    if found:
        return NoSuchRun(f"{len(found)} ids begin with {prefix!r}: give more of it.")
    return NoSuchRun(f"The store knows no run or node {prefix!r}; `taskflow runs` lists what it knows.")
