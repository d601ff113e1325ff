"""Frames with real workers: values stay away from the kernel, and reach a worker without a copy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import taskflow
from taskflow import Client
from taskflow.codec import Codec
from taskflow.hooks import using

same = pd.testing.assert_frame_equal


@pytest.fixture
def df() -> Any:
    rows = 40_000
    chance = np.random.default_rng(5)
    made = pd.DataFrame(
        {"k": chance.integers(0, 50, rows), "x": chance.random(rows), "y": chance.integers(0, 9, rows)}
    )
    return made.assign(s=[f"text {k}" for k in made.k])


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of all results that this process has unpickled, one by one."""
    sizes: list[int] = []
    plain = Codec.load_result

    def load(self: Codec, *args: Any) -> Any:
        value = plain(self, *args)
        size = value.memory_usage().sum() if isinstance(value, pd.DataFrame) else 0
        sizes.append(int(size))
        return value

    monkeypatch.setattr(Codec, "load_result", load)
    return sizes


def test_all_of_it_is_done_by_others(client: Client, df: Any) -> None:
    def where(part: Any) -> Any:
        return part.assign(pid=os.getpid())

    found = taskflow.map_partitions(df, where, npartitions=6, client=client)

    assert os.getpid() not in set(found.pid)
    same(found.drop(columns="pid"), df)


def test_a_frame_is_worked_on_without_its_values_coming_here(
    client: Client, df: Any, tmp_path: Path, loaded: list[int]
) -> None:
    df.to_parquet(tmp_path / "a.parquet", row_group_size=5000)
    df.to_csv(tmp_path / "a.csv", index=False)

    for frame in (
        taskflow.read_parquet(tmp_path / "a.parquet", block_bytes=1, client=client),
        taskflow.read_csv(tmp_path / "a.csv", block_bytes=200_000, client=client),
    ):
        assert frame.npartitions > 4
        kept = frame.assign(z=lambda part: part.x * 2).filter(lambda part: part.y > 1).persist()
        assert len(kept.shuffle("k")) == (df.y > 1).sum()
        found = kept.groupby("k").agg({"z": "mean", "y": "max"}).to_pandas()
        kept.sort_values("x").to_parquet(tmp_path / f"out-{frame.npartitions}")
        repr(kept), kept._repr_html_(), kept.columns
        wanted = df.assign(z=df.x * 2)[df.y > 1].groupby("k").agg({"z": "mean", "y": "max"})
        same(found, wanted)
    assert max(loaded) < 4096


def test_partitions_are_mapped_where_they_are_used(client: Client) -> None:
    df = pd.DataFrame({"x": np.arange(2_000_000)})

    def is_mapped(part: Any) -> bool:
        address = part.x.to_numpy().ctypes.data
        for line in Path("/proc/self/maps").read_text().splitlines():
            lo, hi = (int(end, 16) for end in line.split()[0].split("-"))
            if lo <= address < hi:
                return "/blobs/" in line
        return False

    assert taskflow.map_partitions(df, is_mapped, npartitions=4, client=client).all()
    assert taskflow.from_pandas(df, 4, client=client).map_partitions(is_mapped).collect().all()


def test_frames_are_what_pandas_makes(client: Client, df: Any) -> None:
    frame = taskflow.from_pandas(df, 6, client=client)

    same(frame.to_pandas(), df)
    same(frame.sort_values(["s", "x"]).to_pandas(), df.sort_values(["s", "x"], kind="stable"))
    same(frame.shuffle("s", 4).to_pandas().sort_index(), df)
    same(frame.groupby("s").agg({"x": ["mean", "std"], "y": "median"}).to_pandas(),
         df.groupby("s").agg({"x": ["mean", "std"], "y": "median"}))  # fmt: skip
    top = frame.groupby("k").apply(lambda group: group.nlargest(2, "x")).to_pandas()
    same(top, df.groupby("k").apply(lambda group: group.nlargest(2, "x")))
    other = pd.DataFrame({"k": np.arange(60), "name": [f"n{n}" for n in range(60)]})
    merged = frame.merge(taskflow.from_pandas(other, 3, client=client), on="k", how="outer").to_pandas()
    order = ["k", "x"]
    same(
        merged.sort_values(order, ignore_index=True),
        df.merge(other, on="k", how="outer").sort_values(order, ignore_index=True),
    )


def test_a_persisted_frame_is_made_once(client: Client, df: Any, tmp_path: Path) -> None:
    calls = tmp_path / "calls"

    def noted(part: Any) -> Any:
        with calls.open("a") as file:
            file.write("x")
        return part

    kept = taskflow.from_pandas(df, 4, client=client).map_partitions(noted).persist()
    assert len(kept) == len(df)
    kept.head()
    same(kept.groupby("k").agg("max").to_pandas(), df.groupby("k").agg("max"))

    assert calls.read_text() == "xxxx"


def test_the_current_client_is_taken(client: Client, df: Any) -> None:
    with using(client):
        found = taskflow.from_pandas(df, 2).groupby("k").size().to_pandas()

    assert found.sum() == len(df)
