"""What becomes of an alert from look to look, on a clock that is moved by hand."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from taskflow.alerts.state import CLAIMED_S, MOST_TRIES, Due, Standing, after_look, claimed, delivered


def looks(
    *seen: tuple[float, bool | None], for_s: float = 60.0, cooldown_s: float = 0.0
) -> list[tuple[str, float]]:
    """What is told, and when, after looks at these moments."""
    standing, told = Standing(), []
    for now, holds in seen:
        standing = after_look(standing, holds, 0.5, now, for_s, cooldown_s)
        while standing.due:
            told.append((standing.due[0].state, now))
            standing = claimed(standing, "me", now)
            standing = delivered(standing, standing.due[0], {}, now)
    return told


def test_it_fires_when_it_has_held_long_enough_and_is_resolved_when_it_holds_no_more() -> None:
    assert looks((0, True), (59, True), (60, True), (90, True), (120, False), (150, False)) == [
        ("firing", 60),
        ("resolved", 120),
    ]


def test_a_moment_in_which_it_does_not_hold_begins_it_anew() -> None:
    assert looks((0, True), (50, False), (55, True), (100, True), (115, True)) == [("firing", 115)]


def test_what_is_not_known_changes_nothing() -> None:
    assert looks((0, True), (30, None), (60, True), (90, None), (120, False)) == [
        ("firing", 60),
        ("resolved", 120),
    ]


def test_without_a_time_it_fires_at_once() -> None:
    assert looks((5, True), for_s=0.0) == [("firing", 5)]


def test_within_its_cooldown_it_is_quiet_and_then_tells_what_still_holds() -> None:
    """That is also so of its end: nobody hears that something is over of which he has not heard."""
    flapping = [
        (0, True),
        (10, False),
        (20, True),
        (30, False),
        (40, True),
        (90, True),
        (100, True),
        (110, False),
    ]

    assert looks(*flapping, for_s=0.0, cooldown_s=100.0) == [
        ("firing", 0),
        ("resolved", 10),
        ("firing", 100),
        ("resolved", 110),
    ]


def test_only_one_delivers_and_another_when_that_one_is_not_heard_of() -> None:
    standing = after_look(Standing(), True, 1.0, 0.0, 0.0, 0.0)

    mine = claimed(standing, "me", 0.0)
    assert claimed(mine, "you", CLAIMED_S - 1) == mine
    yours = claimed(mine, "you", CLAIMED_S)
    assert (yours.due[0].by, yours.due[0].tries) == ("you", 2)
    assert delivered(yours, mine.due[0], {}, CLAIMED_S) == yours
    assert delivered(yours, yours.due[0], {}, CLAIMED_S).due == ()


def test_where_it_did_not_arrive_it_is_tried_again_and_given_up_in_the_end() -> None:
    standing, now, tries = after_look(Standing(), True, 1.0, 0.0, 0.0, 0.0), 0.0, 0
    while standing.due:
        now = max(now + 1, standing.due[0].until)
        standing = claimed(standing, "me", now)
        standing = delivered(standing, standing.due[0], {1: "webhook: gone"}, now)
        tries += 1
        assert not standing.due or standing.due[0].left == (1,)

    assert tries == MOST_TRIES
    assert standing.error == "webhook: gone"


def test_notices_are_delivered_in_order() -> None:
    standing = after_look(Standing(), True, 1.0, 0.0, 0.0, 0.0)
    standing = after_look(standing, False, 0.0, 1.0, 0.0, 0.0)
    standing = after_look(standing, True, 1.0, 2.0, 0.0, 0.0)

    assert [(due.number, due.state) for due in standing.due] == [
        (1, "firing"),
        (2, "resolved"),
        (3, "firing"),
    ]
    standing = claimed(standing, "me", 3.0)
    assert [due.by for due in standing.due] == ["me", "", ""]


_LOOKS = st.lists(st.tuples(st.sampled_from([True, False, None]), st.integers(0, 40)), max_size=12)


@given(_LOOKS, st.sampled_from([0.0, 30.0]), st.sampled_from([0.0, 50.0]))
def test_a_look_that_is_said_twice_is_one(
    seen: list[tuple[Any, int]], for_s: float, cooldown_s: float
) -> None:
    """And firing and resolved take turns."""
    standing, now, states = Standing(), 0.0, []
    for holds, gap in seen:
        now += gap
        after = after_look(standing, holds, 1.0, now, for_s, cooldown_s)
        assert after_look(after, holds, 1.0, now, for_s, cooldown_s) == after
        assert Standing.from_json(after.to_json()) == after
        standing = after
    states = [due.state for due in standing.due]
    assert states == [("firing", "resolved")[n % 2] for n in range(len(states))]


def test_it_is_kept_as_text() -> None:
    standing = Standing(1.0, True, True, 5.0, 2, (Due(2, "firing", 0.5, 1.0, (0, 2), 1, "me", 9.0),), "no")

    assert Standing.from_json(standing.to_json()) == standing
