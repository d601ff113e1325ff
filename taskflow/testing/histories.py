"""Random lives of a store: clients and workers do what they like, an oracle knows what must come of it.

::

    def test_my_store_lives_as_the_oracle_says(tmp_path):
        live(lambda clock: MyStore(clock=clock))

``TASKFLOW_HISTORIES=20`` multiplies their number; with ``TASKFLOW_SHRINK=0`` the first one that fails is
shown at once, as it is. Where ``CI`` is set they are the same each time: what fails there fails here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_histories

from taskflow.ids import NodeId, RunId, WorkerId
from taskflow.limits import CircuitBreaker, ConcurrencyLimit, Limit, RateLimit
from taskflow.policy import OnFailure, Policy
from taskflow.ports import Store
from taskflow.records import (
    Edge,
    EdgeMode,
    Given,
    Growth,
    Kind,
    Lease,
    Node,
    Outcome,
    Page,
    Plan,
    Settlement,
    Want,
)
from taskflow.states import TERMINAL, State
from taskflow.testing.clock import ManualClock
from taskflow.testing.oracle import Known, Oracle
from taskflow.testing.story import ERROR, pages, value

__all__ = ["Histories", "live"]

_EITHER = (State.QUEUED, State.WAITING)
_ENDS = (*[Kind.SUCCEEDED] * 3, Kind.FAILED, Kind.FAILED, Kind.CANCELLED, Kind.SKIPPED, Kind.REJECTED)
_ON_FAILURE: list[OnFailure] = ["continue", "continue", "continue", "continue", "stop", "skip"]
_MODES = [mode for mode in EdgeMode if mode not in (EdgeMode.ITEM, EdgeMode.FEEDS)]
_RETURNS = (Kind.RETRY, Kind.LOST, Kind.RELEASED)
_FAR_S = 200.0
_FEW = ConcurrencyLimit("few", 2).limit("few")
_SLOW = RateLimit(0.5, burst=3).limit("slow")
_OWN = RateLimit(0.25, burst=2, per_worker=True).limit("own")
_GUARD = CircuitBreaker("guard", failures=2, window=20, reset_after=12).limit("guard")
_HELD = CircuitBreaker("held", failures=2, window=20, reset_after=7, half_open=2, when_open="hold").limit("h")
_LIMITS: list[tuple[Limit, ...]] = [
    *((_FEW,), (_FEW._replace(most=1),), (_SLOW,), (_OWN,), (_GUARD,), (_GUARD,), (_HELD,), (_FEW, _SLOW)),
    *((_GUARD, _SLOW), (_FEW, _HELD)),
]


def live(
    factory: Callable[[ManualClock], Any], *, examples: int = 50, steps: int = 40, shrink: bool = True
) -> None:
    """Let a store live through random histories.

    Args:
        factory: Makes an empty store on a clock.
        examples: How many histories.
        steps: How long each is at most.
        shrink: Look for a shorter history when one fails: minutes where a store is slow.
    """
    kind = type("Life", (Histories,), {"factory": staticmethod(factory)})
    many = examples * int(os.environ.get("TASKFLOW_HISTORIES", "1"))
    shrink = shrink and os.environ.get("TASKFLOW_SHRINK") != "0"
    phases = [phase for phase in Phase if shrink or phase not in (Phase.shrink, Phase.explain)]
    rules = settings(
        max_examples=many,
        stateful_step_count=steps,
        phases=phases,
        derandomize="CI" in os.environ,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_histories(kind, settings=rules)


class Histories(RuleBasedStateMachine):
    """One life of a store. `factory` makes it."""

    factory: ClassVar[Callable[[ManualClock], Any]]

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(1000.0)
        self.store: Store = type(self).factory(self.clock)
        self.oracle = Oracle(self.clock.now, self._root_of)
        self.plans: list[Plan] = []
        self.leases: list[Lease] = []
        self.sent: list[Settlement] = []
        self.ends: dict[tuple[str, int], State] = {}
        self.cursor = 0
        self.count = 0

    # ── the client ───────────────────────────────────────────────────────────────────

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """There is always something to do."""
        self.submit(data)

    @rule(data=st.data())
    @precondition(lambda self: len(self.oracle.nodes) < 16)
    def submit(self, data: st.DataObject) -> None:
        """A new run."""
        run = self._name("r")
        nodes: list[Node] = []
        for _ in range(data.draw(st.integers(1, 4), "nodes")):
            nodes.append(self._node(data, nodes))
        self.plans.append(Plan(RunId(run), tuple(nodes)))
        self.store.submit([self.plans[-1]])
        self.oracle.submit(self.plans[-1], self.clock.now())

    def _name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def _root_of(self, node: str) -> str | None:
        run, _ = self.store.find(node)
        return next(view.root for view in self.store.snapshot(run)[0].nodes if view.id == node)

    def _node(self, data: st.DataObject, beside: list[Node]) -> Node:
        draw = data.draw
        live = [known.id for known in self.oracle.live()]
        parents = [*self.oracle.nodes, *live * 2, *[str(node.id) for node in beside] * 3]
        chosen = (
            draw(st.lists(st.sampled_from(parents), max_size=2, unique=True), "parents") if parents else []
        )
        edges = [self._edge(data, parent, beside) for parent in chosen]
        array = draw(st.booleans(), "array")
        width: int | None = draw(st.integers(0, 6), "width") if array else 1
        callers = [node for node in beside if not node.array]
        if array and callers and draw(st.integers(0, 2), "unknown width") == 0:
            width, edges = None, [Edge(callers[0].id, EdgeMode.AFTER)]
        elif array and callers and draw(st.booleans(), "fed"):
            edges = [e for e in edges if e.parent != callers[0].id]
            edges.append(Edge(callers[0].id, EdgeMode.FEEDS))
        policy = Policy(
            max_deliveries=draw(st.integers(1, 3), "deliveries"),
            chunk=draw(st.sampled_from([None, 2]), "chunk"),
            on_failure=draw(st.sampled_from(_ON_FAILURE), "on failure"),
            max_parallel=draw(st.sampled_from([None, None, None, 1, 2]), "max parallel"),
            run_parallel=draw(st.sampled_from([None, None, None, 2, 3]), "run parallel"),
            limits=draw(st.sampled_from([()] * 5 + _LIMITS), "limits"),
        )
        known = self._given(data, width) if array and width and not edges else ()
        return Node(
            NodeId(self._name("n")), "f", value(), tuple(edges), width, array, pages(width or 0),
            queue=draw(st.sampled_from("qp"), "queue"), priority=draw(st.integers(0, 2), "priority"),
            policy=policy, given=known,
            delay_s=None if known else draw(st.sampled_from([None, None, 0.0, 7.0]), "delay"),
            expires_s=draw(st.sampled_from([None, None, None, 9.0, 25.0]), "expires"),
        )  # fmt: skip

    @staticmethod
    def _given(data: st.DataObject, width: int) -> tuple[Given, ...]:
        """Ranges of items that have succeeded before; more often than not there are none."""
        marks = sorted(data.draw(st.sets(st.integers(0, width), max_size=4), "given"))
        return tuple(Given(lo, hi, value("given")) for lo, hi in zip(marks[::2], marks[1::2], strict=False))

    def _edge(self, data: st.DataObject, parent: str, beside: list[Node]) -> Edge:
        """On all of a node, or on some of its items."""
        mode = data.draw(st.sampled_from(_MODES), "mode")
        known = self.oracle.nodes.get(parent)
        widths = {node.id: node.width for node in beside if node.array}
        width = (
            len(known.items or ()) if known is not None and known.node.array else widths.get(NodeId(parent))
        )
        if not width or mode in (EdgeMode.FAILED, EdgeMode.BROKEN) or data.draw(st.booleans(), "all of it"):
            return Edge(NodeId(parent), mode)
        lo = data.draw(st.integers(0, width - 1), "lo")
        return Edge(NodeId(parent), mode, lo, data.draw(st.integers(lo + 1, width), "hi"))

    @rule(data=st.data())
    def submit_again(self, data: st.DataObject) -> None:
        """The client got no answer: nothing happens."""
        before = self._seen()
        self.store.submit([data.draw(st.sampled_from(self.plans))])
        assert self._seen() == before

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """A run, a node, an item."""
        targets = [*self.oracle.nodes] * 4 + self.oracle.runs
        target = data.draw(st.sampled_from(targets), "target")
        index = data.draw(st.sampled_from([0, 1, 2, None]), "index") if target in self.oracle.nodes else None
        changed = self.store.cancel(NodeId(target), index=index, reason="enough")
        assert changed == self.oracle.cancel(target, index)

    @rule(queue=st.sampled_from(["q", "p"]))
    @precondition(lambda self: self.count % 3 == 0)
    def purge(self, queue: str) -> None:
        """What waits in a queue."""
        assert self.store.purge(queue) == self.oracle.purge(queue)

    @rule(data=st.data())
    @precondition(lambda self: len(self.oracle.nodes) < 24)
    def rerun(self, data: st.DataObject) -> None:
        """What gave no value, twice with the same name."""
        worth = [run for run in self.oracle.runs if self.oracle.to_rerun(run)] or self.oracle.runs
        run, new = data.draw(st.sampled_from(worth), "run"), self._name("r")
        names = self.store.rerun(RunId(run), RunId(new))
        self.oracle.rerun(run, new, {str(old): str(name) for old, name in names.items()})
        assert self.store.rerun(RunId(run), RunId(new)) == names
        for name in names.values():
            for i, item in enumerate(self.oracle.nodes[name].items or ()):
                if item.kept:
                    self.ends[name, i] = State.SUCCEEDED

    # ── the worker ───────────────────────────────────────────────────────────────────

    @rule(
        slots=st.integers(0, 4),
        queues=st.sampled_from([("q",), ("p",), ("q", "p"), ("q", "p")]),
        pace=st.sampled_from([None, 0.004, 0.02]),
        lease_s=st.sampled_from([5.0, 15.0, 60.0]),
        turns=st.sampled_from([(), (), (0, 0), (1, 0), (1, 1), (3, 1)]),
    )
    def claim(
        self,
        slots: int,
        queues: tuple[str, ...],
        pace: float | None,
        lease_s: float,
        turns: tuple[int, ...] = (),
    ) -> None:
        """A worker has free slots."""
        want = self._want(slots, queues, pace, lease_s)
        if not self._late() and not self._is_any_refused():  # when these are found depends on the turns
            want = want._replace(turns=turns[: len(queues)])
        self._claimed(want, self.store.claim(want))

    def _want(self, slots: int, queues: tuple[str, ...], pace: float | None, lease_s: float) -> Want:
        pace_s = {} if pace is None else {"f": pace}
        return Want(WorkerId("w"), queues, slots, lease_s, pace_s, share=1)

    def _claimed(self, want: Want, leases: list[Lease]) -> None:
        now = self.clock.now()
        gone = [k.id for k in self._late() if State.EXPIRED in self._items(k.id)]
        refused = [k.id for k in self.oracle.live() if k.id not in gone and self._was_refused(k, now)]
        self.oracle.claimed(want, leases, now, [*gone, *refused])
        self.leases += leases

    def _was_refused(self, known: Known, now: float) -> bool:
        """Whether a claim let items fail or wait because a breaker is open, as far as the store says."""
        limits = known.node.policy.limits
        if known.blocked or not any(limit.failures and not limit.holds for limit in limits):
            return False
        for mine, theirs in zip(known.items or (), self._items(known.id), strict=True):
            if mine.live and theirs is State.FAILED:
                return True
            due = mine.state is State.QUEUED or (mine.until is not None and mine.until <= now)
            if due and mine.deliveries and mine.state in _EITHER and theirs is State.WAITING:
                return self.oracle.bounds.blown(limits, now) is not None
        return False

    def _late(self) -> list[Known]:
        now = self.clock.now()
        return [k for k in self.oracle.live() if k.expires is not None and k.expires <= now and not k.blocked]

    def _is_any_refused(self) -> bool:
        now = self.clock.now()
        return any(self.oracle.bounds.blown(k.node.policy.limits, now) for k in self.oracle.live())

    @rule(data=st.data())
    @precondition(lambda self: self.leases)
    def settle(self, data: st.DataObject) -> None:
        """Any lease that ever was, in whole or in part, well or badly."""
        lease = data.draw(st.sampled_from(self.leases[-8:]), "lease")
        settlement = self._settlement(data, lease)
        self._settle(settlement, data)

    @rule(data=st.data(), slots=st.integers(1, 4))
    def work(self, data: st.DataObject, slots: int) -> None:
        """Claim, and settle what was claimed: the common case."""
        self.claim(slots, ("q", "p"), 0.004, 15.0)
        for lease in self.leases[-slots:]:
            self._settle(self._settlement(data, lease), data)

    @rule(slots=st.integers(1, 4), pace=st.sampled_from([None, 0.004]))
    def die(self, slots: int, pace: float | None) -> None:
        """Claim, and never be heard of again, or only much later."""
        self.claim(slots, ("q", "p"), pace, 5.0)
        self.reap(5.0)

    @rule(data=st.data())
    @precondition(lambda self: self.leases)
    def succeed(self, data: st.DataObject) -> None:
        """The common case: all items of the newest leases."""
        lease = data.draw(st.sampled_from(self.leases[-3:]), "lease")
        text = value(f"{lease.key.fence}")
        self._settle(
            Settlement(lease.key, (Outcome(lease.key.lo, lease.key.hi, Kind.SUCCEEDED, text),)), data
        )

    @rule(data=st.data())
    @precondition(lambda self: self.sent)
    def settle_again(self, data: st.DataObject) -> None:
        """The worker got no answer."""
        self._settle(data.draw(st.sampled_from(self.sent[-8:]), "sent"), None)

    def _settlement(self, data: st.DataObject, lease: Lease) -> Settlement:
        at, hi = lease.key.lo, lease.key.hi
        outcomes: list[Outcome] = []
        while at < hi:
            size = data.draw(st.integers(1, hi - at), "size")
            kind = data.draw(st.sampled_from([None, *_ENDS, *_RETURNS]), "kind")
            if kind in (Kind.SUCCEEDED, Kind.RELEASED):
                outcomes.append(Outcome(at, at + size, kind, value(f"{lease.key.fence}")))
            elif kind is not None:
                delay_s = data.draw(st.sampled_from([0.0, 6.0]), "delay") if kind in _RETURNS else 0.0
                spared = kind in (Kind.FAILED, Kind.RETRY) and data.draw(st.integers(0, 3), "spared") == 0
                outcomes += [
                    Outcome(i, i + 1, kind, error=ERROR, delay_s=delay_s, spared=spared)
                    for i in range(at, at + size)
                ]
            at += size
        growth = None if lease.key.hi - lease.key.lo > 1 else self._growth(data, lease, outcomes)
        if growth is not None and growth.final is not None:
            outcomes = [Outcome(lease.key.lo, lease.key.hi, Kind.REPLACED)]
        return Settlement(lease.key, tuple(outcomes), growth)

    def _growth(self, data: st.DataObject, lease: Lease, outcomes: list[Outcome]) -> Growth | None:
        more = self._more(data, lease)
        if more and (not outcomes or data.draw(st.booleans(), "only more")):
            return Growth(widths=more)
        if not outcomes or outcomes[0].kind is not Kind.SUCCEEDED or len(self.oracle.nodes) > 20:
            return None
        run = self.oracle.nodes[lease.key.node].run
        unknown = [k for k in self.oracle.of(run) if k.items is None and _feeds(k, lease.key.node)]
        widths = {}
        for known in unknown:
            width = data.draw(st.integers(0, 4), "width")
            widths[NodeId(known.source or known.id)] = (width, pages(width))
        waited = any(_feeds(known, lease.key.node) for known in self.oracle.live())
        kinds = ["none", "nodes", "final", "final", *["join"] * (3 if waited else 0)]
        kind = data.draw(st.sampled_from(kinds), "growth")
        if kind == "none":
            return Growth(widths=widths) if widths else None
        nodes: list[Node] = []
        for _ in range(data.draw(st.integers(1, 2), "nodes")):
            nodes.append(self._grown(data, lease, kind, nodes))
        return Growth(
            tuple(nodes),
            {} if kind == "final" else widths,
            nodes[-1].id if kind == "final" else None,
            (nodes[-1].id,) if kind == "join" else (),
        )

    def _more(self, data: st.DataObject, lease: Lease) -> dict[NodeId, tuple[int, tuple[Page, ...]]]:
        """Items that a call adds to the arrays it feeds; at times it says again what it has said."""
        found: dict[NodeId, tuple[int, tuple[Page, ...]]] = {}
        for known in self.oracle.of(self.oracle.nodes[lease.key.node].run):
            if any(e.parent == lease.key.node and e.mode is EdgeMode.FEEDS for e in known.edges):
                there = len(known.items or ())
                lo = data.draw(st.sampled_from([there, there, there, 0]), "from")
                hi = lo + data.draw(st.integers(1, 4), "more")
                found[NodeId(known.id)] = (hi, (Page(lo, hi, value("more")),))
        return found

    def _grown(self, data: st.DataObject, lease: Lease, kind: str, beside: list[Node]) -> Node:
        """A node that depends on nothing that waits for the one that it grows from, but on what did."""
        node = self._node(data, beside)
        ended = {known.id for known in self.oracle.nodes.values() if known.ended}
        free, below = {*(other.id for other in beside), *ended}, self._below(lease.key.node)
        edges = tuple(
            edge._replace(lo=0, hi=None) if edge.parent in below else edge
            for edge in node.edges
            if edge.parent in free
        )
        if kind == "nodes":
            edges = (Edge(lease.key.node), *edges)
        elif kind == "final" and lease.array:
            node = node._replace(array=False, width=1)
            edges = tuple(edge for edge in edges if edge.mode is not EdgeMode.FEEDS)  # they add to arrays
        width = 2 if node.width is None else node.width
        known = node.given if node.array and not edges else ()
        return node._replace(edges=edges, width=width, pages=pages(width), given=known)

    def _below(self, node: str) -> set[str]:
        """What waits, or waited, for a node: in a rerun it would again."""
        found, todo = {node}, [node]
        while todo:
            parent = todo.pop()
            more = {k.id for k in self.oracle.nodes.values() if _waits_for(k, parent)} - found
            found |= more
            todo += more
        return found

    def _settle(self, settlement: Settlement, data: st.DataObject | None) -> None:
        if not settlement.outcomes and settlement.grow is None:
            return
        self.sent.append(settlement)
        want = None
        if data is not None and data.draw(st.booleans(), "and claim"):
            want = self._want(1, ("q", "p"), 0.004, 15.0)
        before = self._seen()
        settled = self.store.settle([settlement], want=want)
        key, outcomes, growth = settlement
        accepted = self.oracle.settle(key, outcomes, growth, self.clock.now())
        assert settled.lost == (frozenset() if accepted else {key})
        if want is not None:
            self._claimed(want, settled.leases)
        elif not accepted:
            assert self._seen() == before

    @rule(data=st.data(), lease_s=st.sampled_from([5.0, 30.0]))
    @precondition(lambda self: self.leases)
    def renew(self, data: st.DataObject, lease_s: float) -> None:
        """Some of the leases that ever were."""
        some = data.draw(
            st.lists(st.sampled_from([lease.key for lease in self.leases[-8:]]), unique=True), "held"
        )
        renewal = self.store.renew(some, lease_s=lease_s)
        lost, cancelled = self.oracle.renew(some, self.clock.now(), lease_s)
        assert (set(renewal.lost), set(renewal.cancelled)) == (lost, cancelled)

    # ── time ─────────────────────────────────────────────────────────────────────────

    @rule(seconds=st.sampled_from([1.0, 5.0, 7.0, 16.0]))
    def pass_time(self, seconds: float) -> None:
        """Nobody reaps."""
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([0.0, 5.0, 7.0, 16.0]))
    def reap(self, seconds: float) -> None:
        """A worker reaps, and is told when to come again."""
        self.clock.advance(seconds)
        due = self.store.reap()
        self.oracle.reap(self.clock.now())
        marks = [mark for known in self.oracle.live() if (mark := known.next_mark()) is not None]
        if marks:
            assert due is not None
            assert 0 < due <= min(marks) - self.clock.now()

    # ── what must be true ────────────────────────────────────────────────────────────

    @invariant()
    def the_store_finds_itself_well(self) -> None:
        """Its own invariants hold."""
        assert [line for line in self.store.check() if not line[1]] == []

    @invariant()
    def every_state_is_as_the_oracle_says(self) -> None:
        """Of runs, nodes and items."""
        now = self.clock.now()
        for run in self.oracle.runs:
            view, _ = self.store.snapshot(RunId(run))
            nodes = self.oracle.of(run)
            assert [node.id for node in view.nodes] == [known.id for known in nodes]
            units = [state for known in nodes for state in known.units()]
            assert view.total == sum(view.counts.values()) == len(units)
            for state in (*TERMINAL, State.RUNNING):
                assert view.counts.get(state, 0) == units.count(state), (run, state)
            assert (view.state in TERMINAL) == (view.ended_at is not None) == all(k.ended for k in nodes)
            assert view.state is (self.oracle.run_state(run) if view.ended_at else State.RUNNING)
            for node, known in zip(view.nodes, nodes, strict=True):
                if known.ended is not None and node.root != known.root:
                    fed = self.oracle.fed_roots(known)
                    assert known.ended is State.SKIPPED or fed, known
                    assert node.root in self.oracle.roots(known) | fed, known
                    known.root = node.root
                assert sum(node.counts.values()) == len(known.units())
                self._same(known, node.state, now)

    def _same(self, known: Known, state: State, now: float) -> None:
        unsure = known.unsure(now) and state not in TERMINAL
        if not unsure:
            assert state is known.state(), known
        if known.items is None or known.final is not None:
            return
        expected = known.units()
        for i, (mine, theirs) in enumerate(zip(expected, self._items(known.id), strict=True)):
            # Items that were cut off the others before the delay was over wait for a reap.
            delayed = bool(known.due or known.node.delay_s) and known.items[i].state in _EITHER
            same = mine is theirs or (mine is State.BLOCKED and theirs in _EITHER)
            assert same or ((unsure or delayed) and {mine, theirs} <= set(_EITHER)), (known, i, theirs)

    @invariant()
    def every_item_ends_once(self) -> None:
        """And stays as it ended."""
        for event in self._new_events():
            for i in range(event.lo, event.hi):
                if event.state in TERMINAL:
                    assert (event.node, i) not in self.ends, "it ended twice"
                    self.ends[event.node, i] = event.state
                else:
                    assert (event.node, i) not in self.ends, "it came back to life"
        for known in self.oracle.nodes.values():
            for i, item in enumerate(known.items or () if known.final is None else ()):
                assert item.live == ((known.id, i) not in self.ends)

    def _new_events(self) -> list[Any]:
        found = []
        while batch := self.store.events(self.cursor):
            self.cursor = batch[-1].cursor
            found += batch
        return found

    def _items(self, node: str) -> list[State]:
        return [row.state for row in self.store.items(NodeId(node)) for _ in range(row.lo, row.hi)]

    def _seen(self) -> Any:
        newest = self.store.events(-1)
        return newest and newest[0][1:], [self.store.items(NodeId(node)) for node in self.oracle.nodes]

    # ── the end ──────────────────────────────────────────────────────────────────────

    def teardown(self) -> None:
        """A willing worker brings everything to an end."""
        try:
            for _ in range(120):
                if not self.oracle.live():
                    break
                self._work_through()
            assert self.oracle.live() == [], f"never pending for ever: {self.oracle.live()}"
            self.every_state_is_as_the_oracle_says()
            self.the_store_finds_itself_well()
            self._values_are_whole()
        finally:
            self.store.close()

    def _work_through(self) -> None:
        self.reap(_FAR_S)
        want = self._want(9, ("q", "p"), 0.004, 15.0)
        leases = self.store.claim(want)
        self._claimed(want, leases)
        for lease in leases:
            whole = Outcome(lease.key.lo, lease.key.hi, Kind.SUCCEEDED, value(f"{lease.key.fence}"))
            self._settle(Settlement(lease.key, (whole,)), None)

    def _values_are_whole(self) -> None:
        for name, known in self.oracle.nodes.items():
            if known.final is not None or known.items is None:
                continue
            segments = self.store.values([NodeId(name)])[NodeId(name)]
            told = [(i, s.state, s.fence) for s in segments for i in range(s.lo, s.hi)]
            assert told == [(i, item.state, item.done) for i, item in enumerate(known.items)], known


def _waits_for(known: Known, parent: str) -> bool:
    return parent in {*(edge.parent for edge in known.edges), known.final, *known.finals.values()}


def _feeds(known: Known, parent: str) -> bool:
    return any(edge.parent == parent for edge in known.edges)
