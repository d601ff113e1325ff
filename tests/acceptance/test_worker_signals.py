"""Signals and log lines of real workers: each in the process in which it happens."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from taskflow import signals
from taskflow.errors import TaskTimedOut, WorkerLost
from taskflow.policy import Policy
from taskflow.pools.process import ProcessPool
from taskflow.signals import Signal
from taskflow.states import State
from taskflow.stores import blobs_place, open_store
from taskflow.worker.loop import Worker
from tests.acceptance.stage import ROOT, Desk, until

Heard = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


@contextmanager
def hearing(*heard_of: Signal) -> Iterator[Heard]:
    """What is heard of these, with the thread that sent it."""
    heard: Heard = []

    def listen(signal: Any = None, **told: Any) -> None:
        heard.append((signal.name, told | {"thread": threading.current_thread().name}))

    for one in heard_of:
        one.connect(listen)
    yield heard
    for one in heard_of:
        one.disconnect(listen)


@contextmanager
def working(desk: Desk, **options: Any) -> Iterator[Worker]:
    """A worker in a thread of this process, with a child."""
    pool = ProcessPool(1, url=desk.url, blobs=blobs_place(desk.url), worker="here", **options)
    worker = Worker(open_store(desk.url), pool, name="here")
    thread = threading.Thread(target=worker.run, name="the-worker")
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(60)


def _names(heard: Heard, *but: str) -> list[str]:
    return [name for name, _ in heard if name not in but]


def test_a_worker_in_a_thread_tells_its_own_process(desk: Desk) -> None:
    of_workers = (
        signals.worker_init,
        signals.worker_ready,
        signals.heartbeat_sent,
        signals.worker_before_create_process,
        signals.task_received,
        signals.worker_shutting_down,
        signals.worker_shutdown,
    )
    with hearing(*of_workers) as heard:
        with working(desk) as worker:
            until(lambda: "worker_ready" in _names(heard))
            node = desk.send(os.getpid, label="proj.pid")
            assert desk.result(node) != os.getpid()

        assert _names(heard, "heartbeat_sent") == [
            "worker_before_create_process",
            "worker_init",
            "worker_ready",
            "task_received",
            "worker_shutting_down",
            "worker_shutdown",
        ]
        told = dict(heard)
        assert "heartbeat_sent" in told
        assert all(
            told[name]["sender"] is worker for name in ("worker_init", "worker_ready", "worker_shutdown")
        )
        assert told["worker_ready"]["thread"] == told["task_received"]["thread"] == "the-worker"
        request = told["task_received"]["request"]
        assert (request.id, request.task_name, request.hostname) == (node, "proj.pid", "here")
        assert request.delivery_info["routing_key"] == "default"
        assert told["worker_shutting_down"]["how"] == "Warm"
        assert told["worker_shutting_down"]["sender"] == "here"


def test_who_is_cancelled_while_it_runs_is_told(desk: Desk) -> None:
    with hearing(signals.task_revoked) as heard, working(desk):
        node = desk.send(time.sleep, 60, label="proj.sleep")
        desk.wait(node, State.RUNNING)
        desk.store.cancel(node, reason="enough")
        desk.wait(node, State.CANCELLED)
        until(lambda: bool(heard))

    ((_, told),) = heard
    assert (told["sender"], told["request"].id) == ("proj.sleep", node)
    assert (told["terminated"], told["signum"], told["expired"]) == (True, None, False)


@pytest.mark.parametrize(
    ("fn", "args", "policy", "kind"),
    [
        (time.sleep, (60,), Policy(time_limit_s=0.2), TaskTimedOut),
        (os._exit, (3,), Policy(max_deliveries=2), WorkerLost),
    ],
)
def test_the_worker_speaks_for_a_child_that_is_gone(
    desk: Desk, fn: Callable[..., Any], args: tuple[Any, ...], policy: Policy, kind: type[Exception]
) -> None:
    with hearing(signals.task_failure) as heard, working(desk):
        node = desk.send(fn, *args, label="proj.bad", policy=policy)
        until(lambda: desk.item(node).state in (State.FAILED, State.DEAD))
        until(lambda: bool(heard))

    ((_, told),) = heard
    assert (told["sender"], told["task_id"]) == ("proj.bad", node)
    assert type(told["exception"]) is kind


def _logs() -> int:
    from taskflow.logs import get_task_logger

    logging.getLogger("proj.db").warning("slow %s", "query")
    get_task_logger("proj.tasks").info("done")
    return os.getpid()


def test_what_a_task_logs_reaches_the_process_of_the_worker(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    with working(desk, log_level=logging.INFO):
        node = desk.send(_logs, label="proj.logs")
        child = desk.result(node)
        until(lambda: len(caplog.records) > 1)

    slow, done = [record for record in caplog.records if hasattr(record, "task_id")]
    assert (slow.name, slow.levelname, slow.getMessage(), slow.process) == (
        "proj.db", "WARNING", "slow query", child
    )  # fmt: skip
    assert {(record.task_id, record.task_name) for record in (slow, done)} == {(node, "proj.logs")}
    assert done.getMessage() == "done"
    assert "slow query" in "".join(text for _, text in desk.store.logs(node))


def test_children_tell_of_themselves_where_their_modules_were_imported(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = tmp_path / "heard"
    monkeypatch.setenv("TASKFLOW_HEARD", str(heard))
    with working(desk, preload=["tests.acceptance.listening"], recycle_after_calls=1):
        child = desk.result(desk.send(os.getpid))
        until(lambda: f"ended {child} {child} 0\n" in heard.read_text())

    lines = heard.read_text().splitlines()
    assert lines[0] == f"begun {child} here"
    assert not [line for line in lines if line.startswith(("ready", "received"))]


_PROGRAM = """
import sys
import tests.acceptance.listening
from taskflow.worker.process import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_worker_process_tells_and_writes_what_happens(desk: Desk, tmp_path: Path) -> None:
    heard, log = tmp_path / "heard", tmp_path / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, desk.url, "-n", "1", "--name", "w1", "--loglevel", "info"],
            env={**os.environ, "TASKFLOW_HEARD": str(heard), "PYTHONPATH": str(ROOT)},
            stderr=errors,
        )
    try:
        node = desk.send(_logs, label="proj.logs")
        child = desk.result(node)
        until(lambda: "done" in log.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()

    lines = [line for line in heard.read_text().splitlines() if str(process.pid) in line]
    assert [line.split()[0] for line in lines] == ["program", "ready", "received", "leaving", "left"]
    assert lines[2].split()[2] == node
    written = log.read_text()
    assert f"WARNING/Child-{child}] proj.logs[{node}]: slow query" in written
    assert f"INFO/Child-{child}] proj.logs[{node}]: done" in written
    assert "\x1b" not in written
