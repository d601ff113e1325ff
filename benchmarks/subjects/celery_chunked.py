"""Celery with the chunks that are best for maps of trivial items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from benchmarks.subjects.celery import Celery

CHUNK = 5_000


class CeleryChunked(Celery):
    """The one subject on Redis that is tuned: for the case it is tuned for."""

    title = f"Celery, chunks of {CHUNK:,}"
    notes = "`task.chunks(…).group()`, in the size that was best here of 300 to 50,000; bad for slow items"
    cannot: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("call", "submit", "chord", "graph"), "it is the same as without chunks"
    )
    parts: ClassVar[Mapping[str, float]] = {}

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """See `Subject`."""
        chunks = self._tasks[fn].chunks(zip(items, strict=True), CHUNK).group().apply_async().get()
        return [value for chunk in chunks for value in chunk]


SUBJECT = CeleryChunked
