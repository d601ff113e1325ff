"""The rows the rules work on, and what a store must offer so that they can.

The index space of a node, ``[0, width)``, is partitioned at every moment::

    0 ............................ cursor ........................ width
    parts (live)  +  segments (ended)  |  fresh: never handed out

A *part* is a range of items that were handed out, wait for a retry, came back, or (blocked) wait for the
call that took the place of one. A *segment* is a range that has ended, for good. Nothing else is kept of an
item, so a million quiet items cost pages and segments, not rows. A call is a node of width 1 and obeys the
same rules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol

from taskflow.ids import NodeId, RunId
from taskflow.policy import Policy
from taskflow.records import Edge, LeaseKey, Outcome, Page
from taskflow.states import State

__all__ = ["LimitRow", "NodeRow", "Part", "Rows", "RunRow", "lane_of"]


@dataclass(slots=True)
class Part:
    """Live items ``[lo, hi)`` of a node that share a state and a story.

    `until` is when the lease runs out (running) or when the wait is over (waiting).
    `attempts` counts exceptions, `deliveries` how often the items were handed out.
    """

    lo: int
    hi: int
    state: State
    fence: int = 0
    worker: str | None = None
    until: float | None = None
    attempts: int = 0
    deliveries: int = 0
    started_at: float | None = None
    cancelled: str | None = None
    error: str | None = None

    @property
    def size(self) -> int:
        """How many items."""
        return self.hi - self.lo


@dataclass(slots=True)
class NodeRow:
    """A node as a store keeps it. `held`, `waiting` and `returned` count the items of its parts by
    state; `open` those that have not ended. `ranged`: successors wait for some of its items; `growing`: a
    predecessor that has not ended adds items to it."""

    id: NodeId
    run: RunId
    state: State
    fn: str
    args: bytes
    width: int | None
    array: bool
    queue: str
    priority: int
    policy: Policy
    label: str
    created_at: float
    cursor: int = 0
    open: int = 0
    held: int = 0
    waiting: int = 0
    returned: int = 0
    worst: State | None = None
    fence: int = 0
    remaining: int = 0
    due_at: float | None = None
    expires_at: float | None = None
    alarm_at: float | None = None
    cancelled: str | None = None
    root: str | None = None
    final: NodeId | None = None
    source: NodeId | None = None
    started_at: float | None = None
    ended_at: float | None = None
    inputs: tuple[Edge, ...] = ()
    ranged: bool = False
    growing: bool = False
    part: Part | None = None
    key: Any = None

    @property
    def fresh(self) -> int:
        """How many items were never handed out."""
        return (self.width or 0) - self.cursor

    @property
    def lane(self) -> str | None:
        """Queued nodes that share bounds stand in one lane: when the first finds no room, none of it does."""
        return lane_of(self.run, self.policy)

    @property
    def replaced(self) -> int:
        """How many items of an array node wait for the calls that took their places."""
        return self.open - self.held - self.waiting - self.returned - self.fresh if self.array else 0


def lane_of(run: RunId, policy: Policy) -> str | None:
    """The lane of a node of that run and policy; `None` where it shares no bounds with others."""
    if policy.run_parallel is None and not policy.limits:
        return None
    return f"{run if policy.run_parallel is not None else ''} {_unseeded(policy)}"


@lru_cache(maxsize=1024)
def _unseeded(policy: Policy) -> str:
    return replace(policy, seed=None).to_json()


@dataclass(slots=True)
class RunRow:
    """A run as a store keeps it: `open` counts nodes that have not ended, `counts` items that have; `worst`
    is the worst of those that somebody minds; `held` counts those that run, where their number is bounded;
    `lock` is what it has to let go of."""

    id: RunId
    name: str
    meta: Mapping[str, Any]
    created_at: float
    total: int = 0
    open: int = 0
    state: State = State.RUNNING
    counts: dict[State, int] = field(default_factory=dict)
    ended_at: float | None = None
    worst: State | None = None
    held: int = 0
    lock: str | None = None
    key: Any = None


@dataclass(slots=True)
class LimitRow:
    """What is counted under the name of a `Limit`, see `machine.limiting`.

    `held`: items that run. `tokens` there were at the instant `at`. `failed`: when a breaker heard of
    failures, oldest first; `opened_at`; `until` when it lets nothing through but `probes` items, which are
    fewer each time one is handed out. `refused`: somebody found no room, and looks again at `wake_at` or
    when something ends. At `idle_at` the row is as good as a new one, and goes.

    Of a lock, a semaphore or a barrier (`machine.sharing`): `fence`, the last that was given; `holders`, by
    name each one's fence and until when; `line`, who waits, in order, and until when each keeps its turn.
    """

    name: str
    held: int = 0
    tokens: float = 0.0
    at: float | None = None
    failed: tuple[float, ...] = ()
    opened_at: float | None = None
    until: float = 0.0
    probes: int = 0
    refused: bool = False
    wake_at: float | None = None
    idle_at: float | None = None
    fence: int = 0
    holders: dict[str, tuple[int, float]] = field(default_factory=dict)
    line: dict[str, float] = field(default_factory=dict)

    @property
    def is_shared(self) -> bool:
        """Whether places are held under the name."""
        return self.fence > 0 or bool(self.line)

    @property
    def alarm_at(self) -> float | None:
        """When there is something to do."""
        if self.wake_at is None or self.idle_at is None:
            return self.idle_at if self.wake_at is None else self.wake_at
        return min(self.wake_at, self.idle_at)


class Rows(Protocol):
    """One atomic step over a store's rows.

    Rows that were handed out are the store's own objects within the step: the rules change them in
    place and `save` says that they did.
    """

    now: float
    ranges_ended: list[tuple[NodeRow, int, int]]
    """Nodes and items of them that have ended in this step, while someone waits for these alone."""
    freed: bool
    """Whether something can be claimed now that could not be before this step."""

    def run(self, run: RunId, /) -> RunRow | None:
        """A run, or `None`."""
        ...

    def node(self, node: NodeId, /) -> NodeRow | None:
        """A node, or `None`."""
        ...

    def load(self, nodes: Iterable[NodeId], /) -> None:
        """Fetch many nodes at once, with their runs."""
        ...

    def add_run(self, run: RunRow, /) -> None:
        """A new run."""
        ...

    def add_node(
        self, node: NodeRow, edges: Sequence[Edge], pages: Sequence[Page], ended: Collection[NodeId], /
    ) -> None:
        """A new node with its edges and items; edges from `ended` predecessors are kept for the
        picture only: `children` does not give them."""
        ...

    def add_edge(self, child: NodeId, edge: Edge, /) -> None:
        """One more edge of a node that is there; one that gives a value is an input, and in its row."""
        ...

    def add_pages(self, node: NodeRow, pages: Sequence[Page], /) -> None:
        """The items of a node whose width is known only now."""
        ...

    def save(self, row: NodeRow | RunRow | LimitRow, /) -> None:
        """The row was changed."""
        ...

    def limit(self, name: str, /) -> LimitRow:
        """What is counted under a name; a new row where nothing is."""
        ...

    def shut(self, node: NodeRow, limit: str, /) -> None:
        """Nothing of the lane of a node can be claimed until that limit is reopened, or something is queued
        in it; a store may save itself the trouble to look."""
        ...

    def reopen(self, limit: str, /) -> None:
        """There may be room again in the lanes that a limit has shut."""
        ...

    def limits_due(self) -> list[LimitRow]:
        """Those whose alarm has passed, earliest first."""
        ...

    def drop_limit(self, row: LimitRow, /) -> None:
        """Nothing is counted under that name any more."""
        ...

    def held(self, node: NodeRow, key: LeaseKey, /) -> Part | None:
        """The live part with that fence that covers ``[key.lo, key.hi)``, or `None`."""
        ...

    def queued(self, node: NodeRow, limit: int, /) -> list[Part]:
        """The first queued parts of an array node."""
        ...

    def parts(self, node: NodeRow, /) -> list[Part]:
        """All live parts of a node, in order of index."""
        ...

    def overdue(self, node: NodeRow, /) -> list[Part]:
        """Parts whose `until` has passed."""
        ...

    def first_until(self, node: NodeRow, /) -> float | None:
        """The earliest `until` of a node's parts."""
        ...

    def put_part(self, node: NodeRow, part: Part, /) -> None:
        """Add a part, or write it again; its `lo` names it within the node."""
        ...

    def drop_part(self, node: NodeRow, part: Part, /) -> None:
        """The part is no more."""
        ...

    def end(self, node: NodeRow, part: Part, outcome: Outcome, state: State, /) -> None:
        """Write the segment of an outcome, once and for good; `part` tells its story."""
        ...

    def end_as(self, node: NodeRow, part: Part, final: NodeRow, state: State, /) -> None:
        """Write the segment of the item that `part` is, with what an ended call gave."""
        ...

    def ended_by(self, node: NodeRow, index: int, /) -> int | None:
        """The fence that ended an item, or `None` while it is live."""
        ...

    def children(self, node: NodeId, after: str, limit: int, /) -> list[tuple[NodeId, Edge]]:
        """Successors that were not released, in the order in which they were added, those after the one
        named `after`."""
        ...

    def ranged(self, node: NodeRow, lo: int, hi: int, /) -> list[tuple[NodeId, Edge]]:
        """Successors that were not released and wait for any of the items ``[lo, hi)``."""
        ...

    def release(self, node: NodeRow, child: NodeId, /) -> None:
        """That successor is not to be released again."""
        ...

    def ended_in(self, node: NodeRow, lo: int, hi: int, /) -> tuple[int, int]:
        """How many of the items ``[lo, hi)`` have ended, and how many of them badly: without a value, though
        they did not choose to be skipped."""
        ...

    def nodes_of(self, run: RunId, /) -> list[NodeRow]:
        """All nodes of a run, in the order in which they were added."""
        ...

    def parents(self, node: NodeId, /) -> list[Edge]:
        """The edges of a node, in order."""
        ...

    def ready(self, queues: Sequence[str], full: Collection[str], /) -> Iterator[NodeRow]:
        """Queued nodes: higher priority first, then in the order in which they were added. Those of paused
        queues are left out, and those of a lane that is in `full`, which may grow meanwhile."""
        ...

    def alarms(self, limit: int, /) -> list[NodeRow]:
        """Nodes whose alarm has passed, earliest first."""
        ...

    def next_alarm(self) -> float | None:
        """The earliest alarm of all nodes and limits."""
        ...

    def copy_ended(self, source: NodeRow, target: NodeRow, anew: Collection[int], /) -> list[tuple[int, int]]:
        """Give `target` the succeeded segments of `source`, but for those of the items `anew`; returns the
        ranges that are not among them."""
        ...

    def pending(self, queue: str, /) -> int:
        """What `pend` has counted in a queue."""
        ...

    def pend(self, queue: str, more: int, /) -> None:
        """More, or less, is pending in a queue."""
        ...

    def locked(self, name: str, /) -> RunId | None:
        """The run that holds a lock whose time is not up."""
        ...

    def lock(self, name: str, run: RunId, until: float, /) -> None:
        """Give a lock to a run, whoever had it."""
        ...

    def unlock(self, name: str, run: RunId, /) -> None:
        """Take a lock from a run, if that has it."""
        ...

    def pending_in(self, queue: str, after: str, limit: int, /) -> list[NodeRow]:
        """Nodes of a queue that may have queued or waiting items, in order of adding, those
        behind the one named `after`."""
        ...

    def unstarted(self, node: NodeRow, limit: int, /) -> list[Part]:
        """The first parts of a node that are queued or waiting, as far as they are not fresh."""
        ...

    def emit(self, run: RunId, node: NodeId | str, lo: int, hi: int, state: State, /) -> None:
        """Append an event."""
        ...

    def printed(self, node: NodeRow, index: int, text: str, /) -> None:
        """Keep what an attempt printed, however it ended."""
        ...

    def push(self, node: NodeId, after: str, /) -> None:
        """Remember that the successors of an ended node, after `after`, are still to be released."""
        ...

    def pop(self) -> tuple[NodeId, str] | None:
        """Take back what `push` remembered, oldest first."""
        ...
