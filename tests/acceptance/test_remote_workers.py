"""Workers that are elsewhere: other directories, other environment, and another host as far as Linux allows.

With `unshare` the worker has file system and network of its own: its paths are not the client's, and it
reaches the server by a socket file only.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import taskflow
from taskflow.errors import PayloadError, Untrusted
from tests.servers import RedisServer, running

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    yield from running("valkey")


@pytest.fixture
def url(server: RedisServer, request: pytest.FixtureRequest) -> str:
    return f"{server.url}?namespace={abs(hash(request.node.name))}"


def apart() -> list[str]:
    """What makes a process live on another host, when this one may do that."""
    command = ["unshare", "--mount", "--net", "--"]
    if (
        shutil.which("unshare")
        and subprocess.run([*command, "true"], check=False, capture_output=True).returncode == 0
    ):
        return command
    return []


class Elsewhere:
    """Workers in a home of their own."""

    def __init__(self, home: Path, url: str) -> None:
        self.home, self.url = home, url
        self.home.mkdir()
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(
        self, *options: str, key: bool = True, net: bool = False, path: str = ""
    ) -> subprocess.Popen[bytes]:
        """A worker; with `net` it reaches what listens on loopback, `path` has modules of its own."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "PYTEST"))}
        env |= {"HOME": str(self.home), "PYTHONSAFEPATH": "1"}
        env["PYTHONPATH"] = f"{path}:{ROOT}" if path else str(ROOT)
        if key:
            there = self.home / ".config" / "taskflow"
            there.mkdir(mode=0o700, parents=True, exist_ok=True)
            for file in (Path(os.environ["XDG_CONFIG_HOME"]) / "taskflow").iterdir():
                if file.is_file():  # stores of other tests of this process lie there too
                    shutil.copy2(file, there)
        command = [
            *([] if net else apart()),
            sys.executable,
            "-m",
            "taskflow",
            "worker",
            self.url,
            "-n",
            "1",
            *options,
        ]
        log = (self.home / "log").open("ab")
        worker = subprocess.Popen(command, cwd=self.home, env=env, stdout=log, stderr=log)
        log.close()
        self.workers.append(worker)
        return worker

    def log(self) -> str:
        return (self.home / "log").read_text()

    def close(self) -> None:
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.wait(10)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


@pytest.fixture
def elsewhere(tmp_path: Path, url: str) -> Iterator[Elsewhere]:
    there = Elsewhere(tmp_path / "there", url)
    yield there
    there.close()


@pytest.fixture
def client(url: str) -> Iterator[taskflow.Client]:
    with taskflow.Client(url) as client:
        yield client


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory that the client works in, with modules beside its script."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [
        name for name, module in sys.modules.items() if str(folder) in str(getattr(module, "__file__", ""))
    ]:
        del sys.modules[name]


def until(true: Callable[[], Any], log: Callable[[], str]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end, log()
        time.sleep(0.02)


def test_a_closure_runs_there_and_its_paths_are_those_of_there(
    client: taskflow.Client, elsewhere: Elsewhere, project: Path
) -> None:
    elsewhere.start()
    factor = 3

    def task(x: int) -> tuple[int, str, str]:
        return factor * x, str(Path.cwd()), os.environ["HOME"]

    value, cwd, home = client.submit(task, 7).result(DEADLINE_S)

    assert (value, home) == (21, str(elsewhere.home))
    if apart():
        assert cwd == str(elsewhere.home)


def test_a_module_that_is_not_there_is_named_with_its_cure_and_can_be_sent_along(
    client: taskflow.Client, elsewhere: Elsewhere, project: Path
) -> None:
    if not apart():
        pytest.skip("this machine cannot make another host: unshare is not permitted")
    (project / "beside_it.py").write_text("def answer(): return 42\n")
    import beside_it

    elsewhere.start()
    with pytest.raises(PayloadError, match=r"client\.upload\(beside_it\)"):
        client.submit(beside_it.answer).result(DEADLINE_S)

    client.upload(beside_it)
    assert client.submit(beside_it.answer).result(DEADLINE_S) == 42

    (project / "beside_it.py").write_text("def answer(): return 43\n")
    client.upload("beside_it.py")
    assert client.submit(beside_it.answer).result(DEADLINE_S) == 43


def test_a_package_and_data_are_sent_along(
    client: taskflow.Client, elsewhere: Elsewhere, project: Path
) -> None:
    package = project / "my_package" / "inner"
    package.mkdir(parents=True)
    (project / "my_package" / "__init__.py").write_text("")
    (package / "__init__.py").write_text("from my_package.inner.deep import read\n")
    (package / "deep.py").write_text("def read(path): return open(path).read()\n")
    (project / "data").mkdir()
    (project / "data" / "numbers.txt").write_text("1 2 3")
    import my_package.inner

    elsewhere.start()
    client.upload(my_package.inner, "data/numbers.txt")

    assert client.submit(my_package.inner.read, "data/numbers.txt").result(DEADLINE_S) == "1 2 3"
    assert client.submit(lambda: my_package.inner.read("data/numbers.txt")).result(DEADLINE_S) == "1 2 3"


def test_workers_say_who_and_where_they_are(client: taskflow.Client, elsewhere: Elsewhere) -> None:
    elsewhere.start("-Q", "gpu,default", "--name", "far-1")
    until(lambda: len(client.workers()), elsewhere.log)

    (row,) = client.workers().to_dict("records")

    assert row["worker"] == "far-1"
    assert row["slots"] == 1
    assert row["python"] == ".".join(map(str, sys.version_info[:3]))
    assert row["memory_bytes"] > 1e6
    assert {"host", "pid", "queues", "cloudpickle", "taskflow"} <= row.keys()


def test_a_worker_serves_its_queues_and_no_others(client: taskflow.Client, elsewhere: Elsewhere) -> None:
    elsewhere.start("-Q", "gpu", "--name", "gpu-1")

    waiting = client.submit(lambda: "default")
    served = client.options(queue="gpu").submit(lambda: "gpu")

    assert served.result(DEADLINE_S) == "gpu"
    assert not waiting.done()
    elsewhere.start("-Q", "default")
    assert waiting.result(DEADLINE_S) == "default"


def test_a_worker_with_another_key_opens_nothing_and_says_whose_key_it_is(
    client: taskflow.Client, elsewhere: Elsewhere
) -> None:
    elsewhere.start(key=False)

    with pytest.raises(Untrusted, match="key"):
        client.submit(lambda: 1).result(DEADLINE_S)


def test_large_values_travel_both_ways(client: taskflow.Client, elsewhere: Elsewhere) -> None:
    elsewhere.start()
    data = os.urandom(12 << 20)  # more than one piece

    back = client.submit(lambda given: given[::-1], data).result(DEADLINE_S)

    assert back == data[::-1]
    cached = [
        path for path in (elsewhere.home / ".cache" / "taskflow" / "blobs").rglob("*") if path.is_file()
    ]
    assert max(path.stat().st_size for path in cached) > 12 << 20


def test_a_worker_that_ends_by_sigterm_gives_back_what_it_had(
    client: taskflow.Client, elsewhere: Elsewhere
) -> None:
    first = elsewhere.start("--grace", "0.2")
    run = client.map(lambda x: __import__("time").sleep(0.3) or x, range(6))
    until(lambda: run.partial().shape[0] >= 1, elsewhere.log)

    first.send_signal(signal.SIGTERM)
    assert first.wait(DEADLINE_S) == 0
    elsewhere.start()

    assert list(run) == list(range(6))


def test_a_worker_may_come_before_its_server(tmp_path: Path) -> None:
    server = RedisServer("valkey")
    url = f"{server.url}?namespace=early"
    command = [sys.executable, "-m", "taskflow", "worker", url, "-n", "1"]
    log = tmp_path / "log"
    with log.open("wb") as told:
        worker = subprocess.Popen([*command, "--wait-for-store", "60"], cwd=ROOT, stderr=told)
    try:
        until(lambda: "Waiting for it" in log.read_text(), log.read_text)
        assert b"There is no answer" in log.read_bytes()
        server.start()
        with taskflow.Client(url) as client:
            assert client.submit(pow, 2, 5).result(DEADLINE_S) == 32
        worker.send_signal(signal.SIGINT)
        assert worker.wait(DEADLINE_S) == 0
    finally:
        worker.kill()
        worker.wait()
        server.kill()


@pytest.mark.parametrize(("seconds", "code"), [("0", 69), ("60", 0)])
def test_a_worker_without_a_server_leaves(tmp_path: Path, seconds: str, code: int) -> None:
    url = f"redis+socket://{tmp_path}/none"
    command = [sys.executable, "-m", "taskflow", "worker", url, "-n", "1", "--wait-for-store", seconds]
    log = tmp_path / "log"
    with log.open("wb") as told:
        worker = subprocess.Popen(command, cwd=ROOT, stderr=told)
    try:
        if code == 0:
            until(lambda: "Waiting for it" in log.read_text(), log.read_text)
            worker.send_signal(signal.SIGINT)
        assert worker.wait(DEADLINE_S) == code
        assert b"Traceback" not in log.read_bytes()
    finally:
        worker.kill()
        worker.wait()
