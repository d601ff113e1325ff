"""What is wanted of a worker, from the settings that speak of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.worker.queues import Queues
from taskflow.worker.wishes import ALL, Setting, Wish, Wishes, wish

BEGUN = Wish(Queues(("default",)), 2, 2)


def told(*settings: tuple[str, Any, Any]) -> Wishes:
    """These, one after the other."""
    wishes = Wishes()
    for revision, (worker, what, value) in enumerate(settings, 1):
        wishes = wishes.having([Setting(revision, worker, what, value)])
    return wishes


def of(wishes: Wishes, name: str = "a", start: Wish = BEGUN, started_at: float = 7.0) -> Wish:
    return wish(start, wishes.settings, name, started_at)


def test_nothing_wanted_leaves_a_worker_as_it_was_started() -> None:
    assert of(Wishes()) == BEGUN


def test_what_is_wanted_of_one_and_of_all_adds_up() -> None:
    wishes = told((ALL, "slots", 3), ("a", "slots", -1), (ALL, "slots", 2), ("a", "slots", 1))

    assert (of(wishes).most, of(wishes, "b").most) == (7, 7)
    assert [str(setting) for setting in wishes.settings] == ["+5 slots"]


def test_a_worker_keeps_one_slot() -> None:
    assert of(told((ALL, "slots", -9)))[1:3] == (1, 1)
    assert of(told((ALL, "slots", -3)), start=Wish(Queues(("q",)), 1, 10))[1:3] == (1, 7)


def test_bounds_take_the_place_of_what_was_before_and_are_moved_by_what_comes_after() -> None:
    wishes = told((ALL, "slots", 2), ("a", "autoscale", [10, 3]), (ALL, "slots", 1))

    assert of(wishes)[1:3] == (4, 11)
    assert of(wishes, "b")[1:3] == (5, 5)
    assert of(told(*[(ALL, "slots", 2), (ALL, "autoscale", [4, 4])]))[1:3] == (4, 4)


def test_queues_come_and_go() -> None:
    wishes = told(
        ("a", "queue", ["gpu", None]), (ALL, "queue", ["default", 0]), (ALL, "queue", ["mail", None])
    )

    assert of(wishes).queues.names == ("gpu", "mail")
    assert of(wishes, "b").queues.names == ("mail",)
    assert str(of(told((ALL, "queue", ["high", 3]))).queues) == "default:1,high:3"


def test_one_may_drain_while_the_others_work_and_work_while_the_others_drain() -> None:
    one = told(("a", "drain", True))
    others = told((ALL, "drain", True), ("a", "drain", False))

    assert (of(one).drains, of(one, "b").drains) == (True, False)
    assert (of(others).drains, of(others, "b").drains) == (False, True)


def test_resuming_all_leaves_nothing_behind() -> None:
    assert told(("a", "drain", True), (ALL, "drain", True), (ALL, "drain", False)).settings == ()
    assert told(("a", "drain", False)).settings == ()


def test_only_the_worker_that_was_there_leaves() -> None:
    """One of the same name that started later stays."""
    wishes = told(("a", "shutdown", [7.0, False]))

    assert of(wishes).shutdown == "warm"
    assert of(wishes, started_at=8.0).shutdown is None
    assert of(told((ALL, "shutdown", [None, True])), started_at=8.0).shutdown == "now"


def test_what_is_wanted_of_workers_that_are_gone_is_dropped() -> None:
    wishes = told(("a", "slots", 1), ("b", "slots", 1), (ALL, "queue", ["q", None]))

    assert [s.worker for s in wishes.kept_for({"b"}).settings] == ["b", ALL]
    assert wishes.without({"b"}).settings == wishes.kept_for({"a"}).settings
    assert wishes.without({ALL}).settings == ()


def test_a_change_is_made_once() -> None:
    """Whoever got no answer asks again."""
    change = [Setting(1, ALL, "slots", 2)]

    once = Wishes().having(change, "x")

    assert once.having(change, "x") == once
    assert once.having(change, "y").settings[0].value == 4


def test_rates_and_limits_of_time_are_those_that_were_told_last() -> None:
    wishes = told(
        (ALL, "rate", ["add", 2.0]), ("a", "rate", ["add", None]), (ALL, "rate", ["mul", 1.0]),
        (ALL, "time", ["add", 5.0, None]), ("b", "time", ["add", None, None]),
    )  # fmt: skip

    assert of(wishes).rates == {"mul": 1.0}
    assert of(wishes, "b").rates == {"add": 2.0, "mul": 1.0}
    assert (of(wishes).times, of(wishes, "b").times) == ({"add": (5.0, None)}, {})
    assert [str(setting) for setting in wishes.settings] == [
        "add at 2/s", "add at any rate", "mul at 1/s", "add for 5 s (soft), no limit (hard)",
        "add for no limit (soft), no limit (hard)",
    ]  # fmt: skip
    assert told((ALL, "rate", ["add", None])).settings == ()


def test_only_the_worker_that_was_there_starts_anew() -> None:
    assert of(told(("a", "restart", [7.0]))).shutdown == "again"
    assert of(told(("a", "restart", [6.0]))).shutdown is None


def test_it_travels_as_bytes_and_says_which_revision_it_is() -> None:
    wishes = told((ALL, "slots", 2), ("a", "autoscale", [10, 3]))

    assert Wishes.from_json(wishes.to_json(7), 7).to_json(7) == wishes.to_json(7)
    with pytest.raises(ValueError, match="revision"):
        Wishes.from_json(wishes.to_json(7), 8)


_NAMES = st.sampled_from([ALL, "a", "b"])
_SETTINGS = st.one_of(
    st.tuples(_NAMES, st.just("slots"), st.sampled_from([-2, -1, 1, 3])),
    st.tuples(_NAMES, st.just("autoscale"), st.sampled_from([[10, 3], [4, 4], [5, 1]])),
    st.tuples(_NAMES, st.just("queue"), st.tuples(st.sampled_from(["p", "q"]), st.sampled_from([None, 0]))),
    st.tuples(_NAMES, st.just("drain"), st.booleans()),
    st.tuples(_NAMES, st.just("shutdown"), st.tuples(st.sampled_from([None, 7.0]), st.booleans())),
    st.tuples(_NAMES, st.just("restart"), st.just((7.0,))),
    st.tuples(_NAMES, st.just("rate"), st.tuples(st.sampled_from(["f", "g"]), st.sampled_from([None, 2.0]))),
    st.tuples(_NAMES, st.just("time"), st.tuples(st.just("f"), st.sampled_from([None, 1.0]), st.just(None))),
)


@given(st.lists(_SETTINGS, max_size=25))
def test_what_is_dropped_changes_nothing(settings: list[tuple[str, Any, Any]]) -> None:
    """A worker is what it would be if every setting had been kept; and there are few of them."""
    wishes = told(*settings)
    all_of_them = [Setting(n, *setting) for n, setting in enumerate(settings, 1)]

    for name in ("a", "b", "c"):
        expected, found = wish(BEGUN, all_of_them, name, 7.0), of(wishes, name)
        assert found._replace(queues=BEGUN.queues) == expected._replace(queues=BEGUN.queues)
        assert set(found.queues.names) == set(expected.queues.names)
    assert len(wishes.settings) <= 3 * (9 + 4)
