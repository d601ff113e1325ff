"""The handle of the Celery face: Celery's words over the stored run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import taskflow
from taskflow.errors import NoSuchRun, UsageError, WaitTimedOut


@taskflow.task
def add(x: int, y: int = 1) -> int:
    return x + y


@taskflow.task
def refuse(x: int) -> None:
    raise ValueError(f"not {x}")


@taskflow.task(retry=taskflow.RetryPolicy(2, delay=0.0))
def third_time_lucky(path: str) -> str:
    with Path(path).open("a+") as file:
        file.write(".")
        file.seek(0)
        if len(file.read()) < 3:
            raise OSError("again")
    return "done"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[taskflow.Client]:
    place = tmp_path_factory.mktemp("results")
    with taskflow.Client(f"sqlite:///{place}/runs.db", workers=2) as client:
        yield client


def send(what: Any, client: taskflow.Client, *args: Any) -> Any:
    return what.apply_async(args, client=client) if args else what.apply_async(client=client)


def test_a_result_knows_everything_of_its_task(client: taskflow.Client) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)

    result = add.apply_async((4,), {"y": 6}, client=client)

    assert result.get(timeout=10) == 10
    assert (result.state, result.status, result.result, result.info) == ("SUCCESS", "SUCCESS", 10, 10)
    assert (result.name, result.args, result.kwargs, result.queue) == ("add", (4,), {"y": 6}, "default")
    assert result.worker
    assert before < result.date_done < datetime.now(UTC) + timedelta(seconds=1)
    assert (result.retries, result.traceback, result.parent, result.children) == (0, None, None, [])
    assert (result.ready(), result.successful(), result.failed(), result.exists()) == (
        True,
        True,
        False,
        True,
    )


def test_a_failed_task_is_ready_and_failed_and_shows_its_own_exception(client: taskflow.Client) -> None:
    result = send(refuse, client, 3)

    with pytest.raises(ValueError, match="not 3"):
        result.get(timeout=10)

    assert isinstance(result.get(propagate=False), ValueError)
    assert isinstance(result.result, ValueError)
    assert result.state == "FAILURE"
    assert "raise ValueError" in result.traceback
    assert (result.ready(), result.successful(), result.failed()) == (True, False, True)


def test_a_task_that_waits_is_pending_and_one_that_is_revoked_says_so(client: taskflow.Client) -> None:
    result = add.apply_async((1,), client=client, countdown=3600)

    assert (result.state, result.result, result.ready()) == ("PENDING", None, False)
    with pytest.raises(WaitTimedOut):
        result.get(timeout=0.01)
    assert result.revoke()

    assert result.state == "REVOKED"
    with pytest.raises(taskflow.errors.TaskCancelled):
        result.get(timeout=10)


def test_retries_are_counted(client: taskflow.Client, tmp_path: Path) -> None:
    result = send(third_time_lucky, client, str(tmp_path / "tries"))

    assert result.get(timeout=10) == "done"
    assert result.retries == 2


def test_a_chain_has_its_last_value_and_its_parents(client: taskflow.Client) -> None:
    result = send(taskflow.chain(add.s(2, 2), add.s(4)), client)

    assert result.get(timeout=10) == 8
    assert result.parent.get() == 4
    assert result.as_list() == [result.task_id, result.parent.task_id]


def test_a_group_has_its_values_in_order_and_children(client: taskflow.Client) -> None:
    result = send(taskflow.group(add.s(n, y=n) for n in range(4)), client)

    assert result.get(timeout=10) == [0, 2, 4, 6]
    assert [(part.args, part.kwargs) for part in result.children] == [((n,), {"y": n}) for n in range(4)]
    assert [value for _, value in result.collect()] == [[0, 2, 4, 6], 0, 2, 4, 6]
    assert (result.state, result.name, result.worker) == ("SUCCESS", None, None)


def test_of_a_group_with_a_failure_the_rest_is_there(client: taskflow.Client) -> None:
    result = send(taskflow.group(add.s(1), refuse.s(2), add.s(3)), client)

    with pytest.raises(ValueError, match="not 2"):
        result.get(timeout=10)
    result.children[2].get(timeout=10)

    assert (result.state, result.failed()) == ("FAILURE", True)
    assert [part.state for part in result.children] == ["SUCCESS", "FAILURE", "SUCCESS"]


def test_a_chord_body_gets_the_values_in_order(client: taskflow.Client) -> None:
    result = send(taskflow.chord([add.s(n) for n in range(5)], taskflow.signature(list)), client)

    assert result.get(timeout=10) == [1, 2, 3, 4, 5]


def test_callbacks_get_the_result_when_it_is_there(client: taskflow.Client) -> None:
    told: list[tuple[str, Any]] = []
    good, bad = threading.Event(), threading.Event()

    send(add, client, 1).then(lambda result: good.set())
    send(refuse, client, 1).then(lambda result: None, on_error=lambda result: bad.set())
    value = send(add, client, 5).get(timeout=10, callback=lambda name, found: told.append((name, found)))

    assert good.wait(10)
    assert bad.wait(10)
    assert [found for _, found in told] == [value]


def test_a_result_can_be_awaited(client: taskflow.Client) -> None:
    async def both() -> list[int]:
        return list(await asyncio.gather(send(add, client, 1), send(add, client, 2)))

    assert asyncio.run(both()) == [2, 3]


def test_what_is_forgotten_is_gone(client: taskflow.Client) -> None:
    result = send(add, client, 1)
    result.get(timeout=10)
    waiting = add.apply_async((1,), client=client, countdown=3600)

    result.forget()

    assert not result.exists()
    with pytest.raises((NoSuchRun, taskflow.errors.ResultExpired)):
        _ = result.state
    with pytest.raises(UsageError, match="cancel it first"):
        waiting.forget()
    waiting.revoke()


def test_an_option_that_does_not_exist_names_the_nearest(client: taskflow.Client) -> None:
    with pytest.raises(taskflow.errors.ConfigError, match="countdown"):
        add.apply_async((1,), client=client, countdwn=3)


def test_a_result_that_is_ignored_is_none_at_once_and_is_not_kept(client: taskflow.Client) -> None:
    result = add.apply_async((4, 6), client=client, ignore_result=True)

    assert result.get(timeout=0) is None

    while not result.ready():
        result.maybe_throw()
    assert result.state == "SUCCESS"
    assert client.future(result.task_id).result(timeout=10) is None


def test_a_run_is_named_by_its_tasks_and_not_by_their_arguments(client: taskflow.Client) -> None:
    result = send(taskflow.chain(add.s(271828), add.s(4)), client)
    result.get(timeout=10)

    name = result.progress.name

    assert "add" in name
    assert "271828" not in name
