"""What a node needs of those before it: whether an edge is met, refused, or still waits.

Nothing is changed here but a count. An edge waits until its predecessor, or the range of its items that the
edge names, has ended; then it is met, or it *refuses*, and the successor is skipped::

    not ended ──► remaining + 1
    ended     ──► met
              └─► Refusal ── by choice: nobody minds
                          └─ at fault: the run has failed
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from taskflow.errors import CycleError, UnknownNode
from taskflow.ids import NodeId
from taskflow.machine.rows import NodeRow, Rows
from taskflow.records import Edge, EdgeMode, Node
from taskflow.states import FAILURES, TERMINAL, State

__all__ = ["Refusal", "check_acyclic", "has_ended", "is_by_choice", "refusal_of", "unique", "wait_for"]


class Refusal(NamedTuple):
    """A predecessor that ended and keeps its successor from running, and whether that is a failure or was
    chosen."""

    parent: NodeRow
    by_choice: bool


def wait_for(
    rows: Rows, row: NodeRow, edges: Iterable[Edge], new: Collection[NodeId]
) -> tuple[Refusal | None, Collection[NodeId]]:
    """Count the predecessors that have not ended; returns what makes the row impossible, and those that
    have ended and so will release nothing any more."""
    refusal = None
    ended: set[NodeId] = set()
    for edge in edges:
        if edge.parent in new:
            _wait(row, edge)
            continue
        parent = rows.node(edge.parent)
        if parent is None:
            raise UnknownNode(
                f"Node {row.label or row.id} depends on {edge.parent}, which this store does not know."
                " Submit both to the same store, and within the retention of the first."
            )
        if not has_ended(rows, parent, edge):
            _wait(row, edge)
            continue
        ended.add(parent.id)
        found = refusal_of(rows, parent, edge)
        if found is not None and (refusal is None or refusal.by_choice):
            refusal = found
    return refusal, ended


def _wait(row: NodeRow, edge: Edge) -> None:
    if edge.mode is EdgeMode.FEEDS:
        row.growing = True
    else:
        row.remaining += 1


def has_ended(rows: Rows, parent: NodeRow, edge: Edge) -> bool:
    """Whether what an edge waits for has ended."""
    if parent.state in TERMINAL or edge.hi is None:
        return parent.state in TERMINAL
    return rows.ended_in(parent, edge.lo, edge.hi)[0] == edge.hi - edge.lo


def refusal_of(rows: Rows, parent: NodeRow, edge: Edge) -> Refusal | None:
    """What a predecessor that has ended, as far as the edge wants, has against its successor."""
    mode = edge.mode
    if edge.hi is not None and parent.state is not State.SKIPPED:
        bad = mode.needs_success and rows.ended_in(parent, edge.lo, edge.hi)[1]
        return Refusal(parent, parent.policy.on_failure == "skip") if bad else None
    if mode in (EdgeMode.FAILED, EdgeMode.BROKEN):
        asked = _has_failed if mode is EdgeMode.FAILED else _is_broken
        return None if asked(rows, parent) else Refusal(parent, True)
    ok, by_choice = parent.state is State.SUCCEEDED, is_by_choice(parent)
    if ok or not mode.needs_success or (by_choice and mode is EdgeMode.TAKEN):
        return None
    return Refusal(parent, by_choice)


def is_by_choice(row: NodeRow) -> bool:
    """Whether an ended node has no value and nobody minds: it chose to be skipped, or may fail."""
    if row.state is State.SKIPPED:
        return row.root is None
    return row.state in FAILURES and row.policy.on_failure == "skip"


def _has_failed(rows: Rows, row: NodeRow) -> bool:
    """Whether a node failed itself, or left its place to calls of which one failed."""
    return row.state in FAILURES or (row.final is not None and _is_broken(rows, row))


def _is_broken(rows: Rows, row: NodeRow) -> bool:
    """Whether a node has no value because something failed, and somebody minds."""
    return row.state is not State.SUCCEEDED and not is_by_choice(row) and not _was_cancelled(rows, row)


def _was_cancelled(rows: Rows, row: NodeRow) -> bool:
    """Whether a node has no value because somebody did not want it any more."""
    culprit = rows.node(NodeId(row.root)) if row.root is not None else None
    return State.CANCELLED in (row.state, culprit.state if culprit is not None else None)


def unique(edges: Iterable[Edge]) -> list[Edge]:
    """One edge to a predecessor, where several were said: it asks for all that they ask for."""
    best: dict[NodeId, Edge] = {}
    for edge in edges:
        known = best.get(edge.parent)
        best[edge.parent] = edge if known is None else _merged(known, edge)
    return list(best.values())


def _merged(one: Edge, other: Edge) -> Edge:
    hi = None if one.hi is None or other.hi is None else max(one.hi, other.hi)
    return Edge(one.parent, _both(one.mode, other.mode), min(one.lo, other.lo), hi)


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


def check_acyclic(nodes: Sequence[Node]) -> None:
    """Raises `CycleError` when nodes wait for each other."""
    if _is_in_order(nodes):
        return
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


def _is_in_order(nodes: Sequence[Node]) -> bool:
    """Whether each stands behind what it waits for, as plans are mostly drawn."""
    ahead = {node.id for node in nodes}
    for node in nodes:
        if node.edges and any(edge.parent in ahead for edge in node.edges):
            return False
        ahead.discard(node.id)
    return True


def _one_cycle(waits: dict[NodeId, set[NodeId]]) -> list[NodeId]:
    node = next(iter(waits))
    seen: list[NodeId] = []
    while node not in seen:
        seen.append(node)
        node = next(parent for parent in waits[node] if parent in waits)
    return [*seen[seen.index(node) :], node][::-1]
