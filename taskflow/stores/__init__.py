"""Stores: who owns the truth. A store is opened by its URL.

``sqlite:////home/me/runs.db`` (or a bare path) · ``memory://`` · no URL: the user's own embedded store.
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

__all__ = ["default_url", "open_store"]

_SCHEMES = ("sqlite", "memory")


def default_url() -> str:
    """The store that is used when none is named: ``$TASKFLOW_URL``, else a SQLite file of the user's own.

    There is one for each Python environment, so that functions never meet workers with other packages.
    """
    named = os.environ.get("TASKFLOW_URL")
    if named:
        return named
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    which = f"{sys.prefix}|{sys.version_info[0]}.{sys.version_info[1]}"
    name = hashlib.sha256(which.encode()).hexdigest()[:12]
    return f"sqlite:///{Path(state) / 'taskflow' / name / 'store.db'}"


def open_store(url: str | None = None, *, clock: Clock | None = None) -> Store:
    """Open the store that a URL names; it is made when it is not there.

    Raises:
        ConfigError: Unknown scheme or option (the nearest is named), or a file that others could touch.
    """
    url = url or default_url()
    scheme, colon, rest = url.partition("://")
    if not colon:
        scheme, rest = "sqlite", "/" + url
    path, _, query = rest.partition("?")
    options = dict(parse_qsl(query))
    if scheme == "memory":
        from taskflow.stores.memory import MemoryStore

        return MemoryStore(clock=clock)
    if scheme == "sqlite":
        from taskflow.stores.sqlite import SQLiteStore

        unknown = options.keys() - {"sync"}
        if unknown:
            name = min(unknown)
            raise ConfigError(f"A sqlite store has no option {name!r}.{nearest(name, ['sync'])}")
        if not path.strip("/"):
            raise ConfigError(
                f"{url!r} names no file. Write sqlite:////absolute/path.db or sqlite:///relative.db"
            )
        return SQLiteStore(path[1:], clock=clock, sync=options.get("sync", "normal"))
    raise ConfigError(
        f"{url!r}: there is no store {scheme!r}.{nearest(scheme, _SCHEMES)}"
        f" Known are {', '.join(name + '://' for name in _SCHEMES)}."
    )
