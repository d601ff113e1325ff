"""`Client` is an `Executor` and its futures are futures, as the standard library has them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from taskflow import Client
from taskflow.errors import TaskCancelled, UsageError, WaitTimedOut
from tests.acceptance.stage import DEADLINE_S, opened, until


def fail(text: str = "no") -> None:
    raise ValueError(text)


def keywords(**given: Any) -> dict[str, Any]:
    return given


def test_a_client_is_an_executor_and_gives_futures(client: Client) -> None:
    future = client.submit(pow, 2, 10)

    assert isinstance(client, concurrent.futures.Executor)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(DEADLINE_S) == 1024
    assert future.done()
    assert not future.running()
    assert not future.cancelled()
    assert future.exception() is None


def test_every_keyword_belongs_to_the_function(client: Client) -> None:
    given = {"self": 1, "fn": 2, "retry": 3, "timeout": 4, "queue": 5, "client": 6}

    assert client.submit(keywords, **given).result(DEADLINE_S) == given


def test_a_function_is_needed(client: Client) -> None:
    with pytest.raises(UsageError, match="needs a function"):
        client.submit(3)  # type: ignore[arg-type]


def test_the_standard_wait_works(client: Client) -> None:
    futures = [client.submit(abs, -i) for i in range(5)] + [client.submit(fail)]

    done, pending = concurrent.futures.wait(futures, timeout=DEADLINE_S)

    assert (len(done), len(pending)) == (6, 0)


def test_the_standard_wait_returns_at_the_first_exception(client: Client) -> None:
    slow = client.submit(time.sleep, 20)

    done, pending = concurrent.futures.wait(
        [slow, client.submit(fail)], DEADLINE_S, concurrent.futures.FIRST_EXCEPTION
    )

    assert len(done) == 1
    assert pending == {slow}
    assert slow.cancel()


def test_the_standard_as_completed_works(client: Client) -> None:
    futures = [client.submit(abs, -i) for i in range(5)]

    found = [future.result() for future in concurrent.futures.as_completed(futures, DEADLINE_S)]

    assert sorted(found) == [0, 1, 2, 3, 4]


def test_the_standard_wait_hears_of_a_cancellation(client: Client) -> None:
    slow = client.options(countdown=60).submit(time.sleep, 0)
    threading.Timer(0.05, slow.cancel).start()

    done, _ = concurrent.futures.wait([slow], DEADLINE_S)

    assert done == {slow}


def test_a_callback_is_called_with_the_future(client: Client) -> None:
    called: list[Any] = []
    ready = threading.Event()
    future = client.submit(abs, -3)

    future.add_done_callback(lambda done: (called.append(done), ready.set()))  # type: ignore[func-returns-value]

    assert ready.wait(DEADLINE_S)
    assert called == [future]


def test_a_callback_may_submit(client: Client) -> None:
    found: list[Any] = []
    ready = threading.Event()

    def go_on(done: concurrent.futures.Future[int]) -> None:
        found.append(client.submit(abs, -done.result()))
        ready.set()

    client.submit(abs, -3).add_done_callback(go_on)

    assert ready.wait(DEADLINE_S)
    assert found[0].result(DEADLINE_S) == 3


def test_a_callback_that_raises_harms_nobody(client: Client) -> None:
    future = client.submit(abs, -3)
    future.add_done_callback(lambda _: fail())

    assert future.result(DEADLINE_S) == 3
    assert client.submit(abs, -4).result(DEADLINE_S) == 4


def test_a_future_can_be_awaited(client: Client) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        return [
            await client.submit(abs, -1),
            await asyncio.wrap_future(client.submit(abs, -2)),
            await loop.run_in_executor(client, abs, -3),
            *await asyncio.gather(*(client.submit(abs, -i) for i in (4, 5))),
        ]

    assert asyncio.run(main()) == [1, 2, 3, 4, 5]


def test_awaiting_a_failed_task_raises_its_exception(client: Client) -> None:
    async def main() -> None:
        await client.submit(fail, "awaited")

    with pytest.raises(ValueError, match="awaited"):
        asyncio.run(main())


def test_an_await_that_times_out_cancels_the_task(client: Client) -> None:
    future = client.submit(time.sleep, 30)

    async def main() -> None:
        async with asyncio.timeout(0.1):
            await future

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert future.cancelled()


def test_a_map_can_be_awaited(client: Client) -> None:
    async def main() -> list[int]:
        return await client.map(abs, range(-3, 0))

    assert asyncio.run(main()) == [3, 2, 1]


def test_a_wait_that_ends_says_so_and_the_task_goes_on(client: Client) -> None:
    future = client.submit(time.sleep, 0.4)

    with pytest.raises(WaitTimedOut, match=r"sleep had not ended after 0\.01 s"):
        future.result(timeout=0.01)
    with pytest.raises(TimeoutError):
        future.exception(timeout=0.01)

    assert future.result(DEADLINE_S) is None


def test_a_task_that_raises_a_timeout_error_is_no_wait_that_ended(client: Client) -> None:
    def late() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own") as caught:
        client.submit(late).result(DEADLINE_S)
    assert not isinstance(caught.value, WaitTimedOut)


def test_a_running_task_says_so_and_can_be_cancelled(client: Client) -> None:
    future = client.submit(time.sleep, 60)
    until(future.running)

    assert future.cancel()
    assert future.cancelled()
    assert future.done()
    assert future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    with pytest.raises(TaskCancelled, match="cancelled by its future"):
        future.exception()
    assert client.submit(abs, -1).result(DEADLINE_S) == 1


def test_a_finished_task_cannot_be_cancelled(client: Client) -> None:
    future = client.submit(abs, -1)
    future.result(DEADLINE_S)

    assert not future.cancel()
    assert not future.cancelled()


def test_map_gives_results_in_order(client: Client) -> None:
    assert list(client.map(pow, [2, 3, 4], [3, 2, 1, 0])) == [8, 9, 4]
    assert list(client.map(abs, [])) == []
    assert list(client.map(abs, (-i for i in range(10)), chunksize=3)) == list(range(10))


def test_map_raises_when_the_time_is_up(client: Client) -> None:
    client.submit(abs, -1).result(DEADLINE_S)
    run = client.map(time.sleep, [0, 30], timeout=1)

    assert next(run) is None
    with pytest.raises(TimeoutError):
        next(run)
    assert run.cancel()


def test_map_raises_what_an_item_raised_and_goes_on(client: Client) -> None:
    def root(x: int) -> float:
        if x < 0:
            raise ValueError(f"no root of {x}")
        return x**0.5

    run = client.map(root, [4, -1, 9])

    assert next(run) == 2
    with pytest.raises(ValueError, match="no root of -1"):
        next(run)
    assert next(run) == 3
    with pytest.raises(StopIteration):
        next(run)


def test_a_client_that_was_shut_down_takes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path, workers=1) as client:
        client.shutdown()
        client.shutdown()

        with pytest.raises(RuntimeError, match="after shutdown"):
            client.submit(abs, 1)
        with pytest.raises(RuntimeError, match="after shutdown"):
            client.map(abs, [1])


def test_leaving_the_block_waits_for_what_was_submitted(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    with Client(f"sqlite:///{tmp_path / 'runs.db'}", workers=2) as client:
        futures = [client.submit(time.sleep, 0.1) for _ in range(4)]
        run = client.map(abs, range(-5, 0))

    assert all(future.done() for future in futures)
    assert run.done()


def test_shutdown_can_cancel_what_has_not_started(tmp_path: Path) -> None:
    with opened(tmp_path, workers=1) as client:
        running = client.submit(time.sleep, 0.5)
        until(running.running)
        waiting = [client.submit(time.sleep, 0.5) for _ in range(20)]

        client.shutdown(cancel_futures=True)

    assert running.result(0) is None
    assert sum(future.cancelled() for future in waiting) >= 18


def test_shutdown_does_not_hang_when_nobody_works(tmp_path: Path) -> None:
    with opened(tmp_path, workers=0) as client:
        future = client.submit(abs, -1)
        began = time.monotonic()

        client.shutdown()

    assert time.monotonic() - began < 15
    assert not future.done()


def test_shutdown_does_not_hang_on_a_queue_that_nobody_serves(tmp_path: Path) -> None:
    with opened(tmp_path, workers=1) as client:
        client.options(queue="gpu").submit(abs, -1)
        client.submit(abs, -1).result(DEADLINE_S)
        began = time.monotonic()

        client.shutdown()

    assert time.monotonic() - began < 15
