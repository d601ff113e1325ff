"""A run in one row of the list, and a worker: plain values, a few hundred bytes each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from taskflow.observe.board import History
from taskflow.records import RunView
from taskflow.states import FAILURES, TERMINAL, State

__all__ = ["Paces", "Row", "run_row", "worker_row"]

Row = dict[str, Any]

NAME_CHARS = 120
_WORKER = ("worker", "host", "pid", "queues", "slots", "busy", "status", "started_at")


def run_row(view: RunView, store: str) -> Row:
    """A run of the store that is shown by this name.

    ``total`` is `None` while a map does not know its width, ``eta_s`` while nothing can be said.
    """
    ended = {state: items for state, items in view.counts.items() if state in TERMINAL}
    return {
        "run": view.id,
        "name": view.name[:NAME_CHARS] or "run",
        "state": str(_state(view, begun=bool(ended) or State.RUNNING in view.counts)),
        "store": store,
        "created_at": round(view.created_at, 3),
        "ended_at": view.ended_at and round(view.ended_at, 3),
        "total": view.total,
        "done": sum(ended.values()),
        "succeeded": ended.get(State.SUCCEEDED, 0),
        "failed": sum(items for state, items in ended.items() if state in FAILURES),
        "running": view.counts.get(State.RUNNING, 0),
        "eta_s": None,
    }


def worker_row(row: Row, store: str) -> Row:
    """What the panel shows of a row of `taskflow.observe.overview.worker_rows`."""
    return {name: row[name] for name in _WORKER} | {"store": store}


def _state(view: RunView, *, begun: bool) -> State:
    """A run of which something has begun runs, though the rest of it waits."""
    return State.RUNNING if begun and view.state in (State.QUEUED, State.BLOCKED) else view.state


class Paces:
    """How fast each live run goes, by what was seen of it."""

    def __init__(self) -> None:
        self._seen: dict[str, History] = {}

    def estimate(self, rows: Iterable[Row], now: float) -> None:
        """Put the seconds that are left into rows of runs that have not ended; forget all others."""
        live = {row["run"]: row for row in rows if row["ended_at"] is None}
        self._seen = {run: self._seen.get(run) or History() for run in live}
        for run, row in live.items():
            self._seen[run].add(now, row["done"])
            rate = self._seen[run].rate(now, row["done"])
            if rate and row["total"] is not None:
                row["eta_s"] = round(max(0, row["total"] - row["done"]) / rate, 1)
