"""What is told of a task: A20, a custom class of tasks; A25, signals."""

from __future__ import annotations

import re

from tests.seeds.stage import Folder, commands, sample

WORKER = commands("A05-A09-workers.sh")[0]

# `process` is not defined; and a minute is 0.06 s.
PROCESS = "def process(data):\n    return len(data)\n"
A20 = {"countdown=60": "countdown=0.06"}


def test_a20_the_hooks_are_called(folder: Folder) -> None:
    folder.put("celery_app.py", sample("A02-celery_app.py"))
    folder.put("tasks.py", PROCESS, sample("A20-tasks.py", A20))

    with folder.started(WORKER):
        lines = folder.python(
            "-c",
            "from tasks import risky_task\n"
            "good, bad = risky_task.delay('abc'), risky_task.delay('')\n"
            "print(good.id, good.get(timeout=30))\n"
            "print(bad.id, repr(bad.get(timeout=30, propagate=False)))\n",
        )
        (good, three), (bad, error) = (line.split(" ", 1) for line in lines)
        told = {task: folder.logs(task) for task in (good, bad)}

    assert (three, error) == ("3", "ValueError('Empty data')")
    assert re.findall(r"Task .*", told[good]) == [f"Task {good} succeeded: 3"]
    assert re.findall(r"Task .*", told[bad]) == [
        *[f"Task {bad} retrying: Empty data"] * 3,
        f"Task {bad} failed: Empty data",
    ]


def test_a25_the_signals_are_sent(folder: Folder) -> None:
    folder.put("celery_app.py", sample("A02-celery_app.py"))
    folder.put("tasks.py", sample("A25-signals.py"), sample("A03-tasks.py"))

    with folder.started(WORKER):
        task, ten = folder.python(
            "-c", "from tasks import *; it = add.delay(4, 6); print(it.id); print(it.get(timeout=30))"
        )
        told = folder.logs(task)

    assert ten == "10"
    assert re.findall(r"Task .*", told) == [f"Task {task} started", f"Task {task} completed"]
