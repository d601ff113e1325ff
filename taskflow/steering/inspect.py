"""`Inspect`: how workers are, and what they do, in the shapes that Celery answers with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from taskflow.links import shown
from taskflow.records import WorkerView
from taskflow.states import State
from taskflow.steering.desk import Desk, Replies
from taskflow.steering.held import Held, cancelled_ids, found_by_id, in_state

__all__ = ["NOBODY", "Inspect"]

ANSWER_S = 1.0
REVOKED_MOST = 200
NOBODY = "(no worker)"
"""In place of a worker: what no worker that is there serves."""
_WORDS = {
    State.RUNNING: "active",
    State.WAITING: "scheduled",
    State.QUEUED: "ready",
    State.BLOCKED: "blocked",
}


class Inspect:
    """Asks workers how they are; each verb gives a dictionary by worker, or `None` when nobody answered.

    Args:
        desk: Whose workers.
        destination: Which of them, by name or by a prefix that only one has; all by default.
        timeout: How long to wait for them, seconds.
        callback: Called with each answer, ``{worker: answer}``.
        limit: Only the first so many.
        pattern: Those whose name is like this.
        matcher: How the pattern is written: ``"glob"`` or ``"pcre"``.

    Raises:
        UsageError: There is no such worker (the nearest is named).

    Example:
        ``app.control.inspect().active()``
    """

    def __init__(
        self,
        desk: Desk,
        destination: Iterable[str] | str | None = None,
        timeout: float = ANSWER_S,
        callback: Callable[[Replies], object] | None = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str = "glob",
    ) -> None:
        self._desk, self._timeout, self._limit, self._callback = desk, timeout, limit, callback
        self._whom = desk.meant(destination, pattern, matcher)

    # ── tasks ────────────────────────────────────────────────────────────────────────

    def active(self, safe: bool | None = None) -> Replies | None:
        """What runs, by worker, as the store's leases say.

        Args:
            safe: Taken for Celery's sake.
        """
        return self._tasks(lambda view, held: held.id not in kept_by(view))

    def reserved(self, safe: bool | None = None) -> Replies | None:
        """What a worker has taken and has not started: nothing but what it keeps for the rate of its task.

        Args:
            safe: Taken for Celery's sake.
        """
        return self._tasks(lambda view, held: held.id in kept_by(view))

    def scheduled(self, safe: bool | None = None) -> Replies | None:
        """What waits for its time, an ETA or the next try. It waits in the store: each is told once, of the
        first worker that serves its queue.

        Args:
            safe: Taken for Celery's sake.
        """
        views = self._asked()
        found: Replies = {str(view.id): [] for view in views}
        for held in in_state(self._desk, State.WAITING):
            server = next((str(view.id) for view in views if held.node.queue in view.queues), None)
            if server is None and self._whom is not None:
                continue
            found.setdefault(server or NOBODY, []).append(held.waits(self._desk))
        return self._told(found) if views else None

    def revoked(self) -> Replies | None:
        """Ids of tasks of the newest cancelled runs: every worker knows them, for the store does."""
        ids = cancelled_ids(self._desk, REVOKED_MOST)
        return self._each(lambda view: ids)

    def query_task(self, *ids: Any) -> Replies | None:
        """Where tasks are: ``{worker: {id: [where, task]}}``; what no worker has is told of none.

        Args:
            ids: Ids, or one list of them.
        """
        words = ids[0] if len(ids) == 1 and isinstance(ids[0], (list, tuple)) else ids
        held = [one for word in words if (one := found_by_id(self._desk, str(word))) is not None]

        def of(view: WorkerView) -> dict[str, list[Any]]:
            mine = [one for one in held if one.item.state is State.RUNNING and one.item.worker == view.id]
            return {
                one.id: ["reserved" if one.id in kept_by(view) else "active", one.request(self._desk, view)]
                for one in mine
            }

        return self._each(of)

    def registered(self, *taskinfoitems: str) -> Replies | None:
        """The names of tasks that workers were started with, ``taskflow -A proj worker``; sorted.

        Args:
            taskinfoitems: Attributes of tasks that are told as well, of those that are known here:
                ``"rate_limit"``.
        """
        return self._each(
            lambda view: [self._task(name, taskinfoitems) for name in view.info.get("tasks", ())]
        )

    registered_tasks = registered

    # ── workers ──────────────────────────────────────────────────────────────────────

    def ping(self, destination: Iterable[str] | None = None) -> Replies | None:
        """Who answers: ``{worker: {"ok": "pong"}}``.

        Args:
            destination: Which, in place of those of this `Inspect`.
        """
        if destination is not None:
            self._whom = list(destination)
        return self._each(lambda view: {"ok": "pong"})

    def stats(self) -> Replies | None:
        """Counts, size and limits of workers."""
        return self._each(lambda view: stats_of(view, shown(self._desk.store.url)))

    def active_queues(self) -> Replies | None:
        """The queues that workers serve."""
        return self._each(lambda view: [queue_named(name) for name in view.queues])

    def conf(self, with_defaults: bool = False) -> Replies | None:
        """The settings that workers were started with, as far as they were changed.

        Args:
            with_defaults: Taken for Celery's sake: docs/settings.md has them.
        """
        return self._each(lambda view: dict(view.info.get("conf", {})))

    def clock(self) -> Replies | None:
        """How many changes of what is wanted of workers each has followed."""
        return self._each(lambda view: {"clock": view.info.get("followed", 0)})

    def memsample(self) -> Replies | None:
        """How much memory a worker takes, with its children."""
        return self._each(lambda view: f"{view.info.get('memory_bytes', 0) / 1e6:.1f}MB")

    memdump = memsample

    def report(self) -> Replies | None:
        """Versions and size of workers, as text."""
        return self._each(lambda view: {"ok": report_of(view)})

    # ── how ──────────────────────────────────────────────────────────────────────────

    def _asked(self) -> list[WorkerView]:
        return self._desk.asked(self._whom, self._timeout, self._limit)

    def _each(self, of: Callable[[WorkerView], Any]) -> Replies | None:
        return self._told({str(view.id): of(view) for view in self._asked()})

    def _tasks(self, wanted: Callable[[WorkerView, Held], bool]) -> Replies | None:
        views = {str(view.id): view for view in self._asked()}
        found: Replies = {name: [] for name in views}
        if views:
            for held in in_state(self._desk, State.RUNNING):
                view = views.get(str(held.item.worker))
                if view is not None and wanted(view, held):
                    found[str(view.id)].append(held.request(self._desk, view))
        return self._told(found)

    def _told(self, found: Replies) -> Replies | None:
        if self._callback is not None:
            for name, answer in found.items():
                self._callback({name: answer})
        return found or None

    def _task(self, name: str, attributes: Sequence[str]) -> str:
        task = self._desk.tasks.get(name)
        told = [f"{one}={getattr(task, one)}" for one in attributes if getattr(task, one, None) is not None]
        return f"{name} [{' '.join(told)}]" if told else name


def kept_by(view: WorkerView) -> frozenset[str]:
    """Ids of calls that a worker has taken and keeps for the rate of their task."""
    return frozenset(view.info.get("kept", ()))


def stats_of(view: WorkerView, url: str) -> dict[str, Any]:
    """Counts, size and limits of a worker."""
    info = view.info
    most, comma, least = str(info.get("autoscale", "")).partition(",")
    soft, hard = info.get("times", (None, None))
    found: dict[str, Any] = {
        "total": dict(info.get("total", {})),
        "pid": view.pid,
        "clock": str(info.get("followed", 0)),
        "uptime": int(time.time() - view.started_at),
        "pool": {
            "implementation": f"taskflow.pools.process:ProcessPool ({info.get('pool', 'process')})",
            "max-concurrency": view.slots,
            "busy": view.busy,
            "max-tasks-per-child": info.get("recycle_calls", "N/A"),
            "timeouts": [soft or 0, hard or 0],
        },
        "broker": {"hostname": url, "transport": url.partition(":")[0]},
        "prefetch_count": view.slots,
        "rusage": {"maxrss": info.get("memory_bytes", 0) >> 10},
        "refused": info.get("refused", 0),
    }
    if comma:
        found["autoscaler"] = {"max": int(most), "min": int(least), "current": view.slots}
    return found


def queue_named(name: str) -> dict[str, Any]:
    """A queue, as Celery tells one."""
    exchange = {"name": name, "type": "direct", "durable": True, "auto_delete": False}
    return {
        "name": name,
        "exchange": exchange,
        "routing_key": name,
        "durable": True,
        "exclusive": False,
        "auto_delete": False,
        "no_ack": False,
    }


def report_of(view: WorkerView) -> str:
    """Versions and size of a worker."""
    names = ("taskflow", "python", "platform", "cloudpickle", "numpy", "pandas", "key")
    told = [f"{name}: {view.info[name]}" for name in names if name in view.info]
    size = (
        f"host: {view.host}, process {view.pid}, {view.slots} slots, pool {view.info.get('pool', 'process')}"
    )
    return "\n".join([*told, size, f"queues: {', '.join(view.queues)}"])
