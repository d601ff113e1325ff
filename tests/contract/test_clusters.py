"""The pool of a cluster keeps the pool contract, on an engine of threads of this process.

Real engines are in tests/engines.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from taskflow.blobs.files import FileBlobs
from taskflow.codec import Codec
from taskflow.policy import Policy
from taskflow.pools import guest
from taskflow.pools.cluster import ClusterPool
from taskflow.pools.engine import Mailbox, Packet
from taskflow.pools.promises import PROMISES
from taskflow.ports import Pool
from taskflow.records import Failure, Kind
from taskflow.testing.pool_contract import PoolContract
from taskflow.testing.workbench import Workbench


class Ground:
    alone = False

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox

    def speak(self, records: bytes) -> bool:
        self.mailbox.said(records)
        return True

    def want(self, more: int) -> None:
        """Threads are many: see `Threads`."""


class Threads:
    """An engine that runs messages in threads of this process."""

    kind = "a pool of threads"
    promises = PROMISES["dask"]

    def __init__(self, mailbox: Mailbox, slots: int) -> None:
        self.mailbox, self.count = mailbox, slots
        self.executor = ThreadPoolExecutor(slots * 4)
        self.futures: dict[int, Future[bytes]] = {}
        self.sent: list[Packet] = []
        self.ground = Ground(mailbox)

    def slots(self) -> int:
        return self.count

    def send(self, packet: Packet) -> None:
        self.sent.append(packet)
        future = self.executor.submit(guest.run, packet.message, self.ground, packet.given)
        self.futures[packet.number] = future
        future.add_done_callback(lambda f: f.cancelled() or self.mailbox.answer(packet.number, f.result()))

    def cancel(self, number: int, *, force: bool) -> None:
        if self.futures[number].cancel():
            self.mailbox.dropped(number)
        else:
            guest.cancel(number)

    def close(self) -> None:
        self.executor.shutdown(cancel_futures=True)


def deaf(here: Path, gate: Path) -> str:
    """Waits in the system for somebody to write: it hears nothing meanwhile."""
    here.touch()
    return gate.read_text()


def terms(place: Path, *, seen: bool = True) -> guest.Terms:
    found = place.stat()
    mark = (found.st_dev, found.st_ino if seen else 0)
    return guest.Terms("", str(place), mark, "agent", "")


@pytest.fixture
def engines() -> list[Threads]:
    return []


def opened(place: Path, engines: list[Threads], slots: int = 2, *, seen: bool = True) -> ClusterPool:
    place.mkdir(mode=0o700, exist_ok=True)

    def engine(mailbox: Mailbox) -> Threads:
        engines.append(Threads(mailbox, slots))
        return engines[-1]

    return ClusterPool(engine, terms(place, seen=seen), lambda: FileBlobs(place), grace_s=0.5)


class TestClusterPool(PoolContract):
    @pytest.fixture
    def pool(self, blobs_dir: Path, engines: list[Threads]) -> Iterator[Pool]:
        pool = opened(blobs_dir, engines)
        yield pool
        pool.close(drain_s=0)


class TestClusterThatDoesNotSeeTheStore(PoolContract):
    """Functions and large data come with messages; results that are large go back with answers."""

    @pytest.fixture
    def pool(self, blobs_dir: Path, engines: list[Threads]) -> Iterator[Pool]:
        pool = opened(blobs_dir, engines, seen=False)
        yield pool
        pool.close(drain_s=0)

    def test_large_data_is_sent_once(self, bench: Workbench, engines: list[Threads]) -> None:
        data = bytes(range(256)) * 20_000
        leases = [bench.call(lambda d, x: len(d) + x, data, x) for x in range(30)]

        bench.run(*leases)

        assert [bench.value(lease) for lease in leases] == [len(data) + x for x in range(30)]
        copies = sum(len(d) for packet in engines[0].sent for d in packet.given.values()) / len(data)
        assert 1 <= copies < 3  # two threads may have missed it at once

    def test_a_large_result_is_kept_in_the_store(self, bench: Workbench, blobs_dir: Path) -> None:
        lease = bench.call(lambda: bytes(3_000_000))
        bench.run(lease)

        assert bench.value(lease) == bytes(3_000_000)
        assert max(file.stat().st_size for file in blobs_dir.rglob("*") if file.is_file()) > 2_000_000


@pytest.fixture
def codec(tmp_path: Path) -> Codec:
    from taskflow.codec import Keyring

    return Codec(Keyring.load(), FileBlobs(tmp_path / "blobs"))


@pytest.fixture
def bench(tmp_path: Path, codec: Codec, engines: list[Threads]) -> Iterator[Workbench]:
    pool = opened(tmp_path / "blobs", engines)
    yield Workbench(pool, codec)
    pool.close(drain_s=0)


def test_quick_calls_go_together_and_slow_ones_alone(bench: Workbench, engines: list[Threads]) -> None:
    bench.run(*[bench.call(lambda x: x, x) for x in range(50)])
    first = len(engines[0].sent)
    bench.run(*[bench.call(lambda x: x, x) for x in range(500)])

    assert len(engines[0].sent) - first < 100
    assert first < 50


def test_a_call_that_waits_is_cancelled_at_once_and_one_that_runs_is_interrupted(bench: Workbench) -> None:
    def spin() -> None:
        while True:
            time.sleep(0.01)

    running = [bench.call(spin) for _ in range(2)]
    waiting = [bench.call(spin) for _ in range(5)]
    bench.start(*running, *waiting)
    bench.until(lambda: len(bench.pool._flights) >= 2)  # type: ignore[attr-defined]
    for lease in (*running, *waiting):
        bench.pool.kill(lease.key, "enough")
    bench.until(lambda: all(bench.complete(lease) for lease in (*running, *waiting)))

    for lease in (*running, *waiting):
        (outcome,) = bench.outcomes[lease.key.node]
        assert outcome.kind == Kind.CANCELLED
        assert "enough" in Failure.from_json(outcome.error or "").message


def test_a_call_that_cannot_be_ended_is_left_and_its_slot_counts_as_taken(
    bench: Workbench, tmp_path: Path
) -> None:
    here, gate = tmp_path / "here", tmp_path / "gate"
    os.mkfifo(gate)
    lease = bench.call(deaf, here, gate)
    bench.start(lease)
    bench.until(here.exists)
    bench.pool.kill(lease.key, "enough")
    bench.until(lambda: bench.complete(lease))

    assert bench.outcomes[lease.key.node][0].kind == Kind.CANCELLED
    taken = bench.pool.free()
    with suppress(BrokenPipeError):  # it may hear that it is cancelled before it reads
        gate.write_text("go on")
    bench.until(lambda: taken < bench.pool.free())


def test_a_hard_limit_that_cannot_be_kept_is_refused(bench: Workbench) -> None:
    outcome = bench.one(bench.call(len, "x", policy=Policy(time_limit_s=1.0)))

    assert outcome.kind == Kind.FAILED
    assert "soft_time_limit" in Failure.from_json(outcome.error or "").message


def test_a_soft_limit_is_kept(bench: Workbench) -> None:
    def spin() -> None:
        while True:
            time.sleep(0.01)

    outcome = bench.one(bench.call(spin, policy=Policy(soft_time_limit_s=0.2)))

    assert outcome.kind == Kind.FAILED
    assert "SoftTimeLimitExceeded" in Failure.from_json(outcome.error or "").type


def test_output_is_kept_with_the_call_and_told_while_it_runs(bench: Workbench) -> None:
    def speak() -> None:
        print("begun")
        time.sleep(1.5)
        print("done")

    lease = bench.call(speak)
    bench.start(lease)
    bench.until(lambda: bool(bench.notes))

    assert not bench.complete(lease)
    assert (bench.notes[0].kind, bench.notes[0].data["text"]) == ("log", "begun\n")
    bench.until(lambda: bench.complete(lease))
    assert bench.outcomes[lease.key.node][0].log == "begun\ndone\n"


def test_a_message_that_is_lost_is_the_end_of_one_call_and_the_others_come_again_alone(
    bench: Workbench, engines: list[Threads]
) -> None:
    pool = bench.pool
    assert isinstance(pool, ClusterPool)
    bench.run(*[bench.call(lambda x: x, x) for x in range(30)])
    engine, sent = engines[0], len(engines[0].sent)
    engine.send = engine.sent.append  # type: ignore[method-assign]
    leases = [bench.call(lambda x: x, x) for x in range(10)]
    bench.start(*leases)
    del engine.send  # type: ignore[method-assign]
    first = list(engine.sent[sent:])
    for packet in first:
        engine.mailbox.lost(packet.number, "a node is gone")
    bench.until(lambda: all(bench.complete(lease) for lease in leases))

    kinds = [bench.outcomes[lease.key.node][0].kind for lease in leases]
    assert set(kinds) <= {Kind.SUCCEEDED, Kind.LOST}
    assert kinds.count(Kind.LOST) <= len(first)


def test_what_had_not_begun_when_it_was_lost_is_given_back(bench: Workbench, engines: list[Threads]) -> None:
    bench.again = False
    engines[0].send = engines[0].sent.append  # type: ignore[method-assign]
    lease = bench.call(lambda: 1)
    bench.start(lease)
    engines[0].mailbox.lost(engines[0].sent[-1].number, "the cluster is gone", began=False)
    bench.until(lambda: bool(bench.released))

    assert bench.released[0][0] == lease.key


def test_slots_follow_the_cluster_and_the_bound(bench: Workbench, engines: list[Threads]) -> None:
    pool = bench.pool
    engines[0].count = 5
    engines[0].mailbox.changed()
    pool.finished()
    assert pool.slots == 5
    pool.resize(3)
    assert pool.slots == 3
    engines[0].count = 0
    engines[0].mailbox.changed()
    pool.finished()
    assert (pool.slots, pool.free()) == (0, 0)
