"""What settings make of calls, routes, tasks and workers."""

from __future__ import annotations

import re
from datetime import UTC
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import taskflow
from taskflow.errors import ConfigError
from taskflow.limits import RateLimit
from taskflow.policy import Options
from taskflow.settings import (
    OPTIONS,
    Settings,
    Status,
    max_deliveries,
    queues,
    route,
    task_attributes,
    task_defaults,
    time_zone,
    worker_defaults,
    worker_flags,
)
from taskflow.settings.option import SAME
from taskflow.worker.options import read


def conf(**values: Any) -> Settings:
    return Settings(values, discover=False)


# ── calls ────────────────────────────────────────────────────────────────────────────


def test_without_settings_a_call_has_the_options_it_has_anyway() -> None:
    assert Options(**task_defaults(conf())) == Options()


OF_CALLS = [
    ("task_default_queue", "web", "queue", "web"),
    ("task_default_priority", 7, "priority", 7),
    ("task_time_limit", 60, "time_limit", 60),
    ("task_soft_time_limit", 50, "soft_time_limit", 50),
    ("task_memory_limit", 1 << 30, "memory_limit", 1 << 30),
    ("task_ignore_result", True, "ignore_result", True),
    ("task_default_rate_limit", "10/m", "rate_limit", "10/m"),
    ("task_acks_late", False, "max_deliveries", 1),
    ("task_reject_on_worker_lost", False, "max_deliveries", 1),
    ("task_max_deliveries", 9, "max_deliveries", 9),
    ("task_max_pending", None, "max_pending", None),
    ("task_when_full", "raise", "when_full", "raise"),
]


@pytest.mark.parametrize(("name", "value", "option", "kept"), OF_CALLS)
def test_a_setting_is_an_option_of_calls(name: str, value: object, option: str, kept: object) -> None:
    options = Options(**task_defaults(conf(**{name: value})))

    assert getattr(options, option) == kept
    assert options != Options()


def test_limits_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="soft_time_limit must be shorter"):
        task_defaults(conf(task_time_limit=5, task_soft_time_limit=5))


def test_rate_limits_can_be_switched_off_and_are_each_workers_own_for_celery() -> None:
    limited = {"task_default_rate_limit": "10/m"}

    assert "rate_limit" not in task_defaults(conf(**limited, worker_disable_rate_limits=True))
    assert task_defaults(conf(**limited, compat="celery"))["rate_limit"] == RateLimit("10/m", per_worker=True)


def test_the_budget_of_deliveries_counts_retries() -> None:
    assert max_deliveries(conf(), 3) is None
    assert max_deliveries(conf(task_acks_late=False), 3) == 4
    assert max_deliveries(conf(), 3, acks_late=False) == 4
    assert max_deliveries(conf(compat="celery"), 3, acks_late=True) is None
    assert max_deliveries(conf(compat="celery"), 3, acks_late=True, reject_on_worker_lost=False) == 4
    assert max_deliveries(conf(task_max_deliveries=2), 9, acks_late=False) == 2


# ── attributes of tasks ──────────────────────────────────────────────────────────────


class Annotator:
    def annotate(self, task: Any) -> dict[str, Any] | None:
        return {"rate_limit": "1/s"} if task.name.startswith("shop.") else None


def test_what_names_a_task_counts_before_what_is_for_all() -> None:
    settings = conf(
        task_annotations={"*": {"rate_limit": "9/s", "max_retries": 1}, "add": {"rate_limit": "2/s"}}
    )

    assert task_attributes(settings, "add") == {"rate_limit": "2/s", "max_retries": 1}
    assert task_attributes(settings, "mul") == {"rate_limit": "9/s", "max_retries": 1}
    assert task_attributes(conf(), "mul") == {}


def test_annotations_may_be_objects_that_are_named() -> None:
    settings = conf(task_annotations=(f"{__name__}:Annotator", {"*": {"priority": 3}}))

    assert task_attributes(settings, SimpleNamespace(name="shop.a")) == {"rate_limit": "1/s", "priority": 3}
    assert task_attributes(settings, SimpleNamespace(name="mail.a")) == {"priority": 3}


def test_annotations_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ConfigError, match="use a base class"):
        task_attributes(conf(task_annotations={"*": {"@__call__": print}}), "add")
    with pytest.raises(ConfigError, match="use a dictionary by names of tasks"):
        task_attributes(conf(task_annotations=[3]), "add")
    with pytest.raises(ConfigError, match="names nothing"):
        task_attributes(conf(task_annotations="nowhere:Thing"), "add")


# ── routes ───────────────────────────────────────────────────────────────────────────


def by_argument(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any) -> Any:
    return "large" if args and args[0] > 100 else None


class OldRouter:
    def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> Any:
        return {"queue": "old"} if task == "old" else None


ROUTES = (
    {
        "tasks.high_priority_task": {"queue": "high"},
        "tasks.low_priority_task": {"queue": "low", "priority": 1},
        "feed.*": "feeds",
        re.compile(r"(video|image)\..+"): {"queue": "media"},
    },
    [("web.*", {"queue": "web"})],
    by_argument,
    f"{__name__}:OldRouter",
)


@pytest.mark.parametrize(
    ("name", "args", "way"),
    [
        ("tasks.high_priority_task", (), {"queue": "high"}),
        ("tasks.low_priority_task", (), {"queue": "low", "priority": 1}),
        ("feed.import", (), {"queue": "feeds"}),
        ("image.compress", (), {"queue": "media"}),
        ("web.get", (), {"queue": "web"}),
        ("other", (101,), {"queue": "large"}),
        ("old", (1,), {"queue": "old"}),
        ("other", (1,), {}),
    ],
)
def test_the_first_router_that_answers_counts(name: str, args: tuple[int, ...], way: dict[str, Any]) -> None:
    assert route(conf(task_routes=ROUTES), name, args) == way


def test_the_own_name_counts_before_patterns_and_patterns_in_their_order() -> None:
    routes = {"a.*": "first", "a.b*": "second", "a.b": "own"}

    found = [route(conf(task_routes=routes), name)["queue"] for name in ("a.b", "a.bc", "a.c")]

    assert found == ["own", "first", "first"]


def test_what_a_call_says_of_itself_counts_before_its_route() -> None:
    settings = conf(task_routes={"a": {"queue": "q", "priority": 3}})

    assert route(settings, "a", options={"queue": "own"}) == {"priority": 3}
    assert route(settings, "a", options={"queue": None, "priority": 9}) == {"queue": "q"}


def test_an_address_of_amqp_finds_its_queue() -> None:
    video = SimpleNamespace(name="videos", exchange=SimpleNamespace(name="media"), routing_key="media.video")
    settings = conf(
        task_queues=(video, {"name": "plain", "routing_key": "media.audio", "exchange": "media"}),
        task_routes={
            "v": {"exchange": "media", "routing_key": "media.video", "exchange_type": "direct"},
            "a": {"routing_key": "media.audio"},
            "q": {"queue": video},
            "n": {"exchange": "nobody"},
            "k": {"routing_key": "straight"},
        },
    )

    assert [route(settings, name) for name in "vaqk"] == [
        {"queue": "videos"},
        {"queue": "plain"},
        {"queue": "videos"},
        {"queue": "straight"},
    ]
    assert route(settings, "other", options={"routing_key": "media.audio"}) == {"queue": "plain"}
    with pytest.raises(ConfigError, match="No queue of task_queues has"):
        route(settings, "n")


def test_a_queue_that_nobody_named_is_refused_when_none_may_be_made() -> None:
    settings = conf(
        task_queues=["high", "low"], task_create_missing_queues=False, task_routes={"a": "hihg", "b": "low"}
    )

    assert route(settings, "b") == {"queue": "low"}
    with pytest.raises(ConfigError, match=r"a goes to the queue 'hihg'.* Did you mean 'high'"):
        route(settings, "a")
    with pytest.raises(ConfigError, match="does not name"):
        route(settings, "b", options={"queue": "other"})


def test_routes_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"the option 'priorty'. Did you mean 'priority'"):
        route(conf(task_routes={"a": {"queue": "q", "priorty": 3}}), "a")
    with pytest.raises(ConfigError, match="use a dictionary by names of tasks"):
        route(conf(task_routes=[3]), "a")
    with pytest.raises(ConfigError, match="has no name"):
        route(conf(task_routes={"a": {"queue": 3}}), "a")


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (None, ("default",)),
        ("high, low", ("high", "low")),
        ({"high": {"routing_key": "h"}, "low": {}}, ("high", "low")),
        ((SimpleNamespace(name="q"), {"name": "r"}, "q"), ("q", "r")),
    ],
)
def test_queues_are_names_dictionaries_or_objects(given: Any, names: tuple[str, ...]) -> None:
    assert queues(conf(task_queues=given)) == names


# ── workers ──────────────────────────────────────────────────────────────────────────


OF_WORKERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"worker_concurrency": 4}, {"slots": 4}),
    ({"worker_concurrency": "auto"}, {"slots": "auto"}),
    ({"worker_autoscale": "10,3", "worker_concurrency": 4}, {"autoscale": (10, 3)}),
    ({"worker_pool": "prefork"}, {"pool": "process"}),
    ({"worker_pool": "solo", "worker_concurrency": 4}, {"pool": "process", "slots": 1}),
    ({"worker_pool": "gevent"}, {"pool": "thread"}),
    ({"worker_max_tasks_per_child": 100}, {"recycle_calls": 100}),
    ({"worker_max_memory_per_child": 12_000}, {"recycle_mb": 12}),
    ({"worker_soft_shutdown_timeout": 5}, {"soft_shutdown": 5.0}),
    ({"worker_grace": 6}, {"grace": 6.0}),
    ({"result_expires": 43_200}, {"keep_days": 0.5}),
    ({"result_expires": None}, {"keep_days": 36_500.0}),
    ({"broker_connection_retry_on_startup": True}, {"wait_for_store": 60.0}),
    ({"worker_wait_for_store": 5}, {"wait_for_store": 5.0}),
    ({"worker_strict_queues": True}, {"strict": True}),
    ({"worker_idle_exit": 9}, {"idle_exit": 9.0}),
    ({"worker_lease": 30}, {"lease": 30.0}),
    ({"worker_keep_gb": 1}, {"keep_gb": 1}),
    ({"worker_threads": 2}, {"threads": 2}),
    ({"worker_preload": ["math"]}, {"preload": ("math",)}),
    (
        {"worker_accept": "pickle,json", "worker_allow": "a.*"},
        {"accept": ("pickle", "json"), "allow": ("a.*",)},
    ),
    ({"task_queues": "high,low"}, {"queues": ("high", "low")}),
]


@pytest.mark.parametrize(("values", "flags"), OF_WORKERS)
def test_a_setting_is_a_flag_that_the_worker_knows(values: dict[str, Any], flags: dict[str, Any]) -> None:
    settings = conf(**values)

    known = vars(read([*worker_flags(settings), "--url", "memory://"]))

    assert worker_defaults(settings) == {"queues": ("default",)} | flags
    for name, value in flags.items():
        if name == "queues":
            assert str(known[name]) == "high,low"
        elif value != "auto":
            assert known[name] == value


def test_the_profile_for_production_reaches_the_worker() -> None:
    flags = worker_flags(Settings(profile="production", discover=False))

    assert "--wait-for-store=60.0" in flags
    assert "--keep-days=1.0" in flags


def test_the_zone_of_schedules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")

    assert time_zone(conf()) is UTC
    assert str(time_zone(conf(timezone="Europe/Berlin", enable_utc=False))) == "Europe/Berlin"
    assert str(time_zone(conf(enable_utc=False))) == "Asia/Tokyo"
    assert time_zone(conf(timezone=UTC)) is UTC


OF_ROUTES = {"task_annotations", "task_create_missing_queues", "task_routes"}
OF_OTHERS = {
    "beat_schedule",
    "broker_url",
    "imports",
    "include",
    "result_backend",
    "task_allow_error_cb_on_chord_header",
    "task_always_eager",
    "task_eager_propagates",
    "worker_hijack_root_logger",
    "worker_log_color",
    "worker_log_datefmt",
    "worker_log_format",
    "worker_task_log_datefmt",
    "worker_task_log_format",
}
"""What other rooms read."""
PROMISED: set[str] = set()
"""Those of them that need not be read yet."""
OF_ITSELF = {"compat", "enable_utc", "profile", "timezone", "worker_disable_rate_limits"}
"""What tests with stories of their own are about."""
OF_NOBODY = {"accept_content", "result_accept_content", "result_serializer", "task_serializer"}
"""What makes no difference, because signatures do."""


def test_what_is_said_to_have_a_meaning_is_tested_to_have_one() -> None:
    tested = {name for name, *_ in OF_CALLS} | {name for values, _ in OF_WORKERS for name in values}
    meant = {
        name
        for name, option in OPTIONS.items()
        if option.status is not Status.NOTHING and option.always is SAME
    }

    assert meant - tested == OF_ROUTES | OF_OTHERS | OF_ITSELF | OF_NOBODY


def test_what_is_said_to_have_a_meaning_for_others_is_read_by_them() -> None:
    package = Path(taskflow.__path__[0])
    files = (path for path in package.rglob("*.py") if path.parent != package / "settings")
    sources = "".join(path.read_text(encoding="utf-8") for path in files)

    unread = {name for name in OF_OTHERS if not re.search(rf"conf\.{name}\b|['\"]{name}['\"]", sources)}
    assert unread <= PROMISED
