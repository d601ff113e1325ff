from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskflow.blobs.files import FileBlobs
from taskflow.codec import Codec, Keyring
from taskflow.pools.process import ProcessPool
from taskflow.testing.workbench import Workbench

Open = Callable[..., Workbench]


@pytest.fixture
def open_bench(tmp_path: Path) -> Iterator[Open]:
    """Opens pools of children, and closes them at the end."""
    pools: list[ProcessPool] = []

    def open_one(slots: int = 1, *, again: bool = True, **options: Any) -> Workbench:
        pool = ProcessPool(slots, blobs=tmp_path / "blobs", **options)
        pools.append(pool)
        return Workbench(pool, Codec(Keyring.load(), FileBlobs(tmp_path / "blobs")), again=again)

    yield open_one
    for pool in pools:
        pool.close(drain_s=0)


@pytest.fixture
def bench(open_bench: Open) -> Workbench:
    """One child."""
    return open_bench(1)


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    """A file by which a task tells that it got somewhere."""
    return tmp_path / "flag"
