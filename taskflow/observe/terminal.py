"""Progress bars in a terminal: one line for each stage, drawn over the last ones.

::

    parse   ━━━━━━━━━━━━━━━━━━━━━╸        734/1,000  2 running  3 failed  52.1/s  0:14  ETA 0:05
    count   ━━━━━╸                         18/1,000  2 running  1.3/s  0:14  ETA 12:35
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self, TextIO

from taskflow.observe.table import paint
from taskflow.observe.text import cells, clock, count, fit, pad, visible
from taskflow.states import TERMINAL, State

if TYPE_CHECKING:
    from taskflow.observe.board import Stage

__all__ = ["Bars", "Sheet", "bar", "bar_lines", "chosen", "has_colour", "is_live", "is_plain", "screen_width"]

INTERVAL_S = 0.1
LABEL_MOST = 28
BAR_LEAST, BAR_MOST = 8, 32


def is_live(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can be drawn on."""
    try:
        return stream.isatty() and os.environ.get("TERM", "") != "dumb"
    except ValueError:  # closed
        return False


def has_colour(stream: TextIO) -> bool:
    """Whether a stream wants colours: a terminal, and no ``NO_COLOR`` (no-color.org)."""
    return is_live(stream) and not os.environ.get("NO_COLOR")


def screen_width(stream: TextIO) -> int:
    """Cells in a line of the terminal behind a stream."""
    return _screen(stream).columns


def _screen(stream: TextIO) -> os.terminal_size:
    try:
        seen = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return shutil.get_terminal_size()
    return seen if seen.columns > 0 and seen.lines > 0 else shutil.get_terminal_size()


def bar(done: int, total: int | None, width: int, *, plain: bool = False) -> str:
    """A bar of some cells; `plain` keeps to ASCII.

    Example:
        >>> bar(3, 8, 8, plain=True)
        '###-----'
        >>> bar(1, 4, 6)
        '━╸    '
    """
    halves = 2 * width if total == 0 else 2 * width * min(done, total or 0) // (total or 1)
    if plain:
        return "#" * (halves // 2) + "-" * (width - halves // 2)
    return ("━" * (halves // 2) + "╸" * (halves % 2)).ljust(width)


class Sheet(NamedTuple):
    """What can be drawn on: cells in a line, lines, and whether colours and more than ASCII can be shown."""

    width: int
    height: int
    colour: bool = False
    plain: bool = False


def bar_lines(
    stages: Sequence[Stage],
    *,
    width: int,
    colour: bool = False,
    plain: bool = False,
    leads: Sequence[str] | None = None,
) -> list[str]:
    """One line for each stage, none wider than `width` cells.

    In a narrow terminal the facts behind the bar are left out, the least telling first.

    Args:
        stages: What to show.
        width: Cells of a line.
        colour: Whether bars have the colour of their state.
        plain: Keep to ASCII.
        leads: What stands before each label.
    """
    labels = [fit(visible(stage.label), min(LABEL_MOST, max(4, width // 4))) for stage in stages]
    if leads is not None:
        labels = [fit(f"{lead} {label}", width) for lead, label in zip(leads, labels, strict=True)]
    counts = [f"{count(s.done)}/{'?' if s.total is None else count(s.total)}" for s in stages]
    label_width, count_width = max(map(cells, labels), default=0), max(map(len, counts), default=0)
    kept = len(_FACTS)
    while True:
        facts = ["".join(f"  {fact}" for fact in _facts(stage, kept)) for stage in stages]
        room = width - label_width - count_width - 4 - max(map(len, facts), default=0)
        if room >= BAR_LEAST or kept == 0:
            break
        kept -= 1
    lines = []
    for stage, label, counted, tail in zip(stages, labels, counts, facts, strict=True):
        start, end = pad(label, label_width), counted.rjust(count_width) + tail
        if room < BAR_LEAST:
            lines.append(fit(f"{start}  {end}", width))
            continue
        drawn = bar(stage.done, stage.total, min(room, BAR_MOST), plain=plain)
        lines.append(f"{start}  {paint(drawn, stage.state) if colour else drawn}  {end}")
    return lines


def _facts(stage: Stage, kept: int) -> list[str]:
    known = {
        "failed": f"{count(stage.failed)} failed" if stage.failed else "",
        "ETA": f"ETA {clock(stage.eta_s)}" if stage.state is State.RUNNING else "",
        "running": f"{count(stage.running)} running" if stage.running else "",
        "cancelled": f"{count(stage.cancelled)} cancelled" if stage.cancelled else "",
        "skipped": f"{count(stage.skipped)} skipped" if stage.skipped else "",
        "rate": "" if stage.rate is None else _rate(stage.rate),
        "elapsed": "" if stage.state in (State.QUEUED, State.BLOCKED) else clock(stage.elapsed_s),
        "retried": f"{count(stage.retried)} retried" if stage.retried else "",
        "cached": f"{count(stage.cached)} cached" if stage.cached else "",
    }
    return [known[name] for name in _ORDER if known[name] and _FACTS.index(name) < kept]


_FACTS = ("failed", "ETA", "running", "cancelled", "skipped", "cached", "rate", "elapsed", "retried")
"""The most telling first."""
_ORDER = ("running", "failed", "cancelled", "skipped", "retried", "cached", "rate", "elapsed", "ETA")
"""As they are read."""


def _rate(rate: float) -> str:
    if rate >= 100:
        return f"{count(round(rate))}/s"
    return f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"


class Bars:
    """Draws stages over each other, at most ten times a second, on a terminal; nowhere else.

    Args:
        stream: Where to; the standard error by default. Nothing is written when it is not a
            terminal, or when ``TASKFLOW_PROGRESS`` is ``0``.
        interval_s: Seconds between two drawings, at least.
        monotonic: Seconds that never go back.

    Example:
        >>> from io import StringIO
        >>> with Bars(StringIO()) as bars:
        ...     bars.update([])
        ...     bars.live
        False
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        interval_s: float = INTERVAL_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval_s = interval_s
        self._stream = sys.stderr if stream is None else stream
        self._monotonic = monotonic
        self._drawn = 0
        self._drawn_at = float("-inf")
        self._pending: Callable[[Sheet], list[str]] | None = None
        self.live = os.environ.get("TASKFLOW_PROGRESS") != "0" and is_live(self._stream)

    @property
    def due(self) -> bool:
        """Whether `update` would draw now: saves the work of finding out what."""
        return self.live and self._monotonic() - self._drawn_at >= self._interval_s

    def update(self, stages: Iterable[Stage]) -> None:
        """Show these stages; what comes too soon after the last is kept for the next, or for the end."""
        if self.live:
            shown = list(stages)
            self.show(lambda sheet: _stage_lines(shown, sheet))

    def show(self, draw: Callable[[Sheet], list[str]]) -> None:
        """Show what a function draws on a sheet of the size of the terminal; see `update`."""
        if not self.live:
            return
        self._pending = draw
        if self.due:
            self._draw()

    def close(self) -> None:
        """Draw what is pending, and leave it there; the cursor is below."""
        if self.live and self._pending is not None:
            self._draw()
        self._drawn = 0

    def clear(self) -> None:
        """Take the bars off the screen, to write something else in their place."""
        if self.live and self._drawn:
            self._write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _draw(self) -> None:
        if self._pending is None:
            return
        screen = _screen(self._stream)
        # One cell stays free: a line that fills the terminal may or may not wrap.
        sheet = Sheet(
            screen.columns - 1, max(1, screen.lines - 2), has_colour(self._stream), is_plain(self._stream)
        )
        lines = self._pending(sheet)
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        # First noted, then written: a Ctrl-C in between must not make `close` draw them once more below.
        self._drawn, self._drawn_at, self._pending = len(lines), self._monotonic(), None
        self._write(up + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "ascii"
        try:
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):  # the terminal went away: the work goes on
            self.live = False


def is_plain(stream: TextIO) -> bool:
    """Whether a stream can carry no more than ASCII."""
    try:
        "━╸…".encode(stream.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return True
    return False


def _stage_lines(stages: Sequence[Stage], sheet: Sheet) -> list[str]:
    kept, rest = chosen(stages, sheet.height)
    lines = bar_lines(kept, width=sheet.width, colour=sheet.colour, plain=sheet.plain)
    return [*lines, fit(rest, sheet.width)] if rest else lines


def chosen(stages: Sequence[Stage], room: int) -> tuple[Sequence[Stage], str]:
    """What fits on the screen: first what runs, then what comes, then what is done; in the order given."""
    if len(stages) <= room:
        return stages, ""
    by_need = sorted(range(len(stages)), key=lambda i: _need(stages[i]))
    shown = set(by_need[: room - 1])
    hidden = [stage for i, stage in enumerate(stages) if i not in shown]
    over = sum(stage.state in TERMINAL for stage in hidden)
    rest = f"… {len(hidden)} more: {over} ended, {len(hidden) - over} to come"
    return [stages[i] for i in sorted(shown)], rest


def _need(stage: Stage) -> int:
    return 0 if stage.state is State.RUNNING else 1 if stage.state not in TERMINAL else 2
