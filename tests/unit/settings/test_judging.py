"""A configuration for Celery is read without being run, and judged line by line."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from taskflow.errors import ConfigError
from taskflow.settings.judging import REFUSED, Verdict, judged
from taskflow.settings.literals import COMPUTED, assignments


def values(source: str) -> dict[str, object]:
    return {one.name: one.value for one in assignments(source, "config.py")}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.py"


def verdicts(config: Path, source: str, *, execute: bool = False) -> dict[str, Verdict]:
    config.write_text(source, encoding="utf-8")
    return {verdict.setting: verdict for verdict in judged(config, execute=execute)}


def test_what_is_spelt_out_is_known() -> None:
    found = values(
        "minute = 60\ntask_time_limit = 30 * minute\nresult_expires = timedelta(days=1)\n"
        "accept_content = ['json', 'yaml']\nworker_autoscale = (10, 3)\ntask_soft_time_limit: float = -(-5)\n"
        "import os\nbroker_url = os.environ['URL']\ntask_default_queue = f'q{minute}'\n"
        "task_routes = {'a': {'queue': os.environ['Q'], 'priority': 3}}\n"
    )

    assert found["task_time_limit"] == 1800
    assert found["result_expires"] == timedelta(days=1)
    assert found["accept_content"] == ["json", "yaml"]
    assert found["worker_autoscale"] == (10, 3)
    assert found["task_soft_time_limit"] == 5
    assert found["broker_url"] is found["task_default_queue"] is COMPUTED
    assert found["task_routes"] == {"a": {"queue": COMPUTED, "priority": 3}}


@pytest.mark.parametrize("bomb", ["'x' * 10**9", "10 ** 10 ** 10", "[0] * 10**9", "1 / 0", "unknown + 1"])
def test_nothing_is_computed_that_could_take_long(bomb: str) -> None:
    assert values(f"task_time_limit = {bomb}") == {"task_time_limit": COMPUTED}


def test_a_value_that_changes_later_is_not_known() -> None:
    assert values("include = ['a']\ninclude += ['b']")["include"] is COMPUTED


def test_what_is_told_to_an_app_is_found_wherever_it_stands() -> None:
    found = values(
        "app = Celery('shop', broker='redis://a', backend='redis://b', strict_typing=True)\n"
        "app.conf.update(timezone='UTC', **more)\napp.conf.update({'enable_utc': True})\n"
        "if True:\n    app.conf.task_time_limit = 1\nelse:\n    app.conf['task_soft_time_limit'] = 2\n"
        "def make():\n    app.conf.task_ignore_result = True\n"
    )

    assert {name: value for name, value in found.items() if name != "app"} == {
        "broker_url": "redis://a",
        "result_backend": "redis://b",
        "timezone": "UTC",
        "enable_utc": True,
        "task_time_limit": 1,
        "task_soft_time_limit": 2,
        "task_ignore_result": True,
    }


def test_a_file_that_is_no_python_is_an_error(config: Path) -> None:
    with pytest.raises(ConfigError, match="is not Python"):
        verdicts(config, "task_time_limit = [")
    with pytest.raises(ConfigError, match="cannot be read"):
        judged(config.with_name("nowhere.py"))


def test_each_line_says_what_happens(config: Path) -> None:
    found = verdicts(
        config,
        "import os\nfavourite = 1\nbroker_url = 'redis://:hush@host'\ntask_acks_late = False\n"
        "task_track_started = False\nworker_prefetch_multiplier = 1\nresult_backend = os.environ['X']\n"
        "task_rotes = {}\nCELERY_ONCE = {}\ntask_time_limit = 'long'\n",
    )

    assert {name: (v.line, v.here) for name, v in found.items()} == {
        "broker_url": (3, "honoured"),
        "task_acks_late": (4, "honoured"),
        "task_track_started": (5, "no meaning here"),
        "worker_prefetch_multiplier": (6, "no meaning here"),
        "result_backend": (7, "means something else here"),
        "task_rotes": (8, REFUSED),
        "CELERY_ONCE": (9, "ignored"),
        "task_time_limit": (10, REFUSED),
    }
    assert found["broker_url"].value == "'redis://:***@host'"
    assert found["result_backend"].value == "(computed)"
    assert "Did you mean 'task_routes'?" in found["task_rotes"].words


def test_a_password_in_a_url_that_is_refused_is_hidden(config: Path) -> None:
    found = verdicts(config, "broker_url = 'rdis://me:hush@host//'")

    assert found["broker_url"].here == REFUSED
    assert "hush" not in str(found)


def test_the_url_of_a_server_is_looked_at_as_when_it_is_opened(config: Path) -> None:
    found = verdicts(config, "broker_url = 'rediss://:hush@host:6379/0?ssl_cert_reqs=CERT_NONE'")

    assert found["broker_url"].here == REFUSED
    assert "ssl_cert_reqs='CERT_NONE' is not possible" in found["broker_url"].words
    assert "hush" not in str(found)


def test_old_names_are_given_their_new_ones_and_mixed_ones_refused(config: Path) -> None:
    old = verdicts(config, "BROKER_URL = 'redis://a'\nCELERYD_CONCURRENCY = 4\nDEBUG = True\n")
    mixed = verdicts(config, "broker_url = 'redis://a'\nCELERYD_CONCURRENCY = 4\n")

    assert {name: (v.name, v.here) for name, v in old.items()} == {
        "BROKER_URL": ("broker_url", "honoured"),
        "CELERYD_CONCURRENCY": ("worker_concurrency", "honoured"),
    }
    assert mixed["CELERYD_CONCURRENCY"].here == REFUSED
    assert "rename it worker_concurrency" in mixed["CELERYD_CONCURRENCY"].words


def test_what_does_not_go_together_is_refused(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = verdicts(
        config, "task_time_limit = 5\ntask_soft_time_limit = 6\nworker_prefetch_multiplier = 1\n"
    )

    assert found["(together)"].here == REFUSED
    assert "soft_time_limit must be shorter" in found["(together)"].words
    assert caplog.records == []


def test_nothing_is_run_unless_that_was_asked_for(config: Path) -> None:
    source = (
        "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
        "for task_time_limit in (1, 2): pass\ntask_soft_time_limit = 0.5 + len('ab')\n_own = 1\n"
    )

    still = verdicts(config, source)
    assert not config.with_name("ran").exists()
    ran = verdicts(config, source, execute=True)

    assert still["task_soft_time_limit"].value == "(computed)"
    assert config.with_name("ran").exists()
    assert (ran["task_soft_time_limit"].line, ran["task_soft_time_limit"].value) == (4, "2.5")
    assert (ran["task_time_limit"].line, ran["task_time_limit"].value) == (None, "2")
    assert ran["(together)"].here == REFUSED


def test_a_file_that_fails_when_it_is_run_is_named(config: Path) -> None:
    with pytest.raises(ConfigError, match=r"config.py failed when it was run: ModuleNotFoundError"):
        verdicts(config, "import not_installed_anywhere", execute=True)
