"""Partitions that are no DataFrames of pandas."""

from __future__ import annotations

import pickle

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import taskflow
from taskflow import Client
from taskflow.errors import UsageError
from taskflow.frames import kinds

TABLE = pa.table({"k": [1, 2, 3] * 10, "s": [f"text {n}" for n in range(30)]})
POLARS = pl.DataFrame({"k": [1, 2, 3] * 10, "s": [f"text {n}" for n in range(30)]})


def test_polars_in_polars_out(inline: Client) -> None:
    found = taskflow.map_partitions(
        POLARS, lambda part: part.with_columns(z=pl.col.k * 2), npartitions=4, client=inline
    )

    assert found.equals(POLARS.with_columns(z=pl.col.k * 2))


def test_arrow_in_arrow_out(inline: Client) -> None:
    found = taskflow.map_partitions(TABLE, lambda part: part.select(["s"]), npartitions=4, client=inline)

    assert found.equals(TABLE.select(["s"]))


def test_polars_in_other_processes(client: Client) -> None:
    frame = taskflow.from_pandas(POLARS, 3, client=client)

    assert frame.map_partitions(lambda part: part.group_by("k").len()).collect()["len"].sum() == 30
    assert frame.shuffle("k").collect().sort("s").equals(POLARS.sort("s"))


def test_frames_of_polars(inline: Client) -> None:
    frame = taskflow.from_pandas(POLARS, 4, client=inline)

    assert (
        frame.filter(lambda part: pl.col.k > 1)
        .assign(z=lambda part: part["k"] + 1, one=1)
        .collect()
        .equals(POLARS.filter(pl.col.k > 1).with_columns(z=pl.col.k + 1, one=pl.lit(1)))
    )
    assert len(frame) == 30
    assert frame.columns == ["k", "s"]
    assert frame.head(7).equals(POLARS.head(7))
    assert frame.repartition(2).collect().equals(POLARS)
    pd.testing.assert_frame_equal(frame.to_pandas(), POLARS.to_pandas())


def test_frames_of_arrow(inline: Client, tmp_path_factory: pytest.TempPathFactory) -> None:
    frame = taskflow.from_pandas(TABLE, 4, client=inline)
    compute = pytest.importorskip("pyarrow.compute")

    found = frame.filter(lambda part: compute.greater(part["k"], 1)).assign(one=1)[["k", "one"]]

    assert found.collect().to_pydict() == {"k": [2, 3] * 10, "one": [1] * 20}
    assert frame.columns == ["k", "s"]
    assert frame.dtypes == TABLE.schema
    assert frame.repartition(3).collect().equals(TABLE)
    parts = frame.shuffle("k").map_partitions(lambda part: sorted(set(part["k"].to_pylist()))).collect()
    assert sorted(key for keys in parts for key in keys) == [1, 2, 3]
    out = tmp_path_factory.mktemp("out")
    assert len(frame.to_parquet(out)) == 4
    assert "<table" in frame._repr_html_()


def test_keys_of_arrow_polars_and_pandas_come_to_the_same_partition(inline: Client) -> None:
    frames = [taskflow.from_pandas(data, 2, client=inline) for data in (TABLE, POLARS, TABLE.to_pandas())]

    parts = [
        frame.shuffle(["k", "s"], 5).map_partitions(kinds.rows_of).collect().tolist() for frame in frames
    ]

    assert parts[0] == parts[1] == parts[2]


def test_what_only_pandas_does_says_how_to_get_there(inline: Client) -> None:
    frame = taskflow.from_pandas(TABLE, 2, client=inline)

    with pytest.raises(UsageError, match="convert it first"):
        frame.sort_values("k").collect()
    with pytest.raises(UsageError, match="convert it first"):
        frame.groupby("k").agg("sum").collect()
    pandas = frame.map_partitions(kinds.to_pandas)
    assert pandas.groupby("k").size().to_pandas().tolist() == [10, 10, 10]


def test_a_slice_of_a_table_is_sent_without_the_rest() -> None:
    table = pa.table({"s": [f"text {n}" for n in range(10_000)], "n": range(10_000)})

    part = kinds.compact(kinds.slice_of(table, 10, 20))

    assert part.equals(table.slice(10, 10))
    assert len(pickle.dumps(part, 5)) < 2000
