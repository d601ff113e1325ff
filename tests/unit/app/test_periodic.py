"""The schedules of an application."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskflow import Taskflow, crontab, hooks, schedule
from taskflow.app.registry import Elsewhere
from taskflow.canvas import registry


@pytest.fixture
def app() -> Iterator[Taskflow]:
    known, before = dict(registry.tasks), hooks.app
    app = Taskflow("periodic", set_as_current=False)
    app.set_current()

    @app.task(name="periodic.add")
    def add(x: int, y: int) -> int:
        return x + y

    yield app
    hooks.app = before
    registry.tasks.clear()
    registry.tasks.update(known)


def test_the_setting_is_read_in_the_zone_of_the_application(app: Taskflow) -> None:
    app.conf.timezone = "Asia/Tokyo"
    app.conf.beat_schedule = {
        "sum": {"task": "periodic.add", "schedule": crontab(0, 9), "args": (1, 2), "options": {"expires": 15}}
    }

    found = app.scheduled()["sum"]

    assert (found.schedule, found.tz, found.args) == (crontab(0, 9), "Asia/Tokyo", (1, 2))
    assert found.options == {"expires": 15}


def test_routes_say_where_the_calls_wait(app: Taskflow) -> None:
    app.conf.task_routes = {"periodic.*": {"queue": "slow"}}
    app.conf.beat_schedule = {
        "one": {"task": "periodic.add", "schedule": 5, "args": (1, 2)},
        "other": {"task": "periodic.unknown", "schedule": 5},
        "own": {"task": "periodic.add", "schedule": 5, "args": (1, 2), "options": {"queue": "quick"}},
    }

    queues = {name: one.options["queue"] for name, one in app.scheduled().items()}

    assert queues == {"one": "slow", "other": "slow", "own": "quick"}


def test_a_task_that_only_workers_know_is_sent_by_its_name(app: Taskflow) -> None:
    app.conf.beat_schedule = {"x": {"task": "periodic.unknown", "schedule": 5, "args": (1,)}}

    found = app.scheduled()["x"]

    assert isinstance(found.task, Elsewhere)
    assert (found.task.name, found.args) == ("periodic.unknown", (1,))


def test_code_adds_schedules_when_the_application_is_configured(app: Taskflow) -> None:
    @app.on_after_configure.connect
    def add_them(sender: Taskflow, **_: Any) -> None:
        sig = app.tasks["periodic.add"].s(1, 2)
        assert sender.add_periodic_task(10.0, sig, name="named", missed="all") == "named"
        assert sender.add_periodic_task(crontab(0, 9), sig, queue="gpu") == "periodic.add(1, 2)"

    found = app.scheduled()

    assert list(found) == ["named", "periodic.add(1, 2)"]
    assert (found["named"].schedule, found["named"].missed) == (schedule(10), "all")
    assert found["periodic.add(1, 2)"].options["queue"] == "gpu"
    assert list(app.scheduled()) == list(found)
