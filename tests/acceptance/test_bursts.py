"""Single calls submitted while others are on their way: sent together, and still calls of their own."""

from __future__ import annotations

import operator
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import taskflow
from taskflow import AsyncResult, Client, Future, Taskflow
from taskflow.errors import CannotPickle, TaskCancelled, TaskflowError, UpstreamFailed
from taskflow.states import State
from tests.acceptance.stage import opened, run_script, until


@pytest.fixture
def queued(tmp_path: Path) -> Iterator[Client]:
    """A client without workers: what it submits waits."""
    with opened(tmp_path, workers=0) as client:
        yield client


def burst(client: Client, fn: Any, items: Any) -> list[Future[Any]]:
    """Calls of which all that are given back were sent together: others are on their way until they are."""
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(5):
            client.submit(while_there, folder)
        calls = [client.submit(fn, item) for item in items]
    assert all(call.is_single for call in calls), "these were sent one by one"
    return calls


def while_there(folder: str) -> None:
    while Path(folder).exists():
        time.sleep(0.005)


def sum_of(*values: int) -> int:
    return sum(values)


def doubled(x: int) -> int:
    return 2 * x


def odd(x: int) -> int:
    if x % 2 == 0:
        raise ValueError(f"{x} is even")
    return x


def test_each_call_has_its_own_result(client: Client) -> None:
    calls = burst(client, doubled, range(3000))

    assert [call.result() for call in calls] == list(range(0, 6000, 2))
    assert len({call.id for call in calls}) == 3000
    assert len({call.run_id for call in calls}) < 100


def test_arguments_are_those_of_the_moment(client: Client) -> None:
    box: list[int] = []
    calls = []
    for i in range(50):
        box.append(i)
        calls.append(client.submit(len, box))
    box.clear()

    assert [call.result() for call in calls] == list(range(1, 51))


def test_keywords_and_objects_of_any_kind_travel(client: Client) -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    def moved(point: Point, *, by: int = 0) -> int:
        return point.x + by

    calls = [client.submit(moved, Point(i), by=i) for i in range(100)]

    assert [call.result() for call in calls] == list(range(0, 200, 2))


def test_a_captured_variable_that_changes_is_noticed(client: Client) -> None:
    step = 1

    def plus(x: int) -> int:
        return x + step

    first = [client.submit(plus, i) for i in range(20)]
    step = 100
    second = [client.submit(plus, i) for i in range(20)]

    assert [call.result() for call in first] == list(range(1, 21))
    assert [call.result() for call in second] == list(range(100, 120))


def test_the_working_directory_is_that_of_each_submit(
    client: Client, tmp_path: Path, monkeypatch: Any
) -> None:
    calls = []
    for i in range(40):
        folder = tmp_path / str(i % 4)
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        calls.append(client.submit(os.getcwd))

    assert [Path(call.result()).name for call in calls] == [str(i % 4) for i in range(40)]


def test_one_that_fails_leaves_the_others_alone(client: Client) -> None:
    calls = burst(client, odd, range(100))

    assert [call.result() for call in calls[1::2]] == list(range(1, 100, 2))
    with pytest.raises(ValueError, match="42 is even"):
        calls[42].result()
    assert calls[42].state is State.FAILED


def test_one_is_retried_and_no_other(client: Client, tmp_path: Path) -> None:
    def once(path: Path) -> str:
        mark = path / "mark"
        with (path / "ran").open("a") as file:
            file.write("x")
        if not mark.exists():
            mark.touch()
            raise OSError("not yet")
        return path.name

    places = [tmp_path / f"place{i}" for i in range(20)]
    for place in places:
        place.mkdir()
    calls = burst(client, once, places)
    assert all(isinstance(call.exception(), OSError) for call in calls)

    assert calls[7].retry().result() == "place7"
    assert client.retry(calls[8].id).result() == "place8"
    assert client.retry(client.future(calls[9].id)).result() == "place9"
    assert [len((place / "ran").read_text()) for place in places] == [1] * 7 + [2] * 3 + [1] * 10
    with pytest.raises(TaskflowError, match="has not failed"):
        burst(client, doubled, [1])[0].retry()


def test_a_retried_call_draws_the_same_random_numbers(client: Client, tmp_path: Path) -> None:
    pytest.importorskip("numpy")

    def drawn(x: int) -> float:
        number = float(taskflow.rng().random())
        mark = tmp_path / f"{x}-{number}"
        if not list(tmp_path.glob(f"{x}-*")):
            mark.touch()
            raise OSError
        return number if mark.exists() else -1.0

    calls = burst(client, drawn, range(8))
    assert all(call.exception() for call in calls)

    assert 0.0 < calls[5].retry().result() < 1.0


def test_calls_with_retries_are_tried_again(client: Client, tmp_path: Path) -> None:
    def second_time(path: Path) -> str:
        if path.exists():
            return path.name
        path.touch()
        raise OSError("not yet")

    policy = taskflow.RetryPolicy(2, delay=0.01)
    view = client.options(retry=policy)
    calls = [view.submit(second_time, tmp_path / str(i)) for i in range(30)]

    assert [call.result() for call in calls] == [str(i) for i in range(30)]


def test_one_is_cancelled_and_no_other(queued: Client) -> None:
    calls = burst(queued, doubled, range(10))

    assert calls[4].cancel()
    assert calls[4].cancelled()
    assert [call.state for call in calls] == [State.QUEUED] * 4 + [State.CANCELLED] + [State.QUEUED] * 5
    assert queued.cancel(calls[5].id) == 1
    until(calls[5].cancelled)
    with pytest.raises(TaskCancelled):
        calls[5].result()
    assert not calls[6].cancelled()


def test_cancelling_their_run_cancels_all(queued: Client) -> None:
    calls = burst(queued, doubled, range(10))

    for run in {call.run_id for call in calls}:  # some may have been on their way when the others came
        assert queued.cancel(run)

    until(lambda: all(call.cancelled() for call in calls))


def test_what_has_not_started_is_cancelled_at_shutdown(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        calls = [client.submit(time.sleep, 0.3) for _ in range(40)]
        until(lambda: any(call.running() for call in calls))
        client.shutdown(cancel_futures=True)

    assert all(call.done() for call in calls)
    assert sum(call.cancelled() for call in calls) > 30
    assert sum(not call.cancelled() for call in calls) >= 1


def test_an_interrupt_cancels_the_call_that_was_waited_for(queued: Client) -> None:
    calls = burst(queued, doubled, range(10))

    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        calls[3].result(20)

    states = [call.state for call in calls]
    assert states[3] is State.CANCELLED
    assert states.count(State.QUEUED) == 9


@pytest.mark.parametrize("taken", [[0], [3, 4, 5], [1, 40], [0, 20, 39, 41]])
def test_they_are_arguments_of_other_tasks(client: Client, taken: list[int]) -> None:
    calls = burst(client, doubled, range(60))

    total = client.submit(sum_of, *(calls[i] for i in taken))
    listed = client.submit(sum, [calls[i] for i in taken])
    mapped = client.map(operator.neg, [calls[i] for i in taken])
    after = client.options(after=[calls[i] for i in taken]).submit(doubled, 4)

    assert total.result() == listed.result() == 2 * sum(taken)
    assert list(mapped) == [-2 * i for i in taken]
    assert after.result() == 8


def test_who_needs_some_of_them_waits_for_no_others(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def through(x: int) -> int:
        while x == 3 and not gate.exists():
            time.sleep(0.01)
        return x

    calls = burst(client, through, range(6))

    assert client.submit(sum_of, calls[0], calls[2]).result(20) == 2
    assert client.submit(sum_of, calls[2], calls[4]).result(20) == 6
    assert not calls[3].done()
    gate.touch()
    assert client.submit(sum_of, *calls).result(20) == 15


def test_a_failed_one_skips_only_who_needs_it(client: Client) -> None:
    calls = burst(client, odd, range(10))

    apart = client.submit(sum_of, calls[1], calls[5])
    assert apart.result() == 6
    assert client.future(apart.id).result() == 6
    with pytest.raises(UpstreamFailed, match="4 is even"):
        client.submit(sum_of, calls[3], calls[4]).result()
    with pytest.raises(UpstreamFailed, match="6 is even"):
        client.submit(sum_of, calls[1], calls[6]).result()


def test_another_process_finds_them_by_their_ids(client: Client, tmp_path: Path) -> None:
    calls = burst(client, doubled, range(10))
    name = calls[7].id

    printed = run_script(
        tmp_path,
        f"""
        from taskflow import Client
        with Client(workers=0) as client:
            future = client.future({name!r})
            print(future.result(20), future.is_single, client.async_result({name!r}).get(20))
        """.replace("\n        ", "\n"),
        env={"TASKFLOW_URL": client.url},
    )

    assert printed.split() == ["14", "True", "14"]


def test_options_that_differ_are_not_mixed(queued: Client) -> None:
    burst(queued, doubled, [1])
    calls = [queued.options(priority=i % 2).submit(doubled, i) for i in range(10)]
    calls += [queued.options(tags={"part": 1}).submit(doubled, 1)]
    queued.flush()

    rows = {call.run_id: queued._engine.store.snapshot(call.run_id)[0] for call in calls}
    assert [rows[call.run_id].nodes[0].priority for call in calls] == [0, 1] * 5 + [0]
    assert rows[calls[-1].run_id].meta["tags"] == {"part": 1}
    assert all("tags" not in rows[call.run_id].meta for call in calls[:-1])


def test_what_cannot_travel_is_told_at_once(queued: Client) -> None:
    burst(queued, doubled, [1])

    with pytest.raises(CannotPickle, match=r"args\[0\]"):
        queued.submit(doubled, threading.Lock())  # type: ignore[arg-type]


# ── by way of an application: no futures until somebody asks for them ─────────────────

made = Taskflow("made in bursts", set_as_current=False)


@made.task
def halved(x: int) -> int:
    if x % 2:
        raise ValueError(f"{x} is odd")
    return x // 2


@made.task
def through(x: int, folder: str) -> int:
    while_there(folder)
    return x


@made.task
def wide(x: int) -> str:
    return str(x) * 300_000


@pytest.fixture
def app(client: Client) -> Iterator[Taskflow]:
    """The application of this module, in the store of the client."""
    made.conf.broker_url = client.url
    yield made
    made.close()


def delayed(items: Any) -> list[AsyncResult]:
    """Results of `halved`, all sent together: others are on their way until they are."""
    with tempfile.TemporaryDirectory() as folder:
        for x in range(5):
            through.delay(x, folder)
        return [halved.delay(item) for item in items]


def test_calls_of_an_application_have_results_of_their_own(app: Taskflow) -> None:
    results = delayed(range(0, 4000, 2))

    assert [result.get(60) for result in results] == list(range(2000))
    assert len({result.id for result in results}) == 2000
    assert all(result.future.is_single for result in results), "these were sent one by one"
    assert [result.future.result(20) for result in results[:3]] == [0, 1, 2]
    assert (results[7].state, results[7].result, results[7].get(20)) == ("SUCCESS", 7, 7)


def test_a_call_of_an_application_that_fails_leaves_the_others_alone(app: Taskflow) -> None:
    results = delayed(range(100))

    assert [result.get(60) for result in results[::2]] == list(range(50))
    with pytest.raises(ValueError, match="43 is odd"):
        results[43].get(20)
    assert isinstance(results[45].get(20, propagate=False), ValueError)
    assert (results[43].state, results[43].failed()) == ("FAILURE", True)


def test_who_asks_for_the_future_of_a_call_before_its_end_gets_its_value(
    app: Taskflow, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.mkdir()
    results = [through.delay(x, str(gate)) for x in range(30)]
    early = [result.future for result in results[::3]]
    waiting = [result.ready() for result in results]

    gate.rmdir()

    assert not any(waiting)
    assert [future.result(30) for future in early] == list(range(0, 30, 3))
    assert [result.get(30) for result in results] == list(range(30))


def test_a_call_of_an_application_is_revoked_and_no_other(
    app: Taskflow, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = tmp_path / "gate"
    gate.mkdir()
    results = [through.delay(x, str(gate)) for x in range(30)]

    results[20].revoke()
    gate.rmdir()

    with pytest.raises(TaskCancelled):
        results[20].get(30)
    assert [result.get(30) for result in results[21:]] == list(range(21, 30))
    assert "stumbled" not in caplog.text  # the feed would go on, and read all of it again


def test_large_values_of_such_calls_come_from_where_they_are_kept(app: Taskflow) -> None:
    results = [wide.delay(x) for x in range(12)]

    assert [result.get(60) for result in results] == [str(x) * 300_000 for x in range(12)]
