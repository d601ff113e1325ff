"""A queue is emptied: what waits in it is cancelled, what runs goes on.

In steps: an array node costs one segment for all that was never handed out, and one for each part that came
back::

    queued, waiting ──► cancelled            running, blocked ──► as they are
"""

from __future__ import annotations

from collections.abc import Sequence

from taskflow.machine.ending import end_fresh, end_range, refresh
from taskflow.machine.parts import forget
from taskflow.machine.releasing import drain
from taskflow.machine.rows import NodeRow, Part, Rows
from taskflow.records import Failure
from taskflow.states import TERMINAL, State

__all__ = ["purge"]

_ERROR = Failure("cancelled", "TaskCancelled", "its queue was purged").to_json()


def purge(rows: Rows, queue: str, after: str, limit: int) -> tuple[int, str | None]:
    """Cancel what is queued or waiting, for about `limit` rows.

    Args:
        rows: The step.
        queue: The queue.
        after: Go on behind this node; empty for the first step.
        limit: How many nodes and parts one step may change.

    Returns:
        How many items it cancelled, and the node behind which to go on; `None` when that was all.
    """
    items = 0
    for row in rows.pending_in(queue, after, limit):
        if limit <= 0:
            return items, after
        parts = rows.unstarted(row, limit)
        items += _purge_node(rows, row, parts, whole=len(parts) < limit)
        if len(parts) < limit:
            after = row.id
        limit -= len(parts) + 1
    drain(rows)
    return items, None if limit > 0 else after


def _purge_node(rows: Rows, row: NodeRow, parts: Sequence[Part], *, whole: bool) -> int:
    """Cancel parts of a node and, when these are all, what is fresh; returns the items."""
    for part in parts:
        forget(rows, row, part)
        end_range(rows, row, part, State.CANCELLED, _ERROR)
    items = sum(part.size for part in parts)
    if whole and row.fresh and row.state is not State.BLOCKED:
        items += row.fresh
        end_fresh(rows, row, State.CANCELLED, _ERROR)
    if items and row.state not in TERMINAL:
        refresh(rows, row)
    return items
