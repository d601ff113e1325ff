"""What schedules do at every change of the clocks of 2026, in six zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

import pytest

from taskflow.schedules import crontab, once, schedule, zone
from taskflow.schedules.zones import first_change

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


class Change(NamedTuple):
    """At an instant (UTC) the clock that shows `before` is set to `behind`."""

    zone: str
    at: str
    before: str
    behind: str

    @property
    def instant(self) -> datetime:
        return datetime.fromisoformat(self.at).replace(tzinfo=UTC)

    def shows(self, text: str) -> datetime:
        """That time, on the day of the change, without a zone."""
        return datetime.fromisoformat(f"{self.instant.astimezone(zone(self.zone)):%Y-%m-%d} {text}")


FORWARD = [
    Change("Europe/Berlin", "2026-03-29 01:00", "02:00", "03:00"),
    Change("America/New_York", "2026-03-08 07:00", "02:00", "03:00"),
    Change("Australia/Sydney", "2026-10-03 16:00", "02:00", "03:00"),
    Change("Australia/Lord_Howe", "2026-10-03 15:30", "02:00", "02:30"),
    Change("Africa/Casablanca", "2026-03-22 02:00", "02:00", "03:00"),
]
BACK = [
    Change("Europe/Berlin", "2026-10-25 01:00", "03:00", "02:00"),
    Change("America/New_York", "2026-11-01 06:00", "02:00", "01:00"),
    Change("Australia/Sydney", "2026-04-04 16:00", "03:00", "02:00"),
    Change("Australia/Lord_Howe", "2026-04-04 15:00", "02:00", "01:30"),
    Change("Africa/Casablanca", "2026-02-15 02:00", "03:00", "02:00"),
]
ZONES = [*dict.fromkeys(change.zone for change in FORWARD), "America/Sao_Paulo"]
EVERY_HOUR = crontab(minute="*/10")


def named(change: Change) -> str:
    return f"{change.zone}-{change.at[:10]}"


def ticks(when: crontab | schedule, name: str, start: datetime, end: datetime) -> list[datetime]:
    found, at = [], when.next_after(start, zone(name), start)
    while at is not None and at.astimezone(UTC) <= end:
        found.append(at.astimezone(UTC))
        at = when.next_after(at, zone(name), start)
    return found


@pytest.mark.parametrize("name", ZONES)
def test_these_are_all_changes_of_the_year(name: str) -> None:
    at, found = datetime(2026, 1, 1, tzinfo=UTC), []
    while (change := first_change(at, datetime(2027, 1, 1, tzinfo=UTC), zone(name))) is not None:
        found.append(change)
        at = change

    assert found == sorted(change.instant for change in FORWARD + BACK if change.zone == name)


@pytest.mark.parametrize("change", FORWARD, ids=named)
def test_a_time_that_is_left_out_runs_when_the_clock_is_put_forward(change: Change) -> None:
    left_out = change.shows(change.before) + 15 * MINUTE
    daily = crontab(left_out.minute, left_out.hour)

    found = ticks(daily, change.zone, change.instant - DAY, change.instant + DAY)

    assert found[:2] == [found[0], change.instant]
    assert len([at for at in found if abs(at - change.instant) < timedelta(hours=12)]) == 1


@pytest.mark.parametrize("change", FORWARD, ids=named)
def test_several_times_that_are_left_out_run_once(change: Change) -> None:
    often = crontab("5,10,20", change.shows(change.before).hour)

    found = ticks(often, change.zone, change.instant - 20 * MINUTE, change.instant + 20 * MINUTE)

    assert found == [change.instant]


@pytest.mark.parametrize("change", BACK, ids=named)
def test_a_time_that_is_shown_twice_runs_the_first_time(change: Change) -> None:
    twice = change.shows(change.behind) + 15 * MINUTE
    daily = crontab(twice.minute, twice.hour)

    found = ticks(daily, change.zone, change.instant - 12 * 60 * MINUTE, change.instant + 12 * 60 * MINUTE)

    first = change.instant - (change.shows(change.before) - twice)
    assert found == [first]
    assert first < change.instant


@pytest.mark.parametrize("change", BACK, ids=named)
def test_every_hour_counts_also_the_second_time(change: Change) -> None:
    found = ticks(EVERY_HOUR, change.zone, change.instant - 90 * MINUTE, change.instant + 90 * MINUTE)

    assert {later - at for at, later in pairwise(found)} == {10 * MINUTE}


@pytest.mark.parametrize("change", FORWARD + BACK, ids=named)
def test_every_hour_goes_by_what_the_clock_shows(change: Change) -> None:
    when = crontab(minute="15,30,50")
    start, end = change.instant - DAY, change.instant + DAY
    minutes = (start + number * MINUTE for number in range(1, 2 * 24 * 60 + 1))

    found = ticks(when, change.zone, start, end)

    tz = zone(change.zone)
    assert found == [at for at in minutes if at.astimezone(tz).minute in (15, 30, 50)]


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize("shown", ["00:00", "01:45", "02:15", "02:30", "09:00"])
def test_a_daily_schedule_runs_once_on_every_day_of_the_year(name: str, shown: str) -> None:
    hour, minute = shown.split(":")
    start, end = datetime(2026, 1, 1, tzinfo=zone(name)), datetime(2027, 1, 1, tzinfo=zone(name))

    found = ticks(
        crontab(minute, hour), name, start.astimezone(UTC) - MINUTE, end.astimezone(UTC) - 2 * MINUTE
    )

    days = [at.astimezone(zone(name)).date() for at in found]
    assert days == [start.date() + number * DAY for number in range(365)]


@pytest.mark.parametrize("name", ZONES)
def test_an_interval_knows_no_clock(name: str) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)

    found = ticks(schedule(6 * 3600), name, start, start + 365 * DAY)

    assert found == [start + timedelta(hours=6 * number) for number in range(1, 365 * 4 + 1)]


@pytest.mark.parametrize("name", ZONES)
def test_whole_days_by_the_clock_are_midnights(name: str) -> None:
    start = datetime(2026, 1, 1, 12, tzinfo=UTC)

    found = ticks(schedule(DAY, relative=True), name, start, start + 360 * DAY)

    shown = [at.astimezone(zone(name)) for at in found]
    assert {at.strftime("%H:%M:%S") for at in shown} == {"00:00:00"}
    assert [at.date() for at in shown] == [shown[0].date() + number * DAY for number in range(len(shown))]
    assert len(shown) >= 359


@pytest.mark.parametrize("change", FORWARD, ids=named)
def test_a_moment_that_is_left_out_is_when_the_clock_is_put_forward(change: Change) -> None:
    left_out = once(change.shows(change.before) + 15 * MINUTE)

    assert left_out.next_after(change.instant - DAY, zone(change.zone)) == change.instant
