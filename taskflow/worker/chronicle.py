"""What a worker says of each task in its log, when it is asked to: that it was taken, and how it ended."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TypeAlias

from taskflow.canvas.shape import item_id
from taskflow.ids import NodeId
from taskflow.records import Failure, Kind, Lease, LeaseKey, Outcome, Settlement

__all__ = ["Chronicle"]

log = logging.getLogger("taskflow.worker")
_Name: TypeAlias = tuple[NodeId, int]
_ENDS = {
    Kind.SUCCEEDED: "succeeded",
    Kind.REPLACED: "replaced",
    Kind.SKIPPED: "ignored",
    Kind.RELEASED: "given back",
    Kind.CANCELLED: "cancelled",
    Kind.REJECTED: "rejected",
}


class Chronicle:
    """Writes a line for each call, and for each range of a map, that a worker takes and that ends."""

    def __init__(self) -> None:
        self._taken: dict[_Name, Lease] = {}

    def took(self, leases: Iterable[Lease]) -> None:
        """These were taken."""
        for lease in leases:
            self._taken[lease.key.node, lease.key.fence] = lease
            log.info("Task %s[%s] received", lease.label, _id(lease, lease.key.lo, lease.key.hi))

    def ended(self, report: Settlement) -> None:
        """A pool reports this."""
        lease = self._taken.get((report.key.node, report.key.fence))
        if lease is None:
            return
        for outcome in report.outcomes:
            self._tell(lease, outcome)
        if any(outcome.hi == lease.key.hi for outcome in report.outcomes):
            self.forget(report.key)

    def forget(self, key: LeaseKey) -> None:
        """It is nobody's here any more."""
        self._taken.pop((key.node, key.fence), None)

    def _tell(self, lease: Lease, outcome: Outcome) -> None:
        name = f"{lease.label}[{_id(lease, outcome.lo, outcome.hi)}]"
        if outcome.kind in _ENDS:
            took = f" in {outcome.took_s:.3f}s" if outcome.took_s else ""
            log.info("Task %s %s%s", name, _ENDS[outcome.kind], took)
            return
        why = str(Failure.from_json(outcome.error)) if outcome.error else ""
        if outcome.kind is Kind.RETRY:
            log.info("Task %s retry: in %gs%s", name, round(outcome.delay_s, 3), f": {why}" if why else "")
        else:
            word = "lost its process" if outcome.kind is Kind.LOST else "raised unexpected"
            log.error("Task %s %s: %s", name, word, why.partition("\n")[0])


def _id(lease: Lease, lo: int, hi: int) -> str:
    node = str(lease.key.node)
    if not lease.array:
        return node
    return item_id(node, lo) if hi - lo == 1 else f"{node}[{lo}–{hi - 1}]"
