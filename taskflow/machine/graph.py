"""How a run begins, grows and ends: adding nodes, releasing successors, skipping, replacing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from taskflow.errors import CycleError, UnknownNode
from taskflow.ids import NodeId, RunId
from taskflow.machine.rows import NodeRow, Part, Rows, RunRow
from taskflow.policy import Policy
from taskflow.records import Edge, EdgeMode, Failure, Growth, Kind, Node, Outcome, Plan
from taskflow.states import TERMINAL, State

__all__ = ["add_plan", "blocked_row", "drain", "end_node", "grow", "ready", "refresh", "skip", "wait_for"]

RELEASES_PER_STEP = 2000
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
    begin: list[tuple[NodeRow, NodeRow | None]] = []
    for node in nodes:
        row, edges = _row(rows, run.id, node)
        culprit, ended = wait_for(rows, row, edges, new) if edges else (None, frozenset())
        rows.add_node(row, edges, node.pages, ended)
        run.total += row.open
        run.open += 1
        if row.remaining == 0 or culprit is not None:
            begin.append((row, culprit))
    rows.save(run)
    for row, culprit in begin:
        if culprit is not None:
            skip(rows, row, culprit)
        else:
            ready(rows, row)


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
        row.inputs = tuple((e.parent, e.mode) for e in edges if e.mode.gives_value)
    return row


def _unique(edges: Iterable[Edge]) -> list[Edge]:
    best: dict[NodeId, Edge] = {}
    for edge in edges:
        known = best.get(edge.parent)
        best[edge.parent] = edge if known is None else Edge(edge.parent, _both(known.mode, edge.mode))
    return list(best.values())


def _both(one: EdgeMode, other: EdgeMode) -> EdgeMode:
    """The mode that asks for what either of two asks for."""
    if one.needs_success or other.needs_success:
        return EdgeMode.ALL if one.gives_value or other.gives_value else EdgeMode.AFTER
    return one if one.gives_value else other


def wait_for(
    rows: Rows, row: NodeRow, edges: Iterable[Edge], new: Collection[NodeId]
) -> tuple[NodeRow | None, Collection[NodeId]]:
    """Count the predecessors that have not ended; returns one that makes the row impossible, and those
    that have ended and so will release nothing any more."""
    culprit = None
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
        if parent.state not in TERMINAL:
            row.remaining += 1
            continue
        ended.add(parent.id)
        if parent.state is not State.SUCCEEDED and edge.mode.needs_success:
            culprit = culprit or parent
    return culprit, ended


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
    return State.RUNNING if row.held else State.WAITING


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
    if state is not State.SUCCEEDED:
        row.bad += items
        if row.worst is None or _BADNESS[state] > _BADNESS[row.worst]:
            row.worst = state
    run = _run_of(rows, row)
    run.counts[state] = run.counts.get(state, 0) + items
    rows.save(run)


def end_node(rows: Rows, row: NodeRow, state: State) -> None:
    """Make a node terminal; its successors are released in the same step, or remembered for the next."""
    row.state = state
    row.ended_at = rows.now
    row.alarm_at = row.due_at = row.expires_at = None
    if state is not State.SUCCEEDED and row.root is None:
        row.root = row.id
    rows.save(row)
    if row.array or row.width != 1 or state is State.SKIPPED:
        rows.emit(row.run, row.id, 0, 0, state)
    rows.push(row.id, "")
    run = _run_of(rows, row)
    run.open -= 1
    if row.policy.on_failure == "stop" and state in (State.FAILED, State.DEAD, State.EXPIRED):
        _stop(rows, row)
    if run.open == 0 and run.ended_at is None:
        _end_run(rows, run)
        if str(run.id) != row.id:
            rows.emit(run.id, "", 0, 0, run.state)
    rows.save(run)


def _end_run(rows: Rows, run: RunRow) -> None:
    bad = [state for state in run.counts if state is not State.SUCCEEDED and run.counts[state]]
    run.state = max(bad, key=_BADNESS.__getitem__) if bad else State.SUCCEEDED
    if run.state is State.SKIPPED:
        run.state = State.FAILED
    run.ended_at = rows.now


def _stop(rows: Rows, row: NodeRow) -> None:
    reason = f"{row.label or row.id} failed"
    for other in rows.nodes_of(row.run):
        if other.state not in TERMINAL and other.id != row.id:
            cancel_node(rows, other, reason)


def skip(rows: Rows, row: NodeRow, culprit: NodeRow) -> None:
    """A predecessor gave no value: the node will never run."""
    row.root = culprit.root or culprit.id
    failure = Failure(
        "skipped", "UpstreamFailed", f"{culprit.label or culprit.id} {culprit.state}", root=row.root
    )
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
    for part in rows.parts(row) if row.returned or row.waiting else ():
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


def forget_part(rows: Rows, row: NodeRow, part: Part) -> None:
    """Take a part out of its node, and out of the node's counts."""
    rows.drop_part(row, part)
    tally(row, part.state, -part.size)


def tally(row: NodeRow, state: State, items: int) -> None:
    """Count items of parts by state."""
    if state is State.RUNNING:
        row.held += items
    elif state is State.WAITING:
        row.waiting += items
    else:
        row.returned += items


def _run_of(rows: Rows, row: NodeRow) -> RunRow:
    run = rows.run(row.run)
    if run is None:
        raise AssertionError(f"node {row.id} without its run {row.run}")
    return run


# ── releasing successors ─────────────────────────────────────────────────────────────


def drain(rows: Rows, limit: int = RELEASES_PER_STEP) -> bool:
    """Release successors of ended nodes, at most `limit`; `True` when some are left for the next step."""
    while (todo := rows.pop()) is not None:
        node, after = todo
        children = rows.children(node, after, limit)
        if children:
            rows.load(child for child, _ in children)
            parent = rows.node(node)
            for child, mode in children if parent is not None else ():
                _release(rows, parent, child, mode)  # type: ignore[arg-type]
        limit -= len(children)
        if limit <= 0:
            rows.push(node, children[-1][0])
            return True
    return False


def _release(rows: Rows, parent: NodeRow, child: NodeId, mode: EdgeMode) -> None:
    row = rows.node(child)
    if row is None or row.state in TERMINAL:
        return
    if row.final == parent.id:
        _adopt(rows, row, parent)
    elif parent.state is not State.SUCCEEDED and mode.needs_success:
        skip(rows, row, parent)
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


# ── growing ──────────────────────────────────────────────────────────────────────────


def grow(rows: Rows, row: NodeRow, growth: Growth) -> None:
    """Apply the growth that came with an outcome of `row`, before the node itself ends."""
    run = _run_of(rows, row)
    nodes = [node for node in growth.nodes if rows.node(node.id) is None]
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
    if growth.final is not None and row.final is None:
        row.final = growth.final
        rows.add_edge(row.id, Edge(growth.final, EdgeMode.ENDED))
        final = rows.node(growth.final)
        if final is not None and final.state in TERMINAL:
            _adopt(rows, row, final)
    if row.cancelled is not None:
        for new in nodes:
            _cancel_grown(rows, new.id, row.cancelled)


def _cancel_grown(rows: Rows, node: NodeId, reason: str) -> None:
    row = rows.node(node)
    if row is not None and row.state not in TERMINAL:
        cancel_node(rows, row, reason)


def _widened(rows: Rows, run: RunId, node: NodeId) -> NodeRow | None:
    """The node that waits for this width: the named one or, in a rerun, its clone."""
    target = rows.node(node)
    if target is not None and target.run != run:
        target = next((row for row in rows.nodes_of(run) if row.source == node), None)
    if target is None or target.width is not None or target.state in TERMINAL:
        return None
    return target
