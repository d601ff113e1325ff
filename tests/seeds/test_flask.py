"""Flask: A17 of the seeds, and the application in ``examples/``."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.seeds.stage import Browser, Folder, sample
from tests.servers import free_port, until

pytest.importorskip("flask", reason="Flask is not installed: pip install -e '.[test]'")

EXAMPLES = Path(__file__).parents[2] / "examples"
WORKER = "taskflow -A flask_app.wsgi worker --loglevel=info"
ITEMS = {"data": [1, 2, 3]}


@contextmanager
def served(folder: Folder, module: str) -> Iterator[Browser]:
    """An application of Flask on a port."""
    port = free_port()
    command = f"flask --app {module} run --port {port}"
    with folder.started(command, code=-signal.SIGTERM) as server:
        browser = Browser(f"http://127.0.0.1:{port}")
        until(lambda: browser.status("/") == 404)
        yield browser
        assert "Traceback" not in server.said


# It uses request, and imports it not.
A17 = {"import Flask": "import Flask, request"}


def test_a17_a_request_gives_its_work_to_a_task(folder: Folder) -> None:
    folder.put("app.py", sample("A17-app.py", A17))
    result = "from app import celery; print(celery.AsyncResult('{}').get(timeout=30))"

    with folder.started("taskflow -A app worker"), served(folder, "app") as browser:
        status, said = browser.post("/process", ITEMS)

        assert status == 202
        assert folder.python("-c", result.format(said["task_id"])) == ["Processed 3 items"]


@pytest.fixture
def example(folder: Folder) -> Folder:
    """The folder of the examples; there a task takes a tenth of a second."""
    folder.environment |= {"CELERY_BROKER_URL": folder.server.url, "FLASK_SECONDS": "0.1"}
    folder.add_to_path(EXAMPLES)
    return folder


def test_the_example_answers_at_once_and_tells_the_result_later(example: Folder) -> None:
    with example.started(WORKER), served(example, "flask_app.wsgi") as browser:
        status, said = browser.post("/process", ITEMS)
        page = f"/result/{said['task_id']}"

        def answer() -> Any:
            status, found = browser.ask(page)
            return status == 200 and found["state"] == "SUCCESS" and found

        assert status == 202
        assert until(answer) == {"state": "SUCCESS", "result": "Processed 3 items"}
        assert browser.ask("/result/nothing")[0] == 404


def test_the_example_needs_neither_server_nor_workers(example: Folder) -> None:
    del example.environment["CELERY_BROKER_URL"]
    example.environment["TASKFLOW_URL"] = str(example.path / "runs.db")

    with served(example, "flask_app.wsgi") as browser:
        _, said = browser.post("/process", ITEMS)
        until(lambda: browser.ask(f"/result/{said['task_id']}")[1]["result"] == "Processed 3 items")


CONTEXT = """
import flask, json
from flask_app import create_app
from taskflow import shared_task

app = create_app({"SECONDS": 0.0})
celery = app.extensions["taskflow"]
ended = []
app.teardown_appcontext(lambda error: ended.append(repr(error)))

@shared_task(bind=True)
def looks(self, fails):
    if fails:
        raise KeyError(flask.current_app.name)
    return [flask.current_app.name, self.app.main]

@shared_task
async def waits():
    return flask.current_app.name

@shared_task
def endings():
    return list(ended)
"""


def test_a_task_has_the_context_of_the_application_and_ends_it(example: Folder) -> None:
    example.put("site_of_mine.py", CONTEXT)
    script = (
        "from site_of_mine import *\n"
        "print(celery.conf.task_time_limit, celery.main, flask.has_app_context())\n"
        "print(looks.delay(False).get(timeout=30), waits.delay().get(timeout=30))\n"
        "print(repr(looks.delay(True).get(timeout=30, propagate=False)))\n"
        "print(endings.delay().get(timeout=30))\n"
    )

    with example.started("taskflow -A site_of_mine worker -c 1"):
        lines = example.python("-c", script)

    assert lines == [
        "300.0 flask_app False",
        "['flask_app', 'flask_app'] flask_app",
        "KeyError('flask_app')",
        "['None', 'None', \"KeyError('flask_app')\"]",
    ]


def test_settings_are_those_of_flask() -> None:
    from flask import Flask

    from taskflow import Taskflow
    from taskflow.contrib.flask import init_app
    from taskflow.errors import ConfigError

    flask, app = Flask("shop"), Taskflow("mine")
    flask.config |= {"DEBUG": True, "CELERY_TIMEZONE": "Asia/Tokyo", "CELERY": {"task_time_limit": 7}}

    assert init_app(flask, app) is app is flask.extensions["taskflow"]
    assert (app.conf.timezone, app.conf.task_time_limit) == ("Asia/Tokyo", 7)
    with pytest.raises(ConfigError, match="CELERY_TIMEZONE"):
        init_app(Flask("other")).conf.update(CELERY_TIMEZON="UTC")
