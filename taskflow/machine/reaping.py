"""What time demands: waits that are over, leases that nobody renewed, nodes that were not started in time.

A node carries one alarm, the earliest of all these; a reap looks at the nodes whose alarm has passed.
"""

from __future__ import annotations

from taskflow.machine.ending import end_items, expire, refresh
from taskflow.machine.limiting import limits_due
from taskflow.machine.parts import forget, put
from taskflow.machine.releasing import drain
from taskflow.machine.rows import NodeRow, Part, Rows
from taskflow.machine.settling import apply, is_cancelled
from taskflow.records import Failure, Kind, Outcome
from taskflow.states import TERMINAL, State

__all__ = ["reap"]


def reap(rows: Rows, limit: int) -> float | None:
    """Do what time demands; returns seconds until it demands more, 0 when some was left over."""
    left = drain(rows)
    limits_due(rows)
    late = rows.alarms(limit)
    for row in late:
        _alarmed(rows, row)
    left = drain(rows) or left or len(late) >= limit
    if left:
        return 0.0
    alarm = rows.next_alarm()
    return None if alarm is None else max(0.0, alarm - rows.now)


def _alarmed(rows: Rows, row: NodeRow) -> None:
    for part in rows.overdue(row):
        if part.state is State.WAITING:
            forget(rows, row, part)
            part.state, part.until = State.QUEUED, None
            put(rows, row, part)
        elif part.state is State.RUNNING:
            _lease_expired(rows, row, part)
    if row.expires_at is not None and row.expires_at <= rows.now:
        expire(rows, row)
    elif row.state not in TERMINAL:
        refresh(rows, row)


def _lease_expired(rows: Rows, row: NodeRow, part: Part) -> None:
    """Nobody renewed: the items go back, and the old fence may still settle until they are claimed."""
    forget(rows, row, part)
    failure = Failure(
        "lost",
        "WorkerLost",
        f"worker {part.worker} stopped renewing its lease: it was killed, paused, or lost the store",
        data={"error": "WorkerLost"},
    )
    outcome = Outcome(part.lo, part.hi, Kind.LOST, None, failure.to_json())
    if is_cancelled(row, part):
        part.fence = 0
        apply(rows, row, part, outcome)
    elif part.deliveries >= row.policy.max_deliveries:
        part.fence = 0
        end_items(rows, row, part, outcome, State.DEAD)
    else:
        part.state, part.until, part.error = State.QUEUED, None, outcome.error
        put(rows, row, part)
        rows.emit(row.run, row.id, part.lo, part.hi, State.QUEUED)
