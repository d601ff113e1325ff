"""How many slots a worker needs, with a clock that only the test moves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskflow.worker.scaling import IDLE_S, WAIT_S, Scaler


class Load:
    """A worker with so many calls to run, seconds by seconds."""

    def __init__(self, least: int, most: int) -> None:
        self.now, self.slots = 100.0, least
        self.scaler = Scaler(least, most, self.now)

    def run(self, seconds: float, calls: int, waited_s: float | None = None) -> int:
        """So many calls all the time; what finds no slot waits."""
        for _ in range(round(seconds * 2)):
            self.now += 0.5
            self.scaler.saw(self.now, max(0, self.slots - calls))
            waits = calls > self.slots and self.scaler.is_pressed(self.now, self.slots)
            self.slots = self.scaler.slots(self.now, self.slots, (waited_s or 60.0) if waits else None)
        return self.slots


def test_it_grows_while_work_waits_and_shrinks_when_there_is_none() -> None:
    load = Load(3, 10)

    assert load.run(2 * WAIT_S, 100) > 3
    assert load.run(10 * WAIT_S, 100) == 10
    assert load.run(60, 10) == 10
    assert load.run(3 * IDLE_S, 0) == 3


def test_it_grows_no_further_than_the_load() -> None:
    assert Load(1, 100).run(60, 6) <= 8


def test_work_that_waits_for_a_moment_only_is_no_reason() -> None:
    assert Load(3, 10).run(60, 100, waited_s=WAIT_S / 2) == 3


def test_full_slots_are_no_reason_when_nothing_waits() -> None:
    assert Load(3, 10).run(60, 3) == 3


def test_a_slot_that_was_needed_now_and_then_stays() -> None:
    load = Load(1, 10)
    load.run(30, 100)

    for _ in range(20):
        load.run(IDLE_S / 2, 0)
        load.run(0.5, 4)

    assert load.slots == 4


def test_it_does_not_shrink_before_it_was_idle_for_a_while() -> None:
    load = Load(1, 10)
    load.run(30, 10)

    assert load.run(IDLE_S / 2, 0) == 10


def test_other_bounds_are_kept_at_once() -> None:
    assert Scaler(3, 5, 0.0).slots(0.1, 9, None) == 5
    assert Scaler(3, 5, 0.0).slots(0.1, 1, None) == 3


@given(
    st.integers(1, 5),
    st.integers(0, 9),
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 30), st.floats(0, 9)), max_size=50),
)
def test_it_stays_between_its_bounds(least: int, more: int, steps: list[tuple[float, int, float]]) -> None:
    load = Load(least, least + more)
    for seconds, calls, waited_s in steps:
        assert least <= load.run(seconds, calls, waited_s) <= least + more
