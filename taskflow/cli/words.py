"""Counts, errors and times of runs in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from taskflow.observe.text import count, duration
from taskflow.states import TERMINAL, State

if TYPE_CHECKING:
    from taskflow.records import RunView

__all__ = [
    "FAILURES",
    "NO_VALUE",
    "ago",
    "counted",
    "done",
    "done_of",
    "error_line",
    "failed",
    "items_name",
    "plural",
    "took",
]

FAILURES = (State.FAILED, State.DEAD, State.EXPIRED)
NO_VALUE = (*FAILURES, State.CANCELLED, State.SKIPPED)

_ORDER = (State.SUCCEEDED, State.RUNNING, State.QUEUED, State.WAITING, State.BLOCKED, *NO_VALUE)


def done(counts: Mapping[State, int]) -> int:
    """Items that have ended, whatever the outcome."""
    return sum(items for state, items in counts.items() if state in TERMINAL)


def failed(counts: Mapping[State, int]) -> int:
    """Items that failed, died or expired."""
    return sum(counts.get(state, 0) for state in FAILURES)


def done_of(counts: Mapping[State, int], total: int | None) -> str:
    """How much of it is done.

    Example:
        >>> done_of({State.SUCCEEDED: 734, State.QUEUED: 266}, 1000)
        '734/1,000'
    """
    return f"{count(done(counts))}/{'?' if total is None else count(total)}"


def counted(counts: Mapping[State, int]) -> str:
    """All states that have items.

    Example:
        >>> counted({State.FAILED: 3, State.SUCCEEDED: 1234})
        '1,234 succeeded, 3 failed'
    """
    return ", ".join(f"{count(counts[state])} {state}" for state in _ORDER if counts.get(state))


def plural(number: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> plural(1, "item"), plural(2000, "item")
        ('1 item', '2,000 items')
    """
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def ago(at: float | None, now: float) -> str:
    """How long ago something was.

    Example:
        >>> ago(100.0, 102.3), ago(100.0, 175.0), ago(100.0, 100.2), ago(None, 100.0)
        ('2 s ago', '1 min 15 s ago', 'now', '')
    """
    if at is None:
        return ""
    seconds = int(now - at)
    return f"{seconds} s ago" if 1 <= seconds < 60 else f"{duration(seconds)} ago" if seconds >= 60 else "now"


def took(run: RunView, now: float) -> str:
    """How long a run has taken until now, or took."""
    return duration((run.ended_at or now) - run.created_at)


def error_line(error: str | None) -> str:
    """What went wrong, in one line, from the JSON of a `Failure`.

    Example:
        >>> error_line('{"kind":"failed","type":"builtins.ValueError","message":"no such colour"}')
        'ValueError: no such colour'
    """
    if not error:
        return ""
    from taskflow.records import Failure

    failure = Failure.from_json(error)
    name = failure.type.removeprefix("builtins.").removeprefix("taskflow.errors.")
    message = failure.message.strip().partition("\n")[0]
    return f"{name}: {message}" if name and message else name or message or failure.kind


def items_name(name: str, lo: int, hi: int, *, array: bool) -> str:
    """What names an item, or a range of them.

    Example:
        >>> items_name("7f3a", 4, 5, array=True), items_name("7f3a", 0, 8, array=True)
        ('7f3a:4', '7f3a:0–7')
    """
    if not array:
        return name
    return f"{name}:{lo}" if hi - lo == 1 else f"{name}:{lo}–{hi - 1}"
