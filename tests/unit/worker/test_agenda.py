"""What a worker decides to do next."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.worker.agenda import REST_S, Seen, Step, decide, rest_s

moments = st.one_of(st.just(inf), st.integers(0, 40).map(float))
seen = st.builds(
    Seen,
    now=st.integers(0, 40).map(float),
    free=st.integers(0, 3),
    held=st.integers(0, 2),
    ended=st.integers(0, 2),
    unread=st.integers(0, 1),
    notes=st.booleans(),
    dry=st.booleans(),
    store_at=st.integers(0, 40).map(float),
    trusted_until=moments,
    renew_at=moments,
    reap_at=moments,
    announce_at=moments,
    sweep_at=moments,
    pool_at=moments,
    idle_at=moments,
    stop_at=st.one_of(st.none(), moments),
)


@given(seen)
def test_it_sleeps_only_when_there_is_nothing_to_do(now: Seen) -> None:
    assert not (rest_s(now) > 0 and any(decide(now)))


@given(seen)
def test_it_never_sleeps_past_the_moment_when_there_is_something_to_do(now: Seen) -> None:
    rest = rest_s(now)

    for part in (0.25, 0.5, 0.99):
        assert rest == 0.0 or not any(decide(now._replace(now=now.now + rest * part)))


@given(seen)
def test_it_never_wakes_for_nothing(now: Seen) -> None:
    rest = rest_s(now)
    later = now._replace(now=now.now + rest)

    store_is_back = now.now < now.store_at <= later.now
    assert rest in (0.0, REST_S) or later.pool_at <= later.now or store_is_back or any(decide(later))


@given(seen)
def test_a_store_that_is_away_is_not_asked(now: Seen) -> None:
    step = decide(now)

    asks = step.settle or step.claim or step.start or step.renew or step.reap or step.announce or step.sweep
    assert not (now.now < now.store_at and asks)


@given(seen)
def test_who_was_told_to_stop_takes_no_more_work(now: Seen) -> None:
    assert now.stop_at is None or decide(now).claim == 0


def test_outcomes_bring_a_claim_with_them_though_nothing_rang() -> None:
    step = decide(Seen(now=1.0, free=1, ended=1, dry=True))

    assert (step.settle, step.claim) == (True, 1)


def test_leases_are_given_up_only_while_the_store_cannot_be_asked() -> None:
    late = Seen(now=20.0, held=1, dry=True, trusted_until=13.0, renew_at=5.0)

    assert decide(late).renew
    assert not decide(late).abandon
    assert decide(late._replace(store_at=21.0)).abandon


def test_leases_are_given_up_before_a_store_that_was_silent_is_asked_once_more() -> None:
    """The next question may take as long as the last one did."""
    late = Seen(now=20.0, held=1, dry=True, trusted_until=13.0, renew_at=5.0, store_at=19.9)

    assert decide(late) == Step(abandon=True)


def test_an_idle_worker_leaves_when_its_time_is_up_but_not_with_work_in_hand() -> None:
    idle = Seen(now=60.0, idle_at=60.0)

    assert decide(idle).leave
    assert not decide(idle._replace(held=1)).leave


def test_a_draining_worker_leaves_when_its_hands_are_empty_or_its_time_is_up() -> None:
    draining = Seen(now=5.0, held=1, stop_at=30.0)

    assert not decide(draining).leave
    assert decide(draining._replace(held=0)).leave
    assert decide(draining._replace(now=30.0)).leave


@pytest.mark.parametrize(
    ("seen", "settles"),
    [
        (Seen(now=1.0, held=3, ended=2, settle_at=1.003), False),
        (Seen(now=1.004, held=3, ended=2, settle_at=1.003), True),
        (Seen(now=1.0, held=3, ended=2, settle_at=1.003, free=1), True),
        (Seen(now=1.0, held=0, ended=2, settle_at=1.003), True),
        (Seen(now=1.0, held=3, ended=2, settle_at=1.003, stop_at=9.0), True),
    ],
    ids=["gathers", "long enough", "a slot is free", "nothing runs", "it leaves"],
)
def test_outcomes_gather_while_all_slots_have_work(seen: Seen, settles: bool) -> None:
    step = decide(seen)

    assert step.settle is settles
    assert rest_s(seen) == pytest.approx(0.0 if settles else 0.003)
