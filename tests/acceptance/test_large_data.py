"""Arrays, frames and tables that are large: stored once, mapped where they are used, never copied twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from taskflow import Client
from tests.acceptance.stage import opened

MB = 1 << 20


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with opened(tmp_path) as client:
        yield client


def stored_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "runs.db.d" / "blobs").rglob("*") if path.is_file())


def anonymous_bytes() -> int:
    """Memory of this process that is no file's."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def grown(obj: Any) -> Any:
    """What is large stays as it is: it is returned from where it was mapped."""
    return obj


def where(array: Any) -> tuple[int, int]:
    return os.getpid(), array.ctypes.data


def test_a_captured_array_is_stored_and_loaded_once(client: Client, tmp_path: Path) -> None:
    array = np.arange(32 * MB // 8)

    def at(i: int) -> tuple[int, int, int]:
        return int(array[i * 1000]), *where(array)

    found = client.map(at, range(1000)).results()
    found += [client.submit(at, i).result() for i in range(100)]  # one by one: a burst calls another function

    assert [value for value, _, _ in found[:1000]] == list(range(0, 1_000_000, 1000))
    places = {(pid, address) for _, pid, address in found}
    assert len(places) == len({pid for pid, _ in places}) <= 2
    assert 32 * MB < stored_bytes(tmp_path) < 34 * MB


def test_an_argument_of_many_calls_is_stored_once(client: Client, tmp_path: Path) -> None:
    frame = pd.DataFrame({name: np.arange(1_000_000.0) for name in "abc"})

    calls = [client.submit(lambda frame, i: float(frame.b.iloc[i]), frame, i) for i in range(20)]

    assert [call.result() for call in calls] == list(range(20))
    assert stored_bytes(tmp_path) < 1.2 * frame.memory_usage().sum()


@pytest.mark.parametrize("kind", ["array", "frame", "slices", "arrow"])
def test_what_is_large_goes_there_and_back_without_a_copy_in_memory(client: Client, kind: str) -> None:
    array = np.arange(80 * MB // 8, dtype=np.float64).reshape(4, -1)
    if kind == "arrow":
        import pyarrow as pa

        large: Any = pa.table({f"c{i}": row for i, row in enumerate(array)})
    elif kind == "array":
        large = array
    else:
        large = pd.DataFrame(array.T, columns=list("abcd"), copy=False)
        large = large.iloc[1000:-1000] if kind == "slices" else large
    client.submit(grown, 1).result()
    before = anonymous_bytes()

    again = client.submit(grown, large).result(60)

    assert anonymous_bytes() - before < 20 * MB
    assert again.equals(large) if kind != "array" else (again == large).all()
