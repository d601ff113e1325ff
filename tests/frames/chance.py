"""Frames by chance: of all the types, indexes and shapes that pandas has and people use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

ROWS = 24
_DAY = 86_400_000_000
_FROM, _TO = 0, 4_000_000_000_000_000  # microseconds since the epoch
_TEXTS = st.sampled_from(["", "a", "b", "ab", "ä", "long " * 5, "1", "nan"])
_INTS = st.integers(-1000, 1000)


def _numbers(rows: int) -> st.SearchStrategy[Any]:
    values = st.one_of(st.integers(-8, 8).map(float), st.just(float("nan")))
    return st.lists(values, min_size=rows, max_size=rows).map(lambda v: np.array(v, dtype="float64"))


def _of(values: st.SearchStrategy[Any], dtype: Any) -> Any:
    return lambda rows: st.lists(values, min_size=rows, max_size=rows).map(lambda v: pd.array(v, dtype=dtype))


def _gaps(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, st.none())


def _times(zone: str | None, unit: str = "us") -> Any:
    def column(rows: int) -> st.SearchStrategy[Any]:
        instants = st.one_of(st.integers(_FROM, _TO), st.sampled_from([0, _DAY, 3 * _DAY]))
        made = st.lists(_gaps(instants), min_size=rows, max_size=rows)
        return made.map(lambda v: _time_index(v, zone, unit))

    return column


def _time_index(values: list[int | None], zone: str | None, unit: str) -> Any:
    raw = np.array([np.iinfo("int64").min if v is None else v for v in values], dtype="int64")
    index = pd.DatetimeIndex(raw.view("datetime64[us]")).as_unit(unit)
    return (index if zone is None else index.tz_localize("UTC").tz_convert(zone)).array


def _categories(rows: int) -> st.SearchStrategy[Any]:
    values = st.lists(_gaps(st.sampled_from("abc")), min_size=rows, max_size=rows)
    return st.tuples(values, st.booleans()).map(
        lambda v: pd.Categorical(v[0], categories=list("cbaz"), ordered=v[1])
    )


COLUMNS: dict[str, Any] = {
    "int64": _of(_INTS, "int64"),
    "int8": _of(st.integers(-128, 127), "int8"),
    "float": _numbers,
    "float32": lambda rows: _numbers(rows).map(lambda v: v.astype("float32")),
    "bool": _of(st.booleans(), "bool"),
    "str": _of(_gaps(_TEXTS), "str"),
    "object": lambda rows: st.lists(_gaps(_TEXTS), min_size=rows, max_size=rows).map(
        lambda v: np.array(v, dtype=object)
    ),
    "Int64": _of(_gaps(_INTS), "Int64"),
    "boolean": _of(_gaps(st.booleans()), "boolean"),
    "arrow": _of(_gaps(_TEXTS), "string[pyarrow]"),
    "arrow-int": _of(_gaps(_INTS), "int64[pyarrow]"),
    "time": _times(None),
    "time-ns": _times(None, "ns"),
    "zone": _times("Europe/Berlin"),
    "category": _categories,
}
"""A strategy for a column of so many rows, by what it is."""

KEYS = (
    "int64",
    "int8",
    "float",
    "bool",
    "str",
    "object",
    "Int64",
    "boolean",
    "arrow",
    "time",
    "zone",
    "category",
)


def _few(kind: str) -> Any:
    """A column in which values come again."""

    def column(rows: int) -> st.SearchStrategy[Any]:
        pool = COLUMNS[kind](4)
        picks = st.lists(st.integers(0, 3), min_size=rows, max_size=rows)
        return st.tuples(pool, picks).map(lambda v: pd.Series(v[0]).iloc[v[1]].array)

    return column


@st.composite
def indexes(draw: Any, rows: int) -> Any:
    """An index: numbered, named, of texts, of times, in levels, with labels that come again."""
    kind = draw(st.sampled_from(["range", "stepped", "str", "zone", "int64", "levels", "category"]))
    if kind == "range":
        return pd.RangeIndex(rows)
    if kind == "stepped":
        return pd.RangeIndex(5, 5 + 3 * rows, 3, name="n")
    if kind == "levels":
        arrays = [pd.Series(draw(_few(one)(rows))) for one in ("int64", "str")]
        return pd.MultiIndex.from_arrays(arrays, names=["one", None])
    return pd.Index(pd.Series(draw(_few(kind)(rows))), name=draw(st.sampled_from([None, "label"])))


@st.composite
def frames(draw: Any, *, least_rows: int = 0, keys: tuple[str, ...] = ()) -> Any:
    """A frame; `keys` are columns ``k0``, ``k1`` … of these kinds, whose values come again."""
    rows = draw(st.integers(least_rows, ROWS))
    kinds = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=4))
    columns = {f"k{at}": draw(_few(kind)(rows)) for at, kind in enumerate(keys)}
    columns |= {f"{kind} {at}": draw(COLUMNS[kind](rows)) for at, kind in enumerate(kinds)}
    index = draw(indexes(rows))
    return pd.DataFrame(
        {name: pd.Series(column, index=index) for name, column in columns.items()}, index=index
    )


@st.composite
def keyed(draw: Any, *, least_rows: int = 1, most_keys: int = 2) -> tuple[Any, list[str]]:
    """A frame and the names of its keys."""
    kinds = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=most_keys))
    return draw(frames(least_rows=least_rows, keys=tuple(kinds))), [f"k{at}" for at in range(len(kinds))]
