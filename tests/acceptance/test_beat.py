"""What runs by itself: schedules from code and from a configuration, sent by real beats to real workers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskflow import Client, Taskflow, crontab, hooks
from taskflow.beat import Beat
from tests.acceptance.stage import ROOT, until

app = Taskflow("beating", set_as_current=False)


@app.task
def add(x: int, y: int) -> int:
    return x + y


@pytest.fixture
def beating(client: Client) -> Iterator[Taskflow]:
    """The application of this module, in the store of the client."""
    before = hooks.app
    app.conf.broker_url = client.url
    app.set_current()
    yield app
    app.conf.beat_schedule = {}
    with Beat.of(app) as beat:
        until(lambda: not any(entry.origin for entry in client.schedules.values()))
        beat.stop()
    app.close()
    hooks.app = before


@pytest.fixture
def program(client: Client, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A beat in a process of its own."""
    log = tmp_path / "beat.log"
    words = [sys.executable, "-m", "taskflow", "beat", "--url", client.url, "-l", "INFO", "-f", str(log)]
    with subprocess.Popen(words, cwd=ROOT) as program:
        until(log.exists)
        yield program
        program.terminate()
        assert program.wait(30) == 0


def row(client: Client, name: str) -> dict[str, Any]:
    """A schedule in the table."""
    return next((row for row in client.schedules.rows() if row["name"] == name), {"last_run": ""})


def ended(client: Client, name: str) -> Any:
    """The last run of a schedule that is noted, when there is one."""
    found = row(client, name)["last_run"]
    return client.attach(found) if found else None


def test_a_schedule_that_is_added_later_is_seen_at_once(
    client: Client, program: subprocess.Popen[bytes]
) -> None:
    """A function of a test module, a closure: the beat knows neither."""
    offset = 40
    began = time.monotonic()
    client.schedules.add("late", lambda x: x + offset, 0.3, (2,))

    until(lambda: ended(client, "late"))

    assert ended(client, "late").get(timeout=30) == 42
    assert time.monotonic() - began < 5
    client.schedules.remove("late")


def test_a_pause_is_heeded_at_once(client: Client, program: subprocess.Popen[bytes]) -> None:
    client.schedules.add("often", pow, 0.2, (2, 5), overlap="allow")
    until(lambda: ended(client, "often"))

    client.schedules.pause("often")
    paused_at = client._engine.store.now()
    client.schedules.add("witness", pow, 0.2, (2, 5), overlap="allow")
    until(lambda: row(client, "witness")["count"] >= 5)

    assert row(client, "often")["last"].timestamp() <= paused_at
    client.schedules.remove("often", "witness")


def test_the_beat_of_an_application_sends_its_configuration(client: Client, beating: Taskflow) -> None:
    beating.conf.beat_schedule = {
        "sum": {"task": add.name, "schedule": 0.3, "args": (16, 16)},
        "nightly": {"task": add.name, "schedule": crontab(0, 2), "args": (1, 1)},
    }

    with beating.Beat():
        until(lambda: ended(client, "sum"))
        assert ended(client, "sum").get(timeout=30) == 32
    assert {name for name, entry in client.schedules.items() if entry.origin} == {"sum", "nightly"}

    beating.conf.beat_schedule = {"nightly": {"task": add.name, "schedule": crontab(0, 2), "args": (1, 1)}}
    with beating.Beat():
        until(lambda: "sum" not in client.schedules)


def test_code_of_an_application_adds_schedules(client: Client, beating: Taskflow) -> None:
    beating.add_periodic_task(0.3, add.s(1, 2), name="added")

    with beating.Beat():
        until(lambda: ended(client, "added"))
        assert ended(client, "added").get(timeout=30) == 3
    beating._periodic.clear()


def test_schedules_of_an_application_are_those_of_its_store(client: Client, beating: Taskflow) -> None:
    beating.schedules.add("by hand", add, 3600, (2, 3))

    assert beating.schedules.run_now("by hand").get(timeout=30) == 5
    assert "by hand" in client.schedules
    client.schedules.remove("by hand")


def test_who_looks_through_all_schedules_sees_them_as_they_were(client: Client) -> None:
    client.schedules.add("one", add, 3600, (1, 1))
    client.schedules.add("two", add, 3600, (2, 2))

    names = []
    for name, entry in client.schedules.items():
        names.append((name, entry.name))
        for other in list(client.schedules):
            client.schedules.remove(other)

    assert names == [("one", "one"), ("two", "two")]
    assert list(client.schedules.values()) == []
