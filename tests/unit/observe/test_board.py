"""The board: snapshots are always right, events keep up with them, time is what it is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.ids import NodeId, RunId
from taskflow.observe.board import Board, Stage
from taskflow.records import Event, Given
from taskflow.states import State
from taskflow.stores.memory import MemoryStore
from taskflow.testing import ManualClock, Story
from taskflow.testing.story import array, call, value

RUN = RunId("run")


def shown(story: Story) -> Board:
    board = Board()
    run, cursor = story.store.snapshot(RUN)
    board.show(run, now=story.clock.now(), cursor=cursor)
    return board


def stage(board: Board, story: Story, label: str = "map") -> Stage:
    return next(s for s in board.stages(story.clock.now()) if s.label == label)


def catch_up(board: Board, story: Story) -> None:
    for event in story.store.events(board.cursor):
        board.add(event)


def test_events_lead_to_what_a_snapshot_shows(story: Story) -> None:
    story.submit(array("map", 10), call("sum", "map"))
    board = shown(story)

    for step in (story.succeed, story.succeed, story.fail, story.retry, story.succeed):
        step(story.take())
        catch_up(board, story)
    held = story.take()
    catch_up(board, story)

    assert held
    fresh, followed = stage(shown(story), story), stage(board, story)
    for field in ("total", "done", "running", "failed", "state", "elapsed_s"):
        assert getattr(followed, field) == getattr(fresh, field), field
    assert followed.running == 1
    assert followed.failed == 1


STEPS = st.sampled_from(
    ["take", "range", "succeed", "fail", "retry", "lose", "release", "cancel", "cancel all", "expire"]
)


@given(st.lists(st.tuples(STEPS, st.integers(0, 9)), max_size=40))
def test_whatever_happens_events_and_snapshots_agree(steps: list[tuple[str, int]]) -> None:
    clock = ManualClock(1000.0)
    story = Story(MemoryStore(clock=clock), clock)
    story.submit(array("map", 10), call("sum", "map"))
    board, held = shown(story), []

    for step, number in steps:
        if step == "take":
            held += story.claim(1)
        elif step == "range":
            held += story.claim(1, pace_s={"f": 0.001}, batch_s=0.004)
        elif step == "cancel":
            story.cancel("map", number)
        elif step == "cancel all":
            story.cancel("run")
        elif step == "expire":
            story.wait(5.0)
        elif held:
            getattr(story, step)(held.pop(number % len(held)))
        catch_up(board, story)

    same = ("label", "state", "total", "done", "running", "failed", "cancelled", "skipped")
    for seen, true in zip(board.stages(clock.now()), shown(story).stages(clock.now()), strict=True):
        assert [getattr(seen, f) for f in same] == [getattr(true, f) for f in same]


def test_nodes_with_the_same_label_are_one_stage(story: Story) -> None:
    story.submit(*(call(f"n{i}", label="step") for i in range(5)), call("last"))

    stages = shown(story).stages(story.clock.now())

    assert [(s.label, s.total) for s in stages] == [("step", 5), ("last", 1)]


def test_what_only_prepares_a_map_is_no_stage(story: Story) -> None:
    story.submit(call("h", label="items of map"), array("map", None, "h"))
    board = shown(story)

    story.succeed(story.take())
    catch_up(board, story)

    assert [s.label for s in board.stages(story.clock.now())] == ["map"]


def test_stages_can_be_named_by_others(story: Story) -> None:
    story.submit(call("a"), call("b"), call("c"))
    board = Board(lambda run: {node.id: "both" for node in run.nodes if node.id != "c"})
    run, cursor = story.store.snapshot(RUN)
    board.show(run, now=story.clock.now(), cursor=cursor)

    for _ in range(3):
        story.succeed(story.take())
    catch_up(board, story)

    assert [(s.label, s.done) for s in board.stages(story.clock.now())] == [("both", 2)]
    assert not board.stale


def test_a_node_without_a_label_goes_by_its_id(story: Story) -> None:
    story.submit(call("n1", label=""))

    assert [s.label for s in shown(story).stages(1000.0)] == ["n1"]


def test_results_of_earlier_runs_are_told_and_have_no_rate(story: Story) -> None:
    known = (Given(0, 6, value()),)
    story.submit(array("map", 10, given=known), meta={"cached": 6})
    board = shown(story)
    assert (stage(board, story).done, stage(board, story).cached) == (6, 6)

    for _ in range(4):
        lease = story.take()
        story.clock.advance(1)
        story.fail(lease) if lease.key.lo == 9 else story.succeed(lease)
    catch_up(board, story)

    assert (stage(board, story).done, stage(board, story).cached) == (10, 6)
    assert stage(board, story).rate == pytest.approx(1.0)
    story.rerun(new="again")
    board.show(story.run_view("again"), now=story.clock.now())
    assert (stage(board, story).done, stage(board, story).cached) == (9, 0)


def test_rate_and_eta_are_those_of_the_recent_past(story: Story) -> None:
    story.submit(array("map", 100))
    board = shown(story)

    for _ in range(20):
        story.clock.advance(0.5)
        story.succeed(story.take())
        catch_up(board, story)
        board.stages(story.clock.now())

    assert stage(board, story).rate == pytest.approx(2.0, rel=0.15)
    assert stage(board, story).eta_s == pytest.approx(40.0, rel=0.15)


def test_what_was_done_before_we_looked_is_not_speed(story: Story) -> None:
    story.submit(array("map", 100))
    for _ in range(50):
        story.succeed(story.take())

    board = shown(story)
    story.clock.advance(1.0)

    assert stage(board, story).done == 50
    assert stage(board, story).rate is None
    assert stage(board, story).eta_s is None


def test_a_stage_that_ended_says_how_long_it_took_and_how_fast_it_was(story: Story) -> None:
    story.submit(array("map", 4))
    for _ in range(4):
        lease = story.take()
        story.clock.advance(0.5)
        story.succeed(lease)
    board = shown(story)
    story.clock.advance(100)

    assert stage(board, story).elapsed_s == pytest.approx(2.0)
    assert stage(board, story).rate == pytest.approx(2.0)
    assert stage(board, story).eta_s == 0.0
    assert stage(board, story).state is State.SUCCEEDED
    assert board.ended


def test_a_retry_that_waits_is_counted(story: Story) -> None:
    story.submit(array("map", 4))
    board = shown(story)

    story.retry(story.take(), delay_s=5.0)
    catch_up(board, story)

    assert stage(board, story).retried == 1
    assert stage(board, story).running == 0


def test_cancelled_items_are_done_but_did_not_fail(story: Story) -> None:
    story.submit(array("map", 10))
    board = shown(story)
    story.succeed(story.take())

    story.cancel("run")
    catch_up(board, story)

    assert stage(board, story)[2:7] == (10, 10, 0, 0, 9)
    assert stage(board, story).state is State.CANCELLED
    assert board.ended


def test_a_width_that_is_not_known_yet_has_no_eta(story: Story) -> None:
    story.submit(call("first"), array("map", None, "first"))

    assert stage(shown(story), story).total is None
    assert stage(shown(story), story).eta_s is None


def test_a_stage_that_was_skipped_before_its_width_was_known_is_over(story: Story) -> None:
    story.submit(call("first"), array("map", None, "first"))
    story.fail(story.take())

    assert stage(shown(story), story).state is State.SKIPPED
    assert stage(shown(story), story).skipped == 1


def test_an_event_of_an_unknown_node_asks_for_a_snapshot(story: Story) -> None:
    story.submit(call("first"))
    board = shown(story)

    board.add(Event(board.cursor + 1, 1001.0, RUN, NodeId("grown"), 0, 1, State.QUEUED))

    assert board.stale


def test_events_that_a_snapshot_covers_and_events_of_other_runs_change_nothing(story: Story) -> None:
    story.submit(array("map", 3))
    story.succeed(story.take())
    board = shown(story)
    before = board.stages(1000.0)

    for event in story.store.events(0):
        board.add(event)
    board.add(Event(board.cursor + 1, 1001.0, RunId("other"), NodeId("map"), 0, 2, State.SUCCEEDED))

    assert board.stages(1000.0) == before
