"""Which failures bring their frames along: the first ones, for thousands of them would say the same."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from typing import TypeAlias

from taskflow import shells

__all__ = ["Evidence"]

_EACH_CAUSE, _EACH_RUN = 3, 12
_STOCK, _REFILL_S = 20, 1.0
_MOST_KEPT = 64

_Cause: TypeAlias = tuple[str, str, int]


class Evidence:
    """Takes the frames of what failed, as far as that is worth it.

    Of one run of a function those of three failures with the same cause (class and line), and of twelve in
    all; and over all runs of the function those of twenty at once, and then of one a second.

    Args:
        worker: Names the process to people.
    """

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._seen: OrderedDict[tuple[str, str], Counter[_Cause]] = OrderedDict()
        self._stock: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, error: BaseException, run: str, fn: str) -> tuple[bytes | None, bool]:
        """The story of an exception, or `None`; and whether some variable still holds up a thread here."""
        if shells.frames_refused() or not self._is_worth_it(error, run, fn):
            return None, False
        from taskflow.codec.frames import capture, place

        try:
            captured = capture(error, place(self._worker))
        except (MemoryError, RuntimeError):  # no room, or no thread to be had: the text says it as well
            return None, False
        return (None, False) if captured is None else captured

    def _is_worth_it(self, error: BaseException, run: str, fn: str) -> bool:
        seen = self._seen.setdefault((run, fn), Counter())
        self._seen.move_to_end((run, fn))
        if len(self._seen) > _MOST_KEPT:
            self._seen.popitem(last=False)
        if seen.total() >= _EACH_RUN:
            return False
        cause = _cause(error)
        if seen[cause] >= _EACH_CAUSE or not self._is_in_stock(fn, time.monotonic()):
            return False
        seen[cause] += 1
        return True

    def _is_in_stock(self, fn: str, now: float) -> bool:
        left, then = self._stock.pop(fn, (_STOCK, now))
        left = min(_STOCK, left + (now - then) / _REFILL_S)
        self._stock[fn] = (left - 1 if left >= 1 else left), now
        if len(self._stock) > _MOST_KEPT:
            self._stock.popitem(last=False)
        return left >= 1


def _cause(error: BaseException) -> _Cause:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return (kind, "", 0) if trace is None else (kind, trace.tb_frame.f_code.co_filename, trace.tb_lineno)
