"""The seams. An adapter implements one of these protocols in one file.

Durations cross a port, instants do not: the store's clock is the only clock of record.
Every verb is one atomic step, may be repeated after a lost answer, and never blocks for long.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from taskflow.ids import NodeId, RunId
from taskflow.limits import BreakerWord, Limit
from taskflow.records import (
    Call,
    Edge,
    Event,
    GroupRecord,
    Heard,
    Hold,
    ItemView,
    Lease,
    LeaseKey,
    LimitView,
    Note,
    Page,
    Plan,
    Posted,
    Renewal,
    ResultRecord,
    RunView,
    Segment,
    Settled,
    Settlement,
    Want,
    WorkerView,
)

__all__ = [
    "WHOLE",
    "Bell",
    "Blobs",
    "GraphPort",
    "Pool",
    "PostPort",
    "Promises",
    "Results",
    "SharingPort",
    "StatusPort",
    "Store",
    "WatchPort",
    "WorkPort",
]


class GraphPort(Protocol):
    """What a client needs: hand over a graph, change its mind."""

    def submit(self, plans: Sequence[Plan], /) -> Mapping[RunId, RunId]:
        """Store the plans in one step; a run that is already there is left as it is.

        Returns:
            For each plan that was not stored, because another run holds its lock, that run.

        Raises:
            UnknownNode: An edge names a node that is neither in the plan nor in the store.
            CycleError: Nodes of a plan wait for each other.
            GraphError: There is a node of that id in another run.
            QueueFull: The disk is full, or too much is pending: none of them was stored.
        """
        ...

    def cancel(self, node: NodeId | RunId, /, *, index: int | None = None, reason: str = "") -> bool:
        """Cancel a run, a node, or one item; `True` when anything changed.

        What has not started is cancelled at once; what runs is told by `WorkPort.renew`.

        Raises:
            NoSuchRun: No run or node has that id.
        """
        ...

    def purge(self, queue: str, /) -> int:
        """Cancel all that is queued or waiting in a queue; returns how many items that were.

        What runs goes on, what is blocked stays. A large queue takes several steps.
        """
        ...

    def rerun(self, run: RunId, new: RunId, /) -> Mapping[NodeId, NodeId]:
        """Submit run `new`: what gave no value in `run`, anew; items that succeeded are kept.

        Returns:
            For each node without a value its successor in the new run; empty when nothing failed.
        """
        ...

    def forget(self, run: RunId, /) -> None:
        """Remove a run that has ended, with its results.

        Raises:
            UsageError: It has not ended: cancel it first.
        """
        ...


class WorkPort(Protocol):
    """What a worker needs: take work, keep it, give it back."""

    def claim(self, want: Want, /) -> list[Lease]:
        """Lease what may run now: higher priority first, then in order of submission."""
        ...

    def renew(self, held: Sequence[LeaseKey], /, *, lease_s: float) -> Renewal:
        """Hold leases for `lease_s` from now; answers which were lost and which were cancelled."""
        ...

    def settle(self, done: Sequence[Settlement], /, *, want: Want | None = None) -> Settled:
        """Give outcomes, and claim anew in the same step. What a lost lease settles changes nothing.

        Raises:
            QueueFull: Nothing ends, more items are added (`Growth.widths`), and there is no room for them.
        """
        ...

    def reap(self, /, *, limit: int = 1000) -> float | None:
        """Return expired leases, queue what is due, expire what is late, go on with pending releases.

        Returns:
            Seconds until there is something to do again, or `None`.
        """
        ...

    def pages(self, node: NodeId, lo: int, hi: int, /) -> list[Page]:
        """The pages of an array node that hold any of the items ``[lo, hi)``, in order."""
        ...

    def note(self, notes: Sequence[Note], /) -> None:
        """Record what running attempts say; those of lost leases are dropped.

        Of the kinds of `records.SAID` the last of an item is kept while it runs, and told by
        `WatchPort.items`; an event says that there is a new one.
        """
        ...


class WatchPort(Protocol):
    """What a reader needs: the present, then everything after it."""

    def runs(
        self,
        /,
        *,
        limit: int = 100,
        states: Collection[str] = (),
        match: str = "",
        tags: Mapping[str, Any] | None = None,
        memo: str = "",
    ) -> list[RunView]:
        """The newest runs first, without their nodes; `match` is a prefix of the id or part of the name,
        `tags` are tags that the run has, with these values; `memo` is what it is remembered by, see
        `Plan.meta`: these are found without a look at the others."""
        ...

    def snapshot(self, run: RunId, /) -> tuple[RunView, int]:
        """A run with its nodes, and the cursor from which `events` goes on.

        Raises:
            NoSuchRun: The store knows no such run; ResultExpired: it did.
        """
        ...

    def events(self, after: int, /, *, limit: int = 1000) -> list[Event]:
        """What happened after a cursor, in order; ``after=-1`` gives nothing but the newest event."""
        ...

    def epoch(self) -> str:
        """Names the memory of the store: another answer than before means that it may have forgotten what it
        had acknowledged."""
        ...

    def find(self, prefix: str, /) -> tuple[RunId, NodeId | None]:
        """The run (and the node, when the id is a node's) that an id or a unique prefix of one names."""
        ...

    def values(
        self, nodes: Sequence[NodeId], /, *, lo: int = 0, hi: int | None = None
    ) -> dict[NodeId, list[Segment]]:
        """What has ended of these nodes, in order of index; a replaced node gives its replacement's."""
        ...

    def call(self, node: NodeId, /) -> Call:
        """What a node calls, and with what; the items of a map are in its pages."""
        ...

    def items(self, node: NodeId, /) -> list[ItemView]:
        """The rows of a node's result table, in order of index; together they cover its width."""
        ...

    def logs(self, node: NodeId, /, *, index: int | None = None) -> list[tuple[int, str]]:
        """Captured output as (index, text), in order of index."""
        ...


class StatusPort(Protocol):
    """Who works here, and what lies about."""

    def announce(self, view: WorkerView, /, *, gone: bool = False) -> None:
        """Say how a worker is; `gone` takes it off the list."""
        ...

    def workers(self, /) -> list[WorkerView]:
        """Workers seen in the last minute."""
        ...

    def queues(self, /) -> list[Mapping[str, Any]]:
        """Per queue that has work or is paused: ``queue``, items ``queued``, ``waiting``, ``running``, and
        ``paused``."""
        ...

    def pause(self, queue: str, /, *, resume: bool = False) -> bool:
        """Hand out nothing of a queue until it is resumed; what runs goes on. Tells whether that was new."""
        ...

    def now(self) -> float:
        """The clock of the store, seconds since the epoch: by it those agree who act by the calendar."""
        ...

    def waited_s(self, queues: Sequence[str], /) -> float | None:
        """How long the first in one of these queues has been in the store, seconds: the longest of them;
        `None` when nothing can be claimed. Paused queues are left out."""
        ...

    def limits(self, /) -> list[LimitView]:
        """The limits in use, by name: what is counted of each."""
        ...

    def dead(self, /, *, limit: int = 1000) -> list[tuple[RunId, NodeId, ItemView]]:
        """Dead letters: items that are dead or failed, newest first."""
        ...

    def sweep(self, /, *, age_s: float, size_bytes: int) -> Mapping[str, int]:
        """Retention: forget ended runs older than `age_s`, and the oldest while the store is larger
        than `size_bytes`; compact. Returns what was removed and the size now."""
        ...

    def check(self, /) -> list[tuple[str, bool, str]]:
        """Examine the store: (what, whether it is well, in words)."""
        ...


class PostPort(Protocol):
    """Texts by name that all read, also those that start later: what workers are told to be, schedules."""

    def posted(self, name: str, known: int = -1, /) -> Posted | None:
        """What is posted under a name: empty, with revision 0, when nothing ever was; `None` when its
        revision is the `known` one."""
        ...

    def post(self, name: str, revision: int, body: bytes, /) -> bool:
        """Put this in the place of what has that revision, and ring ``"posted"``; `False`, and nothing is
        done, when there is another by now. Of what is posted under `records.WORKERS` workers are told too."""
        ...


class SharingPort(Protocol):
    """What tasks and clients hold together, whoever runs them: places under a name, and breakers."""

    def hold(
        self,
        name: str,
        holder: str,
        /,
        *,
        most: int,
        ttl_s: float,
        wait_s: float = 0.0,
        together: bool = False,
    ) -> Hold:
        """Take one of `most` places for `ttl_s`, in the order in which they were asked for; who has one keeps
        it for so long from now, with the same fence.

        Args:
            name: What is counted together: kind and name, as in ``"lock:paper"``.
            holder: Who asks; asked again by the same name it is the same place.
            most: How many places there are. With 0 nobody gets a new one, who has one keeps it.
            ttl_s: How long it is held.
            wait_s: How long the turn of who gets none is kept in the line; with 0 it does not wait.
            together: Places are given only all at once, when so many wait.
        """
        ...

    def let_go(self, name: str, holder: str, /) -> bool:
        """Give a place back, or leave the line; `True` when it still had the place. Rings ``"holds"``."""
        ...

    def tell_breaker(self, limit: Limit, word: BreakerWord, /, *, took_s: float = 0.0) -> bool:
        """Ask a breaker whether it lets one through, which `took_s` later is told how that went; or open or
        close it.

        Returns:
            Whether it does; of all other words, whether they changed its state.
        """
        ...


class Bell(Protocol):
    """Rings when a store has something new for its listener. A hint: it may ring for nothing."""

    def fileno(self) -> int:
        """Readable when it rang."""
        ...

    def hush(self) -> Heard:
        """Be silent until it rings again; call it *before* looking. What was said with the rings, which need
        not be anything."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


class Store(GraphPort, WorkPort, WatchPort, StatusPort, PostPort, SharingPort, Protocol):
    """A store keeps all six ports, and wakes those who listen."""

    url: str
    blobs: Blobs

    def listen(self, topic: str, /, *, worker: str | None = None) -> Bell:
        """A bell for ``"work"`` (something may be claimed, was cancelled, or workers are told something),
        ``"watch"`` (events), ``"ends"`` (something has ended; it may ring for other events too),
        ``"posted"``, or ``"holds"`` (a place that others wait for is free).

        That of a `worker` need not ring while there is enough to do for others that found nothing to claim.
        """
        ...

    def hurry(self, within_s: float, /) -> None:
        """Wait no longer than this for anything any more: who asked is about to leave."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class Blobs(Protocol):
    """Bytes by name. A name that is a digest is written once."""

    @property
    def guarded(self) -> bool:
        """Whether nobody but the user can have written them: what is read need not be checked as a whole."""
        ...

    def put(self, name: str, parts: Sequence[bytes | memoryview], /) -> None:
        """Keep the parts, one behind the other, under a name; nothing happens when the name is there."""
        ...

    def open(self, name: str, /) -> memoryview:
        """The bytes, mapped where that is possible. Writing to the view changes no one else's.

        Raises:
            ResultExpired: There is no such blob any more.
        """
        ...

    def has(self, name: str, /) -> bool:
        """Whether the name is there; a name that is found is kept for at least another hour."""
        ...

    def drop(self, name: str, /) -> None:
        """Forget a copy that this host has of a blob, for it is damaged; what is the only one stays."""
        ...

    def sweep(self, keep: Collection[str], /, *, age_s: float) -> int:
        """Delete all that is not named in `keep` and was not used for `age_s`; returns the bytes freed."""
        ...


class Results(Protocol):
    """A place where results are put and read, beside the store: Celery's result backend.

    It owns no state: a task has ended when the store says so.
    """

    def put(self, record: ResultRecord, /) -> None:
        """Keep what became of a task, in the place of what is known of it, unless that has a higher fence.

        Raises:
            StoreUnavailable: There is no answer.
        """
        ...

    def get(self, id: str, /) -> ResultRecord | None:  # noqa: A002 - what the attribute is called
        """What was put, if it is there."""
        ...

    def put_group(self, record: GroupRecord, /) -> None:
        """Keep the members of a group, in the place of what is known of it."""
        ...

    def get_group(self, id: str, /) -> GroupRecord | None:  # noqa: A002 - what the attribute is called
        """What was put, if it is there."""
        ...

    def delete(self, id: str, /) -> bool:  # noqa: A002 - what the attribute is called
        """Forget a task or a group; whether it was there."""
        ...

    def sweep(self, age_s: float, /) -> int:
        """Forget what ended longer than `age_s` ago; returns how much that was."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


WHOLE = 1 << 16
"""So many slots stand for all that a cluster has."""


class Promises(NamedTuple):
    """What is true of a pool. What it cannot keep it refuses, before a call that wants it begins: nothing is
    quietly left out, but by the pool ``inline``, which is for debugging.

    Args:
        soft_limit: `SoftTimeLimitExceeded` is raised in a task whose soft limit of time is over.
        hard_limit: A task whose hard limit of time is over is ended by force.
        memory_limit: A task that uses more memory than it may is ended by force.
        interrupt: A task that runs is told by `TaskCancelled` that it was cancelled.
        force: One that goes on all the same is ended by force.
        dies_alone: When a task takes its process down, no other call is held up by it.
        live: What a task prints, and how far it is, is told while it runs.
        deep_output: What C code and other programs print that it starts is kept too.
        lends: While a task waits for others its slot runs another.
    """

    soft_limit: bool = True
    hard_limit: bool = True
    memory_limit: bool = True
    interrupt: bool = True
    force: bool = True
    dies_alone: bool = True
    live: bool = True
    deep_output: bool = True
    lends: bool = True


class Pool(Protocol):
    """Runs calls somewhere. A child that dies is an outcome, not an exception.

    The worker gives leases with what they need as bytes, and gets settlements back.
    """

    slots: int
    promises: Promises

    def free(self) -> int:
        """Slots that could take a lease now."""
        ...

    def start(self, lease: Lease, inputs: Mapping[Edge, list[Segment]], pages: Sequence[Page], /) -> None:
        """Run a lease in a free slot; the outcome comes by `finished`."""
        ...

    def kill(self, key: LeaseKey, reason: str, /, *, grace_s: float | None = None) -> None:
        """Stop a lease: the outcome is *cancelled* for what had not ended.

        A task is first asked, by `SoftTimeLimitExceeded`'s means, and given `grace_s` (the pool's own when
        it is `None`); with 0 it is stopped at once.
        """
        ...

    def finished(self) -> tuple[list[Settlement], list[Note]]:
        """What ended and what was said since the last call; does not wait."""
        ...

    def filenos(self) -> Sequence[int]:
        """Readable when `finished` or `free` may have changed."""
        ...

    def due_s(self) -> float | None:
        """Seconds until `finished` must be called though nothing is readable (a time limit), or `None`."""
        ...

    def resize(self, slots: int, /) -> None:
        """Grow at once; shrink as slots fall free."""
        ...

    def close(self, /, *, drain_s: float) -> list[Settlement]:
        """Let running calls end for `drain_s` seconds, then stop them; what did not end is *released*."""
        ...
