"""A map to which items are still added is shown without a total."""

from __future__ import annotations

from taskflow.ids import NodeId
from taskflow.observe.board import Board
from taskflow.observe.steps import steps_of
from taskflow.records import EdgeMode, Growth, Page
from taskflow.stores.memory import MemoryStore
from taskflow.testing import ManualClock
from taskflow.testing.story import Story, array, call, edge, value


def test_the_total_is_known_when_nothing_is_added_any_more() -> None:
    clock = ManualClock()
    story = Story(MemoryStore(clock=clock), clock)
    fed = array("a", 1, edge("items of a", EdgeMode.FEEDS))
    story.submit(call("items of a", queue="own"), fed)
    lease = story.take(queues=("own",))
    board = Board()
    board.show(story.run_view(), now=clock.now(), cursor=story.cursor())
    (before,) = board.stages(clock.now())
    (step,) = steps_of(story.run_view())

    story.succeed(lease, grow=Growth(widths={NodeId("a"): (3, (Page(1, 3, value()),))}))
    for part in story.claim(3):
        story.succeed(part)
    for event in story.events():
        board.add(event)
    assert board.stale
    board.show(story.run_view(), now=clock.now(), cursor=story.cursor())

    assert (before.label, before.total, step.width) == ("a", None, None)
    assert [(s.label, s.total, s.done) for s in board.stages(clock.now())] == [("a", 3, 3)]
    assert [s.width for s in steps_of(story.run_view())] == [3]
