"""What a worker holds: each lease with the items that have not been settled. Pure.

A pool reports a lease in pieces. A settlement may only name items that are still held, so it is cut
to those here, and what it leaves open stays held under keys of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from taskflow.ids import NodeId
from taskflow.pools import verdict
from taskflow.records import Failure, Kind, Lease, LeaseKey, Outcome, Settlement

__all__ = ["Holding", "cancelled", "failed", "refused", "released"]

_Name: TypeAlias = tuple[NodeId, int]


class _Held:
    """A lease: its own key, by which the pool knows it, and the keys of what is open."""

    __slots__ = ("array", "key", "open", "stopped")

    def __init__(self, key: LeaseKey, array: bool) -> None:
        self.key = key
        self.array = array
        self.open = [key]
        self.stopped: Kind | None = None


class Holding:
    """The leases of one worker.

    Attributes:
        held: Those that are held, by node and fence; looked at, and never changed, by others.
    """

    def __init__(self) -> None:
        self.held: dict[_Name, _Held] = {}

    def __len__(self) -> int:
        return len(self.held)

    def add(self, leases: Iterable[Lease]) -> None:
        """Hold these from now on."""
        for lease in leases:
            key = lease.key
            self.held[key.node, key.fence] = _Held(key, lease.array)

    def open_keys(self) -> list[LeaseKey]:
        """What has not been settled."""
        return [key for held in self.held.values() for key in held.open]

    def has(self, key: LeaseKey) -> bool:
        """Whether any part of a lease is held."""
        return (key.node, key.fence) in self.held

    def is_call(self, key: LeaseKey) -> bool:
        """Whether a lease is held that is a call of its own, and no range of an array node."""
        held = self.held.get((key.node, key.fence))
        return held is not None and not held.array

    def drop(self, key: LeaseKey) -> LeaseKey | None:
        """Hold a lease no more; the key by which the pool knows it, if it was held."""
        held = self.held.pop((key.node, key.fence), None)
        return held.key if held is not None else None

    def stop(self, key: LeaseKey, kind: Kind) -> LeaseKey | None:
        """Say what becomes of items that are stopped: *cancelled*, or *released*.

        Returns:
            The key by which the pool knows the lease; `None` when it is not held, or being stopped already.
        """
        held = self.held.get((key.node, key.fence))
        if held is None or held.stopped is not None:
            return None
        held.stopped = kind
        return held.key

    def settled(self, report: Settlement) -> list[Settlement]:
        """Cut what a pool reports to what is held, and hold the rest; nothing when the lease was lost."""
        key = report.key
        held = self.held.get((key.node, key.fence))
        if held is None:
            return []
        outcomes = report.outcomes
        if held.stopped is not None:
            outcomes = tuple(_as(outcome, held.stopped) for outcome in outcomes)
        if len(held.open) == 1 and len(outcomes) == 1:
            (key,), (outcome,) = held.open, outcomes
            if outcome.lo == key.lo and outcome.hi == key.hi:
                del self.held[key.node, key.fence]
                return [Settlement(key, outcomes, report.grow)]
        return list(self._cut(held, sorted(outcomes), report))

    def released(self) -> list[Settlement]:
        """Let go of everything that is held."""
        keys = self.open_keys()
        self.held.clear()
        return [Settlement(key, (Outcome(key.lo, key.hi, Kind.RELEASED),)) for key in keys]

    def _cut(self, held: _Held, outcomes: list[Outcome], report: Settlement) -> Iterator[Settlement]:
        left: list[LeaseKey] = []
        grow = report.grow
        for key in held.open:
            inside = tuple(o for o in outcomes if key.lo <= o.lo and o.hi <= key.hi)
            left += _gaps(key, inside)
            if inside:
                yield Settlement(key._replace(lo=inside[0].lo, hi=inside[-1].hi), inside, grow)
                grow = None
        held.open = left
        if not left:
            self.held.pop((held.key.node, held.key.fence), None)


def _as(outcome: Outcome, kind: Kind) -> Outcome:
    """What a pool calls cancelled was stopped for a reason that only the worker knows."""
    return outcome._replace(kind=kind) if outcome.kind is Kind.CANCELLED else outcome


def _gaps(key: LeaseKey, outcomes: tuple[Outcome, ...]) -> list[LeaseKey]:
    gaps, at = [], key.lo
    for outcome in outcomes:
        if outcome.lo > at:
            gaps.append(key._replace(lo=at, hi=outcome.lo))
        at = outcome.hi
    if at < key.hi:
        gaps.append(key._replace(lo=at))
    return gaps


def failed(key: LeaseKey, error: Exception) -> Settlement:
    """Every item of a lease fails for a reason that is not the task's own."""
    text = _failure(error)
    return Settlement(key, tuple(Outcome(i, i + 1, Kind.FAILED, error=text) for i in range(key.lo, key.hi)))


def cancelled(key: LeaseKey, reason: str) -> Settlement:
    """Every item of a lease was cancelled before it started."""
    text = verdict.cancelled(reason).to_json()
    return Settlement(
        key, tuple(Outcome(i, i + 1, Kind.CANCELLED, error=text) for i in range(key.lo, key.hi))
    )


def refused(settlement: Settlement, error: Exception) -> Settlement:
    """The same items, failed."""
    text = _failure(error)
    items = (i for outcome in settlement.outcomes for i in range(outcome.lo, outcome.hi))
    return Settlement(settlement.key, tuple(Outcome(i, i + 1, Kind.FAILED, error=text) for i in items))


def _failure(error: Exception) -> str:
    kind = type(error)
    name = f"{kind.__module__}.{kind.__qualname__}"
    return Failure("failed", name, str(error), data={"error": kind.__name__}).to_json()


def released(key: LeaseKey) -> Settlement:
    """A lease goes back as if it had never been handed out."""
    return Settlement(key, (Outcome(key.lo, key.hi, Kind.RELEASED),))
