"""The short way of plain calls leaves on a Redis server what the rules leave there, and says what they say.

Two namespaces live the same life. In the second a queue is paused that nobody uses: nothing is plain there.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import count
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from taskflow.errors import TaskflowError
from taskflow.ids import NodeId, RunId, WorkerId
from taskflow.policy import Policy
from taskflow.records import (
    Edge,
    EdgeMode,
    Growth,
    Heard,
    Kind,
    Lease,
    Lock,
    Node,
    Outcome,
    Plan,
    Settlement,
    Want,
)
from taskflow.stores import redis_said
from taskflow.stores.redis import RedisStore
from taskflow.testing import ManualClock
from tests.servers import RedisServer, running

_numbers = count()
OF_THE_OTHER = "elsewhere"
QUEUES = ("worker/w", "default")
PLAIN = {"run": None, "waits": False, "lock": None, "max_pending": None, "meta": {}, "args": b"args"}
SPECIAL: list[dict[str, Any]] = [
    *[{}] * 6,
    {"priority": 3},
    {"queue": "worker/w"},
    {"queue": "nobody's"},
    {"delay_s": 3.0},
    {"expires_s": 5.0},
    *[{"waits": True}] * 4,
    {"run": "another"},
    {"max_pending": 1},
    {"lock": Lock("lock", 60.0, "skip")},
    {"meta": {"memo": {"name": "m"}}},
    {"meta": {"of": "the user"}},
    {"args": b"large" * 60_000},
    {"width": 3, "array": True},
    {"policy": Policy(max_parallel=1)},
    {"policy": Policy(run_parallel=1)},
    {"policy": Policy(chunk=2, seed="s", max_deliveries=1)},
    {"policy": Policy(on_failure="stop")},
]
ENDS: list[dict[str, Any]] = [
    *[{}] * 4,
    {"value": None},
    {"value": b"large" * 1000},
    {"started_at": 999.0, "took_s": 0.5},
    {"log": "printed"},
    {"kind": Kind.FAILED, "error": "{}"},
    {"kind": Kind.RETRY, "error": "{}", "delay_s": 1.0},
    {"kind": Kind.RELEASED},
]
NEVER_SAME = {"paused", "meta"}
SHORT_OF_ALL = "cmdstat_zrangebyscore"


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    yield from running(request.param)


@pytest.fixture
def opened(server: RedisServer) -> Iterator[Callable[..., RedisStore]]:
    with ExitStack() as stack:

        def open_one(clock: ManualClock | None = None, *, plain: bool = True) -> RedisStore:
            store = stack.enter_context(
                closing(RedisStore(f"{server.url}?namespace=plain{next(_numbers)}", clock=clock))
            )
            if not plain:
                store.pause(OF_THE_OTHER)
            return store

        yield open_one


def _kept(store: RedisStore) -> dict[str, Any]:
    """All keys of a namespace: what they hold, and whether they go by themselves."""
    readers = {
        "string": lambda key: ("GET", key),
        "hash": lambda key: ("HGETALL", key),
        "list": lambda key: ("LRANGE", key, 0, -1),
        "set": lambda key: ("SMEMBERS", key),
        "zset": lambda key: ("ZRANGE", key, 0, -1, "WITHSCORES"),
        "stream": lambda key: ("XRANGE", key, "-", "+"),
    }
    prefix = store._key("")
    keys = sorted(key.decode() for key in store._ask("KEYS", prefix.replace("[", "\\[") + "*"))
    kinds = store._all(("TYPE", key) for key in keys)
    held = store._all(readers[_text(kind)](key) for key, kind in zip(keys, kinds, strict=True))
    rests = store._all(("TTL", key) for key in keys)
    return {
        name: (_sorted(value), rest > 0)
        for key, value, rest in zip(keys, held, rests, strict=True)
        if (name := key.removeprefix(prefix)) not in NEVER_SAME
    }


def _text(kind: bytes | str) -> str:
    return kind.decode() if isinstance(kind, bytes) else kind


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted(value.items())
    return sorted(value) if isinstance(value, set) else value


class Twins(RuleBasedStateMachine):
    """One life of two namespaces, and of one worker that waits in each."""

    opened: Callable[..., RedisStore]
    patch: Callable[..., None]

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.nonces = ManualClock(), [count(), count()]
        self.stores = [self.opened(self.clock), self.opened(self.clock, plain=False)]
        self.bells = [[store.listen("work", worker="w"), store.listen("ends")] for store in self.stores]
        self.numbers = count()
        self.held: list[Lease] = []
        self.nodes: list[NodeId] = []

    def teardown(self) -> None:
        for bells in self.bells:
            for bell in bells:
                bell.close()

    def both(self, ask: Callable[[RedisStore], Any]) -> Any:
        """What both answer, or how both refuse."""
        answers = []
        for store, nonces in zip(self.stores, self.nonces, strict=True):
            self.patch(redis_said, "_nonce", lambda nonces=nonces: f"nonce{next(nonces)}")
            try:
                answers.append(ask(store))
            except TaskflowError as error:
                answers.append((type(error), str(error)))
        assert answers[0] == answers[1]
        return answers[0]

    def want(self, slots: int) -> Want:
        return Want(WorkerId("w"), QUEUES, slots, standing=True)

    @rule(
        special=st.sampled_from(SPECIAL),
        slots=st.sampled_from([None, 1, 2, 2, 2]),
        hears=st.sampled_from([True, True, False]),
    )
    def submit(self, special: dict[str, Any], slots: int | None, hears: bool = True) -> None:
        if slots is not None:
            self.claim(slots)
        given = PLAIN | special
        run, waits = given.pop("run"), given.pop("waits")
        of_the_run = {name: given.pop(name) for name in ("lock", "max_pending", "meta")}
        number = next(self.numbers)
        edges = (Edge(self.nodes[-1], EdgeMode.ENDED),) if waits and self.nodes else ()
        node = Node(NodeId(f"n{number}"), "fn", edges=edges, label="a call", **given)
        plan = Plan(RunId(run or node.id), (node,), name="a run", **of_the_run)
        self.both(lambda store: store.submit([plan]))
        self.nodes.append(node.id)
        if hears:
            self.hear()

    @rule(slots=st.integers(0, 3))
    def claim(self, slots: int) -> None:
        self.held += self.both(lambda store: store.claim(self.want(slots)))

    @rule()
    def hear(self) -> None:
        told = self.both(self.told)
        self.held += [lease for heard in told for lease in heard.leases]

    def told(self, store: RedisStore) -> list[Heard]:
        """What is there by now: an answer comes after all that was told before it."""
        store._ask("PING")
        bells = self.bells[self.stores.index(store)]
        return [bell.hush() for bell in bells if select.select([bell.fileno()], [], [], 0)[0]]

    @precondition(lambda self: self.held)
    @rule(
        at=st.integers(0, 9),
        special=st.sampled_from(ENDS),
        slots=st.sampled_from([None, 1, 2, 2, 2]),
        again=st.booleans(),
    )
    def settle(self, at: int, special: dict[str, Any], slots: int | None, again: bool) -> None:
        lease = self.held[at % len(self.held)]
        lo, hi = lease.key.lo, lease.key.hi
        outcome = Outcome(**{"lo": lo, "hi": hi, "kind": Kind.SUCCEEDED, "value": b"value", **special})
        want = None if slots is None else self.want(slots)
        done = [Settlement(lease.key, (outcome,))]
        self.held += self.both(lambda store: store.settle(done, want=want)).leases
        if not again:
            self.held.remove(lease)

    @precondition(lambda self: self.nodes)
    @rule(at=st.integers(0, 9))
    def cancel(self, at: int) -> None:
        node = self.nodes[at % len(self.nodes)]
        self.patch("taskflow.stores.redis.new_id", lambda: f"of the cancel of {node}")
        self.both(lambda store: store.cancel(node))

    @rule(seconds=st.sampled_from([0.5, 6.0, 16.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.both(lambda store: store.reap())

    @invariant()
    def the_same_is_kept(self) -> None:
        short, long = map(_kept, self.stores)
        assert short == long


@pytest.fixture
def twins(opened: Callable[..., RedisStore], monkeypatch: pytest.MonkeyPatch) -> type[Twins]:
    class Both(Twins):
        pass

    Both.opened, Both.patch = staticmethod(opened), staticmethod(monkeypatch.setattr)
    return Both


def test_it_leaves_what_the_rules_leave(twins: type[Twins]) -> None:
    phases = set(Phase) - {Phase.shrink}
    told = settings(max_examples=25, stateful_step_count=30, deadline=None, phases=phases)
    run_state_machine_as_test(twins, settings=told)


def _somebody_came_to_wait(both: Twins) -> None:
    both.submit({}, 2)
    both.submit({"waits": True}, None)
    both.settle(0, {}, 2, again=False)


def _another_was_handed_over_and_not_heard_of(both: Twins) -> None:
    both.submit({}, 2)
    both.claim(1)
    both.submit({}, None, hears=False)
    both.settle(0, {}, 1, again=False)
    assert both.held, "what was handed over is in the answer"


def _it_was_cancelled(both: Twins) -> None:
    both.submit({}, 2)
    both.cancel(0)
    both.settle(0, {}, 2, again=False)


def _its_lease_was_lost(both: Twins) -> None:
    both.submit({}, 2)
    both.wait(16.0)
    both.claim(2)
    both.settle(0, {}, 2, again=True)
    both.settle(1, {}, 2, again=True)


def _it_is_settled_again(both: Twins) -> None:
    both.submit({}, 2)
    both.settle(0, {}, 2, again=True)
    both.settle(0, {}, 2, again=True)


def _it_brought_another(both: Twins) -> None:
    both.submit({}, 2)
    growth = Growth(nodes=(Node(NodeId("grown"), "fn", b"args"),))
    done = [Settlement(both.held[0].key, (), growth)]
    both.both(lambda store: store.settle(done))
    both.claim(2)
    both.settle(1, {}, 2, again=False)
    both.settle(0, {}, 2, again=False)


def _it_is_an_array_of_one(both: Twins) -> None:
    both.submit({"width": 1, "array": True}, 2)
    both.settle(0, {}, 2, again=False)


@pytest.mark.parametrize(
    "life",
    [
        _somebody_came_to_wait,
        _another_was_handed_over_and_not_heard_of,
        _it_was_cancelled,
        _its_lease_was_lost,
        _it_is_settled_again,
        _it_brought_another,
        _it_is_an_array_of_one,
    ],
)
def test_it_leaves_what_the_rules_leave_when(life: Callable[[Twins], None], twins: type[Twins]) -> None:
    both = twins()
    try:
        life(both)
        both.the_same_is_kept()
    finally:
        both.teardown()


@pytest.mark.parametrize("plain", [True, False])
def test_a_plain_call_goes_the_short_way(opened: Callable[..., RedisStore], plain: bool) -> None:
    store = opened(plain=plain)
    want = Want(WorkerId("w"), QUEUES, 2, standing=True)
    store.claim(want)
    with closing(store.listen("work", worker="w")) as bell:
        store._ask("CONFIG", "RESETSTAT")
        store.submit([Plan(RunId("n"), (Node(NodeId("n"), "fn", b"args"),))])
        assert select.select([bell.fileno()], [], [], 5.0)[0]
        (lease,) = bell.hush().leases
        store.settle([Settlement(lease.key, (Outcome(0, 1, Kind.SUCCEEDED, b"value"),))], want=want)

    asked = store._link.ask(lambda client: client.info("commandstats"))
    assert (SHORT_OF_ALL in asked) is not plain
