"""Calls on a real Dask cluster: a scheduler and workers that are processes of their own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from taskflow.blobs.files import FileBlobs
from taskflow.codec import Codec, Keyring
from taskflow.errors import ConfigError
from taskflow.policy import Policy
from taskflow.pools import guest
from taskflow.pools.cluster import ClusterPool
from taskflow.pools.dask import DaskEngine, open_pool, place_of
from taskflow.pools.engine import Packet
from taskflow.ports import Pool
from taskflow.records import Edge, Failure, Kind
from taskflow.testing.pool_contract import PoolContract
from taskflow.testing.workbench import Given, Workbench
from tests.engines.dask_cluster import DaskCluster, dask_cluster
from tests.servers import certificates

__all__ = ["dask_cluster"]


def terms(place: Path, *, seen: bool = True) -> guest.Terms:
    place.mkdir(mode=0o700, exist_ok=True)
    found = place.stat()
    mark = (found.st_dev, found.st_ino if seen else 0)
    return guest.Terms("", str(place), mark, "agent", "")


def opened(url: str, blobs: Path, *, seen: bool = True) -> ClusterPool:
    return open_pool(url, terms=terms(blobs, seen=seen), blobs=lambda: FileBlobs(blobs), grace_s=0.5)


class TestDaskPool(PoolContract):
    @pytest.fixture
    def pool(self, blobs_dir: Path, dask_cluster: DaskCluster) -> Iterator[Pool]:
        pool = opened(dask_cluster.url, blobs_dir)
        yield pool
        pool.close(drain_s=0)


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def bench(blobs: Path, dask_cluster: DaskCluster) -> Iterator[Workbench]:
    pool = opened(dask_cluster.url, blobs)
    yield Workbench(pool, Codec(Keyring.load(), FileBlobs(blobs)))
    pool.close(drain_s=0)


@pytest.fixture
def far(blobs: Path, dask_cluster: DaskCluster) -> Iterator[Workbench]:
    """The workers of the cluster do not see the store."""
    pool = opened(dask_cluster.url, blobs, seen=False)
    yield Workbench(pool, Codec(Keyring.load(), FileBlobs(blobs)))
    pool.close(drain_s=0)


def engine(bench: Workbench) -> DaskEngine:
    assert isinstance(bench.pool, ClusterPool)
    assert isinstance(bench.pool._engine, DaskEngine)
    return bench.pool._engine


# ── what is lost ─────────────────────────────────────────────────────────────────────


def test_the_call_of_a_worker_that_was_killed_is_lost_and_no_other(
    bench: Workbench, dask_cluster: DaskCluster, tmp_path: Path
) -> None:
    def hold(file: Path) -> int:
        file.write_text(str(os.getpid()))
        while not file.with_suffix(".go").exists():
            time.sleep(0.01)
        return 1

    files = [tmp_path / f"call{n}" for n in range(2)]
    running = [bench.call(hold, file) for file in files]
    waiting = [bench.call(lambda x: x, x) for x in range(6)]
    bench.start(*running, *waiting)
    bench.until(lambda: all(file.exists() and file.read_text() for file in files))

    began = time.monotonic()
    os.kill(int(files[0].read_text()), signal.SIGKILL)
    bench.until(lambda: bench.complete(running[0]))
    took = time.monotonic() - began
    files[1].with_suffix(".go").touch()
    bench.until(lambda: all(bench.complete(lease) for lease in (*running, *waiting)))

    (lost,) = bench.outcomes[running[0].key.node]
    assert lost.kind == Kind.LOST
    assert "Dask worker" in Failure.from_json(lost.error or "").message
    assert took < 2.0
    assert bench.value(running[1]) == 1
    assert [bench.value(lease) for lease in waiting] == list(range(6))


def test_a_call_that_ends_its_worker_takes_none_along_that_runs_beside_it(
    blobs: Path, own_cluster: DaskCluster, tmp_path: Path
) -> None:
    def end(file: Path) -> None:
        if not file.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

    def sleep(x: int) -> int:
        time.sleep(0.3)
        return x

    own_cluster.add(threads=2)
    own_cluster.until_ready(1)
    pool = opened(own_cluster.url, blobs)
    bench = Workbench(pool, Codec(Keyring.load(), FileBlobs(blobs)))
    try:
        bad, good = bench.call(end, tmp_path / "none"), [bench.call(sleep, x) for x in range(3)]
        bench.start(good[0], bad, *good[1:])
        for _ in range(2):  # The first time nobody knows which of two it was.
            bench.until(lambda: pool.slots == 0)
            own_cluster.add(threads=2)
            bench.until(lambda: pool.slots == 2)
        bench.until(lambda: all(bench.complete(lease) for lease in (bad, *good)))
    finally:
        pool.close(drain_s=0)

    assert [bench.outcomes[lease.key.node][0].kind for lease in good] == [Kind.SUCCEEDED] * 3
    assert bench.outcomes[bad.key.node][0].kind == Kind.LOST


def test_a_scheduler_that_goes_away_and_comes_back_costs_no_call(
    blobs: Path, own_cluster: DaskCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def hold(file: Path) -> int:
        file.touch()
        time.sleep(0.3)
        return 7

    own_cluster.add()
    own_cluster.until_ready(1)
    pool = opened(own_cluster.url, blobs)
    bench = Workbench(pool, Codec(Keyring.load(), FileBlobs(blobs)), again=False)
    try:
        lease = bench.call(hold, tmp_path / "begun")
        bench.start(lease)
        bench.until((tmp_path / "begun").exists)
        own_cluster.kill("scheduler")
        bench.until(lambda: bool(bench.released))
        assert (pool.slots, pool.free()) == (0, 0)
        bench.again = True
        bench.released.clear()
        own_cluster.start_scheduler()
        own_cluster.add()
        bench.until(lambda: pool.slots == 1)
        bench.run(lease)
    finally:
        pool.close(drain_s=0)

    assert bench.value(lease) == 7
    said = [record.getMessage() for record in caplog.records]
    assert any("is gone" in text for text in said)
    assert any("is back" in text for text in said)


def test_slots_follow_the_cluster(bench: Workbench, dask_cluster: DaskCluster) -> None:
    pool = bench.pool
    assert pool.slots == 2

    name = dask_cluster.add(threads=3)
    bench.until(lambda: pool.slots == 5)
    dask_cluster.kill(name)
    bench.until(lambda: pool.slots == 2)


# ── large data ───────────────────────────────────────────────────────────────────────


def test_large_data_goes_to_the_cluster_once(far: Workbench, dask_cluster: DaskCluster) -> None:
    def size(data: bytes, x: int) -> int:
        time.sleep(0.01)
        return len(data) + x

    data = os.urandom(3_000_000)
    leases = [far.call(size, data, x) for x in range(40)]

    far.run(*leases)

    assert [far.value(lease) for lease in leases] == [len(data) + x for x in range(40)]
    assert len([key for key in engine(far)._data if "data" in key]) == 1


def sent(packet: Packet) -> list[str]:
    return [name for name, data in packet.given.items() if data is not None]


def test_a_task_runs_where_what_it_needs_was_made(far: Workbench, dask_cluster: DaskCluster) -> None:
    def make(n: int) -> tuple[int, bytes]:
        time.sleep(0.2)
        return os.getpid(), bytes(2_000_000)

    def use(made: tuple[int, bytes]) -> tuple[int, int]:
        return made[0], os.getpid()

    made = [far.call(make, n) for n in range(2)]
    far.run(*made)
    for lease in made * 2:
        node = lease.key.node
        far.run(used := far.call(use, Given(node), inputs=[Edge(node)]))
        there, here = far.value(used)
        assert there == here


def test_a_large_value_that_was_made_there_is_not_sent_there(
    blobs: Path, own_cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_cluster.add()
    own_cluster.until_ready(1)
    pool = opened(own_cluster.url, blobs, seen=False)
    bench = Workbench(pool, Codec(Keyring.load(), FileBlobs(blobs)))
    given: list[str] = []
    send = engine(bench).send
    monkeypatch.setattr(engine(bench), "send", lambda packet: (given.extend(sent(packet)), send(packet))[1])
    try:
        bench.run(made := bench.call(os.urandom, 3_000_000))
        functions = len(given)
        node = made.key.node
        bench.run(used := bench.call(len, Given(node), inputs=[Edge(node)]))
    finally:
        pool.close(drain_s=0)

    assert bench.value(used) == 3_000_000
    assert len(bench.value(made)) == 3_000_000
    assert len(given) - functions <= 1  # its function


# ── an end before the end ────────────────────────────────────────────────────────────


def test_calls_that_wait_and_calls_that_run_are_cancelled(bench: Workbench, tmp_path: Path) -> None:
    def spin(file: Path) -> None:
        file.touch()
        while True:
            time.sleep(0.01)

    running = [bench.call(spin, tmp_path / f"run{n}") for n in range(2)]
    waiting = [bench.call(spin, tmp_path / f"wait{n}") for n in range(5)]
    bench.start(*running)
    bench.until(lambda: all((tmp_path / f"run{n}").exists() for n in range(2)))
    bench.start(*waiting)
    for lease in (*waiting, *running):
        bench.pool.kill(lease.key, "enough", grace_s=20.0)
    bench.until(lambda: all(bench.complete(lease) for lease in (*running, *waiting)))

    assert {bench.outcomes[lease.key.node][0].kind for lease in (*running, *waiting)} == {Kind.CANCELLED}
    assert not list(tmp_path.glob("wait*"))
    bench.run(after := bench.call(lambda: 5))
    assert bench.value(after) == 5


def test_limits_that_kill_are_refused_where_nobody_can_be_killed(bench: Workbench) -> None:
    outcome = bench.one(bench.call(len, "x", policy=Policy(time_limit_s=1.0)))

    assert outcome.kind == Kind.FAILED
    assert "soft_time_limit" in Failure.from_json(outcome.error or "").message


def test_where_a_nanny_starts_workers_of_one_thread_limits_that_kill_are_kept(
    blobs: Path, own_cluster: DaskCluster, tmp_path: Path
) -> None:
    def deaf(file: Path | None = None) -> None:
        if file is not None:
            file.touch()
        while True:
            with suppress(BaseException):  # It will not hear.
                time.sleep(0.05)

    own_cluster.add(nanny=True)
    own_cluster.until_ready(1)
    pool = opened(own_cluster.url, blobs)
    bench = Workbench(pool, Codec(Keyring.load(), FileBlobs(blobs)))
    try:
        late = bench.call(deaf, policy=Policy(time_limit_s=0.5))
        assert bench.one(late).kind == Kind.FAILED
        bench.until(lambda: pool.slots == 1)
        cancelled = bench.call(deaf, tmp_path / "begun")
        bench.start(cancelled)
        bench.until((tmp_path / "begun").exists)
        pool.kill(cancelled.key, "enough", grace_s=0.3)
        bench.until(lambda: bench.complete(cancelled))
        bench.until(lambda: pool.slots == 1)
        bench.run(after := bench.call(lambda: 5))
    finally:
        pool.close(drain_s=0)

    assert "TaskTimedOut" in Failure.from_json(bench.outcomes[late.key.node][0].error or "").type
    assert bench.outcomes[cancelled.key.node][0].kind == Kind.CANCELLED
    assert bench.value(after) == 5


def test_a_soft_limit_is_kept(bench: Workbench) -> None:
    def spin() -> None:
        while True:
            time.sleep(0.01)

    outcome = bench.one(bench.call(spin, policy=Policy(soft_time_limit_s=0.2)))

    assert "SoftTimeLimitExceeded" in Failure.from_json(outcome.error or "").type


# ── what is said while it runs ───────────────────────────────────────────────────────


def test_what_a_call_prints_and_says_is_heard_while_it_runs(bench: Workbench, tmp_path: Path) -> None:
    def speak(go: Path) -> None:
        from taskflow.pools.context import note

        print("hello")
        note("progress", {"done": 1})
        while not go.exists():
            time.sleep(0.01)

    lease = bench.call(speak, tmp_path / "go")
    bench.start(lease)
    bench.until(lambda: {note.kind for note in bench.notes} == {"progress", "log"})
    assert not bench.complete(lease)
    (tmp_path / "go").touch()
    bench.until(lambda: bench.complete(lease))

    assert bench.outcomes[lease.key.node][0].log == "hello\n"


def test_a_call_that_only_waits_lends_its_thread(bench: Workbench, tmp_path: Path) -> None:
    def wait(file: Path) -> int:
        from taskflow.pools.context import lend

        with lend():
            while not file.exists():
                time.sleep(0.01)
        return 1

    def touch(file: Path) -> int:
        file.touch()
        return 2

    waiting = [bench.call(wait, tmp_path / "file") for _ in range(3)]
    bench.start(*waiting)
    bench.until(lambda: sum(m.lent.total() for m in engine(bench)._fleet.members.values()) >= 2)
    bench.run(other := bench.call(touch, tmp_path / "file"))
    bench.until(lambda: all(bench.complete(lease) for lease in waiting))

    assert bench.value(other) == 2
    assert [bench.value(lease) for lease in waiting] == [1, 1, 1]


# ── what is wrong is said ────────────────────────────────────────────────────────────


def test_a_scheduler_that_is_not_there_is_a_clear_error(blobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskflow.pools.dask.CONNECT_S", 0.5)

    with pytest.raises(ConfigError, match="dask scheduler"):
        opened("dask://127.0.0.1:9", blobs)


def test_a_worker_with_another_key_is_refused_and_the_fingerprints_are_told(
    blobs: Path, own_cluster: DaskCluster
) -> None:
    own_cluster.add(TASKFLOW_KEY="A" * 43 + "=")
    own_cluster.until_ready(1)

    with pytest.raises(ConfigError, match=Keyring.load().fingerprint()):
        opened(own_cluster.url, blobs)


def test_urls_that_name_no_scheduler_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"scheduler\.json"):
        place_of("dask://")


def test_a_scheduler_is_found_by_its_file(dask_cluster: DaskCluster, blobs: Path) -> None:
    pool = opened(f"dask://{dask_cluster.folder}/scheduler.json", blobs)
    pool.close(drain_s=0)


def test_a_scheduler_behind_tls_is_reached_with_the_certificates_that_dask_is_configured_with(
    blobs: Path, tmp_path: Path
) -> None:
    import dask

    folder = certificates(tmp_path)
    authority, cert, key = (str(folder / name) for name in ("ca.pem", "server.pem", "server.key"))
    files = ("--tls-ca-file", authority, "--tls-cert", cert, "--tls-key", key)
    told = {"ca-file": authority, "client.cert": cert, "client.key": key}
    cluster = DaskCluster(scheme="tls", options=files)
    try:
        with dask.config.set({f"distributed.comm.tls.{name}": value for name, value in told.items()}):
            cluster.start_scheduler()
            cluster.add()
            cluster.until_ready(1)
            pool = opened(cluster.url, blobs)
            bench = Workbench(pool, Codec(Keyring.load(), FileBlobs(blobs)))
            bench.run(lease := bench.call(lambda: 5))
            pool.close(drain_s=0)
    finally:
        cluster.stop()

    assert cluster.url.startswith("dask+tls://")
    assert bench.value(lease) == 5


def test_an_adaptive_cluster_grows_as_is_wished_and_shrinks(blobs: Path) -> None:
    from distributed import LocalCluster

    options = {"dashboard_address": None, "worker_dashboard_address": None, "silence_logs": 60}
    with LocalCluster(
        n_workers=0, threads_per_worker=1, processes=False, protocol="tcp", **options
    ) as cluster:
        cluster.adapt(minimum=0, maximum=2, interval="100ms", wait_count=3)
        pool = opened(cluster.scheduler_address, blobs)
        bench = Workbench(pool, Codec(Keyring.load(), FileBlobs(blobs)))
        assert pool.slots == 0

        pool.resize(2)
        bench.until(lambda: pool.slots == 2)
        bench.run(lease := bench.call(lambda: 5))
        pool.resize(0)
        bench.until(lambda: not cluster.workers)
        pool.close(drain_s=0)

    assert bench.value(lease) == 5


# ── clusters of a test ───────────────────────────────────────────────────────────────


@pytest.fixture
def own_cluster() -> Iterator[DaskCluster]:
    """A scheduler without workers, of one test."""
    pytest.importorskip("distributed")
    cluster = DaskCluster()
    try:
        cluster.start_scheduler()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(autouse=True)
def _as_before(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whoever ends a worker of the cluster that all share finds another one in its place."""
    yield
    if "dask_cluster" in request.fixturenames:
        cluster: DaskCluster = request.getfixturevalue("dask_cluster")
        if cluster.mend():
            cluster.until_ready(2)
