"""The verbs of a store, as rules over rows: claim, renew, settle, reap, cancel, rerun.

Pure: the clock is `rows.now`, nothing here reads or writes anything but rows. Every store calls
these functions inside one atomic step, so all stores keep the same semantics.

::

    claim ──► lease (range + fence) ──► settle ──► segment | part (retry, returned)
                      │                    │
                      └── renew            └── node ends ──► successors released, run ends
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil

from taskflow.errors import NoSuchRun
from taskflow.ids import NodeId, RunId
from taskflow.machine.graph import (
    Refusal,
    add_plan,
    blocked_row,
    cancel_node,
    count,
    drain,
    forget_part,
    grow,
    is_bounded,
    is_by_choice,
    ready,
    refresh,
    replace_item,
    room,
    skip,
    tally,
    touch,
    wait_for,
)
from taskflow.machine.rows import NodeRow, Part, Rows, RunRow
from taskflow.policy import Policy
from taskflow.records import (
    Edge,
    EdgeMode,
    Failure,
    Growth,
    Kind,
    Lease,
    LeaseKey,
    Outcome,
    Plan,
    Renewal,
    Settlement,
    Want,
)
from taskflow.states import LIVE, TERMINAL, State

__all__ = ["cancel", "claim", "reap", "renew", "rerun", "settle", "submit"]

RANGE_MAX = 65_536
RANGE_FLOOR_S = 0.001
PACE_MIN_S = 1e-6


def submit(rows: Rows, plans: Iterable[Plan]) -> None:
    """Add plans; those whose run is there are left as they are."""
    for plan in plans:
        add_plan(rows, plan)


# ── claim ────────────────────────────────────────────────────────────────────────────


def claim(rows: Rows, want: Want) -> list[Lease]:
    """Lease ranges and calls for the free slots of a worker.

    A slot gets one range of an array node, or one call; or several calls, when all of them are of
    functions known to be quick, up to `want.batch_s` of work.

    Source:
        Ranges shrink with what is left: "Guided Self-Scheduling", Polychronopoulos and Kuck, 1987,
        with the length of a range bounded by time instead of by number.
    """
    leases: list[Lease] = []
    slots, room_s, expired = want.slots, 0.0, False
    for row in rows.ready(want.queues):
        if slots <= 0 and room_s <= 0:
            break
        if row.expires_at is not None and row.expires_at <= rows.now:
            _expire(rows, row)
            expired = True
        most = room(rows, row) if is_bounded(row) else None
        if row.state is not State.QUEUED or most == 0:
            continue
        pace = want.pace_s.get(row.fn)
        if not row.array:
            cost = want.batch_s if pace is None else max(pace, PACE_MIN_S)
            if cost > room_s:
                if slots <= 0:
                    break
                slots, room_s = slots - 1, want.batch_s
            room_s -= cost
            leases.append(_lease_call(rows, row, want))
        else:
            taken = _lease_ranges(rows, row, want, pace, slots if most is None else min(slots, most), leases)
            slots -= taken
            if row.state is State.QUEUED and taken != most:  # what is left of it is not overtaken
                break
    if expired:
        drain(rows)
    return leases


def _lease_call(rows: Rows, row: NodeRow, want: Want) -> Lease:
    part = row.part
    if part is None:
        part = row.part = Part(0, 1, State.QUEUED)
        row.cursor = 1
    else:
        row.returned -= 1
    return _lease(rows, row, part, want)


def _lease_ranges(
    rows: Rows, row: NodeRow, want: Want, pace: float | None, slots: int, leases: list[Lease]
) -> int:
    """Lease a range for each slot, while there are any; returns for how many."""
    taken = 0
    while taken < slots:
        part = _take(rows, row, _range_size(row, want, pace))
        if part is None:
            break
        leases.append(_lease(rows, row, part, want))
        taken += 1
    return taken


def _range_size(row: NodeRow, want: Want, pace: float | None) -> int:
    if pace is None or is_bounded(row):
        size = 1
    else:
        pace = max(pace, PACE_MIN_S)
        fair = max(ceil((row.fresh + row.returned) / (2 * want.share)), int(RANGE_FLOOR_S / pace))
        size = max(1, min(int(want.batch_s / pace), fair, RANGE_MAX))
    return min(size, row.policy.chunk or size)


def _take(rows: Rows, row: NodeRow, size: int) -> Part | None:
    """Cut up to `size` items off what may be claimed: first what came back, then what is fresh."""
    if row.returned:
        [part] = rows.queued(row, 1)
        forget_part(rows, row, part)
        if part.size > size:
            _put(rows, row, _piece(part, part.lo + size, part.hi))
        return _piece(part, part.lo, min(part.hi, part.lo + size))
    if row.fresh and row.due_at is None:
        lo = row.cursor
        row.cursor = min(lo + size, row.width or 0)
        return Part(lo, row.cursor, State.QUEUED)
    return None


def _lease(rows: Rows, row: NodeRow, part: Part, want: Want) -> Lease:
    row.fence += 1
    part.state = State.RUNNING
    part.fence = row.fence
    part.worker = want.worker
    part.until = rows.now + want.lease_s
    part.deliveries += 1
    part.started_at = rows.now
    if row.started_at is None:
        row.started_at = rows.now
    tally(rows, row, State.RUNNING, part.size)
    rows.put_part(row, part)
    refresh(rows, row)
    rows.emit(row.run, row.id, part.lo, part.hi, State.RUNNING)
    return Lease(
        LeaseKey(row.id, part.lo, part.hi, part.fence),
        row.run,
        row.fn,
        row.args,
        row.array,
        row.width or 0,
        row.inputs,
        row.policy,
        row.queue,
        row.label,
        part.attempts + 1,
        part.deliveries,
        rows.now - row.created_at,
        row.priority,
    )


def _piece(part: Part, lo: int, hi: int) -> Part:
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


def _put(rows: Rows, row: NodeRow, part: Part) -> None:
    rows.put_part(row, part)
    tally(rows, row, part.state, part.size)


# ── renew ────────────────────────────────────────────────────────────────────────────


def renew(rows: Rows, held: Sequence[LeaseKey], lease_s: float) -> Renewal:
    """Hold leases for `lease_s` from now; tell which were lost and which were cancelled."""
    lost: set[LeaseKey] = set()
    cancelled: dict[LeaseKey, str] = {}
    rows.load({key.node for key in held})
    for key in held:
        row = rows.node(key.node)
        part = rows.held(row, key) if row is not None else None
        if row is None or part is None or part.state is not State.RUNNING:
            lost.add(key)
            continue
        part.until = rows.now + lease_s
        rows.put_part(row, part)
        refresh(rows, row)
        reason = row.cancelled if row.cancelled is not None else part.cancelled
        if reason is not None:
            cancelled[key] = reason
    return Renewal(frozenset(lost), cancelled)


# ── settle ───────────────────────────────────────────────────────────────────────────


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
    forget_part(rows, row, part)
    if settlement.grow is not None:
        grow(rows, row, settlement.grow)
    at = part.lo
    for outcome in settlement.outcomes:
        if outcome.lo > at:
            _put(rows, row, _piece(part, at, outcome.lo))
        _apply(rows, row, part, outcome)
        if outcome.kind is Kind.REPLACED and row.array:
            _replace_item(rows, row, part, outcome, settlement.grow)
        at = outcome.hi
    if at < part.hi:
        _put(rows, row, _piece(part, at, part.hi))
    if row.state not in TERMINAL:
        refresh(rows, row)
    return True


def _settle_rest(rows: Rows, row: NodeRow, settlement: Settlement) -> bool:
    """The lease is not held as a whole: apply what still is, if all the rest was applied before."""
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


def _apply(rows: Rows, row: NodeRow, part: Part, outcome: Outcome) -> None:
    kind = outcome.kind
    if kind is Kind.SUCCEEDED:
        _end(rows, row, part, outcome, State.SUCCEEDED)
    elif kind is Kind.FAILED:
        _end(rows, row, part, outcome, State.FAILED)
    elif kind is Kind.SKIPPED:
        _end(rows, row, part, outcome, State.SKIPPED)
    elif kind is Kind.REJECTED:
        _end(rows, row, part, outcome, State.DEAD)
    elif kind is Kind.REPLACED:
        if row.final is None and not row.array:
            raise AssertionError(f"node {row.id} was replaced by nothing")
    elif kind is Kind.CANCELLED or _is_cancelled(row, part):
        reason = row.cancelled or part.cancelled or "the worker stopped it"
        failure = Failure("cancelled", "TaskCancelled", reason).to_json()
        _end(rows, row, part, outcome._replace(error=failure, value=None), State.CANCELLED)
    else:
        _return(rows, row, part, outcome)


def _replace_item(rows: Rows, row: NodeRow, part: Part, outcome: Outcome, growth: Growth | None) -> None:
    if growth is None or growth.final is None or outcome.hi - outcome.lo != 1:
        raise AssertionError(f"items {outcome.lo} to {outcome.hi} of {row.id} were replaced by nothing")
    blocked = _piece(part, outcome.lo, outcome.hi)
    # As in `_return`: tells a repeated settlement from a stale one.
    blocked.state, blocked.fence, blocked.until = State.BLOCKED, -part.fence, None
    _put(rows, row, blocked)
    rows.emit(row.run, row.id, blocked.lo, blocked.hi, State.BLOCKED)
    replace_item(rows, row, outcome.lo, growth.final)


def _is_cancelled(row: NodeRow, part: Part) -> bool:
    return row.cancelled is not None or part.cancelled is not None


def _return(rows: Rows, row: NodeRow, part: Part, outcome: Outcome) -> None:
    """Items go back: after a failure that is retried, after a crash, or as if never claimed."""
    back = _piece(part, outcome.lo, outcome.hi)
    if outcome.kind is Kind.RELEASED:
        back.deliveries -= 1
    else:
        back.error = outcome.error
        if outcome.kind is Kind.RETRY:
            back.attempts += 1
        if back.deliveries >= row.policy.max_deliveries:
            _end(rows, row, back, outcome, State.DEAD)
            return
    # A negative fence can settle nothing, but tells a repeated settlement from a stale one.
    back.fence, back.worker, back.until, back.state = -part.fence, None, None, State.QUEUED
    if outcome.delay_s > 0:
        back.state = State.WAITING
        back.until = rows.now + outcome.delay_s
    _put(rows, row, back)
    rows.emit(row.run, row.id, back.lo, back.hi, back.state)


def _end(rows: Rows, row: NodeRow, part: Part, outcome: Outcome, state: State) -> None:
    if outcome.kind is Kind.FAILED:
        part = _piece(part, outcome.lo, outcome.hi)
        part.attempts += 1
    rows.end(row, part, outcome, state)
    if not row.array:
        row.part = None
    rows.emit(row.run, row.id, outcome.lo, outcome.hi, state)
    count(rows, row, state, outcome.hi - outcome.lo)
    touch(rows, row, outcome.lo, outcome.hi)


# ── reap ─────────────────────────────────────────────────────────────────────────────


def reap(rows: Rows, limit: int) -> float | None:
    """Do what time demands; returns seconds until it demands more, 0 when some was left over."""
    left = drain(rows)
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
            forget_part(rows, row, part)
            part.state, part.until = State.QUEUED, None
            _put(rows, row, part)
        elif part.state is State.RUNNING:
            _lease_expired(rows, row, part)
    if row.expires_at is not None and row.expires_at <= rows.now:
        _expire(rows, row)
    elif row.state not in TERMINAL:
        refresh(rows, row)


def _lease_expired(rows: Rows, row: NodeRow, part: Part) -> None:
    """Nobody renewed: the items go back, and the old fence may still settle until they are claimed."""
    forget_part(rows, row, part)
    failure = Failure(
        "lost",
        "WorkerLost",
        f"worker {part.worker} stopped renewing its lease: it was killed, paused, or lost the store",
        data={"error": "WorkerLost"},
    )
    outcome = Outcome(part.lo, part.hi, Kind.LOST, None, failure.to_json())
    if _is_cancelled(row, part):
        part.fence = 0
        _apply(rows, row, part, outcome)
    elif part.deliveries >= row.policy.max_deliveries:
        part.fence = 0
        _end(rows, row, part, outcome, State.DEAD)
    else:
        part.state, part.until, part.error = State.QUEUED, None, outcome.error
        _put(rows, row, part)
        rows.emit(row.run, row.id, part.lo, part.hi, State.QUEUED)


def _expire(rows: Rows, row: NodeRow) -> None:
    """End what was never started; what has run once goes on."""
    row.expires_at = None
    failure = Failure("expired", "TaskExpired", "it was not started in time").to_json()
    for part in rows.parts(row) if row.returned or row.waiting else ():
        if part.state is not State.RUNNING and part.deliveries == 0:
            forget_part(rows, row, part)
            part.fence = 0
            _end(rows, row, part, Outcome(part.lo, part.hi, Kind.LOST, None, failure), State.EXPIRED)
    if row.width is None:
        count(rows, row, State.EXPIRED, row.open)
    elif row.fresh:
        part = Part(row.cursor, row.width, State.QUEUED)
        row.cursor = row.width
        _end(rows, row, part, Outcome(part.lo, part.hi, Kind.LOST, None, failure), State.EXPIRED)
    refresh(rows, row)


# ── cancel ───────────────────────────────────────────────────────────────────────────


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
    forget_part(rows, row, part)
    part.fence = 0
    failure = Failure("cancelled", "TaskCancelled", reason).to_json()
    _end(rows, row, part, Outcome(index, index + 1, Kind.CANCELLED, None, failure), State.CANCELLED)
    refresh(rows, row)
    return True


def _isolate(rows: Rows, row: NodeRow, index: int) -> Part | None:
    """A live part of its own for one item; `None` when it has ended, or runs within a range."""
    if row.width is not None and row.cursor <= index < row.width:
        state = State.QUEUED if row.due_at is None else State.WAITING
        if index > row.cursor:
            _put(rows, row, Part(row.cursor, index, state, until=row.due_at))
        row.cursor = index + 1
        part = Part(index, index + 1, state, until=row.due_at)
        _put(rows, row, part)
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
    forget_part(rows, row, part)
    for lo, hi in ((part.lo, index), (index + 1, part.hi)):
        if lo < hi:
            _put(rows, row, _piece(part, lo, hi))
    alone = _piece(part, index, index + 1)
    _put(rows, row, alone)
    return alone


# ── rerun ────────────────────────────────────────────────────────────────────────────


def rerun(rows: Rows, run: RunId, new: RunId) -> dict[NodeId, NodeId]:
    """Clone what gave no value into a new run; see `GraphPort.rerun`."""
    old = rows.run(run)
    if old is None:
        raise NoSuchRun(f"The store knows no run {run!r}; `taskflow runs` lists what it knows.")
    # Names are made from `new`, so that a call that is repeated finds what the first one did.
    nodes = {NodeId(f"{new}.{i}"): node for i, node in enumerate(rows.nodes_of(run))}
    if rows.run(new) is not None:
        return {node.id: name for name, node in nodes.items() if rows.node(name) is not None}
    again = _to_rerun(rows, nodes.values())
    names = {node.id: name for name, node in nodes.items() if node.id in again}
    if names:
        _add_clones(rows, RunRow(new, old.name, {**old.meta, "rerun_of": run}, rows.now), names)
    return names


def _to_rerun(rows: Rows, nodes: Collection[NodeRow]) -> set[NodeId]:
    """Nodes that failed, and all that has ended below them: what it made of the failure does not hold."""
    well = (State.SUCCEEDED, *LIVE)
    again = {node.id for node in nodes if node.state not in well and not is_by_choice(node)}
    below: dict[NodeId, list[NodeRow]] = {}
    for node in nodes if again else ():
        for edge in rows.parents(node.id):
            below.setdefault(edge.parent, []).append(node)
    todo = list(again)
    while todo:
        found = [n.id for n in below.get(todo.pop(), ()) if n.state in TERMINAL and n.id not in again]
        again.update(found)
        todo += found
    return again


def _add_clones(rows: Rows, run: RunRow, names: dict[NodeId, NodeId]) -> None:
    rows.add_run(run)
    again = [node for node in map(rows.node, names) if node is not None]
    clones = [_clone(rows, run, node, names) for node in again]
    for node, (clone, _) in zip(again, clones, strict=True):
        anew = [edge for edge in rows.parents(node.id) if edge.parent in names]
        if node.array and node.width and all(map(_of_item, anew)):
            _keep_successes(rows, node, clone, {edge.lo: names[edge.parent] for edge in anew})
        if node.final in names:
            clone.final = names[node.final]
            rows.add_edge(clone.id, Edge(clone.final, EdgeMode.ENDED))
            rows.save(clone)
    rows.save(run)
    for clone, refusal in clones:
        if refusal is not None:
            skip(rows, clone, refusal)
        elif clone.remaining == 0:
            ready(rows, clone)
    drain(rows)


def _clone(
    rows: Rows, run: RunRow, node: NodeRow, names: dict[NodeId, NodeId]
) -> tuple[NodeRow, Refusal | None]:
    old = [edge for edge in rows.parents(node.id) if edge.parent != node.final and not _of_item(edge)]
    edges = [edge._replace(parent=names.get(edge.parent, edge.parent)) for edge in old]
    clone = blocked_row(rows, names[node.id], run.id, node, _same_numbers(node), edges)
    clone.source = _first(rows, node)
    clone.ranged = node.ranged
    refusal, ended = wait_for(rows, clone, edges, set(names.values()))
    rows.add_node(clone, edges, (), ended)
    run.open += 1
    run.total += clone.open
    return clone, refusal


def _first(rows: Rows, node: NodeRow) -> NodeId:
    """The node that a node is a clone of, where that one has its items; else itself."""
    first = rows.node(node.source) if node.source is not None else None
    return node.id if first is None or first.width is None else first.id


def _of_item(edge: Edge) -> bool:
    return edge.mode is EdgeMode.ITEM


def _keep_successes(rows: Rows, node: NodeRow, clone: NodeRow, finals: Mapping[int, NodeId]) -> None:
    """Keep what succeeded; an item that was replaced waits for the clone of what took its place."""
    missing = rows.copy_ended(node, clone)
    kept = clone.open - sum(hi - lo for lo, hi in missing)
    if not kept and not finals:
        return
    clone.cursor = clone.width or 0
    for lo, hi in missing:
        for at, end, state in _split(lo, hi, finals):
            _put(rows, clone, Part(at, end, state))
    for index, final in finals.items():
        rows.add_edge(clone.id, Edge(final, EdgeMode.ITEM, index, index + 1))
    if kept:
        count(rows, clone, State.SUCCEEDED, kept)
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
