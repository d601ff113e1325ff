"""Everything can be awaited: in an event loop that goes on meanwhile, whatever the store."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from taskflow import Client, Workflow, as_completed, chain, task
from taskflow.errors import TaskCancelled, WaitTimedOut
from taskflow.states import State
from tests.acceptance.stage import DEADLINE_S, of_store, opened, run_script, until
from tests.servers import running


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    yield from running("valkey")


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One for all tests here, over either store."""
    yield from of_store(request.param, request, tmp_path_factory.mktemp("store"))


@pytest.fixture
def asked_in(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The names of the threads that ask the store for anything."""
    names: set[str] = set()
    store = client._engine._store
    for verb in ("submit", "cancel", "values", "items", "snapshot", "events", "logs", "runs", "find", "call"):
        monkeypatch.setattr(store, verb, _noting(getattr(store, verb), names), raising=True)
    yield names


def _noting(ask: Callable[..., Any], names: set[str]) -> Callable[..., Any]:
    def asked(*args: Any, **kwargs: Any) -> Any:
        names.add(threading.current_thread().name)
        return ask(*args, **kwargs)

    return asked


def odd(x: int) -> int:
    if x % 2 == 0:
        raise ValueError(f"{x} is even")
    return x


def behind(gate: Path, x: int) -> int:
    opens(gate)
    return x


def opens(gate: Path) -> str:
    while not gate.exists():
        time.sleep(0.01)
    return gate.name


def large(size: int) -> bytes:
    return bytes(size)


@task
def add(x: int, y: int) -> int:
    return x + y


class Ticker:
    """Counts while a loop turns, and opens a gate when it has turned some times."""

    def __init__(self, gate: Path) -> None:
        self.gate = gate
        self.ticks = 0

    async def tick(self) -> None:
        while True:
            await asyncio.sleep(0.001)
            self.ticks += 1
            if self.ticks == 20:
                self.gate.touch()


# ── awaiting ─────────────────────────────────────────────────────────────────────────


def test_a_client_is_an_executor_of_an_event_loop(client: Client) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        return [
            await loop.run_in_executor(client, pow, 2, 5),
            await asyncio.wrap_future(client.submit(abs, -2)),
            await client.submit(large, 3),
            *await asyncio.gather(*(client.submit(abs, -i) for i in range(3, 6))),
        ]

    assert asyncio.run(main()) == [32, 2, bytes(3), 3, 4, 5]


def test_it_can_be_the_default_executor_of_a_loop(client: Client) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(client, abs, -i) for i in range(100)]
        done, pending = await asyncio.wait(calls)
        assert not pending
        return sorted(call.result() for call in done)

    assert asyncio.run(main()) == list(range(100))


def test_ten_thousand_results_are_awaited_while_the_loop_goes_on(
    client: Client, tmp_path: Path, asked_in: set[str]
) -> None:
    async def main() -> tuple[list[int], int, Ticker]:
        run = client.map(partial(behind, tmp_path / "gate"), range(10_000))
        futures = run.futures  # the store is asked here, before anything is awaited
        asked_in.clear()
        ticker = Ticker(tmp_path / "gate")
        ticking = asyncio.create_task(ticker.tick())
        values = await asyncio.gather(*futures)
        ticking.cancel()
        return values, threading.active_count(), ticker

    before = threading.active_count()
    values, threads, ticker = asyncio.run(main())

    assert values == list(range(10_000))
    assert threads <= before + 2
    assert "MainThread" not in asked_in
    assert ticker.ticks > 20


def test_thousands_of_calls_are_awaited_without_a_thread_for_each(client: Client) -> None:
    async def main() -> tuple[list[int], int]:
        futures = [client.submit(abs, -i) for i in range(3_000)]
        values = await asyncio.gather(*futures)
        return values, threading.active_count()

    before = threading.active_count()
    values, threads = asyncio.run(main())

    assert values == list(range(3_000))
    assert threads <= before + 4  # those of the client: the outbox, the feed


def test_a_run_is_awaited_beside_others(client: Client, asked_in: set[str]) -> None:
    async def main() -> list[Any]:
        runs = [client.map(abs, range(-n, 0)) for n in range(1, 4)]
        wf = Workflow()
        wf.add(sum, wf.map(abs, [-1, -2], name="all"), name="total")
        flow = client.submit_workflow(wf, {})
        result = client.submit_canvas(chain(add.s(1, 2), add.s(4)))
        asked_in.clear()
        return list(await asyncio.gather(*runs, flow, result))

    assert asyncio.run(main()) == [[1], [2, 1], [3, 2, 1], 3, 7]
    assert "MainThread" not in asked_in


def test_a_large_value_is_fetched_beside_the_loop(client: Client, asked_in: set[str]) -> None:
    size = 3_000_000

    async def main() -> bytes:
        future = client.submit(large, size)
        asked_in.clear()
        return await future

    assert asyncio.run(main()) == bytes(size)
    assert "MainThread" not in asked_in


def test_awaiting_what_failed_raises_what_it_raised(client: Client) -> None:
    async def main() -> list[Any]:
        wf = Workflow()
        wf.add(abs, wf.add(odd, 2, name="bad"), name="below")
        found = [client.submit(odd, 2), client.map(odd, [1, 2]), client.submit_workflow(wf, {})]
        return await asyncio.gather(*found, return_exceptions=True)

    call, run, flow = asyncio.run(main())

    assert (str(call), str(run)) == ("2 is even", "2 is even")
    assert isinstance(call, ValueError)
    assert isinstance(flow, TaskCancelled)  # of the last node: "bad failed"
    assert "bad failed" in str(flow)


# ── giving up ────────────────────────────────────────────────────────────────────────


def test_who_is_cancelled_while_he_awaits_cancels_the_call(client: Client, tmp_path: Path) -> None:
    future, run = client.submit(opens, tmp_path / "never"), client.map(opens, [tmp_path / "never"])

    async def main() -> None:
        for handle in (future, run):
            waiting = asyncio.ensure_future(handle)
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(main())

    until(lambda: future.state is State.CANCELLED)
    until(lambda: run.state is State.CANCELLED)


def test_the_first_that_fails_in_a_group_cancels_the_other(client: Client, tmp_path: Path) -> None:
    other = client.submit(opens, tmp_path / "never")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for future in [other, client.submit(odd, 2)]:
                group.create_task(_awaits(future))

    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(main())

    assert raised.group_contains(ValueError, match="2 is even")
    until(lambda: other.state is State.CANCELLED)


async def _awaits(future: Any) -> Any:
    return await future


def test_a_shield_lets_the_call_go_on(client: Client, tmp_path: Path) -> None:
    future = client.submit(opens, tmp_path / "gate")

    async def main() -> str:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(inner := asyncio.ensure_future(future)), 0.05)
        (tmp_path / "gate").touch()
        return await inner

    assert asyncio.run(main()) == "gate"


def test_a_client_may_be_told_that_a_call_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path, cancel_on_interrupt=False) as client:
        future = client.submit(opens, tmp_path / "gate")

        async def main() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_awaits(future), 0.05)

        asyncio.run(main())
        (tmp_path / "gate").touch()

        assert future.result(DEADLINE_S) == "gate"


def test_awaiting_what_was_cancelled_says_so(client: Client, tmp_path: Path) -> None:
    future = client.submit(opens, tmp_path / "never")

    async def main() -> None:
        waiting = asyncio.ensure_future(future)
        await asyncio.sleep(0.02)
        await asyncio.to_thread(future.cancel)
        await waiting

    with pytest.raises(TaskCancelled, match="cancelled by its future"):
        asyncio.run(main())


def test_awaiting_ends_when_nobody_is_left_who_could_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, workers=0) as client:
        monkeypatch.setattr(type(client._engine.crew), "broken", True)

        async def main() -> None:
            await client.submit(abs, -1)

        with pytest.raises(WaitTimedOut, match="dies at every start"):
            asyncio.run(main())


# ── async for ────────────────────────────────────────────────────────────────────────


def test_results_of_a_map_come_in_order_as_they_are_there(client: Client, tmp_path: Path) -> None:
    async def main() -> list[Any]:
        run = client.map(opens, [tmp_path / str(n) for n in range(4)], chunksize=1)
        (tmp_path / "0").touch()
        found = []
        async for name in run:
            found.append(name)
            (tmp_path / str(len(found))).touch()
        return found

    assert asyncio.run(main()) == ["0", "1", "2", "3"]


def test_the_loop_goes_on_between_results(client: Client, tmp_path: Path, asked_in: set[str]) -> None:
    async def main() -> tuple[int, Ticker]:
        run = client.map(partial(behind, tmp_path / "gate"), range(20_000))
        asked_in.clear()
        ticker = Ticker(tmp_path / "gate")
        ticking = asyncio.create_task(ticker.tick())
        total = 0
        async for value in run:
            total += value
        ticking.cancel()
        return total, ticker

    total, ticker = asyncio.run(main())

    assert total == sum(range(20_000))
    assert ticker.ticks >= 20
    assert "MainThread" not in asked_in


def test_a_failed_item_is_raised_in_its_turn_and_the_rest_still_comes(client: Client) -> None:
    async def main() -> list[Any]:
        run, found = client.map(odd, range(4)), list[Any]()
        while True:
            try:
                found.append(await anext(run))
            except ValueError as error:
                found.append(str(error))
            except StopAsyncIteration:
                return found

    assert asyncio.run(main()) == ["0 is even", 1, "2 is even", 3]


def test_an_endless_generator_is_read_as_results_are_taken(client: Client) -> None:
    async def main() -> list[int]:
        run, found = client.map(abs, count(), buffersize=16), list[int]()
        async for value in run:
            found.append(value)
            if value == 100:
                break
        await asyncio.to_thread(run.cancel)
        return found

    assert asyncio.run(main()) == list(range(101))


def test_iterating_gives_up_after_the_time_of_the_map(client: Client, tmp_path: Path) -> None:
    async def main() -> None:
        async for _ in run:
            pass

    run = client.map(opens, [tmp_path / "never"], timeout=0.1)

    with pytest.raises(WaitTimedOut):
        asyncio.run(main())
    assert not run.done()
    run.cancel()


def test_who_is_cancelled_while_he_iterates_cancels_the_run(client: Client, tmp_path: Path) -> None:
    run = client.map(opens, [tmp_path / "never"])

    async def main() -> None:
        async with asyncio.timeout(0.05):
            async for _ in run:
                pass

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    until(lambda: run.state is State.CANCELLED)


def test_futures_come_as_they_end(client: Client, tmp_path: Path, asked_in: set[str]) -> None:
    async def main() -> list[str]:
        slow, quick = client.submit(opens, tmp_path / "slow"), client.submit(opens, tmp_path / "quick")
        found = []
        (tmp_path / "quick").touch()
        asked_in.clear()
        async for future in as_completed([slow, quick]):
            found.append(await future)
            (tmp_path / "slow").touch()
        return found

    assert asyncio.run(main()) == ["quick", "slow"]
    assert "MainThread" not in asked_in


def test_items_of_a_map_come_as_they_end(client: Client) -> None:
    async def main() -> tuple[int, set[int]]:
        coming = client.map(abs, range(-500, 0)).as_completed()
        many = len(coming)
        return many, {await future async for future in coming}

    assert asyncio.run(main()) == (500, set(range(1, 501)))


def test_nodes_of_a_workflow_come_as_they_end(client: Client, tmp_path: Path, asked_in: set[str]) -> None:
    wf = Workflow()
    slow = wf.add(opens, tmp_path / "gate", name="slow")
    wf.map(abs, wf.add(range, 1, 4, name="numbers"), name="all")
    wf.add(str, slow, name="after")

    async def main() -> list[Any]:
        run, found = client.submit_workflow(wf, {}), list[Any]()
        asked_in.clear()
        async for name, handle in run:
            found.append((name, await handle))
            if len(found) == 2:
                (tmp_path / "gate").touch()
        return found

    found = asyncio.run(main())

    # Of those that had ended before anybody looked, either may come first.
    assert sorted(found[:2]) == [("all", [1, 2, 3]), ("numbers", range(1, 4))]
    assert found[2:] == [("slow", "gate"), ("after", "gate")]
    assert "MainThread" not in asked_in


def test_waiting_for_what_comes_next_has_a_limit(client: Client, tmp_path: Path) -> None:
    future = client.submit(opens, tmp_path / "never")

    async def main() -> None:
        async for _ in as_completed([future], timeout=0.05):
            pass

    with pytest.raises(WaitTimedOut, match=r"1 of 1 had not ended after 0\.05 s"):
        asyncio.run(main())
    assert future.state is not State.CANCELLED, "a wait that is over cancels nothing"
    future.cancel()


def test_an_inline_client_runs_what_is_awaited() -> None:
    with Client(mode="inline") as client:

        async def main() -> list[Any]:
            run = client.map(abs, [-1, -2])
            first = [value async for value in run]
            second = [await future async for future in client.as_completed(client.map(abs, [-3]))]
            return [*first, *second, await client.submit(abs, -4)]

        assert asyncio.run(main()) == [1, 2, 3, 4]


@pytest.mark.parametrize("pool", ["process", "thread", "async"])
def test_what_is_awaited_in_a_task_is_run_in_its_own_slot(tmp_path: Path, pool: Any) -> None:
    async def fans_out(depth: int) -> int:
        from taskflow import get_client

        if not depth:
            return 1
        client = get_client()
        runs = [client.map(fans_out, [depth - 1] * 2) for _ in range(2)]
        total = sum([sum(values) for values in await asyncio.gather(*runs)])
        async for value in client.map(abs, range(-10, 0)):
            total += value
        return total

    with opened(tmp_path, workers=1, pool=pool) as client:
        assert client.submit(fans_out, 2).result(DEADLINE_S) == 4 * (4 + 55) + 55


# ── the guide ────────────────────────────────────────────────────────────────────────

GUIDE = Path(__file__).parents[2] / "docs" / "asyncio.md"
CELL = """
import ast, asyncio
cell = compile({source!r}, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
asyncio.run(eval(cell, globals()))
"""


def test_the_examples_of_the_guide_are_true(tmp_path: Path) -> None:
    source = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL))

    said = run_script(tmp_path, CELL.format(source=source)).splitlines()

    assert said == [
        "9", "[0, 1, 4, 9]", "[25, [36, 49]]", "0", "1", "4",
        "numbers range(0, 4)", "squares [0, 1, 4, 9]", "total 14", "too slow, cancelled",
    ]  # fmt: skip
