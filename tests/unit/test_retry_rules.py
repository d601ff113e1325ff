"""Retries that depend on what went wrong."""

from __future__ import annotations

import pickle

import pytest

from taskflow.errors import ConfigError
from taskflow.policy import Options, RetryPolicy

POLICY = RetryPolicy(
    2, delay=1, backoff=1, jitter=None,
    rules={
        ConnectionError: RetryPolicy(5, delay=10, backoff=2, jitter=None),
        ConnectionRefusedError: None,
        LookupError: 1,
        KeyError: 0,
    },
)  # fmt: skip


def wait_s(error: BaseException, attempt: int) -> float | None:
    return POLICY.decide(error, attempt=attempt, age_s=0.0, roll=0.5)


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (ValueError(), [1, 1, None]),
        (ConnectionResetError(), [10, 20, 40, 80, 160, None]),
        (ConnectionRefusedError(), [None]),
        (IndexError(), [1, None]),
        (KeyError(), [None]),
    ],
)
def test_the_rule_of_the_nearest_class_counts(error: BaseException, waits: list[float | None]) -> None:
    assert [wait_s(error, attempt) for attempt in range(1, len(waits) + 1)] == waits


def test_the_deliveries_suffice_for_the_most_patient_rule() -> None:
    assert Options(retry=POLICY).policy.max_deliveries == 5 + 3
    assert Options(retry=2).policy.max_deliveries == 2 + 3


def test_a_policy_with_rules_travels_and_can_be_a_key() -> None:
    again = pickle.loads(pickle.dumps(POLICY))

    assert again == POLICY
    assert {again: 1}[POLICY] == 1
    assert again != RetryPolicy(2, delay=1, backoff=1, jitter=None)


def test_what_is_no_exception_has_no_rule() -> None:
    with pytest.raises(ConfigError, match="exception classes"):
        RetryPolicy(rules={"ValueError": 1})  # type: ignore[dict-item]
