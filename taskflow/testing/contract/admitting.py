"""The store contract: what is decided when work is submitted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from taskflow.errors import QueueFull
from taskflow.ids import RunId
from taskflow.policy import Policy
from taskflow.records import Growth, Kind, Lease, Lock, Node, Plan
from taskflow.states import State
from taskflow.testing.contract.told import Told
from taskflow.testing.story import ERROR, Story, array, call, nodes_of, one

__all__ = ["Bounding", "Locking"]

_LOCK = Lock("only one", 100.0)
_SKIP, _REPLACE = (_LOCK._replace(on_duplicate=what) for what in ("skip", "replace"))
_UNLOCKS = Policy(unlocks=True)
_ONCE = Policy(max_deliveries=1)
_SINGLES = Policy(singles=True)


def _expire(story: Story, _: Lease) -> None:
    story.wait(20.0)


def _cancel(story: Story, lease: Lease) -> None:
    story.cancel("a")
    story.settle(lease, one(lease, Kind.CANCELLED))


def _replace(story: Story, lease: Lease) -> None:
    """It hands its outcome to another node of its run, which keeps the lock until it has ended too."""
    new = call("b")
    story.settle(lease, one(lease, Kind.REPLACED), grow=Growth((new,), final=new.id))
    assert story.submit(call("other"), run="two", lock=_LOCK) == "run"
    story.run("b")


_ENDS: dict[str, Callable[[Story, Lease], object]] = {
    "success": lambda story, lease: story.succeed(lease),
    "failure": lambda story, lease: story.fail(lease),
    "death": lambda story, lease: story.settle(lease, one(lease, Kind.LOST, error=ERROR)),
    "a lease that nobody renewed": _expire,
    "a cancellation": _cancel,
    "a replacement": _replace,
}


class Locking(Told):
    """No two runs that ask for the same lock are there at once."""

    def test_a_second_one_is_not_stored_and_the_first_is_named(self, story: Story) -> None:
        """In a step of its own, and in the same step."""
        plans = [Plan(RunId(f"r{n}"), (call(f"n{n}"),), lock=_LOCK) for n in range(3)]

        assert story.store.submit(plans[:2]) == {"r1": "r0"}
        assert story.store.submit(plans[2:]) == {"r2": "r0"}

        assert [view.id for view in story.store.runs()] == ["r0"]
        assert story.queue() == (1, 0, 0)

    def test_others_are_stored_beside_it(self, story: Story) -> None:
        """Those with another lock, and those with none."""
        assert story.submit(call("a"), lock=_LOCK) is None
        assert story.submit(call("b"), run="two", lock=Lock("another", 1.0)) is None
        assert story.submit(call("c"), run="three") is None

        assert nodes_of(story.claim(9)) == ["a", "b", "c"]

    def test_a_run_that_is_submitted_again_is_not_its_own_duplicate(self, story: Story) -> None:
        """After a lost answer: while it waits, while it runs, and when it has ended."""
        for on_duplicate in ("return", "skip", "raise", "replace"):
            lock = Lock(on_duplicate, 100.0, on_duplicate)
            run = node = on_duplicate
            assert story.submit(call(node), run=run, lock=lock) is None
            assert story.submit(call(node), run=run, lock=lock) is None
            assert story.state(node) is State.QUEUED
            lease = story.take()
            assert story.submit(call(node), run=run, lock=lock) is None
            story.succeed(lease)
            assert story.submit(call(node), run=run, lock=lock) is None
            assert story.state(node) is State.SUCCEEDED

    @pytest.mark.parametrize("how", _ENDS)
    def test_the_lock_is_free_when_the_run_has_ended(self, story: Story, how: str) -> None:
        """However it ended, in the same step; and not before."""
        story.submit(call("a", policy=_ONCE), lock=_LOCK)
        lease = story.take()
        assert story.submit(call("x"), run="early", lock=_LOCK) == "run"

        _ENDS[how](story, lease)

        assert story.submit(call("c"), run="next", lock=_LOCK) is None
        assert nodes_of(story.claim(9)) == ["c"]

    def test_one_that_stays_is_kept_by_a_run_that_succeeded(self, story: Story) -> None:
        """Until its time is over, or the run is forgotten; what failed is not in the way."""
        lock = Lock("+order", 100.0)
        story.submit(call("a"), run="a", lock=lock)
        story.fail(story.take())
        assert story.submit(call("b"), run="b", lock=lock) is None
        story.succeed(story.take())

        assert story.submit(call("c"), run="c", lock=lock) == "b"
        story.clock.advance(99.0)
        assert story.submit(call("c"), run="c", lock=lock) == "b"
        story.clock.advance(2.0)
        assert story.submit(call("c"), run="c", lock=lock) is None
        story.succeed(story.take())
        story.store.forget(RunId("c"))
        assert story.submit(call("d"), run="d", lock=lock) is None

    def test_it_is_free_when_what_never_started_has_ended(self, story: Story) -> None:
        """Cancelled, expired, purged, or skipped for what it depends on."""
        story.submit(call("a"), lock=_LOCK)
        story.cancel("a")
        assert story.submit(call("b", expires_s=5.0), run="b", lock=_LOCK) is None
        story.wait(6.0)
        assert story.submit(call("c"), run="c", lock=_LOCK) is None
        story.purge()
        story.submit(call("d"), run="d")
        assert story.submit(call("e", "d"), run="e", lock=_LOCK) is None
        story.fail(story.take())
        assert story.submit(run="empty", lock=_LOCK) is None
        assert story.submit(call("f"), run="f", lock=_LOCK) is None
        assert story.states(*"abcdef") == [
            State.CANCELLED, State.EXPIRED, State.CANCELLED, State.FAILED, State.SKIPPED, State.QUEUED,
        ]  # fmt: skip

    def test_a_graph_keeps_it_until_its_last_node_has_ended(self, story: Story) -> None:
        """It is the run that has the lock."""
        story.submit(call("a"), array("b", 3, "a"), lock=_LOCK)

        story.run("a")
        for _ in range(3):
            assert story.submit(call("x"), run="x", lock=_LOCK) == "run"
            story.succeed(story.take())

        assert story.submit(call("x"), run="x", lock=_LOCK) is None

    def test_a_retry_keeps_it(self, story: Story) -> None:
        """Between two attempts it has not ended."""
        story.submit(call("a"), lock=_LOCK)
        story.retry(story.take(), delay_s=3.0)

        assert story.submit(call("b"), run="two", lock=_LOCK) == "run"

    def test_with_unlocks_it_is_free_when_the_run_has_started(self, story: Story) -> None:
        """One waits while another runs; what goes back to the queue does not take it again."""
        story.submit(call("a", policy=_UNLOCKS), lock=_LOCK)
        assert story.submit(call("b", policy=_UNLOCKS), run="two", lock=_LOCK) == "run"

        lease = story.take()
        assert story.submit(call("b", policy=_UNLOCKS), run="two", lock=_LOCK) is None
        assert story.submit(call("c", policy=_UNLOCKS), run="three", lock=_LOCK) == "two"
        story.release(lease)
        story.succeed(story.take())
        assert story.submit(call("c", policy=_UNLOCKS), run="three", lock=_LOCK) == "two"
        assert nodes_of(story.claim(9)) == ["b"]

    def test_its_time_is_up_whatever_happens(self, story: Story) -> None:
        """After that the first one takes nothing from who has it then."""
        story.submit(call("a"), lock=_LOCK)
        lease = story.take(lease_s=1000.0)
        story.clock.advance(99.0)
        assert story.submit(call("b"), run="two", lock=_LOCK) == "run"

        story.clock.advance(2.0)
        assert story.submit(call("b"), run="two", lock=_LOCK) is None
        story.succeed(lease)

        assert story.submit(call("c"), run="three", lock=_LOCK) == "two"

    def test_a_duplicate_can_be_skipped(self, story: Story) -> None:
        """By choice: its run does not fail, and what depends on it is skipped too."""
        story.submit(call("a"), lock=_LOCK)
        assert story.submit(call("b"), run="two", lock=_SKIP) is None
        assert story.submit(array("c", 4), run="three", lock=_SKIP) is None
        story.submit(call("d", "b"), run="four")

        assert story.states(*"abcd") == [State.QUEUED, *[State.SKIPPED] * 3]
        assert story.failure("b").message == "it is unique, and run run is there already"
        assert story.failure("b").data == {"error": "TaskSkipped"}
        assert story.items("c") == [State.SKIPPED] * 4
        assert story.run_view("two").state is State.SUCCEEDED
        assert [event.state for event in story.events("b")] == [State.SKIPPED] * 2
        assert nodes_of(story.claim(9)) == ["a"]
        assert story.submit(call("e"), run="five", lock=_LOCK) == "run"

    def test_a_duplicate_can_take_the_place_of_one_that_has_not_started(self, story: Story) -> None:
        """The first is cancelled in the same step."""
        story.submit(call("a", delay_s=9.0), lock=_LOCK)
        assert story.submit(array("b", 3), run="two", lock=_REPLACE) is None
        assert story.submit(call("c"), run="three", lock=_REPLACE) is None

        assert story.states(*"abc") == [State.CANCELLED, State.CANCELLED, State.QUEUED]
        assert story.failure("a").message == "replaced by a newer one"
        assert nodes_of(story.claim(9)) == ["c"]
        assert story.submit(call("d"), run="four", lock=_LOCK) == "three"

    def test_one_that_has_started_is_not_replaced(self, story: Story) -> None:
        """Nor one between two attempts, nor a graph."""
        story.submit(call("a"), lock=_LOCK)
        lease = story.take()
        assert story.submit(call("b"), run="two", lock=_REPLACE) == "run"
        story.retry(lease, delay_s=5.0)
        assert story.submit(call("b"), run="two", lock=_REPLACE) == "run"
        assert story.state("a") is State.WAITING

        story.cancel("run")
        assert story.submit(call("c"), call("d"), run="graph", lock=_LOCK) is None
        assert story.submit(call("b"), run="two", lock=_REPLACE) == "graph"

    def test_a_rerun_takes_no_lock(self, story: Story) -> None:
        """What failed is tried again beside what was submitted since."""
        story.submit(call("a"), lock=_LOCK)
        story.fail(story.take())
        assert story.submit(call("b"), run="two", lock=_LOCK) is None
        story.rerun()

        assert sorted(nodes_of(story.claim(9))) == ["again.0", "b"]
        assert story.submit(call("c"), run="three", lock=_LOCK) == "two"

    def test_of_a_forgotten_run_nothing_is_left(self, story: Story) -> None:
        """The name is free."""
        story.submit(call("a"), lock=_LOCK)
        story.run("a")
        story.store.forget(RunId("run"))

        assert story.submit(call("a"), lock=_LOCK) is None

    def test_a_step_that_fails_leaves_the_lock_as_it_was(self, story: Story) -> None:
        """All or nothing: neither taken, nor given away."""
        story.submit(call("a"), lock=_LOCK)
        bad = call("b", "nowhere")
        for lock in (_REPLACE, Lock("free", 9.0)):
            with pytest.raises(Exception, match="nowhere"):
                story.store.submit([Plan(RunId("two"), (bad,), lock=lock)])

        assert story.state("a") is State.QUEUED
        assert story.submit(call("c"), run="three", lock=_LOCK) == "run"
        assert story.submit(call("d"), run="four", lock=Lock("free", 9.0)) is None

    def test_a_large_graph_is_unique_too(self, story: Story) -> None:
        """Though it may come in pieces."""
        first, second = ([call(f"{run}{n}") for n in range(1200)] for run in "ab")

        assert story.store.submit([Plan(RunId("a"), tuple(first), lock=_LOCK)]) == {}
        assert story.store.submit([Plan(RunId("b"), tuple(second), lock=_LOCK)]) == {"b": "a"}
        assert story.store.submit([Plan(RunId("a"), tuple(first), lock=_LOCK)]) == {}
        assert [view.id for view in story.store.runs()] == ["a"]
        story.store.cancel(RunId("a"))
        assert story.store.submit([Plan(RunId("b"), tuple(second), lock=_LOCK)]) == {}


class Bounding(Told):
    """Nothing new is taken while too much is pending."""

    def test_what_is_above_the_bound_is_refused(self, story: Story) -> None:
        """With the name of the queue; nothing of it is stored."""
        for n in range(3):
            story.submit(call(f"n{n}"), run=f"r{n}", max_pending=2)

        with pytest.raises(QueueFull, match=r"'default' is full: 3 calls .* above 2") as caught:
            story.submit(call("more"), run="more", max_pending=2)

        assert (caught.value.queue, caught.value.pending) == ("default", 3)
        assert len(story.store.runs()) == 3
        story.submit(call("other", queue="other"), run="other", max_pending=2)
        story.submit(call("more"), run="more", max_pending=3)
        story.submit(call("unbound"), run="unbound")

    def test_large_work_is_taken_by_a_queue_that_is_not_full(self, story: Story) -> None:
        """A graph, a map, and several in one step: what counts is what was there before."""
        story.submit(*(call(f"g{n}") for n in range(50)), run="graph", max_pending=10)
        with pytest.raises(QueueFull):
            story.submit(call("more"), run="more", max_pending=10)
        story.cancel("graph")
        story.submit(array("map", 100_000), max_pending=10)
        plans = [Plan(RunId(f"r{n}"), (call(f"n{n}"),), max_pending=10) for n in range(20)]
        assert story.store.submit(plans) == {}

    def test_a_map_counts_as_one_and_gathered_calls_each(self, story: Story) -> None:
        """As they were submitted."""
        story.submit(array("map", 1000), max_pending=1)
        story.submit(array("burst", 3, policy=_SINGLES), run="burst", max_pending=1)

        with pytest.raises(QueueFull, match="4 calls"):
            story.submit(call("more"), run="more", max_pending=3)

    def test_there_is_room_again_when_calls_have_ended(self, story: Story) -> None:
        """However they ended; what runs, waits or is blocked is pending."""
        story.submit(
            call("a"), call("b", "a"), call("c", delay_s=9.0), array("d", 2), array("e", 3, policy=_SINGLES)
        )

        def pending() -> int:
            try:
                story.submit(call("more"), run="more", max_pending=0)
            except QueueFull as error:
                assert error.pending is not None
                return error.pending
            story.cancel("more")
            return 0

        assert pending() == 7
        story.run("a")
        assert pending() == 6
        story.fail(story.take())
        assert pending() == 5
        for _ in range(2):
            story.succeed(story.take())
        assert pending() == 4
        lease = story.take()
        assert pending() == 4
        story.succeed(lease)
        assert pending() == 3
        story.cancel("e", index=2)
        assert pending() == 2
        story.cancel("run")
        assert pending() == 0

    def test_a_rerun_and_what_grows_are_pending_too(self, story: Story) -> None:
        """They are never refused."""
        story.submit(call("a"), array("b", 3, policy=_SINGLES))
        lease = story.take()
        story.succeed(lease, grow=Growth((call("x"), call("y"))))
        story.succeed(story.take())
        story.cancel("run")
        story.rerun()

        with pytest.raises(QueueFull, match="4 calls"):
            story.submit(call("more"), run="more", max_pending=0)

    def test_what_is_there_already_is_not_refused(self, story: Story) -> None:
        """After a lost answer."""
        for name in "abc":
            story.submit(call(name), run=name, max_pending=2)

        assert story.submit(call("c"), run="c", max_pending=2) is None

    def test_a_large_graph_is_refused_as_well(self, story: Story) -> None:
        """Though it may come in pieces."""
        nodes: tuple[Node, ...] = tuple(call(f"n{n}") for n in range(1200))
        story.submit(*(call(name) for name in "abc"))

        with pytest.raises(QueueFull, match="3 calls"):
            story.store.submit([Plan(RunId("large"), nodes, max_pending=2)])

        assert [view.id for view in story.store.runs()] == ["run"]
        story.store.submit([Plan(RunId("large"), nodes, max_pending=3)])
        assert story.run_view("large").total == 1200

    def test_a_step_that_fails_counts_nothing(self, story: Story) -> None:
        """All or nothing."""
        with pytest.raises(Exception, match="nowhere"):
            story.store.submit([Plan(RunId("a"), (call("a"),)), Plan(RunId("b"), (call("b", "nowhere"),))])

        story.submit(call("c"), max_pending=0)
        with pytest.raises(QueueFull, match="1 calls"):
            story.submit(call("d"), run="d", max_pending=0)
