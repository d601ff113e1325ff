"""Receivers that write down what they heard, and where; imported by the workers of `test_worker_signals`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from taskflow import signals


def _write(name: str, *facts: object) -> None:
    with Path(os.environ["TASKFLOW_HEARD"]).open("a") as file:
        file.write(" ".join(map(str, (name, os.getpid(), *facts))) + "\n")


@signals.worker_process_init.connect
def begun(sender: Any = None, **_: Any) -> None:
    _write("begun", sender)


@signals.worker_process_shutdown.connect
def ended(pid: int = 0, exitcode: int = -1, **_: Any) -> None:
    _write("ended", pid, exitcode)


@signals.celeryd_init.connect
def program(sender: Any = None, options: Any = None, **_: Any) -> None:
    _write("program", sender, options["slots"])


@signals.worker_ready.connect
def ready(sender: Any = None, **_: Any) -> None:
    _write("ready", sender.hostname)


@signals.task_received.connect
def received(request: Any = None, **_: Any) -> None:
    _write("received", request.id)


@signals.worker_shutting_down.connect
def leaving(sender: Any = None, how: str = "", **_: Any) -> None:
    _write("leaving", sender, how)


@signals.worker_shutdown.connect
def left(sender: Any = None, **_: Any) -> None:
    _write("left", sender.hostname)
