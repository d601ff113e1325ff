"""How far one item is, as it has said itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from taskflow.observe.text import visible
from taskflow.records import ItemView

__all__ = ["Progress", "progress_of", "told_of"]

_TEXT_CHARS = 120
_MOST = 1e18


class Progress(NamedTuple):
    """How far a running item is, and what else it told by ``taskflow.report``.

    Args:
        done: How much of it is done.
        total: How much there is, if that was told.
        desc: What is counted.
        metrics: What else was told, by name.
    """

    done: float | None = None
    total: float | None = None
    desc: str = ""
    metrics: Mapping[str, Any] = {}

    @property
    def share(self) -> float | None:
        """How much of it is done, from 0 to 1.

        Example:
            >>> Progress(3, 12).share
            0.25
        """
        if self.done is None or not self.total or self.total < 0:
            return None
        return min(1.0, max(0.0, self.done / self.total))

    def __str__(self) -> str:
        """A few words for a table; what a terminal would obey is written out.

        Example:
            >>> str(Progress(3, 12, "rows", {"loss": 0.12345}))
            'rows 3/12 (25%), loss 0.1235'
        """
        parts = [f"{name} {_short(value)}" for name, value in self.metrics.items()]
        if self.done is not None:
            of = "" if self.total is None else f"/{_short(self.total)}"
            share = "" if self.share is None else f" ({self.share:.0%})"
            parts.insert(0, f"{self.desc} {_short(self.done)}{of}{share}".strip())
        return visible(", ".join(parts))[:_TEXT_CHARS]


def progress_of(item: ItemView | None) -> Progress | None:
    """What an item has said of how far it is; `None` when that is nothing, or it does not run.

    Whoever can write to the store may have written it: what makes no sense is left out.
    """
    said = item.said.get("progress") if item is not None else None
    if said is None:
        return None
    told = {name: value for name, value in said.data.items() if name != "index"}
    done, total = (_number(told.pop(name, None)) for name in ("done", "total"))
    return Progress(done, total, str(told.pop("desc", "")), told)


def told_of(progress: Progress | None) -> dict[str, Any] | None:
    """What a page draws of it: ``share``, from 0 to 1 or `None`, and ``text``."""
    if progress is None:
        return None
    return {"share": None if progress.share is None else round(progress.share, 4), "text": str(progress)}


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and abs(value) < _MOST else None


def _short(value: Any) -> str:
    return (
        f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )
