"""What a worker says of each task in its log."""

from __future__ import annotations

import logging

import pytest

from taskflow.ids import NodeId, RunId
from taskflow.policy import Policy
from taskflow.records import Failure, Kind, Lease, LeaseKey, Outcome, Settlement
from taskflow.worker.chronicle import Chronicle


def lease(items: int = 1, *, array: bool = False) -> Lease:
    key = LeaseKey(NodeId("n1"), 0, items, 1)
    return Lease(key, RunId("r"), "fn", b"", array, items, (), Policy(), "default", "shop.add", 1, 1, 0.0)


def error(kind: str, message: str) -> str:
    return Failure("failed", kind, message).to_json()


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome(0, 1, Kind.SUCCEEDED, took_s=0.0123), "Task shop.add[n1] succeeded in 0.012s"),
        (Outcome(0, 1, Kind.SKIPPED), "Task shop.add[n1] ignored"),
        (
            Outcome(0, 1, Kind.FAILED, error=error("ValueError", "no\nmore")),
            "Task shop.add[n1] raised unexpected: ValueError: no",
        ),
        (
            Outcome(0, 1, Kind.RETRY, delay_s=2.5, error=error("OSError", "away")),
            "Task shop.add[n1] retry: in 2.5s: OSError: away",
        ),
        (Outcome(0, 1, Kind.LOST, error=error("", "SIGKILL")), "Task shop.add[n1] lost its process: SIGKILL"),
    ],
)
def test_each_task_has_a_line_when_it_is_taken_and_one_when_it_ends(
    outcome: Outcome, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "taskflow.worker")
    chronicle = Chronicle()

    chronicle.took([lease()])
    chronicle.ended(Settlement(lease().key, (outcome,)))
    chronicle.ended(Settlement(lease().key, (outcome,)))

    assert [record.message for record in caplog.records] == ["Task shop.add[n1] received", said]


def test_a_range_of_a_map_has_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taskflow.worker")
    chronicle = Chronicle()

    chronicle.took([lease(9, array=True)])
    chronicle.ended(Settlement(lease(9).key, (Outcome(0, 8, Kind.SUCCEEDED, took_s=1.0),)))
    chronicle.ended(Settlement(lease(9).key, (Outcome(8, 9, Kind.CANCELLED),)))

    assert [record.message for record in caplog.records] == [
        "Task shop.add[n1[0–8]] received", "Task shop.add[n1[0–7]] succeeded in 1.000s",
        "Task shop.add[n1[8]] cancelled",
    ]  # fmt: skip


def test_what_was_lost_to_another_is_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    chronicle = Chronicle()
    chronicle.took([lease()])
    chronicle.forget(lease().key)
    caplog.set_level(logging.INFO, "taskflow.worker")

    chronicle.ended(Settlement(lease().key, (Outcome(0, 1, Kind.SUCCEEDED),)))

    assert caplog.records == []
