"""What a worker serves: as it is written, and how slots are shared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.errors import ConfigError
from taskflow.worker.queues import Queues, Turns


@pytest.mark.parametrize("text", ["default", "gpu,default", "high:3,default:1", "mail:out,mail:in,7"])
def test_what_is_written_is_read(text: str) -> None:
    assert str(Queues.parse(text)) == text
    assert Queues.parse(text.split(",")) == Queues.parse(text)


@pytest.mark.parametrize(
    ("text", "strict", "words"),
    [
        ("", False, "No queue is named"),
        (" , ", False, "No queue is named"),
        ("a,b,a", False, "'a' is named twice"),
        ("a:2,a:3", False, "'a' is named twice"),
        ("a:0", False, "1 to 1000"),
        ("a:1001", False, "1 to 1000"),
        ("a:-1", False, "1 to 1000"),
        ("a:1.5", False, "'a:1.5' is no queue"),
        (":3", False, "':3' is no queue"),
        ("a:3,b", True, "A strict order has no weights"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, strict: bool, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Queues.parse(text, strict=strict)


def test_a_queue_may_come_and_go() -> None:
    plain, weighed = Queues.parse("a,b"), Queues.parse("a:3,b:1")
    strict = Queues.parse("a,b", strict=True)

    assert str(plain.including("c")) == "a,b,c"
    assert plain.including("b") == plain
    assert str(plain.including("c", 2)) == "a:1,b:1,c:2"
    assert str(weighed.including("c")) == "a:3,b:1,c:1"
    assert str(weighed.including("b", 5)) == "a:3,b:5"
    assert strict.including("c", 2) == Queues(("a", "b", "c"), strict=True)
    assert str(weighed.without("a")) == "b:1"
    assert plain.without("x") == plain
    assert plain.without("a").without("b").names == ()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.lists(st.integers(0, 7), max_size=60))
def test_over_time_slots_are_shared_as_the_weights_say(weights: list[int], asked: list[int]) -> None:
    """However few are free at a time, no queue is ever a whole turn behind."""
    turns, given = Turns(weights), [0] * len(weights)
    for slots in asked:
        for at, share in enumerate(turns.next(slots)):
            given[at] += share
        turns.took(slots)
        assert turns.next(0) == (0,) * len(weights)

    assert sum(given) == sum(asked)
    for weight, got in zip(weights, given, strict=True):
        assert abs(got - sum(asked) * weight / sum(weights)) < len(weights)


def test_what_was_offered_and_not_taken_is_offered_again() -> None:
    turns = Turns([3, 1])

    assert turns.next(1) == turns.next(1) == (1, 0)
    turns.took(2)
    assert turns.next(1) == (0, 1)
