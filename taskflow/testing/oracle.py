"""A second opinion: what a store must hold, worked out the slow way.

Written unlike the machine on purpose: one object per item, no ranges, no counters, and everything that
follows from an end is found by looking at all nodes again and again until nothing changes. It does not
choose what a claim hands out; it judges what a store chose.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from taskflow.ids import NodeId
from taskflow.records import Edge, EdgeMode, Growth, Kind, Lease, LeaseKey, Node, Outcome, Plan, Want
from taskflow.states import TERMINAL, State
from taskflow.testing.bounds import Bounds

__all__ = ["Item", "Known", "Oracle"]

_WORST = (State.SUCCEEDED, State.CANCELLED, State.SKIPPED, State.EXPIRED, State.FAILED, State.DEAD)
_END = {
    Kind.SUCCEEDED: State.SUCCEEDED,
    Kind.FAILED: State.FAILED,
    Kind.CANCELLED: State.CANCELLED,
    Kind.SKIPPED: State.SKIPPED,
    Kind.REJECTED: State.DEAD,
}
_FAILURES = (State.FAILED, State.DEAD, State.EXPIRED)
_UNSTARTED = (State.QUEUED, State.WAITING)


@dataclass
class Item:
    """One item. `fence` may settle it (held, or lost and unclaimed), `gave` gave it back, `done` ended it."""

    state: State = State.QUEUED
    fence: int = 0
    gave: int = 0
    done: int = 0
    attempts: int = 0
    deliveries: int = 0
    until: float | None = None
    started: float = 0.0
    cancelled: bool = False
    kept: bool = False

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.state not in TERMINAL

    def end(self, state: State, fence: int = 0) -> None:
        """For good."""
        assert self.live
        self.state, self.done, self.fence, self.gave, self.until = state, fence, 0, 0, None


@dataclass
class Known:
    """A node. `items` is `None` while the width is unknown; `ended` its terminal state; `met` are the edges
    whose predecessors had ended before the present step, `late` predecessors that had when it was added;
    `judged` is what its edges made of theirs;
    `growing`: another node may add items, `closed_as` is how that ended."""

    node: Node
    run: str
    edges: tuple[Edge, ...]
    items: list[Item] | None
    due: float | None = None
    expires: float | None = None
    released: bool = False
    cancelled: bool = False
    final: str | None = None
    fence: int = 0
    ended: State | None = None
    source: str | None = None
    root: str | None = None
    finals: dict[int, str] = field(default_factory=dict)
    met: set[Edge] = field(default_factory=set)
    judged: dict[Edge, bool | None] = field(default_factory=dict)
    growing: bool = False
    closed_as: State = State.SUCCEEDED
    late: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        """Its name."""
        return self.node.id

    @property
    def chosen(self) -> bool:
        """Whether it gave no value and nobody minds."""
        if self.ended is State.SKIPPED:
            return self.root is None
        return self.ended in _FAILURES and self.node.policy.on_failure == "skip"

    @property
    def blocked(self) -> bool:
        """Whether it waits for other nodes."""
        return not self.released or self.final is not None

    def units(self) -> list[State]:
        """What the run counts: a node without items counts as one."""
        if self.items is None or self.final is not None:
            return [self.ended or State.BLOCKED]
        return [State.BLOCKED if self.blocked and item.live else item.state for item in self.items]

    def state(self) -> State:
        """The state of the node as a whole."""
        if self.ended is not None:
            return self.ended
        if self.blocked or self.items is None:
            return State.BLOCKED
        if any(self.ripe(item) for item in self.items):
            return State.QUEUED
        running = any(item.state in (State.RUNNING, State.BLOCKED) for item in self.items)
        return State.RUNNING if running else State.WAITING

    def ripe(self, item: Item) -> bool:
        """Whether an item may be claimed as far as time goes; the delay is for those never handed out."""
        return item.state is State.QUEUED and (self.due is None or item.deliveries > 0 or item.gave > 0)

    def unsure(self, now: float) -> bool:
        """Whether time has passed a mark that nobody has acted on yet: the store may have, or not."""
        marks = [self.due, self.expires, *(i.until for i in self.items or () if i.state is State.WAITING)]
        return any(mark is not None and mark <= now for mark in marks)

    def next_mark(self) -> float | None:
        """The next moment at which something must be done."""
        marks = [self.expires, None if self.blocked else self.due]
        marks += [item.until for item in self.items or () if item.live]
        return min((mark for mark in marks if mark is not None), default=None)


@dataclass
class Oracle:
    """Everything that was submitted, and what became of it.

    Args:
        clock: The time of the store.
        root_of: Asks the store for the root of a node, where several are right.
    """

    clock: Callable[[], float]
    root_of: Callable[[str], str | None] = lambda node: None
    nodes: dict[str, Known] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    bounds: Bounds = field(default_factory=Bounds)

    # ── who is who ───────────────────────────────────────────────────────────────────

    def of(self, run: str) -> list[Known]:
        """The nodes of a run, in the order in which they were added."""
        return [known for known in self.nodes.values() if known.run == run]

    def live(self) -> list[Known]:
        """Nodes that have not ended."""
        return [known for known in self.nodes.values() if known.ended is None]

    def run_state(self, run: str) -> State:
        """How a run ended: as badly as the worst that somebody minds."""
        minded = [s for k in self.of(run) for s in k.units() if not self._left_out(k, s)]
        worst = max(minded, key=_WORST.index, default=State.SUCCEEDED)
        return State.FAILED if worst is State.SKIPPED else worst

    @staticmethod
    def _left_out(known: Known, state: State) -> bool:
        if state is State.SKIPPED:
            return known.ended is not State.SKIPPED or known.root is None
        return known.node.policy.on_failure == "skip" and state in _FAILURES

    # ── the client ───────────────────────────────────────────────────────────────────

    def submit(self, plan: Plan, now: float) -> None:
        """Add a run, unless it is there."""
        if plan.run in self.runs:
            return
        self.runs.append(plan.run)
        self._add(plan.run, plan.nodes, now)
        self._follow()

    def _add(self, run: str, nodes: Iterable[Node], now: float) -> None:
        for node in nodes:
            if node.id not in self.nodes:
                known = Known(node, run, node.edges, None if node.width is None else _items(node.width))
                known.due = None if node.delay_s is None else now + node.delay_s
                known.expires = None if node.expires_s is None else now + node.expires_s
                if known.due is not None and known.due <= now:
                    known.due = None
                known.growing = any(map(_adds, node.edges))
                before = {edge.parent for edge in node.edges} & self.nodes.keys()
                for lo, hi, _ in node.given:
                    for item in (known.items or ())[lo:hi]:
                        item.end(State.SUCCEEDED)
                known.late = frozenset(parent for parent in before if self.nodes[parent].ended)
                self.nodes[node.id] = known

    def cancel(self, target: str, index: int | None) -> bool:
        """Cancel a run, a node or an item; whether anything changed."""
        nodes = self.of(target) if target in self.runs else [self.nodes[target]]
        if index is not None:
            changed = nodes[0].ended is None and self._cancel_item(nodes[0], index)
        else:
            answers = [self._cancel(known) for known in nodes if known.ended is None]
            changed = any(answers)
        self._follow()
        return changed

    def _cancel(self, known: Known) -> bool:
        known.cancelled = True
        if known.items is None or known.final is not None:
            self._end(known, State.CANCELLED)
            return True
        idle = [item for item in known.items if item.state in (*_UNSTARTED, State.BLOCKED)]
        for item in idle:
            item.end(State.CANCELLED)
        running = any(item.state is State.RUNNING for item in known.items)
        grew, known.growing = known.growing, False
        if grew:
            known.closed_as = State.CANCELLED
        if idle or running or grew:
            self._close(known)
        return bool(idle) or running or grew

    def _cancel_item(self, known: Known, index: int) -> bool:
        if not known.node.array:
            return self._cancel(known)
        if known.items is None or not 0 <= index < len(known.items) or not known.items[index].live:
            return False
        item = known.items[index]
        if item.state is State.RUNNING:
            beside = [known.items[i] for i in (index - 1, index + 1) if 0 <= i < len(known.items)]
            if any(other.fence == item.fence and other.live for other in beside):
                return False
            item.cancelled = True
            return True
        item.end(State.CANCELLED)
        self._close(known)
        return True

    def purge(self, queue: str) -> int:
        """Cancel what is queued or waiting in a queue; how many items that were."""
        purged = 0
        for known in self.live():
            if known.node.queue == queue and not known.blocked:
                idle = [item for item in known.items or () if item.state in _UNSTARTED]
                for item in idle:
                    item.end(State.CANCELLED)
                if idle:
                    self._close(known)
                purged += len(idle)
        self._follow()
        return purged

    def to_rerun(self, run: str) -> list[Known]:
        """What gave no value though it should, and what has ended below that."""
        nodes = self.of(run)
        feeders = {edge.parent for k in nodes for edge in k.edges if _adds(edge)}
        again = {k.id for k in nodes if k.ended not in (None, State.SUCCEEDED) and not k.chosen} - feeders
        for _ in nodes:
            again |= {k.id for k in nodes if k.ended is not None and self._above(k) & again} - feeders
        return [known for known in nodes if known.id in again]

    @staticmethod
    def _above(known: Known) -> set[str]:
        return {edge.parent for edge in known.edges} | {known.final or "", *known.finals.values()}

    def rerun(self, run: str, new: str, names: Mapping[str, str]) -> None:
        """Add the run that a store made, under the names it chose."""
        again = self.to_rerun(run)
        assert set(names) == {known.id for known in again}
        if not again or new in self.runs:
            return
        self.runs.append(new)
        kept = self._edges_kept(again)
        for known in again:
            edges = tuple(
                e
                if (known.id, e.parent) in kept
                else e._replace(parent=NodeId(names.get(e.parent, e.parent)))
                for e in known.edges
                if not _adds(e)
            )
            clone = Known(known.node, new, edges, None if known.items is None else _items(len(known.items)))
            first = self.nodes[known.source] if known.source is not None else None
            clone.source = known.id if first is None or first.items is None else first.id
            clone.final = names.get(known.final or "")
            if known.node.array and not any(
                edge.parent in names and (known.id, edge.parent) not in kept for edge in known.edges
            ):
                clone.finals = {i: names[final] for i, final in known.finals.items() if final in names}
                for i, (mine, theirs) in enumerate(zip(clone.items or (), known.items or (), strict=True)):
                    if i in clone.finals:
                        mine.state = State.BLOCKED
                    elif theirs.state is State.SUCCEEDED:
                        mine.end(State.SUCCEEDED, theirs.done)
                        mine.kept = True
            self.nodes[names[known.id]] = clone
        self._rename(names)
        self._follow()

    def _edges_kept(self, again: Sequence[Known]) -> set[tuple[str, str]]:
        """Edges, by node and predecessor, by which clones would wait for each other: the predecessor waited
        for the node, and had ended when that was added."""
        kept: set[tuple[str, str]] = set()
        inside = {known.id: known for known in again}

        def before(name: str) -> set[str]:
            known = inside[name]
            drawn = {e.parent for e in known.edges if e.hi is not None or e.parent not in known.late}
            drawn = {parent for parent in drawn if (name, parent) not in kept}
            return (drawn | {known.final or "", *known.finals.values()}) & inside.keys()

        for known in reversed(again):
            for edge in known.edges:
                if edge.parent in inside and known.id in _reached(edge.parent, before):
                    kept.add((known.id, edge.parent))
        return kept

    def _rename(self, names: Mapping[str, str]) -> None:
        for name in names.values():
            node = self.nodes[name].node
            self.nodes[name].node = Node(
                name, node.fn, node.args, node.edges, node.width, node.array, node.pages, node.queue,  # type: ignore[arg-type]
                node.priority, node.policy,
            )  # fmt: skip

    # ── the worker ───────────────────────────────────────────────────────────────────

    def claimed(self, want: Want, leases: Sequence[Lease], now: float, late: Iterable[str] = ()) -> None:
        """Judge what a claim handed out, and remember it; it came across `late` and found them too late, or
        their breakers open."""
        if want.turns:
            self._claimed_in_turns(want, leases, now)
            return
        ranks = [self._rank(self.nodes[lease.key.node]) for lease in leases]
        assert ranks == sorted(ranks), "not in order of priority and submission"
        expired = sorted(late, key=lambda name: self._rank(self.nodes[name]))
        for lease, rank in zip(leases, ranks, strict=True):
            while expired and self._rank(self.nodes[expired[0]]) <= rank:
                self._ended_in_claim(expired.pop(0), now)
            self._claimed_one(want, lease, now)
        for name in expired:
            self._ended_in_claim(name, now)
        if want.slots > 0:
            ripe = [k for k in self.live() if k.node.queue in want.queues and _ripe(k, now)]
            left = [self._rank(k) for k in ripe if self._has_room(k, 1, want.worker)]
            assert not left or (ranks and min(left) >= ranks[-1]), "something was passed over"
        self._follow()

    def _claimed_in_turns(self, want: Want, leases: Sequence[Lease], now: float) -> None:
        """Judge a claim that took the queues one by one, when nothing was too late.

        A queue gets at least its turn, or all it can use; more than that only when those before it can use
        no more.
        """
        for lease in leases:
            self._claimed_one(want, lease, now)
        assert want.pace_s or len(leases) <= want.slots, "more than there were slots"
        waits = False
        for at, (queue, turn) in enumerate(zip(want.queues, want.turns, strict=True)):
            ripe = [k for k in self.live() if k.node.queue == queue and _ripe(k, now)]
            left = [self._rank(k) for k in ripe if self._has_room(k, 1, want.worker)]
            ranks = [self._rank(k) for k in (self.nodes[x.key.node] for x in leases) if k.node.queue == queue]
            assert not left or len(leases) >= want.slots, "a slot was wasted"
            assert not left or not ranks or min(left) >= max(ranks), "something was passed over"
            own = min(turn, max(0, want.slots - sum(want.turns[:at])))
            assert not left or len(ranks) >= own, "a queue did not get its turn"
            if not want.pace_s:  # else a slot takes several calls
                assert not waits or len(ranks) <= turn, "a queue took another's turn"
            waits = waits or bool(left)
        self._follow()

    def _ended_in_claim(self, name: str, now: float) -> None:
        known = self.nodes[name]
        if known.ended is not None:
            return
        if known.expires is not None and known.expires <= now:
            self.expire(known)
        else:
            until = self.bounds.blown(known.node.policy.limits, now)
            assert until is not None, "no breaker is open"
            self._refuse(known, until)

    def _refuse(self, known: Known, until: float) -> None:
        """What is new fails, what was tried before waits."""
        for item in known.items or ():
            if item.state in _UNSTARTED and item.deliveries == 0:
                item.end(State.FAILED)
            elif item.state is State.QUEUED:
                item.state, item.until = State.WAITING, until
        self._close(known)

    def _has_room(self, known: Known, items: int, worker: str) -> bool:
        """Whether so many more of its items may run at once."""
        policy = known.node.policy
        for limit in policy.limits:
            if limit.most is None:
                if items and self.bounds.free(limit, worker, self.clock()) < items:
                    return False
                continue
            sharing = [k for k in self.nodes.values() if limit.name in {o.name for o in k.node.policy.limits}]
            running = sum(item.state is State.RUNNING for k in sharing for item in k.items or ())
            if running + items > limit.most:
                return False
        bounded = [k for k in self.of(known.run) if k.node.policy.run_parallel is not None]
        for most, beside in ((policy.max_parallel, [known]), (policy.run_parallel, bounded)):
            running = sum(item.state is State.RUNNING for k in beside for item in k.items or ())
            if most is not None and running + items > most:
                return False
        return True

    def _rank(self, known: Known) -> tuple[int, int]:
        return -known.node.priority, list(self.nodes).index(known.id)

    def _claimed_one(self, want: Want, lease: Lease, now: float) -> None:
        known = self.nodes[lease.key.node]
        assert known.node.queue in want.queues
        assert known.ended is None
        assert not known.blocked, "it ran before its predecessors"
        assert known.items is not None
        assert lease.key.fence > known.fence, "fences must rise"
        known.fence = lease.key.fence
        items = known.items[lease.key.lo : lease.key.hi]
        assert 0 < len(items) == lease.key.hi - lease.key.lo <= (known.node.policy.chunk or len(items))
        self.bounds.started(known.node.policy.limits, want.worker, len(items), now)
        for item in items:
            assert item.state is State.QUEUED or (item.until is not None and item.until <= now)
            assert item.deliveries or item.gave or known.due is None or known.due <= now, "it was not due"
            assert item.deliveries or known.expires is None or known.expires > now, "it ran after its expiry"
            assert not item.cancelled
            item.state, item.fence, item.gave, item.started = State.RUNNING, lease.key.fence, 0, now
            item.deliveries, item.until = item.deliveries + 1, now + want.lease_s
            assert (lease.attempt, lease.delivery) == (item.attempts + 1, item.deliveries)
            assert item.deliveries <= known.node.policy.max_deliveries
        self._look(known)
        assert self._has_room(known, 0, want.worker), "too many at once"
        assert lease.run == known.run
        assert lease.inputs == tuple(edge for edge in known.edges if edge.mode.gives_value)

    def renew(
        self, held: Collection[LeaseKey], now: float, lease_s: float
    ) -> tuple[set[LeaseKey], set[LeaseKey]]:
        """What is lost, and what was cancelled."""
        lost, cancelled = set(), set()
        for key in held:
            known = self.nodes[key.node]
            items = (known.items or [])[key.lo : key.hi]
            if not all(item.state is State.RUNNING and item.fence == key.fence for item in items):
                lost.add(key)
                continue
            for item in self._same_lease(known, key):
                item.until = now + lease_s
            self._look(known)
            if known.cancelled or items[0].cancelled:
                cancelled.add(key)
        return lost, cancelled

    def _same_lease(self, known: Known, key: LeaseKey) -> Iterator[Item]:
        """Items around a key that are held with it, without a gap."""
        items = known.items or []
        lo, hi = key.lo, key.hi
        while lo > 0 and items[lo - 1].live and items[lo - 1].fence == key.fence:
            lo -= 1
        while hi < len(items) and items[hi].live and items[hi].fence == key.fence:
            hi += 1
        return iter(items[lo:hi])

    def settle(self, key: LeaseKey, outcomes: Sequence[Outcome], growth: Growth | None, now: float) -> bool:
        """Whether a settlement counts; what it says is so when it does."""
        known = self.nodes[key.node]
        assert known.items is not None
        fresh: list[Outcome] = []
        if not outcomes:
            return self._grown_while_held(known, key, growth, now)
        for outcome in outcomes:
            items = known.items[outcome.lo : outcome.hi]
            if all(item.live and item.fence == key.fence for item in items):
                fresh.append(outcome)
            elif not (items[0].done == key.fence or (items[0].live and items[0].gave == key.fence)) and not (
                known.final and known.fence == key.fence
            ):
                return False
        if fresh and growth is not None:
            self._grow(known, growth, now)
        for outcome in fresh:
            started = known.items[outcome.lo].started
            self.bounds.heard(known.node.policy.limits, outcome, started, now)
            for item in known.items[outcome.lo : outcome.hi]:
                self._settled(known, item, outcome, now)
            if outcome.kind is Kind.REPLACED and known.node.array and growth is not None:
                known.finals[outcome.lo] = str(growth.final)
                known.items[outcome.lo].gave = key.fence
        if fresh:
            self._close(known)
            self._follow()
        return True

    def _grown_while_held(self, known: Known, key: LeaseKey, growth: Growth | None, now: float) -> bool:
        if not all(item.live and item.fence == key.fence for item in (known.items or [])[key.lo : key.hi]):
            return False
        if growth is not None:
            self._grow(known, growth, now)
        self._look(known)
        self._follow()
        return True

    def _settled(self, known: Known, item: Item, outcome: Outcome, now: float) -> None:
        fence, kind = item.fence, outcome.kind
        if kind is Kind.FAILED:
            item.attempts += 1
        if kind in _END:
            item.end(_END[kind], fence)
        elif kind is Kind.REPLACED:
            item.state, item.fence, item.until = State.BLOCKED, 0, None
        elif known.cancelled or item.cancelled:
            item.end(State.CANCELLED, fence)
        else:
            self._given_back(known, item, outcome, now)

    def _given_back(self, known: Known, item: Item, outcome: Outcome, now: float) -> None:
        item.attempts += outcome.kind is Kind.RETRY
        item.deliveries -= outcome.kind is Kind.RELEASED
        if outcome.kind is not Kind.RELEASED and item.deliveries >= known.node.policy.max_deliveries:
            item.end(State.DEAD, item.fence)
            return
        item.gave, item.fence = item.fence, 0
        item.state = State.WAITING if outcome.delay_s else State.QUEUED
        item.until = now + outcome.delay_s if outcome.delay_s else None

    def _grow(self, known: Known, growth: Growth, now: float) -> None:
        self._add(known.run, [self._at_home(known, node) for node in growth.nodes], now)
        self._follow()
        for name, (width, pages) in growth.widths.items():
            target = self.nodes[self._home(known.run, name)]
            if target.run == known.run and target.items is None and target.ended is None:
                target.items = _items(width)
            elif target.growing and target.items is not None and pages and pages[0].lo == len(target.items):
                target.items += _items(width - len(target.items))
                self._look(target)
        if not known.node.array:
            known.final = growth.final
        for new in growth.joins:
            self._join(known, new, {node.id for node in growth.nodes})
        if known.cancelled:
            for node in growth.nodes:
                self._cancel(self.nodes[node.id])

    def _at_home(self, known: Known, node: Node) -> Node:
        """A grown node: of what was run again it means the clones, unless these wait for who grows."""
        homes = {edge: self._home(known.run, edge.parent) for edge in node.edges}
        edges = (
            e if self._waits_for(homes[e], known.id) else e._replace(parent=NodeId(homes[e])) for e in homes
        )
        return node._replace(edges=tuple(edges))

    def _waits_for(self, name: str, other: str) -> bool:
        if name == other:
            return True
        if name not in self.nodes or self.nodes[name].ended is not None:
            return False
        known = self.nodes[name]
        waits = {edge.parent for edge in known.edges if self._waits(known, edge)}
        return any(
            self._waits_for(above, other) for above in (*waits, known.final or "", *known.finals.values())
        )

    def _home(self, run: str, name: str) -> str:
        if name not in self.nodes or self.nodes[name].run == run:
            return name
        return next((k.id for k in self.of(run) if name in self._sources(k)), name)

    def _sources(self, known: Known) -> Iterator[str]:
        while known.source is not None:
            yield known.source
            known = self.nodes[known.source]

    def _join(self, known: Known, new: NodeId, grown: Collection[str]) -> None:
        for other in self.live():
            modes = [
                edge.mode for edge in other.edges if edge.parent == known.id and self._waits(other, edge)
            ]
            if other.id not in grown and modes and modes[0].needs_success:
                mode = EdgeMode.JOIN if modes[0].gives_value else EdgeMode.AFTER
                other.edges = (*other.edges, Edge(new, mode))

    def _waits(self, known: Known, edge: Edge) -> bool:
        """Whether a node was not released yet by what an edge names."""
        return not known.released and not self._has_ended(edge)

    def _has_ended(self, edge: Edge) -> bool:
        parent = self.nodes[edge.parent]
        if parent.ended is not None or edge.hi is None:
            return parent.ended is not None
        return not any(item.live for item in (parent.items or [])[edge.lo : edge.hi])

    # ── time ─────────────────────────────────────────────────────────────────────────

    def reap(self, now: float) -> None:
        """Do what time demands."""
        self._follow()
        marks = [(known.next_mark(), known) for known in self.live()]
        for _, known in sorted(
            ((m, k) for m, k in marks if m is not None and m <= now), key=lambda pair: pair[0]
        ):
            if known.ended is None:
                self._late(known, now)
        for known in self.live():
            if known.due is not None and known.due <= now:
                known.due = None
        self._follow()

    def _late(self, known: Known, now: float) -> None:
        for item in known.items or ():
            if item.until is None or item.until > now:
                continue
            item.until = None
            if item.state is State.WAITING:
                item.state = State.QUEUED
            elif known.cancelled or item.cancelled:
                item.end(State.CANCELLED)
            elif item.deliveries >= known.node.policy.max_deliveries:
                item.end(State.DEAD)
            else:
                item.state = State.QUEUED
        if known.expires is not None and known.expires <= now:
            self.expire(known)
        else:
            self._close(known)

    def expire(self, known: Known) -> None:
        """End what was never started."""
        known.expires = None
        if known.items is None:
            self._end(known, State.EXPIRED)
            return
        for item in known.items:
            if item.state in _UNSTARTED and item.deliveries == 0:
                item.end(State.EXPIRED)
        self._close(known)

    # ── what follows ─────────────────────────────────────────────────────────────────

    def _look(self, known: Known) -> None:
        """A delay that is over is forgotten when its node is looked at, not before."""
        if not known.blocked and known.due is not None and known.due <= self.clock():
            known.due = None

    def _close(self, known: Known) -> None:
        self._look(known)
        if (
            known.ended is None
            and not known.growing
            and (known.items or (known.items is not None and known.released))
            and known.final is None
            and not any(i.live for i in known.items)
        ):
            left_out = (State.SKIPPED,) if known.node.array else ()
            states = [item.state for item in known.items if item.state not in left_out]
            states.append(known.closed_as)
            self._end(known, max(states, key=_WORST.index, default=State.SUCCEEDED))

    def _end(self, known: Known, state: State) -> None:
        known.ended, known.growing = state, False
        if state not in (State.SUCCEEDED, State.SKIPPED):
            feeders = [self.nodes[edge.parent] for edge in known.edges if _adds(edge)]
            bad = [f.root or f.id for f in feeders if f.ended not in (None, State.SUCCEEDED)]
            known.root = known.root or next(iter(bad), known.id)
        if known.node.policy.on_failure == "stop" and state in _FAILURES:
            for other in self.of(known.run):
                if other.ended is None and not self._handles(other, known):
                    self._cancel(other)

    @staticmethod
    def _handles(other: Known, known: Known) -> bool:
        """Whether a node waits for just this failure, or takes it as its own."""
        if known.id in (other.final, *other.finals.values()):
            return True
        waits = [edge for edge in other.edges if edge.parent == known.id and edge not in other.met]
        return any(not edge.mode.needs_success for edge in waits)

    def _follow(self) -> None:
        while True:
            moves = [self._next(known) for known in self.live()]
            if not any(moves):
                break
        for known in self.live():
            known.met = {edge for edge in known.edges if self._has_ended(edge)}
            known.judged = {edge: self._judged(known, edge) for edge in known.met if not _adds(edge)}

    def _next(self, known: Known) -> bool:
        if known.ended is not None:
            return False
        if self._adopted(known) or self._fed(known):
            return True
        if known.final is not None:
            end = self.nodes[known.final].ended
            if end is not None:
                known.root = self.nodes[known.final].root
                self._end(known, end)
            return end is not None
        if known.released:
            return False
        return self._skipped(known) or self._released(known)

    def _fed(self, known: Known) -> bool:
        """Who added items has ended."""
        over = [p for e in known.edges if _adds(e) and (p := self.nodes[e.parent]).ended is not None]
        if not known.growing or not over:
            return False
        known.growing, known.closed_as = False, over[0].ended or State.SUCCEEDED
        if known.closed_as is not State.SUCCEEDED and not any(item.live for item in known.items or ()):
            known.root = known.root or over[0].root or over[0].id
        self._close(known)
        return True

    def _adopted(self, known: Known) -> bool:
        """Items whose replacements have ended take their outcomes."""
        moved = False
        for index, final in known.finals.items():
            item, last = (known.items or [])[index], self.nodes[final]
            if last.ended is None or not item.live:
                continue
            fault = last.ended is State.SKIPPED and last.root is not None
            state = State.FAILED if fault else last.ended
            while last.final:
                last = self.nodes[last.final]
            if last.node.array:
                state = State.FAILED if state is State.SUCCEEDED else state
            item.end(state, last.items[0].done if last.items and not last.node.array else 0)
            moved = True
        if moved:
            self._close(known)
        return moved

    def roots(self, known: Known) -> set[str | None]:
        """What may have kept a node from running: of several reasons in one step any may come first."""
        found: set[str | None] = set()
        for edge in known.edges:
            parent = self.nodes[edge.parent]
            by_choice = self._judged(known, edge) if self._has_ended(edge) else None
            if by_choice is not None:
                found.add(None if by_choice else parent.root or parent.id)
            if by_choice is False and (edge.hi is not None or any(map(_adds, parent.edges))):
                found.add(parent.id)  # its items ended before all of it, or before that which added them
        return found

    def _judged(self, known: Known, edge: Edge) -> bool | None:
        """Whether an edge refuses, as it was after the step in which it was met: reasons may end later."""
        return known.judged[edge] if edge in known.judged else self._refuses(self.nodes[edge.parent], edge)

    def fed_roots(self, known: Known) -> set[str | None]:
        """What an array that was added to may show as its root: the order within a step decides."""
        feeders = [self.nodes[edge.parent] for edge in known.edges if _adds(edge)]
        return {known.id, *(feeder.root or feeder.id for feeder in feeders)} if feeders else set()

    def _skipped(self, known: Known) -> bool:
        roots = self.roots(known)
        if not roots:
            return False
        known.root = next(iter(roots)) if len(roots) == 1 else self.root_of(known.id)
        assert known.root in roots
        live = [item for item in known.items or () if item.live]
        for item in live:
            item.end(State.SKIPPED)
        if known.items and not live:  # it waited only for more to be added
            known.growing = False
            self._close(known)
        else:
            self._end(known, State.SKIPPED)
        return True

    def _refuses(self, parent: Known, edge: Edge) -> bool | None:
        """`None`: the successor may run; `True`: it is skipped, and nobody minds; `False`: somebody does."""
        mode = edge.mode
        if _adds(edge):
            return None
        if edge.hi is not None and parent.ended is not State.SKIPPED:
            items = (parent.items or [])[edge.lo : edge.hi]
            bad = any(item.state not in (State.SUCCEEDED, State.SKIPPED) for item in items)
            return parent.node.policy.on_failure == "skip" if bad and mode.needs_success else None
        failed = parent.ended in _FAILURES
        because = failed or (parent.ended is State.SKIPPED and not self._unwanted(parent))
        broken = because and not parent.chosen
        wanted = {EdgeMode.FAILED: failed or (broken and parent.final is not None), EdgeMode.BROKEN: broken}
        if mode in wanted:
            return None if wanted[mode] else True
        if parent.ended is State.SUCCEEDED or mode in (EdgeMode.KEEP, EdgeMode.DROP, EdgeMode.ENDED):
            return None
        return None if mode is EdgeMode.TAKEN and parent.chosen else parent.chosen

    def _unwanted(self, known: Known) -> bool:
        return known.root is not None and self.nodes[known.root].ended is State.CANCELLED

    def _released(self, known: Known) -> bool:
        known.released = all(self._has_ended(edge) for edge in known.edges if not _adds(edge))
        self._look(known)
        if known.released and known.items is None:
            known.root = known.id
            self._end(known, State.SKIPPED)
        elif known.released and not known.items and not known.growing:
            self._end(known, known.closed_as)
        elif known.released:
            self._close(known)  # all that it runs again had succeeded
        return known.released


def _adds(edge: Edge) -> bool:
    return edge.mode is EdgeMode.FEEDS


def _items(width: int) -> list[Item]:
    return [Item() for _ in range(width)]


def _ripe(known: Known, now: float) -> bool:
    """Whether it may be claimed beyond doubt."""
    if known.ended is not None or known.blocked or known.unsure(now):
        return False
    return any(known.ripe(item) for item in known.items or ())


def _reached(start: str, before: Callable[[str], set[str]]) -> set[str]:
    found, todo = {start}, [start]
    while todo:
        more = before(todo.pop()) - found
        found |= more
        todo += more
    return found
