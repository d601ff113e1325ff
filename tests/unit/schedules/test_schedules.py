"""Schedules as values, and when they are due."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.errors import ConfigError
from taskflow.schedules import Schedule, as_schedule, crontab, from_json, once, schedule, solar, zone
from taskflow.schedules.zones import zone_name

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)  # a Thursday
SOME: list[Schedule] = [
    schedule(30),
    schedule(timedelta(days=1), relative=True),
    crontab(0, 9, "mon-fri"),
    once("2026-05-01 12:00"),
    once(datetime(2026, 5, 1, tzinfo=UTC)),
    solar("sunset", 35.68, 139.69),
]


def after(when: Schedule, many: int, start: datetime = NEW_YEAR, tz: str = "UTC") -> list[str]:
    def following() -> Any:
        at = when.next_after(start, zone(tz), start)
        while at is not None:
            yield f"{at:%m-%d %H:%M}"
            at = when.next_after(at, zone(tz), start)

    return list(islice(following(), many))


@pytest.mark.parametrize("when", SOME, ids=str)
def test_a_schedule_is_a_value(when: Schedule) -> None:
    assert pickle.loads(pickle.dumps(when)) == when
    assert from_json(json.loads(json.dumps(when.to_json()))) == when
    assert hash(when) == hash(pickle.loads(pickle.dumps(when)))
    assert [other for other in SOME if other == when] == [when]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (crontab(minute=0, hour=9, day_of_week=1), ["01-05 09:00", "01-12 09:00", "01-19 09:00"]),
        (crontab(minute=0, hour=2), ["01-01 02:00", "01-02 02:00", "01-03 02:00"]),
        (crontab(0, 0, day_of_week="sun"), ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        (crontab(0, 0, day_of_week=0), ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        (crontab(0, 0, day_of_week=7), ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        (crontab(0, 0, day_of_week="Friday-monday"), ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
        (crontab(0, "22-2"), ["01-01 01:00", "01-01 02:00", "01-01 22:00"]),
        (crontab(0, "22-5/3"), ["01-01 01:00", "01-01 04:00", "01-01 22:00"]),
        (crontab(0, "8-8/4"), ["01-01 08:00", "01-02 08:00", "01-03 08:00"]),
        (crontab([45, 0], 3), ["01-01 03:00", "01-01 03:45", "01-02 03:00"]),
        (crontab("1,13,30-45/10", 0), ["01-01 00:01", "01-01 00:13", "01-01 00:30"]),
        (crontab("*/15", "8,17"), ["01-01 08:00", "01-01 08:15", "01-01 08:30"]),
        (crontab(0, 0, day_of_month=31), ["01-31 00:00", "03-31 00:00", "05-31 00:00"]),
        (crontab(0, 0, day_of_month="L"), ["01-31 00:00", "02-28 00:00", "03-31 00:00"]),
        (crontab(0, 0, day_of_month="2-31/2", month_of_year="feb"), ["02-02 00:00", "02-04 00:00"]),
        (crontab(0, 0, day_of_month=1, month_of_year="*/3"), ["04-01 00:00", "07-01 00:00"]),
        (crontab(0, 0, day_of_month=1, month_of_year="nov-jan"), ["11-01 00:00", "12-01 00:00"]),
        (crontab(0, 0, day_of_week="5L"), ["01-30 00:00", "02-27 00:00"]),
        (crontab(0, 0, day_of_week="mon#1"), ["01-05 00:00", "02-02 00:00"]),
        (crontab.from_string("30 4 1,15 * *"), ["01-01 04:30", "01-15 04:30", "02-01 04:30"]),
    ],
    ids=str,
)  # fmt: skip
def test_a_crontab_is_due_as_in_this_table(when: crontab, expected: list[str]) -> None:
    assert after(when, len(expected)) == expected


def test_both_days_of_a_crontab_must_fit() -> None:
    """As in Celery; cron takes either."""
    assert after(crontab(0, 0, day_of_week="fri", day_of_month=13), 3) == [
        "02-13 00:00", "03-13 00:00", "11-13 00:00",
    ]  # fmt: skip


def test_the_arguments_are_in_the_order_of_celery() -> None:
    assert crontab(1, 2, 3, 4, 5) == crontab.from_string("1 2 4 5 3")
    assert str(crontab(1, 2, 3, 4, 5)) == "1 2 4 5 3"


def test_what_is_meant_does_not_depend_on_how_it_is_written() -> None:
    assert crontab(minute=0) == crontab(minute="0") == crontab(minute={0}) == crontab(minute=(0,))
    assert crontab(minute=[30, 0]) == crontab(minute="0, 30")
    assert schedule(60) == schedule(timedelta(minutes=1)) != schedule(60, relative=True)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"minute": 60}, "minute='60'"),
        ({"minute": "*/0"}, r"minute='\*/0'"),
        ({"minute": -1}, "minute='-1'"),
        ({"minute": ""}, "minute=''"),
        ({"minute": []}, "minute"),
        ({"hour": "25-3"}, "hour"),
        ({"hour": None}, "no field"),
        ({"day_of_week": 8}, "sun to sat"),
        ({"day_of_week": "funday"}, "Did you mean 'sun'"),
        ({"day_of_month": 0}, "1 to 31"),
        ({"day_of_month": 30, "month_of_year": "feb"}, "in month feb"),
        ({"day_of_month": 30, "month_of_year": "feb", "day_of_week": 1}, "crontab"),
        ({"month_of_year": "month"}, "no name"),
    ],
)
def test_an_impossible_crontab_is_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        crontab(**fields)


def test_a_line_with_another_number_of_fields_is_refused() -> None:
    with pytest.raises(ConfigError, match="6 fields"):
        crontab.from_string("0 0 0 * * *")


def test_an_interval_is_counted_from_its_beginning() -> None:
    """A look that comes late does not move it."""
    every = schedule(30)
    start = NEW_YEAR + timedelta(seconds=7)

    for late_s in (0.0, 0.1, 29.9):
        at = every.next_after(start + timedelta(seconds=300 + late_s), UTC, start)
        assert at == start + timedelta(seconds=330)


def test_an_interval_by_the_clock_is_rounded_to_its_unit() -> None:
    start = datetime(2026, 1, 1, 10, 17, 41, 5, UTC)

    assert after(schedule(3600, relative=True), 2, start) == ["01-01 11:00", "01-01 12:00"]
    assert after(schedule(1800, relative=True), 2, start) == ["01-01 10:47", "01-01 11:17"]
    assert after(schedule(7200, relative=True), 2, start, "Asia/Kolkata") == ["01-01 17:00", "01-01 19:00"]


@pytest.mark.parametrize("bad", [0, -1, 0.01, float("nan"), float("inf"), timedelta()])
def test_an_impossible_interval_is_refused(bad: Any) -> None:
    with pytest.raises(ConfigError, match="not possible"):
        schedule(bad)


def test_a_moment_comes_once() -> None:
    assert after(once("2026-05-01 12:00"), 5, tz="Asia/Tokyo") == ["05-01 12:00"]
    assert after(once("2025-05-01 12:00"), 5) == []
    in_tokyo = once("2026-05-01 12:00").next_after(NEW_YEAR, zone("Asia/Tokyo"))
    assert in_tokyo == datetime(2026, 5, 1, 3, tzinfo=UTC)
    with pytest.raises(ConfigError, match="tomorrow"):
        once("tomorrow")


def test_seconds_and_timedeltas_are_intervals() -> None:
    assert as_schedule(30) == as_schedule(timedelta(seconds=30)) == schedule(30)
    assert as_schedule(crontab()) == crontab()
    assert as_schedule(60, relative=True) == schedule(60, relative=True)
    for bad in ("30", None, True, object()):
        with pytest.raises(ConfigError, match="no schedule"):
            as_schedule(bad)


def test_a_zone_has_a_name() -> None:
    assert zone_name(zone("Asia/Tokyo")) == "Asia/Tokyo"
    assert zone_name(UTC) == zone_name(None) == "UTC"
    with pytest.raises(ConfigError, match="Did you mean 'Europe/Berlin'"):
        zone("Europe/Belin")
    with pytest.raises(ConfigError, match="no name"):
        zone(timezone(timedelta(hours=2)))


def test_a_foreign_kind_of_schedule_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'crontab'"):
        from_json({"kind": "crontabs"})


@given(
    when=st.sampled_from(
        [crontab("*/7"), crontab(0, "3,15", "mon,wed"), schedule(977), crontab(0, 0, "*", 1)]
    ),
    start=st.integers(0, 400 * 86_400),
    length=st.integers(0, 40 * 86_400),
    name=st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
)
def test_the_latest_is_the_last_that_comes_in_turn(
    when: Schedule, start: int, length: int, name: str
) -> None:
    begin = NEW_YEAR + timedelta(seconds=start)
    end = begin + timedelta(seconds=min(length, 86_400) if when == crontab("*/7") else length)
    last, at = None, when.next_after(begin, zone(name), begin)
    while at is not None and at.astimezone(UTC) <= end:
        last, at = at, when.next_after(at, zone(name), begin)

    found = when.latest(begin, end, zone(name), begin)

    assert (found and found.astimezone(UTC)) == (last and last.astimezone(UTC))


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        # Berlin, 21 June 2026, in UTC
        ("sunrise", "02:43"), ("sunset", "19:33"), ("solar_noon", "11:08"), ("dawn_civil", "01:53"),
        ("dusk_civil", "20:23"),
    ],
)  # fmt: skip
def test_the_sun_is_where_it_is_expected(event: str, expected: str) -> None:
    found = solar(event, 52.52, 13.405).next_after(datetime(2026, 6, 21, tzinfo=UTC))

    hour, minute = map(int, expected.split(":"))
    assert found is not None
    assert abs(found - datetime(2026, 6, 21, hour, minute, tzinfo=UTC)) <= timedelta(minutes=1.5)


def test_the_nine_events_of_a_day_follow_each_other() -> None:
    names = [f"dawn_{kind}" for kind in ("astronomical", "nautical", "civil")]
    names += ["sunrise", "solar_noon", "sunset"]
    names += [f"dusk_{kind}" for kind in ("civil", "nautical", "astronomical")]
    midnight = datetime(2026, 3, 20, tzinfo=UTC)

    found = [solar(name, 51.48, 0).next_after(midnight) for name in names]

    assert found == sorted(found)
    assert all(at is not None and at.date() == midnight.date() for at in found)


def test_where_the_sun_does_not_rise_it_is_waited_for() -> None:
    """In Tromsø it is night from the end of November to the middle of January."""
    found = solar("sunrise", 69.65, 18.96).next_after(datetime(2025, 12, 1, tzinfo=UTC))

    assert found is not None
    assert datetime(2026, 1, 10, tzinfo=UTC) < found < datetime(2026, 1, 20, tzinfo=UTC)


def test_an_unknown_event_or_place_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'sunset'"):
        solar("sunsets", 0, 0)
    with pytest.raises(ConfigError, match="lat=91"):
        solar("sunset", 91, 0)
    with pytest.raises(ConfigError, match="lon=-181"):
        solar("sunset", 0, -181)


def test_what_knows_calendar_and_sun_is_loaded_when_it_is_needed() -> None:
    code = "import sys, taskflow.schedules; print({'cronsim', 'ephem'} & set(sys.modules))"

    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )
