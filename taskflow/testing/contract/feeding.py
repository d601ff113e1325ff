"""The store contract: arrays to which a call adds items while it runs."""

from __future__ import annotations

from taskflow.ids import NodeId
from taskflow.policy import Policy
from taskflow.records import EdgeMode, Growth, Kind, Lease, Node, Page
from taskflow.states import State
from taskflow.testing.contract.told import Told
from taskflow.testing.story import Story, array, call, edge, one, value

__all__ = ["Feeding"]


def feeder(deliveries: int = 1) -> Node:
    """A call that nobody but its client claims."""
    return call("feeder", queue="own", policy=Policy(max_deliveries=deliveries))


def fed(width: int = 0, *parents: str) -> Node:
    """An array that it feeds."""
    return array("a", width, edge("feeder", EdgeMode.FEEDS), *parents)


def more(lo: int, hi: int) -> Growth:
    """Items ``[lo, hi)`` of the array."""
    return Growth(widths={NodeId("a"): (hi, (Page(lo, hi, value(f"page {lo}")),))})


def held(story: Story) -> Lease:
    """The lease of the call that feeds."""
    return story.take(queues=("own",))


class Feeding(Told):
    """It begins at once, is as wide as it was told so far, and ends no sooner than what feeds it."""

    def test_it_begins_at_once_and_waits_for_more(self, story: Story) -> None:
        """What it has is handed out, though more may come."""
        story.submit(feeder(), fed(2))
        held(story)

        for lease in story.claim(2):
            story.succeed(lease)

        node = story.node("a")
        assert (node.state, node.growing, node.width) == (State.WAITING, True, 2)
        assert story.run_view().state is State.RUNNING
        assert story.claim() == []

    def test_items_are_added_while_the_call_is_held(self, story: Story) -> None:
        """A settlement without outcomes keeps the lease."""
        story.submit(feeder(), fed(0))
        lease = held(story)

        assert story.settle(lease, grow=more(0, 2))
        leases = story.claim(4)
        assert story.settle(lease, grow=more(2, 3))

        assert [one.key[1:3] for one in leases] == [(0, 1), (1, 2)]
        assert story.take().key[1:3] == (2, 3)
        assert story.items("a") == [State.RUNNING] * 3
        assert (story.run_view().total, story.node("a").width) == (4, 3)
        assert [page[:2] for page in story.store.pages(NodeId("a"), 0, 3)] == [(0, 2), (2, 3)]

    def test_what_is_said_twice_is_done_once(self, story: Story) -> None:
        """The client got no answer, and asks again, even when more has come since."""
        story.submit(feeder(), fed(1))
        lease = held(story)

        assert story.settle(lease, grow=more(1, 3))
        assert story.settle(lease, grow=more(1, 3))
        assert story.settle(lease, grow=more(3, 4))
        assert story.settle(lease, grow=more(1, 3))

        assert (story.node("a").width, story.run_view().total) == (4, 5)

    def test_it_ends_when_the_call_has_ended_and_every_item_has(self, story: Story) -> None:
        """The last items come with the end of the call; what waits for all of them waits so long."""
        story.submit(feeder(), fed(1), call("b", "a"))
        lease = held(story)
        story.succeed(story.take())

        assert story.succeed(lease, "2", grow=more(1, 2))

        assert (story.node("a").growing, story.state("b")) == (False, State.BLOCKED)
        story.run("a", "b")
        assert story.run_view().state is State.SUCCEEDED
        assert story.values("a") == ["value", "a"]

    def test_it_ends_at_once_when_nothing_is_left(self, story: Story) -> None:
        """The call found that there is no more."""
        story.submit(feeder(), fed(1), call("b", "a"))
        lease = held(story)
        story.succeed(story.take())

        story.succeed(lease)

        assert story.states("a", "b") == [State.SUCCEEDED, State.QUEUED]

    def test_an_empty_one_ends_well(self, story: Story) -> None:
        """There was nothing to add."""
        story.submit(feeder(), fed(0))

        story.succeed(held(story))

        assert story.run_view().state is State.SUCCEEDED

    def test_a_call_that_fails_closes_it_and_nobody_takes_it_for_whole(self, story: Story) -> None:
        """The items keep their values; who needs all of them is skipped."""
        story.submit(feeder(), fed(1), call("b", "a"))
        lease = held(story)
        story.settle(lease, grow=more(1, 2))

        story.fail(lease)
        between = story.state("a")
        for part in story.claim(2):
            story.succeed(part)

        assert between is State.QUEUED
        assert story.states("a", "b") == [State.FAILED, State.SKIPPED]
        assert story.items("a") == [State.SUCCEEDED] * 2
        assert (story.node("a").root, story.node("b").root) == ("feeder", "feeder")
        assert story.run_view().state is State.FAILED

    def test_a_client_that_is_lost_leaves_nothing_pending(self, story: Story) -> None:
        """Its lease runs out, and with it the array is closed."""
        story.submit(feeder(), fed(1))
        lease = held(story)
        story.succeed(story.take())

        story.wait(16.0)

        assert story.states("feeder", "a") == [State.DEAD, State.DEAD]
        assert story.run_view().state is State.DEAD
        assert not story.settle(lease, grow=more(1, 2))
        assert story.node("a").width == 1

    def test_a_client_that_never_took_hold_leaves_nothing_pending(self, story: Story) -> None:
        """It died right after the submit: the call expires."""
        node = call("feeder", queue="own", expires_s=60.0)
        story.submit(node, fed(1))
        story.succeed(story.take())

        story.wait(61.0)

        assert story.states("feeder", "a") == [State.EXPIRED, State.EXPIRED]

    def test_renewing_keeps_it_open(self, story: Story) -> None:
        """For as long as its client lives."""
        story.submit(feeder(), fed(0))
        lease = held(story)
        for _ in range(3):
            story.clock.advance(10.0)
            assert not story.store.renew([lease.key], lease_s=15.0).lost
            story.reap()

        assert story.settle(lease, grow=more(0, 1))

    def test_cancelling_the_run_closes_it(self, story: Story) -> None:
        """The client is told when it renews, and adds nothing more."""
        story.submit(feeder(), fed(1))
        story.submit(call("b", "a"), run="other")
        lease = held(story)
        story.succeed(story.take())

        story.cancel("run")

        assert story.states("a", "b") == [State.CANCELLED, State.SKIPPED]
        assert story.store.renew([lease.key], lease_s=15.0).cancelled == {lease.key: "no more"}
        assert story.settle(lease, grow=more(1, 2))
        assert story.items("a") == [State.SUCCEEDED]
        story.settle(lease, one(lease, Kind.CANCELLED))
        assert story.run_view().state is State.CANCELLED

    def test_cancelling_it_alone_lets_running_items_end(self, story: Story) -> None:
        """Nothing is added meanwhile."""
        story.submit(feeder(), fed(2))
        lease = held(story)
        first = story.take()

        assert story.cancel("a")
        story.settle(lease, grow=more(2, 3))

        assert story.items("a") == [State.RUNNING, State.CANCELLED]
        story.succeed(first)
        assert story.state("a") is State.CANCELLED

    def test_items_are_cancelled_one_by_one(self, story: Story) -> None:
        """And more may come."""
        story.submit(feeder(), fed(2))
        lease = held(story)

        story.cancel("a", 0)
        story.cancel("a", 1)
        story.settle(lease, grow=more(2, 3))

        assert story.items("a") == [State.CANCELLED, State.CANCELLED, State.QUEUED]

    def test_one_that_is_blocked_grows_too(self, story: Story) -> None:
        """It waits for something else, and begins with all that has come."""
        story.submit(call("x"), feeder(), fed(0, "x"))
        lease = held(story)
        story.settle(lease, grow=more(0, 2))
        before = story.items("a")

        story.run("x")

        assert before == [State.BLOCKED] * 2
        assert story.items("a") == [State.QUEUED] * 2

    def test_one_that_is_skipped_takes_no_more(self, story: Story) -> None:
        """What it needed failed."""
        story.submit(call("x"), feeder(), fed(1, "x"))
        lease = held(story)
        story.fail(story.take())

        assert story.settle(lease, grow=more(1, 2))
        story.succeed(lease)

        assert (story.state("a"), story.node("a").width) == (State.SKIPPED, 1)
        assert story.run_view().state is State.FAILED

    def test_a_worker_may_feed_it_too(self, story: Story) -> None:
        """Its attempt may be repeated: what is there is left as it is."""
        story.submit(feeder(deliveries=3), fed(0))
        first = held(story)
        story.settle(first, grow=more(0, 2))
        story.wait(16.0)
        second = held(story)

        assert not story.settle(first, grow=more(2, 4))
        story.settle(second, grow=more(0, 2))
        story.settle(second, grow=more(2, 3))
        story.succeed(second)

        for lease in story.claim(3):
            story.succeed(lease)
        assert story.run_view().counts == {State.SUCCEEDED: 4}

    def test_failed_items_run_again_but_not_what_fed_them(self, story: Story) -> None:
        """The iterator is gone: the new run has the items that came."""
        story.submit(feeder(), fed(2), call("b", "a"))
        lease = held(story)
        first, second = story.claim(2)
        story.succeed(first)
        story.fail(second)
        story.fail(lease)

        names = story.rerun()

        assert set(names) == {"a", "b"}
        assert story.items(names["a"]) == [State.SUCCEEDED, State.QUEUED]
        assert not story.node(names["a"]).growing
        story.run(names["a"], names["b"])
        assert story.run_view("again").state is State.SUCCEEDED

    def test_a_run_whose_iterator_was_lost_has_all_that_came(self, story: Story) -> None:
        """When it is run again."""
        story.submit(feeder(), fed(1))
        held(story)
        story.succeed(story.take())
        story.wait(16.0)

        story.rerun()

        assert story.run_view("again").state is State.SUCCEEDED
