"""`Entry`: one schedule as it is kept, and what is due of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from taskflow.beat.template import Template
from taskflow.errors import ConfigError, nearest
from taskflow.ids import RunId, id_from
from taskflow.schedules import Schedule, as_schedule, from_json, zone, zone_name
from taskflow.schedules.zones import at_wall

__all__ = ["Due", "Entry", "Missed", "Overlap", "Ran", "instant"]

Missed: TypeAlias = Literal["skip", "once", "all"]
Overlap: TypeAlias = Literal["skip", "queue", "allow"]

LATE_S = 30.0
MOST_TICKS = 100
_MOMENT = timedelta(microseconds=1)
_MOMENTS = ("since", "after", "start", "end")


class Ran(NamedTuple):
    """What became of an entry so far.

    Args:
        last: The instant of its last tick, in UTC; none, before there was one.
        runs: How many were sent.
        run: The last one.
        tails: The nodes of that which nothing follows.
    """

    last: str | None = None
    runs: int = 0
    run: str = ""
    tails: tuple[str, ...] = ()

    @property
    def last_at(self) -> datetime | None:
        """`last` as an instant."""
        return datetime.fromisoformat(self.last) if self.last is not None else None


class Due(NamedTuple):
    """What is due: the ticks to send, oldest first, and the instant up to which all is done then."""

    ticks: tuple[datetime, ...]
    until: datetime


@dataclass(frozen=True)
class Entry:
    """One schedule.

    Args:
        name: The only one of that name in the store.
        uid: Names it for good: what its runs are called is made of it.
        call: What it runs, for people.
        template: What it runs.
        schedule: When.
        tz: In which zone that is meant.
        since: From when an interval counts, in UTC.
        after: It has no ticks up to this instant.
        enabled: Whether it runs at all.
        start: It has no ticks before this.
        end: And none after this.
        missed: What happens to ticks that no beat has sent in time: ``"skip"`` leaves them out, ``"once"``
            sends the last of them, ``"all"`` all.
        jitter: Seconds, up to which a run is held back: by how much follows from the tick.
        overlap: What happens while the run before has not ended: ``"skip"`` leaves the tick out, ``"queue"``
            lets it wait for that, ``"allow"`` runs it beside that.
        origin: Which configuration it comes from; empty when a person has added it.

    Raises:
        ConfigError: A value is impossible.
    """

    name: str
    uid: str
    call: str
    template: Template = field(repr=False)
    schedule: Schedule
    tz: str
    since: datetime
    after: datetime
    enabled: bool = True
    start: datetime | None = None
    end: datetime | None = None
    missed: Missed = "once"
    jitter: float = 0.0
    overlap: Overlap = "skip"
    origin: str = ""

    def __post_init__(self) -> None:
        if not self.name or not isinstance(self.name, str):
            raise ConfigError(f"{self.name!r} is no name for a schedule: use text.")
        for option, known in (("missed", get_args(Missed)), ("overlap", get_args(Overlap))):
            value = getattr(self, option)
            if value not in known:
                raise ConfigError(
                    f"{option}={value!r} is not known.{nearest(str(value), known)} Use one of {known}."
                )
        if isinstance(self.jitter, bool) or not 0 <= self.jitter < float("inf"):
            raise ConfigError(f"jitter={self.jitter!r} is not possible: use seconds, 0 or more.")
        if self.start is not None and self.end is not None and self.end < self.start:
            raise ConfigError(f"end={self.end} is before start={self.start}.")

    def to_json(self) -> dict[str, Any]:
        """Plain values for `from_json`."""
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        told["template"], told["schedule"] = self.template.to_json(), self.schedule.to_json()
        return told | {name: _iso(told[name]) for name in _MOMENTS}

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> Entry:
        """Read `to_json`."""
        given = dict(told)
        given["template"] = Template.from_json(given["template"])
        given["schedule"] = from_json(given["schedule"])
        for name in _MOMENTS:
            given[name] = datetime.fromisoformat(given[name]) if given[name] is not None else None
        return Entry(**given)

    def in_place_of(self, old: Entry | None) -> Entry:
        """The same in the place of another: its runs are those of that, and where it is due as that was, it
        goes on counting as that did."""
        if old is None:
            return self
        same = (old.schedule, old.tz, old.start) == (self.schedule, self.tz, self.start)
        goes_on = same and old.enabled == self.enabled
        since, after = old.since if same else self.since, old.after if goes_on else self.after
        return replace(self, uid=old.uid, since=since, after=after)

    def changed(self, changes: Mapping[str, Any]) -> Entry:
        """The same with other values, as a person gives them."""
        given = dict(changes)
        relative = bool(given.pop("relative", False))
        if "schedule" in given:
            given["schedule"] = as_schedule(given["schedule"], relative=relative)
        tz = zone(given.get("tz", self.tz))
        more: dict[str, Any] = {word: instant(given[word], tz) for word in ("start", "end") if word in given}
        more["tz"] = zone_name(tz)
        return replace(self, **given | more)

    def run_at(self, tick: datetime) -> RunId:
        """The id of the run of a tick: the same, whoever sends it."""
        return RunId(id_from(f"schedule/{self.uid}/{tick.astimezone(UTC).isoformat()}"))

    def hold_s(self, tick: datetime) -> float:
        """By how much the run of a tick is held back, seconds."""
        return self.jitter * int(self.run_at(tick)[-8:], 16) / 0x1_0000_0000 if self.jitter else 0.0

    def next_after(self, instant: datetime) -> datetime | None:
        """Its first tick later than this, in its zone; `None` when there is none, or it is paused."""
        if not self.enabled:
            return None
        found = self.schedule.next_after(max(instant, self._floor), self._zone, self._counted_from)
        late = found is not None and self.end is not None and found.astimezone(UTC) > self.end
        return None if late else found

    def due(self, last: datetime | None, now: datetime) -> Due | None:
        """What is to be sent; `None` when nothing is.

        Args:
            last: Up to which tick all is done.
            now: The time.
        """
        now = min(now, self.end) if self.end is not None else now
        at = max(last, self._floor) if last is not None else self._floor
        if not self.enabled or at >= now:
            return None
        if self.missed == "all":
            return self._each(at, now)
        found = self.schedule.latest(at, now, self._zone, self._counted_from)
        if found is None:
            return None
        found = found.astimezone(UTC)
        left_out = self.missed == "skip" and (now - found).total_seconds() > LATE_S
        return Due(() if left_out else (found,), found)

    def _each(self, at: datetime, now: datetime) -> Due | None:
        ticks: list[datetime] = []
        while len(ticks) < MOST_TICKS:
            found = self.schedule.next_after(at, self._zone, self._counted_from)
            if found is None or found.astimezone(UTC) > now:
                break
            at = found.astimezone(UTC)
            ticks.append(at)
        return Due(tuple(ticks), at) if ticks else None

    @property
    def _counted_from(self) -> datetime:
        return self.start or self.since

    @cached_property
    def _floor(self) -> datetime:
        """The last instant at which it can have no tick."""
        return max(self.after, self.start - _MOMENT) if self.start is not None else self.after

    @cached_property
    def _zone(self) -> Any:
        return zone(self.tz)


def instant(moment: datetime | None, tz: tzinfo) -> datetime | None:
    """A moment in UTC; one without a zone is what the clock shows in this one."""
    if moment is None:
        return None
    return moment.astimezone(UTC) if moment.tzinfo is not None else at_wall(moment, tz)


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment is not None else None
