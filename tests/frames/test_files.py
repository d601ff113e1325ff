"""Frames of files: read and written by the workers, cut where that is safe, equal to what pandas reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import taskflow
from taskflow import Client
from taskflow.errors import ConfigError, UsageError

same = pd.testing.assert_frame_equal


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8", newline="")
        return path

    return write


def numbered(rows: int, start: int = 0) -> str:
    return "n,word\n" + "".join(f"{n},word{n % 7}\n" for n in range(start, start + rows))


def test_csv_files_are_what_pandas_reads_of_each(inline: Client, csv: Any, tmp_path: Path) -> None:
    one, two = csv("a.csv", numbered(300)), csv("b.csv", numbered(20))

    frame = taskflow.read_csv(tmp_path / "*.csv", block_bytes=500, client=inline)

    assert frame.npartitions > 5
    same(frame.to_pandas(), pd.concat([pd.read_csv(one), pd.read_csv(two)]))
    assert list(frame.columns) == ["n", "word"]


def test_no_file_is_read_before_something_is_asked_for(inline: Client, csv: Any) -> None:
    path = csv("a.csv", numbered(10))
    frame = taskflow.read_csv(path, client=inline).assign(more=1).filter(lambda part: part.n > 3)
    csv("a.csv", numbered(10, start=5))

    assert frame.to_pandas()["n"].tolist() == list(range(5, 15))


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (numbered(60).replace("word3", '"a\nb"'), {}),
        (numbered(60).replace("9,", "\n9,"), {}),
        (numbered(60), {"skiprows": [2]}),
        (numbered(60), {"skipfooter": 1, "engine": "python"}),
        (numbered(60), {"nrows": 7}),
        (numbered(60).replace(",", ";"), {"sep": None, "engine": "python"}),
        (numbered(60).replace("\n", "\r"), {}),
    ],
    ids=["quoted line end", "empty lines", "skiprows", "skipfooter", "nrows", "unknown separator", "mac"],
)
def test_what_cannot_be_cut_is_read_as_a_whole(inline: Client, csv: Any, text: str, options: Any) -> None:
    path = csv("a.csv", text)

    frame = taskflow.read_csv(path, block_bytes=100, client=inline, **options)

    assert frame.npartitions == 1
    same(frame.to_pandas(), pd.read_csv(path, **options))


@pytest.mark.parametrize(
    "options",
    [
        {"header": None},
        {"header": None, "names": ["a", "b"]},
        {"header": 0, "names": ["a", "b"]},
        {"names": ["a", "b"]},
        {"index_col": "n"},
        {"index_col": 0, "dtype": {"word": "category"}},
        {"usecols": ["word"]},
        {"dtype": "str"},
        {"encoding": "latin-1", "engine": "python"},
    ],
    ids=str,
)
def test_options_mean_in_a_part_what_they_mean_in_the_whole(inline: Client, csv: Any, options: Any) -> None:
    has_header = options.get("header") is not None or ("names" not in options and "header" not in options)
    path = csv("a.csv", numbered(80) if has_header else numbered(80).partition("\n")[2])

    frame = taskflow.read_csv(path, block_bytes=150, client=inline, **options)

    assert frame.npartitions > 3
    same(frame.to_pandas(), pd.read_csv(path, **options))


@given(
    words=st.lists(st.text("ab\u00e4 \t", max_size=8), max_size=40),
    block=st.integers(1, 60),
    end=st.sampled_from(["\n", "\r\n"]),
)
@settings(max_examples=40)
def test_wherever_a_file_is_cut_its_rows_are_those_of_the_whole(
    inline: Client, tmp_path_factory: Any, words: list[str], block: int, end: str
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.csv"
    lines = [f"{n},{word}" for n, word in enumerate(words)]
    path.write_bytes(end.join(["n,word", *lines]).encode())

    frame = taskflow.read_csv(path, block_bytes=block, client=inline, dtype={"word": "str", "n": "int64"})

    same(frame.to_pandas(), pd.read_csv(path, dtype={"word": "str", "n": "int64"}))


def test_a_column_without_values_in_one_part_takes_the_type_of_the_others(inline: Client, csv: Any) -> None:
    path = csv("a.csv", "n,late\n" + "".join(f"{n},\n" for n in range(50)) + "50,here\n")

    frame = taskflow.read_csv(path, block_bytes=100, client=inline)

    same(frame.to_pandas(), pd.read_csv(path))


def test_parquet_files_are_cut_at_row_groups(inline: Client, tmp_path: Path) -> None:
    df = pd.DataFrame({"n": np.arange(100), "s": [f"t{n % 3}" for n in range(100)]})
    df["zone"] = pd.date_range("2024-03-30", periods=100, freq="h", tz="Europe/Berlin")
    df["kind"] = pd.Categorical(df.s)
    df["gaps"] = pd.array([None, 1] * 50, dtype="Int64")
    df.to_parquet(tmp_path / "a.parquet", row_group_size=30)
    df.iloc[::2].set_index("s").to_parquet(tmp_path / "b.parquet")
    df.iloc[10:20].to_parquet(tmp_path / "c.parquet", row_group_size=4)

    for name, parts in (("a", 4), ("b", 1), ("c", 3)):
        path = tmp_path / f"{name}.parquet"
        frame = taskflow.read_parquet(path, block_bytes=1, client=inline)
        assert frame.npartitions == parts
        same(frame.to_pandas(), pd.read_parquet(path), check_freq=False)
        same(
            taskflow.read_parquet(path, columns=["n"], block_bytes=1, client=inline).to_pandas(),
            pd.read_parquet(path, columns=["n"]),
        )
    whole = taskflow.read_parquet(tmp_path / "*.parquet", client=inline)
    assert whole.npartitions == 3
    filtered = taskflow.read_parquet(tmp_path / "a.parquet", filters=[("n", "<", 5)], client=inline)
    assert len(filtered) == 5


def test_a_file_without_rows_keeps_its_columns(inline: Client, csv: Any, tmp_path: Path) -> None:
    path = csv("a.csv", "n,word\n")
    pd.DataFrame({"n": np.arange(0)}).to_parquet(tmp_path / "a.parquet")

    same(taskflow.read_csv(path, client=inline).to_pandas(), pd.read_csv(path))
    found = taskflow.read_parquet(tmp_path / "a.parquet", client=inline).to_pandas()
    same(found, pd.read_parquet(tmp_path / "a.parquet"))


def test_partitions_are_written_by_number(inline: Client, tmp_path: Path) -> None:
    df = pd.DataFrame({"n": np.arange(10)})
    frame = taskflow.from_pandas(df, 3, client=inline)

    paths = frame.to_parquet(tmp_path / "out")

    assert [Path(path).name for path in paths] == [f"part-0000{n}.parquet" for n in range(3)]
    same(taskflow.read_parquet(tmp_path / "out" / "*.parquet", client=inline).to_pandas(), df)
    with pytest.raises(UsageError, match="already"):
        frame.to_parquet(tmp_path / "out")


def test_arrow_and_polars_read_parquet(inline: Client, tmp_path: Path) -> None:
    table = pa.table({"n": range(10), "s": list("abcdefghij")})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=4)

    arrow = taskflow.read_parquet(tmp_path / "a.parquet", kind="arrow", block_bytes=1, client=inline)
    polars = taskflow.read_parquet(tmp_path / "a.parquet", kind="polars", block_bytes=1, client=inline)

    assert arrow.npartitions == 3
    assert arrow.collect().equals(table)
    assert polars.collect().to_arrow().column("n").to_pylist() == list(range(10))


def test_what_is_impossible_is_said_at_once(inline: Client, csv: Any, tmp_path: Path) -> None:
    path = csv("a.csv", numbered(3))

    with pytest.raises(UsageError, match=r"no file '.*none\.csv'"):
        taskflow.read_csv(tmp_path / "none.csv", client=inline)
    with pytest.raises(ConfigError, match="chunksize"):
        taskflow.read_csv(path, chunksize=3, client=inline)
    with pytest.raises(ConfigError, match="block_bytes=0"):
        taskflow.read_csv(path, block_bytes=0, client=inline)
    with pytest.raises(ConfigError, match=r"'arow' is not known\. Did you mean 'arrow'"):
        taskflow.read_parquet(path, kind="arow", client=inline)  # type: ignore[arg-type]
