"""`Request`: what a task may ask about the call that runs, in Celery's words."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from taskflow.canvas.shape import item_id
from taskflow.pools import context
from taskflow.result.relatives import SENT_BY

if TYPE_CHECKING:
    from taskflow.app.task import Task
    from taskflow.records import RunView

__all__ = ["Request", "entered", "running"]


@dataclass
class Request:
    """The call that runs; ``self.request`` of a bound task.

    Where it stands in its run (`root_id`, `parent_id`, `group`, `children`) is asked of the store when it is
    wanted, and not before.

    Args:
        task: The task.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        told: What was said of it when it was sent: ``headers=`` of `Task.apply_async`, and more.
        place: Where it runs; `None` where the task was called as a function.
        is_fresh: The task has not been called yet.
    """

    task: Task[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)
    place: context.Place | None = None
    is_fresh: bool = False

    @cached_property
    def here(self) -> context.Request | None:
        """The item that runs; `None` where the task was called as a function."""
        return self.place.request() if self.place is not None else None

    @property
    def called_directly(self) -> bool:
        """Whether the task was called as a function, and not sent."""
        return self.here is None

    @property
    def id(self) -> str | None:
        """The id of the task, as `AsyncResult.id` tells it; `None` when it was called as a function."""
        here = self.here
        if here is None:
            return None
        return item_id(here.id, here.index) if here.array else here.id

    @property
    def correlation_id(self) -> str | None:
        """The same as `id`."""
        return self.id

    @property
    def retries(self) -> int:
        """How often it was tried again."""
        done = self.here.retries if self.here is not None else 0
        return done + int(self.told.get("retries", 0))

    @property
    def is_eager(self) -> bool:
        """Whether it runs in the process that sent it (`Task.apply`)."""
        return self.here is not None and self.here.url.startswith("memory:")

    @property
    def hostname(self) -> str:
        """The name of the worker."""
        return (self.here.worker if self.here is not None else "") or socket.gethostname()

    @property
    def delivery_info(self) -> dict[str, Any]:
        """Where it waited: ``routing_key`` and ``queue`` are the queue; whether it was handed out before."""
        if self.here is None:
            return {}
        queue = self.here.queue
        return {
            "queue": queue,
            "routing_key": queue,
            "exchange": "",
            "priority": self.told.get("priority", 0),
            "redelivered": self.here.delivery > self.here.attempt,
        }

    @property
    def headers(self) -> dict[str, Any]:
        """What `Task.apply_async` was given as ``headers=``."""
        return dict(self.told.get("headers") or {})

    @property
    def stamps(self) -> dict[str, Any]:
        """What a visitor has stamped it with."""
        return dict(self.told.get("stamps") or {})

    @property
    def stamped_headers(self) -> list[str]:
        """The names of its stamps."""
        return sorted(self.stamps)

    @property
    def eta(self) -> str | None:
        """The instant before which it was not to start, in ISO 8601."""
        return self.told.get("eta")

    @property
    def expires(self) -> str | None:
        """The instant after which it is not started, in ISO 8601."""
        return self.told.get("expires")

    @property
    def timelimit(self) -> tuple[float | None, float | None]:
        """Hard and soft limit of its time, seconds."""
        return self.time_limit, self.soft_time_limit

    @property
    def time_limit(self) -> float | None:
        """Seconds until it is killed."""
        found: float | None = self.told.get("time_limit", self.task.options.get("time_limit"))
        return found

    @property
    def soft_time_limit(self) -> float | None:
        """Seconds until `SoftTimeLimitExceeded` is raised in it."""
        found: float | None = self.told.get("soft_time_limit", self.task.options.get("soft_time_limit"))
        return found

    @property
    def ignore_result(self) -> bool:
        """Whether its value is kept nowhere."""
        return bool(self.told.get("ignore_result", self.task.options.get("ignore_result")))

    @property
    def origin(self) -> str:
        """The store it came from."""
        return self.here.url if self.here is not None else ""

    @property
    def reply_to(self) -> None:
        """Nothing: results are kept in the store."""
        return

    @property
    def fence(self) -> int | None:
        """The number of its lease: of two workers that believe to run it, the one with the lower is wrong."""
        return self.here.fence if self.here is not None else None

    @property
    def replaced_task_nesting(self) -> int:
        """How often a task took its place by `Task.replace`."""
        return int(self.told.get("replaced", 0))

    # ── asked of the store ───────────────────────────────────────────────────────────

    @property
    def tags(self) -> dict[str, Any]:
        """The tags of its run."""
        run = self._run()
        return dict(run.meta.get("tags") or {}) if run is not None else {}

    @property
    def parent_id(self) -> str | None:
        """The id of the task before it in its chain, or of the one that sent it."""
        run = self._run()
        if run is None or self.here is None:
            return None
        before = _parents(run, self.here.id)
        return before[0] if before else (run.meta.get("tags") or {}).get(SENT_BY)

    @property
    def root_id(self) -> str | None:
        """The id of the first task of its canvas; of a task that another one sent, of that one's."""
        run = self._run()
        if run is None or self.here is None:
            return self.id
        if "root" in run.meta:
            return str(run.meta["root"])
        first: str = self.here.id
        while before := _parents(run, first):
            first = before[0]
        return first if first != self.here.id else self.id

    @property
    def group(self) -> str | None:
        """The id of the group it is a member of."""
        return self.here.id if self.here is not None and self.here.array else None

    @property
    def group_index(self) -> int | None:
        """Its place in the group."""
        return self.here.index if self.here is not None and self.here.array else None

    @property
    def chord(self) -> str | None:
        """The id of the task that waits for all of its group, if one does."""
        run = self._run()
        if run is None or self.here is None:
            return None
        here = self.here.id
        return next((node.id for node in run.nodes if any(here == e.parent for e in node.parents)), None)

    def _run(self) -> RunView | None:
        if self.here is None:
            return None
        from taskflow.client import get_client

        return get_client()._engine.store.snapshot(self.here.run)[0]

    def __repr__(self) -> str:
        if self.here is None:
            return f"<Request of {self.task.name}, called as a function>"
        return (
            f"<Request {self.id} of {self.task.name}: args={self.args!r} kwargs={dict(self.kwargs)!r}"
            f" retries={self.retries} hostname={self.hostname!r} delivery_info={self.delivery_info!r}>"
        )


def _parents(run: RunView, node: str) -> list[str]:
    """The nodes of a run that one of them waits for."""
    found = next((view for view in run.nodes if view.id == node), None)
    known = {view.id for view in run.nodes}
    return [edge.parent for edge in found.parents if edge.parent in known] if found is not None else []


running: ContextVar[Request | None] = ContextVar("taskflow_request", default=None)
"""The request of the innermost task that runs here."""


@contextmanager
def entered(request: Request) -> Iterator[Request]:
    """Make it the request that tasks ask for, inside a ``with`` block."""
    token = running.set(request)
    try:
        yield request
    finally:
        running.reset(token)
