"""Limits of the whole store, by name: who may start now, whoever runs it, wherever.

::

    concurrency   running < most
    rate          a token for each start; tokens grow with time, up to the burst
    breaker       closed ── failures in the window ──► open ── reset_s ──► half open: some probes
                    ▲                                    ▲                    │
                    └─────────── one succeeded ──────────┼────────────────────┤
                                                         └──── one failed ────┘

Who finds no room leaves word (`LimitRow.refused`): workers are woken when there may be some again.
"""

from __future__ import annotations

from math import floor

from taskflow.limits import BreakerWord, Limit
from taskflow.machine.rows import LimitRow, NodeRow, Part, Rows
from taskflow.records import Kind, Outcome

__all__ = ["IDLE_KEPT_S", "breaks", "enters", "heard", "limits_due", "opened", "room", "start", "tally"]

MANY = 1 << 52
IDLE_KEPT_S = 60.0
OPEN_KEPT_S = 86_400.0
_DUST = 1e-6
"""What arithmetic may have lost of a token."""
_ANSWERED = frozenset({Kind.SUCCEEDED, Kind.SKIPPED, Kind.REPLACED})
_FAILED = frozenset({Kind.FAILED, Kind.RETRY})


def room(rows: Rows, row: NodeRow, worker: str) -> int:
    """How many more items of a node its limits let start now."""
    least = MANY
    for limit in row.policy.limits:
        kept = _kept(rows, limit, worker)
        free = _free(limit, kept, rows.now)
        if free <= 0:
            _leave_word(rows, limit, kept)
            if not limit.alone and not any(map(_fails_at_once, row.policy.limits)):
                rows.shut(row, limit.name)
        least = min(least, max(0, free))
    return least


def opened(rows: Rows, row: NodeRow) -> LimitRow | None:
    """The open breaker for whose sake a node's new items fail at once."""
    for limit in row.policy.limits:
        if _fails_at_once(limit):
            kept = rows.limit(limit.name)
            if kept.opened_at is not None and _free(limit, kept, rows.now) <= 0:
                return kept
    return None


def start(rows: Rows, row: NodeRow, worker: str, items: int) -> None:
    """Items of a node were handed out."""
    for limit in row.policy.limits:
        _start(rows, limit, _kept(rows, limit, worker), items)


def tally(rows: Rows, row: NodeRow, items: int) -> None:
    """So many items more, or fewer, of a node run."""
    for limit in row.policy.limits:
        if limit.most is not None:
            kept = rows.limit(limit.name)
            kept.held += items
            if items < 0 and kept.refused:
                _call_back(rows, kept)
            _save(rows, limit, kept)


def heard(rows: Rows, row: NodeRow, part: Part, outcome: Outcome) -> None:
    """An attempt has ended: its breakers learn how the service is."""
    for limit in row.policy.limits:
        if limit.failures is None:
            continue
        kept = rows.limit(limit.name)
        if outcome.kind in _ANSWERED or (outcome.kind in _FAILED and outcome.spared):
            _answered(rows, limit, kept, part.started_at or 0.0)
        elif outcome.kind in _FAILED:
            _failed(rows, limit, kept, part.started_at or 0.0)


def enters(rows: Rows, limit: Limit) -> bool:
    """Whether a breaker lets one through that is no item; it counts as a start."""
    kept = rows.limit(limit.name)
    if _free(limit, kept, rows.now) <= 0:
        return False
    _start(rows, limit, kept, 1)
    return True


def breaks(rows: Rows, limit: Limit, word: BreakerWord, started_at: float) -> bool:
    """Tell a breaker how one fared that is no item and started then, or what to be; whether it changed."""
    kept = rows.limit(limit.name)
    before = kept.opened_at
    if word is BreakerWord.FAILED:
        _failed(rows, limit, kept, started_at)
    elif word is BreakerWord.OPEN:
        _open(rows, limit, kept)
        _save(rows, limit, kept)
    elif word is BreakerWord.CLOSE:
        _close(rows, limit, kept)
    else:
        _answered(rows, limit, kept, started_at)
    return kept.opened_at != before


def limits_due(rows: Rows) -> None:
    """Wake who was refused, and let go of what is as good as new."""
    for kept in rows.limits_due():
        if kept.wake_at is not None and kept.wake_at <= rows.now:
            _call_back(rows, kept)
        if kept.idle_at is not None and kept.idle_at <= rows.now:
            rows.drop_limit(kept)
        else:
            rows.save(kept)


def _fails_at_once(limit: Limit) -> bool:
    """Whether it is a breaker for whose sake nodes have to be looked at, though there may be no room."""
    return limit.failures is not None and not limit.holds


def _kept(rows: Rows, limit: Limit, worker: str) -> LimitRow:
    return rows.limit(f"{limit.name}@{worker}" if limit.alone else limit.name)


def _start(rows: Rows, limit: Limit, kept: LimitRow, items: int) -> None:
    if limit.per_s is not None:
        kept.tokens, kept.at = _tokens(limit, kept, rows.now) - items, rows.now
    elif kept.opened_at is not None:
        if kept.until <= rows.now:
            kept.probes, kept.until = limit.probes, rows.now + limit.reset_s
        kept.probes -= items
    _save(rows, limit, kept)


def _free(limit: Limit, kept: LimitRow, now: float) -> int:
    if limit.most is not None:
        return limit.most - kept.held
    if limit.per_s is not None:
        return floor(_tokens(limit, kept, now) + _DUST)
    if kept.opened_at is None:
        return MANY
    return limit.probes if kept.until <= now else kept.probes


def _tokens(limit: Limit, kept: LimitRow, now: float) -> float:
    if kept.at is None:
        return limit.burst
    return min(limit.burst, kept.tokens + max(0.0, now - kept.at) * (limit.per_s or 0.0))


def _leave_word(rows: Rows, limit: Limit, kept: LimitRow) -> None:
    is_first = kept.wake_at is None
    kept.refused = True
    if limit.per_s is not None:
        kept.wake_at = rows.now + (1.0 - _tokens(limit, kept, rows.now)) / limit.per_s
    elif limit.failures is not None:
        kept.wake_at = kept.until
    rows.freed |= is_first and kept.wake_at is not None  # somebody looks when it is due
    rows.save(kept)


def _call_back(rows: Rows, kept: LimitRow) -> None:
    kept.refused, kept.wake_at = False, None
    rows.reopen(kept.name)
    rows.freed = True


def _failed(rows: Rows, limit: Limit, kept: LimitRow, started_at: float) -> None:
    if kept.opened_at is not None:
        if started_at <= kept.opened_at:
            return  # it began before the breaker opened, and says nothing new
        _open(rows, limit, kept)
    else:
        recent = tuple(at for at in kept.failed if at > rows.now - limit.window_s)
        kept.failed = (*recent, rows.now)
        if len(kept.failed) >= (limit.failures or 1):
            _open(rows, limit, kept)
    _save(rows, limit, kept)


def _open(rows: Rows, limit: Limit, kept: LimitRow) -> None:
    kept.failed, kept.opened_at, kept.probes = (), rows.now, 0
    kept.until = rows.now + limit.reset_s


def _answered(rows: Rows, limit: Limit, kept: LimitRow, started_at: float) -> None:
    if kept.opened_at is not None and started_at > kept.opened_at:
        _close(rows, limit, kept)


def _close(rows: Rows, limit: Limit, kept: LimitRow) -> None:
    kept.opened_at, kept.failed = None, ()
    if kept.refused:
        _call_back(rows, kept)
    _save(rows, limit, kept)


def _save(rows: Rows, limit: Limit, kept: LimitRow) -> None:
    kept.idle_at = None
    if limit.per_s is not None:
        kept.idle_at = rows.now + (limit.burst - kept.tokens) / limit.per_s + IDLE_KEPT_S
    elif limit.failures is not None and kept.opened_at is not None:
        kept.idle_at = kept.until + OPEN_KEPT_S
    elif limit.failures is not None:
        kept.idle_at = rows.now + limit.window_s + IDLE_KEPT_S
    elif kept.held == 0:
        kept.idle_at = rows.now + IDLE_KEPT_S
    rows.save(kept)
