"""Tables for a terminal: aligned, cut to its width, coloured by state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from taskflow.observe.text import cells, fit, pad, visible
from taskflow.states import State

__all__ = ["COLOURS", "Column", "paint", "render"]

GAP = "  "
NARROWEST, COMFORTABLE = 6, 16

COLOURS: Mapping[str, str] = {
    State.SUCCEEDED: "32",
    State.RUNNING: "36",
    State.FAILED: "31",
    State.DEAD: "31;1",
    State.EXPIRED: "33",
    State.CANCELLED: "33",
    State.SKIPPED: "2",
    State.BLOCKED: "2",
    State.WAITING: "2",
    "title": "1",
    "ok": "32",
    "wrong": "31;1",
}
"""Codes of ECMA-48 by state, and for a few other words; what is not named has none."""


class Column(NamedTuple):
    """A column of a table.

    Args:
        title: Its heading.
        right: Whether it is aligned to the right, as numbers are.
        shrinks: Whether it may be cut when the terminal is narrow.
        state: Whether its texts are states, and coloured as such.
        spare: Whether it may be left out when the terminal is narrow.
    """

    title: str
    right: bool = False
    shrinks: bool = False
    state: bool = False
    spare: bool = False


def paint(text: str, name: str) -> str:
    """A text in the colour of a state; texts of unknown names stay plain."""
    code = COLOURS.get(name)
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def render(
    columns: Sequence[Column],
    rows: Iterable[Sequence[str]],
    *,
    width: int | None = None,
    colour: bool = False,
) -> list[str]:
    """The lines of a table, headings first.

    Args:
        columns: One for each text of a row.
        rows: Untrusted texts; what a terminal would obey is written out.
        width: Cells of the terminal; `None` cuts nothing.
        colour: Whether states are coloured.

    Example:
        >>> for line in render([Column("name"), Column("items", right=True)], [("map", "12"), ("sum", "1")]):
        ...     print(line)
        name  items
        map      12
        sum       1
    """
    body = [[visible(text) for text in row] for row in rows]
    widths = _widths(columns, body)
    if width is not None:
        kept = _kept(columns, widths, width)
        columns, body = [columns[i] for i in kept], [[row[i] for i in kept] for row in body]
        widths = _squeezed(columns, _widths(columns, body), width)
    lines = [_line(columns, [column.title for column in columns], widths, width, bold=colour)]
    lines += [_line(columns, row, widths, width, colour=colour) for row in body]
    return lines


def _widths(columns: Sequence[Column], body: Sequence[Sequence[str]]) -> list[int]:
    titles = [column.title for column in columns]
    return [max(map(cells, texts)) for texts in zip(titles, *body, strict=True)]


def _kept(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Leave spare columns out, the last first, until the others have enough room."""
    kept = list(range(len(columns)))
    need = [min(wide, COMFORTABLE) if c.shrinks else wide for c, wide in zip(columns, widths, strict=True)]
    for i in reversed(range(len(columns))):
        if columns[i].spare and sum(need[k] + len(GAP) for k in kept) - len(GAP) > width:
            kept.remove(i)
    return kept


def _squeezed(columns: Sequence[Column], widths: list[int], width: int) -> list[int]:
    """Take cells from the widest column that shrinks until the line fits, or none can give."""
    widths = list(widths)
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
    while excess > 0:
        able = [i for i, column in enumerate(columns) if column.shrinks and widths[i] > NARROWEST]
        if not able:
            break
        widths[max(able, key=lambda i: widths[i])] -= 1
        excess -= 1
    return widths


def _line(
    columns: Sequence[Column],
    texts: Sequence[str],
    widths: Sequence[int],
    width: int | None,
    *,
    bold: bool = False,
    colour: bool = False,
) -> str:
    shown, room = [], width
    for column, text, wide in zip(columns, texts, widths, strict=True):
        if room is not None:
            if room <= 0:
                break
            wide = min(wide, room)  # noqa: PLW2901 - what is left of the line
            room -= wide + len(GAP)
        cell = pad(fit(text, wide), wide, right=column.right)
        name = "title" if bold else text if colour and column.state else ""
        shown.append(paint(cell, name) if name else cell)
    return GAP.join(shown).rstrip()
