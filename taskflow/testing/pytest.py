"""Fixtures of pytest for those who test their tasks: an application, and a worker that runs its calls.

::

    pytest_plugins = ["taskflow.testing.pytest"]     # in conftest.py

    def test_add(taskflow_app, taskflow_worker):
        @taskflow_app.task
        def add(x, y):
            return x + y

        assert add.delay(2, 2).get(timeout=10) == 4
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from taskflow.testing.worker import start_worker

if TYPE_CHECKING:
    from taskflow.app import Taskflow
    from taskflow.worker.loop import Worker

__all__ = ["taskflow_app", "taskflow_config", "taskflow_worker", "taskflow_worker_options"]


@pytest.fixture
def taskflow_config() -> dict[str, Any]:
    """Settings of `taskflow_app`; a fixture of the same name in your tests says others."""
    return {}


@pytest.fixture
def taskflow_worker_options() -> dict[str, Any]:
    """Options of `taskflow_worker`, see `start_worker`; a fixture of that name in your tests says others."""
    return {}


@pytest.fixture
def taskflow_app(tmp_path: Path, taskflow_config: dict[str, Any]) -> Iterator[Taskflow]:
    """An application with a store of its own, gone after the test; it is the current one meanwhile."""
    from taskflow import hooks
    from taskflow.app import Taskflow
    from taskflow.app.current import choose

    before = hooks.app
    tmp_path.chmod(0o700)
    settings = {"broker_url": f"sqlite:///{tmp_path / 'taskflow.db'}"} | taskflow_config
    app = Taskflow("tests", changes=settings)
    try:
        yield app
    finally:
        client = app._client
        if client is not None:
            client.shutdown(wait=False)
        choose(before)


@pytest.fixture
def taskflow_worker(taskflow_app: Taskflow, taskflow_worker_options: dict[str, Any]) -> Iterator[Worker]:
    """A worker for `taskflow_app`, in a thread of this process; calls run in children of it."""
    with start_worker(taskflow_app, **taskflow_worker_options) as worker:
        yield worker
