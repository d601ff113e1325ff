"""Which partition something is: its number, its rows, its file. What an error says of it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from taskflow.errors import ConfigError
from taskflow.frames.kinds import kind_of, nbytes_of, rows_of

__all__ = ["Place", "parts_for", "spans"]

PART_BYTES = 32 << 20
PARTS_A_SLOT = 4
MOST_CHARS = 40


@dataclass(frozen=True)
class Place:
    """Where a partition comes from.

    Args:
        index: Which it is, from 0.
        of: How many there are.
        lo: Its first row in the data or the file, if that is known.
        hi: The row behind its last.
        source: The file, in words, perhaps with what part of it.
        step: What was done before, in words.

    Example:
        >>> str(Place(17, 32, 170_000, 180_000, "data/x.csv"))
        'partition 17 of 32, rows 170,000–179,999 of data/x.csv'
    """

    index: int
    of: int
    lo: int | None = None
    hi: int | None = None
    source: str = ""
    step: str = ""

    def __str__(self) -> str:
        text = f"partition {self.index} of {self.of}"
        if self.lo is not None and self.hi is not None:
            text += f", rows {self.lo:,}–{self.hi - 1:,}" if self.hi > self.lo else ", no rows"
            text += f" of {self.source}" if self.source else ""
        elif self.source:
            text += f", {self.source}"
        return text + (f", {self.step}" if self.step else "")

    def told(self, data: Any) -> str:
        """The words, with the labels of the rows where these are not just numbers from 0 on."""
        return f"{self}{_labels(data, told=self.lo is not None)}"


def _labels(data: Any, told: bool) -> str:
    """The ends of the index, in words."""
    if kind_of(data) != "pandas" or not len(data):
        return ""
    index = data.index
    if told and index.nlevels == 1 and index.name is None and type(index).__name__ == "RangeIndex":
        return ""
    try:
        first, last = (f"{index[at]!s:.{MOST_CHARS}}" for at in (0, -1))
    except Exception:  # noqa: BLE001 - a label that cannot be shown must not hide the error it belongs to
        return ""
    count = "" if told else f", {len(data):,} rows"
    return f"{count} (index {first} … {last})"


def spans(rows: int, parts: int) -> list[tuple[int, int]]:
    """Ranges of rows whose lengths differ by one at most.

    Example:
        >>> spans(7, 3)
        [(0, 3), (3, 5), (5, 7)]
    """
    size, larger = divmod(rows, parts)
    starts = [at * size + min(at, larger) for at in range(parts + 1)]
    return list(pairwise(starts))


def parts_for(df: Any, npartitions: int | str, client: Any) -> int:
    """How many pieces a table is cut into.

    Raises:
        ConfigError: That is no number above 0, nor ``"auto"``.
    """
    rows = rows_of(df)
    if npartitions == "auto":
        slots: int = client._max_workers
        wanted = max(PARTS_A_SLOT * slots, -(-nbytes_of(df) // PART_BYTES))
        return max(1, min(rows, wanted))
    if not isinstance(npartitions, int) or npartitions < 1:
        raise ConfigError(f"npartitions={npartitions!r} is not possible: use a number above 0, or 'auto'.")
    return npartitions
