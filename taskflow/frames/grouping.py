"""Aggregation by key: each partition is aggregated where it is, and what comes of it is combined.

::

    mean of x by k     partition ─► rows, mean and squares of x by k ─┐
                       partition ─► …                                 ├─► combined by k ─► what is asked for
                       partition ─► …                                 ─┘

What cannot be combined so (a median, a function of yours) is aggregated over whole groups, which are brought
together by the hash of their key first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskflow.frames import kinds
from taskflow.frames.hashing import check_columns

__all__ = [
    "Aggregation",
    "Applied",
    "Asked",
    "Combined",
    "Partial",
    "Pieced",
    "WholeGroups",
    "Wrapped",
    "combinable",
]

_PLAIN = {
    "sum": "sum",
    "count": "sum",
    "size": "sum",
    "min": "min",
    "max": "max",
    "first": "first",
    "last": "last",
}
"""What combines what of each: a sum of counts is a count."""

_MOMENTS = ("mean", "std", "var")
_KNOWN = (*_PLAIN, *_MOMENTS, "nunique")


@dataclass(frozen=True)
class Asked:
    """One aggregation of one column; `column` is `None` for the size of the groups."""

    column: Any
    how: str


@dataclass(frozen=True)
class Aggregation:
    """What is asked for, by which keys.

    Args:
        by: Names of columns, or of levels of the index.
        spec: As ``groupby(by).agg`` of pandas takes it; `None` where there are only `named` ones.
        named: New columns: name → (column, aggregation).
        dropna: Whether rows whose key is missing are left out.
        column: The column that was chosen before; or several.
    """

    by: list[Any]
    spec: Any
    named: dict[str, Any]
    dropna: bool
    column: Any = None

    def grouped(self, data: Any) -> Any:
        """The groups of a table, as pandas makes them."""
        check_columns(kinds.only_pandas(data, "groupby"), self.by)
        by = self.by if len(self.by) > 1 else self.by[0]
        groups = data.groupby(by, observed=True, dropna=self.dropna)
        return groups if self.column is None else groups[self.column]

    def of(self, data: Any) -> Any:
        """What pandas gives for a table."""
        groups = self.grouped(data)
        if isinstance(self.spec, str) and not self.named and self.spec in ("size", "nunique"):
            return getattr(groups, self.spec)()
        return groups.agg(self.spec, **self.named) if self.spec is not None else groups.agg(**self.named)

    def asked(self, data: Any) -> list[Asked] | None:
        """All single aggregations, in the order of the columns of the result; `None` if some is no name."""
        if self.named:
            pairs = [tuple(pair) for pair in self.named.values()] if self.column is None else [
                (self.column, how) for how in self.named.values()]  # fmt: skip
            return _all_named(pairs)
        if self.spec == "size":
            return [Asked(None, "size")]
        columns = self._columns(data)
        if isinstance(self.spec, Mapping):
            return _all_named([(c, how) for c, hows in self.spec.items() for how in _several(hows)])
        return _all_named([(column, how) for column in columns for how in _several(self.spec)])

    def _columns(self, data: Any) -> list[Any]:
        if self.column is not None:
            return list(self.column) if isinstance(self.column, list) else [self.column]
        return [name for name in data.columns if name not in self.by]


def _several(hows: Any) -> list[Any]:
    return list(hows) if isinstance(hows, list | tuple) else [hows]


def _all_named(pairs: Sequence[tuple[Any, Any]]) -> list[Asked] | None:
    if all(isinstance(how, str) and how in _KNOWN for _, how in pairs):
        return [Asked(column, how) for column, how in pairs]
    return None


def combinable(aggregation: Aggregation, sample: Any) -> tuple[Asked, ...] | None:
    """All that is asked for, if it can be combined of what partitions give, by the types of a sample."""
    if kinds.kind_of(sample) != "pandas" or sample.ndim != 2 or not sample.columns.is_unique:
        return None
    asked = aggregation.asked(sample)
    if not asked or not all(one.column is None or _fits(sample, one) for one in asked):
        return None
    return tuple(asked)


def _fits(sample: Any, one: Asked) -> bool:
    import pandas as pd
    from pandas.api import types

    if one.column not in sample.columns or one.how == "size":
        return False
    kind = sample[one.column].dtype
    if one.how in ("sum", *_MOMENTS):
        return bool(types.is_numeric_dtype(kind)) and not types.is_complex_dtype(kind)
    if one.how in ("min", "max", "first", "last"):
        return not isinstance(kind, pd.CategoricalDtype)
    return True


# ── in each partition ────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Partial:
    """Aggregates a partition as far as that goes."""

    aggregation: Aggregation
    asked: tuple[Asked, ...]

    def __call__(self, data: Any) -> tuple[Any, Any, dict[Any, Any]]:
        """By key what is needed of each column; what pandas gives for one row; distinct values by column."""
        groups = Aggregation(self.aggregation.by, None, {}, self.aggregation.dropna).grouped(data)
        needed = dict.fromkeys(part for one in self.asked for part in _parts_of(one))
        made = {part: _PARTS[part.how](groups, part.column) for part in needed}
        import pandas as pd

        frame = pd.DataFrame(dict(enumerate(made.values())))
        if not made:
            frame = groups.size().to_frame().iloc[:, :0]
        distinct = {
            one.column: data[_with(data, self.aggregation.by, one.column)].drop_duplicates()
            for one in self.asked
            if one.how == "nunique"
        }
        return frame, self.aggregation.of(data.iloc[:1]), distinct


def _parts_of(one: Asked) -> list[Asked]:
    """What has to be known of a partition for an aggregation."""
    if one.how == "nunique":
        return []
    if one.how in _MOMENTS:
        hows = ("count", "mean") if one.how == "mean" else ("count", "mean", "squares")
        return [Asked(one.column, how) for how in hows]
    return [one]


def _squares(groups: Any, column: Any) -> Any:
    """The sum of squared distances from the mean."""
    counts = groups[column].count()
    return (groups[column].var(ddof=0).astype("float64") * counts.astype("float64")).where(counts > 0, 0.0)


def _plainly(how: str) -> Callable[[Any, Any], Any]:
    return lambda groups, column: getattr(groups[column], how)()


_PARTS: dict[str, Callable[[Any, Any], Any]] = {
    "size": lambda groups, _: groups.size(),
    "squares": _squares,
    **{how: _plainly(how) for how in ("sum", "count", "min", "max", "first", "last", "mean")},
}


def _with(data: Any, by: Sequence[Any], column: Any) -> list[Any]:
    """The keys that are columns, and one more."""
    return list(dict.fromkeys([*(name for name in by if name in data.columns), column]))


# ── together ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Combined:
    """Combines what the partitions gave."""

    aggregation: Aggregation
    asked: tuple[Asked, ...]

    def __call__(self, given: Sequence[tuple[Any, Any, dict[Any, Any]]]) -> Any:
        """The table that pandas gives for the whole."""
        with_groups = [one for one in given if len(one[0])] or given[:1]
        like = kinds.joined([sample for _, sample, _ in with_groups])
        rows = kinds.joined([frame for frame, _, _ in with_groups])
        keys = list(range(rows.index.nlevels))
        groups = rows.groupby(
            level=keys if len(keys) > 1 else 0, observed=True, dropna=self.aggregation.dropna
        )
        parts = dict.fromkeys(part for one in self.asked for part in _parts_of(one))
        numbers = {part: number for number, part in enumerate(parts)}
        whole = _Whole(rows, groups, numbers)
        distinct = {c: kinds.joined([d[c] for _, _, d in with_groups]) for c in with_groups[0][2]}
        columns = [self._distinct(distinct[one.column], one.column, groups) if one.how == "nunique"
                   else whole.column(one) for one in self.asked]  # fmt: skip
        return _shaped(columns, like)

    def _distinct(self, rows: Any, column: Any, groups: Any) -> Any:
        aggregation = self.aggregation
        by = aggregation.by if len(aggregation.by) > 1 else aggregation.by[0]
        made = rows.drop_duplicates().groupby(by, observed=True, dropna=aggregation.dropna)[column].nunique()
        return made.reindex(groups.size().index)


class _Whole:
    """Columns of the whole, of what each partition gave of its groups."""

    def __init__(self, rows: Any, groups: Any, numbers: Mapping[Asked, int]) -> None:
        self._rows, self._groups, self._numbers = rows, groups, numbers

    def column(self, one: Asked) -> Any:
        if one.how in _PLAIN:
            return getattr(self._groups[self._numbers[one]], _PLAIN[one.how])()
        counts = self._part(one, "count")
        total = self._sum(counts)
        mean = self._sum(counts * self._part(one, "mean").fillna(0)) / total.where(total > 0)
        if one.how == "mean":
            return mean
        apart = (self._part(one, "mean") - mean.reindex(self._rows.index)).fillna(0)
        squares = self._sum(self._part(one, "squares").fillna(0) + counts * apart * apart)
        variance = squares / (total - 1).where(total > 1)
        return variance if one.how == "var" else variance**0.5

    def _part(self, one: Asked, how: str) -> Any:
        return self._rows[self._numbers[Asked(one.column, how)]].astype("float64")

    def _sum(self, column: Any) -> Any:
        keys = list(range(column.index.nlevels))
        how: dict[str, Any] = {"observed": True, "dropna": self._groups.dropna}
        return column.groupby(level=keys if len(keys) > 1 else 0, **how).sum()


def _shaped(columns: list[Any], like: Any) -> Any:
    """Columns with the names and types that pandas gives them."""
    import pandas as pd

    if like.ndim == 1:
        made = columns[0].rename(like.name)
        return _typed(made, like.dtype)
    frame = pd.concat([column.rename(n) for n, column in enumerate(columns)], axis=1)
    frame = pd.DataFrame(
        {n: _typed(frame[n], like.dtypes.iloc[n]) for n in range(len(columns))}, index=frame.index
    )
    frame.columns = like.columns
    return frame


def _typed(column: Any, kind: Any) -> Any:
    if column.dtype == kind:
        return column
    try:
        return column.astype(kind)
    except (TypeError, ValueError):  # pandas gives this type to one row, and cannot to all
        return column


# ── whole groups ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class WholeGroups:
    """Aggregates a partition that holds its groups as a whole."""

    aggregation: Aggregation

    def __call__(self, data: Any) -> Any:
        """What pandas gives for it."""
        return self.aggregation.of(data)


@dataclass(frozen=True)
class Pieced:
    """Puts the rows of whole groups together, in order of their keys."""

    aggregation: Aggregation

    def __call__(self, parts: Sequence[Any]) -> Any:
        """The table that pandas gives for the whole."""
        import numpy as np

        made = kinds.joined(parts)
        keys = made.index.to_frame(index=False)
        keys.columns = range(keys.shape[1])
        by = list(keys.columns) if keys.shape[1] > 1 else 0
        order = keys.groupby(by, observed=True, dropna=False).ngroup().to_numpy()
        return made.iloc[np.argsort(order, kind="stable")]


@dataclass(frozen=True)
class Applied:
    """Calls a function with each group of a partition that holds its groups as a whole."""

    aggregation: Aggregation
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self, data: Any) -> tuple[Any, list[Any]]:
        """A row of each group, and what the function gave."""
        groups = self.aggregation.grouped(data)
        firsts = data.iloc[_firsts(groups)]
        made: list[Any] = []

        def keep(group: Any) -> Any:
            made.append(self.fn(group, *self.args, **self.kwargs))
            return 0

        if len(firsts):
            groups.apply(keep)
        return firsts, made


def _firsts(groups: Any) -> Any:
    """Where the first row of each group is, in order of the groups."""
    import numpy as np

    numbers = groups.ngroup().to_numpy()
    found, at = np.unique(numbers, return_index=True)
    return at[found >= 0]


@dataclass(frozen=True)
class Wrapped:
    """Lets pandas put together what a function gave for each group, as it does for the whole."""

    applied: Applied

    def __call__(self, given: Sequence[tuple[Any, list[Any]]]) -> Any:
        """What ``groupby(by).apply(fn)`` of pandas gives."""
        import numpy as np

        firsts = kinds.joined([rows for rows, _ in given])
        groups = self.applied.aggregation.grouped(firsts)
        if not len(firsts):
            return groups.apply(self.applied.fn, *self.applied.args, **self.applied.kwargs)
        made = [value for _, values in given for value in values]
        numbers = iter(np.argsort(groups.ngroup().to_numpy(), kind="stable").tolist())
        return groups.apply(lambda _: made[next(numbers)])
