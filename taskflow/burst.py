"""`Burst`: calls of one function that were submitted at nearly the same time, as one array node.

A call of its own costs the store a run, a node and two rows of events; an item of an array node costs
next to nothing. So calls that are submitted while others are on their way become the items of one node::

    submit ─┐
    submit ─┼─► open burst ── the outbox takes it ──► sealed: one run, one node, N items
    submit ─┘
    submit ───► next burst …

Each call keeps its own future, outcome, retries and id (``node[index]``). A call that is pledged has no
future until somebody asks for it: its outcome is kept with the burst.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from taskflow.canvas.applied import Applied
from taskflow.codec.recent import keep
from taskflow.errors import TaskflowError
from taskflow.future import Future
from taskflow.ids import NodeId, RunId, new_id
from taskflow.maprun import MapRun
from taskflow.plan import pages
from taskflow.policy import Options, Policy
from taskflow.records import Node, Plan
from taskflow.states import LIVE, State

if TYPE_CHECKING:
    from taskflow.engine import Engine

__all__ = ["SHAPE", "Burst", "Bursts", "Pledge"]

T = TypeVar("T")

SHAPE = "burst"
"""What the `shape` of such a run is: its items are calls that know nothing of each other."""

MOST_CALLS = 4096
APPLIED_KEPT = 64


class Burst(MapRun[Any]):
    """Calls that are gathered, and then the listener that tells their futures.

    Args:
        engine: Where they are sent.
        digest: The function that is called with the items.
        label: What a person reads.
        options: How each call is treated.
        policy: The part of it that the store keeps.
        meta: What the run says of itself.
    """

    def __init__(
        self,
        engine: Engine,
        digest: str,
        label: str,
        options: Options,
        policy: Policy,
        meta: Mapping[str, Any],
    ) -> None:
        super().__init__(engine, RunId(new_id()), NodeId(new_id()), None, label)
        self.digest = digest
        self.options = options
        self._policy = policy
        self._meta = meta
        self._max_pending = options.max_pending if engine.is_bounded else None
        self._items: list[Any] = []

    @property
    def is_full(self) -> bool:
        """Whether it takes no more calls."""
        return len(self._items) >= MOST_CALLS

    def add(self, item: Any) -> Future[Any]:
        """Take a call; the future of it."""
        index = len(self._items)
        future: Future[Any] = Future(self._engine, self.run_id, self.node_id, index, self.label)
        future.is_single = True
        self._items.append(item)
        self._waiting[index] = future
        return future

    def pledge(self, item: Any) -> Pledge:
        """Take a call whose future is made when somebody asks for it."""
        index = len(self._items)
        self._items.append(item)
        self._waiting[index] = None
        return self, index

    def outcome(self, index: int) -> tuple[Any, BaseException | None] | None:
        """What a pledged call gave, or raised; `None` when it is not here, or not yet."""
        return self._kept.get(index)

    def single(self, index: int) -> Future[Any]:
        """The future of a pledged call."""
        kept = self._kept.get(index) if self._lost is None else (None, self._lost)
        if kept is None:
            future = self._future(index)
        else:
            future = Future(self._engine, self.run_id, self.node_id, index, self.label)
            future.take(*kept)
        future.is_single = True
        return future

    def seal(self) -> Plan:
        """What was gathered, ready to submit; nothing may be added any more."""
        codec, options = self._engine.codec, self.options
        self._width = len(self._items)
        node = Node(
            self.node_id,
            self.digest,
            codec.dump_args(self.digest, ()),
            (),
            self._width,
            True,
            tuple(pages(codec, self.digest, self._items)),
            options.queue,
            options.priority,
            replace(self._policy, singles=True),
            label=self.label,
        )
        self._items = []
        return Plan(self.run_id, (node,), self.label, self._meta, max_pending=self._max_pending)

    def _end(self) -> None:
        self._engine.bursts.over(self)
        super()._end()

    def fail(self, error: BaseException) -> None:
        """They never reached the store."""
        self.lost(error)

    def stop(self, *, running: bool) -> None:
        """See `feed.Listener`: each call is stopped for itself."""
        if running:
            self.cancel()
            return
        store = self._engine.store
        for item in store.items(self.node_id):
            if item.state in (State.QUEUED, State.WAITING, State.BLOCKED):
                for index in self._waiting_in(item.lo, item.hi):
                    store.cancel(self.node_id, index=index, reason="cancelled by the client")


Pledge: TypeAlias = tuple[Burst, int]
"""A call of a burst that has no future as long as nobody asks for it."""


class Bursts:
    """The bursts of a client.

    Args:
        engine: Where they are sent.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._going_on: set[Burst] = set()
        self._applied: dict[int, Applied] = {}

    @property
    def going_on(self) -> bool:
        """Whether calls of a burst have not ended."""
        return bool(self._going_on)

    def add(
        self,
        fn: Callable[..., Any],
        add: Callable[[Burst, Any], T],
        item: Any,
        options: Options,
        meta: Callable[[], Mapping[str, Any]],
    ) -> T:
        """Hand over a call together with those that come at the same time.

        Args:
            fn: The function.
            add: Adds it to a burst: `Burst.add` or `Burst.pledge`.
            item: Its arguments; see `Codec.snapshot`.
            options: How it is treated.
            meta: Tells what a run of such calls says of itself; asked once for each run, not for each call.
        """
        engine = self._engine
        digest = engine.codec.function(self._applied_to(fn), retry=options.retries, breaker=options.judge)
        engine.was_interrupted = False
        return engine.outbox.gather(
            digest, options, add, item, lambda: self._begin(fn, digest, options, meta())
        )

    def over(self, burst: Burst) -> None:
        """All calls of a burst have ended."""
        self._going_on.discard(burst)

    def retry(
        self, future: Future[Any], fn: Callable[..., Any] | None = None, *, name: str | None = None
    ) -> Future[Any]:
        """Submit a call of a burst anew, perhaps of an edited function, and none of the others; it draws the
        same random numbers. With a name, which becomes its id, that is done once.

        Raises:
            TaskflowError: It has not failed.
        """
        engine = self._engine
        if future.state in (*LIVE, State.SUCCEEDED):
            raise TaskflowError(f"{future!r} has not failed: there is nothing to retry.")
        call = engine.store.call(future.node_id)
        args, kwargs = engine.call_of(future.node_id, future.index)
        view = next(n for n in engine.store.snapshot(future.run_id)[0].nodes if n.id == future.node_id)
        loaded = engine.codec.load_function(call.fn)
        fn = fn or cast("Applied", loaded.fn).func
        digest = engine.codec.function(fn, retry=loaded.retry, breaker=loaded.breaker)
        node = Node(
            NodeId(name or new_id()),
            digest,
            engine.codec.dump_args(digest, args, kwargs),
            queue=view.queue,
            priority=view.priority,
            policy=replace(call.policy, seed=future.id),
            label=view.label,
        )
        again: Future[Any] = Future(engine, RunId(node.id), node.id, None, view.label)
        engine.feed.watch(node.id, again)
        engine.send(Plan(again.run_id, (node,), view.label))
        return again

    def _applied_to(self, fn: Callable[..., Any]) -> Applied:
        """What stands for a function, the same each time: a codec knows by that what it has sent."""
        known = self._applied.get(id(fn))
        if known is None or known.func is not fn:
            known = Applied(fn)
            keep(self._applied, id(fn), known, APPLIED_KEPT)
        return known

    def _begin(self, fn: Callable[..., Any], digest: str, options: Options, meta: Mapping[str, Any]) -> Burst:
        engine = self._engine
        label = options.label or engine.codec.describe(fn)
        burst = Burst(engine, digest, label, options, options.policy_for(fn), meta)
        engine.feed.watch(burst.node_id, burst)
        self._going_on.add(burst)
        engine.begin()
        return burst
