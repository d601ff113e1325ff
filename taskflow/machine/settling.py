"""What becomes of a lease: outcomes end its items, or give them back.

A settlement may speak of a part of a lease; what it leaves out stays held. The fence decides whether it
counts, and whether it has been heard before::

    held part ──┬─► ended: segment
                ├─► came back: queued, or waiting for a retry (the fence negated)
                ├─► replaced: blocked until a call has ended
                └─► not mentioned: still held
"""

from __future__ import annotations

from collections.abc import Sequence

from taskflow.machine.ending import end_items, refresh
from taskflow.machine.growing import grow, replace_item
from taskflow.machine.limiting import heard
from taskflow.machine.parts import forget, piece, put
from taskflow.machine.releasing import drain
from taskflow.machine.rows import NodeRow, Part, Rows
from taskflow.records import Failure, Growth, Kind, LeaseKey, Outcome, Settlement
from taskflow.states import TERMINAL, State

__all__ = ["apply", "is_cancelled", "settle"]


def settle(rows: Rows, done: Sequence[Settlement]) -> frozenset[LeaseKey]:
    """Apply outcomes; returns the keys whose lease had been lost, which changed nothing.

    The newest fence may still settle while nobody has claimed its items again, and a settlement
    that is sent twice is accepted twice and applied once.
    """
    lost: set[LeaseKey] = set()
    rows.load({s.key.node for s in done})
    for settlement in done:
        row = rows.node(settlement.key.node)
        if row is None or not _settle_one(rows, row, settlement):
            lost.add(settlement.key)
    drain(rows)
    return frozenset(lost)


def _settle_one(rows: Rows, row: NodeRow, settlement: Settlement) -> bool:
    key = settlement.key
    part = rows.held(row, key)
    if part is None:
        return _settle_rest(rows, row, settlement)
    forget(rows, row, part)
    if settlement.grow is not None:
        grow(rows, row, settlement.grow)
    at = part.lo
    for outcome in settlement.outcomes:
        if outcome.lo > at:
            put(rows, row, piece(part, at, outcome.lo))
        if outcome.log:
            rows.printed(row, outcome.lo, outcome.log)
        apply(rows, row, part, outcome)
        if outcome.kind is Kind.REPLACED and row.array:
            _replace_item(rows, row, part, outcome, settlement.grow)
        at = outcome.hi
    if at < part.hi:
        put(rows, row, piece(part, at, part.hi))
    if row.state not in TERMINAL:
        refresh(rows, row)
    return True


def _settle_rest(rows: Rows, row: NodeRow, settlement: Settlement) -> bool:
    """The lease is not held as a whole: apply what still is, if all the rest was applied before."""
    if not settlement.outcomes:
        return False
    key = settlement.key
    held: list[Outcome] = []
    for outcome in settlement.outcomes:
        if rows.held(row, key._replace(lo=outcome.lo, hi=outcome.hi)) is not None:
            held.append(outcome)
        elif not _was_applied(rows, row, outcome.lo, key.fence):
            return False
    for outcome in held:
        _settle_one(rows, row, Settlement(key._replace(lo=outcome.lo, hi=outcome.hi), (outcome,)))
    return True


def _was_applied(rows: Rows, row: NodeRow, index: int, fence: int) -> bool:
    """Whether that fence ended or replaced the item, or gave it back and nobody took it since."""
    if row.final is not None and row.fence == fence:
        return True
    given_back = LeaseKey(row.id, index, index + 1, -fence)
    return rows.ended_by(row, index) == fence or rows.held(row, given_back) is not None


def apply(rows: Rows, row: NodeRow, part: Part, outcome: Outcome) -> None:
    """End the items that an outcome speaks of, or give them back."""
    kind = outcome.kind
    if row.policy.limits:
        heard(rows, row, part, outcome)
    if kind is Kind.SUCCEEDED:
        end_items(rows, row, part, outcome, State.SUCCEEDED)
    elif kind is Kind.FAILED:
        end_items(rows, row, part, outcome, State.FAILED)
    elif kind is Kind.SKIPPED:
        end_items(rows, row, part, outcome, State.SKIPPED)
    elif kind is Kind.REJECTED:
        end_items(rows, row, part, outcome, State.DEAD)
    elif kind is Kind.REPLACED:
        if row.final is None and not row.array:
            raise AssertionError(f"node {row.id} was replaced by nothing")
    elif kind is Kind.CANCELLED or is_cancelled(row, part):
        reason = row.cancelled or part.cancelled or "the worker stopped it"
        failure = Failure("cancelled", "TaskCancelled", reason).to_json()
        end_items(rows, row, part, outcome._replace(error=failure, value=None), State.CANCELLED)
    else:
        _return(rows, row, part, outcome)


def _replace_item(rows: Rows, row: NodeRow, part: Part, outcome: Outcome, growth: Growth | None) -> None:
    if growth is None or growth.final is None or outcome.hi - outcome.lo != 1:
        raise AssertionError(f"items {outcome.lo} to {outcome.hi} of {row.id} were replaced by nothing")
    blocked = piece(part, outcome.lo, outcome.hi)
    # As in `_return`: tells a repeated settlement from a stale one.
    blocked.state, blocked.fence, blocked.until = State.BLOCKED, -part.fence, None
    put(rows, row, blocked)
    rows.emit(row.run, row.id, blocked.lo, blocked.hi, State.BLOCKED)
    replace_item(rows, row, outcome.lo, growth.final)


def is_cancelled(row: NodeRow, part: Part) -> bool:
    """Whether nobody wants the items of a part any more."""
    return row.cancelled is not None or part.cancelled is not None


def _return(rows: Rows, row: NodeRow, part: Part, outcome: Outcome) -> None:
    """Items go back: after a failure that is retried, after a crash, or as if never claimed."""
    back = piece(part, outcome.lo, outcome.hi)
    if outcome.kind is Kind.RELEASED:
        back.deliveries -= 1
    else:
        back.error = outcome.error
        if outcome.kind is Kind.RETRY:
            back.attempts += 1
        if back.deliveries >= row.policy.max_deliveries:
            end_items(rows, row, back, outcome, State.DEAD)
            return
    # A negative fence can settle nothing, but tells a repeated settlement from a stale one.
    back.fence, back.worker, back.until, back.state = -part.fence, None, None, State.QUEUED
    if outcome.delay_s > 0:
        back.state = State.WAITING
        back.until = rows.now + outcome.delay_s
    put(rows, row, back)
    rows.emit(row.run, row.id, back.lo, back.hi, back.state)
