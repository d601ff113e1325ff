"""Schedules as a program or a configuration wants them, before they are drawn and stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

from taskflow.beat.entry import Missed, Overlap
from taskflow.errors import ConfigError, nearest
from taskflow.schedules import Schedule, as_schedule, zone, zone_name

__all__ = ["Wanted", "entries_from"]


@dataclass(frozen=True)
class Wanted:
    """What is to run, and when; see `Schedules.add` for the words.

    Args:
        task: A function, a task, the name of one, or a signature.
        schedule: When.
        args: Positional arguments.
        kwargs: Keyword arguments.
        options: Options of the calls.
        tz: In which zone the schedule is meant.
        enabled: Whether it runs; `None` leaves that as it is.
        start: No tick before this.
        end: No tick after this.
        missed: See `Entry`.
        jitter: See `Entry`.
        overlap: See `Entry`.
    """

    task: Any
    schedule: Schedule
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    tz: str = "UTC"
    enabled: bool | None = None
    start: datetime | None = None
    end: datetime | None = None
    missed: Missed = "once"
    jitter: float = 0.0
    overlap: Overlap = "allow"


_OURS = ("tz", "enabled", "start", "end", "missed", "jitter", "overlap")
_WORDS = ("task", "schedule", "args", "kwargs", "options", "relative", *_OURS)


def entries_from(conf: Mapping[str, Mapping[str, Any]], tz: str | tzinfo | None = None) -> dict[str, Wanted]:
    """Read ``beat_schedule``, as Celery has it.

    Args:
        conf: An entry for each name: ``task``, ``schedule`` (seconds, a `timedelta`, a `crontab`, …), and
            perhaps ``args``, ``kwargs``, ``options``, ``relative``; also ``tz``, ``enabled``, ``start``,
            ``end``, ``missed``, ``jitter`` and ``overlap``, which is ``"allow"`` here, as in Celery.
        tz: The zone of entries that name none: ``timezone``.

    Raises:
        ConfigError: An entry has a word that is not known (the nearest is named), or lacks one.

    Example:
        >>> found = entries_from({"add": {"task": "tasks.add", "schedule": 30.0, "args": (16, 16)}})
        >>> found["add"].schedule, found["add"].args
        (schedule(30), (16, 16))
    """
    return {str(name): _wanted(name, entry, zone_name(tz)) for name, entry in conf.items()}


def _wanted(name: str, entry: Mapping[str, Any], tz: str) -> Wanted:
    where = f"beat_schedule[{name!r}]"
    for word in entry:
        if word not in _WORDS:
            raise ConfigError(f"{where} has {word!r}, which is not known.{nearest(word, _WORDS)}")
    for word in ("task", "schedule"):
        if entry.get(word) is None:
            raise ConfigError(f"{where} has no {word!r}.")
    try:
        when = as_schedule(entry["schedule"], relative=bool(entry.get("relative")))
        more = {word: entry[word] for word in _OURS if word in entry}
        more["tz"] = zone_name(zone(more["tz"] if more.get("tz") is not None else tz))
        return Wanted(
            entry["task"], when, tuple(entry.get("args") or ()), dict(entry.get("kwargs") or {}),
            dict(entry.get("options") or {}), **more,
        )  # fmt: skip
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
