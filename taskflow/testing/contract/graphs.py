"""The store contract: what depends on what, and what grows."""

from __future__ import annotations

import pytest

from taskflow.errors import CycleError, UnknownNode
from taskflow.ids import NodeId, RunId
from taskflow.machine.releasing import RELEASES_PER_STEP
from taskflow.policy import Policy
from taskflow.records import Edge, EdgeMode, Growth, Kind, Lease, Plan, Settlement
from taskflow.states import State
from taskflow.testing.contract.told import Told
from taskflow.testing.story import (
    Story,
    after,
    array,
    call,
    drop,
    ended,
    keep,
    one,
    pages,
    value,
)

__all__ = ["Depending", "Growing"]

_STOP = Policy(on_failure="stop")


class Depending(Told):
    """Edges, and what they need."""

    @pytest.mark.parametrize(
        "mode",
        [m for m in EdgeMode if m not in (EdgeMode.FAILED, EdgeMode.BROKEN, EdgeMode.ITEM, EdgeMode.FEEDS)],
    )
    def test_a_join_waits_for_every_predecessor(self, story: Story, mode: EdgeMode) -> None:
        """Whatever its edges need."""
        edges = [ended("a")._replace(mode=mode), ended("b")._replace(mode=mode)]
        story.submit(call("a"), call("b"), call("c", *edges))

        story.run("a")
        between = story.state("c")
        story.run("b")

        assert (between, story.state("c")) == (State.BLOCKED, State.QUEUED)
        assert story.run_view().counts == {State.SUCCEEDED: 2, State.QUEUED: 1}

    @pytest.mark.parametrize(
        ("mode", "expected"),
        [
            (EdgeMode.ALL, State.SKIPPED),
            (EdgeMode.AFTER, State.SKIPPED),
            (EdgeMode.KEEP, State.QUEUED),
            (EdgeMode.DROP, State.QUEUED),
            (EdgeMode.ENDED, State.QUEUED),
        ],
    )
    def test_an_edge_says_what_a_failure_means(self, story: Story, mode: EdgeMode, expected: State) -> None:
        """Those that need success skip."""
        story.submit(call("a"), array("b", 2, ended("a")._replace(mode=mode)))

        story.fail(story.take())

        assert story.state("b") is expected
        assert story.items("b") == [expected] * 2

    @pytest.mark.parametrize("bad", [Kind.FAILED, Kind.CANCELLED])
    def test_the_need_is_checked_at_submit_when_the_parent_has_ended(self, story: Story, bad: Kind) -> None:
        """Edges may reach into earlier runs."""
        story.submit(call("good"), call("bad"), run="first")
        story.run("good")
        story.settle(lease := story.take(), one(lease, bad))

        story.submit(call("a", "good"), call("b", "bad"), call("c", keep("bad"), "good"), call("d", "a", "b"))

        assert story.states(*"abcd") == [State.QUEUED, State.SKIPPED, State.QUEUED, State.SKIPPED]
        assert story.failure("d").root == "bad"

    def test_a_call_that_is_skipped_at_submit_says_why(self, story: Story) -> None:
        """Though nothing else happened in that step."""
        story.submit(call("a"), run="first")
        story.fail(story.take())

        story.submit(call("b", "a"))

        assert story.items("b") == [State.SKIPPED]
        assert story.failure("b").root == "a"
        assert story.run_view().state is State.FAILED

    def test_an_edge_may_reach_into_a_run_that_goes_on(self, story: Story) -> None:
        """It waits like any other."""
        story.submit(call("a"), run="first")
        story.submit(call("b", "a"))

        before = story.state("b")
        story.run("a", "b")

        assert before is State.BLOCKED
        assert story.run_view().state is State.SUCCEEDED

    def test_inputs_are_the_parents_that_give_a_value_in_order(self, story: Story) -> None:
        """A parent that is named twice gives it once."""
        story.submit(call("a"), call("b"), call("c"), call("d"))
        story.run(*"abcd")
        story.submit(
            call("e", drop("c"), after("b"), keep("a"), ended("d"), after("d"), keep("c")), run="two"
        )

        lease = story.take()

        assert lease.inputs == (Edge(NodeId("c"), EdgeMode.DROP), Edge(NodeId("a"), EdgeMode.KEEP))
        assert [edge.parent for edge in story.node("e").parents] == ["c", "b", "a", "d"]

    @pytest.mark.parametrize("reverse", [False, True])
    def test_two_edges_to_one_parent_ask_for_both(self, story: Story, reverse: bool) -> None:
        """Its values as exceptions, but only if there are none, is all its values."""
        edges = [after("a"), keep("a")]
        story.submit(call("a"), call("b", *(edges[::-1] if reverse else edges)))

        story.fail(story.take())

        assert story.state("b") is State.SKIPPED

    def test_two_edges_to_one_parent_give_its_values_once(self, story: Story) -> None:
        """The stricter need, with the value of either."""
        story.submit(call("a"), call("b", after("a"), keep("a")), call("c", ended("a"), after("a")))
        story.run("a")

        leases = story.claim(2)

        assert [lease.inputs for lease in leases] == [(Edge(NodeId("a"), EdgeMode.ALL),), ()]

    def test_skipping_goes_all_the_way_down_and_names_the_root(self, story: Story) -> None:
        """Not the nearest."""
        story.submit(call("a"), call("b", "a"), call("c", "b"), call("d", "c"), call("e", ended("d")))

        story.fail(story.take())

        assert story.states(*"abcde") == [State.FAILED, *[State.SKIPPED] * 3, State.QUEUED]
        assert {story.failure(node).root for node in "bcd"} == {"a"}
        assert story.failure("d").type == "UpstreamFailed"

    def test_a_node_is_skipped_once_though_two_parents_fail(self, story: Story) -> None:
        """By the first."""
        story.submit(call("a"), call("b"), call("c", "a", "b"))
        first, second = story.claim(2)

        story.fail(second)
        story.fail(first)

        assert story.failure("c").root == "b"
        assert story.run_view().counts == {State.FAILED: 2, State.SKIPPED: 1}
        assert story.run_view().state is State.FAILED

    def test_a_wide_fan_out_is_released_in_several_steps(self, story: Story) -> None:
        """None is forgotten, none is released twice."""
        width = 3 * RELEASES_PER_STEP + 5
        story.store.submit([Plan(RunId("run"), (call("a"), *(call(f"n{i}", "a") for i in range(width))))])
        lease = story.store.claim(story.want())[0]

        story.store.settle([_success(lease)])
        released = story.run_view().counts[State.QUEUED]
        more, rest = story.store.reap(), story.store.reap()

        assert released == RELEASES_PER_STEP
        assert (more, rest) == (0, None)
        assert story.run_view().counts == {State.SUCCEEDED: 1, State.QUEUED: width}

    def test_a_failure_may_stop_the_rest_of_its_run(self, story: Story) -> None:
        """What runs is told by renew, other runs go on."""
        story.submit(call("x"), run="other")
        story.submit(
            call("a", policy=_STOP, priority=2),
            call("b", priority=1),
            call("c"),
            call("d", "c"),
            array("e", 2),
        )
        failing, running = story.claim(2)

        story.fail(failing)

        assert story.states(*"abcdex") == [
            State.FAILED, State.RUNNING, *[State.CANCELLED] * 3, State.QUEUED
        ]  # fmt: skip
        assert set(story.store.renew([running.key], lease_s=9).cancelled) == {running.key}
        assert story.failure("c").message == "a failed"
        story.settle(running, one(running, Kind.CANCELLED))
        assert story.run_view().state is State.FAILED

    def test_an_expiry_that_stops_a_run_stops_what_is_claimed_with_it(self, story: Story) -> None:
        """Nothing of the run is handed out in the same step."""
        story.submit(call("a", policy=_STOP, expires_s=5), call("b"))
        story.clock.advance(5)

        leases = story.claim(2)

        assert leases == []
        assert story.states("a", "b") == [State.EXPIRED, State.CANCELLED]


class Growing(Told):
    """What a task adds to its run."""

    def test_a_task_may_add_nodes(self, story: Story) -> None:
        """They are there in the step in which it ends, and may depend on it."""
        story.submit(call("a"))

        story.succeed(story.take(), grow=Growth((call("b"), call("c", "a", "b"))))

        assert story.states("a", "b", "c") == [State.SUCCEEDED, State.QUEUED, State.BLOCKED]
        assert story.run_view().total == 3
        story.run("b", "c")
        assert story.run_view().state is State.SUCCEEDED

    def test_a_task_may_say_how_wide_a_map_is(self, story: Story) -> None:
        """Its items come with the outcome."""
        story.submit(call("a"), array("b", None, after("a")), call("c", "b"))
        assert (story.node("b").width, story.run_view().total) == (None, 3)

        story.succeed(story.take(), grow=Growth(widths={NodeId("b"): (25, pages(25))}))

        assert (story.node("b").width, story.run_view().total) == (25, 27)
        assert story.store.pages(NodeId("b"), 0, 25) == list(pages(25))
        for lease in story.claim(25):
            story.succeed(lease)
        story.run("c")
        assert story.run_view().counts == {State.SUCCEEDED: 27}

    def test_a_map_may_turn_out_to_be_empty(self, story: Story) -> None:
        """It has succeeded, and what follows it runs."""
        story.submit(call("a"), array("b", None, after("a")), call("c", "b"))

        story.succeed(story.take(), grow=Growth(widths={NodeId("b"): (0, ())}))

        assert story.states("b", "c") == [State.SUCCEEDED, State.QUEUED]
        story.run("c")
        assert (story.run_view().state, story.run_view().total) == (State.SUCCEEDED, 2)

    def test_a_map_that_never_gets_a_width_is_skipped(self, story: Story) -> None:
        """It does not wait for ever."""
        story.submit(call("a"), array("b", None, after("a")), call("c", ended("b")))

        story.run("a", "c")

        assert story.state("b") is State.SKIPPED
        assert sum(story.run_view().counts.values()) == story.run_view().total == 3

    def test_a_map_whose_width_failed_is_skipped(self, story: Story) -> None:
        """The counts of the run still add up."""
        story.submit(call("a"), array("b", None, after("a")), call("c", "b"))

        story.fail(story.take())

        assert story.states("b", "c") == [State.SKIPPED] * 2
        assert story.node("b").counts == {State.SKIPPED: 1}
        assert story.failure("c").root == "a"
        assert story.run_view().counts == {State.FAILED: 1, State.SKIPPED: 2}
        assert story.run_view().total == 3

    def test_a_task_may_be_replaced_by_another(self, story: Story) -> None:
        """Its outcome is that of the other one."""
        story.submit(call("a"), call("b", "a"))
        lease = story.take()

        story.settle(
            lease, one(lease, Kind.REPLACED), grow=Growth((call("x"), call("y", "x")), final=NodeId("y"))
        )
        assert story.states(*"abxy") == [State.BLOCKED, State.BLOCKED, State.QUEUED, State.BLOCKED]
        story.run("x", "y")

        assert story.states("a", "b", "y") == [State.SUCCEEDED, State.QUEUED, State.SUCCEEDED]
        assert story.values("a") == ["y"]
        story.run("b")
        assert (story.run_view().state, story.run_view().counts) == (State.SUCCEEDED, {State.SUCCEEDED: 4})

    def test_growth_that_could_never_end_is_refused(self, story: Story) -> None:
        """A cycle, or a replacement that is not there: nothing changes, the lease holds."""
        story.submit(call("a"))
        lease = story.take()
        circle = Growth((call("x", "y"), call("y", "x")), final=NodeId("y"))

        with pytest.raises(CycleError):
            story.settle(lease, one(lease, Kind.REPLACED), grow=circle)
        with pytest.raises(UnknownNode):
            story.settle(lease, one(lease, Kind.REPLACED), grow=Growth(final=NodeId("z")))

        assert story.states("a") == [State.RUNNING]
        assert len(story.run_view().nodes) == 1
        story.succeed(lease)

    def test_a_replacement_that_fails_fails_what_it_replaced(self, story: Story) -> None:
        """And the root is named below."""
        story.submit(call("a"), call("b", "a"))
        lease = story.take()
        story.settle(
            lease, one(lease, Kind.REPLACED), grow=Growth((call("x"), call("y", "x")), final=NodeId("y"))
        )

        story.fail(story.take())

        assert story.states(*"abxy") == [State.SKIPPED, State.SKIPPED, State.FAILED, State.SKIPPED]
        assert story.failure("b").root == "x"
        assert story.run_view().state is State.FAILED

    def test_a_replacement_may_be_replaced(self, story: Story) -> None:
        """The last one gives the value."""
        story.submit(call("a"))
        for old, new in ("ab", "bc"):
            lease = story.take()
            assert lease.key.node == old
            story.settle(lease, one(lease, Kind.REPLACED), grow=Growth((call(new),), final=NodeId(new)))

        story.run("c")

        assert story.states("a", "b", "c") == [State.SUCCEEDED] * 3
        assert story.values("a") == ["c"]

    def test_growth_that_is_sent_twice_grows_once(self, story: Story) -> None:
        """Whether as an addition or as a replacement."""
        story.submit(call("a"))
        lease = story.take()
        growth = Growth((call("x"),), final=NodeId("x"))

        accepted = [story.settle(lease, one(lease, Kind.REPLACED), grow=growth) for _ in range(2)]

        assert accepted == [True, True]
        assert story.run_view().total == 2
        story.run("x")
        assert story.settle(lease, one(lease, Kind.REPLACED), grow=growth)
        assert story.run_view().counts == {State.SUCCEEDED: 2}

    def test_stale_growth_grows_nothing(self, story: Story) -> None:
        """A zombie adds no nodes."""
        story.submit(call("a"))
        zombie = story.take()
        story.wait(16)
        story.take(worker="w2")

        accepted = story.settle(zombie, one(zombie, Kind.SUCCEEDED), grow=Growth((call("x"),)))

        assert not accepted
        assert story.run_view().total == 1

    def test_what_a_cancelled_task_adds_is_cancelled(self, story: Story) -> None:
        """Cancelling a run leaves nothing that could run."""
        story.submit(call("a"), call("b"))
        replaced, grown = story.claim(2)
        story.cancel("run")

        story.settle(replaced, one(replaced, Kind.REPLACED), grow=Growth((call("x"),), final=NodeId("x")))
        story.succeed(grown, grow=Growth((call("y"), call("z", "y"))))

        assert story.states(*"abxyz") == [
            State.CANCELLED, State.SUCCEEDED, *[State.CANCELLED] * 3
        ]  # fmt: skip
        assert story.run_view().state is State.CANCELLED
        assert story.claim(9) == []

    def test_a_task_that_waits_for_its_replacement_can_be_cancelled(self, story: Story) -> None:
        """With its run."""
        story.submit(call("a"), call("b", "a"))
        lease = story.take()
        story.settle(lease, one(lease, Kind.REPLACED), grow=Growth((call("x"),), final=NodeId("x")))

        assert story.cancel("a")
        assert story.cancel("run")

        assert story.states("a", "b", "x")[::2] == [State.CANCELLED] * 2
        assert story.state("b") in (State.CANCELLED, State.SKIPPED)
        assert sum(story.run_view().counts.values()) == story.run_view().total == 3


def _success(lease: Lease) -> Settlement:
    return Settlement(lease.key, (one(lease, Kind.SUCCEEDED, value=value()),))
