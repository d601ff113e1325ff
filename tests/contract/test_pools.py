"""Every pool keeps the pool contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskflow.codec import Codec
from taskflow.pools.inline import InlinePool
from taskflow.pools.process import ProcessPool
from taskflow.ports import Pool
from taskflow.testing.pool_contract import PoolContract
from taskflow.testing.promises_contract import confess_later


class TestInlinePool(PoolContract):
    @pytest.fixture
    def pool(self, codec: Codec) -> Pool:
        return InlinePool(codec)


class TestProcessPool(PoolContract):
    @pytest.fixture
    def pool(self, codec: Codec, blobs_dir: Path) -> Iterator[Pool]:
        pool = ProcessPool(2, blobs=blobs_dir)
        yield pool
        pool.close(drain_s=0)


class TestThreadPool(PoolContract):
    @pytest.fixture
    def pool(self, codec: Codec, blobs_dir: Path) -> Iterator[Pool]:
        pool = ProcessPool(3, mode="thread", blobs=blobs_dir)
        yield pool
        pool.close(drain_s=0)


class TestAsyncPool(PoolContract):
    confess = staticmethod(confess_later)

    @pytest.fixture
    def pool(self, codec: Codec, blobs_dir: Path) -> Iterator[Pool]:
        pool = ProcessPool(3, mode="async", blobs=blobs_dir)
        yield pool
        pool.close(drain_s=0)
