"""Real worker processes over a real store: how they work, and every way in which they end."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskflow.states import State
from taskflow.worker.process import Process
from tests.acceptance.stage import DEADLINE_S, Desk, family, gone_within, pause


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


@pytest.fixture
def start(desk: Desk) -> Iterator[Callable[..., Process]]:
    yield desk.worker


# ── work ─────────────────────────────────────────────────────────────────────────────


def test_a_call_is_computed_by_another_process(desk: Desk, start: Callable[..., Process]) -> None:
    worker = start()

    child = desk.result(desk.send(os.getpid))

    assert child in family(worker.pid) - {worker.pid}
    assert [view.pid for view in desk.store.workers()] == [worker.pid]


def test_a_cancelled_call_is_stopped_at_once(desk: Desk, start: Callable[..., Process]) -> None:
    start()
    node = desk.send(time.sleep, 60)
    desk.wait(node, State.RUNNING)
    began = time.monotonic()

    desk.store.cancel(node, reason="enough")
    desk.wait(node, State.CANCELLED)

    assert time.monotonic() - began < 5.0


def test_a_locked_store_is_waited_for_while_calls_go_on(
    desk: Desk, start: Callable[..., Process], tmp_path: Path
) -> None:
    start()
    first = desk.send(time.sleep, 0.2)
    desk.wait(first, State.RUNNING)

    lock = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
    lock.execute("begin immediate")
    time.sleep(1.0)  # longer than the call takes
    lock.execute("rollback")
    lock.close()

    assert desk.wait(first, State.SUCCEEDED)
    assert desk.item(first).deliveries == 1


def test_a_worker_grows_and_shrinks_when_it_is_told(desk: Desk, start: Callable[..., Process]) -> None:
    worker = start(1)
    nodes = [desk.send(time.sleep, 60) for _ in range(3)]
    desk.wait(nodes[0], State.RUNNING)

    worker.resize(3)

    for node in nodes:
        desk.wait(node, State.RUNNING)


# ── how it ends ──────────────────────────────────────────────────────────────────────


def test_sigterm_lets_running_calls_end_and_takes_no_more(desk: Desk, start: Callable[..., Process]) -> None:
    worker = start(1)
    running = desk.send(time.sleep, 1.0)
    desk.wait(running, State.RUNNING)

    worker.stop()
    waiting = desk.send(pow, 2, 3)
    code = worker.wait(DEADLINE_S)

    assert code == 0
    assert desk.item(running).state is State.SUCCEEDED
    assert desk.item(waiting).state is State.QUEUED
    assert desk.store.workers() == []


def test_a_second_sigterm_gives_running_calls_back_uncharged(
    desk: Desk, start: Callable[..., Process]
) -> None:
    worker = start(1)
    node = desk.send(time.sleep, 60)
    desk.wait(node, State.RUNNING)
    pids = family(worker.pid)

    worker.stop()
    time.sleep(0.1)  # two signals of one kind that come together are one signal
    worker.stop()
    code = worker.wait(DEADLINE_S)

    assert code == 0
    assert (desk.item(node).state, desk.item(node).deliveries) == (State.QUEUED, 0)
    assert gone_within(pids, 5.0)


def test_sigquit_gives_running_calls_back_at_once(desk: Desk, start: Callable[..., Process]) -> None:
    worker = start(1)
    node = desk.send(time.sleep, 60)
    desk.wait(node, State.RUNNING)
    pids = family(worker.pid)

    os.kill(worker.pid, signal.SIGQUIT)

    assert worker.wait(DEADLINE_S) == 0
    assert gone_within(pids, 5.0)
    assert (desk.item(node).state, desk.item(node).deliveries) == (State.QUEUED, 0)


def test_the_work_of_a_killed_worker_is_done_by_another(desk: Desk, start: Callable[..., Process]) -> None:
    killed = start(1, lease_s=2.0)
    node = desk.send(time.sleep, 2.5)
    desk.wait(node, State.RUNNING)
    pids = family(killed.pid)
    killed.kill()
    began = time.monotonic()

    start(1, lease_s=2.0)
    desk.wait(node, State.SUCCEEDED)

    assert gone_within(pids, 5.0)
    assert desk.item(node).deliveries == 2
    assert time.monotonic() - began < 15.0


def test_a_worker_that_was_paused_too_long_settles_nothing(desk: Desk, start: Callable[..., Process]) -> None:
    paused = start(1, lease_s=3.0)
    node = desk.send(time.sleep, 4.0)
    desk.wait(node, State.RUNNING)
    pause(paused, desk.url)

    start(1, lease_s=3.0)
    desk.until(lambda: desk.item(node).deliveries == 2)
    os.kill(paused.pid, signal.SIGCONT)
    desk.wait(node, State.SUCCEEDED)

    second = next(view for view in desk.store.workers() if view.pid != paused.pid)
    assert desk.item(node).worker == second.id


def test_workers_and_children_go_with_the_process_that_started_them(desk: Desk) -> None:
    kernel = _kernel(desk.url)
    node = desk.send(time.sleep, 60)
    desk.wait(node, State.RUNNING)
    desk.until(lambda: len(family(kernel.pid)) > 3)  # worker, template, children
    pids = family(kernel.pid) - {kernel.pid}

    kernel.kill()
    kernel.wait()

    assert gone_within(pids, 5.0)
    assert desk.item(node).state is State.QUEUED


def test_a_detached_worker_outlives_the_process_that_started_it(desk: Desk) -> None:
    kernel = _kernel(desk.url, "detach=True")
    desk.until(desk.store.workers)
    kernel.kill()
    kernel.wait()

    assert desk.result(desk.send(pow, 2, 5)) == 32

    (view,) = desk.store.workers()
    os.kill(view.pid, signal.SIGTERM)
    assert gone_within({view.pid}, DEADLINE_S)


def test_the_end_of_the_thread_that_started_a_worker_does_not_end_it(desk: Desk) -> None:
    kernel = _kernel(desk.url, thread=True)
    desk.until(desk.store.workers)

    assert desk.result(desk.send(pow, 2, 5)) == 32

    kernel.kill()
    kernel.wait()


def test_an_idle_worker_goes_away(desk: Desk, start: Callable[..., Process]) -> None:
    worker = start(1, idle_exit_s=0.5)

    assert desk.result(desk.send(pow, 2, 5)) == 32
    assert worker.wait(DEADLINE_S) == 0


def test_an_idle_worker_uses_no_processor(desk: Desk, start: Callable[..., Process]) -> None:
    worker = start(2)
    desk.result(desk.send(pow, 2, 5))
    time.sleep(1.5)  # what follows work: reaping, tidying up
    pids = family(worker.pid)

    before = sum(map(_ticks, pids))
    time.sleep(3.0)

    assert sum(map(_ticks, pids)) - before <= 3


def test_ctrl_c_in_a_terminal_is_answered(desk: Desk) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-m", "taskflow.worker", desk.url, "-n", "1"],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    )
    node = desk.send(time.sleep, 1.5)
    desk.wait(node, State.RUNNING)

    worker.send_signal(signal.SIGINT)
    _, said = worker.communicate(timeout=DEADLINE_S)

    assert worker.returncode == 0
    assert "Taking no more work" in said
    assert "Ctrl-C again stops them now" in said
    assert desk.item(node).state is State.SUCCEEDED


def _kernel(url: str, options: str = "", *, thread: bool = False) -> subprocess.Popen[bytes]:
    """A process that starts a worker and does nothing more."""
    call = f"spawn({url!r}, 1, {options})"
    if thread:
        call = f"t = threading.Thread(target=lambda: {call}); t.start(); t.join()"
    code = f"import threading, time\nfrom taskflow.worker.process import spawn\n{call}\ntime.sleep(600)"
    return subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])


def _ticks(pid: int) -> int:
    """Hundredths of a second of processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
