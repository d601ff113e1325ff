"""A future among threads: however they meet, it ends once, and whoever waits for it hears of it."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from taskflow.future import Future
from taskflow.ids import NodeId, RunId

DEADLINE_S = 30.0
ROUNDS = 300


class Feed:
    """Tells nothing by itself."""

    def unwatch(self, node: str, listener: object) -> None:
        """Nobody watches."""

    def lead(self, *_: Any) -> None:
        """Nobody leads."""


def hold(changed: threading.Condition, done: Callable[[], bool], timeout: float | None) -> bool:
    return changed.wait_for(done, timeout)


@pytest.fixture
def future() -> Future[int]:
    return made()


def made() -> Future[int]:
    engine: Any = SimpleNamespace(feed=Feed(), hold=hold, inline=False, flush=lambda wait=True: None)
    engine.why_waiting = lambda: ""
    return Future(engine, RunId("run"), NodeId("node"))


def at_once(*deeds: Callable[[], object]) -> list[Any]:
    """What each gave, in a thread of its own; they begin together."""
    ready = threading.Barrier(len(deeds))

    def do(deed: Callable[[], object]) -> object:
        ready.wait(DEADLINE_S)
        return deed()

    with concurrent.futures.ThreadPoolExecutor(len(deeds)) as threads:
        return list(threads.map(do, deeds))


def test_a_value_and_a_cancel_at_once_are_one_of_them() -> None:
    for _ in range(ROUNDS):
        told: list[Any] = []
        future = made()
        future.add_done_callback(told.append)

        at_once(partial(future.take, 1, None), partial(future._cancelled, "enough"))

        assert told == [future]
        assert future.done()
        if not future.cancelled():
            assert future.result(0) == 1


def test_who_begins_to_wait_as_it_ends_hears_of_it() -> None:
    for _ in range(ROUNDS):
        future = made()

        first, second, _ = at_once(
            partial(future.result, DEADLINE_S),
            partial(concurrent.futures.wait, [future], DEADLINE_S),
            partial(future.take, 7, None),
        )

        assert first == 7
        assert second.done == {future}


def test_a_callback_that_comes_as_it_ends_is_called_once() -> None:
    for _ in range(ROUNDS):
        told: list[Any] = []
        future = made()

        at_once(partial(future.add_done_callback, told.append), partial(future.take, 7, None))

        assert told == [future]


def test_an_error_is_told_to_who_waits_for_the_first_one(future: Future[int]) -> None:
    other = made()
    threading.Timer(0.05, lambda: future.take(None, ValueError("no"))).start()

    found = concurrent.futures.wait(
        [future, other], DEADLINE_S, return_when=concurrent.futures.FIRST_EXCEPTION
    )

    assert found.done == {future}
    with pytest.raises(ValueError, match="no"):
        future.result(0)
    assert isinstance(future.exception(0), ValueError)


def test_what_has_ended_stays_as_it_is(future: Future[int]) -> None:
    future.take(1, None)

    future.take(2, None)
    future.take(None, ValueError("too late"))

    assert (future.result(0), future.exception(0)) == (1, None)
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.set_result(3)


def test_it_has_what_the_standard_library_gives_a_future(future: Future[int]) -> None:
    own: concurrent.futures.Future[int] = concurrent.futures.Future()

    assert {name: getattr(future, name) for name in vars(own) if name != "_condition"} == {
        name: value for name, value in vars(own).items() if name != "_condition"
    }
    assert isinstance(future._condition, threading.Condition)
    future._waiters.append(0)
    future._done_callbacks.append(print)
    assert (future._waiters, future._done_callbacks) == ([0], [print])
