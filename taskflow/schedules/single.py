"""Once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from taskflow.errors import ConfigError
from taskflow.schedules.kinds import Schedule
from taskflow.schedules.zones import at_wall

__all__ = ["once"]


@dataclass(frozen=True)
class once(Schedule):  # noqa: N801 - as the others
    """Once, at a moment.

    Args:
        at: A `datetime`, or its text as in ``"2026-12-24 18:00"``; without a zone it is what the clock shows
            in that of the entry.

    Raises:
        ConfigError: It is no moment.
    """

    at: datetime

    def __init__(self, at: datetime | str) -> None:
        try:
            moment = datetime.fromisoformat(at) if isinstance(at, str) else at
        except ValueError:
            moment = None
        if not isinstance(moment, datetime):
            raise ConfigError(f"once({at!r}) is not possible: use a datetime, or '2026-12-24 18:00'.")
        object.__setattr__(self, "at", moment)

    def __str__(self) -> str:
        return f"once at {self.at:%Y-%m-%d %H:%M}"

    def _next(self, instant: datetime, tz: tzinfo, since: datetime) -> datetime | None:
        found = self.at.astimezone(UTC) if self.at.tzinfo is not None else at_wall(self.at, tz)
        return found if found > instant else None
