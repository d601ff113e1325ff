"""Rows on their way from partition to partition: divided where they are, put together where they belong.

A partition is divided into pieces, each pickled on its own; all pieces of a partition are one result, mapped
from where it is stored. So whoever puts a partition together touches only the bytes of its own pieces.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from taskflow.codec.pickling import dumps
from taskflow.frames import kinds
from taskflow.frames.hashing import check_columns, row_hashes

__all__ = ["Division", "Matched", "Piece", "Pieces", "cut_by", "pieces_of"]

INLINE_BYTES = 4096

Piece = Any
"""A pickled table; small ones as bytes, large ones as a buffer that stays where it was mapped."""


@dataclass(frozen=True)
class Division:
    """Divides a partition by the hash of its keys."""

    by: list[Any]
    parts: int

    def __call__(self, data: Any) -> list[Piece]:
        """The pieces, one for each partition to come."""
        if self.parts == 1:
            check_columns(data, self.by)
            return [_packed(data)]
        return cut_by(data, row_hashes(data, self.by) % self.parts, self.parts)


def cut_by(data: Any, codes: Any, parts: int) -> list[Piece]:
    """The rows of each code, packed; their order is kept."""
    import numpy as np

    codes = codes.astype(np.uint16 if parts <= 1 << 16 else np.int64)  # short ones are sorted in linear time
    order = np.argsort(codes, kind="stable")
    ends: list[int] = np.searchsorted(codes[order], np.arange(parts + 1)).tolist()  # type: ignore[assignment]
    taken = _taken(data, order)
    return [_packed(kinds.slice_of(taken, lo, hi)) for lo, hi in pairwise(ends)]


def _taken(data: Any, order: Any) -> Any:
    kind = kinds.kind_of(data)
    if kind == "polars":
        return data[order]
    return data.take(order)


def _packed(data: Any) -> Piece:
    packed = dumps(kinds.compact(data))
    return pickle.PickleBuffer(packed) if len(packed) > INLINE_BYTES else packed


def pieces_of(index: int, divided: Sequence[Sequence[Piece]]) -> Iterator[Any]:
    """The pieces of one partition to come, in order of those they were cut from."""
    for pieces in divided:
        yield pickle.loads(pieces[index])  # noqa: S301 - in a sealed value


@dataclass(frozen=True)
class Pieces:
    """Puts a partition together."""

    def __call__(self, index: int, divided: Sequence[Sequence[Piece]]) -> Any:
        """Its rows, in the order in which they were."""
        return kinds.joined(list(pieces_of(index, divided)))


@dataclass(frozen=True)
class Matched:
    """Merges the rows of two frames whose keys have one hash.

    Args:
        how: As `pandas.merge` takes it.
    """

    how: dict[str, Any]

    def __call__(self, index: int, left: Sequence[Sequence[Piece]], right: Sequence[Sequence[Piece]]) -> Any:
        """The merged rows."""
        import pandas as pd

        one, other = (kinds.joined(list(pieces_of(index, side))) for side in (left, right))
        kinds.only_pandas(one, "merge")
        kinds.only_pandas(other, "merge")
        return pd.merge(one, other, **self.how)
