"""`Sender`: what a client submits, drawn with its options, watched, and put into the store."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from taskflow.burst import SHAPE as BURST
from taskflow.canvas import compile as compile_canvas
from taskflow.errors import GraphError, NoSuchRun, TaskflowError
from taskflow.future import Future
from taskflow.handles import handle_of
from taskflow.ids import NodeId, RunId, id_from, new_id
from taskflow.maprun import MapRun
from taskflow.plan import Draft
from taskflow.policy import Options
from taskflow.records import Plan
from taskflow.result import AsyncResult, result_of
from taskflow.run import Run
from taskflow.workflow.compiling import MEMO
from taskflow.workflowrun import WorkflowRun, compiled

if TYPE_CHECKING:
    from taskflow.canvas import Signature
    from taskflow.engine import Engine

__all__ = ["Sender"]

_TRIES = 5
_APART = ("key", "countdown", "eta", "expires", "after", "chunksize", "max_parallel", "run_parallel", "seed")
"""Options with which a call is sent by itself: they name it, or speak of a node as a whole."""


class Sender:
    """Submits with certain options.

    Args:
        engine: The store, and who watches it.
        options: How all that is submitted is treated.
    """

    def __init__(self, engine: Engine, options: Options) -> None:
        self._engine = engine
        self.options = options
        self._gathers = not options.is_keyed and not any(getattr(options, name) for name in _APART)
        self._done_with: deque[RunId] = deque()

    def having(self, **options: Any) -> Sender:
        """The same with other options.

        Raises:
            ConfigError: There is no such option (the nearest is named), or its value is impossible.
        """
        made = Sender(self._engine, self.options.merge(**options))
        made._done_with = self._done_with
        return made

    def call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Future[Any]:
        """Send one call: with others of a burst, if there is one."""
        engine = self._engine
        if self._gathers and engine.is_busy:
            engine.check_open()
            item = engine.codec.snapshot(args, kwargs)
            if item is not None:
                return engine.bursts.add(fn, item, self.options, self._meta(BURST))
        draft, key = self._draft(), self.options.key
        name = new_id() if key is None else id_from(key)
        draft.call(fn, args, kwargs, self.options, node_id=NodeId(name))
        node = draft.nodes[-1]
        future: Future[Any] = Future(engine, RunId(name), node.id, None, node.label)
        plan = Plan(RunId(name), tuple(draft.nodes), node.label, self._meta())
        if key is not None:
            engine.send(plan)
            engine.feed.catch_up(node.id, future)
            return future
        self._watched(node.id, future, lambda: engine.post(plan, future.fail))
        return future

    def map(
        self, fn: Callable[..., Any], iterables: tuple[Iterable[Any], ...], chunksize: int | Literal["auto"]
    ) -> MapRun[Any]:
        """Send a map."""
        options = self.options
        if chunksize not in ("auto", 1):  # 1 is what the standard library has for "as it comes"
            options = options.merge(chunksize=chunksize)
        draft, run, known = self._begin()
        if known is not None:
            return known  # type: ignore[no-any-return]
        node, width = draft.map(fn, iterables, options)
        label = draft.nodes[0].label
        handle: MapRun[Any] = MapRun(self._engine, run, node, width, label)
        self._send(draft, run, label, "map", node, handle)
        return handle

    def canvas(self, sig: Signature, eager: object = None) -> AsyncResult:
        """Send a canvas; `eager` lives as long as any handle of it."""
        draft, run, known = self._begin()
        if known is not None:
            return known  # type: ignore[no-any-return]
        shape = compile_canvas(sig, draft, self.options)
        last = set(shape.nodes())
        ignored = bool(last) and all(n.policy.ignore_result for n in draft.nodes if n.id in last)
        result = result_of(self._engine, run, shape, _arrays(draft), ignored=ignored, eager=eager)
        if draft.nodes:
            name = " → ".join(dict.fromkeys(node.label for node in draft.nodes))
            self._send(draft, run, name[:200], "canvas", run, result, canvas=shape.to_json())
        return result

    def canvas_to_its_end(self, sig: Signature) -> AsyncResult:
        """Send a canvas and wait for its end; it is forgotten in the store when nobody holds its result."""
        while self._done_with:
            with contextlib.suppress(TaskflowError):
                self._engine.store.forget(self._done_with.popleft())
        kept = _Kept()
        result = self.canvas(sig, kept)
        if result.shape.node is not None or result.shape.members:
            weakref.finalize(kept, self._done_with.append, result.run_id).atexit = False
            Run.wait(result)
        return result

    def workflow(
        self,
        workflow: Any,
        inputs: Mapping[str, Any],
        only: Collection[str] | None,
        resume: WorkflowRun | str | None,
        memo: bool | None,
    ) -> WorkflowRun:
        """Send a workflow; see `Workflow.run`."""
        draft, run, known = self._begin()
        if known is not None:
            return known  # type: ignore[no-any-return]
        for left in reversed(range(_TRIES)):
            try:
                handle, noted = compiled(
                    self._engine, draft, run, workflow, self.options, inputs, only, resume, memo
                )
                self._send(draft, run, workflow.name or "workflow", "workflow", run, handle, **noted)
            except GraphError:
                # What it was to share was sent, or removed, by another client at the same moment.
                if not left or not any(node.id.startswith(MEMO) for node in draft.nodes):
                    raise
                draft.nodes.clear()
            else:
                break
        if not draft.nodes:  # all was there already: the run has ended, and nothing will be heard of it
            handle.look()
        return handle

    def map_reduce(self, job: Any) -> Any:
        """Send a map-reduce and wait for its result; see `taskflow.map_reduce`."""
        draft, run = self._draft(), RunId(new_id())
        compiled = job.compile(draft, self.options)
        names = {"map": compiled.map, "reduce": compiled.reduce}
        handle = WorkflowRun(self._engine, run, names, _arrays(draft), ["reduce"])
        self._send(draft, run, "map_reduce", "map_reduce", run, handle, names=names, last=["reduce"])
        handle.wait(progress=job.progress)
        mapped, reduced = handle.nodes["map"], handle.nodes["reduce"]
        assert isinstance(mapped, MapRun) and isinstance(reduced, MapRun)
        lost = dict(mapped.failed)
        if job.errors == "raise":
            if lost:
                mapped.results()
            return compiled.assemble(reduced.results())
        return compiled.assemble(reduced.results("return"), lost)

    def _draft(self) -> Draft:
        self._engine.check_open()
        return Draft(self._engine.codec, time.time, self._engine.url)

    def _begin(self) -> tuple[Draft, RunId, Any]:
        """A new draft and the id of its run; and its handle, when its key names one that is there already."""
        draft = self._draft()
        if self.options.key is None:
            return draft, RunId(new_id()), None
        run = RunId(id_from(self.options.key))
        try:
            view, _ = self._engine.store.snapshot(run)
        except NoSuchRun:
            return draft, run, None
        return draft, run, handle_of(self._engine, view)

    def _meta(self, shape: str = "") -> dict[str, Any]:
        meta: dict[str, Any] = {}
        if shape:
            meta["shape"] = shape
        if self.options.tags:
            meta["tags"] = dict(self.options.tags)
        return meta

    def _send(
        self,
        draft: Draft,
        run: RunId,
        name: str,
        shape: str,
        watched: NodeId | RunId,
        handle: Any,
        **meta: Any,
    ) -> None:
        plan = draft.plan(run, name, self._meta(shape) | meta)
        self._watched(NodeId(watched), handle, lambda: self._engine.send(plan))

    def _watched(self, node: NodeId, handle: Any, send: Callable[[], object]) -> None:
        """Let a handle be told of a node, and send that; nothing is heard of what cannot be sent."""
        self._engine.feed.watch(node, handle)
        try:
            send()
        except BaseException:
            self._engine.feed.unwatch(node, handle)
            raise


class _Kept:
    """Lives as long as a handle of an eager run."""


def _arrays(draft: Draft) -> dict[NodeId, int | None]:
    return {node.id: node.width for node in draft.nodes if node.array}
