"""A store with a clock that only the test moves, schedules over it, and beats that send what is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from taskflow import Client
from taskflow.beat import Beat, Schedules
from taskflow.records import RunView
from taskflow.testing import ManualClock

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)  # a Monday


class Stage:
    """What a test of schedules needs.

    Args:
        client: Runs what was sent, or leaves it lying when it has no workers.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.clock = ManualClock(NOON.timestamp())
        self.schedules = Schedules(client.schedules.home, clock=self.clock.now)

    def beat(self, **options: Any) -> Beat:
        """A beat; `turn` makes it look."""
        return Beat(SimpleNamespace(schedules=self.schedules), clock=self.clock.now, **options)

    def go(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)

    def at(self, text: str) -> None:
        """Let it be that time of the day, or that date."""
        day = text if "-" in text else f"{NOON:%Y-%m-%d}T{text}"
        self.clock.advance(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() - self.clock.now())

    def runs(self, name: str) -> list[RunView]:
        """The runs of a schedule, oldest first."""
        return self.client._engine.store.runs(tags={"schedule": name})[::-1]

    def end(self, name: str) -> None:
        """Let all its runs have ended."""
        for view in self.runs(name):
            self.client._engine.store.cancel(view.id)

    def row(self, name: str) -> dict[str, Any]:
        """Its row in the table."""
        return next(row for row in self.schedules.rows() if row["name"] == name)


def turns(beat: Beat, most: int = 50) -> None:
    """Let it look until nothing is due."""
    for _ in range(most):
        if beat.turn() > 0:
            return
    raise AssertionError("there is always something due")


def soon(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def add(x: int, y: int = 1) -> int:
    return x + y


def fails() -> None:
    raise RuntimeError("as it should")
