"""The store in this process's memory: inline mode, and the double that tests use.

Nothing survives the process. Rows are Python objects; a step that fails is undone from copies
that were made before its first change.
"""

from __future__ import annotations

import bisect
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from taskflow.clock import Clock, SystemClock
from taskflow.errors import GraphError, NoSuchRun, ResultExpired, UsageError
from taskflow.ids import NodeId, RunId
from taskflow.machine import moves
from taskflow.machine.invariants import broken
from taskflow.machine.rows import NodeRow, Part, RunRow
from taskflow.ports import Blobs
from taskflow.records import (
    Call,
    Edge,
    Event,
    ItemView,
    Lease,
    LeaseKey,
    NodeView,
    Note,
    Outcome,
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
from taskflow.stores.views import item_views, node_view, run_counts, run_view

__all__ = ["MemoryBlobs", "MemoryStore"]

EVENTS_KEPT = 200_000


class MemoryBlobs:
    """Bytes by name, in a dictionary."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    def put(self, name: str, parts: Sequence[bytes | memoryview], /) -> None:
        """Keep the parts under a name, unless the name is there."""
        if name not in self._blobs:
            self._blobs[name] = b"".join(parts)

    def open(self, name: str, /) -> memoryview:
        """A private copy of the bytes, so that writing changes no one else's."""
        try:
            return memoryview(bytearray(self._blobs[name]))
        except KeyError:
            raise ResultExpired(f"blob {name} is not there any more", expired_at=0.0) from None

    def has(self, name: str, /) -> bool:
        """Whether the name is there."""
        return name in self._blobs

    def sweep(self, keep: Collection[str], /, *, age_s: float) -> int:
        """Delete what is not named in `keep`."""
        gone = [name for name in self._blobs if name not in keep]
        return sum(len(self._blobs.pop(name)) for name in gone)


class _PipeBell:
    def __init__(self, on_close: Callable[[_PipeBell], None]) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._on_close = on_close

    def fileno(self) -> int:
        return self._read

    def ring(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._write, b"!")

    def hush(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass

    def close(self) -> None:
        self._on_close(self)
        os.close(self._read)
        os.close(self._write)


@dataclass
class _Record:
    """All that is kept of a node."""

    row: NodeRow
    seq: int
    edges: list[Edge]
    pages: list[Page] = field(default_factory=list)
    parts: dict[int, Part] = field(default_factory=dict)
    segments: dict[int, tuple[Segment, ItemView]] = field(default_factory=dict)
    children: dict[str, Edge] = field(default_factory=dict)
    logs: list[tuple[int, str]] = field(default_factory=list)

    def snapshot(self) -> _Record:
        twin = _Record(copy(self.row), self.seq, list(self.edges), list(self.pages))
        twin.parts = {lo: copy(part) for lo, part in self.parts.items()}
        twin.row.part = twin.parts.get(0) if self.row.part is not None else None
        twin.segments = dict(self.segments)
        twin.children = dict(self.children)
        twin.logs = list(self.logs)
        return twin


class MemoryStore:
    """All ports over dictionaries, for one process; safe to use from threads."""

    def __init__(self, *, clock: Clock | None = None, url: str = "memory://") -> None:
        self.url = url
        self.blobs: Blobs = MemoryBlobs()
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._runs: dict[str, RunRow] = {}
        self._nodes: dict[str, _Record] = {}
        self._open: dict[str, None] = {}
        self._members: dict[str, list[NodeId]] = {}
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._cursor = 0
        self._seq = 0
        self._todo: deque[tuple[NodeId, str]] = deque()
        self._workers: dict[str, WorkerView] = {}
        self._gone: dict[str, float] = {}
        self._bells: dict[str, list[_PipeBell]] = {"work": [], "watch": []}

    # ── a step ───────────────────────────────────────────────────────────────────────

    @contextmanager
    def _step(self) -> Iterator[_MemoryRows]:
        with self._lock:
            rows = _MemoryRows(self, self._clock.now())
            todo = list(self._todo)
            try:
                yield rows
            except BaseException:
                self._todo = deque(todo)
                rows.undo()
                raise
            self._note_open(rows)
            self._publish(rows)

    def _note_open(self, rows: _MemoryRows) -> None:
        """Remember which of the nodes of a step a claim or a clock may ask for."""
        for node in rows.touched:
            record = self._nodes.get(node)
            if record is not None and (record.row.state is State.QUEUED or record.row.alarm_at is not None):
                self._open[node] = None
            else:
                self._open.pop(node, None)

    def _publish(self, rows: _MemoryRows) -> None:
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

    def submit(self, plans: Sequence[Plan], /) -> None:
        """See `GraphPort.submit`."""
        with self._step() as rows:
            moves.submit(rows, plans)

    def cancel(self, node: NodeId | RunId, /, *, index: int | None = None, reason: str = "") -> bool:
        """See `GraphPort.cancel`."""
        with self._step() as rows:
            changed = moves.cancel(rows, node, index, reason or "cancelled")
            if changed:
                self._ring("work")
        return changed

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
        live = [r for r in self._nodes.values() if self._runs[r.row.run].state not in TERMINAL]
        used = {(r.row.run, node) for r in live for node in (r.row.source, *(e.parent for e in r.edges))}
        owners = {(run, self._nodes[node].row.run) for run, node in used if node in self._nodes}
        return {owner for run, owner in owners if owner != run}

    def _drop(self, run: str) -> None:
        for node in self._members.pop(run, ()):
            record = self._nodes.pop(node)
            self._open.pop(node, None)
            for edge in record.edges:
                if edge.parent in self._nodes:
                    self._nodes[edge.parent].children.pop(node, None)
        del self._runs[run]
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
            source = record if record.pages else self._nodes.get(record.row.source or "", record)
            return [page for page in source.pages if page.lo < hi and lo < page.hi]

    def note(self, notes: Sequence[Note], /) -> None:
        """See `WorkPort.note`."""
        with self._lock:
            for note in notes:
                record = self._nodes.get(note.key.node)
                if record is None or all(part.fence != note.key.fence for part in record.parts.values()):
                    continue
                if note.kind == "log":
                    record.logs.append((int(note.data.get("index", note.key.lo)), str(note.data["text"])))
            self._ring("watch")

    # ── WatchPort ────────────────────────────────────────────────────────────────────

    def runs(self, /, *, limit: int = 100, states: Collection[str] = (), match: str = "") -> list[RunView]:
        """See `WatchPort.runs`."""
        with self._lock:
            found = []
            newest_first = list(self._runs.values())[::-1]
            newest_first.sort(key=lambda run: -run.created_at)
            for run in newest_first:
                if (states and run.state not in states) or (match and not _matches(run, match)):
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
        return tuple(self._view(self._nodes[node]) for node in self._members[run])

    def _view(self, record: _Record) -> NodeView:
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

    def find(self, prefix: str, /) -> tuple[RunId, NodeId | None]:
        """See `WatchPort.find`."""
        with self._lock:
            runs = [prefix] if prefix in self._runs else [r for r in self._runs if r.startswith(prefix)]
            if len(runs) == 1:
                return RunId(runs[0]), None
            nodes = [prefix] if prefix in self._nodes else [n for n in self._nodes if n.startswith(prefix)]
            if len(nodes) == 1 and not runs:
                return self._nodes[nodes[0]].row.run, NodeId(nodes[0])
            raise not_found(prefix, runs or nodes, self._gone.get(prefix))

    def values(
        self, nodes: Sequence[NodeId], /, *, lo: int = 0, hi: int | None = None
    ) -> dict[NodeId, list[Segment]]:
        """See `WatchPort.values`."""
        with self._lock:
            found = {}
            for node in nodes:
                record = self._node(node)
                while record.row.final is not None and record.row.final in self._nodes:
                    record = self._nodes[record.row.final]
                ended = sorted(record.segments.values(), key=lambda pair: pair[0].lo)
                found[node] = [s for s, _ in ended if s.hi > lo and (hi is None or s.lo < hi)]
            return found

    def call(self, node: NodeId, /) -> Call:
        """See `WatchPort.call`."""
        with self._lock:
            row = self._node(node).row
            return Call(row.fn, row.args, row.array, row.inputs)

    def items(self, node: NodeId, /) -> list[ItemView]:
        """See `WatchPort.items`."""
        with self._lock:
            record = self._node(node)
            ended = [view for _, view in record.segments.values()]
            return item_views(record.row, record.parts.values(), ended)

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
            for record in self._nodes.values():
                if record.row.state in TERMINAL:
                    continue
                line = table.setdefault(
                    record.row.queue, {"queue": record.row.queue, "queued": 0, "waiting": 0, "running": 0}
                )
                for state, items in self._view(record).counts.items():
                    if state in line:
                        line[state] += items
            return [table[name] for name in sorted(table)]

    def dead(self, /, *, limit: int = 1000) -> list[tuple[RunId, NodeId, ItemView]]:
        """See `StatusPort.dead`."""
        with self._lock:
            letters = [
                (record.row.run, record.row.id, view)
                for record in sorted(self._nodes.values(), key=lambda r: -r.seq)
                for segment, view in record.segments.values()
                if segment.state in (State.DEAD, State.FAILED)
            ]
            return letters[:limit]

    def sweep(self, /, *, age_s: float, size_bytes: int) -> Mapping[str, int]:
        """See `StatusPort.sweep`; memory has no size of its own, so only age counts."""
        with self._lock:
            now = self._clock.now()
            needed = self._needed()
            ended = [(r.id, r.ended_at) for r in self._runs.values() if r.ended_at is not None]
            old = [run for run, at in ended if at < now - age_s and run not in needed]
            for run in old:
                self._drop(run)
            return {"runs": len(old), "size_bytes": 0}

    def check(self, /) -> list[tuple[str, bool, str]]:
        """See `StatusPort.check`."""
        with self._lock:
            faults = [
                fault
                for record in self._nodes.values()
                for fault in broken(
                    record.row, record.parts.values(), [(s.lo, s.hi) for s, _ in record.segments.values()]
                )
            ]
            return [("invariants", not faults, "; ".join(faults) or "every node is in order")]

    # ── the rest ─────────────────────────────────────────────────────────────────────

    def listen(self, topic: str, /) -> _PipeBell:
        """See `Store.listen`."""
        bell = _PipeBell(self._bells[topic].remove)
        self._bells[topic].append(bell)
        return bell

    def close(self) -> None:
        """Nothing to let go of."""

    def _run(self, run: str) -> RunRow:
        if run not in self._runs:
            raise not_found(run, (), self._gone.get(run))
        return self._runs[run]

    def _node(self, node: str) -> _Record:
        if node not in self._nodes:
            raise not_found(node, (), self._gone.get(node))
        return self._nodes[node]


def _matches(run: RunRow, match: str) -> bool:
    return run.id.startswith(match) or match in run.name


def not_found(prefix: str, found: Collection[str], gone_at: float | None) -> NoSuchRun | ResultExpired:
    """The error for an id that names nothing, several things, or something that was removed."""
    if gone_at is not None:
        return ResultExpired(f"Run {prefix} was removed by retention.", expired_at=gone_at)
    if found:
        return NoSuchRun(f"{len(found)} ids begin with {prefix!r}: give more of it.")
    return NoSuchRun(f"The store knows no run or node {prefix!r}; `taskflow runs` lists what it knows.")


class _MemoryRows:
    """`machine.Rows` over the dictionaries of a store."""

    def __init__(self, store: MemoryStore, now: float) -> None:
        self.now = now
        self.events: list[tuple[RunId, NodeId | str, int, int, State]] = []
        self._store = store
        self._before: dict[str, _Record | None] = {}
        self._runs_before: dict[str, RunRow | None] = {}
        self.freed = False
        self.ranges_ended: list[tuple[NodeRow, int, int]] = []
        self._later: list[tuple[Edge, NodeId]] = []

    @property
    def touched(self) -> Collection[str]:
        """The nodes that this step may have changed."""
        return self._before.keys()

    def _open(self) -> Iterator[_Record]:
        """The nodes that may be queued or have an alarm: those that were so before, and what was touched."""
        nodes = self._store._nodes
        for node in {**self._store._open, **self._before}:
            if node in nodes:
                yield nodes[node]

    def undo(self) -> None:
        nodes, runs, members = self._store._nodes, self._store._runs, self._store._members
        for run, before in self._runs_before.items():
            if before is None:
                runs.pop(run, None)
                members.pop(run, None)
            else:
                runs[run] = before
        for node, record in self._before.items():
            if record is not None:
                nodes[node] = record
                continue
            gone = nodes.pop(node, None)
            if gone is not None and gone.row.run in members:
                members[gone.row.run].remove(NodeId(node))

    def _record(self, node: str) -> _Record | None:
        record = self._store._nodes.get(node)
        if record is not None and node not in self._before:
            self._before[node] = record.snapshot()
        return record

    def _of(self, row: NodeRow) -> _Record:
        record = self._record(row.id)
        assert record is not None
        return record

    def run(self, run: RunId, /) -> RunRow | None:
        row = self._store._runs.get(run)
        if row is not None and run not in self._runs_before:
            twin = copy(row)
            twin.counts = dict(row.counts)
            self._runs_before[run] = twin
        return row

    def node(self, node: NodeId, /) -> NodeRow | None:
        record = self._record(node)
        return record.row if record is not None else None

    def load(self, nodes: Iterable[NodeId], /) -> None:
        pass

    def add_run(self, run: RunRow, /) -> None:
        self._runs_before[run.id] = None
        self._store._runs[run.id] = run
        self._store._members[run.id] = []

    def add_node(
        self, node: NodeRow, edges: Sequence[Edge], pages: Sequence[Page], ended: Collection[NodeId], /
    ) -> None:
        if node.id in self._store._nodes:
            raise GraphError(f"The store has a node {node.id!r} already: an id is given once.")
        self._before.setdefault(node.id, None)
        self._store._seq += 1
        self._store._nodes[node.id] = _Record(node, self._store._seq, list(edges), list(pages))
        self._store._members[node.run].append(node.id)
        for edge in edges:
            if edge.parent not in ended:
                self._later.append((edge, node.id))
        self._link()

    def _link(self) -> None:
        """Hang edges on their parents, as soon as those are there: a plan may name them in any order."""
        waiting = []
        for edge, child in self._later:
            record = self._record(edge.parent)
            if record is None:
                waiting.append((edge, child))
            else:
                record.children[child] = edge
        self._later[:] = waiting

    def add_edge(self, child: NodeId, edge: Edge, /) -> None:
        record = self._record(child)
        assert record is not None
        record.edges.append(edge)
        self._later.append((edge, child))
        self._link()

    def add_pages(self, node: NodeRow, pages: Sequence[Page], /) -> None:
        self._of(node).pages.extend(pages)

    def save(self, row: NodeRow | RunRow, /) -> None:
        pass

    def held(self, node: NodeRow, key: LeaseKey, /) -> Part | None:
        for part in self._of(node).parts.values():
            if part.fence == key.fence and part.lo <= key.lo and key.hi <= part.hi:
                return part
        return None

    def queued(self, node: NodeRow, limit: int, /) -> list[Part]:
        return [part for part in self.parts(node) if part.state is State.QUEUED][:limit]

    def parts(self, node: NodeRow, /) -> list[Part]:
        parts = self._of(node).parts
        return [parts[lo] for lo in sorted(parts)]

    def overdue(self, node: NodeRow, /) -> list[Part]:
        return [part for part in self.parts(node) if part.until is not None and part.until <= self.now]

    def first_until(self, node: NodeRow, /) -> float | None:
        return min((p.until for p in self._of(node).parts.values() if p.until is not None), default=None)

    def put_part(self, node: NodeRow, part: Part, /) -> None:
        self._of(node).parts[part.lo] = part
        if not node.array:
            node.part = part

    def drop_part(self, node: NodeRow, part: Part, /) -> None:
        self._of(node).parts.pop(part.lo, None)
        if not node.array:
            node.part = None

    def end(self, node: NodeRow, part: Part, outcome: Outcome, state: State, /) -> None:
        record = self._of(node)
        assert outcome.lo not in record.segments
        segment = Segment(
            node.id, outcome.lo, outcome.hi, state, outcome.value, outcome.error, part.fence, node.array
        )
        view = ItemView(
            outcome.lo,
            outcome.hi,
            state,
            part.attempts,
            part.deliveries,
            part.worker,
            outcome.started_at or part.started_at,
            outcome.took_s,
            outcome.error,
        )
        record.segments[outcome.lo] = (segment, view)
        if outcome.log:
            record.logs.append((outcome.lo, outcome.log))

    def end_as(self, node: NodeRow, part: Part, final: NodeRow, state: State, /) -> None:
        record, (given, view) = self._of(node), self._of(final).segments[0]
        segment = given._replace(lo=part.lo, hi=part.hi, state=state, array=True, single=True)
        record.segments[part.lo] = (segment, view._replace(lo=part.lo, hi=part.hi, state=state))

    def ended_by(self, node: NodeRow, index: int, /) -> int | None:
        segments = self._of(node).segments
        starts = sorted(segments)
        at = bisect.bisect_right(starts, index) - 1
        if at < 0 or segments[starts[at]][0].hi <= index:
            return None
        return segments[starts[at]][0].fence

    def children(self, node: NodeId, after: str, limit: int, /) -> list[tuple[NodeId, Edge]]:
        record = self._record(node)
        if record is None:
            return []
        nodes = self._store._nodes
        last = nodes[after].seq if after else 0
        below = sorted((nodes[child].seq, child) for child in record.children)
        return [(NodeId(child), record.children[child]) for seq, child in below if seq > last][:limit]

    def ranged(self, node: NodeRow, lo: int, hi: int, /) -> list[tuple[NodeId, Edge]]:
        return [
            (child, edge)
            for child, edge in self.children(node.id, "", len(self._of(node).children))
            if edge.hi is not None and edge.lo < hi and lo < edge.hi
        ]

    def release(self, node: NodeRow, child: NodeId, /) -> None:
        del self._of(node).children[child]

    def ended_in(self, node: NodeRow, lo: int, hi: int, /) -> tuple[int, int]:
        ended = bad = 0
        for segment, _ in self._of(node).segments.values():
            items = max(0, min(hi, segment.hi) - max(lo, segment.lo))
            ended += items
            bad += items * (segment.state not in (State.SUCCEEDED, State.SKIPPED))
        return ended, bad

    def nodes_of(self, run: RunId, /) -> list[NodeRow]:
        found = (self.node(node) for node in self._store._members.get(run, ()))
        return [row for row in found if row is not None]

    def parents(self, node: NodeId, /) -> list[Edge]:
        record = self._record(node)
        return list(record.edges) if record is not None else []

    def ready(self, queues: Sequence[str], /) -> Iterator[NodeRow]:
        wanted = set(queues)
        queued = [r for r in self._open() if r.row.state is State.QUEUED and r.row.queue in wanted]
        for record in sorted(queued, key=lambda r: (-r.row.priority, r.seq)):
            self._record(record.row.id)
            yield record.row

    def alarms(self, limit: int, /) -> list[NodeRow]:
        alarmed = (r for r in self._open() if r.row.alarm_at is not None)
        late = [record for record in alarmed if (record.row.alarm_at or 0.0) <= self.now]
        late.sort(key=lambda record: (record.row.alarm_at or 0.0, record.seq))
        for record in late[:limit]:
            self._record(record.row.id)
        return [record.row for record in late[:limit]]

    def next_alarm(self) -> float | None:
        alarms = (r.row.alarm_at for r in self._open())
        return min((alarm for alarm in alarms if alarm is not None), default=None)

    def copy_ended(self, source: NodeRow, target: NodeRow, /) -> list[tuple[int, int]]:
        theirs, ours = self._of(source), self._of(target)
        ours.segments = {lo: pair for lo, pair in theirs.segments.items() if pair[0].state is State.SUCCEEDED}
        return gaps(((s.lo, s.hi) for s, _ in ours.segments.values()), source.width or 0)

    def emit(self, run: RunId, node: NodeId | str, lo: int, hi: int, state: State, /) -> None:
        self.freed |= state in (State.QUEUED, State.WAITING)
        self.events.append((run, node, lo, hi, state))

    def push(self, node: NodeId, after: str, /) -> None:
        self._store._todo.append((node, after))

    def pop(self) -> tuple[NodeId, str] | None:
        return self._store._todo.popleft() if self._store._todo else None


def gaps(ranges: Iterable[tuple[int, int]], width: int) -> list[tuple[int, int]]:
    """What of ``[0, width)`` the ranges leave out.

    Example:
        >>> gaps([(1, 2), (4, 6)], 8)
        [(0, 1), (2, 4), (6, 8)]
    """
    missing, at = [], 0
    for lo, hi in sorted(ranges):
        if lo > at:
            missing.append((at, lo))
        at = hi
    if at < width:
        missing.append((at, width))
    return missing
