"""What is decided when work is submitted: whether there is room, and whether it is there already.

::

    plan ──► room? ── no ──► QueueFull: nothing is stored
              │
              └──► lock? ──┬── free ──► taken, and stored
                           └── held ──► answered with who holds it · stored as skipped · the other makes way

The count of what is pending goes up where nodes are added and down where they end, in the same steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from taskflow.errors import QueueFull
from taskflow.ids import RunId
from taskflow.machine.ending import cancel_node, end_node, end_rest
from taskflow.machine.parts import keeps_lock
from taskflow.machine.rows import NodeRow, Rows, RunRow
from taskflow.records import Failure, Lock, Plan
from taskflow.states import TERMINAL, State

__all__ = ["check_room", "in_the_way", "queue_full", "skip_all", "take"]


def check_room(rows: Rows, plans: Sequence[Plan]) -> None:
    """Refuse plans when too much is pending already; those that are there are no news.

    Raises:
        QueueFull: The message names the queue.
    """
    pending: dict[str, int] = {}
    for plan in plans:
        if plan.max_pending is None:
            continue
        for queue in _queues(plan):
            if queue not in pending:
                pending[queue] = rows.pending(queue)
            if pending[queue] > plan.max_pending and rows.run(plan.run) is None:
                raise queue_full(queue, pending[queue], plan.max_pending)


def queue_full(queue: str, pending: int, most: int) -> QueueFull:
    """The error that names a queue, how much is pending in it and how much may be."""
    text = f"The queue {queue!r} is full: {pending:,} calls have not ended, and none is taken above {most:,}."
    return QueueFull(text, queue=queue, pending=pending)


def _queues(plan: Plan) -> Iterable[str]:
    return dict.fromkeys(node.queue for node in plan.nodes)


def in_the_way(rows: Rows, lock: Lock) -> RunId | None:
    """The run that holds a lock and does not make way, or `None`."""
    name = rows.locked(lock.name)
    holder = rows.run(name) if name is not None else None
    if holder is None or (holder.state in TERMINAL and not keeps_lock(holder)):
        return None
    if lock.on_duplicate == "replace" and _made_way(rows, holder):
        return None
    return holder.id


def _made_way(rows: Rows, holder: RunRow) -> bool:
    """Cancel a run of one node that has not started."""
    if holder.open != 1 or holder.counts:
        return False
    [row] = rows.nodes_of(holder.id)
    if row.started_at is not None:
        return False
    return cancel_node(rows, row, "replaced by a newer one")


def take(rows: Rows, run: RunRow, lock: Lock) -> None:
    """Give a lock to a run."""
    run.lock = lock.name
    rows.lock(lock.name, run.id, rows.now + lock.ttl_s)


def skip_all(rows: Rows, nodes: Iterable[NodeRow], holder: RunId) -> None:
    """End the nodes of a run whose lock another one holds: skipped, by choice."""
    text = f"it is unique, and run {holder} is there already"
    failure = Failure("skipped", "Skip", text, data={"error": "TaskSkipped"})
    for row in nodes:
        if row.state not in TERMINAL:
            end_rest(rows, row, State.SKIPPED, failure)
            end_node(rows, row, State.SKIPPED)
