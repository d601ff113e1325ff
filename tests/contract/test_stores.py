"""Every store keeps the store contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskflow.ports import Store
from taskflow.stores.memory import MemoryStore
from taskflow.testing import ManualClock, StoreContract


class TestMemoryStore(StoreContract):
    """The store in this process's memory."""

    @pytest.fixture
    def store(self, clock: ManualClock) -> Store:
        return MemoryStore(clock=clock)


class TestSQLiteStore(StoreContract):
    """The embedded default; `other` is a second connection, as another process would have one."""

    @pytest.fixture
    def store(self, tmp_path: Path, clock: ManualClock) -> Iterator[Store]:
        sqlite = pytest.importorskip("taskflow.stores.sqlite")
        store = sqlite.SQLiteStore(tmp_path / "runs.db", clock=clock)
        yield store
        store.close()

    @pytest.fixture
    def other(self, store: Store, tmp_path: Path, clock: ManualClock) -> Iterator[Store]:
        sqlite = pytest.importorskip("taskflow.stores.sqlite")
        other = sqlite.SQLiteStore(tmp_path / "runs.db", clock=clock)
        yield other
        other.close()
