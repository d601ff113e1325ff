"""Random histories: every store against the oracle, and stores against each other."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from taskflow.stores.memory import MemoryStore
from taskflow.testing.clock import ManualClock
from taskflow.testing.histories import live
from taskflow.testing.twins import Twins


@pytest.mark.timeout(600)
def test_the_memory_store_lives_as_the_oracle_says() -> None:
    live(lambda clock: MemoryStore(clock=clock), examples=60, steps=40)


@pytest.mark.timeout(600)
def test_the_sqlite_store_lives_as_the_memory_store_event_for_event(tmp_path: Path) -> None:
    sqlite = pytest.importorskip("taskflow.stores.sqlite")
    number = itertools.count()

    def twins(clock: ManualClock) -> Twins:
        return Twins(
            MemoryStore(clock=clock), sqlite.SQLiteStore(tmp_path / f"{next(number)}.db", clock=clock)
        )

    live(twins, examples=8, steps=25, shrink=False)
