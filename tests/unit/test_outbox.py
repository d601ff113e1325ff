"""Group commit, with a store that is a list."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from taskflow.errors import QueueFull, UnknownNode
from taskflow.ids import RunId
from taskflow.outbox import Outbox
from taskflow.records import Plan


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
    desk.shelf.refuses = {"a": QueueFull("disk full"), "b": QueueFull("disk full")}
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
    return desk.outbox.gather("f", options, item, lambda: basket)  # type: ignore[arg-type, return-value]


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
    bad.error = QueueFull("disk full")
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
