"""The words in which the store contract is told: short names for what clients and workers do.

A `Story` drives a store like a client and its workers would, and examines the store after every step.
Ids are plain words; a run has the id ``"run"`` unless it is given another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskflow.ids import NodeId, RunId, WorkerId
from taskflow.ports import Store
from taskflow.records import (
    Edge,
    EdgeMode,
    Event,
    Failure,
    Growth,
    Kind,
    Lease,
    LeaseKey,
    Lock,
    Node,
    NodeView,
    Outcome,
    Page,
    Plan,
    RunView,
    Settled,
    Settlement,
    Want,
)
from taskflow.states import State
from taskflow.testing.clock import ManualClock

__all__ = [
    "ERROR",
    "Story",
    "after",
    "array",
    "call",
    "drop",
    "edge",
    "ended",
    "keep",
    "nodes_of",
    "one",
    "outcome",
    "pages",
    "value",
]

ERROR = Failure("failed", "builtins.ValueError", "no").to_json()


def value(text: str = "value") -> bytes:
    """What a codec might make of a text, kept inline."""
    return b"\x01" + text.encode()


def edge(parent: str, mode: EdgeMode, lo: int = 0, hi: int | None = None) -> Edge:
    """An edge on a node, or on some of its items."""
    return Edge(NodeId(parent), mode, lo, hi)


def after(parent: str) -> Edge:
    """An edge that needs success and gives nothing."""
    return Edge(NodeId(parent), EdgeMode.AFTER)


def keep(parent: str) -> Edge:
    """An edge that gives failed items as exceptions."""
    return Edge(NodeId(parent), EdgeMode.KEEP)


def drop(parent: str) -> Edge:
    """An edge that leaves failed items out."""
    return Edge(NodeId(parent), EdgeMode.DROP)


def ended(parent: str) -> Edge:
    """An edge that only waits."""
    return Edge(NodeId(parent), EdgeMode.ENDED)


def call(name: str, *parents: str | Edge, **options: Any) -> Node:
    """A call; parents that are plain words are edges of mode ``ALL``."""
    edges = tuple(p if isinstance(p, Edge) else Edge(NodeId(p)) for p in parents)
    return Node(NodeId(name), "f", value("args"), edges, label=name)._replace(**options)


def array(name: str, width: int | None, *parents: str | Edge, **options: Any) -> Node:
    """An array node with one page for every ten items."""
    return call(name, *parents, **{"width": width, "array": True, "pages": pages(width or 0)} | options)


def pages(width: int) -> tuple[Page, ...]:
    """Pages of ten items."""
    return tuple(Page(lo, min(lo + 10, width), value(f"page {lo}")) for lo in range(0, width, 10))


class Story:
    """Drives a store in few words.

    Args:
        store: The store under test.
        clock: The clock it was given.
    """

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock

    def check(self) -> None:
        """The store finds nothing wrong with itself."""
        faults = [(what, words) for what, well, words in self.store.check() if not well]
        assert faults == []

    # ── the client ───────────────────────────────────────────────────────────────────

    def submit(
        self,
        *nodes: Node,
        run: str = "run",
        name: str = "",
        meta: Mapping[str, Any] | None = None,
        lock: Lock | None = None,
        max_pending: int | None = None,
    ) -> str | None:
        """Submit a run of these nodes; gives the run that holds its lock, if that is another one."""
        plan = Plan(RunId(run), nodes, name, meta or {}, lock, max_pending)
        held = self.store.submit([plan])
        self.check()
        assert set(held) <= {run}
        return held.get(plan.run)

    def purge(self, queue: str = "default") -> int:
        """Empty a queue."""
        items = self.store.purge(queue)
        self.check()
        return items

    def queue(self, name: str = "default") -> tuple[int, int, int]:
        """How many items of a queue are queued, waiting and running."""
        for line in self.store.queues():
            if line["queue"] == name:
                return line["queued"], line["waiting"], line["running"]
        return 0, 0, 0

    def cancel(self, target: str, index: int | None = None, reason: str = "no more") -> bool:
        """Cancel a run, a node or an item."""
        changed = self.store.cancel(NodeId(target), index=index, reason=reason)
        self.check()
        return changed

    def rerun(self, run: str = "run", new: str = "again") -> dict[str, str]:
        """Submit anew what gave no value."""
        names = self.store.rerun(RunId(run), RunId(new))
        self.check()
        return {str(old): str(name) for old, name in names.items()}

    # ── the worker ───────────────────────────────────────────────────────────────────

    def claim(self, slots: int = 1, **want: Any) -> list[Lease]:
        """Claim for a worker; keywords are those of `Want`."""
        leases = self.store.claim(self.want(slots, **want))
        self.check()
        return leases

    def want(self, slots: int = 1, **want: Any) -> Want:
        """What `claim` asks for."""
        options: dict[str, Any] = {"worker": WorkerId("w1"), "queues": ("default",), "slots": slots}
        return Want(**options | want)

    def take(self, **want: Any) -> Lease:
        """Claim exactly one lease."""
        (lease,) = self.claim(1, **want)
        return lease

    def settle(self, lease: Lease | LeaseKey, *outcomes: Outcome, grow: Growth | None = None) -> bool:
        """Settle a lease; whether it was accepted."""
        key = lease.key if isinstance(lease, Lease) else lease
        settled = self.store.settle([Settlement(key, outcomes, grow)])
        self.check()
        return key not in settled.lost

    def settle_and_claim(self, lease: Lease, *outcomes: Outcome, want: Want) -> Settled:
        """Settle a lease and claim anew in the same step."""
        settled = self.store.settle([Settlement(lease.key, outcomes)], want=want)
        self.check()
        return settled

    def renew_all(self, leases: Sequence[Lease], lease_s: float = 15.0) -> None:
        """Keep leases."""
        self.store.renew([lease.key for lease in leases], lease_s=lease_s)
        self.check()

    def succeed(self, lease: Lease, text: str = "value", grow: Growth | None = None) -> bool:
        """All items of a lease succeeded."""
        return self.settle(lease, outcome(lease, Kind.SUCCEEDED, value=value(text)), grow=grow)

    def fail(self, lease: Lease, at: int | None = None) -> bool:
        """One item failed, the first unless another is named; the rest stays held."""
        return self.settle(lease, one(lease, Kind.FAILED, at, error=ERROR))

    def retry(self, lease: Lease, delay_s: float = 0.0) -> bool:
        """The first item raised and is to be tried again."""
        return self.settle(lease, one(lease, Kind.RETRY, error=ERROR, delay_s=delay_s))

    def lose(self, lease: Lease, at: int | None = None) -> bool:
        """The process died while it ran an item."""
        return self.settle(lease, one(lease, Kind.LOST, at, error=ERROR))

    def release(self, lease: Lease) -> bool:
        """Give all items back."""
        return self.settle(lease, outcome(lease, Kind.RELEASED))

    def run(self, *names: str) -> None:
        """Claim one lease after the other and succeed; the nodes must come in this order."""
        for name in names:
            lease = self.take()
            assert lease.key.node == name
            assert self.succeed(lease, name)

    def wait(self, seconds: float) -> float | None:
        """Let time pass, then reap."""
        self.clock.advance(seconds)
        return self.reap()

    def reap(self) -> float | None:
        """Do what time demands."""
        due = self.store.reap()
        self.check()
        return due

    # ── the reader ───────────────────────────────────────────────────────────────────

    def node(self, name: str) -> NodeView:
        """A node as it stands."""
        for run in self.store.runs():
            for view in self.store.snapshot(run.id)[0].nodes:
                if view.id == name:
                    return view
        raise LookupError(name)

    def state(self, name: str) -> State:
        """The state of a node."""
        return self.node(name).state

    def states(self, *names: str) -> list[State]:
        """The states of nodes."""
        return [self.state(name) for name in names]

    def items(self, name: str) -> list[State]:
        """The state of each item of a node; its rows cover it without a gap."""
        states: list[State] = []
        for row in self.store.items(NodeId(name)):
            assert row.lo == len(states)
            states += [row.state] * (row.hi - row.lo)
        return states

    def run_view(self, run: str = "run") -> RunView:
        """A run as it stands."""
        return self.store.snapshot(RunId(run))[0]

    def values(self, name: str) -> list[str | None]:
        """The texts of the segments of a node, `None` for those without one."""
        segments = self.store.values([NodeId(name)])[NodeId(name)]
        return [s.value[1:].decode() if s.value is not None else None for s in segments]

    def failure(self, name: str, index: int = 0) -> Failure:
        """Why an item has no value."""
        segments = self.store.values([NodeId(name)])[NodeId(name)]
        (error,) = [s.error for s in segments if s.lo <= index < s.hi]
        assert error is not None
        return Failure.from_json(error)

    def events(self, node: str = "", *, since: int = 0) -> list[Event]:
        """Events of a node, or all."""
        return [event for event in self.store.events(since) if node in ("", event.node)]

    def cursor(self) -> int:
        """Where the events end now."""
        return max((event.cursor for event in self.store.events(-1)), default=0)


def outcome(lease: Lease, kind: Kind, **rest: Any) -> Outcome:
    """An outcome of all items of a lease."""
    return Outcome(lease.key.lo, lease.key.hi, kind, **rest)


def one(lease: Lease, kind: Kind, at: int | None = None, **rest: Any) -> Outcome:
    """An outcome of one item of a lease, the first unless another is named."""
    lo = lease.key.lo if at is None else at
    return Outcome(lo, lo + 1, kind, **rest)


def nodes_of(leases: Sequence[Lease]) -> list[str]:
    """The nodes that were claimed, in order."""
    return [lease.key.node for lease in leases]
