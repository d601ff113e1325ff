"""Stores: who owns the truth. A store is opened by its URL.

``sqlite:////home/me/runs.db`` (or a bare path) · ``redis://host:6379/0`` · ``memory://`` · no URL: the user's
own embedded store.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from taskflow.errors import ConfigError, nearest

if TYPE_CHECKING:
    from taskflow.clock import Clock
    from taskflow.ports import Store

__all__ = [
    "blobs_place",
    "default_url",
    "embedded_urls",
    "file_of",
    "is_private",
    "is_shared",
    "open_store",
    "place_of",
]

_OPTIONS: dict[str, frozenset[str]] = {"sqlite": frozenset({"sync"}), "memory": frozenset()}
_REDIS = ("redis", "rediss", "valkey", "valkeys", "redis+socket", "redis+sentinel", "redis+cluster")


def default_url() -> str:
    """The store that is used when none is named: ``$TASKFLOW_URL``, else a SQLite file of the user's own.

    There is one for each Python environment, so that functions never meet workers with other packages.
    """
    return os.environ.get("TASKFLOW_URL") or f"sqlite:///{_embedded()}"


def embedded_urls(most: int = 8) -> list[str]:
    """The embedded stores of this user: that of this environment, whether it is there or not, then those of
    others, the last used first."""
    own = _embedded()
    others = [path for path in own.parent.parent.glob("*/store.db") if path != own]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return [f"sqlite:///{path}" for path in (own, *others[: most - 1])]


def file_of(url: str) -> Path | None:
    """The file that a store is kept in, whether it is there or not; `None` when it is in no file.

    Raises:
        ConfigError: Unknown scheme or option.
    """
    if is_shared(url):
        return None
    scheme, path, _ = _parse(url)
    return Path(path).expanduser().absolute() if scheme == "sqlite" else None


def _embedded() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    which = f"{sys.prefix}|{sys.version_info[0]}.{sys.version_info[1]}"
    name = hashlib.sha256(which.encode()).hexdigest()[:12]
    return Path(state) / "taskflow" / name / "store.db"


def open_store(
    url: str | None = None,
    *,
    clock: Clock | None = None,
    wait_s: float = 20.0,
    answer_s: float | None = None,
    serves: bool = False,
) -> Store:
    """Open the store that a URL names; it is made when it is not there.

    Args:
        url: See the module; the default store when it is `None`.
        clock: Where time comes from.
        wait_s: How long a step waits for its turn before `StoreUnavailable`.
        answer_s: Of a server that is connected and silent: it is taken to be away after so long; `wait_s` by
            default, but no less than 5 s.
        serves: It is opened to run tasks, and all that they may need has to be installed here.

    Raises:
        ConfigError: Unknown scheme or option (the nearest is named), or a file that others could touch.
        MissingExtra: What reaches the place for large data is not installed.
        StoreUnavailable: There is no server at that address.
    """
    url = url or default_url()
    if is_shared(url):
        from taskflow.stores.redis import RedisStore

        return RedisStore(url, clock=clock, wait_s=wait_s, answer_s=answer_s, serves=serves)
    scheme, path, options = _parse(url)
    if scheme == "memory":
        from taskflow.stores.memory import MemoryStore

        return MemoryStore(clock=clock)
    from taskflow.stores.sqlite import SQLiteStore

    return SQLiteStore(path, clock=clock, sync=options.get("sync", "normal"), wait_s=wait_s)


def blobs_place(url: str) -> str:
    """Where the blobs of a store are, for `open_blobs`: a pool needs to know before the store is opened.

    Raises:
        ConfigError: The store keeps no blobs that another process could read, or others could touch them.
    """
    if is_shared(url):
        return url
    scheme, path, _ = _parse(url)
    if scheme != "sqlite":
        raise ConfigError(f"A {scheme} store keeps no blobs in files: it is for one process only.")
    from taskflow.stores.place import blobs_directory

    return str(blobs_directory(path))


def place_of(url: str) -> str:
    """The URL of a store as every process of this host has it; a place in files is made private.

    Raises:
        ConfigError: Unknown scheme or option, or a place that others could touch.
    """
    if is_shared(url):
        return url
    from taskflow.stores.place import url_of

    blobs_place(url)
    _, path, options = _parse(url)
    return url_of(Path(path).expanduser().absolute(), options.get("sync", "normal"))


def is_private(url: str) -> bool:
    """Whether a store is for this process only, and so has no worker process."""
    return not is_shared(url) and _parse(url)[0] == "memory"


def is_shared(url: str) -> bool:
    """Whether a store is on a server, where workers of other machines find it."""
    return url.partition("://")[0] in _REDIS


def _parse(url: str) -> tuple[str, str, dict[str, str]]:
    scheme, colon, rest = url.partition("://")
    if not colon:
        scheme, rest = "sqlite", "/" + url
    path, _, query = rest.partition("?")
    options = dict(parse_qsl(query))
    if scheme not in _OPTIONS:
        raise ConfigError(
            f"{url!r}: there is no store {scheme!r}.{nearest(scheme, (*_OPTIONS, *_REDIS))}"
            f" Known are {', '.join(name + '://' for name in (*_OPTIONS, *_REDIS))}."
        )
    for name in options.keys() - _OPTIONS[scheme]:
        raise ConfigError(f"A {scheme} store has no option {name!r}.{nearest(name, _OPTIONS[scheme])}")
    if scheme == "sqlite" and not path.strip("/"):
        raise ConfigError(
            f"{url!r} names no file. Write sqlite:////absolute/path.db or sqlite:///relative.db"
        )
    return scheme, path[1:], options
