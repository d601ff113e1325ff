"""The store contract: what is posted, and how long work has waited for workers."""

from __future__ import annotations

import select
from contextlib import closing

from taskflow.policy import Policy
from taskflow.ports import Store
from taskflow.records import WORKERS, Posted
from taskflow.testing.contract.told import Told
from taskflow.testing.story import Story, array, call

__all__ = ["Controlling"]


class Controlling(Told):
    """A small text that is changed by one at a time, and read by all."""

    def test_nothing_is_posted_at_first(self, story: Story) -> None:
        """Whoever knows that is told nothing new."""
        assert story.store.posted(WORKERS) == Posted(0, b"")
        assert story.store.posted(WORKERS, 0) is None

    def test_what_is_posted_is_read_by_all(self, story: Story, other: Store) -> None:
        """The bytes are the writer's own affair."""
        body = bytes(range(256))

        assert story.store.post("schedules", 0, body)

        assert other.posted("schedules") == other.posted("schedules", 0) == Posted(1, body)
        assert other.posted("schedules", 1) is None

    def test_only_what_was_read_is_changed(self, story: Story, other: Store) -> None:
        """Of two who change it at the same moment one looks again."""
        assert story.store.post(WORKERS, 0, b"mine")

        assert not other.post(WORKERS, 0, b"theirs")
        assert not other.post(WORKERS, 7, b"theirs")
        assert story.store.posted(WORKERS) == Posted(1, b"mine")
        assert other.post(WORKERS, 1, b"both")
        assert story.store.posted(WORKERS) == Posted(2, b"both")

    def test_what_is_posted_under_another_name_is_another_text(self, story: Story, other: Store) -> None:
        """Each is numbered by its own changes."""
        assert story.store.post("one", 0, b"first")
        assert story.store.post("other one", 0, b"")
        assert story.store.post("one", 1, b"second")

        found = [other.posted(name) for name in ("one", "other one", "one.body", WORKERS)]
        assert found == [Posted(2, b"second"), Posted(1, b""), Posted(0, b""), Posted(0, b"")]

    def test_who_listens_hears_that_something_was_posted(self, story: Story, other: Store) -> None:
        """Workers are not called for what is none of their business."""
        with closing(other.listen("posted")) as bell, closing(other.listen("work")) as work:
            for one in (bell, work):
                one.hush()

            assert story.store.post("schedules", 0, b"anything")

            assert select.select([bell], [], [], 1)[0]
            bell.hush()
            assert not select.select([work], [], [], 0.05)[0]
            assert story.store.post(WORKERS, 0, b"anything")
            assert select.select([bell], [], [], 1)[0]

    def test_workers_are_called(self, story: Story, other: Store) -> None:
        """By the bell that calls them to work."""
        with closing(other.listen("work")) as bell:
            bell.hush()

            story.store.post(WORKERS, 0, b"anything")

            assert select.select([bell], [], [], 1)[0]

    def test_all_go_by_the_clock_of_the_store(self, story: Story, other: Store) -> None:
        """Whatever that of their own machine says."""
        before = other.now()

        story.clock.advance(3600)

        assert story.store.now() == other.now() == before + 3600

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
