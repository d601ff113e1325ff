"""How the state of a node follows from its counts, and how items, nodes and runs end.

Everything that ends passes here, whatever the reason: settled, cancelled, skipped, expired, replaced::

    items end ──► count ──► refresh ── nothing open ──► end_node ──► pushed: its successors are released
                                                                └──► the last of its run: the run ends

An end may stop other nodes of the run, which may end others in turn, so that all of it is one room.
"""

from __future__ import annotations

from taskflow.machine.needs import Refusal
from taskflow.machine.parts import forget, keeps_lock, piece, put, run_of, unlock
from taskflow.machine.rows import NodeRow, Part, Rows, RunRow
from taskflow.records import EdgeMode, Failure, Kind, Outcome
from taskflow.states import FAILURES, TERMINAL, State

__all__ = [
    "begin",
    "cancel_node",
    "close",
    "count",
    "end_fresh",
    "end_items",
    "end_node",
    "end_range",
    "end_rest",
    "end_run",
    "expire",
    "refresh",
    "refuse",
    "touch",
]

_ALL = 1 << 60
_BADNESS = {State.CANCELLED: 1, State.SKIPPED: 2, State.EXPIRED: 3, State.FAILED: 4, State.DEAD: 5}


def begin(rows: Rows, row: NodeRow, refusal: Refusal | None) -> None:
    """Let a node run when its predecessors allow it, skip it when one refuses, or leave it waiting."""
    if refusal is not None:
        skip(rows, row, refusal)
    elif row.remaining == 0:
        _ready(rows, row)


def _ready(rows: Rows, row: NodeRow) -> None:
    """All predecessors have ended well enough: let the node run, now or when it is due."""
    if row.width is None:
        row.root = row.id
        count(rows, row, State.SKIPPED, row.open)
        end_node(rows, row, State.SKIPPED)
    elif row.open == 0 and not row.growing:
        end_node(rows, row, row.worst or State.SUCCEEDED)
    else:
        refresh(rows, row)


def refresh(rows: Rows, row: NodeRow) -> None:
    """Derive the state and the alarm of a node from its counts; end it when nothing is open."""
    if row.open == 0 and not row.growing and not (row.width == 0 and row.remaining):
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
    return State.RUNNING if row.held or row.replaced > 0 else State.WAITING


def _alarm(rows: Rows, row: NodeRow) -> float | None:
    alarm = row.expires_at
    if row.due_at is not None and row.state is not State.BLOCKED:
        alarm = row.due_at if alarm is None else min(alarm, row.due_at)
    if row.held or row.waiting:
        until = row.part.until if row.part is not None else rows.first_until(row)
        if until is not None:
            alarm = until if alarm is None else min(alarm, until)
    return alarm


def end_items(rows: Rows, row: NodeRow, part: Part, outcome: Outcome, state: State) -> None:
    """Items of a part that is not among the live ones any more have ended, as an outcome says."""
    if outcome.kind is Kind.FAILED:
        part = piece(part, outcome.lo, outcome.hi)
        part.attempts += 1
    rows.end(row, part, outcome, state)
    rows.emit(row.run, row.id, outcome.lo, outcome.hi, state)
    count(rows, row, state, outcome.hi - outcome.lo)
    touch(rows, row, outcome.lo, outcome.hi)


def end_range(rows: Rows, row: NodeRow, part: Part, state: State, error: str) -> None:
    """All items of such a part have ended, and no lease ended them."""
    part.fence = 0
    end_items(rows, row, part, Outcome(part.lo, part.hi, Kind.LOST, None, error), state)


def touch(rows: Rows, row: NodeRow, lo: int, hi: int) -> None:
    """Items have ended: those who wait for them, and not for all of the node, are looked at in this step."""
    if row.ranged:
        rows.ranges_ended.append((row, lo, hi))


def count(rows: Rows, row: NodeRow, state: State, items: int) -> None:
    """Items of a node have ended: count them in the node and in its run."""
    row.open -= items
    if row.policy.singles:
        rows.pend(row.queue, -items)
    run = run_of(rows, row)
    run.counts[state] = run.counts.get(state, 0) + items
    rows.save(run)
    if state is State.SUCCEEDED:
        return
    chosen = state is State.SKIPPED and row.root is None
    if not (chosen and row.array):  # an item that chose to be skipped is left out, and no more
        row.worst = _worse(row.worst, state)
    if not chosen and not (state in FAILURES and row.policy.on_failure == "skip"):
        run.worst = _worse(run.worst, state)


def _worse(one: State | None, other: State) -> State:
    return other if one is None or _BADNESS[other] > _BADNESS[one] else one


def end_node(rows: Rows, row: NodeRow, state: State) -> None:
    """Make a node terminal; its successors are released in the same step, or remembered for the next."""
    row.state = state
    row.ended_at = rows.now
    row.alarm_at = row.due_at = row.expires_at = None
    row.growing = False
    if state not in (State.SUCCEEDED, State.SKIPPED) and row.root is None:
        row.root = _root_of_feeder(rows, row) or row.id
    rows.save(row)
    if row.array or row.width != 1 or state is State.SKIPPED:
        rows.emit(row.run, row.id, 0, 0, state)
    rows.push(row.id, "")
    if not row.policy.singles:
        rows.pend(row.queue, -1)
    run = run_of(rows, row)
    run.open -= 1
    if row.policy.on_failure == "stop" and state in FAILURES:
        _stop(rows, row)
    if run.open == 0 and run.ended_at is None:
        end_run(rows, run)
        if str(run.id) != row.id:
            rows.emit(run.id, "", 0, 0, run.state)
    rows.save(run)


def _root_of_feeder(rows: Rows, row: NodeRow) -> str | None:
    """What failed first where nothing could be added to an array any more."""
    for edge in rows.parents(row.id) if row.array else ():
        feeder = rows.node(edge.parent) if edge.mode is EdgeMode.FEEDS else None
        if feeder is not None and feeder.state in TERMINAL and feeder.state is not State.SUCCEEDED:
            return feeder.root or feeder.id
    return None


def end_run(rows: Rows, run: RunRow) -> None:
    """Make a run terminal: as bad as the worst that somebody minds."""
    run.state = State.FAILED if run.worst is State.SKIPPED else run.worst or State.SUCCEEDED
    run.ended_at = rows.now
    if not keeps_lock(run):
        unlock(rows, run)


def _stop(rows: Rows, row: NodeRow) -> None:
    """Cancel what has not started, but not what was waiting for just this."""
    reason = f"{row.label or row.id} failed"
    handlers = {child for child, edge in rows.children(row.id, "", _ALL) if not edge.mode.needs_success}
    for other in rows.nodes_of(row.run):
        if other.state not in TERMINAL and other.id != row.id and other.id not in handlers:
            cancel_node(rows, other, reason)


def skip(rows: Rows, row: NodeRow, refusal: Refusal) -> None:
    """The node will never run: a predecessor gave no value, or it was chosen so."""
    culprit, by_choice = refusal
    name = culprit.label or culprit.id
    if by_choice:
        row.root = None
        known = {"error": "TaskSkipped"}
        failure = Failure("skipped", "Skip", f"it needs {name}, which is {culprit.state}", data=known)
    else:
        row.root = culprit.root or culprit.id
        failure = Failure("skipped", "UpstreamFailed", f"{name} {culprit.state}", root=row.root)
    over = bool(row.width) and row.open == 0  # it waited only for more to be added
    end_rest(rows, row, State.SKIPPED, failure)
    end_node(rows, row, _worst_of_all(rows, row) or State.SKIPPED if over else State.SKIPPED)


def _worst_of_all(rows: Rows, row: NodeRow) -> State | None:
    """How badly a node ends whose items have all ended: no better than what has fed it, if that has ended."""
    for edge in rows.parents(row.id) if row.growing else ():
        feeder = rows.node(edge.parent) if edge.mode is EdgeMode.FEEDS else None
        if feeder is not None and feeder.state in TERMINAL and feeder.state is not State.SUCCEEDED:
            row.worst = _worse(row.worst, feeder.state)
    return row.worst


def cancel_node(rows: Rows, row: NodeRow, reason: str) -> bool:
    """Cancel what has not started; what runs is told when its lease is renewed."""
    row.cancelled = reason
    failure = Failure("cancelled", "TaskCancelled", reason)
    changed = end_rest(rows, row, State.CANCELLED, failure)
    if row.width is None or row.final is not None:
        end_node(rows, row, State.CANCELLED)
        return True
    if row.growing:
        close(rows, row, State.CANCELLED)
        return True
    if changed or row.held:
        refresh(rows, row)
    return changed or row.held > 0


def close(rows: Rows, row: NodeRow, state: State) -> None:
    """Nothing is added to a node any more: it ends with what it has, and no better than what fed it."""
    row.growing = False
    if state is not State.SUCCEEDED:
        row.worst = _worse(row.worst, state)
    refresh(rows, row)


def end_rest(rows: Rows, row: NodeRow, state: State, failure: Failure) -> bool:
    """End every item that is not running; tells whether there was any."""
    error = failure.to_json()
    changed = False
    for part in rows.parts(row) if row.returned or row.waiting or row.replaced else ():
        if part.state is not State.RUNNING:
            forget(rows, row, part)
            end_range(rows, row, part, state, error)
            changed = True
    if row.width is None or row.final is not None:
        count(rows, row, state, row.open)
        changed = True
    elif row.fresh:
        end_fresh(rows, row, state, error)
        changed = True
    return changed


def end_fresh(rows: Rows, row: NodeRow, state: State, error: str) -> None:
    """End every item that was never handed out."""
    part = Part(row.cursor, row.width or 0, State.QUEUED)
    row.cursor = part.hi
    end_range(rows, row, part, state, error)


def expire(rows: Rows, row: NodeRow) -> None:
    """End what was never started; what has run once goes on."""
    row.expires_at = None
    error = Failure("expired", "TaskExpired", "it was not started in time").to_json()
    _end_unstarted(rows, row, State.EXPIRED, error)


def refuse(rows: Rows, row: NodeRow, breaker: str, until: float) -> None:
    """A breaker is open: what never started fails; what was tried before waits until it lets some through."""
    for part in rows.parts(row) if row.returned else ():
        if part.state is State.QUEUED and part.deliveries > 0:
            forget(rows, row, part)
            part.state, part.until = State.WAITING, until
            put(rows, row, part)
            rows.emit(row.run, row.id, part.lo, part.hi, State.WAITING)
    name = breaker.partition(":")[2]
    text = f"the circuit breaker {name} is open: what it guards has failed too often"
    failure = Failure("failed", "taskflow.errors.CircuitOpen", text, data={"error": "CircuitOpen"})
    _end_unstarted(rows, row, State.FAILED, failure.to_json())


def _end_unstarted(rows: Rows, row: NodeRow, state: State, error: str) -> None:
    for part in rows.parts(row) if row.returned or row.waiting else ():
        if part.state is not State.RUNNING and part.deliveries == 0:
            forget(rows, row, part)
            end_range(rows, row, part, state, error)
    if row.width is None:
        count(rows, row, state, row.open)
    elif row.fresh:
        end_fresh(rows, row, state, error)
    refresh(rows, row)
