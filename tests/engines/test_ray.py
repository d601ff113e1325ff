"""Calls on a real Ray cluster: what pools keep, and what is particular to Ray."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import taskflow
from taskflow import Client, Workflow, chord, task
from taskflow.blobs import open_blobs
from taskflow.codec import Codec, Keyring, blob_names
from taskflow.errors import ConfigError, TaskCancelled, TaskTimedOut, WorkerLost
from taskflow.hooks import using
from taskflow.observe.progress import Progress
from taskflow.pools.guest import terms_of
from taskflow.pools.ray import RayEngine, open_pool
from taskflow.ports import Pool
from taskflow.records import Edge
from taskflow.testing.pool_contract import PoolContract
from taskflow.testing.workbench import Given, Workbench
from tests.acceptance.stage import DEADLINE_S, opened, until, url_in
from tests.engines.commands import slots, worker, worker_until_ctrl_c
from tests.engines.ray_cluster import RayCluster, needs_ray, token
from tests.servers import RedisServer


@pytest.fixture(scope="session")
def cluster(_private_home: None) -> Iterator[RayCluster]:
    """One for all tests of this process."""
    needs_ray()
    token()
    cluster = RayCluster()
    try:
        yield cluster.start()
    finally:
        cluster.close()


def pool_of(cluster: RayCluster, place: Path) -> Pool:
    return open_pool(
        cluster.url,
        terms=terms_of("", str(place), "agent"),
        blobs=lambda: open_blobs(str(place)),
        grace_s=1.0,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where functions and large data of the contract are."""
    return tmp_path_factory.mktemp("ray") / "blobs"


@pytest.fixture(scope="module")
def shared(place: Path, cluster: RayCluster) -> Iterator[Pool]:
    """One pool for most of the contract: to join a cluster takes seconds."""
    pool = pool_of(cluster, place)
    yield pool
    pool.close(drain_s=0)


class TestRayPool(PoolContract):
    @pytest.fixture
    def blobs_dir(self, place: Path) -> Path:
        return place

    @pytest.fixture
    def pool(self, request: pytest.FixtureRequest, place: Path, cluster: RayCluster) -> Iterator[Pool]:
        if "closing" not in request.node.name:
            yield request.getfixturevalue("shared")
            return
        pool = pool_of(cluster, place)
        yield pool
        pool.close(drain_s=0)


def test_large_data_goes_to_the_cluster_once(place: Path, cluster: RayCluster) -> None:
    """Also where its processes do not see the store."""
    far = terms_of("", str(place), "agent")._replace(mark=(0, 0))
    pool = open_pool(cluster.url, terms=far, blobs=lambda: open_blobs(str(place)))
    bench = Workbench(pool, Codec(Keyring.load(), open_blobs(str(place))))
    data = os.urandom(2_000_000)
    try:
        leases = [bench.call(lambda d, x: len(d) + x, data, x) for x in range(30)]
        bench.run(*leases)
        assert [bench.value(lease) for lease in leases] == [len(data) + x for x in range(30)]
        engine = pool._engine
        assert isinstance(engine, RayEngine)
        assert (engine.puts, max(engine.kept.values()) >= len(data)) == (len(engine.kept), True)
    finally:
        pool.close(drain_s=0)


def test_what_a_task_made_stays_on_the_cluster(place: Path, cluster: RayCluster) -> None:
    """Where its processes do not see the store: it goes to the store once, and does not come back."""
    far = terms_of("", str(place), "agent")._replace(mark=(0, 0))
    pool = open_pool(cluster.url, terms=far, blobs=lambda: open_blobs(str(place)))
    bench = Workbench(pool, Codec(Keyring.load(), open_blobs(str(place))))
    engine = pool._engine
    assert isinstance(engine, RayEngine)
    try:
        made = bench.call(lambda: bytes(3_000_000))
        bench.run(made)
        node = made.key.node
        (name,) = blob_names(bench.outcomes[node][0].value or b"")
        assert engine.kept[name] > 3_000_000
        before = engine.puts
        sizes = [bench.call(len, Given(node), inputs=[Edge(node)]) for _ in range(6)]
        bench.run(*sizes)
        assert [bench.value(lease) for lease in sizes] == [3_000_000] * 6
        assert engine.puts - before <= 1  # the function

        engine._driver.tell("forget", name)  # as when the nodes that had it are gone
        last = bench.call(len, Given(node), inputs=[Edge(node)])
        bench.run(last)
        assert bench.value(last) == 3_000_000
    finally:
        pool.close(drain_s=0)


def slowly(x: int) -> int:
    time.sleep(0.3)
    return x


@pytest.mark.timeout(250)  # Ray Client is slow to join on a busy machine
def test_ray_client_serves_where_no_node_is(place: Path, cluster: RayCluster) -> None:
    pool = open_pool(
        cluster.client_url, terms=terms_of("", str(place), "agent"), blobs=lambda: open_blobs(str(place))
    )
    bench = Workbench(pool, Codec(Keyring.load(), open_blobs(str(place))))
    try:
        quick = [bench.call(lambda x: x * x, x) for x in range(20)]
        bench.run(*quick, within_s=60.0)
        slow = [bench.call(slowly, x) for x in range(8)]  # one message each, more than there are processors
        bench.run(*slow, within_s=60.0)
        assert [bench.value(lease) for lease in quick] == [x * x for x in range(20)]
        assert [bench.value(lease) for lease in slow] == list(range(8))
    finally:
        pool.close(drain_s=0)


# ── a client ─────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, cluster: RayCluster) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("store")
    with opened(folder, workers="auto", pool="ray", pool_url=cluster.url) as client:
        yield client


@task
def double(x: int) -> int:
    return 2 * x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


def test_a_map_runs_in_two_processes_of_ray_at_once(client: Client, tmp_path: Path) -> None:
    def meet(x: int, folder: Path) -> bool:
        import ray

        (folder / str(os.getpid())).touch()
        until(lambda: len(list(folder.iterdir())) == 2)
        return bool(ray.is_initialized())

    assert client.map(meet, range(20), [tmp_path] * 20).results() == [True] * 20


def test_a_chord_and_a_workflow_run_there(client: Client) -> None:
    wf = Workflow("squares")
    numbers = wf.add(lambda: list(range(10)), name="numbers")
    squares = wf.map(lambda x: x * x, numbers, name="squares")
    wf.add(sum, squares, name="sum")

    with using(client):
        assert chord([double.s(n) for n in range(5)])(total.s()).get(timeout=DEADLINE_S) == 20
    assert wf.run(client).result("sum", DEADLINE_S) == 285


def test_a_frame_is_mapped_by_partition(client: Client) -> None:
    import pandas as pd

    df = pd.DataFrame({"a": range(1000), "b": 1.5})
    found = taskflow.map_partitions(df, lambda part: part.assign(c=part.a + 1), npartitions=4, client=client)

    pd.testing.assert_frame_equal(found, df.assign(c=df.a + 1))


def test_a_failure_brings_its_frames_and_its_output(client: Client) -> None:
    def stumbles() -> None:
        print("before")
        raise LookupError("no such thing")

    future = client.submit(stumbles)

    with pytest.raises(LookupError, match="no such thing") as caught:
        future.result(DEADLINE_S)
    assert "stumbles" in "".join(traceback.format_exception(caught.value))
    assert future.logs == "before\n"


def test_progress_is_seen_while_it_runs(client: Client, tmp_path: Path) -> None:
    def works(go: Path) -> int:
        for _ in taskflow.progress(range(4), desc="rows"):
            pass
        until(go.exists)
        return 4

    future = client.submit(works, tmp_path / "go")
    until(lambda: future.progress == Progress(4, 4, "rows"))
    ended = future.done()
    (tmp_path / "go").touch()

    assert not ended
    assert future.result(DEADLINE_S) == 4


def test_a_run_is_cancelled_also_what_sleeps(client: Client, tmp_path: Path) -> None:
    def sleeps(file: Path) -> None:
        file.touch()
        time.sleep(60)

    run = client.map(sleeps, [tmp_path / f"{n}" for n in range(6)])
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    began = time.monotonic()
    run.cancel()

    with pytest.raises(TaskCancelled):
        run.results()
    assert client.submit(double, 4).result(DEADLINE_S) == 8
    assert time.monotonic() - began < 20
    assert len(list(tmp_path.iterdir())) == 2


def test_a_time_limit_ends_what_does_not_listen(client: Client) -> None:
    future = client.options(time_limit=0.5).submit(time.sleep, 60)

    with pytest.raises(TaskTimedOut):
        future.result(DEADLINE_S)


def test_tasks_that_send_tasks_and_wait_for_them_do_not_lock_up(client: Client) -> None:
    def depth(n: int) -> int:
        return 0 if n == 0 else taskflow.get_client().submit(depth, n - 1).result(40) + 1

    assert client.submit(depth, 3).result(DEADLINE_S) == 3


# ── trouble ──────────────────────────────────────────────────────────────────────────


def test_a_process_that_is_killed_in_the_middle_of_a_map_costs_no_item(
    client: Client, tmp_path: Path
) -> None:
    def step(x: int, folder: Path) -> int:
        time.sleep(0.01)
        if x == 50 and not (folder / "killed").exists():
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    assert client.map(step, range(200), [tmp_path] * 200).results() == list(range(200))


def test_a_call_that_ends_its_process_each_time_is_lost_and_takes_none_along(client: Client) -> None:
    def ends(x: int) -> int:
        if x == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
        return x

    futures = [client.submit(ends, x) for x in range(12)]

    with pytest.raises(WorkerLost, match="of Ray"):
        futures[3].result(DEADLINE_S)
    assert [f.result(DEADLINE_S) for f in futures[:3] + futures[4:]] == [0, 1, 2, *range(4, 12)]


def test_a_node_comes_with_its_slots_and_goes_with_what_ran_there(
    client: Client, cluster: RayCluster, tmp_path: Path
) -> None:
    def hold(file: Path, go: Path) -> int:
        with file.open("a") as out:
            out.write("x")
        until(go.exists)
        return 1

    files = [tmp_path / f"{n}" for n in range(3)]
    run = client.map(hold, files, [tmp_path / "go"] * 3)
    node = cluster.add()
    until(lambda: all(file.exists() for file in files))

    cluster.kill(node)
    until(lambda: slots(client) == 2)
    (tmp_path / "go").touch()

    assert run.results() == [1, 1, 1]
    ran = sum(len(file.read_text()) for file in files)
    assert 3 <= ran <= 4  # a process may outlive its node for a moment


@contextmanager
def own_cluster() -> Iterator[RayCluster]:
    cluster = RayCluster(cpus=1)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.mark.timeout(400)  # it starts clusters, for which a busy machine needs a minute
def test_a_cluster_that_goes_away_and_comes_back_costs_no_item(cluster: RayCluster) -> None:
    """Over a store on a server, where the large data of these calls is too."""
    server = RedisServer().start()
    data = bytes(range(256)) * 10_000
    try:
        with (
            own_cluster() as mortal,
            Client(server.url, workers="auto", pool="ray", pool_url=mortal.url) as client,
        ):
            run = client.map(lambda x, d: time.sleep(0.05) or len(d) + x, range(60), [data] * 60)
            until(lambda: sum(future.done() for future in run.futures) > 10)
            mortal.stop()
            until(lambda: slots(client) == 0)
            mortal.start()

            assert run.results() == [len(data) + x for x in range(60)]
    finally:
        server.kill()


# ── what is wrong is said ────────────────────────────────────────────────────────────


def test_another_key_on_the_cluster_is_told_before_anything_is_sent(cluster: RayCluster, place: Path) -> None:
    terms = terms_of("", str(place), "agent")._replace(key="another")

    with pytest.raises(ConfigError, match=r"(?s)key.*another"):
        open_pool(cluster.url, terms=terms, blobs=lambda: open_blobs(str(place)))


@pytest.mark.parametrize(
    "url", ["ray://127.0.0.1", "http://127.0.0.1:6379", "ray://h:1?clinet=1", "ray://h:x"]
)
def test_what_is_no_address_of_a_cluster_is_an_error(url: str, place: Path) -> None:
    with pytest.raises(ConfigError, match="ray://"):
        open_pool(url, terms=terms_of("", str(place), "agent"), blobs=lambda: open_blobs(str(place)))


# ── the command ──────────────────────────────────────────────────────────────────────


def test_the_command_says_what_it_is_and_lets_calls_end_at_ctrl_c(
    tmp_path: Path, cluster: RayCluster
) -> None:
    there, printed = worker_until_ctrl_c(tmp_path, cluster.url)

    assert there == 2
    assert "2 calls at once, pool ray" in printed


def test_a_cluster_that_cannot_be_reached_is_an_error_of_the_command(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    process = worker(url_in(tmp_path), "--pool", "ray://127.0.0.1:9")
    printed, _ = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 2
    assert "There is no Ray cluster at ray://127.0.0.1:9" in printed
    assert "ray start --head" in printed
    assert "Traceback" not in printed
