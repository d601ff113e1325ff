"""``celery``, as taskflow has it: what is imported from it is ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

INSTALL = "import taskflow.contrib.celery; taskflow.contrib.celery.install()\n"


def run(text: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )


def test_each_name_is_ours_and_is_there(tmp_path: Path) -> None:
    done = run(
        INSTALL
        + "import importlib, sys\n"
        + "for name in sorted(n for n in sys.modules if n.partition('.')[0] == 'celery'):\n"
        + "    if name == 'celery.contrib.django.task': continue\n"
        + "    module = importlib.import_module(name)\n"
        + "    for each in dir(module):\n"
        + "        assert getattr(module, each) is not None, (name, each)\n"
        + "    print(name)\n",
        tmp_path,
    )

    assert done.returncode == 0, done.stderr
    assert {"celery", "celery.app.task", "celery.canvas", "celery.utils.log"} <= set(done.stdout.split())


@pytest.mark.parametrize(
    ("line", "ours"),
    [
        ("from celery import Celery as it", "taskflow.Taskflow"),
        ("from celery import chord as it", "taskflow.chord"),
        ("from celery import Task as it", "taskflow.Task"),
        ("from celery.app.task import Task as it", "taskflow.Task"),
        ("from celery.app.control import Inspect as it", "taskflow.steering.Inspect"),
        ("from celery.schedules import crontab as it", "taskflow.schedules.crontab"),
        ("from celery.utils.log import get_task_logger as it", "taskflow.logs.get_task_logger"),
        ("from celery.canvas import Signature as it", "taskflow.Signature"),
        ("from celery.exceptions import Retry as it", "taskflow.Retry"),
        ("from celery.result import AsyncResult as it", "taskflow.AsyncResult"),
        ("from celery.states import SUCCESS as it", "'SUCCESS'"),
        ("import celery.signals; it = celery.signals.task_prerun", "taskflow.signals.task_prerun"),
        ("from celery import signals; it = signals.task_prerun", "taskflow.signals.task_prerun"),
        ("import celery; it = celery.VERSION[0]", "5"),
        ("from celery.app import app_or_default; it = type(app_or_default())", "taskflow.Taskflow"),
    ],
)
def test_what_is_imported_is_ours(line: str, ours: str, tmp_path: Path) -> None:
    imports = "import taskflow, taskflow.logs, taskflow.schedules, taskflow.signals, taskflow.steering"

    done = run(f"{INSTALL}{imports}\n{line}\nassert it is {ours} or it == {ours}, it", tmp_path)

    assert done.returncode == 0, done.stderr


def test_all_names_come_with_a_star(tmp_path: Path) -> None:
    done = run(INSTALL + "from celery import *\nprint(Celery.__name__, group.__name__)", tmp_path)

    assert done.stdout.split() == ["Taskflow", "group"], done.stderr


def test_what_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    done = run(INSTALL + "import celery\ncelery.shared_tasks", tmp_path)

    assert "celery has no 'shared_tasks' in taskflow. Did you mean 'shared_task'?" in done.stderr
    assert "cannot import name 'bootsteps'" in run(INSTALL + "from celery import bootsteps", tmp_path).stderr
    assert "No module named 'celery.worker'" in run(INSTALL + "import celery.worker", tmp_path).stderr


def test_who_looks_for_celery_finds_it(tmp_path: Path) -> None:
    done = run(
        INSTALL + "import importlib.util\nprint(importlib.util.find_spec('celery.result').name)", tmp_path
    )

    assert done.stdout == "celery.result\n", done.stderr


def test_it_does_not_take_the_place_of_celery_itself(tmp_path: Path) -> None:
    (tmp_path / "celery.py").write_text("")

    done = run("import celery\n" + INSTALL, tmp_path)

    assert "ConfigError: Celery is imported here already, from" in done.stderr
    assert (
        run(INSTALL + INSTALL + "import celery; print(celery.Celery.__name__)", tmp_path).stdout
        == "Taskflow\n"
    )
