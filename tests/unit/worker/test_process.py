"""The process around a worker: options, exit codes, what it says, and its watchdog."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taskflow.worker import process
from taskflow.worker.options import read
from taskflow.worker.process import Process, main, spawn


def options(*argv: str) -> Any:
    return read(argv)


def test_the_store_may_be_named_with_or_without_a_flag() -> None:
    assert options("sqlite:////a/b.db").url == options("--url", "sqlite:////a/b.db").url


def test_auto_means_a_slot_for_each_processor_it_may_use() -> None:
    assert options("-n", "auto").slots == options().slots >= 1


@pytest.mark.parametrize("argv", [["-n", "0"], ["-n", "many"], ["--pool", "fibre"], ["--loglevel", "loud"]])
def test_an_option_that_cannot_be_used_ends_with_two(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)

    assert stop.value.code == 2
    assert argv[1] in capsys.readouterr().err


def test_a_store_that_cannot_be_used_is_said_in_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(process._script()), "mongodb://nowhere"],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 2
    assert done.stderr.startswith("taskflow worker: ")
    assert "Traceback" not in done.stderr


def test_the_blobs_of_an_opened_store_lie_where_children_look(tmp_path: Path) -> None:
    from taskflow.stores import blobs_place, open_store

    tmp_path.chmod(0o700)
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    store = open_store(url)
    store.blobs.put("here", [b"bytes"])
    store.close()

    found = [path for path in Path(blobs_place(url)).rglob("*") if path.name.endswith("here")]

    assert len(found) == 1


def test_a_loop_that_does_not_turn_ends_the_process() -> None:
    ended = threading.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    process._Watchdog(_worker(turns=7), stuck_s=0.04, end=end).start()

    assert ended.wait(10)
    assert codes == [70]


def test_a_loop_that_turns_is_left_alone() -> None:
    worker = _Turning(40)
    codes: list[int] = []
    watchdog = process._Watchdog(worker, stuck_s=0.04, end=codes.append)  # type: ignore[arg-type]
    watchdog.start()

    watchdog.join(10)

    assert worker.left == 0, "it was ended while it turned"


class _Turning:
    """Turns whenever it is looked at, for a while."""

    name = "w1"

    def __init__(self, times: int) -> None:
        self.left = times
        self._turns = 0

    @property
    def turns(self) -> int:
        if self.left:
            self.left -= 1
            self._turns += 1
        return self._turns


def _worker(**more: Any) -> Any:
    return SimpleNamespace(name="w1", **more)


class _Stops:
    """Remembers how it was told to stop."""

    def __init__(self, stops: list[float]) -> None:
        self._stops = stops

    def __call__(self, drain_s: float, sig: str = "") -> None:
        self._stops.append(drain_s)


def test_the_first_signal_drains_and_the_second_stops(capfd: pytest.CaptureFixture[str]) -> None:
    stops: list[float] = []
    worker = _worker(held=3, stop=_Stops(stops))
    signals = process._Signals(worker, options("--grace", "12"))

    signals._end()
    signals._end()

    said = capfd.readouterr().err
    assert stops == [12.0, 0.0]
    assert "3 calls may go on for 12 s" in said
    assert "goes back to the store" in said


def test_sigquit_stops_and_a_second_one_ends_it_without_a_word() -> None:
    stops: list[float] = []
    signals = process._Signals(_worker(held=3, stop=_Stops(stops)), options("--soft-shutdown", "7"))
    before = signal.getsignal(signal.SIGQUIT)

    try:
        signals._drop()
        second = signal.getsignal(signal.SIGQUIT)
    finally:
        signal.signal(signal.SIGQUIT, before)

    assert stops == [7.0]
    assert second is process._quit


def test_sighup_starts_anew_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for on_terminal in (False, True):
        monkeypatch.setattr(process, "_on_terminal", lambda seen=on_terminal: seen)
        signals = process._Signals(_worker(held=0, stop=_Stops([])), options())
        signals._hang_up()
        found.append(signals.anew)

    assert found == [True, False]


def test_the_end_of_a_thread_of_the_parent_is_not_the_end_of_the_parent() -> None:
    stops: list[float] = []
    worker = _worker(held=0, stop=_Stops(stops))
    signals = process._Signals(worker, options("--embedded", "--parent-fd", "9"))

    signals._hang_up()
    assert stops == []
    signals._parent = -1
    signals._hang_up()

    assert stops == [0.0]


# ── spawn ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of a worker: writes down what it was given, then waits for its end."""
    script = tmp_path / "stand_in.py"
    script.write_text(
        "import os, sys, signal\n"
        "here = '/proc/self/fd/'\n"
        "fds = sorted(int(fd) for fd in os.listdir(here) if os.path.exists(here + fd))\n"
        "sys.stderr.write(repr((sys.argv[1:], fds, os.getsid(0) == os.getpid())))\n"
        "sys.stderr.flush()\n"
        "at = sys.argv.index('--parent-fd') if '--parent-fd' in sys.argv else None\n"
        "if at: sys.stderr.write(os.read(int(sys.argv[at + 1]), 99).decode() + '.')\n"
    )
    monkeypatch.setattr(process, "_script", lambda: script)
    return script


def _spawn(tmp_path: Path, **more: Any) -> tuple[Process, Path]:
    told = tmp_path / "told"
    return spawn("sqlite:////a.db", 3, log_file=told, **more), told


def test_a_worker_inherits_nothing_but_its_pipe(tmp_path: Path, stand_in: Path) -> None:
    stray = os.dup2(os.open(os.devnull, os.O_RDONLY), 77, inheritable=True)

    started, told = _spawn(tmp_path, queues=("a", "b"), idle_exit_s=60.0)
    started.leave()
    code = started.wait(30)
    os.close(stray)

    argv, fds, own_session = eval(told.read_text().rstrip("."))
    pipe = int(argv[argv.index("--parent-fd") + 1])
    assert code == 0
    assert own_session
    assert set(fds) <= {0, 1, 2, pipe}
    assert argv[:6] == ["--url", "sqlite:////a.db", "-n", "3", "-Q", "a,b"]
    assert argv[argv.index("--idle-exit") + 1] == "60.0"


def test_a_worker_is_told_its_new_size(tmp_path: Path, stand_in: Path) -> None:
    started, told = _spawn(tmp_path)

    started.resize(5)
    started.wait(30)

    assert told.read_text().endswith("slots 5\n.")


def test_a_detached_worker_listens_to_nobody(tmp_path: Path, stand_in: Path) -> None:
    started, told = _spawn(tmp_path, detach=True)

    started.wait(30)

    assert "--parent-fd" not in told.read_text()
    with pytest.raises(process.ConfigError, match="detached"):
        started.resize(2)


def test_a_worker_that_died_is_seen_by_its_signal(tmp_path: Path, stand_in: Path) -> None:
    started, _ = _spawn(tmp_path)

    started.kill()

    assert started.wait(30) == -signal.SIGKILL
    assert started.poll() == -signal.SIGKILL
    assert started not in process._started
