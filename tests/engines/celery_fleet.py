"""A real fleet of Celery: workers of an application that knows nothing of taskflow, on their own server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.servers import RedisServer, until

ROOT = Path(__file__).parents[2]

TASKS = '''
import os
import time

from celery import Celery

app = Celery("shop", broker=os.environ["SHOP_URL"], backend=os.environ["SHOP_URL"])
app.conf.broker_connection_retry_on_startup = True


@app.task
def add(x, y):
    return x + y


@app.task
def pid():
    return os.getpid()


@app.task
def sleep(seconds, value=None):
    time.sleep(seconds)
    return value


@app.task(bind=True)
def steps(self, file):
    for n in range(1, 4):
        self.update_state(state="PROGRESS", meta={"current": n, "total": 3})
    while not os.path.exists(file):
        time.sleep(0.01)
    return n


@app.task
def fail(text):
    raise LookupError(text)


@app.task(bind=True, max_retries=3)
def moody(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return self.request.retries


@app.task
def once(file):
    """Ends its process the first time."""
    try:
        os.open(file, os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return "again"
    os.kill(os.getpid(), 9)


@app.task
def write(folder, name, seconds):
    with open(os.path.join(folder, name), "a") as file:
        file.write("begun\\n")
    time.sleep(seconds)
    return name
'''

WORKER = """
import runpy, sys
from taskflow.pools.linux import Prctl
Prctl.die_with_parent(9)
sys.argv = ["celery", *sys.argv[1:]]
runpy.run_module("celery", run_name="__main__")
"""


class Fleet:
    """Workers of an application, in a folder.

    Args:
        folder: Where the application is.
        include: Modules that its workers import beside their own.
    """

    def __init__(self, folder: Path, *include: str) -> None:
        self.folder = folder
        self.include = include
        self.server = RedisServer("redis").start()
        self.url = self.server.url
        (folder / "shop.py").write_text(TASKS, encoding="utf-8")
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def env(self) -> dict[str, str]:
        """What processes need to find it."""
        return {"SHOP_URL": self.url, "PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT}"}

    def launch(self, name: str, slots: int = 2, *more: str) -> None:
        """Start a worker."""
        options = [word for module in self.include for word in ("-I", module)]
        command = [
            sys.executable, "-c", WORKER, "-A", "shop", "worker", "-n", f"{name}@here", "-c", str(slots),
            "--without-mingle", "--without-gossip", "-l", "warning", *options, *more,
        ]  # fmt: skip
        with (self.folder / f"{name}.log").open("ab") as out:
            self.workers[name] = subprocess.Popen(
                command, env={**os.environ, **self.env}, cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    def until_ready(self) -> None:
        """Wait until all workers answer."""
        names = {f"{name}@here" for name in self.workers}
        until(lambda: names <= set(self.app().control.inspect(timeout=0.3, limit=len(names)).ping() or ()))

    def app(self) -> Any:
        """The application, seen from beside."""
        from celery import Celery

        return Celery("beside", broker=self.url, backend=self.url, set_as_current=False)

    def active(self, name: str) -> list[Any]:
        """The calls of a task that run."""
        answers = self.app().control.inspect(timeout=1.0, limit=len(self.workers)).active() or {}
        return [one for tasks in answers.values() for one in tasks if one["name"] == name]

    def kill(self, name: str) -> None:
        """End a worker with all its processes, without a word."""
        worker = self.workers.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    def close(self) -> None:
        """End all."""
        for name in list(self.workers):
            self.kill(name)
        self.server.close()


@contextmanager
def fleet(folder: Path, *include: str) -> Iterator[Fleet]:
    """A fleet of two workers with two processes each; processes that are started meanwhile find it."""
    pytest.importorskip("celery")
    made = Fleet(folder, *include)
    try:
        for name in ("one", "two"):
            made.launch(name)
        made.until_ready()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in made.env.items():
                patch.setenv(name, value)
            yield made
    finally:
        made.close()
