"""The store contract: limits that the whole store keeps, by name."""

from __future__ import annotations

import select
from contextlib import closing

import pytest

from taskflow.ids import WorkerId
from taskflow.limits import CircuitBreaker, ConcurrencyLimit, Limit, RateLimit
from taskflow.policy import Policy
from taskflow.ports import Store
from taskflow.records import Kind
from taskflow.states import State
from taskflow.testing.contract.told import Told
from taskflow.testing.story import ERROR, Story, array, call, nodes_of, one

__all__ = ["Breaking", "Limiting"]

GPU = Policy(limits=(ConcurrencyLimit("gpu", 2).limit("gpu"),))
SLOWLY = Policy(limits=(RateLimit("30/m").limit("api"),))
GUARD = CircuitBreaker("api", failures=2, window=60, reset_after=30).limit("api")


def guarded(limit: Limit = GUARD, deliveries: int = 9) -> Policy:
    """A policy with a breaker."""
    return Policy(limits=(limit,), max_deliveries=deliveries)


class Limiting(Told):
    """Numbers at once, and rates."""

    def test_no_more_run_at_once_than_the_name_allows(self, story: Story) -> None:
        """In all runs, queues and workers together."""
        story.submit(array("a", 3, policy=GPU), run="one")
        story.submit(call("b", policy=GPU, priority=1), call("c"), run="two")

        leases = story.claim(9)

        assert [(lease.key.node, lease.key.lo) for lease in leases] == [("b", 0), ("a", 0), ("c", 0)]
        assert story.claim(9, worker=WorkerId("w2")) == []
        story.succeed(leases[0])
        assert [(lease.key.node, lease.key.lo) for lease in story.claim(9)] == [("a", 1)]

    def test_a_limit_of_another_name_has_room_of_its_own(self, story: Story) -> None:
        """And a node may keep to several: all of them must have room."""
        disk = ConcurrencyLimit("disk", 1).limit("disk")
        both = Policy(limits=(disk, *GPU.limits))
        story.submit(call("a", policy=GPU), call("b", policy=both), call("c", policy=both))
        story.submit(call("d", policy=Policy(limits=(disk,))), run="two")

        assert nodes_of(story.claim(9)) == ["a", "b"]
        assert [(view.name, view.running) for view in story.store.limits()] == [("disk", 1), ("gpu", 2)]

    @pytest.mark.parametrize("end", ["succeed", "fail", "retry", "lose", "release", "cancel", "lease"])
    def test_however_an_item_ends_there_is_room_again(self, story: Story, end: str) -> None:
        """Also when its worker is never heard of again."""
        policy = Policy(limits=(ConcurrencyLimit("gpu", 1).limit("gpu"),))
        story.submit(call("a", policy=policy, priority=1), call("b", policy=policy))
        (lease,) = story.claim(9)

        if end == "lease":
            story.wait(20.0)
        elif end == "cancel":
            story.cancel("a")
            story.settle(lease, one(lease, Kind.CANCELLED, error=ERROR))
        else:
            getattr(story, end)(lease)

        assert len(story.claim(9)) == 1

    def test_who_finds_no_room_is_called_when_there_is_some(self, story: Story, other: Store) -> None:
        """Another worker may have it."""
        policy = Policy(limits=(ConcurrencyLimit("gpu", 1).limit("gpu"),))
        story.submit(call("a", policy=policy), call("b", policy=policy))
        (lease,) = story.claim(9)
        with closing(other.listen("work")) as bell:
            bell.hush()

            story.succeed(lease)

            assert select.select([bell], [], [], 1)[0]

    def test_thousands_that_wait_hold_up_nobody(self, story: Story) -> None:
        """What has room is found behind them."""
        policy = Policy(limits=(ConcurrencyLimit("gpu", 1).limit("gpu"),))
        story.store.submit([])
        story.submit(*(call(f"a{n}", policy=policy) for n in range(300)), call("z"))

        assert nodes_of(story.claim(9)) == ["a0", "z"]

    def test_starts_are_spread_over_time(self, story: Story) -> None:
        """One in two seconds, whoever asks."""
        story.submit(array("a", 9, policy=SLOWLY), call("b", policy=SLOWLY), call("c"))

        first = story.claim(9)
        none = story.claim(9, worker=WorkerId("w2"))
        due = story.reap()
        story.clock.advance(2.0)
        second = story.claim(9)
        story.clock.advance(60.0)
        third = story.claim(9)

        assert nodes_of(first) == ["a", "c"]
        assert none == []
        assert due == pytest.approx(2.0)
        assert [lease.key.lo for lease in (*second, *third)] == [1, 2]

    def test_after_a_pause_a_burst_may_start_at_once(self, story: Story) -> None:
        """And then they are spread."""
        policy = Policy(limits=(RateLimit(10, burst=3).limit("api"),))
        story.submit(array("a", 20, policy=policy))

        counts = []
        for pause in (0.0, 0.1, 0.25, 9.0):
            story.clock.advance(pause)
            counts.append(len(story.claim(20)))

        assert counts == [3, 1, 2, 3]

    def test_each_worker_may_have_a_rate_of_its_own(self, story: Story) -> None:
        """As in Celery."""
        policy = Policy(limits=(RateLimit("30/m", per_worker=True).limit("api"),))
        story.submit(array("a", 9, policy=policy))

        assert [len(story.claim(9, worker=WorkerId(name))) for name in ("v", "w", "v")] == [1, 1, 0]

    def test_a_worker_hears_that_somebody_waits_for_a_moment(self, story: Story, other: Store) -> None:
        """Once: it comes before all would look by themselves."""
        story.submit(call("a", policy=SLOWLY), call("b", policy=SLOWLY))
        with closing(other.listen("work", worker=WorkerId("w9"))) as bell:
            bell.hush()

            story.claim(9)

            assert select.select([bell], [], [], 1)[0]
            assert not bell.hush().is_turn
            story.claim(9)
            assert not select.select([bell], [], [], 0.05)[0]

    def test_workers_are_called_when_the_time_has_come(self, story: Story, other: Store) -> None:
        """By whoever reaps."""
        story.submit(array("a", 2, policy=SLOWLY))
        story.claim(9)
        story.claim(9)
        with closing(other.listen("work")) as bell:
            bell.hush()

            story.wait(2.0)

            assert select.select([bell], [], [], 1)[0]
            assert len(story.claim(9)) == 1

    def test_what_nobody_uses_is_not_kept(self, story: Story) -> None:
        """Names may be made of arguments, and be many."""
        story.submit(call("a", policy=SLOWLY), call("b", policy=GPU), call("c", policy=guarded()))
        for lease in story.claim(9):
            story.fail(lease)
        kinds = [view.kind for view in story.store.limits()]

        story.wait(60.0)
        story.wait(300.0)

        assert sorted(kinds) == ["breaker", "concurrency", "rate"]
        assert story.store.limits() == []

    def test_a_rerun_keeps_to_the_same_limits(self, story: Story) -> None:
        """Its nodes are clones."""
        policy = Policy(limits=(ConcurrencyLimit("gpu", 1).limit("gpu"),))
        story.submit(call("a", policy=policy), call("b", policy=policy))
        story.fail(story.take())
        story.fail(story.take())
        story.rerun()

        assert len(story.claim(9)) == 1


class Breaking(Told):
    """Circuit breakers."""

    def test_after_so_many_failures_what_is_new_fails_at_once(self, story: Story) -> None:
        """And says why; other work goes on."""
        story.submit(*(call(name, policy=guarded()) for name in "abcd"), call("e"))
        story.fail(story.take())
        story.fail(story.take())

        assert nodes_of(story.claim(9)) == ["e"]
        assert story.states("c", "d") == [State.FAILED, State.FAILED]
        assert story.failure("c").type == "taskflow.errors.CircuitOpen"
        assert "api" in story.failure("c").message
        assert story.store.limits()[0].state == "open"

    def test_failures_that_lie_far_apart_do_not_open_it(self, story: Story) -> None:
        """The window moves."""
        story.submit(*(call(name, policy=guarded()) for name in "abcd"))
        story.fail(story.take())
        story.clock.advance(61.0)
        story.fail(story.take())
        story.clock.advance(30.0)

        assert nodes_of(story.claim(1)) == ["c"]

    def test_then_one_call_tries_and_closes_it(self, story: Story) -> None:
        """The others wait for what it finds."""
        holds = guarded(GUARD._replace(holds=True))
        story.submit(*(call(name, policy=holds) for name in "abcde"))
        story.fail(story.take())
        story.fail(story.take())
        assert story.claim(9) == []

        due = story.reap()
        story.wait(30.0)
        probe = story.claim(9)
        assert story.claim(9) == []
        story.succeed(probe[0])

        assert due == pytest.approx(30.0)
        assert nodes_of(probe) == ["c"]
        assert nodes_of(story.claim(9)) == ["d", "e"]
        assert story.store.limits()[0].state == "closed"

    def test_a_probe_that_fails_opens_it_again(self, story: Story) -> None:
        """For as long as the first time."""
        holds = guarded(GUARD._replace(holds=True))
        story.submit(*(call(name, policy=holds) for name in "abcde"))
        story.fail(story.take())
        story.fail(story.take())
        story.wait(30.0)

        story.fail(story.take())

        assert story.claim(9) == []
        story.clock.advance(29.0)
        assert story.claim(9) == []
        story.clock.advance(1.0)
        assert nodes_of(story.claim(9)) == ["d"]

    def test_a_probe_that_is_never_heard_of_is_not_the_last(self, story: Story) -> None:
        """Another may try after the same time."""
        holds = guarded(GUARD._replace(holds=True))
        story.submit(*(call(name, policy=holds) for name in "abcde"))
        story.fail(story.take())
        story.fail(story.take())
        story.wait(30.0)
        assert nodes_of(story.claim(9, lease_s=1000.0)) == ["c"]

        story.wait(30.0)

        assert nodes_of(story.claim(9)) == ["d"]

    def test_what_began_before_it_opened_says_nothing_new(self, story: Story) -> None:
        """Neither closes it nor opens it for longer."""
        story.submit(*(call(name, policy=guarded()) for name in "abcd"))
        leases = story.claim(4)
        story.fail(leases[0])
        story.fail(leases[1])
        story.clock.advance(20.0)

        story.renew_all(leases)
        story.fail(leases[2])
        story.succeed(leases[3])

        (view,) = story.store.limits()
        assert (view.state, view.until) == ("open", story.clock.now() + 10.0)

    def test_what_was_tried_before_waits_instead_of_failing(self, story: Story) -> None:
        """Its retries are not used up by a service that is away."""
        story.submit(*(call(name, policy=guarded()) for name in "ab"))
        for lease in story.claim(2):
            story.retry(lease)

        assert story.claim(9) == []
        assert story.states("a", "b") == [State.WAITING, State.WAITING]
        story.wait(30.0)
        (probe,) = story.claim(9)
        assert probe.attempt == 2
        story.succeed(probe)
        story.wait(30.0)
        assert nodes_of(story.claim(9)) == ["b"]

    def test_what_is_spared_is_an_answer(self, story: Story) -> None:
        """The service is there, though the task failed."""
        holds = guarded(GUARD._replace(holds=True))
        story.submit(*(call(name, policy=holds) for name in "abcdefg"))
        for _ in range(3):
            lease = story.take()
            story.settle(lease, one(lease, Kind.FAILED, error=ERROR, spared=True))
        story.fail(story.take())
        story.fail(story.take())
        story.wait(30.0)
        probe = story.take()
        story.settle(probe, one(probe, Kind.FAILED, error=ERROR, spared=True))

        assert nodes_of(story.claim(9)) == ["g"]

    def test_all_of_a_map_fails_in_one_step(self, story: Story) -> None:
        """However wide it is."""
        story.submit(array("a", 5000, policy=guarded()))
        for _ in range(2):
            story.fail(story.take())

        assert story.claim(9) == []
        assert story.state("a") is State.FAILED
        assert story.run_view().counts == {State.FAILED: 5000}
