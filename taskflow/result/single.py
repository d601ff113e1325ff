"""`AsyncResult`: the handle of the Celery face, over the same stored run as a `Future`.

Its words are Celery's (`state` is ``SUCCESS`` where `Future.state` is *succeeded*), and `result` is a
property where `Future.result` is a method: that is why there are two classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from taskflow import hooks
from taskflow.canvas.shape import longer
from taskflow.errors import NoSuchRun, TaskCancelled, TaskError, TaskflowError
from taskflow.future import Future
from taskflow.ids import NodeId, RunId
from taskflow.result.fields import OfTask
from taskflow.result.words import UNREADY
from taskflow.run import Run, seconds_left
from taskflow.states import State

if TYPE_CHECKING:
    from taskflow.canvas.shape import Shape
    from taskflow.engine import Engine

__all__ = ["AsyncResult", "EagerResult", "Kin"]


class Kin(Protocol):
    """Makes the handle of another result of the same run."""

    def __call__(
        self,
        engine: Engine,
        run: RunId,
        shape: Shape,
        arrays: Mapping[NodeId, int | None],
        path: str,
        homes: Mapping[NodeId, RunId],
        /,
    ) -> AsyncResult:
        """The handle of `shape`, which is at `path` in the result of the run."""
        ...


class AsyncResult(OfTask):
    """The result of a task, chain or chord that was sent.

    It is what sending gives; from an id it can be made again, also in another process. Unlike Celery's it is
    a result of what the store knows: there is none of an id that was never sent.

    It can be awaited. The fields of one task (`name`, `args`, `worker`, …) are those of the last one
    of a chain, and of the body of a chord. Two are equal when they are results of the same task.

    Args:
        id: The id of the task, of an item of a map or group (``"…[3]"``), or of the run.
        backend: Taken for Celery's sake.
        task_name: Taken for Celery's sake: the store knows it.
        app: Where it was sent to.
        parent: Taken for Celery's sake: the store knows it.
        client: Where it was sent to; the current client by default.

    Attributes:
        run_id: The run it is part of.

    Raises:
        NoSuchRun: The store knows no such task, or it is the id of a group; ResultExpired: it did.
    """

    _is_group: ClassVar[bool] = False
    _kin: Kin
    _path: str
    _ignored: bool

    def __init__(
        self,
        id: str,  # noqa: A002 - Celery's name for it
        backend: Any = None,
        task_name: str | None = None,
        app: Any = None,
        parent: AsyncResult | None = None,
        *,
        client: Any = None,
    ) -> None:
        found = hooks.client_of(client, app).async_result(id)
        if found._is_group and not self._is_group:
            raise NoSuchRun(f"{id} is the id of a group, not of a task: use GroupResult.restore({id!r}).")
        if self._is_group and not found._is_group:
            raise NoSuchRun(f"{id} is the id of a task, not of a group: use AsyncResult({id!r}).")
        vars(self).update(vars(found))

    @classmethod
    def made(
        cls,
        engine: Engine,
        run: RunId,
        shape: Shape,
        arrays: Mapping[NodeId, int | None],
        kin: Kin,
        *,
        path: str = "",
        homes: Mapping[NodeId, RunId] | None = None,
        ignored: bool = False,
    ) -> Self:
        """The handle of what was sent.

        Args:
            engine: Where it was sent.
            run: The run it is part of.
            shape: Where the value is.
            arrays: The array nodes of the run, with their widths.
            kin: Makes those of other results of the run.
            path: Its place in the result of the run.
            homes: The runs of nodes that are not of this one.
            ignored: No value is kept.
        """
        self = cls.__new__(cls)
        Run.__init__(self, engine, run, arrays, homes)
        self.shape = shape
        self._kin = kin
        self._path = path
        self._ignored = ignored
        return self

    # ── its value, if it is there ────────────────────────────────────────────────────

    @property
    def result(self) -> Any:
        """The value, when there is one; what the task raised, when it failed; else `None`. Does not wait."""
        state = self.state
        if state in UNREADY:
            return None
        try:
            return self.get()
        except Exception as error:
            if state == "SUCCESS":
                raise
            return error

    @property
    def info(self) -> Any:
        """The same as `result`."""
        return self.result

    # ── its relatives ────────────────────────────────────────────────────────────────

    @property
    def children(self) -> list[AsyncResult]:
        """The results it is made of: those of a group's members; one task has none."""
        return []

    @property
    def parent(self) -> AsyncResult | None:
        """The result of the step before; behind a group a `GroupResult`."""
        before = self.shape.parent
        return None if before is None else self._relative(before, "p1")

    def as_tuple(self) -> tuple[Any, Any]:
        """((id, parent), children), as Celery nests them; `result_from_tuple` reads it."""
        found: Any = None
        for result in reversed(self._line()):
            found = (result.id, found), [child.as_tuple() for child in result.children] or None
        return found  # type: ignore[no-any-return]

    def as_list(self) -> list[str]:
        """Its id, and those of the steps before."""
        return [result.id for result in self._line()]

    def collect(self, intermediate: bool = False) -> Iterator[tuple[AsyncResult, Any]]:
        """This result and those it is made of, each with its value.

        Args:
            intermediate: Taken for Celery's sake: what has not ended is waited for.
        """
        yield self, self.get()
        for part in self.children:
            yield from part.collect()

    def _line(self) -> list[AsyncResult]:
        """It, and the steps before it."""
        line: list[AsyncResult] = []
        result: AsyncResult | None = self
        while result is not None:
            line.append(result)
            result = result.parent
        return line

    def part(self, shape: Shape, path: str = "") -> AsyncResult:
        """The handle of another result of the same run.

        Args:
            shape: Where it is.
            path: Its place in the result of the run.
        """
        found = self._kin(self._engine, self.run_id, shape, self._arrays, path, self._homes)
        found._handles = self._handles
        return found

    def _relative(self, shape: Shape, step: str) -> AsyncResult:
        return self.part(shape, longer(self._path, step))

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
            on_message(self.told(value))
        if callback is not None:
            callback(self.id, value)
        return value

    wait = get  # type: ignore[assignment]  # Celery's word for it

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the result without blocking the event loop."""
        return self._awaited(self.get).__await__()

    def told(self, value: Any) -> dict[str, Any]:
        """What Celery's callbacks are told of a task that has ended.

        Args:
            value: Its value, or what it raised.
        """
        return {
            "task_id": self.id,
            "status": self.state,
            "result": value,
            "traceback": self.traceback,
            "children": [],
            "date_done": self.date_done,
        }

    def ready(self) -> bool:
        """Whether it has ended, however."""
        return self.state not in UNREADY

    def done(self) -> bool:
        """The same as `ready`."""
        return self._over or self.ready()

    def successful(self) -> bool:
        """Whether it gave a value."""
        return self.state == "SUCCESS"

    def failed(self) -> bool:
        """Whether it failed; what was revoked has not."""
        return self.state == "FAILURE"

    def maybe_throw(
        self, propagate: bool = True, callback: Callable[[str, Any], object] | None = None
    ) -> Any:
        """The value if it has ended, raising what it raised; `None` while it has not."""
        return self.get(propagate=propagate, callback=callback) if self.ready() else None

    maybe_reraise = maybe_throw

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

    def when_over(self, tell: Callable[[], object]) -> None:
        """Call a function when this result is there: in a thread of the client, or now if it is."""
        self.future.add_done_callback(lambda _: tell())

    def _wait_over(self, timeout: float | None) -> None:
        """Wait until it has ended, however."""
        with suppress(TaskCancelled):
            self.future.exception(timeout)

    # ── control ──────────────────────────────────────────────────────────────────────

    def exists(self) -> bool:
        """Whether the store knows the task."""
        try:
            self._engine.store.find(self.run_id)
        except TaskflowError:
            return False
        return True

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: Any = None,
        wait: bool = False,
        timeout: float | None = None,
        *,
        reason: str = "revoked",
    ) -> bool:
        """Cancel it; it stays cancelled though no worker is up.

        Args:
            connection: Taken for Celery's sake.
            terminate: Stop it also when it runs; else a task that runs goes on.
            signal: Taken for Celery's sake: the child that runs it is killed, and nothing else with it.
            wait: Wait until it has ended.
            timeout: Seconds to wait at most.
            reason: Told to who waits for the value.

        Returns:
            Whether there was anything to cancel.
        """
        self._engine.flush()
        changed = self._revoke(terminate, reason)
        if wait:
            self._wait_over(timeout)
        return changed

    def _revoke(self, terminate: bool, reason: str) -> bool:
        item = self._item()
        if not terminate and item is not None and item.state is State.RUNNING:
            return False
        store, shape = self._engine.store, self.shape
        if shape.parent is None and shape.index is None:
            return store.cancel(self.run_id, reason=reason)
        return store.cancel(NodeId(str(shape.node)), index=shape.index, reason=reason)

    def retry_failed(self) -> AsyncResult:
        """Run again what gave no value in the run it is part of, and what follows that; the rest is kept.

        Returns:
            The same result of the new run, whose parents and children are those that count now; itself,
            when nothing has failed.
        """
        new, fresh = self._engine.rerun(self.run_id)
        if not fresh:
            return self
        arrays, homes = self._moved(fresh)
        return self._told(self._kin(self._engine, new, self.shape.renamed(fresh), arrays, self._path, homes))

    def forget(self) -> None:
        """Remove the run it is part of, with all results, from the store.

        Raises:
            UsageError: It has not ended.
        """
        self._engine.flush()
        self._engine.store.forget(self.run_id)

    @property
    def future(self) -> Future[Any]:
        """The same task as a `Future`."""
        handle = self._handle(NodeId(str(self.shape.node)))
        if isinstance(handle, Future):
            return handle
        return handle[self.shape.index or 0]

    # ── as a value ───────────────────────────────────────────────────────────────────

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return self.id == other.id and self._engine.url == other._engine.url
        return self.id == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"


class EagerResult(AsyncResult):
    """The result of what ran at once in this process; see `Signature.apply`. It is always there."""
