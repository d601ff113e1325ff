"""Futures as arguments, and what arrives when a task fails."""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskflow import Client
from taskflow.errors import (
    CannotPickle,
    RemoteError,
    TaskCancelled,
    TaskError,
    UpstreamFailed,
    UsageError,
    WorkerLost,
)
from tests.acceptance.stage import DEADLINE_S, opened


def add(x: int, y: int = 1) -> int:
    return x + y


def fail(text: str = "no") -> None:
    raise ValueError(text)


@dataclasses.dataclass
class Box:
    inside: Any
    label: str = ""


# ── as arguments ─────────────────────────────────────────────────────────────────────


def test_a_future_is_an_argument(client: Client) -> None:
    one = client.submit(add, 1)

    assert client.submit(add, one, y=one).result(DEADLINE_S) == 4


def test_futures_deep_inside_arguments_are_found(client: Client) -> None:
    one, two = client.submit(add, 0), client.submit(add, 1)
    given = {"list": [one, (two, {"k": one})], "box": Box(two, "b"), "plain": 7}

    found = client.submit(lambda x: x, given).result(DEADLINE_S)

    assert found == {"list": [1, (2, {"k": 1})], "box": Box(2, "b"), "plain": 7}


def test_a_map_and_an_item_of_it_are_arguments(client: Client) -> None:
    run = client.map(add, range(5))

    assert client.submit(sum, run).result(DEADLINE_S) == 15
    assert client.submit(add, run[4], run[0]).result(DEADLINE_S) == 6


def test_futures_are_items_of_a_map(client: Client) -> None:
    futures = [client.submit(add, i) for i in range(4)]

    assert client.map(add, futures).results() == [2, 3, 4, 5]
    assert client.map(add, futures, [10, 20, 30, 40]).results() == [11, 22, 33, 44]


def test_a_long_chain_of_futures_runs(client: Client) -> None:
    future = client.submit(add, 0)
    for _ in range(100):
        future = client.submit(add, future)

    assert future.result(DEADLINE_S) == 101


def test_a_future_that_ended_is_an_argument_too(client: Client) -> None:
    one = client.submit(add, 1)
    one.result(DEADLINE_S)

    assert client.submit(add, one).result(DEADLINE_S) == 3


def test_a_future_of_another_process_is_an_argument(client: Client) -> None:
    one = client.submit(add, 1)
    with Client(client.url, workers=0) as other:
        found = other.future(one.id)

        assert other.submit(add, found).result(DEADLINE_S) == 3
        assert other.submit(add, one).result(DEADLINE_S) == 3


def test_a_failed_future_skips_what_depends_on_it_and_names_the_root(client: Client) -> None:
    root = client.submit(fail, "the root")
    middle = client.submit(add, root)
    last = client.submit(add, 1, y=middle)

    with pytest.raises(UpstreamFailed) as caught:
        last.result(DEADLINE_S)

    assert caught.value.root == root.id
    assert str(caught.value) == "fail failed: ValueError: the root"
    with pytest.raises(UpstreamFailed, match=r"^fail failed: ValueError: the root$"):
        middle.result(DEADLINE_S)
    with pytest.raises(ValueError, match="the root"):
        root.result(DEADLINE_S)


def test_a_map_over_a_failed_future_is_skipped(client: Client) -> None:
    root = client.submit(fail, "the root")
    run = client.map(add, [root, 1])

    for ask in (run.results, lambda: run[1].result(DEADLINE_S), lambda: next(run)):
        with pytest.raises(UpstreamFailed, match=r"^fail failed: ValueError: the root$"):
            ask()


def test_the_item_that_failed_first_is_named(client: Client) -> None:
    def inverse(x: int) -> float:
        return 1 / x

    last = client.submit(str, client.submit(sum, client.map(inverse, [2, 1, 0, 4])))

    with pytest.raises(UpstreamFailed, match=r"inverse\[2\] failed: ZeroDivisionError: division by zero$"):
        last.result(DEADLINE_S)


def test_a_cancelled_future_skips_what_depends_on_it(client: Client) -> None:
    first = client.options(countdown=60).submit(add, 1)
    second = client.submit(add, first)

    assert first.cancel()

    with pytest.raises(UpstreamFailed, match=r"^add cancelled: .*cancelled by its future"):
        second.result(DEADLINE_S)


def test_a_task_can_wait_for_others_without_their_values(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "made"
    first = client.submit(path.write_text, "x")

    assert client.options(after=(first,)).submit(path.read_text).result(DEADLINE_S) == "x"


def test_a_future_of_another_store_is_refused(client: Client, tmp_path: Path) -> None:
    with opened(tmp_path, workers=0) as other:
        foreign = other.submit(add, 1)

        for send in (
            lambda: client.submit(add, foreign),
            lambda: client.submit(add, [{"deep": foreign}]),
            lambda: client.map(add, [foreign]),
            lambda: client.options(after=(foreign,)).submit(add, 1),
        ):
            with pytest.raises(UsageError, match="belongs to sqlite"):
                send()


def test_a_captured_future_is_refused_with_a_hint(client: Client) -> None:
    one = client.submit(add, 1)

    with pytest.raises(CannotPickle, match="Pass the future as an argument"):
        client.submit(lambda: one.result())  # noqa: PLW0108 - the capture is what is tested


# ── failures ─────────────────────────────────────────────────────────────────────────


class Custom(Exception):
    def __init__(self, code: int, *, detail: str) -> None:
        super().__init__(f"code {code}")
        self.code, self.detail = code, detail


def test_the_exception_is_the_tasks_own(client: Client) -> None:
    def task() -> None:
        raise Custom(7, detail="deep")

    with pytest.raises(Custom, match="code 7") as caught:
        client.submit(task).result(DEADLINE_S)

    assert (caught.value.code, caught.value.detail) == (7, "deep")


def test_the_cause_is_the_workers_traceback(client: Client) -> None:
    def inner(x: int) -> float:
        return 1 / x

    def outer(x: int) -> float:
        return inner(x)

    with pytest.raises(ZeroDivisionError) as caught:
        client.submit(outer, 0).result(DEADLINE_S)

    text = str(caught.value.__cause__)
    assert text.index("in outer") < text.index("in inner")
    assert "return 1 / x" in text
    assert "taskflow/pools" not in text


def test_the_cause_of_the_cause_and_notes_are_told(client: Client) -> None:
    def task() -> None:
        try:
            fail("first")
        except ValueError as error:
            later = KeyError("second")
            later.add_note("a note")
            raise later from error

    with pytest.raises(KeyError) as caught:
        client.submit(task).result(DEADLINE_S)

    text = str(caught.value.__cause__)
    assert "ValueError: first" in text
    assert "direct cause" in text
    assert "a note" in text


def test_source_lines_of_interactive_code_are_shown(client: Client) -> None:
    import linecache

    source = "def from_cell(x):\n    marker = x\n    return marker / 0  # the line\n"
    name = "<ipython-input-7-abcdef>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    session: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), session)

    with pytest.raises(ZeroDivisionError) as caught:
        client.submit(session["from_cell"], 1).result(DEADLINE_S)

    assert "return marker / 0  # the line" in str(caught.value.__cause__)


def test_an_exception_that_cannot_travel_arrives_as_text(client: Client) -> None:
    class Locked(Exception):
        def __init__(self) -> None:
            super().__init__("locked up")
            self.lock = threading.Lock()

    def task() -> None:
        raise Locked

    with pytest.raises(RemoteError, match="locked up") as caught:
        client.submit(task).result(DEADLINE_S)

    assert "Locked" in caught.value.type_name
    assert "raise Locked" in caught.value.remote_traceback


def test_a_result_that_cannot_travel_is_an_error_that_says_so(client: Client) -> None:
    with pytest.raises(CannotPickle, match="lock"):
        client.submit(lambda: {"a": [threading.Lock()]}).result(DEADLINE_S)


def test_one_result_that_cannot_travel_fails_its_item_alone(client: Client) -> None:
    run = client.map(lambda i: threading.Lock() if i == 1 else i, range(3))

    assert run.results("skip") == [0, 2]
    assert isinstance(run[1].exception(DEADLINE_S), CannotPickle)


def exit_now() -> None:
    raise SystemExit("bye")


@pytest.mark.parametrize("how", [functools.partial(sys.exit, 3), exit_now], ids=["sys.exit", "SystemExit"])
def test_leaving_python_is_a_failure_of_the_task(client: Client, how: Callable[[], Any]) -> None:
    with pytest.raises(SystemExit):
        client.submit(how).result(DEADLINE_S)

    assert client.submit(add, 1).result(DEADLINE_S) == 2


def test_a_keyboard_interrupt_in_a_task_is_a_failure_of_the_task(client: Client) -> None:
    def task() -> None:
        raise KeyboardInterrupt

    assert isinstance(client.submit(task).exception(DEADLINE_S), KeyboardInterrupt)


def test_a_process_that_dies_is_told_after_the_last_delivery(client: Client) -> None:
    once = client.options(max_deliveries=1)

    with pytest.raises(WorkerLost) as exited:
        once.submit(os._exit, 7).result(DEADLINE_S)
    with pytest.raises(WorkerLost) as killed:
        once.submit(lambda: os.kill(os.getpid(), signal.SIGKILL)).result(DEADLINE_S)

    assert exited.value.exit_code == 7
    assert killed.value.signal == signal.SIGKILL
    assert client.submit(add, 1).result(DEADLINE_S) == 2


def test_a_cancelled_run_says_why(client: Client) -> None:
    future = client.options(countdown=60).submit(add, 1)

    client.cancel(future.id, reason="changed my mind")

    with pytest.raises(TaskCancelled, match="changed my mind") as caught:
        future.result(DEADLINE_S)
    assert isinstance(caught.value, TaskError)
    assert caught.value.reason == "changed my mind"


def test_a_future_that_waits_for_nobody_says_so(tmp_path: Path) -> None:
    with opened(tmp_path, workers=0) as client:
        with pytest.raises(TimeoutError, match=r"No worker serves .*: start one with `taskflow worker"):
            client.submit(add, 1).result(0.05)
        with pytest.raises(TimeoutError, match="No worker serves"):
            client.map(add, [1]).wait(0.05)


def test_a_shown_future_says_how_it_stands(client: Client) -> None:
    future = client.submit(add, 1)
    future.result(DEADLINE_S)

    assert repr(future) == f"<Future add {future.id[:13]}… finished>"


def test_large_values_travel_between_tasks(client: Client) -> None:
    big = client.submit(bytes, 3_000_000)

    assert client.submit(len, big).result(DEADLINE_S) == 3_000_000
    assert len(big.result(DEADLINE_S)) == 3_000_000


def test_nothing_keeps_a_result_that_nobody_holds(client: Client) -> None:
    import gc
    import weakref

    future = client.submit(add, 1)
    future.result(DEADLINE_S)
    ghost = weakref.ref(future)

    del future
    deadline = time.monotonic() + 5
    while ghost() is not None and time.monotonic() < deadline:
        gc.collect()
    assert ghost() is None
