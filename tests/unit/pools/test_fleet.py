"""Which process of a cluster gets a message, and what a process that is gone may have run."""

from __future__ import annotations

import pytest

from taskflow.pools.engine import Packet
from taskflow.pools.fleet import Fate, Fleet, Member


class Bench:
    """A fleet, and what it gave to whom."""

    def __init__(self) -> None:
        self.given: list[tuple[int, str]] = []
        self.fleet = Fleet(lambda packet, member: self.given.append((packet.number, member.name)))

    def place(self, *numbers: int, priority: int = 0, hard: float | None = None, alone: bool = False) -> None:
        for number in numbers:
            self.fleet.place(Packet(number, b"", (None, hard), "f", priority, {}, alone))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_who_has_least_to_do_for_its_threads_gets_the_next(bench: Bench) -> None:
    bench.fleet.join(Member("one", 1))
    bench.fleet.join(Member("three", 3))

    bench.place(*range(8))

    names = [name for _, name in bench.given]
    assert (names.count("one"), names.count("three")) == (2, 6)
    assert bench.fleet.slots == 4


def test_who_made_what_a_message_needs_gets_it_while_a_thread_is_free(bench: Bench) -> None:
    for name in ("a", "b", "c"):
        bench.fleet.join(Member(name, 2))
    bench.place(1, 2)
    bench.fleet.keep(2, ["x"])
    bench.fleet.end(2)
    needs_x = [Packet(n, b"", (None, None), "f", 0, {"x": None}, False) for n in (3, 4, 5)]

    for packet in needs_x:
        bench.fleet.place(packet)

    assert bench.given == [(1, "a"), (2, "b"), (3, "b"), (4, "b"), (5, "c")]


def test_messages_wait_for_the_first_process(bench: Bench) -> None:
    bench.place(1, 2)
    assert bench.given == []
    assert set(bench.fleet.numbers()) == {1, 2}

    bench.fleet.join(Member("a", 1))

    assert bench.given == [(1, "a"), (2, "a")]


def test_what_a_process_had_begun_is_told_when_it_is_gone(bench: Bench) -> None:
    bench.fleet.join(Member("a", 2))
    bench.place(1, 2, 3, 4)
    bench.fleet.end(1)

    assert bench.fleet.leave("a") == [Fate(2, True, False), Fate(3, True, False), Fate(4, False, False)]
    assert list(bench.fleet.numbers()) == []
    assert bench.fleet.leave("a") == []


def test_the_only_one_that_had_begun_was_its_end_for_sure(bench: Bench) -> None:
    bench.fleet.join(Member("a", 1))
    bench.place(1, 2)

    assert bench.fleet.leave("a") == [Fate(1, True, True), Fate(2, False, True)]


def test_of_a_process_that_was_ended_on_purpose_nothing_is_lost(bench: Bench) -> None:
    bench.fleet.join(Member("a", 1))
    bench.place(1)

    assert bench.fleet.leave("a", expected=True) == [Fate(1, False, False)]


def test_a_higher_priority_begins_first_and_one_that_waits_lets_another_begin(bench: Bench) -> None:
    member = Member("a", 1)
    bench.fleet.join(member)
    bench.place(1, 2)
    bench.place(3, priority=9)
    assert member.begun == {1}

    bench.fleet.lend(1, 1)

    assert member.begun == {1, 3}
    bench.fleet.end(3)
    assert member.begun == {1, 2}


def test_a_message_that_may_kill_runs_beside_nothing(bench: Bench) -> None:
    bench.fleet.join(Member("a", 2))
    bench.place(1, 2)
    bench.place(3, alone=True)
    bench.place(4)
    assert bench.given == [(1, "a"), (2, "a")]

    bench.fleet.end(1)
    assert len(bench.given) == 2
    bench.fleet.end(2)
    assert bench.given[2:] == [(3, "a")]
    assert bench.fleet.leave("a") == [Fate(3, True, True)]

    bench.fleet.join(Member("b", 2))
    assert bench.given[3:] == [(4, "b")]


def test_when_it_has_ended_the_others_go_on(bench: Bench) -> None:
    bench.fleet.join(Member("a", 2))
    bench.place(1, alone=True)
    bench.place(2, 3)
    assert bench.given == [(1, "a")]

    bench.fleet.end(1)

    assert bench.given == [(1, "a"), (2, "a"), (3, "a")]


def test_one_that_was_to_run_alone_goes_elsewhere_when_its_process_is_gone_before(bench: Bench) -> None:
    bench.fleet.join(Member("a", 2))
    bench.place(1)
    bench.place(2, alone=True)

    assert bench.fleet.leave("a") == [Fate(1, True, True)]
    bench.fleet.join(Member("b", 1))

    assert bench.given[1:] == [(2, "b")]


def test_limits_that_kill_go_where_they_are_kept(bench: Bench) -> None:
    assert bench.fleet.kills
    bench.fleet.join(Member("a", 1))
    assert not bench.fleet.kills
    bench.place(1, hard=1.0)
    assert bench.given == []

    bench.fleet.join(Member("b", 1, kills=True))
    bench.place(2, 3, hard=1.0)

    assert bench.given == [(1, "b"), (2, "b"), (3, "b")]
    assert bench.fleet.kills


def test_what_no_process_has_can_be_dropped(bench: Bench) -> None:
    bench.place(1, 2)
    bench.fleet.drop(1)
    bench.fleet.join(member := Member("a", 2))
    bench.place(3, alone=True)
    bench.fleet.drop(3)
    bench.fleet.end(2)

    assert bench.given == [(2, "a")]
    assert member.last is None
    assert not bench.fleet.end(1)
