"""Tasks of a Celery application that knows nothing of taskflow, as steps of a graph beside closures."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from taskflow import Client, RetryPolicy, Workflow, chain, chord, group
from taskflow.contrib.celery import bridge, task
from taskflow.contrib.foreign import QUEUE
from taskflow.errors import ConfigError
from taskflow.stores import open_store
from tests.acceptance.stage import until, url_in
from tests.engines.celery_fleet import Fleet, fleet
from tests.servers import until as eventually


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("shop")) as made:
        yield made


@pytest.fixture(scope="module")
def client(shop: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("store")
    folder.chmod(0o700)
    client = Client(url_in(folder), workers=2)
    yield client
    client.shutdown(wait=False)


@pytest.fixture(scope="module")
def celery(client: Client) -> Iterator[Client]:
    with bridge(client, at_once=300) as celery:
        yield celery


def called(name: str, **options: Any) -> Any:
    return task(f"shop.{name}", "shop:app", **options)


def row(client: Client, future: Any) -> Any:
    """What the store has of a call."""
    with closing(open_store(client.url)) as store:
        (item,) = store.items(future.node_id)
        return item


def test_a_call_runs_on_a_worker_of_celery(client: Client, celery: Client, shop: Fleet) -> None:
    here = client.submit(os.getpid)
    there = celery.submit(called("pid"))

    assert celery.submit(called("add"), 2, y=3).result() == 5
    assert there.result() != here.result()


def test_closures_and_tasks_of_celery_mix_in_a_workflow(client: Client, celery: Client) -> None:
    wf = Workflow()
    first = wf.add(lambda: 20, name="first")
    sum_ = wf.add(called("add"), first, 1, name="sum").set(queue="celery")
    wf.add(lambda b: b * 2, sum_, name="double")

    assert wf.run(client).result() == 42


def test_they_mix_in_a_chain_and_a_chord(client: Client, celery: Client) -> None:
    add = called("add")

    assert chain(add.s(1, 2), add.s(3)).apply_async(client=client).get() == 6
    done = chord(group(add.s(n, n) for n in range(10)), client_sum).apply_async(client=client)
    assert done.get() == 90


def client_sum(numbers: list[int]) -> int:
    return sum(numbers)


def test_a_map_is_in_flight_at_once(celery: Client) -> None:
    assert celery.map(called("add"), range(200), [1] * 200).results() == list(range(1, 201))


def test_a_failure_has_the_type_and_the_traceback_of_celery(client: Client, celery: Client) -> None:
    future = celery.submit(called("fail"), "nothing there")

    with pytest.raises(LookupError, match="nothing there") as caught:
        future.result()

    item = row(client, future)
    assert "shop.py" in item.error and "in fail" in item.error
    assert "in fail" in str(caught.value.__cause__)


def test_retries_of_celery_are_its_own(celery: Client) -> None:
    assert celery.submit(called("moody")).result() == 2


def test_a_retry_of_ours_comes_after_them(client: Client, celery: Client) -> None:
    future = celery.options(retry=RetryPolicy(2, delay=0.01)).submit(called("fail"), "x")

    with pytest.raises(LookupError):
        future.result()

    item = row(client, future)
    assert item.attempts == 3


def test_progress_arrives_while_it_runs(celery: Client, tmp_path: Path) -> None:
    file = tmp_path / "go"
    future = celery.submit(called("steps"), str(file))

    until(lambda: future.progress is not None and future.progress.done == 3)
    file.touch()

    assert future.result() == 3


def test_a_cancelled_call_is_ended_where_it_runs(celery: Client, shop: Fleet, tmp_path: Path) -> None:
    future = celery.submit(called("write"), str(tmp_path), "x", 600)
    until((tmp_path / "x").exists)

    future.cancel()

    assert future.cancelled()
    eventually(lambda: not shop.active("shop.write"))  # the way to the server may have to be made anew


def test_a_call_whose_process_was_killed_is_lost_and_runs_again(
    client: Client, celery: Client, tmp_path: Path
) -> None:
    future = celery.submit(called("once"), str(tmp_path / "file"))

    assert future.result() == "again"
    item = row(client, future)
    assert item.deliveries == 2


def test_an_unknown_name_is_a_failure_that_says_so(celery: Client) -> None:
    with pytest.raises(Exception, match="nosuch"):
        celery.submit(called("nosuch")).result()


def test_arguments_that_json_has_not_are_a_failure(celery: Client) -> None:
    with pytest.raises(Exception, match="not JSON serializable"):
        celery.submit(called("add"), object(), 1).result()


def test_an_application_that_is_not_there_is_a_failure_with_its_cure(celery: Client) -> None:
    with pytest.raises(ConfigError, match="celery -A"):
        celery.submit(task("shop.add", "shoop:app"), 1, 2).result()


def test_an_application_is_named() -> None:
    with pytest.raises(ConfigError, match="name it as"):
        task("shop.add", object())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="task_id"):
        task("shop.add", "shop:app", send={"task_id": "mine"})


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client whose only worker is one that the test may kill."""
    folder = tmp_path_factory.mktemp("own")
    folder.chmod(0o700)
    with Client(url_in(folder), workers=0) as client:
        yield client


def test_who_takes_over_from_a_killed_worker_finds_the_call_that_was_sent(
    own: Client, shop: Fleet, tmp_path: Path
) -> None:
    from taskflow.worker.process import spawn

    future = own.options(queue=QUEUE).submit(called("write"), str(tmp_path), "x", 3)
    own.flush()
    first = spawn(own.url, 10, pool="async", queues=("celery",), lease_s=1.0)
    until((tmp_path / "x").exists)
    os.killpg(first.pid, signal.SIGKILL)
    second = spawn(own.url, 10, pool="async", queues=("celery",), lease_s=1.0)

    assert future.result() == "x"
    item = row(own, future)
    assert item.deliveries == 2
    assert (tmp_path / "x").read_text() == "begun\n"
    for worker in (first, second):
        with suppress(ProcessLookupError):
            worker.kill()


def test_a_call_that_went_down_with_its_worker_of_celery_is_sent_again(
    celery: Client, shop: Fleet, tmp_path: Path
) -> None:
    shop.launch("third", 1, "-Q", "apart")
    shop.until_ready()
    future = celery.submit(
        called("write", send={"queue": "apart"}, lost_after_s=1.0), str(tmp_path), "x", 1.0
    )
    until((tmp_path / "x").exists)

    shop.kill("third")
    shop.launch("third", 1, "-Q", "apart")

    assert future.result() == "x"
    assert (tmp_path / "x").read_text() == "begun\nbegun\n"
    shop.kill("third")


def test_calls_wait_while_the_broker_is_away(celery: Client, shop: Fleet) -> None:
    assert celery.submit(called("add"), 1, 1).result() == 2

    shop.server.kill()
    future = celery.submit(called("add"), 2, 2)
    shop.server.start()

    assert future.result() == 4
