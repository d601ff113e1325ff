"""What is wanted of workers: settings in the order in which they were made. Pure.

A setting speaks of one worker, or of all: then also of those that start later. What a worker is to be follows
from how it was started and from the settings that speak of it, one after the other. Settings that a later one
has overtaken are dropped, so that there are never more than a few for each worker.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

from taskflow.worker.queues import Queues

__all__ = ["ALL", "Setting", "What", "Wish", "Wishes", "wish"]

ALL = "*"
"""The worker of a setting that speaks of all of them."""
RECENT = 16
FORMAT = 1

What: TypeAlias = Literal["slots", "autoscale", "queue", "drain", "shutdown", "restart", "rate", "time"]
_BY_NAME = ("queue", "rate", "time")


class Setting(NamedTuple):
    """One thing that is wanted.

    Args:
        revision: The revision that came with it.
        worker: The name of one, or `ALL`.
        what: ``slots``: so many more, or less. ``autoscale``: ``[most, least]``. ``queue``: ``[name,
            weight]``; the weight may be `None`, and is 0 when the queue is not to be served. ``drain``:
            whether. ``shutdown``: ``[started_at, now]``: only the worker that started then, or any with
            `None`; at once, or when what runs has ended. ``restart``: ``[started_at]``, likewise. ``rate``:
            ``[task, per_s]``, `None` for no bound. ``time``: ``[task, soft_s, hard_s]``, `None` for none.
        value: As said.
        at: When it was made, seconds since the epoch, by the clock of who made it; for people.
    """

    revision: int
    worker: str
    what: What
    value: Any
    at: float = 0.0

    @property
    def subject(self) -> tuple[str, str]:
        """Of two settings with one subject the later one counts."""
        return self.what, self.value[0] if self.what in _BY_NAME else ""

    def overtakes(self, other: Setting) -> bool:
        """Whether nobody needs the other one any more, which is older."""
        if self.worker not in (ALL, other.worker):
            return False
        if other.what == "slots":
            return self.what == "autoscale"
        return self.subject == other.subject

    def __str__(self) -> str:
        """As a person reads it."""
        return _READ[self.what](self.value)

    @property
    def lifts(self) -> bool:
        """Whether it says what holds anyway, unless an earlier one of its subject says otherwise."""
        if self.what == "rate":
            return self.value[1] is None
        if self.what == "time":
            return self.value[1] is None and self.value[2] is None
        return self.what == "drain" and not self.value


class Wishes(NamedTuple):
    """All settings, oldest first; `recent` are the names of the changes that made the last ones."""

    settings: tuple[Setting, ...] = ()
    recent: tuple[str, ...] = ()

    def having(self, settings: Iterable[Setting], change: str = "") -> Wishes:
        """With these on top; a change that is known by its name is not made twice."""
        if change and change in self.recent:
            return self
        recent = (*self.recent, change)[-RECENT:] if change else self.recent
        return Wishes(_compact((*self.settings, *settings)), recent)

    def without(self, workers: Collection[str], change: str = "") -> Wishes:
        """Without those that speak of these workers; of `ALL` means all settings."""
        kept = () if ALL in workers else (s for s in self.settings if s.worker not in workers)
        return Wishes(_compact(kept), self.recent).having((), change)

    def kept_for(self, workers: Collection[str]) -> Wishes:
        """Without those that speak of workers that are not among these."""
        return self._replace(
            settings=_compact(s for s in self.settings if s.worker == ALL or s.worker in workers)
        )

    def to_json(self, revision: int) -> bytes:
        """As bytes that say which revision they are."""
        return json.dumps([FORMAT, revision, self.settings, self.recent], separators=(",", ":")).encode()

    @staticmethod
    def from_json(body: bytes, revision: int) -> Wishes:
        """Read `to_json`.

        Raises:
            ValueError: It is something else, or of another revision.
        """
        form, known, settings, recent = json.loads(body)
        if form != FORMAT or known != revision:
            raise ValueError(
                f"wishes of format {form} and revision {known}, instead of {FORMAT} and {revision}"
            )
        return Wishes(tuple(Setting(*setting) for setting in settings), tuple(recent))


def _compact(settings: Iterable[Setting]) -> tuple[Setting, ...]:
    kept: list[Setting] = []
    for new in settings:
        kept = [old for old in kept if not new.overtakes(old)]
        if new.lifts and not any(old.subject == new.subject for old in kept):
            continue
        at = _to_merge_with(new, kept) if new.what == "slots" else None
        if at is None:
            kept.append(new)
            continue
        more = kept.pop(at).value + new.value
        if more:
            kept.append(new._replace(value=more))
    return tuple(kept)


def _to_merge_with(new: Setting, kept: list[Setting]) -> int | None:
    """The same worker's last change of its slots, unless bounds were set since: these come between."""
    for at in range(len(kept) - 1, -1, -1):
        if kept[at].what == "autoscale":
            return None
        if kept[at].what == "slots" and kept[at].worker == new.worker:
            return at
    return None


def _queue_words(value: Any) -> str:
    name, weight = value
    return f"no queue {name}" if weight == 0 else f"queue {name}" + (f":{weight}" if weight else "")


def _rate_words(value: Any) -> str:
    return f"{value[0]} at any rate" if value[1] is None else f"{value[0]} at {value[1]:g}/s"


def _time_words(value: Any) -> str:
    name, *limits = value
    soft, hard = ("no limit" if limit is None else f"{limit:g} s" for limit in limits)
    return f"{name} for {soft} (soft), {hard} (hard)"


_READ: dict[str, Callable[[Any], str]] = {
    "slots": "{:+d} slots".format,
    "autoscale": lambda value: f"autoscale {value[0]},{value[1]}",
    "queue": _queue_words,
    "drain": lambda value: "drain" if value else "no drain",
    "shutdown": lambda value: "shutdown now" if value[1] else "shutdown",
    "restart": lambda _: "restart",
    "rate": _rate_words,
    "time": _time_words,
}


Times: TypeAlias = tuple[float | None, float | None]
"""Limits of time, seconds: soft, and hard."""
_NONE: Mapping[str, Any] = MappingProxyType({})


class Wish(NamedTuple):
    """What one worker is to be.

    Args:
        queues: What it serves.
        least: Slots that it has at least.
        most: And at most; between the two as the load demands.
        drains: It takes nothing new.
        shutdown: It leaves: ``warm`` when what runs has ended, ``now`` at once; ``again`` is warm, and it is
            started anew.
        rates: How many calls of a task it starts in a second, by name.
        times: Limits of a task's time in place of its own, by name.
    """

    queues: Queues
    least: int
    most: int
    drains: bool = False
    shutdown: Literal["warm", "now", "again"] | None = None
    rates: Mapping[str, float] = _NONE
    times: Mapping[str, Times] = _NONE

    @property
    def scales(self) -> bool:
        """Whether its slots follow the load."""
        return self.least < self.most


def wish(start: Wish, settings: Iterable[Setting], name: str, started_at: float) -> Wish:
    """What a worker is to be.

    Args:
        start: What it was when it started.
        settings: Oldest first.
        name: Its name.
        started_at: What it says of when it started.

    Example:
        >>> begun = Wish(Queues(("default",)), 2, 2)
        >>> wish(begun, [Setting(1, ALL, "slots", 3)], "w1", 0.0).most
        5
    """
    queues, least, most, drains, shutdown, *_ = start
    rates, times = dict(start.rates), dict(start.times)
    for _, worker, what, value, _ in settings:
        if worker not in (ALL, name):
            continue
        if what == "slots":
            least, most = least + value, most + value
        elif what == "autoscale":
            most, least = value
        elif what == "queue":
            queues = queues.without(value[0]) if value[1] == 0 else queues.including(*value)
        elif what == "drain":
            drains = value
        elif what == "rate":
            _put(rates, value[0], value[1])
        elif what == "time":
            _put(times, value[0], None if value[1] is value[2] is None else (value[1], value[2]))
        elif value[0] in (None, started_at):
            shutdown = "again" if what == "restart" else "now" if value[1] else "warm"
    return Wish(queues, max(1, least), max(1, least, most), drains, shutdown, rates, times)


def _put(table: dict[str, Any], name: str, value: Any) -> None:
    table.pop(name, None)
    if value is not None:
        table[name] = value
