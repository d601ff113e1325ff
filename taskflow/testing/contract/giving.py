"""The store contract: items that have their results before they are submitted."""

from __future__ import annotations

import pytest

from taskflow.errors import GraphError, NoSuchRun
from taskflow.ids import NodeId
from taskflow.records import EdgeMode, Given, Node
from taskflow.states import State
from taskflow.testing.contract.told import Told
from taskflow.testing.story import Story, after, array, call, edge, value

__all__ = ["Giving"]


def given(name: str, width: int, *ranges: tuple[int, int]) -> Node:
    """An array node; the items of these ranges have succeeded already."""
    known = tuple(Given(lo, hi, value(f"given {lo}")) for lo, hi in ranges)
    return array(name, width, given=known)


class Giving(Told):
    """Items that succeeded in an earlier run are no work."""

    def test_only_items_without_a_result_are_handed_out(self, story: Story) -> None:
        """Those between first, then those behind."""
        story.submit(given("a", 9, (1, 3), (4, 6)))

        leases = story.claim(9)

        assert [index for lease in leases for index in range(lease.key.lo, lease.key.hi)] == [0, 3, 6, 7, 8]
        for lease in leases:
            story.succeed(lease, str(lease.key.lo))
        assert story.values("a") == ["0", "given 1", "3", "given 4", "6", "7", "8"]
        assert story.state("a") is State.SUCCEEDED
        assert story.run_view().counts == {State.SUCCEEDED: 9}

    def test_what_is_given_has_succeeded_in_the_step_of_the_submit(self, story: Story) -> None:
        """It is counted, and nobody ran it."""
        story.submit(given("a", 9, (1, 3), (4, 6)))

        assert story.run_view().counts == {State.SUCCEEDED: 4, State.QUEUED: 5}
        assert story.queue() == (5, 0, 0)
        assert story.items("a")[:4] == [State.QUEUED, State.SUCCEEDED, State.SUCCEEDED, State.QUEUED]
        row = next(row for row in story.store.items(NodeId("a")) if row.lo == 1)
        assert (row.attempts, row.deliveries, row.worker, row.started_at) == (0, 0, None, None)

    def test_who_watches_is_told_what_was_given(self, story: Story) -> None:
        """By an event for each range."""
        since = story.cursor()

        story.submit(given("a", 9, (1, 3), (4, 6)))

        told = [(e.lo, e.hi, e.state) for e in story.events("a", since=since)]
        assert told == [(1, 3, State.SUCCEEDED), (4, 6, State.SUCCEEDED), (0, 0, State.QUEUED)]

    def test_a_given_value_says_that_it_is_of_this_node(self, story: Story) -> None:
        """Its seal names the node, and no fence."""
        story.submit(given("a", 3, (0, 2)))

        (segment,) = story.store.values([NodeId("a")])[NodeId("a")]

        assert (segment.node, segment.lo, segment.hi, segment.fence) == ("a", 0, 2, 0)
        assert (segment.array, segment.single, segment.value) == (True, False, value("given 0"))

    def test_a_map_whose_items_are_all_given_has_ended(self, story: Story) -> None:
        """And its run with it; who waits for it goes on."""
        story.submit(given("a", 12, (0, 10), (10, 12)), call("b", "a"))
        story.submit(given("c", 2, (0, 2)), run="other")

        assert story.state("a") is State.SUCCEEDED
        assert story.run_view("other").state is State.SUCCEEDED
        story.run("b")
        assert story.run_view().state is State.SUCCEEDED

    def test_who_waits_for_given_items_only_goes_on_at_once(self, story: Story) -> None:
        """In whichever order the plan names the two."""
        story.submit(
            call("b", edge("a", EdgeMode.ALL, 1, 3)),
            given("a", 5, (0, 3)),
            call("c", edge("a", EdgeMode.ALL, 2, 4)),
        )

        assert story.states("a", "b", "c") == [State.QUEUED, State.QUEUED, State.BLOCKED]
        story.run("b", "a", "a", "c")

    def test_a_rerun_keeps_what_was_given(self, story: Story) -> None:
        """As it keeps what ran."""
        story.submit(given("a", 3, (1, 2)))
        first, second = story.claim(2)
        story.succeed(first, "0")
        story.fail(second)

        names = story.rerun()
        story.run(names["a"])

        assert story.values(names["a"]) == ["0", "given 1", names["a"]]

    def test_given_items_are_cancelled_with_nobody(self, story: Story) -> None:
        """They have ended."""
        story.submit(given("a", 4, (1, 2), (3, 4)))

        story.cancel("run")

        assert story.items("a") == [State.CANCELLED, State.SUCCEEDED, State.CANCELLED, State.SUCCEEDED]
        assert story.claim() == []

    def test_the_same_plan_twice_gives_once(self, story: Story) -> None:
        """The client got no answer."""
        story.submit(given("a", 3, (1, 2)))
        story.submit(given("a", 3, (1, 2)))

        assert story.run_view().counts == {State.SUCCEEDED: 1, State.QUEUED: 2}

    @pytest.mark.parametrize(
        "node",
        [
            given("a", 3, (1, 4)),
            given("a", 3, (1, 2), (1, 3)),
            given("a", 3, (2, 2)),
            given("a", 3, (0, 1))._replace(delay_s=5.0),
            given("a", 1, (0, 1))._replace(array=False, pages=()),
            given("a", 1, (0, 1))._replace(width=None, pages=()),
            given("a", 1, (0, 1))._replace(edges=(after("x"),)),
        ],
        ids=["beyond", "twice", "nothing", "later", "a call", "no width", "behind another"],
    )
    def test_what_cannot_be_given_is_refused_as_a_whole(self, story: Story, node: Node) -> None:
        """Nothing of the plan is stored."""
        with pytest.raises(GraphError, match="cannot be given"):
            story.submit(call("x"), node, call("y", after("x")))

        with pytest.raises(NoSuchRun):
            story.run_view()
