"""What those who test their own tasks are given: an application, and a worker in the process of the test."""

from __future__ import annotations

import os
from typing import Any

import pytest

from taskflow.app import Taskflow
from taskflow.testing.worker import start_worker
from taskflow.worker.loop import Worker

pytest_plugins = ["pytester"]


def test_a_test_gets_an_application_and_a_worker(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["taskflow.testing.pytest"]')
    pytester.makepyfile(
        """
        import os
        import pytest
        from taskflow import current_app

        def test_add(taskflow_app, taskflow_worker):
            @taskflow_app.task
            def add(x, y):
                return x + y, os.getpid()

            value, pid = add.delay(2, 2).get(timeout=30)
            assert (value, pid != os.getpid()) == (4, True)
            assert current_app == taskflow_app

        def test_a_crash_is_the_outcome_of_a_task(taskflow_app, taskflow_worker):
            @taskflow_app.task(max_deliveries=1)
            def crash():
                os._exit(3)

            with pytest.raises(Exception, match="3"):
                crash.delay().get(timeout=30)

        class TestSettings:
            @pytest.fixture
            def taskflow_config(self):
                return {"task_default_queue": "mine"}

            @pytest.fixture
            def taskflow_worker_options(self):
                return {"slots": 1, "pool": "thread", "queues": "mine"}

            def test_it_has_settings(self, taskflow_app, taskflow_worker):
                @taskflow_app.task
                def add(x, y):
                    return x + y

                assert add.delay(2, 3).get(timeout=30) == 5
        """
    )

    result = pytester.runpytest_subprocess("-p", "no:randomly", "-p", "no:cacheprovider", "-q")

    result.assert_outcomes(passed=3)


def test_a_worker_in_a_thread_is_told_and_asked_as_any_other(tmp_path: Any) -> None:
    tmp_path.chmod(0o700)
    app = Taskflow("shop", broker=f"sqlite:///{tmp_path / 'runs.db'}", set_as_current=False)
    pid = app.task(os.getpid, name="shop.pid")

    with start_worker(app, slots=1) as worker:
        assert isinstance(worker, Worker)
        assert pid.delay().get(timeout=30) != os.getpid()
        assert app.control.pool_grow(1, reply=True, timeout=20)
        stats = app.control.inspect(timeout=20).stats()
        registered = app.control.inspect(timeout=20).registered()

    assert stats is not None
    assert registered is not None
    assert stats[worker.name]["pool"]["max-concurrency"] == 2
    assert stats[worker.name]["total"] == {"shop.pid": 1}
    assert "shop.pid" in registered[worker.name]
    assert app.control.ping(timeout=0.1) == []
    app.close()
