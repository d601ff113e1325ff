"""Untrusted text, numbers and times as a terminal may show them."""

from __future__ import annotations

import unicodedata

__all__ = ["cells", "clock", "count", "duration", "fit", "pad", "visible"]


def visible(text: str, *, lines: bool = False) -> str:
    r"""Text in which every character that a terminal would obey is written out.

    Args:
        text: Anything at all.
        lines: Whether line ends and tabs stay as they are.

    Example:
        >>> visible("a\x1b[2Jb\n")
        'a\\x1b[2Jb\\n'
        >>> visible("a\r\nb\n", lines=True)
        'a\nb\n'
    """
    if text.isprintable():
        return text
    if lines:
        return "".join(c if c in "\n\t" else _written(c) for c in text.replace("\r\n", "\n"))
    return "".join(map(_written, text))


def _written(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")


def cells(text: str) -> int:
    """How many cells of a terminal a line takes.

    Example:
        >>> cells("abc"), cells("日本")
        (3, 4)
    """
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def _cells_of(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fit(text: str, width: int) -> str:
    """A line cut to a number of cells; an ellipsis tells that it was cut.

    Example:
        >>> fit("a long name", 6), fit("short", 6)
        ('a lon…', 'short')
    """
    if cells(text) <= width:
        return text
    kept, room = "", width - 1
    for char in text:
        room -= _cells_of(char)
        if room < 0:
            break
        kept += char
    return kept + "…" if width > 0 else ""


def pad(text: str, width: int, *, right: bool = False) -> str:
    """A line filled up with spaces to a number of cells; `right` aligns it to the right."""
    space = " " * (width - cells(text))
    return space + text if right else text + space


def count(number: int) -> str:
    """A whole number with its thousands apart.

    Example:
        >>> count(1234567)
        '1,234,567'
    """
    return f"{number:,}"


def duration(seconds: float | None) -> str:
    """A time span in the two units that matter; empty when there is none.

    Example:
        >>> [duration(s) for s in (0.0004, 0.25, 3.21, 75, 7260, 200000, None)]
        ['0.4 ms', '250 ms', '3.2 s', '1 min 15 s', '2 h 1 min', '2 d 7 h', '']
    """
    if seconds is None:
        return ""
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        ms = seconds * 1000
        return f"{ms:.1f} ms" if ms < 9.95 else f"{ms:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    for large, small, unit, unit_s in (("min", "s", 3600, 60), ("h", "min", 86400, 3600)):
        if round(seconds) < unit:
            whole, rest = divmod(round(seconds), unit_s)
            return f"{whole} {large} {rest * 60 // unit_s} {small}"
    days, rest = divmod(round(seconds), 86400)
    return f"{days} d {rest // 3600} h"


def clock(seconds: float | None) -> str:
    """A time span as a clock shows it; dashes when it is not known.

    Example:
        >>> clock(75), clock(3675), clock(None)
        ('1:15', '1:01:15', '-:--')
    """
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
