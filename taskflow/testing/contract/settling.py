"""The store contract: outcomes, retries, leases and time."""

from __future__ import annotations

import pytest

from taskflow.ids import NodeId
from taskflow.policy import Policy
from taskflow.records import Kind
from taskflow.states import State
from taskflow.testing.contract.told import Told
from taskflow.testing.story import (
    ERROR,
    Story,
    array,
    call,
    ended,
    nodes_of,
    one,
    outcome,
    value,
)

__all__ = ["Leasing", "Retrying", "Settling", "Timing"]

_ONCE = Policy(max_deliveries=1)
_QUICK = {"f": 0.001}
"""One slot gets a range of twenty items of a millisecond."""


class Settling(Told):
    """Outcomes, whole and in part, once and twice."""

    def test_a_success_is_a_value_and_an_end(self, story: Story) -> None:
        """Of the node and, if it was the last, of the run."""
        story.submit(call("a"))
        lease = story.take()
        story.clock.advance(2)

        story.settle(
            lease, one(lease, Kind.SUCCEEDED, value=value("42"), started_at=5.0, took_s=1.5, log="hi")
        )

        run = story.run_view()
        assert (story.state("a"), story.values("a")) == (State.SUCCEEDED, ["42"])
        assert (run.state, run.ended_at, run.counts) == (
            State.SUCCEEDED,
            story.clock.now(),
            {State.SUCCEEDED: 1},
        )
        (item,) = story.store.items(NodeId("a"))
        assert (item.worker, item.deliveries, item.started_at, item.took_s) == ("w1", 1, 5.0, 1.5)
        assert story.store.logs(NodeId("a")) == [(0, "hi")]

    def test_what_an_attempt_printed_is_kept_though_it_is_tried_again(self, story: Story) -> None:
        """By whom the next attempt is made, nobody knows yet."""
        story.submit(call("a", policy=Policy(max_deliveries=9)))
        for kind, text in ((Kind.RETRY, "one "), (Kind.LOST, "two "), (Kind.FAILED, "three")):
            lease = story.take()
            story.settle(lease, one(lease, kind, error=ERROR, log=text))

        assert story.store.logs(NodeId("a")) == [(0, "one "), (0, "two "), (0, "three")]

    def test_a_failure_keeps_its_story_and_its_exception(self, story: Story) -> None:
        """The text for all, the pickled exception for those who may open it."""
        story.submit(call("a"))
        lease = story.take()

        story.settle(lease, one(lease, Kind.FAILED, error=ERROR, value=value("exception")))

        (segment,) = story.store.values([NodeId("a")])[NodeId("a")]
        assert (segment.state, segment.value, segment.error) == (State.FAILED, value("exception"), ERROR)
        assert segment.fence == lease.key.fence
        assert (story.node("a").error, story.node("a").attempts) == (ERROR, 1)
        assert story.run_view().state is State.FAILED

    def test_a_settlement_that_is_sent_twice_is_applied_once(self, story: Story) -> None:
        """And accepted twice: the worker missed the first answer."""
        story.submit(call("a"), call("b", "a"))
        lease = story.take()

        first = story.succeed(lease)
        cursor = story.cursor()
        second = story.succeed(lease)

        assert (first, second) == (True, True)
        assert story.events(since=cursor) == []
        assert nodes_of(story.claim(5)) == ["b"]

    def test_a_partial_settlement_that_is_sent_twice_is_applied_once(self, story: Story) -> None:
        """The rest stays held."""
        story.submit(array("a", 10))
        lease = story.take(pace_s=_QUICK, share=1)
        part = outcome(lease, Kind.SUCCEEDED, value=value())._replace(hi=2)

        accepted = [story.settle(lease, part), story.settle(lease, part)]

        assert accepted == [True, True]
        assert story.items("a")[:5] == [State.SUCCEEDED] * 2 + [State.RUNNING] * 3

    def test_a_repeated_settlement_may_bring_more(self, story: Story) -> None:
        """What was applied stays, what is new is applied."""
        story.submit(array("a", 10, policy=Policy(chunk=4)))
        lease = story.take(pace_s={"f": 0.0001}, batch_s=1.0, share=1)
        assert lease.key.hi == 4
        first, second, third = (one(lease, Kind.SUCCEEDED, i, value=value(str(i))) for i in range(3))

        story.settle(lease, first, second)
        accepted = story.settle(lease, first, second, third)

        assert accepted
        assert story.values("a") == ["0", "1", "2"]

    @pytest.mark.parametrize("kind", [Kind.RETRY, Kind.LOST, Kind.RELEASED])
    def test_giving_items_back_twice_is_giving_them_back_once(self, story: Story, kind: Kind) -> None:
        """Until somebody else has them: then the second one is stale."""
        story.submit(call("a"))
        lease = story.take()

        accepted = [story.settle(lease, one(lease, kind)), story.settle(lease, one(lease, kind))]
        again = story.take()
        accepted.append(story.settle(lease, one(lease, kind)))

        assert accepted == [True, True, False]
        assert again.delivery == (1 if kind is Kind.RELEASED else 2)
        assert again.attempt == (2 if kind is Kind.RETRY else 1)
        assert story.state("a") is State.RUNNING

    def test_a_call_that_was_given_back_cannot_be_settled_with_its_old_fence(self, story: Story) -> None:
        """It was not lost, it was returned: its worker has nothing to say any more."""
        story.submit(call("a"))
        lease = story.take()
        story.retry(lease)

        story.succeed(lease)

        assert story.state("a") is State.QUEUED

    def test_a_stale_settlement_changes_nothing(self, story: Story) -> None:
        """A zombie cannot settle what another worker holds."""
        story.submit(call("a"), call("b", "a"))
        zombie = story.take()
        story.wait(16)
        owner = story.take(worker="w2")
        cursor = story.cursor()

        accepted = story.succeed(zombie, "late")

        assert not accepted
        assert story.events(since=cursor) == []
        assert story.state("a") is State.RUNNING
        assert story.succeed(owner, "right")
        assert story.values("a") == ["right"]

    def test_a_stale_settlement_changes_nothing_after_the_end(self, story: Story) -> None:
        """The first end is the end."""
        story.submit(call("a"))
        zombie = story.take()
        story.wait(16)
        owner = story.take(worker="w2")
        story.fail(owner)

        accepted = story.succeed(zombie, "late")

        assert not accepted
        assert story.state("a") is State.FAILED

    def test_a_stale_settlement_of_a_range_changes_nothing(self, story: Story) -> None:
        """Not even the items that nobody else has claimed yet."""
        story.submit(array("a", 20))
        zombie = story.take(pace_s=_QUICK, share=1)
        story.wait(16)
        owner = story.take(worker="w2")

        accepted = story.succeed(zombie, "late")

        assert not accepted
        assert owner.key[1:3] == (0, 1)
        assert story.items("a") == [State.RUNNING] + [State.QUEUED] * 19

    def test_a_late_settlement_counts_while_nobody_claimed_the_items(self, story: Story) -> None:
        """The work is done: why do it again."""
        story.submit(call("a"), array("b", 20))
        call_, range_ = story.claim(2, pace_s={"f": 0.03}, batch_s=0.3, share=1)[:2]
        assert range_.key.node == "b"
        story.wait(16)
        assert story.states("a", "b") == [State.QUEUED] * 2

        accepted = [story.succeed(call_, "late"), story.succeed(range_, "late")]

        assert accepted == [True, True]
        assert story.values("a") == ["late"]
        assert story.items("b")[: range_.key.hi] == [State.SUCCEEDED] * range_.key.hi
        assert nodes_of(story.claim(9)) == ["b"] * 9

    def test_a_fence_is_never_issued_twice(self, story: Story) -> None:
        """Each claim of a node has a higher one."""
        story.submit(array("a", 3), call("b"))
        seen: dict[str, list[int]] = {"a": [], "b": []}

        for _ in range(3):
            for lease in story.claim(4):
                seen[lease.key.node].append(lease.key.fence)
                story.release(lease)

        assert all(fences == sorted(set(fences)) for fences in seen.values())
        assert [len(fences) for fences in seen.values()] == [9, 3]

    def test_a_lease_that_never_was_is_lost(self, story: Story) -> None:
        """An unknown node, a fence from nowhere."""
        story.submit(call("a"))
        lease = story.take()

        accepted = [
            story.settle(lease.key._replace(node=NodeId("x")), one(lease, Kind.SUCCEEDED)),
            story.settle(lease.key._replace(fence=9), one(lease, Kind.SUCCEEDED)),
            story.settle(lease.key._replace(fence=0), one(lease, Kind.SUCCEEDED)),
        ]

        assert accepted == [False, False, False]
        assert story.state("a") is State.RUNNING

    def test_settling_claims_anew_in_the_same_step(self, story: Story) -> None:
        """What the outcome released may be had at once."""
        story.submit(call("a"), call("b", "a"))

        settled = story.settle_and_claim(
            lease := story.take(), one(lease, Kind.SUCCEEDED), want=story.want(2)
        )

        assert settled.lost == frozenset()
        assert nodes_of(settled.leases) == ["b"]

    def test_a_claim_that_comes_with_a_lost_lease_is_served(self, story: Story) -> None:
        """The worker learns both."""
        story.submit(call("a"))
        zombie = story.take(lease_s=5)
        story.wait(6)
        story.take(worker="w2")
        story.submit(call("b"), run="two")

        settled = story.settle_and_claim(zombie, one(zombie, Kind.SUCCEEDED), want=story.want())

        assert settled.lost == {zombie.key}
        assert nodes_of(settled.leases) == ["b"]


class Retrying(Told):
    """Failures and crashes that are tried again."""

    def test_a_retry_waits_for_its_delay(self, story: Story) -> None:
        """Then it is the second attempt."""
        story.submit(call("a"))
        story.retry(story.take(), delay_s=10)
        assert story.state("a") is State.WAITING
        assert story.node("a").due_at == story.clock.now() + 10
        assert story.reap() == 10

        story.wait(9)
        early = story.claim()
        story.wait(1)

        assert early == []
        lease = story.take()
        assert (lease.attempt, lease.delivery) == (2, 2)

    def test_a_retry_without_delay_is_queued_at_once(self, story: Story) -> None:
        """And the error of the last attempt can be seen."""
        story.submit(call("a"))

        story.retry(story.take())

        assert story.state("a") is State.QUEUED
        (item,) = story.store.items(NodeId("a"))
        assert (item.attempts, item.deliveries, item.error) == (1, 1, ERROR)

    def test_items_of_a_map_wait_for_their_own_retries(self, story: Story) -> None:
        """The node waits when nothing else can be done."""
        story.submit(array("a", 2))
        first, second = story.claim(2)

        story.retry(first, delay_s=5)
        story.retry(second, delay_s=9)

        assert story.state("a") is State.WAITING
        assert story.wait(5) == 4
        assert story.take().key[1:3] == (0, 1)
        story.wait(4)
        assert story.take().key[1:3] == (1, 2)

    def test_retries_end_with_the_deliveries(self, story: Story) -> None:
        """Whatever the retry policy says."""
        story.submit(call("a", policy=Policy(max_deliveries=2)))

        story.retry(story.take())
        story.retry(last := story.take())

        assert story.state("a") is State.DEAD
        assert story.settle(last, one(last, Kind.RETRY))
        assert story.claim() == []

    def test_a_crash_spends_a_delivery_and_no_attempt(self, story: Story) -> None:
        """Two budgets: what the task raised, and what killed its process."""
        story.submit(call("a"))

        story.lose(story.take())

        lease = story.take()
        assert (lease.attempt, lease.delivery) == (1, 2)

    def test_a_poison_call_dies(self, story: Story) -> None:
        """After as many crashes as it may be delivered; the dead letter says why."""
        story.submit(call("a"), call("b", "a"))

        for _ in range(3):
            story.lose(story.take(worker="w3"))

        assert story.states("a", "b") == [State.DEAD, State.SKIPPED]
        ((run, node, item),) = story.store.dead()
        assert (run, node, item.state, item.deliveries) == ("run", "a", State.DEAD, 3)
        assert (item.error, item.worker) == (ERROR, "w3")
        assert story.run_view().state is State.DEAD

    def test_only_the_item_that_ran_pays_for_a_crash(self, story: Story) -> None:
        """Its neighbours in the range go back free."""
        story.submit(array("a", 10, policy=_ONCE))
        lease = story.take(pace_s=_QUICK, share=1)
        assert lease.key.hi == 5

        story.settle(
            lease,
            outcome(lease, Kind.RELEASED)._replace(hi=2),
            one(lease, Kind.LOST, 2, error=ERROR),
            outcome(lease, Kind.RELEASED)._replace(lo=3),
        )

        assert story.items("a") == [State.QUEUED] * 2 + [State.DEAD] + [State.QUEUED] * 7
        assert {lease.delivery for lease in story.claim(9)} == {1}

    def test_released_items_are_not_charged(self, story: Story) -> None:
        """However often a worker is stopped."""
        story.submit(call("a", policy=_ONCE))

        for _ in range(3):
            story.release(story.take())

        lease = story.take()
        assert (lease.attempt, lease.delivery) == (1, 1)

    def test_what_was_released_with_a_delay_waits(self, story: Story) -> None:
        """A worker may ask for a pause before the next one tries."""
        story.submit(call("a"))
        lease = story.take()

        story.settle(lease, one(lease, Kind.RELEASED, delay_s=4))

        assert story.state("a") is State.WAITING
        story.wait(4)
        assert story.state("a") is State.QUEUED

    def test_dead_letters_are_newest_first_and_bounded(self, story: Story) -> None:
        """Failed items are among them."""
        story.submit(call("a"), call("b"), array("c", 1), call("d"))

        for lease in story.claim(3):
            story.fail(lease)
        story.run("d")

        assert [node for _, node, _ in story.store.dead()] == ["c", "b", "a"]
        assert [node for _, node, _ in story.store.dead(limit=2)] == ["c", "b"]


class Leasing(Told):
    """Leases hold while they are renewed."""

    def test_a_lease_runs_out(self, story: Story) -> None:
        """Its items go back, charged."""
        story.submit(call("a"))
        story.take(lease_s=10)

        assert story.reap() == 10
        assert story.wait(9) == 1
        assert story.state("a") is State.RUNNING
        story.wait(1)

        assert story.state("a") is State.QUEUED
        assert story.take().delivery == 2

    def test_a_renewed_lease_holds(self, story: Story) -> None:
        """From the moment of renewal."""
        story.submit(call("a"), array("b", 9))
        leases = story.claim(2, lease_s=10)
        story.wait(8)

        renewal = story.store.renew([lease.key for lease in leases], lease_s=10)

        assert (renewal.lost, renewal.cancelled) == (frozenset(), {})
        assert story.wait(9) == 1
        assert story.items("a") == [State.RUNNING]
        assert story.items("b")[0] is State.RUNNING

    def test_a_lease_that_ran_out_cannot_be_renewed(self, story: Story) -> None:
        """Nor one that was settled, nor one of somebody else."""
        story.submit(call("a"), call("b"), call("c"))
        lost, settled, held = story.claim(3, lease_s=10)
        story.succeed(settled)
        story.store.renew([held.key], lease_s=30)
        story.wait(11)

        before = story.store.renew([lost.key, settled.key, held.key], lease_s=10)
        story.take(worker="w2")
        after_ = story.store.renew([lost.key], lease_s=10)

        assert before.lost == {lost.key, settled.key}
        assert after_.lost == {lost.key}
        nowhere = lost.key._replace(node=NodeId("x"))
        assert story.store.renew([nowhere], lease_s=10).lost == {nowhere}

    def test_a_lease_that_runs_out_too_often_is_death(self, story: Story) -> None:
        """The dead letter tells of the worker that stopped renewing."""
        story.submit(call("a", policy=_ONCE))
        zombie = story.take(worker="w9")
        story.wait(16)

        accepted = story.succeed(zombie)

        assert story.state("a") is State.DEAD
        assert "w9" in story.failure("a").message
        assert not accepted

    def test_a_range_whose_lease_ran_out_goes_back_without_what_was_settled(self, story: Story) -> None:
        """Exactly the rest."""
        story.submit(array("a", 10))
        lease = story.take(pace_s=_QUICK, share=1)
        story.settle(lease, outcome(lease, Kind.SUCCEEDED, value=value())._replace(hi=2))

        story.wait(16)

        assert story.items("a") == [State.SUCCEEDED] * 2 + [State.QUEUED] * 8
        rows = {row.lo: row.deliveries for row in story.store.items(NodeId("a"))}
        assert (rows[2], rows[5]) == (1, 0)

    def test_reaping_says_when_there_is_something_to_do(self, story: Story) -> None:
        """The earliest of leases, delays and expiries; nothing when all is quiet."""
        assert story.reap() is None
        story.submit(call("a"), call("b", delay_s=7), call("c", expires_s=40))
        story.take(lease_s=30)

        assert story.reap() == 7
        assert story.wait(7) == 23
        story.cancel("run")
        story.wait(30)
        assert story.reap() is None

    def test_a_bounded_reap_goes_on_where_it_stopped(self, story: Story) -> None:
        """And says that there is more."""
        story.submit(*(call(f"n{i}", delay_s=5) for i in range(5)))
        story.clock.advance(5)

        first = story.store.reap(limit=2)
        some = len(story.claim(9))
        story.store.reap(limit=2)
        story.store.reap(limit=2)

        assert first == 0
        assert some == 2
        assert len(story.claim(9)) == 3


class Timing(Told):
    """Delays and expiry."""

    def test_a_delayed_call_waits(self, story: Story) -> None:
        """Nobody can claim it before its time."""
        story.submit(call("a", delay_s=60), array("b", 3, delay_s=30))

        assert story.states("a", "b") == [State.WAITING] * 2
        assert story.run_view().counts == {State.WAITING: 4}
        assert story.wait(30) == 30
        assert nodes_of(story.claim(9, lease_s=60)) == ["b"] * 3
        story.wait(30)
        assert nodes_of(story.claim(9)) == ["a"]

    def test_a_delay_counts_from_the_submit(self, story: Story) -> None:
        """Time spent waiting for a predecessor is part of it."""
        story.submit(call("a"), call("b", "a", delay_s=10), call("c", "a", delay_s=3))
        story.wait(4)

        story.run("a")

        assert story.states("b", "c") == [State.WAITING, State.QUEUED]
        story.wait(6)
        assert story.state("b") is State.QUEUED

    def test_what_is_not_started_in_time_expires(self, story: Story) -> None:
        """What follows it is skipped."""
        story.submit(call("a", expires_s=10), call("b", "a"))

        story.wait(10)

        assert story.states("a", "b") == [State.EXPIRED, State.SKIPPED]
        assert story.failure("a").kind == "expired"
        assert story.run_view().state is State.EXPIRED
        assert story.claim() == []

    def test_what_is_late_is_not_claimed_though_nobody_reaped(self, story: Story) -> None:
        """And its successors do not wait for the reaper either."""
        story.submit(call("a", expires_s=10), call("b", ended("a")))
        story.clock.advance(10)

        first = story.claim()
        second = story.claim()

        assert first == []
        assert nodes_of(second) == ["b"]
        assert story.state("a") is State.EXPIRED

    def test_what_was_started_in_time_goes_on(self, story: Story) -> None:
        """Also when it has to be tried again."""
        story.submit(call("a", expires_s=10))
        story.retry(story.take(), delay_s=8)

        story.wait(20)

        assert story.succeed(story.take())
        assert story.state("a") is State.SUCCEEDED

    def test_items_that_were_not_started_in_time_expire(self, story: Story) -> None:
        """The others go on."""
        story.submit(array("a", 6, expires_s=10))
        started, released, retried = story.claim(3)
        story.release(released)
        story.retry(retried)

        story.wait(10)

        assert story.items("a") == [State.RUNNING, State.EXPIRED, State.QUEUED, *[State.EXPIRED] * 3]
        story.succeed(started)
        story.succeed(story.take())
        assert story.state("a") is State.EXPIRED

    def test_a_claim_at_the_expiry_still_gets_what_was_started(self, story: Story) -> None:
        """One claim does both."""
        story.submit(array("a", 3, expires_s=10))
        story.retry(story.take())
        story.clock.advance(10)

        leases = story.claim(3)

        assert [x.key[1:3] for x in leases] == [(0, 1)]

    def test_a_blocked_node_expires(self, story: Story) -> None:
        """Its predecessor may take too long."""
        story.submit(call("a"), call("b", "a", expires_s=10), array("c", None, "a", expires_s=10))
        lease = story.take(lease_s=60)

        story.wait(10)
        story.succeed(lease)

        assert story.states("a", "b", "c") == [State.SUCCEEDED, State.EXPIRED, State.EXPIRED]
        assert story.run_view().state is State.EXPIRED

    def test_what_expires_before_it_is_due_never_runs(self, story: Story) -> None:
        """Both times are promises."""
        story.submit(call("a", delay_s=20, expires_s=10))

        assert story.reap() == 10
        story.wait(10)

        assert story.state("a") is State.EXPIRED
