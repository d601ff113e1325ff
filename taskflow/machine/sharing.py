"""What those who run hold together: places under a name, in the order in which they asked.

::

    lock         one place                ask ──► line ──► place ──► let go, or not heard of in time
    semaphore    some places
    barrier      some places that are given only all at once, to those who wait by then

A place is held for a time, and longer when its holder asks again. Who stands in line keeps its turn only
while it goes on asking. It is a row of a limit that keeps all of it: `LimitRow.holders`, `LimitRow.line`.
"""

from __future__ import annotations

from math import floor

from taskflow.limits import BreakerWord, Limit
from taskflow.machine.limiting import IDLE_KEPT_S, breaks, enters
from taskflow.machine.rows import LimitRow, Rows

__all__ = ["hold", "let_go", "tell_breaker"]

_FENCES_PER_S = 1e6


def hold(
    rows: Rows, name: str, holder: str, most: int, ttl_s: float, wait_s: float, together: bool
) -> tuple[int, float]:
    """Give a place to a holder, or let it keep the one it has; see `SharingPort.hold`.

    Returns:
        Its fence, 0 when there is no place; and after how many seconds there may be one though nobody lets
        go.
    """
    kept = rows.limit(name)
    _forget_late(kept, rows.now)
    if holder in kept.holders:
        kept.holders[holder] = (kept.holders[holder][0], rows.now + ttl_s)
    else:
        kept.line[holder] = rows.now + wait_s
        if together:
            _admit_all(kept, most, rows.now, ttl_s)
        elif list(kept.line).index(holder) < most - len(kept.holders):
            del kept.line[holder]
            kept.holders[holder] = (_next_fence(kept, rows.now), rows.now + ttl_s)
    if wait_s <= 0:
        kept.line.pop(holder, None)
    _save(rows, kept)
    fence, _ = kept.holders.get(holder, (0, 0.0))
    return fence, 0.0 if fence else _rest_s(kept, holder, rows.now)


def let_go(rows: Rows, name: str, holder: str) -> tuple[bool, bool]:
    """Take a holder from its place, or out of the line.

    Returns:
        Whether it had a place, and whether others wait.
    """
    kept = rows.limit(name)
    _forget_late(kept, rows.now)
    had = kept.holders.pop(holder, None) is not None
    kept.line.pop(holder, None)
    _save(rows, kept)
    return had, bool(kept.line)


def tell_breaker(rows: Rows, limit: Limit, word: BreakerWord, took_s: float) -> bool:
    """Ask a breaker, or tell it something, without a task; see `SharingPort.tell_breaker`."""
    if word is BreakerWord.ENTER:
        return enters(rows, limit)
    return breaks(rows, limit, word, rows.now - took_s)


def _forget_late(kept: LimitRow, now: float) -> None:
    kept.holders = {name: held for name, held in kept.holders.items() if held[1] > now}
    kept.line = {name: until for name, until in kept.line.items() if until > now}


def _next_fence(kept: LimitRow, now: float) -> int:
    """Larger than all before it, also than those of a row that nobody used, and that went."""
    kept.fence = max(kept.fence + 1, floor(now * _FENCES_PER_S))
    return kept.fence


def _admit_all(kept: LimitRow, most: int, now: float, ttl_s: float) -> None:
    if not 0 < most <= len(kept.line):
        return
    fence = _next_fence(kept, now)
    for name in list(kept.line)[:most]:
        del kept.line[name]
        kept.holders[name] = (fence, now + ttl_s)


def _rest_s(kept: LimitRow, holder: str, now: float) -> float:
    """When the first of those that are in the way is not heard of in time."""
    held = [until for _, until in kept.holders.values()]
    before = [until for name, until in kept.line.items() if name != holder]
    return min([*held, *before], default=now) - now


def _save(rows: Rows, kept: LimitRow) -> None:
    last = max([until for _, until in kept.holders.values()] + [*kept.line.values()], default=rows.now)
    kept.refused, kept.idle_at = bool(kept.line), last + IDLE_KEPT_S
    rows.save(kept)
