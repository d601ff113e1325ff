"""The store contract on a Redis server, wherever that is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskflow.ports import Store
from taskflow.stores.redis import RedisStore
from taskflow.testing import ManualClock, StoreContract


class OnAServer(StoreContract):
    """The suite over a fixture `url`; `other` is a second connection, as another process would have one."""

    @pytest.fixture
    def store(self, url: str, clock: ManualClock) -> Iterator[Store]:
        store = RedisStore(url, clock=clock)
        yield store
        store.close()

    @pytest.fixture
    def other(self, store: Store, url: str, clock: ManualClock) -> Iterator[Store]:
        other = RedisStore(url, clock=clock)
        yield other
        other.close()
