"""A store that is full: who submits waits, or is told; and what is held meanwhile is bounded."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest

from taskflow import Client
from taskflow.errors import QueueFull
from tests.acceptance.stage import opened, until
from tests.proxy import Proxy
from tests.servers import RedisServer

ROOT = Path(__file__).parents[2]
_numbers = count()


def double(x: int) -> int:
    return 2 * x


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with closing(RedisServer()) as server:
        yield server.start()


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    tmp_path.chmod(0o700)
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server = request.getfixturevalue("server")
    return f"{server.url}?namespace=n{next(_numbers)}"


@contextmanager
def alone(url: str) -> Iterator[Client]:
    """A client without workers; in the end it waits for nothing."""
    client = Client(url, workers=0)
    try:
        yield client
    finally:
        client._engine.store.purge("default")
        client.shutdown(wait=False)


class Endless(threading.Thread):
    """``while True: client.submit(f)``, as a script does it."""

    def __init__(self, submit: Callable[[int], object]) -> None:
        super().__init__(daemon=True)
        self.submit, self.sent, self.ended = submit, 0, False
        self.start()

    def run(self) -> None:
        while not self.ended:
            self.submit(self.sent)
            self.sent += 1

    def stand_still(self) -> None:
        """Return when it waits."""
        sent = -1
        while self.sent != sent:
            sent = self.sent
            time.sleep(1.0)


def test_a_loop_that_submits_for_ever_is_held_up_until_there_is_room(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """More than a bound and what goes in one step is never pending, in the store or here."""
    with alone(url) as client:
        view = client.options(max_pending=3000)
        with caplog.at_level(logging.INFO, "taskflow.room"):
            loop = Endless(lambda x: view.submit(double, x))
            until(lambda: "Waiting for room" in caplog.text)
            loop.stand_still()
            outbox = client._engine.outbox
            [row] = client._engine.store.queues()
            assert 3000 < int(row["queued"]) <= 3000 + 16_384 + 4096
            assert loop.sent - int(row["queued"]) < 2 * 4096
            assert len(outbox._held) + len(outbox._entries) < 600
            assert "is full" in caplog.text
            assert "Waiting for room; Ctrl-C ends the wait. No worker serves" in caplog.text
            assert caplog.text.count("Waiting for room") <= 2

            loop.ended = True
            assert client.purge() == int(row["queued"])
            loop.join(30)
            assert not loop.is_alive()
            client.flush()
        client.purge()


def test_it_goes_on_as_fast_as_the_workers_do(url: str) -> None:
    with Client(url, workers=2) as client:
        futures = [client.options(max_pending=200).submit(double, x) for x in range(5000)]
        assert [future.result(60) for future in futures] == [2 * x for x in range(5000)]


def test_it_is_told_at_once_or_after_a_while(url: str) -> None:
    with alone(url) as client:
        for x in range(3):
            client.options(max_pending=2, when_full="raise").submit(double, x)

        for when_full in ("raise", 0.3):
            view = client.options(max_pending=2, when_full=when_full)
            for send in (lambda: view.submit(double, 1), lambda: view.map(double, range(10))):  # noqa: B023
                began = time.monotonic()
                with pytest.raises(QueueFull, match="'default' is full: 3 calls have not ended") as caught:
                    send()
                assert (when_full == "raise") or time.monotonic() - began >= 0.3
                assert caught.value.queue == "default"
        assert len(client.runs()) == 3
        client.options(max_pending=2, queue="other").submit(double, 1)
        client.purge("default", "other")
        client.options(max_pending=2, when_full="raise").submit(double, 1)
        client.purge()


def test_large_work_is_taken_by_a_queue_that_is_not_full(url: str) -> None:
    with alone(url) as client:
        client.options(max_pending=10, when_full="raise").map(double, range(1_000_000))
        client.options(max_pending=10, when_full="raise").submit(double, 1)
        assert client.purge() == 1_000_001


def test_a_task_is_not_made_to_wait_for_itself(tmp_path: Path) -> None:
    def spread() -> list[int]:
        from taskflow import get_client

        bounded = get_client().options(max_pending=1, when_full="raise")
        return [future.result() for future in [bounded.submit(double, x) for x in range(20)]]

    with opened(tmp_path, workers=1) as client:
        assert client.submit(spread).result(60) == [2 * x for x in range(20)]


def test_a_wait_in_the_middle_keeps_dependencies_in_order(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        bounded = client.options(max_pending=20)
        future = bounded.submit(double, 1)
        for _ in range(300):
            future = bounded.submit(double, future)
        assert future.result(60) == 2**301


_SCRIPT = """
import sys
from taskflow import Client
client = Client(sys.argv[1], workers=0)
view = client.options(max_pending=10)
try:
    while True:
        view.submit(abs, 1)
except KeyboardInterrupt:
    print("interrupted")
client.purge()
client.shutdown(wait=False)
"""


def test_ctrl_c_ends_the_wait(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    script = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, f"sqlite:///{tmp_path / 'store.db'}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert script.stderr is not None
    told = script.stderr.readline()
    assert "The queue 'default' is full" in told
    assert "No worker serves" in told
    time.sleep(0.3)
    script.send_signal(signal.SIGINT)
    out, err = script.communicate(timeout=30)
    assert out == "interrupted\n"
    assert "Traceback" not in err


@pytest.mark.parametrize("large", [False, True])
def test_a_server_without_memory_is_waited_for(server: RedisServer, large: bool) -> None:
    redis = server.client()
    data = os.urandom(3_000_000) if large else b"x"
    with alone(f"{server.url}?namespace=n{next(_numbers)}") as client:
        client.submit(len, b"first")
        redis.config_set("maxmemory", redis.info("memory")["used_memory"] * 3 // 4)
        try:
            with pytest.raises(QueueFull, match="memory"):
                client.options(when_full="raise").submit(len, data)
            began = time.monotonic()
            with pytest.raises(QueueFull, match="memory"):
                client.options(when_full=0.5).submit(len, data)
            assert time.monotonic() - began >= 0.5
            sent: list[object] = []
            thread = threading.Thread(
                target=lambda: [sent.append(client.submit(len, data)) for _ in range(5)], daemon=True
            )
            thread.start()
            thread.join(1.0)
            assert len(sent) < 2
        finally:
            redis.config_set("maxmemory", 0)
        thread.join(20)
        client.flush()
        assert len(sent) == 5
        assert client.purge() == 6


def test_a_slow_server_holds_up_who_submits(server: RedisServer) -> None:
    """While it is slow little is held here: who submits waits for it."""
    with (
        closing(Proxy(str(server.socket))) as proxy,
        alone(f"{proxy.url}?namespace=slow") as client,
    ):
        client.submit(double, 0)
        proxy.delay_s = 0.3
        loop = Endless(lambda x: client.submit(double, x))
        time.sleep(4.0)
        loop.ended = True
        proxy.heal()
        loop.join(30)
        client.flush()
        assert client.purge() == loop.sent + 1
