"""Blobs as files of one directory: written whole, mapped when read, private to their owner."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import re
import secrets
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from taskflow.errors import ConfigError, QueueFull, ResultExpired, StoreError, UsageError

__all__ = ["FULL", "PARTIAL", "TEMPORARY", "FileBlobs", "evict", "explained", "mapped", "opened"]

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")
_HOLD_S = 3600.0
_TOUCH_EVERY_S = 60.0
TEMPORARY = ".new-"
PARTIAL = ".part-"
_DOOMED = ".old-"
_MOST_PARTS = 512
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What the system says when there is no room."""


class FileBlobs:
    """Keeps each blob in a file, under a directory of its first two letters.

    The modification time of a file says when it was last wanted. Several processes may use a
    directory at once.

    Args:
        directory: Made when it is not there, for its owner only.

    Raises:
        ConfigError: The directory is not ours alone.
    """

    guarded = True

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self._root = os.fspath(self.directory)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_private(self.directory)

    def put(self, name: str, parts: Sequence[bytes | memoryview], /) -> None:
        """Keep the parts, one behind the other, under a name; nothing happens when the name is there.

        Raises:
            QueueFull: The disk is full.
        """
        if self.has(name):
            return
        path = self.path(name)
        temporary = os.path.join(os.path.dirname(path), TEMPORARY + secrets.token_hex(8))
        try:
            fd = opened(temporary, os.O_WRONLY | os.O_EXCL)
            try:
                with suppress(OSError):  # it is being used: see `evict`
                    fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                _write(fd, parts)
            finally:
                os.close(fd)
            os.rename(temporary, path)
        except OSError as error:
            with suppress(OSError):
                os.unlink(temporary)
            raise explained(error, self._root) from error
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def open(self, name: str, /) -> memoryview:
        """The bytes, mapped: read as they are touched, and writing to the view changes no one else's.

        Raises:
            ResultExpired: There is no such blob any more.
            StoreError: It cannot be read.
        """
        try:
            fd = os.open(self.path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ResultExpired(
                f"The blob {name} is not in {self._root} any more: retention removed it, or it is"
                " another store's.",
                expired_at=0.0,
            ) from None
        except OSError as error:
            raise StoreError(f"The blob {name} in {self._root} cannot be read: {error.strerror}.") from error
        try:
            _touch(fd)
            return mapped(fd)
        finally:
            os.close(fd)

    def has(self, name: str, /) -> bool:
        """Whether the name is there; a name that is found is kept for at least another hour."""
        until = time.time() + _HOLD_S
        try:
            os.utime(self.path(name), (until, until), follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def sweep(self, keep: Collection[str], /, *, age_s: float) -> int:
        """Delete all that is not named in `keep` and was not used for `age_s`; returns the bytes freed."""
        names = frozenset(keep)
        before = time.time() - age_s
        return sum(_remove(entry, before) for entry in _files(self._root) if entry.name not in names)

    def drop(self, name: str, /) -> None:
        """Nothing to do: it is no copy."""

    def path(self, name: str) -> str:
        """The file of a name.

        Raises:
            UsageError: That is no name.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is not a name for a blob: use 1 to 128 of A-Z a-z 0-9 _ . - and no leading dot."
            )
        return f"{self._root}/{name[:2]}/{name}"


def _check_private(directory: Path) -> None:
    info = os.stat(directory)
    if info.st_uid != os.geteuid():
        raise ConfigError(
            f"The directory {directory} belongs to another user (uid {info.st_uid}): choose another."
        )
    if stat.S_IMODE(info.st_mode) & 0o022:
        raise ConfigError(
            f"Others can write to {directory}, and so could send you code: `chmod 700 {directory}`."
        )


def mapped(fd: int) -> memoryview:
    """An open file, mapped; it is marked as being used for as long as the view is there.

    The mark is a shared lock: it belongs to what was opened, of which the mapping keeps a duplicate, as
    processes that are forked do.
    """
    with suppress(OSError):  # there are file systems without locks
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    size = os.fstat(fd).st_size
    return memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_COPY) if size else bytearray())


def _touch(fd: int) -> None:
    """Note that a file was used, unless it is held for longer anyway."""
    info, now = os.fstat(fd), time.time()
    if info.st_mtime < now - _TOUCH_EVERY_S:
        os.utime(fd, (now, now))


def opened(path: str, flags: int) -> int:
    """A file for writing, private to its owner; it and its directory are made when they are not there."""
    flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        return os.open(path, flags, 0o600)


def _write(fd: int, parts: Sequence[bytes | memoryview]) -> None:
    rest = [memoryview(part).cast("B") for part in parts if len(part)]
    while rest:
        written = os.writev(fd, rest[:_MOST_PARTS])
        while rest and written >= rest[0].nbytes:
            written -= rest.pop(0).nbytes
        if rest and written:
            rest[0] = rest[0][written:]


def explained(error: OSError, root: str) -> Exception:
    """What a failed write means to people."""
    if error.errno in FULL:
        return QueueFull(
            f"The disk of {root} is full: make room (`taskflow doctor` shows what is kept), then try again."
        )
    return StoreError(f"Nothing could be written to {root}: {error.strerror}.")


def evict(roots: Iterable[str], most_bytes: float, unused_s: float) -> int:
    """Delete what was not used for so long, and the longest unused while all together take more than that.

    What some process has mapped, or is writing, stays.

    Args:
        roots: Directories of `FileBlobs`.
        most_bytes: How much may be left.
        unused_s: Older files go in any case.

    Returns:
        The bytes that are left.
    """
    found = []
    for root in roots:
        with suppress(FileNotFoundError):
            for entry in _files(root):
                with suppress(FileNotFoundError):
                    info = os.lstat(entry.path)
                    found.append((info.st_mtime, info.st_size, entry.path))
    left, before = sum(size for _, size, _ in found), time.time() - unused_s
    for used_at, size, path in sorted(found):
        if used_at > before and left <= most_bytes:
            break
        if _take_away(path):
            left -= size
    return left


def _take_away(path: str) -> bool:
    """Delete a file that nobody uses now; whether it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _files(root: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(root) as folders:
        for folder in folders:
            if folder.is_dir(follow_symlinks=False):
                with os.scandir(folder.path) as files:
                    yield from files


def _remove(entry: os.DirEntry[str], before: float) -> int:
    """Delete a file that was not wanted since `before`; gives its size, or 0 when it stays."""
    try:
        if os.lstat(entry.path).st_mtime > before:
            return 0
        if entry.name.startswith((TEMPORARY, PARTIAL, _DOOMED)):
            size = os.lstat(entry.path).st_size
            os.unlink(entry.path)
            return size
        # Out of sight first: whoever asked for it before that has touched it, and it goes back.
        doomed = os.path.join(os.path.dirname(entry.path), f"{_DOOMED}{secrets.token_hex(4)}")
        os.rename(entry.path, doomed)
        info = os.lstat(doomed)
        if info.st_mtime > before:
            os.rename(doomed, entry.path)
            return 0
        os.unlink(doomed)
        return info.st_size
    except FileNotFoundError:
        return 0
