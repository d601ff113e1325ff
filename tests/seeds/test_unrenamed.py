"""The samples as they are printed: `taskflow.contrib.celery` is what they import as ``celery``."""

from __future__ import annotations

import re

from tests.seeds.stage import Folder, as_printed, commands, sample
from tests.seeds.test_beat import A10, BOTH, SOONER, TASKS, sums
from tests.seeds.test_hooks import A20, PROCESS
from tests.seeds.test_tasks import A04, SHORTER
from tests.servers import until

WORKER = commands("A05-A09-workers.sh")[0]
INSTALL = "import taskflow.contrib.celery\ntaskflow.contrib.celery.install()\n"


def printed(name: str, fix: dict[str, str] | None = None) -> str:
    """A sample with Celery's names, behind the two lines that make them ours."""
    text = as_printed(name)
    for wrong, right in (fix or {}).items():
        assert wrong in text
        text = text.replace(wrong, right)
    return INSTALL + text


def test_the_quick_start(folder: Folder) -> None:
    folder.put("tasks.py", printed("B2-tasks.py"))

    with folder.started("taskflow -A tasks worker --loglevel=info"):
        assert folder.python("-c", "from tasks import add; print(add.delay(4, 4).get())") == ["8"]


def test_the_script_with_progress(folder: Folder) -> None:
    folder.put("celery_app.py", printed("A02-celery_app.py"))
    folder.put("tasks.py", printed("A03-tasks.py"))
    folder.put("main.py", printed("A04-main.py", A04 | SHORTER))

    with folder.started(WORKER):
        lines = folder.python("main.py")

    assert lines[1:4] == ["Result: 10", "Task completed", "Result: 10"]
    assert lines[-1] == "18"


def test_the_canvas(folder: Folder) -> None:
    folder.put("celery_app.py", printed("A02-celery_app.py"))
    folder.put("tasks.py", printed("A18-tasks.py"))

    with folder.started(WORKER):
        assert folder.python("tasks.py") == ["16", "[4, 8, 16]", "90"]


def test_the_hooks_and_signals(folder: Folder) -> None:
    folder.put("celery_app.py", printed("A02-celery_app.py"))
    folder.put("tasks.py", PROCESS, printed("A25-signals.py"), printed("A20-tasks.py", A20))

    with folder.started(WORKER):
        task, three = folder.python(
            "-c", "from tasks import *; it = risky_task.delay('abc'); print(it.id); print(it.get(timeout=30))"
        )
        told = folder.logs(task)

    assert three == "3"
    assert re.findall(r"Task .*", told) == [
        f"Task {task} started",
        f"Task {task} succeeded: 3",
        f"Task {task} completed",
    ]


def test_the_schedules(folder: Folder) -> None:
    folder.put("celery_app.py", printed("A10-celery_app.py", A10 | SOONER))
    folder.put("tasks.py", INSTALL, TASKS)

    with folder.started(BOTH):
        until(lambda: len(sums(folder)) >= 2)


def test_they_differ_from_ours_in_names_only() -> None:
    for name in ("A02-celery_app.py", "A18-tasks.py", "A20-tasks.py", "A25-signals.py", "B2-tasks.py"):
        ours = sample(name).replace("Taskflow", "Celery").replace("taskflow", "celery")
        assert ours == as_printed(name)
