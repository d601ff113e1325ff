"""On frames by chance, what frames give is what pandas gives."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import taskflow
from taskflow import Client
from tests.frames.chance import frames, keyed

EXAMPLES = int(os.environ.get("FRAMES_EXAMPLES", "25"))  # more of them, now and then
PARTS = st.integers(1, 7)
some = settings(max_examples=EXAMPLES, phases=[phase for phase in Phase if phase is not Phase.explain])


def same(found: Any, wanted: Any, **how: Any) -> None:
    if wanted.ndim == 1:
        pd.testing.assert_series_equal(found, wanted, **how)
    else:
        pd.testing.assert_frame_equal(found, wanted, check_freq=False, **how)


def rows(frame: Any) -> list[str]:
    """The rows of a frame with their labels, in an order that does not depend on theirs."""
    return sorted(repr(row) for row in frame.itertuples())


def marked(part: Any) -> Any:
    """A function of rows, for whatever columns there are."""
    return part.assign(gaps=part.isna().sum(axis=1), first=part.iloc[:, 0])


@given(df=frames(), parts=PARTS)
@some
def test_a_function_of_rows_gives_what_it_gives_for_the_whole(inline: Client, df: Any, parts: int) -> None:
    found = taskflow.map_partitions(df, marked, npartitions=parts, client=inline)

    same(found, marked(df))


@given(df=frames(), parts=PARTS)
@some
def test_steps_give_what_they_give_for_the_whole(inline: Client, df: Any, parts: int) -> None:
    frame = taskflow.from_pandas(df, parts, client=inline)

    found = frame.map_partitions(marked).filter(lambda part: part.gaps == 0).assign(more=1)

    whole = marked(df)
    wanted = whole[whole.gaps == 0].assign(more=1)
    same(found.to_pandas(), wanted)
    assert len(found) == len(wanted)
    same(found.head(3), wanted.head(3))


@given(df=frames(), parts=PARTS, again=PARTS)
@some
def test_repartition_changes_nothing_but_the_parts(inline: Client, df: Any, parts: int, again: int) -> None:
    found = taskflow.from_pandas(df, parts, client=inline).repartition(again)

    same(found.to_pandas(), df)
    lengths = found.map_partitions(len).collect()
    assert found.npartitions == len(lengths) == again
    assert lengths.max() - lengths.min() <= 1


@given(one=keyed(), parts=PARTS, after=PARTS)
@some
def test_a_shuffle_keeps_rows_and_brings_keys_together(
    inline: Client, one: tuple[Any, list[str]], parts: int, after: int
) -> None:
    df, by = one
    df = df.assign(row=np.arange(len(df)))

    parted = taskflow.from_pandas(df, parts, client=inline).shuffle(by, after).persist()

    found = parted.to_pandas()
    same(found.iloc[np.argsort(found.row.to_numpy())], df)
    places = parted.map_partitions(lambda part, by=by: part.groupby(by, dropna=False, observed=True).size())
    sizes = places.map_partitions(lambda counts: [counts]).collect()
    keys = [repr(key) for (counts,) in sizes for key in counts.index]
    assert len(keys) == len(set(keys))


AGGS = ["sum", "count", "min", "max", "mean", "std", "var", "first", "last", "nunique", "median"]


@given(
    one=keyed(),
    parts=PARTS,
    aggs=st.lists(st.sampled_from(AGGS), min_size=1, max_size=3, unique=True),
    data=st.data(),
)
@some
def test_aggregations_are_those_of_the_whole(
    inline: Client, one: tuple[Any, list[str]], parts: int, aggs: list[str], data: Any
) -> None:
    df, by = one
    dropna = data.draw(st.booleans())
    column = data.draw(st.sampled_from([name for name in df.columns if name not in by]))
    spec = data.draw(st.sampled_from([aggs[0], aggs, {column: aggs}, {column: aggs[0]}]))
    df = df[[*by, column]]
    try:
        wanted = df.groupby(by, observed=True, dropna=dropna).agg(spec)
    except TypeError:
        return  # pandas has no such aggregation of such a column
    frame = taskflow.from_pandas(df, parts, client=inline)

    found = frame.groupby(by, dropna=dropna).agg(spec).to_pandas()

    # The mean of float32 is float64 or float32 in pandas, as the values come.
    same(found, wanted, check_dtype=not (df[column].dtype == "float32" and "mean" in aggs))


@given(one=keyed(), parts=PARTS, dropna=st.booleans())
@some
def test_sizes_and_named_aggregations_are_those_of_the_whole(
    inline: Client, one: tuple[Any, list[str]], parts: int, dropna: bool
) -> None:
    df, by = one
    df = df.assign(n=np.arange(len(df)) % 5)
    frame = taskflow.from_pandas(df, parts, client=inline).groupby(by, dropna=dropna)
    groups = df.groupby(by, dropna=dropna, observed=True)

    same(frame.size().to_pandas(), groups.size())
    named: dict[str, Any] = {"total": ("n", "sum"), "mean": ("n", "mean"), "kinds": ("n", "nunique")}
    same(frame.agg(**named).to_pandas(), groups.agg(**named))
    same(frame["n"].agg("var").to_pandas(), groups["n"].agg("var"))
    same(frame["n"].agg(["max", "count"]).to_pandas(), groups["n"].agg(["max", "count"]))


APPLIED: list[Any] = [
    len,
    lambda group: group.head(2),
    lambda group: group.n.describe(),
    lambda group: group.n,
    lambda group: pd.DataFrame({"n": group.n.to_numpy()[:1]}),
]


@given(one=keyed(), parts=PARTS, fn=st.sampled_from(APPLIED), dropna=st.booleans())
@some
def test_what_is_applied_to_groups_is_put_together_as_pandas_does(
    inline: Client, one: tuple[Any, list[str]], parts: int, fn: Any, dropna: bool
) -> None:
    df, by = one
    df = df.assign(n=np.arange(len(df)) % 5)
    try:
        wanted = df.groupby(by, dropna=dropna, observed=True).apply(fn)
    except TypeError:
        return  # pandas cannot put groups together whose keys are missing values of two kinds
    frame = taskflow.from_pandas(df, parts, client=inline)

    found = frame.groupby(by, dropna=dropna).apply(fn).to_pandas()

    same(found, wanted)


@given(one=keyed(), parts=PARTS, after=PARTS, first=st.booleans(), data=st.data())
@some
def test_sorted_frames_are_in_the_order_of_pandas(
    inline: Client, one: tuple[Any, list[str]], parts: int, after: int, first: bool, data: Any
) -> None:
    df, by = one
    if any(df[name].dtype == object for name in by):
        df = df.fillna({name: "" for name in by if df[name].dtype == object})
    way = data.draw(st.lists(st.booleans(), min_size=len(by), max_size=len(by)))
    asked: dict[str, Any] = {"ascending": way, "na_position": "first" if first else "last"}

    found = taskflow.from_pandas(df, parts, client=inline).sort_values(by, npartitions=after, **asked)

    same(found.to_pandas(), df.sort_values(by, kind="stable", **asked))


@given(
    left=keyed(most_keys=1),
    right=st.data(),
    parts=PARTS,
    how=st.sampled_from(["inner", "left", "right", "outer"]),
)
@some
def test_merges_have_the_rows_of_pandas(
    inline: Client, left: tuple[Any, list[str]], right: Any, parts: int, how: str
) -> None:
    df, by = left
    picks = right.draw(st.lists(st.integers(0, len(df) - 1), max_size=6))
    other = pd.DataFrame({"k0": df.k0.iloc[picks].array, "more": np.arange(len(picks))})
    wanted = pd.merge(df, other, on=by, how=how)
    frame = taskflow.from_pandas(df, parts, client=inline)

    found = frame.merge(taskflow.from_pandas(other, 2, client=inline), on="k0", how=how).to_pandas()
    sent = frame.merge(other, on="k0", how=how).to_pandas()

    for one in (found, sent):
        assert list(one.columns) == list(wanted.columns)
        assert rows(one.reset_index(drop=True).set_index(one.columns[0])) == rows(
            wanted.reset_index(drop=True).set_index(wanted.columns[0])
        )
        if len(wanted):
            same(one.dtypes, wanted.dtypes)


def test_equal_keys_of_other_types_meet(inline: Client) -> None:
    left = pd.DataFrame({"k": [1, 2, 3, 4], "a": range(4)})
    right = pd.DataFrame({"k": [1.0, 2.0, 4.0, 9.0], "b": range(4)})

    found = taskflow.from_pandas(left, 3, client=inline).merge(
        taskflow.from_pandas(right, 2, client=inline), on="k"
    )

    assert sorted(found.to_pandas()["a"]) == [0, 1, 3]


def test_one_key_for_all_rows_is_one_partition(inline: Client) -> None:
    df = pd.DataFrame({"k": ["same"] * 50, "x": np.arange(50)})

    frame = taskflow.from_pandas(df, 5, client=inline)

    assert sorted(frame.shuffle("k").map_partitions(len).collect()) == [0, 0, 0, 0, 50]
    same(frame.sort_values("k").to_pandas(), df)
    same(frame.groupby("k").agg(["sum", "median"]).to_pandas(), df.groupby("k").agg(["sum", "median"]))


def test_rows_of_one_key_come_to_one_call(inline: Client) -> None:
    df = pd.DataFrame({"k": list("abcabcab"), "x": range(8)})

    found = taskflow.map_partitions(
        df,
        lambda part: part.assign(n=part.groupby("k").x.transform("sum")),
        by="k",
        npartitions=3,
        client=inline,
    )

    same(found.sort_index(), df.assign(n=df.groupby("k").x.transform("sum")))


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_fewer_rows_than_partitions(inline: Client, rows: int) -> None:
    df = pd.DataFrame({"k": np.arange(rows), "s": pd.Series(["x"] * rows, dtype="str")})
    frame = taskflow.from_pandas(df, 4, client=inline)

    same(frame.to_pandas(), df)
    same(frame.sort_values("k").to_pandas(), df)
    same(frame.shuffle("s").to_pandas(), df)
    same(frame.groupby("s").agg("sum").to_pandas(), df.groupby("s").agg("sum"))
    assert len(frame) == rows
