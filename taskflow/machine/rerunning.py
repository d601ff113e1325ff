"""A run again, without what had gone well: a new run of clones.

What failed is cloned with all that ended below it, since what was made of a failure does not hold. Clones
wait for clones where there are such, for the nodes of the old run where not, and items that succeeded are
copied. What fed an array with items cannot do so again, and is not cloned::

    old run   a ✓ ──► b ✗ ──► c skipped
              │
    new run   └─────► b' ───► c'

One kind of edge stays on the old node. What took the place of `a` may know `b`, which waited for `a` and had
ended before (it expired, it was cancelled). Were its clone to wait for that of `b`, they would wait for each
other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from taskflow.errors import NoSuchRun
from taskflow.ids import NodeId, RunId
from taskflow.machine.ending import begin, count, touch
from taskflow.machine.growing import blocked_row
from taskflow.machine.needs import Refusal, is_by_choice, wait_for
from taskflow.machine.parts import put, weight
from taskflow.machine.releasing import drain
from taskflow.machine.rows import NodeRow, Part, Rows, RunRow
from taskflow.policy import Policy
from taskflow.records import Edge, EdgeMode
from taskflow.states import LIVE, TERMINAL, State

__all__ = ["edges_kept", "rerun", "to_rerun"]

Parents = Callable[[NodeId], Sequence[Edge]]
Children = Callable[[NodeId], Collection[NodeId]]
_ALL = 1 << 60

_APART = (EdgeMode.ITEM, EdgeMode.FEEDS)
"""Edges that a clone has not from the node it is of."""


def rerun(rows: Rows, run: RunId, new: RunId) -> dict[NodeId, NodeId]:
    """Clone what gave no value into a new run; see `GraphPort.rerun`."""
    old = rows.run(run)
    if old is None:
        raise NoSuchRun(f"The store knows no run {run!r}; `taskflow runs` lists what it knows.")
    # Names are made from `new`, so that a call that is repeated finds what the first one did.
    nodes = {NodeId(f"{new}.{i}"): node for i, node in enumerate(rows.nodes_of(run))}
    if rows.run(new) is not None:
        return {node.id: name for name, node in nodes.items() if rows.node(name) is not None}
    again = to_rerun(rows.parents, nodes.values())
    names = {node.id: name for name, node in nodes.items() if node.id in again}
    if names:
        kept = edges_kept(
            rows.parents,
            lambda node: [child for child, _ in rows.children(node, "", _ALL)],
            [node for node in nodes.values() if node.id in again],
        )
        _add_clones(rows, RunRow(new, old.name, {**old.meta, "rerun_of": run}, rows.now), names, kept)
    return names


def to_rerun(parents: Parents, nodes: Collection[NodeRow]) -> set[NodeId]:
    """Nodes that failed, and all that has ended below them: what it made of the failure does not hold."""
    well = (State.SUCCEEDED, *LIVE)
    feeders = {edge.parent for node in nodes for edge in parents(node.id) if _feeds(edge)}
    nodes = [node for node in nodes if node.id not in feeders]  # nobody would feed anything a second time
    again = {node.id for node in nodes if node.state not in well and not is_by_choice(node)}
    below: dict[NodeId, list[NodeRow]] = {}
    for node in nodes if again else ():
        for edge in parents(node.id):
            below.setdefault(edge.parent, []).append(node)
    todo = list(again)
    while todo:
        found = [n.id for n in below.get(todo.pop(), ()) if n.state in TERMINAL and n.id not in again]
        again.update(found)
        todo += found
    return again


def edges_kept(parents: Parents, children: Children, again: Sequence[NodeRow]) -> set[tuple[NodeId, NodeId]]:
    """Edges of clones, as node and predecessor, that stay on the old node: its clone waits for theirs.

    Such a predecessor had ended when the edge was drawn, so that it never released anybody by that edge (a
    range of items is taken for one that was waited for). The newest nodes are looked at first.

    Args:
        parents: Gives all edges of a node.
        children: Gives those whom the end of a node released.
        again: What is cloned, in the order in which it was added.
    """
    ring = _in_rings(parents, [node.id for node in again])
    below = {name: {child for child in children(name) if child in ring} for name in ring}
    for name in ring:
        for edge in parents(name):
            if edge.parent in ring and edge.hi is not None:
                below[edge.parent].add(name)
    kept = set()
    for node in reversed([node for node in again if node.id in ring]):
        for edge in parents(node.id):
            stands_for_it = edge.parent == node.final or _of_item(edge)
            if edge.parent in ring and not stands_for_it and _is_below(below, node.id, edge.parent):
                kept.add((node.id, edge.parent))
                below[edge.parent].discard(node.id)
    return kept


def _in_rings(parents: Parents, nodes: Collection[NodeId]) -> set[NodeId]:
    """Those of some nodes that wait for each other, and what is below them."""
    inside = set(nodes)
    waits = {node: inside.intersection(edge.parent for edge in parents(node)) for node in nodes}
    below: dict[NodeId, list[NodeId]] = {}
    for node, before in waits.items():
        for parent in before:
            below.setdefault(parent, []).append(node)
    free = [node for node, before in waits.items() if not before]
    while free:
        done = free.pop()
        del waits[done]
        for child in below.get(done, ()):
            waits[child].discard(done)
            if not waits[child]:
                free.append(child)
    return set(waits)


def _is_below(below: Mapping[NodeId, Collection[NodeId]], node: NodeId, other: NodeId) -> bool:
    """Whether a node waits for another, at whatever distance, or is that one."""
    seen, todo = {node}, [node]
    while todo and other not in seen:
        found = set(below[todo.pop()]) - seen
        seen |= found
        todo += found
    return other in seen


def _add_clones(
    rows: Rows, run: RunRow, names: dict[NodeId, NodeId], kept: Collection[tuple[NodeId, NodeId]]
) -> None:
    rows.add_run(run)
    again = [node for node in map(rows.node, names) if node is not None]
    clones = [_clone(rows, run, node, names, kept) for node in again]
    for node, (clone, _) in zip(again, clones, strict=True):
        anew = [
            edge
            for edge in rows.parents(node.id)
            if edge.parent in names and (node.id, edge.parent) not in kept
        ]
        if node.array and node.width and all(map(_of_item, anew)):
            _keep_successes(rows, node, clone, {edge.lo: names[edge.parent] for edge in anew})
        if node.final in names:
            clone.final = names[node.final]
            rows.add_edge(clone.id, Edge(clone.final, EdgeMode.ENDED))
            rows.save(clone)
    rows.save(run)
    for clone, refusal in clones:
        begin(rows, clone, refusal)
    drain(rows)


def _clone(
    rows: Rows,
    run: RunRow,
    node: NodeRow,
    names: dict[NodeId, NodeId],
    kept: Collection[tuple[NodeId, NodeId]],
) -> tuple[NodeRow, Refusal | None]:
    old = [edge for edge in rows.parents(node.id) if edge.parent != node.final and edge.mode not in _APART]
    edges = [
        edge if (node.id, edge.parent) in kept else edge._replace(parent=names.get(edge.parent, edge.parent))
        for edge in old
    ]
    clone = blocked_row(rows, names[node.id], run.id, node, _same_numbers(node), edges)
    clone.source = _first(rows, node)
    clone.ranged = node.ranged
    refusal, ended = wait_for(rows, clone, edges, set(names.values()))
    rows.add_node(clone, edges, (), ended)
    run.open += 1
    run.total += clone.open
    rows.pend(clone.queue, weight(clone))
    return clone, refusal


def _first(rows: Rows, node: NodeRow) -> NodeId:
    """The node that a node is a clone of, where that one has its items; else itself."""
    first = rows.node(node.source) if node.source is not None else None
    return node.id if first is None or first.width is None else first.id


def _feeds(edge: Edge) -> bool:
    return edge.mode is EdgeMode.FEEDS


def _of_item(edge: Edge) -> bool:
    return edge.mode is EdgeMode.ITEM


def _keep_successes(rows: Rows, node: NodeRow, clone: NodeRow, finals: Mapping[int, NodeId]) -> None:
    """Keep what succeeded; an item that was replaced waits for the clone of what took its place."""
    missing = rows.copy_ended(node, clone, finals.keys())
    kept = clone.open - sum(hi - lo for lo, hi in missing)
    if not kept and not finals:
        return
    clone.cursor = clone.width or 0
    for lo, hi in missing:
        for at, end, state in _split(lo, hi, finals):
            put(rows, clone, Part(at, end, state))
    for index, final in finals.items():
        rows.add_edge(clone.id, Edge(final, EdgeMode.ITEM, index, index + 1))
    if kept:
        count(rows, clone, State.SUCCEEDED, kept)
        touch(rows, clone, 0, clone.cursor)
    rows.save(clone)


def _split(lo: int, hi: int, replaced: Collection[int]) -> Iterator[tuple[int, int, State]]:
    """Cut items ``[lo, hi)`` into those that run again and those that wait for what took their place."""
    for index in sorted(index for index in replaced if lo <= index < hi):
        if lo < index:
            yield lo, index, State.QUEUED
        yield index, index + 1, State.BLOCKED
        lo = index + 1
    if lo < hi:
        yield lo, hi, State.QUEUED


def _same_numbers(node: NodeRow) -> Policy:
    """The policy of a clone: its items draw the random numbers that the first node's would."""
    return node.policy if node.policy.seed is not None else replace(node.policy, seed=node.id)
