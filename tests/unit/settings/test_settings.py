"""Settings by attribute and item: what counts, where it comes from, and what is refused."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from taskflow.errors import ConfigError, UnknownSetting
from taskflow.settings import OPTIONS, Settings


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, and nothing in the environment."""
    for name in list(os.environ):
        if name.startswith(("CELERY_", "TASKFLOW_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    modules = {"celeryconfig", "taskflowconfig", "ownconfig"}
    before = {name: module for name, module in __import__("sys").modules.items() if name in modules}
    yield tmp_path
    for name in modules - set(before):
        __import__("sys").modules.pop(name, None)


# ── by attribute and item ────────────────────────────────────────────────────────────


def test_a_setting_is_an_attribute_and_an_item_by_all_its_names() -> None:
    conf = Settings()

    conf.task_time_limit = 60
    conf["CELERYD_TASK_SOFT_TIME_LIMIT"] = timedelta(seconds=50)

    assert conf.task_time_limit == conf["CELERY_TASK_TIME_LIMIT"] == conf.CELERYD_TASK_TIME_LIMIT == 60
    assert conf.task_soft_time_limit == 50
    assert dict(conf) == {"task_time_limit": 60, "task_soft_time_limit": 50}
    assert "task_time_limit" in conf
    assert "CELERYD_TASK_TIME_LIMIT" in conf
    assert "worker_concurrency" not in conf
    assert len(conf) == 2


def test_the_eight_settings_of_the_overview_are_taken() -> None:
    conf = Settings()

    conf.update(
        task_serializer="json",
        accept_content=["json"],
        result_serializer="json",
        timezone="Asia/Tokyo",
        enable_utc=True,
        task_track_started=True,
        task_time_limit=30 * 60,
        task_soft_time_limit=25 * 60,
    )

    assert conf.timezone == "Asia/Tokyo"
    assert (conf.task_time_limit, conf["task_soft_time_limit"]) == (1800, 1500)
    assert conf.task_track_started is True
    assert conf.accept_content == ("json",)


def test_what_is_not_set_has_its_default() -> None:
    conf = Settings()

    assert conf.task_default_queue == "default"
    assert conf.get("task_time_limit", 7) == 7
    assert conf.get("DEBUG", "not ours") == "not ours"
    assert conf.setdefault("task_time_limit", 5) == 5
    assert conf.setdefault("task_time_limit", 6) == 5


def test_a_default_that_is_filled_is_that_of_one_app() -> None:
    conf = Settings()

    conf.beat_schedule["tidy"] = {"task": "tidy", "schedule": 60}
    conf.timezone = "UTC"

    assert "tidy" in conf.beat_schedule
    assert Settings().beat_schedule == {}


def test_forgetting_brings_the_default_back() -> None:
    conf = Settings({"task_default_queue": "web"})

    del conf.task_default_queue

    assert conf.task_default_queue == "default"
    del conf["task_default_queue"]
    assert conf.pop("task_default_queue", None) == "default"


@pytest.mark.parametrize("wrong", ["task_time_limt", "CELERY_TASK_TIME_LIMT", "CELERYD_CONCURENCY"])
def test_an_unknown_name_names_the_nearest(wrong: str) -> None:
    conf = Settings()

    with pytest.raises(UnknownSetting, match="Did you mean"):
        conf[wrong]
    with pytest.raises(ConfigError, match="Did you mean"):
        conf.get(wrong)
    with pytest.raises(ConfigError, match="Did you mean"):
        setattr(conf, wrong, 1)
    with pytest.raises(ConfigError, match="Did you mean"):
        conf.update({wrong: 1})
    assert not hasattr(conf, wrong)
    assert wrong not in conf


def test_nothing_of_an_update_is_taken_when_one_value_is_impossible() -> None:
    conf = Settings()

    with pytest.raises(ConfigError, match="task_acks_late"):
        conf.update(task_time_limit=5, task_acks_late="perhaps")

    assert dict(conf) == {}


def test_whoever_keeps_what_he_made_of_settings_sees_that_they_changed() -> None:
    conf = Settings()
    before = conf.version

    conf.task_time_limit = 5

    assert conf.version > before


def test_settings_complete_their_names() -> None:
    assert set(OPTIONS) < set(dir(Settings()))


# ── what counts ──────────────────────────────────────────────────────────────────────


def test_the_order_of_sources(monkeypatch: pytest.MonkeyPatch, nowhere: Path) -> None:
    (nowhere / "celeryconfig.py").write_text("task_time_limit = 2")
    found = []
    conf = Settings(profile="production")
    found.append(Settings(discover=False).task_time_limit)
    found.append(Settings(profile="production", discover=False).task_time_limit)
    found.append(Settings().task_time_limit)
    conf.load({"task_time_limit": 3})
    found.append(conf.task_time_limit)
    conf.load(SimpleNamespace(task_time_limit=4))
    found.append(conf.task_time_limit)
    conf.task_time_limit = 5
    found.append(conf.task_time_limit)
    monkeypatch.setenv("TASKFLOW_TASK_TIME_LIMIT", "6")
    conf.from_env()
    found.append(conf.task_time_limit)
    conf.override({"task_time_limit": 7})
    found.append(conf.task_time_limit)

    assert found == [None, 3600, 2, 3, 4, 5, 6, 7]


def test_a_deployment_names_the_store_whatever_the_program_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """As docker-compose.yml of the overview relies on."""
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://redis:6379/0")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://redis:6379/0")
    conf = Settings({"broker_url": "redis://localhost:6379/0"})

    assert conf.broker_url == conf.result_backend == "redis://redis:6379/0"
    assert conf.changes["broker_url"].source == "$CELERY_BROKER_URL"


def test_our_own_variables_count_before_those_of_celery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://theirs")
    monkeypatch.setenv("TASKFLOW_BROKER_URL", "redis://ours")
    monkeypatch.setenv("TASKFLOW_TASK_ACKS_LATE", "off")
    monkeypatch.setenv("CELERY_TASK_IGNORE_RESULT", "on")
    conf = Settings()

    assert conf.broker_url == "redis://ours"
    assert conf.task_acks_late is False
    assert conf.task_ignore_result is False


def test_an_impossible_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFLOW_TASK_TIME_LIMIT", "long")

    with pytest.raises(ConfigError, match="task_time_limit='long'"):
        _ = Settings().timezone


def test_celerys_defaults_come_back_when_asked_for() -> None:
    conf = Settings(compat="celery")

    assert (conf.task_acks_late, conf.task_default_queue, conf.result_expires) == (False, "celery", 86_400)
    assert conf.task_track_started is False
    assert Settings().task_acks_late is True


def test_a_profile_changes_defaults_and_nothing_that_was_set() -> None:
    conf = Settings({"task_time_limit": 9}, profile="production")

    assert (conf.task_time_limit, conf.worker_wait_for_store) == (9, 60)
    conf.profile = None
    assert conf.worker_wait_for_store == 0


# ── sources ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["celeryconfig", "taskflowconfig"])
def test_a_module_in_the_working_directory_is_read_when_nothing_is_loaded(nowhere: Path, name: str) -> None:
    (nowhere / f"{name}.py").write_text(
        "broker_url = 'redis://localhost:6379/0'\nresult_backend = broker_url"
    )
    conf = Settings()

    assert conf.broker_url == "redis://localhost:6379/0"
    assert conf.changes["result_backend"].source == f"{name}, found in the working directory"


def test_ours_is_read_before_celerys(nowhere: Path) -> None:
    (nowhere / "celeryconfig.py").write_text("task_time_limit = 1")
    (nowhere / "taskflowconfig.py").write_text("task_time_limit = 2")

    assert Settings().task_time_limit == 2


def test_a_variable_may_name_the_module(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nowhere / "ownconfig.py").write_text("task_time_limit = 3")
    monkeypatch.setenv("CELERY_CONFIG_MODULE", "ownconfig")

    assert Settings().task_time_limit == 3


def test_a_module_may_have_names_of_its_own_but_no_misspelt_settings(nowhere: Path) -> None:
    (nowhere / "ownconfig.py").write_text(
        "import os\nfrom datetime import timedelta\nfavourite_host = 'a'\n_x = 1\n"
        "def quick(): ...\nclass Mine: ...\ntask_time_limit = timedelta(seconds=4)\n"
    )
    conf = Settings()
    conf.load("ownconfig")

    assert dict(conf) == {"task_time_limit": 4.0}
    module = ModuleType("wrong")
    module.task_time_limti = 1  # type: ignore[attr-defined]
    with pytest.raises(UnknownSetting, match=r"which wrong sets.* Did you mean 'task_time_limit'"):
        conf.load(module, force=True)


def test_a_source_is_read_at_the_first_access(nowhere: Path) -> None:
    conf = Settings()

    conf.load("ownconfig")
    (nowhere / "ownconfig.py").write_text("task_time_limit = 3")

    assert conf.task_time_limit == 3


def test_a_source_that_is_not_there_is_an_error_at_each_access() -> None:
    conf = Settings()
    conf.load("nowhere.settings")

    for _ in range(2):
        with pytest.raises(
            ConfigError, match=r"'nowhere.settings' cannot be read: No module named 'nowhere'"
        ):
            _ = conf.timezone
    with pytest.raises(ConfigError, match="cannot be read"):
        Settings().load("os:not_there", force=True)


def test_an_error_inside_a_module_is_not_hidden(nowhere: Path) -> None:
    (nowhere / "ownconfig.py").write_text("import not_installed_anywhere")
    conf = Settings()

    with pytest.raises(ConfigError, match="No module named 'not_installed_anywhere'"):
        conf.load("ownconfig", force=True)


def test_classes_and_dotted_names_are_sources(nowhere: Path) -> None:
    (nowhere / "ownconfig.py").write_text("class Production:\n    task_time_limit = 3\n    name = 'mine'")
    for name in ("ownconfig:Production", "ownconfig.Production"):
        conf = Settings()
        conf.load(name)
        assert dict(conf) == {"task_time_limit": 3}


def test_a_namespace_takes_what_begins_with_it(caplog: pytest.LogCaptureFixture) -> None:
    django = SimpleNamespace(
        DEBUG=True,
        TIME_ZONE="Europe/Berlin",
        CELERY_BROKER_URL="redis://localhost:6379/0",
        CELERY_RESULT_BACKEND="redis://localhost:6379/0",
        CELERY_ACCEPT_CONTENT=["json"],
        CELERY_TASK_SERIALIZER="json",
        CELERYBEAT_SCHEDULE={},
        CELERY_EMAIL_CHUNK_SIZE=1,
    )
    conf = Settings()

    conf.load(django, namespace="CELERY")

    assert set(conf) == {"broker_url", "result_backend", "accept_content", "task_serializer", "timezone"}
    assert conf.timezone == "Europe/Berlin"
    said = [record.getMessage() for record in caplog.records]
    assert any("CELERYBEAT_SCHEDULE" in text and "write CELERY_BEAT_SCHEDULE" in text for text in said)
    assert any("CELERY_EMAIL_CHUNK_SIZE, which no setting is called" in text for text in said)


def test_a_namespace_of_your_own() -> None:
    conf = Settings()

    conf.load({"WORK_TASK_TIME_LIMIT": 5, "CELERY_TASK_TIME_LIMIT": 6}, namespace="WORK")

    assert conf.task_time_limit == 5


def test_a_time_zone_of_ours_counts_before_djangos() -> None:
    conf = Settings()

    conf.load({"TIME_ZONE": "Europe/Berlin", "CELERY_TIMEZONE": "Asia/Tokyo"}, namespace="CELERY")

    assert conf.timezone == "Asia/Tokyo"


def test_the_config_of_flask_is_taken_without_what_is_flasks() -> None:
    conf = Settings()

    conf.update(
        {
            "DEBUG": False,
            "SECRET_KEY": "s",
            "SESSION_COOKIE_NAME": "session",
            "CELERY": {"task_time_limit": 1},
            "CELERY_BROKER_URL": "redis://localhost:6379/0",
            "CELERY_RESULT_BACKEND": "redis://localhost:6379/0",
        }
    )

    assert dict(conf) == {
        "broker_url": "redis://localhost:6379/0",
        "result_backend": "redis://localhost:6379/0",
    }


def test_names_in_lower_and_upper_case_are_not_mixed() -> None:
    conf = Settings()

    with pytest.raises(ConfigError, match="Rename these:\n  CELERYD_CONCURRENCY → worker_concurrency"):
        conf.update({"task_time_limit": 1, "CELERYD_CONCURRENCY": 2})


def test_one_setting_under_two_names_must_say_the_same() -> None:
    conf = Settings()

    conf.update({"BROKER_URL": "redis://a", "CELERY_BROKER_URL": "redis://a"})

    with pytest.raises(ConfigError, match="BROKER_URL and CELERY_BROKER_URL, and they are the same"):
        conf.update({"BROKER_URL": "redis://a", "CELERY_BROKER_URL": "redis://b"})
    with pytest.raises(ConfigError, match="names of settings are text"):
        conf.update({1: 2})


def test_defaults_of_the_program_give_way() -> None:
    conf = Settings()
    conf.load({"task_time_limit": 1}, force=True)

    conf.add_defaults({"task_time_limit": 2, "task_soft_time_limit": 0.5})

    assert (conf.task_time_limit, conf.task_soft_time_limit) == (1, 0.5)


def test_threads_read_a_source_once(nowhere: Path) -> None:
    (nowhere / "ownconfig.py").write_text(
        "import builtins\nbuiltins.read_count = getattr(builtins, 'read_count', 0) + 1\ntask_time_limit = 3"
    )
    conf, seen = Settings(), []
    conf.load("ownconfig")
    threads = [threading.Thread(target=lambda: seen.append(conf.task_time_limit)) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [3.0] * 8


def test_a_module_that_asks_for_settings_while_it_is_read_sees_what_there_is() -> None:
    conf = Settings()

    class Curious:
        @property
        def task_time_limit(self) -> float:
            return 1.0 if conf.task_default_queue == "default" else 2.0

    conf.load(Curious())

    assert conf.task_time_limit == 1.0


# ── what is said ─────────────────────────────────────────────────────────────────────


def test_a_setting_without_meaning_is_accepted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    conf = Settings()

    for value in (1, 2):
        conf.worker_prefetch_multiplier = value

    assert conf.worker_prefetch_multiplier == 2
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert (
        "worker_prefetch_multiplier, set by the program, has no meaning here. A worker" in record.getMessage()
    )


def test_a_switch_that_is_always_on_is_told_only_when_it_is_switched_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    conf = Settings({"task_track_started": True})
    assert caplog.records == []

    conf.result_extended = False

    assert "result_extended, set by the program" in caplog.text
    assert "This cannot be switched off: Name, arguments" in caplog.text


def test_explain_tells_value_source_and_effect() -> None:
    conf = Settings({"task_time_limit": 60, "broker_url": "redis://:secret@host/0"})

    rows = _rows(conf.explain())

    assert [row["setting"] for row in rows[:2]] == ["broker_url", "task_time_limit"]
    assert rows[1]["value"] == "60.0"
    assert (rows[1]["unit"], rows[1]["source"]) == ("s", "the program")
    assert rows[1]["effect"].startswith("Ends the child")
    assert {row["source"] for row in rows[2:]} == {"default"}
    (one,) = _rows(conf.explain("CELERYD_PREFETCH_MULTIPLIER"))
    assert (one["here"], one["effect"][:22]) == ("no meaning here", "A worker takes a few m")
    assert len(_rows(conf.explain(everything=True))) == len(OPTIONS) > len(rows)
    with pytest.raises(UnknownSetting):
        conf.explain("task_time_limt")


def test_explain_says_what_a_profile_and_compat_do() -> None:
    conf = Settings(profile="production", compat="celery")

    sources = {row["setting"]: row["source"] for row in _rows(conf.explain())}

    assert sources["task_time_limit"] == "profile production"
    assert sources["task_default_queue"] == "default of Celery"
    assert sources["timezone"] == "default"


def test_passwords_are_shown_nowhere() -> None:
    conf = Settings(
        {
            "broker_url": "redis://:hush1@host/0",
            "database_url": "azureblockblob://DefaultEndpointsProtocol=https;AccountKey=hush2",
            "cache_backend": "azureblockblob://DefaultEndpointsProtocol=https;AccountKey=hush2",
            "redis_password": "hush3",
            "broker_transport_options": {
                "sentinel_kwargs": {"password": "hush4"},
                "hosts": ["redis://:hush5@b"],
            },
            "s3_secret_access_key": "hush6",
            "security_key_password": b"hush7",
            "cassandra_servers": ["postgresql://u:hush8@h/d"],
            "broker_read_url": "redis://[hush",
        }
    )

    shown = f"{conf!r}{conf.humanize()}{_rows(conf.explain(everything=True))}{Settings()!r}"

    assert conf.changes
    assert not any(f"hush{n}" in f"{conf!r}{shown}" for n in range(1, 9))
    assert "redis://:***@host/0" in shown
    assert "hush1" in conf.humanize(censored=False)


def test_settings_travel_with_their_sources() -> None:
    conf = Settings({"task_time_limit": 5}, profile="production")
    conf.load({"timezone": "Asia/Tokyo"}, source="a test")

    for back in (pickle.loads(pickle.dumps(conf)), copy.deepcopy(conf)):
        assert back.changes == conf.changes
        back.task_time_limit = 6
        assert (conf.task_time_limit, back.task_time_limit) == (5, 6)


def _rows(table: object) -> list[dict[str, str]]:
    return table if isinstance(table, list) else table.to_dict("records")  # type: ignore[attr-defined]
