"""The squares of a map: events lead to what a fresh look at the items shows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskflow.ids import NodeId, RunId
from taskflow.observe.cells import CODES, Cells
from taskflow.records import Event, ItemView
from taskflow.states import State
from taskflow.stores.memory import MemoryStore
from taskflow.testing import ManualClock, Story
from taskflow.testing.story import array

S = State
WIDTH = 23


def event(lo: int, hi: int, state: State) -> Event:
    return Event(1, 0.0, RunId("run"), NodeId("map"), lo, hi, state)


def item(lo: int, hi: int, state: State) -> ItemView:
    return ItemView(lo, hi, state, 0, 0, None, None, None, None)


@st.composite
def events(draw: st.DrawFn) -> list[Event]:
    found = []
    for _ in range(draw(st.integers(0, 30))):
        lo = draw(st.integers(0, WIDTH))
        found.append(event(lo, draw(st.integers(lo, WIDTH + 5)), draw(st.sampled_from(S))))
    return found


@given(events(), st.integers(1, WIDTH + 5))
def test_squares_that_followed_events_are_those_of_the_items_as_they_ended(
    events: list[Event], most: int
) -> None:
    followed = Cells(WIDTH, [], most=most)
    states = [S.QUEUED] * WIDTH

    for each in events:
        followed.add(each)
        states[each.lo : each.hi] = [each.state] * len(states[each.lo : each.hi])

    fresh = Cells(WIDTH, [item(i, i + 1, state) for i, state in enumerate(states)], most=most)
    assert followed.states() == fresh.states()
    assert followed.per_cell == fresh.per_cell
    assert len(fresh.states()) <= most


STEPS = st.sampled_from(["take", "range", "succeed", "fail", "retry", "lose", "cancel", "expire"])


@given(st.lists(st.tuples(STEPS, st.integers(0, 9)), max_size=40), st.sampled_from([10, 4]))
def test_whatever_a_store_does_its_events_tell_the_squares(steps: list[tuple[str, int]], most: int) -> None:
    clock = ManualClock(1000.0)
    story = Story(MemoryStore(clock=clock), clock)
    story.submit(array("map", 10))
    followed, cursor, held = Cells(10, story.store.items(NodeId("map")), most=most), story.cursor(), []

    for step, number in steps:
        if step == "take":
            held += story.claim(1)
        elif step == "range":
            held += story.claim(1, pace_s={"f": 0.001}, batch_s=0.004)
        elif step == "cancel":
            story.cancel("map", number)
        elif step == "expire":
            story.wait(5.0)
        elif held:
            getattr(story, step)(held.pop(number % len(held)))
    for each in story.events("map", since=cursor):
        followed.add(each)

    assert followed.states() == Cells(10, story.store.items(NodeId("map")), most=most).states()


def test_every_state_has_a_colour() -> None:
    assert set(CODES) == set(State)


def test_one_failure_among_many_items_is_seen() -> None:
    squares = Cells(10_000, [item(0, 10_000, S.SUCCEEDED)], most=100)

    squares.add(event(4_321, 4_322, S.FAILED))

    assert squares.per_cell == 100
    assert squares.states() == bytes([2] * 43 + [3] + [2] * 56)


def test_a_square_has_succeeded_when_all_of_its_items_have() -> None:
    squares = Cells(10, [], most=2)

    squares.add(event(0, 5, S.SUCCEEDED))
    squares.add(event(5, 9, S.SUCCEEDED))

    assert list(squares.states()) == [2, 1]


def test_the_last_square_may_stand_for_fewer() -> None:
    squares = Cells(7, [], most=3)

    squares.add(event(6, 7, S.SUCCEEDED))

    assert list(squares.states()) == [0, 0, 2]


def test_events_beyond_the_width_change_nothing() -> None:
    squares = Cells(3, [])

    squares.add(event(3, 9, S.FAILED))
    squares.add(event(2, 2, S.FAILED))

    assert list(squares.states()) == [0, 0, 0]
