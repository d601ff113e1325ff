"""The store contract: nobody wants it any more."""

from __future__ import annotations

import pytest

from taskflow.errors import NoSuchRun
from taskflow.records import Kind
from taskflow.states import State
from taskflow.testing.contract.told import Told
from taskflow.testing.story import (
    Story,
    array,
    call,
    keep,
    one,
)

__all__ = ["Cancelling"]

_QUICK = {"f": 0.001}
"""One slot gets a range of twenty items of a millisecond."""


class Cancelling(Told):
    """What has not started ends at once, what runs is told."""

    def test_what_has_not_started_is_cancelled_at_once(self, story: Story) -> None:
        """Queued, waiting and blocked alike."""
        story.submit(call("a"), call("b", delay_s=9), call("c", "a"), array("d", 4), array("e", None, "a"))

        assert story.cancel("run", reason="changed my mind")

        assert story.states(*"abcde") == [State.CANCELLED] * 5
        assert story.failure("a").message == "changed my mind"
        assert (story.run_view().state, story.run_view().total) == (State.CANCELLED, 8)
        assert story.claim(9) == []
        assert story.wait(100) is None

    def test_what_runs_is_told_by_renew(self, story: Story) -> None:
        """Its worker stops it and says so."""
        story.submit(call("a"), array("b", 3))
        one_, range_ = story.claim(2)

        assert story.cancel("run", reason="stop it")
        renewal = story.store.renew([one_.key, range_.key], lease_s=15)
        assert renewal.cancelled == {one_.key: "stop it", range_.key: "stop it"}
        assert renewal.lost == frozenset()
        assert story.state("a") is State.RUNNING

        for lease in (one_, range_):
            story.settle(lease, one(lease, Kind.CANCELLED))
        assert story.states("a", "b") == [State.CANCELLED] * 2
        assert story.failure("a").message == "stop it"
        assert story.run_view().state is State.CANCELLED

    def test_what_succeeds_before_it_hears_of_it_has_succeeded(self, story: Story) -> None:
        """A value is not thrown away."""
        story.submit(call("a"))
        lease = story.take()

        story.cancel("a")
        story.succeed(lease)

        assert story.state("a") is State.SUCCEEDED

    @pytest.mark.parametrize("kind", [Kind.RETRY, Kind.LOST, Kind.RELEASED])
    def test_what_was_cancelled_is_not_tried_again(self, story: Story, kind: Kind) -> None:
        """Cancelled beats retry."""
        story.submit(call("a"), array("b", 2))
        leases = story.claim(2)
        story.cancel("run", reason="enough")

        for lease in leases:
            story.settle(lease, one(lease, kind, delay_s=3))

        assert story.states("a", "b") == [State.CANCELLED] * 2
        assert story.failure("a").message == "enough"

    def test_a_cancelled_call_whose_worker_died_is_cancelled(self, story: Story) -> None:
        """When its lease runs out."""
        story.submit(call("a"))
        zombie = story.take()
        story.cancel("a")

        story.wait(16)

        assert story.state("a") is State.CANCELLED
        assert not story.succeed(zombie)

    def test_a_node_is_cancelled_alone(self, story: Story) -> None:
        """What depends on it is skipped, the rest goes on."""
        story.submit(call("a"), call("b", "a"), call("c"))

        story.cancel("a")

        assert story.states("a", "b", "c") == [State.CANCELLED, State.SKIPPED, State.QUEUED]
        story.run("c")
        assert story.run_view().state is State.FAILED

    def test_an_item_that_has_not_started_is_cancelled(self, story: Story) -> None:
        """Its neighbours run."""
        story.submit(array("a", 5))
        story.run("a")

        assert story.cancel("a", 3)
        assert story.cancel("a", 1)

        assert story.items("a") == [
            State.SUCCEEDED, State.CANCELLED, State.QUEUED, State.CANCELLED, State.QUEUED
        ]  # fmt: skip
        assert [lease.key.lo for lease in story.claim(9)] == [2, 4]

    def test_an_item_that_runs_alone_is_told_by_renew(self, story: Story) -> None:
        """Others are not."""
        story.submit(array("a", 3))
        first, second = story.claim(2)

        assert story.cancel("a", 1, reason="that one")
        renewal = story.store.renew([first.key, second.key], lease_s=15)

        assert renewal.cancelled == {second.key: "that one"}
        story.retry(first)
        story.retry(second)
        assert story.items("a") == [State.QUEUED, State.CANCELLED, State.QUEUED]

    def test_an_item_that_came_back_is_cancelled(self, story: Story) -> None:
        """Also from the middle of a range, also while it waits."""
        story.submit(array("a", 20), array("b", 1))
        lease = story.take(pace_s=_QUICK, share=1)
        story.release(lease)
        story.cancel("a", 4)
        story.cancel("a", 0)
        story.cancel("a", 9)
        while (held := story.take()).key.node == "a":
            story.succeed(held)
        story.retry(held, delay_s=50)

        assert story.cancel("b", 0)

        expected = [State.CANCELLED if i in (0, 4, 9) else State.SUCCEEDED for i in range(20)]
        assert story.items("a") == expected
        assert story.items("b") == [State.CANCELLED]

    def test_cancelling_an_item_makes_no_other_start_early(self, story: Story) -> None:
        """A delayed map stays delayed."""
        story.submit(array("a", 4, delay_s=30), call("b"), array("c", 3, "b", delay_s=30))
        story.cancel("a", 2)
        story.cancel("c", 1)
        story.run("b")

        assert story.states("a", "c") == [State.WAITING] * 2
        assert story.claim(9) == []
        assert story.wait(29) == 1
        story.wait(1)
        assert [(x.key.node, x.key.lo) for x in story.claim(9)] == [
            ("a", 0),
            ("a", 1),
            ("a", 3),
            ("c", 0),
            ("c", 2),
        ]

    def test_cancelling_every_item_ends_the_node(self, story: Story) -> None:
        """The last one is the end."""
        story.submit(array("a", 2), call("b", keep("a")))

        story.cancel("a", 1)
        story.cancel("a", 0)

        assert story.states("a", "b") == [State.CANCELLED, State.QUEUED]

    def test_what_has_ended_cannot_be_cancelled(self, story: Story) -> None:
        """Nothing changes, and the answer says so."""
        story.submit(call("a"), array("b", 3))
        story.run("a", "b")
        cursor = story.cursor()

        changed = [story.cancel("a"), story.cancel("b", 0), story.cancel("b", 7), story.cancel("b", -1)]

        assert changed == [False] * 4
        assert story.events(since=cursor) == []

    def test_an_item_that_runs_within_a_range_is_not_cancelled(self, story: Story) -> None:
        """The answer says so."""
        story.submit(array("a", 20))
        story.take(pace_s=_QUICK, share=1)

        assert not story.cancel("a", 3)

    def test_cancelling_the_unknown_is_an_error(self, story: Story) -> None:
        """It is likely a typing error."""
        with pytest.raises(NoSuchRun, match="nothing-like-it"):
            story.cancel("nothing-like-it")

    def test_a_call_with_the_id_of_its_run_is_cancelled_with_it(self, story: Story) -> None:
        """Runs of one call share the id."""
        story.submit(call("x"), run="x")

        assert story.cancel("x")

        assert story.state("x") is State.CANCELLED

    def test_a_late_settlement_of_what_was_cancelled_meanwhile_is_stale(self, story: Story) -> None:
        """Its reply must not say that the rest of the range was taken."""
        story.submit(array("a", 20), call("b"))
        range_ = story.take(pace_s=_QUICK, share=1)
        call_ = story.claim(20)[-1]
        assert call_.key.node == "b"
        story.wait(16)
        story.cancel("a", 0)
        story.cancel("b")

        accepted = [story.succeed(range_), story.succeed(call_)]

        assert accepted == [False, False]
        assert story.items("a")[:3] == [State.CANCELLED, State.QUEUED, State.QUEUED]
