"""The Redis store keeps the store contract, on every server that is installed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.contract.redis_suite import OnAServer
from tests.servers import RedisServer, running

_numbers = count()


class OnARedisServer(OnAServer):
    """A server process for each suite, a namespace for each test."""

    kind = ""

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[RedisServer]:
        yield from running(cls.kind)

    @pytest.fixture
    def url(self, server: RedisServer) -> str:
        return f"{server.url}?namespace=n{next(_numbers)}"


class TestOnValkey(OnARedisServer):
    kind = "valkey"


class TestOnRedis(OnARedisServer):
    kind = "redis"
