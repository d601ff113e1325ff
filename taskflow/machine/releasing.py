"""What an end sets free: successors, and who waited for a replacement.

Ended nodes are pushed and taken up here one after the other, in the same step as far as `RELEASES_PER_STEP`
goes; what is left is remembered for the next. A successor of some items is looked at as soon as these have
ended::

    pushed node ──► its edges ──┬─► remaining − 1; at 0 it is ready
    ended items ──► their edges ┤─► refused: skipped, and pushed in turn
                                ├─► replaced by it: takes its outcome
                └─► fed by it: is closed
"""

from __future__ import annotations

from taskflow.ids import NodeId
from taskflow.machine.ending import begin, close, count, end_node, end_range, refresh, touch
from taskflow.machine.needs import refusal_of
from taskflow.machine.parts import forget
from taskflow.machine.rows import NodeRow, Rows
from taskflow.records import Edge, EdgeMode, Failure
from taskflow.states import TERMINAL, State

__all__ = ["RELEASES_PER_STEP", "adopt", "adopt_item", "drain"]

RELEASES_PER_STEP = 2000


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
        adopt_item(rows, row, parent, edge.lo)
    elif edge.mode is EdgeMode.FEEDS:
        _stop_feeding(rows, row, parent)
    elif row.final == parent.id:
        adopt(rows, row, parent)
    else:
        refusal = refusal_of(rows, parent, edge)
        if refusal is None:
            row.remaining -= 1
            rows.save(row)
        begin(rows, row, refusal)


def _stop_feeding(rows: Rows, row: NodeRow, parent: NodeRow) -> None:
    if not row.growing:  # it was cancelled, and closed by that
        return
    if parent.state is not State.SUCCEEDED and row.root is None and row.open == 0:
        row.root = parent.root or parent.id
    close(rows, row, parent.state)


def adopt(rows: Rows, row: NodeRow, final: NodeRow) -> None:
    """A replaced node takes the outcome of its replacement."""
    row.root = final.root
    count(rows, row, final.state, row.open)
    rows.emit(row.run, row.id, 0, row.width or 0, final.state)
    end_node(rows, row, final.state)


def adopt_item(rows: Rows, row: NodeRow, final: NodeRow, index: int) -> None:
    """An item that waited for `final` takes its outcome."""
    part = next((p for p in rows.parts(row) if p.lo == index and p.state is State.BLOCKED), None)
    if part is None:
        return
    state = final.state
    if state is State.SKIPPED and final.root is not None:
        state = State.FAILED  # in the eyes of this node it was its own item that failed
    forget(rows, row, part)
    last = _last(rows, final)
    if last.state is not final.state:
        error = Failure("cancelled", "TaskCancelled", final.cancelled or "cancelled").to_json()
        end_range(rows, row, part, state, error)
    elif last.array:
        text = f"item {index} was replaced by a map, {last.label or last.id}: gather its results in a call"
        state = State.FAILED if state is State.SUCCEEDED else state
        end_range(rows, row, part, state, Failure("failed", "GraphError", text).to_json())
    else:
        rows.end_as(row, part, last, state)
        rows.emit(row.run, row.id, index, index + 1, state)
        count(rows, row, state, 1)
        touch(rows, row, index, index + 1)
    refresh(rows, row)


def _last(rows: Rows, final: NodeRow) -> NodeRow:
    """Who has the outcome of an ended node that may have been replaced, by one that was replaced in turn."""
    while final.final is not None and (found := rows.node(final.final)) is not None:
        final = found
    return final
