"""How a graph comes to be: a plan is added, and nodes that run add to it.

Growth comes with the outcome of a node and is applied before that outcome::

    nodes    more of them, in the same run
    widths   of arrays that waited to learn theirs, or that the settling node feeds
    final    takes the place of the settling node, or of one item of it
    joins    what waits for the settling node waits for these too
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from taskflow.errors import GraphError, UnknownNode
from taskflow.ids import NodeId, RunId
from taskflow.machine.admitting import in_the_way, skip_all, take
from taskflow.machine.ending import begin, cancel_node, end_items, end_run, refresh
from taskflow.machine.needs import Refusal, check_acyclic, unique, wait_for
from taskflow.machine.parts import put, run_of, weight
from taskflow.machine.releasing import adopt, adopt_item, drain
from taskflow.machine.rows import NodeRow, Part, Rows, RunRow
from taskflow.policy import Policy
from taskflow.records import Edge, EdgeMode, Given, Growth, Kind, Node, Outcome, Page, Plan
from taskflow.states import TERMINAL, State

__all__ = ["add_plan", "blocked_row", "grow", "replace_item"]

_ALL = 1 << 60


def add_plan(rows: Rows, plan: Plan) -> RunId | None:
    """Add a run with its nodes; nothing happens when the run is there.

    Returns:
        The run that holds the lock of this one, which then was not added.
    """
    if rows.run(plan.run) is not None:
        return None
    if any(node.edges for node in plan.nodes):
        check_acyclic(plan.nodes)
    holder = in_the_way(rows, plan.lock) if plan.lock is not None else None
    if plan.lock is not None and holder is not None and plan.lock.on_duplicate != "skip":
        return holder
    run = RunRow(plan.run, plan.name, dict(plan.meta), rows.now)
    rows.add_run(run)
    if plan.lock is not None and holder is None:
        take(rows, run, plan.lock)
    beginners = _add_nodes(rows, run, plan.nodes)
    if holder is not None:
        skip_all(rows, rows.nodes_of(run.id), holder)
    else:
        _begin(rows, beginners)
    if not plan.nodes:
        end_run(rows, run)
    drain(rows)
    return None


def _begin(rows: Rows, beginners: Sequence[tuple[NodeRow, Refusal | None]]) -> None:
    for row, refusal in beginners:
        begin(rows, row, refusal)


def _add_nodes(rows: Rows, run: RunRow, nodes: Sequence[Node]) -> list[tuple[NodeRow, Refusal | None]]:
    """Add nodes; returns those that may begin, with what refuses them."""
    new = {node.id for node in nodes}
    parents = {edge.parent for node in nodes for edge in node.edges} - new
    if parents:
        rows.load(parents)
    ranged: set[NodeId] = set()
    beginners: list[tuple[NodeRow, Refusal | None]] = []
    known: list[tuple[NodeRow, Sequence[Given]]] = []
    for node in nodes:
        row, edges = _row(rows, run.id, node)
        refusal, ended = wait_for(rows, row, edges, new) if edges else (None, frozenset())
        rows.add_node(row, edges, node.pages, ended)
        ranged |= {edge.parent for edge in edges if edge.hi is not None}
        run.total += row.open
        run.open += 1
        rows.pend(row.queue, weight(row))
        if row.remaining == 0 or refusal is not None:
            beginners.append((row, refusal))
        if node.given:
            known.append((row, node.given))
    rows.save(run)
    for name in ranged:
        _mark_ranged(rows, name)
    for row, given in known:  # only now, so that who waits for just these items is told
        _give(rows, row, given)
    return beginners


def _give(rows: Rows, row: NodeRow, given: Sequence[Given]) -> None:
    """Items that have their results end at once; those between them are handed out before those behind."""
    at = 0
    ready = row.array and row.remaining == 0 and row.due_at is None
    for lo, hi, value in given:
        if not ready or not at <= lo < hi <= (row.width or 0):
            raise GraphError(f"{row.label or row.id} cannot be given the results of its items {lo} to {hi}.")
        if at < lo:
            put(rows, row, Part(at, lo, State.QUEUED))
        part, at = Part(lo, hi, State.QUEUED), hi
        row.cursor = hi
        end_items(rows, row, part, Outcome(lo, hi, Kind.SUCCEEDED, value), State.SUCCEEDED)
    rows.save(row)


def _mark_ranged(rows: Rows, name: NodeId) -> None:
    row = rows.node(name)
    if row is not None and not row.ranged:
        row.ranged = True
        rows.save(row)


def _row(rows: Rows, run: RunId, node: Node) -> tuple[NodeRow, Sequence[Edge]]:
    edges = unique(node.edges) if node.edges else ()
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


def grow(rows: Rows, row: NodeRow, growth: Growth) -> None:
    """Apply the growth that came with an outcome of `row`, before the node itself ends."""
    run = run_of(rows, row)
    nodes = [_at_home(rows, row, node) for node in growth.nodes if rows.node(node.id) is None]
    if nodes:
        check_acyclic(nodes)
        _begin(rows, _add_nodes(rows, run, nodes))
    if growth.final is not None and (growth.final == row.id or rows.node(growth.final) is None):
        raise UnknownNode(
            f"{row.label or row.id} is to be replaced by {growth.final}, which is not there."
            " Let the growth bring that node with it."
        )
    for node, (width, pages) in growth.widths.items():
        _widen(rows, run, node, width, pages)
    if growth.final is not None and row.final is None and not row.array:
        row.final = growth.final
        rows.add_edge(row.id, Edge(growth.final, EdgeMode.ENDED))
        final = rows.node(growth.final)
        if final is not None and final.state in TERMINAL:
            adopt(rows, row, final)
    for joined in growth.joins:
        _join(rows, row, joined, {node.id for node in growth.nodes})
    if row.cancelled is not None:
        for new in nodes:
            _cancel_grown(rows, new.id, row.cancelled)


def _widen(rows: Rows, run: RunRow, node: NodeId, width: int, pages: Sequence[Page]) -> None:
    """Give a node its width, or more of it: the named one or, in a rerun, its clone."""
    target = rows.node(_clone_of(rows, run.id, node))
    if target is None or target.run != run.id or target.state in TERMINAL:
        return
    if target.width is None:
        run.total += width - target.open
        target.width = target.open = width
    elif target.growing and pages and pages[0].lo == target.width:
        more = width - target.width
        run.total += more
        target.width += more
        target.open += more
    else:
        return
    rows.add_pages(target, pages)
    rows.save(run)
    if target.growing:
        refresh(rows, target)
    rows.save(target)


def _at_home(rows: Rows, row: NodeRow, node: Node) -> Node:
    """A grown node; what it names of a run before counts, in a rerun, as the clone of that.

    But not as one that waits for the node which grows: they would wait for each other.
    """
    edges = []
    for edge in node.edges:
        clone = _clone_of(rows, row.run, edge.parent)
        is_other = clone != edge.parent and not _is_below(rows, row.id, clone)
        edges.append(edge._replace(parent=clone) if is_other else edge)
    return node if edges == list(node.edges) else node._replace(edges=tuple(edges))


def _is_below(rows: Rows, node: NodeId, other: NodeId) -> bool:
    """Whether a node waits for another, at whatever distance, or is that one."""
    seen, todo = {node}, [node]
    while todo and other not in seen:
        found = {child for child, _ in rows.children(todo.pop(), "", _ALL)} - seen
        seen |= found
        todo += found
    return other in seen


def _clone_of(rows: Rows, run: RunId, node: NodeId) -> NodeId:
    """The clone of a node in a rerun; the node itself where there is none."""
    known, home = rows.node(node), rows.run(run)
    if known is None or known.run == run or home is None or "rerun_of" not in home.meta:
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
    if new not in grown:
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


def replace_item(rows: Rows, row: NodeRow, index: int, final: NodeId) -> None:
    """An item of an array node waits for a call, and takes its outcome when that has ended."""
    rows.add_edge(row.id, Edge(final, EdgeMode.ITEM, index, index + 1))
    last = rows.node(final)
    if last is None or last.array:
        raise GraphError(f"Item {index} of {row.label or row.id} can be replaced by a call only.")
    if last.state in TERMINAL:
        adopt_item(rows, row, last, index)
