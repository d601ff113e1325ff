"""The feed over the memory store: pumped by hand, and in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from taskflow.errors import NoSuchRun, ResultExpired, RunLost, StoreError, StoreUnavailable
from taskflow.feed import Feed
from taskflow.ids import NodeId, RunId, WorkerId
from taskflow.records import Event, Heard, Kind, Node, Outcome, Plan, Segment, Settlement, Want
from taskflow.states import State
from taskflow.stores.memory import MemoryStore


class Ear:
    """A listener that notes what it hears."""

    def __init__(self, feed: Feed, *, wants_values: bool = True) -> None:
        self.wants_values = wants_values
        self.feed = feed
        self.heard: list[State] = []
        self.values: list[Segment] = []
        self.looks = 0
        self.cancelled = False
        self.error: StoreError | None = None
        self.node = NodeId("a")
        self.over = threading.Event()
        self.told_in: threading.Thread | None = None

    def happened(self, event: Event, /) -> None:
        self.heard.append(event.state)

    def caught_up(self, known: Sequence[Segment], /) -> None:
        pass

    def ended(self, segments: Sequence[Segment], /) -> None:
        self.values = list(segments)
        self.told_in = threading.current_thread()
        self.over.set()

    def look(self) -> None:
        self.looks += 1

    def lost(self, error: StoreError, /) -> None:
        self.error = error
        self.feed.unwatch(self.node, self)
        self.over.set()

    def stop(self, *, running: bool) -> None:
        self.cancelled |= running or State.RUNNING not in self.heard


def call(name: str) -> Plan:
    return Plan(RunId(name), (Node(NodeId(name), "fn", b"args"),))


def work(store: MemoryStore, kind: Kind = Kind.SUCCEEDED) -> None:
    """Claim all there is, and end it."""
    leases = store.claim(Want(WorkerId("w"), ("default",), 100, 15.0))
    store.settle([Settlement(lease.key, (Outcome(0, 1, kind, b"value"),)) for lease in leases])


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def feed(store: MemoryStore) -> Iterator[Feed]:
    feed = Feed(store, None)
    yield feed
    feed.close()


def drain(feed: Feed) -> None:
    while feed.pump():
        pass


def test_a_listener_hears_of_its_node_and_gets_its_value(feed: Feed, store: MemoryStore) -> None:
    ear, other = Ear(feed), Ear(feed)
    feed.watch(NodeId("a"), ear)
    feed.watch(NodeId("b"), other)

    store.submit([call("a")])
    work(store)
    drain(feed)

    assert State.RUNNING in ear.heard
    assert [segment.value for segment in ear.values] == [b"value"]
    assert other.heard == []


def test_two_listeners_of_a_node_both_hear(feed: Feed, store: MemoryStore) -> None:
    one, two = Ear(feed), Ear(feed, wants_values=False)
    feed.watch(NodeId("a"), one)
    feed.watch(NodeId("a"), two)

    store.submit([call("a")])
    work(store)
    drain(feed)

    assert one.values
    assert State.SUCCEEDED in two.heard
    assert two.values == []


def test_one_of_two_listeners_may_leave(feed: Feed, store: MemoryStore) -> None:
    one, two = Ear(feed), Ear(feed)
    feed.watch(NodeId("a"), one)
    feed.watch(NodeId("a"), two)
    feed.unwatch(NodeId("a"), one)

    store.submit([call("a")])
    work(store)
    drain(feed)

    assert one.values == []
    assert two.values
    assert feed.pending == 1


def test_the_feed_is_idle_when_nobody_listens(feed: Feed) -> None:
    ear = Ear(feed)
    assert feed.wait_idle(0)
    feed.watch(NodeId("a"), ear)
    assert not feed.wait_idle(0)

    feed.unwatch(NodeId("a"), ear)
    feed.unwatch(NodeId("a"), ear)

    assert feed.wait_idle(0)
    assert feed.pending == 0


def test_a_late_listener_catches_up(feed: Feed) -> None:
    ear = Ear(feed)

    feed.catch_up(NodeId("a"), ear)

    assert ear.looks == 1


def test_when_the_log_was_cut_everyone_looks(
    feed: Feed, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = Ear(feed)
    feed.watch(NodeId("a"), ear)
    events = store.events

    def cut(after: int, /, *, limit: int = 1000) -> list[Event]:
        if after >= 0:
            raise ResultExpired("cut", expired_at=0.0)
        return events(after, limit=limit)

    monkeypatch.setattr(store, "events", cut)
    store.submit([call("a")])

    assert feed.pump()
    assert ear.looks == 1


def test_a_store_that_fails_meanwhile_loses_nothing(
    feed: Feed, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = Ear(feed)
    feed.watch(NodeId("a"), ear)
    store.submit([call("a")])
    work(store)
    values, failures = store.values, [StoreUnavailable("locked")]

    def flaky(*args: Any, **kwargs: Any) -> Any:
        if failures:
            raise failures.pop()
        return values(*args, **kwargs)

    monkeypatch.setattr(store, "values", flaky)
    with pytest.raises(StoreUnavailable):
        drain(feed)
    assert not ear.over.is_set()

    drain(feed)

    assert ear.over.is_set()


def test_all_or_what_has_not_started_is_cancelled(feed: Feed) -> None:
    running, waiting = Ear(feed), Ear(feed)
    running.heard.append(State.RUNNING)
    feed.watch(NodeId("a"), running)
    feed.watch(NodeId("b"), waiting)

    feed.cancel_all(running=False)
    assert (running.cancelled, waiting.cancelled) == (False, True)

    feed.cancel_all()
    assert running.cancelled


def test_in_a_thread_it_hears_by_the_bell(store: MemoryStore) -> None:
    feed = Feed(store, lambda: store.listen("watch"))
    try:
        ears = [Ear(feed) for _ in range(20)]
        for i, ear in enumerate(ears):
            feed.watch(NodeId(str(i)), ear)
            store.submit([call(str(i))])
        work(store)

        assert all(ear.over.wait(10) for ear in ears)
    finally:
        feed.close()


@pytest.fixture
def threaded(store: MemoryStore) -> Iterator[Feed]:
    feed = Feed(store, lambda: store.listen("ends"))
    yield feed
    feed.close()


class Once(Ear):
    """Hears nothing more when it has a value."""

    def ended(self, segments: Sequence[Segment], /) -> None:
        self.feed.unwatch(self.node, self)
        super().ended(segments)


class Waits:
    """One wait after the other, each alone, for calls that have ended when it begins."""

    def __init__(self, feed: Feed, store: MemoryStore) -> None:
        self.feed, self.store, self.number = feed, store, 0

    def begin(self) -> Ear:
        """A listener of a call that is in the store."""
        self.number += 1
        ear = Once(self.feed)
        ear.node = NodeId(f"n{self.number}")
        self.feed.watch(ear.node, ear)
        self.store.submit([call(ear.node)])
        return ear

    def until_led(self) -> Ear:
        """Wait until the thread has left the bell to such waits: one that has told itself."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            ear = self.begin()
            work(self.store)
            self.feed.lead(ear.node, ear, ear.over.is_set)
            assert ear.over.wait(10)
            if ear.told_in is threading.current_thread():
                return ear
        raise AssertionError("the thread keeps the bell")


def test_who_waits_alone_reads_the_bell_in_his_own_thread(threaded: Feed, store: MemoryStore) -> None:
    ear = Waits(threaded, store).until_led()

    assert [segment.value for segment in ear.values] == [b"value"]
    assert threaded.pending == 0


def test_the_thread_tells_who_does_not_read_the_bell(threaded: Feed, store: MemoryStore) -> None:
    waits = Waits(threaded, store)
    waits.until_led()
    ear = waits.begin()
    work(store)

    assert ear.over.wait(10)
    assert ear.told_in is not threading.current_thread()


def test_where_several_wait_the_thread_tells_them(threaded: Feed, store: MemoryStore) -> None:
    waits = Waits(threaded, store)
    waits.until_led()
    one, two = waits.begin(), waits.begin()
    work(store)
    threaded.lead(one.node, one, one.over.is_set)

    assert one.over.wait(10)
    assert two.over.wait(10)
    assert threading.current_thread() not in (one.told_in, two.told_in)


def test_a_wait_for_something_long_leaves_the_bell_to_the_thread(threaded: Feed, store: MemoryStore) -> None:
    waits = Waits(threaded, store)
    waits.until_led()
    ear = waits.begin()
    threaded.lead(ear.node, ear, ear.over.is_set)
    assert not ear.over.is_set()
    work(store)

    assert ear.over.wait(10)
    assert ear.told_in is not threading.current_thread()


def test_a_wait_asks_no_store_whose_bell_says_all_but_this_time(
    threaded: Feed, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, asked_in, events = Waits(threaded, store), list[threading.Thread](), store.events
    waits.until_led()
    threaded.pump(Heard(after=0, events=tuple(events(0))))
    monkeypatch.setattr(
        store,
        "events",
        lambda *of, **how: (asked_in.append(threading.current_thread()), events(*of, **how))[1],
    )
    for _ in range(3):
        ear = waits.begin()
        work(store)
        threaded.lead(ear.node, ear, ear.over.is_set)
        assert ear.over.wait(10)

    assert threading.current_thread() not in asked_in


def test_a_wait_that_is_interrupted_leaves_the_bell_to_the_thread(
    threaded: Feed, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, tell, mine = Waits(threaded, store), Feed._tell, threading.current_thread()
    waits.until_led()

    def interrupted(self: Feed, *told: Any) -> None:
        if threading.current_thread() is mine:
            raise KeyboardInterrupt
        tell(self, *told)

    monkeypatch.setattr(Feed, "_tell", interrupted)
    ears = []
    with pytest.raises(KeyboardInterrupt):
        while True:
            ear = waits.begin()
            ears.append(ear)
            work(store)
            threaded.lead(ear.node, ear, ear.over.is_set)
            assert ear.over.wait(10)

    assert all(ear.over.wait(10) for ear in ears)


def test_a_listener_that_raises_does_not_silence_the_others(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Ear):
        def ended(self, segments: Sequence[Segment], /) -> None:
            raise RuntimeError("a bug")

    class Looking(Ear):
        def look(self) -> None:
            self.ended(store.values([NodeId("b")])[NodeId("b")])

    feed = Feed(store, lambda: store.listen("watch"))
    try:
        broken, ear = Broken(feed), Looking(feed)
        feed.watch(NodeId("a"), broken)
        feed.watch(NodeId("b"), ear)
        store.submit([call("a"), call("b")])
        work(store)

        assert ear.over.wait(10)
        assert "the feed stumbled" in caplog.text
    finally:
        feed.close()


class Forgetful(Ear):
    """Finds nothing when it looks."""

    def look(self) -> None:
        super().look()
        raise NoSuchRun("The store knows no run 'a'.")


def test_a_run_that_the_store_has_forgotten_is_lost_when_it_was_acknowledged(
    feed: Feed, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.feed.POLL_S", 0.0)
    ear = Forgetful(feed)
    feed.watch(NodeId("a"), ear)
    feed.look_back()
    monkeypatch.setattr(store, "epoch", lambda: "another")

    feed.look_back()
    feed.look_back()
    assert (ear.looks, ear.error) == (0, None)  # it is on its way, perhaps

    feed.sent([call("a")])
    feed.look_back()

    assert isinstance(ear.error, RunLost)
    assert feed.pending == 0
    feed.look_back()
    assert ear.looks == 1


def test_what_is_still_known_is_waited_for_when_the_store_may_have_forgotten_something(
    feed: Feed, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.feed.POLL_S", 0.0)
    ear = Ear(feed)
    feed.watch(NodeId("a"), ear)
    feed.sent([call("a")])
    feed.look_back()
    monkeypatch.setattr(store, "epoch", lambda: "another")

    feed.look_back()
    store.submit([call("a")])
    work(store)
    drain(feed)

    assert (ear.looks, ear.error) == (1, None)
    assert ear.values


def test_what_was_forgotten_before_it_is_caught_up_with_is_lost(feed: Feed) -> None:
    with pytest.raises(RunLost, match="acknowledged"):
        feed.catch_up(NodeId("a"), Forgetful(feed))

    assert feed.pending == 0


def test_a_worker_that_cannot_be_started_does_not_end_the_feed(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("taskflow.feed.POLL_S", 0.01)
    ticked = threading.Event()

    def tick() -> None:
        ticked.set()
        raise OSError("no process left")

    feed = Feed(store, lambda: store.listen("watch"), tick)
    try:
        ear = Ear(feed)
        feed.watch(NodeId("a"), ear)
        assert ticked.wait(10)
        store.submit([call("a")])
        work(store)

        assert ear.over.wait(10)
    finally:
        feed.close()


def test_closing_twice_is_closing_once(feed: Feed) -> None:
    feed.close()
    feed.close()
