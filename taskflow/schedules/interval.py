"""Every so often."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from taskflow.errors import ConfigError
from taskflow.schedules.kinds import Schedule
from taskflow.schedules.zones import at_wall, wall

__all__ = ["schedule"]

SHORTEST = timedelta(seconds=0.1)
_DAY = timedelta(days=1)
_UNITS = (_DAY, timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1))


@dataclass(frozen=True, repr=False)
class schedule(Schedule):  # noqa: N801 - Celery's name
    """Every so often, counted from when it was added: a late run does not make the next one late.

    Args:
        run_every: A `timedelta`, or seconds.
        relative: By the clock on the wall: every hour at the full hour, every day at midnight. The largest
            unit (day, hour, minute, second) that is not longer than the interval is what it is rounded to;
            whole days go by the calendar of the zone, however long they are.

    Raises:
        ConfigError: It is shorter than a tenth of a second.

    Example:
        >>> schedule(30), schedule(timedelta(hours=1), relative=True)
        (schedule(30), schedule(3600, relative=True))
    """

    run_every: timedelta
    relative: bool = False

    def __init__(self, run_every: timedelta | float, relative: bool = False) -> None:
        if not isinstance(run_every, timedelta):
            if not math.isfinite(run_every):
                raise ConfigError(f"schedule({run_every!r}) is not possible: use seconds or a timedelta.")
            run_every = timedelta(seconds=run_every)
        if run_every < SHORTEST:
            raise ConfigError(
                f"schedule({run_every.total_seconds():g}) is not possible: use 0.1 s or more, and a map for"
                " what comes faster."
            )
        object.__setattr__(self, "run_every", run_every)
        object.__setattr__(self, "relative", bool(relative))

    def __repr__(self) -> str:
        return f"schedule({self.run_every.total_seconds():g}{', relative=True' if self.relative else ''})"

    def __str__(self) -> str:
        return f"every {_words(self.run_every)}{' by the clock' if self.relative else ''}"

    def _next(self, instant: datetime, tz: tzinfo, since: datetime) -> datetime | None:
        every = self.run_every
        if not self.relative:
            return since + ((instant - since) // every + 1) * every
        unit = next((unit for unit in _UNITS if every >= unit), SHORTEST)
        start = _rounded(wall(since, tz), unit)
        if every % _DAY:
            first = at_wall(start, tz)
            return first + ((instant - first) // every + 1) * every
        turns = (wall(instant, tz) - start) // every
        for turn in (turns, turns + 1):  # where the clock is put forward over midnight, either may be next
            found = at_wall(start + turn * every, tz)
            if found > instant:
                return found
        return at_wall(start + (turns + 2) * every, tz)


def _rounded(shown: datetime, unit: timedelta) -> datetime:
    midnight = shown.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (shown - midnight) // unit * unit


def _words(every: timedelta) -> str:
    for unit, word in zip(_UNITS, ("day", "h", "min", "s"), strict=True):
        if not every % unit:
            many = every // unit
            return word if many == 1 else f"{many} {word}{'s' if word == 'day' else ''}"
    return f"{every.total_seconds():g} s"
