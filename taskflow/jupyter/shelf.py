"""The stores that are shown: opened when they are there and somebody asks, left alone while they are away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from taskflow.errors import (
    ConfigError,
    MissingExtra,
    NoSuchRun,
    ResultExpired,
    StoreUnavailable,
    VersionMismatch,
)
from taskflow.ids import RunId
from taskflow.links import shown
from taskflow.ports import Store
from taskflow.stores import file_of, open_store

__all__ = ["TROUBLE", "Place", "Shelf"]

T = TypeVar("T")

WAIT_S = 3.0
KNOWN_MOST = 1000
PATIENCE_S = (1.0, 15.0)
"""How long a store that is away is left alone: at first, and at most."""

TROUBLE = (StoreUnavailable, ConfigError, VersionMismatch, MissingExtra, OSError)
"""What says that a store cannot be asked now, whatever the question."""


class Place:
    """Where a store is, or may be one day. Safe to use from several threads.

    Args:
        url: The store's. A file that is not there is not made.
        opened: Opens it.
        monotonic: Seconds, for how long a store is left alone.

    Attributes:
        shown: The URL without passwords.
        trouble: Why it could not be asked the last time; empty when it could.
    """

    def __init__(
        self,
        url: str,
        opened: Callable[[str], Store] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url, self.shown, self.trouble = url, shown(url), ""
        self._opened = opened or _opened
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._which: tuple[int, int] | None = None
        self._error: Exception | None = None
        self._patience_s, self._again_at = PATIENCE_S[0], 0.0

    @property
    def state(self) -> str:
        """``ok``; ``absent``: there is none yet; ``away``: it cannot be asked, see `trouble`."""
        if self.trouble:
            return "away"
        return "ok" if self._store is not None else "absent"

    def ask(self, question: Callable[[Store], T]) -> T | None:
        """What the store answers; `None` where there is none yet.

        Raises:
            StoreUnavailable: It is away: it is left alone for some seconds, and this raised at once.
            ConfigError: It can be read or written by others; and the others of `TROUBLE`.
        """
        try:
            store = self.store()
            answer = None if store is None else question(store)
        except TROUBLE as error:
            self._is_away(error)
            raise
        self.trouble, self._error, self._patience_s = "", None, PATIENCE_S[0]
        return answer

    def store(self) -> Store | None:
        """The open store; `None` where there is none yet."""
        with self._lock:
            if self._error is not None and self._monotonic() < self._again_at:
                raise self._error
            path = file_of(self.url)
            which = _which(path) if path is not None else (0, 0)
            if self._store is not None and which != self._which:
                self._store.close()
                self._store = None
            if self._store is None and which is not None:
                self._store, self._which = self._opened(self.url), which
            return self._store

    def close(self) -> None:
        """Let go of the store."""
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None

    def _is_away(self, error: Exception) -> None:
        with self._lock:
            if error is self._error and self._monotonic() < self._again_at:
                return
            self.trouble, self._error = str(error), error
            self._again_at = self._monotonic() + self._patience_s
            self._patience_s = min(2 * self._patience_s, PATIENCE_S[1])


class Shelf:
    """All places that are shown.

    Args:
        urls: Says which: stores of other environments come and go.
    """

    def __init__(self, urls: Callable[[], list[str]]) -> None:
        self._urls = urls
        self._places: dict[str, Place] = {}
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()

    def places(self) -> list[Place]:
        """Those of now, in the order in which they are shown."""
        urls = self._urls()
        with self._lock:
            gone = [self._places.pop(url) for url in self._places.keys() - set(urls)]
            places = [self._places.setdefault(url, Place(url)) for url in urls]
        for place in gone:
            place.close()
        return places

    def place_of(self, run: str) -> Place:
        """Where a run is.

        Raises:
            NoSuchRun: In none of the stores that can be asked.
            ResultExpired: It was there.
            StoreUnavailable: Not in those, and one is away.
        """
        problem: Exception | None = None
        known = self._known.get(run)
        for place in sorted(self.places(), key=lambda place: place.url != known):
            try:
                if place.ask(lambda store: store.snapshot(RunId(run))):
                    return self._remember(run, place)
            except (ResultExpired, *TROUBLE) as error:
                problem = problem or error
            except NoSuchRun:
                continue
        if problem is not None:
            raise problem
        raise NoSuchRun(
            f"No store that is shown here knows run {run}: it was removed, or is in another store."
        )

    def _remember(self, run: str, place: Place) -> Place:
        with self._lock:
            if len(self._known) >= KNOWN_MOST:
                self._known.clear()
            self._known[run] = place.url
        return place

    def close(self) -> None:
        """Let go of all stores."""
        with self._lock:
            places, self._places = list(self._places.values()), {}
        for place in places:
            place.close()


def _opened(url: str) -> Store:
    return open_store(url, wait_s=WAIT_S)


def _which(path: Path) -> tuple[int, int] | None:
    """Which file is there; another one than before is another store."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
