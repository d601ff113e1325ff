"""Where results are put and read beside a store, by URL: Celery's result backends.

``db+sqlite:////path/results.db`` · ``db+postgresql://user:password@host/name`` · what else SQLAlchemy opens.

A task's state stays in its store. A backend has what became of it: for SQL, and for handles when the store
has forgotten the run. `Keeper` seals and opens, an adapter only moves bytes (`taskflow.ports.Results`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskflow.backends.keeping import Keeper, Known
from taskflow.codec import Keyring
from taskflow.errors import ConfigError, nearest

if TYPE_CHECKING:
    from taskflow.ports import Results

__all__ = ["Keeper", "Known", "is_backend", "open_backend", "open_keeper"]

_SCHEMES = ("db",)


def is_backend(url: str) -> bool:
    """Whether a URL names a place for results, and no store.

    Example:
        >>> is_backend("db+sqlite:///results.db"), is_backend("redis://localhost")
        (True, False)
    """
    return url.partition("://")[0].partition("+")[0] in _SCHEMES


def open_backend(url: str) -> Results:
    """Open a place for results; its tables are made when they are not there.

    Raises:
        ConfigError: There is no such place.
        MissingExtra: What reaches it is not installed.
    """
    scheme = url.partition("://")[0]
    if not is_backend(url):
        raise ConfigError(
            f"{url!r}: there is no place for results {scheme!r}.{nearest(scheme, _SCHEMES)} Known are"
            " db+sqlite:// and db+postgresql://, and stores, which keep results themselves."
        )
    from taskflow.backends.sql import SQLResults

    return SQLResults(url.partition("+")[2])


def open_keeper(url: str, keyring: Keyring | None = None) -> Keeper:
    """The keeper of a place for results.

    Args:
        url: See `open_backend`, which also says what may be wrong with it.
        keyring: Seals and opens; the user's own by default.
    """
    return Keeper(open_backend(url), keyring or Keyring.load())
