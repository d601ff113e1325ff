"""What a partition may be: a pandas DataFrame or Series, a polars DataFrame, a pyarrow Table.

Each library is asked only where one of its objects is there already: none is imported for the others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from taskflow.errors import MissingExtra, UsageError

__all__ = [
    "Kind",
    "assigned",
    "compact",
    "empty_of",
    "filtered",
    "joined",
    "kind_of",
    "nbytes_of",
    "need",
    "only_pandas",
    "rows_of",
    "slice_of",
    "to_pandas",
]

Kind = Literal["pandas", "polars", "arrow"]

_EXTRAS = {"pandas": "frames", "pyarrow": "frames", "polars": "polars"}


def need(library: str) -> Any:
    """A library that may be missing.

    Raises:
        MissingExtra: It is; the message is the command that installs it.
    """
    from importlib import import_module

    try:
        return import_module(library)
    except ImportError as error:
        raise MissingExtra(
            f"DataFrames by partition need {library}, which is not installed here:"
            f" pip install 'jupyter-taskflow[{_EXTRAS[library.partition('.')[0]]}]'"
        ) from error


def kind_of(data: object) -> Kind | None:
    """What an object is; `None` when it is no table."""
    pandas, polars, arrow = (sys.modules.get(name) for name in ("pandas", "polars", "pyarrow"))
    if pandas is not None and isinstance(data, (pandas.DataFrame, pandas.Series)):
        return "pandas"
    if polars is not None and isinstance(data, polars.DataFrame):
        return "polars"
    if arrow is not None and isinstance(data, arrow.Table):
        return "arrow"
    return None


def checked_kind(data: object, wanted: str = "a DataFrame of pandas or polars, or a pyarrow Table") -> Kind:
    """What an object is.

    Raises:
        UsageError: It is no table.
    """
    kind = kind_of(data)
    if kind is None:
        need("pandas")
        raise UsageError(f"This is a {type(data).__name__!r}: {wanted} is needed.")
    return kind


def only_pandas(data: Any, what: str) -> Any:
    """The same, if it is of pandas.

    Raises:
        UsageError: It is something else.
    """
    if kind_of(data) == "pandas":
        return data
    raise UsageError(
        f"`{what}` is for partitions of pandas, and this one is a {type(data).__module__.partition('.')[0]}"
        f" {type(data).__name__}: convert it first, with map_partitions(lambda part: part.to_pandas())."
    )


def rows_of(data: Any) -> int:
    """How many rows it has."""
    return int(data.num_rows) if kind_of(data) == "arrow" else len(data)


def nbytes_of(data: Any) -> int:
    """About how many bytes it takes."""
    kind = kind_of(data)
    if kind == "pandas":
        used = data.memory_usage(index=True)
        return int(used if isinstance(used, int) else used.sum())
    return int(data.estimated_size() if kind == "polars" else data.nbytes)


def slice_of(data: Any, lo: int, hi: int) -> Any:
    """Rows ``[lo, hi)``, as a view."""
    kind = kind_of(data)
    if kind == "pandas":
        return data.iloc[lo:hi]
    return data.slice(lo, hi - lo)


def empty_of(data: Any) -> Any:
    """The same without rows: it tells columns and types."""
    return slice_of(data, 0, 0)


def compact(data: Any) -> Any:
    """A slice without the rows around it: a pyarrow Table would take these along when it is pickled."""
    if kind_of(data) != "arrow":
        return data
    arrow = sys.modules["pyarrow"]
    columns = [
        arrow.concat_arrays(column.chunks) if column.num_chunks else column for column in data.itercolumns()
    ]
    return arrow.Table.from_arrays(columns, schema=data.schema)


def to_pandas(data: Any) -> Any:
    """The table as pandas has it."""
    return data if kind_of(data) == "pandas" else data.to_pandas()


def filtered(data: Any, keep: Callable[[Any], Any] | str) -> Any:
    """The rows for which `keep`, called with the table, is true; a text is a query of pandas."""
    kind = kind_of(data)
    if isinstance(keep, str):
        return only_pandas(data, "filter with a text").query(keep)
    chosen = keep(data)
    return data[chosen] if kind == "pandas" else data.filter(chosen)


def assigned(data: Any, columns: dict[str, Any]) -> Any:
    """The table with columns added or replaced; functions are called with the table."""
    kind = kind_of(data)
    if kind == "pandas":
        return data.assign(**columns)
    for name, value in columns.items():
        made = value(data) if callable(value) else value
        data = _with_column(data, name, made, kind)
    return data


def _with_column(data: Any, name: str, made: Any, kind: Kind | None) -> Any:
    if kind == "polars":
        polars = sys.modules["polars"]
        column = made if isinstance(made, (polars.Expr, polars.Series)) else polars.lit(made)
        return data.with_columns(column.alias(name))
    arrow = sys.modules["pyarrow"]
    if not isinstance(made, (arrow.Array, arrow.ChunkedArray)):
        made = arrow.repeat(arrow.scalar(made), data.num_rows)
    at = data.schema.get_field_index(name)
    return data.append_column(name, made) if at < 0 else data.set_column(at, name, made)


# ── together ─────────────────────────────────────────────────────────────────────────


def joined(parts: Sequence[Any]) -> Any:
    """Partitions one behind the other, as the whole would have been.

    Empty partitions lend no types where others have rows. Categories that differ are united, and a column
    that has no value in one partition takes the type it has in the others. What is no table becomes a Series.
    """
    kinds = {kind_of(part) for part in parts}
    if kinds == {"polars"}:
        return sys.modules["polars"].concat(_with_rows(parts), how="vertical_relaxed")
    if kinds == {"arrow"}:
        return sys.modules["pyarrow"].concat_tables(_with_rows(parts), promote_options="permissive")
    pandas = need("pandas")
    if kinds == {"pandas"} and len({part.ndim for part in parts}) == 1:
        return _joined_by_pandas(pandas, _with_rows(parts))
    if None in kinds and len(kinds) == 1:
        return pandas.Series(list(parts))
    found = ", ".join(dict.fromkeys(type(part).__name__ for part in parts))
    raise UsageError(
        f"The partitions became different things ({found}), and cannot be put together: let the function"
        " return the same type for each."
    )


def _with_rows(parts: Sequence[Any]) -> list[Any]:
    return [part for part in parts if rows_of(part)] or list(parts[:1])


def _joined_by_pandas(pandas: Any, parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    if parts[0].ndim == 1:
        return pandas.concat(_alike(pandas, parts))
    names = parts[0].columns
    if not names.is_unique or not all(part.columns.equals(names) for part in parts):
        return pandas.concat(parts)
    for name in names:
        columns = [part[name] for part in parts]
        made = _alike(pandas, columns)
        if made is not columns:
            parts = [part.assign(**{name: column}) if isinstance(name, str) else _replaced(part, name, column)
                     for part, column in zip(parts, made, strict=True)]  # fmt: skip
    return pandas.concat(parts)


def _replaced(part: Any, name: Any, column: Any) -> Any:
    part = part.copy(deep=False)
    part[name] = column
    return part


def _alike(pandas: Any, columns: list[Any]) -> list[Any]:
    """Pieces of one column with one type, where that is not for `concat` to find; else the very same list."""
    kinds = list(dict.fromkeys(column.dtype for column in columns))
    if len(kinds) == 1:
        return columns
    if all(isinstance(kind, pandas.CategoricalDtype) for kind in kinds):
        return _united(pandas, columns)
    valued = list(dict.fromkeys(c.dtype for c in columns if not c.isna().all()))
    if len(valued) == 1 and not _holds_no_gap(valued[0]):
        return [column.astype(valued[0]) for column in columns]
    return columns


def _united(pandas: Any, columns: list[Any]) -> list[Any]:
    if any(column.dtype.ordered for column in columns):
        return columns
    every = pandas.api.types.union_categoricals([column.array for column in columns])
    kind = pandas.CategoricalDtype(every.categories)
    return [column.astype(kind) for column in columns]


def _holds_no_gap(kind: Any) -> bool:
    """Whether a column of this type cannot hold a missing value."""
    return getattr(kind, "kind", "") in "iub" and not hasattr(kind, "na_value")


def parted(data: Any, bounds: Iterable[tuple[int, int]]) -> list[Any]:
    """The table in pieces that can be sent."""
    return [compact(slice_of(data, lo, hi)) for lo, hi in bounds]
