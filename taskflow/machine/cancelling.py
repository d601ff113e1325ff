"""Nobody wants it any more: a run, a node, or one item of a map.

What has not started ends at once; what runs is marked, and its worker is told when it renews. An item
within a range gets a part of its own first::

    [lo ........ index ........ hi)  ──►  [lo, index) [index] [index + 1, hi)
"""

from __future__ import annotations

from taskflow.errors import NoSuchRun
from taskflow.ids import NodeId, RunId
from taskflow.machine.ending import cancel_node, end_range, refresh
from taskflow.machine.parts import forget, piece, put
from taskflow.machine.releasing import drain
from taskflow.machine.rows import NodeRow, Part, Rows
from taskflow.records import Failure
from taskflow.states import TERMINAL, State

__all__ = ["cancel"]


def cancel(rows: Rows, target: NodeId | RunId, index: int | None, reason: str) -> bool:
    """Cancel a run, a node or an item; see `GraphPort.cancel`."""
    row = rows.node(NodeId(target))
    run = rows.run(RunId(target))
    if row is None and run is None:
        raise NoSuchRun(f"The store knows no run or node {target!r}; `taskflow runs` lists what it knows.")
    if index is not None:
        changed = row is not None and row.state not in TERMINAL and _cancel_item(rows, row, index, reason)
    else:
        nodes = rows.nodes_of(RunId(target)) if run is not None else [row] if row is not None else []
        changed = False
        for node in nodes:
            if node.state not in TERMINAL:
                changed = cancel_node(rows, node, reason) or changed
    drain(rows)
    return changed


def _cancel_item(rows: Rows, row: NodeRow, index: int, reason: str) -> bool:
    if not row.array:
        return cancel_node(rows, row, reason)
    part = _isolate(rows, row, index)
    if part is None:
        return False
    if part.state is State.RUNNING:
        part.cancelled = reason
        rows.put_part(row, part)
        return True
    forget(rows, row, part)
    error = Failure("cancelled", "TaskCancelled", reason).to_json()
    end_range(rows, row, part, State.CANCELLED, error)
    refresh(rows, row)
    return True


def _isolate(rows: Rows, row: NodeRow, index: int) -> Part | None:
    """A live part of its own for one item; `None` when it has ended, or runs within a range."""
    if row.width is not None and row.cursor <= index < row.width:
        until = row.due_at if row.due_at is not None and row.due_at > rows.now else None
        state = State.QUEUED if until is None else State.WAITING
        if index > row.cursor:
            put(rows, row, Part(row.cursor, index, state, until=until))
        row.cursor = index + 1
        part = Part(index, index + 1, state, until=until)
        put(rows, row, part)
        return part
    for part in rows.parts(row):
        if part.lo <= index < part.hi:
            return _cut_out(rows, row, part, index)
    return None


def _cut_out(rows: Rows, row: NodeRow, part: Part, index: int) -> Part | None:
    if part.size == 1:
        return part
    if part.state is State.RUNNING:
        return None
    forget(rows, row, part)
    for lo, hi in ((part.lo, index), (index + 1, part.hi)):
        if lo < hi:
            put(rows, row, piece(part, lo, hi))
    alone = piece(part, index, index + 1)
    put(rows, row, alone)
    return alone
