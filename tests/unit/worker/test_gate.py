"""What a lease passes before it starts: the rate of its task, and its limits of time."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.ids import NodeId, RunId
from taskflow.policy import Policy
from taskflow.records import Lease, LeaseKey
from taskflow.worker.gate import NAMES_MOST, Gate


def lease(label: str = "add", number: int = 0, items: int = 1, policy: Policy = Policy()) -> Lease:
    key = LeaseKey(NodeId(f"{label}-{number}"), 0, items, 1)
    return Lease(key, RunId("r"), "fn", b"", items > 1, items, (), policy, "default", label, 1, 1, 0.0)


def many(n: int, label: str = "add") -> list[Lease]:
    return [lease(label, number) for number in range(n)]


def test_without_a_rate_all_pass_and_are_counted_by_name() -> None:
    gate = Gate()

    passed = gate.admit([*many(3), lease("mul", 0, items=5)], 0.0)

    assert len(passed) == 4
    assert gate.total == {"add": 3, "mul": 5}
    assert (len(gate), gate.at) == (0, inf)


def test_what_comes_too_soon_waits_for_its_turn_in_order() -> None:
    gate = Gate()
    gate.become({"add": 2.0}, {}, 0.0)

    passed = gate.admit([*many(3), lease("mul")], 0.0)

    assert [one.key.node for one in passed] == ["add-0", "mul-0"]
    assert gate.at == pytest.approx(0.5)
    assert gate.due(0.4) == []
    assert [one.key.node for one in gate.due(0.5)] == ["add-1"]
    assert [one.key.node for one in gate.admit([lease("add", 9)], 1.0)] == []
    assert [one.key.node for one in gate.due(1.0)] == ["add-2"]
    assert [one.key.node for one in gate.due(1.5)] == ["add-9"]


def test_of_a_range_as_many_start_as_may() -> None:
    gate = Gate()
    gate.become({"add": 30.0}, {}, 0.0)
    whole = lease(items=5)

    (first,) = gate.admit([whole], 0.0)
    ids = gate.ids()
    (second,) = gate.due(0.034)

    assert (first.key[1:3], second.key[1:3]) == ((0, 3), (3, 4))
    assert ids == ["add-0[3]", "add-0[4]"]
    assert gate.parts(whole.key) == [first.key, second.key]
    assert [one.key[1:3] for one in gate.drop(whole.key)] == [(4, 5)]
    gate.forget(whole.key)
    assert gate.parts(whole.key) == [whole.key]


def test_what_has_not_started_has_no_parts() -> None:
    gate = Gate()
    gate.become({"add": 1.0}, {}, 0.0)
    gate.admit(many(2), 0.0)

    assert gate.parts(lease(number=0).key) == [lease(number=0).key]
    assert gate.parts(lease(number=1).key) == []


@given(st.lists(st.tuples(st.floats(0.0, 0.3), st.integers(1, 9)), max_size=60), st.floats(0.5, 50.0))
def test_no_more_start_than_the_rate_allows_and_nothing_is_lost(
    comes: list[tuple[float, int]], per_s: float
) -> None:
    gate, now, started = Gate(), 0.0, list[tuple[str, int]]()

    def start(leases: list[Lease]) -> None:
        for one in leases:
            started.extend((one.key.node, index) for index in range(one.key.lo, one.key.hi))

    gate.become({"add": per_s}, {}, now)
    for number, (gap, items) in enumerate(comes):
        now += gap
        start(gate.due(now))
        start(gate.admit([lease(number=number, items=items)], now))
        assert len(started) <= per_s * now + max(1.0, per_s / 10) + 1e-6
    gate.become({}, {}, now)
    start(gate.due(now))

    assert started == [(f"add-{n}", index) for n, (_, items) in enumerate(comes) for index in range(items)]


def test_a_rate_that_is_lifted_lets_go_what_was_kept() -> None:
    gate = Gate()
    gate.become({"add": 0.01}, {}, 0.0)
    gate.admit(many(4), 0.0)

    gate.become({}, {}, 1.0)

    assert gate.at == -inf
    assert len(gate.due(1.0)) == 3


def test_a_rate_that_stays_does_not_begin_anew() -> None:
    gate = Gate()
    gate.become({"add": 1.0}, {}, 0.0)
    gate.admit(many(1), 0.0)

    gate.become({"add": 1.0, "mul": 1.0}, {}, 0.1)

    assert gate.admit([lease(number=1)], 0.1) == []


def test_what_was_cancelled_is_kept_no_more() -> None:
    gate = Gate()
    gate.become({"add": 1.0}, {}, 0.0)
    gate.admit(many(3), 0.0)

    assert gate.drop(lease(number=1).key) == [lease(number=1)]
    assert gate.drop(lease(number=1).key) == []
    assert [one.key.node for one in gate.clear()] == ["add-2"]


def test_calls_without_limits_of_time_get_those_of_the_worker() -> None:
    gate = Gate((5.0, 9.0))
    own = Policy(time_limit_s=1.0)

    plain, limited = gate.admit([lease(), lease(policy=own)], 0.0)

    assert (plain.policy.soft_time_limit_s, plain.policy.time_limit_s) == (5.0, 9.0)
    assert limited.policy == own


def test_limits_of_time_that_are_told_count_before_a_calls_own() -> None:
    gate = Gate()
    gate.become({}, {"add": (None, 2.0)}, 0.0)
    own = Policy(time_limit_s=1.0, soft_time_limit_s=0.5)

    told, other = gate.admit([lease(policy=own), lease("mul", policy=own)], 0.0)

    assert (told.policy.soft_time_limit_s, told.policy.time_limit_s) == (None, 2.0)
    assert other.policy == own


def test_only_so_many_names_are_counted() -> None:
    gate = Gate()

    gate.admit([lease(f"t{number}") for number in range(NAMES_MOST + 10)], 0.0)

    assert gate.total["(others)"] == 10
