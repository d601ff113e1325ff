"""Real workers that are told what to be, over a file and over a server; and one that follows the load."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskflow import Client
from taskflow.control import Control
from taskflow.errors import ConfigError, UsageError
from taskflow.states import State
from taskflow.worker.process import Process
from taskflow.worker.queues import Queues
from tests.acceptance.stage import DEADLINE_S, Desk, alive, family, opened, until
from tests.servers import running

_ANSWER_S = 20.0


@pytest.fixture(scope="module", params=["sqlite", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[str | None]:
    if request.param == "sqlite":
        yield None
        return
    for one in running(request.param):
        yield one.url


@pytest.fixture
def desk(server: str | None, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path, f"{server}?namespace={tmp_path.name}" if server else None)
    yield desk
    desk.close()


@pytest.fixture
def control(desk: Desk) -> Control:
    return Control(desk.store)


@pytest.fixture
def start(desk: Desk) -> Callable[..., Process]:
    return desk.worker


def names(desk: Desk, count: int) -> dict[int, str]:
    """The names of workers, by process, when so many are there."""
    until(lambda: len(desk.store.workers()) == count)
    return {view.pid: view.id for view in desk.store.workers()}


def slots(desk: Desk) -> int:
    return sum(view.slots for view in desk.store.workers())


def test_a_worker_grows_at_once_and_shrinks_without_touching_what_runs(
    desk: Desk, start: Callable[..., Process], control: Control
) -> None:
    start(1)
    names(desk, 1)
    nodes = [desk.send(time.sleep, 3) for _ in range(3)]
    desk.wait(nodes[0], State.RUNNING)

    grown = control.grow(2, timeout=_ANSWER_S)
    for node in nodes:
        desk.wait(node, State.RUNNING)
    shrunk = control.shrink(2, timeout=_ANSWER_S)

    assert grown
    assert shrunk
    assert slots(desk) == 1
    for node in nodes:
        desk.wait(node, State.SUCCEEDED)
        assert desk.item(node).deliveries == 1


def test_what_all_were_told_reaches_a_worker_that_starts_later(
    desk: Desk, start: Callable[..., Process], control: Control
) -> None:
    control.add_queue("gpu", timeout=0)
    control.drain(timeout=0)
    node = desk.send(pow, 2, 3, queue="gpu")
    start(1)
    names(desk, 1)
    until(lambda: desk.store.workers()[0].info.get("status") == "drained")
    drained = desk.item(node).state

    assert control.resume(timeout=_ANSWER_S)

    assert drained is State.QUEUED
    assert desk.result(node) == 8


def test_one_of_two_workers_is_told_to_leave(
    desk: Desk, start: Callable[..., Process], control: Control
) -> None:
    """Its call ends first; the other one goes on, and so does one that starts later."""
    first, _ = start(1), start(1)
    name = names(desk, 2)[first.pid]
    node = desk.send(time.sleep, 2, queue=f"worker/{name}")
    desk.wait(node, State.RUNNING)

    assert control.shutdown(worker=name, timeout=_ANSWER_S)

    assert first.wait(DEADLINE_S) == 0
    assert desk.item(node).state is State.SUCCEEDED
    third = start(1)
    names(desk, 2)
    assert desk.result(desk.send(pow, 2, 3)) == 8
    assert third.poll() is None


def test_workers_that_are_to_leave_now_give_back_what_runs(
    desk: Desk, start: Callable[..., Process], control: Control
) -> None:
    workers = [start(1), start(1)]
    names(desk, 2)
    nodes = [desk.send(time.sleep, 60) for _ in range(2)]
    for node in nodes:
        desk.wait(node, State.RUNNING)

    told = control.shutdown(now=True, timeout=_ANSWER_S)

    assert len(told.followed) == 2
    assert [worker.wait(DEADLINE_S) for worker in workers] == [0, 0]
    assert [(desk.item(n).state, desk.item(n).deliveries) for n in nodes] == [(State.QUEUED, 0)] * 2


def test_slots_follow_the_load(desk: Desk, start: Callable[..., Process]) -> None:
    """A worker with one slot grows while work waits, and shrinks when there is none: idle children end, the
    busy one goes on."""
    worker = start(autoscale=(4, 1))
    names(desk, 1)
    nodes = [desk.send(time.sleep, 4) for _ in range(6)]

    until(lambda: slots(desk) == 4)
    until(lambda: sum(desk.item(node).state is State.RUNNING for node in nodes) >= 3)
    long = desk.send(time.sleep, 30)
    for node in nodes:
        desk.wait(node, State.SUCCEEDED)
    most = len(family(worker.pid))
    desk.wait(long, State.RUNNING)
    until(lambda: slots(desk) == 1)
    until(lambda: len(family(worker.pid)) <= most - 3)

    assert desk.item(long).state is State.RUNNING
    assert all(desk.item(node).deliveries == 1 for node in nodes)


def test_a_strict_worker_serves_one_queue_after_the_other(desk: Desk, start: Callable[..., Process]) -> None:
    low = [desk.send(pow, 2, 3, queue="low", priority=9) for _ in range(5)]
    high = [desk.send(pow, 2, 3, queue="high") for _ in range(5)]
    start(1, queues=Queues(("high", "low"), strict=True))
    for node in (*low, *high):
        desk.wait(node, State.SUCCEEDED)

    begun = [
        (desk.item(node).started_at, queue) for queue, nodes in (("l", low), ("h", high)) for node in nodes
    ]
    assert "".join(queue for _, queue in sorted(begun)) == "hhhhhlllll"


def test_a_killed_worker_does_not_answer(desk: Desk, start: Callable[..., Process], control: Control) -> None:
    worker = start(1)
    name = names(desk, 1)[worker.pid]
    worker.kill()
    until(lambda: not alive(worker.pid))

    told = control.grow(timeout=0.3)

    assert (bool(told), told.silent) == (False, (name,))
    assert os.getpid() not in family(worker.pid)


def test_a_client_tells_its_own_workers(tmp_path: Path) -> None:
    """It takes queues as text; what nobody asked for is not taken."""
    with opened(tmp_path, workers=1, queues="high:3,default:1") as client:
        assert client.submit(pow, 2, 3).result(DEADLINE_S) == 8
        other = client.options(queue="other").submit(pow, 2, 3)

        told = client.control.grow(2, timeout=_ANSWER_S)

        (view,) = client._engine.store.workers()
        assert told.followed == (view.id,)
        assert (view.slots, view.info["serves"], view.info["followed"]) == (
            3,
            "high:3,default:1",
            told.revision,
        )
        assert not other.done()
        assert client.control.add_queue("other", timeout=_ANSWER_S)
        assert other.result(DEADLINE_S) == 8
        assert len(client.control.wanted()) == 2
        row = client.workers().iloc[0]
        assert (row["queues"], row["wanted"], row["followed"]) == ("high:3,default:1,other:1", 2, 2)
        assert row["memory_bytes"] > 1e6
        assert row["age_s"] < DEADLINE_S


def test_a_client_refuses_queues_that_cannot_be_meant(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1 to 1000"):
        Client(f"sqlite:///{tmp_path}/runs.db", queues="high:0")
    with pytest.raises(ConfigError, match="A strict order has no weights"):
        Client(f"sqlite:///{tmp_path}/runs.db", queues="high:2,low", strict_queues=True)
    assert not (tmp_path / "runs.db").exists()


def test_an_inline_client_has_nobody_to_tell() -> None:
    with Client(mode="inline") as client, pytest.raises(UsageError, match="no workers to tell"):
        client.control.grow()
