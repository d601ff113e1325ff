"""What a worker does next, decided from what it sees. Pure: no clock, store, pool or thread.

Instants are seconds on the worker's own steady clock. An alarm that is not wanted stands at infinity.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

__all__ = ["REST_S", "Seen", "Step", "decide", "gathers", "rest_s"]

REST_S = 10.0
"""The longest sleep: a worker says now and then that it lives, and looks whether a ring was lost."""


class Seen(NamedTuple):
    """What a worker knows at one moment.

    Args:
        now: This moment.
        free: Slots that could take a lease.
        held: Leases that are held.
        ended: Settlements that the store has not got yet.
        unread: Leases that have not started, because their inputs are still to be read.
        notes: Whether there is something to note.
        dry: The last claim left slots free, and nothing has rung since.
        store_at: The store was away; it is not asked before this. 0 when it answered the last time.
        settle_at: Outcomes gather until then, as long as every slot has work.
        trusted_until: When the leases can no longer be relied upon.
        renew_at, tend_at, reap_at, announce_at, sweep_at: When these are due.
        pool_at: When the pool wants to be asked though nothing is readable.
        idle_at: When a worker without work leaves.
        stop_at: When a worker that was told to stop leaves, whatever still runs; `None` while it works.
    """

    now: float
    free: int = 0
    held: int = 0
    ended: int = 0
    unread: int = 0
    notes: bool = False
    dry: bool = False
    store_at: float = 0.0
    settle_at: float = 0.0
    trusted_until: float = inf
    renew_at: float = inf
    tend_at: float = inf
    reap_at: float = inf
    announce_at: float = inf
    sweep_at: float = inf
    pool_at: float = inf
    idle_at: float = inf
    stop_at: float | None = None


class Step(NamedTuple):
    """What to do in one turn, in this order.

    Args:
        abandon: Stop the children: their leases may be someone else's by now.
        settle: Give the outcomes to the store.
        claim: Ask for work for so many slots, in the same step when something is settled.
        start: Read what leases need, and start them.
        note: Pass on what running attempts say.
        renew: Hold the leases for longer.
        tend: See to what is wanted of this worker.
        reap: Do what time demands of the store.
        announce: Tell the store how this worker is.
        sweep: Tidy the store up.
        leave: Stop working.
    """

    abandon: bool = False
    settle: bool = False
    claim: int = 0
    start: bool = False
    note: bool = False
    renew: bool = False
    tend: bool = False
    reap: bool = False
    announce: bool = False
    sweep: bool = False
    leave: bool = False


_NOTHING = Step()


def decide(seen: Seen) -> Step:
    """What is to be done now; all fields are false when nothing is.

    Outcomes bring a claim with them: it costs nothing in the same step.

    Example:
        >>> decide(Seen(now=5.0, free=2)).claim, decide(Seen(now=5.0, free=2, dry=True)).claim
        (2, 0)
    """
    now, free, held, ended, unread, notes, dry, store_at, _, trusted_until, renew_at, tend_at, *_ = seen
    *_, reap_at, announce_at, sweep_at, _, idle_at, stop_at = seen
    quiet = not (held or ended or unread)
    leave = quiet and now >= idle_at if stop_at is None else quiet or now >= stop_at
    stale = held > 0 and store_at > 0.0 and now >= trusted_until
    if stale or now < store_at:
        return Step(abandon=stale, leave=leave) if stale or leave else _NOTHING
    claims = stop_at is None and not unread and (ended or not dry)
    return Step(
        False,
        ended > 0 and not gathers(seen),
        free if claims and free > 0 else 0,
        unread > 0,
        notes,
        held > 0 and now >= renew_at,
        now >= tend_at,
        now >= reap_at,
        now >= announce_at,
        quiet and now >= sweep_at,
        leave,
    )


def gathers(seen: Seen) -> bool:
    """Whether outcomes may wait for others: the store was told some just now, and no slot wants for work.

    Example:
        >>> gathers(Seen(now=5.0, held=3, ended=2, settle_at=5.002))
        True
    """
    return seen.now < seen.settle_at and seen.held > 0 and seen.free <= 0 and seen.stop_at is None


def rest_s(seen: Seen) -> float:
    """How long to sleep when nothing rings, 0 when there is something to do.

    Example:
        >>> rest_s(Seen(now=5.0, free=2)), rest_s(Seen(now=5.0, dry=True, reap_at=6.5))
        (0.0, 1.5)
    """
    if any(decide(seen)):
        return 0.0
    now, _, held, ended, unread, _, _, store_at, settle_at, trusted_until, renew_at, tend_at, *_ = seen
    *_, reap_at, announce_at, sweep_at, pool_at, idle_at, stop_at = seen
    quiet = not (held or ended or unread)
    own = min(pool_at, idle_at if quiet and stop_at is None else inf, inf if stop_at is None else stop_at)
    own = min(own, trusted_until if held and store_at > 0.0 else inf)
    if now < store_at:
        alarm = min(own, store_at)
    else:
        own = min(own, settle_at if ended else inf)
        alarm = min(own, tend_at, reap_at, announce_at, renew_at if held else inf, sweep_at if quiet else inf)
    return min(max(0.0, alarm - now), REST_S)
