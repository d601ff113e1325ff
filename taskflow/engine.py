"""What the clients of one store share in this process: store, codec, feed, outbox and embedded workers."""

from __future__ import annotations

import itertools
import os
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from taskflow import hooks
from taskflow.burst import Bursts
from taskflow.causes import Causes
from taskflow.codec import Codec, Keyring, NamedCodec
from taskflow.errors import TaskflowError
from taskflow.feed import Feed
from taskflow.ids import NodeId, RunId, new_id
from taskflow.links import shown
from taskflow.observe import showing
from taskflow.outbox import Outbox
from taskflow.policy import FEEDERS
from taskflow.pools import context
from taskflow.ports import WHOLE
from taskflow.records import Plan
from taskflow.room import PatientBlobs, Room
from taskflow.stores import default_url, open_store

if TYPE_CHECKING:
    from taskflow.backends import Keeper
    from taskflow.crew import Crew
    from taskflow.future import Future
    from taskflow.ports import Blobs, Store
    from taskflow.stream import Stream
    from taskflow.waiting import Waiting
    from taskflow.worker.loop import Worker

__all__ = ["Engine", "inline_engine"]

LOOK_S = 0.25
SLOTS_LOOK_S = 0.05
ALONE_S = 2.0
HOPE_S = 2.0
INLINE_LEASE_S = 1e9
INLINE_REST_S = 0.02


class Engine:
    """One open store with everything that makes it usable.

    Args:
        url: The store; see `taskflow.stores.open_store`.
        crew: The embedded workers.
        inline: Run everything in the calling thread over a store in memory.
        plain: Speak JSON, and have no key.

    Attributes:
        cancel_on_interrupt: Whether Ctrl-C in a wait cancels what was waited for.
        plain: Whether it has no key, and sends names.
        was_interrupted: Ctrl-C ended a wait, and nothing was sent since.
        app: The app whose client it serves, if it is one's.
        keeper: Where results are kept beside the store, if they are: for those that the store has forgotten.
        header_errbacks: What is linked to a chord for errors runs for each failing member of its header too.
        hoping: Called when nobody is left who could run what is pending: waits in event loops end there.
    """

    def __init__(
        self,
        url: str | None,
        crew: Crew,
        *,
        inline: bool = False,
        plain: bool = False,
    ) -> None:
        self.inline = inline
        self.pid = os.getpid()
        self.cancel_on_interrupt = True
        self.was_interrupted = False
        self.header_errbacks = False
        self.hoping: set[Callable[[], None]] = set()
        self.app: Any = None
        self.keeper: Keeper | None = None
        self.closed = False
        self._store: Store = _private_store() if inline else open_store(url or default_url())
        self.url = self._store.url
        self.room = Room(self.why_waiting)
        self.plain = plain
        blobs = PatientBlobs(self._store.blobs, self.room)
        self.codec = self._plain_codec(blobs) if plain else Codec(Keyring.load(), blobs)
        bell = None if inline else lambda: self._store.listen("ends")
        self.feed = Feed(self._store, bell, self._tick, self.codec.distrust)
        self.outbox = Outbox(self._store, self.room, self.feed.sent)
        self.bursts = Bursts(self)
        self.causes = Causes(self._store)
        self.crew = crew
        self._hands: list[tuple[tuple[str, ...], Worker]] = []
        self._named_queues: tuple[str, ...] = ("default",)
        self._driving: list[Worker] = []
        self._streams: set[Stream] = set()
        self._beside: list[Callable[[], None]] = []
        hooks.opened(self)

    def _plain_codec(self, blobs: Blobs) -> Codec:
        from taskflow.canvas.allowing import of_this_process

        return NamedCodec(blobs, of_this_process if self.inline else None)

    @property
    def store(self) -> Store:
        """The store.

        Raises:
            TaskflowError: This process is a fork of the one that opened it.
        """
        if os.getpid() != self.pid:
            raise _forked()
        return self._store

    # ── sending ──────────────────────────────────────────────────────────────────────

    def post(self, plan: Plan, refused: Callable[[BaseException], None]) -> None:
        """Hand over a plan soon: a burst is committed together, a single one at once."""
        quiet = not self.is_busy
        self._about_to_send(plan)
        self.outbox.put(plan, refused, at_once=quiet)
        self.begin()

    @property
    def is_busy(self) -> bool:
        """Whether more is on its way than the workers of this process can take up at once."""
        return not self.inline and (self.bursts.going_on or self.feed.pending > max(2 * self.crew.slots, 1))

    def send(self, plan: Plan) -> RunId | None:
        """Hand over a plan now; raises what the store says of it.

        Returns:
            The run that holds the lock of this one, which then was not stored.
        """
        self._about_to_send(plan)
        self.outbox.flush(wait=self.room.is_patient)
        held = self.room.attempt(lambda: self._store.submit([plan]))
        self.feed.sent([plan])
        self.begin()
        return held.get(plan.run)

    @property
    def is_bounded(self) -> bool:
        """Whether what is submitted here may have to wait for room.

        Not inline, where nobody else makes some; and not inside a task, which keeps a slot while it waits.
        """
        return not self.inline and not context.inside()

    def read_on(self, stream: Stream) -> bool:
        """Let the iterator of a map be read as it is wanted; `False` when nothing waits for it."""
        self._streams.add(stream)
        stream.when_over(lambda: self._streams.discard(stream))
        begun = stream.begin(INLINE_LEASE_S) if self.inline else stream.begin()
        if not begun:
            self._streams.discard(stream)
        return begun

    def when_closed(self, stop: Callable[[], None], /) -> None:
        """Have this called before the store is closed: something works beside."""
        self._beside.append(stop)

    def slots(self, wait_s: float = 0.0) -> int:
        """Calls at once: by the workers of this client, or by all that serve the store when it has none, or a
        whole cluster, which is as large as it is just now.

        Args:
            wait_s: How long to wait for the first word of a cluster.
        """
        own = self.crew.slots
        if 0 < own < WHOLE:
            return own
        if own:
            self.crew.ensure()
        end = time.monotonic() + wait_s
        while not (slots := sum(worker.slots for worker in self.store.workers())):
            if not own or self.crew.broken or time.monotonic() > end:
                break
            time.sleep(SLOTS_LOOK_S)
        return slots

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
            if self.hoping and self.is_hopeless:
                for despair in list(self.hoping):
                    despair()

    def flush(self, *, wait: bool = True) -> None:
        """Return when everything that was posted is in the store; what that has no room for, without `wait`,
        goes on waiting for some."""
        if os.getpid() != self.pid:
            raise _forked()
        self.outbox.flush(wait=wait)

    def check_open(self) -> None:
        """Refuse work where none can be taken.

        Raises:
            RuntimeError: After `close`.
            TaskflowError: This process is a fork of the one that opened the client.
        """
        if self.closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if os.getpid() != self.pid:
            raise _forked()

    def _about_to_send(self, plan: Plan) -> None:
        self.check_open()
        self.was_interrupted = False
        if self.inline:
            new = {node.queue for node in plan.nodes}.difference(self._named_queues)
            self._named_queues += tuple(sorted(name for name in new if not name.startswith(FEEDERS)))

    # ── waiting ──────────────────────────────────────────────────────────────────────

    def drive(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Inline mode: run what can run, in this thread, until `done` or nothing is left to do.

        A task that waits for its own subtasks drives too, with hands of its own.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        queues, worker = self._take_hands()
        self._driving.append(worker)
        try:
            with context.lend():
                self._drive(worker, done, timeout, deadline)
            while worker.held:  # what it has run, and not said yet, is another's to wait for
                worker.step(0)
        except BaseException:
            worker.close()
            raise
        else:
            self._hands.append((queues, worker))
        finally:
            self._driving.remove(worker)
        while self.feed.pump():
            pass

    def _drive(
        self, worker: Worker, done: Callable[[], bool], timeout: float | None, deadline: float | None
    ) -> None:
        tired = False
        while not done():
            busy = worker.step(0)
            while self.feed.pump():
                pass
            if done() or (not busy and timeout == 0):
                return
            if deadline is not None and time.monotonic() >= deadline:
                return
            if not busy and not self._read_some() and not self._rest(deadline):
                if tired:
                    return
                tired = True  # what was due has just been queued, perhaps: look once more
            else:
                tired = False

    def _read_some(self) -> bool:
        return any(stream.pump() for stream in list(self._streams))

    def _rest(self, deadline: float | None) -> bool:
        """Wait a moment for what is due later, or for another thread; `False` when there is neither."""
        due = self._store.reap()
        if due is None and len(self._driving) < 2:
            return False
        left = INLINE_REST_S if deadline is None else max(0.0, deadline - time.monotonic())
        time.sleep(min(INLINE_REST_S if due is None else due, INLINE_REST_S, left))
        return True

    def _take_hands(self) -> tuple[tuple[str, ...], Worker]:
        """A worker that nobody uses at the moment, and that serves every queue that was named."""
        from taskflow.pools.inline import InlinePool
        from taskflow.worker.loop import Worker

        while self._hands:
            queues, worker = self._hands.pop()
            if queues == self._named_queues:
                return queues, worker
            worker.close()
        # A call holds its lease as long as it likes: nobody renews it, and nobody else could take it.
        pool = InlinePool(self.codec, url=self.url, worker="inline")
        queues = self._named_queues
        worker = Worker(
            self._store, pool, queues=queues, lease_s=INLINE_LEASE_S, name="inline", steered=False
        )
        pool.gave_back = worker.report
        return queues, worker

    def call_of(self, node: NodeId, index: int | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call, or of one item of a map; values of other tasks among them as `Output`s."""
        from taskflow.canvas.applied import Applied
        from taskflow.canvas.calling import HEADERS
        from taskflow.plan import STAR, Output

        self.flush()
        call = self.store.call(node)
        args, kwargs = self.codec.load_args(
            call.fn,
            call.args,
            lambda position, item: Output(call.inputs[position].parent, item, *call.inputs[position][1:]),
        )
        if not call.array:
            kwargs.pop(HEADERS, None)
            return args, kwargs
        at = index or 0
        page = self.store.pages(node, at, at + 1)[0]
        item = self.codec.load_items(call.fn, page.lo, page.items)[at - page.lo]
        if isinstance(self.codec.load_function(call.fn).fn, Applied):
            item[1].pop(HEADERS, None)
            return (*args, *item[0]), item[1]
        return (*item, *args) if kwargs.pop(STAR, False) else (item, *args), kwargs

    def hold(self, changed: threading.Condition, done: Callable[[], bool], timeout: float | None) -> bool:
        """Wait, holding a condition, until something is true.

        Returns:
            `False` when the time was up, or nobody is left who could make it true.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if changed.wait_for(done, HOPE_S if left is None else min(left, HOPE_S)):
                return True
            if left is not None and left <= HOPE_S:
                return False
            if self.is_hopeless:
                return False

    @property
    def is_hopeless(self) -> bool:
        """Whether the worker of this process dies at every start, and no other serves what waits."""
        return self.crew.broken and not self._somebody_works()

    def why_waiting(self) -> str:
        """A sentence for a wait that ended: whether anybody works here."""
        if self.inline:
            return "Nothing that can run is left, or it is due later."
        command = f"taskflow worker {shlex.quote(shown(self.url))}"
        if self.crew.broken:
            return f"The worker of this process dies at every start: see `{command}`."
        served = self._served()
        if not served:
            return f"No worker serves {shown(self.url)}: start one with `{command}`."
        names = ",".join(row["queue"] for row in self._busy_queues() if row["queue"] not in served)
        if names:
            return f"No worker serves the queue {names!r}: start `{command} -Q {names}`."
        return "It goes on; wait again, or cancel it."

    def _served(self) -> set[str]:
        """Queues that somebody serves."""
        workers = self._store.workers()
        served = {queue for worker in workers for queue in (*worker.queues, f"worker/{worker.id}")}
        if self.crew.slots and not self.crew.broken:
            served.update(self.crew.terms.queues.names)
        return served

    def _busy_queues(self) -> list[Mapping[str, Any]]:
        """The queues in which something waits or runs."""
        rows = [row for row in self._store.queues() if not row["queue"].startswith(FEEDERS)]
        return [row for row in rows if any(row.get(state) for state in ("queued", "waiting", "running"))]

    def _somebody_works(self) -> bool:
        """Whether anything that is pending may still move."""
        served = self._served()
        busy = self._busy_queues()
        return bool(served) and (
            not busy or any(row["queue"] in served or row.get("running") for row in busy)
        )

    def interrupted(self, handles: Iterable[Future[Any] | Waiting]) -> None:
        """Ctrl-C ended a wait: cancel what it waited for, unless asked otherwise."""
        self.was_interrupted = True
        handles = list(handles)
        shower = showing.shower()
        leave = shower is not None and self.cancel_on_interrupt and shower.leaves_running(handles)
        if self.cancel_on_interrupt and not leave:
            for name, index in dict.fromkeys(map(_wanted, handles)):
                try:
                    self._store.cancel(name, index=index, reason="interrupted")
                except TaskflowError:
                    continue

    def rerun(self, run: RunId) -> tuple[RunId, Mapping[NodeId, NodeId]]:
        """Submit anew what gave no value in a run; see `GraphPort.rerun`.

        Returns:
            The id of the new run, and its node for each of the old one without a value; none, and there is
            no such run, when nothing failed.
        """
        self.flush()
        new = RunId(new_id())
        return new, self.store.rerun(run, new)

    def mended(self, run: RunId, node: NodeId, fn: Callable[..., Any]) -> Plan | None:
        """A call or map again, with an edited function for what failed; see `taskflow.mending`."""
        from taskflow.mending import mended

        self.flush()
        return mended(self.store, self.codec, run, node, fn)

    def retry(self, future: Future[Any], fn: Callable[..., Any] | None = None) -> Future[Any]:
        """Submit a failed task anew, perhaps with an edited function."""
        if future.is_single:
            return self.bursts.retry(future, fn)
        again = self._retried(future, fn)
        if again is None:
            raise TaskflowError(f"{future!r} has not failed: there is nothing to retry.")
        return again

    def _retried(self, future: Future[Any], fn: Callable[..., Any] | None) -> Future[Any] | None:
        from taskflow.future import Future
        from taskflow.maprun import MapRun

        if future.index is not None:
            old: MapRun[Any] = MapRun(self, future.run_id, future.node_id, None, future.label)
            new = old.retry_failed(fn)
            return None if new is old else new[future.index]
        if fn is not None:
            plan = self.mended(future.run_id, future.node_id, fn)
            if plan is None:
                return None
            again: Future[Any] = Future(self, plan.run, plan.nodes[0].id, None, future.label)
            self.feed.watch(again.node_id, again)
            self.send(plan)
            return again
        run, names = self.rerun(future.run_id)
        if future.node_id not in names:
            return None
        again = Future(self, run, NodeId(names[future.node_id]), None, future.label)
        self.feed.catch_up(again.node_id, again)
        self.begin()
        return again

    def fold(
        self, fn: Callable[[Any, Any], Any], node: NodeId, width: int | None, *, tree: int | bool
    ) -> Future[Any]:
        """Fold the values of an array node with a function of two, on workers."""
        from taskflow.future import Future
        from taskflow.plan import Draft, Output
        from taskflow.policy import Options
        from taskflow.workflow.folding import Fold, Tree

        draft, root = Draft(self.codec, time.time), NodeId(new_id())
        spread = Tree(Fold(fn), None if tree is True else tree or width)
        leaves = [Output(node)] if width is None else spread.over_items(node, width)
        spread.draw(draft, leaves, Options(), root, f"reduce {self.codec.describe(fn)}")
        future: Future[Any] = Future(self, RunId(new_id()), root, None, draft.nodes[-1].label)
        self.feed.watch(root, future)
        self.send(draft.plan(future.run_id, future.label))
        return future

    def wait_all(self, timeout: float | None) -> bool:
        """Wait until nothing of this engine is pending; `False` when the time was up, or nobody works."""
        self.flush(wait=False)
        self._end_streams()
        if self.inline:
            self.drive(lambda: not self.feed.pending, timeout)
            return not self.feed.pending
        deadline = None if timeout is None else time.monotonic() + timeout
        alone_since: float | None = None
        look_at = 0.0
        while self.feed.pending:
            now = time.monotonic()
            if deadline is not None and now > deadline:
                return False
            if now >= look_at:
                look_at = now + LOOK_S
                if self._somebody_works():
                    alone_since = None
                elif alone_since is None:
                    alone_since = now
                elif now - alone_since > ALONE_S:
                    return False
            self.feed.wait_idle(LOOK_S if deadline is None else min(LOOK_S, max(0.0, deadline - now)))
        return True

    def _end_streams(self) -> None:
        """Where somebody has begun to take results, and takes no more, nothing more is read; other iterators
        are read to their ends."""
        for stream in list(self._streams):
            if stream.is_idle:
                stream.stop("the client was closed", wait=True)
            else:
                stream.want()

    def close(self) -> None:
        """Stop everything; the store keeps what was submitted."""
        if self.closed:
            return
        self.closed = True
        if os.getpid() != self.pid:
            return
        while self._beside:
            self._beside.pop()()
        for stream in list(self._streams):
            stream.stop("the client was closed", wait=True)
        self.outbox.close()
        self.crew.leave()
        self.feed.close()
        while self._hands:
            self._hands.pop()[1].close()
        self._store.close()


_inline_numbers = itertools.count(1)


def inline_engine(url: str | None) -> Engine | None:
    """The open inline engine of this process with that URL: tasks that it runs use it too."""
    return next((engine for engine in hooks.engines(url) if engine.inline), None) if url else None


def _private_store() -> Store:
    from taskflow.stores.memory import MemoryStore

    return MemoryStore(url=f"memory://inline-{next(_inline_numbers)}")


def _wanted(handle: Future[Any] | Waiting) -> tuple[NodeId | RunId, int | None]:
    """What the one who waits for a handle does without, when he gives up: the run, or a call of a burst."""
    if getattr(handle, "is_single", False):
        return handle.node_id, handle.index  # type: ignore[union-attr]
    return handle.run_id, None


def _forked() -> TaskflowError:
    return TaskflowError(
        "This client was opened before the process forked, and cannot be used in the child:"
        " open a new Client() there."
    )
