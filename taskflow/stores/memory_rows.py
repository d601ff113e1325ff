"""`machine.Rows` over dictionaries, and the dictionaries themselves.

Rows are Python objects that the rules change in place; a step that fails is undone from copies that were made
before its first change.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field

from taskflow.errors import GraphError
from taskflow.ids import NodeId, RunId
from taskflow.machine.rows import LimitRow, NodeRow, Part, RunRow
from taskflow.records import SAID, Edge, ItemView, LeaseKey, Note, Outcome, Page, Said, Segment
from taskflow.states import State

__all__ = ["MemoryRows", "Record", "Tables", "gaps"]

_PENDING = (State.QUEUED, State.WAITING, State.RUNNING)


@dataclass
class Record:
    """All that is kept of a node."""

    row: NodeRow
    seq: int
    edges: list[Edge]
    pages: list[Page] = field(default_factory=list)
    parts: dict[int, Part] = field(default_factory=dict)
    segments: dict[int, tuple[Segment, ItemView]] = field(default_factory=dict)
    children: dict[str, Edge] = field(default_factory=dict)
    logs: list[tuple[int, str]] = field(default_factory=list)
    said: dict[tuple[int, str], tuple[int, Said]] = field(default_factory=dict)

    def snapshot(self) -> Record:
        """A copy, for the case that the step fails."""
        twin = Record(copy(self.row), self.seq, list(self.edges), list(self.pages))
        twin.parts = {lo: copy(part) for lo, part in self.parts.items()}
        twin.row.part = twin.parts.get(0) if self.row.part is not None else None
        twin.segments = dict(self.segments)
        twin.children = dict(self.children)
        twin.logs = list(self.logs)
        twin.said = dict(self.said)
        return twin


@dataclass
class Tables:
    """All that a store keeps of runs and nodes. `open` are the nodes that a claim or a clock may ask for;
    `members` the nodes of a run, in order; `todo` the releases that are left for the next step;
    `pending` what was counted of each queue; `locks` who has one, and until when."""

    runs: dict[str, RunRow] = field(default_factory=dict)
    nodes: dict[str, Record] = field(default_factory=dict)
    open: dict[str, None] = field(default_factory=dict)
    members: dict[str, list[NodeId]] = field(default_factory=dict)
    todo: deque[tuple[NodeId, str]] = field(default_factory=deque)
    paused: set[str] = field(default_factory=set)
    pending: dict[str, int] = field(default_factory=dict)
    locks: dict[str, tuple[RunId, float]] = field(default_factory=dict)
    limits: dict[str, LimitRow] = field(default_factory=dict)
    seq: int = 0


class MemoryRows:
    """One step over the tables; `finish` or `undo` ends it."""

    def __init__(self, tables: Tables, now: float) -> None:
        self.now = now
        self.events: list[tuple[RunId, NodeId | str, int, int, State]] = []
        self._tables = tables
        self._todo_before = list(tables.todo)
        self._pending_before = dict(tables.pending)
        self._locks_before: dict[str, tuple[RunId, float] | None] = {}
        self._before: dict[str, Record | None] = {}
        self._runs_before: dict[str, RunRow | None] = {}
        self._limits_before: dict[str, LimitRow | None] = {}
        self.freed = False
        self.ranges_ended: list[tuple[NodeRow, int, int]] = []
        self._later: list[tuple[Edge, NodeId]] = []

    # ── the step ─────────────────────────────────────────────────────────────────────

    def finish(self) -> None:
        """Remember which of the nodes of the step a claim or a clock may ask for."""
        for node in self._before:
            record = self._tables.nodes.get(node)
            if record is not None and (record.row.state is State.QUEUED or record.row.alarm_at is not None):
                self._tables.open[node] = None
            else:
                self._tables.open.pop(node, None)

    def _open(self) -> Iterator[Record]:
        """The nodes that may be queued or have an alarm: those that were so before, and what was touched."""
        nodes = self._tables.nodes
        for node in {**self._tables.open, **self._before}:
            if node in nodes:
                yield nodes[node]

    def undo(self) -> None:
        """All is as it was before the step."""
        self._tables.todo = deque(self._todo_before)
        self._tables.pending = self._pending_before
        for name, before in self._locks_before.items():
            if before is None:
                self._tables.locks.pop(name, None)
            else:
                self._tables.locks[name] = before
        nodes, runs, members = self._tables.nodes, self._tables.runs, self._tables.members
        for run, earlier in self._runs_before.items():
            if earlier is None:
                runs.pop(run, None)
                members.pop(run, None)
            else:
                runs[run] = earlier
        for name, limit in self._limits_before.items():
            if limit is None:
                self._tables.limits.pop(name, None)
            else:
                self._tables.limits[name] = limit
        for node, record in self._before.items():
            if record is not None:
                nodes[node] = record
                continue
            gone = nodes.pop(node, None)
            if gone is not None and gone.row.run in members:
                members[gone.row.run].remove(NodeId(node))

    def _record(self, node: str) -> Record | None:
        record = self._tables.nodes.get(node)
        if record is not None and node not in self._before:
            self._before[node] = record.snapshot()
        return record

    def _of(self, row: NodeRow) -> Record:
        record = self._record(row.id)
        assert record is not None
        return record

    def run(self, run: RunId, /) -> RunRow | None:
        """See `Rows.run`."""
        row = self._tables.runs.get(run)
        if row is not None and run not in self._runs_before:
            twin = copy(row)
            twin.counts = dict(row.counts)
            self._runs_before[run] = twin
        return row

    def node(self, node: NodeId, /) -> NodeRow | None:
        """See `Rows.node`."""
        record = self._record(node)
        return record.row if record is not None else None

    def load(self, nodes: Iterable[NodeId], /) -> None:
        """See `Rows.load`."""

    def add_run(self, run: RunRow, /) -> None:
        """See `Rows.add_run`."""
        self._runs_before[run.id] = None
        self._tables.runs[run.id] = run
        self._tables.members[run.id] = []

    def add_node(
        self, node: NodeRow, edges: Sequence[Edge], pages: Sequence[Page], ended: Collection[NodeId], /
    ) -> None:
        """See `Rows.add_node`."""
        if node.id in self._tables.nodes:
            raise GraphError(f"The store has a node {node.id!r} already: an id is given once.")
        self._before.setdefault(node.id, None)
        self._tables.seq += 1
        self._tables.nodes[node.id] = Record(node, self._tables.seq, list(edges), list(pages))
        self._tables.members[node.run].append(node.id)
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
        """See `Rows.add_edge`."""
        record = self._record(child)
        assert record is not None
        record.edges.append(edge)
        self._later.append((edge, child))
        self._link()

    def add_pages(self, node: NodeRow, pages: Sequence[Page], /) -> None:
        """See `Rows.add_pages`."""
        self._of(node).pages.extend(pages)

    def save(self, row: NodeRow | RunRow | LimitRow, /) -> None:
        """See `Rows.save`."""

    def limit(self, name: str, /) -> LimitRow:
        """See `Rows.limit`."""
        row = self._tables.limits.get(name)
        self._limits_before.setdefault(name, copy(row))
        if row is None:
            row = self._tables.limits[name] = LimitRow(name)
        return row

    def shut(self, node: NodeRow, limit: str, /) -> None:
        """See `Rows.shut`."""

    def reopen(self, limit: str, /) -> None:
        """See `Rows.reopen`."""

    def limits_due(self) -> list[LimitRow]:
        """See `Rows.limits_due`."""
        late = [(r.alarm_at, r.name) for r in self._tables.limits.values() if r.alarm_at is not None]
        return [self.limit(name) for at, name in sorted(late) if at <= self.now]

    def drop_limit(self, row: LimitRow, /) -> None:
        """See `Rows.drop_limit`."""
        del self._tables.limits[row.name]

    def held(self, node: NodeRow, key: LeaseKey, /) -> Part | None:
        """See `Rows.held`."""
        for part in self._of(node).parts.values():
            if part.fence == key.fence and part.lo <= key.lo and key.hi <= part.hi:
                return part
        return None

    def queued(self, node: NodeRow, limit: int, /) -> list[Part]:
        """See `Rows.queued`."""
        return [part for part in self.parts(node) if part.state is State.QUEUED][:limit]

    def parts(self, node: NodeRow, /) -> list[Part]:
        """See `Rows.parts`."""
        parts = self._of(node).parts
        return [parts[lo] for lo in sorted(parts)]

    def overdue(self, node: NodeRow, /) -> list[Part]:
        """See `Rows.overdue`."""
        return [part for part in self.parts(node) if part.until is not None and part.until <= self.now]

    def first_until(self, node: NodeRow, /) -> float | None:
        """See `Rows.first_until`."""
        return min((p.until for p in self._of(node).parts.values() if p.until is not None), default=None)

    def put_part(self, node: NodeRow, part: Part, /) -> None:
        """See `Rows.put_part`."""
        self._of(node).parts[part.lo] = part
        if not node.array:
            node.part = part

    def drop_part(self, node: NodeRow, part: Part, /) -> None:
        """See `Rows.drop_part`."""
        self._of(node).parts.pop(part.lo, None)
        if not node.array:
            node.part = None

    def end(self, node: NodeRow, part: Part, outcome: Outcome, state: State, /) -> None:
        """See `Rows.end`."""
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

    def end_as(self, node: NodeRow, part: Part, final: NodeRow, state: State, /) -> None:
        """See `Rows.end_as`."""
        record, (given, view) = self._of(node), self._of(final).segments[0]
        segment = given._replace(lo=part.lo, hi=part.hi, state=state, array=True, single=True)
        record.segments[part.lo] = (segment, view._replace(lo=part.lo, hi=part.hi, state=state))

    def ended_by(self, node: NodeRow, index: int, /) -> int | None:
        """See `Rows.ended_by`."""
        segments = self._of(node).segments
        starts = sorted(segments)
        at = bisect.bisect_right(starts, index) - 1
        if at < 0 or segments[starts[at]][0].hi <= index:
            return None
        return segments[starts[at]][0].fence

    def children(self, node: NodeId, after: str, limit: int, /) -> list[tuple[NodeId, Edge]]:
        """See `Rows.children`."""
        record = self._record(node)
        if record is None:
            return []
        nodes = self._tables.nodes
        last = nodes[after].seq if after else 0
        below = sorted((nodes[child].seq, child) for child in record.children)
        return [(NodeId(child), record.children[child]) for seq, child in below if seq > last][:limit]

    def ranged(self, node: NodeRow, lo: int, hi: int, /) -> list[tuple[NodeId, Edge]]:
        """See `Rows.ranged`."""
        return [
            (child, edge)
            for child, edge in self.children(node.id, "", len(self._of(node).children))
            if edge.hi is not None and edge.lo < hi and lo < edge.hi
        ]

    def release(self, node: NodeRow, child: NodeId, /) -> None:
        """See `Rows.release`."""
        del self._of(node).children[child]

    def ended_in(self, node: NodeRow, lo: int, hi: int, /) -> tuple[int, int]:
        """See `Rows.ended_in`."""
        ended = bad = 0
        for segment, _ in self._of(node).segments.values():
            items = max(0, min(hi, segment.hi) - max(lo, segment.lo))
            ended += items
            bad += items * (segment.state not in (State.SUCCEEDED, State.SKIPPED))
        return ended, bad

    def nodes_of(self, run: RunId, /) -> list[NodeRow]:
        """See `Rows.nodes_of`."""
        found = (self.node(node) for node in self._tables.members.get(run, ()))
        return [row for row in found if row is not None]

    def parents(self, node: NodeId, /) -> list[Edge]:
        """See `Rows.parents`."""
        record = self._record(node)
        return list(record.edges) if record is not None else []

    def ready(self, queues: Sequence[str], full: Collection[str], /) -> Iterator[NodeRow]:
        """See `Rows.ready`."""
        wanted = set(queues) - self._tables.paused
        queued = [r for r in self._open() if r.row.state is State.QUEUED and r.row.queue in wanted]
        for record in sorted(queued, key=lambda r: (-r.row.priority, r.seq)):
            if full and record.row.lane in full:
                continue
            self._record(record.row.id)
            yield record.row

    def alarms(self, limit: int, /) -> list[NodeRow]:
        """See `Rows.alarms`."""
        alarmed = (r for r in self._open() if r.row.alarm_at is not None)
        late = [record for record in alarmed if (record.row.alarm_at or 0.0) <= self.now]
        late.sort(key=lambda record: (record.row.alarm_at or 0.0, record.seq))
        for record in late[:limit]:
            self._record(record.row.id)
        return [record.row for record in late[:limit]]

    def next_alarm(self) -> float | None:
        """See `Rows.next_alarm`."""
        alarms = [r.row.alarm_at for r in self._open()]
        alarms += [row.alarm_at for row in self._tables.limits.values()]
        return min((alarm for alarm in alarms if alarm is not None), default=None)

    def copy_ended(self, source: NodeRow, target: NodeRow, anew: Collection[int], /) -> list[tuple[int, int]]:
        """See `Rows.copy_ended`."""
        theirs, ours = self._of(source).segments, self._of(target)
        kept = {
            lo: pair for lo, pair in theirs.items() if pair[0].state is State.SUCCEEDED and lo not in anew
        }
        ours.segments = kept
        return gaps(((s.lo, s.hi) for s, _ in ours.segments.values()), source.width or 0)

    def pending(self, queue: str, /) -> int:
        """See `Rows.pending`."""
        return self._tables.pending.get(queue, 0)

    def pend(self, queue: str, more: int, /) -> None:
        """See `Rows.pend`."""
        count = self._tables.pending[queue] = self.pending(queue) + more
        if not count:
            del self._tables.pending[queue]

    def locked(self, name: str, /) -> RunId | None:
        """See `Rows.locked`."""
        run, until = self._tables.locks.get(name, (None, 0.0))
        return run if until > self.now else None

    def lock(self, name: str, run: RunId, until: float, /) -> None:
        """See `Rows.lock`."""
        self._locks_before.setdefault(name, self._tables.locks.get(name))
        self._tables.locks[name] = run, until

    def unlock(self, name: str, run: RunId, /) -> None:
        """See `Rows.unlock`."""
        held = self._tables.locks.get(name)
        if held is not None and held[0] == run:
            self._locks_before.setdefault(name, held)
            del self._tables.locks[name]

    def pending_in(self, queue: str, after: str, limit: int, /) -> list[NodeRow]:
        """See `Rows.pending_in`."""
        last = self._tables.nodes[after].seq if after in self._tables.nodes else 0
        found = [
            record
            for record in self._tables.nodes.values()
            if record.seq > last and record.row.queue == queue and record.row.state in _PENDING
        ]
        found.sort(key=lambda record: record.seq)
        return [self._of(record.row).row for record in found[:limit]]

    def unstarted(self, node: NodeRow, limit: int, /) -> list[Part]:
        """See `Rows.unstarted`."""
        wanted = (State.QUEUED, State.WAITING)
        return [part for part in self.parts(node) if part.state in wanted][:limit]

    def emit(self, run: RunId, node: NodeId | str, lo: int, hi: int, state: State, /) -> None:
        """See `Rows.emit`."""
        self.freed |= state in (State.QUEUED, State.WAITING)
        self.events.append((run, node, lo, hi, state))

    def printed(self, node: NodeRow, index: int, text: str, /) -> None:
        """See `Rows.printed`."""
        self._of(node).logs.append((index, text))

    def note(self, note: Note) -> bool:
        """Keep what a running item says; whether it is what watchers are told of at once."""
        row = self.node(note.key.node)
        if row is None or self.held(row, note.item) is None:
            return False
        record = self._of(row)
        if note.kind == "log":
            record.logs.append((note.at, str(note.data["text"])))
        if note.kind not in SAID:
            return False
        live = {part.fence for part in record.parts.values()}
        record.said = {name: one for name, one in record.said.items() if name[0] in live}
        fence = note.key.fence
        record.said[fence, note.kind] = note.at, Said(note.kind, dict(note.data), note.value, fence)
        return True

    def push(self, node: NodeId, after: str, /) -> None:
        """See `Rows.push`."""
        self._tables.todo.append((node, after))

    def pop(self) -> tuple[NodeId, str] | None:
        """See `Rows.pop`."""
        return self._tables.todo.popleft() if self._tables.todo else None


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
