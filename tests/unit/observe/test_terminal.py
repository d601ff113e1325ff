"""Bars: drawn over each other on a terminal, at most ten times a second, and nowhere else."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
from collections.abc import Iterator
from io import StringIO
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.observe.board import Stage
from taskflow.observe.terminal import Bars, bar, bar_lines
from taskflow.observe.text import cells
from taskflow.states import State


def stage(label: str = "map", done: int = 3, total: int | None = 10, **facts: object) -> Stage:
    defaults = {
        "state": State.RUNNING,
        "running": 2,
        "failed": 1,
        "cancelled": 0,
        "skipped": 0,
        "retried": 1,
        "rate": 12.34,
        "elapsed_s": 75.0,
        "eta_s": 30.0,
    }
    return Stage(label=label, done=done, total=total, **{**defaults, **facts})


class Terminal:
    """A pseudo-terminal: `stream` is what a program writes to, `screen` what came out."""

    def __init__(self, columns: int = 100, lines: int = 10) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8")

    def screen(self) -> str:
        seen = b""
        while select.select([self._master], [], [], 0)[0]:
            seen += os.read(self._master, 65536)
        return seen.decode().replace("\r\n", "\n")

    def close(self) -> None:
        self.stream.close()
        os.close(self._master)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("TASKFLOW_PROGRESS", raising=False)
    made = Terminal()
    yield made
    made.close()


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


def test_a_line_tells_everything_there_is_to_tell() -> None:
    (line,) = bar_lines([stage(cached=2)], width=120)

    assert line.split() == [
        "map",
        bar(3, 10, 32).strip(),
        *["3/10", "2", "running", "1", "failed", "1", "retried", "2", "cached", "12.3/s", "1:15"],
        *["ETA", "0:30"],
    ]


@given(
    st.lists(st.builds(stage, st.text(max_size=40), st.integers(0, 10**7), st.just(10**7)), max_size=4),
    st.integers(1, 200),
)
def test_no_bar_is_wider_than_the_terminal(stages: list[Stage], width: int) -> None:
    lines = bar_lines(stages, width=width)

    assert len(lines) == len(stages)
    assert all(cells(line) <= width and line.isprintable() for line in lines)


def test_a_narrow_terminal_keeps_what_tells_most() -> None:
    (line,) = bar_lines([stage()], width=45)

    assert "1 failed" in line
    assert "ETA 0:30" in line
    assert "retried" not in line


def test_bars_and_counts_stand_below_each_other() -> None:
    lines = bar_lines([stage("a"), stage("longer", 1000, 2000, retried=0)], width=100)

    assert lines[0].index("━") == lines[1].index("━")
    assert lines[0].index("/") - lines[1].index("/") == 3


@given(st.integers(0, 1000), st.integers(0, 1000) | st.none(), st.integers(1, 50), st.booleans())
def test_a_bar_has_its_width(done: int, total: int | None, width: int, plain: bool) -> None:
    drawn = bar(done, total, width, plain=plain)

    assert len(drawn) == width
    assert plain <= drawn.isascii()


def test_a_second_drawing_goes_over_the_first(terminal: Terminal, seconds: Seconds) -> None:
    with Bars(terminal.stream, monotonic=seconds) as bars:
        bars.update([stage("a"), stage("b")])
        seconds.now = 1.0
        bars.update([stage("a"), stage("b", 9)])

    first, second = terminal.screen().split("\x1b[2F")
    assert first.count("\n") == second.count("\n") == 2
    assert "9/10" in second


def test_ten_updates_a_second_are_drawn_and_the_last_one_always(terminal: Terminal, seconds: Seconds) -> None:
    with Bars(terminal.stream, monotonic=seconds) as bars:
        for done in range(1000):
            seconds.now = done / 1000
            bars.update([stage(done=done, total=999)])

    drawn = re.findall(r"(\d+)/999", terminal.screen())
    assert len(drawn) <= 11
    assert drawn[-1] == "999"


def test_the_bars_stay_when_an_error_ends_the_work(terminal: Terminal, seconds: Seconds) -> None:
    with pytest.raises(KeyboardInterrupt), Bars(terminal.stream, monotonic=seconds) as bars:
        bars.update([stage(done=1)])
        bars.update([stage(done=2)])
        raise KeyboardInterrupt

    assert terminal.screen().endswith("\n\x1b[J")
    assert not bars.due


def test_cleared_bars_leave_nothing(terminal: Terminal, seconds: Seconds) -> None:
    with Bars(terminal.stream, monotonic=seconds) as bars:
        bars.update([stage()])
        bars.clear()

    assert terminal.screen().endswith("\x1b[1F\x1b[J")


def test_more_stages_than_lines_show_first_what_runs(terminal: Terminal, seconds: Seconds) -> None:
    over = [stage(f"over{i}", 10, state=State.SUCCEEDED) for i in range(20)]
    with Bars(terminal.stream, monotonic=seconds) as bars:
        bars.update([*over, stage("busy"), stage("later", 0, state=State.QUEUED)])

    screen = terminal.screen()
    assert "busy" in screen
    assert "later" in screen
    assert screen.count("\n") == 8
    assert "… 15 more: 15 ended, 0 to come" in screen


def test_a_label_cannot_steer_the_terminal(terminal: Terminal, seconds: Seconds) -> None:
    with Bars(terminal.stream, monotonic=seconds) as bars:
        bars.update([stage("\x1b[2Jx\x07")])

    assert "\\x1b[2Jx\\x07" in terminal.screen()


@pytest.mark.parametrize(("name", "value"), [("TASKFLOW_PROGRESS", "0"), ("TERM", "dumb")])
def test_progress_can_be_switched_off(
    name: str, value: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)

    with Bars(terminal.stream) as bars:
        bars.update([stage()])

    assert not bars.live
    assert terminal.screen() == ""


def test_no_color_means_none(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    with Bars(terminal.stream) as bars:
        bars.update([stage()])

    assert not re.search(r"\x1b\[[0-9;]*m", terminal.screen())


def test_what_is_no_terminal_stays_empty() -> None:
    stream = StringIO()

    with Bars(stream) as bars:
        bars.update([stage()])

    assert stream.getvalue() == ""


def test_a_terminal_that_went_away_does_not_stop_the_work(seconds: Seconds) -> None:
    terminal = Terminal()
    with Bars(terminal.stream, monotonic=seconds) as bars:
        terminal.close()
        bars.update([stage()])

    assert not bars.live


def test_a_stream_that_knows_only_ascii_gets_only_that(terminal: Terminal, seconds: Seconds) -> None:
    plain = os.fdopen(os.dup(terminal.stream.fileno()), "w", encoding="ascii")

    with plain, Bars(plain, monotonic=seconds) as bars:
        bars.update([stage("größe")])

    screen = terminal.screen()
    assert "gr??e" in screen
    assert "###" in screen


def test_a_ctrl_c_while_it_draws_does_not_draw_twice(terminal: Terminal, seconds: Seconds) -> None:
    class Interrupted(Bars):
        def _write(self, text: str) -> None:
            super()._write(text)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Interrupted(terminal.stream, monotonic=seconds) as bars:
        bars.update([stage()])

    assert terminal.screen().count("3/10") == 1
