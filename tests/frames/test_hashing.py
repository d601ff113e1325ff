"""Hashes of keys: equal keys alike, whatever their types, in every process."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from taskflow.errors import UsageError
from taskflow.frames.hashing import row_hashes

DAYS = pd.to_datetime(["2024-01-01", None])


def hashes(values: Any, **how: Any) -> list[int]:
    return row_hashes(pd.DataFrame({"k": pd.Series(values, **how)}), ["k"]).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (hashes([1, 0]), hashes([1.0, -0.0])),
        (hashes([1, 0]), hashes([True, False])),
        (hashes([1, 2]), hashes([1, 2], dtype="int8")),
        (hashes([1, None], dtype="Int64"), hashes([1.0, np.nan])),
        (hashes([1, None], dtype="int64[pyarrow]"), hashes([1.0, np.nan])),
        (hashes(["a", None]), hashes(["a", None], dtype="category")),
        (hashes(["a", None], dtype=object), hashes(["a", None], dtype="string[pyarrow]")),
        (hashes(["a", pd.NA], dtype=object), hashes(["a", np.nan], dtype=object)),
        (hashes([3, 1, 3], dtype="category"), hashes([3.0, 1.0, 3.0])),
        (hashes(DAYS), hashes(DAYS.as_unit("ns"))),
        (
            hashes(pd.to_datetime(["2024-01-01 12:00"]).tz_localize("UTC")),
            hashes(pd.to_datetime(["2024-01-01 13:00"]).tz_localize("Europe/Berlin")),
        ),
        (hashes([(1, "a")]), hashes([(1.0, "a")])),
        (hashes([Decimal("1.0")]), hashes([Decimal("1.00")])),
    ],
)  # fmt: skip
def test_equal_keys_have_equal_hashes(one: list[int], other: list[int]) -> None:
    assert one == other


def test_keys_that_differ_are_spread() -> None:
    for values in (
        range(10_000),
        [f"t{n}" for n in range(10_000)],
        pd.date_range("2024", periods=10_000, freq="s"),
    ):
        found = np.array(hashes(list(values)), dtype=np.uint64)

        assert len(set(found.tolist())) == 10_000
        counts = np.bincount((found % 16).astype(int), minlength=16)
        assert counts.min() > 400


def test_several_keys_are_mixed_in_their_order() -> None:
    frame = pd.DataFrame({"a": [1, 2, 1], "b": [2, 1, 2]})

    found = row_hashes(frame, ["a", "b"]).tolist()

    assert found[0] == found[2] != found[1]
    assert found != row_hashes(frame, ["b", "a"]).tolist()


def test_hashes_are_the_same_in_every_process() -> None:
    code = (
        "import pandas as pd; from taskflow.frames.hashing import row_hashes;"
        "frame = pd.DataFrame({'k': ['a', 'b', 'ä'], 'd': [('x', 1), 'y', 2]});"
        "print(row_hashes(frame, ['k', 'd']).tolist())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip

    assert len(found) == 1


def test_dates_and_levels_of_the_index_are_keys() -> None:
    frame = pd.DataFrame({"x": [1, 2]}, index=pd.Index([datetime.date(2024, 1, 1)] * 2, name="day"))

    found = row_hashes(frame, ["day"]).tolist()

    assert found[0] == found[1]


def test_a_key_without_a_hash_is_refused() -> None:
    with pytest.raises(UsageError, match="no hash"):
        hashes([[1], [2]])
