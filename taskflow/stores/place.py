"""Where a store in files lies, and who may touch it: guarded as ssh guards its keys."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from taskflow.errors import ConfigError, QueueFull

__all__ = ["blobs_directory", "private_directory", "private_file"]


def blobs_directory(path: str | Path) -> Path:
    """Where the blobs of the store at `path` are, whether it is open or not; the place is made private."""
    return private_directory(Path(path).expanduser().absolute()) / "blobs"


def private_directory(path: Path) -> Path:
    """Make the directory beside the file, and refuse places where others could write."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = path.parent.stat()
    if place.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not place.st_mode & stat.S_ISVTX:
        raise ConfigError(
            f"Others can write to {path.parent}, so anyone could put tasks into the store."
            f" Run: chmod go-w {path.parent}"
        )
    side = path.with_name(path.name + ".d")
    side.mkdir(mode=0o700, exist_ok=True)
    found = os.lstat(side)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(
            f"{side} must be a directory of your own that no one else can enter. Run: chmod 700 {side}"
        )
    return side


def private_file(path: Path) -> None:
    """Make the file 0600, or check that it is the user's own and closed to others."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise QueueFull(f"The disk that would hold {path} is full.") from error
        raise ConfigError(
            f"{path} cannot be opened: {error.strerror}. Check the path and its permissions."
        ) from error
    found = os.stat(path)
    if found.st_uid != os.getuid():
        raise ConfigError(
            f"{path} belongs to another user; tasks in it would run as you. Use a file of your own."
        )
    if found.st_mode & 0o077:
        raise ConfigError(
            f"{path} is open to other users, who could put tasks into it. Run: chmod 600 {path}"
        )
