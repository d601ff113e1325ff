"""What a worker tells of its tasks; without receivers it keeps nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from taskflow import signals
from taskflow.errors import NotRegistered, Untrusted
from taskflow.ids import NodeId, RunId
from taskflow.policy import Policy
from taskflow.records import Failure, Kind, Lease, LeaseKey, Outcome, Settlement
from taskflow.worker.telling import Telling

WORKER = object()


def lease(name: str = "n", fn: str = "0" * 40, **more: Any) -> Lease:
    key = LeaseKey(NodeId(name), 0, more.pop("items", 1), 4)
    policy = replace(Policy(), **more)
    return Lease(
        key, RunId("r"), fn, b"", key.hi > 1, key.hi, (), policy, "gpu", "proj.add", 2, 3, 0.0, priority=5
    )


def failed(one: Lease, kind: str, at: int = 0, how: Kind = Kind.FAILED) -> Settlement:
    error = Failure("failed", f"taskflow.errors.{kind}", "so it was").to_json()
    return Settlement(one.key, (Outcome(at, at + 1, how, error=error),))


@pytest.fixture
def telling() -> Telling:
    return Telling(WORKER, "w1", lambda key: key.node.startswith("held"))


@pytest.fixture
def heard() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    found: list[tuple[str, dict[str, Any]]] = []

    def listen(signal: Any = None, **told: Any) -> None:
        found.append((signal.name, told))

    listened = [getattr(signals, name) for name in signals.__all__ if name.startswith(("task_", "worker_"))]
    for one in listened:
        one.connect(listen)
    yield found
    for one in listened:
        one.disconnect(listen)


def test_without_receivers_nothing_is_kept(telling: Telling) -> None:
    telling.took([lease()])
    telling.ended(failed(lease(), "Untrusted"))
    telling.revoked(lease().key, terminated=True)

    assert telling._known == {}


def test_what_was_taken_is_described(telling: Telling, heard: list[tuple[str, dict[str, Any]]]) -> None:
    telling.took([lease()])

    ((name, told),) = heard
    request = told["request"]
    assert (name, told["sender"]) == ("task_received", WORKER)
    assert (request.id, request.task_id, request.name, request.root_id) == ("n", "n", "proj.add", "r")
    assert request.delivery_info == {
        "exchange": "", "routing_key": "gpu", "priority": 5, "redelivered": True
    }  # fmt: skip
    assert (request.retries, request.hostname, request.width) == (1, "w1", 1)


def test_what_nobody_trusted_has_signed_is_rejected(
    telling: Telling, heard: list[tuple[str, dict[str, Any]]]
) -> None:
    telling.took([lease()])
    telling.ended(failed(lease(), "Untrusted"))

    name, told = heard[-1]
    assert (name, told["message"].id, type(told["exc"])) == ("task_rejected", "n", Untrusted)


@pytest.mark.parametrize(("fn", "kind"), [("json:proj.add", "Untrusted"), ("0" * 40, "NotRegistered")])
def test_a_name_that_is_not_known_here_is_unknown(
    telling: Telling, heard: list[tuple[str, dict[str, Any]]], fn: str, kind: str
) -> None:
    telling.took([lease(fn=fn)])
    telling.ended(failed(lease(fn=fn), kind))

    name, told = heard[-1]
    assert (name, told["name"], told["id"]) == ("task_unknown", "proj.add", "n")
    assert type(told["exc"]) is NotRegistered


def test_items_of_a_map_are_told_apart(telling: Telling, heard: list[tuple[str, dict[str, Any]]]) -> None:
    telling.took([lease(items=5)])
    telling.ended(failed(lease(items=5), "TaskTimedOut", at=3))

    name, told = heard[-1]
    assert (name, told["task_id"], told["sender"]) == ("task_failure", "n[3]", "proj.add")


def test_a_lost_child_is_a_failure_when_it_is_not_tried_again(
    telling: Telling, heard: list[tuple[str, dict[str, Any]]]
) -> None:
    again, last = lease("again", max_deliveries=4), lease("last", max_deliveries=3)
    telling.took([again, last])
    heard.clear()
    for one in (again, last):
        telling.ended(failed(one, "WorkerLost", how=Kind.LOST))

    assert [(name, told["task_id"]) for name, told in heard] == [("task_failure", "last")]


def test_what_a_task_raised_itself_was_told_by_its_child(
    telling: Telling, heard: list[tuple[str, dict[str, Any]]]
) -> None:
    telling.took([lease()])
    heard.clear()
    telling.ended(failed(lease(), "ValueError"))
    telling.ended(Settlement(lease().key, (Outcome(0, 1, Kind.SUCCEEDED, b"v"),)))

    assert heard == []


def test_what_is_over_is_forgotten(telling: Telling, heard: list[tuple[str, dict[str, Any]]]) -> None:
    for number in range(1000):
        telling.took([lease(f"{'held' if number < 20 else 'done'}{number}")])

    assert len(telling._known) < 300
    assert ("held0", 4) in telling._known


def test_a_receiver_of_another_task_hears_nothing(telling: Telling) -> None:
    heard: list[Any] = []

    def listen(request: Any = None, **_: Any) -> None:
        heard.append(request.id)

    signals.task_revoked.connect(listen, sender="proj.mul")
    telling.took([lease("n1"), lease("n2")])
    telling.revoked(lease("n1").key, terminated=True)
    signals.task_revoked.connect(listen, sender="proj.add")
    telling.revoked(lease("n2").key, terminated=True)
    for name in ("proj.mul", "proj.add"):
        signals.task_revoked.disconnect(listen, sender=name)

    assert heard == ["n2"]
