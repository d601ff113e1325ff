"""Failures with one cause are one line."""

from __future__ import annotations

import json

import pytest

from taskflow.ids import NodeId
from taskflow.observe.reasons import GROUPS_MOST, ITEMS_MOST, Reason, failures_of, reasons
from taskflow.records import Failure, Kind
from taskflow.states import State
from taskflow.stores.memory import MemoryStore
from taskflow.testing import ManualClock, Story
from taskflow.testing.story import array, call, one


@pytest.fixture
def story() -> Story:
    clock = ManualClock(1000.0)
    return Story(MemoryStore(clock=clock), clock)


def fail(story: Story, message: str, *, kind: str = "builtins.ValueError", line: int = 7) -> None:
    trace = (
        f'Traceback (most recent call last):\n  File "cell", line {line}, in f\n    boom()\n{kind}: {message}'
    )
    lease = story.take()
    story.settle(lease, one(lease, Kind.FAILED, error=Failure("failed", kind, message, trace).to_json()))


def found(story: Story) -> list[Reason]:
    return reasons(story.store, story.run_view().nodes)


def test_messages_that_differ_in_numbers_and_in_what_is_quoted_are_one_cause(story: Story) -> None:
    story.submit(array("map", 4))
    for message in ("row 1: no 'a' at 0xdeadbeef", "row 22: no 'b' at 0x1", 'row 3: no "c" at 0x2'):
        fail(story, message)

    (reason,) = found(story)

    assert (reason.count, reason.message) == (3, "row 1: no 'a' at 0xdeadbeef")
    assert reason.items == [("map", 0), ("map", 1), ("map", 2)]


@pytest.mark.parametrize("other", [{"kind": "builtins.KeyError"}, {"line": 8}])
def test_another_class_and_another_line_are_another_cause(story: Story, other: dict[str, str]) -> None:
    story.submit(array("map", 2))
    fail(story, "no")
    fail(story, "no", **other)  # type: ignore[arg-type]

    assert [reason.count for reason in found(story)] == [1, 1]


def test_the_most_frequent_comes_first_and_the_rarest_are_left_out(story: Story) -> None:
    kinds = [f"mod.E{chr(65 + i)}" for i in range(GROUPS_MOST + 2)]
    story.submit(array("map", 2 * len(kinds) + 1))
    for kind in [*kinds, kinds[5], kinds[5], kinds[3]]:
        fail(story, "no", kind=kind)

    told = found(story)

    assert len(told) == GROUPS_MOST
    assert [(reason.type, reason.count) for reason in told[:3]] == [
        (kinds[5], 3),
        (kinds[3], 2),
        (kinds[0], 1),
    ]


def test_some_items_are_named_and_all_are_counted(story: Story) -> None:
    story.submit(array("map", 20), call("lone"))
    for _ in range(21):
        fail(story, "no")

    (reason,) = found(story)

    assert reason.count == 21
    assert reason.items == [("map", i) for i in range(ITEMS_MOST)]


def test_what_succeeded_was_cancelled_or_skipped_is_no_failure(story: Story) -> None:
    story.submit(array("map", 3), call("sum", "map"))
    story.succeed(story.take())
    fail(story, "no")
    story.cancel("map", 2)

    failed = list(failures_of(story.store, story.run_view().nodes))

    assert story.state("sum") is State.SKIPPED
    assert [(node.id, item.lo, item.hi) for node, item in failed] == [(NodeId("map"), 1, 2)]


def test_what_is_told_is_short_and_keeps_the_end_of_the_traceback(story: Story) -> None:
    story.submit(call("lone"))
    fail(story, "x" * 100_000)

    (reason,) = found(story)
    told = reason.to_json()

    assert len(json.dumps(told)) < 5_000
    assert len(told["message"]) == 500
    assert told["traceback"].endswith("xxx")


def test_a_failure_without_a_class_goes_by_its_state(story: Story) -> None:
    story.submit(call("lone"))
    lease = story.take()
    story.settle(lease, one(lease, Kind.FAILED, error=Failure("failed").to_json()))

    assert [reason.type for reason in found(story)] == ["failed"]
