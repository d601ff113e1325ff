"""Beats that are killed and stopped: no tick is lost, and none is sent twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from taskflow.client import Client
from taskflow.records import RunView
from taskflow.states import State
from tests.acceptance.stage import ROOT, pause
from tests.crash import tasks
from tests.crash.server_stage import ServerStage, stop
from tests.crash.stage import Stage

EVERY_S = 0.5
REPLACED_S = 10.0


class Beats:
    """A schedule that is due twice a second, and the beats that send it."""

    def __init__(self, stage: Stage, client: Client) -> None:
        self.stage, self.client = stage, client
        self.entry = client.schedules.add(
            "square", tasks.square, EVERY_S, (stage.ledger.path, 0.0, 3), missed="all", overlap="allow"
        )
        self.programs: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        log = self.stage.folder / f"beat-{len(self.programs)}.log"
        words = [sys.executable, "-m", "taskflow", "beat", self.stage.url, "--logfile", str(log)]
        self.programs.append(subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL))
        self.stage.until(log.exists)
        return self.programs[-1]

    def stop(self, program: subprocess.Popen[bytes]) -> None:
        """Stop a beat, though not while it holds the lock of a file."""
        if self.stage.url.startswith("sqlite:"):
            pause(program, self.stage.url)
        else:
            stop(program)

    @property
    def runs(self) -> list[RunView]:
        return self.stage.store.runs(limit=10_000, tags={"schedule": "square"})

    @property
    def row(self) -> dict[str, Any]:
        return self.client.schedules.rows()[0]

    def until_more(self, ticks: int) -> None:
        """Wait until so many more ticks are noted."""
        goal = self.row["count"] + ticks
        self.stage.until(lambda: self.row["count"] >= goal)

    def settle_down(self) -> int:
        """Pause the schedule, wait for its runs, and see that each tick is one run; how many there were."""
        self.client.schedules.pause("square")
        self.stage.until(self._is_told)  # a beat may be about to send one, or to note what it has sent
        self.stage.until_ended(*(view.id for view in self.runs))
        assert {view.state for view in self.runs} == {State.SUCCEEDED}
        assert self._is_told()
        return len(self.runs)

    def _is_told(self) -> bool:
        """Whether each tick that is noted is one run, and each run one tick."""
        row, runs = self.row, [view.id for view in self.runs]
        return sorted(runs) == sorted(map(self.entry.run_at, self._ticks(row["last"]))) and (
            len(runs) == row["count"]
        )

    def latest_s(self) -> float:
        """How late the latest run was, seconds."""
        ticks = {self.entry.run_at(tick): tick.timestamp() for tick in self._ticks(self.row["last"])}
        return max(view.created_at - ticks[view.id] for view in self.runs)

    def _ticks(self, last: datetime) -> list[datetime]:
        step = timedelta(seconds=EVERY_S)
        return [
            self.entry.since + number * step for number in range(1, (last - self.entry.since) // step + 1)
        ]

    def close(self) -> None:
        for program in self.programs:
            if program.poll() is None:
                program.kill()
            program.wait()


@pytest.fixture(params=["file", "server"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path) if request.param == "file" else ServerStage(tmp_path)
    yield stage
    stage.close()


@pytest.fixture
def beats(stage: Stage) -> Iterator[Beats]:
    stage.worker()
    beats = Beats(stage, stage.client())
    yield beats
    beats.close()


def test_each_tick_is_one_run_when_a_beat_is_killed(beats: Beats) -> None:
    first, _ = beats.start(), beats.start()
    beats.until_more(4)

    first.kill()
    first.wait()
    beats.until_more(6)

    assert beats.settle_down() >= 10
    assert beats.latest_s() < REPLACED_S


def test_a_beat_that_was_stopped_sends_nothing_twice(beats: Beats) -> None:
    stopped, other = beats.start(), beats.start()
    beats.until_more(3)
    beats.stop(stopped)
    beats.until_more(4)

    os.kill(stopped.pid, signal.SIGCONT)
    other.kill()
    other.wait()
    beats.until_more(4)

    beats.settle_down()


def test_what_was_missed_while_there_was_no_beat_is_made_up_for(beats: Beats) -> None:
    only = beats.start()
    beats.until_more(2)
    only.kill()
    only.wait()
    beats.stage.until(lambda: beats.stage.store.now() > beats.row["last"].timestamp() + 4 * EVERY_S)

    beats.start()
    beats.until_more(5)

    beats.settle_down()


def test_a_beat_waits_for_a_server_that_was_killed(tmp_path: Path) -> None:
    with closing(ServerStage(tmp_path)) as stage:
        stage.worker()
        with closing(Beats(stage, stage.client())) as beats:
            beats.start()
            beats.until_more(2)

            stage.restart()
            beats.until_more(4)

            beats.settle_down()


def test_a_beat_leaves_when_it_is_asked_to(beats: Beats) -> None:
    beat = beats.start()
    beats.until_more(1)

    beat.send_signal(signal.SIGTERM)

    assert beat.wait(30) == 0
    beats.settle_down()
