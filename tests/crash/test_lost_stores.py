"""A store that forgets what it had acknowledged: whoever waits is told, nobody waits for ever."""

from __future__ import annotations

import asyncio
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskflow import Client, Workflow, gather, group, task
from taskflow.errors import RunLost
from tests.crash.server_stage import ServerStage

WITHIN_S = 20.0


@task
def power(x: int, y: int) -> int:
    return int(x**y)


def lose_on_restart(stage: ServerStage) -> None:
    """A restart without what was stored."""
    stage.server.kill()
    stage.server.start()


def empty(stage: ServerStage) -> None:
    """Somebody emptied the server, which runs on."""
    stage.server.client().flushall()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[ServerStage]:
    stage = ServerStage(tmp_path, options=("--appendonly", "no", "--save", ""))
    yield stage
    stage.close()


class Waiters:
    """Threads that wait, each in its own way."""

    def __init__(self, *waits: Callable[[], object]) -> None:
        self.raised: list[BaseException | None] = [None] * len(waits)
        self._threads = [
            threading.Thread(target=self._wait, args=(number, wait), daemon=True)
            for number, wait in enumerate(waits)
        ]
        for thread in self._threads:
            thread.start()

    def _wait(self, number: int, wait: Callable[[], object]) -> None:
        try:
            wait()
        except BaseException as error:  # noqa: BLE001 - it is looked at
            self.raised[number] = error

    def join(self) -> None:
        """Wait until all have ended, however."""
        for thread in self._threads:
            thread.join(WITHIN_S)
            assert not thread.is_alive(), "it waits for ever"

    def kinds(self) -> list[type[BaseException] | None]:
        """What ended each of the waits."""
        self.join()
        for error in self.raised:
            if error is not None and not isinstance(error, RunLost):
                raise error
        return [None if error is None else type(error) for error in self.raised]


def waits(client: Client) -> tuple[list[Callable[[], object]], list[Any]]:
    """Everything that can be waited for, with nobody at work."""
    call, mapped = client.submit(pow, 2, 5), client.map(pow, range(5), range(5))
    items, iterated = client.map(pow, range(3), range(3)), client.map(pow, range(3), range(3))
    flow = Workflow("flow")
    step = flow.add(pow, 2, 5, name="first")
    flow.add(pow, step, 2, name="second")
    run = flow.run(client)
    canvas = client.submit_canvas(group(power.s(2, 3), power.s(3, 2)))
    first = items[0]

    async def awaited() -> object:
        return await run

    return [
        call.result,
        mapped.results,
        lambda: list(iterated),
        first.result,
        run.wait,
        run.nodes["second"].result,
        lambda: asyncio.run(awaited()),
        canvas.get,
        lambda: gather([call, mapped, {"run": run}]),
    ], [call, mapped, run]


@pytest.mark.parametrize("lose", [lose_on_restart, empty])
def test_all_who_wait_are_told_when_the_server_has_forgotten_their_runs(
    stage: ServerStage, lose: Callable[[ServerStage], None]
) -> None:
    client = stage.client()
    ways, handles = waits(client)
    client.flush()
    waiters = Waiters(*ways)

    lose(stage)

    assert waiters.kinds() == [RunLost] * len(ways)
    assert all(handle.done() for handle in handles)
    stage.worker(1)
    assert client.submit(pow, 2, 5).result(WITHIN_S) == 32  # its function is stored again


def test_a_run_that_outlives_a_restart_is_waited_for(tmp_path: Path) -> None:
    stage = ServerStage(tmp_path)
    try:
        call = stage.client().submit(pow, 2, 5)
        stage.restart()
        stage.worker(1)
        assert call.result(WITHIN_S) == 32
    finally:
        stage.close()


@pytest.mark.parametrize("with_folder", [False, True])
def test_all_who_wait_are_told_when_the_file_of_the_store_was_removed(
    tmp_path: Path, with_folder: bool
) -> None:
    path = tmp_path / "store" / "runs.db"
    with Client(f"sqlite:///{path}", workers=0) as client:
        ways, handles = waits(client)
        client.flush()
        waiters = Waiters(*ways)

        if with_folder:
            shutil.rmtree(path.parent)
        else:
            path.unlink()

        assert waiters.kinds() == [RunLost] * len(ways)
        assert all(handle.done() for handle in handles)
        with Client(f"sqlite:///{path}", workers=1) as other:
            assert other.submit(pow, 2, 5).result(WITHIN_S) == 32


def test_a_worker_goes_on_with_the_file_that_took_the_place_of_a_removed_one(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with Client(f"sqlite:///{path}", workers=1) as client:
        assert client.submit(pow, 2, 5).result(WITHIN_S) == 32
        path.unlink()
        with pytest.raises(RunLost):
            client.submit(time.sleep, 60).result(WITHIN_S)

        assert client.submit(pow, 2, 5).result(WITHIN_S) == 32


@pytest.mark.parametrize("away", ["killed", "silent"])
def test_a_client_that_does_not_wait_leaves_a_server_that_is_away_at_once(
    stage: ServerStage, away: str
) -> None:
    client = stage.client()
    call = client.submit(pow, 2, 5)
    process = stage.server.process
    assert process is not None
    if away == "killed":
        stage.server.kill()
    else:
        process.send_signal(signal.SIGSTOP)
    waiters = Waiters(lambda: client.submit(pow, 2, 6).result(30))
    time.sleep(1.5)  # the feed asks by now, and the submit
    began = time.monotonic()

    client.shutdown(wait=False)

    took_s = time.monotonic() - began
    if away == "silent":
        process.send_signal(signal.SIGCONT)
    assert took_s < 8.0
    assert not call.done()
    waiters.join()
