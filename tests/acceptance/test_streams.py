"""Maps over what has no length: read as results are taken, and no further."""

from __future__ import annotations

import asyncio
import itertools
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskflow import Client
from taskflow.errors import CannotPickle, ConfigError, TaskCancelled, TaskError, WaitTimedOut, WorkerLost
from taskflow.states import TERMINAL, State
from tests.acceptance.stage import DEADLINE_S, Script, of_store, opened, run_script, until
from tests.servers import running

SLOW_S = 0.01
WINDOW = 70_000
"""More than is ever read ahead."""


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    yield from running("valkey")


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One for all tests here, over either store."""
    yield from of_store(request.param, request, tmp_path_factory.mktemp("store"))


class Counted:
    """Counts up, endlessly unless it is told otherwise, and knows how far it was read."""

    def __init__(
        self, stop: int | None = None, *, pause_s: float = 0.0, error: Exception | None = None
    ) -> None:
        self.read = 0
        self.closed = False
        self._stop, self._pause_s, self._error = stop, pause_s, error

    def __iter__(self) -> Iterator[int]:
        try:
            while self._stop is None or self.read < self._stop:
                time.sleep(self._pause_s) if self._pause_s else None
                self.read += 1
                yield self.read - 1
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True


def square(x: int) -> int:
    return x * x


def slowly(x: int) -> int:
    time.sleep(SLOW_S)
    return x


def odd_only(x: int) -> int:
    if x % 2 == 0:
        raise ValueError(f"{x} is even")
    return x


def add(x: int, y: int) -> int:
    return x + y


def memory_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def is_still(source: Counted) -> bool:
    """Whether nobody reads on."""
    before = source.read
    time.sleep(0.3)
    return source.read == before


# ── short ones ───────────────────────────────────────────────────────────────────────


def test_a_short_generator_is_a_list(client: Client) -> None:
    run = client.map(square, (x for x in range(100)))

    assert len(run) == 100
    assert list(run) == [x * x for x in range(100)]
    assert len(run.progress.nodes) == 1


def test_an_empty_generator_gives_nothing(client: Client) -> None:
    assert list(client.map(square, iter(()))) == []


def test_what_a_generator_raises_at_once_is_raised_at_once(client: Client) -> None:
    with pytest.raises(ZeroDivisionError):
        client.map(square, (1 // x for x in [0]))


# ── endless ones ─────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(240)
def test_an_endless_generator_is_mapped_with_constant_memory(client: Client) -> None:
    source = Counted()
    run = client.map(square, source)
    taken, before = 0, 0
    for taken, value in enumerate(run, 1):
        if taken % 10_000 == 0:
            assert value == (taken - 1) ** 2
            assert source.read - taken < 2 * WINDOW
        if taken == 100_000:
            before = memory_bytes()
        if taken == 350_000:
            break

    grown = memory_bytes() - before
    assert run.cancel()
    assert grown < 30 << 20, f"{grown:,} bytes"
    until(lambda: source.closed)
    until(lambda: run.state is State.CANCELLED)


def test_a_slow_consumer_is_waited_for(client: Client) -> None:
    source = Counted()
    run = client.map(square, source)
    assert [next(run) for _ in range(3)] == [0, 1, 4]

    until(lambda: is_still(source))

    assert source.read < WINDOW
    assert run.progress.total < WINDOW
    run.cancel()


def test_slow_workers_are_waited_for(client: Client) -> None:
    source = Counted()
    run = client.map(slowly, source)
    assert next(run) == 0

    until(lambda: is_still(source))

    assert source.read < 10_000
    run.cancel()


def test_a_buffer_is_as_large_as_one_says(client: Client) -> None:
    source = Counted()
    run = client.map(square, source, buffersize=10)
    first = [next(run) for _ in range(25)]

    until(lambda: is_still(source))

    assert first == [x * x for x in range(25)]
    assert source.read <= 25 + 10
    run.cancel()


def test_a_buffer_bounds_a_list_too(client: Client) -> None:
    run = client.map(square, list(range(100)), buffersize=7)

    assert next(run) == 0
    assert run.progress.total <= 1 + 2 * 7
    assert list(run) == [x * x for x in range(1, 100)]


def test_an_impossible_buffer_is_refused(client: Client) -> None:
    with pytest.raises(ConfigError, match="buffersize=0"):
        client.map(square, itertools.count(), buffersize=0)


def test_large_items_fill_the_window_sooner(client: Client) -> None:
    source = Counted()
    run = client.map(len, (bytes(2_000_000 + x) for x in source))
    assert next(run) == 2_000_000

    until(lambda: is_still(source))

    assert source.read < 100
    run.cancel()


def test_a_slow_generator_gives_its_items_as_they_come(client: Client) -> None:
    """Also those that come in a burst, before it pauses."""
    feed: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    feed.put(1)
    run = client.map(square, iter(feed.get, None), buffersize=1000)
    threading.Timer(0.3, lambda: [feed.put(x) for x in (2, 3, 4)]).start()

    assert [next(run) for _ in range(4)] == [1, 4, 9, 16]
    feed.put(None)
    assert list(run) == []
    assert len(run) == 4


# ── ends ─────────────────────────────────────────────────────────────────────────────


def test_all_results_are_waited_for(client: Client) -> None:
    source = Counted(20_000)
    run = client.map(square, source)

    assert run.results() == [x * x for x in range(20_000)]
    assert len(run) == 20_000
    assert source.closed
    until(lambda: run.state is State.SUCCEEDED)
    assert list(run) == [x * x for x in range(20_000)]


def test_it_has_no_length_while_it_is_read(client: Client) -> None:
    run = client.map(square, Counted())

    with pytest.raises(TypeError, match="no length yet"):
        len(run)
    assert run
    assert "of ?" in repr(run)
    run.cancel()


def test_what_it_raises_comes_at_its_place(client: Client) -> None:
    run = client.map(square, Counted(5000, error=ArithmeticError("no more")))
    taken = []

    with pytest.raises(ArithmeticError, match="no more"):
        for value in run:
            taken.append(value)

    assert taken == [x * x for x in range(5000)]
    assert list(run) == []
    with pytest.raises(ArithmeticError, match="no more"):
        run.results()
    *rest, last = run.results("return")
    assert rest == taken
    assert isinstance(last, ArithmeticError)
    assert run.results("skip") == taken
    until(lambda: run.state is State.FAILED)
    again = client.attach(run.id)
    with pytest.raises(ArithmeticError, match="no more"):
        list(again)


def test_an_item_that_cannot_travel_ends_it_at_its_place(client: Client) -> None:
    items = (threading.Lock() if x == 5000 else x for x in range(6000))
    run = client.map(str, items)
    taken = []

    with pytest.raises(CannotPickle):
        for value in run:
            taken.append(value)

    assert taken == [str(x) for x in range(5000)]


def test_items_that_fail_raise_in_their_turn(client: Client) -> None:
    run = client.map(odd_only, Counted(6000))

    with pytest.raises(ValueError, match="0 is even"):
        next(run)
    assert next(run) == 1
    assert run.results("skip") == list(range(1, 6000, 2))
    again = run.retry_failed()
    assert again.results("skip") == list(range(1, 6000, 2))
    assert len(again) == 6000


def test_several_iterables_end_with_the_shortest(client: Client) -> None:
    run = client.map(add, itertools.count(), range(10_000))

    assert list(run) == [2 * x for x in range(10_000)]


def test_leases_are_as_short_as_one_says(client: Client) -> None:
    run = client.map(square, Counted(5000), chunksize=50)

    assert run.results() == [x * x for x in range(5000)]
    assert max(item.hi - item.lo for item in run.items()) <= 50


def test_one_stream_feeds_another(client: Client) -> None:
    run = client.map(square, client.map(square, Counted()))

    assert [next(run) for _ in range(10_000)] == [x**4 for x in range(10_000)]
    client.cancel(run)


# ── around it ────────────────────────────────────────────────────────────────────────


def test_futures_of_its_items(client: Client) -> None:
    source = Counted(10_000)
    run = client.map(square, source)

    assert run[9000].result(DEADLINE_S) == 81_000_000
    assert [future.result(DEADLINE_S) for future in run.futures[-2:]] == [9998**2, 9999**2]
    assert run[-1].result(DEADLINE_S) == 9999**2
    with pytest.raises(IndexError):
        run[10_000]


def test_it_is_an_argument_of_another_task(client: Client) -> None:
    total = client.submit(sum, client.map(square, Counted(10_000)))

    assert total.result(DEADLINE_S) == sum(x * x for x in range(10_000))


def test_it_is_folded(client: Client) -> None:
    folded = client.map(square, Counted(10_000)).reduce(add)

    assert folded.result(DEADLINE_S) == sum(x * x for x in range(10_000))


def test_it_is_awaited(client: Client) -> None:
    async def main() -> list[int]:
        return await client.map(square, Counted(6000))

    assert asyncio.run(main()) == [x * x for x in range(6000)]


def test_another_client_attaches_to_it(client: Client) -> None:
    source = Counted()
    run = client.map(square, source)
    again = client.attach(run.id)

    assert [next(again) for _ in range(100)] == [x * x for x in range(100)]
    with pytest.raises(TypeError, match="no length yet"):
        len(again)
    run.cancel()
    with pytest.raises(TaskError):
        for _ in again:
            pass


def test_a_wait_may_be_over_before(client: Client) -> None:
    run = client.map(slowly, Counted(), timeout=0.5)

    with pytest.raises(WaitTimedOut):
        for _ in run:
            pass
    with pytest.raises(WaitTimedOut):
        run.wait(0.2)
    run.cancel()


def test_it_is_cancelled(client: Client) -> None:
    source = Counted()
    run = client.map(slowly, source)
    next(run)

    assert run.cancel()
    run.wait(DEADLINE_S)

    with pytest.raises(TaskCancelled):
        for _ in run:
            pass
    until(lambda: source.closed)
    until(lambda: run.state is State.CANCELLED)


def test_its_progress_has_no_total(client: Client) -> None:
    from taskflow.observe.board import Board

    run = client.map(square, Counted())
    next(run)
    board = Board()
    board.show(run.progress, now=time.time())

    (stage,) = board.stages(time.time())

    assert (stage.label, stage.total) == ("square", None)
    assert "client/" not in str(client.queues())
    run.cancel()


def test_a_key_names_it(client: Client) -> None:
    named = client.options(key=f"stream-{time.time()}")
    run = named.map(square, Counted(6000))

    again = named.map(square, Counted(6000))

    assert again.id == run.id
    assert run.results() == again.results()


# ── ends of the client ───────────────────────────────────────────────────────────────


def test_a_client_that_is_closed_reads_no_more_of_what_was_left(tmp_path: Path) -> None:
    source = Counted()
    with opened(tmp_path) as client:
        run = client.map(square, source)
        next(run)
        client.shutdown()

    with opened(tmp_path) as client:
        again = client.attach(run.id)
        again.wait(DEADLINE_S)
        with pytest.raises(TaskCancelled, match=r"the client was closed: its iterator was read up to item"):
            for _ in again:
                pass
        assert again.state is State.CANCELLED


def test_a_client_that_is_closed_reads_what_nobody_has_taken_of(tmp_path: Path) -> None:
    """As with the standard executors: what was handed in is done."""
    source = Counted(20_000)
    with opened(tmp_path) as client:
        run = client.map(square, source)
        client.shutdown()

    with opened(tmp_path) as client:
        assert client.attach(run.id).results() == [x * x for x in range(20_000)]


ENDLESS = """
import itertools
import time
from taskflow import Client

client = Client(workers=1)
run = client.map(abs, itertools.count())
for n, _ in enumerate(run):
    if n == 10:
        print(run.id, flush=True)
"""


STANDING = """
import itertools
import time
import taskflow.stream
from taskflow import Client

taskflow.stream.LEASE_S = 3.0
client = Client(workers=1)
run = client.map(abs, itertools.count())
next(run)
while run.progress.total != len(run.partial()) + 1:
    time.sleep(0.1)
print(run.id, flush=True)
time.sleep(100)
"""


def test_a_killed_client_leaves_nothing_pending(tmp_path: Path) -> None:
    script = Script(tmp_path, STANDING)
    run_id = script.line()
    os.kill(script.process.pid, signal.SIGKILL)
    script.stop()

    with opened(tmp_path) as client:
        again = client.attach(run_id)
        until(lambda: again.state in TERMINAL)
        with pytest.raises(WorkerLost, match=r"lost with the client that read it, after [0-9,]+ items"):
            for _ in again:
                pass


def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    script = Script(tmp_path, ENDLESS)
    run_id = script.line()
    os.kill(script.process.pid, signal.SIGINT)
    code, _, err = script.end()

    assert (code != 0, "KeyboardInterrupt" in err) == (True, True)
    with opened(tmp_path) as client:
        until(lambda: client.attach(run_id).state in TERMINAL)


def test_a_script_that_breaks_off_ends(tmp_path: Path) -> None:
    source = ENDLESS.replace("        print(run.id, flush=True)", "        break")

    assert run_script(tmp_path, source) == ""


# ── inline ───────────────────────────────────────────────────────────────────────────


def test_inline_it_is_read_in_the_calling_thread() -> None:
    threads = set()

    def source() -> Iterator[int]:
        for x in itertools.count():
            threads.add(threading.current_thread().name)
            yield x

    with Client(mode="inline") as client:
        run = client.map(square, source())
        assert [next(run) for _ in range(10_000)] == [x * x for x in range(10_000)]
        assert client.map(square, Counted(9000)).results() == [x * x for x in range(9000)]
        failing = client.map(square, Counted(5000, error=ArithmeticError("no more")))
        with pytest.raises(ArithmeticError):
            list(failing)
    assert threads == {threading.current_thread().name}
