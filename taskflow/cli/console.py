"""What a command works with: the store that was named, and the terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from taskflow.cli.application import Sought
from taskflow.errors import ConfigError, NoSuchRun
from taskflow.observe.table import Column, paint, render
from taskflow.observe.terminal import has_colour, is_live, is_plain, screen_width
from taskflow.observe.text import visible

if TYPE_CHECKING:
    from taskflow.ports import Store
    from taskflow.steering import Desk

__all__ = ["Console", "NoStore"]

_PREFIXES = (13, 18, 23, 28)
"""Lengths at which an id may be cut: those where a group of it ends."""


class NoStore(ConfigError):
    """There is no store at that place yet."""


class Console:
    """The store and the streams of one command.

    Args:
        out: Where answers go.
        err: Where all else goes: errors, hints, progress.
        url: The store; the default one when `None`.
        json: Whether tables are written as JSON.
        opened: Opens the store of a URL.
        now: Seconds since the epoch.
        sought: Which application, if any.
        quiet: No hints.
    """

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        *,
        url: str | None = None,
        json: bool = False,
        opened: Callable[[str], Store] | None = None,
        now: Callable[[], float] = time.time,
        sought: Sought | None = None,
        quiet: bool = False,
    ) -> None:
        self.out, self.err, self.json, self.now = out, err, json, now
        self._url, self._sought, self._quiet = url, sought or Sought(), quiet
        self._opened = opened or _opened
        self.colour = has_colour(out)
        self.plain = is_plain(out)
        self.width = screen_width(out) if is_live(out) else None

    # ── the store ────────────────────────────────────────────────────────────────────

    @cached_property
    def url(self) -> str:
        """The URL of the store: the one that was named, else that of the application."""
        from taskflow.stores import default_url

        of_app = self.app.conf.broker_url if self.has_app and not self._url else None
        return self._url or of_app or default_url()

    @property
    def is_default(self) -> bool:
        """Whether nobody named a store."""
        return not self._url and not self.has_app and not os.environ.get("TASKFLOW_URL")

    @property
    def has_app(self) -> bool:
        """Whether an application was named."""
        return self._sought.is_named

    @cached_property
    def app(self) -> Any:
        """The application that was named, with its tasks.

        Raises:
            UsageError: None was named; ConfigError: There is none of that name.
        """
        return self._sought.find()

    @cached_property
    def desk(self) -> Desk:
        """What looking at workers and telling them needs."""
        from taskflow.steering import Desk

        if self.has_app and self._opened is _opened:
            return Desk.of(self.app.client(), self.app.tasks)
        return Desk(self.store, tasks=self.app.tasks if self.has_app else None)

    @cached_property
    def store(self) -> Store:
        """The store, opened on first use.

        Raises:
            ConfigError: There is none at that place, or it cannot be opened.
        """
        return self._opened(self.url)

    def close(self) -> None:
        """Let go of the store, if it was opened."""
        if "store" in self.__dict__:
            self.store.close()
        client = self.app._client if "app" in self.__dict__ else None
        if client is not None:
            client.shutdown(wait=False)  # what was sent is in the store, and goes on

    def short(self, ids: Iterable[str]) -> dict[str, str]:
        """For each id the shortest handy prefix that names it alone in the store."""
        return {each: self._short(each) for each in dict.fromkeys(ids)}

    def _short(self, full: str) -> str:
        for length in _PREFIXES:
            try:
                run, node = self.store.find(full[:length])
            except NoSuchRun:
                continue
            if full == (node or run):
                return full[:length]
        return full

    # ── the terminal ─────────────────────────────────────────────────────────────────

    def say(self, text: str = "") -> None:
        """Write a line of an answer; control characters are written out."""
        self.out.write(visible(text) + "\n")

    def hint(self, text: str) -> None:
        """Write a line that is no part of the answer, unless it is to be quiet."""
        if self._quiet:
            return
        self.err.write(visible(text) + "\n")

    def title(self, text: str, state: str) -> None:
        """Write a line in the colour of a state."""
        self.out.write((paint(visible(text), state) if self.colour else visible(text)) + "\n")

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
        """Write a table, cut to the terminal when there is one."""
        for line in render(columns, rows, width=self.width, colour=self.colour):
            self.out.write(line + "\n")

    def dump(self, record: Any) -> None:
        """Write records as JSON."""
        from taskflow.cli.plain import json_text, plain

        self.out.write(json_text(plain(record)) + "\n")
        self.out.flush()


def _opened(url: str) -> Store:
    from pathlib import Path

    from taskflow.stores import open_store

    scheme, colon, rest = url.partition("://")
    if scheme == "memory" and colon:
        raise ConfigError("A memory:// store is seen by its own process alone: name a file, such as runs.db.")
    path = Path((rest.partition("?")[0][1:] if colon else url) or ".").expanduser()
    if (scheme == "sqlite" or not colon) and not path.exists():
        raise NoStore(
            f"There is no store at {path} yet. Submit something first or start `taskflow worker`,"
            " or name another store with --url or TASKFLOW_URL."
        )
    return open_store(url)
