"""The store contract: again, without what had gone well."""

from __future__ import annotations

import pytest

from taskflow.errors import NoSuchRun
from taskflow.ids import NodeId
from taskflow.records import Edge, EdgeMode, Growth, Kind
from taskflow.states import State
from taskflow.testing.contract.told import Told
from taskflow.testing.story import (
    Story,
    after,
    array,
    call,
    ended,
    keep,
    one,
    pages,
    value,
)

__all__ = ["Rerunning"]


class Rerunning(Told):
    """What gave no value, once more."""

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
        assert (leases[0].args, leases[0].inputs) == (value("args"), (Edge(NodeId("a"), EdgeMode.ALL),))
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
        assert lease.inputs == (Edge(NodeId("a"), EdgeMode.ALL), Edge(NodeId(names["b"]), EdgeMode.ALL))
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

    @pytest.mark.parametrize("end", ["expired", "cancelled"])
    def test_what_took_a_place_and_needs_what_had_ended_below_does_not_wait_for_itself(
        self, story: Story, end: str
    ) -> None:
        """The edge stays on the old node; all others lead to clones."""
        story.submit(call("a"), call("b", "a", expires_s=5.0))
        taken = story.take(lease_s=60.0)
        if end == "expired":
            story.wait(6)
            story.reap()
        else:
            story.cancel("b")
        grown = (call("x", ended("b")), call("y", "x"))
        story.settle(taken, one(taken, Kind.REPLACED), grow=Growth(grown, final=NodeId("y")))
        story.fail(story.take())
        assert story.states("a", "b", "x", "y") == [
            State.SKIPPED, State(end), State.FAILED, State.SKIPPED,
        ]  # fmt: skip

        names = story.rerun()
        story.run(names["x"], names["y"], names["b"])

        assert story.run_view("again").state is State.SUCCEEDED
        assert [edge.parent for edge in story.node(names["x"]).parents] == [NodeId("b")]
        assert [edge.parent for edge in story.node(names["y"]).parents] == [names["x"]]

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
        assert story.items(names["b"]) == [State.BLOCKED] * 2, "what was made of a failure does not hold"
        story.run(names["a"], names["b"], names["b"])
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
