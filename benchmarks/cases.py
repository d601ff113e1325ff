"""What is measured, and on whom. Each measurement runs in a process of its own, see `benchmarks.run`.

Only public names of taskflow are used here, and nothing is tuned unless the name says so.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter
from typing import Protocol

WORKERS = 2


def increment(x: int) -> int:
    """The trivial item: all that is measured is the engine around it."""
    return x + 1


def total(parts: Iterable[int]) -> int:
    """The body of the chord."""
    return sum(parts)


# ── who is measured ──────────────────────────────────────────────────────────────────


class Peer(Protocol):
    """A pool of `WORKERS` processes, with the four ways of giving it work."""

    def one(self) -> int:
        """One call, there and back; the answer is the id of the process that ran it."""
        ...

    def submit(self, n: int) -> int:
        """`n` calls one by one, then every result."""
        ...

    def map(self, n: int) -> int:
        """A map over `n` items."""
        ...

    def chord(self, n: int) -> int:
        """`n` calls, then one call on all their results."""
        ...

    def close(self) -> None:
        """Stop the processes."""
        ...


class Taskflow:
    """A client with an embedded store in a new file: every call is kept on disk."""

    def __init__(self) -> None:
        import taskflow

        self._folder = tempfile.TemporaryDirectory(prefix="taskflow-bench-")
        self._client = taskflow.Client(f"sqlite:///{self._folder.name}/runs.db", workers=WORKERS)

    def one(self) -> int:
        """See `Peer`."""
        return self._client.submit(os.getpid).result()

    def submit(self, n: int) -> int:
        """See `Peer`."""
        futures = [self._client.submit(increment, x) for x in range(n)]
        return sum(future.result() for future in futures)

    def map(self, n: int) -> int:
        """See `Peer`."""
        return sum(self._client.map(increment, range(n)))

    def chord(self, n: int) -> int:
        """Its own chord: the store releases the body, the client fetches one value."""
        from taskflow import chord, signature

        header = [signature(increment, (x,)) for x in range(n)]
        value: int = chord(header, signature(total)).apply_async(client=self._client).result()
        return value

    def close(self) -> None:
        """See `Peer`."""
        self._client.shutdown()
        self._folder.cleanup()


class Futures:
    """`concurrent.futures.ProcessPoolExecutor`: nothing is kept."""

    def __init__(self, chunk_of: Callable[[int], int] = lambda n: 1) -> None:
        self._pool = concurrent.futures.ProcessPoolExecutor(WORKERS)
        self._chunk_of = chunk_of

    def one(self) -> int:
        """See `Peer`."""
        return self._pool.submit(os.getpid).result()

    def submit(self, n: int) -> int:
        """See `Peer`."""
        futures = [self._pool.submit(increment, x) for x in range(n)]
        return sum(future.result() for future in futures)

    def map(self, n: int) -> int:
        """See `Peer`."""
        return sum(self._pool.map(increment, range(n), chunksize=self._chunk_of(n)))

    def chord(self, n: int) -> int:
        """The client collects all results and sends them back."""
        header = [self._pool.submit(increment, x) for x in range(n)]
        return self._pool.submit(total, [future.result() for future in header]).result()

    def close(self) -> None:
        """See `Peer`."""
        self._pool.shutdown()


class Pool:
    """`multiprocessing.Pool`: nothing is kept; its map sends large chunks by default."""

    def __init__(self) -> None:
        self._pool = multiprocessing.Pool(WORKERS)

    def one(self) -> int:
        """See `Peer`."""
        return self._pool.apply(os.getpid)

    def submit(self, n: int) -> int:
        """See `Peer`."""
        results = [self._pool.apply_async(increment, (x,)) for x in range(n)]
        return sum(result.get() for result in results)

    def map(self, n: int) -> int:
        """See `Peer`."""
        return sum(self._pool.map(increment, range(n)))

    def chord(self, n: int) -> int:
        """The client collects all results and sends them back."""
        header = [self._pool.apply_async(increment, (x,)) for x in range(n)]
        return self._pool.apply(total, ([result.get() for result in header],))

    def close(self) -> None:
        """See `Peer`."""
        self._pool.close()
        self._pool.join()


def _tuned() -> Futures:
    return Futures(chunk_of=lambda n: max(1, n // (16 * WORKERS)))


PEERS: dict[str, Callable[[], Peer]] = {
    "taskflow": Taskflow,
    "futures": Futures,
    "futures, tuned": _tuned,
    "Pool": Pool,
}


# ── what is measured ─────────────────────────────────────────────────────────────────


def submit_per_s(peer: Peer, scale: float) -> dict[str, float]:
    """Calls a second, submitted one by one, every result fetched."""
    n = int(10_000 * scale)
    took_s = _timed(lambda: peer.submit(n), n * (n + 1) // 2)
    return {"submit, calls/s": n / took_s}


def latency_us(peer: Peer, scale: float) -> dict[str, float]:
    """One call at a time, there and back."""
    took: list[float] = []
    for _ in range(max(100, int(2_000 * scale))):
        begin = perf_counter()
        peer.one()
        took.append((perf_counter() - begin) * 1e6)
    cuts = statistics.quantiles(took, n=100)
    return {"latency p50, µs": cuts[49], "latency p99, µs": cuts[98]}


def map_100k_per_s(peer: Peer, scale: float) -> dict[str, float]:
    """Items a second of a map over 100,000 trivial items."""
    return _map_per_s(peer, "map of 100,000, items/s", int(100_000 * scale))


def map_1m_per_s(peer: Peer, scale: float) -> dict[str, float]:
    """Items a second of a map over 1,000,000 trivial items."""
    return _map_per_s(peer, "map of 1,000,000, items/s", int(1_000_000 * scale))


def chord_s(peer: Peer, scale: float) -> dict[str, float]:
    """Milliseconds for 1,000 calls and one call on all their results."""
    n = int(1_000 * scale)
    return {"chord of 1,000, ms": _timed(lambda: peer.chord(n), n * (n + 1) // 2) * 1e3}


def memory_mb(peer: Peer, scale: float) -> dict[str, float]:
    """Memory of a process that runs calls, and of all processes beside the client, after some work."""
    peer.submit(int(1_000 * scale))
    child = _memory_of(peer.one())
    others = [_memory_of(pid) for pid in _descendants(os.getpid())]
    return {
        "worker process RSS, MB": child["Rss"],
        "worker process USS, MB": child["Private_Clean"] + child["Private_Dirty"],
        "all processes PSS, MB": sum(other["Pss"] for other in others),
        "processes": len(others),
    }


CASES: dict[str, Callable[[Peer, float], dict[str, float]]] = {
    "submit": submit_per_s,
    "latency": latency_us,
    "map-100k": map_100k_per_s,
    "map-1m": map_1m_per_s,
    "chord": chord_s,
    "memory": memory_mb,
}
NOT_RUN = {("map-1m", "futures")}
"""More than a minute each: ProcessPoolExecutor.map sends items one by one unless it is tuned."""


def measure(name: str, case: str, scale: float) -> dict[str, float]:
    """One measurement in this process, after a first call that starts everything."""
    peer = PEERS[name]()
    try:
        peer.submit(100)
        return CASES[case](peer, scale)
    finally:
        peer.close()


def first_result(name: str) -> None:
    """For the cold start: say so as soon as there is a result."""
    peer = PEERS[name]()
    peer.one()
    print("ready", flush=True)
    peer.close()


def cold_start_ms(command: list[str]) -> float:
    """From the start of a new interpreter to its first result."""
    begin = perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        took_s = perf_counter() - begin
    if line.strip() != b"ready" or process.returncode:
        raise RuntimeError(f"the cold start failed: {command}")
    return took_s * 1e3


def import_ms(statement: str) -> float:
    """What an import costs in a new interpreter."""
    code = f"from time import perf_counter as t\nb = t()\n{statement}\nprint(t() - b)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout) * 1e3


def pipe_echo_us(n: int = 2_000) -> float:
    """The floor of every latency: a message to another process and back, p50."""
    near, far = multiprocessing.Pipe()
    echo = multiprocessing.Process(target=_echo, args=(far, n), daemon=True)
    echo.start()
    took: list[float] = []
    for _ in range(n):
        begin = perf_counter()
        near.send_bytes(b"x" * 64)
        near.recv_bytes()
        took.append((perf_counter() - begin) * 1e6)
    echo.join()
    return statistics.median(took)


def _echo(end: multiprocessing.connection.Connection, n: int) -> None:
    for _ in range(n):
        end.send_bytes(end.recv_bytes())


def _timed(call: Callable[[], int], expected: int) -> float:
    begin = perf_counter()
    answer = call()
    took_s = perf_counter() - begin
    if answer != expected:
        raise RuntimeError(f"wrong answer: {answer}, not {expected}")
    return took_s


def _map_per_s(peer: Peer, label: str, n: int) -> dict[str, float]:
    return {label: n / _timed(lambda: peer.map(n), n * (n + 1) // 2)}


def _memory_of(pid: int) -> dict[str, float]:
    """Megabytes by the names of the kernel (Linux only)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = list(children.get(root, ()))
    for pid in found:
        found += children.get(pid, ())
    return found
