"""Copies of far blobs: fetched once, gone on with, never seen by halves, bounded, and mended when damaged."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taskflow.blobs import fetching
from taskflow.blobs.cached import CachedBlobs, cached
from taskflow.codec import Codec, Keyring
from taskflow.errors import ConfigError, QueueFull, ResultExpired, StoreError, StoreUnavailable, Untrusted

MB = 1 << 20
PIECE = 8 * MB


class Far:
    """What is far, and counts how often and from where it is read."""

    guarded = False

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.asked: list[int] = []
        self.before_piece: Callable[[int], object] = lambda at: None

    def put(self, name: str, parts: Sequence[bytes | memoryview], /) -> None:
        self.data.setdefault(name, b"".join(parts))

    def find(self, name: str) -> tuple[int, Callable[[int], Iterator[bytes]]]:
        if name not in self.data:
            raise ResultExpired("gone", expired_at=0.0)
        data = self.data[name]

        def pieces(at: int) -> Iterator[bytes]:
            self.asked.append(at)
            for start in range(at, len(data), PIECE):
                self.before_piece(start)
                yield data[start : start + PIECE]

        return len(data), pieces

    def has(self, name: str, /) -> bool:
        return name in self.data

    def drop(self, name: str, /) -> None:
        pass

    def sweep(self, keep: object, /, *, age_s: float) -> int:
        return 0


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
def make(far: Far, tmp_path: Path) -> Callable[..., Any]:
    def make(name: str = "one", **more: Any) -> Any:
        return CachedBlobs(far, tmp_path / "all" / name, tmp_path / "all", **more)  # type: ignore[arg-type]

    return make


def files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_a_fetch_that_was_broken_off_is_gone_on_with(far: Far, make: Any, tmp_path: Path) -> None:
    far.data["abc"] = os.urandom(20 * MB)

    def away(at: int) -> None:
        if at:
            raise StoreUnavailable("away")

    far.before_piece = away
    with pytest.raises(StoreUnavailable):
        make().open("abc")
    assert files(tmp_path) == {".part-abc": PIECE}
    far.before_piece = lambda at: None

    view = make().open("abc")

    assert bytes(view) == far.data["abc"]
    assert far.asked == [0, PIECE]
    assert files(tmp_path) == {"abc": 20 * MB}


def test_a_process_that_is_killed_in_its_fetch_leaves_nothing_that_is_seen(
    far: Far, make: Any, tmp_path: Path
) -> None:
    far.data["abc"] = os.urandom(20 * MB)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        far.before_piece = lambda at: at and (os.write(write, b"!"), time.sleep(60))
        make().open("abc")
        os._exit(1)
    os.read(read, 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for end in (read, write):
        os.close(end)
    assert "abc" not in files(tmp_path)

    assert bytes(make().open("abc")) == far.data["abc"]
    assert far.asked == [PIECE]


def test_what_was_removed_while_it_was_read_leaves_nothing(far: Far, make: Any, tmp_path: Path) -> None:
    far.data["abc"] = os.urandom(20 * MB)

    def gone(at: int) -> None:
        if at:
            raise ResultExpired("gone", expired_at=0.0)

    far.before_piece = gone
    with pytest.raises(ResultExpired):
        make().open("abc")

    assert files(tmp_path) == {}


def test_those_who_want_the_same_at_once_fetch_it_once(far: Far, make: Any) -> None:
    far.data["abc"] = os.urandom(20 * MB)
    all_there = threading.Barrier(4)

    def slow(at: int) -> None:
        time.sleep(0.2)

    far.before_piece = slow

    def want() -> bool:
        all_there.wait(10)
        return bytes(make().open("abc")) == far.data["abc"]

    with ThreadPoolExecutor(4) as threads:
        assert all(done.result() for done in [threads.submit(want) for _ in range(4)])
    assert far.asked == [0]


def test_nobody_waits_for_ever_for_one_that_has_stopped(
    far: Far, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "PATIENCE_S", 0.2)
    far.data["abc"] = os.urandom(20 * MB)
    stopped = tmp_path / "all" / "one" / "ab" / ".part-abc"
    stopped.parent.mkdir(parents=True)
    (tmp_path / "all" / "one").chmod(0o700)
    with stopped.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        assert bytes(make().open("abc")) == far.data["abc"]


def test_the_bound_is_that_of_all_stores_and_what_is_mapped_stays(
    far: Far, make: Any, tmp_path: Path
) -> None:
    for number in range(6):
        far.data[f"blob{number}"] = os.urandom(2 * MB)
    one, two = make("one", most_bytes=5 * MB), make("two", most_bytes=5 * MB)
    held = one.open("blob0")
    for number, name in enumerate([*far.data][1:5]):
        one.open(name)
        os.utime(tmp_path / "all" / "one" / "bl" / name, (number, number))
    gc.collect()

    two.open("blob5")

    left = files(tmp_path)
    assert {"blob0", "blob5"} <= left.keys()
    assert sum(left.values()) <= 6 * MB
    assert "blob1" not in left
    assert bytes(held) == far.data["blob0"]
    assert one.open("blob0") == held
    assert far.asked == [0] * 6  # what stayed was not fetched again


def test_what_nobody_used_for_a_week_goes(far: Far, make: Any, tmp_path: Path) -> None:
    far.data |= {"old": os.urandom(2 * MB), "new": os.urandom(2 * MB)}
    blobs = make()
    for name in far.data:
        blobs.open(name)
    then = time.time() - 8 * 86_400
    os.utime(tmp_path / "all" / "one" / "ol" / "old", (then, then))

    blobs.sweep((), age_s=3600)

    assert files(tmp_path).keys() == {"new"}


def full_disk(monkeypatch: pytest.MonkeyPatch, holds: Callable[[], bool]) -> None:
    write = os.write

    def bounded(fd: int, data: Any) -> int:
        if not holds():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    monkeypatch.setattr(os, "write", bounded)


def test_a_full_disk_gives_up_copies_that_nobody_uses(
    far: Far, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.data |= {"before": os.urandom(2 * MB), "abc": os.urandom(20 * MB)}
    make("two").open("before")
    gc.collect()
    full_disk(monkeypatch, lambda: "before" not in files(tmp_path))

    assert bytes(make().open("abc")) == far.data["abc"]


def test_a_full_disk_is_said(far: Far, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far.data |= {"small": os.urandom(2 * MB), "large": os.urandom(20 * MB)}
    full_disk(monkeypatch, lambda: False)

    assert bytes(make().open("small")) == far.data["small"]
    with pytest.raises(QueueFull, match=r"object of 21 MB.*disk is full.*XDG_CACHE_HOME"):
        make().open("large")
    assert files(tmp_path) == {}


def test_a_place_for_copies_that_cannot_be_made_is_said(far: Far, tmp_path: Path) -> None:
    far.data |= {"small": os.urandom(2 * MB), "large": os.urandom(20 * MB)}
    (tmp_path / "file").touch()
    blobs = CachedBlobs(far, tmp_path / "file" / "x")  # type: ignore[arg-type]

    assert bytes(blobs.open("small")) == far.data["small"]
    with pytest.raises(StoreError, match="Set XDG_CACHE_HOME"):
        blobs.open("large")


def test_nothing_is_made_before_there_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    cached("redis://localhost:1")

    assert not (tmp_path / "cache").exists()


def test_the_bound_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFLOW_CACHE_MB", "100")
    assert cached("redis://localhost:1")._most_bytes == 100 * MB
    monkeypatch.setenv("TASKFLOW_CACHE_MB", "much")
    with pytest.raises(ConfigError, match="TASKFLOW_CACHE_MB"):
        cached("redis://localhost:1")


def test_a_damaged_copy_is_fetched_anew_and_a_damaged_blob_is_refused(
    far: Far, make: Any, tmp_path: Path
) -> None:
    codec = Codec(Keyring.ephemeral(), make())
    value = codec.dump_result("n", 0, 1, 1, np.arange(1_000_000))
    (name,) = files(tmp_path)
    path = next(tmp_path.rglob(name))

    def damage(data: bytes) -> bytes:
        return data[:-8] + bytes(8)

    path.write_bytes(damage(path.read_bytes()))

    assert codec.load_result("n", 0, 1, 1, value).sum() == 499_999_500_000
    assert far.asked == [0]

    far.data[name] = damage(far.data[name])
    path.unlink()
    with pytest.raises(Untrusted):
        codec.load_result("n", 0, 1, 1, value)
    assert files(tmp_path) == {}


def test_fetching_takes_no_memory_beside_the_file(far: Far, make: Any) -> None:
    far.data["abc"] = bytes(200 * MB)

    def anonymous_bytes() -> int:
        status = Path("/proc/self/status").read_text()
        return int(next(x for x in status.splitlines() if x.startswith("RssAnon")).split()[1]) * 1024

    before, most = anonymous_bytes(), 0

    def look(at: int) -> None:
        nonlocal most
        most = max(most, anonymous_bytes() - before)

    far.before_piece = look
    view = make().open("abc")

    assert view.nbytes == 200 * MB
    assert most < 40 * MB
