"""Random histories: every store against the oracle, and stores against each other."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from taskflow.stores.memory import MemoryStore
from taskflow.testing.clock import ManualClock
from taskflow.testing.histories import live
from taskflow.testing.twins import Twins
from tests.servers import running


@pytest.mark.timeout(600)
def test_the_memory_store_lives_as_the_oracle_says() -> None:
    live(lambda clock: MemoryStore(clock=clock), examples=60, steps=40)


class Doors:
    """Several openings of one store, as several processes have them: each call goes through the next one."""

    def __init__(self, *stores: Any) -> None:
        self._stores, self._next = stores, itertools.cycle(stores)

    def __getattr__(self, name: str) -> Any:
        return getattr(next(self._next), name)

    def close(self) -> None:
        for store in self._stores:
            store.close()


@pytest.mark.timeout(600)
def test_the_sqlite_store_lives_as_the_memory_store_event_for_event(tmp_path: Path) -> None:
    sqlite = pytest.importorskip("taskflow.stores.sqlite")
    number = itertools.count()

    def twins(clock: ManualClock) -> Twins:
        return Twins(
            MemoryStore(clock=clock), sqlite.SQLiteStore(tmp_path / f"{next(number)}.db", clock=clock)
        )

    live(twins, examples=8, steps=25, shrink=False)


@pytest.mark.timeout(600)
def test_sqlite_stores_that_share_a_file_live_as_the_memory_store(tmp_path: Path) -> None:
    """What one of them knows of the file is forgotten when another has written to it."""
    sqlite = pytest.importorskip("taskflow.stores.sqlite")
    number = itertools.count()

    def twins(clock: ManualClock) -> Twins:
        path = tmp_path / f"{next(number)}.db"
        doors = [sqlite.SQLiteStore(path, clock=clock) for _ in range(3)]
        return Twins(MemoryStore(clock=clock), Doors(*doors, doors[0]))

    live(twins, examples=8, steps=25, shrink=False)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_the_redis_store_lives_as_the_memory_store_event_for_event(kind: str) -> None:
    from taskflow.stores.redis import RedisStore

    number = itertools.count()
    for server in running(kind):

        def twins(clock: ManualClock) -> Twins:
            url = f"{server.url}?namespace=n{next(number)}"  # noqa: B023 - used before the next one
            return Twins(MemoryStore(clock=clock), RedisStore(url, clock=clock))

        live(twins, examples=8, steps=25, shrink=False)
