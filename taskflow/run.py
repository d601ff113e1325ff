"""`Run`: what the handles of workflows and canvases have in common."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from taskflow.errors import WaitTimedOut
from taskflow.future import Future
from taskflow.ids import NodeId, RunId
from taskflow.maprun import Errors, MapRun
from taskflow.records import Event, Failure, NodeView, RunView, Segment
from taskflow.states import TERMINAL, State
from taskflow.waiting import Waiting

if TYPE_CHECKING:
    from taskflow.engine import Engine

__all__ = ["LEFT_OUT", "Handle", "Run", "arrays_of", "outcome", "seconds_left"]

Handle = Future[Any] | MapRun[Any]
T = TypeVar("T", bound="Run")


class Run(Waiting):
    """A run as a whole: waits for its end, and makes handles of its nodes."""

    def __init__(
        self,
        engine: Engine,
        run: RunId,
        arrays: Mapping[NodeId, int | None],
        homes: Mapping[NodeId, RunId] | None = None,
    ) -> None:
        super().__init__(engine, run)
        self._arrays = arrays
        self._homes = homes or {}  # the runs of nodes that are not of this one
        self._handles: dict[NodeId, Handle] = {}

    # ── Listener ─────────────────────────────────────────────────────────────────────

    def happened(self, event: Event, /) -> None:
        """See `feed.Listener`."""
        self._begun = True
        if event.state in TERMINAL:
            self._leave_feed()
            self._end()

    def caught_up(self, known: Sequence[Segment], /) -> None:
        """See `feed.Listener`."""

    def _leave_feed(self) -> None:
        self._engine.feed.unwatch(NodeId(self.run_id), self)

    def ended(self, segments: Sequence[Segment], /) -> None:
        """See `feed.Listener`: a run has no values of its own."""

    def look(self) -> None:
        """See `feed.Listener`."""
        view = self.progress
        if view.state in TERMINAL:
            self.happened(Event(0, 0.0, self.run_id, "", 0, 0, view.state))

    # ── its nodes ────────────────────────────────────────────────────────────────────

    def _handle(self, node: NodeId, label: str = "") -> Handle:
        handle = self._handles.get(node)
        if handle is None:
            self._check_known()
            run = self._homes.get(node, self.run_id)
            if node in self._arrays:
                handle = MapRun(self._engine, run, node, self._arrays[node], label)
            else:
                handle = Future(self._engine, run, node, None, label)
            self._handles[node] = handle
            self._engine.flush()
            self._engine.feed.catch_up(node, handle)
        return handle

    def _value(self, node: NodeId, index: int | None, timeout: float | None) -> Any:
        __tracebackhide__ = True
        handle = self._handle(node)
        if isinstance(handle, Future):
            return handle.result(timeout)
        if index is not None:
            return handle[index].result(timeout)
        return handle.wait(timeout, progress=False).results()

    def _views_of(self, nodes: Collection[NodeId]) -> dict[NodeId, NodeView]:
        """Some nodes as they stand, also those that are not of this run."""
        self._engine.flush()
        runs = {self._homes.get(node, self.run_id) for node in nodes}
        found = (view for run in runs for view in self._engine.store.snapshot(run)[0].nodes)
        return {view.id: view for view in found if view.id in nodes}

    def _moved(self, fresh: Mapping[NodeId, NodeId]) -> tuple[dict[NodeId, int | None], dict[NodeId, RunId]]:
        """The array nodes, and the runs of nodes that are kept, after others were submitted anew."""
        arrays = {fresh.get(node, node): width for node, width in self._arrays.items()}
        homes = {view.id: self.run_id for view in self.progress.nodes} | dict(self._homes)
        return arrays, {node: run for node, run in homes.items() if node not in fresh}

    def _told(self, again: T) -> T:
        """The handle of a run that was submitted anew, told of what happens there."""
        self._engine.feed.catch_up(NodeId(again.run_id), again)
        self._engine.begin()
        return again

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
        return f"<{type(self).__name__} {self.run_id[:13]}…>"


_BAD = (State.FAILED, State.DEAD, State.EXPIRED, State.CANCELLED)


def seconds_left(deadline: float | None) -> float | None:
    """Until a deadline of the monotonic clock."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def arrays_of(view: RunView) -> dict[NodeId, int | None]:
    """The array nodes of a run, with their widths."""
    return {node.id: node.width for node in view.nodes if node.array}


LEFT_OUT = object()
"""Stands for what ``errors="skip"`` leaves out."""


def outcome(get: Callable[[], Any], errors: Errors) -> Any:
    """What a handle gives: its value, or, as `errors` says, its exception or `LEFT_OUT`."""
    __tracebackhide__ = True
    try:
        return get()
    except WaitTimedOut:
        raise
    except (Exception, SystemExit, concurrent.futures.CancelledError) as error:
        if errors == "raise":
            raise
        return error if errors == "return" else LEFT_OUT
