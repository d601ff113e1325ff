"""How data is cut: into chunks of partitions, each of which is read where it is mapped."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import Any, Generic, TypeVar

__all__ = ["Chunk", "Items", "Partition", "Rows", "Source", "cut"]

T = TypeVar("T")

CHUNKS = 64
CHUNK_ITEMS = 10_000
CHUNK_PARTITIONS = 64
STREAM_CHUNK_ITEMS = 256
TOLD_CHARACTERS = 100


class Partition(ABC, Generic[T]):
    """Items that stand side by side in the data; iterating reads them, in order."""

    @property
    def span(self) -> tuple[int, int] | None:
        """Its first index in the data and the one after its last; `None` if only reading can tell."""
        return None

    @abstractmethod
    def __iter__(self) -> Iterator[T]:
        """The items."""

    @abstractmethod
    def where(self, index: int) -> str:
        """Say which item `index` of this partition is, in the words of an error."""

    def after(self, index: int) -> str:
        """Say what is left behind item `index`; all of it behind -1."""
        return f"{self}, after {self.where(index)}" if index >= 0 else str(self)


Chunk = tuple[Partition[T], ...]
"""What is mapped in one go: one item of the array node."""


class Source(ABC, Iterable[T]):
    """Data that lies outside of the client: the workers read it, partition by partition.

    Iterating it reads all of it, here.
    """

    @abstractmethod
    def partitions(self, least: int) -> list[Partition[T]]:
        """Cut it.

        Args:
            least: How many partitions it should have, where the items allow that.
        """

    def __iter__(self) -> Iterator[T]:
        for partition in self.partitions(1):
            yield from partition


@dataclass(frozen=True)
class Items(Partition[T]):
    """Items of any iterable, sent as they are."""

    lo: int
    items: Sequence[T]

    @property
    def span(self) -> tuple[int, int]:
        """See `Partition.span`."""
        return self.lo, self.lo + len(self.items)

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __str__(self) -> str:
        return f"items {self.lo} to {self.span[1] - 1}"

    def where(self, index: int) -> str:
        """See `Partition.where`; short texts and paths are told."""
        item = self.items[index]
        told = isinstance(item, PurePath) or (isinstance(item, str) and len(item) <= TOLD_CHARACTERS)
        return f"item {self.lo + index}" + (f", {str(item)!r}" if told else "")

    @property
    def nbytes(self) -> int:
        """About how many bytes it takes: less than it does, for what the items hold is not counted."""
        return sys.getsizeof(self.items)


@dataclass(frozen=True)
class Rows(Partition[Any]):
    """Rows of a DataFrame; each is the named tuple that `DataFrame.itertuples` gives."""

    lo: int
    frame: Any

    @property
    def span(self) -> tuple[int, int]:
        """See `Partition.span`."""
        return self.lo, self.lo + len(self.frame)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.frame.itertuples())

    def __str__(self) -> str:
        return f"rows {self.lo} to {self.span[1] - 1}"

    def where(self, index: int) -> str:
        """See `Partition.where`."""
        return f"row {self.lo + index}"

    @property
    def nbytes(self) -> int:
        """About how many bytes it takes."""
        return int(self.frame.memory_usage().sum())


def cut(data: Iterable[T], chunks: int | None) -> Iterator[Chunk[T]]:
    """Cut data into chunks.

    Data of known length is cut evenly, a DataFrame by its rows. A stream begins with single items and
    goes on with longer chunks, so that neither ten long items nor ten million short ones end in one.

    Args:
        data: A `Source`, a DataFrame or any iterable; read once.
        chunks: How many; by default 64, or more when they grow long.
    """
    if isinstance(data, Source):
        return _grouped(data.partitions(chunks or CHUNKS), chunks)
    if _is_frame(data):
        return _cut_frame(data, chunks)
    return _cut_items(data, chunks)


def _grouped(partitions: Sequence[Partition[T]], chunks: int | None) -> Iterator[Chunk[T]]:
    lo = 0
    for size in _even(len(partitions), chunks, CHUNK_PARTITIONS):
        if lo >= len(partitions):
            return
        yield tuple(partitions[lo : lo + size])
        lo += size


def _is_frame(data: Any) -> bool:
    pandas = sys.modules.get("pandas")  # who has a frame has imported it
    return pandas is not None and isinstance(data, pandas.DataFrame)


def _cut_frame(frame: Any, chunks: int | None) -> Iterator[Chunk[Any]]:
    lo = 0
    for size in _even(len(frame), chunks, CHUNK_ITEMS):
        if lo >= len(frame):
            return
        yield (Rows(lo, frame.iloc[lo : lo + size]),)
        lo += size


def _cut_items(data: Iterable[T], chunks: int | None) -> Iterator[Chunk[T]]:
    source = iter(data)
    lo = 0
    for size in _even(len(data), chunks, CHUNK_ITEMS) if isinstance(data, Sized) else _growing():
        items = list(islice(source, size))
        if not items:
            return
        yield (Items(lo, items),)
        lo += len(items)


def _even(count: int, chunks: int | None, most: int) -> Iterator[int]:
    """Sizes that differ by one at most."""
    pieces = chunks or max(CHUNKS, -(-count // most))
    size, larger = divmod(count, max(1, min(pieces, count)))
    while True:
        yield size + 1 if larger > 0 else max(1, size)
        larger -= 1


def _growing() -> Iterator[int]:
    made = 0
    while True:
        yield min(STREAM_CHUNK_ITEMS, 1 + made // 8)
        made += 1
