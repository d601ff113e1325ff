"""`AsyncResult`: the handle of the Celery face, over the same stored run as a `Future`.

Its words are Celery's (`state` is ``SUCCESS`` where `Future.state` is *succeeded*), and `result` is a
property where `Future.result` is a method: that is why there are two classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import GenericAlias
from typing import TYPE_CHECKING, Any, ClassVar, Self

from taskflow import hooks
from taskflow.backends import Known
from taskflow.canvas.shape import Shape
from taskflow.codec.failure import describe_failure
from taskflow.errors import NoSuchRun, TaskCancelled, TaskError, TaskflowError, WaitTimedOut
from taskflow.future import Future
from taskflow.ids import NodeId, RunId
from taskflow.observe import showing
from taskflow.result.fields import GONE
from taskflow.result.relatives import Kin, Related
from taskflow.result.revoking import revoke_marked
from taskflow.result.telling import tell_until_over
from taskflow.result.words import UNREADY
from taskflow.run import Run, seconds_left
from taskflow.states import State

if TYPE_CHECKING:
    from taskflow.burst import Pledge
    from taskflow.engine import Engine

__all__ = ["AsyncResult", "EagerResult", "Kin"]


class AsyncResult(Related):
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
    _future: Future[Any] | None = None
    _pledge: Pledge | None = None
    TimeoutError = WaitTimedOut

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
        path: str | None = "",
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

    @classmethod
    def of_future(cls, future: Future[Any], kin: Kin) -> Self:
        """The handle of a call, as a future tells of it. It costs little while nobody asks more of it.

        Args:
            future: The future of the call.
            kin: As for `made`.
        """
        self = cls.__new__(cls)
        self._future, self._kin = future, kin
        return self

    @classmethod
    def of_pledge(cls, pledge: Pledge, kin: Kin) -> Self:
        """The handle of a call of a burst, whose future is made when more is asked than its value.

        Args:
            pledge: The call.
            kin: As for `made`.
        """
        self = cls.__new__(cls)
        self._pledge, self._kin = pledge, kin
        return self

    @property
    def _sent(self) -> Future[Any] | None:
        """The future of a call, where this is the handle of one."""
        if self._future is None and self._pledge is not None:
            burst, index = self._pledge
            self._future = burst.single(index)
        return self._future

    def __getattr__(self, name: str) -> Any:
        # Only what those two have left out is missing; it is made when the first of it is asked for.
        handle, index = self._pledge or (self._future, None)
        if handle is None or "_arrays" in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        index = handle.index if index is None else index
        self.shape = Shape(handle.node_id, index)
        Run.__init__(self, handle._engine, handle.run_id, {} if index is None else {handle.node_id: None})
        return getattr(self, name)

    # ── its value, if it is there ────────────────────────────────────────────────────

    @property
    def result(self) -> Any:
        """The value, when there is one; what the task raised, when it failed; what it told of itself by
        ``update_state``, while it runs; else `None`. Does not wait."""
        if not self.ready():
            told = self._meta()
            if told is not None or not self.ready():  # it may have ended just now, and tells nothing any more
                return told
        try:
            return self.get()
        except Exception as error:
            if self.successful():
                raise
            return error

    @property
    def info(self) -> Any:
        """The same as `result`."""
        return self.result

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
            interval: The longest time between two looks, seconds, with `on_message` or `on_interval`; else
                nothing is polled.
            no_ack: Taken for Celery's sake.
            follow_parents: Taken for Celery's sake: a failed step before fails this one.
            callback: Called with the id and the value.
            on_message: Called with what is known of the task: when it is tried again, when it says something
                of itself (``update_state``), and when it has ended.
            on_interval: Called before each look.
            disable_sync_subtasks: Taken for Celery's sake: waiting inside a task lends its slot.

        Raises:
            WaitTimedOut: The wait ended, the task did not; it is a `TimeoutError`.
            TaskError: The task gave no value; when it raised, its own exception is raised instead.
        """
        __tracebackhide__ = True
        if self._ignored:
            return None
        try:
            if on_message is not None or on_interval is not None:
                timeout = self._telling(timeout, interval, on_message, on_interval)
            value = self._fetched(timeout)
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

    def _telling(
        self,
        timeout: float | None,
        interval: float,
        on_message: Callable[[dict[str, Any]], object] | None,
        on_interval: Callable[[], object] | None,
    ) -> float | None:
        """Tell what happens until it has ended; the seconds that are left."""
        if self._known is not None or self._engine.inline:
            return timeout
        self._engine.flush()
        deadline = None if timeout is None else time.monotonic() + timeout
        tell_until_over(self, deadline, interval, on_message, on_interval)
        return seconds_left(deadline)

    def _fetched(self, timeout: float | None) -> Any:
        """The value, from the store or from where it is kept beside it."""
        __tracebackhide__ = True
        known = self._known
        if known is None:
            try:
                if self._pledge is not None and self._future is None and showing.shower() is None:
                    burst, index = self._pledge
                    found = burst.outcome(index)
                    if found is not None and found[1] is None:
                        return found[0]
                if (sent := self._sent) is not None:
                    return sent.result(timeout)
                deadline = None if timeout is None else time.monotonic() + timeout
                return self.shape.collect(partial(self._value_by, deadline))
            except GONE as error:
                if self._is_group:
                    raise
                known = self._kept(error)
        if known.error is not None:
            raise known.error
        return known.value

    def _value_by(self, deadline: float | None, node: NodeId, index: int | None) -> Any:
        __tracebackhide__ = True
        return self._value(node, index, seconds_left(deadline))

    wait = get  # type: ignore[assignment]  # Celery's word for it

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the result without blocking the event loop."""
        return self._found_and_awaited().__await__()

    async def _found_and_awaited(self) -> Any:
        __tracebackhide__ = True
        import asyncio

        await asyncio.to_thread(self._look_for_it)
        return await self._awaited(self.get)

    def _look_for_it(self) -> None:
        """Have the handles of its tasks here: that asks the store."""
        if not self._engine.inline:
            self.when_over(lambda: None)

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
        return self._stands() not in UNREADY

    def done(self) -> bool:
        """The same as `ready`."""
        return self._over or self.ready()

    def successful(self) -> bool:
        """Whether it gave a value."""
        return self._stands() == "SUCCESS"

    def failed(self) -> bool:
        """Whether it failed; what was revoked has not."""
        return self._stands() == "FAILURE"

    def maybe_throw(
        self, propagate: bool = True, callback: Callable[[str, Any], object] | None = None
    ) -> Any:
        """The value if it has ended, raising what it raised; `None` while it has not."""
        return self.get(propagate=propagate, callback=callback) if self.ready() else None

    maybe_reraise = maybe_throw

    def then(
        self,
        callback: Callable[[Any], object],
        on_error: Callable[[Any], object] | None = None,
        weak: bool = False,
    ) -> AsyncResult:
        """Call a function with this result when it is there: in a thread of the client, or now.

        Args:
            callback: Called when it has a value.
            on_error: Called when it has none.
            weak: Taken for Celery's sake.
        """

        def over() -> None:
            if self.successful():
                callback(self)
            elif on_error is not None:
                on_error(self)

        self.when_over(over)
        return self

    def when_over(self, tell: Callable[[], object]) -> None:
        """Call a function when this result is there: in a thread of the client, or now if it is."""
        if self._known is not None:
            tell()
            return
        self.future.add_done_callback(lambda _: tell())

    def _wait_over(self, timeout: float | None) -> None:
        """Wait until it has ended, however."""
        with suppress(TaskCancelled):
            self.future.exception(timeout)

    # ── control ──────────────────────────────────────────────────────────────────────

    def exists(self) -> bool:
        """Whether the store knows the task, or the place beside it where results are kept."""
        if self._known is not None:
            return True
        keeper = self._engine.keeper
        try:
            self._engine.store.find(self.run_id)
        except TaskflowError:
            return keeper is not None and keeper.knows(self.id)
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
        if self._known is not None:
            return False
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

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        connection: Any = None,
        terminate: bool = False,
        signal: Any = None,
        wait: bool = False,
        timeout: float | None = None,
        *,
        reason: str = "revoked",
    ) -> list[NodeId]:
        """Cancel every task of the store that is stamped so, whether this result has to do with it or not.

        Args:
            headers: Values by the name of the stamp, or tag; of a list of values, one is enough.
            connection: Taken for Celery's sake.
            terminate: Stop also those that run.
            signal: Taken for Celery's sake.
            wait: Taken for Celery's sake: it is done when this returns.
            timeout: Taken for Celery's sake.
            reason: Told to who waits for the values.

        Returns:
            Those that had not ended.
        """
        self._engine.flush()
        return revoke_marked(self._engine.store, headers, terminate, reason)

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
        """Remove the run it is part of, with all results, from the store; its own also from where else it is.

        Raises:
            UsageError: It has not ended.
        """
        self._engine.flush()
        keeper = self._engine.keeper
        try:
            self._engine.store.forget(self.run_id)
        except GONE:
            if keeper is None:
                raise
        if keeper is not None:
            keeper.place.delete(self.id)

    @property
    def future(self) -> Future[Any]:
        """The same task as a `Future`."""
        if self._sent is not None:
            return self._sent
        handle = self._handle(NodeId(str(self.shape.node)))
        if isinstance(handle, Future):
            return handle
        return handle[self.shape.index or 0]

    # ── as a value ───────────────────────────────────────────────────────────────────

    __class_getitem__: Any = classmethod(GenericAlias)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            places = {self._place, other._place} - {""}
            return self.id == other.id and len(places) < 2
        return self.id == other if isinstance(other, str) else NotImplemented

    @property
    def _place(self) -> str:
        """The store; empty where that is not known yet."""
        return self._engine.url

    def __copy__(self) -> Self:
        made = type(self).__new__(type(self))
        vars(made).update(vars(self))
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        # Elsewhere it is looked for when it is asked something: see `taskflow.result.promised`.
        self._engine.flush()
        return hooks.promised, (self.shape.to_json(), self._place)

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def _ipython_display_(self) -> None:
        if self._known is None:
            super()._ipython_display_()
        else:
            print(repr(self))


class EagerResult(AsyncResult):
    """The result of what ran at once in this process; see `Signature.apply`. It is always there.

    Args:
        id: Of the task.
        ret_value: What it gave, or raised.
        state: Celery's word.
        traceback: Where it raised.
        name: Of the task.

    Example:
        >>> EagerResult("one", 42, "SUCCESS").get()
        42
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - Celery's name for it
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
    ) -> None:
        raised = isinstance(ret_value, BaseException)
        error = ret_value if raised else None
        failure = describe_failure(ret_value, "failed") if raised else None
        if failure is not None and traceback:
            failure = replace(failure, traceback=traceback)
        value = None if raised else ret_value
        self._known = Known(id, state, value, error, name or "", failure=failure, date_done=time.time())
        self.shape, self._path, self._ignored = Shape(NodeId(id)), "", False
        self.run_id = RunId(id)
        self._engine = _Nowhere()  # type: ignore[assignment]  # it was sent to no store

    def forget(self) -> None:
        """It goes with this handle: nothing is stored, or not for longer than that."""

    def __reduce__(self) -> tuple[Any, ...]:
        known = self._known
        if known is None:
            return super().__reduce__()
        value = known.value if known.error is None else known.error
        return type(self), (known.id, value, known.status, self.traceback, known.name)


class _Nowhere:
    """In place of what is open on a store, for a result that is in none."""

    url, inline = "", True
    app = keeper = store = None

    def flush(self) -> None:
        """Nothing is on its way."""
