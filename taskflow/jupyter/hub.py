"""What the server knows of the runs, and what each of its pages was told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from taskflow.jupyter.desk import Desk
from taskflow.jupyter.reader import News, Reader, Wish
from taskflow.jupyter.rows import Row

__all__ = ["WATCHED_MOST", "Hub", "Page"]

WATCHED_MOST = 200


class Page:
    """One open socket.

    Args:
        ring: Called when there is something to tell; `news` says what.

    Attributes:
        runs: Those whose snapshots it wants.
        workers: Whether it wants to hear of workers.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self.ring = ring
        self.runs: frozenset[str] = frozenset()
        self.workers = False
        self._listed: dict[str, Row] | None = None
        self._stores: list[Row] = []
        self._working: list[Row] | None = None
        self._told: dict[str, str] = {}

    def want(self, message: Any) -> None:
        """Take what the page said: ``{"watch": [run, ...], "workers": true}``; runs that are not named are
        watched no more.

        Raises:
            ValueError: It said something else.
        """
        runs = message.get("watch", []) if isinstance(message, dict) else None
        if not isinstance(runs, list) or not all(isinstance(run, str) for run in runs):
            raise ValueError('expected {"watch": [run, ...], "workers": true or false}')
        self.runs, self.workers = frozenset(runs[:WATCHED_MOST]), bool(message.get("workers"))
        self._told = {run: text for run, text in self._told.items() if run in self.runs}
        if not self.workers:
            self._working = None

    def news(self, hub: Hub) -> list[str]:
        """The messages that bring it up to date; what changed several times since is told once."""
        messages = []
        if hub.listing is not None and (listing := self._news_of_list(hub.listing)):
            messages.append(json.dumps(listing))
        if self.workers and hub.workers is not None and hub.workers != self._working:
            self._working = hub.workers
            messages.append(json.dumps({"kind": "workers", "workers": hub.workers}))
        for run in self.runs:
            text = hub.snapshots.get(run)
            if text is not None and self._told.get(run) is not text:
                self._told[run] = text
                messages.append(text)
        return messages

    def _news_of_list(self, listing: dict[str, Any]) -> dict[str, Any] | None:
        before = self._listed or {}
        rows = {row["run"]: row for row in listing["runs"]}
        changed = [row for run, row in rows.items() if before.get(run) != row]
        gone = [run for run in before if run not in rows]
        if self._listed is not None and not changed and not gone and listing["stores"] == self._stores:
            return None
        whole, self._listed, self._stores = self._listed is None, rows, listing["stores"]
        kept = {name: listing[name] for name in ("stores", "more", "read_only")}
        return {"kind": "list", "whole": whole, "runs": changed, "gone": gone} | kept


class Hub:
    """The newest of everything, and who wants it. All of it is called on the event loop of the server.

    Args:
        desk: Where it is read, by a `Reader`.
    """

    def __init__(self, desk: Desk) -> None:
        self.listing: dict[str, Any] | None = None
        self.workers: list[Row] | None = None
        self.snapshots: dict[str, str] = {}
        self._pages: set[Page] = set()
        self._reader = Reader(desk, self._hear_soon)
        self._loop: asyncio.AbstractEventLoop | None = None

    def join(self, page: Page) -> None:
        """A page was opened."""
        self._loop = asyncio.get_running_loop()
        self._pages.add(page)
        self.wants_changed()
        page.ring()

    def leave(self, page: Page) -> None:
        """A page was closed. With the last one goes what is known: it grows old unseen."""
        self._pages.discard(page)
        self.wants_changed()
        if not self._pages:
            self.listing = self.workers = None

    def wants_changed(self) -> None:
        """Pages want something else than before."""
        runs = frozenset().union(*(page.runs for page in self._pages))
        workers = any(page.workers for page in self._pages)
        self.snapshots = {run: text for run, text in self.snapshots.items() if run in runs}
        if not workers:
            self.workers = None
        self._reader.wish(Wish(len(self._pages), runs, workers))

    def hear(self, news: News) -> None:
        """Take what the reader found, and call those whom it may concern."""
        self.listing = news.listing or self.listing
        self.workers = self.workers if news.workers is None else news.workers
        for run, message in news.unknown.items():
            self.snapshots[run] = json.dumps(
                {"kind": "run", "run": run, "snapshot": None, "message": message}
            )
        self.snapshots.update(news.snapshots)
        for page in self._pages:
            page.ring()

    def _hear_soon(self, news: News) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server is at its end
            self._loop.call_soon_threadsafe(self.hear, news)
