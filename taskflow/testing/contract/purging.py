"""The store contract: a queue is emptied, and how long it is."""

from __future__ import annotations

from taskflow.ids import NodeId
from taskflow.limits import ConcurrencyLimit
from taskflow.policy import Policy
from taskflow.records import Growth, Kind, Settlement
from taskflow.states import State
from taskflow.testing.contract.told import Told
from taskflow.testing.story import Story, after, array, call, keep, one

__all__ = ["Purging"]


class Purging(Told):
    """What waits is cancelled, what runs goes on."""

    def test_what_is_queued_or_waiting_is_cancelled_and_counted(self, story: Story) -> None:
        """Calls, maps, what is due later and what waits for a retry."""
        story.submit(call("a"), call("b", delay_s=9.0), array("c", 5), array("d", 4, delay_s=9.0))
        story.submit(call("r", priority=9), run="retry")
        story.retry(story.take(), delay_s=5.0)
        story.submit(call("other", queue="other"), run="other")
        assert story.queue() == (6, 6, 0)

        assert story.purge() == 12

        assert story.states(*"abcdr") == [State.CANCELLED] * 5
        assert story.failure("a").message == "its queue was purged"
        assert story.queue() == (0, 0, 0)
        assert story.state("other") is State.QUEUED
        assert story.run_view().state is State.CANCELLED
        assert story.purge() == 0
        assert story.claim(9) == []
        assert story.wait(100.0) is None

    def test_what_runs_goes_on(self, story: Story) -> None:
        """Of a map too: what of it was not handed out is cancelled."""
        story.submit(call("a"), array("b", 10, policy=Policy(chunk=3)))
        first, second = story.claim(2, pace_s={"f": 0.0001})

        assert story.purge() == 7

        assert story.queue() == (0, 0, 4)
        assert story.states("a", "b") == [State.RUNNING] * 2
        assert story.succeed(first)
        assert story.succeed(second)
        assert story.states("a", "b") == [State.SUCCEEDED, State.CANCELLED]
        assert story.items("b") == [State.SUCCEEDED] * 3 + [State.CANCELLED] * 7

    def test_what_is_blocked_stays(self, story: Story) -> None:
        """And is skipped when what it needs was purged, or runs when it only waited for an end."""
        story.submit(call("a", queue="q"), call("b", "a"), call("c", keep("a")))
        assert story.purge() == 0
        assert story.states("b", "c") == [State.BLOCKED] * 2

        assert story.purge("q") == 1

        assert story.states("b", "c") == [State.SKIPPED, State.QUEUED]

    def test_what_came_back_is_cancelled_with_the_rest(self, story: Story) -> None:
        """Items that were released, that are retried at once and later, and none twice."""
        story.submit(array("a", 9, policy=Policy(chunk=3)))
        first, second, third = story.claim(3, pace_s={"f": 0.0001})
        story.release(first)
        story.retry(second, delay_s=5.0)
        story.settle(third, one(third, Kind.RETRY))
        story.cancel("a", index=1)
        assert story.queue() == (3, 1, 4)

        assert story.purge() == 4

        assert story.queue() == (0, 0, 4)
        states = [State.CANCELLED] * 4 + [State.RUNNING] * 2 + [State.CANCELLED] + [State.RUNNING] * 2
        assert story.items("a") == states

    def test_an_item_that_waits_for_a_call_is_not_in_the_queue(self, story: Story) -> None:
        """What took its place is."""
        story.submit(array("a", 3))
        lease = story.take()
        new = call("x", queue="other")
        story.settle(lease, one(lease, Kind.REPLACED), grow=Growth((new,), final=new.id))
        assert story.queue() == (2, 0, 0)
        assert story.queue("other") == (1, 0, 0)

        assert story.purge() == 2
        assert story.items("a") == [State.BLOCKED, State.CANCELLED, State.CANCELLED]
        story.succeed(story.take(queues=("other",)))
        assert story.items("a")[0] is State.SUCCEEDED

    def test_a_bounded_run_is_purged_too(self, story: Story) -> None:
        """It may be kept in a lane of its own."""
        bound = Policy(run_parallel=1)
        story.submit(
            *(call(name, policy=bound) for name in "abc"), array("d", 5, policy=Policy(max_parallel=2))
        )
        story.take()

        assert story.purge() == 7
        assert story.queue() == (0, 0, 1)

    def test_what_waits_for_a_limit_is_purged_too(self, story: Story) -> None:
        """Though no worker looks at it until there is room."""
        policy = Policy(limits=(ConcurrencyLimit("gpu", 1).limit("gpu"),))
        story.submit(*(call(name, policy=policy) for name in "abc"))
        story.take()
        assert story.claim(9) == []

        assert story.purge() == 2
        assert story.queue() == (0, 0, 1)

    def test_large_queues_are_purged_in_steps(self, story: Story) -> None:
        """More nodes than a step takes, a node with more parts than that, and a map that costs one row."""
        story.submit(array("parts", 2500, policy=Policy(chunk=1)), run="parts")
        retried = [
            Settlement(lease.key, (one(lease, Kind.RETRY, delay_s=n % 2 * 9.0),))
            for n, lease in enumerate(story.claim(2500))
        ]
        story.store.settle(retried)
        story.submit(*(call(f"n{n}", priority=n % 3) for n in range(2500)), run="many")
        story.submit(array("wide", 1_000_000, pages=()), run="wide")
        assert story.queue() == (1_003_750, 1250, 0)

        assert story.purge() == 1_005_000

        assert story.queue() == (0, 0, 0)
        assert len(story.store.items(NodeId("wide"))) == 1

    def test_a_queue_is_as_long_as_it_is_shown(self, story: Story) -> None:
        """Queued, waiting, running; what is blocked is in no count."""
        story.submit(
            call("a"), array("b", 6), call("c", "a"), array("d", None, "a"), array("e", 2, after("a"))
        )
        assert story.queue() == (7, 0, 0)
        leases = story.claim(3)
        assert story.queue() == (4, 0, 3)
        story.retry(leases[1], delay_s=3.0)
        assert story.queue() == (4, 1, 2)
        story.succeed(leases[0])
        assert story.queue() == (7, 1, 1)
        story.wait(4.0)
        assert story.queue() == (8, 0, 1)
        story.cancel("b", index=5)
        assert story.queue() == (7, 0, 1)
        story.wait(20.0)
        assert story.queue() == (8, 0, 0)
