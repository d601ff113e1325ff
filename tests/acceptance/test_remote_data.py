"""Large data between machines: on the server or apart from it, and no more of it here than was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import taskflow
from taskflow.errors import TaskFailed
from tests.acceptance.test_remote_workers import DEADLINE_S, Elsewhere
from tests.proxy import Proxy
from tests.servers import RedisServer, running, s3

MB = 1 << 20
_numbers = count()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    yield from running("valkey")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3("bucket") as url:
        yield url


@pytest.fixture
def url(server: RedisServer) -> str:
    return f"{server.url}?namespace=d{next(_numbers)}"


@pytest.fixture(autouse=True)
def _copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def elsewhere(tmp_path: Path, url: str) -> Iterator[Elsewhere]:
    there = Elsewhere(tmp_path / "there", url)
    yield there
    there.close()


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    proxy = Proxy(str(server.socket))
    yield proxy
    proxy.close()


@pytest.fixture
def client(url: str, proxy: Proxy) -> Iterator[taskflow.Client]:
    """One whose way to the server is counted."""
    with taskflow.Client(f"{proxy.url}?{url.partition('?')[2]}") as client:
        yield client


def made(size: int) -> Any:
    return np.arange(size // 8)


# ── apart from the server ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_workers_find_what_lies_apart_by_the_url_of_the_store(
    kind: str, url: str, elsewhere: Elsewhere, tmp_path: Path, bucket: str, server: RedisServer
) -> None:
    place = (tmp_path / "shared").as_uri() if kind == "file" else f"{bucket}/prefix"
    array = made((40 if kind == "file" else 12) * MB)
    with taskflow.Client(f"{url}&blobs={place}") as client:
        before = server.client().info("memory")["used_memory"]
        elsewhere.start(net=kind == "s3")
        ref = client.scatter(array)

        doubled = client.submit(lambda a: a * 2, ref)
        sums = client.map(lambda a, i: int(a[i]), [ref] * 3, [1, 2, 3])
        total = client.submit(lambda a: int(a.sum()), doubled)

        assert total.result(2 * DEADLINE_S) == 2 * int(array.sum()), elsewhere.log()
        assert list(sums) == [1, 2, 3]
        assert (doubled.result(DEADLINE_S) == array * 2).all()
        assert server.client().info("memory")["used_memory"] - before < 10 * MB


def test_a_worker_that_cannot_reach_the_place_says_what_to_install(
    url: str, elsewhere: Elsewhere, bucket: str, tmp_path: Path
) -> None:
    with taskflow.Client(f"{url}&blobs={bucket}/prefix"):
        pass
    missing = tmp_path / "missing"
    missing.mkdir()
    (missing / "s3fs.py").write_text("raise ImportError('no module named s3fs')")

    worker = elsewhere.start(net=True, path=str(missing))

    assert worker.wait(DEADLINE_S) == 2
    assert "pip install 'jupyter-taskflow[s3]'" in elsewhere.log()


# ── no more than was asked for ───────────────────────────────────────────────────────


def test_a_ref_stays_remote_until_it_is_asked_for(
    client: taskflow.Client, elsewhere: Elsewhere, proxy: Proxy, tmp_path: Path, monkeypatch: Any
) -> None:
    elsewhere.start()
    array = made(20 * MB)
    client.scatter(array)
    # Another client, that has no copy and scatters what is there already.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    with taskflow.Client(client.url) as other:
        before = proxy.given_bytes

        ref = other.scatter(array.copy())
        told = repr(ref), ref.nbytes, ref.type, ref.id
        total = other.submit(lambda a: int(a.sum()), ref).result(DEADLINE_S)

        assert total == int(array.sum())
        assert told[2] == "numpy.ndarray"
        assert proxy.given_bytes - before < MB
        for path in (tmp_path / "another").rglob("*"):
            path.is_file() and path.unlink()
        assert (ref.get() == array).all()
        assert proxy.given_bytes - before > 20 * MB


def test_results_that_are_passed_on_stay_remote_until_they_are_asked_for(
    client: taskflow.Client, elsewhere: Elsewhere, proxy: Proxy
) -> None:
    elsewhere.start()

    first = client.submit(made, 20 * MB)
    total = client.submit(lambda a: int(a.sum()), first).result(DEADLINE_S)

    array = made(20 * MB)
    assert total == int(array.sum())
    assert first.done()
    assert "finished" in repr(first)
    assert proxy.given_bytes < MB
    assert (first.result() == array).all()
    assert proxy.given_bytes > 20 * MB
    again = proxy.given_bytes
    assert first.exception() is None
    assert first.result() is first.result()
    assert proxy.given_bytes - again < MB


def test_what_a_result_shares_with_a_ref_does_not_come_back(
    client: taskflow.Client, elsewhere: Elsewhere, proxy: Proxy
) -> None:
    elsewhere.start()
    table = pd.DataFrame({"a": made(10 * MB), "b": made(10 * MB)})
    ref = client.scatter(table)
    before = proxy.given_bytes

    wider = client.submit(lambda part: part.assign(c=part.a + part.b), ref).result(DEADLINE_S)

    pd.testing.assert_frame_equal(wider, table.assign(c=table.a + table.b))
    assert 10 * MB < proxy.given_bytes - before < 12 * MB


def test_of_a_map_with_large_results_only_those_come_that_are_asked_for(
    client: taskflow.Client, elsewhere: Elsewhere, proxy: Proxy
) -> None:
    elsewhere.start()

    run = client.map(lambda i: np.full(6 * MB // 8, i), range(6))
    futures = list(run.futures)
    run.wait(DEADLINE_S)

    before = proxy.given_bytes
    assert int(futures[3].result(DEADLINE_S)[0]) == 3
    assert 6 * MB < proxy.given_bytes - before < 8 * MB
    firsts = client.submit(lambda a: int(a[-1]), futures[5]).result(DEADLINE_S)
    assert firsts == 5
    assert proxy.given_bytes - before < 8 * MB
    assert [int(a[0]) for a in run] == list(range(6))


def test_items_that_are_large_travel_alone(client: taskflow.Client, proxy: Proxy) -> None:
    run = client.map(lambda pair: 1, [[made(2 * MB)] for _ in range(4)])

    pages = client._engine.store.pages(run.node_id, 0, 4)

    assert [(page.lo, page.hi) for page in pages] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    run.cancel()


def test_a_result_that_is_gone_when_it_is_asked_for_is_expired(
    client: taskflow.Client, elsewhere: Elsewhere, server: RedisServer
) -> None:
    elsewhere.start()
    future = client.submit(made, 2 * MB)
    assert client.submit(len, future).result(DEADLINE_S) == 2 * MB // 8
    assert future.done()

    client._engine.store.forget(future.run_id)

    with pytest.raises(taskflow.errors.ResultExpired):
        future.result()
    assert isinstance(future.exception(), taskflow.errors.ResultExpired)


def test_a_result_that_is_too_large_for_the_server_fails_its_task_with_advice(
    client: taskflow.Client, elsewhere: Elsewhere
) -> None:
    elsewhere.start()

    with pytest.raises((TaskFailed, taskflow.errors.UsageError), match=r"too large for Redis.*\?blobs=s3://"):
        client.submit(lambda: np.zeros(257 * MB // 8)).result(DEADLINE_S)
