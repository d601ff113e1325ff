"""What every test may rely on: a home of its own for keys, stores and sockets."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Hypothesis prints how to repeat a failure, and is not hurried by a busy machine.

    Ctrl-C is heard, also by the processes that tests start: a shell that runs the suite in the background has
    switched it off.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "taskflow", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("taskflow")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones come first in the share of each process, so that nobody waits for one at the end.

    Those in a browser are the first of all, and so of one process: it starts their servers once.
    """
    browser = [item for item in items if item.get_closest_marker("browser")]
    browser.sort(key=lambda item: item.path)
    others = [item for item in items if not item.get_closest_marker("browser")]
    slow = [item for item in others if item.get_closest_marker("slow")]
    rest = [item for item in others if not item.get_closest_marker("slow")]
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = browser + [
        item
        for n in range(count)
        for item in (*slow[n::count], *rest[len(rest) * n // count : len(rest) * (n + 1) // count])
    ]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """What is skipped for want of something on a laptop is a failure in CI, which has to have it."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing may be missing: {report.longrepr}"


@pytest.fixture(scope="session", autouse=True)
def _private_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keys, stores and sockets of the tests are their own; processes they start inherit this."""
    home: Path = tmp_path_factory.mktemp("home")
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        os.environ[name] = str(home)
    for name in ("XDG_RUNTIME_DIR", "TASKFLOW_KEY", "TASKFLOW_KEY_FILE", "TASKFLOW_URL"):
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """What a test changes at our loggers, the next one of its process would find."""
    log = logging.getLogger("taskflow")
    before = (log.level, log.disabled, log.propagate, list(log.handlers))
    yield
    assert (log.level, log.disabled, log.propagate, list(log.handlers)) == before


@pytest.fixture(autouse=True)
def _no_current_app() -> Iterator[None]:
    """An application that a test makes is not the one of those that come after it."""
    from taskflow import hooks
    from taskflow.app import current

    current.choose(None)
    yield
    current.choose(None)
    assert hooks.app is None
