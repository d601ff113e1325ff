"""Order over partitions: keys are sampled, bounds are chosen, and a partition holds what is between two.

A bound is a row of keys. Where a row stands is found by sorting it together with the bounds, so it is pandas
that decides, with its own rules for missing values, categories and several keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from taskflow.frames import kinds
from taskflow.frames.exchange import Piece, cut_by, pieces_of
from taskflow.frames.hashing import check_columns

__all__ = ["Bounds", "Order", "OrderedPieces", "RangeDivision", "Sample"]

SAMPLES = 1024


@dataclass(frozen=True)
class Order:
    """By which keys, and which way; ties keep the order they had."""

    by: list[Any]
    ascending: bool | list[bool]
    na_position: str

    def of(self, data: Any) -> Any:
        """The rows in order."""
        how: dict[str, Any] = {"ascending": self.ascending, "na_position": self.na_position}
        return data.sort_values(self.by, kind="stable", **how)

    def keys(self, data: Any) -> Any:
        """The columns of the keys alone, in rows that are numbered."""
        check_columns(kinds.only_pandas(data, "sort_values"), self.by)
        return (
            data.reset_index()[self.by] if self._needs_index(data) else data[self.by].reset_index(drop=True)
        )

    def _needs_index(self, data: Any) -> bool:
        return any(name not in data.columns for name in self.by)


@dataclass(frozen=True)
class Sample:
    """Takes some keys by chance, the same ones every time, and says how many rows they stand for."""

    order: Order

    def __call__(self, data: Any) -> tuple[int, Any]:
        """The number of rows, and the keys."""
        import numpy as np

        keys = self.order.keys(data)
        if len(keys) <= SAMPLES:
            return len(keys), keys
        return len(keys), keys.iloc[np.random.default_rng(len(keys)).integers(0, len(keys), SAMPLES)]


@dataclass(frozen=True)
class Bounds:
    """Chooses bounds between so many partitions, of samples that count as the rows they stand for."""

    order: Order
    parts: int

    def __call__(self, samples: Sequence[tuple[int, Any]]) -> Any:
        """The keys that end a partition, in order: fewer than wanted where few keys have many rows."""
        import numpy as np

        keys = kinds.joined([sample for _, sample in samples]).reset_index(drop=True)
        if not len(keys):
            return keys
        weights = np.concatenate([np.full(len(s), rows / max(1, len(s))) for rows, s in samples])
        ordered = self.order.of(keys)
        reached = np.cumsum(weights[ordered.index.to_numpy()])
        wanted = reached[-1] * np.arange(1, self.parts) / self.parts
        return ordered.iloc[np.searchsorted(reached, wanted)].drop_duplicates()


@dataclass(frozen=True)
class RangeDivision:
    """Divides a partition at the bounds."""

    order: Order
    parts: int

    def __call__(self, pair: tuple[Any, Any]) -> list[Piece]:
        """The pieces, one for each partition to come."""
        data, bounds = pair
        return cut_by(data, _codes(self.order, self.order.keys(data), bounds), self.parts)


def _codes(order: Order, keys: Any, bounds: Any) -> Any:
    """How many bounds stand before each row; rows stand before the bounds they are equal to."""
    import numpy as np
    import pandas as pd

    if len(order.by) == 1 and order.ascending is True and _is_plain(keys.iloc[:, 0]):
        return np.searchsorted(bounds.iloc[:, 0].to_numpy(), keys.iloc[:, 0].to_numpy())
    bounds = bounds if len(keys) else bounds.iloc[:0]
    both = pd.concat([keys, bounds], ignore_index=True) if len(bounds) else keys
    where = order.of(both).index.to_numpy()
    is_bound = where >= len(keys)
    codes: Any = np.empty(len(both), dtype=np.int64)
    codes[where] = np.cumsum(is_bound)
    return codes[: len(keys)]


def _is_plain(keys: Any) -> bool:
    """Whether numpy orders them as pandas does: numbers and times, none of them missing."""
    import numpy as np

    return isinstance(keys.dtype, np.dtype) and keys.dtype.kind in "iufmM" and not keys.hasnans


@dataclass(frozen=True)
class OrderedPieces:
    """Puts a partition together, in order."""

    order: Order

    def __call__(self, index: int, divided: Sequence[Sequence[Piece]]) -> Any:
        """Its rows."""
        return self.order.of(kinds.joined(list(pieces_of(index, divided))))
