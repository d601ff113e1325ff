"""`Client`: the futures face. Call now, get later.

This module imports little: the worker process of a client is started first, and most of what the client needs
is loaded while that starts too.
"""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from taskflow import ending, hooks
from taskflow.crew import Crew, Terms, slots_of
from taskflow.errors import ConfigError, UsageError, nearest
from taskflow.links import shown
from taskflow.pools import context
from taskflow.pools.promises import ENGINES
from taskflow.ports import WHOLE
from taskflow.shells import wants_frames
from taskflow.stores import default_url, is_private, is_shared, place_of
from taskflow.worker.queues import Queues

if TYPE_CHECKING:
    from taskflow.alerts import Alerts
    from taskflow.arrivals import Arrivals
    from taskflow.beat import Schedules
    from taskflow.canvas import Signature
    from taskflow.control import Control
    from taskflow.engine import Engine
    from taskflow.events import Events
    from taskflow.future import Future
    from taskflow.maprun import Errors, MapRun
    from taskflow.ref import Ref
    from taskflow.result import AsyncResult
    from taskflow.workflowrun import WorkflowRun

__all__ = ["Client", "get_client"]

P = ParamSpec("P")
R = TypeVar("R")

_POOLS = ("process", "thread", "async", "inline", *ENGINES)
_MODES = ("local", "inline")
_SERIALIZERS = ("auto", "json")
_NO_OWN_WORKERS = (
    "A client that sends names starts no workers: start one with `taskflow worker URL --accept json"
    " --allow 'shop.tasks.*'`."
)
_ALL = 1 << 30
_HURRY_S = 0.5


class Client(concurrent.futures.Executor):
    """Runs functions as durable tasks in other processes; a real `concurrent.futures.Executor`.

    Args:
        url: The store; by default the user's own embedded one (`taskflow.stores.default_url`).
        workers: Slots of the workers that this process starts: a number, or ``"auto"`` for one per
            core it may use, and none for a store on a server. With 0 somebody else works: ``taskflow worker
            URL``.
        mode: ``"inline"`` runs everything in the calling thread, over a store in memory, by the same
            engine: breakpoints work.
        pool: ``"process"``; ``"thread"`` or ``"async"`` run all slots in one child process; ``"dask"``,
            ``"ray"`` or ``"celery"`` have a cluster run them that is already there.
        pool_url: The address of the cluster, such as ``tcp://host:8786``, or a cluster or client of Dask;
            `workers` then bounds how much of it is used.
        queues: What the workers that this process starts serve: names, or text as for ``taskflow worker -Q``,
            perhaps with weights: ``"high:3,default:1"``. All clients of a store in this process share them.
        strict_queues: The first of them before the next, whatever the priorities.
        detach: The workers outlive this process.
        threads: Threads that numeric libraries (BLAS, OpenMP, numba) may use in a call; by default the
            cores are shared among the slots.
        cancel_on_interrupt: Whether Ctrl-C in a wait cancels what was waited for.
        serializer: ``"json"`` is for those who have no key: it sends names of tasks with JSON, to the queue
            ``json``, and reads JSON. Workers for it are started with ``taskflow worker URL --accept json
            --allow NAMES``; nothing that anybody put into the store is unpickled, and nothing is signed.

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
        pool: Literal["process", "thread", "async", "inline", "dask", "ray", "celery"] = "process",
        pool_url: str | Any | None = None,
        queues: str | Sequence[str] = ("default",),
        strict_queues: bool = False,
        detach: bool = False,
        threads: int | None = None,
        cancel_on_interrupt: bool = True,
        serializer: Literal["auto", "json"] = "auto",
    ) -> None:
        pool_url = _address(pool_url)
        _check_pool(pool, pool_url)
        if mode is not None and mode not in _MODES:
            raise ConfigError(f"There is no mode {mode!r}.{nearest(mode, _MODES)}")
        if serializer not in _SERIALIZERS:
            raise ConfigError(f"There is no serializer {serializer!r}.{nearest(serializer, _SERIALIZERS)}")
        plain = serializer == "json"
        if threads is not None and threads < 1:
            raise ConfigError(f"threads={threads} is not possible: use a number above 0, or None.")
        if url is None and context.inside():
            url = context.current().url or None
        terms = Terms(pool, pool_url or "", Queues.parse(queues, strict=strict_queues), detach, threads)
        shared = None if plain else _inline_engine(url)
        self._is_guest = shared is not None
        if shared is not None:
            self._engine = shared
        elif mode == "inline" or pool == "inline":
            self._engine = _open(None, Crew.join("", 0, terms), plain)
        else:
            place = url or default_url()
            slots = _own_slots(workers, pool, others=plain or context.inside(), shared=is_shared(place))
            if plain and slots:
                raise ConfigError(_NO_OWN_WORKERS)
            self._engine = _open(url, _begin(place, slots, terms), plain)
        from taskflow.policy import JSON_QUEUE, Options
        from taskflow.sending import Sender

        self._sender = Sender(
            self._engine, Options(queue=JSON_QUEUE) if plain else Options(frames=wants_frames() or None)
        )
        if not self._is_guest:
            self._engine.cancel_on_interrupt = cancel_on_interrupt
            ending.engines.add(self._engine)

    # ── options ──────────────────────────────────────────────────────────────────────

    @property
    def url(self) -> str:
        """The store."""
        return self._engine.url

    @property
    def _max_workers(self) -> int:
        return self._engine.slots() or 1

    def options(self, **options: Any) -> Client:
        """The same client with other options for what is submitted through it; see `Options`.

        Raises:
            ConfigError: There is no such option (the nearest is named), or its value is impossible.

        Example:
            ``client.options(retry=3, time_limit=60).submit(fetch, url)``
        """
        view = object.__new__(Client)
        view._engine, view._is_guest = self._engine, self._is_guest
        view._sender = self._sender.having(**options)
        return view

    # ── sending ──────────────────────────────────────────────────────────────────────

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Call a function elsewhere; all keywords are the function's.

        A future anywhere in the arguments makes the call wait for it; its value goes straight to the
        worker. With ``options(memo=...)`` a call that succeeded before is not made again: its future is the
        one of then.

        Raises:
            CannotPickle: The function or an argument cannot travel; nothing was sent.
        """
        return self._sender.call(fn, args, kwargs)

    def send(self, task: str, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a task by the name that ``@taskflow.task`` gave it; all keywords are the task's.

        With ``serializer="json"`` the name and the arguments as JSON are all that is sent, and the worker
        decides whether it runs them. Else the task has to be defined in this process, and is sent as `submit`
        does.

        Raises:
            ConfigError: No task has that name here (the nearest is named).
            CannotPickle: JSON has no such value; the message says where. Nothing was sent.

        Example:
            ``Client(url, serializer="json").send("shop.tasks.add", 2, 3).result()``
        """
        return self._sender.named(task, args, kwargs)

    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | Literal["auto"] = "auto",
        buffersize: int | None = None,
    ) -> MapRun[R]:
        """Call a function for each item; starts at once, and gives the results in order.

        A generator, or whatever else has no length, is read in a thread of the client as results are taken,
        and not far beyond: it may be endless, and memory stays as it is. Who waits for the whole lets it be
        read to its end. What it raises is raised where its item would have been.

        With ``options(memo=...)`` items that succeeded in earlier runs have succeeded when this returns, and
        only the others run.

        Args:
            fn: What to call.
            iterables: Read once, in pages; several are zipped and end with the shortest.
            timeout: Seconds until iterating raises `WaitTimedOut`, from now.
            chunksize: Most items in one lease; by default as the measured time of an item demands.
            buffersize: Read at most so many items ahead of the results that were taken, also of a list, and
                return without waiting for the first; by default two seconds of work, from 1,024 to 65,536
                items, and at most 64 MiB.

        Raises:
            CannotPickle: The function or an item cannot travel; nothing was sent.
            ConfigError: `buffersize` is below 1.
        """
        if not iterables:
            raise UsageError("map needs at least one iterable")
        if buffersize is not None and buffersize < 1:
            raise ConfigError(f"buffersize={buffersize} is not possible: use a number above 0, or None.")
        run: MapRun[R] = self._sender.map(fn, iterables, chunksize, buffersize)
        if timeout is not None:
            run.give_up_after(timeout)
        return run

    def flush(self) -> None:
        """Return when everything that was submitted is in the store.

        Single calls of a burst are committed together, a moment after `submit` returned; everything else,
        and a single call of a quiet client, is in the store when its submit returns.
        """
        self._engine.flush()

    def submit_canvas(self, sig: Signature, /) -> AsyncResult:
        """Send a signature, chain or chord; a group gives a `GroupResult`."""
        return self._sender.canvas(sig)

    def apply_canvas(self, sig: Signature, /) -> AsyncResult:
        """Run a canvas to its end, and forget it in the store when nobody holds its result any more.

        It is what `Signature.apply` asks the client of `hooks.eager_client` for, which runs inline.
        """
        return self._sender.canvas_to_its_end(sig)

    def async_result(self, id: str, /) -> AsyncResult:  # noqa: A002 - what the attribute is called
        """The handle of the Celery face of a task or group, by its id, from whatever process it was sent.

        Raises:
            NoSuchRun: The store knows no such task; ResultExpired: it did.
        """
        from taskflow.result.finding import find_result

        return find_result(self._engine, id)

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
        return self._sender.workflow(workflow, inputs or {}, only, resume, memo)

    def run_map_reduce(self, job: Any, /) -> Any:
        """Run a map-reduce and wait for its result; see `taskflow.map_reduce`."""
        return self._sender.map_reduce(job)

    # ── collecting ───────────────────────────────────────────────────────────────────

    def gather(self, futures: Any, errors: Errors = "raise") -> Any:
        """The values of futures, in the nesting of lists, tuples and dicts they come in; see `gather`."""
        __tracebackhide__ = True
        from taskflow.gathering import gather

        return gather(futures, errors)

    @overload
    def as_completed(
        self, futures: Iterable[Future[R]] | MapRun[R], with_results: Literal[False] = False
    ) -> Arrivals[Future[R]]: ...

    @overload
    def as_completed(
        self, futures: Iterable[Future[R]] | MapRun[R], with_results: Literal[True]
    ) -> Iterator[tuple[Future[R], R]]: ...

    def as_completed(self, futures: Iterable[Future[R]] | MapRun[R], with_results: bool = False) -> Any:
        """The futures as they end, for ``for`` and ``async for``.

        Args:
            futures: What was submitted.
            with_results: Give pairs of future and value, for ``for`` only.
        """
        from taskflow.gathering import as_completed

        found = as_completed(futures)
        return ((future, future.result()) for future in found) if with_results else found

    def future(self, id: str) -> Future[Any]:  # noqa: A002 - what the attribute of a future is called
        """The future of a task, by its id or a unique prefix of it, from whatever process it was sent.

        Raises:
            NoSuchRun: The store knows no such task; ResultExpired: it did.
        """
        from taskflow.handles import future_by_id

        return future_by_id(self._engine, id)

    def events(self, after: int | None = None) -> Events:
        """What happens in the store, as it happens, whoever sent it: ``for event in client.events()``, or
        ``async for``.

        Args:
            after: The `Events.cursor` from which to go on; by default from now.
        """
        from taskflow.events import Events

        self._engine.flush()
        return Events(self._engine.store, after)

    def attach(self, run: str | None = None) -> Any:
        """The handle of a run that was sent by another process, or by this one before a restart.

        What has ended is kept, what has not goes on: workers are started if need be.

        Args:
            run: Its id, a unique prefix of it, or its name: then it is the newest of that name. By default
                the newest that has not ended.

        Returns:
            A `MapRun`, a `WorkflowRun`, a `Future`: what the submit gave.

        Raises:
            NoSuchRun: The store knows no such run, or none that has not ended.
        """
        from taskflow.handles import handle_of, run_by_id

        view = run_by_id(self._engine, run)
        self._engine.begin()
        return handle_of(self._engine, view)

    # ── control ──────────────────────────────────────────────────────────────────────

    def cancel(
        self,
        what: Any = (),
        *,
        tags: Mapping[str, Any] | None = None,
        reason: str = "cancelled by the client",
    ) -> int:
        """Cancel futures, runs or ids; returns how many of them had not ended.

        Args:
            what: One of these, or several.
            tags: Cancel all runs that have these tags, whoever sent them.
            reason: Told to who waits.
        """
        from taskflow.canvas.shape import split_id
        from taskflow.states import LIVE

        self._engine.flush()
        if tags:
            store = self._engine.store
            live = store.runs(limit=_ALL, states=sorted(LIVE), tags=tags)
            return self.cancel(what, reason=reason) + sum(store.cancel(run.id, reason=reason) for run in live)
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

    def retry(self, what: Any, fn: Callable[..., Any] | None = None) -> Any:
        """Submit what failed anew; gives the new handle.

        Args:
            what: A future, a run's handle, or an id.
            fn: Run it with this function, as it was edited; what succeeded is kept. For calls and maps.

        Raises:
            UsageError: Nothing has failed; or with `fn`, it has not ended, or is no call or map.
        """
        from taskflow.canvas.shape import split_id
        from taskflow.future import Future

        if fn is not None:
            return self._retry_edited(what, fn)
        if isinstance(what, Future):
            return what.retry()
        if not isinstance(what, str):
            return what.retry_failed()
        name, index = split_id(what.partition("/")[0])
        run, _ = self._engine.store.find(name)
        if index is not None and (future := self.future(what)).is_single:
            return future.retry()
        new, names = self._engine.rerun(run)
        if not names:
            raise UsageError(f"Nothing of run {run} has failed: there is nothing to retry.")
        return self.attach(new)

    def _retry_edited(self, what: Any, fn: Callable[..., Any]) -> Any:
        from taskflow.canvas.shape import split_id
        from taskflow.future import Future
        from taskflow.maprun import MapRun

        if isinstance(what, str):
            what = self.attach(what) if split_id(what)[1] is None else self.future(what)
        if isinstance(what, Future):
            return what.retry(fn)
        if isinstance(what, MapRun):
            return what.retry_failed(fn)
        raise UsageError(
            f"An edited function takes the place of that of a call or map, and this is {type(what).__name__}:"
            " send it again; with memo=True a workflow keeps the results of steps that did not change."
        )

    def scale(self, workers: int) -> None:
        """Have so many slots in the embedded workers; what runs is not interrupted."""
        if workers < 1:
            raise ConfigError(f"workers={workers} is not possible: use a number above 0.")
        self._engine.crew.scale(workers)

    @property
    def control(self) -> Control:
        """Tells workers what to be while they run: more or fewer slots, other queues, drained, gone.

        Raises:
            UsageError: The client runs everything inline: there are no workers.

        Example:
            ``client.control.grow(2)``, ``client.control.drain(worker="gpu-1")``
        """
        from taskflow.control import Control

        if self._engine.inline:
            raise UsageError(
                "An inline client runs everything itself: there are no workers to tell anything."
            )

        return Control(self._engine.store, keyring=self._engine.codec.keyring)

    @property
    def schedules(self) -> Schedules:
        """What runs by itself: add, change, pause and remove it here; a beat (``taskflow beat``) sends it.

        Raises:
            UsageError: The client has no key (``serializer="json"``).

        Example:
            ``client.schedules.add("report", report, taskflow.crontab(0, 9, "mon"), tz="Asia/Tokyo")``
        """
        from taskflow.beat import Schedules
        from taskflow.beat.schedules import Home

        engine = self._engine
        if engine.plain:
            raise UsageError("Schedules are sealed, and this client has no key: use one that has.")
        sender = self._sender
        return Schedules(
            Home(
                engine.store, engine.codec, sender.drawn, engine.send, self.attach, lambda: not engine.closed
            )
        )

    @property
    def alerts(self) -> Alerts:
        """Conditions on what happens in the store, and whom to tell when they hold.

        Raises:
            UsageError: The client has no key (``serializer="json"``).

        Example:
            ``client.alerts.add("failing", "failure_rate > 5% for 5m", notify=[Webhook(url)])``
        """
        from taskflow.alerts import Alerts

        if self._engine.plain:
            raise UsageError("Alerts are sealed, and this client has no key: use one that has.")
        return Alerts(self._engine)

    def run(self, fn: Callable[..., R], /, *args: Any, workers: Iterable[str] | None = None) -> dict[str, R]:
        """Call a function once in every worker; gives the values by worker."""
        names = list(workers) if workers is not None else [w.id for w in self._engine.store.workers()]
        futures = {name: self.options(queue=f"worker/{name}", memo=False).submit(fn, *args) for name in names}
        return {name: future.result() for name, future in futures.items()}

    def scatter(self, data: R) -> Ref[R]:
        """Store a large object once, by its content, to pass it to many tasks.

        The `Ref` stands for it anywhere among the arguments of a task and among the items of a map. (What a
        function captures, or is given as an argument, is stored apart by itself when it is large; a `Ref`
        saves pickling it again for each call.)

        Raises:
            CannotPickle: The message says which part of it cannot travel.
        """
        from taskflow.ref import Ref

        return Ref(self._engine.codec, data)

    def upload(self, *what: str | os.PathLike[str] | ModuleType) -> None:
        """Send files along with every function that is submitted from now on: to workers on other machines.

        Modules are imported there as here; a package goes as a whole. Other files keep their path relative to
        the working directory, and that is where tasks on another machine work. Upload again what has changed.

        Args:
            what: Paths of files and directories, or modules.

        Raises:
            UsageError: One is not there.

        Example:
            ``client.upload("helpers.py", "data/limits.csv", my_package)``
        """
        self._engine.codec.upload(*what)

    # ── looking ──────────────────────────────────────────────────────────────────────

    def runs(
        self,
        *,
        limit: int = 100,
        states: Sequence[str] = (),
        match: str = "",
        tags: Mapping[str, Any] | None = None,
    ) -> Any:
        """The newest runs: one row each (a DataFrame with pandas).

        Args:
            limit: How many at most.
            states: Only those in one of these states.
            match: Only those whose id begins so, or whose name has this in it.
            tags: Only those that were sent with these tags, among others: ``client.options(tags=...)``.
        """
        from taskflow.observe.overview import run_rows

        self._engine.flush()
        store = self._engine.store
        return _table(run_rows(store.runs(limit=limit, states=states, match=match, tags=tags)))

    def workers(self) -> Any:
        """Workers that serve the store: one row each (a DataFrame with pandas)."""
        from taskflow.observe.overview import worker_rows

        return _table(worker_rows(self._engine.store))

    def queues(self) -> Any:
        """Items by queue and state: one row for each queue (a DataFrame with pandas)."""
        self._engine.flush()
        from taskflow.observe.overview import queue_rows

        return _table(queue_rows(self._engine.store))

    def pause(self, *queues: str) -> None:
        """Let workers take nothing more of these queues, until `resume`; what runs goes on.

        It is kept in the store: workers that start later heed it too. `queues` shows it.
        """
        for queue in queues or ("default",):
            self._engine.store.pause(queue)

    def resume(self, *queues: str) -> None:
        """Let workers take of these queues again."""
        for queue in queues or ("default",):
            self._engine.store.pause(queue, resume=True)

    def purge(self, *queues: str) -> int:
        """Cancel all that is queued or waiting in these queues; ``"default"`` when none is named.

        What runs goes on, and what is blocked stays: it is skipped when what it needs was purged. `queues`
        tells before how many items that will be.

        Returns:
            How many items were cancelled.
        """
        self._engine.flush(wait=False)
        return sum(self._engine.store.purge(queue) for queue in dict.fromkeys(queues or ("default",)))

    def limits(self) -> Any:
        """Rates, limits and circuit breakers in use: one row each (a DataFrame with pandas)."""
        from taskflow.observe.overview import limit_rows

        return _table(limit_rows(self._engine.store))

    def dead_letters(self, *, limit: int = 1000) -> Any:
        """What failed for good: one row each (a DataFrame with pandas)."""
        from taskflow.observe.overview import dead_rows

        return _table(dead_rows(self._engine.store, limit))

    def requeue(self, letters: Any = None, *, limit: int = 1000) -> list[Any]:
        """Run dead letters again, each once: asked for again, it is what was sent the first time.

        What gave no value in their runs is submitted anew, as a new run each; what succeeded is kept. A call
        that was sent together with others is run again by itself. The letters stay in the list, until
        retention removes their runs.

        Args:
            letters: Rows of `dead_letters` (so a part of its table), or ids of runs or tasks; all dead
                letters when nothing is given.
            limit: The newest so many of them, when nothing is given.

        Returns:
            The handles of what was sent: futures, `MapRun`s, `WorkflowRun`s.

        Raises:
            UsageError: A run has not ended, or something else was given.
            NoSuchRun: The store knows no such run; ResultExpired: it did.

        Example:
            ``client.requeue(letters[letters["error"].str.contains("Timeout")])``
        """
        from taskflow.letters import requeue

        return requeue(self._engine, letters, limit)

    def doctor(self) -> Any:
        """Examine the store and the workers: one row for each finding (a DataFrame with pandas)."""
        from taskflow.observe.overview import finding_rows

        return _table(finding_rows(self._engine.store))

    def versions(self, check: bool = False) -> Any:
        """Versions here and on the workers, one row each (a DataFrame with pandas).

        Args:
            check: Raise `VersionMismatch` when they differ in what matters.
        """
        from taskflow.observe.overview import version_rows

        return _table(version_rows(self._engine.store, check))

    # ── ending ───────────────────────────────────────────────────────────────────────

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; wait for what was submitted, and stop the embedded workers.

        It may be called again, and returns when nobody works for the store any more.

        Args:
            wait: Without it what has not ended stays in the store, for `attach`; a store that is away is not
                waited for.
            cancel_futures: Cancel what has not started.
        """
        engine = self._engine
        if engine.closed or self._is_guest:
            return
        if os.getpid() == engine.pid:
            if not wait:
                engine.store.hurry(_HURRY_S)
            engine.flush(wait=wait)
            if cancel_futures:
                engine.feed.cancel_all(running=False)
            if wait:
                engine.wait_all(None)
        ending.engines.discard(engine)
        engine.close()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Literal[False]:
        self.shutdown(wait=kind is None or issubclass(kind, Exception))
        return False

    def _repr_html_(self) -> str:
        from taskflow.observe.overview import client_page

        self._engine.flush()
        return client_page(self._engine.store, self._engine.crew.slots % WHOLE)

    def __repr__(self) -> str:
        crew = self._engine.crew
        own = f"on {crew.terms.pool}" if crew.slots == WHOLE else f"{crew.slots} slots of its own"
        return f"<Client {shown(self.url)}, {own}>"


def _table(rows: list[dict[str, Any]]) -> Any:
    from taskflow.tables import rows_or_frame

    return rows_or_frame(rows)


def _address(cluster: Any) -> str | None:
    """The address of a cluster; a cluster and a client of Dask know it.

    Raises:
        ConfigError: It is none of these.
    """
    if cluster is None or isinstance(cluster, str):
        return cluster
    address = getattr(cluster, "scheduler_address", None)
    address = address or getattr(getattr(cluster, "scheduler", None), "address", None)
    if not isinstance(address, str):
        raise ConfigError(f"pool_url={cluster!r} is no address, nor a cluster that tells one.")
    return address


def _check_pool(pool: str, pool_url: str | None) -> None:
    """Refuse a pool that is not known, or that lacks its address.

    Raises:
        ConfigError: The message is the cure.
    """
    if pool not in _POOLS:
        raise ConfigError(f"There is no pool {pool!r}.{nearest(pool, _POOLS)}")
    if pool in ENGINES and not pool_url:
        raise ConfigError(f"pool={pool!r} needs pool_url=, the address of the cluster.")
    if pool_url and pool not in ENGINES:
        raise ConfigError(f"pool_url= is for the pools {', '.join(ENGINES)}, not for {pool!r}.")


def _own_slots(workers: int | str, pool: str, *, others: bool, shared: bool) -> int:
    """How many slots this process is to bring."""
    if pool not in ENGINES:
        return slots_of(workers, others=others or shared)
    return WHOLE if workers == "auto" and not others else slots_of(workers, others=others)


def _begin(url: str, slots: int, terms: Terms) -> Crew:
    """Start the worker process of a store, if there is to be one, before the store is opened here."""
    if is_private(url):
        raise ConfigError(f"{url} is a store of one process: Client(mode='inline') runs everything over one.")
    crew = Crew.join(place_of(url), slots, terms)
    crew.ensure()
    return crew


def _open(url: str | None, crew: Crew, plain: bool) -> Engine:
    try:
        from taskflow.engine import Engine

        return Engine(url, crew, inline=not crew.url, plain=plain)
    except BaseException:
        crew.leave(at_once=True)
        raise


def _inline_engine(url: str | None) -> Engine | None:
    """The engine of this process that runs inline and has that URL."""
    if url is None or not is_private(url):
        return None
    from taskflow.engine import inline_engine

    return inline_engine(url)


# ── one client for those who name none ───────────────────────────────────────────────

_default: Client | None = None
_eager: Client | None = None


def get_client() -> Client:
    """The client of those who name none; made on first use.

    Inside a task it is one for the store that the task came from: what it submits is run by the same
    workers, and waiting for that lends them the task's slot.
    """
    global _default  # noqa: PLW0603 - one per process, on purpose
    home = context.current().url if context.inside() else None
    if _inline_engine(home) is not None:  # the task runs in this process, whose own client may be another
        return Client(home)
    found = open_client()
    if found is None:
        found = _default = Client()
    return found


def set_client(client: Client | None) -> Client | None:
    """Make a client the one of those who name none; with `None` the next `get_client` makes one.

    Returns:
        The one before, which goes on; `None` when there was none, or it is closed.
    """
    global _default
    before, _default = open_client(), client
    return before


def open_client() -> Client | None:
    """The client that `get_client` would give, if it is there already: none is made."""
    is_open = _default is not None and not _default._engine.closed and _default._engine.pid == os.getpid()
    return _default if is_open else None


def _eager_client() -> Client:
    """The inline client of `Signature.apply`; one in a process."""
    global _eager  # noqa: PLW0603 - one per process, on purpose
    if _eager is None or _eager._engine.closed or _eager._engine.pid != os.getpid():
        _eager = Client(mode="inline")
    return _eager


def _promised(shape: Any, url: str) -> Any:
    from taskflow.result.promised import promised

    return promised(shape, url)


hooks.provide(get_client, _eager_client, _promised)
