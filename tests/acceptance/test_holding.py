"""Locks, semaphores, barriers and guarded functions, as a user says them; on a file, and on a server."""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from taskflow import Barrier, CircuitBreaker, Client, Lock, Options, Semaphore
from taskflow.errors import CircuitOpen, ConfigError, LockLost, UsageError, WaitTimedOut, WorkerLost
from taskflow.hooks import using
from tests.acceptance.stage import DEADLINE_S, opened, until
from tests.acceptance.test_limits import at_once, records, span
from tests.servers import running


@pytest.fixture(scope="module")
def shared_url() -> Iterator[str]:
    for server in running("valkey"):
        yield server.url


@pytest.fixture(params=["file", "server"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    """Four slots of its own."""
    if request.param == "file":
        with opened(tmp_path, workers=4) as client, using(client):
            yield client
        return
    url = f"{request.getfixturevalue('shared_url')}?namespace={tmp_path.name}"
    client = Client(url, workers=4)
    with using(client):
        yield client
    client.shutdown(wait=False)


def held(client: Client, kind: str) -> int:
    """How many places of that kind are held."""
    return sum(row["running"] for row in records(client.limits()) if row["kind"] == kind)


def waits(client: Client, kind: str) -> bool:
    """Whether somebody waits for one."""
    return any(row["waits"] for row in records(client.limits()) if row["kind"] == kind)


def in_turn(folder: str, item: int, n: int = 1) -> int:
    with Lock("ledger") if n == 1 else Semaphore("seats", n) as place:
        span(folder, item)
        return place.fence


def test_one_task_at_a_time_holds_a_lock(client: Client, tmp_path: Path) -> None:
    """And each has a larger fence than those before."""
    fences = client.options(chunksize=1).map(in_turn, [str(tmp_path)] * 12, range(12)).results()

    assert at_once(tmp_path) == 1
    assert len(set(fences)) == 12
    assert min(fences) > 0


def test_so_many_tasks_hold_a_semaphore(client: Client, tmp_path: Path) -> None:
    """No more; and clients with them."""
    with Semaphore("seats", 3):
        calls = [client.submit(in_turn, str(tmp_path), n, 3) for n in range(8)]
        assert client.gather(calls)

    assert at_once(tmp_path) <= 2
    until(lambda: held(client, "semaphore") == 0)


def test_a_lock_is_taken_in_turn_and_not_by_who_does_not_wait(client: Client) -> None:
    """As with the locks of the standard library."""
    lock, other = Lock("ledger"), Lock("ledger")

    assert lock.acquire()
    assert lock.locked()
    assert not other.acquire(blocking=False)
    began = time.monotonic()
    assert not other.acquire(timeout=0.2)
    assert time.monotonic() - began >= 0.2
    lock.release()
    assert not lock.locked()
    assert other.acquire(timeout=0.2)
    other.release()


def test_who_waits_is_called_at_once(client: Client) -> None:
    """It does not wait for its next look."""
    lock, took_s = Lock("ledger"), list[float]()

    def wait() -> None:
        with using(client), Lock("ledger"):
            took_s.append(time.monotonic() - let_go)

    for _ in range(3):
        thread = threading.Thread(target=wait)
        lock.acquire()
        thread.start()
        until(lambda: waits(client, "lock"))
        let_go = time.monotonic()
        lock.release()
        thread.join(DEADLINE_S)

    assert min(took_s) < 0.4  # the machine may be busy; never is it late each time


def die_holding() -> None:
    Lock("ledger", ttl=0.6).acquire()
    os._exit(9)


def test_the_lock_of_one_that_died_is_free_when_its_time_is_over(client: Client) -> None:
    """And not before."""
    call = client.options(max_deliveries=1).submit(die_holding)
    assert isinstance(call.exception(DEADLINE_S), WorkerLost)

    assert Lock("ledger").acquire(timeout=DEADLINE_S)


def test_one_that_lives_keeps_it_longer_than_its_ttl(client: Client) -> None:
    """It says so again and again."""
    with Lock("ledger", ttl=0.6) as lock:
        time.sleep(1.5)

        assert not Lock("ledger").acquire(blocking=False)
        assert not lock.is_lost


def test_who_was_not_heard_of_in_time_is_told(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """It did what it did without the lock; the other's fence is larger."""
    monkeypatch.setattr("taskflow.holds._Hold._keep", lambda hold: None)
    lock, other = Lock("ledger", ttl=0.2), Lock("ledger")
    lock.acquire()
    mine = lock.fence
    assert other.acquire(timeout=DEADLINE_S)

    assert lock.is_lost
    assert other.fence > mine
    with pytest.raises(LockLost, match="longer ttl"):
        lock.release()
    other.release()

    with pytest.raises(KeyError) as caught, Lock("again", ttl=0.01):
        time.sleep(0.05)
        raise KeyError("first")
    assert "longer ttl" in caught.value.__notes__[0]


def wait_for_inner(n: int) -> int:
    with Lock("outer"):
        pass
    return n


def test_who_waits_for_a_lock_lends_its_slot(client: Client) -> None:
    """More tasks wait than there are slots, and another is run meanwhile."""
    with Lock("outer"):
        calls = [client.submit(wait_for_inner, n) for n in range(6)]
        until(lambda: waits(client, "lock"))

        assert client.submit(abs, -3).result(DEADLINE_S) == 3

    assert client.gather(calls) == list(range(6))


def meet(n: int) -> int:
    return Barrier("epoch", n).wait(DEADLINE_S)


def test_all_pass_a_barrier_together(client: Client) -> None:
    """More than there are slots; round after round."""
    first = client.gather([client.submit(meet, 6) for _ in range(6)])
    second = client.gather([client.submit(meet, 6) for _ in range(6)])

    assert len(set(first)) == len(set(second)) == 1
    assert second[0] > first[0]


def test_a_barrier_is_left_by_who_does_not_wait_any_longer(client: Client) -> None:
    """It does not count for the others."""
    barrier = Barrier("epoch", 2)
    with pytest.raises(WaitTimedOut, match="Fewer than 2"):
        barrier.wait(0.1)

    with ThreadPoolExecutor(2) as threads:
        passed = list(threads.map(lambda _: Barrier("epoch", 2, client=client).wait(DEADLINE_S), range(2)))

    assert passed[0] == passed[1]


def test_a_coroutine_that_waits_does_not_hold_up_the_others(client: Client) -> None:
    """Of one loop: the one that has the lock must go on."""
    order = []

    async def work(n: int) -> None:
        async with Lock("ledger"):
            order.append(n)
            await asyncio.sleep(0.01)
            order.append(n)

    async def all_of_them() -> None:
        await asyncio.gather(*(work(n) for n in range(4)))

    asyncio.run(all_of_them())

    assert len(order) == 8
    assert order[::2] == order[1::2]


def test_a_lock_travels_as_its_name(client: Client) -> None:
    """What is held stays with who holds it."""
    lock = Lock("ledger", 7.0)
    with lock:
        copies = [pickle.loads(pickle.dumps(thing)) for thing in (lock, Semaphore("s", 2), Barrier("b", 3))]

        assert [repr(copy) for copy in copies] == [
            "Lock('ledger', ttl=7)",
            "Semaphore('s', 2, ttl=30)",
            "Barrier('b', 3)",
        ]
        with pytest.raises(UsageError, match="not held"):
            copies[0].release()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Lock(""), "as name"),
        (lambda: Lock("a", ttl=0), "above 0"),
        (lambda: Semaphore("a", 0), "1 or more"),
        (lambda: Barrier("a", True), "1 or more"),
        (lambda: CircuitBreaker("a", fallback=3), "fallback"),  # type: ignore[arg-type]
        (lambda: Options(breaker=CircuitBreaker("a", fallback=len)), "decorate"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, words: str) -> None:
    """With the cure."""
    with pytest.raises(ConfigError, match=words):
        make()


def test_to_wait_and_not_to_wait_is_too_much() -> None:
    """As in the standard library."""
    with pytest.raises(UsageError, match="timeout out"):
        Lock("a").acquire(blocking=False, timeout=3)


# ── breakers without a task ──────────────────────────────────────────────────────────

SERVICE = CircuitBreaker("service", failures=2, reset_after=600)


@SERVICE
def ask(item: str) -> int:
    return int(item)


def test_a_decorated_function_fails_fast_everywhere(client: Client) -> None:
    """Two failed here and in a task; then nobody asks, and tasks with that breaker neither."""
    with pytest.raises(ValueError, match="invalid literal"):
        ask("x")
    assert isinstance(client.submit(ask, "y").exception(DEADLINE_S), ValueError)

    assert SERVICE.state == "open"
    with pytest.raises(CircuitOpen, match="service"):
        ask("3")
    assert isinstance(client.options(breaker=SERVICE).submit(abs, 1).exception(DEADLINE_S), CircuitOpen)

    SERVICE.close()
    assert (ask("3"), SERVICE.state) == (3, "closed")


def test_a_fallback_answers_while_it_is_open(client: Client) -> None:
    """With the arguments; also that of a coroutine function."""
    guard = CircuitBreaker("with a fallback", fallback=lambda n: -n)
    plain = guard(lambda n: n)

    @guard
    async def awaited(n: int) -> int:
        return n

    before = (plain(1), asyncio.run(awaited(1)))
    guard.open()
    assert (before, plain(1), asyncio.run(awaited(1))) == ((1, 1), -1, -1)


def test_a_block_is_guarded(client: Client) -> None:
    """An exception that is ignored is an answer; an interrupt says nothing."""
    guard = CircuitBreaker("block", failures=1, ignore=LookupError)
    for error in (KeyError, KeyboardInterrupt):
        with pytest.raises(error), guard:
            raise error
    assert guard.state == "closed"

    with pytest.raises(OSError, match="away"), guard:
        raise OSError("away")
    with pytest.raises(CircuitOpen), guard:
        pass


def test_it_is_half_open_after_a_time_and_one_that_succeeds_closes_it(client: Client) -> None:
    """Whoever opened it."""
    guard = CircuitBreaker("timed", reset_after=600)
    guard.open(0.1)
    assert guard.state == "open"
    until(lambda: guard.state == "half-open")
    with guard:
        pass

    assert guard.state == "closed"


# ── in pools of one process ──────────────────────────────────────────────────────────


async def in_a_coroutine(folder: str, item: int) -> int:
    async with Lock("loop"):
        await asyncio.sleep(0.01)
        span(folder, item, nap_s=0.001)
    return item


def in_a_thread(folder: str, item: int) -> int:
    with Lock("threads"):
        span(folder, item, nap_s=0.01)
    return item


@pytest.mark.parametrize(("pool", "fn"), [("async", in_a_coroutine), ("thread", in_a_thread)])
def test_tasks_of_one_process_take_turns(tmp_path: Path, pool: str, fn: Any) -> None:
    """They wait beside the one that has the lock, and let it go on."""
    with opened(tmp_path, workers=4, pool=pool) as own:
        calls = [own.submit(fn, str(tmp_path), n) for n in range(10)]

        assert own.gather(calls) == list(range(10))
    assert at_once(tmp_path) == 1
