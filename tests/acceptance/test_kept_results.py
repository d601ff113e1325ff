"""Results in a database beside the store: written by workers, and read when the store has forgotten them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import taskflow
from taskflow import AsyncResult, Client, GroupResult, chain, chord, current, group, task
from taskflow.backends import open_keeper
from taskflow.canvas.shape import item_id
from taskflow.errors import NoSuchRun, ResultExpired
from taskflow.hooks import using
from tests.acceptance.stage import opened, until

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed: pip install -e '.[sqlalchemy]'")


def kept(work: Callable[..., Any], url: str, *args: Any) -> Any:
    """What the face for apps does in the child: it writes down what became of a call."""
    me, keeper = current(), open_keeper(url)
    told: dict[str, Any] = {
        "name": work.__name__, "args": args, "run": me.run, "fence": me.fence, "worker": me.worker,
        "queue": me.queue,
    }  # fmt: skip
    id = item_id(me.id, me.index) if me.width > 1 else me.id  # noqa: A001 - what it is called
    with closing(keeper.place):
        try:
            value = work(*args)
        except Exception as error:
            keeper.keep(id, error=error, **told)
            raise
        keeper.keep(id, value=value, **told)
        return value


@task
def add(x: int, y: int, url: str) -> int:
    def plus(x: int, y: int) -> int:
        return x + y

    return int(kept(plus, url, x, y))


@task
def refuse(x: int, url: str) -> None:
    def refused(x: int) -> None:
        raise ValueError(f"not {x}")

    kept(refused, url, x)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"db+sqlite:///{tmp_path_factory.mktemp('results') / 'kept.db'}"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, url: str) -> Iterator[Client]:
    with opened(tmp_path_factory.mktemp("store")) as client, using(client):
        client._engine.keeper = open_keeper(url)
        with closing(client._engine.keeper.place):
            yield client


def forgotten(client: Client, result: Any) -> None:
    """Let the store forget a run, as it does when that is old."""
    over(client, result)
    client._engine.store.forget(result.run_id)


def over(client: Client, result: Any) -> None:
    """Wait for the end of a run."""
    until(lambda: client._engine.store.snapshot(result.run_id)[0].ended_at is not None)


def test_a_handle_goes_on_when_the_store_has_forgotten_its_run(client: Client, url: str) -> None:
    result = add.s(2, 3, url).apply_async()
    forgotten(client, result)

    with using(client):
        again = AsyncResult(result.id)

    for handle in (client.async_result(result.id), again):
        assert (handle.get(1), handle.state, handle.successful(), handle.result) == (5, "SUCCESS", True, 5)
        assert (handle.name, handle.args, handle.kwargs) == ("plus", (2, 3), {})
        assert (handle.queue, handle.retries, handle.traceback) == ("default", 0, None)
        assert handle.worker
        assert handle.date_done is not None
        assert handle == result
        assert handle.exists()
        assert handle.children == []


def test_a_handle_that_was_never_asked_asks_beside_the_store(client: Client, url: str) -> None:
    result = add.s(2, 4, url).apply_async()
    fresh = client.async_result(result.id)
    forgotten(client, result)

    assert (fresh.state, fresh.get(1), fresh.args) == ("SUCCESS", 6, (2, 4))


def test_what_failed_raises_its_own_exception(client: Client, url: str) -> None:
    result = refuse.s(7, url).apply_async()
    forgotten(client, result)

    found = client.async_result(result.id)

    with pytest.raises(ValueError, match="not 7"):
        found.get(1)
    assert (found.state, found.failed(), str(found.get(propagate=False))) == ("FAILURE", True, "not 7")
    assert "raise ValueError" in str(found.traceback)
    assert isinstance(found.result, ValueError)


def test_a_group_that_was_saved_is_restored_with_its_members(client: Client, url: str) -> None:
    result = group(add.s(1, n, url) for n in range(4)).apply_async()
    result.save()
    forgotten(client, result)

    with using(client):
        found = GroupResult.restore(result.id)

    assert found.get(1) == [1, 2, 3, 4]
    assert [part.args for part in found] == [(1, n) for n in range(4)]
    assert (found.state, found.completed_count(), found.ready(), found.failed()) == (
        "SUCCESS",
        4,
        True,
        False,
    )
    assert found == result
    found.delete()
    with pytest.raises((NoSuchRun, ResultExpired)):
        client.async_result(result.id)


def test_a_group_of_several_kinds_is_restored_too(client: Client, url: str) -> None:
    sig = chord(
        [add.s(1, 1, url), chain(add.s(1, 2, url), group(add.s(1, url), add.s(2, url)))], total_of.s(url)
    )
    result = sig.apply_async()
    assert result.parent is not None
    over(client, result)
    result.parent.save()
    name, members = result.parent.id, [part.id for part in result.parent]
    forgotten(client, result)

    found = client.async_result(name)

    assert found.get(1) == [2, [4, 5]]
    assert [part.id for part in found.results] == members
    assert client.async_result(result.id).get(1) == 11


@task
def total_of(values: list[Any], url: str) -> int:
    def added(values: list[Any]) -> int:
        return int(values[0] + sum(values[1]))

    return int(kept(added, url, values))


def test_what_is_forgotten_by_its_handle_is_forgotten_everywhere(client: Client, url: str) -> None:
    result = add.s(1, 1, url).apply_async()
    over(client, result)

    result.forget()

    assert not result.exists()
    with pytest.raises((NoSuchRun, ResultExpired)):
        client.async_result(result.id)


def test_what_was_not_written_down_is_gone_with_its_run(client: Client, tmp_path: Path) -> None:
    result = taskflow.signature(pow, (2, 3)).apply_async()
    forgotten(client, result)

    with pytest.raises((NoSuchRun, ResultExpired)):
        client.async_result(result.id)


def test_a_handle_says_where_results_are(client: Client, url: str) -> None:
    result = add.s(1, 2, url).apply_async()

    assert result.backend is client._engine.keeper.place  # type: ignore[union-attr]
    assert taskflow.ResultSet([result]).backend is result.backend
