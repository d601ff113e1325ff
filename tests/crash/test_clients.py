"""A client that dies leaves its work to whoever attaches next."""

from __future__ import annotations

import signal

import pytest

from taskflow.client import Client
from tests.acceptance.stage import family, gone_within
from tests.crash.stage import Stage, squares

MAP = """
import functools, time
from taskflow import Client
client = Client(URL, workers={workers})
run = client.map(functools.partial(tasks.square, LEDGER, {pause}), range({items}))
print(run.id, run.node_id, flush=True)
time.sleep(600)
"""


def test_attach_finishes_a_map_whose_client_was_killed_in_the_middle(stage: Stage) -> None:
    program = stage.program(MAP.format(workers=2, pause=0.002, items=1000))
    run, node = program.stdout.readline().split()  # type: ignore[union-attr]
    stage.until(lambda: sum(i.hi - i.lo for i in stage.items(node) if i.state == "succeeded") >= 200)
    pids = family(program.pid)
    program.send_signal(signal.SIGKILL)
    program.wait()
    assert gone_within(pids, 5.0)
    ended = {
        index for item in stage.items(node) if item.state == "succeeded" for index in range(item.lo, item.hi)
    }
    began = stage.ledger.begun()

    with Client(stage.url, workers=2) as client:
        again = client.attach(run)
        values = again.wait(13).results()

    more = stage.ledger.begun() - began
    verdict = stage.verdict(squares(node, 1000))
    assert 200 <= len(ended) < 1000
    assert values == [x * x for x in range(1000)]
    assert [item for item in more if item[1] in ended] == []
    assert verdict.faults == {}
    assert verdict.duplicates.total() <= 2 * 64, str(verdict)


def test_client_and_workers_killed_together_lose_nothing(stage: Stage) -> None:
    stage.worker(2)
    program = stage.program(MAP.format(workers=0, pause=0.002, items=400))
    run, node = program.stdout.readline().split()  # type: ignore[union-attr]
    stage.until(lambda: stage.ledger.begun().total() >= 100)

    program.kill()
    stage.workers[0].kill()
    stage.worker(2)
    stage.until_ended(run)

    assert stage.verdict(squares(node, 400)).faults == {}


@pytest.mark.parametrize("point", ["submit.before", "submit.inside", "submit.after"])
def test_a_graph_is_wholly_there_or_not_at_all_when_its_client_dies_while_sending(
    stage: Stage, point: str
) -> None:
    code = """
from taskflow import Client
client = Client(URL, workers=0)
client.map(pow, range(20_000), [2] * 20_000)
"""
    program = stage.program(code, fault=f"{point}:kill9")
    assert program.wait(40) == -signal.SIGKILL

    runs = stage.store.runs()

    assert len(runs) == (1 if point == "submit.after" else 0)
    if runs:
        stage.worker(2)
        stage.until_ended(runs[0].id)
        assert stage.client().attach(runs[0].id).results() == [x * x for x in range(20_000)]
    assert all(ok for name, ok, _ in stage.store.check() if name != "disk")
