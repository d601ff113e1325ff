"""Hashes of rows by their keys: equal keys have equal hashes, whatever their types, in every process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskflow.errors import UsageError, nearest
from taskflow.frames import kinds
from taskflow.workflow.hashing import key_hash

__all__ = ["check_columns", "row_hashes"]

_MIX = 0x9E37_79B9_7F4A_7C15
_TEXTS = ("string", "bytes", "empty")


def row_hashes(data: Any, by: Sequence[Any]) -> Any:
    """A hash for each row of a table, of the columns `by`: an array of unsigned 64-bit numbers.

    Numbers hash by value, so that 1 and 1.0 are one key; categories as what they stand for; times as the
    instant, however fine and in whatever zone; missing values, of whatever type, are one key.

    Raises:
        UsageError: There is no such column, or a value has no hash that is the same in every process.
    """
    import numpy as np

    check_columns(data, by)
    frame = data if kinds.kind_of(data) == "pandas" else kinds.to_pandas(data.select(list(by)))
    mixed: Any = np.full(len(frame), len(by), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for name in by:
            hashes = _hashes(_column(frame, name))
            mixed = (mixed ^ hashes) * np.uint64(_MIX)
            mixed ^= mixed >> np.uint64(29)
    return mixed


def check_columns(data: Any, by: Sequence[Any]) -> None:
    """See that a table has columns, or levels of its index, of these names.

    Raises:
        UsageError: It has not; the nearest is named.
    """
    if kinds.kind_of(data) is None:
        raise UsageError(f"The partition became a {type(data).__name__!r}, which has no columns.")
    known = list(_names(data))
    for name in by:
        if name not in known:
            raise UsageError(f"There is no column {name!r}.{nearest(str(name), map(str, known))}")


def _names(data: Any) -> list[Any]:
    kind = kinds.kind_of(data)
    if kind == "pandas":
        columns = list(data.columns) if data.ndim == 2 else [data.name]
        return [*columns, *(name for name in data.index.names if name is not None)]
    return list(data.columns if kind == "polars" else data.column_names)


def _column(frame: Any, name: Any) -> Any:
    if frame.ndim == 2 and name in frame.columns:
        return frame[name]
    return frame.index.get_level_values(name).to_series()


def _hashes(column: Any) -> Any:
    """The hashes of one column."""
    import numpy as np
    import pandas as pd
    from pandas.api import types

    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return _by_category(column)
    if types.is_bool_dtype(kind) or (types.is_numeric_dtype(kind) and not types.is_complex_dtype(kind)):
        numbers = column.to_numpy(dtype="float64", na_value=np.nan)
        return _of_numbers(numbers)
    if isinstance(kind, pd.DatetimeTZDtype) or getattr(kind, "kind", "") in "mM":
        return _of_numbers(_microseconds(column), column.isna().to_numpy())
    values = column.astype(object).to_numpy()
    if pd.api.types.infer_dtype(values, skipna=True) in _TEXTS:
        return _of_texts(values, column.isna().to_numpy())
    missing = column.isna().to_numpy()
    made = (0 if gap else key_hash(value) for value, gap in zip(values, missing, strict=True))
    return _of_numbers(np.fromiter(made, dtype=np.uint64, count=len(values)).view(np.int64), missing)


def _by_category(column: Any) -> Any:
    import numpy as np
    import pandas as pd

    categories = _hashes(pd.Series(column.cat.categories))
    missing = _hashes(pd.Series([None], dtype=object))
    return np.append(categories, missing)[column.cat.codes.to_numpy()]


def _of_numbers(numbers: Any, missing: Any = None) -> Any:
    """Numbers that are equal, and all that is missing, alike."""
    import numpy as np
    from pandas.util import hash_array

    if missing is None:
        missing = np.isnan(numbers)
        numbers = numbers + 0.0  # -0.0 is 0.0
    hashes = hash_array(np.ascontiguousarray(numbers))
    hashes[missing] = 0
    return hashes


def _of_texts(values: Any, missing: Any) -> Any:
    import pandas as pd
    from pandas.util import hash_array

    codes, texts = pd.factorize(values)
    if not len(texts):
        return _of_numbers(codes.astype("int64"), missing)
    hashes = hash_array(texts, categorize=False)[codes]
    hashes[missing] = 0
    return hashes


def _microseconds(column: Any) -> Any:
    """Instants, or lengths of time, in whole microseconds: finer ones that differ may share a hash."""
    import numpy as np

    values = column.array
    unit = getattr(values, "unit", "ns")
    raw = np.asarray(values.asi8 if hasattr(values, "asi8") else column.to_numpy().astype("int64"))
    with np.errstate(over="ignore"):
        scale = {"s": 1_000_000, "ms": 1000, "us": 1}.get(unit)
        return raw // 1000 if scale is None else raw * scale
