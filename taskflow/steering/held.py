"""Tasks as Celery tells them of its workers: what runs, what is kept back, what waits for its time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from taskflow.canvas.shape import item_id
from taskflow.errors import NoSuchRun, ResultExpired
from taskflow.ids import NodeId
from taskflow.records import ItemView, NodeView, RunView, WorkerView
from taskflow.states import LIVE, State
from taskflow.steering.desk import Desk

__all__ = ["Held", "cancelled_ids", "found_by_id", "in_state"]

RUNS_MOST = 1_000
ITEMS_MOST = 1_000
"""Of the items of one map so many are told at most."""


class Held(NamedTuple):
    """One call, or one item of a map.

    Args:
        id: As its result knows it.
        node: Where it is.
        item: How it stands.
        at: The index of the item; `None` for a call.
    """

    id: str
    node: NodeView
    item: ItemView
    at: int | None

    def request(self, desk: Desk, worker: WorkerView | None) -> dict[str, Any]:
        """As Celery tells it; its arguments are `None` where they cannot be opened."""
        args, kwargs = _arguments(desk, self.node.id, self.at)
        node, item = self.node, self.item
        return {
            "id": self.id,
            "name": node.label,
            "type": node.label,
            "args": args,
            "kwargs": kwargs,
            "hostname": item.worker,
            "time_start": item.started_at,
            "acknowledged": False,
            "delivery_info": {
                "exchange": "",
                "routing_key": node.queue,
                "priority": node.priority,
                "redelivered": item.deliveries > 1,
            },
            "worker_pid": worker.pid if worker is not None else None,
        }

    def waits(self, desk: Desk) -> dict[str, Any]:
        """As Celery tells what waits for its time."""
        due_at = self.item.until or self.node.due_at
        eta = None if due_at is None else datetime.fromtimestamp(due_at, UTC).isoformat()
        return {"eta": eta, "priority": self.node.priority, "request": self.request(desk, None)}


def in_state(desk: Desk, state: State) -> Iterator[Held]:
    """The calls and items that stand so, in the newest thousand runs that have not ended."""
    desk.flush()
    for run in desk.store.runs(limit=RUNS_MOST, states=sorted(LIVE)):
        if not run.counts.get(state):
            continue
        for node in _nodes(desk, run):
            if node.counts.get(state):
                yield from _held(desk, node, {state})


def found_by_id(desk: Desk, id: str) -> Held | None:  # noqa: A002 - what everyone calls it
    """The call or item of that id; `None` when the store knows none, or it is the id of several."""
    from taskflow.canvas.shape import split_id

    name, index = split_id(id)
    try:
        run_id, node_id = desk.store.find(name)
        run, _ = desk.store.snapshot(run_id)
    except (NoSuchRun, ResultExpired):
        return None
    node = next((one for one in run.nodes if one.id == (node_id or run_id)), None)
    if node is None:
        return None
    for item in desk.store.items(node.id):
        if item.lo <= (index or 0) < item.hi:
            return Held(id, node, item, index)
    return None


def cancelled_ids(desk: Desk, most: int) -> list[str]:
    """Ids of the tasks that were cancelled, of so many of the newest cancelled runs."""
    runs = desk.store.runs(limit=most, states=[State.CANCELLED])
    return [str(node.id) for run in runs for node in _nodes(desk, run) if node.state is State.CANCELLED]


def _nodes(desk: Desk, run: RunView) -> tuple[NodeView, ...]:
    try:
        return desk.store.snapshot(run.id)[0].nodes
    except (NoSuchRun, ResultExpired):  # it was forgotten just now
        return ()


def _held(desk: Desk, node: NodeView, states: Collection[State]) -> Iterator[Held]:
    left = ITEMS_MOST
    for item in desk.store.items(node.id):
        if item.state not in states:
            continue
        if not node.array:
            yield Held(str(node.id), node, item, None)
            continue
        for index in range(item.lo, min(item.hi, item.lo + left)):
            yield Held(item_id(node.id, index), node, item, index)
            left -= 1


def _arguments(desk: Desk, node: NodeId, index: int | None) -> tuple[list[Any] | None, dict[str, Any] | None]:
    if desk.arguments is None:
        return None, None
    try:
        args, kwargs = desk.arguments(node, index)
    except Exception:  # noqa: BLE001 - opening them imports the user's modules, which need not be here
        return None, None
    return list(args), kwargs
