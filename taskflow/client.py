"""`Client`: the futures face. Call now, get later."""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import os
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, ParamSpec, TypeVar

from taskflow import hooks
from taskflow.canvas import Signature
from taskflow.canvas import compile as compile_canvas
from taskflow.canvas.shape import Shape, split_id
from taskflow.crew import Terms
from taskflow.engine import Engine, inline_engine
from taskflow.errors import (
    ConfigError,
    GraphError,
    NoSuchRun,
    TaskflowError,
    UsageError,
    WaitTimedOut,
    nearest,
)
from taskflow.future import Future
from taskflow.gathering import collect, leaves
from taskflow.ids import NodeId, RunId, id_from, new_id
from taskflow.lookup import Lookup
from taskflow.maprun import Errors, MapRun, rows_or_frame
from taskflow.plan import Draft
from taskflow.policy import Options
from taskflow.pools import context
from taskflow.records import Failure, Plan, RunView
from taskflow.ref import Ref
from taskflow.result import AsyncResult
from taskflow.result.finding import find_result, result_of
from taskflow.run import Run, arrays_of
from taskflow.states import TERMINAL
from taskflow.workflow.compiling import MEMO
from taskflow.workflowrun import WorkflowRun, compiled

__all__ = ["Client", "as_completed", "gather", "get_client"]

P = ParamSpec("P")
R = TypeVar("R")

_POOLS = ("process", "thread", "async", "inline")
_MODES = ("local", "inline")
_TRIES = 5


class Client(concurrent.futures.Executor):
    """Runs functions as durable tasks in other processes; a real `concurrent.futures.Executor`.

    Args:
        url: The store; by default the user's own embedded one (`taskflow.stores.default_url`).
        workers: Slots of the workers that this process starts: a number, or ``"auto"`` for one per
            core it may use. With 0 somebody else works: ``taskflow worker URL``.
        mode: ``"inline"`` runs everything in the calling thread, over a store in memory, by the same
            engine: breakpoints work.
        pool: ``"process"``; ``"thread"`` or ``"async"`` run all slots in one child process.
        queues: What the workers that this process starts serve. All clients of a store in this process
            share them.
        detach: The workers outlive this process.
        threads: Threads that numeric libraries (BLAS, OpenMP, numba) may use in a call; by default the
            cores are shared among the slots.
        cancel_on_interrupt: Whether Ctrl-C in a wait cancels what was waited for.

    Raises:
        ConfigError: An option is impossible, or the store cannot be opened.

    Example:
        >>> with Client(mode="inline") as client:
        ...     client.submit(pow, 2, 10).result()
        1024
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        workers: int | str = "auto",
        mode: Literal["local", "inline"] | None = None,
        pool: Literal["process", "thread", "async", "inline"] = "process",
        queues: Sequence[str] = ("default",),
        detach: bool = False,
        threads: int | None = None,
        cancel_on_interrupt: bool = True,
    ) -> None:
        if pool not in _POOLS:
            raise ConfigError(f"There is no pool {pool!r}.{nearest(pool, _POOLS)}")
        if mode is not None and mode not in _MODES:
            raise ConfigError(f"There is no mode {mode!r}.{nearest(mode, _MODES)}")
        if threads is not None and threads < 1:
            raise ConfigError(f"threads={threads} is not possible: use a number above 0, or None.")
        if url is None and context.inside():
            url = context.current().url or None
        inline = mode == "inline" or pool == "inline"
        shared = inline_engine(url)
        self._is_guest = shared is not None
        terms = Terms(pool, tuple(queues), detach, threads)
        self._engine = shared or Engine(url, workers=workers, terms=terms, inline=inline)
        self._options = Options()
        self._done_with: deque[RunId] = deque()
        if not self._is_guest:
            self._engine.cancel_on_interrupt = cancel_on_interrupt
            _open_clients.add(self._engine)
            self._engine.crew.ensure()

    # ── options ──────────────────────────────────────────────────────────────────────

    @property
    def url(self) -> str:
        """The store."""
        return self._engine.url

    @property
    def _max_workers(self) -> int:
        return self._engine.crew.slots or sum(w.slots for w in self._engine.store.workers()) or 1

    def options(self, **options: Any) -> Client:
        """The same client with other options for what is submitted through it; see `Options`.

        Raises:
            ConfigError: There is no such option (the nearest is named), or its value is impossible.

        Example:
            ``client.options(retry=3, time_limit=60).submit(fetch, url)``
        """
        view = object.__new__(Client)
        view._engine, view._is_guest = self._engine, self._is_guest
        view._options, view._done_with = self._options.merge(**options), self._done_with
        return view

    # ── sending ──────────────────────────────────────────────────────────────────────

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Call a function elsewhere; all keywords are the function's.

        A future anywhere in the arguments makes the call wait for it; its value goes straight to the
        worker.

        Raises:
            CannotPickle: The function or an argument cannot travel; nothing was sent.
        """
        engine = self._engine
        engine.check_open()
        draft = Draft(engine.codec, time.time, engine.url)
        key = self._options.key
        name = new_id() if key is None else id_from(key)
        draft.call(fn, args, kwargs, self._options, node_id=NodeId(name))
        node = draft.nodes[0]
        future: Future[R] = Future(engine, RunId(name), node.id, None, node.label)
        plan = Plan(RunId(name), (node,), node.label, self._meta())
        if key is not None:
            engine.send(plan)
            engine.feed.catch_up(node.id, future)
            return future
        engine.feed.watch(node.id, future)
        try:
            engine.post(plan, future.fail)
        except BaseException:
            engine.feed.unwatch(node.id, future)
            raise
        return future

    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | Literal["auto"] = "auto",
    ) -> MapRun[R]:
        """Call a function for each item; starts at once, and gives the results in order.

        Args:
            fn: What to call.
            iterables: Read once, in pages; several are zipped and end with the shortest.
            timeout: Seconds until iterating raises `WaitTimedOut`, from now.
            chunksize: Most items in one lease; by default as the measured time of an item demands.

        Raises:
            CannotPickle: The function or an item cannot travel; nothing was sent.
        """
        if not iterables:
            raise UsageError("map needs at least one iterable")
        options = self._options
        if chunksize not in ("auto", 1):  # 1 is what the standard library has for "as it comes"
            options = options.merge(chunksize=chunksize)
        draft, run_id, known = self._begin()
        if known is not None:
            return known  # type: ignore[no-any-return]
        node, width = draft.map(fn, iterables, options)
        label = draft.nodes[0].label
        run: MapRun[R] = MapRun(self._engine, run_id, node, width, label)
        if timeout is not None:
            run.give_up_after(timeout)
        self._send(draft, run_id, label, "map", node, run)
        return run

    def _begin(self) -> tuple[Draft, RunId, Any]:
        """A new draft and the id of its run; and its handle, when its key names one that is there already."""
        engine = self._engine
        engine.check_open()
        draft = Draft(engine.codec, time.time, engine.url)
        if self._options.key is None:
            return draft, RunId(new_id()), None
        run = RunId(id_from(self._options.key))
        try:
            view, _ = engine.store.snapshot(run)
        except NoSuchRun:
            return draft, run, None
        return draft, run, self._handle(view)

    def _meta(self, shape: str = "") -> dict[str, Any]:
        meta: dict[str, Any] = {}
        if shape:
            meta["shape"] = shape
        if self._options.tags:
            meta["tags"] = dict(self._options.tags)
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
        self._engine.feed.watch(NodeId(watched), handle)
        try:
            self._engine.send(plan)
        except BaseException:
            self._engine.feed.unwatch(NodeId(watched), handle)
            raise

    def flush(self) -> None:
        """Return when everything that was submitted is in the store.

        Single calls of a burst are committed together, a moment after `submit` returned; everything else,
        and a single call of a quiet client, is in the store when its submit returns.
        """
        self._engine.flush()

    def submit_canvas(self, sig: Signature, /) -> AsyncResult:
        """Send a signature, chain or chord; a group gives a `GroupResult`."""
        return self._submit_canvas(sig)

    def apply_canvas(self, sig: Signature, /) -> AsyncResult:
        """Run a canvas to its end, and forget it in the store when nobody holds its result any more.

        It is what `Signature.apply` asks the client of `hooks.eager_client` for, which runs inline.
        """
        while self._done_with:
            with contextlib.suppress(TaskflowError):
                self._engine.store.forget(self._done_with.popleft())
        kept = _Kept()
        result = self._submit_canvas(sig, kept)
        if result.shape.node is not None or result.shape.members:
            weakref.finalize(kept, self._done_with.append, result.run_id).atexit = False
            Run.wait(result)
        return result

    def async_result(self, id: str, /) -> AsyncResult:  # noqa: A002 - what the attribute is called
        """The handle of the Celery face of a task or group, by its id, from whatever process it was sent.

        Raises:
            NoSuchRun: The store knows no such task; ResultExpired: it did.
        """
        return find_result(self._engine, id)

    def _submit_canvas(self, sig: Signature, eager: object = None) -> AsyncResult:
        draft, run, known = self._begin()
        if known is not None:
            return known  # type: ignore[no-any-return]
        shape = compile_canvas(sig, draft, self._options)
        arrays = {node.id: node.width for node in draft.nodes if node.array}
        last = set(shape.nodes())
        ignored = bool(last) and all(n.policy.ignore_result for n in draft.nodes if n.id in last)
        result = result_of(self._engine, run, shape, arrays, ignored=ignored, eager=eager)
        if draft.nodes:
            name = " → ".join(dict.fromkeys(node.label for node in draft.nodes))
            self._send(draft, run, name[:200], "canvas", run, result, canvas=shape.to_json())
        return result

    def submit_workflow(
        self,
        workflow: Any,
        inputs: Mapping[str, Any] | None = None,
        /,
        *,
        only: Collection[str] | None = None,
        resume: WorkflowRun | str | None = None,
        memo: bool | None = None,
    ) -> WorkflowRun:
        """Send a workflow; see `Workflow.run`."""
        draft, run, known = self._begin()
        if known is not None:
            return known  # type: ignore[no-any-return]
        for left in reversed(range(_TRIES)):
            try:
                handle, noted = compiled(
                    self._engine, draft, run, workflow, self._options, inputs or {}, only, resume, memo
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

    def run_map_reduce(self, job: Any, /) -> Any:
        """Run a map-reduce and wait for its result; see `taskflow.map_reduce`."""
        engine = self._engine
        engine.check_open()
        draft = Draft(engine.codec, time.time, engine.url)
        compiled = job.compile(draft, self._options)
        run = RunId(new_id())
        arrays = {node.id: node.width for node in draft.nodes if node.array}
        names = {"map": compiled.map, "reduce": compiled.reduce}
        handle = WorkflowRun(engine, run, names, arrays, ["reduce"])
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

    # ── collecting ───────────────────────────────────────────────────────────────────

    def gather(self, futures: Any, errors: Errors = "raise") -> Any:
        """The values of futures, in the nesting of lists, tuples and dicts they come in; see `gather`."""
        return gather(futures, errors)

    def as_completed(
        self, futures: Iterable[Future[R]] | MapRun[R], with_results: bool = False
    ) -> Iterator[Any]:
        """The futures as they end; with `with_results` pairs of future and value."""
        for future in as_completed(futures):
            yield (future, future.result()) if with_results else future

    def future(self, id: str) -> Future[Any]:  # noqa: A002 - what the attribute of a future is called
        """The future of a task, by its id or a unique prefix of it, from whatever process it was sent.

        Raises:
            NoSuchRun: The store knows no such task; ResultExpired: it did.
        """
        self._engine.flush()
        name, index = split_id(id)
        run, node = self._engine.store.find(name)
        view, _ = self._engine.store.snapshot(run)
        if node is None and len(view.nodes) > 1:
            raise UsageError(f"{run} is a run of {len(view.nodes)} nodes: attach({id!r}) gives its handle.")
        found = next(one for one in view.nodes if one.id == (node or view.nodes[0].id))
        if found.array:
            if index is None:
                raise UsageError(
                    f"{found.id} is a map of {found.width} items: attach({id!r}) gives all of it,"
                    f" future({found.id + '[0]'!r}) its first item."
                )
            return self._attached_map(view, found.id)[index]
        future: Future[Any] = Future(self._engine, run, found.id, None, found.label)
        self._engine.feed.catch_up(found.id, future)
        return future

    def attach(self, run: str | None = None) -> Any:
        """The handle of a run that was sent by another process, or by this one before a restart.

        What has ended is kept, what has not goes on: workers are started if need be.

        Args:
            run: Its id or a unique prefix; the newest run that has not ended by default.

        Returns:
            A `MapRun`, a `WorkflowRun`, a `Future`: what the submit gave.

        Raises:
            NoSuchRun: The store knows no such run, or none that has not ended.
        """
        self._engine.flush()
        store = self._engine.store
        if run is None:
            live = [view for view in store.runs(limit=1000) if view.state not in TERMINAL]
            if not live:
                raise NoSuchRun("There is no run that has not ended; `taskflow runs` lists those that have.")
            run = live[0].id
        view, _ = store.snapshot(store.find(run)[0])
        self._engine.begin()
        return self._handle(view)

    def _handle(self, view: RunView) -> Any:
        engine = self._engine
        if view.meta.get("shape") in ("workflow", "map_reduce"):
            handle = WorkflowRun.of(engine, view, Lookup(engine.store))
            engine.feed.catch_up(NodeId(view.id), handle)
            return handle
        if "canvas" in view.meta:
            result = result_of(engine, view.id, Shape.from_json(view.meta["canvas"]), arrays_of(view))
            engine.feed.catch_up(NodeId(view.id), result)
            return result
        if len(view.nodes) == 1:
            node = view.nodes[0]
            if node.array:
                return self._attached_map(view, node.id)
            future: Future[Any] = Future(engine, view.id, node.id, None, node.label)
            engine.feed.catch_up(node.id, future)
            return future
        names = {node.label if _unique(view, node.label) else node.id: node.id for node in view.nodes}
        parents = {edge.parent for node in view.nodes for edge in node.parents}
        last = [name for name, node_id in names.items() if node_id not in parents]
        handle = WorkflowRun(engine, view.id, names, arrays_of(view), last)
        engine.feed.catch_up(NodeId(view.id), handle)
        return handle

    def _attached_map(self, view: RunView, node: NodeId) -> MapRun[Any]:
        found = next(n for n in view.nodes if n.id == node)
        run: MapRun[Any] = MapRun(self._engine, view.id, node, found.width, found.label)
        self._engine.feed.catch_up(node, run)
        return run

    # ── control ──────────────────────────────────────────────────────────────────────

    def cancel(self, what: Any, *, reason: str = "cancelled by the client") -> int:
        """Cancel futures, runs or ids; returns how many of them had not ended."""
        self._engine.flush()
        things = [what] if isinstance(what, str) or hasattr(what, "cancel") else list(what)
        changed = 0
        for thing in things:
            if isinstance(thing, str):
                name, index = split_id(thing)
                run, node = self._engine.store.find(name)
                changed += self._engine.store.cancel(node or run, index=index, reason=reason)
            else:
                changed += not thing.done() and bool(thing.cancel())
        return changed

    def retry(self, what: Any) -> Any:
        """Submit what failed anew: a future, a run's handle, or an id; gives the new handle."""
        if isinstance(what, Future):
            return what.retry()
        if not isinstance(what, str):
            return what.retry_failed()
        new = RunId(new_id())
        run, _ = self._engine.store.find(what)
        if not self._engine.store.rerun(run, new):
            raise UsageError(f"Nothing of run {run} has failed: there is nothing to retry.")
        return self.attach(new)

    def scale(self, workers: int) -> None:
        """Have so many slots in the embedded workers; what runs is not interrupted."""
        if workers < 1:
            raise ConfigError(f"workers={workers} is not possible: use a number above 0.")
        self._engine.crew.scale(workers)

    def run(self, fn: Callable[..., R], /, *args: Any, workers: Iterable[str] | None = None) -> dict[str, R]:
        """Call a function once in every worker; gives the values by worker."""
        names = list(workers) if workers is not None else [w.id for w in self._engine.store.workers()]
        futures = {name: self.options(queue=f"worker/{name}").submit(fn, *args) for name in names}
        return {name: future.result() for name, future in futures.items()}

    def scatter(self, data: R) -> Ref[R]:
        """Store a large object once, by its content, to pass it to many tasks.

        The `Ref` stands for it anywhere among the arguments of a task and among the items of a map. (What a
        function captures, or is given as an argument, is stored apart by itself when it is large; a `Ref`
        saves pickling it again for each call.)

        Raises:
            CannotPickle: The message says which part of it cannot travel.
        """
        return Ref(self._engine.codec, data)

    # ── looking ──────────────────────────────────────────────────────────────────────

    def runs(self, *, limit: int = 100, states: Sequence[str] = (), match: str = "") -> Any:
        """The newest runs: one row each (a DataFrame with pandas)."""
        self._engine.flush()
        return rows_or_frame(
            [_run_row(view) for view in self._engine.store.runs(limit=limit, states=states, match=match)]
        )

    def workers(self) -> Any:
        """Workers that serve the store: one row each (a DataFrame with pandas)."""
        return rows_or_frame(
            [
                {"worker": w.id, "host": w.host, "pid": w.pid, "queues": ",".join(w.queues), "slots": w.slots,
                 "busy": w.busy, "started_at": w.started_at, "seen_at": w.seen_at, **w.info}
                for w in self._engine.store.workers()
            ]
        )  # fmt: skip

    def queues(self) -> Any:
        """Items by queue and state: one row for each queue (a DataFrame with pandas)."""
        self._engine.flush()
        return rows_or_frame([dict(row) for row in self._engine.store.queues()])

    def dead_letters(self, *, limit: int = 1000) -> Any:
        """What failed for good: one row each (a DataFrame with pandas)."""
        rows = []
        for run, node, item in self._engine.store.dead(limit=limit):
            failure = Failure.from_json(item.error or "{}")
            rows.append(
                {
                    "run": run,
                    "node": node,
                    "index": item.lo,
                    "state": str(item.state),
                    "attempts": item.attempts,
                    "deliveries": item.deliveries,
                    "worker": item.worker,
                    "error": f"{failure.type}: {failure.message}",
                }
            )
        return rows_or_frame(rows)

    def doctor(self) -> Any:
        """Examine the store and the workers: one row for each finding (a DataFrame with pandas)."""
        found = [
            {"what": what, "well": well, "finding": text} for what, well, text in self._engine.store.check()
        ]
        count = len(self._engine.store.workers())
        found.append({"what": "workers", "well": count > 0, "finding": f"{count} serve {self.url}"})
        return rows_or_frame(found)

    def versions(self, check: bool = False) -> Any:
        """Versions here and on the workers, one row each (a DataFrame with pandas).

        Args:
            check: Raise `VersionMismatch` when they differ in what matters.
        """
        from taskflow.versions import compare, here

        sides = {"client": here()} | {w.id: dict(w.info) for w in self._engine.store.workers()}
        if check:
            compare(sides)
        return rows_or_frame([{"side": side, **found} for side, found in sides.items()])

    # ── ending ───────────────────────────────────────────────────────────────────────

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; wait for what was submitted, and stop the embedded workers.

        It may be called again, and returns when nobody works for the store any more.

        Args:
            wait: Without it what has not ended stays in the store, for `attach`.
            cancel_futures: Cancel what has not started.
        """
        engine = self._engine
        if engine.closed or self._is_guest:
            return
        if os.getpid() == engine.pid:
            engine.flush()
            if cancel_futures:
                engine.feed.cancel_all(running=False)
            if wait:
                engine.wait_all(None)
        _open_clients.discard(engine)
        engine.close()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Literal[False]:
        self.shutdown(wait=kind is None or issubclass(kind, Exception))
        return False

    def __repr__(self) -> str:
        return f"<Client {self.url}, {self._engine.crew.slots} slots of its own>"


def _unique(view: RunView, label: str) -> bool:
    return sum(node.label == label for node in view.nodes) == 1


def _run_row(view: RunView) -> dict[str, Any]:
    ended = view.ended_at or time.time()
    return {
        "run": view.id,
        "name": view.name,
        "state": str(view.state),
        "items": view.total,
        "succeeded": sum(items for state, items in view.counts.items() if state == "succeeded"),
        "failed": sum(items for state, items in view.counts.items() if state in ("failed", "dead")),
        "created_at": view.created_at,
        "took_s": ended - view.created_at,
        "tags": dict(view.meta.get("tags", {})),
    }


def gather(futures: Any, errors: Errors = "raise") -> Any:
    """The values of futures, in the nesting of lists, tuples, sets and dicts they come in.

    Ctrl-C cancels all of them, unless the client was told otherwise.

    Args:
        futures: Futures, maps and runs, in containers; anything else is its own value.
        errors: ``"raise"``; ``"return"`` puts exceptions in place; ``"skip"`` leaves out what gave no value.
    """
    if errors not in _ERRORS:
        raise ConfigError(f"errors={errors!r} is not known.{nearest(errors, _ERRORS)}")
    try:
        return collect(futures, errors)
    except KeyboardInterrupt:
        _cancel_waited(leaves(futures))
        raise


def as_completed(
    futures: Iterable[Future[R]] | MapRun[R], timeout: float | None = None
) -> Iterator[Future[R]]:
    """The futures as they end; see `concurrent.futures.as_completed`.

    Raises:
        WaitTimedOut: After `timeout` seconds some had not ended.
    """
    known = futures.futures if isinstance(futures, MapRun) else list(futures)
    for engine in {future._engine for future in known}:
        engine.flush()
        if engine.inline:
            mine = [future for future in known if future._engine is engine]
            engine.drive(lambda mine=mine: all(one.done() for one in mine), timeout)  # type: ignore[misc]
    try:
        with context.lend():
            yield from concurrent.futures.as_completed(known, timeout)  # type: ignore[misc]
    except TimeoutError as error:
        raise WaitTimedOut(f"{error}. {known[0]._engine.why_waiting()}") from None
    except KeyboardInterrupt:
        _cancel_waited(known)
        raise


def _cancel_waited(futures: Iterable[Any]) -> None:
    """Ctrl-C ended a wait for these."""
    for future in futures:
        if isinstance(future, Future | MapRun | WorkflowRun | AsyncResult) and not future.done():
            future._engine.interrupted([future.run_id])


_ERRORS = ("raise", "return", "skip")


# ── one client for those who name none, and the end of the process ───────────────────

_open_clients: weakref.WeakSet[Engine] = weakref.WeakSet()
_default: Client | None = None
_eager: Client | None = None


class _Kept:
    """Lives as long as a handle of an eager run."""


def get_client() -> Client:
    """The client of those who name none; made on first use.

    Inside a task it is one for the store that the task came from: what it submits is run by the same
    workers, and waiting for that lends them the task's slot.
    """
    global _default  # noqa: PLW0603 - one per process, on purpose
    if _default is None or _default._engine.closed or _default._engine.pid != os.getpid():
        _default = Client()
    return _default


def _eager_client() -> Client:
    """The inline client of `Signature.apply`; one in a process."""
    global _eager  # noqa: PLW0603 - one per process, on purpose
    if _eager is None or _eager._engine.closed or _eager._engine.pid != os.getpid():
        _eager = Client(mode="inline")
    return _eager


hooks.provide(get_client, _eager_client)


def _interactive() -> bool:
    return hasattr(sys, "ps1") or "ipykernel" in sys.modules


def _is_awaited(engine: Engine) -> bool:
    """Whether the end of the process waits for what is pending: not after Ctrl-C, and not inside a worker."""
    return not (
        engine.was_interrupted or engine.crew.terms.detach or _interactive() or context.place() is not None
    )


@atexit.register
def _at_exit() -> None:
    """A script waits for the work it submitted, as with the standard executors; a notebook does not."""
    for engine in list(_open_clients):
        if engine.closed or engine.pid != os.getpid():
            continue
        try:
            if engine.feed.pending and _is_awaited(engine):
                if sys.stderr.isatty():
                    print(
                        f"taskflow: waiting for {engine.feed.pending} tasks (Ctrl-C stops waiting)",
                        file=sys.stderr,
                    )
                engine.wait_all(None)
        except KeyboardInterrupt:
            pass
        finally:
            engine.close()
