"""``df.taskflow``: what a DataFrame of pandas can have done in other processes.

It is registered when pandas is there: at once, or as soon as it is imported. So nobody imports pandas for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from taskflow.importing import when_imported

__all__ = ["Accessor", "AccessorGroups", "register"]


class Accessor:
    """The methods of ``df.taskflow``: each gives what pandas gives, and has it done by workers.

    Example:
        >>> import pandas as pd, taskflow, taskflow.frames
        >>> from taskflow.hooks import using
        >>> with taskflow.Client(mode="inline") as client, using(client):
        ...     pd.DataFrame({"x": [1, 2]}).taskflow.map(lambda x: x + 1)["x"].tolist()
        [2, 3]
    """

    def __init__(self, df: Any) -> None:
        self._df = df

    def map_partitions(self, fn: Callable[..., Any], /, *args: Any, **how: Any) -> Any:
        """Call a function with pieces of the frame; see `taskflow.map_partitions`."""
        from taskflow.frames.mapping import map_partitions

        return map_partitions(self._df, fn, *args, **how)

    def map(self, fn: Callable[[Any], Any], /, *, na_action: str | None = None, **how: Any) -> Any:
        """Call a function with each value, as ``df.map``."""
        return self.map_partitions(_Method("map", (fn,), {"na_action": na_action}), **how)

    def apply(
        self, fn: Callable[..., Any], /, axis: int | str = 1, *, args: tuple[Any, ...] = (), **how: Any
    ) -> Any:
        """Call a function with each row, as ``df.apply(fn, axis=1)``.

        Raises:
            UsageError: Another axis is asked for: columns lie in all pieces.
        """
        from taskflow.errors import UsageError

        if axis not in (1, "columns"):
            raise UsageError(
                "df.taskflow.apply calls the function with each row, axis=1. A function of whole columns"
                " needs all rows: use df.apply(fn)."
            )
        return self.map_partitions(_Method("apply", (fn,), {"axis": 1, "args": args}), **how)

    def groupby(
        self, by: Any, *, dropna: bool = True, npartitions: Any = "auto", client: Any = None
    ) -> AccessorGroups:
        """Group by columns of these names; ``.agg(...)`` or ``.apply(fn)`` goes on."""
        from taskflow.frames.frame import from_pandas

        return AccessorGroups(from_pandas(self._df, npartitions, client=client).groupby(by, dropna=dropna))

    def to_frame(self, npartitions: Any = "auto", *, client: Any = None) -> Any:
        """A `Frame` of it; see `taskflow.from_pandas`."""
        from taskflow.frames.frame import from_pandas

        return from_pandas(self._df, npartitions, client=client)


class AccessorGroups:
    """What ``df.taskflow.groupby(by)`` gives: as `Groups`, but the results come back at once."""

    def __init__(self, groups: Any) -> None:
        self._groups = groups

    def __getitem__(self, column: Any) -> AccessorGroups:
        """One column, or a list of columns, to aggregate."""
        return AccessorGroups(self._groups[column])

    def agg(self, spec: Any = None, /, **named: Any) -> Any:
        """As ``df.groupby(by).agg(spec)``."""
        return self._groups.agg(spec, **named).collect()

    def size(self) -> Any:
        """As ``df.groupby(by).size()``."""
        return self._groups.size().collect()

    def apply(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As ``df.groupby(by).apply(fn)``."""
        return self._groups.apply(fn, *args, **kwargs).collect()


class _Method:
    """Calls a method of what it is given."""

    def __init__(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.__name__ = name
        self._args, self._kwargs = args, kwargs

    def __call__(self, part: Any) -> Any:
        return getattr(part, self.__name__)(*self._args, **self._kwargs)


# ── registering ──────────────────────────────────────────────────────────────────────


def register() -> None:
    """Have ``df.taskflow``, now or when pandas is imported; again changes nothing."""
    when_imported("pandas", _register)


def _register() -> None:
    pandas = sys.modules["pandas"]
    if not hasattr(pandas.DataFrame, "taskflow"):
        pandas.api.extensions.register_dataframe_accessor("taskflow")(Accessor)
