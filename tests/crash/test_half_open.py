"""A network that takes everything and answers nothing: nobody may wait for it for long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskflow.testing.checker import Expected
from tests.crash import tasks
from tests.crash.server_stage import ServerStage
from tests.crash.stage import LEASE_S
from tests.crash.test_redis_faults import BACK_S, Load

FOUND_S = 15.0


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[ServerStage]:
    stage = ServerStage(tmp_path)
    yield stage
    stage.close()


def test_half_open_connections_are_given_up_and_the_work_goes_on_elsewhere(stage: ServerStage) -> None:
    way = stage.proxy()
    stage.worker(2, via=way)
    load = Load(stage, pause_s=0.05)
    load.until_begun(0.2)

    way.swallow()
    stage.worker(2)

    assert load.verdict().faults == {}
    assert load.deliveries() <= 2


def test_a_worker_behind_a_half_open_network_lets_go_of_its_work_in_time(stage: ServerStage) -> None:
    """Its leases run out and others take the work: its children must not go on for long (P4)."""
    way = stage.proxy()
    stage.worker(1, via=way)
    call = stage.client().submit(tasks.square, stage.ledger.path, 8.0, 3)
    stage.until(lambda: stage.ledger.begun().total() == 1)

    way.swallow()
    stage.worker(1)
    stage.until(lambda: stage.ledger.begun().total() == 2)

    assert call.result(30) == 9
    assert stage.verdict(Expected(call.node_id, 1, lambda _: 9)).faults == {}


def test_a_worker_with_a_short_lease_stops_its_children_when_the_lease_is_over(stage: ServerStage) -> None:
    """It does not wait for an answer for longer."""
    way = stage.proxy()
    stage.worker(1, via=way, lease_s=3.0)
    stage.client().submit(time.sleep, 120.0)
    stage.until(lambda: stage.store.queues() and stage.store.queues()[0].get("running"))
    stage.until(lambda: way.seen["renew"] > 0)

    way.swallow()
    since = time.monotonic()
    stage.until(lambda: "leases abandoned" in (stage.folder / "worker-0.log").read_text())

    assert time.monotonic() - since < 4.0


def test_a_worker_consumes_again_after_a_network_was_half_open(stage: ServerStage) -> None:
    way = stage.proxy()
    stage.worker(1, via=way)
    stage.until_ready(1)

    way.swallow()
    time.sleep(2 * LEASE_S)
    way.heal()

    assert _time(lambda: stage.result(stage.send(pow, 2, 5))) <= FOUND_S
    assert _time(lambda: stage.result(stage.send(pow, 2, 5))) <= BACK_S  # it hears of work again


def test_a_worker_behind_a_half_open_network_ends_when_it_is_told_to(stage: ServerStage) -> None:
    way = stage.proxy()
    worker = stage.worker(1, via=way)
    stage.until_ready(1)
    way.swallow()
    seen = time.monotonic()
    stage.send(pow, 2, 5)
    stage.until(lambda: time.monotonic() - seen > 0.5)

    worker.stop()

    assert worker.wait(20) == 0


def _time(deed: Callable[[], object]) -> float:
    began = time.monotonic()
    deed()
    return time.monotonic() - began
