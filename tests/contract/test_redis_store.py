"""The Redis store keeps the store contract, on every server that is installed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from taskflow.ports import Store
from taskflow.stores.redis import RedisStore
from taskflow.testing import ManualClock, StoreContract
from tests.servers import RedisServer, running

_numbers = count()


class OnARedisServer(StoreContract):
    """`other` is a second connection, as another process would have one."""

    kind = ""

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[RedisServer]:
        yield from running(cls.kind)

    @pytest.fixture
    def url(self, server: RedisServer) -> str:
        return f"{server.url}?namespace=n{next(_numbers)}"

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


class TestOnValkey(OnARedisServer):
    kind = "valkey"


class TestOnRedis(OnARedisServer):
    kind = "redis"
