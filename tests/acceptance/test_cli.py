"""The command ``taskflow`` as a person meets it: real processes, a real store, a real terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from taskflow.ids import RunId
from taskflow.stores.sqlite import SQLiteStore
from tests.unit.cli.shop import Shop

TASKFLOW = [sys.executable, "-m", "taskflow.cli"]
ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0
_OWN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "taskflow.cli", *sys.argv[1:]])
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TASKFLOW_URL", str(tmp_path / "runs.db"))
    monkeypatch.setenv("TERM", "xterm")
    store = SQLiteStore(tmp_path / "runs.db")
    yield Shop(store)
    store.close()


def taskflow(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*TASKFLOW, *argv], capture_output=True, text=True, check=False, timeout=DEADLINE_S)


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    while Terminal.opened:
        process = Terminal.opened.pop().process
        process.kill()
        process.wait()


class Terminal:
    """A command on a pseudo-terminal of 80 columns; Ctrl-C is typed, not sent."""

    opened: ClassVar[list[Terminal]] = []

    def __init__(self, *argv: str) -> None:
        self.opened.append(self)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", _OWN_TERMINAL, *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.screen = ""

    def wait_for(self, pattern: str) -> str:
        """Read until the screen matches."""
        deadline = time.monotonic() + DEADLINE_S
        while not re.search(pattern, self.screen):
            assert time.monotonic() < deadline, self.screen
            assert self._read(), f"ended without {pattern!r}: {self.screen}"
        return self.screen

    def type(self, key: bytes) -> None:
        os.write(self._master, key)

    def end(self) -> int:
        """Read all that is left, and the exit code."""
        while self._read():
            pass
        os.close(self._master)
        return self.process.wait(DEADLINE_S)

    def _read(self) -> bool:
        if not select.select([self._master], [], [], DEADLINE_S)[0]:
            return False
        try:
            seen = os.read(self._master, 65536)
        except OSError:  # the other side was closed
            return False
        self.screen += seen.decode().replace("\r\n", "\n")
        return bool(seen)


def test_the_way_of_a_failed_run(shop: Shop) -> None:
    run = shop.submit(shop.map(3))
    shop.succeed(0, log="read 0\n")
    shop.fail(ValueError("bad file"), log="read 1\n")
    shop.succeed(2)

    listed = taskflow("runs", "--failed")
    short = listed.stdout.splitlines()[1].split()[0]

    assert listed.returncode == 0
    assert "ValueError: bad file" in taskflow("show", short).stdout
    assert taskflow("result", f"{short}:2").stdout == "2\n"
    assert taskflow("result", short).returncode == 1
    assert taskflow("logs", f"{short}:1").stdout == "read 1\n"
    again = taskflow("retry", short).stdout.strip()
    shop.succeed(1)
    assert taskflow("result", again).stdout == "[0, 1, 2]\n"
    assert json.loads(taskflow("show", again, "--json").stdout)["meta"]["rerun_of"] == run


def test_a_table_fits_the_terminal_and_is_coloured_there(shop: Shop) -> None:
    shop.submit(shop.call(), name="a name that is far too long for a terminal of eighty columns, by a lot")
    shop.fail(ValueError("no"))

    terminal = Terminal("runs")
    code = terminal.end()

    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal.screen).splitlines()
    assert code == 0
    assert "\x1b[31mfailed\x1b[0m" in terminal.screen
    assert all(len(line) <= 80 for line in plain)
    assert "…" in plain[1]


def test_no_color_is_honoured(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.submit(shop.call())
    monkeypatch.setenv("NO_COLOR", "1")

    terminal = Terminal("runs")

    assert terminal.end() == 0
    assert "\x1b" not in terminal.screen


def test_following_draws_bars_until_the_run_ends_and_then_shows_it(shop: Shop) -> None:
    run = shop.submit(shop.map(4))
    terminal = Terminal("show", run, "-f")
    terminal.wait_for("parse .* 0/4")

    for done in range(1, 4):
        shop.succeed()
        terminal.wait_for(rf"parse .* {done}/4")
    shop.succeed()

    assert terminal.end() == 0
    assert terminal.screen.rpartition("\x1b[J")[2].startswith("\x1b[32mcensus  succeeded")


def test_following_a_graph_draws_it_in_place_and_ctrl_c_leaves_the_run_alone(shop: Shop) -> None:
    load = shop.call("load")
    parse = shop.call("parse", load.id)
    run = shop.submit(load, parse, shop.call("check", load.id), shop.call("total", parse.id))
    terminal = Terminal("show", run, "-f")
    terminal.wait_for("○ load .* 0/1(.|\n)*◇ parse(.|\n)*◇ total(.|\n)*├─╯|◇ total")
    shop.succeed()
    terminal.wait_for("\x1b\\[\\d+F✓ load .* 1/1")

    terminal.type(b"\x03")

    assert terminal.end() == 130
    assert "Traceback" not in terminal.screen
    assert json.loads(taskflow("show", run, "--json").stdout)["state"] == "running"
    for _ in range(3):
        shop.succeed()
    assert taskflow("show", run, "-f").returncode == 0


@pytest.mark.parametrize("argv", [["show", "-f"], ["logs", "-f"], ["result", "--wait"]])
def test_ctrl_c_ends_a_wait_without_a_traceback(argv: list[str], shop: Shop) -> None:
    run = shop.submit(shop.map(2))
    shop.succeed(log="begun\n")
    terminal = Terminal(*argv, run)
    terminal.wait_for({"show": "1/2", "logs": "begun", "result": "^"}[argv[0]])
    if argv[0] == "result":
        _wait_until_it_listens(shop)

    terminal.type(b"\x03")

    assert terminal.end() == 130
    assert "Traceback" not in terminal.screen
    assert terminal.screen.endswith("\n")


def _wait_until_it_listens(shop: Shop) -> None:
    bells = Path(os.environ["TASKFLOW_URL"] + ".d") / "bells" / "watch"
    deadline = time.monotonic() + DEADLINE_S
    while not list(bells.glob("*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_reader_that_had_enough_is_no_error(shop: Shop) -> None:
    for _ in range(50):
        shop.submit(shop.map(200), name="x" * 2000)

    shell = f"set -o pipefail; {' '.join(TASKFLOW)} runs -n 50 --json | head -c 10 >/dev/null"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_output_in_another_encoding_is_escaped_not_an_error(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    run = shop.submit(shop.call("größe"))

    done = taskflow("show", run)

    assert done.returncode == 0
    assert "gr\\xf6\\xdfe" in done.stdout
    assert "--------" in done.stdout


def test_a_value_of_a_module_beside_us_is_loaded_and_one_from_nowhere_explained(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "project"
    home.mkdir()
    (home / "shapes_of_mine.py").write_text("class Shape:\n    def __repr__(self): return 'a shape'\n")
    monkeypatch.syspath_prepend(home)
    from shapes_of_mine import Shape

    run = shop.submit(shop.call())
    shop.succeed(Shape())

    monkeypatch.chdir(home)
    here = taskflow("result", run)
    monkeypatch.chdir(tmp_path)
    elsewhere = taskflow("result", run)

    assert (here.returncode, here.stdout) == (0, "a shape\n")
    assert elsewhere.returncode != 0
    assert elsewhere.stderr.count("\n") == 1
    assert "shapes_of_mine" in elsewhere.stderr


def test_a_worker_serves_the_store_until_ctrl_c(shop: Shop) -> None:
    run = shop.submit(shop.map(20))
    terminal = Terminal("worker", "-n", "2", "--name", "here")
    try:
        assert taskflow("show", run, "-f").returncode == 0
        assert "here" in taskflow("workers").stdout
        assert taskflow("result", run).stdout == f"{list(range(20))}\n"
        assert taskflow("doctor").returncode == 0
    finally:
        terminal.type(b"\x03")
        code = terminal.end()

    assert code == 0
    assert "Traceback" not in terminal.screen
    assert not shop.store.workers()


def test_a_worker_without_a_possible_store_says_so() -> None:
    done = taskflow("worker", "redis2://nowhere")

    assert done.returncode == 2
    assert "there is no store 'redis2'" in done.stderr


def test_help_loads_next_to_nothing() -> None:
    """It comes at once: no store, no codec, and none of the modules that take long."""
    command = [sys.executable, "-X", "importtime", "-m", "taskflow", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE_S)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}

    assert "taskflow.cli.parser" in loaded
    slow = {
        "asyncio",
        "cloudpickle",
        "dataclasses",
        "inspect",
        "multiprocessing",
        "networkx",
        "redis",
        "sqlite3",
    }
    assert not loaded & slow
    rooms = {name.split(".")[1] for name in loaded if name.startswith("taskflow.")}
    assert rooms <= {"arguments", "cli", "errors", "observe", "states"}


def test_sigterm_ends_a_follower(shop: Shop) -> None:
    run: RunId = shop.submit(shop.call())
    terminal = Terminal("show", run, "-f")
    terminal.wait_for("0/1")

    terminal.process.send_signal(signal.SIGTERM)

    assert terminal.end() == -signal.SIGTERM
