"""The store contract: some items of a map, and calls that take the places of items."""

from __future__ import annotations

import pytest

from taskflow.errors import GraphError, UnknownNode
from taskflow.ids import NodeId
from taskflow.records import EdgeMode, Growth, Kind
from taskflow.states import State
from taskflow.testing.contract.told import Told
from taskflow.testing.story import ERROR, Story, array, call, drop, edge, ended, one, outcome, value

__all__ = ["Items"]


class Items(Told):
    """Who waits for some items of a map, and what becomes of one that is replaced."""

    # ── parts of a map ───────────────────────────────────────────────────────────────

    def test_who_waits_for_some_items_runs_when_these_have_ended(self, story: Story) -> None:
        """Though the map goes on."""
        story.submit(array("a", 4), call("b", edge("a", EdgeMode.ALL, 0, 2)), call("c", "a"))
        leases = story.claim(4)

        story.succeed(leases[1])
        between = story.state("b")
        story.succeed(leases[0])

        assert (between, *story.states("b", "c")) == (State.BLOCKED, State.QUEUED, State.BLOCKED)
        lease = story.take()
        assert lease.inputs == (edge("a", EdgeMode.ALL, 0, 2),)
        story.succeed(lease)
        for rest in leases[2:]:
            story.succeed(rest)
        story.run("c")
        assert story.run_view().counts == {State.SUCCEEDED: 6}

    def test_a_failure_among_other_items_is_no_concern(self, story: Story) -> None:
        """Only one among those that are needed."""
        halves = [edge("a", EdgeMode.ALL, 0, 2), edge("a", EdgeMode.ALL, 2, 4)]
        story.submit(array("a", 4), call("b", halves[0]), call("c", halves[1]))
        for index, lease in enumerate(story.claim(4)):
            story.fail(lease) if index == 3 else story.succeed(lease)

        assert story.states(*"abc") == [State.FAILED, State.QUEUED, State.SKIPPED]
        assert story.node("c").root == "a"

    def test_items_that_had_ended_before_need_no_waiting(self, story: Story) -> None:
        """A later plan may name them."""
        story.submit(array("a", 4), run="first")
        leases = story.claim(4)
        for lease in leases[:2]:
            story.succeed(lease)

        first, middle = edge("a", EdgeMode.ALL, 0, 2), edge("a", EdgeMode.ALL, 1, 3)
        story.submit(call("b", first), call("c", middle), call("d", first, "x"), call("x"))

        assert story.states(*"bcd") == [State.QUEUED, State.BLOCKED, State.BLOCKED]
        for lease in leases[2:]:
            story.succeed(lease)
        assert story.states(*"bcd") == [State.QUEUED, State.QUEUED, State.BLOCKED]

    def test_who_waits_for_some_items_and_something_else_waits_for_both(self, story: Story) -> None:
        """That the map ends as a whole is nothing new to it."""
        story.submit(array("a", 2), call("b"), call("c", edge("a", EdgeMode.ALL, 0, 1), "b"))
        for lease in story.claim(2):
            story.succeed(lease)

        assert story.states(*"abc") == [State.SUCCEEDED, State.QUEUED, State.BLOCKED]
        story.run("b")
        assert story.state("c") is State.QUEUED

    def test_items_that_a_rerun_keeps_release_who_waits_for_them(self, story: Story) -> None:
        """At once, though other items run again."""
        story.submit(array("a", 2), call("b", edge("a", EdgeMode.ALL, 0, 1)), call("c", "a"))
        first, second = story.claim(2)
        story.succeed(first)
        story.cancel("b")
        story.fail(second)

        names = story.rerun()

        assert story.states(*(names[name] for name in "abc")) == [State.QUEUED, State.QUEUED, State.BLOCKED]

    def test_two_edges_on_some_items_ask_for_all_between(self, story: Story) -> None:
        """And one on the whole asks for the whole."""
        some, more = edge("a", EdgeMode.ALL, 3, 4), edge("a", EdgeMode.ALL, 1, 2)
        story.submit(
            array("a", 4),
            call("b", some, more),
            call("c", more, some),
            call("d", some, "a"),
            call("e", "a", some),
        )

        parents = [story.node(name).parents for name in "bcde"]

        assert parents == [(edge("a", EdgeMode.ALL, 1, 4),)] * 2 + [(edge("a", EdgeMode.ALL),)] * 2

    @pytest.mark.parametrize(
        ("one", "other", "both"),
        [
            (EdgeMode.TAKEN, EdgeMode.TAKEN, EdgeMode.TAKEN),
            (EdgeMode.JOIN, EdgeMode.JOIN, EdgeMode.JOIN),
            (EdgeMode.ALL, EdgeMode.FAILED, EdgeMode.FAILED),
            (EdgeMode.BROKEN, EdgeMode.ENDED, EdgeMode.BROKEN),
            (EdgeMode.AFTER, EdgeMode.ENDED, EdgeMode.AFTER),
            (EdgeMode.AFTER, EdgeMode.KEEP, EdgeMode.ALL),
            (EdgeMode.ENDED, EdgeMode.DROP, EdgeMode.DROP),
        ],
    )
    def test_two_edges_ask_for_what_either_asks_for(
        self, story: Story, one: EdgeMode, other: EdgeMode, both: EdgeMode
    ) -> None:
        """In whatever order they are said."""
        story.submit(
            call("a"),
            call("b", edge("a", one), edge("a", other)),
            call("c", edge("a", other), edge("a", one)),
        )

        assert [story.node(name).parents for name in "bc"] == [(edge("a", both),)] * 2

    # ── growing ──────────────────────────────────────────────────────────────────────

    def test_who_waits_for_a_task_may_be_made_to_wait_for_more(self, story: Story) -> None:
        """It gets one value more, behind those it asked for."""
        story.submit(call("a"), call("b", "a"), call("c", edge("a", EdgeMode.AFTER)), call("d", ended("a")))

        story.succeed(story.take(), grow=Growth((call("x"), call("y", "x")), joins=(NodeId("y"),)))

        assert story.states(*"bcd") == [State.BLOCKED, State.BLOCKED, State.QUEUED]
        story.run("d", "x", "y")
        assert story.take().inputs == (edge("a", EdgeMode.ALL), edge("y", EdgeMode.JOIN))
        assert story.take().inputs == ()

    @pytest.mark.parametrize("name", ["x", "c"])
    def test_joining_what_was_not_brought_is_an_error(self, story: Story, name: str) -> None:
        """The growth must bring it: what was there before may have ended, and would release nobody."""
        story.submit(call("c"), call("a"), call("b", "a"))
        story.run("c")

        with pytest.raises(UnknownNode):
            story.succeed(story.take(), grow=Growth(joins=(NodeId(name),)))

    def test_an_item_may_be_replaced_by_a_call(self, story: Story) -> None:
        """It takes that call's outcome as its own, the others keep theirs."""
        story.submit(array("a", 2), call("b", "a"))
        first, second = story.claim(2)

        story.settle(first, outcome(first, Kind.REPLACED), grow=Growth((call("x"),), final=NodeId("x")))
        story.succeed(second, "second")

        assert (story.state("a"), story.items("a")) == (State.RUNNING, [State.BLOCKED, State.SUCCEEDED])
        assert story.node("a").parents == (edge("x", EdgeMode.ITEM, 0, 1),)
        story.run("x")
        assert story.states("a", "b") == [State.SUCCEEDED, State.QUEUED]
        (given, own) = story.store.values([NodeId("a")])[NodeId("a")]
        assert (given.node, given.lo, given.hi, given.value, given.single) == ("x", 0, 1, value("x"), True)
        assert (own.node, own.single) == ("a", False)

    def test_each_item_takes_the_outcome_of_its_own_replacement(self, story: Story) -> None:
        """In whatever order these end."""
        story.submit(array("a", 2))
        for name, lease in zip("xy", story.claim(2), strict=True):
            grow = Growth((call(name),), final=NodeId(name))
            story.settle(lease, outcome(lease, Kind.REPLACED), grow=grow)
        x, y = story.claim(2)

        story.fail(y)
        between = story.items("a")
        story.succeed(x)

        assert between == [State.BLOCKED, State.FAILED]
        assert story.items("a") == [State.SUCCEEDED, State.FAILED]

    def test_a_settled_replacement_may_be_settled_again(self, story: Story) -> None:
        """The answer was lost; nothing happens twice."""
        story.submit(array("a", 2))
        lease = story.take()
        grow = Growth((call("x"),), final=NodeId("x"))

        assert story.settle(lease, outcome(lease, Kind.REPLACED), grow=grow)
        assert story.settle(lease, outcome(lease, Kind.REPLACED), grow=grow)

        told = [(e.lo, e.hi) for e in story.events("a") if e.state is State.BLOCKED]
        assert told == [(0, 1)]
        assert story.items("a") == [State.BLOCKED, State.QUEUED]

    def test_an_item_whose_replacement_failed_has_failed(self, story: Story) -> None:
        """With the story of what failed."""
        story.submit(array("a", 1))
        lease = story.take()
        grow = Growth((call("x"), call("y", "x")), final=NodeId("y"))
        story.settle(lease, outcome(lease, Kind.REPLACED), grow=grow)

        story.fail(story.take())

        assert story.states(*"axy") == [State.FAILED, State.FAILED, State.SKIPPED]
        assert story.items("a") == [State.FAILED]

    @pytest.mark.parametrize(
        ("kind", "state"),
        [(Kind.REJECTED, State.DEAD), (Kind.CANCELLED, State.CANCELLED), (Kind.SKIPPED, State.SKIPPED)],
    )
    def test_an_item_ends_as_its_replacement_does(self, story: Story, kind: Kind, state: State) -> None:
        """However that is; who waits for just this item is told at once."""
        story.submit(array("a", 2), call("b", edge("a", EdgeMode.ENDED, 0, 1)))
        lease = story.take()
        story.settle(lease, outcome(lease, Kind.REPLACED), grow=Growth((call("x"),), final=NodeId("x")))
        story.take()
        before = story.state("b")

        story.settle(lease := story.take(), one(lease, kind, error=ERROR))

        assert story.items("a") == [state, State.RUNNING]
        assert (before, story.state("b")) == (State.BLOCKED, State.QUEUED)

    def test_an_item_takes_the_outcome_of_the_last_that_took_its_place(self, story: Story) -> None:
        """A call that was replaced in turn has none of its own."""
        story.submit(array("a", 1))
        for name in "xy":
            lease = story.take()
            grow = Growth((call(name),), final=NodeId(name))
            story.settle(lease, outcome(lease, Kind.REPLACED), grow=grow)

        story.run("y")

        assert story.states(*"axy") == [State.SUCCEEDED] * 3
        (segment,) = story.store.values([NodeId("a")])[NodeId("a")]
        assert (segment.node, segment.value, segment.single) == ("y", value("y"), True)

    def test_an_item_is_cancelled_with_what_took_its_place(self, story: Story) -> None:
        """Also when that waits for what took its own; a late end of the last changes nothing."""
        story.submit(array("a", 1))
        for name in "xy":
            lease = story.take()
            grow = Growth((call(name),), final=NodeId(name))
            story.settle(lease, outcome(lease, Kind.REPLACED), grow=grow)

        story.cancel("x")
        story.run("y")

        assert story.states(*"axy") == [State.CANCELLED, State.CANCELLED, State.SUCCEEDED]
        assert story.items("a") == [State.CANCELLED]
        assert story.failure("a").type == "TaskCancelled"

    def test_an_item_cannot_take_the_results_of_a_map(self, story: Story) -> None:
        """It is one result; that a map is behind a call is seen only when it has ended."""
        story.submit(array("a", 1))
        lease = story.take()
        story.settle(lease, outcome(lease, Kind.REPLACED), grow=Growth((call("x"),), final=NodeId("x")))
        lease = story.take()
        story.settle(lease, outcome(lease, Kind.REPLACED), grow=Growth((array("y", 2),), final=NodeId("y")))

        story.run("y", "y")

        assert story.states(*"axy") == [State.FAILED, State.SUCCEEDED, State.SUCCEEDED]
        assert story.failure("a").type == "GraphError"

    def test_an_item_is_not_replaced_by_a_map(self, story: Story) -> None:
        """Which is said at once, and changes nothing."""
        story.submit(array("a", 1))
        lease = story.take()

        with pytest.raises(GraphError):
            story.settle(
                lease, outcome(lease, Kind.REPLACED), grow=Growth((array("y", 2),), final=NodeId("y"))
            )

        assert story.items("a") == [State.RUNNING]

    def test_an_item_may_be_replaced_by_a_call_of_long_ago(self, story: Story) -> None:
        """Which has its value already."""
        story.submit(call("a"), array("b", 1))
        story.run("a")
        lease = story.take()

        story.settle(lease, outcome(lease, Kind.REPLACED), grow=Growth(final=NodeId("a")))

        assert story.state("b") is State.SUCCEEDED
        assert story.store.values([NodeId("b")])[NodeId("b")][0].node == "a"

    def test_items_are_replaced_one_by_one_and_by_something(self, story: Story) -> None:
        """Anything else is a mistake of the worker, and changes nothing."""
        story.submit(array("a", 2))
        lease = story.take(pace_s={"f": 0.0001}, share=1)
        both, first = outcome(lease, Kind.REPLACED), one(lease, Kind.REPLACED)
        x = (call("x"),)

        for replaced, grow in ((both, Growth(x, final=NodeId("x"))), (first, None), (first, Growth(x))):
            with pytest.raises(AssertionError):
                story.settle(lease, replaced, grow=grow)

        assert story.items("a") == [State.RUNNING] * 2

    def test_an_item_takes_the_outcome_of_a_call_that_has_ended_already(self, story: Story) -> None:
        """Here it could not run, and nobody minds."""
        story.submit(call("a"), array("b", 2))
        story.settle(lease := story.take(), one(lease, Kind.SKIPPED, error=ERROR))
        first, second = story.claim(2)

        story.settle(first, outcome(first, Kind.REPLACED), grow=Growth((call("x", "a"),), final=NodeId("x")))
        story.succeed(second)

        assert story.items("b") == [State.SKIPPED, State.SUCCEEDED]
        assert story.state("b") is State.SUCCEEDED

    def test_a_rerun_goes_on_with_what_took_the_place_of_an_item(self, story: Story) -> None:
        """Not with the item: it had done its part."""
        story.submit(array("a", 2))
        first, second = story.claim(2)
        story.settle(first, outcome(first, Kind.REPLACED), grow=Growth((call("x"),), final=NodeId("x")))
        story.succeed(second)
        story.fail(story.take())

        names = story.rerun()

        assert story.node(names["a"]).parents == (edge(names["x"], EdgeMode.ITEM, 0, 1),)
        assert story.state(names["a"]) is State.RUNNING
        assert story.items(names["a"]) == [State.BLOCKED, State.SUCCEEDED]
        story.run(names["x"])
        assert story.state(names["a"]) is State.SUCCEEDED
        assert story.run_view("again").state is State.SUCCEEDED

    def test_an_item_that_was_made_of_a_failure_is_made_anew(self, story: Story) -> None:
        """Like all that is below one, though it succeeded."""
        story.submit(array("a", 2))
        first, second = story.claim(2)
        grow = Growth((call("x"), call("y", drop("x"))), final=NodeId("y"))
        story.settle(first, outcome(first, Kind.REPLACED), grow=grow)
        story.fail(second)
        story.fail(story.take())
        story.run("y")

        names = story.rerun()

        assert story.items(names["a"]) == [State.BLOCKED, State.QUEUED]
        story.run(names["a"], names["x"], names["y"])
        assert story.run_view("again").state is State.SUCCEEDED
