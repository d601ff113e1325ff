"""The store contract: what is wanted of workers, and how long work has waited for them."""

from __future__ import annotations

import select
from contextlib import closing

from taskflow.policy import Policy
from taskflow.ports import Store
from taskflow.records import Steering
from taskflow.testing.contract.told import Told
from taskflow.testing.story import Story, array, call

__all__ = ["Controlling"]


class Controlling(Told):
    """A small text that is changed by one at a time, and read by all."""

    def test_nothing_is_wanted_at_first(self, story: Story) -> None:
        """Whoever knows that is told nothing new."""
        assert story.store.steering() == Steering(0, b"")
        assert story.store.steering(0) is None

    def test_what_is_wanted_is_read_by_all(self, story: Story, other: Store) -> None:
        """The bytes are the writer's own affair."""
        body = bytes(range(256))

        assert story.store.steer(0, body)

        assert other.steering() == other.steering(0) == Steering(1, body)
        assert other.steering(1) is None

    def test_only_what_was_read_is_changed(self, story: Story, other: Store) -> None:
        """Of two who change it at the same moment one looks again."""
        assert story.store.steer(0, b"mine")

        assert not other.steer(0, b"theirs")
        assert not other.steer(7, b"theirs")
        assert story.store.steering() == Steering(1, b"mine")
        assert other.steer(1, b"both")
        assert story.store.steering() == Steering(2, b"both")

    def test_workers_are_called(self, story: Story, other: Store) -> None:
        """By the bell that calls them to work."""
        with closing(other.listen("work")) as bell:
            bell.hush()

            story.store.steer(0, b"anything")

            assert select.select([bell], [], [], 1)[0]

    def test_it_is_told_how_long_work_has_waited(self, story: Story) -> None:
        """The longest of the queues that are asked about."""
        queues = ("default", "gpu")
        assert story.store.waited_s(queues) is None

        story.submit(call("a"), run="first")
        story.clock.advance(3)
        story.submit(call("b", queue="gpu"), array("c", 5, queue="mail"), run="second")
        story.clock.advance(2)

        bounded = call("d", queue="some", policy=Policy(run_parallel=1))
        story.submit(bounded, run="third")
        story.clock.advance(1)
        assert story.store.waited_s(("some", "nothing")) == 1
        story.claim(1, queues=("some",))
        assert story.store.waited_s(("some",)) is None
        story.clock.advance(-1)

        asked = [queues, ("gpu",), ("mail", "gpu"), ("nothing",), ()]
        assert [story.store.waited_s(names) for names in asked] == [5, 2, 2, None, None]

    def test_what_runs_or_may_not_run_does_not_wait(self, story: Story) -> None:
        """Nor what belongs to a paused queue."""
        story.submit(call("a"), call("b", "a"), call("c", delay_s=60), call("d", queue="gpu"))
        story.claim(1)
        story.store.pause("gpu")
        story.clock.advance(5)

        assert story.store.waited_s(("default", "gpu")) is None

        story.store.pause("gpu", resume=True)
        assert story.store.waited_s(("default", "gpu")) == 5
