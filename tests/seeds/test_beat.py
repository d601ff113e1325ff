"""What runs by itself: A10, a table of schedules; A11 and A12, who sends what is due."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from tests.seeds.stage import Folder, commands, sample
from tests.servers import until

BEAT, BOTH = commands("A11-A12-beat.sh")
WORKER = commands("A05-A09-workers.sh")[0]

# Two of the tasks are not defined in the seed, and its worker does not import the module of any.
TASKS = """
from pathlib import Path
from celery_app import app

@app.task
def add(x, y):
    with open("added", "a") as file:
        file.write(f"{x + y}\\n")

@app.task
def send_weekly_report():
    pass

@app.task
def cleanup_old_data():
    pass
"""
A10 = {"broker='redis://localhost:6379/0')": "broker='redis://localhost:6379/0', include=['tasks'])"}
SOONER = {"'schedule': 30.0": "'schedule': 0.5"}


def prepared(folder: Folder, fix: dict[str, str]) -> Folder:
    folder.put("celery_app.py", sample("A10-celery_app.py", fix))
    folder.put("tasks.py", TASKS)
    return folder


def sums(folder: Folder) -> list[str]:
    file = folder.path / "added"
    return file.read_text().split() if file.exists() else []


TICKS = """
import json
from celery_app import app
rows = {name: app.schedules.next_rows(3, name) for name in app.schedules}
print(json.dumps({name: [row["at"].isoformat() for row in found] for name, found in rows.items()}))
"""


def ticks(folder: Folder) -> Any:
    """The next three ticks of each schedule, in UTC."""
    told = json.loads(folder.python("-c", TICKS)[0])
    return {name: [datetime.fromisoformat(at).astimezone(UTC) for at in ats] for name, ats in told.items()}


def test_a10_the_next_runs_are_those_of_the_clock_in_tokyo(folder: Folder) -> None:
    prepared(folder, A10)
    began = datetime.now(UTC)

    with folder.started(BEAT):
        table = until(lambda: ticks(folder))

    often, weekly, nightly = (
        table[name] for name in ("add-every-30-seconds", "send-report-every-monday", "cleanup-every-night")
    )
    # Tokyo is nine hours ahead all year: Monday 9:00 is Monday 0:00 UTC, 2:00 is 17:00 of the day before.
    midnight = began.replace(hour=0, minute=0, second=0, microsecond=0)
    monday = midnight + timedelta(days=7 - began.weekday())
    night = midnight + timedelta(days=began.hour >= 17, hours=17)
    assert weekly == [monday + timedelta(weeks=n) for n in range(3)]
    assert nightly == [night + timedelta(days=n) for n in range(3)]
    assert [b - a for a, b in pairwise(often)] == [timedelta(seconds=30)] * 2
    assert timedelta(0) < often[0] - began < timedelta(seconds=45)


def test_a11_a_beat_sends_and_a_worker_runs(folder: Folder) -> None:
    prepared(folder, A10 | SOONER)

    with folder.started(BEAT), folder.started(WORKER):
        until(lambda: len(sums(folder)) >= 3)

    assert set(sums(folder)) == {"32"}


def test_a12_a_worker_is_a_beat_too(folder: Folder) -> None:
    prepared(folder, A10 | SOONER)

    with folder.started(BOTH):
        until(lambda: len(sums(folder)) >= 3)

    assert set(sums(folder)) == {"32"}


def test_two_beats_send_each_tick_once(folder: Folder) -> None:
    prepared(folder, A10 | SOONER)
    began = time.monotonic()

    with folder.started(BOTH), folder.started(BOTH):
        until(lambda: len(sums(folder)) >= 8)

    assert len(sums(folder)) <= (time.monotonic() - began) / 0.5 + 1
