"""Handles of runs with several nodes: `WorkflowRun` and `CanvasResult`."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskflow.errors import GraphError, NoSuchRun, WaitTimedOut, nearest
from taskflow.future import Future, end_of
from taskflow.ids import NodeId, RunId
from taskflow.maprun import Errors, MapRun, follow, rows_or_frame
from taskflow.pools import context
from taskflow.records import Event, Failure, NodeView, RunView, Segment
from taskflow.states import TERMINAL, State

if TYPE_CHECKING:
    from taskflow.canvas import Shape
    from taskflow.engine import Engine

__all__ = ["CanvasResult", "WorkflowRun", "arrays_of", "collect", "leaves"]

Handle = Future[Any] | MapRun[Any]


class _Run:
    """A run as a whole: waits for its end, and makes handles of its nodes."""

    wants_values = False

    def __init__(self, engine: Engine, run: RunId, arrays: Mapping[NodeId, int | None]) -> None:
        self.id = run
        self._engine = engine
        self._arrays = arrays
        self._handles: dict[NodeId, Handle] = {}
        self._over = threading.Condition()
        self._ended = False
        self._begun = False
        self._on_end: list[Callable[[], object]] = []

    # ── Listener ─────────────────────────────────────────────────────────────────────

    def happened(self, event: Event, /) -> None:
        """See `feed.Listener`."""
        self._begun = True
        if event.state in TERMINAL:
            self._engine.feed.unwatch(NodeId(self.id), self)
            with self._over:
                self._ended = True
                self._over.notify_all()
                told, self._on_end = self._on_end, []
            for tell in told:
                tell()

    def when_over(self, tell: Callable[[], object]) -> None:
        """Call a function when every node has ended: in a thread of the client, or now if that is so."""
        with self._over:
            if not self._ended:
                self._on_end.append(tell)
                return
        tell()

    def running(self) -> bool:
        """Whether anything of it has started."""
        return self._begun and not self._ended

    def ended(self, segments: Sequence[Segment], /) -> None:
        """See `feed.Listener`: a run has no values of its own."""

    def look(self) -> None:
        """See `feed.Listener`."""
        view = self.progress
        if view.state in TERMINAL:
            self.happened(Event(0, 0.0, self.id, "", 0, 0, view.state))

    # ── what every run has ───────────────────────────────────────────────────────────

    @property
    def progress(self) -> RunView:
        """The run with its nodes, as it stands."""
        self._engine.flush()
        return self._engine.store.snapshot(self.id)[0]

    @property
    def state(self) -> State:
        """The state of the run."""
        return self.progress.state

    def done(self) -> bool:
        """Whether every node has ended."""
        return self._ended

    def cancel(self) -> bool:
        """Cancel what has not ended; `True` when there was anything to cancel."""
        self._engine.flush()
        return self._engine.store.cancel(self.id, reason="cancelled by its run")

    def wait(self, timeout: float | None = None, *, progress: bool = False) -> Any:
        """Wait until every node has ended, however; may show progress in a terminal.

        Raises:
            WaitTimedOut: The wait ended, the run did not.
        """
        if progress and not self._ended:
            from taskflow.observe.board import Board
            from taskflow.observe.terminal import Bars

            with Bars() as bars:
                if bars.live:
                    follow(self._engine, self.id, bars, Board(), self.done, self._block, timeout)
                    return self
        self._block(self.done, timeout)
        return self

    def _block(self, done: Callable[[], bool], timeout: float | None) -> None:
        if done():
            return
        engine = self._engine
        engine.flush()
        try:
            if engine.inline:
                engine.drive(done, timeout)
                if not done():
                    raise self._timed_out(timeout)
                return
            with context.lend(), self._over:
                if not self._over.wait_for(done, timeout):
                    raise self._timed_out(timeout)
        except KeyboardInterrupt:
            engine.interrupted([self.id])
            raise

    def _timed_out(self, timeout: float | None) -> WaitTimedOut:
        after = "" if timeout is None else f" after {timeout:g} s"
        return WaitTimedOut(f"{self!r} had not ended{after}. {self._engine.why_waiting()}")

    async def _awaited(self, result: Callable[[], Any]) -> Any:
        import asyncio

        self._engine.flush()
        if self._engine.inline:
            return result()
        try:
            await end_of(self.when_over)
        except asyncio.CancelledError:
            if self._engine.cancel_on_interrupt:
                self.cancel()
            raise
        return await asyncio.to_thread(result)

    def _handle(self, node: NodeId, label: str = "") -> Handle:
        handle = self._handles.get(node)
        if handle is None:
            if node in self._arrays:
                handle = MapRun(self._engine, self.id, node, self._arrays[node], label)
            else:
                handle = Future(self._engine, self.id, node, None, label)
            self._handles[node] = handle
            self._engine.flush()
            self._engine.feed.catch_up(node, handle)
        return handle

    def _value(self, node: NodeId, index: int | None, timeout: float | None) -> Any:
        handle = self._handle(node)
        if isinstance(handle, Future):
            return handle.result(timeout)
        if index is not None:
            return handle[index].result(timeout)
        return handle.wait(timeout, progress=False).results()

    @property
    def failures(self) -> list[tuple[str, int, Failure]]:
        """What ended without a value so far, apart from what was skipped: label, index, what happened."""
        found = []
        for node in self.progress.nodes:
            if any(node.counts.get(state) for state in _BAD):
                for item in self._engine.store.items(node.id):
                    if item.state in _BAD:
                        failure = Failure.from_json(item.error or "{}")
                        found += [(node.label, index, failure) for index in range(item.lo, item.hi)]
        return found

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id[:13]}…>"


_BAD = (State.FAILED, State.DEAD, State.EXPIRED, State.CANCELLED)


class _Nodes(Mapping[str, Handle]):
    def __init__(self, run: WorkflowRun, names: Mapping[str, NodeId]) -> None:
        self._run, self._names = run, names

    def __getitem__(self, name: str) -> Handle:
        try:
            node = self._names[name]
        except KeyError:
            raise GraphError(f"The run has no node {name!r}.{nearest(name, self._names)}") from None
        return self._run._handle(node, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class WorkflowRun(_Run):
    """A workflow that was sent.

    Attributes:
        id: The run; ``client.attach(id)`` finds it again in another process.
        nodes: By name: the `Future` of a call, the `MapRun` of a map.
    """

    def __init__(
        self, engine: Engine, run: RunId, names: Mapping[str, NodeId], arrays: Mapping[NodeId, int | None],
        last: Sequence[str],
    ) -> None:  # fmt: skip
        super().__init__(engine, run, arrays)
        self.nodes: Mapping[str, Handle] = _Nodes(self, names)
        self._names = names
        self._last = tuple(last)

    def result(self, node: str | None = None, timeout: float | None = None) -> Any:
        """The value of a node; of the last one when none is named (of several last ones a dict by name)."""
        if node is not None:
            self.nodes[node]
            return self._value(self._names[node], None, timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        values = {name: self._value(self._names[name], None, _left(deadline)) for name in self._last}
        return values[self._last[0]] if len(values) == 1 else values

    def gather(self, errors: Errors = "raise") -> dict[str, Any]:
        """The values of all nodes, by name.

        Args:
            errors: ``"raise"``; ``"return"`` puts exceptions in place; ``"skip"`` leaves out nodes without
                a value, and failed items in the lists of maps.
        """
        return collect(dict(self.nodes), errors)  # type: ignore[no-any-return]

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the result without blocking the event loop."""
        return self._awaited(self.result).__await__()

    def retry_failed(self) -> WorkflowRun:
        """Run again what gave no value, and what is below it; the rest is kept."""
        from taskflow.ids import new_id

        new = RunId(new_id())
        fresh = self._engine.store.rerun(self.id, new)
        if not fresh:
            return self
        names = {name: fresh.get(node, node) for name, node in self._names.items()}
        arrays = {fresh.get(node, node): width for node, width in self._arrays.items()}
        again = WorkflowRun(self._engine, new, names, arrays, self._last)
        self._engine.feed.catch_up(NodeId(new), again)
        self._engine.begin()
        return again

    def to_frame(self) -> Any:
        """One row for each node (a DataFrame with pandas)."""
        return rows_or_frame([_row(node) for node in self.progress.nodes])


def _row(node: NodeView) -> dict[str, Any]:
    failure = Failure.from_json(node.error) if node.error else None
    took = node.ended_at - node.started_at if node.ended_at and node.started_at else None
    return {
        "node": node.label,
        "state": str(node.state),
        "items": node.width,
        **{str(state): items for state, items in node.counts.items()},
        "took_s": took,
        "error": f"{failure.type}: {failure.message}" if failure else None,
    }


class CanvasResult(_Run):
    """The result of a canvas that was sent."""

    def __init__(self, engine: Engine, run: RunId, shape: Shape, arrays: Mapping[NodeId, int | None]) -> None:
        super().__init__(engine, run, arrays)
        self.shape = shape

    @property
    def task_id(self) -> str:
        """The id of the last task, or of the run when the result is a list."""
        return self.shape.id or self.id

    def result(self, timeout: float | None = None) -> Any:
        """The value: of the last task, or the list of a group's.

        Raises:
            WaitTimedOut: The wait ended, the canvas did not.
            TaskError: A task gave no value; when it raised, its own exception is raised instead.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        return self.shape.collect(lambda node, index: self._value(node, index, _left(deadline)))

    get = result

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the result without blocking the event loop."""
        return self._awaited(self.result).__await__()

    @property
    def parent(self) -> CanvasResult | None:
        """The result of the step before."""
        if self.shape.parent is None:
            return None
        before = CanvasResult(self._engine, self.id, self.shape.parent, self._arrays)
        before._handles = self._handles
        return before

    @property
    def children(self) -> list[CanvasResult]:
        """The results of a group's parts."""
        parts = self.shape.items() if self.shape.is_list else ()
        found = [CanvasResult(self._engine, self.id, part, self._arrays) for part in parts]
        for part in found:
            part._handles = self._handles
        return found

    def ready(self) -> bool:
        """Whether all its tasks have ended."""
        nodes = set(self.shape.nodes())
        return all(node.state in TERMINAL for node in self.progress.nodes if node.id in nodes)

    def successful(self) -> bool:
        """Whether all its tasks gave a value."""
        nodes = set(self.shape.nodes())
        return all(node.state is State.SUCCEEDED for node in self.progress.nodes if node.id in nodes)

    def failed(self) -> bool:
        """Whether they have ended, and not all gave a value."""
        return self.ready() and not self.successful()


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


_LEFT_OUT = object()


def collect(futures: Any, errors: Errors = "raise") -> Any:
    """See `taskflow.gather`."""
    found = _collect(futures, errors)
    return None if found is _LEFT_OUT else found


def _collect(futures: Any, errors: Errors) -> Any:
    if isinstance(futures, MapRun):
        return futures.results(errors)
    if isinstance(futures, WorkflowRun):
        return futures.gather(errors)
    if isinstance(futures, concurrent.futures.Future | CanvasResult):
        return _collect_one(futures, errors)
    if isinstance(futures, dict):
        pairs = [(key, _collect(value, errors)) for key, value in futures.items()]
        return {key: value for key, value in pairs if value is not _LEFT_OUT}
    if isinstance(futures, list | tuple | set | frozenset):
        values = [value for value in [_collect(one, errors) for one in futures] if value is not _LEFT_OUT]
        kind: Any = type(futures)
        return kind(*values) if hasattr(kind, "_fields") else kind(values)
    return futures


def _collect_one(future: concurrent.futures.Future[Any] | CanvasResult, errors: Errors) -> Any:
    try:
        return future.result()
    except WaitTimedOut:
        raise
    except (Exception, SystemExit, concurrent.futures.CancelledError) as error:
        if errors == "raise":
            raise
        return error if errors == "return" else _LEFT_OUT


def leaves(futures: Any) -> Iterator[Any]:
    """The futures and runs in a nesting of containers."""
    if isinstance(futures, concurrent.futures.Future | MapRun | _Run):
        yield futures
    elif isinstance(futures, dict):
        yield from leaves(list(futures.values()))
    elif isinstance(futures, list | tuple | set | frozenset):
        for one in futures:
            yield from leaves(one)


def arrays_of(view: RunView) -> dict[NodeId, int | None]:
    """The array nodes of a run, with their widths."""
    return {node.id: node.width for node in view.nodes if node.array}


def only_node(view: RunView) -> NodeView:
    """The node of a run of one."""
    if len(view.nodes) != 1:
        raise NoSuchRun(f"Run {view.id} has {len(view.nodes)} nodes.")
    return view.nodes[0]
