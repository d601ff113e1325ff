"""The promises every store keeps, as a suite to subclass.

::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self, clock):
            return MyStore(clock=clock)

Each test tells a short story in the words of `taskflow.testing.story`; the store is examined after
every step of it (`StatusPort.check`).
"""

from __future__ import annotations

import select

import pytest

from taskflow.errors import CycleError, GraphError, NoSuchRun, ResultExpired, UnknownNode, UsageError
from taskflow.ids import NodeId, RunId, WorkerId
from taskflow.machine.graph import RELEASES_PER_STEP
from taskflow.policy import Policy
from taskflow.ports import Bell, Store
from taskflow.records import EdgeMode, Growth, Kind, Lease, Note, Plan, Settlement, WorkerView
from taskflow.states import TERMINAL, State
from taskflow.testing.clock import ManualClock
from taskflow.testing.story import (
    ERROR,
    Story,
    after,
    array,
    call,
    drop,
    ended,
    keep,
    nodes_of,
    one,
    outcome,
    pages,
    value,
)

__all__ = ["StoreContract"]

_ONCE = Policy(max_deliveries=1)
_STOP = Policy(on_failure="stop")
_QUICK = {"f": 0.001}
"""One slot gets a range of twenty items of a millisecond."""


class _Told:
    """What all parts of the contract share: a clock, a store on it, and a story to tell."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Time of the store under test."""
        return ManualClock()

    @pytest.fixture
    def store(self, clock: ManualClock) -> Store:
        """The store under test; a suite overrides it."""
        raise NotImplementedError("give the suite a fixture `store` that takes `clock`")

    @pytest.fixture
    def other(self, store: Store) -> Store:
        """The same store as another process sees it; the store itself where there is only one process."""
        return store

    @pytest.fixture
    def story(self, store: Store, clock: ManualClock) -> Story:
        """Drives the store."""
        return Story(store, clock)


class _Submitting(_Told):
    def test_a_run_that_was_submitted_is_queued(self, story: Story) -> None:
        """And it is found as it was described."""
        story.submit(call("a"), name="census", meta={"seed": 7})

        view = story.run_view()
        assert (view.name, view.meta, view.state, view.total) == ("census", {"seed": 7}, State.RUNNING, 1)
        assert view.counts == {State.QUEUED: 1}
        assert story.state("a") is State.QUEUED

    def test_submitting_a_run_twice_is_submitting_it_once(self, story: Story) -> None:
        """A client that got no answer asks again with the same id."""
        story.submit(call("a"))
        cursor = story.cursor()

        story.submit(call("a"))

        assert story.events(since=cursor) == []
        assert nodes_of(story.claim(5)) == ["a"]

    def test_a_second_submit_does_not_wake_a_run_that_has_ended(self, story: Story) -> None:
        """Terminal is final."""
        story.submit(call("a"))
        story.run("a")

        story.submit(call("a"))

        assert story.state("a") is State.SUCCEEDED
        assert story.claim() == []

    def test_an_unknown_parent_leaves_nothing_stored(self, story: Story) -> None:
        """Not even the plans beside it."""
        plans = [Plan(RunId("good"), (call("g"),)), Plan(RunId("bad"), (call("x"), call("y", "nowhere")))]

        with pytest.raises(UnknownNode, match="nowhere"):
            story.store.submit(plans)

        story.check()
        assert story.store.runs() == []
        assert story.events() == []
        assert story.claim(5) == []

    def test_an_id_that_a_node_of_another_run_has_is_refused(self, story: Story) -> None:
        """Of two clients that send the same node at the same moment, one is told."""
        story.submit(call("a"), run="first")

        with pytest.raises(GraphError, match="'a' already"):
            story.submit(call("b"), call("a", "b"), run="second")

        assert [view.id for view in story.store.runs()] == ["first"]
        assert nodes_of(story.claim(5)) == ["a"]

    def test_after_a_refused_submit_the_same_id_can_be_used(self, story: Story) -> None:
        """Nothing of the first try is in the way."""
        with pytest.raises(UnknownNode):
            story.submit(call("a"), call("b", "nowhere"))

        story.submit(call("a"), call("b", "a"))

        story.run("a", "b")
        assert story.run_view().state is State.SUCCEEDED

    def test_a_refused_submit_leaves_no_edge_on_nodes_of_other_runs(self, story: Story) -> None:
        """A parent that was there forgets the child that never was."""
        story.submit(call("a"), run="first")
        with pytest.raises(UnknownNode):
            story.submit(call("b", "a", "nowhere"))

        story.run("a")

        assert story.run_view("first").state is State.SUCCEEDED

    def test_a_cycle_is_named_and_leaves_nothing_stored(self, story: Story) -> None:
        """The error lists the nodes in order."""
        with pytest.raises(CycleError, match="→") as caught:
            story.submit(call("a"), call("b", "a", "d"), call("c", "b"), call("d", "c"))

        cycle = caught.value.cycle
        assert cycle[0] == cycle[-1]
        assert "".join(cycle) in ("bcdb", "cdbc", "dbcd")
        assert story.store.runs() == []

    def test_a_node_cannot_wait_for_itself(self, story: Story) -> None:
        """The shortest cycle."""
        with pytest.raises(CycleError):
            story.submit(call("a", "a"))

        assert story.store.runs() == []

    def test_nodes_may_be_named_in_any_order(self, story: Story) -> None:
        """A child before its parent."""
        story.submit(call("b", "a"), call("a"))

        story.run("a", "b")

        assert story.run_view().state is State.SUCCEEDED

    def test_a_run_without_nodes_has_ended(self, story: Story) -> None:
        """Everything that was submitted has an end."""
        story.submit()

        assert story.run_view().state is State.SUCCEEDED
        assert story.run_view().ended_at is not None

    def test_a_map_over_nothing_has_succeeded(self, story: Story) -> None:
        """And what follows it runs."""
        story.submit(array("a", 0), call("b", "a"))

        story.run("b")

        assert story.states("a", "b") == [State.SUCCEEDED] * 2
        assert story.items("a") == []
        assert story.run_view().state is State.SUCCEEDED

    def test_a_map_over_nothing_waits_for_its_predecessors_all_the_same(self, story: Story) -> None:
        """No node ends before those it depends on, not even one that expires meanwhile."""
        story.submit(call("a"), array("b", 0, "a", expires_s=5))

        story.wait(5)
        before = story.state("b")
        story.run("a")

        assert (before, story.state("b")) == (State.BLOCKED, State.SUCCEEDED)


class _Claiming(_Told):
    def test_a_higher_priority_goes_first_and_equals_in_order(self, story: Story) -> None:
        """Across runs, too."""
        story.submit(call("a"), call("b", priority=5), call("c"), run="one")
        story.submit(call("d", priority=9), call("e", priority=5), run="two")

        leases = story.claim(9)

        assert nodes_of(leases) == ["d", "b", "e", "a", "c"]

    def test_only_the_queues_that_are_asked_for_are_served(self, story: Story) -> None:
        """A worker without the right queue gets nothing."""
        story.submit(call("a", queue="gpu"), call("b"), call("c", queue="mail"))

        assert story.claim(9, queues=("nothing",)) == []
        assert nodes_of(story.claim(9, queues=("gpu",))) == ["a"]
        assert nodes_of(story.claim(9, queues=("mail", "default"))) == ["b", "c"]

    def test_priority_holds_across_queues(self, story: Story) -> None:
        """A worker of two queues sees them as one."""
        story.submit(call("a", queue="x"), call("b", queue="y", priority=1), call("c", queue="x", priority=2))

        assert nodes_of(story.claim(9, queues=("x", "y"))) == ["c", "b", "a"]

    def test_what_is_claimed_is_not_claimed_again(self, story: Story) -> None:
        """Each call goes to one slot."""
        story.submit(*(call(f"n{i}") for i in range(5)))

        first, second, third = story.claim(2), story.claim(2, worker="w2"), story.claim(2)

        assert nodes_of(first + second + third) == ["n0", "n1", "n2", "n3", "n4"]

    def test_no_slots_claim_nothing(self, story: Story) -> None:
        """A busy worker may ask."""
        story.submit(call("a"), array("b", 10))

        assert story.claim(0) == []
        assert story.states("a", "b") == [State.QUEUED] * 2

    def test_a_lease_tells_all_that_a_worker_needs(self, story: Story) -> None:
        """Function, arguments, inputs in order, attempt, age."""
        policy = Policy(time_limit_s=5.0)
        story.submit(call("a"), call("b"))
        story.run("a", "b")
        story.submit(call("c", "b", after("a"), policy=policy, queue="q", label="sum it"), run="two")
        story.clock.advance(3)

        lease = story.take(queues=("q",))

        assert (lease.key.node, lease.key.lo, lease.key.hi, lease.run) == ("c", 0, 1, "two")
        assert (lease.fn, lease.args, lease.array, lease.width) == ("f", value("args"), False, 1)
        assert (lease.policy, lease.queue, lease.label) == (policy, "q", "sum it")
        assert lease.inputs == (("b", EdgeMode.ALL),)
        assert (lease.attempt, lease.delivery, lease.age_s) == (1, 1, 3)

    def test_a_claimed_call_runs_at_its_worker(self, story: Story) -> None:
        """The store says who has it, and since when."""
        story.submit(call("a"))

        story.take(worker="w7", lease_s=9.0)

        view = story.node("a")
        assert (view.state, view.worker, view.started_at) == (State.RUNNING, "w7", story.clock.now())
        (item,) = story.store.items(NodeId("a"))
        assert (item.state, item.worker, item.until) == (State.RUNNING, "w7", story.clock.now() + 9)

    def test_quick_calls_share_a_slot(self, story: Story) -> None:
        """As many as fit in `batch_s`; of unknown functions one."""
        story.submit(*(call(f"n{i}") for i in range(30)))

        assert len(story.claim(1)) == 1
        assert len(story.claim(1, pace_s={"f": 0.004}, batch_s=0.02)) == 5
        assert len(story.claim(2, pace_s={"f": 0.004}, batch_s=0.02)) == 10
        assert len(story.claim(1, pace_s={"f": 4.0}, batch_s=0.02)) == 1

    def test_calls_that_take_no_time_at_all_still_use_a_slot(self, story: Story) -> None:
        """A clock that is too coarse measures nothing."""
        story.submit(*(call(f"n{i}") for i in range(3)))

        assert story.claim(0, pace_s={"f": 0.0}) == []
        assert len(story.claim(1, pace_s={"f": 0.0})) == 3

    def test_a_slow_call_is_not_overtaken_by_quick_ones_behind_it(self, story: Story) -> None:
        """Room that is left in a slot is not filled out of turn."""
        story.submit(call("a"), call("b", fn="slow"), call("c"))

        leases = story.claim(1, pace_s={"f": 0.001, "slow": 9.0})

        assert nodes_of(leases) == ["a"]

    def test_room_in_a_slot_of_calls_takes_no_range(self, story: Story) -> None:
        """A range has a slot of its own."""
        story.submit(call("a"), array("b", 50), call("c"))

        assert nodes_of(story.claim(1, pace_s=_QUICK)) == ["a"]
        assert nodes_of(story.claim(2, pace_s=_QUICK)) == ["b", "b"]

    def test_quick_calls_do_not_overtake_a_map_that_needs_more_slots(self, story: Story) -> None:
        """Though there is room for them beside the first call."""
        story.submit(call("a", priority=2), array("b", 500, priority=1), call("c"))

        leases = story.claim(2, pace_s=_QUICK)

        assert nodes_of(leases) == ["a", "b"]


class _Ranges(_Told):
    def test_items_of_an_unknown_function_are_handed_out_singly(self, story: Story) -> None:
        """One to a slot, until their pace is known."""
        story.submit(array("a", 100))

        leases = story.claim(3)

        assert [(x.key.lo, x.key.hi) for x in leases] == [(0, 1), (1, 2), (2, 3)]

    def test_the_pace_sizes_the_ranges(self, story: Story) -> None:
        """As many items as fit in `batch_s`."""
        story.submit(array("a", 1000))

        (quick,) = story.claim(1, pace_s={"f": 0.001}, batch_s=0.02)
        (slow,) = story.claim(1, pace_s={"f": 0.005}, batch_s=0.02)
        (slower,) = story.claim(1, pace_s={"f": 5.0}, batch_s=0.02)

        assert [x.key.hi - x.key.lo for x in (quick, slow, slower)] == [20, 4, 1]
        assert (quick.array, quick.width) == (True, 1000)

    def test_a_chunk_caps_the_ranges(self, story: Story) -> None:
        """What the caller asks for is the most."""
        story.submit(array("a", 1000, policy=Policy(chunk=7)))

        leases = story.claim(2, pace_s={"f": 0.0001})

        assert [x.key.hi - x.key.lo for x in leases] == [7, 7]

    def test_ranges_shrink_towards_the_end(self, story: Story) -> None:
        """So that all slots finish together; but never below a millisecond of work."""
        story.submit(array("a", 100))

        leases = story.claim(50, pace_s={"f": 0.0001}, share=2)

        sizes = [x.key.hi - x.key.lo for x in leases]
        assert sizes[0] == 25
        assert sizes[:-1] == sorted(sizes[:-1], reverse=True)
        assert set(sizes[3:-1]) <= set(range(10, 15))
        assert sum(sizes) == 100

    def test_a_larger_share_makes_smaller_ranges(self, story: Story) -> None:
        """Ten slots in all get a twentieth each."""
        story.submit(array("a", 1000))

        lease = story.take(pace_s={"f": 0.0001}, share=10)

        assert lease.key.hi == 50

    def test_ranges_cover_every_item_once(self, story: Story) -> None:
        """Whatever their sizes."""
        story.submit(array("a", 57))

        leases = [lease for slots in (3, 1, 4, 9) for lease in story.claim(slots, pace_s={"f": 0.003})]

        covered = [i for lease in leases for i in range(lease.key.lo, lease.key.hi)]
        assert covered == list(range(57))
        assert story.state("a") is State.RUNNING

    def test_a_node_is_queued_while_an_item_may_be_claimed(self, story: Story) -> None:
        """Then it runs."""
        story.submit(array("a", 2))

        story.take()
        between = story.state("a")
        story.take()

        assert (between, story.state("a")) == (State.QUEUED, State.RUNNING)
        assert story.run_view().counts == {State.RUNNING: 2}

    def test_the_pages_that_hold_a_range_are_served(self, story: Story) -> None:
        """Those that touch it, in order."""
        story.submit(array("a", 35))

        served = story.store.pages(NodeId("a"), 8, 21)

        assert served == list(pages(35)[:3])
        assert story.store.pages(NodeId("a"), 10, 20) == [pages(35)[1]]

    def test_a_range_settles_in_parts(self, story: Story) -> None:
        """What was not named stays held, under the same fence."""
        story.submit(array("a", 10))
        lease = story.take(pace_s=_QUICK, share=1)
        rest = story.take(pace_s=_QUICK, share=1)

        accepted = story.settle(lease, outcome(lease, Kind.SUCCEEDED, value=value())._replace(hi=3))

        assert accepted
        assert story.items("a") == [State.SUCCEEDED] * 3 + [State.RUNNING] * 5 + [State.QUEUED] * 2
        assert story.store.renew([lease.key._replace(lo=3), rest.key], lease_s=15).lost == frozenset()

    def test_the_rest_settles_with_the_key_of_the_whole(self, story: Story) -> None:
        """Or with that of the rest."""
        story.submit(array("a", 5, policy=Policy(chunk=5)))
        lease = story.take(pace_s={"f": 0.0001}, share=1, batch_s=1.0)
        assert lease.key[1:3] == (0, 5)

        for key, at in (
            (lease.key, 1),
            (lease.key, 3),
            (lease.key._replace(lo=4), 4),
            (lease.key, 0),
            (lease.key, 2),
        ):
            assert story.settle(key, one(lease, Kind.SUCCEEDED, at, value=value(str(at))))

        assert story.values("a") == ["0", "1", "2", "3", "4"]
        assert story.state("a") is State.SUCCEEDED

    def test_one_settlement_may_hold_every_kind_of_outcome(self, story: Story) -> None:
        """Each item goes its own way."""
        story.submit(array("a", 20))
        lease = story.take(pace_s=_QUICK, share=1)
        assert lease.key[1:3] == (0, 10)

        story.settle(
            lease,
            outcome(lease, Kind.SUCCEEDED, value=value("0-3"))._replace(hi=3),
            one(lease, Kind.FAILED, 3, error=ERROR),
            one(lease, Kind.RETRY, 4, error=ERROR, delay_s=9.0),
            one(lease, Kind.LOST, 5, error=ERROR),
            outcome(lease, Kind.RELEASED)._replace(lo=6, hi=8),
        )

        assert story.items("a") == [
            *[State.SUCCEEDED] * 3,
            *(State.FAILED, State.WAITING),
            *[State.QUEUED] * 3,
            *[State.RUNNING] * 2,
            *[State.QUEUED] * 10,
        ]
        rows = {row.lo: row for row in story.store.items(NodeId("a"))}
        assert [(rows[i].attempts, rows[i].deliveries) for i in (3, 4, 5, 6)] == [
            (1, 1),
            (1, 1),
            (0, 1),
            (0, 0),
        ]
        assert story.run_view().counts == {
            State.SUCCEEDED: 3, State.FAILED: 1, State.WAITING: 1, State.QUEUED: 13, State.RUNNING: 2
        }  # fmt: skip

    def test_items_that_came_back_go_before_fresh_ones(self, story: Story) -> None:
        """The oldest work first."""
        story.submit(array("a", 5))
        first, _ = story.claim(2)

        story.release(first)

        assert story.take().key[1:3] == (0, 1)
        assert story.take().key[1:3] == (2, 3)

    def test_a_range_that_came_back_is_cut_to_size(self, story: Story) -> None:
        """The rest waits for the next claim."""
        story.submit(array("a", 20))
        lease = story.take(pace_s=_QUICK, share=1)

        story.release(lease)

        again = story.claim(3)
        assert [x.key[1:3] for x in again] == [(0, 1), (1, 2), (2, 3)]
        assert {x.delivery for x in again} == {1}
        assert story.items("a") == [State.RUNNING] * 3 + [State.QUEUED] * 17

    def test_a_map_ends_with_its_last_item_and_as_its_worst(self, story: Story) -> None:
        """A failed item does not stop the others."""
        story.submit(array("a", 3), call("b", keep("a")))
        first, second, third = story.claim(3)

        story.fail(second)
        story.succeed(third)
        before = story.states("a", "b")
        story.succeed(first)

        assert before == [State.RUNNING, State.BLOCKED]
        assert story.states("a", "b") == [State.FAILED, State.QUEUED]
        assert story.run_view().counts == {State.SUCCEEDED: 2, State.FAILED: 1, State.QUEUED: 1}


class _Settling(_Told):
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


class _Retrying(_Told):
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


class _Leasing(_Told):
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


class _Timing(_Told):
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


class _Cancelling(_Told):
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


class _Depending(_Told):
    @pytest.mark.parametrize("mode", list(EdgeMode))
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

        assert lease.inputs == (("c", EdgeMode.DROP), ("a", EdgeMode.KEEP))
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

        assert [lease.inputs for lease in leases] == [(("a", EdgeMode.ALL),), ()]

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


class _Growing(_Told):
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


class _Rerunning(_Told):
    def test_only_what_gave_no_value_runs_again(self, story: Story) -> None:
        """Items that succeeded are kept."""
        story.submit(call("a"), array("b", 25, "a"))
        story.run("a")
        for lease in story.claim(25):
            story.fail(lease) if lease.key.lo in (3, 4, 17) else story.succeed(lease, str(lease.key.lo))

        names = story.rerun()

        assert list(names) == ["b"]
        assert story.run_view("again").counts == {State.SUCCEEDED: 22, State.QUEUED: 3}
        assert story.run_view("again").meta["rerun_of"] == "run"
        leases = story.claim(25)
        assert [lease.key.lo for lease in leases] == [3, 4, 17]
        assert (leases[0].args, leases[0].inputs) == (value("args"), (("a", EdgeMode.ALL),))
        assert story.store.pages(leases[0].key.node, 17, 18) == [pages(25)[1]]
        for lease in leases:
            story.succeed(lease, str(lease.key.lo))
        assert story.values(names["b"]) == [str(i) for i in range(25)]
        assert story.state(names["b"]) is State.SUCCEEDED
        assert story.state("b") is State.FAILED

    def test_kept_values_say_where_they_were_made(self, story: Story) -> None:
        """Their seal names the node and the fence that made them."""
        story.submit(array("a", 2))
        good, bad = story.claim(2)
        story.succeed(good)
        story.fail(bad)

        names = story.rerun()
        story.run(names["a"])

        first, second = story.store.values([NodeId(names["a"])])[NodeId(names["a"])]
        assert (first.node, first.lo, first.fence) == ("a", 0, good.key.fence)
        assert (second.node, second.lo) == (names["a"], 1)

    def test_what_was_skipped_below_runs_again(self, story: Story) -> None:
        """In order, with values of the old run where they are good."""
        story.submit(call("a"), call("b"), call("c", "a", "b"), call("d", "c"))
        good, bad = story.claim(2)
        story.succeed(good)
        story.fail(bad)

        names = story.rerun()

        assert set(names) == {"b", "c", "d"}
        story.run(names["b"])
        lease = story.take()
        assert lease.inputs == (("a", EdgeMode.ALL), (names["b"], EdgeMode.ALL))
        story.succeed(lease)
        story.run(names["d"])
        assert story.run_view("again").state is State.SUCCEEDED

    def test_a_rerun_that_is_asked_for_twice_runs_once(self, story: Story) -> None:
        """And answers the same."""
        story.submit(call("a"), call("b", "a"), call("c"))
        story.fail(story.take())
        story.run("c")

        first, second = story.rerun(), story.rerun()

        assert first == second
        assert set(first) == {"a", "b"}
        assert len(story.store.runs()) == 2
        assert len(story.claim(9)) == 1

    def test_a_run_without_failures_is_not_run_again(self, story: Story) -> None:
        """There is nothing to do."""
        story.submit(call("a"))
        story.run("a")

        assert story.rerun() == {}
        assert len(story.store.runs()) == 1

    def test_a_rerun_may_be_rerun(self, story: Story) -> None:
        """Until it is good; the pages are those of the first."""
        story.submit(array("a", 3))
        names = {"a": "a"}
        for new in ("two", "three"):
            for lease in story.claim(3):
                story.fail(lease) if lease.key.lo == 1 else story.succeed(lease)
            (name,) = story.rerun(story.run_view("run" if new == "two" else "two").id, new).values()
            names[new] = name

        lease = story.take()

        assert lease.key[:2] == (names["three"], 1)
        assert story.store.pages(lease.key.node, 1, 2) == list(pages(3))
        story.succeed(lease)
        assert story.run_view("three").state is State.SUCCEEDED

    def test_the_width_of_a_map_is_found_anew(self, story: Story) -> None:
        """The function names the map of the first run, its copy gets the width."""
        story.submit(call("a"), array("b", None, after("a")))
        story.fail(story.take())
        names = story.rerun()

        story.succeed(story.take(), grow=Growth(widths={NodeId("b"): (12, pages(12))}))

        assert story.node(names["b"]).width == 12
        assert story.store.pages(NodeId(names["b"]), 0, 12) == list(pages(12))
        assert len(story.claim(20)) == 12

    def test_of_a_replaced_task_only_the_replacement_runs_again(self, story: Story) -> None:
        """The task itself did its part."""
        story.submit(call("a"), call("b", "a"))
        lease = story.take()
        story.settle(lease, one(lease, Kind.REPLACED), grow=Growth((call("x"),), final=NodeId("x")))
        story.fail(story.take())

        names = story.rerun()

        story.run(names["x"], names["b"])
        assert story.states(*names.values()) == [State.SUCCEEDED] * 3
        assert story.values(names["a"]) == [names["x"]]

    def test_maps_of_one_run_may_feed_each_other_anew(self, story: Story) -> None:
        """Kept items and edges to nodes that follow in the same run."""
        story.submit(array("b", 2, keep("a")), array("a", 2))
        good, bad = story.claim(2)
        story.succeed(good)
        story.fail(bad)
        for lease in story.claim(2):
            story.fail(lease) if lease.key.lo else story.succeed(lease)

        names = story.rerun()

        assert story.state(names["b"]) is State.BLOCKED
        story.run(names["a"], names["b"])
        assert story.run_view("again").state is State.SUCCEEDED

    def test_a_rerun_does_not_start_what_another_run_still_forbids(self, story: Story) -> None:
        """The predecessor that failed is not part of it."""
        story.submit(call("a"), run="first")
        story.fail(story.take())
        story.submit(call("b", "a"), call("c", "b"))

        names = story.rerun()

        assert story.states(*names.values()) == [State.SKIPPED] * 2
        assert story.failure(names["c"]).root == "a"
        assert story.claim() == []

    def test_rerunning_the_unknown_is_an_error(self, story: Story) -> None:
        """It is likely a typing error."""
        with pytest.raises(NoSuchRun):
            story.rerun("nothing-like-it")


class _Forgetting(_Told):
    def test_a_run_that_is_forgotten_has_expired(self, story: Story) -> None:
        """Asking for it says that it was there."""
        story.submit(call("a"))
        story.run("a")

        story.store.forget(RunId("run"))

        story.check()
        for ask in (story.run_view, lambda: story.store.find("run")):
            with pytest.raises(ResultExpired) as caught:
                ask()
            assert caught.value.expired_at == story.clock.now()
        with pytest.raises((NoSuchRun, ResultExpired)):
            story.values("a")

    def test_a_run_that_goes_on_is_not_forgotten(self, story: Story) -> None:
        """Cancel it first."""
        story.submit(call("a"))

        with pytest.raises(UsageError, match="cancel"):
            story.store.forget(RunId("run"))

        assert story.state("a") is State.QUEUED

    def test_forgetting_the_unknown_is_an_error(self, story: Story) -> None:
        """It is likely a typing error."""
        with pytest.raises(NoSuchRun):
            story.store.forget(RunId("nothing-like-it"))

    def test_a_run_that_others_wait_for_is_not_forgotten(self, story: Story) -> None:
        """Its values are inputs of what is still to run, its pages are items of a rerun."""
        story.submit(call("a"), run="first")
        story.run("a")
        story.submit(array("b", 2, "a"), run="second")
        good, bad = story.claim(2)
        story.succeed(good)
        story.fail(bad)
        names = story.rerun("second", "third")

        for needed in ("first", "second"):
            with pytest.raises(UsageError, match="need"):
                story.store.forget(RunId(needed))
        story.run(names["b"])
        for ended_ in ("first", "second"):
            story.store.forget(RunId(ended_))

        story.check()
        assert [view.id for view in story.store.runs()] == ["third"]
        assert story.values(names["b"]) == ["value", names["b"]]

    def test_sweeping_forgets_what_ended_long_ago(self, story: Story) -> None:
        """And neither what is younger nor what goes on nor what is needed."""
        story.submit(call("a"), run="old")
        story.submit(call("b"), run="needed")
        story.run("a", "b")
        story.submit(call("c", "b"), run="live")
        story.clock.advance(100)
        story.submit(call("d", priority=1), run="young")
        story.run("d")

        swept = story.store.sweep(age_s=50, size_bytes=1 << 40)

        story.check()
        assert swept["runs"] == 1
        assert {view.id for view in story.store.runs()} == {"needed", "live", "young"}
        with pytest.raises(ResultExpired):
            story.run_view("old")
        story.run("c")


class _Watching(_Told):
    def test_a_snapshot_and_then_the_events_after_it_are_everything(self, story: Story) -> None:
        """Nothing is missed between the two, nothing is told twice."""
        story.submit(call("a"), array("b", 2, "a"))
        lease = story.take()
        view, cursor = story.store.snapshot(RunId("run"))

        story.succeed(lease)

        assert {node.id: node.state for node in view.nodes} == {"a": State.RUNNING, "b": State.BLOCKED}
        told = [
            (event.run, event.node, event.lo, event.hi, event.state) for event in story.events(since=cursor)
        ]
        assert told == [("run", "a", 0, 1, State.SUCCEEDED), ("run", "b", 0, 0, State.QUEUED)]
        assert {event.at for event in story.events(since=cursor)} == {story.clock.now()}

    def test_the_cursor_of_a_snapshot_is_that_of_the_newest_event(self, story: Story) -> None:
        """And ``-1`` asks for just that event."""
        story.submit(call("a"))
        story.take()

        (newest,) = story.store.events(-1)

        assert newest.cursor == story.store.snapshot(RunId("run"))[1]
        assert (newest.node, newest.state) == ("a", State.RUNNING)
        assert story.store.events(newest.cursor) == []

    def test_an_empty_store_has_no_events(self, story: Story) -> None:
        """Nor a newest one."""
        assert story.store.events(0) == []
        assert story.store.events(-1) == []

    def test_events_come_in_order_and_in_pieces(self, story: Story) -> None:
        """Piece by piece they are the same as at once."""
        story.submit(*(call(f"n{i}") for i in range(30)))
        for lease in story.claim(30):
            story.succeed(lease)
        whole = story.store.events(0)

        pieces, at = [], 0
        while batch := story.store.events(at, limit=7):
            assert len(batch) <= 7
            pieces += batch
            at = batch[-1].cursor

        assert pieces == whole
        assert [event.cursor for event in whole] == sorted({event.cursor for event in whole})

    def test_every_item_and_the_run_end_in_exactly_one_event(self, story: Story) -> None:
        """Whatever happened before."""
        story.submit(call("a"), array("b", 4, keep("a")), call("c", "b"))
        story.retry(story.take())
        story.fail(story.take())
        for lease in story.claim(4):
            story.fail(lease) if lease.key.lo == 2 else story.succeed(lease)

        ends = [event for event in story.events() if event.state in TERMINAL]
        items = [(event.node, i) for event in ends for i in range(event.lo, event.hi)]
        assert sorted(items) == [("a", 0), ("b", 0), ("b", 1), ("b", 2), ("b", 3), ("c", 0)]
        assert [(event.lo, event.hi, event.state) for event in ends if event.node == ""] == [
            (0, 0, State.FAILED)
        ]
        assert ends[-1].node == ""

    def test_runs_are_listed_newest_first(self, story: Story) -> None:
        """By number, state, name and the beginning of their id."""
        for name in ("one", "two", "three"):
            story.submit(call(f"n-{name}"), run=f"r-{name}", name=f"census {name}")
        story.run("n-one")

        assert [view.id for view in story.store.runs()] == ["r-three", "r-two", "r-one"]
        assert [view.id for view in story.store.runs(limit=2)] == ["r-three", "r-two"]
        assert [view.id for view in story.store.runs(states=[State.SUCCEEDED])] == ["r-one"]
        assert [view.id for view in story.store.runs(match="sus t")] == ["r-three", "r-two"]
        assert [view.id for view in story.store.runs(match="r-o")] == ["r-one"]
        assert story.store.runs(match="-o") == []
        assert {view.nodes for view in story.store.runs()} == {()}
        assert story.store.runs()[2].counts == {State.SUCCEEDED: 1}

    def test_a_beginning_of_an_id_is_enough(self, story: Story) -> None:
        """When it is the beginning of one; a whole id always is."""
        story.submit(call("node-x"), call("node-y"), run="abc-1")
        story.submit(call("z"), run="abc-12")
        find = story.store.find

        assert find("abc-12") == ("abc-12", None)
        assert find("abc-1") == ("abc-1", None)
        assert find("node-x") == ("abc-1", "node-x")
        assert find("z") == ("abc-12", "z")
        for ambiguous in ("abc", "node"):
            with pytest.raises(NoSuchRun, match="begin"):
                find(ambiguous)
        with pytest.raises(NoSuchRun, match="knows no"):
            find("q")

    def test_values_are_those_of_the_items_asked_for(self, story: Story) -> None:
        """Segments that touch the range, in order of index, of what has ended."""
        story.submit(array("a", 6), call("b"))
        leases = story.claim(5)
        for lease in reversed(leases):
            story.succeed(lease, str(lease.key.lo))
        names = [NodeId("a"), NodeId("b")]

        found = story.store.values(names, lo=1, hi=4)
        everything = story.store.values(names)

        assert [(s.node, s.lo, s.hi, s.value) for s in found[names[0]]] == [
            ("a", i, i + 1, value(str(i))) for i in (1, 2, 3)
        ]
        assert len(everything[names[0]]) == 5
        assert found[names[1]] == everything[names[1]] == []

    def test_asking_for_an_unknown_node_is_an_error(self, story: Story) -> None:
        """In whichever way."""
        asked = NodeId("nothing-like-it")
        asks = (
            lambda: story.store.values([asked]),
            lambda: story.store.items(asked),
            lambda: story.store.logs(asked),
            lambda: story.store.snapshot(RunId(asked)),
        )

        for ask in asks:
            with pytest.raises(NoSuchRun, match="nothing-like-it"):
                ask()

    def test_a_result_table_has_a_row_for_every_story(self, story: Story) -> None:
        """Items without one share a row."""
        story.submit(array("a", 1000))
        leases = story.claim(3)
        story.retry(leases[1], delay_s=5)
        story.fail(leases[2])

        rows = story.store.items(NodeId("a"))

        assert [(row.lo, row.hi, row.state) for row in rows] == [
            (0, 1, State.RUNNING), (1, 2, State.WAITING), (2, 3, State.FAILED), (3, 1000, State.QUEUED)
        ]  # fmt: skip
        assert [row.error for row in rows] == [None, ERROR, ERROR, None]
        assert rows[1].until == story.clock.now() + 5

    def test_what_tasks_print_is_kept_by_item(self, story: Story) -> None:
        """While they run and when they end."""
        story.submit(array("a", 3))
        leases = story.claim(3)
        notes = [Note(leases[i].key, "log", {"text": text}) for i, text in ((2, "two"), (0, "zero"))]

        story.store.note(notes)
        story.settle(leases[0], one(leases[0], Kind.SUCCEEDED, log="the end"))

        assert story.store.logs(NodeId("a")) == [(0, "zero"), (0, "the end"), (2, "two")]
        assert story.store.logs(NodeId("a"), index=2) == [(2, "two")]
        assert story.store.logs(NodeId("a"), index=1) == []

    def test_a_zombie_has_nothing_to_say(self, story: Story) -> None:
        """Notes of lost leases are dropped; so are those of unknown nodes."""
        story.submit(call("a"))
        zombie = story.take()
        story.wait(16)
        owner = story.take(worker="w2")

        story.store.note(
            [Note(zombie.key, "log", {"text": "zombie"}), Note(owner.key, "log", {"text": "owner"})]
        )
        story.store.note([Note(zombie.key._replace(node=NodeId("x")), "log", {"text": "nobody"})])

        assert story.store.logs(NodeId("a")) == [(0, "owner")]


class _Showing(_Told):
    def test_workers_are_those_seen_in_the_last_minute(self, story: Story) -> None:
        """Unless they said that they go."""
        for name in ("w1", "w2"):
            story.store.announce(_worker(name, story.clock.now()))
        assert [view.id for view in story.store.workers()] == ["w1", "w2"]
        assert story.store.workers()[0].info == {"python": "3.11"}

        story.store.announce(_worker("w1", story.clock.now()), gone=True)
        assert [view.id for view in story.store.workers()] == ["w2"]
        story.clock.advance(61)

        assert story.store.workers() == []

    def test_a_worker_that_speaks_again_is_the_same_worker(self, story: Story) -> None:
        """Its last word counts."""
        story.store.announce(_worker("w1", story.clock.now()))
        story.clock.advance(50)
        story.store.announce(_worker("w1", story.clock.now(), busy=2))
        story.clock.advance(50)

        (view,) = story.store.workers()

        assert (view.busy, view.seen_at, view.queues) == (2, story.clock.now() - 50, ("default", "gpu"))

    def test_queues_say_what_waits_in_them(self, story: Story) -> None:
        """Items, not nodes; what is blocked is in none."""
        story.submit(
            array("a", 10), call("b", queue="gpu"), call("c", "b", queue="gpu"), call("d", delay_s=9)
        )
        leases = story.claim(3)
        story.retry(leases[1], delay_s=5)
        story.retry(leases[2])

        assert [dict(line) for line in story.store.queues()] == [
            {"queue": "default", "queued": 8, "waiting": 2, "running": 1},
            {"queue": "gpu", "queued": 1, "waiting": 0, "running": 0},
        ]

    def test_a_store_finds_itself_well(self, story: Story) -> None:
        """And says of what it made sure."""
        story.submit(call("a"))

        found = story.store.check()

        assert found
        assert all(well and what and words for what, well, words in found)

    def test_the_bell_for_work_rings_when_there_is_some(self, story: Story, other: Store) -> None:
        """Something new, something returned, something cancelled."""
        bell = other.listen("work")

        story.submit(call("a"))
        submitted = _rang(bell)
        lease = story.take()
        bell.hush()
        silent = _rang(bell)
        story.release(lease)
        returned = _rang(bell)
        story.take()
        bell.hush()
        story.cancel("a")
        cancelled = _rang(bell)
        bell.close()

        assert (submitted, silent, returned, cancelled) == (True, False, True, True)

    def test_the_bell_for_readers_rings_when_something_happened(self, story: Story, other: Store) -> None:
        """And is silent after it was hushed."""
        bell = other.listen("watch")
        before = _rang(bell)

        story.submit(call("a"))
        rang = _rang(bell)
        bell.hush()
        hushed = _rang(bell)
        story.run("a")
        again = _rang(bell)
        bell.close()

        assert (before, rang, hushed, again) == (False, True, False, True)

    def test_a_closed_bell_disturbs_nobody(self, story: Story, other: Store) -> None:
        """The store goes on."""
        first, second = other.listen("work"), other.listen("work")

        first.close()
        story.submit(call("a"))

        assert _rang(second)
        second.close()


class StoreContract(
    _Submitting,
    _Claiming,
    _Ranges,
    _Settling,
    _Retrying,
    _Leasing,
    _Timing,
    _Cancelling,
    _Depending,
    _Growing,
    _Rerunning,
    _Forgetting,
    _Watching,
    _Showing,
):
    """Every verb and every promise of `ports.Store`; give it a fixture ``store`` that takes ``clock``."""


def _rang(bell: Bell) -> bool:
    return bool(select.select([bell], [], [], 0)[0])


def _worker(name: str, now: float, *, busy: int = 0) -> WorkerView:
    return WorkerView(
        WorkerId(name), "host", 1, ("default", "gpu"), slots=2, busy=busy, started_at=now, seen_at=now,
        info={"python": "3.11"},
    )  # fmt: skip


def _success(lease: Lease) -> Settlement:
    return Settlement(lease.key, (one(lease, Kind.SUCCEEDED, value=value()),))
