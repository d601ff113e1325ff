"""A bench to try a pool on: makes leases as a store would, waits for what comes of them."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from taskflow.codec import Codec, Reference
from taskflow.ids import NodeId, RunId, new_id
from taskflow.plan import STAR
from taskflow.policy import Policy, RetryPolicy
from taskflow.ports import Pool
from taskflow.records import Edge, Kind, Lease, LeaseKey, Note, Outcome, Page, Segment, Settlement
from taskflow.states import State

__all__ = ["Given", "Workbench"]

FENCE = 7
_STATE = {Kind.SUCCEEDED: State.SUCCEEDED, Kind.FAILED: State.FAILED}


class Given(Reference):
    """An argument that is an input: what another lease gave."""

    def __init__(self, node_id: NodeId, index: int | None = None) -> None:
        self.node_id = node_id
        self.index = index


class Workbench:
    """Starts leases on a pool and collects what comes back.

    Attributes:
        outcomes: Of each node, in the order in which they came.
        notes: All notes.
        settlements: All settlements.
        released: What the pool gave back.

    Args:
        pool: Under test.
        codec: The client's.
        again: Start again what was released, as a store would.
    """

    def __init__(self, pool: Pool, codec: Codec, *, again: bool = True) -> None:
        self.again = again
        self.released: list[tuple[LeaseKey, Outcome]] = []
        self._leases: dict[NodeId, Lease] = {}
        self.pool = pool
        self.codec = codec
        self.outcomes: dict[NodeId, list[Outcome]] = {}
        self.settlements: list[Settlement] = []
        self.notes: list[Note] = []
        self._pages: dict[NodeId, list[Page]] = {}

    # ── leases ──────────────────────────────────────────────────────────────────────

    def call(
        self,
        fn: Callable[..., Any],
        *args: Any,
        policy: Policy | None = None,
        retry: RetryPolicy | None = None,
        inputs: Sequence[Edge] = (),
        attempt: int = 1,
        node: str | None = None,
        **kwargs: Any,
    ) -> Lease:
        """The lease of a call."""
        digest = self.codec.function(fn, retry=retry)
        nodes = [edge.parent for edge in inputs]
        value = self.codec.dump_args(digest, args, kwargs, lambda ref: nodes.index(ref.node_id))
        key = LeaseKey(NodeId(node or new_id()), 0, 1, FENCE)
        return self._lease(key, digest, value, False, 1, inputs, policy, attempt)

    def array(
        self,
        fn: Callable[..., Any],
        items: Iterable[Any],
        *args: Any,
        policy: Policy | None = None,
        retry: RetryPolicy | None = None,
        star: bool = False,
        page: int = 100,
        node: str | None = None,
        lo: int = 0,
        hi: int | None = None,
    ) -> Lease:
        """The lease of items ``[lo, hi)`` of an array node, all by default."""
        digest = self.codec.function(fn, retry=retry)
        value = self.codec.dump_args(digest, args, {STAR: True} if star else {})
        listed = list(items)
        key = LeaseKey(NodeId(node or new_id()), lo, len(listed) if hi is None else hi, FENCE)
        self._pages[key.node] = [
            Page(at, at + len(part), self.codec.dump_items(digest, at, part))
            for at in range(0, len(listed), page)
            if (part := listed[at : at + page])
        ]
        return self._lease(key, digest, value, True, len(listed), (), policy, 1)

    def _lease(
        self,
        key: LeaseKey,
        digest: str,
        value: bytes,
        array: bool,
        width: int,
        inputs: Sequence[Edge],
        policy: Policy | None,
        attempt: int,
    ) -> Lease:
        return Lease(
            key, RunId("run"), digest, value, array, width, tuple(inputs), policy or Policy(), "default",
            "label", attempt, attempt, 0.0,
        )  # fmt: skip

    # ── running ─────────────────────────────────────────────────────────────────────

    def start(self, *leases: Lease) -> None:
        """Hand leases over."""
        batch = [(lease, self.segments(lease.inputs), self._pages_of(lease)) for lease in leases]
        self._leases.update((lease.key.node, lease) for lease in leases)
        start_many = getattr(self.pool, "start_many", None)
        if start_many is not None:
            start_many(batch)
            return
        for one in batch:
            self.pool.start(*one)

    def _pages_of(self, lease: Lease) -> list[Page]:
        pages = self._pages.get(lease.key.node, ())
        return [page for page in pages if page.hi > lease.key.lo and page.lo < lease.key.hi]

    def segments(self, inputs: Sequence[Edge]) -> Mapping[Edge, list[Segment]]:
        """What nodes gave that ran here."""
        return {edge: self._segments(edge.parent) for edge in inputs}

    def _segments(self, node: NodeId) -> list[Segment]:
        return [
            Segment(node, o.lo, o.hi, _STATE[o.kind], o.value, o.error, FENCE, node in self._pages)
            for o in sorted(self.outcomes[node], key=lambda o: o.lo)
        ]

    def run(self, *leases: Lease, within_s: float = 60.0) -> list[list[Outcome]]:
        """Start leases and wait for all of their outcomes, in order of index."""
        self.start(*leases)
        self.until(lambda: all(self.complete(lease) for lease in leases), within_s)
        return [sorted(self.outcomes[lease.key.node], key=lambda o: o.lo) for lease in leases]

    def one(self, lease: Lease, within_s: float = 60.0) -> Outcome:
        """Run a call; its outcome."""
        (outcomes,) = self.run(lease, within_s=within_s)
        (outcome,) = outcomes
        return outcome

    def until(self, done: Callable[[], bool], within_s: float = 60.0) -> None:
        """Let the pool go on until something is true.

        Raises:
            AssertionError: It does not become true in time.
        """
        end = time.monotonic() + within_s
        while not done():
            assert time.monotonic() < end, f"nothing within {within_s} s; so far {self.outcomes}"
            self.step()

    def step(self, wait_s: float = 0.25) -> None:
        """Wait for the pool to have something to say, and listen."""
        due = self.pool.due_s()
        files = list(self.pool.filenos())
        if files:
            select.select(files, [], [], wait_s if due is None else min(wait_s, due))
        self.take(*self.pool.finished())
        while self.again and self.released:
            key, (lo, hi, *_) = self.released.pop()
            self.start(self._leases[key.node]._replace(key=key._replace(lo=lo, hi=hi)))

    def take(self, settlements: Sequence[Settlement], notes: Sequence[Note] = ()) -> None:
        """Keep what the pool said.

        Raises:
            AssertionError: An item has two outcomes.
        """
        self.settlements += settlements
        self.notes += notes
        for key, outcomes, _ in settlements:
            mine = self.outcomes.setdefault(key.node, [])
            for outcome in outcomes:
                assert key.lo <= outcome.lo < outcome.hi <= key.hi, f"{outcome} is outside of {key}"
                if outcome.kind == Kind.RELEASED:
                    self.released.append((key, outcome))
                    continue
                assert not any(o.lo < outcome.hi and outcome.lo < o.hi for o in mine), (
                    f"{outcome} comes again"
                )
                mine.append(outcome)

    def complete(self, lease: Lease) -> bool:
        """Whether all items of a lease have an outcome."""
        done = sum(o.hi - o.lo for o in self.outcomes.get(lease.key.node, ()))
        return done == lease.key.hi - lease.key.lo

    # ── reading ─────────────────────────────────────────────────────────────────────

    def value(self, lease: Lease) -> Any:
        """What a lease gave: the result of a call, or the list of an array's results."""
        node = lease.key.node
        loaded = [
            self.codec.load_result(node, o.lo, o.hi, FENCE, o.value or b"")
            for o in sorted(self.outcomes[node], key=lambda o: o.lo)
        ]
        return [x for part in loaded for x in part] if lease.array else loaded[0]
