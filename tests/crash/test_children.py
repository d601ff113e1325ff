"""Tasks that take their process with them: an outcome of that task only, with its cause; the slot is back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from taskflow.states import State
from tests.acceptance.stage import alive, family, gone_within
from tests.crash import tasks
from tests.crash.stage import Stage

SLOT_BACK_S = 1.0
BUSY_S = 2.0  # what a busy machine may add

DEADLY = {
    tasks.leave: ("exit code 4", 4, None),
    tasks.leave_with_success: ("exit code 0", 0, None),
    tasks.abort: ("SIGABRT", None, signal.SIGABRT),
    tasks.segfault: ("SIGSEGV", None, signal.SIGSEGV),
    tasks.kill_self: ("SIGKILL", None, signal.SIGKILL),
}


@pytest.mark.parametrize("deed", DEADLY, ids=lambda deed: deed.__name__)
def test_the_death_of_a_child_is_the_outcome_of_its_task_only(stage: Stage, deed: Callable[[], None]) -> None:
    words, code, number = DEADLY[deed]
    worker = stage.worker(2)
    client = stage.client()
    beside = client.submit(tasks.square, stage.ledger.path, 1.0, 3)
    stage.until(lambda: stage.ledger.begun().total() == 1)

    error = client.options(max_deliveries=1).submit(deed).exception(10)
    slot_back_s = _time(lambda: client.submit(pow, 2, 5).result(10))

    assert type(error).__name__ == "WorkerLost"
    assert words in str(error)
    assert (getattr(error, "exit_code", None), getattr(error, "signal", None)) == (code, number)
    assert beside.result(10) == 9
    assert stage.items(beside.node_id)[0].deliveries == 1
    assert slot_back_s < SLOT_BACK_S + BUSY_S
    assert alive(worker.pid)


@pytest.mark.parametrize(
    ("deed", "kind"), [(tasks.leave_politely, SystemExit), (tasks.interrupt_self, KeyboardInterrupt)]
)
def test_exceptions_that_end_programs_fail_their_task(
    stage: Stage, deed: Callable[[], None], kind: type[BaseException]
) -> None:
    stage.worker(1)
    client = stage.client()

    error = client.submit(deed).exception(10)

    assert isinstance(error, kind)
    assert client.submit(pow, 2, 5).result(5) == 32


@pytest.mark.parametrize("deed", [tasks.hang_in_c, tasks.ignore_and_sleep])
def test_a_hard_time_limit_ends_what_listens_to_no_signal(stage: Stage, deed: Callable[[], None]) -> None:
    worker = stage.worker(1)
    client = stage.client()
    client.submit(pow, 2, 5).result(10)

    stuck = client.options(time_limit=0.5).submit(deed)
    took_s = _time(lambda: stuck.exception(10))
    error = stuck.exception()
    slot_back_s = _time(lambda: client.submit(pow, 2, 5).result(10))

    assert type(error).__name__ == "TaskTimedOut"
    assert "0.5 s" in str(error)
    assert 0.5 <= took_s < 0.5 + 1.0 + BUSY_S
    assert slot_back_s < SLOT_BACK_S + BUSY_S
    assert stage.items(stuck.node_id)[0].state is State.FAILED
    assert alive(worker.pid)


def test_cancelling_ends_what_listens_to_no_signal(stage: Stage) -> None:
    stage.worker(1)
    client = stage.client()
    stuck = client.submit(tasks.hang_in_c)
    stage.until(lambda: stage.items(stuck.node_id)[0].state is State.RUNNING)

    assert stuck.cancel()
    stage.until(lambda: stage.items(stuck.node_id)[0].state is State.CANCELLED)

    assert client.submit(pow, 2, 5).result(5) == 32


def test_a_paused_child_is_ended_by_its_time_limit(stage: Stage, tmp_path: Path) -> None:
    stage.worker(1)
    client = stage.client()
    mark = tmp_path / "pid"
    stuck = client.options(time_limit=1.0).submit(tasks.pid_while_running, str(mark), 60)
    stage.until(lambda: mark.exists() and mark.read_text())
    os.kill(int(mark.read_text()), signal.SIGSTOP)

    assert type(stuck.exception(10)).__name__ == "TaskTimedOut"
    assert client.submit(pow, 2, 5).result(5) == 32


def test_killing_the_parent_process_is_charged_and_the_worker_goes_on(stage: Stage) -> None:
    worker = stage.worker(2)
    client = stage.client()

    error = client.options(max_deliveries=2).submit(tasks.kill_parent).exception(14)
    slot_back_s = _time(lambda: client.submit(pow, 2, 5).result(10))

    assert type(error).__name__ == "WorkerLost"
    assert alive(worker.pid)
    assert slot_back_s < SLOT_BACK_S + BUSY_S


def test_who_ran_beside_one_that_killed_the_parent_process_is_run_again(stage: Stage) -> None:
    stage.worker(2)
    client = stage.client()
    beside = client.submit(tasks.square, stage.ledger.path, 1.0, 3)
    stage.until(lambda: stage.ledger.begun().total() == 1)

    killer = client.submit(tasks.kill_parent_once, str(stage.folder / "once"))

    assert killer.result(10) == 1  # It was not sure whose deed it was.
    assert beside.result(10) == 9
    assert stage.items(beside.node_id)[0].deliveries == 1


def test_who_ran_beside_a_killer_of_the_parent_process_does_not_pay_for_it(stage: Stage) -> None:
    stage.worker(2)
    client = stage.client()
    beside = client.submit(tasks.square, stage.ledger.path, 4.0, 3)
    stage.until(lambda: stage.ledger.begun().total() == 1)

    killer = client.options(max_deliveries=3).submit(tasks.kill_parent)
    error = killer.exception(14)

    assert type(error).__name__ == "WorkerLost"
    assert stage.items(killer.node_id)[0].state is State.DEAD
    assert beside.result(10) == 9
    assert stage.items(beside.node_id)[0].deliveries == 1


def test_killing_the_supervisor_ends_all_of_it_and_another_worker_goes_on(stage: Stage) -> None:
    worker = stage.worker(1)
    call = stage.client().submit(tasks.square, stage.ledger.path, 0.5, 3)
    stage.until(lambda: stage.ledger.begun().total() == 1)
    pids = family(worker.pid)

    worker.kill()
    gone = gone_within(pids, 1.0 + BUSY_S)
    stage.worker(1)

    assert len(pids) >= 3
    assert gone
    assert call.result(10) == 9


def test_a_fork_bomb_is_an_outcome_and_leaves_nothing(stage: Stage, tmp_path: Path) -> None:
    """Bounded at sixty processes, for the sake of this machine."""
    worker = stage.worker(1)
    client = stage.client()
    path = tmp_path / "pids"

    error = client.options(max_deliveries=1, time_limit=5).submit(tasks.multiply, str(path), 60).exception(14)
    slot_back_s = _time(lambda: client.submit(pow, 2, 5).result(10))
    pids = [int(pid) for pid in path.read_text().split()]

    assert type(error).__name__ in ("WorkerLost", "TaskTimedOut")
    assert len(pids) >= 60
    assert gone_within(pids, 1.0 + BUSY_S)
    assert slot_back_s < SLOT_BACK_S + BUSY_S
    assert alive(worker.pid)


def test_a_daemon_that_a_task_left_behind_goes_with_its_child(stage: Stage, tmp_path: Path) -> None:
    stage.worker(1)
    client = stage.client()
    path = tmp_path / "pids"
    client.submit(tasks.daemonise, str(path)).result(10)
    pids = [int(pid) for pid in path.read_text().split()]

    client.options(max_deliveries=1).submit(tasks.kill_self).exception(10)

    assert gone_within(pids, 1.0 + BUSY_S)


def test_a_task_that_closes_every_file_is_an_outcome(stage: Stage) -> None:
    worker = stage.worker(1)
    client = stage.client()

    call = client.options(max_deliveries=2).submit(tasks.close_everything)
    error = call.exception(10)

    assert type(error).__name__ == "WorkerLost"
    assert "could not report" in str(error)
    assert stage.items(call.node_id)[0].state is State.DEAD
    assert stage.items(call.node_id)[0].deliveries == 2
    assert client.submit(pow, 2, 5).result(10) == 32
    assert alive(worker.pid)


def test_files_that_tasks_leave_open_are_not_the_supervisors(stage: Stage) -> None:
    worker = stage.worker(1)
    client = stage.client()
    client.submit(pow, 2, 5).result(10)
    before = _files(worker.pid)

    opened = [client.submit(tasks.open_many).result(10) for _ in range(2)]
    for _ in range(5):
        client.options(max_deliveries=1).submit(tasks.kill_self).exception(10)
    client.submit(pow, 2, 5).result(10)

    assert max(opened) > 100
    assert _files(worker.pid) <= before + 4


def _files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _time(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began
