"""The live parts of a node, and the counts that go with them.

Whatever adds, cuts or removes a part does it here, so that `NodeRow.held`, `waiting` and `returned` always
say what the parts say::

    piece ──► put   + its items, by state          held ─────► RunRow.held, where the run is bounded
              forget  − its items, by state
"""

from __future__ import annotations

from taskflow.machine import limiting
from taskflow.machine.rows import NodeRow, Part, Rows, RunRow
from taskflow.records import STAYS
from taskflow.states import State

__all__ = [
    "forget", "is_bounded", "keeps_lock", "piece", "put", "room", "run_of", "shared_room", "tally",
    "unlock", "weight",
]  # fmt: skip


def piece(part: Part, lo: int, hi: int) -> Part:
    """Items ``[lo, hi)`` of a part, with its story."""
    return Part(
        lo,
        hi,
        part.state,
        part.fence,
        part.worker,
        part.until,
        part.attempts,
        part.deliveries,
        part.started_at,
        part.cancelled,
        part.error,
    )


def put(rows: Rows, row: NodeRow, part: Part) -> None:
    """Add a part to its node, and to the node's counts."""
    rows.put_part(row, part)
    tally(rows, row, part.state, part.size)


def forget(rows: Rows, row: NodeRow, part: Part) -> None:
    """Take a part out of its node, and out of the node's counts."""
    rows.drop_part(row, part)
    tally(rows, row, part.state, -part.size)


def tally(rows: Rows, row: NodeRow, state: State, items: int) -> None:
    """Count items of parts by state."""
    if state is State.RUNNING:
        row.held += items
        if row.policy.run_parallel is not None:
            run = run_of(rows, row)
            run.held += items
            rows.save(run)
        if row.policy.limits:
            limiting.tally(rows, row, items)
        rows.freed |= items < 0 and _is_bounded_itself(row)
    elif state is State.WAITING:
        row.waiting += items
    elif state is State.QUEUED:
        row.returned += items


def is_bounded(row: NodeRow) -> bool:
    """Whether only so many of its items may start now."""
    return _is_bounded_itself(row) or bool(row.policy.limits)


def _is_bounded_itself(row: NodeRow) -> bool:
    return row.policy.max_parallel is not None or row.policy.run_parallel is not None


def room(row: NodeRow) -> int:
    """How many more items the node's own bound lets run."""
    most = row.policy.max_parallel
    return limiting.MANY if most is None else max(0, most - row.held)


def shared_room(rows: Rows, row: NodeRow, worker: str) -> int:
    """How many more items may start now of all nodes in the lane of this one."""
    most = limiting.room(rows, row, worker)
    if row.policy.run_parallel is not None:
        most = min(most, row.policy.run_parallel - run_of(rows, row).held)
    return max(0, most)


def weight(row: NodeRow) -> int:
    """How much a new node counts where what is pending is bounded; calls that were gathered count each."""
    return row.open if row.policy.singles else 1


def keeps_lock(run: RunRow) -> bool:
    """Whether a run keeps its lock though it has ended."""
    return run.state is State.SUCCEEDED and run.lock is not None and run.lock.startswith(STAYS)


def unlock(rows: Rows, run: RunRow) -> None:
    """Let go of the lock of a run, if it has one."""
    if run.lock is not None:
        rows.unlock(run.lock, run.id)
        run.lock = None
        rows.save(run)


def run_of(rows: Rows, row: NodeRow) -> RunRow:
    """The run of a node, which is always there."""
    run = rows.run(row.run)
    if run is None:
        raise AssertionError(f"node {row.id} without its run {row.run}")
    return run
