"""From rows to what a reader sees; shared by the stores that keep rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from taskflow.machine.rows import LimitRow, NodeRow, Part, RunRow
from taskflow.records import Edge, ItemView, LimitView, NodeView, RunView, Said
from taskflow.states import TERMINAL, State

__all__ = ["item_views", "limit_view", "node_counts", "node_view", "queue_line", "run_counts", "run_view"]


def node_counts(row: NodeRow, ended: Mapping[State, int]) -> dict[State, int]:
    """Items of a node by state; `ended` counts those that have a segment."""
    counts = dict(ended)
    live = {State.RUNNING: row.held, State.WAITING: row.waiting, State.QUEUED: row.returned}
    if row.replaced > 0:
        live[State.BLOCKED] = row.replaced
    rest = row.open - row.held - row.waiting - row.returned - max(0, row.replaced)
    if rest:
        fresh = State.BLOCKED if row.state is State.BLOCKED else State.WAITING if row.due_at else State.QUEUED
        live[fresh] = live.get(fresh, 0) + rest
    for state, items in live.items():
        if items:
            counts[state] = counts.get(state, 0) + items
    return counts


def node_view(
    row: NodeRow, parents: Iterable[Edge], ended: Mapping[State, int], error: str | None
) -> NodeView:
    """A node as it stands."""
    part = row.part
    return NodeView(
        row.id,
        row.run,
        row.label,
        row.state,
        row.width,
        row.array,
        node_counts(row, ended),
        row.queue,
        row.priority,
        tuple(parents),
        row.created_at,
        row.started_at,
        row.ended_at,
        part.attempts if part else 0,
        part.deliveries if part else 0,
        part.worker if part else None,
        error if error is not None else part.error if part else None,
        row.fn,
        row.due_at
        if row.due_at is not None
        else part.until
        if part and part.state is State.WAITING
        else None,
        row.root,
        row.source,
        row.growing,
    )


def limit_view(row: LimitRow, now: float) -> LimitView:
    """What is counted under the name of a limit."""
    kind, _, name = row.name.partition(":")
    if row.is_shared:
        running = sum(until > now for _, until in row.holders.values())
        return LimitView(name, kind, running, is_full=row.refused)
    if kind != "breaker":
        tokens = row.tokens if kind == "rate" else None
        return LimitView(name, kind, row.held, tokens, is_full=row.refused)
    if row.opened_at is None:
        return LimitView(name, kind, state="closed")
    state = "half-open" if row.until <= now or row.probes else "open"
    return LimitView(name, kind, state=state, until=row.until, is_full=row.refused)


def queue_line(queue: str) -> dict[str, Any]:
    """A queue in which nothing is."""
    return {"queue": queue, "queued": 0, "waiting": 0, "running": 0, "paused": False}


def run_counts(row: RunRow, nodes: Iterable[NodeView]) -> dict[State, int]:
    """Items of a run by state: what has ended from the run, the rest from its nodes."""
    counts = {state: items for state, items in row.counts.items() if items}
    for node in nodes:
        for state, items in node.counts.items():
            if state not in TERMINAL:
                counts[state] = counts.get(state, 0) + items
    return counts


def run_view(
    row: RunRow, nodes: tuple[NodeView, ...] = (), counts: Mapping[State, int] | None = None
) -> RunView:
    """A run as it stands."""
    return RunView(
        row.id,
        row.name,
        row.state,
        counts if counts is not None else run_counts(row, nodes),
        row.total,
        row.created_at,
        row.ended_at,
        row.meta,
        nodes,
    )


def item_views(
    row: NodeRow, parts: Iterable[Part], ended: Iterable[ItemView], said: Iterable[tuple[int, Said]] = ()
) -> list[ItemView]:
    """The rows of a node's result table.

    Args:
        row: The node.
        parts: What of it is live.
        ended: Rows of what has ended.
        said: By index, what was said under leases; what was said under one that is over is left out.
    """
    rows = list(ended)
    told = list(said)
    for p in parts:
        view = ItemView(
            p.lo, p.hi, p.state, p.attempts, p.deliveries, p.worker, p.started_at, None, p.error, p.until
        )
        mine = {at for at, one in told if one.fence == p.fence and p.lo <= at < p.hi}
        rows += [
            view._replace(
                lo=lo, hi=hi, said={one.kind: one for at, one in told if at == lo and one.fence == p.fence}
            )
            if lo in mine
            else view._replace(lo=lo, hi=hi)
            for lo, hi in _cut(p, mine)
        ]
    width = row.width or 0
    if row.cursor < width and row.state not in TERMINAL:
        fresh = State.BLOCKED if row.state is State.BLOCKED else State.WAITING if row.due_at else State.QUEUED
        rows.append(ItemView(row.cursor, width, fresh, 0, 0, None, None, None, None, row.due_at))
    return sorted(rows, key=lambda item: item.lo)


def _cut(part: Part, at: Iterable[int]) -> Iterable[tuple[int, int]]:
    """The range of a part, with some of its items by themselves."""
    ends = sorted({part.lo, part.hi, *at, *(index + 1 for index in at)})
    return pairwise(ends)
