"""`taskflow worker --pool …`, as one starts it in a terminal."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from taskflow import Client
from tests.acceptance.stage import DEADLINE_S, until, url_in

__all__ = ["slots", "worker", "worker_until_ctrl_c"]


def worker(url: str, *options: str) -> subprocess.Popen[str]:
    """The command, for a store."""
    command = [sys.executable, "-m", "taskflow", "worker", url, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def slots(client: Client) -> int:
    """What all workers of a store can run at once."""
    views = client.workers()
    return sum(view["slots"] for view in (views if isinstance(views, list) else views.to_dict("records")))


def worker_until_ctrl_c(folder: Path, pool: str) -> tuple[int, str]:
    """Run a call on a pool, and end the command meanwhile: it lets the call end.

    Returns:
        The slots that it had, and what it printed.
    """

    def hold(file: Path) -> int:
        file.touch()
        time.sleep(0.5)
        return 5

    folder.chmod(0o700)
    url = url_in(folder)
    with Client(url, workers=0) as client:
        process = worker(url, "--pool", pool)
        future = client.submit(hold, folder / "file")
        until((folder / "file").exists)
        there = slots(client)

        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=DEADLINE_S)

        assert process.returncode == 0, printed
        assert future.result(DEADLINE_S) == 5
    return there, re.sub(" +", " ", printed)
