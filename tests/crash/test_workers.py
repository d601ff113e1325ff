"""Workers and children that are killed, at every named point and at any other moment."""

from __future__ import annotations

import functools
import os
import random
import signal

import pytest

from taskflow import chord, task
from taskflow.states import State
from taskflow.testing.checker import Expected
from tests.acceptance.stage import alive, end, family, gone_within, is_stopped, pause
from tests.crash import tasks
from tests.crash.stage import Stage, squares, squares_of

WORKER_POINTS = (
    *("claim.before", "claim.inside", "claim.after"),
    *("settle.before", "settle.inside", "settle.after"),
    *("renew.before", "renew.inside", "renew.after"),
    "worker.started",
)


@pytest.mark.parametrize("point", WORKER_POINTS)
def test_a_worker_killed_at_a_named_point_loses_nothing(stage: Stage, point: str) -> None:
    client = stage.client()
    calls = [client.submit(tasks.square, stage.ledger.path, 0.01, x) for x in range(10)]
    width, pause = (4, 1.0) if point.startswith("renew") else (20, 0.05)
    run = client.map(functools.partial(tasks.square, stage.ledger.path, pause), range(width))
    killed = stage.worker(2, fault=f"{point}:kill9:{2 if point.startswith('settle') else 1}")
    pids = family(killed.pid)
    assert killed.wait(40) == -signal.SIGKILL
    assert gone_within(pids, 5.0)

    stage.worker(2)
    values = run.wait(14).results()

    assert values == [x * x for x in range(width)]
    assert [call.result(10) for call in calls] == [x * x for x in range(10)]
    verdict = stage.verdict(
        squares(run.node_id, width),
        *squares_of(calls),
    )
    assert verdict.faults == {}
    assert verdict.duplicates.total() <= 16, str(verdict)


@pytest.mark.parametrize("point", ["child.before_run", "child.after_run"])
def test_children_killed_at_a_named_point_lose_nothing(stage: Stage, point: str) -> None:
    client = stage.client().options(max_deliveries=20)
    run = client.map(functools.partial(tasks.square, stage.ledger.path, 0.001), range(60))
    stage.worker(2, fault=f"{point}:kill9:4")

    stage.until_ended(run.id)

    assert stage.verdict(squares(run.node_id, 60)).faults == {}
    assert run.results() == [x * x for x in range(60)]


def test_children_killed_by_their_own_items_charge_only_those(stage: Stage) -> None:
    marks = stage.folder / "marks"
    marks.mkdir()
    stage.worker(2)

    run = stage.client().map(
        functools.partial(tasks.deadly_once, stage.ledger.path, str(marks), 50), range(400)
    )
    stage.until_ended(run.id)

    verdict = stage.verdict(squares(run.node_id, 400))
    assert verdict.faults == {}
    charged = {item.lo for item in run.items() if item.deliveries > 1}
    assert {index for (_, index) in verdict.duplicates} >= set(range(0, 400, 50))
    assert len(list(marks.iterdir())) == 8
    assert charged >= set(range(0, 400, 50))


def test_children_killed_from_outside_at_random_lose_nothing(stage: Stage) -> None:
    worker = stage.worker(2)
    chance = random.Random(7)
    client = stage.client().options(max_deliveries=50)
    run = client.map(functools.partial(tasks.square, stage.ledger.path, 0.01), range(150))

    kills = 0
    while stage.state(run.id) not in (State.SUCCEEDED, State.FAILED) and kills < 12:
        stage.until(lambda n=5 * kills: stage.ledger.begun().total() > n)
        children = sorted(family(worker.pid) - {worker.pid, min(family(worker.pid) - {worker.pid})})
        if children:
            os.kill(chance.choice(children), signal.SIGKILL)
            kills += 1
    stage.until_ended(run.id)

    verdict = stage.verdict(squares(run.node_id, 150))
    assert verdict.faults == {}
    assert verdict.duplicates.total() <= kills * 64


def test_all_workers_killed_again_and_again_lose_nothing(stage: Stage) -> None:
    client = stage.client()
    run = client.options(max_deliveries=4).map(
        functools.partial(tasks.square, stage.ledger.path, 0.01), range(200)
    )
    for begun in (10, 50, 90):
        stage.worker(1)
        stage.worker(1)
        stage.until(lambda n=begun: stage.ledger.begun().total() >= n)
        for worker in stage.workers:
            end(worker)

    stage.worker(2)
    stage.until_ended(run.id)

    verdict = stage.verdict(squares(run.node_id, 200))
    assert verdict.faults == {}
    assert run.results() == [x * x for x in range(200)]


def test_a_chain_and_a_chord_survive_the_death_of_every_worker_on_the_way(stage: Stage) -> None:
    client = stage.client()
    pause, path = 0.1, stage.ledger.path
    first = client.submit(tasks.follow, path, pause, 1)
    second = client.submit(tasks.follow, path, pause, first)
    left, right = (client.submit(tasks.follow, path, pause, second) for _ in range(2))
    last = client.submit(tasks.follow, path, pause, left, right)
    parts = client.map(functools.partial(tasks.square, path, 0.05), range(8))
    header = [task(tasks.square).s(path, 0.05, x) for x in range(6)]
    total = client.submit_canvas(chord(header, task(tasks.add_up).s(path)))

    for begun in (2, 9):
        stage.worker(2)
        stage.until(lambda n=begun: stage.ledger.begun().total() >= n)
        end(stage.workers[-1])
    stage.worker(2)

    assert last.result(14) == 9
    assert parts.wait(14).results() == [x * x for x in range(8)]
    assert total.get(14) == sum(x * x for x in range(6))
    nodes = [first, second, left, right, last]
    after = {last.node_id: (left.node_id, right.node_id), second.node_id: (first.node_id,)}
    after |= {left.node_id: (second.node_id,), right.node_id: (second.node_id,)}
    value = {first: 2, second: 3, left: 4, right: 4, last: 9}
    view = stage.store.snapshot(total.run_id)[0]
    chords = [Expected(n.id, n.width, lambda _: None, tuple(e.parent for e in n.parents)) for n in view.nodes]
    verdict = stage.verdict(
        squares(parts.node_id, 8),
        *(Expected(f.node_id, 1, lambda _, f=f: value[f], after.get(f.node_id, ())) for f in nodes),
        *chords,
    )
    assert verdict.faults.keys() <= {"wrong"}, verdict.faults
    assert [item for item, _ in verdict.wrong if item[0] not in {one.node for one in chords}] == []


def test_a_worker_paused_past_its_lease_cannot_settle(stage: Stage) -> None:
    paused = stage.worker(2)
    run = stage.client().map(functools.partial(tasks.square, stage.ledger.path, 0.5), range(4))
    stage.until(lambda: stage.ledger.begun().total() >= 2)
    pause(paused, stage.url)

    stage.worker(2)
    stage.until(lambda: any(item.deliveries >= 2 for item in stage.items(run.node_id)))
    os.kill(paused.pid, signal.SIGCONT)
    stage.until_ended(run.id)

    verdict = stage.verdict(squares(run.node_id, 4))
    assert verdict.faults == {}
    assert verdict.duplicates.total() >= 1
    assert stage.until(lambda: paused.poll() is None)


def test_a_worker_stopped_inside_a_step_is_told_of_by_name(stage: Stage) -> None:
    """It holds the lock of the file: the others say so, and go on when it does."""
    stopped = stage.worker(1, fault="settle.inside:stop")
    client = stage.client()
    call = client.submit(tasks.square, stage.ledger.path, 0.0, 3)
    stage.until(lambda: is_stopped(stopped.pid))

    from taskflow.errors import StoreUnavailable
    from taskflow.stores.sqlite import SQLiteStore

    other = SQLiteStore(stage.folder / "runs.db", wait_s=0.3)
    with pytest.raises(StoreUnavailable, match=r"locked by another process.*stopped"):
        other.cancel(call.node_id)
    other.close()
    os.kill(stopped.pid, signal.SIGCONT)

    assert call.result(14) == 9
    assert stage.verdict(Expected(call.node_id, 1, lambda _: 9)).faults == {}


def test_a_poison_task_is_dead_after_its_deliveries_with_the_cause(stage: Stage) -> None:
    worker = stage.worker(2)
    client = stage.client()
    poison = client.options(max_deliveries=3).submit(tasks.kill_self)

    error = poison.exception(14)

    item = stage.items(poison.node_id)[0]
    assert type(error).__name__ == "WorkerLost"
    assert "SIGKILL" in str(error)
    assert (item.state, item.deliveries) == (State.DEAD, 3)
    assert [node for _, node, _ in stage.store.dead()] == [poison.node_id]
    assert client.submit(tasks.square, stage.ledger.path, 0.0, 2).result(5) == 4
    assert alive(worker.pid)


def test_a_task_whose_workers_die_with_it_is_dead_after_its_deliveries(stage: Stage) -> None:
    call = stage.client().options(max_deliveries=2).submit(tasks.square, stage.ledger.path, 60.0, 2)
    for begun in (1, 2):
        stage.worker(1)
        stage.until(lambda n=begun: stage.ledger.begun().total() >= n)
        end(stage.workers[-1])
    stage.worker(1)

    error = call.exception(14)

    assert type(error).__name__ == "WorkerLost"
    assert "stopped renewing" in str(error)
    assert stage.items(call.node_id)[0].state is State.DEAD
