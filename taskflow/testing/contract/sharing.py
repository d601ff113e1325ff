"""The store contract: places that are held under a name, and breakers that are asked without a task."""

from __future__ import annotations

import select
from contextlib import closing

import pytest

from taskflow.limits import BreakerWord
from taskflow.ports import Store
from taskflow.testing.contract.limiting import GUARD, guarded
from taskflow.testing.contract.told import Told
from taskflow.testing.story import Story, call, nodes_of

__all__ = ["Asking", "Sharing"]

ENTER, ANSWERED, FAILED, OPEN, CLOSE = BreakerWord


def ask(store: Store, who: str, *, most: int = 1, name: str = "lock:paper", together: bool = False) -> int:
    """Ask for a place for 30 s, and keep the turn for 5 s; gives the fence."""
    return store.hold(name, who, most=most, ttl_s=30.0, wait_s=5.0, together=together).fence


class Sharing(Told):
    """Locks, semaphores and barriers."""

    def test_one_holds_a_lock_until_it_lets_go(self, story: Story, other: Store) -> None:
        """The next has a larger fence."""
        first = ask(story.store, "ann")
        refused = ask(other, "bob")

        assert story.store.let_go("lock:paper", "ann")
        second = ask(other, "bob")

        assert first > 0
        assert refused == 0
        assert second > first
        assert [(view.name, view.kind, view.running) for view in story.store.limits()] == [
            ("paper", "lock", 1)
        ]
        story.check()

    def test_asked_again_it_is_the_same_place(self, story: Story) -> None:
        """An answer may be lost; and so it is held for longer."""
        first = ask(story.store, "ann")
        story.clock.advance(29.0)

        again = ask(story.store, "ann")
        story.clock.advance(29.0)

        assert again == first
        assert ask(story.store, "bob") == 0

    def test_who_is_not_heard_of_in_time_holds_it_no_more(self, story: Story) -> None:
        """And cannot give back what is another's now."""
        first = ask(story.store, "ann")
        rest_s = story.store.hold("lock:paper", "bob", most=1, ttl_s=30.0).rest_s
        story.clock.advance(30.0)

        second = ask(story.store, "bob")

        assert rest_s == pytest.approx(30.0)
        assert second > first
        assert story.store.hold("lock:paper", "ann", most=0, ttl_s=30.0).fence == 0
        assert not story.store.let_go("lock:paper", "ann")
        assert ask(story.store, "bob") == second

    def test_who_asks_for_nothing_new_keeps_what_it_has(self, story: Story) -> None:
        """To keep a place, and to learn that it was lost."""
        fence = ask(story.store, "ann")

        assert story.store.hold("lock:paper", "ann", most=0, ttl_s=30.0).fence == fence
        assert story.store.hold("lock:paper", "bob", most=0, ttl_s=30.0).fence == 0

    def test_places_are_given_in_the_order_in_which_they_were_asked_for(self, story: Story) -> None:
        """Whoever asks more often; and who does not wait has no turn."""
        ask(story.store, "ann", most=2)
        ask(story.store, "bob", most=2)
        assert story.store.hold("lock:paper", "eve", most=2, ttl_s=30.0).fence == 0
        assert [ask(story.store, who, most=2) for who in ("cy", "dan")] == [0, 0]
        story.store.let_go("lock:paper", "bob")

        assert ask(story.store, "dan", most=2) == 0
        assert story.store.hold("lock:paper", "eve", most=2, ttl_s=30.0).fence == 0
        assert ask(story.store, "cy", most=2) > 0
        assert story.store.limits()[0].running == 2

    def test_who_stops_asking_loses_its_turn(self, story: Story) -> None:
        """It may be dead."""
        ask(story.store, "ann")
        ask(story.store, "bob")
        story.store.let_go("lock:paper", "ann")
        early = story.store.hold("lock:paper", "cy", most=1, ttl_s=30.0, wait_s=5.0)
        story.clock.advance(early.rest_s)

        assert early.fence == 0
        assert early.rest_s == pytest.approx(5.0)
        assert story.store.hold("lock:paper", "cy", most=1, ttl_s=30.0).fence > 0

    def test_who_leaves_the_line_is_not_waited_for(self, story: Story) -> None:
        """The next is called at once."""
        ask(story.store, "ann")
        ask(story.store, "bob")
        story.store.let_go("lock:paper", "bob")
        story.store.let_go("lock:paper", "ann")

        assert ask(story.store, "cy") > 0

    def test_who_waits_is_called(self, story: Story, other: Store) -> None:
        """By the bell of those who wait."""
        ask(story.store, "ann")
        ask(other, "bob")
        with closing(other.listen("holds")) as bell:
            bell.hush()

            story.store.let_go("lock:paper", "ann")

            assert select.select([bell], [], [], 1)[0]

    def test_places_of_another_name_are_others(self, story: Story) -> None:
        """Also of another kind."""
        names = ["lock:a", "lock:b", "semaphore:a"]

        assert all(ask(story.store, "ann", name=name) > 0 for name in names)
        assert all(ask(story.store, "bob", name=name) == 0 for name in names)

    def test_all_pass_a_barrier_when_the_last_has_come(self, story: Story, other: Store) -> None:
        """With one number; who comes then waits for the next round."""
        waits = [ask(story.store, who, most=3, name="barrier:b", together=True) for who in ("ann", "bob")]
        last = ask(other, "cy", most=3, name="barrier:b", together=True)
        late = ask(other, "dan", most=3, name="barrier:b", together=True)
        passed = [ask(story.store, who, most=3, name="barrier:b", together=True) for who in ("ann", "bob")]

        assert waits == [0, 0]
        assert last > 0
        assert passed == [last, last]
        assert late == 0

    def test_who_died_before_a_barrier_does_not_count(self, story: Story) -> None:
        """It keeps no turn."""
        ask(story.store, "ann", most=2, name="barrier:b", together=True)
        story.clock.advance(6.0)

        assert ask(story.store, "bob", most=2, name="barrier:b", together=True) == 0
        assert ask(story.store, "cy", most=2, name="barrier:b", together=True) > 0

    def test_a_name_that_nobody_uses_is_not_kept_and_fences_still_grow(self, story: Story) -> None:
        """Names may be made of arguments, and be many."""
        first = ask(story.store, "ann")
        story.store.let_go("lock:paper", "ann")
        story.wait(61.0)

        assert story.store.limits() == []
        assert ask(story.store, "ann") > first

    def test_limits_of_tasks_are_as_they_were(self, story: Story) -> None:
        """Both are rows of one table."""
        story.submit(*(call(name, policy=guarded()) for name in "abc"))
        story.fail(story.take())
        ask(story.store, "ann", name="lock:api")
        story.fail(story.take())

        assert story.claim(9) == []
        assert [(view.kind, view.state) for view in story.store.limits()] == [
            ("breaker", "open"),
            ("lock", ""),
        ]


class Asking(Told):
    """Breakers, asked without a task."""

    def test_failures_that_are_told_open_it_for_tasks_too(self, story: Story) -> None:
        """There is one state of a name."""
        story.submit(call("a", policy=guarded()), call("b"))
        for _ in range(2):
            assert story.store.tell_breaker(GUARD, ENTER)
            story.store.tell_breaker(GUARD, FAILED)

        assert not story.store.tell_breaker(GUARD, ENTER)
        assert nodes_of(story.claim(9)) == ["b"]
        assert story.store.limits()[0].state == "open"

    def test_one_probe_closes_it(self, story: Story, other: Store) -> None:
        """The others are kept out meanwhile."""
        story.store.tell_breaker(GUARD, FAILED)
        assert story.store.tell_breaker(GUARD, FAILED)
        story.clock.advance(30.0)

        passes = [store.tell_breaker(GUARD, ENTER) for store in (story.store, other)]
        story.clock.advance(1.0)
        closed = story.store.tell_breaker(GUARD, ANSWERED, took_s=1.0)

        assert passes == [True, False]
        assert closed
        assert other.tell_breaker(GUARD, ENTER)

    def test_what_began_before_it_opened_says_nothing(self, story: Story) -> None:
        """However it went."""
        story.clock.advance(10.0)
        story.store.tell_breaker(GUARD, FAILED)
        story.store.tell_breaker(GUARD, FAILED)
        story.clock.advance(1.0)

        assert not story.store.tell_breaker(GUARD, ANSWERED, took_s=5.0)
        assert not story.store.tell_breaker(GUARD, FAILED, took_s=5.0)
        assert story.store.limits()[0].state == "open"

    def test_a_person_opens_and_closes_it(self, story: Story) -> None:
        """It stays open as long as the limit says that comes with the word."""
        assert story.store.tell_breaker(GUARD._replace(reset_s=600.0), OPEN)
        story.clock.advance(599.0)
        shut = story.store.tell_breaker(GUARD, ENTER)

        assert not shut
        assert story.store.tell_breaker(GUARD, CLOSE)
        assert not story.store.tell_breaker(GUARD, CLOSE)
        assert story.store.tell_breaker(GUARD, ENTER)

    def test_tasks_that_wait_are_called_when_it_is_closed(self, story: Story, other: Store) -> None:
        """By the bell that calls workers."""
        holds = GUARD._replace(holds=True)
        story.submit(call("a", policy=guarded(holds)))
        story.store.tell_breaker(holds, OPEN)
        assert story.claim(9) == []
        with closing(other.listen("work")) as bell:
            bell.hush()

            story.store.tell_breaker(holds, CLOSE)

            assert select.select([bell], [], [], 1)[0]
        assert nodes_of(story.claim(9)) == ["a"]
