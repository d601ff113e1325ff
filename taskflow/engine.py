"""What the clients of one store share in this process: store, codec, feed, outbox and embedded workers."""

from __future__ import annotations

import functools
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from taskflow.codec import Codec, Keyring
from taskflow.cores import cpu_count
from taskflow.errors import ConfigError, TaskflowError
from taskflow.feed import Feed
from taskflow.ids import NodeId, RunId
from taskflow.outbox import Outbox
from taskflow.pools import context
from taskflow.records import Plan
from taskflow.stores import default_url, open_store

if TYPE_CHECKING:
    from taskflow.future import Future
    from taskflow.worker.loop import Worker

__all__ = ["Crew", "Engine"]

IDLE_EXIT_S = 600.0
STOP_S = 5.0
EARLY_S = 3.0
MOST_EARLY_DEATHS = 3


class Crew:
    """The embedded workers: one worker process with some slots, started when it is needed."""

    def __init__(self, url: str, slots: int, pool: str, *, detach: bool) -> None:
        self.url = url
        self.slots = slots
        self.pool = pool
        self.detach = detach
        self._process: Any = None
        self._spawned_at = 0.0
        self._early_deaths = 0
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @property
    def alive(self) -> bool:
        """Whether the worker process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def broken(self) -> bool:
        """Whether the worker process could not be kept alive: it died at every start."""
        return self._early_deaths >= MOST_EARLY_DEATHS

    def ensure(self) -> None:
        """Start the worker process unless it runs; one that dies at every start is given up."""
        if self.slots and not self.alive and not self.broken:
            with self._lock:
                if not self.alive:
                    self._spawn()

    def _spawn(self) -> None:
        from taskflow.worker.process import spawn

        now = time.monotonic()
        if self._process is not None:
            self._early_deaths = self._early_deaths + 1 if now - self._spawned_at < EARLY_S else 0
        self._spawned_at = now
        idle_exit_s = None if self.detach else IDLE_EXIT_S
        self._process = spawn(self.url, self.slots, pool=self.pool, detach=self.detach, idle_exit_s=idle_exit_s)

    def scale(self, slots: int) -> None:
        """Have another number of slots."""
        self.slots = slots
        if self.alive:
            self._process.resize(slots)
        else:
            self.ensure()

    def stop(self) -> None:
        """Stop the worker process at once; what it had not ended goes back to the store."""
        process, self._process = self._process, None
        if process is None or self.detach or os.getpid() != self._pid or process.poll() is not None:
            return
        process.leave()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Engine:
    """One open store with everything that makes it usable.

    Args:
        url: The store; see `taskflow.stores.open_store`.
        workers: Slots of the embedded worker process; 0 leaves the work to others.
        pool: How it runs calls: ``"process"``, ``"thread"`` or ``"async"``.
        inline: Run everything in the calling thread over a store in memory.
        detach: The workers outlive this process.
    """

    def __init__(
        self, url: str | None, *, workers: int | str, pool: str = "process", inline: bool = False, detach: bool = False
    ) -> None:
        self.inline = inline
        self.pid = os.getpid()
        self.cancel_on_interrupt = True
        self.store = open_store("memory://" if inline else url or default_url())
        self.url = self.store.url
        self.codec = Codec(Keyring.load(), self.store.blobs)
        self.feed = Feed(self.store, None if inline else lambda: self.store.listen("watch"), self._tick)
        self.outbox = Outbox(self.store)
        self.closed = False
        self._worker: Worker | None = self._inline_worker() if inline else None
        self._driving = False
        slots = 0 if inline else self._slots(workers)
        self.crew = Crew(self.url, slots, pool, detach=detach)

    @staticmethod
    def _slots(workers: int | str) -> int:
        if workers == "auto":
            return 0 if context.inside() else cpu_count()
        if isinstance(workers, int) and workers >= 0:
            return workers
        raise ConfigError(f"workers={workers!r} is not possible: give a number of at least 0, or 'auto'.")

    def _inline_worker(self) -> Worker:
        from taskflow.pools.inline import InlinePool
        from taskflow.worker.loop import Worker

        return Worker(self.store, InlinePool(self.codec))

    # ── sending ──────────────────────────────────────────────────────────────────────

    def post(self, plan: Plan, refused: Callable[[BaseException], None]) -> None:
        """Hand over a plan soon: a burst is committed together, a single one at once."""
        self._check_open()
        quiet = self.inline or self.feed.pending <= 2 * self.crew.slots
        self.outbox.put(plan, refused, at_once=quiet)
        self.begin()

    def send(self, plan: Plan) -> None:
        """Hand over a plan now; raises what the store says of it."""
        self._check_open()
        self.outbox.flush()
        self.store.submit([plan])
        self.begin()

    def begin(self) -> None:
        """See to it that somebody works."""
        if self.inline:
            self.drive(lambda: False, 0)
        else:
            self.crew.ensure()

    def _tick(self) -> None:
        """Now and then while something is waited for: the worker process may have been killed."""
        if not self.closed:
            self.crew.ensure()

    def flush(self) -> None:
        """Return when everything that was posted is in the store."""
        self.outbox.flush()

    def _check_open(self) -> None:
        if self.closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if os.getpid() != self.pid:
            raise TaskflowError(
                "This client was opened before the process forked, and cannot be used in the child:"
                " open a new Client() there."
            )

    # ── waiting ──────────────────────────────────────────────────────────────────────

    def drive(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Inline mode: run what can run, in this thread, until `done` or nothing is left to do."""
        worker = self._worker
        if worker is None or self._driving:
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        self._driving = True
        try:
            while True:
                busy = worker.step(0)
                while self.feed.pump():
                    pass
                if done() or (not busy and timeout == 0):
                    return
                if deadline is not None and time.monotonic() >= deadline:
                    return
                if not busy:
                    due = self.store.reap()
                    if due is None:
                        return
                    time.sleep(min(due, 0.05, max(0.0, deadline - time.monotonic()) if deadline else 0.05))
        finally:
            self._driving = False

    def why_waiting(self) -> str:
        """A sentence for a wait that ended: whether anybody works here."""
        if self.crew.broken:
            return f"The worker of this process dies at every start: try `taskflow worker {self.url}` in a terminal."
        if self.inline or self.crew.alive or self.store.workers():
            return "It goes on; wait again, or cancel it."
        return f"No worker serves {self.url}: start one with `taskflow worker {self.url}`."

    def interrupted(self, runs: Iterable[RunId]) -> None:
        """Ctrl-C ended a wait: cancel what it waited for, unless asked otherwise."""
        if self.cancel_on_interrupt:
            for run in runs:
                try:
                    self.store.cancel(run, reason="interrupted")
                except TaskflowError:
                    continue

    def retry(self, future: Future[Any]) -> Future[Any]:
        """Submit a failed task anew."""
        from taskflow.future import Future
        from taskflow.ids import new_id

        self.flush()
        new = RunId(new_id())
        names = self.store.rerun(future.run_id, new)
        if future.node_id not in names:
            raise TaskflowError(f"{future!r} has not failed: there is nothing to retry.")
        again: Future[Any] = Future(self, new, NodeId(names[future.node_id]), future.index, future.label)
        self.feed.catch_up(again.node_id, again)
        self.begin()
        return again

    def fold(self, fn: Callable[[Any, Any], Any], source: Any) -> Future[Any]:
        """Fold the values of an array node with a function of two, on a worker."""
        from taskflow.future import Future
        from taskflow.ids import new_id
        from taskflow.plan import Draft, Output

        draft = Draft(self.codec, time.time)
        node = draft.call(_Fold(fn), (Output(source.node_id),), label=f"reduce {self.codec.describe(fn)}")
        future: Future[Any] = Future(self, RunId(new_id()), node, None, draft.nodes[0].label)
        self.feed.watch(node, future)
        self.send(draft.plan(future.run_id, future.label))
        return future

    def wait_all(self, timeout: float | None) -> bool:
        """Wait until nothing of this engine is pending; `False` when the time was up, or nobody works."""
        self.flush()
        deadline = None if timeout is None else time.monotonic() + timeout
        alone_since: float | None = None
        while self.feed.pending:
            if self.inline:
                self.drive(lambda: not self.feed.pending, timeout)
                return not self.feed.pending
            now = time.monotonic()
            if deadline is not None and now > deadline:
                return False
            if self.crew.alive or self.store.workers():
                alone_since = None
            elif alone_since is None:
                alone_since = now
            elif now - alone_since > 2:
                return False
            time.sleep(0.01)
        return True

    def close(self) -> None:
        """Stop everything; the store keeps what was submitted."""
        if self.closed:
            return
        self.closed = True
        if os.getpid() != self.pid:
            return
        self.outbox.close()
        self.crew.stop()
        self.feed.close()
        self.store.close()


class _Fold:
    """Folds a list with a function of two."""

    def __init__(self, fn: Callable[[Any, Any], Any]) -> None:
        self.fn = fn

    def __call__(self, values: Iterable[Any]) -> Any:
        return functools.reduce(self.fn, values)
