"""What is done to a partition on a worker: it is had, passed through steps, and handed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from taskflow.errors import UsageError
from taskflow.frames import kinds
from taskflow.frames.places import Place

__all__ = ["Assigned", "Filtered", "First", "Mapped", "Pipeline", "Selected", "Step", "count", "given"]

Step = Callable[..., Any]
"""Is called with the partition; with its place as well, if its `wants_place` is true."""


@dataclass(frozen=True)
class Pipeline:
    """One call for one partition: all steps in a row, so that nothing between them is stored.

    Args:
        read: Makes the partition of an item, and of what all items share.
        steps: What is done to it.
    """

    read: Callable[..., Any]
    steps: tuple[Step, ...]

    def __call__(self, item: Any, place: Place, *shared: Any) -> Any:
        """Run it; an error is told where it happened."""
        data: Any = None
        try:
            data = made = self.read(item, *shared)
            del item, shared  # they may be large
            for step in self.steps:
                made = step(made, place) if getattr(step, "wants_place", False) else step(made)
            return made
        except Exception as error:
            error.add_note(f"in {place.told(data)}")
            raise


def given(data: Any) -> Any:
    """Have a partition that was handed over."""
    return data


def count(data: Any) -> int:
    """How many rows a partition has."""
    return kinds.rows_of(_table(data))


def _table(data: Any) -> Any:
    if kinds.kind_of(data) is None:
        raise UsageError(f"The partition became a {type(data).__name__!r}, which has no rows.")
    return data


@dataclass(frozen=True)
class Mapped:
    """Calls a function with the partition and further arguments."""

    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __call__(self, data: Any) -> Any:
        """What it gives."""
        return self.fn(data, *self.args, **self.kwargs)


@dataclass(frozen=True)
class Filtered:
    """Keeps the rows for which a function of the partition is true."""

    keep: Callable[[Any], Any] | str

    def __call__(self, data: Any) -> Any:
        """Those rows."""
        return kinds.filtered(data, self.keep)


@dataclass(frozen=True)
class Assigned:
    """Adds or replaces columns."""

    columns: dict[str, Any]

    def __call__(self, data: Any) -> Any:
        """The partition with them."""
        return kinds.assigned(data, self.columns)


@dataclass(frozen=True)
class Selected:
    """Takes some columns."""

    names: list[Any]

    def __call__(self, data: Any) -> Any:
        """The partition with these only."""
        return data[self.names] if kinds.kind_of(data) == "pandas" else data.select(self.names)


@dataclass(frozen=True)
class First:
    """Takes the first rows."""

    rows: int

    def __call__(self, data: Any) -> Any:
        """So many of them, or all there are; as a copy that can be sent."""
        return kinds.compact(kinds.slice_of(_table(data), 0, min(self.rows, kinds.rows_of(data))))
