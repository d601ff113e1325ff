"""What a task says of how far it is: a bar around a loop, and numbers beside it.

What is said stands in the table of the run while the task runs. Outside of a task nobody listens, and nothing
is done.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from taskflow.pools.context import place

__all__ = ["progress", "report"]

T = TypeVar("T")

_PAUSE_S = 0.002
"""Saying it costs some microseconds: a loop that turns quicker than this says it now and then."""


def progress(iterable: Iterable[T], total: int | None = None, desc: str | None = None) -> Iterator[T]:
    """The items of an iterable; who watches the task sees how many of them are done.

    Args:
        iterable: What to go through.
        total: How many there are, where ``len`` does not tell.
        desc: What the bar is called.

    Example:
        >>> sum(row for row in progress([1, 2, 3], desc="rows"))
        6
    """
    total = total if total is not None else _length(iterable)
    told = {name: value for name, value in (("total", total), ("desc", desc)) if value is not None}
    done, said, said_at = 0, 0, 0.0
    try:
        for item in iterable:
            yield item
            done += 1
            if (now := time.monotonic()) - said_at >= _PAUSE_S:
                said, said_at = done, now
                report(done=done, **told)
    finally:
        if said < done:
            report(done=done, **told)


def report(**metrics: Any) -> None:
    """Have numbers or short words seen beside the bar of this task: ``taskflow.report(loss=0.12, epoch=3)``.

    They stay until they are said anew; `None` takes one away. ``done``, ``total`` and ``desc`` are those of
    the bar.

    Args:
        **metrics: Numbers, text, truth values; others are told by their `str`, shortened.
    """
    here = place()
    request = here.request() if here is not None else None
    if here is not None and request is not None:
        here.say({"progress": {name: _plain(value) for name, value in metrics.items()}})


def _length(iterable: object) -> int | None:
    try:
        return len(iterable)  # type: ignore[arg-type]
    except TypeError:
        return None


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return value[:200]
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)[:200]
    return number if math.isfinite(number) else str(number)
