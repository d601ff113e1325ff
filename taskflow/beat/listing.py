"""Entries and ticks as rows, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from heapq import merge
from html import escape
from itertools import islice
from typing import Any

from taskflow.beat.entry import Entry, Ran
from taskflow.observe.text import visible
from taskflow.schedules import zone

__all__ = ["COLUMNS", "TICKS", "entries_html", "entry_rows", "tick_rows"]

COLUMNS = ("name", "runs", "when", "tz", "state", "next", "last", "count", "last_run")
TICKS = ("at", "schedule", "runs")


def entry_rows(entries: Iterable[Entry], ran: Mapping[str, Ran], now: datetime) -> list[dict[str, Any]]:
    """A row for each entry.

    Args:
        entries: They.
        ran: What has become of them, by `Entry.uid`.
        now: The time.
    """
    return [_row(entry, ran.get(entry.uid, Ran()), now) for entry in entries]


def tick_rows(entries: Iterable[Entry], now: datetime, n: int) -> list[dict[str, Any]]:
    """A row for each of the next `n` ticks of all entries together, in order."""
    ticks = merge(*(_ticks(entry, now) for entry in entries), key=lambda tick: tick[0])
    return [{"at": shown, "schedule": entry.name, "runs": entry.call} for _, shown, entry in islice(ticks, n)]


def entries_html(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `entry_rows` as a table for a page."""
    heads = "".join(f"<th>{name}</th>" for name in COLUMNS)
    lines = ("".join(f"<td>{escape(visible(_said(row[name])))}</td>" for name in COLUMNS) for row in rows)
    return f"<table><tr>{heads}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _row(entry: Entry, ran: Ran, now: datetime) -> dict[str, Any]:
    last = ran.last_at
    following = entry.next_after(max(last, now) if last is not None else now)
    return {
        "name": entry.name,
        "runs": entry.call,
        "when": str(entry.schedule),
        "tz": entry.tz,
        "state": "paused" if not entry.enabled else "active" if following is not None else "over",
        "next": following,
        "last": last.astimezone(zone(entry.tz)) if last is not None else None,
        "count": ran.runs,
        "last_run": ran.run,
    }


def _ticks(entry: Entry, at: datetime) -> Iterator[tuple[datetime, datetime, Entry]]:
    following = entry.next_after(at)
    while following is not None:
        at = following.astimezone(UTC)
        yield at, following, entry
        following = entry.next_after(at)


def _said(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return "" if value is None else str(value)
