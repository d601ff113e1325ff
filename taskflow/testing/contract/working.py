"""The store contract: what is submitted is claimed, and in which order."""

from __future__ import annotations

import select
from contextlib import closing

import pytest

from taskflow.errors import CycleError, GraphError, UnknownNode
from taskflow.ids import NodeId, RunId
from taskflow.policy import Policy
from taskflow.ports import Store
from taskflow.records import Edge, EdgeMode, Kind, Plan
from taskflow.states import State
from taskflow.testing.contract.told import Told
from taskflow.testing.story import (
    ERROR,
    Story,
    after,
    array,
    call,
    keep,
    nodes_of,
    one,
    outcome,
    pages,
    value,
)

__all__ = ["Claiming", "Ranges", "Submitting"]

_QUICK = {"f": 0.001}
"""One slot gets a range of twenty items of a millisecond."""


class Submitting(Told):
    """A run is stored whole, once."""

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


class Claiming(Told):
    """Who gets what, and when."""

    def test_a_higher_priority_goes_first_and_equals_in_order(self, story: Story) -> None:
        """Across runs, too."""
        story.submit(call("a"), call("b", priority=5), call("c"), run="one")
        story.submit(call("d", priority=9), call("e", priority=5), run="two")

        leases = story.claim(9)

        assert nodes_of(leases) == ["d", "b", "e", "a", "c"]

    def test_queues_may_be_served_strictly_one_after_the_other(self, story: Story) -> None:
        """Whatever the priorities; within a queue these still count."""
        story.submit(
            call("a", queue="low", priority=9), call("b"), call("c", priority=5), call("d", queue="x")
        )

        first = story.claim(2, queues=("default", "low"), turns=(0, 0))
        rest = story.claim(9, queues=("default", "low"), turns=(0, 0))

        assert (nodes_of(first), nodes_of(rest)) == (["c", "b"], ["a"])

    def test_a_queue_is_offered_its_turn_before_the_others(self, story: Story) -> None:
        """However much waits in these."""
        story.submit(*(call(f"h{i}", queue="high", priority=9) for i in range(9)))
        story.submit(*(call(f"d{i}") for i in range(9)), run="other")

        leases = story.claim(4, queues=("high", "default"), turns=(3, 1))

        assert nodes_of(leases) == ["h0", "h1", "h2", "d0"]

    def test_what_a_queue_leaves_of_its_turn_others_get(self, story: Story) -> None:
        """No slot stays empty while there is work."""
        story.submit(call("h", queue="high"), array("d", 9), call("x", queue="x"))

        leases = story.claim(4, queues=("high", "default"), turns=(3, 1))

        assert nodes_of(leases) == ["h", "d", "d", "d"]
        assert story.claim(9, queues=("high", "more"), turns=(3, 1)) == []

    def test_a_map_takes_no_more_than_the_turn_of_its_queue(self, story: Story) -> None:
        """Its other ranges wait for the next."""
        story.submit(array("h", 100, queue="high"), call("a"), call("b"))

        leases = story.claim(3, queues=("high", "default"), turns=(2, 1))

        assert nodes_of(leases) == ["h", "h", "a"]

    def test_a_slot_that_quick_calls_of_one_queue_do_not_fill_takes_some_of_the_next(
        self, story: Story
    ) -> None:
        """A slot gets up to fifty calls of a millisecond."""
        story.submit(call("h", queue="high"), call("a"), call("b"))

        leases = story.claim(1, queues=("high", "default"), turns=(0, 0), pace_s=_QUICK)

        assert nodes_of(leases) == ["h", "a", "b"]

    def test_turns_are_kept_when_outcomes_bring_a_claim_with_them(self, story: Story) -> None:
        """Also for what the same step has released."""
        story.submit(call("a"), call("b", "a", queue="low", priority=9), call("c"))
        lease = story.take()
        want = story.want(1, queues=("default", "low"), turns=(0, 0))

        settled = story.settle_and_claim(lease, outcome(lease, Kind.SUCCEEDED, value=value()), want=want)
        rest = story.claim(2, queues=("default", "low"), turns=(0, 0))

        assert (nodes_of(settled.leases), nodes_of(rest)) == (["c"], ["b"])

    def test_of_a_paused_queue_nothing_is_offered_in_its_turn(self, story: Story) -> None:
        """The others get it."""
        story.submit(call("h", queue="high"), call("a"))
        story.store.pause("high")

        assert nodes_of(story.claim(2, queues=("high", "default"), turns=(1, 1))) == ["a"]

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
        assert lease.inputs == (Edge(NodeId("b"), EdgeMode.ALL),)
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
        story.submit(call("a"), array("b", 100), call("c"))

        assert nodes_of(story.claim(1, pace_s=_QUICK)) == ["a"]
        assert nodes_of(story.claim(2, pace_s=_QUICK)) == ["b", "b"]

    def test_quick_calls_do_not_overtake_a_map_that_needs_more_slots(self, story: Story) -> None:
        """Though there is room for them beside the first call."""
        story.submit(call("a", priority=2), array("b", 500, priority=1), call("c"))

        leases = story.claim(2, pace_s=_QUICK)

        assert nodes_of(leases) == ["a", "b"]


class Ranges(Told):
    """Items of a map go out in ranges."""

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

    def test_ranges_do_not_shrink_while_something_else_is_queued(self, story: Story) -> None:
        """The slots that end first have that to do."""
        story.submit(array("a", 100), array("b", 100), call("c", queue="other"))

        leases = story.claim(5, pace_s=_QUICK, batch_s=0.04, share=10)

        sizes = [(x.key.node, x.key.hi - x.key.lo) for x in leases]
        assert sizes == [("a", 40), ("a", 40), ("a", 20), ("b", 5), ("b", 5)]

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

    # ── bounds ───────────────────────────────────────────────────────────────────────

    def test_no_more_items_of_a_node_run_at_once_than_it_allows(self, story: Story) -> None:
        """Whoever asks; each goes out alone, however quick, and others are not held up."""
        story.submit(array("a", 9, policy=Policy(max_parallel=2)), call("b"))

        leases = story.claim(5, pace_s=_QUICK)

        assert [(lease.key.node, lease.key.lo, lease.key.hi) for lease in leases] == [
            ("a", 0, 1), ("a", 1, 2), ("b", 0, 1),
        ]  # fmt: skip
        assert story.claim(5) == []
        story.succeed(leases[0])
        assert [lease.key.lo for lease in story.claim(5)] == [2]

    def test_no_more_items_of_a_run_run_at_once_than_it_allows(self, story: Story) -> None:
        """All of its nodes together; another run has a bound of its own."""
        bound = Policy(run_parallel=2)
        nodes = [call("a", policy=bound), array("b", 3, policy=bound), call("c", policy=bound)]
        story.submit(*nodes, run="one")
        story.submit(call("d", policy=bound), run="two")

        leases = story.claim(9)

        assert [lease.key.node for lease in leases] == ["a", "b", "d"]
        story.lose(leases[0])
        assert [lease.key.node for lease in story.claim(9)] == ["a"]
        story.succeed(leases[1])
        assert [(lease.key.node, lease.key.lo) for lease in story.claim(9)] == [("b", 1)]

    def test_what_has_room_is_found_behind_what_has_none(self, story: Story) -> None:
        """In the order of the queue, and whatever its bound is."""
        few, more = Policy(run_parallel=1), Policy(run_parallel=3)
        story.submit(*(call(name, policy=few) for name in "abc"), call("d", policy=more), run="one")
        story.submit(array("e", 2, policy=Policy(max_parallel=1, run_parallel=2)), call("f"), run="two")
        story.submit(call("g", policy=few), call("h", policy=few, priority=1), run="three")

        leases = story.claim(9)

        assert [lease.key.node for lease in leases] == ["h", "a", "d", "e", "f"]
        story.succeed(leases[3])
        assert [(lease.key.node, lease.key.lo) for lease in story.claim(9)] == [("e", 1)]

    def test_a_map_that_has_no_room_says_nothing_of_the_next(self, story: Story) -> None:
        """Though both are of one run, and bounded alike."""
        bound = Policy(max_parallel=1, run_parallel=2)
        story.submit(array("a", 2, policy=bound), array("b", 2, policy=bound), run="one")
        story.claim(1)
        story.submit(array("c", 2, policy=bound), array("d", 2, policy=bound), run="two")

        leases = story.claim(9)

        assert [(lease.key.node, lease.key.lo) for lease in leases] == [("b", 0), ("c", 0), ("d", 0)]

    def test_who_finds_no_room_is_called_when_there_is_some(self, story: Story, other: Store) -> None:
        """It may be another worker than the one whose item ended."""
        story.submit(array("a", 3, policy=Policy(max_parallel=1)))
        (lease,) = story.claim(2)
        with closing(other.listen("work")) as bell:
            bell.hush()

            story.succeed(lease)

            assert select.select([bell], [], [], 1)[0]
