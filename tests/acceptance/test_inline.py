"""Inline: everything in this thread, by the same engine."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import taskflow
from taskflow import Client, RetryPolicy, Workflow, chain, group, map_reduce, task
from taskflow.errors import CannotPickle, TaskCancelled, UpstreamFailed, UsageError, WaitTimedOut
from taskflow.hooks import using


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(mode="inline") as client:
        yield client


def add(x: int, y: int = 1) -> int:
    return x + y


def fail(text: str = "no") -> None:
    raise ValueError(text)


def test_a_call_runs_in_this_thread_and_process(client: Client) -> None:
    assert client.submit(lambda: (os.getpid(), threading.get_ident())).result() == (
        os.getpid(),
        threading.get_ident(),
    )


def test_a_debugger_sees_the_frames_of_the_user(client: Client) -> None:
    seen: list[str] = []

    def tracer(frame: Any, event: str, arg: Any) -> Any:
        if frame.f_code.co_name == "stop_here":
            names = []
            while frame is not None:
                names.append(frame.f_code.co_name)
                frame = frame.f_back
            seen.extend(names)
        return None

    def stop_here() -> int:
        return 1

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        assert client.submit(stop_here).result() == 1
    finally:
        sys.settrace(before)

    assert seen[0] == "stop_here"
    assert "test_a_debugger_sees_the_frames_of_the_user" in seen


def test_output_goes_where_it_always_goes(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    client.submit(print, "here").result()

    assert capsys.readouterr().out == "here\n"


def test_errors_are_the_same(client: Client) -> None:
    failed = client.submit(fail, "inline")

    with pytest.raises(ValueError, match="inline") as caught:
        failed.result()
    assert "raise ValueError(text)" in str(caught.value.__cause__)
    with pytest.raises(UpstreamFailed):
        client.submit(add, failed).result()
    with pytest.raises(CannotPickle):
        client.submit(add, threading.Lock())


def test_maps_futures_and_gather_are_the_same(client: Client) -> None:
    run = client.map(add, range(1000))

    assert sum(run) == 500_500
    assert run[3].result() == 4
    assert client.submit(sum, run).result() == 500_500
    assert client.gather([client.submit(add, i) for i in range(3)]) == [1, 2, 3]
    assert sorted(f.result() for f in client.as_completed(client.map(add, [1, 2]))) == [2, 3]
    assert client.map(add, range(4)).reduce(add).result() == 10


def test_retries_are_waited_for(client: Client) -> None:
    def third() -> int:
        attempt = taskflow.current().attempt
        if attempt < 3:
            raise OSError("not yet")
        return attempt

    policy = RetryPolicy(5, delay=0.02, jitter=None)
    assert client.options(retry=policy).submit(third).result() == 3


def test_a_countdown_is_waited_for(client: Client) -> None:
    assert client.options(countdown=0.05).submit(add, 1).result() == 2


def test_every_queue_is_served(client: Client) -> None:
    assert client.options(queue="gpu").submit(add, 1).result() == 2
    assert client.options(queue="slow", priority=3).map(add, [1, 2]).results() == [2, 3]


def test_a_wait_that_cannot_end_says_so(client: Client) -> None:
    late = client.options(countdown=60).submit(add, 1)

    with pytest.raises(WaitTimedOut, match="due later"):
        late.result(timeout=0.05)
    assert late.cancel()
    with pytest.raises(TaskCancelled):
        late.result()


def test_tasks_wait_for_their_own_tasks(client: Client) -> None:
    def fib(n: int) -> int:
        if n < 2:
            return n
        with Client() as inner:
            one, two = inner.submit(fib, n - 1), inner.submit(fib, n - 2)
            return one.result() + two.result()

    assert client.submit(fib, 7).result() == 13
    assert client.submit(add, 1).result() == 2


def test_two_threads_share_an_inline_client(client: Client) -> None:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda i=i: found.append(sum(client.map(add, range(i * 100)))))
        for i in range(1, 5)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(found) == [5050, 20100, 45150, 80200]


def test_ctrl_c_ends_the_wait_and_what_is_behind_it(client: Client) -> None:
    def interrupted(i: int) -> int:
        if i == 2:
            raise KeyboardInterrupt
        return i

    late = client.options(countdown=0.02).map(interrupted, range(100), chunksize=2)

    with pytest.raises(KeyboardInterrupt):
        late.results()

    assert late.state in ("cancelled", "failed")
    assert client.submit(add, 1).result() == 2


def test_it_can_be_awaited(client: Client) -> None:
    async def main() -> tuple[int, list[int]]:
        return await client.submit(add, 1), await client.map(add, [1, 2])

    assert asyncio.run(main()) == (2, [2, 3])


def test_graphs_run(client: Client) -> None:
    plus = task(add)

    with using(client):
        assert chain(plus.s(1, 1), plus.s(3)).delay().get() == 5
        assert group(plus.s(i) for i in range(3)).delay().get() == [1, 2, 3]
        counted = map_reduce(["a b", "b"], lambda s: [(w, 1) for w in s.split()], lambda k, v: sum(v))
    assert dict(counted) == {"a": 1, "b": 2}

    wf = Workflow("w")
    numbers = wf.add(range, 4, name="numbers")
    wf.add(sum, wf.map(add, numbers, name="plus"), name="total")
    run = client.submit_workflow(wf, {})
    assert run.result() == 10
    assert run.gather()["plus"] == [1, 2, 3, 4]


def test_two_inline_clients_are_two_stores(client: Client) -> None:
    with Client(mode="inline") as other:
        foreign = other.submit(add, 1)

        assert other.url != client.url
        with pytest.raises(UsageError, match="belongs to memory"):
            client.submit(add, foreign)


def test_tables_work(client: Client) -> None:
    client.submit(add, 1).result()

    assert list(client.runs()["state"]) == ["succeeded"]
    assert len(client.dead_letters()) == 0


def test_a_long_call_is_not_run_twice(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A breakpoint holds a call for minutes: its lease must not run out."""
    path = tmp_path / "count"

    def task(target: str) -> None:
        with Path(target).open("a") as file:
            file.write("x")

    future = client.options(countdown=0.01).submit(task, str(path))
    (hands,) = client._engine._hands
    assert hands[1]._lease_s > 1e6
    future.result()
    assert path.read_text() == "x"


def test_the_client_of_a_task_is_that_of_its_store(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(mode="inline") as other:
        monkeypatch.setattr("taskflow.client._default", other)

        assert client.submit(lambda: taskflow.get_client().url).result() == client.url
        assert taskflow.get_client() is other


def test_quick_items_are_run_in_long_ranges(client: Client) -> None:
    run = client.map(abs, range(5_000)).wait(10)

    assert len(run.items()) < 500


def test_an_item_may_wait_for_a_later_one_of_its_range(client: Client) -> None:
    def item(x: int) -> int:
        if x < 0:
            node = taskflow.current().id
            return -int(taskflow.get_client().future(f"{node}[10]").result(5))
        return x

    client.map(item, range(5_000)).wait(10)  # now it is known to be quick

    assert client.map(item, [0, 1, -1, *range(3, 1_000)]).results() == [0, 1, -10, *range(3, 1_000)]
