"""Tables for people: DataFrames where pandas is installed, rows where it is not."""

from __future__ import annotations

import contextlib
from typing import Any

__all__ = ["rows_or_frame"]


def rows_or_frame(rows: list[dict[str, Any]], columns: tuple[str, ...] | None = None) -> Any:
    """A DataFrame when pandas is installed, else the rows.

    Args:
        rows: Dictionaries with the same keys.
        columns: Their names, for a table that may have no rows.
    """
    with contextlib.suppress(ImportError):
        import pandas

        return pandas.DataFrame(rows, columns=columns)
    return rows
