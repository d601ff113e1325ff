"""A fleet of Celery as the pool: its own workers, its own Redis server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import taskflow
from taskflow import Client, Workflow, chord, group
from taskflow.blobs.files import FileBlobs
from taskflow.errors import ConfigError, TaskCancelled, TaskTimedOut
from taskflow.pools import guest
from taskflow.pools.celery import Fleet as Engine
from taskflow.pools.celery import open_pool
from taskflow.pools.cluster import ClusterPool
from taskflow.pools.engine import Mailbox
from taskflow.ports import Pool
from taskflow.testing.pool_contract import PoolContract
from tests.acceptance.stage import until, url_in
from tests.engines.celery_fleet import Fleet, fleet
from tests.servers import RedisServer, running

HERE = "taskflow.contrib.fleet"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("shop")
    with fleet(folder, HERE) as made, pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield made
        sys.modules.pop("shop", None)


class Kept(Engine):
    """An engine for many pools, one after another."""

    def close(self) -> None:
        """It goes on."""

    def given(self, mailbox: Mailbox) -> Engine:
        self._mailbox = mailbox
        return self


@pytest.fixture(scope="module")
def engine(shop: Fleet) -> Iterator[Kept]:
    from taskflow.links.celery import app_named

    mailbox = Mailbox()
    engine = Kept(app_named("shop:app"), mailbox)
    yield engine
    Engine.close(engine)
    mailbox.close()


class TestCelery(PoolContract):
    @pytest.fixture
    def pool(self, blobs_dir: Path, engine: Kept) -> Iterator[Pool]:
        blobs_dir.mkdir(mode=0o700, exist_ok=True)
        terms = guest.terms_of("", str(blobs_dir), "agent")
        pool = ClusterPool(engine.given, terms, lambda: FileBlobs(blobs_dir), grace_s=0.5)
        yield pool
        pool.close(drain_s=0)


# ── by the public names ──────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def client(shop: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("store")
    folder.chmod(0o700)
    client = Client(url_in(folder), pool="celery", pool_url="shop:app")
    yield client
    client.shutdown(wait=False)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    yield from running("redis")


@pytest.fixture(scope="module")
def remote(shop: Fleet, server: RedisServer) -> Iterator[Client]:
    client = Client(server.url + "?namespace=engines", pool="celery", pool_url="celery://shop:app")
    yield client
    client.shutdown(wait=False)


@pytest.fixture(params=["sqlite", "redis"])
def either(request: pytest.FixtureRequest) -> Client:
    found: Client = request.getfixturevalue("client" if request.param == "sqlite" else "remote")
    return found


def where() -> int:
    return os.getppid()


def test_calls_run_in_processes_of_the_fleet(either: Client, shop: Fleet) -> None:
    assert either.submit(where).result() in {worker.pid for worker in shop.workers.values()}


def test_a_map_a_chord_and_a_workflow(either: Client) -> None:
    offset = 3
    wf = Workflow()
    first = wf.add(lambda: 20)
    wf.add(lambda x: x + 1, first)

    assert either.map(lambda x: x * x + offset, range(200)).results() == [x * x + 3 for x in range(200)]
    header = group(taskflow.task(lambda n: n).s(n) for n in range(10))
    assert chord(header, taskflow.task(sum)).apply_async(client=either).get() == 45
    assert wf.run(either).result() == 21


def test_a_table_by_partition(either: Client) -> None:
    pd = pytest.importorskip("pandas")
    df = pd.DataFrame({"a": range(100)})

    done = taskflow.map_partitions(df, lambda part: part.assign(b=part.a * 2), npartitions=4, client=either)

    assert done.b.tolist() == [2 * n for n in range(100)]


def test_a_failure_has_its_traceback(client: Client) -> None:
    def fail() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there") as caught:
        client.submit(fail).result()
    assert "in fail" in str(caught.value.__cause__)


def test_output_and_progress_come_while_it_runs(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "go"

    def work() -> str:
        print("half way")
        taskflow.report(done=1, total=2)
        while not file.exists():
            time.sleep(0.01)
        return "done"

    future = client.submit(work)
    until(lambda: future.progress is not None and future.progress.done == 1)
    file.touch()

    assert future.result() == "done"
    assert "half way" in future.logs


def test_a_cancelled_run_ends_what_waits_and_what_runs(client: Client, tmp_path: Path) -> None:
    def write(n: int) -> None:
        (tmp_path / str(n)).touch()
        try:
            time.sleep(60)
        except BaseException as error:
            (tmp_path / f"{n}.end").write_text(type(error).__name__)
            raise

    run = client.map(write, range(20))
    until(lambda: any(tmp_path.iterdir()))
    run.cancel()

    with pytest.raises(TaskCancelled):
        run.results()
    until(lambda: list(tmp_path.glob("*.end")))
    assert {file.read_text() for file in tmp_path.glob("*.end")} == {"TaskCancelled"}
    assert len(list(tmp_path.glob("*.end"))) < 20


def test_limits_are_kept(client: Client) -> None:
    with pytest.raises(TaskTimedOut):
        client.options(time_limit=0.5).submit(time.sleep, 60).result()


def test_a_task_that_kills_its_process_each_time_is_dead_and_takes_no_other_along(client: Client) -> None:
    def work(n: int) -> int:
        if n == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    run = client.map(work, range(10))
    run.wait()

    assert [n for n, got in enumerate(run.results("return")) if got != n] == [5]
    assert run.failed[0][1].type.endswith("WorkerLost")


def test_what_a_killed_worker_had_runs_again_and_each_item_is_there_once(
    client: Client, shop: Fleet, tmp_path: Path
) -> None:
    def slow(n: int) -> int:
        (tmp_path / f"{n}-{os.getppid()}").touch()
        time.sleep(0.3)
        return n

    shop.launch("doomed", 2)
    doomed = shop.workers["doomed"].pid
    run = client.map(slow, range(100))
    until(lambda: list(tmp_path.glob(f"*-{doomed}")))
    shop.kill("doomed")

    assert run.results() == list(range(100))
    until(lambda: sum(w["slots"] for w in slots_of(client)) == 4)


def slots_of(client: Client) -> list[dict[str, Any]]:
    """What workers say of themselves."""
    from taskflow.stores import open_store

    store = open_store(client.url)
    try:
        return [{"slots": view.slots, "pool": view.info.get("pool")} for view in store.workers()]
    finally:
        store.close()


def test_a_large_argument_goes_there_once(remote: Client, server: RedisServer) -> None:
    data = os.urandom(2_000_000)

    before = server.client().info("stats")["total_net_output_bytes"]
    assert remote.map(lambda n, d: len(d) + n, range(40), [data] * 40).results() == [
        2_000_000 + n for n in range(40)
    ]
    after = server.client().info("stats")["total_net_output_bytes"]

    assert after - before < 3 * 2_000_000


def test_the_fleet_may_go_and_come_back(client: Client, shop: Fleet) -> None:
    assert client.submit(lambda: 1).result() == 1
    shop.server.kill()
    until(lambda: sum(w["slots"] for w in slots_of(client)) == 0)
    future = client.submit(lambda: 2)
    shop.server.start()

    assert future.result() == 2


# ── what is said before any work is taken ────────────────────────────────────────────


def terms(folder: Path) -> guest.Terms:
    folder.mkdir(mode=0o700, exist_ok=True)
    return guest.terms_of("", str(folder), "agent")


def opened(url: str, folder: Path) -> ClusterPool:
    return open_pool(url, terms=terms(folder), blobs=lambda: FileBlobs(folder))


def test_a_worker_without_our_task_is_named_with_the_cure(shop: Fleet, tmp_path: Path) -> None:
    shop.include, kept = (), shop.include
    shop.launch("bare", 1, "-Q", "bare")
    shop.include = kept
    shop.until_ready()

    with pytest.raises(ConfigError, match=r"bare@here .* -I taskflow\.contrib\.fleet"):
        opened("shop:app?queue=bare", tmp_path / "blobs")
    shop.kill("bare")


def test_a_worker_with_another_key_is_named_with_both(
    shop: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path / "other"))
        shop.launch("stranger", 1, "-Q", "strange")
    shop.until_ready()

    with pytest.raises(ConfigError, match=r"has the key \S+, and here is \S+: .*taskflow key export"):
        opened("shop:app?queue=strange", tmp_path / "blobs")
    shop.kill("stranger")


def test_an_option_that_is_not_known_is_refused(shop: Fleet, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="queue"):
        opened("shop:app?queu=x", tmp_path / "blobs")


def worker(shop: Fleet, folder: Path, *options: str, **env: str) -> subprocess.Popen[str]:
    folder.chmod(0o700)
    return subprocess.Popen(
        [sys.executable, "-m", "taskflow", "worker", url_in(folder), *options],
        cwd=shop.folder, env={**os.environ, **env}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_broker_that_is_not_there_is_said(shop: Fleet, tmp_path: Path) -> None:
    process = worker(shop, tmp_path, "--pool", "celery://shop:app", SHOP_URL="redis://127.0.0.1:1/0")
    _, said = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "broker of Celery cannot be reached" in said


def test_the_command_says_what_it_is_and_drains(shop: Fleet, tmp_path: Path) -> None:
    process = worker(shop, tmp_path, "--pool", "celery://shop:app")
    assert process.stderr is not None
    said = ""
    while "Ctrl-C" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)

    assert re.search(r"runs\s+4 calls at once, pool celery", said), said
    assert process.returncode == 0
