"""What all schedules have in common, and how they are read back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, ClassVar

from taskflow.errors import ConfigError, nearest

__all__ = ["Schedule", "as_schedule", "from_json"]


class Schedule(ABC):
    """When something is to run: a value that tells the next instant after another."""

    kinds: ClassVar[dict[str, type[Schedule]]] = {}

    def __init_subclass__(cls) -> None:
        Schedule.kinds[cls.__name__] = cls

    def next_after(
        self, instant: datetime, tz: tzinfo = UTC, since: datetime | None = None
    ) -> datetime | None:
        """The first instant later than this one, in the zone; `None` when there is none.

        Args:
            instant: An aware moment.
            tz: Whose clock is meant, where one is.
            since: From when an interval counts; from `instant` by default.
        """
        found = self._next(instant.astimezone(UTC), tz, (since or instant).astimezone(UTC))
        return found.astimezone(tz) if found is not None else None

    def latest(
        self, after: datetime, until: datetime, tz: tzinfo = UTC, since: datetime | None = None
    ) -> datetime | None:
        """The last instant in ``(after, until]``, found without looking at all of them."""
        after, until = after.astimezone(UTC), until.astimezone(UTC)
        since = (since or after).astimezone(UTC)
        found = None
        following = self._next(after, tz, since)
        while following is not None and following <= until:
            found = following
            middle = found + (until - found) / 2
            later = self._next(middle, tz, since)
            if later is None or later > until:
                until = middle
            else:
                found = later
            following = self._next(found, tz, since)
        return found.astimezone(tz) if found is not None else None

    def to_json(self) -> dict[str, Any]:
        """Plain values for `from_json`."""
        told = {f.name: _plain(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]
        return {"kind": type(self).__name__} | told

    @abstractmethod
    def _next(self, instant: datetime, tz: tzinfo, since: datetime) -> datetime | None:
        """See `next_after`; all instants are in UTC, where they can be compared."""


def from_json(told: Mapping[str, Any]) -> Schedule:
    """Read `Schedule.to_json`.

    Raises:
        ConfigError: There is no such kind of schedule.

    Example:
        >>> from taskflow.schedules import crontab
        >>> from_json(crontab(minute=0, hour=9).to_json()) == crontab(minute="0", hour="9")
        True
    """
    given = dict(told)
    kind = given.pop("kind", None)
    if kind not in Schedule.kinds:
        raise ConfigError(f"There is no schedule {kind!r}.{nearest(str(kind), Schedule.kinds)}")
    return Schedule.kinds[kind](**given)


def as_schedule(given: Any, *, relative: bool = False) -> Schedule:
    """What is meant by a number of seconds, a `timedelta`, or a schedule itself.

    Args:
        given: One of these.
        relative: Of an interval: by the clock on the wall, see `schedule`.

    Raises:
        ConfigError: It is none of these.
    """
    if isinstance(given, Schedule):
        return given
    if isinstance(given, (int, float, timedelta)) and not isinstance(given, bool):
        return Schedule.kinds["schedule"](given, relative)  # type: ignore[call-arg]
    raise ConfigError(
        f"{given!r} is no schedule: use seconds, a timedelta, taskflow.crontab(...), taskflow.solar(...) or"
        " taskflow.once(...)."
    )


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat() if isinstance(value, datetime) else value
