"""Where a store in files lies, and who may touch it: guarded as ssh guards its keys."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

from taskflow.errors import ConfigError, QueueFull

__all__ = ["blobs_directory", "private_directory", "private_file", "url_of"]

_making = threading.Lock()


def blobs_directory(path: str | Path) -> Path:
    """Where the blobs of the store at `path` are, whether it is open or not; the place is made private."""
    return private_directory(Path(path).expanduser().absolute()) / "blobs"


def url_of(path: Path, sync: str) -> str:
    """The URL of a store in a file."""
    return f"sqlite:///{path}" + ("" if sync == "normal" else f"?sync={sync}")


def private_directory(path: Path) -> Path:
    """Make the directory beside the file, and refuse places where others could write."""
    _make_directory(path.parent)
    place = path.parent.stat()
    if place.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not place.st_mode & stat.S_ISVTX:
        raise ConfigError(
            f"Others can write to {path.parent}, so anyone could put tasks into the store."
            f" Run: chmod go-w {path.parent}"
        )
    side = path.with_name(path.name + ".d")
    if not side.is_symlink():
        _make_directory(side)
    found = os.lstat(side)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(
            f"{side} must be a directory of your own that no one else can enter. Run: chmod 700 {side}"
        )
    return side


def private_file(path: Path) -> None:
    """Make the file 0600, or check that it is the user's own and closed to others.

    A file that is there is never opened: closing it again would take all locks from it that this process
    holds through SQLite, and the next process that closes the store would delete the write-ahead log
    under our feet. See "How To Corrupt An SQLite Database File", 2.2.
    """
    with _making:
        _make_file(path)
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode) or not stat.S_ISREG(found.st_mode):
        what = "symbolic link" if stat.S_ISLNK(found.st_mode) else "directory or device"
        raise ConfigError(f"{path} is a {what}, not a file. Give the path of the file itself.")
    if found.st_uid != os.getuid():
        raise ConfigError(
            f"{path} belongs to another user; tasks in it would run as you. Use a file of your own."
        )
    if found.st_mode & 0o077:
        raise ConfigError(
            f"{path} is open to other users, who could put tasks into it. Run: chmod 600 {path}"
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise ConfigError(
            f"{path} cannot be read and written. Run: chmod 600 {path}, unless the disk is read-only."
        )


def _make_file(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise _explained(error, path) from error


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _explained(error, path) from error


def _explained(error: OSError, path: Path) -> Exception:
    if error.errno == errno.ENOSPC:
        return QueueFull(f"The disk that would hold {path} is full. Free some space and try again.")
    return ConfigError(f"{path} cannot be made: {error.strerror}. Check the path and its permissions.")
