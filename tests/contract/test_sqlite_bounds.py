"""The file stays small, and a disk that is full is said so and does no harm."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from taskflow.client import Client
from taskflow.errors import QueueFull, StoreUnavailable
from taskflow.ids import NodeId, RunId, WorkerId, new_id
from taskflow.records import Edge, Node, Plan, Want
from taskflow.states import State
from taskflow.stores import sqlite_retention
from taskflow.stores.sqlite import SQLiteStore
from taskflow.testing import ManualClock
from taskflow.worker.process import spawn
from tests.contract import sharing

ROOT = Path(__file__).parents[2]
MB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "runs.db"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "none", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting needs rights")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def settle_many(store: SQLiteStore, calls: int, value: bytes = b"v" * 100) -> None:
    """Submit, claim and settle calls by the hundred, as a busy worker does."""
    for _ in range(calls // 500):
        store.submit([sharing.call(args=b"a" * 200) for _ in range(500)])
        leases = store.claim(sharing.want(slots=100))
        while leases:
            done = sharing.settle_all(leases)
            done = [s._replace(outcomes=(s.outcomes[0]._replace(value=value),)) for s in done]
            leases = store.settle(done, want=sharing.want(slots=100)).leases
        store.reap()


def wal_bytes(path: Path) -> int:
    with suppress(FileNotFoundError):
        return Path(f"{path}-wal").stat().st_size
    return 0


def test_file_and_log_stay_bounded_over_twenty_thousand_calls(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_retention, "EVENT_BYTES_KEPT", 400_000)
    monkeypatch.setattr(sqlite_retention, "TOMBSTONES_KEPT", 4_000)
    clock = ManualClock()
    store = SQLiteStore(path, clock=clock)
    files, logs, sweeps, removed = [], [], [], 0
    for _ in range(10):
        settle_many(store, 2000)
        clock.advance(600.0)
        logs.append(wal_bytes(path))
        began = time.monotonic()
        removed += store.sweep(age_s=900.0, size_bytes=1 << 40)["runs"]
        sweeps.append(time.monotonic() - began)
        files.append(path.stat().st_size)

    print(f"\nfile {[round(n / MB, 1) for n in files]} MB, log {[round(n / MB, 1) for n in logs]} MB,"
          f" sweep {[round(s, 2) for s in sweeps]} s")  # fmt: skip
    assert removed >= 16_000
    assert max(files[4:]) < 1.2 * max(files[:4])
    assert max(logs) < 32 * MB
    assert wal_bytes(path) == 0
    store.close()


def test_the_oldest_runs_go_when_the_store_is_too_large(path: Path) -> None:
    clock = ManualClock()
    store = SQLiteStore(path, clock=clock)
    for _ in range(8):
        settle_many(store, 500, value=b"v" * 4000)
        clock.advance(10.0)
    before = store.runs(limit=10_000)

    said = store.sweep(age_s=1e9, size_bytes=8 * MB)

    left = {run.id for run in store.runs(limit=10_000)}
    assert path.stat().st_size <= 8 * MB
    assert said["size_bytes"] <= 8 * MB
    assert left == {run.id for run in before[: len(left)]}
    assert len(left) > 500
    store.close()


def test_one_run_that_is_still_needed_does_not_keep_all_the_others(path: Path) -> None:
    """Retention goes on behind runs that something unfinished depends on."""
    clock = ManualClock()
    store = SQLiteStore(path, clock=clock)
    first = sharing.call()
    store.submit([first])
    store.settle(sharing.settle_all(store.claim(sharing.want())))
    name = new_id()
    waiting = Node(NodeId(name), "0" * 40, b"", edges=(Edge(first.nodes[0].id),), queue="nobody")
    store.submit([Plan(RunId(name), (waiting,))])
    settle_many(store, 2000)
    clock.advance(1000.0)

    removed = store.sweep(age_s=900.0, size_bytes=1 << 40)["runs"]

    assert removed == 2000
    assert {run.id for run in store.runs()} == {first.run, name}
    store.close()


def test_sweeping_does_not_hold_up_others_for_long(path: Path) -> None:
    clock = ManualClock()
    store = SQLiteStore(path, clock=clock)
    settle_many(store, 10_000)
    clock.advance(1000.0)
    run = [sys.executable, "-m", "tests.contract.sharing", "hammer", str(path), "q", "300"]
    other = subprocess.Popen(run, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    assert other.stdin is not None
    other.stdin.write("\n")
    other.stdin.flush()

    began = time.monotonic()
    store.sweep(age_s=900.0, size_bytes=1 << 40)
    took_s = time.monotonic() - began
    said, _ = other.communicate(timeout=30)

    print(f"\nsweep of 10,000 runs {took_s:.2f} s, meanwhile {said}")
    assert other.returncode == 0
    store.close()


# ── a full disk ──────────────────────────────────────────────────────────────────────


def fill(store: SQLiteStore, most: int = 100_000) -> int:
    """Submit until the store is full; how many runs it took."""
    for n in range(most):
        try:
            store.submit([sharing.call(args=os.urandom(8000))])
        except QueueFull as error:
            assert "full" in str(error)
            assert "Free some space" in str(error)
            return n
    raise AssertionError("it never became full")


def test_a_full_store_refuses_and_works_again_afterwards(path: Path) -> None:
    store = SQLiteStore(path)
    pages = store._writer.execute("pragma page_count").fetchone()[0]
    store._writer.execute(f"pragma max_page_count={pages + 100}")

    taken = fill(store)
    kept = len(store.runs(limit=1000))
    store._writer.execute("pragma max_page_count=1073741823")
    store.submit([sharing.call()])

    assert kept == taken > 10
    assert len(store.runs(limit=1000)) == taken + 1
    assert [line for line in store.check() if not line[1] and line[0] != "disk"] == []
    store.close()


def test_a_full_disk_refuses_and_the_store_is_whole_afterwards(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 2 * MB)
    store = SQLiteStore(small_disk / "runs.db")
    taken = fill(store)
    with pytest.raises(QueueFull):
        for n in range(100):
            store.blobs.put(f"blob{n}", [os.urandom(100_000)])
    assert len(store.runs(limit=10_000)) == taken

    ballast.unlink()
    leases = store.claim(Want(WorkerId("w"), ("default",), slots=5))
    store.settle(sharing.settle_all(leases))
    store.close()

    store = SQLiteStore(small_disk / "runs.db")
    assert leases
    assert len(store.runs(limit=10_000)) == taken
    assert len(store.runs(limit=10_000, states=[State.SUCCEEDED])) == len(leases)
    assert [line for line in store.check() if not line[1] and line[0] != "disk"] == []
    store.close()


def test_client_and_worker_live_through_a_full_disk(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    url = f"sqlite:///{small_disk / 'runs.db'}"
    worker = spawn(url, 1, lease_s=2.0, log_file=small_disk.parent / "log")
    try:
        with Client(url, workers=0) as client:
            assert client.submit(pow, 2, 5).result(14) == 32
            with suppress(OSError), ballast.open("wb") as file:
                while True:
                    file.write(b"x" * 65_536)
                    file.flush()
            with pytest.raises(QueueFull, match="full"):
                client.options(when_full="raise").submit(len, b"x" * 3000 * 1000)
            patient = threading.Thread(
                target=lambda: sizes.append(client.submit(len, b"x" * 3000 * 1000).result(20)), daemon=True
            )
            sizes: list[int] = []
            patient.start()
            patient.join(0.5)
            assert not sizes
            assert worker.poll() is None

            ballast.unlink()
            patient.join(20)
            assert sizes == [3_000_000]

            assert client.submit(pow, 2, 6).result(14) == 64
            assert worker.poll() is None
    finally:
        worker.kill()
        worker.wait(10)


def test_a_limit_on_file_sizes_is_an_error_of_the_store(path: Path) -> None:
    """As a quota is: the file may not grow, for a reason SQLite does not know."""
    store = SQLiteStore(path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MB, before[1]))
    try:
        with pytest.raises((StoreUnavailable, QueueFull), match="nothing was stored"):
            for _ in range(1000):
                store.submit([sharing.call(args=os.urandom(8000))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)

    store.submit([sharing.call()])
    assert [line for line in store.check() if not line[1] and line[0] != "disk"] == []
    store.close()
