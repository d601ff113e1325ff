"""What goes wrong is told by partition, and can be run again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import taskflow
from taskflow import Client
from taskflow.errors import ConfigError, MissingExtra, UsageError, WorkerLost
from taskflow.frames import kinds

DF = pd.DataFrame({"n": np.arange(100), "k": np.arange(100) % 3})


class Odd(Exception):
    """An exception of the user's own."""


def odd(part: Any) -> Any:
    if 57 in set(part.n):
        raise Odd("57 is odd")
    return part


def notes(error: BaseException) -> str:
    return "\n".join(error.__notes__)


def test_a_failed_partition_names_its_rows_and_its_run(inline: Client) -> None:
    with pytest.raises(Odd, match="57 is odd") as caught:
        taskflow.map_partitions(DF, odd, npartitions=10, client=inline)

    assert "partition 5 of 10, rows 50–59" in notes(caught.value)
    assert f"run {inline.runs().iloc[0]['run']}" in notes(caught.value)


def test_a_failed_partition_names_its_file(inline: Client, tmp_path: Path) -> None:
    DF.to_csv(tmp_path / "x.csv", index=False)
    frame = taskflow.read_csv(tmp_path / "x.csv", block_bytes=100, client=inline)

    with pytest.raises(Odd) as caught:
        frame.assign(more=1).map_partitions(odd).to_pandas()

    assert f"of {frame.npartitions}, rows " in notes(caught.value)
    assert f"of {tmp_path / 'x.csv'}" in notes(caught.value)


def test_a_failed_partition_names_the_labels_of_its_rows(inline: Client) -> None:
    df = DF.set_index(pd.Index([f"row{n}" for n in range(100)]))

    with pytest.raises(Odd) as caught:
        taskflow.map_partitions(df, odd, npartitions=10, client=inline)

    assert "rows 50–59 (index row50 … row59)" in notes(caught.value)


def test_what_comes_after_a_failed_partition_raises_what_that_raised(inline: Client) -> None:
    frame = taskflow.from_pandas(DF, 10, client=inline).map_partitions(odd)

    for later in (
        frame.groupby("k").agg("sum"),
        frame.shuffle("k"),
        frame.sort_values("n"),
        frame.repartition(2),
    ):
        with pytest.raises(Odd) as caught:
            later.to_pandas()
        assert "partition 5 of 10, rows 50–59" in notes(caught.value)
        assert later.run is not None
        assert later.run.id in notes(caught.value)


def test_a_lost_worker_is_told_by_partition(client: Client) -> None:
    frame = taskflow.from_pandas(DF, 10, client=client.options(max_deliveries=1))

    with pytest.raises(WorkerLost) as caught:
        frame.map_partitions(lambda part: os._exit(3) if 57 in set(part.n) else part).to_pandas()

    assert "partition 5 of 10, rows 50–59" in notes(caught.value)


def test_only_what_failed_is_run_again(client: Client, tmp_path: Path) -> None:
    mended, calls = tmp_path / "mended", tmp_path / "calls"

    def once(part: Any) -> Any:
        with calls.open("a") as file:
            file.write(f"{part.n.iloc[0]}\n")
        return odd(part) if not mended.exists() else part

    frame = taskflow.from_pandas(DF, 10, client=client).map_partitions(once).persist()
    with pytest.raises(Odd):
        frame.to_pandas()
    mended.touch()

    again = frame.retry_failed()

    pd.testing.assert_frame_equal(again.to_pandas(), DF)
    assert sorted(map(int, calls.read_text().split())) == sorted([*range(0, 100, 10), 50])
    assert again.groupby("k").size().to_pandas().tolist() == [34, 33, 33]


def test_the_run_behind_a_frame_can_be_attached(client: Client) -> None:
    frame = taskflow.from_pandas(DF, 4, client=client).map_partitions(len).persist()
    assert frame.run is not None
    frame.run.wait()

    assert client.attach(frame.run.id).state == "succeeded"
    assert frame.state == "succeeded"


def test_what_cannot_be_is_said_before_anything_is_stored(inline: Client) -> None:
    frame = taskflow.from_pandas(DF, 4, client=inline)

    with pytest.raises(UsageError, match="'list'"):
        taskflow.map_partitions([1, 2], odd, client=inline)
    with pytest.raises(ConfigError, match="npartitions=0"):
        taskflow.from_pandas(DF, 0, client=inline)
    with pytest.raises(ConfigError, match="npartitions='many'"):
        taskflow.map_partitions(DF, odd, npartitions="many", client=inline)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"'iner' is not known\. Did you mean 'inner'"):
        frame.merge(DF, on="n", how="iner")
    with pytest.raises(UsageError, match="on which columns"):
        frame.merge(DF)
    with pytest.raises(UsageError, match=r"no column 'kk'\. Did you mean 'k'"):
        frame.groupby("kk").agg("sum")
    with pytest.raises(UsageError, match="what to aggregate"):
        frame.groupby("k").agg()
    with pytest.raises(UsageError, match="list of names"):
        frame["n"]  # type: ignore[index]
    with pytest.raises(UsageError, match="persist"):
        frame.retry_failed()


def test_a_missing_column_is_told_by_partition(inline: Client) -> None:
    with pytest.raises(UsageError, match="no column 'm'") as caught:
        taskflow.from_pandas(DF, 2, client=inline).shuffle("m").to_pandas()

    assert "partition 0 of 2" in notes(caught.value)


def test_partitions_of_other_kinds_cannot_be_put_together(inline: Client) -> None:
    frame = taskflow.from_pandas(DF, 2, client=inline)

    with pytest.raises(UsageError, match="different things"):
        frame.map_partitions(lambda part: part if part.n.iloc[0] else part.n).to_pandas()


def test_a_missing_library_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)

    with pytest.raises(MissingExtra, match=r"pip install 'jupyter-taskflow\[frames\]'"):
        taskflow.read_csv("x.csv")
    with pytest.raises(MissingExtra, match="pandas"):
        kinds.need("pandas")
