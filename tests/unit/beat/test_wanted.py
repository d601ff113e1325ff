"""Schedules of a configuration: read as Celery writes them, and put into the store."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskflow import crontab, schedule, task
from taskflow.beat import Wanted, entries_from
from taskflow.errors import ConfigError
from tests.acceptance.stage import until
from tests.unit.beat.stage import Stage, add, soon, turns


@task(name="tests.beat.add")
def add_task(x: int, y: int) -> int:
    return x + y


@task(name="tests.beat.report")
def report() -> str:
    return "sent"


SEED: dict[str, dict[str, Any]] = {
    "add-every-30-seconds": {"task": "tests.beat.add", "schedule": 30.0, "args": (16, 16)},
    "send-weekly-report": {
        "task": "tests.beat.report",
        "schedule": crontab(hour=9, minute=0, day_of_week=1),
    },
    "cleanup-old-data": {"task": "tests.beat.report", "schedule": crontab(hour=2, minute=0)},
}


def test_the_next_runs_are_those_of_a_table_made_by_hand(stage: Stage) -> None:
    """It is Monday, 21:00 in Tokyo."""
    stage.schedules.merge(entries_from(SEED, "Asia/Tokyo"), "app")

    def told(name: str, n: int) -> list[str]:
        return [str(row["at"]) for row in stage.schedules.next_rows(n, name)]

    assert told("send-weekly-report", 2) == ["2026-06-08 09:00:00+09:00", "2026-06-15 09:00:00+09:00"]
    assert told("cleanup-old-data", 2) == ["2026-06-02 02:00:00+09:00", "2026-06-03 02:00:00+09:00"]
    assert told("add-every-30-seconds", 2) == ["2026-06-01 21:00:30+09:00", "2026-06-01 21:01:00+09:00"]


def test_a_configured_task_runs_by_its_name(stage: Stage) -> None:
    stage.schedules.merge(entries_from(SEED), "app")

    stage.go(30)
    turns(stage.beat())

    (run,) = stage.runs("add-every-30-seconds")
    assert stage.client.attach(run.id).get() == 32


def test_an_entry_has_the_words_of_celery_and_ours() -> None:
    found = entries_from(
        {
            "one": {
                "task": "t", "schedule": timedelta(hours=1), "relative": True, "kwargs": {"a": 1},
                "options": {"queue": "gpu"}, "tz": "Asia/Tokyo", "missed": "all", "jitter": 3,
                "overlap": "skip", "enabled": False,
            }
        }
    )  # fmt: skip

    assert found == {
        "one": Wanted(
            "t", schedule(3600, relative=True), (), {"a": 1}, {"queue": "gpu"}, "Asia/Tokyo", False,
            None, None, "all", 3, "skip",
        )
    }  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"task": "t"}, r"beat_schedule\['x'\] has no 'schedule'"),
        ({"schedule": 3}, "has no 'task'"),
        ({"task": "t", "schedule": "3"}, r"beat_schedule\['x'\]: '3' is no schedule"),
        ({"task": "t", "schedule": 3, "arg": ()}, "Did you mean 'args'"),
        ({"task": "t", "schedule": 3, "tz": "Asia/Tokio"}, "Did you mean 'Asia/Tokyo'"),
    ],
)
def test_an_entry_with_a_mistake_is_named(entry: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        entries_from({"x": entry})


def test_what_left_the_configuration_leaves_the_store(stage: Stage) -> None:
    stage.schedules.add("by hand", add, 10, (1,))
    stage.schedules.merge(entries_from(SEED), "app")
    stage.schedules.merge(entries_from({"mine": {"task": "tests.beat.report", "schedule": 5}}), "another app")
    assert len(stage.schedules) == 5

    left = {name: one for name, one in SEED.items() if name != "cleanup-old-data"}
    stage.schedules.merge(entries_from(left), "app")

    assert list(stage.schedules) == ["by hand", "add-every-30-seconds", "send-weekly-report", "mine"]


def test_what_has_not_changed_stays_as_it_is(stage: Stage) -> None:
    stage.schedules.merge(entries_from(SEED), "app")
    before = stage.client._engine.store.posted("schedules")
    assert before is not None
    stage.go(100)

    stage.schedules.merge(entries_from(SEED), "app")

    assert stage.client._engine.store.posted("schedules", before.revision) is None


def test_a_changed_entry_goes_on_with_its_runs(stage: Stage) -> None:
    stage.schedules.merge(entries_from(SEED), "app")
    before = stage.schedules["add-every-30-seconds"]
    stage.go(30)
    turns(stage.beat())

    changed = {**SEED, "add-every-30-seconds": {**SEED["add-every-30-seconds"], "schedule": 60.0}}
    stage.schedules.merge(entries_from(changed), "app")

    after = stage.schedules["add-every-30-seconds"]
    assert (after.uid, after.schedule) == (before.uid, schedule(60))
    assert (stage.row(after.name)["count"], stage.row(after.name)["next"]) == (1, soon(90))


def test_what_somebody_has_paused_stays_so(stage: Stage) -> None:
    stage.schedules.merge(entries_from(SEED), "app")
    stage.schedules.pause("cleanup-old-data")

    stage.schedules.merge(entries_from(SEED), "app")
    assert not stage.schedules["cleanup-old-data"].enabled

    said = {**SEED, "cleanup-old-data": {**SEED["cleanup-old-data"], "enabled": True}}
    stage.schedules.merge(entries_from(said), "app")
    assert stage.schedules["cleanup-old-data"].enabled


def test_one_that_cannot_be_drawn_is_said_and_the_others_run(stage: Stage, caplog: Any) -> None:
    wrong = {**SEED, "unknown": {"task": "tests.beat.ad", "schedule": 5}}

    with caplog.at_level(logging.ERROR):
        refused = stage.schedules.merge(entries_from(wrong), "app")

    assert refused == ["unknown"]
    assert "tests.beat.add" in caplog.text
    assert list(stage.schedules) == list(SEED)


def test_the_name_of_another_is_not_taken(stage: Stage, caplog: Any) -> None:
    stage.schedules.add("cleanup-old-data", add, 10, (1,))

    with caplog.at_level(logging.ERROR):
        refused = stage.schedules.merge(entries_from(SEED), "app")

    assert refused == ["cleanup-old-data"]
    assert "added by somebody else" in caplog.text
    assert stage.schedules["cleanup-old-data"].schedule == schedule(10)


def test_a_beat_brings_its_configuration(stage: Stage) -> None:
    wanted = entries_from({"x": {"task": "tests.beat.report", "schedule": 1}})

    with stage.beat(wanted=wanted, origin="app"):
        until(lambda: "x" in stage.schedules)

    assert stage.schedules["x"].origin == "app"
    assert stage.schedules["x"].since == datetime(2026, 6, 1, 12, tzinfo=UTC)
