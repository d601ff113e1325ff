"""Revoking: what has not started is cancelled, what runs only when that is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from taskflow.ids import NodeId, RunId
from taskflow.marks import marked
from taskflow.records import ItemView, NodeView, RunView
from taskflow.states import LIVE, TERMINAL, State

__all__ = ["Place", "revoke_marked", "revoke_node"]

_ALL = 1 << 30


class Place(Protocol):
    """The part of a store that this needs."""

    def runs(self, /, *, limit: int = 100, states: Any = ()) -> list[RunView]:
        """See `WatchPort.runs`."""
        ...

    def snapshot(self, run: RunId, /) -> tuple[RunView, int]:
        """See `WatchPort.snapshot`."""
        ...

    def items(self, node: NodeId, /) -> list[ItemView]:
        """See `WatchPort.items`."""
        ...

    def cancel(self, node: NodeId | RunId, /, *, index: int | None = None, reason: str = "") -> bool:
        """See `GraphPort.cancel`."""
        ...


def revoke_node(store: Place, view: NodeView, terminate: bool, reason: str) -> bool:
    """Cancel what has not ended of a node; whether that was anything.

    Args:
        store: Where it is.
        view: The node as it stands.
        terminate: Stop also what runs.
        reason: Told to who waits for the values.
    """
    if view.state in TERMINAL:
        return False
    if terminate or not view.counts.get(State.RUNNING):
        return store.cancel(view.id, reason=reason)
    changed = False
    for index in _not_started(store.items(view.id)):
        changed |= store.cancel(view.id, index=index, reason=reason)
    return changed


def revoke_marked(store: Place, headers: Mapping[str, Any], terminate: bool, reason: str) -> list[NodeId]:
    """Revoke every task that has one of these tags, with one of these values, whoever sent it.

    Args:
        store: Where they are.
        headers: Values by the name of the tag; of a list of values, one is enough.
        terminate: Stop also those that run.
        reason: Told to who waits for the values.

    Returns:
        Those that had not ended.
    """
    changed = []
    for summary in store.runs(limit=_ALL, states=sorted(LIVE)):
        nodes = marked(summary.meta, headers)
        wanted = None if nodes is None else set(nodes)
        if wanted is None or wanted:
            for view in store.snapshot(summary.id)[0].nodes:
                if (wanted is None or view.id in wanted) and revoke_node(store, view, terminate, reason):
                    changed.append(view.id)
    return changed


def _not_started(rows: Iterable[ItemView]) -> Iterator[int]:
    for row in rows:
        if row.state is not State.RUNNING and row.state not in TERMINAL:
            yield from range(row.lo, row.hi)
