"""By the clock and the calendar, as in a crontab.

What a field means, and which dates fit, is left to cronsim. What it is told are times without a zone: what
a change of the clocks does is said here, in `crontab._next`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

from taskflow.errors import ConfigError, nearest
from taskflow.schedules.kinds import Schedule
from taskflow.schedules.zones import at_wall, first_change, wall

if TYPE_CHECKING:
    from cronsim import CronSim

__all__ = ["crontab"]

Field = str | int | Iterable[int | str]

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_BOUNDS = {
    "minute": (0, 59, ()),
    "hour": (0, 23, ()),
    "day_of_month": (1, 31, ()),
    "month_of_year": (1, 12, _MONTHS),
    "day_of_week": (0, 6, _DAYS),
}
"""In the order of a crontab: the least, the most, and names that begin with the least."""
_WORD = re.compile(r"[A-Za-z]{3,}")
_RANGE = re.compile(r"(\d+)-(\d+)(?:/(\d+))?")
_EXAMPLE_YEAR = datetime(2024, 1, 1)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, repr=False)
class crontab(Schedule):  # noqa: N801 - Celery's name
    """By the clock and the calendar of a zone; all fields must fit, also both of the days.

    A field is a number, a list of them, or text: ``"*"``, ``"*/15"``, ``"1,13,30-45/2"``, names
    (``"mon-fri"``, ``"jan"``); 0 and 7 are Sunday; a range may go over the end (``"fri-mon"``,
    ``"22-2"``). The end of a month is ``"L"``, its last weekday ``"LW"``, its last Friday
    ``day_of_week="5L"``, its first Monday ``day_of_week="mon#1"``.

    When the clocks change, a schedule with certain hours runs once for each time that it names: one that the
    clock leaves out at the moment at which it is put forward, one that it shows twice the first time. A
    schedule for every hour goes by what the clock shows, also the second time, and makes up for nothing.

    Args:
        minute: 0 to 59.
        hour: 0 to 23.
        day_of_week: 0 to 7, or names.
        day_of_month: 1 to 31.
        month_of_year: 1 to 12, or names.

    Raises:
        ConfigError: A field is impossible, or no day fits.

    Example:
        >>> crontab(minute=0, hour=9, day_of_week="mon-fri")
        crontab('0 9 * * mon-fri')
    """

    minute: str = "*"
    hour: str = "*"
    day_of_week: str = "*"
    day_of_month: str = "*"
    month_of_year: str = "*"

    def __init__(
        self,
        minute: Field = "*",
        hour: Field = "*",
        day_of_week: Field = "*",
        day_of_month: Field = "*",
        month_of_year: Field = "*",
    ) -> None:
        given = (minute, hour, day_of_week, day_of_month, month_of_year)
        for f, value in zip(fields(self), given, strict=True):
            object.__setattr__(self, f.name, _text(value))
        simulated = self._simulated(_EXAMPLE_YEAR)
        if next(simulated, None) is None:
            raise ConfigError(f"{self!r} never runs: no day is of that month, number and day of the week.")

    @classmethod
    def from_string(cls, text: str) -> crontab:
        """The schedule of a line of a crontab: minute, hour, day of the month, month, day of the week.

        Raises:
            ConfigError: It has not five fields, or one is impossible.

        Example:
            >>> crontab.from_string("*/15 8-18 * * 1-5").day_of_week
            '1-5'
        """
        found = text.split()
        if len(found) != len(_BOUNDS):
            raise ConfigError(
                f"{text!r} has {len(found)} fields: write minute, hour, day of the month, month and day of"
                " the week, as in '0 9 * * 1-5'."
            )
        return cls(**dict(zip(_BOUNDS, found, strict=True)))

    def __str__(self) -> str:
        return " ".join(getattr(self, name) for name in _BOUNDS)

    def __repr__(self) -> str:
        return f"crontab({str(self)!r})"

    def _next(self, instant: datetime, tz: tzinfo, since: datetime) -> datetime | None:
        simulated = self._simulated(wall(instant, tz))
        if len(simulated.hours) == 24:
            return self._next_hourly(instant, tz, simulated)
        for shown in simulated:
            found = at_wall(shown, tz)
            if found > instant:  # not so in the hour that the clock shows for the second time
                return found
        return None

    def _next_hourly(self, instant: datetime, tz: tzinfo, simulated: CronSim) -> datetime | None:
        """The next instant at which the clock shows what fits: as it goes now, or from its next change on."""
        shown = next(simulated, None)
        if shown is None:
            return None
        offset = instant.astimezone(tz).utcoffset() or timedelta()
        found = (shown - offset).replace(tzinfo=UTC)
        change = first_change(instant, found, tz)
        if change is None:
            return found
        return self._next_hourly(change, tz, self._simulated(wall(change, tz) - _SECOND))

    def _simulated(self, shown: datetime) -> CronSim:
        """The times without a zone that fit, after this one."""
        from cronsim import CronSim, CronSimError

        try:
            simulated = CronSim(_expression(self), shown)
        except CronSimError as error:
            _refuse(self, str(error))
        simulated.day_and = True  # Celery's rule; cron takes either, when both days are named
        return simulated


def _text(value: Field) -> str:
    if isinstance(value, str):
        return "".join(value.split())
    if isinstance(value, int):
        return str(int(value))
    try:
        return ",".join(map(str, sorted(value, key=lambda one: (isinstance(one, str), one))))
    except TypeError:
        raise ConfigError(f"{value!r} is no field of a crontab: use a number, a list, or text.") from None


@lru_cache(maxsize=1024)
def _expression(cron: crontab) -> str:
    return " ".join(_field(getattr(cron, name), *bounds) for name, bounds in _BOUNDS.items())


def _field(text: str, least: int, most: int, names: tuple[str, ...]) -> str:
    """As cronsim reads it: names are numbers; no range goes over the end, nor from a number to itself."""

    def number(found: re.Match[str]) -> str:
        name = found[0].lower()[:3]
        if name not in names:
            raise ConfigError(f"{found[0]!r} is no name in a crontab.{nearest(name, names)}")
        return str(names.index(name) + least)

    return ",".join(_forwards(part, least, most) for part in _WORD.sub(number, text or "?").split(","))


def _forwards(part: str, least: int, most: int) -> str:
    found = _RANGE.fullmatch(part)
    if found is None:
        return part
    lo, hi, step = int(found[1]), int(found[2]), int(found[3] or 1)
    if lo == hi and step:
        return str(lo)
    if lo <= hi or step == 0 or not least <= hi < lo <= most:
        return part
    return ",".join(map(str, [*range(lo, most + 1), *range(least, hi + 1)][::step]))


_SAID = {"day-of-month": "day_of_month", "month": "month_of_year", "day-of-week": "day_of_week"}
"""What cronsim calls a field, by its name here."""


def _refuse(cron: crontab, said: str) -> NoReturn:
    word = said.removeprefix("Bad ")
    name = _SAID.get(word, word)
    if name not in _BOUNDS:
        raise ConfigError(f"{cron!r} is not possible: {said}.")
    least, most, names = _BOUNDS[name]
    words = f", {names[0]} to {names[-1]}" if names else ""
    within = f" in month {cron.month_of_year}" if name == "day_of_month" and cron.month_of_year != "*" else ""
    raise ConfigError(
        f"crontab({name}={getattr(cron, name)!r}) is not possible{within}: use {least} to {most}{words}, '*',"
        " lists, ranges and steps."
    )
