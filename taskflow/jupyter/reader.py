"""One thread that looks at the stores for all pages of a server; it exists only while there is a page."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from taskflow.errors import NoSuchRun, ResultExpired, TaskflowError
from taskflow.ids import RunId
from taskflow.jupyter.desk import Desk
from taskflow.jupyter.rows import Paces, Row
from taskflow.jupyter.shelf import TROUBLE, Place
from taskflow.observe.snapshot import Snapshot, Watch
from taskflow.ports import Bell, Store

__all__ = ["News", "Reader", "Wish"]

log = logging.getLogger(__name__)

LISTED = 100
INTERVAL_S, LIST_INTERVAL_S, IDLE_S = 0.1, 0.5, 2.0
SHARE = 3
"""Looking takes at most a quarter of the time."""

DEPARTED = (NoSuchRun, ResultExpired)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the pages want to see: the list of runs always; these runs, and the workers."""

    pages: int = 0
    runs: frozenset[str] = frozenset()
    workers: bool = False


@dataclass(slots=True)
class News:
    """What has changed; `None`, or an empty mapping, where nothing did.

    Snapshots are JSON texts; a run that no store knows has a message instead.
    """

    listing: dict[str, Any] | None = None
    workers: list[Row] | None = None
    snapshots: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)


class Reader:
    """Looks at most ten times a second, and only when a store rang or something is due.

    Args:
        desk: The stores.
        tell: Takes the news; called in the reader's thread.
    """

    def __init__(self, desk: Desk, tell: Callable[[News], None]) -> None:
        self._desk = desk
        self._tell = tell
        self._wish = Wish()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def wish(self, wish: Wish) -> None:
        """Look for this from now on; without pages the thread ends."""
        with self._lock:
            self._wish = wish
            if wish.pages and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="taskflow-reader", daemon=True)
                self._thread.start()
        with contextlib.suppress(BlockingIOError):  # it has been woken already
            os.write(self._wake_write, b"!")

    def _run(self) -> None:
        is_over = False
        while not is_over:
            try:
                with contextlib.closing(_Round(self._desk)) as round_:
                    self._look_on(round_)
                is_over = True
            except Exception:
                log.exception("looking at the stores failed; it begins anew")
                time.sleep(IDLE_S)

    def _look_on(self, round_: _Round) -> None:
        while wish := self._next_wish():
            began = time.monotonic()
            news = round_.look(wish)
            if news is not None:
                self._tell(news)
            took_s = time.monotonic() - began
            time.sleep(max(INTERVAL_S - took_s, SHARE * took_s))
            round_.wait(self._wake_read)

    def _next_wish(self) -> Wish | None:
        with self._lock:
            if self._wish.pages:
                return self._wish
            self._thread = None
            return None


class _Round:
    """What the thread remembers from one look to the next."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._paces = Paces()
        self._bells: dict[str, tuple[Any, Bell]] = {}
        self._watched: dict[str, _Watched] = {}
        self._unknown: dict[str, str] = {}
        self._listing: dict[str, Any] = {}
        self._workers: list[Row] | None = None
        self._list_at = self._slow_at = 0.0
        self._rang = True

    def look(self, wish: Wish) -> News | None:
        """Read what is due; `None` when nothing has changed."""
        news, now = News(), time.monotonic()
        is_slow = now >= self._slow_at
        if is_slow:
            self._slow_at = now + IDLE_S
            self._listen()
        if (self._rang and now >= self._list_at) or is_slow:
            self._list_at, self._rang = now + LIST_INTERVAL_S, False
            self._list(news)
            self._find(wish.runs, news)
            for watched in self._watched.values():
                watched.is_due = watched.is_due or (is_slow and not watched.watch.ended)
        if not wish.workers:
            self._workers = None
        elif is_slow or self._workers is None:
            self._count_workers(news)
        for run in self._watched.keys() - wish.runs:
            del self._watched[run]
        for run in wish.runs - self._watched.keys() - self._unknown.keys():
            self._find(frozenset({run}), news)
        for run, watched in list(self._watched.items()):
            self._watch(run, watched, now, news)
        return news if news != News() else None

    def wait(self, wake: int) -> None:
        """Until a store rings, the wish changes, or something is due."""
        now = time.monotonic()
        due_at = min([self._slow_at, *(w.due_at for w in self._watched.values() if w.is_due)])
        if self._rang:
            due_at = min(due_at, self._list_at)
        bells = [bell for _, bell in self._bells.values()]
        listening: list[int | Bell] = [wake, *bells]
        for one in select.select(listening, [], [], max(0.0, due_at - now))[0]:
            if isinstance(one, int):
                os.read(one, 4096)
                continue
            one.hush()
            self._rang = True
            for watched in self._watched.values():
                watched.is_due = not watched.watch.ended

    def close(self) -> None:
        """Stop listening."""
        for _, bell in self._bells.values():
            bell.close()

    # ── the list ─────────────────────────────────────────────────────────────────────

    def _list(self, news: News) -> None:
        listing = self._desk.runs(size=LISTED)
        self._paces.estimate(listing["runs"], time.time())
        if listing != self._listing:
            self._listing = news.listing = listing

    def _count_workers(self, news: News) -> None:
        workers = self._desk.workers()
        if workers != self._workers:
            self._workers = news.workers = workers

    def _listen(self) -> None:
        """Have a bell of each store that can be asked, and none of those that cannot."""
        places = {place.url: place for place in self._desk.shelf.places()}
        for url in self._bells.keys() - places.keys():
            self._bells.pop(url)[1].close()
        for url, place in places.items():
            with contextlib.suppress(*TROUBLE):  # the list says so
                self._listen_to(url, place)

    def _listen_to(self, url: str, place: Place) -> None:
        store = place.ask(lambda store: store)
        if url in self._bells and self._bells[url][0] is not store:
            self._bells.pop(url)[1].close()
        if store is not None and url not in self._bells:
            self._bells[url] = store, store.listen("watch")

    # ── single runs ──────────────────────────────────────────────────────────────────

    def _find(self, runs: frozenset[str], news: News) -> None:
        """Begin to watch those that are not watched yet, as soon as a store knows them."""
        for run in runs - self._watched.keys():
            try:
                place = self._desk.shelf.place_of(run)
                store = place.ask(lambda store: store)
            except (TaskflowError, OSError) as error:
                self._miss(run, str(error), news)
                continue
            if store is not None:
                self._unknown.pop(run, None)
                self._watched[run] = _Watched(place, store, Watch(store, RunId(run)))

    def _miss(self, run: str, message: str, news: News) -> None:
        if self._unknown.get(run) != message:
            self._unknown[run] = news.unknown[run] = message

    def _watch(self, run: str, watched: _Watched, now: float, news: News) -> None:
        if not watched.is_due or now < watched.due_at:
            return
        watched.is_due = False
        try:
            snapshot = watched.place.ask(watched.look)
        except (*DEPARTED, *TROUBLE) as error:
            del self._watched[run]
            self._miss(run, str(error), news)
            return
        watched.due_at = now + watched.watch.rest_s
        if snapshot is not None:
            text = json.dumps(snapshot, separators=(",", ":"))
            news.snapshots[run] = f'{{"kind":"run","run":{json.dumps(run)},"snapshot":{text}}}'


@dataclass(slots=True)
class _Watched:
    place: Place
    store: Store
    watch: Watch
    due_at: float = 0.0
    is_due: bool = True

    def look(self, store: Store) -> Snapshot | None:
        if store is not self.store:
            raise NoSuchRun("The store was removed, and another is in its place.")
        return self.watch.look()
