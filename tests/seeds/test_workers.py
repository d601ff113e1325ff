"""Workers as they are started: A5 to A9 of the seeds; A24, queues and who takes from them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.seeds.stage import Folder, commands, sample
from tests.servers import until

LOUD, FOUR, DAEMON, QUEUES, SCALING = commands("A05-A09-workers.sh")

# Tasks that wait for each other, so that they end only when all of them run at once.
MEETING = """
import os, time
from pathlib import Path
from celery_app import app

@app.task
def meet(place, number, count):
    place = Path(place)
    place.joinpath(str(number)).touch()
    while len(list(place.iterdir())) < count:
        time.sleep(0.01)
    return os.getpid()

@app.task
def add(x, y):
    return x + y
"""
MEET = """
import json, sys
from tasks import meet
place, count = sys.argv[1], int(sys.argv[2])
results = [meet.delay(place, number, count) for number in range(count)]
print(json.dumps([result.get(timeout=40) for result in results]))
"""


def prepared(folder: Folder) -> Folder:
    folder.put("celery_app.py", sample("A02-celery_app.py"))
    folder.put("tasks.py", MEETING)
    return folder


def meeting(folder: Folder, count: int) -> list[int]:
    """The processes in which so many calls were at once."""
    place = folder.path / "meeting"
    place.mkdir()
    pids: list[int] = json.loads(folder.python("-c", MEET, str(place), str(count))[0])
    return pids


def added(folder: Folder) -> str:
    return folder.python("-c", "from tasks import add; print(add.delay(4, 6).get(timeout=30))")[0]


def workers(folder: Folder) -> Any:
    return json.loads(folder.run("taskflow", "-A", "celery_app", "workers", "--json"))


def test_a5_a_worker_says_what_it_does(folder: Folder) -> None:
    with prepared(folder).started(LOUD) as worker:
        assert added(folder) == "10"

        worker.says("myapp")
        worker.says("tasks.add[")
        worker.says("succeeded in")
        assert folder.server.url.partition("?")[0] in worker.said


def test_a6_four_calls_run_at_once_in_four_processes(folder: Folder) -> None:
    with prepared(folder).started(FOUR):
        assert len(set(meeting(folder, 4))) == 4


def test_a7_a_daemon_writes_its_log_and_is_told_to_stop(folder: Folder) -> None:
    prepared(folder).shell(DAEMON)  # it returns: the shell has its prompt again
    log = folder.path / "celery.log"

    try:
        assert added(folder) == "10"
        until(lambda: "myapp" in log.read_text())
    finally:
        folder.run("taskflow", "-A", "celery_app", "control", "shutdown")
    until(lambda: not workers(folder))


def test_a8_a_worker_takes_from_its_queues_only(folder: Folder) -> None:
    script = (
        "from tasks import add\n"
        "other, high = (add.apply_async((1, 1), queue=queue) for queue in ('other', 'high_priority'))\n"
        "print(high.get(timeout=30), add.delay(1, 2).get(timeout=30), other.state)\n"
    )

    with prepared(folder).started(QUEUES):
        assert folder.python("-c", script) == ["2 3 PENDING"]


@pytest.mark.slow
def test_a9_a_worker_grows_with_the_load_and_shrinks_again(folder: Folder) -> None:
    def slots() -> Any:
        return [worker["slots"] for worker in workers(folder)]

    with prepared(folder).started(SCALING):
        until(lambda: slots() == [3])
        assert len(set(meeting(folder, 10))) == 10
        until(lambda: slots() == [3], within_s=60)


# The seed names tasks that it does not define.
A24 = """
from celery_app import app

@app.task(bind=True)
def high_priority_task(self):
    return self.request.delivery_info["queue"]

@app.task(bind=True)
def low_priority_task(self):
    return self.request.delivery_info["queue"]
"""


def test_a24_tasks_go_to_their_queues_and_workers_take_from_theirs(folder: Folder) -> None:
    folder.put("celery_app.py", sample("A02-celery_app.py"), sample("A24-routes.py"))
    folder.put("tasks.py", A24)
    high, low = commands("A24-routes.py")
    script = (
        "from tasks import *\n"
        "high, low = high_priority_task.delay(), low_priority_task.delay()\n"
        "print(low.get(timeout=30), high.state, high.id)\n"
    )

    with folder.started(low):
        queue, state, task = folder.python("-c", script)[0].split()
        with folder.started(high):
            of_high = folder.python(
                "-c", f"from tasks import app; print(app.AsyncResult('{task}').get(timeout=30))"
            )

    assert (queue, state, of_high) == ("low", "PENDING", ["high"])
