"""`AsyncResult`: the handle of the Celery face, over the same stored run as a `Future`.

Its words are Celery's (`state` is ``SUCCESS`` where `Future.state` is *succeeded*), and `result` is a
property where `Future.result` is a method: that is why there are two classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from taskflow.errors import NoSuchRun, TaskError, TaskflowError
from taskflow.future import Future
from taskflow.ids import NodeId, RunId
from taskflow.records import Failure, ItemView, NodeView
from taskflow.run import Run, seconds_left
from taskflow.states import TERMINAL, State

if TYPE_CHECKING:
    from taskflow.canvas import Shape
    from taskflow.engine import Engine

__all__ = ["AsyncResult"]

_WORDS = {
    State.BLOCKED: "PENDING",
    State.QUEUED: "PENDING",
    State.WAITING: "PENDING",
    State.RUNNING: "STARTED",
    State.SUCCEEDED: "SUCCESS",
    State.FAILED: "FAILURE",
    State.DEAD: "FAILURE",
    State.SKIPPED: "FAILURE",
    State.CANCELLED: "REVOKED",
    State.EXPIRED: "REVOKED",
}


_BY_WISH = {"Skip": "IGNORED", "Reject": "REJECTED"}
"""Words for what ended as the task itself wanted it."""


class AsyncResult(Run):
    """The result of a task, chain, group or chord that was sent.

    It can be awaited. The fields of one task (`name`, `args`, `worker`, …) are those of the last one
    of a chain, and of the body of a chord; of a group they are `None`: ask its `children`.
    """

    def __init__(
        self,
        engine: Engine,
        run: RunId,
        shape: Shape,
        arrays: Mapping[NodeId, int | None],
        *,
        ignored: bool = False,
    ) -> None:
        super().__init__(engine, run, arrays)
        self.shape = shape
        self._ignored = ignored

    # ── Celery's fields ──────────────────────────────────────────────────────────────

    @property
    def task_id(self) -> str:
        """The id of the last task, or of the run when the result is a list."""
        return self.shape.id or self.id

    @property
    def state(self) -> str:  # type: ignore[override]  # Celery's words
        """``PENDING``, ``STARTED``, ``RETRY``, ``SUCCESS``, ``FAILURE``, ``REVOKED``, ``IGNORED`` or
        ``REJECTED``; of a group the worst.

        Raises:
            NoSuchRun: The store knows no such task: unlike in Celery, PENDING means that it is there.
        """
        words = {self._word(part) for part in self.shape.items()} if self.shape.is_list else set()
        if not self.shape.is_list:
            return self._word(self.shape)
        for word in ("FAILURE", "REJECTED", "REVOKED", "RETRY", "STARTED", "PENDING", "IGNORED"):
            if word in words:
                return word
        return "SUCCESS"

    status = state

    def _word(self, shape: Shape) -> str:
        item = self._item(shape)
        if item is None:
            node = self._node(shape)
            return "IGNORED" if node.state is State.SKIPPED and node.root is None else _WORDS[node.state]
        if item.state is State.WAITING and item.attempts:
            return "RETRY"
        if item.state in (State.SKIPPED, State.DEAD) and item.error:
            return _BY_WISH.get(Failure.from_json(item.error).type, "FAILURE")
        return _WORDS[item.state]

    @property
    def result(self) -> Any:
        """The value, when there is one; what the task raised, when it failed; else `None`. Does not wait."""
        state = self.state
        if state in ("PENDING", "STARTED", "RETRY"):
            return None
        try:
            return self.get()
        except Exception as error:
            if state == "SUCCESS":
                raise
            return error

    info = result

    @property
    def traceback(self) -> str | None:
        """The worker's traceback of a task that failed."""
        failure = self._failure()
        return failure.traceback or f"{failure.type}: {failure.message}" if failure is not None else None

    @property
    def name(self) -> str | None:
        """The name of the task."""
        return None if self.shape.is_list else self._node(self.shape).label

    @property
    def args(self) -> tuple[Any, ...] | None:
        """Its positional arguments; results of other tasks among them are told as futures."""
        found = self._call()
        return None if found is None else found[0]

    @property
    def kwargs(self) -> dict[str, Any] | None:
        """Its keyword arguments."""
        found = self._call()
        return None if found is None else found[1]

    @property
    def worker(self) -> str | None:
        """Who ran it, or runs it."""
        item = self._item(self.shape)
        return item.worker if item is not None else None

    @property
    def retries(self) -> int:
        """How often it was tried again."""
        item = self._item(self.shape)
        if item is None:
            return 0
        return max(0, item.attempts - (1 if item.state in (State.FAILED, State.DEAD) else 0))

    @property
    def queue(self) -> str | None:
        """Where it waited."""
        return None if self.shape.is_list else self._node(self.shape).queue

    @property
    def date_done(self) -> datetime | None:
        """When it ended, in UTC."""
        if self.shape.is_list:
            ends = [part.date_done for part in self.children]
            return None if None in ends else max((end for end in ends if end is not None), default=None)
        item, node = self._item(self.shape), self._node(self.shape)
        if item is not None and item.state in TERMINAL and item.started_at is not None:
            return datetime.fromtimestamp(item.started_at + (item.took_s or 0.0), UTC)
        return datetime.fromtimestamp(node.ended_at, UTC) if node.ended_at is not None else None

    # ── waiting ──────────────────────────────────────────────────────────────────────

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> Any:
        """Wait for the value; of a task with ``ignore_result`` it is `None`, at once.

        Args:
            timeout: Seconds to wait at most.
            propagate: Raise what the task raised; else it is returned.
            interval: Taken for Celery's sake: nothing is polled.
            no_ack: Taken for Celery's sake.
            follow_parents: Taken for Celery's sake: a failed step before fails this one.
            callback: Called with the id and the value.
            on_message: Called once, with what is known of the task, when it has ended.
            on_interval: Taken for Celery's sake.
            disable_sync_subtasks: Taken for Celery's sake: waiting inside a task lends its slot.

        Raises:
            WaitTimedOut: The wait ended, the task did not; it is a `TimeoutError`.
            TaskError: The task gave no value; when it raised, its own exception is raised instead.
        """
        if self._ignored:
            return None
        try:
            deadline = None if timeout is None else time.monotonic() + timeout
            value = self.shape.collect(lambda node, index: self._value(node, index, seconds_left(deadline)))
        except TaskError as error:
            if propagate:
                raise
            value = error
        except Exception as error:
            if propagate or not self.ready():
                raise
            value = error
        if on_message is not None:
            on_message({"task_id": self.task_id, "status": self.state, "result": value})
        if callback is not None:
            callback(self.task_id, value)
        return value

    wait = get  # type: ignore[assignment]  # Celery's word for it

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the result without blocking the event loop."""
        return self._awaited(self.get).__await__()

    def ready(self) -> bool:
        """Whether all its tasks have ended."""
        return self._settled() is not None

    def successful(self) -> bool:
        """Whether all its tasks gave a value."""
        return self._settled() is True

    def failed(self) -> bool:
        """Whether they have ended, and not all gave a value."""
        return self._settled() is False

    def _settled(self) -> bool | None:
        """Whether all gave a value; `None` while any has not ended."""
        words = [self._word(part) for part in self.shape.items()]
        if any(word in ("PENDING", "STARTED", "RETRY") for word in words):
            return None
        return all(word == "SUCCESS" for word in words)

    def then(
        self,
        callback: Callable[[AsyncResult], object],
        on_error: Callable[[AsyncResult], object] | None = None,
    ) -> AsyncResult:
        """Call a function with this result when it is there: in a thread of the client, or now."""

        def over() -> None:
            if self.successful():
                callback(self)
            elif on_error is not None:
                on_error(self)

        self.when_over(over)
        return self

    def maybe_throw(self, propagate: bool = True) -> Any:
        """The value if the task has ended, raising what it raised; `None` while it has not."""
        return self.get(propagate=propagate) if self.ready() else None

    def collect(self, intermediate: bool = False) -> Iterator[tuple[AsyncResult, Any]]:
        """This result and those it consists of, each with its value, as they are there."""
        for part in self.children:
            yield part, part.get()
        yield self, self.get()

    # ── control ──────────────────────────────────────────────────────────────────────

    def exists(self) -> bool:
        """Whether the store knows the task."""
        try:
            self._engine.store.find(self.id)
        except TaskflowError:
            return False
        return True

    def revoke(self, terminate: bool = True, *, reason: str = "revoked", **_: Any) -> bool:
        """Cancel it, also when it runs; it stays cancelled though no worker is up.

        Args:
            terminate: Taken for Celery's sake: a running task is always stopped.
            reason: Told to who waits.

        Returns:
            Whether there was anything to cancel.
        """
        self._engine.flush()
        store = self._engine.store
        if self.shape.node is None or self.shape.parent is None:
            return store.cancel(self.id, reason=reason)
        return store.cancel(self.shape.node, index=self.shape.index, reason=reason)

    def forget(self) -> None:
        """Remove the run with its results from the store.

        Raises:
            UsageError: It has not ended.
        """
        self._engine.flush()
        self._engine.store.forget(self.id)

    @property
    def future(self) -> Future[Any]:
        """The same task as a `Future`; of a group, take the `children`'s."""
        if self.shape.node is None:
            raise NoSuchRun("A group is not one task: use result.children.")
        handle = self._handle(self.shape.node)
        if isinstance(handle, Future):
            return handle
        return handle[self.shape.index or 0]

    def as_tuple(self) -> tuple[Any, Any]:
        """((id, parent), children), as Celery nests them."""
        parent = self.parent
        children = [part.as_tuple() for part in self.children] or None
        return (self.task_id, parent.as_tuple() if parent is not None else None), children

    def as_list(self) -> list[str]:
        """Its id, and those of the steps before."""
        parent = self.parent
        return [self.task_id, *(parent.as_list() if parent is not None else ())]

    # ── from the store ───────────────────────────────────────────────────────────────

    def _node(self, shape: Shape) -> NodeView:
        node = shape.node or next(shape.nodes(), None)
        return next(view for view in self.progress.nodes if view.id == node)

    def _item(self, shape: Shape) -> ItemView | None:
        if shape.node is None or shape.width is not None:
            return None
        self._engine.flush()
        index = shape.index or 0
        found = self._engine.store.items(shape.node)
        return next((item for item in found if item.lo <= index < item.hi), None)

    def _failure(self) -> Failure | None:
        if self.shape.is_list:
            return next((part._failure() for part in self.children if part.state == "FAILURE"), None)
        item = self._item(self.shape)
        error = item.error if item is not None else self._node(self.shape).error
        ended = self._node(self.shape).state in TERMINAL
        return Failure.from_json(error) if error and ended else None

    def _call(self) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if self.shape.node is None or self.shape.is_list:
            return None
        return self._engine.call_of(self.shape.node, self.shape.index)

    @property
    def children(self) -> list[AsyncResult]:
        """The results of a group's parts."""
        parts = self.shape.items() if self.shape.is_list else ()
        return [self._other(part) for part in parts]

    @property
    def parent(self) -> AsyncResult | None:
        """The result of the step before."""
        return None if self.shape.parent is None else self._other(self.shape.parent)

    def _other(self, shape: Shape) -> AsyncResult:
        found = AsyncResult(self._engine, self.id, shape, self._arrays)
        found._handles = self._handles
        return found
