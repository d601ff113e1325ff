"""A project with an application, and the command ``taskflow`` in its folder: real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from taskflow.stores import open_store
from tests.acceptance.stage import DEADLINE_S, ROOT, until

TASKS = """
import os
import time
from pathlib import Path

from taskflow import Taskflow

app = Taskflow("proj", broker="sqlite:///{url}")
HERE = Path(__file__).parent


@app.task
def add(x, y):
    return x + y


@app.task
def meet(name, parties):
    "Waits until so many have come: they run at once, or never end."
    place = HERE / "meeting"
    place.mkdir(exist_ok=True)
    (place / name).write_text(str(os.getpid()))
    while len(list(place.iterdir())) < parties:
        time.sleep(0.01)
    return os.getpid()


@app.task
def hold(name):
    "Runs until a file of that name is there."
    while not (HERE / name).exists():
        time.sleep(0.01)
    return name


@app.task
def version():
    return 1
"""


class Project:
    """A folder with ``proj.py`` in it.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o700)
        self.folder, self.url = folder, f"sqlite:///{folder / 'runs.db'}"
        self.module = folder / "proj.py"
        self.module.write_text(TASKS.replace("{url}", str(folder / "runs.db")))
        self.store: Any = open_store(self.url)
        self.processes: list[subprocess.Popen[str]] = []

    def __call__(self, *argv: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """``taskflow -A proj`` with these arguments."""
        return self.run("-A", "proj", *argv, **how)

    def run(self, *argv: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """``taskflow`` with these arguments."""
        return subprocess.run(
            self._command(argv), cwd=self.folder, env=self._env(), text=True, check=False,
            capture_output=True, timeout=DEADLINE_S, **{"stdin": subprocess.DEVNULL} | how,
        )  # fmt: skip

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """``taskflow -A proj`` with these arguments, beside the test; it prints into ``out.log``."""
        with (self.folder / "out.log").open("ab") as out:
            process = subprocess.Popen(
                self._command(("-A", "proj", *argv)), cwd=self.folder, env=self._env(), text=True,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def worker(self, *argv: str, count: int = 1) -> subprocess.Popen[str]:
        """Start a worker, and wait until it is there."""
        process = self.start("worker", *argv)
        try:
            until(lambda: len(self.store.workers()) >= count or process.poll() is not None)
        except AssertionError:
            raise AssertionError(self.printed) from None
        assert process.poll() is None, self.printed
        return process

    def call(self, task: str, args: str = "[]", *argv: str) -> str:
        """Send a call; its id."""
        sent = self("call", f"proj.{task}", "-a", args, *argv)
        assert sent.returncode == 0, sent.stderr
        return sent.stdout.strip()

    def result(self, id: str) -> str:  # noqa: A002 - what everyone calls it
        """What it returned, printed."""
        answer = self("result", id, "--wait")
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()

    @property
    def printed(self) -> str:
        """What processes of `start` have printed so far."""
        path = self.folder / "out.log"
        return path.read_text() if path.exists() else ""

    def close(self) -> None:
        """End what is left."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for view in self.store.workers():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(view.pid, signal.SIGKILL)
        self.store.close()

    def _command(self, argv: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-P", "-m", "taskflow", *argv]

    def _env(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
