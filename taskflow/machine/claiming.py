"""How work is handed out: leases on calls and on ranges of items, and how they are held.

::

    queued, by priority and age ──► a slot each: one range, one slow call, or several quick calls
                                    no more than the bounds leave room for
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

from taskflow.machine import limiting
from taskflow.machine.ending import expire, refresh, refuse
from taskflow.machine.parts import (
    forget,
    is_bounded,
    piece,
    put,
    room,
    run_of,
    shared_room,
    tally,
    unlock,
)
from taskflow.machine.releasing import drain
from taskflow.machine.rows import NodeRow, Part, Rows
from taskflow.records import Lease, LeaseKey, Renewal, Want
from taskflow.states import State

__all__ = ["claim", "renew"]

RANGE_MAX = 65_536
RANGE_FLOOR_S = 0.001
PACE_MIN_S = 1e-6
ENDED_MAX = 500
"""So many nodes may end in one claim because they are late, or their breaker is open."""


def claim(rows: Rows, want: Want) -> list[Lease]:
    """Lease ranges and calls for the free slots of a worker.

    A slot gets one range of an array node, or one call; or several calls, when all of them are of
    functions known to be quick, up to `want.batch_s` of work. What a queue leaves of its turn others get.

    Source:
        Ranges shrink with what is left of the last node that is queued: "Guided Self-Scheduling",
        Polychronopoulos and Kuck, 1987, with the length of a range bounded by time instead of by number.
    """
    leases: list[Lease] = []
    full: set[str] = set()
    left, room_s = want.slots, 0.0
    limiting.limits_due(rows)
    for queues, most in _turns(want):
        if left <= 0 and room_s <= 0:
            break
        slots = min(most, left)
        unused, room_s = _offer(rows, want, queues, slots, room_s, full, leases)
        left -= slots - unused
    return leases


class _Ready:
    """Queued nodes, one after the other."""

    def __init__(self, source: Iterator[NodeRow]) -> None:
        self._source = source
        self._next: NodeRow | None = None

    def __iter__(self) -> Iterator[NodeRow]:
        while self.goes_on():
            row, self._next = self._next, None
            assert row is not None
            yield row

    def goes_on(self) -> bool:
        """Whether there is another behind this one."""
        if self._next is None:
            self._next = next(self._source, None)
        return self._next is not None


def _turns(want: Want) -> Iterator[tuple[Sequence[str], int]]:
    """Queues that are served together, one such set after the other, and the most slots that it gets."""
    if not want.turns:
        yield want.queues, want.slots
        return
    for queue, slots in zip(want.queues, want.turns, strict=True):
        if slots > 0:
            yield (queue,), slots
    for queue in want.queues:
        yield (queue,), want.slots


def _offer(
    rows: Rows,
    want: Want,
    queues: Sequence[str],
    slots: int,
    room_s: float,
    full: set[str],
    leases: list[Lease],
) -> tuple[int, float]:
    """Lease from these queues; gives the slots that are left, and the seconds that are in the last one."""
    ended, ready = 0, _Ready(rows.ready(queues, full))
    for row in ready:
        if slots <= 0 and room_s <= 0:
            break
        ended += _ends_unstarted(rows, row)
        if ended == ENDED_MAX:
            rows.freed = True  # somebody goes on with it
            break
        if row.state is not State.QUEUED or (most := _room(rows, row, want, full)) == 0:
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
            most_now = slots if most is None else min(slots, most)
            taken = _lease_ranges(rows, row, want, pace, most_now, leases, ready)
            slots -= taken
            if row.state is State.QUEUED and taken != most:  # what is left of it is not overtaken
                break
    if ended:
        drain(rows)
    return slots, room_s


def _ends_unstarted(rows: Rows, row: NodeRow) -> bool:
    """Whether what was not started of a node is not to be: it is too late, or its breaker is open."""
    if _is_late(rows, row):
        if row.lane is None:  # else a reap ends it: of lanes, some may not be looked at
            expire(rows, row)
        return row.lane is None
    if row.policy.limits and (breaker := limiting.opened(rows, row)) is not None:
        refuse(rows, row, breaker.name, breaker.until)
        return True
    return False


def _is_late(rows: Rows, row: NodeRow) -> bool:
    return row.expires_at is not None and row.expires_at <= rows.now


def _room(rows: Rows, row: NodeRow, want: Want, full: set[str]) -> int | None:
    """How many items of a node may start now; `None` where nothing bounds them."""
    if not is_bounded(row):
        return None
    if row.lane is not None and _is_late(rows, row):
        return 0
    shared = shared_room(rows, row, want.worker)
    if shared == 0 and row.lane is not None:
        full.add(row.lane)
    return min(shared, room(row))


def _lease_call(rows: Rows, row: NodeRow, want: Want) -> Lease:
    part = row.part
    if part is None:
        part = row.part = Part(0, 1, State.QUEUED)
        row.cursor = 1
    else:
        row.returned -= 1
    return _lease(rows, row, part, want)


def _lease_ranges(
    rows: Rows, row: NodeRow, want: Want, pace: float | None, slots: int, leases: list[Lease], ready: _Ready
) -> int:
    """Lease a range for each slot, while there are any; returns for how many."""
    taken = 0
    while taken < slots:
        part = _take(rows, row, _range_size(row, want, pace, ready))
        if part is None:
            break
        leases.append(_lease(rows, row, part, want))
        taken += 1
    return taken


def _range_size(row: NodeRow, want: Want, pace: float | None, ready: _Ready) -> int:
    """How many items go into a range: a fair share of what is left, where nothing else is left to share."""
    if pace is None or is_bounded(row):
        size = 1
    else:
        pace = max(pace, PACE_MIN_S)
        fair = max(ceil((row.fresh + row.returned) / (2 * want.share)), int(RANGE_FLOOR_S / pace))
        size = max(1, min(int(want.batch_s / pace), RANGE_MAX))
        if fair < size and not ready.goes_on():
            size = fair
    return min(size, row.policy.chunk or size)


def _take(rows: Rows, row: NodeRow, size: int) -> Part | None:
    """Cut up to `size` items off what may be claimed: first what came back, then what is fresh."""
    if row.returned:
        [part] = rows.queued(row, 1)
        forget(rows, row, part)
        if part.size > size:
            put(rows, row, piece(part, part.lo + size, part.hi))
        return piece(part, part.lo, min(part.hi, part.lo + size))
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
    if row.policy.unlocks:
        unlock(rows, run_of(rows, row))
    if row.policy.limits:
        limiting.start(rows, row, want.worker, part.size)
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
