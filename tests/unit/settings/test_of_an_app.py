"""What settings are for the tasks of an app."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskflow import Taskflow
from taskflow.errors import ConfigError


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty working directory, and nothing in the environment."""
    for name in list(os.environ):
        if name.startswith("CELERY_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield
    __import__("sys").modules.pop("celeryconfig", None)


def app(**settings: Any) -> Taskflow:
    return Taskflow("shop", set_as_current=False, **settings)


def task(app: Taskflow, **options: Any) -> Any:
    @app.task(name="shop.add", **options)
    def add(x: int, y: int) -> int:
        return x + y

    return add


def test_the_configuration_of_the_overview_reaches_its_tasks() -> None:
    here = app(broker="redis://localhost:6379/0", backend="redis://localhost:6379/0")

    here.conf.update(
        task_serializer="json",
        accept_content=["json"],
        result_serializer="json",
        timezone="Asia/Tokyo",
        enable_utc=True,
        task_track_started=True,
        task_time_limit=30 * 60,
        task_soft_time_limit=25 * 60,
    )

    assert here.conf.timezone == str(here.timezone) == "Asia/Tokyo"
    options = task(here).options
    assert (options["time_limit"], options["soft_time_limit"]) == (1800, 1500)


def test_the_factory_for_flask_takes_what_is_meant_for_it() -> None:
    config = {"DEBUG": True, "SECRET_KEY": "s", "CELERY_BROKER_URL": "redis://localhost:6379/0"}
    config["CELERY_RESULT_BACKEND"] = config["CELERY_BROKER_URL"]

    here = app(broker=config["CELERY_BROKER_URL"], backend=config["CELERY_RESULT_BACKEND"])
    here.conf.update(config)

    assert here.conf.broker_url == here.conf.result_backend == "redis://localhost:6379/0"


def test_the_module_beside_the_tasks_is_read(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text("task_time_limit = 7")

    assert task(app()).options["time_limit"] == 7


def test_a_module_that_is_not_there_may_be_left_out() -> None:
    here = app()

    here.config_from_object("not_there_at_all", silent=True)

    assert here.conf.task_time_limit is None
    with pytest.raises(ConfigError, match="cannot be read"):
        here.config_from_object("not_there_at_all", force=True)
    assert here.conf.task_time_limit is None


def test_settings_that_change_later_count() -> None:
    here = app()
    add = task(here)
    before = add.options["max_deliveries"]

    here.conf.update(
        task_acks_late=False, task_default_queue="web", task_annotations={"*": {"time_limit": 5}}
    )

    assert (before, add.options["max_deliveries"]) == (6, 4)
    assert (add.options["queue"], add.options["time_limit"]) == ("web", 5)


def test_rate_limits_are_switched_off_where_calls_are_sent() -> None:
    assert task(app(), rate_limit="1/s").options["rate_limit"] == "1/s"
    assert "rate_limit" not in task(app(worker_disable_rate_limits=True), rate_limit="1/s").options


def test_a_call_to_a_queue_that_nobody_named_is_refused() -> None:
    here = app(task_queues="high,low", task_create_missing_queues=False, broker="sqlite:///runs.db")

    with pytest.raises(ConfigError, match=r"shop.add goes to the queue 'hihg'.* Did you mean 'high'"):
        task(here).apply_async((1, 2), queue="hihg")
    here.close()
