"""Group commit, with a store that is a list."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from taskflow.errors import QueueFull, StoreUnavailable, UnknownNode
from taskflow.ids import NodeId, RunId
from taskflow.outbox import Outbox
from taskflow.records import Node, Plan
from tests.servers import until


class Shelf:
    """The part of a store that an outbox needs; may be slow, or refuse."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()
        self.refuses: dict[str, BaseException] = {}

    def submit(self, plans: Sequence[Plan], /) -> None:
        self.asked.set()
        assert self.gate.wait(10)
        for plan in plans:
            if plan.run in self.refuses:
                raise self.refuses[plan.run]
        self.batches.append([plan.run for plan in plans])

    @property
    def names(self) -> list[str]:
        return [name for batch in self.batches for name in batch]


class Desk:
    def __init__(self) -> None:
        self.shelf = Shelf()
        self.outbox = Outbox(self.shelf)  # type: ignore[arg-type]
        self.refused: dict[str, BaseException] = {}

    def put(self, name: str, *, at_once: bool = False) -> None:
        self.outbox.put(Plan(RunId(name), ()), lambda e: self.refused.setdefault(name, e), at_once=at_once)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_single_plan_is_there_when_put_returns(desk: Desk) -> None:
    desk.put("a", at_once=True)

    assert desk.shelf.batches == [["a"]]


def test_a_burst_goes_together_and_in_order(desk: Desk) -> None:
    desk.shelf.gate.clear()
    names = [f"{i:03}" for i in range(100)]

    for name in names:
        desk.put(name)
    desk.shelf.gate.set()
    desk.outbox.flush()

    assert desk.shelf.names == names
    assert len(desk.shelf.batches) < 10


def test_nothing_is_left_behind_without_a_flush(desk: Desk) -> None:
    done = threading.Event()
    submit = desk.shelf.submit

    def noted(plans: Sequence[Plan], /) -> None:
        submit(plans)
        if len(desk.shelf.names) == 50:
            done.set()

    desk.shelf.submit = noted  # type: ignore[method-assign]

    for i in range(50):
        desk.put(str(i))

    assert done.wait(10)


def test_a_large_burst_does_not_grow_for_ever(desk: Desk) -> None:
    sent = []
    for i in range(1000):
        desk.put(str(i))
        sent.append(i + 1 - len(desk.shelf.names))

    assert max(sent) < 300


def test_flush_waits_for_what_another_thread_sends(desk: Desk) -> None:
    desk.shelf.gate.clear()
    desk.put("a")
    flushed = threading.Event()
    thread = threading.Thread(target=lambda: (desk.outbox.flush(), flushed.set()))
    thread.start()

    assert not flushed.wait(0.05)
    desk.shelf.gate.set()
    thread.join(10)

    assert desk.shelf.names == ["a"]


def test_a_refused_plan_harms_only_itself(desk: Desk) -> None:
    desk.shelf.refuses["b"] = UnknownNode("no such node")
    desk.shelf.gate.clear()
    for name in "abc":
        desk.put(name)

    desk.shelf.gate.set()
    desk.outbox.flush()

    assert desk.shelf.names == ["a", "c"]
    assert {name: type(error) for name, error in desk.refused.items()} == {"b": UnknownNode}


def test_an_error_of_the_store_is_told_to_everyone(desk: Desk) -> None:
    desk.shelf.refuses = {"a": StoreUnavailable("away"), "b": StoreUnavailable("away")}
    desk.put("a", at_once=True)
    desk.put("b", at_once=True)

    assert set(desk.refused) == {"a", "b"}


def test_an_interrupt_goes_through(desk: Desk) -> None:
    desk.shelf.refuses["a"] = KeyboardInterrupt()

    with pytest.raises(KeyboardInterrupt):
        desk.put("a", at_once=True)

    assert set(desk.refused) == {"a"}


def test_an_error_that_nobody_expected_does_not_end_the_sender(desk: Desk) -> None:
    desk.shelf.refuses["a"] = MemoryError()
    desk.put("a", at_once=True)
    desk.put("b")
    desk.outbox.flush()

    assert desk.shelf.names == ["b"]


def test_closing_sends_what_is_left(desk: Desk) -> None:
    desk.shelf.gate.clear()
    desk.put("a")
    desk.put("b")
    desk.shelf.gate.set()

    desk.outbox.close()

    assert desk.shelf.names == ["a", "b"]


# ── bursts ───────────────────────────────────────────────────────────────────────────


class Basket:
    """What calls are gathered in; may be impossible to pack."""

    is_full = False

    def __init__(self, name: str, options: object = None) -> None:
        self.digest, self.options, self.name = "f", options, name
        self.items: list[int] = []
        self.error: BaseException | None = None
        self.told: BaseException | None = None

    def add(self, item: int) -> int:
        self.items.append(item)
        return len(self.items) - 1

    def seal(self) -> Plan:
        if self.error is not None:
            raise self.error
        return Plan(RunId(f"{self.name}:{','.join(map(str, self.items))}"), ())

    def fail(self, error: BaseException) -> None:
        self.told = error


def busy(desk: Desk) -> threading.Thread:
    """The store is at work until its gate is opened."""
    desk.shelf.gate.clear()
    thread = threading.Thread(target=lambda: desk.put("ahead", at_once=True))
    thread.start()
    assert desk.shelf.asked.wait(10)
    return thread


def gather(desk: Desk, item: int, basket: Basket, options: object = None) -> int:
    return desk.outbox.gather("f", options, Basket.add, item, lambda: basket)  # type: ignore[arg-type, return-value]


def test_calls_gather_until_they_are_taken(desk: Desk) -> None:
    first, second = Basket("first"), Basket("second")
    thread = busy(desk)
    places = [gather(desk, x, first) for x in range(3)]

    desk.shelf.gate.set()
    thread.join(10)
    desk.outbox.flush()
    gather(desk, 3, second)
    desk.outbox.flush()

    assert places == [0, 1, 2]
    assert desk.shelf.names == ["ahead", "first:0,1,2", "second:3"]


def test_a_full_burst_and_other_options_begin_a_new_one(desk: Desk) -> None:
    thread = busy(desk)
    first, second, third = Basket("first"), Basket("second", "other"), Basket("third", "other")
    gather(desk, 0, first)
    gather(desk, 1, second, "other")
    second.is_full = True
    gather(desk, 2, third, "other")

    desk.shelf.gate.set()
    thread.join(10)
    desk.outbox.flush()

    assert desk.shelf.names == ["ahead", "first:0", "second:1", "third:2"]


def test_a_burst_that_cannot_be_packed_harms_only_itself(desk: Desk) -> None:
    bad, good = Basket("bad"), Basket("good", "other")
    bad.error = StoreUnavailable("away")
    thread = busy(desk)
    gather(desk, 0, bad)
    gather(desk, 1, good, "other")

    desk.shelf.gate.set()
    thread.join(10)
    desk.outbox.flush()

    assert desk.shelf.names == ["ahead", "good:1"]
    assert bad.told is bad.error


def test_an_interrupt_while_a_burst_is_packed_loses_nothing_else(desk: Desk) -> None:
    bad = Basket("bad")
    bad.error = KeyboardInterrupt()
    desk.outbox._entries.append((Plan(RunId("a"), ()), lambda error: None))
    desk.outbox._entries.append(bad)  # type: ignore[arg-type]
    desk.outbox._entries.append((Plan(RunId("b"), ()), lambda error: None))

    with pytest.raises(KeyboardInterrupt):
        desk.outbox.flush()
    desk.outbox.flush()

    assert desk.shelf.names == ["a", "b"]
    assert isinstance(bad.told, KeyboardInterrupt)


# ── no room ──────────────────────────────────────────────────────────────────────────


class Narrow:
    """A store with room for so many plans in each queue."""

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.taken: list[str] = []
        self.asked = 0

    def submit(self, plans: Sequence[Plan], /) -> dict[RunId, RunId]:
        self.asked += 1
        for plan in plans:
            queue = plan.nodes[0].queue
            if sum(name.startswith(queue) for name in self.taken) >= self.room:
                raise QueueFull("no room", queue=queue)
        self.taken += [plan.run for plan in plans]
        return {}


def plan_in(queue: str, number: int) -> Plan:
    name = f"{queue}{number}"
    return Plan(RunId(name), (Node(NodeId(name), "f", b"", queue=queue),))


class Sender(threading.Thread):
    """Puts one plan after the other, as a loop in a script does."""

    def __init__(self, outbox: Outbox, queue: str, plans: int, *, at_once: bool = False) -> None:
        super().__init__(daemon=True)
        self.outbox, self.queue, self.plans, self.at_once = outbox, queue, plans, at_once
        self.put = 0
        self.start()

    def run(self) -> None:
        for number in range(self.plans):
            self.outbox.put(plan_in(self.queue, number), lambda _: None, at_once=self.at_once)
            self.put += 1


@pytest.mark.parametrize("at_once", [False, True])
def test_what_there_is_no_room_for_waits_in_order_and_little_of_it_is_held(at_once: bool) -> None:
    store = Narrow(3)
    outbox = Outbox(store)  # type: ignore[arg-type]
    sender = Sender(outbox, "a", 2000, at_once=at_once)

    until(lambda: store.asked > 8)
    assert len(outbox._held) + len(outbox._entries) < 600
    assert sender.put < 600

    store.room = 5000
    sender.join(10)
    outbox.flush()
    assert store.taken == [f"a{n}" for n in range(2000)]


def test_a_full_queue_holds_up_no_other() -> None:
    narrow = Narrow(5)
    outbox = Outbox(narrow)  # type: ignore[arg-type]
    Sender(outbox, "a", 1000)
    until(lambda: narrow.asked > 8)

    for number in range(5):
        outbox.put(plan_in("b", number), lambda _: None, at_once=False)
    outbox.flush(wait=False)

    assert [name for name in narrow.taken if name.startswith("b")] == ["b0", "b1", "b2", "b3", "b4"]
    narrow.room = 2000
    until(lambda: len(narrow.taken) == 1005)


def test_what_fails_while_it_is_held_is_told() -> None:
    store = Narrow()
    outbox = Outbox(store)  # type: ignore[arg-type]
    told: list[BaseException] = []
    outbox.put(plan_in("a", 0), told.append, at_once=False)
    until(lambda: outbox._held)

    def fail(plans: Sequence[Plan], /) -> None:
        raise StoreUnavailable("away")

    store.submit = fail  # type: ignore[method-assign, assignment]

    until(lambda: told)
    assert isinstance(told[0], StoreUnavailable)
    until(lambda: not outbox._held and not outbox._full)


def test_a_burst_that_had_no_room_to_be_packed_is_packed_again(desk: Desk) -> None:
    basket = Basket("basket", SimpleNamespace(queue="a"))
    basket.error = QueueFull("disk full")
    gather(desk, 7, basket, basket.options)
    until(lambda: desk.outbox._held)

    basket.error = None

    desk.outbox.flush()
    assert desk.shelf.names == ["basket:7"]
    assert basket.told is None


def test_who_is_interrupted_while_it_waits_has_not_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Narrow()
    outbox = Outbox(store)  # type: ignore[arg-type]

    def rest(error: QueueFull, since: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(outbox._room, "rest", rest)
    with pytest.raises(KeyboardInterrupt):
        outbox.put(plan_in("a", 0), lambda _: None, at_once=True)

    assert outbox._held == []
    store.room = 10
    until(lambda: not outbox._full)
    assert store.taken == []
