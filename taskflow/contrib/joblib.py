"""joblib's `Parallel` on taskflow's workers, and with it scikit-learn.

::

    import taskflow.contrib.joblib

    with joblib.parallel_config("taskflow"):
        search = GridSearchCV(SVC(), grid, n_jobs=-1).fit(X, y)

Each call of a `Parallel` is one map, with an item for each call of a function: it is seen, limited, retried
and kept as other maps are. joblib hands out batches as results come in; the map reads them from an iterator::

    Parallel ── submit(batch) ──► queue ──► map ──► store ──► workers
       ▲                                                         │
       └──── callback(batch) ◄── teller ◄── all its futures ◄────┘

Arrays and tables are stored once for a `Parallel` call, and mapped where they are used. What is needed when
calls are sent is imported then: the workers of a client start meanwhile.
"""

from __future__ import annotations

import concurrent.futures
import functools
import importlib.util
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any

from taskflow.client import Client, get_client
from taskflow.errors import ConfigError, MissingExtra, TaskCancelled, UpstreamFailed, UsageError, WaitTimedOut
from taskflow.ids import new_id
from taskflow.observe import showing
from taskflow.pools import context

try:
    from joblib.parallel import (
        AutoBatchingMixin,
        FallbackToBackend,
        ParallelBackendBase,
        SequentialBackend,
        parallel_config,
        register_parallel_backend,
    )
except ImportError as error:
    raise MissingExtra("This needs joblib: pip install 'jupyter-taskflow[joblib]'") from error

if TYPE_CHECKING:
    from taskflow.future import Future
    from taskflow.maprun import MapRun

__all__ = ["TaskflowBackend", "register"]

log = logging.getLogger(__name__)

CLOSING_S = 10.0
"""How long a `Parallel` that has all its results waits until its run has ended in the store."""

_CLUSTER_S = 60.0
_AHEAD = 1 << 40  # items: joblib itself bounds what is pending (`pre_dispatch`)
_OF_OTHERS = frozenset({"prefer", "require", "verbose", "context", "temp_folder", "idle_worker_timeout"})
_OF_ONE_RUN = frozenset({"key", "unique", "idempotency_key", "memo", "ignore_result", "max_parallel"})


def register(client: Client | None = None, *, make_default: bool = False, **client_options: Any) -> None:
    """Say which client the backend ``"taskflow"`` has, in place of that of `taskflow.get_client`.

    Importing this module has registered the backend already; this is for more than that.

    Args:
        client: What runs the calls.
        make_default: Have it used by whoever names no backend.
        client_options: What a `Client` for it takes, which is made on first use.

    Raises:
        ConfigError: Both a client and options for one were given.

    Example:
        ``taskflow.contrib.joblib.register(url="redis://big-machine:6379/0")``
    """
    if client is not None and client_options:
        raise ConfigError("Give register() a client or the options for one, not both.")

    @functools.cache
    def chosen() -> Client | None:
        return Client(**client_options) if client_options else client

    def made(client: Client | None = None, **options: Any) -> TaskflowBackend:
        return TaskflowBackend(client or chosen(), **options)

    register_parallel_backend("taskflow", made, make_default=make_default)


class TaskflowBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """What joblib asks: ``parallel_config("taskflow", client=client, retry=2)``.

    As many calls run at once as the workers of the client have slots; fewer with a smaller ``n_jobs``. A
    `Parallel` inside a call runs in threads, and one inside of that in sequence, as joblib has it for
    processes of its own. One that names this backend is run by the same workers: while it waits, its slot
    works.

    Args:
        client: Runs the calls; by default the one of `taskflow.get_client`.
        nesting_level: How many `Parallel` are around it; joblib knows.
        inner_max_num_threads: Threads that numeric libraries may use in a call; by default the cores are
            shared among the slots of a worker.
        options: How the calls are treated, see `taskflow.Client.options`.

    Raises:
        ConfigError: There is no such option (the nearest is named), or it is not for many calls.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def __init__(
        self,
        client: Client | None = None,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        _check(options)
        self._client = (client or get_client()).options(**options)
        self._sent_by = self._client
        self._initializer: tuple[str, Any, Any] | None = None
        self._is_sharing = True
        self._call: _Call | None = None

    # ── before ───────────────────────────────────────────────────────────────────────

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many calls run at once when so many are asked for; -1 means all slots, -2 all but one.

        Raises:
            ValueError: 0 was asked for.
            UsageError: Nobody works for the store.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs == 1 or self._client._engine.inline:
            return 1
        slots = self._slots()
        wanted = self.default_n_jobs if n_jobs is None else n_jobs
        return max(1, slots + 1 + wanted) if wanted < 0 else min(wanted, slots)

    def _slots(self) -> int:
        engine = self._client._engine
        slots = engine.slots(_CLUSTER_S)
        if not slots:
            raise UsageError(
                f"No worker serves {engine.url}: start one with `taskflow worker`, or give the client some of"
                " its own, Client(url, workers=2)."
            )
        return slots

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        *,
        max_nbytes: int | None = 1 << 20,
        mmap_mode: str | None = "r",
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        **options: Any,
    ) -> int:
        """Prepare for the calls of a `Parallel`; how many of them will run at once.

        Args:
            n_jobs: How many should.
            parallel: Who asks.
            max_nbytes: With `None` arrays are sent along with each call.
            mmap_mode: Likewise. With any other, who writes to an array has pages of his own.
            initializer: Called once in each process before its first call. Variables of the environment that
                it sets are put back, as after any task.
            initargs: What it is called with.
            options: What joblib has for its own processes, which means nothing here; and more options for the
                calls.

        Raises:
            FallbackToBackend: One job: joblib calls here, one after another.
            ConfigError: There is no such option, or it is not for many calls; `inner_max_num_threads` needs
                threadpoolctl.
            UsageError: Nobody works for the store.
        """
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        if self.inner_max_num_threads is not None and not importlib.util.find_spec("threadpoolctl"):
            raise ConfigError("inner_max_num_threads needs threadpoolctl: pip install threadpoolctl.")
        own = {name: value for name, value in options.items() if name not in _OF_OTHERS}
        _check(own)
        if n_jobs < self._slots():
            own["max_parallel"] = n_jobs
        self.parallel = parallel
        self._sent_by = self._client.options(**own)
        self._initializer = (new_id(), initializer, tuple(initargs)) if initializer else None
        self._is_sharing = max_nbytes is not None and mmap_mode is not None
        return n_jobs

    # ── while it runs ────────────────────────────────────────────────────────────────

    def start_call(self) -> None:
        """A call of the `Parallel` begins; its run does with the first batch."""
        self._call = None

    def submit(self, func: Any, callback: Callable[[Any], object] | None = None) -> _Batch:
        """Hand over a batch of calls; `callback` is called with what this returns, when they have ended."""
        try:
            if self._call is None:
                first = func.items[0][0]
                around = _Around(self.get_nested_backend(), self.inner_max_num_threads, self._initializer)
                self._call = _Call(self._sent_by, first, around, is_sharing=self._is_sharing)
            return self._call.add(func.items, callback or _nothing)
        except Exception as error:  # noqa: BLE001 - joblib asks from threads too: it is raised where it waits
            batch = _Batch((), callback or _nothing, error)
            threading.Thread(target=batch.tell, name="taskflow-joblib-refused", daemon=True).start()
            return batch

    apply_async = submit  # before joblib 1.5

    def retrieve_result_callback(self, out: _Batch) -> list[Any]:
        """What the calls of a batch gave.

        Raises:
            Exception: What the first of them that failed has raised.
        """
        if out.failed is not None and self._call is not None:
            self._call.frames = out.failed._trace
        return out.result()

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Around the wait for results: it is shown in a notebook, and inside a task the slot works on."""
        call = self._call
        if call is None:
            yield
            return
        with context.lend(), call.shown(as_it_goes=self.parallel.return_generator):
            try:
                yield
            except BaseException as error:
                call.cancel()
                _have_frames(error, call.frames)
                raise
            else:
                call.finish()
            finally:
                call.print_output()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel what has not ended: a call has failed, or nobody wants the results any more."""
        if self._call is not None:
            self._call.cancel()

    def stop_call(self) -> None:
        """A call of the `Parallel` is over."""
        if self._call is not None:
            self._call.close()

    def terminate(self) -> None:
        """The `Parallel` is over; the workers are the client's, and stay."""
        self.reset_batch_stats()


def _check(options: Mapping[str, Any]) -> None:
    """Refuse what names a run: a `Parallel` makes a new one with each call."""
    if refused := sorted(_OF_ONE_RUN & set(options)):
        raise ConfigError(f"{refused[0]}= is not for the calls of a Parallel: leave it away.")


class _Call:
    """One call of a `Parallel`: a map that is given batch after batch.

    Args:
        client: Sends it.
        fn: The function of the first call, which most others have too.
        around: What is around each call.
        is_sharing: Store large arguments once.

    Attributes:
        frames: Where on the worker a call has failed: joblib forgets that.
    """

    def __init__(self, client: Client, fn: Any, around: _Around, *, is_sharing: bool) -> None:
        from taskflow.repeats import Once

        self._fn = fn
        self._shared = Once(client._engine.codec) if is_sharing else _as_it_is
        self._sent = 0
        self._items: SimpleQueue[Any] = SimpleQueue()
        self._ended: SimpleQueue[_Batch | None] = SimpleQueue()
        self._is_closed = False
        self.frames: TracebackType | None = None
        options = client._sender.options
        label = options.label or client._engine.codec.describe(fn)
        called = functools.partial(_one, fn, around)
        items = iter(self._items.get, None)
        self.run: MapRun[Any] = client.options(label=label).map(called, items, buffersize=_AHEAD)
        threading.Thread(target=self._tell, name="taskflow-joblib", daemon=True).start()

    def add(self, calls: Sequence[Any], callback: Callable[[Any], object]) -> _Batch:
        """Send the calls of a batch."""
        packed = [self._packed(*call) for call in calls]
        lo, self._sent = self._sent, self._sent + len(packed)
        batch = _Batch(self.run._futures_of(range(lo, self._sent)), callback, why=self._why)
        for item in packed:
            self._items.put(item)
        batch.watch(self._batch_ended)
        return batch

    def _packed(self, fn: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        shared = self._shared
        named = {name: shared(value) for name, value in kwargs.items()}
        return None if fn is self._fn else fn, tuple(map(shared, args)), named

    def _batch_ended(self, batch: _Batch) -> None:
        """All calls of a batch have ended, or one has failed; called in the thread that hears of all ends."""
        stream = self.run._stream
        if stream is not None:
            done = self.run._ended.count
            stream.handed(done, done)
        self._ended.put(batch)

    def _why(self, failed: Future[Any], error: BaseException) -> BaseException:
        """Why a call has no value; one that depends on nothing, and was not run, was never stored."""
        stream = self.run._stream
        if stream is not None and stream.error is not None:
            return stream.error
        if isinstance(error, UpstreamFailed) and error.__cause__ is None and failed._trace is None:
            return TaskCancelled(f"{self.run.label} was cancelled.", reason="its run was cancelled")
        return error

    def _tell(self) -> None:
        """Tell joblib of batches, in a thread of its own: joblib then reads on the iterator of the user."""
        for batch in iter(self._ended.get, None):
            try:
                batch.tell()
            except Exception:
                log.exception("joblib could not go on")

    @contextmanager
    def shown(self, *, as_it_goes: bool) -> Iterator[None]:
        """Have it shown in a notebook while it is waited for; or from now on, where results are taken now and
        then."""
        with showing.during(self.run):
            if not as_it_goes:
                yield
        if as_it_goes:
            yield

    def finish(self) -> None:
        """All results are there: wait until the store knows that this was all."""
        self.close()
        with suppress(WaitTimedOut):
            self.run.wait(CLOSING_S, progress=False)

    def print_output(self) -> None:
        """Print what the calls have printed, where nobody shows it."""
        if showing.shower() is None and not self.run._engine.closed:
            for _, text in sorted(self.run.logs.items()):
                print(text, end="")

    def cancel(self) -> None:
        """Let nothing more run."""
        if not self._is_closed:
            self.close()
            if not self.run._engine.closed:
                self.run.cancel()

    def close(self) -> None:
        """Send nothing more."""
        if not self._is_closed:
            self._is_closed = True
            self._items.put(None)
            self._ended.put(None)


class _Batch:
    """Calls that joblib hands over together: ended when all are, or when the first has failed.

    Args:
        futures: Of the calls.
        callback: Told of the end.
        error: What took the place of all of them.
        why: Tells more of what one of them has raised.

    Attributes:
        failed: The call that has.
    """

    def __init__(
        self,
        futures: Sequence[Future[Any]],
        callback: Callable[[Any], object],
        error: BaseException | None = None,
        why: Callable[[Future[Any], BaseException], BaseException] = lambda _, error: error,
    ) -> None:
        self._error = error
        self._why = why
        self.failed: Future[Any] | None = None
        self._futures = futures
        self._callback = callback
        self._left = len(futures)
        self._lock = threading.Lock()

    def watch(self, ended: Callable[[_Batch], object]) -> None:
        """Have a function called at the end, once."""

        def one_ended(future: Any) -> None:
            with self._lock:
                before, self._left = self._left, self._left - 1
                if before > 0 and _has_failed(future):
                    self.failed, self._left = future, 0
                is_over = before > 0 and self._left <= 0
            if is_over:
                ended(self)

        for future in self._futures:
            future.add_done_callback(one_ended)

    def tell(self) -> None:
        """Tell joblib."""
        self._callback(self)

    def result(self) -> list[Any]:
        """What the calls gave, in order."""
        if self._error is not None:
            raise self._error
        if self.failed is None:
            return [future.result() for future in self._futures]
        try:
            return [self.failed.result()]
        except BaseException as error:
            if (reason := self._why(self.failed, error)) is not error:
                raise reason from None
            raise


def _has_failed(future: concurrent.futures.Future[Any]) -> bool:
    """Whether a call that has ended gave no value; what is far away is not fetched for the question."""
    return future.cancelled() or concurrent.futures.Future.exception(future, 0) is not None


def _have_frames(error: BaseException, frames: TracebackType | None) -> None:
    """Let an exception that is on its way tell where on the worker it began, for a debugger."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is not None and frames is not None:
        last.tb_next = frames


def _as_it_is(obj: Any) -> Any:
    return obj


def _nothing(_: Any) -> None:
    pass


# ── on the worker ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Around:
    """What is around each call on a worker.

    Args:
        nested: The backend that a `Parallel` inside of it has, and its number of jobs.
        threads: Threads of numeric libraries.
        initializer: Its name, the function, and its arguments.
    """

    nested: tuple[Any, int | None]
    threads: int | None
    initializer: tuple[str, Any, Any] | None

    def initialize(self) -> None:
        """Call the initializer, once in a process."""
        if self.initializer is not None:
            name, initialize, args = self.initializer
            with _initializing:
                if name not in _initialized:
                    initialize(*args)
                    _initialized.add(name)

    def limited(self) -> Any:
        """A context in which numeric libraries have that many threads."""
        if self.threads is None:
            return nullcontext()
        from threadpoolctl import threadpool_limits

        return threadpool_limits(self.threads)


_initialized: set[str] = set()
_initializing = threading.Lock()


def _one(fn: Any, around: _Around, item: tuple[Any, Sequence[Any], Mapping[str, Any]]) -> Any:
    """One call of the user's."""
    other, args, kwargs = item
    around.initialize()
    backend, n_jobs = around.nested
    with parallel_config(backend, n_jobs=n_jobs), around.limited():
        return (fn if other is None else other)(*args, **kwargs)


register()
