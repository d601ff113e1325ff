"""Large bytes as objects of a file system that fsspec knows: a shared directory, S3 and what is like it.

Which keys open it is the business of each machine's environment (``AWS_ACCESS_KEY_ID``, ``~/.aws``, …); none
of that is ever stored. Objects are written once under names that nobody else uses, and read in ranges.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from taskflow.blobs.fetching import PIECE_BYTES
from taskflow.blobs.files import FULL
from taskflow.errors import (
    ConfigError,
    MissingExtra,
    QueueFull,
    ResultExpired,
    StoreUnavailable,
    TaskflowError,
    UsageError,
)
from taskflow.policy import backoff_s, roll

__all__ = ["FsspecPlace", "checked"]

T = TypeVar("T")

TRIES = 4
_EXTRAS = {"s3": "s3", "s3a": "s3"}
_QUICK = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 1}}
_OPTIONS: dict[str, dict[str, Any]] = {
    "file": {"auto_mkdir": True},
    "local": {"auto_mkdir": True},
    "s3": {"config_kwargs": _QUICK},
    "s3a": {"config_kwargs": _QUICK},
}
_PRIVATE = {
    "memory": "only this process sees it",
    "http": "it cannot be written",
    "https": "it cannot be written",
}
_OBJECT = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9_.-]{0,127})\.([0-9a-f]{16})")


def checked(url: str) -> str:
    """The URL of a place as it is kept: what is no place for several machines is refused.

    Raises:
        ConfigError: It has no scheme, a password, or a scheme that does not do.
    """
    parts = urlsplit(url)
    if not parts.scheme:
        raise ConfigError(f"blobs={url!r} is no URL: write file:///shared/folder or s3://bucket/prefix.")
    if "@" in parts.netloc:
        raise ConfigError(
            "A place for blobs is kept by the store, so its URL must hold no user and password: give them in"
            " the environment of clients and workers (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, or ~/.aws)."
        )
    if parts.scheme in _PRIVATE:
        raise ConfigError(f"{url!r} is no place for blobs: {_PRIVATE[parts.scheme]}.")
    if "::" in url or parts.query or parts.fragment:
        raise ConfigError(f"blobs={url!r} has more than a scheme, a host or bucket, and a path.")
    if parts.scheme in ("file", "local") and (parts.netloc or not parts.path.strip("/")):
        raise ConfigError(
            f"{url!r} names no directory: write file:///absolute/path, the same on all machines."
        )
    if parts.scheme not in ("file", "local") and not parts.netloc:
        raise ConfigError(f"{url!r} names no bucket or host: write {parts.scheme}://name/path.")
    return url.rstrip("/")


class FsspecPlace:
    """Objects under a folder, each by the name of a blob and a token: two that write the same do not meet.

    Args:
        url: Of a directory or a bucket, see `checked`.
        folder: The folder in it, of one store's own.
    """

    def __init__(self, url: str, folder: str) -> None:
        self.url, self.folder = url, folder
        self._found: tuple[int, Any, str] | None = None

    def write(self, name: str, parts: Sequence[bytes | memoryview]) -> str:
        """Keep the parts, one behind the other; gives the token. What is not written to its end is removed.

        Raises:
            QueueFull: The disk is full.
            StoreUnavailable: The place cannot be reached, or does not let us in.
        """

        def put(fs: Any, root: str) -> str:
            token = secrets.token_hex(8)
            path = root + _object(name, token)
            try:
                with fs.open(path, "wb", block_size=PIECE_BYTES) as file:
                    for part in parts:
                        view = memoryview(part).cast("B")
                        for at in range(0, view.nbytes, PIECE_BYTES):
                            file.write(view[at : at + PIECE_BYTES])
            except BaseException:
                with suppress(Exception):
                    fs.rm_file(path)
                raise
            return token

        return self._ask(put)

    def pieces(self, name: str, token: str, size: int, at: int) -> Iterator[bytes]:
        """The bytes of an object from `at` on, in ranges.

        Raises:
            ResultExpired: There is no such object any more.
            StoreUnavailable: As `write`.
        """
        path = _object(name, token)
        while at < size:
            end = min(at + PIECE_BYTES, size)

            def get(fs: Any, root: str, start: int = at, end: int = end) -> bytes:
                try:
                    return bytes(fs.cat_file(root + path, start=start, end=end))
                except FileNotFoundError as error:
                    text = f"The blob {name} is not in {self.url} any more."
                    raise ResultExpired(text, expired_at=0.0) from error

            piece = self._ask(get)
            if not piece:
                return
            yield piece
            at += len(piece)

    def objects(self, age_s: float) -> Iterator[tuple[str, str, int]]:
        """Name, token and size of the objects that are older than that."""
        before = time.time() - age_s
        for path, info in self._ask(self._listed).items():
            found = _OBJECT.fullmatch(path.rpartition("/")[2])
            if found and _seconds(info) <= before:
                yield found[1], found[2], int(info.get("size") or 0)

    @staticmethod
    def _listed(fs: Any, root: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = fs.find(root, detail=True)
        except FileNotFoundError:
            return {}
        return found

    def remove(self, objects: Sequence[tuple[str, str]]) -> None:
        """Delete objects by name and token; those that are not there are passed over."""

        def rm(fs: Any, root: str) -> None:
            paths = [root + _object(name, token) for name, token in objects]
            try:
                fs.rm(paths)  # at once, where that is possible
            except FileNotFoundError:
                for path in paths:
                    with suppress(FileNotFoundError):
                        fs.rm_file(path)

        if objects:
            self._ask(rm)

    def probe(self) -> None:
        """Write, read and delete something.

        Raises:
            MissingExtra: What reaches it is not installed.
            StoreUnavailable: It cannot be written; the message says why.
        """
        token = self.write("probe", [b"taskflow"])
        if b"".join(self.pieces("probe", token, 8, 0)) != b"taskflow":
            raise StoreUnavailable(f"{self.url} does not give back what is written to it.")
        self.remove([("probe", token)])

    def require(self) -> None:
        """Find what reaches it, without reaching it.

        Raises:
            MissingExtra: That is not installed.
        """
        _library(urlsplit(self.url).scheme)

    # ── asking ───────────────────────────────────────────────────────────────────────

    def _ask(self, question: Callable[[Any, str], T]) -> T:
        """Ask the file system; what fails for a moment is asked again."""
        for number in range(1, TRIES + 1):
            try:
                return question(*self._reach())
            except TaskflowError:
                raise
            except Exception as error:  # each file system raises what it likes
                if number == TRIES or _is_final(error):
                    raise self._explained(error) from error
            time.sleep(backoff_s(number, base_s=0.2, factor=3.0, cap_s=5.0) * (0.5 + roll() / 2))
        raise AssertionError("unreachable")

    def _reach(self) -> tuple[Any, str]:
        """The file system and our folder; made anew after a fork."""
        if self._found is None or self._found[0] != os.getpid():
            scheme = urlsplit(self.url).scheme
            kind = _library(scheme)
            named = kind._get_kwargs_from_urls(self.url) | _OPTIONS.get(scheme, {})
            fs = kind(skip_instance_cache=True, use_listings_cache=False, **named)
            root = f"{str(kind._strip_protocol(self.url)).rstrip('/')}/{self.folder}"
            self._found = os.getpid(), fs, root
        return self._found[1:]

    def _explained(self, error: Exception) -> Exception:
        text = str(error).strip().rstrip(".") or type(error).__name__
        if getattr(error, "errno", None) in FULL:
            return QueueFull(f"The disk of {self.url} is full: make room, then try again.")
        return StoreUnavailable(
            f"The place for blobs {self.url} cannot be used from here: {text}. Is it there, and does this"
            " machine have what opens it (for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws; and"
            " AWS_ENDPOINT_URL for a server of your own)?"
        )


def _object(name: str, token: str) -> str:
    if not _OBJECT.fullmatch(f"{name}.{token}"):
        raise UsageError(f"{name!r} with {token!r} is not the name of an object.")
    return f"/{name[:2]}/{name}.{token}"


def _library(scheme: str) -> Any:
    """The class of a file system."""
    extra = _EXTRAS.get(scheme, "fsspec")
    try:
        from fsspec.registry import get_filesystem_class

        return get_filesystem_class(scheme)
    except ImportError as error:
        more = "" if extra in _EXTRAS.values() or "fsspec" in str(error) else f" ({error})"
        raise MissingExtra(
            f"The large data of this store is in {scheme}://…, and what reaches it is not installed here"
            f"{more}: pip install 'jupyter-taskflow[{extra}]'"
        ) from error
    except ValueError as error:
        raise ConfigError(f"fsspec knows no {scheme}:// ({error}).") from error


def _is_final(error: Exception) -> bool:
    """Whether it is of no use to try again."""
    return (
        isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError | IsADirectoryError)
        or getattr(error, "errno", None) in (*FULL, errno.EROFS)
        or type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")
    )


def _seconds(info: dict[str, Any]) -> float:
    """When an object was written; what does not tell that counts as new."""
    for name in ("mtime", "LastModified", "last_modified", "updated", "modified", "created"):
        at = info.get(name)
        if isinstance(at, int | float):
            return float(at)
        if isinstance(at, datetime):
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    return time.time()
