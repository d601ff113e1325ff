"""What the tests of the client stand on: a client of their own, and scripts in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from taskflow import Client

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0


@contextmanager
def opened(folder: Path, **options: Any) -> Iterator[Client]:
    """A client with two workers over a store in `folder`; at the end it does not wait."""
    folder.chmod(0o700)
    client = Client(url_in(folder), **({"workers": 2} | options))
    try:
        yield client
    finally:
        client.shutdown(wait=False)


def url_in(folder: Path) -> str:
    """The store of a folder."""
    return f"sqlite:///{folder / 'runs.db'}"


def until(true: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Look again and again: for what no bell rings."""
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


class Script:
    """A Python script that runs beside the test, in a session of its own."""

    def __init__(self, folder: Path, source: str, *args: str, env: dict[str, str] | None = None) -> None:
        folder.chmod(0o700)
        self.url = url_in(folder)
        path = folder / "script.py"
        path.write_text(source, encoding="utf-8")
        kept = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
        # A path that the script inherits, not one that it has to know.
        kept |= {"PYTHONPATH": str(ROOT), "TASKFLOW_URL": self.url, "PYTHONUNBUFFERED": "1"} | (env or {})
        self.process = subprocess.Popen(
            [sys.executable, str(path), *args],
            cwd=folder,
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, deadline_s: float = DEADLINE_S) -> tuple[int, str, str]:
        """Exit code, what else it printed, and its errors."""
        try:
            out, err = self.process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            out, err = self.process.communicate()
            raise AssertionError(f"the script hangs\n{out}\n{err}") from None
        return self.process.returncode, out, err

    def stop(self) -> None:
        """Kill what is left of it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with suppress(Exception):
            self.process.communicate(timeout=5)


def run_script(folder: Path, source: str, *args: str, deadline_s: float = DEADLINE_S, **how: Any) -> str:
    """What a script prints; it has to end well."""
    script = Script(folder, source, *args, **how)
    try:
        code, out, err = script.end(deadline_s)
    finally:
        script.stop()
    assert code == 0, f"exit code {code}\n{out}\n{err}"
    return out


def processes_of(url: str) -> list[int]:
    """The processes whose command line names a store: its worker processes."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if url.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found
