"""The store contract: what is skipped by choice, and what runs because something failed."""

from __future__ import annotations

import pytest

from taskflow.ids import NodeId, RunId
from taskflow.policy import Policy
from taskflow.records import EdgeMode, Growth, Kind
from taskflow.states import State
from taskflow.testing.contract.told import Told
from taskflow.testing.story import ERROR, Story, array, call, drop, edge, ended, one

__all__ = ["Choosing"]

_MAY_FAIL = Policy(on_failure="skip")


class Choosing(Told):
    """Nobody minds what was skipped by choice."""

    # ── by choice ────────────────────────────────────────────────────────────────────

    def test_a_task_may_choose_to_be_skipped(self, story: Story) -> None:
        """So is what depends on it; the run has not failed, and a cause is not named."""
        story.submit(call("a"), call("b", "a"), call("c", "b"), call("d", ended("c")))

        lease = story.take()
        story.settle(lease, one(lease, Kind.SKIPPED, error=ERROR))
        story.run("d")

        assert story.states(*"abcd") == [State.SKIPPED] * 3 + [State.SUCCEEDED]
        assert [story.node(name).root for name in "abc"] == [None] * 3
        assert story.failure("b").type == "Skip"
        assert story.failure("b").message == "it needs a, which is skipped"
        assert story.run_view().state is State.SUCCEEDED
        assert story.run_view().counts == {State.SKIPPED: 3, State.SUCCEEDED: 1}

    def test_an_item_that_chooses_to_be_skipped_is_left_out(self, story: Story) -> None:
        """The map has succeeded."""
        story.submit(array("a", 2), call("b", "a"))
        first, second = story.claim(2)

        story.settle(first, one(first, Kind.SKIPPED, error=ERROR))
        story.succeed(second)

        assert story.states("a", "b") == [State.SUCCEEDED, State.QUEUED]
        assert story.items("a") == [State.SKIPPED, State.SUCCEEDED]

    def test_a_join_takes_the_branch_that_was_taken(self, story: Story) -> None:
        """The other one is left out; when none was, the join was not either."""
        taken = [edge(name, EdgeMode.TAKEN) for name in "ab"]
        story.submit(call("a"), call("b"), call("c", *taken), call("d", taken[0]))
        lease = story.take()
        story.settle(lease, one(lease, Kind.SKIPPED, error=ERROR))

        story.run("b")

        assert story.states("c", "d") == [State.QUEUED, State.QUEUED]

    def test_a_join_does_not_take_a_branch_that_failed(self, story: Story) -> None:
        """That somebody minds."""
        story.submit(call("a"), call("b", edge("a", EdgeMode.TAKEN)))

        story.fail(story.take())

        assert (story.state("b"), story.node("b").root) == (State.SKIPPED, "a")

    def test_a_task_may_reject_its_work(self, story: Story) -> None:
        """It is a dead letter at once, whatever deliveries are left."""
        story.submit(call("a"))
        lease = story.take()

        story.settle(lease, one(lease, Kind.REJECTED, error=ERROR))

        assert story.state("a") is State.DEAD
        assert [node for _, node, _ in story.store.dead()] == ["a"]

    def test_what_may_fail_fails_no_run(self, story: Story) -> None:
        """What depends on it is skipped by choice."""
        story.submit(call("a", policy=_MAY_FAIL), call("b", "a"), call("c", edge("b", EdgeMode.TAKEN)))

        story.fail(story.take())
        story.run("c")

        assert story.states(*"abc") == [State.FAILED, State.SKIPPED, State.SUCCEEDED]
        assert story.node("b").root is None
        assert story.run_view().state is State.SUCCEEDED

    def test_of_two_reasons_the_fault_counts_at_submit(self, story: Story) -> None:
        """The parents are in an earlier run."""
        story.submit(call("a"), call("b"), run="first")
        story.settle(lease := story.take(), one(lease, Kind.SKIPPED, error=ERROR))
        story.fail(story.take())

        story.submit(call("c", "a", "b"), call("d", "a"))

        assert [story.node(name).root for name in "cd"] == ["b", None]
        assert story.run_view().state is State.FAILED

    # ── because something failed ─────────────────────────────────────────────────────

    @pytest.mark.parametrize("mode", [EdgeMode.FAILED, EdgeMode.BROKEN])
    def test_a_handler_runs_when_its_task_failed(self, story: Story, mode: EdgeMode) -> None:
        """And the run has failed all the same."""
        story.submit(call("a"), call("b", edge("a", mode)))

        story.fail(story.take())
        lease = story.take()
        story.succeed(lease)

        assert lease.inputs == (edge("a", mode),)
        assert story.run_view().state is State.FAILED

    @pytest.mark.parametrize("mode", [EdgeMode.FAILED, EdgeMode.BROKEN])
    def test_a_handler_that_is_not_needed_is_skipped(self, story: Story, mode: EdgeMode) -> None:
        """Nobody minds."""
        story.submit(call("a"), call("b", edge("a", mode)))

        story.run("a")

        assert story.state("b") is State.SKIPPED
        assert story.run_view().state is State.SUCCEEDED

    def test_only_a_broken_chain_calls_the_handler_at_its_end(self, story: Story) -> None:
        """Which is told of what failed first; that of a task is not, since it never ran."""
        chain = [call("a"), call("b", "a"), call("c", "b")]
        story.submit(*chain, call("d", edge("c", EdgeMode.BROKEN)), call("e", edge("c", EdgeMode.FAILED)))

        story.fail(story.take())

        assert story.states("d", "e") == [State.QUEUED, State.SKIPPED]
        assert story.failure("c").root == "a"

    @pytest.mark.parametrize("mode", [EdgeMode.FAILED, EdgeMode.BROKEN])
    def test_what_fails_within_a_replacement_failed_in_the_place_that_it_took(
        self, story: Story, mode: EdgeMode
    ) -> None:
        """The first step of the replacement fails, and the last one, which gives the value, never runs."""
        story.submit(call("a"), call("b", edge("a", mode)))
        lease = story.take()
        growth = Growth((call("x"), call("y", "x")), final=NodeId("y"))
        story.settle(lease, one(lease, Kind.REPLACED), grow=growth)

        story.fail(story.take())

        assert story.states("a", "b") == [State.SKIPPED, State.QUEUED]

    @pytest.mark.parametrize("mode", [EdgeMode.FAILED, EdgeMode.BROKEN])
    def test_no_handler_is_called_when_a_replacement_is_cancelled(self, story: Story, mode: EdgeMode) -> None:
        """Nor when its first step is."""
        story.submit(call("a"), call("b", edge("a", mode)))
        lease = story.take()
        growth = Growth((call("x"), call("y", "x")), final=NodeId("y"))
        story.settle(lease, one(lease, Kind.REPLACED), grow=growth)

        story.cancel("x")

        assert story.states("a", "b") == [State.SKIPPED, State.SKIPPED]

    def test_no_handler_is_called_for_what_was_cancelled(self, story: Story) -> None:
        """Whoever cancelled knows."""
        modes = (EdgeMode.FAILED, EdgeMode.BROKEN)
        story.submit(call("a"), call("b", "a"), *(call(mode, edge("b", mode)) for mode in modes))

        story.cancel("a")

        assert story.states("a", "b", *modes) == [State.CANCELLED] + [State.SKIPPED] * 3
        assert story.claim() == []

    def test_a_handler_runs_when_nobody_knows_any_more_what_failed(self, story: Story) -> None:
        """The run of what failed first was forgotten."""
        story.submit(call("a"), run="first")
        story.submit(call("b", "a"), run="second")
        story.fail(story.take())
        story.store.forget(RunId("first"))

        story.submit(call("c", edge("b", EdgeMode.BROKEN)))

        assert story.state("c") is State.QUEUED

    def test_when_a_failure_stops_the_run_its_handlers_still_run(self, story: Story) -> None:
        """They were waiting for just this."""
        story.submit(
            call("a", policy=Policy(on_failure="stop")), call("b"), call("c", edge("a", EdgeMode.FAILED)),
            call("d", ended("a")),
        )  # fmt: skip

        story.fail(story.take())

        assert story.states(*"bcd") == [State.CANCELLED, State.QUEUED, State.QUEUED]
        assert story.failure("b").message == "a failed"

    def test_what_was_made_of_a_failure_is_made_anew(self, story: Story) -> None:
        """A rerun takes all that is below a failure with it, also what had succeeded."""
        handler = edge("a", EdgeMode.FAILED)
        story.submit(call("a"), call("b", drop("a")), call("c", handler), call("d"), call("e", "b"))
        story.fail(story.take())
        story.run(*"bcde")

        names = story.rerun()

        assert set(names) == {"a", "b", "c", "e"}
        story.run(names["a"], names["b"], names["e"])
        assert story.state(names["c"]) is State.SKIPPED
