"""What nothing in Python can be faster than on this machine: ``python -m benchmarks.limits``.

The bare pieces that a call is made of, without taskflow around them: what `benchmarks.budget` shows is to be
held against them. Medians.
"""

from __future__ import annotations

import os
import pickle
import socket
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep
from typing import NoReturn

from benchmarks import redis_server
from benchmarks.work import frame, microsecond, split
from taskflow.links.direct import packed

TIMES = 3000
ITEMS = 1_000_000
COPY_BYTES = 256 << 20


def transaction_us(folder: Path, rows: int) -> float:
    """One transaction of a SQLite file (WAL, no flush to the disk) that writes so many rows of 200 bytes."""
    db = sqlite3.connect(folder / "limits.db", isolation_level=None)
    db.execute("pragma journal_mode=wal")
    db.execute("pragma synchronous=normal")
    db.execute("create table if not exists t(key integer primary key, body blob)")
    body = [(os.urandom(200),)] * rows

    def once() -> None:
        db.execute("begin immediate")
        db.executemany("insert into t(body) values(?)", body)
        db.execute("commit")

    took = _median_us(once)
    db.close()
    return took


def wake_us(idle_s: float) -> float:
    """There and back between two processes over a socket pair; both were asleep for so long before."""
    mine, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        mine.close()
        while said := theirs.recv(64):
            theirs.send(said)
        os._exit(0)
    theirs.close()

    def once() -> None:
        mine.send(b"x" * 64)
        mine.recv(64)

    took = _median_us(once, pause_s=idle_s, times=300 if idle_s else TIMES)
    mine.close()
    os.waitpid(child, 0)
    return took


MOVES = """#!lua name=limits
local function move(field, channel)
  return function(keys, values)
    redis.call('HSET', keys[1], field, values[1])
    redis.call('PUBLISH', channel, keys[1])
    return 'ok'
  end
end
redis.register_function('begin', move('begun', 'work'))
redis.register_function('finish', move('ended', 'ends'))
"""
BODY = b"x" * 200


def through_redis_us() -> float:
    """A row on a Redis server of which a worker is told; it has a child do nothing, and says so there."""
    with redis_server.RedisServer() as server:
        asked = _asking(server.path, "FUNCTION", "LOAD", MOVES)
        worker = os.fork()
        if not worker:
            _work(server.path)
        heard = _asking(server.path, "SUBSCRIBE", "ends")
        sleep(0.2)

        def once() -> None:
            asked.sendall(packed(("FCALL", "begin", 1, f"call:{perf_counter()}", BODY)))
            asked.recv(4096)
            heard.recv(4096)

        took = _median_us(once)
    os.waitpid(worker, 0)
    return took


def _work(path: str) -> NoReturn:
    mine, theirs = socket.socketpair()
    if not os.fork():
        mine.close()
        while said := theirs.recv(4096):
            theirs.send(said)
        os._exit(0)
    heard, asked = _asking(path, "SUBSCRIBE", "work"), _asking(path, "PING")
    while said := heard.recv(4096):
        mine.send(BODY)
        mine.recv(4096)
        asked.sendall(packed(("FCALL", "finish", 1, said.split(b"\r\n")[-2], BODY)))
        asked.recv(4096)
    os._exit(0)


def _asking(path: str, *command: str) -> socket.socket:
    """A connection on which that was asked first."""
    made = socket.socket(socket.AF_UNIX)
    made.connect(path)
    made.sendall(packed(command))
    made.recv(4096)
    return made


def copy_gb_per_s(fresh: bool) -> float:
    """A copy within memory that this process has used before, or has not."""
    source = bytearray(os.urandom(1 << 20)) * (COPY_BYTES >> 20)
    target = bytearray(COPY_BYTES)
    took = []
    for _ in range(5):
        began = perf_counter()
        if fresh:
            target = bytearray(source)
        else:
            target[:] = source
        took.append(perf_counter() - began)
    return COPY_BYTES / statistics.median(took) / 1e9


def write_gb_per_s(folder: Path) -> float:
    """A new file in the page cache, from memory."""
    source = bytearray(os.urandom(1 << 20)) * (COPY_BYTES >> 20)
    took = []
    for number in range(5):
        path = folder / f"blob{number}"
        began = perf_counter()
        path.write_bytes(source)
        took.append(perf_counter() - began)
        path.unlink()
    return COPY_BYTES / statistics.median(took) / 1e9


def halves_of_ideal(*, given_back: bool) -> float:
    """A million items of 1 µs in two processes that are there already, divided by half of a plain loop.

    Each half is a loop, and one pickle when results are given back: the client reads the two, and puts their
    lists together.
    """
    children = [_looping(lo, lo + ITEMS // 2, given_back) for lo in (0, ITEMS // 2)]
    took = []
    for _ in range(5):
        before = perf_counter()
        expected = _loop(0, ITEMS)
        began = perf_counter()
        for child in children:
            child.send(b"!")
        found = [pickle.loads(_received(child)) for child in children]  # noqa: S301 - our own
        whole = found[0] + found[1]
        ended = perf_counter()
        assert whole == (expected if given_back else [])
        took.append((ended - began) / ((began - before) / 2))
    for child in children:
        child.send(b".")
        child.close()
        os.wait()
    return statistics.median(took)


def _loop(lo: int, hi: int) -> list[int]:
    return [microsecond(x) for x in range(lo, hi)]


def _looping(lo: int, hi: int, given_back: bool) -> socket.socket:
    """The way to a process that loops over these numbers whenever it is told to."""
    mine, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        return mine
    while theirs.recv(1) == b"!":
        found = _loop(lo, hi)
        said = pickle.dumps(found if given_back else [], 5)
        theirs.sendall(len(said).to_bytes(8, "big") + said)
    os._exit(0)


def _received(child: socket.socket) -> bytes:
    with child.makefile("rb") as file:
        return file.read(int.from_bytes(file.read(8), "big"))


def one_frame_ms() -> float:
    """The partitions of the benchmark's frame, which are there, into one: what its client does at the end."""
    import pandas as pd

    parts = split(frame())
    return _median_us(lambda: pd.concat(parts), times=5) / 1e3


def _median_us(once: Callable[[], object], *, pause_s: float = 0.0, times: int = TIMES) -> float:
    took = []
    for _ in range(times):
        if pause_s:
            sleep(pause_s)
        began = perf_counter()
        once()
        took.append(perf_counter() - began)
    return statistics.median(took) * 1e6


def main() -> int:
    """Print all of them."""
    with tempfile.TemporaryDirectory(prefix="taskflow-limits-") as name:
        folder = Path(name)
        arguments: tuple[tuple[int, ...], dict[str, int]] = ((1,), {})
        rows: tuple[tuple[str, float], ...] = (
            ("a SQLite transaction of one row, µs", transaction_us(folder, 1)),
            ("a SQLite transaction of 100 rows, µs", transaction_us(folder, 100)),
            ("another process woken, and back, µs", wake_us(0.0)),
            ("the same after a rest of 2 ms, µs", wake_us(0.002)),
            ("arguments of one number: pickle, µs", _median_us(lambda: pickle.dumps(arguments, 5))),
            ("a copy in memory, GB/s", copy_gb_per_s(fresh=False)),
            ("a copy into new memory, GB/s", copy_gb_per_s(fresh=True)),
            ("a new file in the page cache, GB/s", write_gb_per_s(folder)),
            ("partitions of 400 MB into one frame, ms", one_frame_ms()),
            ("1,000,000 items of 1 µs, time ÷ ideal", halves_of_ideal(given_back=True)),
            ("the same, and nothing is given back", halves_of_ideal(given_back=False)),
        )
        if redis_server.version():
            rows += (("a call by way of a Redis server, µs", through_redis_us()),)
    for title, value in rows:
        print(f"{title:<42} {value:10.3g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
