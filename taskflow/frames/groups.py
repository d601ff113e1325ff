"""`Groups`: what ``frame.groupby(by)`` gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from taskflow.errors import UsageError
from taskflow.frames.drawing import Stage
from taskflow.frames.grouping import (
    Aggregation,
    Applied,
    Combined,
    Partial,
    Pieced,
    WholeGroups,
    Wrapped,
    combinable,
)
from taskflow.frames.hashing import check_columns
from taskflow.frames.sources import Shuffled, Together

if TYPE_CHECKING:
    from taskflow.frames.frame import Frame

__all__ = ["Groups"]


@dataclass(frozen=True)
class Groups:
    """The rows of a frame by key.

    Args:
        frame: Whose rows.
        by: Names of columns, or of levels of the index.
        dropna: Whether rows whose key is missing are left out.
        column: The column, or the list of columns, that was chosen.
    """

    frame: Frame
    by: list[Any]
    dropna: bool
    column: Any = None

    def __getitem__(self, column: Any) -> Groups:
        """One column, or a list of columns, to aggregate."""
        return replace(self, column=column)

    def agg(self, spec: Any = None, /, **named: Any) -> Frame:
        """Aggregate: the frame has one partition, a row for each group, in order of the keys.

        Sums, counts, sizes, means, variances, smallest, largest, first, last and distinct values are made of
        each partition where it is, and then combined: so only a row for each group travels. For everything
        else (``"median"``, a function of yours), and for what is no number where a number is needed, whole
        groups are brought together first.

        Args:
            spec: As pandas takes it: ``"sum"``, ``["min", "max"]``, ``{"price": "mean"}``.
            named: New columns: ``total=("price", "sum")``.

        Raises:
            UsageError: Nothing is asked for, or there is no such column.
        """
        if spec is None and not named:
            raise UsageError(
                'Say what to aggregate: agg("sum"), agg({"x": "mean"}), agg(total=("x", "sum")).'
            )
        asked = Aggregation(self.by, spec, named, self.dropna, self.column)
        sample = self.frame._sample()
        check_columns(sample, self.by)
        stage = self.frame._stage
        single = combinable(asked, sample)
        if single is not None:
            partial = Together(stage.then(Partial(asked, single), "groupby"), "combine")
            return self.frame._from(partial, (Combined(asked, single),))
        whole = Stage(self._together(), (WholeGroups(asked),), "groupby")
        return self.frame._from(Together(whole, "combine"), (Pieced(asked),))

    def size(self) -> Frame:
        """How many rows each group has; its partition is a Series."""
        return self.agg("size")

    def apply(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Frame:
        """Call a function with each group, as a DataFrame; what it gives is put together by pandas.

        The frame has one partition. Rows of a group are in the order they had; groups in that of their keys.
        """
        asked = Aggregation(self.by, None, {}, self.dropna, self.column)
        applied = Applied(asked, fn, args, kwargs)
        called = Stage(self._together(), (applied,), f"groupby.apply {getattr(fn, '__name__', '')}".strip())
        return self.frame._from(Together(called, "combine"), (Wrapped(applied),))

    def _together(self) -> Shuffled:
        return Shuffled(self.frame._stage, self.by, self.frame.npartitions)
