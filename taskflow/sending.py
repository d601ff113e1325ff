"""`Sender`: what a client submits, drawn with its options, watched, and put into the store."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from taskflow.burst import SHAPE as BURST
from taskflow.burst import Burst
from taskflow.canvas import Signature
from taskflow.canvas import compile as compile_canvas
from taskflow.canvas.registry import resolve
from taskflow.canvas.shape import Shape, item_id
from taskflow.errors import (
    ConfigError,
    Duplicate,
    GraphError,
    NoSuchRun,
    ResultExpired,
    TaskflowError,
    UsageError,
)
from taskflow.future import Future
from taskflow.handles import future_by_id, handle_of
from taskflow.ids import NodeId, RunId, id_from, new_id
from taskflow.locking import lock_of_graph
from taskflow.maprun import MapRun
from taskflow.marks import marks_of
from taskflow.observe import showing
from taskflow.plan import HELPER, Draft, has_reference, items_of
from taskflow.policy import Options
from taskflow.pools import context
from taskflow.recall import earlier_call, memo_of_call, memo_of_map, with_results
from taskflow.records import Edge, EdgeMode, Lock, Plan
from taskflow.result import AsyncResult, result_of
from taskflow.result.finding import find_result, result_of_future, result_of_pledge
from taskflow.result.relatives import SENT_BY
from taskflow.room import Patiently
from taskflow.run import Run
from taskflow.stream import UNCLAIMED_S, Head, Stream, head_of, queue_of
from taskflow.unique import Unique
from taskflow.workflow.compiling import MEMO
from taskflow.workflowrun import WorkflowRun, compiled

if TYPE_CHECKING:
    from taskflow.engine import Engine

__all__ = ["Sender"]

T = TypeVar("T")

_TRIES = 5
_APART = (
    *("key", "unique", "countdown", "eta", "expires", "after", "chunksize", "max_parallel", "run_parallel"),
    "seed",
    "memo",
)
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
        self._gathers = (
            options.when_full == "wait"
            and not options.is_keyed
            and not any(getattr(options, name) for name in _APART)
        )
        self._done_with: deque[RunId] = deque()
        self._of_sender: tuple[str, Options] = ("", options)

    def having(self, **options: Any) -> Sender:
        """The same with other options.

        Raises:
            ConfigError: There is no such option (the nearest is named), or its value is impossible.
        """
        made = Sender(self._engine, self.options.merge(**options))
        made._done_with = self._done_with
        return made

    @property
    def _unique(self) -> Unique | None:
        unique = self.options.unique
        return unique if isinstance(unique, Unique) else None

    @property
    def _options_of_parts(self) -> Options:
        """Those of nodes of what is unique as a whole."""
        return self.options if self._unique is None else self.options.merge(unique=None)

    def _patiently(self) -> Patiently:
        return Patiently(self.options.when_full if self._engine.is_bounded else "raise")

    def _bound(self) -> int | None:
        return self.options.max_pending if self._engine.is_bounded else None

    def call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Future[Any]:
        """Send one call: with others of a burst, if there is one."""
        with self._patiently():
            future = self._gathered(fn, args, kwargs, Burst.add)
            return self._alone(fn, args, kwargs) if future is None else future

    def sent(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> AsyncResult:
        """Send one call; its result in Celery's words."""
        with self._patiently():
            pledge = self._gathered(fn, args, kwargs, Burst.pledge)
            if pledge is None:
                return result_of_future(self._alone(fn, args, kwargs))
            return result_of_pledge(pledge)

    def _gathered(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        add: Callable[[Burst, Any], T],
    ) -> T | None:
        """Send one call with others of a burst; `None`, and nothing is done, for what is sent by itself."""
        engine = self._engine
        if not (self._gathers and engine.is_busy):
            return None
        engine.check_open()
        item = engine.codec.snapshot(args, kwargs)
        if item is None:
            return None
        return engine.bursts.add(fn, add, item, self._marked, lambda: self._meta(BURST))

    def _alone(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Future[Any]:
        """Send one call by itself."""
        engine = self._engine
        draft, key = self._draft(), self.options.key
        memo = memo_of_call(fn, args, kwargs, self.options, engine.codec) if self.options.memo else None
        if memo is not None and (known := earlier_call(engine.store, memo)) is not None:
            return future_by_id(engine, known)
        name = new_id() if key is None else id_from(key)
        draft.call(fn, args, kwargs, self.options, node_id=NodeId(name))
        node = draft.nodes[-1]
        future: Future[Any] = Future(engine, RunId(name), node.id, None, node.label)
        meta = self._meta() if memo is None else self._meta() | {"memo": memo.meta}
        plan = Plan(RunId(name), tuple(draft.nodes), node.label, meta, max_pending=self._bound())
        if key is not None:
            engine.send(plan)
            engine.feed.catch_up(node.id, future)
            return future
        if draft.locks:
            plan = _locked(plan, *draft.locks[0])
        elif self.options.when_full == "wait":
            self._watched(node.id, future, lambda: engine.post(plan, future.fail))
            return future
        sent: Future[Any] = self._sent(plan, node.id, future, lambda run: future_by_id(engine, run))
        return sent

    def named(self, task: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Future[Any]:
        """Send one call of a task by its name: only that, or what it stands for here."""
        fn: Any = task if self._engine.plain else resolve(task)[0]
        return self.call(fn, args, kwargs)

    def map(
        self,
        fn: Callable[..., Any],
        iterables: tuple[Iterable[Any], ...],
        chunksize: int | Literal["auto"],
        buffersize: int | None = None,
    ) -> MapRun[Any]:
        """Send a map; what has no length is read as it is wanted."""
        with self._patiently():
            return self._map(fn, iterables, chunksize, buffersize)

    def _map(
        self,
        fn: Callable[..., Any],
        iterables: tuple[Iterable[Any], ...],
        chunksize: int | Literal["auto"],
        buffersize: int | None,
    ) -> MapRun[Any]:
        options = self._options_of_parts
        if chunksize not in ("auto", 1):  # 1 is what the standard library has for "as it comes"
            options = options.merge(chunksize=chunksize)
        draft, run, known = self._begin()
        if known is not None:
            return known  # type: ignore[no-any-return]
        read_on = buffersize is not None or any(map(_is_read_once, iterables))
        width: int | None
        noted: dict[str, Any] = {}
        if options.memo:
            if read_on:
                raise UsageError("memo= compares all items before any runs: give a list, no iterator.")
            noted = self._remembered(fn, iterables, options, draft)
            node, width = draft.nodes[-1].id, draft.nodes[-1].width
        elif read_on:
            star = len(iterables) > 1
            source = zip(*iterables, strict=False) if star else iter(iterables[0])
            head = head_of(source) if buffersize is None else Head([], source)
            if head.rest is not None and not (head.items and has_reference(head.items[0], star)):
                return self._stream(fn, head, options, draft, run, buffersize, star=star)
            node, width = draft.array(fn, chain(head.items, head.rest or ()), options, star=star)
        else:
            node, width = draft.map(fn, iterables, options)
        label = draft.nodes[0].label
        handle: MapRun[Any] = MapRun(self._engine, run, node, width, label)
        return self._send(draft, run, label, "map", node, handle, **noted)  # type: ignore[no-any-return]

    def _remembered(
        self, fn: Callable[..., Any], iterables: tuple[Iterable[Any], ...], options: Options, draft: Draft
    ) -> dict[str, Any]:
        """Draw a map whose items may have results in earlier runs; gives what is noted of it."""
        memo = memo_of_map(fn, options, star=len(iterables) > 1)
        draft.map(fn, iterables, options)
        engine = self._engine
        draft.nodes[-1], cached = with_results(engine.store, engine.codec, draft.nodes[-1], memo)
        return {"memo": memo.meta, "cached": cached} if cached else {"memo": memo.meta}

    def _stream(
        self,
        fn: Callable[..., Any],
        head: Head,
        options: Options,
        draft: Draft,
        run: RunId,
        buffersize: int | None,
        *,
        star: bool,
    ) -> MapRun[Any]:
        """Send a map that begins with some items, and a call beside it that adds the others."""
        engine, node = self._engine, NodeId(new_id())
        label = options.label or engine.codec.describe(fn)
        feeder = NodeId(f"{node}/items")
        around = Options(queue=queue_of(feeder), max_deliveries=1, expires=UNCLAIMED_S)
        draft.call(items_of, (), None, around, node_id=feeder, label=HELPER.format(label))
        edges = (Edge(feeder, EdgeMode.FEEDS),)
        draft.array(fn, head.items, options, star=star, node_id=node, edges=edges, label=label)
        digest, threads = draft.nodes[-1].fn, not engine.inline
        stream = Stream(
            engine.store, engine.codec, run, node, feeder, digest, head, buffersize, threads=threads
        )
        handle: MapRun[Any] = MapRun(engine, run, node, None, label, feeder=feeder, stream=stream)
        sent: MapRun[Any] = self._send(draft, run, label, "map", node, handle)
        if sent is not handle:
            return sent
        if not engine.read_on(stream):  # somebody has cancelled it at the same moment
            engine.feed.unwatch(node, handle)
            return self._attach(run)  # type: ignore[no-any-return]
        return handle

    def canvas(self, sig: Signature, eager: object = None) -> AsyncResult:
        """Send a canvas; `eager` lives as long as any handle of it."""
        with self._patiently():
            return self._canvas(sig, eager)

    def _canvas(self, sig: Signature, eager: object) -> AsyncResult:
        self._refuse_memo("a canvas")
        draft, run, known = self._begin()
        if known is not None:
            return known  # type: ignore[no-any-return]
        is_call = type(sig) is Signature
        shape = self._compiled(sig, draft)
        last = set(shape.nodes())
        ignored = bool(last) and all(n.policy.ignore_result for n in draft.nodes if n.id in last)
        result = result_of(self._engine, run, shape, _arrays(draft), ignored=ignored, eager=eager)
        if draft.nodes:
            meta = self._meta_of(shape, draft)
            return self._send(  # type: ignore[no-any-return]
                draft, run, _name_of(draft), "canvas", run, result, is_call=is_call, **meta
            )
        return result

    def _compiled(self, sig: Signature, draft: Draft) -> Shape:
        """Draw a canvas."""
        options = self.options if type(sig) is Signature else self._options_of_parts
        return compile_canvas(sig, draft, options, header_errbacks=self._engine.header_errbacks)

    def _meta_of(self, shape: Shape, draft: Draft) -> dict[str, Any]:
        """Where the results of a canvas will be, and what its tasks are marked with."""
        marks = marks_of([node.id for node in draft.nodes], draft.tags, self._marked.tags)
        return {"canvas": shape.to_json(), **marks}

    def drawn(self, sig: Signature) -> Plan:
        """What `canvas` would send; nothing is sent.

        Raises:
            ConfigError: It has nothing to run, or an option that is for one run only.
        """
        self._refuse_memo("a schedule")
        if self.options.key is not None:
            raise ConfigError("key= names one run, and a schedule makes many: leave it away.")
        draft, is_call = self._draft(), type(sig) is Signature
        shape = self._compiled(sig, draft)
        if not draft.nodes:
            raise ConfigError(f"{sig!r} has nothing to run.")
        meta = self._meta_of(shape, draft)
        return self._plan(draft, RunId(new_id()), _name_of(draft), "canvas", meta, is_call=is_call)

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
        with self._patiently():
            return self._workflow(workflow, inputs, only, resume, memo)

    def _workflow(
        self,
        workflow: Any,
        inputs: Mapping[str, Any],
        only: Collection[str] | None,
        resume: WorkflowRun | str | None,
        memo: bool | None,
    ) -> WorkflowRun:
        if self.options.memo == "edited":
            raise ConfigError("A workflow is remembered by what its functions do: memo=True.")
        memo = True if memo is None and self.options.memo else memo
        draft, run, known = self._begin()
        if known is not None:
            return known  # type: ignore[no-any-return]
        for left in reversed(range(_TRIES)):
            try:
                handle, noted = compiled(
                    self._engine, draft, run, workflow, self._options_of_parts, inputs, only, resume, memo
                )
                name = workflow.name or "workflow"
                handle = self._send(draft, run, name, "workflow", run, handle, **noted)
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
        self._refuse_memo("map_reduce")
        if self._unique is not None:
            raise ConfigError("map_reduce cannot be unique: it is waited for where it is called.")
        with self._patiently():
            draft, run, handle = self._begin()
            compiled = job.compile(draft, self.options)
            if handle is None:
                names = {"map": compiled.map, "reduce": compiled.reduce}
                made = WorkflowRun(self._engine, run, names, _arrays(draft), ["reduce"])
                handle = self._send(
                    draft, run, "map_reduce", "map_reduce", run, made, names=names, last=["reduce"]
                )
        handle.wait(progress=job.progress)
        mapped, reduced = handle.nodes["map"], handle.nodes["reduce"]
        assert isinstance(mapped, MapRun) and isinstance(reduced, MapRun)
        lost = dict(mapped.failed)
        if job.errors == "raise":
            if lost:
                mapped.results()
            return compiled.assemble(reduced.results())
        return compiled.assemble(reduced.results("return"), lost)

    def _refuse_memo(self, what: str) -> None:
        if self.options.memo:
            raise ConfigError(f"memo= is for calls, maps and workflows, and this is {what}: leave it away.")

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
        meta: dict[str, Any] = dict(showing.origin())
        if shape:
            meta["shape"] = shape
        if self._marked.tags:
            meta["tags"] = dict(self._marked.tags)
        return meta

    @property
    def _marked(self) -> Options:
        """The options; inside a task with a tag that says which task has sent it."""
        if not context.inside():
            return self.options
        me = context.current()
        sender = item_id(me.id, me.index) if me.array else me.id
        known, options = self._of_sender
        if known != sender:
            options = self.options.merge(tags={SENT_BY: sender, **self.options.tags})
            self._of_sender = sender, options
        return options

    def _send(
        self,
        draft: Draft,
        run: RunId,
        name: str,
        shape: str,
        watched: NodeId | RunId,
        handle: Any,
        is_call: bool = False,
        **meta: Any,
    ) -> Any:
        """Send what was drawn; its handle, or that of the run that holds its lock."""
        plan = self._plan(draft, run, name, shape, meta, is_call=is_call)
        if "canvas" in meta:
            return self._sent(plan, NodeId(watched), handle, lambda run: find_result(self._engine, run))
        return self._sent(plan, NodeId(watched), handle, self._attach)

    def _plan(
        self, draft: Draft, run: RunId, name: str, shape: str, meta: Mapping[str, Any], *, is_call: bool
    ) -> Plan:
        plan = draft.plan(run, name, self._meta(shape) | dict(meta))._replace(max_pending=self._bound())
        if draft.locks and not is_call:
            raise ConfigError(
                "A task with unique=... was to become a part of something larger: send it by itself, or make"
                " that the only one of its kind as a whole, with client.options(unique=...)."
            )
        if draft.locks:
            return _locked(plan, *draft.locks[0])
        if self._unique is not None:
            return _locked(plan, lock_of_graph(self._unique, draft.nodes), self._unique)
        return plan

    def _sent(self, plan: Plan, node: NodeId, handle: Any, known: Callable[[RunId], Any]) -> Any:
        """Send a plan; its handle, or what `known` gives for the run that holds its lock."""
        for _ in range(_TRIES):
            holder = self._watched(node, handle, lambda: self._engine.send(plan))
            if holder is None and (self.options.key is None or self._is_there(plan)):
                return handle
            self._engine.feed.unwatch(node, handle)
            if holder is None:  # another client has drawn it, and was sooner
                return known(plan.run)
            if plan.lock is None or plan.lock.on_duplicate != "return":
                break
            with contextlib.suppress(NoSuchRun, ResultExpired):  # it has ended, and was forgotten meanwhile
                return known(holder)
        raise Duplicate(
            f"{plan.name or 'it'} is unique, and run {holder} is there already; nothing was submitted.",
            run=holder,
        )

    def _is_there(self, plan: Plan) -> bool:
        """Whether the store has what was drawn here, if anything was."""
        if not plan.nodes:
            return True
        with contextlib.suppress(NoSuchRun):
            return bool(self._engine.store.find(plan.nodes[0].id))
        return False

    def _attach(self, run: RunId) -> Any:
        return handle_of(self._engine, self._engine.store.snapshot(run)[0])

    def _watched(self, node: NodeId, handle: Any, send: Callable[[], T]) -> T:
        """Let a handle be told of a node, and send that; nothing is heard of what cannot be sent."""
        self._engine.feed.watch(node, handle)
        try:
            return send()
        except BaseException:
            self._engine.feed.unwatch(node, handle)
            raise


def _name_of(draft: Draft) -> str:
    return " → ".join(dict.fromkeys(node.label for node in draft.nodes))[:200]


def _locked(plan: Plan, lock: Lock, unique: Unique) -> Plan:
    """A plan with a lock.

    Raises:
        ConfigError: It is a graph, and what it asks for is possible for single nodes only.
    """
    if lock.on_duplicate in ("skip", "replace") and len(plan.nodes) != 1:
        raise ConfigError(
            f"on_duplicate={lock.on_duplicate!r} is for single calls and maps, and this has {len(plan.nodes)}"
            " nodes: use 'return' or 'raise'."
        )
    if unique.until != "started":
        return plan._replace(lock=lock)
    nodes = [node._replace(policy=replace(node.policy, unlocks=True)) for node in plan.nodes]
    return plan._replace(nodes=tuple(nodes), lock=lock)


def _is_read_once(iterable: Iterable[Any]) -> bool:
    """Whether nobody can say how many items there are before they are read."""
    return isinstance(iterable, Iterator) or not hasattr(type(iterable), "__len__")


class _Kept:
    """Lives as long as a handle of an eager run."""


def _arrays(draft: Draft) -> dict[NodeId, int | None]:
    return {node.id: node.width for node in draft.nodes if node.array}
