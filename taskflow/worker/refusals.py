"""Work that was refused because nobody trusted has signed it: counted, and told now and then."""

from __future__ import annotations

import logging
from collections.abc import Callable

from taskflow.records import Failure, Kind, Settlement

__all__ = ["Refusals"]

TELL_GAP_S = 10.0
_UNTRUSTED = '{"kind":"failed","type":"taskflow.errors.Untrusted"'
"""What the text of such a failure begins with."""

log = logging.getLogger(__name__)


class Refusals:
    """Those of one worker.

    Args:
        worker: Its name, for the log.
        clock: A steady clock, seconds.

    Attributes:
        count: Items that were refused so far.
    """

    def __init__(self, worker: str, clock: Callable[[], float]) -> None:
        self.count = 0
        self._worker = worker
        self._clock = clock
        self._tell_at = clock()

    def look(self, report: Settlement) -> None:
        """Count what was refused; one line at most in ten seconds says why, and nothing of what was in it."""
        refused = [
            o for o in report.outcomes if o.kind is Kind.FAILED and (o.error or "").startswith(_UNTRUSTED)
        ]
        if not refused:
            return
        self.count += len(refused)
        if self._clock() >= self._tell_at:
            self._tell_at = self._clock() + TELL_GAP_S
            why = Failure.from_json(refused[0].error or "{}").message
            node, count = ascii(report.key.node)[1:-1][:64], self.count
            extra = {"action": "refuse", "worker": self._worker, "node": node, "count": count}
            log.warning("work refused: %s", why, extra=extra)
