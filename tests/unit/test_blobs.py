"""Blobs as files: whole or not at all, private, and gone when nobody wants them."""

from __future__ import annotations

import errno
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taskflow.blobs.files import FileBlobs
from taskflow.errors import ConfigError, QueueFull, ResultExpired, StoreError, UsageError


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "blobs")


def _files(blobs: FileBlobs) -> list[Path]:
    return [path for path in blobs.directory.rglob("*") if path.is_file()]


def _age(blobs: FileBlobs, name: str, age_s: float) -> None:
    then = time.time() - age_s
    os.utime(blobs.path(name), (then, then))


def test_the_parts_are_found_one_behind_the_other(blobs: FileBlobs) -> None:
    blobs.put("abc", [b"one", memoryview(b"two"), b"", bytearray(b"three")])

    assert bytes(blobs.open("abc")) == b"onetwothree"


def test_many_parts_and_wide_views_are_written_whole(blobs: FileBlobs) -> None:
    wide = memoryview(bytes(range(256)) * 8).cast("d")

    blobs.put("abc", [b"x"] * 3000 + [wide])

    assert bytes(blobs.open("abc")) == b"x" * 3000 + bytes(wide)


def test_an_empty_blob_is_a_blob(blobs: FileBlobs) -> None:
    blobs.put("abc", [])

    assert blobs.has("abc")
    assert len(blobs.open("abc")) == 0


def test_a_name_is_written_once(blobs: FileBlobs) -> None:
    blobs.put("abc", [b"first"])

    blobs.put("abc", [b"second"])

    assert bytes(blobs.open("abc")) == b"first"


def test_writing_to_a_view_changes_no_one_elses(blobs: FileBlobs) -> None:
    blobs.put("abc", [b"first"])
    mine = blobs.open("abc")

    mine[0:1] = b"X"

    assert bytes(mine) == b"Xirst"
    assert bytes(blobs.open("abc")) == b"first"


def test_a_view_outlives_the_blob(blobs: FileBlobs) -> None:
    blobs.put("abc", [b"first"])
    view = blobs.open("abc")

    blobs.sweep((), age_s=-7200)

    assert bytes(view) == b"first"


def test_a_missing_blob_is_expired(blobs: FileBlobs) -> None:
    assert not blobs.has("absent")
    with pytest.raises(ResultExpired, match="absent"):
        blobs.open("absent")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\0b", "a b", ".hidden", "é", "x" * 129])
def test_a_name_that_is_no_name_is_refused(blobs: FileBlobs, name: str) -> None:
    for verb in (blobs.open, blobs.has):
        with pytest.raises(UsageError):
            verb(name)
    with pytest.raises(UsageError):
        blobs.put(name, [b"x"])


def test_everything_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        blobs = FileBlobs(tmp_path / "blobs")
        blobs.put("abc", [b"x"])
    finally:
        os.umask(before)

    (file,) = _files(blobs)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {stat.S_IMODE(p.stat().st_mode) for p in (file.parent, blobs.directory)} == {0o700}


def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    with pytest.raises(ConfigError, match="chmod 700"):
        FileBlobs(tmp_path)


def test_a_link_in_the_place_of_a_blob_is_not_followed(blobs: FileBlobs, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    blobs.put("abc", [b"x"])
    Path(blobs.path("abc")).unlink()
    Path(blobs.path("abc")).symlink_to(secret)

    with pytest.raises(StoreError):
        blobs.open("abc")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_leaves_nothing_behind(
    blobs: FileBlobs, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def full(fd: int, parts: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "writev", full)

    with pytest.raises(QueueFull, match="disk"):
        blobs.put("abc", [b"x"])
    assert not blobs.has("abc")
    assert not _files(blobs)


def test_a_write_in_pieces_is_completed(blobs: FileBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "writev", lambda fd, parts: os.write(fd, parts[0][:3]))

    blobs.put("abc", [b"0123456789", b"ab", b"cdefg"])

    assert bytes(blobs.open("abc")) == b"0123456789abcdefg"


def test_several_writers_of_one_name_leave_one_whole_blob(blobs: FileBlobs) -> None:
    body = os.urandom(1 << 16)

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(blobs.put, "abc", [body]) for _ in range(32)]:
            done.result()

    assert len(_files(blobs)) == 1
    assert bytes(blobs.open("abc")) == body


def test_a_sweep_frees_what_is_old_and_not_kept(blobs: FileBlobs) -> None:
    for name in ("kept", "old", "young"):
        blobs.put(name, [b"12345"])
    _age(blobs, "kept", 1000)
    _age(blobs, "old", 1000)

    freed = blobs.sweep({"kept"}, age_s=500)

    assert freed == 5
    assert [name for name in ("kept", "old", "young") if blobs.has(name)] == ["kept", "young"]


def test_a_name_that_was_found_is_kept_for_an_hour(blobs: FileBlobs) -> None:
    blobs.put("abc", [b"x"])
    _age(blobs, "abc", 1000)

    assert blobs.has("abc")

    assert blobs.sweep((), age_s=0) == 0
    assert blobs.has("abc")


def test_opening_a_blob_counts_as_use(blobs: FileBlobs) -> None:
    blobs.put("abc", [b"x"])
    _age(blobs, "abc", 1000)

    blobs.open("abc")

    assert blobs.sweep((), age_s=500) == 0


def test_what_a_writer_left_unfinished_is_swept(blobs: FileBlobs) -> None:
    blobs.put("abc", [b"x"])
    left = Path(blobs.path("abc")).with_name(".new-1234")
    left.write_bytes(b"123")
    os.utime(left, (0, 0))

    assert blobs.sweep({"abc"}, age_s=500) == 3
    assert not left.exists()
