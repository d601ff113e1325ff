"""What a store knows, as rows of plain values: runs, workers, dead letters, findings, versions."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from taskflow.links import shown
from taskflow.ports import Store
from taskflow.records import WORKERS, Failure, RunView, WorkerView
from taskflow.states import LIVE
from taskflow.versions import compare, here

__all__ = [
    "client_page",
    "dead_rows",
    "finding_rows",
    "limit_rows",
    "queue_rows",
    "run_rows",
    "serves",
    "status",
    "version_rows",
    "worker_rows",
]

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
    """Workers that serve a store: one row each.

    `age_s` is how long ago a worker was heard of, `wanted` the revision of what is wanted of workers
    (`taskflow.control`), `followed` the one that the worker follows.
    """
    now, wanted = time.time(), store.posted(WORKERS)
    return [
        {
            "worker": worker.id,
            "host": worker.host,
            "pid": worker.pid,
            "queues": serves(worker),
            "slots": worker.slots,
            "busy": worker.busy,
            "status": status(worker),
            "age_s": max(0.0, now - worker.seen_at),
            "started_at": worker.started_at,
            "seen_at": worker.seen_at,
            "wanted": wanted.revision if wanted is not None else 0,
            "followed": worker.info.get("followed"),
            **{name: value for name, value in worker.info.items() if name not in _TOLD},
        }
        for worker in store.workers()
    ]


def queue_rows(store: Store) -> Rows:
    """Queues that workers may serve: one row each."""
    from taskflow.policy import FEEDERS

    return [dict(row) for row in store.queues() if not row["queue"].startswith(FEEDERS)]


def serves(worker: WorkerView) -> str:
    """The queues that a worker serves, as it was told: perhaps with weights, or strictly."""
    return str(worker.info.get("serves", "")) or ",".join(worker.queues)


def status(worker: WorkerView) -> str:
    """Whether a worker works as it should: ``idle``, ``busy``, ``drained``, ``leaving``."""
    return str(worker.info.get("status", "")) or ("busy" if worker.busy else "idle")


def client_page(store: Store, own_slots: int) -> str:
    """A store, its workers and its queues as HTML: what a client shows of itself in a notebook."""
    live = store.runs(limit=_RUNS_MOST, states=sorted(LIVE))
    more = "or more " if len(live) == _RUNS_MOST else ""
    workers = [(w["worker"], w["host"], f"{w['busy']} of {w['slots']}", w["queues"], w["status"])
               for w in worker_rows(store)]  # fmt: skip
    queues = [(q["queue"], q["queued"], q["waiting"], q["running"], "paused" if q["paused"] else "")
              for q in queue_rows(store)]  # fmt: skip
    told = f"{len(live)} {more}runs have not ended; {own_slots} slots of its own"
    head = f"<p><b>taskflow</b> {escape(shown(store.url))}: {told}</p>"
    working = _html(("worker", "host", "busy", "queues", ""), workers)
    return head + working + _html(("queue", "queued", "waiting", "running", ""), queues)


def _html(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{name}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_RUNS_MOST = 1_000
_TOLD = frozenset({"serves", "status", "followed"})


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
