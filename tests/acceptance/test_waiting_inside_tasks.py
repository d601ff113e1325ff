"""Tasks that send tasks and wait for them: the slot is lent meanwhile, and nothing locks up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import taskflow
from taskflow import Client
from tests.acceptance.stage import opened


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """With a single slot: whoever holds it while waiting waits for ever."""
    with opened(tmp_path_factory.mktemp("store"), workers=1) as client:
        yield client


def depth(n: int) -> int:
    if n == 0:
        return 0
    with Client() as inner:
        return inner.submit(depth, n - 1).result(40) + 1


def shared_depth(n: int) -> int:
    return 0 if n == 0 else taskflow.get_client().submit(shared_depth, n - 1).result(40) + 1


def tree(n: int) -> int:
    return 1 if n == 0 else 1 + sum(taskflow.get_client().map(tree, [n - 1] * 2))


def test_a_recursion_of_eight_runs_on_one_slot(client: Client) -> None:
    assert client.submit(depth, 8).result(50) == 8


def test_the_client_of_the_process_serves_too(client: Client) -> None:
    assert client.submit(shared_depth, 5).result(50) == 5


def test_nested_maps_end(client: Client) -> None:
    assert client.submit(tree, 3).result(50) == 15


@pytest.mark.parametrize("pool", ["thread", "async"])
def test_slots_in_one_process_are_lent_too(tmp_path: Path, pool: Any) -> None:
    with opened(tmp_path, workers=1, pool=pool) as client:
        assert client.submit(tree, 3).result(50) == 15
        assert client.submit(shared_depth, 8).result(50) == 8


def test_a_map_whose_items_wait_ends(client: Client) -> None:
    assert client.map(shared_depth, [2, 1, 2]).results() == [2, 1, 2]


def test_a_task_may_gather_and_chain_its_subtasks(client: Client) -> None:
    def task() -> Any:
        inner = taskflow.get_client()
        one = inner.submit(abs, -1)
        return inner.gather({"a": [one, inner.submit(pow, one, 2)], "b": inner.map(abs, [-3])})

    assert client.submit(task).result(50) == {"a": [1, 1], "b": [3]}


def test_a_subtask_that_fails_fails_its_parent_as_it_likes(client: Client) -> None:
    def task() -> str:
        try:
            taskflow.get_client().submit(int, "x").result(40)
        except ValueError as error:
            return f"caught {error}"
        return "nothing"

    assert client.submit(task).result(50).startswith("caught invalid literal")


def test_a_task_may_send_and_forget(client: Client) -> None:
    def task() -> str:
        return taskflow.get_client().submit(abs, -7).id

    assert client.future(client.submit(task).result(50)).result(50) == 7


def test_a_task_knows_what_it_is(client: Client) -> None:
    def task() -> tuple[Any, ...]:
        me = taskflow.current()
        return me.index, me.width, me.attempt, me.label, me.url

    run = client.options(label="known").map(lambda _: task(), [0, 0])

    assert run.results() == [(0, 2, 1, "known", client.url), (1, 2, 1, "known", client.url)]
