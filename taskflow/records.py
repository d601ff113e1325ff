"""The values that cross the seams: what is submitted, claimed, settled and watched.

Two byte formats appear here and are opaque to every store: a *value* (`Value`) is what
`taskflow.codec` makes of an object, sealed; an *error* is the JSON text of a `Failure`.

Index ranges are half-open, ``[lo, hi)``. A call is an array node of width 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from taskflow.ids import NodeId, RunId, WorkerId
from taskflow.policy import Policy
from taskflow.states import State
from taskflow.unique import OnDuplicate

__all__ = [
    "SAID",
    "STAYS",
    "WORKERS",
    "Call",
    "Edge",
    "EdgeMode",
    "Event",
    "Failure",
    "Given",
    "GroupRecord",
    "Growth",
    "Heard",
    "Hold",
    "ItemView",
    "Kind",
    "Lease",
    "LeaseKey",
    "LimitView",
    "Lock",
    "Node",
    "NodeView",
    "Note",
    "Outcome",
    "Page",
    "Plan",
    "Posted",
    "Renewal",
    "ResultRecord",
    "RunView",
    "Said",
    "Segment",
    "Settled",
    "Settlement",
    "Value",
    "Want",
    "WorkerView",
]

Value = bytes
"""A sealed payload: inline bytes, or a sealed reference to a blob (see `taskflow.codec`)."""


# ── submitted ────────────────────────────────────────────────────────────────────────


class EdgeMode(StrEnum):
    """What a successor needs of a predecessor, and what it is given.

    ``ALL``: every item succeeded; gets the values. ``JOIN``: likewise, and the value is appended to the
    list that is the successor's first argument. ``TAKEN``: likewise, or it was skipped by choice; then it
    is left out. ``KEEP``: it ended; failed items arrive as exceptions. ``DROP``: it ended; failed items
    are left out. ``AFTER``: it succeeded; gives nothing. ``ENDED``: it ended, whatever the outcome; gives
    nothing. ``FEEDS``: it adds items to the successor while it runs; the successor begins at once and
    ends no sooner; a node has one such edge at most. ``FAILED``: it failed, itself or in what took its
    place; gives why. ``BROKEN``: it failed, or was skipped because something before it failed; gives why.
    ``ITEM``: item `Edge.lo` of the successor takes its outcome.

    When the need cannot be met the successor is *skipped*: because something failed, or by choice, when the
    predecessor was skipped by choice or did not fail as wanted. What is skipped by choice fails no run.
    """

    ALL = "all"
    JOIN = "join"
    TAKEN = "taken"
    KEEP = "keep"
    DROP = "drop"
    AFTER = "after"
    ENDED = "ended"
    FAILED = "failed"
    BROKEN = "broken"
    ITEM = "item"
    FEEDS = "feeds"

    @property
    def needs_success(self) -> bool:
        """Whether a failed predecessor skips the successor."""
        return self in _NEED_SUCCESS

    @property
    def gives_value(self) -> bool:
        """Whether what became of the predecessor is an input of the successor."""
        return self not in _GIVE_NOTHING


_NEED_SUCCESS = frozenset({EdgeMode.ALL, EdgeMode.JOIN, EdgeMode.TAKEN, EdgeMode.AFTER})
_GIVE_NOTHING = frozenset({EdgeMode.AFTER, EdgeMode.ENDED, EdgeMode.ITEM, EdgeMode.FEEDS})


class Edge(NamedTuple):
    """A dependency on `parent`, a node of the same plan or of an earlier run; with `hi`, only on its items
    ``[lo, hi)``: the successor is released as soon as these have ended."""

    parent: NodeId
    mode: EdgeMode = EdgeMode.ALL
    lo: int = 0
    hi: int | None = None


class Page(NamedTuple):
    """Items ``[lo, hi)`` of an array node, as one value; pages of a node leave no gap."""

    lo: int
    hi: int
    items: Value


class Given(NamedTuple):
    """Items ``[lo, hi)`` of an array node that have their results before it is submitted: the list of them,
    as one value that was sealed for this node and the fence 0."""

    lo: int
    hi: int
    value: Value | None


class Node(NamedTuple):
    """One step of a plan.

    Args:
        id: Made by the client before anything is sent.
        fn: Digest of the function, stored once as a blob under that name.
        args: The arguments that all items share.
        edges: Predecessors; those that give a value are the inputs, in this order.
        width: 1 for a call, N for a map over N items, `None` when a predecessor decides it (`Growth.widths`).
        pages: The items of an array node, in order.
        delay_s: Not before this many seconds after the submit.
        expires_s: Not started later than this many seconds after the submit.
        label: What a person reads: the function's name unless the caller chose another.
        given: Items of an array node that have succeeded already, in order: only the others run. Such a node
            has a width, no delay, and waits for nobody.
    """

    id: NodeId
    fn: str
    args: Value
    edges: tuple[Edge, ...] = ()
    width: int | None = 1
    array: bool = False
    pages: tuple[Page, ...] = ()
    queue: str = "default"
    priority: int = 0
    policy: Policy = Policy()
    delay_s: float | None = None
    expires_s: float | None = None
    label: str = ""
    given: tuple[Given, ...] = ()


STAYS = "+"
"""How the names of locks begin that a run which succeeded does not let go of."""


class Lock(NamedTuple):
    """That a run shall be the only one of this name.

    It takes the lock in the step in which it is stored, and lets go of it when it ends (when one of its nodes
    starts, where the policy of that says so), or after `ttl_s`. One whose name begins with `STAYS` is kept by
    a run that succeeded, until then or until that is forgotten.

    `on_duplicate` tells what becomes of a plan whose lock another run holds: it is not stored (``"return"``,
    ``"raise"``), it is stored and *skipped* at once (``"skip"``), or the other is cancelled, if that is a run
    of one node that has not started (``"replace"``).
    """

    name: str
    ttl_s: float
    on_duplicate: OnDuplicate = "return"


class Plan(NamedTuple):
    """A compiled graph, ready to submit.

    Args:
        run: Made by the client before anything is sent.
        nodes: In any order.
        name: What a person reads.
        meta: JSON (tags, seed, shape), and small. What is under ``memo`` there, if anything, has a ``name``,
            by which `WatchPort.runs` finds the run.
        lock: What makes it the only one of its kind.
        max_pending: It is refused when more than so many calls are pending in a queue that it names, before
            any of it is added. A call that was submitted by itself counts until it ends; a map is one.
    """

    run: RunId
    nodes: tuple[Node, ...]
    name: str = ""
    meta: Mapping[str, Any] = MappingProxyType({})
    lock: Lock | None = None
    max_pending: int | None = None


@dataclass(frozen=True, slots=True)
class Growth:
    """New nodes that appear in the same step as the outcome that made them.

    Args:
        nodes: Added to the run; their edges may name any node.
        widths: Array nodes of unknown width that now have one, with their pages; and array nodes that the
            settling node feeds: how many items they have from now on, with the pages of the new ones. What
            is there already is left as it is.
        final: When set, the settling node, or the one item of it that is settled, takes the outcome of this
            node as its own (a replacement). In place of an item it must be a call.
        joins: New nodes for which what waits for the settling node waits too; who takes its value gets
            theirs as well, see `EdgeMode.JOIN`.
    """

    nodes: tuple[Node, ...] = ()
    widths: Mapping[NodeId, tuple[int, tuple[Page, ...]]] = field(default_factory=dict)
    final: NodeId | None = None
    joins: tuple[NodeId, ...] = ()


# ── claimed ──────────────────────────────────────────────────────────────────────────


class Want(NamedTuple):
    """What a worker asks of a claim.

    Args:
        worker: Who asks.
        queues: Which queues to claim from.
        slots: How many slots are free; each may get several quick calls or one range.
        lease_s: How long the leases hold unless renewed.
        pace_s: Seconds an item of a function takes, by digest, as this worker measured it.
            Calls of unknown functions are handed out one to a slot.
        batch_s: Work to put on one slot at a time, seconds, when calls are quick.
        share: Of how many slots in all (all workers) this is a part; ranges shrink towards the end
            of a node so that all slots finish together.
        turns: How many of the slots each queue is offered before the others; what they leave is offered to
            all queues, one after the other. Without it the queues are one: by priority, then by age.
        standing: As long as slots are left, the store may carry out the same claim once more by itself, when
            there is work, and say so by the worker's bell.
    """

    worker: WorkerId
    queues: tuple[str, ...]
    slots: int
    lease_s: float = 15.0
    pace_s: Mapping[str, float] = MappingProxyType({})
    batch_s: float = 0.05
    share: int = 2
    turns: tuple[int, ...] = ()
    standing: bool = False


class LeaseKey(NamedTuple):
    """The right to settle items ``[lo, hi)`` of one node; a stale fence settles nothing."""

    node: NodeId
    lo: int
    hi: int
    fence: int


class Lease(NamedTuple):
    """Work that was claimed. `inputs` are the predecessors that give a value, in order."""

    key: LeaseKey
    run: RunId
    fn: str
    args: Value
    array: bool
    width: int
    inputs: tuple[Edge, ...]
    policy: Policy
    queue: str
    label: str
    attempt: int
    delivery: int
    age_s: float
    priority: int = 0


class Renewal(NamedTuple):
    """What became of the leases that were not simply renewed."""

    lost: frozenset[LeaseKey]
    cancelled: Mapping[LeaseKey, str]


# ── settled ──────────────────────────────────────────────────────────────────────────


class Kind(StrEnum):
    """How an attempt ended.

    ``RETRY`` waits `delay_s` and is tried again; ``LOST`` (the process died) is tried again until the
    deliveries are used up; ``RELEASED`` goes back as if it had never been claimed; ``REPLACED`` hands
    the node's outcome to `Growth.final`; ``SKIPPED``: the task chose not to run; ``REJECTED``: it is dead
    at once.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRY = "retry"
    LOST = "lost"
    RELEASED = "released"
    CANCELLED = "cancelled"
    REPLACED = "replaced"
    SKIPPED = "skipped"
    REJECTED = "rejected"


class Outcome(NamedTuple):
    """How items ``[lo, hi)`` of a lease ended.

    ``SUCCEEDED`` and ``RELEASED`` may cover a range; the others name one item. The value of a
    succeeded range of an array node is the list of its results; that of a call is its result;
    that of a failure, if any, is the pickled exception. `took_s` is the time of all items together. `spared`:
    a breaker does not take it for a failure.
    """

    lo: int
    hi: int
    kind: Kind
    value: Value | None = None
    error: str | None = None
    delay_s: float = 0.0
    started_at: float = 0.0
    took_s: float = 0.0
    log: str | None = None
    spared: bool = False


class Settlement(NamedTuple):
    """Outcomes for a lease, or for a part of it: what they do not name stays held. Without any it tells what
    grew while the lease is held."""

    key: LeaseKey
    outcomes: tuple[Outcome, ...]
    grow: Growth | None = None


class Settled(NamedTuple):
    """Leases that were lost before they were settled, and the new ones that were asked for."""

    lost: frozenset[LeaseKey]
    leases: list[Lease]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an item has no value, as text that needs no unpickling.

    Args:
        kind: The terminal state, or ``retry`` and ``lost`` for an attempt that is tried again.
        type: Qualified name of the exception's class.
        message: What it said.
        traceback: The worker's text, user frames first.
        exit_code, signal: How the process ended, when it did.
        root: The node that failed first, when this one was skipped.
    """

    kind: str
    type: str = ""
    message: str = ""
    traceback: str = ""
    exit_code: int | None = None
    signal: int | None = None
    root: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """The exception as Python prints it, without the traceback."""
        return ": ".join(part for part in (self.type, self.message) if part)

    def to_json(self) -> str:
        """Compact JSON without the empty fields."""
        full = asdict(self)
        return json.dumps({k: v for k, v in full.items() if v not in ("", None, {})}, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Failure:
        """Read `to_json`; unknown fields of a newer release are ignored."""
        known = Failure.__dataclass_fields__
        return Failure(**{k: v for k, v in json.loads(text).items() if k in known})


# ── kept elsewhere ───────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """What is kept of a task that has ended outside of the store that it ran in, where others can read it.

    Args:
        id: Of the task, as `AsyncResult.id` has it.
        status: Celery's word for its state.
        sealed: Its value or exception, and its arguments, sealed: what handles read.
        result: The value as JSON, for people and for SQL; of one that is not JSON, its `repr`, as JSON.
        name: Of the task.
        args: Its positional arguments, in the same way.
        kwargs: Its keyword arguments, in the same way.
        traceback: The worker's text.
        worker: Who ran it.
        queue: Where it waited.
        retries: How often it was tried again.
        date_done: When it ended, seconds since the epoch.
        run: The run that it was part of.
        fence: The number of the lease under which it ran; what a later one has written is kept.
    """

    id: str
    status: str
    sealed: bytes
    result: str = "null"
    name: str = ""
    args: str = "[]"
    kwargs: str = "{}"
    traceback: str = ""
    worker: str = ""
    queue: str = ""
    retries: int = 0
    date_done: float = 0.0
    run: str = ""
    fence: int = 0


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """The members of a group, kept beside the results of its tasks.

    Args:
        id: Of the group, as `GroupResult.id` has it.
        members: The ids of its members, in order.
        date_done: When it was saved, seconds since the epoch.
    """

    id: str
    members: tuple[str, ...]
    date_done: float = 0.0


# ── watched ──────────────────────────────────────────────────────────────────────────


class Event(NamedTuple):
    """Items ``[lo, hi)`` of a node moved to `state`; ``lo == hi == 0`` speaks of the node as a whole (when
    that is *running*: one of its items has said something of itself), and an empty node of the run as a whole
    (a run of one call, which shares its node's id, has none).
    Events of a store are totally ordered by `cursor`."""

    cursor: int
    at: float
    run: RunId
    node: NodeId | str
    lo: int
    hi: int
    state: State


class Segment(NamedTuple):
    """Outcome of items ``[lo, hi)`` of a node that ended: `value` when they succeeded, else `error`
    (and the pickled exception in `value`, if it has one). `array` tells the items of an array node,
    whose values are lists, from a call. `node` is where the value was made; with `single` that is a call
    which took the place of this one item."""

    node: NodeId
    lo: int
    hi: int
    state: State
    value: Value | None
    error: str | None
    fence: int
    array: bool = False
    single: bool = False


class Heard(NamedTuple):
    """What a bell said besides that it rang: it spares the listener a question, and need not come.

    Args:
        is_turn: There may be something to claim, and nothing else: nothing was cancelled, workers are not
            told anything.
        leases: What the store gave to a worker whose `Want` was standing.
        after: The cursor before the first of `events`.
        events: All that has happened since `after`, when it is known.
        values: Outcomes of some of the nodes that have ended, by the id that was asked for.
    """

    is_turn: bool = False
    leases: tuple[Lease, ...] = ()
    after: int = 0
    events: tuple[Event, ...] = ()
    values: Mapping[NodeId, list[Segment]] = MappingProxyType({})


class Call(NamedTuple):
    """What a node calls, and how: digest of the function, shared arguments, predecessors that give a value,
    and how its items are treated."""

    fn: str
    args: Value
    array: bool
    inputs: tuple[Edge, ...]
    policy: Policy = Policy()


class Said(NamedTuple):
    """What a running item has said of itself last: `kind`, `data` and `value` are those of its `Note`,
    `fence` that of its lease, with which `value` was sealed."""

    kind: str
    data: Mapping[str, Any]
    value: Value | None
    fence: int


class ItemView(NamedTuple):
    """One row of a result table; items that share a state and have no story share a row. `said` is what one
    that runs has said of itself, by kind."""

    lo: int
    hi: int
    state: State
    attempts: int
    deliveries: int
    worker: str | None
    started_at: float | None
    took_s: float | None
    error: str | None
    until: float | None = None
    said: Mapping[str, Said] = MappingProxyType({})


class NodeView(NamedTuple):
    """A node as it stands; `counts` are its items by state. `root` is the node that failed first, when this
    one has no value; one that was skipped by choice has none. `source` is the node that it runs again: the
    first of that line. `growing`: a predecessor still adds items to it."""

    id: NodeId
    run: RunId
    label: str
    state: State
    width: int | None
    array: bool
    counts: Mapping[State, int]
    queue: str
    priority: int
    parents: tuple[Edge, ...]
    created_at: float
    started_at: float | None
    ended_at: float | None
    attempts: int
    deliveries: int
    worker: str | None
    error: str | None
    fn: str = ""
    due_at: float | None = None
    root: str | None = None
    source: NodeId | None = None
    growing: bool = False


class RunView(NamedTuple):
    """A run as it stands. `counts` are its items by state; `nodes` is empty where only a
    summary was asked for."""

    id: RunId
    name: str
    state: State
    counts: Mapping[State, int]
    total: int
    created_at: float
    ended_at: float | None
    meta: Mapping[str, Any]
    nodes: tuple[NodeView, ...] = ()


class LimitView(NamedTuple):
    """What a store counts under the name of a limit that is in use.

    `kind` is ``rate``, ``concurrency``, ``breaker``, ``lock``, ``semaphore`` or ``barrier``; `running` its
    items that run, or those who hold a place; `tokens` those of a rate at the last start; `state` that of a
    breaker, ``closed``, ``open`` or ``half-open``, and `until` when it lets something through, since the
    epoch; `is_full` whether somebody found no room and waits.
    """

    name: str
    kind: str
    running: int = 0
    tokens: float | None = None
    state: str = ""
    until: float | None = None
    is_full: bool = False


SAID = ("state", "progress")
"""Kinds of notes of which the last one is kept, while its item runs."""


class Hold(NamedTuple):
    """What came of asking for a place.

    Args:
        fence: Larger than that of every holder before; 0 when there was no place.
        rest_s: After so many seconds there may be a place though nobody has let go.
    """

    fence: int
    rest_s: float = 0.0


class Note(NamedTuple):
    """What a running item says of itself.

    Args:
        key: The lease it runs under.
        kind: ``"log"``, a piece of its output, is added to what was kept; those of `SAID` replace each other;
            others are passed over.
        data: JSON. The ``index`` of the item is among it, unless that is the first of the lease.
        value: What belongs to it and only clients open; sealed.
    """

    key: LeaseKey
    kind: str
    data: Mapping[str, Any]
    value: Value | None = None

    @property
    def at(self) -> int:
        """The item that says it."""
        return int(self.data.get("index", self.key.lo))

    @property
    def item(self) -> LeaseKey:
        """The lease, cut to that item: the rest of it may have ended."""
        return self.key._replace(lo=self.at, hi=self.at + 1)


WORKERS = "workers"
"""What is wanted of workers is posted under this name."""


class Posted(NamedTuple):
    """A text that all read and one at a time changes: sealed by its writer, and numbered by its changes."""

    revision: int
    body: bytes


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as it last described itself; for display, never for safety."""

    id: WorkerId
    host: str
    pid: int
    queues: tuple[str, ...]
    slots: int
    busy: int
    started_at: float
    seen_at: float
    info: Mapping[str, Any] = field(default_factory=dict)
