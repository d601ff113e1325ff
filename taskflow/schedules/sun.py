"""With the sun, where that is seen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple

from taskflow.errors import ConfigError, MissingExtra, nearest
from taskflow.schedules.kinds import Schedule

__all__ = ["solar"]

_MOST_DAYS = 366


class _Event(NamedTuple):
    """How ephem is asked: its verb, the height of the sun in degrees, and of which part of its disc."""

    verb: str
    horizon: str
    centre: bool


_RISE, _SET, _EDGE = "next_rising", "next_setting", "-0:34"
_EVENTS = {
    "dawn_astronomical": _Event(_RISE, "-18", True),
    "dawn_nautical": _Event(_RISE, "-12", True),
    "dawn_civil": _Event(_RISE, "-6", True),
    "sunrise": _Event(_RISE, _EDGE, False),
    "solar_noon": _Event("next_transit", "0", False),
    "sunset": _Event(_SET, _EDGE, False),
    "dusk_civil": _Event(_SET, "-6", True),
    "dusk_nautical": _Event(_SET, "-12", True),
    "dusk_astronomical": _Event(_SET, "-18", True),
}
"""The definitions of the U.S. Naval Observatory: 34' are the refraction of the air at the horizon."""


@dataclass(frozen=True)
class solar(Schedule):  # noqa: N801 - Celery's name
    """With the sun: at each sunrise, say. Where it does not rise today, at the next one.

    Args:
        event: ``"sunrise"``, ``"sunset"``, ``"solar_noon"``, or ``"dawn_…"`` and ``"dusk_…"`` with
            ``civil``, ``nautical`` or ``astronomical``.
        lat: Degrees, north is positive.
        lon: Degrees, east is positive.

    Raises:
        ConfigError: There is no such event (the nearest is named), or no such place.
        MissingExtra: When it is asked: ``pip install 'jupyter-taskflow[solar]'`` brings what knows the sun.
    """

    event: str
    lat: float
    lon: float

    def __post_init__(self) -> None:
        if self.event not in _EVENTS:
            raise ConfigError(
                f"There is no solar event {self.event!r}.{nearest(str(self.event), _EVENTS)} There are"
                f" {', '.join(_EVENTS)}."
            )
        for name, most in (("lat", 90), ("lon", 180)):
            if not -most <= getattr(self, name) <= most:
                raise ConfigError(
                    f"solar({name}={getattr(self, name)!r}) is not possible: use {-most} to {most} degrees."
                )
            object.__setattr__(self, name, float(getattr(self, name)))

    def __str__(self) -> str:
        return f"{self.event} at {self.lat:g}, {self.lon:g}"

    def _next(self, instant: datetime, tz: tzinfo, since: datetime) -> datetime | None:
        ephem, asked = _ephem(), _EVENTS[self.event]
        place, sun = ephem.Observer(), ephem.Sun()
        place.lat, place.lon, place.elevation = str(self.lat), str(self.lon), 0
        place.pressure, place.horizon = 0, asked.horizon
        more = {"use_center": True} if asked.centre else {}
        start = ephem.Date(instant.replace(tzinfo=None))
        for _ in range(_MOST_DAYS):
            try:
                found = getattr(place, asked.verb)(sun, start=start, **more).datetime().replace(tzinfo=UTC)
            except ephem.CircumpolarError:  # not on this day
                start = place.next_antitransit(sun, start=start)
                continue
            if found > instant:
                return found  # type: ignore[no-any-return]
            start = ephem.Date(start + ephem.minute)
        return None


def _ephem() -> Any:
    try:
        import ephem
    except ImportError:
        raise MissingExtra(
            "solar(...) needs to know where the sun is: pip install 'jupyter-taskflow[solar]'"
        ) from None
    return ephem
