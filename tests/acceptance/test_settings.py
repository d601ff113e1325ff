"""Settings of a module and of the environment are what workers do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

CONFIG = """
broker_url = "redis://nobody-is-here:1/0"
task_time_limit = 0.5
task_routes = {"tasks.add": {"queue": "sums"}}
task_annotations = {"tasks.fail_once": {"max_retries": 1, "default_retry_delay": 0}}
"""
TASKS = """
import time
from taskflow import Taskflow

app = Taskflow("tasks")


@app.task
def add(x, y):
    return x + y


@app.task
def idle():
    time.sleep(60)


@app.task(bind=True)
def fail_once(self):
    if not self.request.retries:
        raise self.retry()
    return self.request.retries
"""
PROGRAM = """
import os, taskflow
from tasks import add, app, fail_once, idle

if __name__ == "__main__":
    with taskflow.Client(os.environ["CELERY_BROKER_URL"], workers=1, queues="sums,default"):
        sum = add.delay(4, 4)
        print(sum.get(timeout=60), sum.queue)
        print(fail_once.delay().get(timeout=60))
        try:
            idle.delay().get(timeout=60)
        except taskflow.errors.TaskTimedOut as error:
            print(type(error).__name__)
        print(app.conf.changes["broker_url"].source)
    app.close()
"""


def test_limits_routes_and_retries_of_a_module_are_kept_and_the_environment_names_the_store(
    tmp_path: Path,
) -> None:
    for name, text in (("celeryconfig", CONFIG), ("tasks", TASKS), ("program", PROGRAM)):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    url = f"sqlite:///{tmp_path}/store/runs.db"

    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "CELERY_BROKER_URL": url},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.stdout.splitlines() == ["8 sums", "1", "TaskTimedOut", "$CELERY_BROKER_URL"], done.stderr
