"""`ProcessPoolExecutor.map` with a chunksize, as somebody would give it who has tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from benchmarks.subjects.futures import Futures

CHUNKSIZE = 5_000
"""The best of 1,000, 5,000, 20,000, 100,000 and 500,000 for a million trivial items on two processors."""


class FuturesChunked(Futures):
    """The one subject that is tuned: for the case it is tuned for."""

    title = "concurrent.futures, chunksize=5,000"
    notes = "the chunksize that is best for maps of trivial items, and bad for slow ones"
    cannot: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("call", "submit", "chord", "graph", "frames", "put"), "it is the same as without a chunksize"
    )

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """See `Subject`."""
        return list(self._pool.map(fn, items, chunksize=CHUNKSIZE))


SUBJECT = FuturesChunked
