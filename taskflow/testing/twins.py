"""Several stores as one: every verb goes to all of them, and all must answer the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from taskflow.ids import RunId
from taskflow.ports import Store
from taskflow.records import Event, RunView

__all__ = ["Twins"]


class Twins:
    """A store that is made of several and fails where they differ.

    Cursors are each store's own affair: those of the first are given, the others are kept beside them.
    """

    def __init__(self, *stores: Store) -> None:
        self._stores = stores
        self._cursors: dict[int, list[int]] = {}

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        def ask(*args: Any, **options: Any) -> Any:
            first, *others = [getattr(store, verb)(*args, **options) for store in self._stores]
            for other in others:
                assert other == first, f"{verb}: {other} is not {first}"
            return first

        return ask

    def check(self) -> list[tuple[str, bool, str]]:
        """What every store finds out about itself."""
        return [line for store in self._stores for line in store.check()]

    def snapshot(self, run: RunId, /) -> tuple[RunView, int]:
        """The view they agree on."""
        first, *others = [store.snapshot(run) for store in self._stores]
        for other in others:
            for mine, theirs in zip(first[0].nodes, other[0].nodes, strict=True):
                # Which of its errors a node shows is not promised.
                told = mine._replace(error=theirs.error if mine.error else None)
                fields = zip(told._fields, told, theirs, strict=True)
                assert theirs == told, [(mine.id, *field) for field in fields if field[1] != field[2]]
            assert other[0]._replace(nodes=()) == first[0]._replace(nodes=())
        return first

    def events(self, after: int, /, *, limit: int = 1000) -> list[Event]:
        """The events they agree on."""
        cursors = self._cursors.get(after, [after] * len(self._stores))
        told = [store.events(at, limit=limit) for store, at in zip(self._stores, cursors, strict=True)]
        for moment in zip(*told, strict=True):
            assert len({_without_cursor(event) for event in moment}) == 1, moment
            self._cursors[moment[0].cursor] = [event.cursor for event in moment]
        return told[0]

    def close(self) -> None:
        """Close all of them."""
        for store in self._stores:
            store.close()


def _without_cursor(event: Event) -> Sequence[Any]:
    return event[1:]
