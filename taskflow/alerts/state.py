"""What becomes of an alert from one look to the next. Pure.

::

    quiet ── holds ──► pending ── for so long ──► firing ── holds no more ──► quiet
                          │                         │                          │
                          └── holds no more ► quiet └── notice                 └── notice, if it fired aloud

A notice is kept in the state until it is delivered, so that it is not lost with who was to deliver it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

__all__ = ["Due", "Standing", "after_look", "claimed", "delivered"]

CLAIMED_S = 120.0
"""After so long another one delivers what was claimed."""
AGAIN_S = 5.0
MOST_TRIES = 5
MOST_DUE = 20


@dataclass(frozen=True)
class Due:
    """A notice that is to be delivered.

    Args:
        number: Counts the notices of its alert.
        state: ``firing`` or ``resolved``.
        value: What was measured then.
        at: When that was, seconds since the epoch.
        left: Which of the places it still has to go to, by number; `None` for all.
        tries: How often that was tried.
        by: Who delivers it, or has tried.
        until: Until when nobody else does.
    """

    number: int
    state: str
    value: float | None
    at: float
    left: tuple[int, ...] | None = None
    tries: int = 0
    by: str = ""
    until: float = 0.0


@dataclass(frozen=True)
class Standing:
    """How an alert stands.

    Args:
        since: Since when its condition holds; `None` while it does not.
        firing: Whether it held long enough.
        aloud: Whether that was told, or is to be.
        quiet_until: Within its cooldown nothing new is told.
        number: How many notices there were.
        due: Those that were not delivered yet, in order.
        error: Why the last notice did not arrive somewhere; empty when it did.
    """

    since: float | None = None
    firing: bool = False
    aloud: bool = False
    quiet_until: float = 0.0
    number: int = 0
    due: tuple[Due, ...] = ()
    error: str = ""

    @property
    def state(self) -> str:
        """``firing``, ``pending`` or ``quiet``."""
        return "firing" if self.firing else "quiet" if self.since is None else "pending"

    def to_json(self) -> dict[str, Any]:
        """As what it is after it was written and read."""
        told: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return told

    @staticmethod
    def from_json(told: dict[str, Any]) -> Standing:
        """Read `to_json`."""
        due = [
            Due(**{**one, "left": None if one["left"] is None else tuple(one["left"])}) for one in told["due"]
        ]
        return Standing(**{**told, "due": tuple(due)})


def _due_from(told: dict[str, Any]) -> Due:
    left = told["left"]
    return Due(**{**told, "left": None if left is None else tuple(left)})


def after_look(
    standing: Standing, holds: bool | None, value: float | None, now: float, for_s: float, cooldown_s: float
) -> Standing:
    """How it stands after a look; asked twice it is the same as once.

    Args:
        standing: How it stood.
        holds: Whether its condition does; `None` when nobody knows, which changes nothing.
        value: What was measured.
        now: When, seconds since the epoch.
        for_s: How long it has to hold.
        cooldown_s: How long after a notice that it fires no other one is given.
    """
    if holds is None:
        return standing
    if not holds:
        if standing.aloud:
            standing = _with_notice(standing, "resolved", value, now)
        return replace(standing, since=None, firing=False, aloud=False)
    since = now if standing.since is None else standing.since
    firing = standing.firing or now - since >= for_s
    standing = replace(standing, since=since, firing=firing)
    if firing and not standing.aloud and now >= standing.quiet_until:
        standing = _with_notice(standing, "firing", value, now)
        standing = replace(standing, aloud=True, quiet_until=now + cooldown_s)
    return standing


def _with_notice(standing: Standing, state: str, value: float | None, now: float) -> Standing:
    due = Due(standing.number + 1, state, value, now)
    return replace(standing, number=due.number, due=(*standing.due, due)[-MOST_DUE:])


def claimed(standing: Standing, by: str, now: float) -> Standing:
    """The first notice that is due is `by`'s to deliver, unless somebody else is at it."""
    if not standing.due or standing.due[0].until > now:
        return standing
    first = replace(standing.due[0], by=by, until=now + CLAIMED_S, tries=standing.due[0].tries + 1)
    return replace(standing, due=(first, *standing.due[1:]))


def delivered(standing: Standing, due: Due, failed: dict[int, str], now: float) -> Standing:
    """A notice was delivered, but for some of its places: there it is tried again after a while."""
    if not standing.due or standing.due[0] != due:
        return standing
    error = "; ".join(failed.values())
    if not failed or due.tries >= MOST_TRIES:
        return replace(standing, due=standing.due[1:], error=error)
    again = replace(due, left=tuple(failed), by="", until=now + AGAIN_S * due.tries)
    return replace(standing, due=(again, *standing.due[1:]), error=error)
