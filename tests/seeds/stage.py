"""The seeds' samples, renamed, in a folder of their own; and processes that are started there by hand."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.servers import RedisServer, until

__all__ = ["Browser", "Folder", "Process", "Site", "as_printed", "commands", "renamed", "sample"]

SAMPLES = Path(__file__).parent / "samples"
ADDRESS = "redis://localhost:6379/0"
"""Where the seeds believe the server to be."""
NOTHING: Mapping[str, str] = MappingProxyType({})


def as_printed(name: str) -> str:
    """The text of a sample, with Celery's names."""
    return (SAMPLES / name).read_text(encoding="utf-8")


def renamed(text: str) -> str:
    """``celery`` becomes ``taskflow`` where it is imported or started, and ``Celery`` everywhere."""
    text = re.sub(r"^(\s*(?:from|import) )celery\b", r"\1taskflow", text, flags=re.M)
    text = re.sub(r"^((?:#.*: |# | *command: )?)celery (?=-A)", r"\1taskflow ", text, flags=re.M)
    return re.sub(r"\bCelery\b", "Taskflow", text)


def fixed(text: str, fix: Mapping[str, str]) -> str:
    """The text with corrections; one that does not apply is an error."""
    for wrong, right in fix.items():
        assert text.count(wrong) == 1, f"{wrong!r} is there {text.count(wrong)} times"
        text = text.replace(wrong, right)
    return text


def sample(name: str, fix: Mapping[str, str] = NOTHING) -> str:
    """The text of a sample, renamed, with its corrections."""
    return fixed(renamed(as_printed(name)), fix)


def commands(name: str, program: str = "taskflow") -> list[str]:
    """The commands in a sample that start a program."""
    lines = (line.removeprefix("# ") for line in sample(name).splitlines())
    return [line for line in lines if line.startswith(f"{program} ")]


class Process:
    """A process that runs in the background.

    Args:
        command: Its words.
        log: Where what it says is written.
        folder: Where it runs.
        environment: Its environment.
    """

    def __init__(self, command: list[str], log: Path, folder: Path, environment: dict[str, str]) -> None:
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out, cwd=folder, env=environment)
        self.pid = self._process.pid

    @property
    def is_there(self) -> bool:
        """Whether it runs, or has ended as it was told to."""
        return self._process.poll() in (None, 0)

    @property
    def said(self) -> str:
        """All that it has said."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def says(self, text: str, within_s: float = 30.0) -> None:
        """Wait until it has said something."""

        def is_said() -> bool:
            assert self._process.poll() is None or text in self.said, self.said
            return text in self.said

        until(is_said, within_s)

    def stop(self) -> int:
        """Tell it to end, and wait for that."""
        if self._process.poll() is None:
            self._process.terminate()
        return self._process.wait(timeout=50)


class Folder:
    """A folder with a program in it, beside a server.

    Args:
        path: The folder.
        server: The server that stands where the seeds say ``redis://localhost:6379/0``.
    """

    def __init__(self, path: Path, server: RedisServer) -> None:
        self.path, self.server = path, server
        self._numbers, self._running = itertools.count(), list[Process]()
        path.mkdir(parents=True, exist_ok=True)
        self.environment = os.environ | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": "*",
            "NO_COLOR": "1",
        }

    def add_to_path(self, folder: Path) -> None:
        """Let modules in another folder be found, too."""
        before = self.environment.get("PYTHONPATH")
        self.environment["PYTHONPATH"] = os.pathsep.join([str(folder), *([before] if before else [])])

    def put(self, name: str, *texts: str) -> Path:
        """Write a file, with the address of the server in place of the seeds'."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(texts).replace(ADDRESS, self.server.url), encoding="utf-8")
        return file

    def run(self, *command: str, code: int = 0, within_s: float = 60.0) -> str:
        """What a command says, that ends with this exit code."""
        end = time.monotonic() + within_s
        with subprocess.Popen(
            command,
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            while True:
                try:
                    said, error = process.communicate(timeout=1)
                    break
                except subprocess.TimeoutExpired:
                    if time.monotonic() > end or any(not other.is_there for other in self._running):
                        process.kill()
        assert process.returncode == code, f"{process.returncode}: {said}\n{error}"
        return said

    def python(self, *words: str) -> list[str]:
        """The lines that a script, or ``-c`` and a text, prints."""
        return self.run("python", *words).splitlines()

    def logs(self, task: str) -> str:
        """What a task has printed."""
        return self.run("taskflow", "-b", self.server.url, "logs", task)

    def shell(self, command: str, **options: int) -> str:
        """What one line for a shell says."""
        return self.run(*shlex.split(command, comments=True), **options)

    @contextmanager
    def started(self, command: str, code: int = 0) -> Iterator[Process]:
        """A process of this command, for the length of a block; it ends with this code when it is told to."""
        words, log = shlex.split(command, comments=True), self.path / f"{next(self._numbers)}.said"
        process = Process(words, log, self.path, self.environment)
        self._running.append(process)
        try:
            yield process
        except BaseException:
            process.stop()
            sys.stderr.write(f"{command}\n{process.said}\n")
            raise
        finally:
            self._running.remove(process)
        ended = process.stop()
        assert ended == code, f"{command} ended with {ended}:\n{process.said}"


class Site:
    """A web site that is asked for pages, for the length of a ``with`` block.

    Args:
        failing: How often each page fails with 503 before it is there.
    """

    def __init__(self, failing: Mapping[str, int] = MappingProxyType({})) -> None:
        self._left = dict(failing)
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                left = site._left.get(self.path, 0)
                site._left[self.path] = left - 1
                self.send_response(503 if left > 0 else 200)
                self.end_headers()
                self.wfile.write(b"a page")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Site:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Browser:
    """Asks a web application.

    Args:
        url: Where it is.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def status(self, path: str) -> int:
        """The status of a page, whatever is on it."""
        try:
            with self._open(urllib.request.Request(self.url + path)) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def ask(self, path: str, **form: str) -> tuple[int, Any]:
        """Status and answer; with a form it is posted."""
        data = urllib.parse.urlencode(form).encode() if form else None
        return self._answer(urllib.request.Request(self.url + path, data))

    def post(self, path: str, value: object) -> tuple[int, Any]:
        """Status and answer to a value in JSON."""
        headers = {"Content-Type": "application/json"}
        return self._answer(urllib.request.Request(self.url + path, json.dumps(value).encode(), headers))

    def _answer(self, request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with self._open(request) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def _open(self, request: urllib.request.Request) -> Any:
        return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20)
