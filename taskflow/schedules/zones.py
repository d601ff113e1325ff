"""Between the clock on a wall and instants, where a zone changes its clocks.

Two instants of one zone must not be compared or subtracted there: Python then looks at the hands of the
clock, which say the same twice in autumn. What follows gives instants in UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from taskflow.errors import ConfigError, nearest

__all__ = ["at_wall", "first_change", "wall", "zone", "zone_name"]

_SECOND = timedelta(seconds=1)
_LOOK = timedelta(days=1)


def zone(name: str | tzinfo | None) -> tzinfo:
    """The zone of a name, such as ``"Asia/Tokyo"``; `None` is UTC.

    Raises:
        ConfigError: There is none (the nearest is named).

    Example:
        >>> zone("Asia/Tokyo").key, zone(None).key
        ('Asia/Tokyo', 'UTC')
    """
    return _zone(zone_name(name))


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        near = nearest(name, available_timezones())
        raise ConfigError(f"There is no time zone {name!r}.{near} Write it as in 'Europe/Berlin'.") from None


def zone_name(given: str | tzinfo | None) -> str:
    """The name of a zone, under which others find it.

    Raises:
        ConfigError: It has none, as a fixed offset.
    """
    found: Any = given if isinstance(given, str) else getattr(given, "key", getattr(given, "zone", None))
    if given is None or given is UTC:
        return "UTC"
    if not isinstance(found, str):
        raise ConfigError(f"The time zone {given!r} has no name: give one as in 'Europe/Berlin'.")
    return found


def wall(instant: datetime, tz: tzinfo) -> datetime:
    """What the clock shows at an instant, without a zone."""
    return instant.astimezone(tz).replace(tzinfo=None)


def at_wall(shown: datetime, tz: tzinfo) -> datetime:
    """The instant at which the clock shows this.

    The first one, where it shows it twice; where it never does, for it is put forward over it, the instant
    at which it is put forward.

    Example:
        >>> str(at_wall(datetime(2026, 3, 29, 2, 30), zone("Europe/Berlin")))
        '2026-03-29 01:00:00+00:00'
    """
    first = shown.replace(tzinfo=tz, fold=0).astimezone(UTC)
    if wall(first, tz) == shown:
        return first
    # Of a time that is left out fold=1 is before the change, and fold=0 behind it (PEP 495).
    before = shown.replace(tzinfo=tz, fold=1).astimezone(UTC)
    return first_change(before, first, tz) or first


def first_change(after: datetime, until: datetime, tz: tzinfo) -> datetime | None:
    """The first instant in ``(after, until]``, by whole seconds, at which the clock is changed."""
    after, until = after.astimezone(UTC), until.astimezone(UTC)
    while after < until:
        step = min(after + _LOOK, until)
        if _offset(step, tz) != _offset(after, tz):
            return _bisected(after, step, tz)
        after = step
    return None


def _bisected(before: datetime, behind: datetime, tz: tzinfo) -> datetime:
    old = _offset(before, tz)
    while behind - before > _SECOND:
        middle = before + (behind - before) / 2
        if _offset(middle, tz) == old:
            before = middle
        else:
            behind = middle
    return behind.replace(microsecond=0)


def _offset(instant: datetime, tz: tzinfo) -> timedelta:
    return instant.astimezone(tz).utcoffset() or timedelta()
