"""How a run begins, grows and ends: adding nodes, releasing successors, skipping, replacing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from taskflow.errors import CycleError, GraphError, UnknownNode
from taskflow.ids import NodeId, RunId
from taskflow.machine.rows import NodeRow, Part, Rows, RunRow
from taskflow.policy import Policy
from taskflow.records import Edge, EdgeMode, Failure, Growth, Kind, Node, Outcome, Plan
from taskflow.states import TERMINAL, State

__all__ = [
    "Refusal",
    "add_plan",
    "blocked_row",
    "drain",
    "end_node",
    "grow",
    "is_bounded",
    "is_by_choice",
    "ready",
    "refresh",
    "replace_item",
    "room",
    "skip",
    "touch",
    "wait_for",
]

RELEASES_PER_STEP = 2000
_ALL = 1 << 60
_FAILURES = frozenset({State.FAILED, State.DEAD, State.EXPIRED})
_BADNESS = {State.CANCELLED: 1, State.SKIPPED: 2, State.EXPIRED: 3, State.FAILED: 4, State.DEAD: 5}


# ── beginning ────────────────────────────────────────────────────────────────────────


def add_plan(rows: Rows, plan: Plan) -> None:
    """Add a run with its nodes; nothing happens when the run is there."""
    if rows.run(plan.run) is not None:
        return
    if any(node.edges for node in plan.nodes):
        _check_acyclic(plan.nodes)
    run = RunRow(plan.run, plan.name, plan.meta, rows.now)
    rows.add_run(run)
    _add_nodes(rows, run, plan.nodes)
    if not plan.nodes:
        _end_run(rows, run)
    drain(rows)


def _add_nodes(rows: Rows, run: RunRow, nodes: Sequence[Node]) -> None:
    new = {node.id for node in nodes}
    parents = {edge.parent for node in nodes for edge in node.edges} - new
    if parents:
        rows.load(parents)
    ranged: set[NodeId] = set()
    begin: list[tuple[NodeRow, Refusal | None]] = []
    for node in nodes:
        row, edges = _row(rows, run.id, node)
        refusal, ended = wait_for(rows, row, edges, new) if edges else (None, frozenset())
        rows.add_node(row, edges, node.pages, ended)
        ranged |= {edge.parent for edge in edges if edge.hi is not None}
        run.total += row.open
        run.open += 1
        if row.remaining == 0 or refusal is not None:
            begin.append((row, refusal))
    rows.save(run)
    for name in ranged:
        _mark_ranged(rows, name)
    for row, refusal in begin:
        if refusal is not None:
            skip(rows, row, refusal)
        else:
            ready(rows, row)


def _mark_ranged(rows: Rows, name: NodeId) -> None:
    row = rows.node(name)
    if row is not None and not row.ranged:
        row.ranged = True
        rows.save(row)


def _row(rows: Rows, run: RunId, node: Node) -> tuple[NodeRow, Sequence[Edge]]:
    edges = _unique(node.edges) if node.edges else ()
    row = blocked_row(rows, node.id, run, node, node.policy, edges)
    if node.delay_s is not None:
        row.due_at = rows.now + node.delay_s
    if node.expires_s is not None:
        row.expires_at = row.alarm_at = rows.now + node.expires_s
    return row, edges


def blocked_row(
    rows: Rows, name: NodeId, run: RunId, like: Node | NodeRow, policy: Policy, edges: Sequence[Edge]
) -> NodeRow:
    """The row of a node that calls what `like` calls, before anything is known of its predecessors."""
    row = NodeRow(
        name,
        run,
        State.BLOCKED,
        like.fn,
        like.args,
        like.width,
        like.array,
        like.queue,
        like.priority,
        policy,
        like.label,
        rows.now,
    )
    row.open = 1 if like.width is None else like.width
    if edges:
        row.inputs = tuple(e for e in edges if e.mode.gives_value)
    return row


def _unique(edges: Iterable[Edge]) -> list[Edge]:
    best: dict[NodeId, Edge] = {}
    for edge in edges:
        known = best.get(edge.parent)
        best[edge.parent] = edge if known is None else _merged(known, edge)
    return list(best.values())


def _merged(one: Edge, other: Edge) -> Edge:
    hi = None if one.hi is None or other.hi is None else max(one.hi, other.hi)
    return Edge(one.parent, _both(one.mode, other.mode), 0 if hi is None else min(one.lo, other.lo), hi)


def _both(one: EdgeMode, other: EdgeMode) -> EdgeMode:
    """The mode that asks for what either of two asks for."""
    for mode in (EdgeMode.FAILED, EdgeMode.BROKEN):
        if mode in (one, other):
            return mode
    if one is other:
        return one
    if one.needs_success or other.needs_success:
        return EdgeMode.ALL if one.gives_value or other.gives_value else EdgeMode.AFTER
    return one if one.gives_value else other


class Refusal(NamedTuple):
    """A predecessor that ended and keeps its successor from running, and whether that is a failure or was
    chosen."""

    parent: NodeRow
    by_choice: bool


def _refusal(rows: Rows, parent: NodeRow, edge: Edge) -> Refusal | None:
    """What a predecessor that has ended, as far as the edge wants, has against its successor."""
    mode = edge.mode
    if edge.hi is not None and parent.state is not State.SKIPPED:
        bad = mode.needs_success and rows.ended_in(parent, edge.lo, edge.hi)[1]
        return Refusal(parent, parent.policy.on_failure == "skip") if bad else None
    ok, by_choice = parent.state is State.SUCCEEDED, is_by_choice(parent)
    if mode is EdgeMode.FAILED:
        return None if parent.state in _FAILURES else Refusal(parent, True)
    if mode is EdgeMode.BROKEN:
        broken = not ok and not by_choice and not _was_cancelled(rows, parent)
        return None if broken else Refusal(parent, True)
    if ok or not mode.needs_success or (by_choice and mode is EdgeMode.TAKEN):
        return None
    return Refusal(parent, by_choice)


def is_by_choice(row: NodeRow) -> bool:
    """Whether an ended node has no value and nobody minds: it chose to be skipped, or may fail."""
    if row.state is State.SKIPPED:
        return row.root is None
    return row.state in _FAILURES and row.policy.on_failure == "skip"


def _was_cancelled(rows: Rows, row: NodeRow) -> bool:
    """Whether a node has no value because somebody did not want it any more."""
    culprit = rows.node(NodeId(row.root)) if row.root is not None else None
    return State.CANCELLED in (row.state, culprit.state if culprit is not None else None)


def wait_for(
    rows: Rows, row: NodeRow, edges: Iterable[Edge], new: Collection[NodeId]
) -> tuple[Refusal | None, Collection[NodeId]]:
    """Count the predecessors that have not ended; returns what makes the row impossible, and those that
    have ended and so will release nothing any more."""
    refusal = None
    ended: set[NodeId] = set()
    for edge in edges:
        if edge.parent in new:
            row.remaining += 1
            continue
        parent = rows.node(edge.parent)
        if parent is None:
            raise UnknownNode(
                f"Node {row.label or row.id} depends on {edge.parent}, which this store does not know."
                " Submit both to the same store, and within the retention of the first."
            )
        if not _has_ended(rows, parent, edge):
            row.remaining += 1
            continue
        ended.add(parent.id)
        found = _refusal(rows, parent, edge)
        if found is not None and (refusal is None or refusal.by_choice):
            refusal = found
    return refusal, ended


def _has_ended(rows: Rows, parent: NodeRow, edge: Edge) -> bool:
    """Whether what an edge waits for has ended."""
    if parent.state in TERMINAL or edge.hi is None:
        return parent.state in TERMINAL
    return rows.ended_in(parent, edge.lo, edge.hi)[0] == edge.hi - edge.lo


def _check_acyclic(nodes: Sequence[Node]) -> None:
    waits = {node.id: {e.parent for e in node.edges} for node in nodes}
    waits = {node: {p for p in parents if p in waits} for node, parents in waits.items()}
    below: dict[NodeId, list[NodeId]] = {}
    for node, parents in waits.items():
        for parent in parents:
            below.setdefault(parent, []).append(node)
    free = [node for node, parents in waits.items() if not parents]
    while free:
        done = free.pop()
        for child in below.get(done, ()):
            waits[child].discard(done)
            if not waits[child]:
                free.append(child)
        del waits[done]
    if waits:
        labels = {node.id: node.label or node.id for node in nodes}
        cycle = _one_cycle(waits)
        text = " → ".join(labels[node] for node in cycle)
        raise CycleError(f"These nodes wait for each other: {text}. Remove one of the edges.", cycle=cycle)


def _one_cycle(waits: dict[NodeId, set[NodeId]]) -> list[NodeId]:
    node = next(iter(waits))
    seen: list[NodeId] = []
    while node not in seen:
        seen.append(node)
        node = next(parent for parent in waits[node] if parent in waits)
    return [*seen[seen.index(node) :], node][::-1]


def ready(rows: Rows, row: NodeRow) -> None:
    """All predecessors have ended well enough: let the node run, now or when it is due."""
    if row.width is None:
        row.root = row.id
        count(rows, row, State.SKIPPED, row.open)
        end_node(rows, row, State.SKIPPED)
    elif row.open == 0:
        end_node(rows, row, row.worst or State.SUCCEEDED)
    else:
        refresh(rows, row)


# ── state of a node from its counts ──────────────────────────────────────────────────


def refresh(rows: Rows, row: NodeRow) -> None:
    """Derive the state and the alarm of a node from its counts; end it when nothing is open."""
    if row.open == 0 and not (row.width == 0 and row.remaining):
        end_node(rows, row, row.worst or State.SUCCEEDED)
        return
    before = row.state
    row.state = _derive(rows, row)
    row.alarm_at = _alarm(rows, row)
    rows.save(row)
    if row.state is not before and row.state in (State.QUEUED, State.WAITING):
        rows.emit(row.run, row.id, 0, 0, row.state)


def _derive(rows: Rows, row: NodeRow) -> State:
    if row.remaining or row.final is not None or row.width is None:
        return State.BLOCKED
    if row.due_at is not None and row.due_at <= rows.now:
        row.due_at = None
    if row.returned or (row.fresh and row.due_at is None):
        return State.QUEUED
    return State.RUNNING if row.held or row.replaced > 0 else State.WAITING


def _alarm(rows: Rows, row: NodeRow) -> float | None:
    alarm = row.expires_at
    if row.due_at is not None and row.state is not State.BLOCKED:
        alarm = row.due_at if alarm is None else min(alarm, row.due_at)
    if row.held or row.waiting:
        until = row.part.until if row.part is not None else rows.first_until(row)
        if until is not None:
            alarm = until if alarm is None else min(alarm, until)
    return alarm


# ── ending ───────────────────────────────────────────────────────────────────────────


def count(rows: Rows, row: NodeRow, state: State, items: int) -> None:
    """Items of a node have ended: count them in the node and in its run."""
    row.open -= items
    run = _run_of(rows, row)
    run.counts[state] = run.counts.get(state, 0) + items
    rows.save(run)
    if state is State.SUCCEEDED:
        return
    row.bad += items
    chosen = state is State.SKIPPED and row.root is None
    if not (chosen and row.array):  # an item that chose to be skipped is left out, and no more
        row.worst = _worse(row.worst, state)
    if not chosen and not (state in _FAILURES and row.policy.on_failure == "skip"):
        run.worst = _worse(run.worst, state)


def _worse(one: State | None, other: State) -> State:
    return other if one is None or _BADNESS[other] > _BADNESS[one] else one


def end_node(rows: Rows, row: NodeRow, state: State) -> None:
    """Make a node terminal; its successors are released in the same step, or remembered for the next."""
    row.state = state
    row.ended_at = rows.now
    row.alarm_at = row.due_at = row.expires_at = None
    if state not in (State.SUCCEEDED, State.SKIPPED) and row.root is None:
        row.root = row.id
    rows.save(row)
    if row.array or row.width != 1 or state is State.SKIPPED:
        rows.emit(row.run, row.id, 0, 0, state)
    rows.push(row.id, "")
    run = _run_of(rows, row)
    run.open -= 1
    if row.policy.on_failure == "stop" and state in _FAILURES:
        _stop(rows, row)
    if run.open == 0 and run.ended_at is None:
        _end_run(rows, run)
        if str(run.id) != row.id:
            rows.emit(run.id, "", 0, 0, run.state)
    rows.save(run)


def _end_run(rows: Rows, run: RunRow) -> None:
    run.state = State.FAILED if run.worst is State.SKIPPED else run.worst or State.SUCCEEDED
    run.ended_at = rows.now


def _stop(rows: Rows, row: NodeRow) -> None:
    """Cancel what has not started, but not what was waiting for just this."""
    reason = f"{row.label or row.id} failed"
    handlers = {child for child, edge in rows.children(row.id, "", _ALL) if not edge.mode.needs_success}
    for other in rows.nodes_of(row.run):
        if other.state not in TERMINAL and other.id != row.id and other.id not in handlers:
            cancel_node(rows, other, reason)


def skip(rows: Rows, row: NodeRow, refusal: Refusal) -> None:
    """The node will never run: a predecessor gave no value, or it was chosen so."""
    culprit, by_choice = refusal
    name = culprit.label or culprit.id
    if by_choice:
        known = {"error": "TaskSkipped"}
        failure = Failure("skipped", "Skip", f"it needs {name}, which is {culprit.state}", data=known)
    else:
        row.root = culprit.root or culprit.id
        failure = Failure("skipped", "UpstreamFailed", f"{name} {culprit.state}", root=row.root)
    _end_rest(rows, row, State.SKIPPED, failure)
    end_node(rows, row, State.SKIPPED)


def cancel_node(rows: Rows, row: NodeRow, reason: str) -> bool:
    """Cancel what has not started; what runs is told when its lease is renewed."""
    row.cancelled = reason
    failure = Failure("cancelled", "TaskCancelled", reason)
    changed = _end_rest(rows, row, State.CANCELLED, failure)
    if row.width is None or row.final is not None:
        end_node(rows, row, State.CANCELLED)
        return True
    if changed or row.held:
        refresh(rows, row)
    return changed or row.held > 0


def _end_rest(rows: Rows, row: NodeRow, state: State, failure: Failure) -> bool:
    """End every item that is not running."""
    error = failure.to_json()
    changed = False
    for part in rows.parts(row) if row.returned or row.waiting or row.replaced else ():
        if part.state is not State.RUNNING:
            forget_part(rows, row, part)
            _end_range(rows, row, part, state, error)
            changed = True
    if row.width is None or row.final is not None:
        count(rows, row, state, row.open)
        changed = True
    elif row.fresh:
        part = Part(row.cursor, row.width, State.QUEUED)
        row.cursor = row.width
        _end_range(rows, row, part, state, error)
        changed = True
    return changed


def _end_range(rows: Rows, row: NodeRow, part: Part, state: State, error: str) -> None:
    outcome = Outcome(part.lo, part.hi, Kind.FAILED, None, error)
    part.fence = 0  # no lease ended it
    rows.end(row, part, outcome, state)
    rows.emit(row.run, row.id, part.lo, part.hi, state)
    count(rows, row, state, part.size)
    touch(rows, row, part.lo, part.hi)


def touch(rows: Rows, row: NodeRow, lo: int, hi: int) -> None:
    """Items have ended: those who wait for them, and not for all of the node, are looked at in this step."""
    if row.ranged:
        rows.ranges_ended.append((row, lo, hi))


def forget_part(rows: Rows, row: NodeRow, part: Part) -> None:
    """Take a part out of its node, and out of the node's counts."""
    rows.drop_part(row, part)
    tally(rows, row, part.state, -part.size)


def tally(rows: Rows, row: NodeRow, state: State, items: int) -> None:
    """Count items of parts by state."""
    if state is State.RUNNING:
        row.held += items
        if row.policy.run_parallel is not None:
            run = _run_of(rows, row)
            run.held += items
            rows.save(run)
        rows.freed |= items < 0 and is_bounded(row)
    elif state is State.WAITING:
        row.waiting += items
    elif state is State.QUEUED:
        row.returned += items


def is_bounded(row: NodeRow) -> bool:
    """Whether only so many of its items may run at once."""
    return row.policy.max_parallel is not None or row.policy.run_parallel is not None


def room(rows: Rows, row: NodeRow) -> int:
    """How many more of a bounded node's items may run now."""
    policy, rooms = row.policy, []
    if policy.max_parallel is not None:
        rooms.append(policy.max_parallel - row.held)
    if policy.run_parallel is not None:
        rooms.append(policy.run_parallel - _run_of(rows, row).held)
    return max(0, min(rooms))


def _run_of(rows: Rows, row: NodeRow) -> RunRow:
    run = rows.run(row.run)
    if run is None:
        raise AssertionError(f"node {row.id} without its run {row.run}")
    return run


# ── releasing successors ─────────────────────────────────────────────────────────────


def drain(rows: Rows, limit: int = RELEASES_PER_STEP) -> bool:
    """Release successors of ended nodes, at most `limit`; `True` when some are left for the next step."""
    while True:
        while rows.ranges_ended:
            _release_ranges(rows, *rows.ranges_ended.pop())
        todo = rows.pop()
        if todo is None:
            return False
        node, after = todo
        children = rows.children(node, after, limit)
        if children:
            rows.load(child for child, _ in children)
            parent = rows.node(node)
            for child, edge in children if parent is not None else ():
                _release(rows, parent, child, edge)  # type: ignore[arg-type]
        limit -= len(children)
        if limit <= 0:
            rows.push(node, children[-1][0])
            return True


def _release_ranges(rows: Rows, row: NodeRow, lo: int, hi: int) -> None:
    """Items of an array node have ended: release what waited for them and for no others."""
    for child, edge in rows.ranged(row, lo, hi):
        if rows.ended_in(row, edge.lo, edge.hi or 0)[0] == (edge.hi or 0) - edge.lo:
            rows.release(row, child)
            _release(rows, row, child, edge)


def _release(rows: Rows, parent: NodeRow, child: NodeId, edge: Edge) -> None:
    row = rows.node(child)
    if row is None or row.state in TERMINAL:
        return
    if edge.mode is EdgeMode.ITEM:
        _adopt_item(rows, row, parent, edge.lo)
    elif row.final == parent.id:
        _adopt(rows, row, parent)
    elif (refusal := _refusal(rows, parent, edge)) is not None:
        skip(rows, row, refusal)
    else:
        row.remaining -= 1
        rows.save(row)
        if row.remaining == 0:
            ready(rows, row)


def _adopt(rows: Rows, row: NodeRow, final: NodeRow) -> None:
    """A replaced node takes the outcome of its replacement."""
    row.root = final.root
    count(rows, row, final.state, row.open)
    rows.emit(row.run, row.id, 0, row.width or 0, final.state)
    end_node(rows, row, final.state)


def replace_item(rows: Rows, row: NodeRow, index: int, final: NodeId) -> None:
    """An item of an array node waits for a call, and takes its outcome when that has ended."""
    rows.add_edge(row.id, Edge(final, EdgeMode.ITEM, index, index + 1))
    last = rows.node(final)
    if last is None or last.array:
        raise GraphError(f"Item {index} of {row.label or row.id} can be replaced by a call only.")
    if last.state in TERMINAL:
        _adopt_item(rows, row, last, index)


def _adopt_item(rows: Rows, row: NodeRow, final: NodeRow, index: int) -> None:
    part = next((p for p in rows.parts(row) if p.lo == index and p.state is State.BLOCKED), None)
    if part is None:
        return
    state = final.state
    if state is State.SKIPPED and final.root is not None:
        state = State.FAILED  # in the eyes of this node it was its own item that failed
    last = final
    while last.final is not None and (found := rows.node(last.final)) is not None:
        last = found
    forget_part(rows, row, part)
    rows.end_as(row, part, last, state)
    rows.emit(row.run, row.id, index, index + 1, state)
    count(rows, row, state, 1)
    touch(rows, row, index, index + 1)
    if row.state not in TERMINAL:
        refresh(rows, row)


# ── growing ──────────────────────────────────────────────────────────────────────────


def grow(rows: Rows, row: NodeRow, growth: Growth) -> None:
    """Apply the growth that came with an outcome of `row`, before the node itself ends."""
    run = _run_of(rows, row)
    nodes = [_at_home(rows, run.id, node) for node in growth.nodes if rows.node(node.id) is None]
    if nodes:
        _check_acyclic(nodes)
        _add_nodes(rows, run, nodes)
    if growth.final is not None and (growth.final == row.id or rows.node(growth.final) is None):
        raise UnknownNode(
            f"{row.label or row.id} is to be replaced by {growth.final}, which is not there."
            " Let the growth bring that node with it."
        )
    for node, (width, pages) in growth.widths.items():
        target = _widened(rows, run.id, node)
        if target is not None:
            run.total += width - target.open
            target.width = target.open = width
            rows.add_pages(target, pages)
            rows.save(target)
            rows.save(run)
    if growth.final is not None and row.final is None and not row.array:
        row.final = growth.final
        rows.add_edge(row.id, Edge(growth.final, EdgeMode.ENDED))
        final = rows.node(growth.final)
        if final is not None and final.state in TERMINAL:
            _adopt(rows, row, final)
    for joined in growth.joins:
        _join(rows, row, joined, {node.id for node in growth.nodes})
    if row.cancelled is not None:
        for new in nodes:
            _cancel_grown(rows, new.id, row.cancelled)


def _at_home(rows: Rows, run: RunId, node: Node) -> Node:
    """A grown node; what it names of a run before counts, in a rerun, as the clone of that."""
    edges = tuple(edge._replace(parent=_clone_of(rows, run, edge.parent)) for edge in node.edges)
    return node if edges == tuple(node.edges) else replace(node, edges=edges)


def _clone_of(rows: Rows, run: RunId, node: NodeId) -> NodeId:
    """The clone of a node in a rerun; the node itself where there is none."""
    known = rows.node(node)
    if known is None or known.run == run:
        return node
    return next((row.id for row in rows.nodes_of(run) if _stems_from(rows, row, node)), node)


def _stems_from(rows: Rows, row: NodeRow | None, node: NodeId) -> bool:
    while row is not None and row.source is not None:
        if row.source == node:
            return True
        row = rows.node(row.source)
    return False


def _join(rows: Rows, row: NodeRow, new: NodeId, grown: Collection[NodeId]) -> None:
    """What waited for `row` before it grew waits for a new node too."""
    if rows.node(new) is None:
        raise UnknownNode(
            f"{row.label or row.id} is to be joined by {new}, which is not there. Let the growth bring it."
        )
    for child, edge in rows.children(row.id, "", _ALL):
        waiting = rows.node(child)
        if waiting is None or waiting.state in TERMINAL or not edge.mode.needs_success or child in grown:
            continue
        mode = EdgeMode.JOIN if edge.mode.gives_value else EdgeMode.AFTER
        waiting.remaining += 1
        if mode.gives_value:
            waiting.inputs = (*waiting.inputs, Edge(new, mode))
        rows.add_edge(child, Edge(new, mode))
        rows.save(waiting)


def _cancel_grown(rows: Rows, node: NodeId, reason: str) -> None:
    row = rows.node(node)
    if row is not None and row.state not in TERMINAL:
        cancel_node(rows, row, reason)


def _widened(rows: Rows, run: RunId, node: NodeId) -> NodeRow | None:
    """The node that waits for this width: the named one or, in a rerun, its clone."""
    target = rows.node(_clone_of(rows, run, node))
    if target is None or target.run != run or target.width is not None or target.state in TERMINAL:
        return None
    return target
