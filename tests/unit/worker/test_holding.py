"""What a worker holds, piece by piece."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskflow.ids import NodeId, RunId
from taskflow.policy import Policy
from taskflow.records import Growth, Kind, Lease, LeaseKey, Outcome, Settlement
from taskflow.worker.holding import Holding

NODE = NodeId("n")


def lease(lo: int = 0, hi: int = 10, fence: int = 1) -> Lease:
    key = LeaseKey(NODE, lo, hi, fence)
    return Lease(key, RunId("r"), "f", b"", True, 10, (), Policy(), "default", "f", 1, 1, 0.0)


def held(*leases: Lease) -> Holding:
    holding = Holding()
    holding.add(leases)
    return holding


def ok(lo: int, hi: int) -> Outcome:
    return Outcome(lo, hi, Kind.SUCCEEDED, b"v")


def test_a_whole_lease_is_settled_as_it_is() -> None:
    holding = held(lease())
    report = Settlement(lease().key, (ok(0, 10),))

    assert holding.settled(report) == [report]
    assert len(holding) == 0


def test_a_part_is_settled_by_its_own_name_and_the_rest_stays_held() -> None:
    holding = held(lease())

    settled = holding.settled(Settlement(lease().key, (ok(2, 4),)))

    assert settled == [Settlement(LeaseKey(NODE, 2, 4, 1), (ok(2, 4),))]
    assert holding.open_keys() == [LeaseKey(NODE, 0, 2, 1), LeaseKey(NODE, 4, 10, 1)]


def test_what_grows_with_an_outcome_is_sent_once() -> None:
    holding = held(lease())
    holding.settled(Settlement(lease().key, (ok(4, 5),)))

    settled = holding.settled(Settlement(lease().key, (ok(0, 4), ok(5, 10)), Growth()))

    assert [s.grow for s in settled] == [Growth(), None]


def test_a_lease_that_was_lost_settles_nothing() -> None:
    holding = held(lease())
    assert holding.drop(lease().key) == lease().key

    assert holding.settled(Settlement(lease().key, (ok(0, 10),))) == []


def test_items_of_an_abandoned_lease_are_released_not_cancelled() -> None:
    holding = held(lease(0, 2))

    first = holding.stop(lease().key, Kind.RELEASED)
    again = holding.stop(lease().key, Kind.CANCELLED)
    settled = holding.settled(Settlement(lease(0, 2).key, (ok(0, 1), Outcome(1, 2, Kind.CANCELLED))))

    assert (first, again) == (lease(0, 2).key, None)
    assert [o.kind for o in settled[0].outcomes] == [Kind.SUCCEEDED, Kind.RELEASED]


@given(st.permutations(range(10)), st.lists(st.integers(1, 9), max_size=4))
def test_however_a_lease_is_reported_every_item_is_settled_once(order: list[int], cuts: list[int]) -> None:
    holding = held(lease())
    reports = [order[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), 10], strict=True)]
    seen: list[int] = []

    for items in reports:
        for settlement in holding.settled(Settlement(lease().key, tuple(ok(i, i + 1) for i in items))):
            seen += [o.lo for o in settlement.outcomes]
            assert (settlement.key.lo, settlement.key.hi) == (
                settlement.outcomes[0].lo,
                settlement.outcomes[-1].hi,
            )

    assert sorted(seen) == list(range(10))
    assert len(holding) == 0
