"""Several processes share one file: nobody is turned away, nobody starves, idle ones sleep."""

from __future__ import annotations

import json
import select
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from taskflow.client import Client
from taskflow.errors import StoreUnavailable
from taskflow.records import WORKERS, Posted
from taskflow.states import State
from taskflow.stores.sqlite import SQLiteStore
from taskflow.worker.process import spawn
from tests.contract import sharing

ROOT = Path(__file__).parents[2]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "runs.db"


@pytest.fixture
def start() -> Iterator[Start]:
    """Start another process that shares the store, and wait until it has it open."""
    started: list[subprocess.Popen[str]] = []

    def start(*values: object) -> subprocess.Popen[str]:
        run = [sys.executable, "-m", "tests.contract.sharing", *map(str, values)]
        process = subprocess.Popen(run, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def answer_of(process: subprocess.Popen[str], go: str = "") -> Any:
    said, _ = process.communicate(go, timeout=45)
    assert process.returncode == 0
    return json.loads(said)


def test_four_processes_hammer_one_file_and_all_get_their_turn(path: Path, start: Start) -> None:
    SQLiteStore(path).close()
    processes = [start("hammer", path, f"q{n}", 500) for n in range(4)]
    for process in processes:
        process.stdin.write("\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]

    found = [answer_of(process) for process in processes]

    print("hammer:", [{k: round(v, 5) for k, v in one.items()} for one in found])
    seconds = [one["seconds"] for one in found]
    assert [one["settled"] for one in found] == [500] * 4
    assert max(one["worst_s"] for one in found) < 5.0
    assert min(seconds) > max(seconds) / 3
    store = SQLiteStore(path)
    assert [line for line in store.check() if not line[1] and line[0] != "disk"] == []
    assert len(store.runs(limit=5000, states=[State.SUCCEEDED])) == 2000
    store.close()


def test_what_workers_were_told_before_others_could_be_posted_is_read(path: Path) -> None:
    """By an earlier release, into the same file."""
    with closing(SQLiteStore(path)) as store, closing(sqlite3.connect(path)) as db:
        db.executemany("insert into meta values(?, ?)", [("steering", 3), ("steering.body", b"told")])
        db.commit()

        assert store.posted(WORKERS) == Posted(3, b"told")
        assert store.post(WORKERS, 3, b"more")


def test_threads_of_one_process_share_a_store(path: Path) -> None:
    store = SQLiteStore(path)
    errors: list[Exception] = []

    def work(name: str) -> None:
        try:
            for _ in range(40):
                store.submit([sharing.call(name)])
                store.settle(sharing.settle_all(store.claim(sharing.want(name))))
                store.runs(limit=2)
        except Exception as error:  # noqa: BLE001 - the main thread looks at it
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"q{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert len(store.runs(limit=500, states=[State.SUCCEEDED])) == 240
    store.close()


def test_a_submit_is_claimed_by_another_process_at_once(path: Path, start: Start) -> None:
    store = SQLiteStore(path)
    worker = start("answer", path, 200)
    bell = store.listen("watch")

    for _ in range(200):
        (plan,) = [sharing.call(args=str(time.monotonic()).encode())]
        store.submit([plan])
        while store.items(plan.nodes[0].id)[0].state is not State.SUCCEEDED:
            select.select([bell], [], [], 0.5)
            bell.hush()
    delays = sorted(answer_of(worker))

    print(f"submit to claim: p50 {delays[100] * 1e3:.2f} ms, p99 {delays[197] * 1e3:.2f} ms")
    assert delays[100] < 1.0  # who hears no bell looks after five
    bell.close()
    store.close()


def test_idle_processes_use_no_processor(path: Path) -> None:
    url = f"sqlite:///{path}"
    worker = spawn(url, 2)
    code = f"import time; from taskflow import Client; c = Client({url!r}, workers=0)\n"
    code += (
        "print(c.submit(pow, 2, 5).result(20), flush=True); f = c.options(queue='nobody').submit(pow, 2, 5)\n"
    )
    code += "time.sleep(600)"
    client = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == "32\n"
        _settle_down([worker.pid, client.pid])
        pids = {"worker": worker.pid, "client": client.pid}
        before = {name: _ticks(pid) for name, pid in pids.items()}
        time.sleep(4.0)  # what is measured is this very time
        used = {name: _ticks(pid) - before[name] for name, pid in pids.items()}
    finally:
        client.kill()
        client.communicate()
        worker.kill()
        worker.wait(10)

    print(f"idle for 4 s, hundredths of a second used: {used}")
    assert max(used.values()) <= 8


def _settle_down(pids: list[int]) -> None:
    """Wait for what follows work: reaping, tidying up."""
    end = time.monotonic() + 8
    before = -1
    while (now := sum(map(_ticks, pids))) != before and time.monotonic() < end:
        before = now
        time.sleep(0.7)


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_reader_of_another_program_holds_nobody_up(path: Path) -> None:
    store = SQLiteStore(path)
    store.submit([sharing.call()])
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("begin")
    reader.execute("select count(*) from node").fetchone()

    store.submit([sharing.call()])
    store.settle(sharing.settle_all(store.claim(sharing.want())))
    store.sweep(age_s=3600.0, size_bytes=1 << 30)

    reader.execute("commit")
    reader.close()
    store.close()


def test_the_log_is_not_deleted_under_a_store_that_is_open(path: Path) -> None:
    """Closing any descriptor of the file would take the locks from it that keep others from doing so."""
    SQLiteStore(path).close()
    first, second = SQLiteStore(path), SQLiteStore(path)
    first.submit([sharing.call()])
    code = f"from taskflow.stores.sqlite import SQLiteStore; s = SQLiteStore({str(path)!r})\n"
    code += "print(len(s.runs())); s.close()"

    def seen_elsewhere() -> int:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    seen = [seen_elsewhere()]
    first.submit([sharing.call()])
    second.submit([sharing.call()])
    seen.append(seen_elsewhere())

    assert seen == [1, 3]
    first.close()
    second.close()


def test_a_locked_file_is_waited_for_and_then_named(path: Path) -> None:
    store = SQLiteStore(path, wait_s=0.2)
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("begin immediate")

    with pytest.raises(StoreUnavailable, match=r"runs\.db was locked by another process for 0\.2 s"):
        store.submit([sharing.call()])
    assert store.runs() == []
    other = SQLiteStore(path, wait_s=0.2)  # opening and reading take no lock
    other.close()
    lock.execute("rollback")
    lock.close()

    store.submit([sharing.call()])
    store.close()


def test_ctrl_c_inside_a_step_leaves_no_lock_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = SQLiteStore(path), SQLiteStore(path, wait_s=0.2)
    from taskflow.machine import moves

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(moves, "submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.submit([sharing.call()])

    other.submit([sharing.call()])
    store.submit([sharing.call()])
    assert len(store.runs()) == 2
    for one in (store, other):
        one.close()


def test_a_store_is_opened_by_many_at_the_same_moment(path: Path) -> None:
    """Also when none of them finds a file."""
    code = f"from taskflow.stores.sqlite import SQLiteStore; SQLiteStore({str(path)!r}).close()"
    opened = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(6)]

    assert [process.wait(14) for process in opened] == [0] * 6


def test_a_killed_writer_leaves_the_store_whole(path: Path, start: Start) -> None:
    store = SQLiteStore(path)
    hammer = start("hammer", path, "q", 100_000)
    hammer.stdin.write("\n")  # type: ignore[union-attr]
    hammer.stdin.flush()  # type: ignore[union-attr]
    end = time.monotonic() + 10
    while len(store.runs(limit=60)) < 50 and time.monotonic() < end:
        time.sleep(0.01)

    with suppress(ProcessLookupError):
        hammer.send_signal(signal.SIGKILL)
    hammer.wait(5)

    assert [line for line in store.check() if not line[1] and line[0] != "disk"] == []
    store.submit([sharing.call()])
    assert len(store.runs(limit=1)) == 1
    store.close()


def test_a_client_works_from_a_file_with_a_long_path(tmp_path: Path) -> None:
    """Longer than the address of a socket may be."""
    folder = tmp_path / ("d" * 60) / ("e" * 60)
    folder.mkdir(parents=True, mode=0o700)
    tmp_path.chmod(0o700)
    with Client(f"sqlite:///{folder / 'runs.db'}", workers=1) as client:
        assert len(str(folder)) > 108
        assert client.submit(pow, 2, 5).result(14) == 32
