"""What happens in a store, one event after another."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import taskflow
from taskflow.errors import ResultExpired
from taskflow.events import Events
from taskflow.pools.context import report_state
from taskflow.states import State
from taskflow.stores.memory import MemoryStore
from taskflow.testing import ManualClock, Story
from taskflow.testing.story import array, call


def _says() -> int:
    report_state("HALFWAY", 1)
    return 5


def _story(events: Any, node: str) -> list[str]:
    """The states of a node until it has ended."""
    states = []
    for event in events:
        if event.node == node:
            states.append(str(event.state) if event.hi else f"said while {event.state}")
            if event.state is State.SUCCEEDED:
                break
    return states


def test_events_come_as_they_happen_whoever_sent_the_task(client: taskflow.Client) -> None:
    with client.events() as events:
        future = client.submit(_says)

        states = _story(events, future.node_id)

    assert [state for state in states if "said" not in state] == ["running", "succeeded"]
    assert future.result(10) == 5


def test_events_can_be_awaited_beside_others(client: taskflow.Client) -> None:
    async def first_end(node: str, events: Events) -> State:
        async for event in events:
            if event.node == node and event.state in (State.SUCCEEDED, State.FAILED):
                return event.state
        raise AssertionError("it was closed")

    async def both() -> list[Any]:
        with client.events() as one, client.events() as other:
            futures = [client.submit(_says) for _ in range(2)]
            return await asyncio.gather(
                first_end(futures[0].node_id, one), first_end(futures[1].node_id, other)
            )

    assert asyncio.run(both()) == [State.SUCCEEDED] * 2


@pytest.fixture
def story() -> Story:
    clock = ManualClock()
    return Story(MemoryStore(clock=clock), clock)


def test_who_was_away_goes_on_where_it_stopped(story: Story) -> None:
    with Events(story.store) as events:
        story.submit(array("a", 3))
        leases = story.claim(3)
        cursor = [next(events) for _ in range(2)][-1].cursor
        assert events.cursor == cursor
    story.succeed(leases[0])

    with Events(story.store, cursor) as events:
        later = events.take(0)

    assert [event.cursor for event in later] == list(range(cursor + 1, story.cursor() + 1))
    assert later[-1].state is State.SUCCEEDED
    assert not events.missed


def test_from_now_on_means_nothing_of_before(story: Story) -> None:
    story.submit(call("a"))

    with Events(story.store) as events:
        assert events.take(0) == []
        lease = story.take()
        assert [(event.node, event.state) for event in events.take(0)] == [("a", State.RUNNING)]
        story.settle(lease)
        assert events.take(0) == []


def test_what_was_looked_at_one_by_one_is_not_given_twice(story: Story) -> None:
    with Events(story.store) as events:
        story.submit(array("a", 3))
        story.claim(3)
        first = next(events)
        rest = events.take(0)

    assert first.cursor < rest[0].cursor
    assert len(rest) == 3


def test_what_the_store_has_forgotten_was_missed(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    with Events(story.store, 0) as events:
        story.submit(call("a"), call("b"))
        read = story.store.events

        def cut(after: int, /, **how: Any) -> Any:
            if after == 0:
                raise ResultExpired("cut", expired_at=0.0)
            return read(after, **how)

        monkeypatch.setattr(story.store, "events", cut)
        found = events.take(0)

    assert events.missed
    assert [event.node for event in found] == ["b"]


def test_who_waits_comes_to_the_end_when_it_is_closed(story: Story) -> None:
    events = Events(story.store)
    ended = threading.Thread(target=lambda: list(events))
    ended.start()

    events.close()
    events.close()

    ended.join(20)
    assert not ended.is_alive()
    assert events.take() == []


def test_it_waits_for_a_ring_not_for_its_time(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskflow.events.POLL_S", 60.0)
    with Events(story.store) as events:
        threading.Timer(0.05, lambda: story.submit(call("a"))).start()

        assert [event.node for event in events.take(30)] == ["a"]
