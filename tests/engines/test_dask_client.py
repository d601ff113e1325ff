"""A client whose calls run on a real Dask cluster, over a store in a file and over one on a server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import taskflow
from taskflow import Client, Workflow, chord, task
from taskflow.errors import ConfigError, TaskCancelled, WorkerLost
from taskflow.hooks import using
from tests.acceptance.stage import DEADLINE_S, opened, until, url_in
from tests.engines.commands import worker, worker_until_ctrl_c
from tests.engines.dask_cluster import DaskCluster, dask_cluster
from tests.servers import RedisServer

__all__ = ["dask_cluster"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, dask_cluster: DaskCluster) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("store")
    with opened(folder, workers="auto", pool="dask", pool_url=dask_cluster.address) as client:
        yield client


@task
def double(x: int) -> int:
    return 2 * x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


def test_a_map_runs_in_all_workers_of_the_cluster(client: Client, dask_cluster: DaskCluster) -> None:
    def where(x: int) -> tuple[int, int]:
        time.sleep(0.01)
        return x * x, os.getpid()

    results = list(client.map(where, range(60)))

    assert [square for square, _ in results] == [x * x for x in range(60)]
    assert {pid for _, pid in results} == {process.pid for process in dask_cluster.workers.values()}


def test_a_chord_runs_on_the_cluster(client: Client) -> None:
    with using(client):
        assert chord([double.s(n) for n in range(5)])(total.s()).get(timeout=DEADLINE_S) == 20


def test_a_workflow_runs_on_the_cluster(client: Client) -> None:
    wf = Workflow("squares")
    numbers = wf.add(lambda: list(range(10)), name="numbers")
    squares = wf.map(lambda x: x * x, numbers, name="squares")
    wf.add(sum, squares, name="sum")

    assert wf.run(client).result("sum", DEADLINE_S) == 285


def test_a_frame_is_mapped_by_partition(client: Client) -> None:
    import pandas as pd

    df = pd.DataFrame({"a": range(1000), "b": 1.5})
    found = taskflow.map_partitions(df, lambda part: part.assign(c=part.a + 1), npartitions=4, client=client)

    pd.testing.assert_frame_equal(found, df.assign(c=df.a + 1))


def test_a_failure_has_the_frames_of_the_worker(client: Client) -> None:
    def fails() -> None:
        secret = 0
        print("before", secret)
        raise LookupError("no such thing")

    future = client.submit(fails)

    with pytest.raises(LookupError, match="no such thing") as caught:
        future.result(DEADLINE_S)
    assert "fails" in "".join(__import__("traceback").format_exception(caught.value))
    assert "before 0" in future.logs


def test_a_run_is_cancelled_also_what_runs(client: Client, tmp_path: Path) -> None:
    def spin(file: Path) -> None:
        file.touch()
        while True:
            time.sleep(0.01)

    run = client.map(spin, [tmp_path / f"{n}" for n in range(6)])
    until(lambda: len(list(tmp_path.iterdir())) == 2)

    run.cancel()

    with pytest.raises(TaskCancelled):
        run.results()
    assert client.submit(double, 4).result(DEADLINE_S) == 8
    assert len(list(tmp_path.iterdir())) == 2


def test_tasks_that_send_tasks_and_wait_for_them_do_not_lock_up(client: Client) -> None:
    def depth(n: int) -> int:
        return 0 if n == 0 else taskflow.get_client().submit(depth, n - 1).result(40) + 1

    assert client.submit(depth, 4).result(DEADLINE_S) == 4


# ── trouble ──────────────────────────────────────────────────────────────────────────


def test_a_worker_that_is_killed_in_the_middle_of_a_map_costs_no_item(
    client: Client, dask_cluster: DaskCluster, tmp_path: Path
) -> None:
    def step(x: int, folder: Path) -> int:
        time.sleep(0.01)
        if x == 50 and not (folder / "killed").exists():
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    with dask_cluster.mended():
        assert client.map(step, range(200), [tmp_path] * 200).results() == list(range(200))


def test_a_call_that_ends_its_worker_each_time_is_lost_and_takes_none_along(
    client: Client, dask_cluster: DaskCluster
) -> None:
    def end(x: int) -> int:
        if x == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
        return x

    with dask_cluster.mended():
        futures = [client.submit(end, x) for x in range(12)]
        with pytest.raises(WorkerLost, match="Dask worker"):
            futures[3].result(DEADLINE_S)
        assert [f.result(DEADLINE_S) for f in futures[:3] + futures[4:]] == [0, 1, 2, *range(4, 12)]


# ── a store on a server ──────────────────────────────────────────────────────────────


def test_a_store_on_a_server_is_worked_off_by_the_cluster(dask_cluster: DaskCluster) -> None:
    """Its large data comes from there too."""
    server = RedisServer().start()
    try:
        with Client(server.url, workers="auto", pool="dask", pool_url=dask_cluster.url) as client:
            data = bytes(range(256)) * 10_000
            assert client.map(lambda x, d: len(d) + x, range(40), [data] * 40).results() == [
                len(data) + x for x in range(40)
            ]
            wf = Workflow("large")
            made = wf.add(lambda: bytes(3_000_000), name="made")
            wf.add(len, made, name="size")
            assert wf.run(client).result("size", DEADLINE_S) == 3_000_000
    finally:
        server.kill()


def test_the_page_runs_as_it_is_printed(dask_cluster: DaskCluster, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "dask.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    code = code.replace("tcp://127.0.0.1:8786", dask_cluster.address) + "print(squares)"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, f"{[x * x for x in range(10)]}\n"), done.stderr


def test_a_cluster_object_is_an_address(dask_cluster: DaskCluster, tmp_path: Path) -> None:
    import distributed

    tmp_path.chmod(0o700)
    with (
        distributed.Client(dask_cluster.address, set_as_default=False) as theirs,
        Client(url_in(tmp_path), workers=1, pool="dask", pool_url=theirs) as client,
    ):
        assert client.submit(double, 4).result(DEADLINE_S) == 8
    with pytest.raises(ConfigError, match="no address"):
        Client(url_in(tmp_path), pool="dask", pool_url=7)


# ── the command ──────────────────────────────────────────────────────────────────────


def test_the_command_says_what_it_is_and_lets_calls_end_at_ctrl_c(
    tmp_path: Path, dask_cluster: DaskCluster
) -> None:
    there, printed = worker_until_ctrl_c(tmp_path, dask_cluster.url)

    assert there == 2
    assert "2 calls at once, pool dask" in printed


def test_joblib_takes_the_cluster_for_as_large_as_it_is(client: Client) -> None:
    joblib = pytest.importorskip("joblib")
    import taskflow.contrib.joblib

    taskflow.contrib.joblib.register(client)
    with joblib.parallel_config("taskflow"):
        until(lambda: joblib.effective_n_jobs(-1) == client._max_workers == 2)
        assert joblib.Parallel(n_jobs=-1)(joblib.delayed(pow)(n, 2) for n in range(20)) == [
            n * n for n in range(20)
        ]


def test_a_cluster_that_cannot_be_used_is_an_error_of_the_command(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    process = worker(url_in(tmp_path), "--pool", "dask://127.0.0.1:9")
    printed, _ = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 2
    assert "No Dask scheduler answers at tcp://127.0.0.1:9" in printed
    assert "Traceback" not in printed


# ── clusters of a test ───────────────────────────────────────────────────────────────


@pytest.fixture(autouse=True)
def _as_before(dask_cluster: DaskCluster) -> Iterator[None]:
    """Whoever ends a worker of the cluster finds another one in its place."""
    yield
    if dask_cluster.mend():
        dask_cluster.until_ready(2)


def test_a_bar_of_tqdm_in_a_task_on_the_cluster_is_seen(client: Client, tmp_path: Path) -> None:
    def reads(gate: Path) -> int:
        from tqdm.notebook import tqdm

        for n in tqdm(range(4), desc="rows", mininterval=0):
            while n == 2 and not gate.exists():
                time.sleep(0.005)
        return n

    future = client.submit(reads, tmp_path / "gate")

    until(lambda: future.progress is not None and future.progress.done == 2)
    assert future.progress is not None
    assert str(future.progress).startswith("rows 2/4 (50%)")
    (tmp_path / "gate").touch()
    assert (future.result(DEADLINE_S), future.logs) == (3, "")
