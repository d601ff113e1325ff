"""The table of settings knows all of Celery's, by all of their names, and says what becomes of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskflow.errors import ConfigError
from taskflow.settings import OPTIONS, PROFILES, Option, Status
from taskflow.settings.option import SAME
from taskflow.settings.table import name_of, old_names

LINES = Path(__file__).with_name("celery_names.txt").read_text(encoding="utf-8").splitlines()
CELERY = {name: old for name, *old in map(str.split, LINES)}
"""The settings of Celery 5.6 and 5.7, in its reference and its sources, with the names they had before 4."""


def test_every_setting_of_celery_is_there_and_none_is_invented() -> None:
    known = {name for name, option in OPTIONS.items() if not option.ours}

    assert known == set(CELERY)


@pytest.mark.parametrize("name", CELERY)
def test_a_setting_is_known_by_its_old_names_and_by_its_namespaced_ones(name: str) -> None:
    spellings = [*CELERY[name], name, f"CELERY_{name.upper()}", f"TASKFLOW_{name.upper()}"]

    assert {name_of(spelling) for spelling in spellings} == {name}


def test_no_name_means_two_settings() -> None:
    meant: dict[str, str] = {}

    for name, option in OPTIONS.items():
        for spelling in {name, f"CELERY_{name.upper()}", f"TASKFLOW_{name.upper()}", *old_names(option)}:
            assert meant.setdefault(spelling, name) == name


@pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda option: option.name)
def test_a_setting_says_what_becomes_of_it(option: Option) -> None:
    if option.status is Status.NOTHING:
        assert not option.does
        assert option.why
    else:
        assert option.does
    if option.status in (Status.DIFFERS, Status.OTHERWISE):
        assert option.why or option.always is not SAME
    for sentence in filter(None, (option.does, option.why)):
        assert sentence.endswith((".", ":")), sentence


@pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda option: option.name)
def test_a_default_may_be_set(option: Option) -> None:
    if option.status is not Status.NOTHING:
        assert option.check(option.default) == option.default
        assert option.celery is SAME or option.check(option.celery) == option.celery


def test_what_differs_on_purpose_has_both_defaults_and_a_reason() -> None:
    differing = {name for name, option in OPTIONS.items() if option.status is Status.DIFFERS}

    assert differing == {
        "result_expires",
        "task_acks_late",
        "task_default_queue",
        "task_default_rate_limit",
        "task_reject_on_worker_lost",
    }
    assert all(OPTIONS[name].why for name in differing)


def test_what_a_profile_sets_may_be_set() -> None:
    for values in PROFILES.values():
        for name, value in values.items():
            assert OPTIONS[name].check(value) == value


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("task_time_limit", "soon", "use seconds, or a timedelta"),
        ("task_time_limit", -1, "use seconds"),
        ("task_time_limit", float("nan"), "use seconds"),
        ("task_acks_late", "perhaps", "use True or False"),
        ("task_acks_late", None, "use True or False"),
        ("worker_concurrency", 0, "use a number above 0, or 'auto'"),
        ("worker_concurrency", 2.5, "above 0"),
        ("worker_autoscale", (3, 10), "the most and the least"),
        ("worker_pool", "forks", r"'forks' is not known"),
        ("worker_pool", "prefrok", r"Did you mean 'prefork'\?"),
        ("timezone", "Asia/Tokio", r"Did you mean 'Asia/Tokyo'\?"),
        ("timezone", 9, "the name of a time zone"),
        ("task_default_rate_limit", "10/fortnight", "is no time"),
        ("include", [1], "use names"),
        ("beat_schedule", [], "use a dictionary"),
        ("broker_url", "amqp://guest@host//", "amqp carries messages, and calls are kept in a store here"),
        ("broker_url", "sqs://", "sqs carries messages"),
        ("result_backend", "django-db", "there is no such place for results"),
        ("result_backend", "cache+memcached://host", "there is no such place for results"),
        ("broker_url", "rdis://host", r"Did you mean 'redis'\?"),
        ("broker_url", ["redis://a", "redis://b"], "Name one store"),
        ("task_when_full", "never", "use 'wait', 'raise' or seconds"),
        ("task_serializer", "xml", "is not known"),
        ("profile", "prodution", r"Did you mean 'production'\?"),
    ],
)
def test_an_impossible_value_is_refused_with_what_to_write(name: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        OPTIONS[name].check(value)

    assert str(caught.value).startswith(name)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("task_time_limit", "30", 30.0),
        ("task_acks_late", "off", False),
        ("task_acks_late", 1, True),
        ("worker_concurrency", "auto", "auto"),
        ("worker_autoscale", "10", (10, 1)),
        ("worker_autoscale", [10, 3], (10, 3)),
        ("include", "shop.tasks, mail.tasks", ("shop.tasks", "mail.tasks")),
        ("accept_content", ["json"], ("json",)),
        ("broker_url", ["redis://host/0"], "redis://host/0"),
        ("result_expires", None, None),
        ("result_backend", "rpc://", "rpc://"),
        ("result_backend", "redis://host/1", "redis://host/1"),
        ("result_backend", "db+sqlite:///results.db", "db+sqlite:///results.db"),
    ],
)
def test_a_value_is_kept_as_its_type(name: str, value: object, kept: object) -> None:
    assert OPTIONS[name].check(value) == kept
