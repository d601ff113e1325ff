"""What a store knows, as rows of plain values: runs, workers, dead letters, findings, versions."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from taskflow.links import shown
from taskflow.ports import Store
from taskflow.records import Failure, RunView
from taskflow.versions import compare, here

__all__ = ["dead_rows", "finding_rows", "run_rows", "version_rows", "worker_rows"]

Rows = list[dict[str, Any]]


def run_rows(views: Iterable[RunView]) -> Rows:
    """Runs: one row each; what has not ended took until now."""
    return [
        {
            "run": view.id,
            "name": view.name,
            "state": str(view.state),
            "items": view.total,
            "succeeded": _count(view, "succeeded"),
            "failed": _count(view, "failed", "dead"),
            "created_at": view.created_at,
            "took_s": (view.ended_at or time.time()) - view.created_at,
            "tags": dict(view.meta.get("tags", {})),
        }
        for view in views
    ]


def worker_rows(store: Store) -> Rows:
    """Workers that serve a store: one row each."""
    return [
        {
            "worker": worker.id,
            "host": worker.host,
            "pid": worker.pid,
            "queues": ",".join(worker.queues),
            "slots": worker.slots,
            "busy": worker.busy,
            "started_at": worker.started_at,
            "seen_at": worker.seen_at,
            **worker.info,
        }
        for worker in store.workers()
    ]


def dead_rows(store: Store, limit: int) -> Rows:
    """What failed for good: one row each, the newest first."""
    return [
        {
            "run": run,
            "node": node,
            "index": item.lo,
            "state": str(item.state),
            "attempts": item.attempts,
            "deliveries": item.deliveries,
            "worker": item.worker,
            "error": str(Failure.from_json(item.error or "{}")),
        }
        for run, node, item in store.dead(limit=limit)
    ]


def limit_rows(store: Store) -> Rows:
    """Limits that are in use: one row each. `waits`: somebody found no room."""
    return [
        {
            "limit": view.name,
            "kind": view.kind,
            "running": view.running,
            "tokens": None if view.tokens is None else round(view.tokens, 3),
            "state": view.state,
            "until": view.until,
            "waits": view.is_full,
        }
        for view in store.limits()
    ]


def finding_rows(store: Store) -> Rows:
    """What an examination of a store found, and whether anybody works: one row each."""
    found = [{"what": what, "well": well, "finding": text} for what, well, text in store.check()]
    count = len(store.workers())
    return [*found, {"what": "workers", "well": count > 0, "finding": f"{count} serve {shown(store.url)}"}]


def version_rows(store: Store, check: bool) -> Rows:
    """Versions here and on the workers: one row each.

    Raises:
        VersionMismatch: With `check`, when they differ in what matters.
    """
    sides = {"client": here()} | {worker.id: dict(worker.info) for worker in store.workers()}
    if check:
        compare(sides)
    return [{"side": side, **found} for side, found in sides.items()]


def _count(view: RunView, *states: str) -> int:
    return sum(items for state, items in view.counts.items() if state in states)
