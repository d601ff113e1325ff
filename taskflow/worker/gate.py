"""What a lease passes between its claim and its start: the rate of its task, and its limits of time. Pure.

What comes too soon is kept, and held, until its turn; of a range of items as many start as may. What this
worker keeps nobody else runs: so it asks for no more work when it keeps much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf

from taskflow.canvas.shape import item_id
from taskflow.ids import NodeId
from taskflow.records import Lease, LeaseKey
from taskflow.worker.wishes import Times

__all__ = ["KEPT_PER_SLOT", "Gate"]

KEPT_PER_SLOT = 4
"""With so many kept for each slot no more work is asked for."""
IDS_MOST = 100
"""So many ids are told of what is kept."""
NAMES_MOST = 256
"""So many tasks are counted by name; what is called otherwise is counted together."""
REST = "(others)"


class _Bucket:
    """Starts of one task: they gather while nobody starts, a tenth of a second's worth or one at most.

    Args:
        per_s: Starts in a second.
        now: This moment.
    """

    def __init__(self, per_s: float, now: float) -> None:
        self.per_s, self._burst = per_s, max(1.0, per_s / 10)
        self._tokens, self._at = self._burst, now

    def take(self, items: int, now: float) -> int:
        """How many of these may start: they have, then."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self.per_s)
        self._at = now
        started = min(items, int(self._tokens + 1e-9))
        self._tokens -= started
        return started

    @property
    def due_at(self) -> float:
        """When the next one may start."""
        return self._at + max(0.0, 1.0 - self._tokens) / self.per_s


class Gate:
    """Lets leases of one worker through; instants are seconds on the caller's steady clock.

    Args:
        times: Limits of time for calls that have none of their own: soft, hard.

    Attributes:
        total: Items that were taken, by the label of their task.
        kept: What waits for its turn; looked at, and never changed, by others.
    """

    def __init__(self, times: Times = (None, None)) -> None:
        self.total: dict[str, int] = {}
        self._times = times
        self._times_of: Mapping[str, Times] = {}
        self._buckets: dict[str, _Bucket] = {}
        self.kept: list[Lease] = []
        self._parts: dict[tuple[NodeId, int], list[LeaseKey]] = {}

    def __len__(self) -> int:
        return len(self.kept)

    def become(self, rates: Mapping[str, float], times: Mapping[str, Times], now: float) -> None:
        """Keep to these, by name, from now on."""
        self._times_of = times
        before = self._buckets
        self._buckets = {
            name: before[name] if name in before and before[name].per_s == per_s else _Bucket(per_s, now)
            for name, per_s in rates.items()
        }

    def admit(self, leases: Sequence[Lease], now: float) -> list[Lease]:
        """Those of new leases that may start now, with the limits of time that count; the rest is kept."""
        for lease in leases:
            label = lease.label
            if label not in self.total and len(self.total) >= NAMES_MOST:
                label = REST
            self.total[label] = self.total.get(label, 0) + lease.key.hi - lease.key.lo
        if not self._buckets:
            return self._limited(leases)
        return self._passed([], leases, now)

    def due(self, now: float) -> list[Lease]:
        """Those of the kept that may start now, oldest first: of a range perhaps a part."""
        kept, self.kept = self.kept, []
        return self._passed(kept, (), now)

    def _passed(self, kept: Sequence[Lease], new: Sequence[Lease], now: float) -> list[Lease]:
        started: list[Lease] = []
        waiting = {lease.label for lease in self.kept}
        for lease in (*kept, *new):
            rest = lease if lease.label in waiting else self._carve(lease, now, started)
            if rest is not None:
                waiting.add(rest.label)
                self.kept.append(rest)
                self._parts.setdefault((rest.key.node, rest.key.fence), [])
        return self._limited(started)

    def _carve(self, lease: Lease, now: float, started: list[Lease]) -> Lease | None:
        """Let as much of a lease start as may; the rest."""
        key = lease.key
        bucket, parts = self._buckets.get(lease.label), self._parts.get((key.node, key.fence))
        items = key.hi - key.lo
        passing = items if bucket is None else bucket.take(items, now)
        if passing == items and parts is None:
            started.append(lease)
            return None
        if not passing:
            return lease
        part = lease._replace(key=key._replace(hi=key.lo + passing))
        started.append(part)
        self._parts.setdefault((key.node, key.fence), []).append(part.key)
        return lease._replace(key=key._replace(lo=part.key.hi)) if passing < items else None

    @property
    def at(self) -> float:
        """When one of the kept may start."""
        buckets = (self._buckets.get(lease.label) for lease in self.kept)
        return min((bucket.due_at if bucket else -inf for bucket in buckets), default=inf)

    def ids(self) -> list[str]:
        """Ids of what is kept: of calls, and of the first items of maps."""
        found: list[str] = []
        for lease in self.kept:
            node, lo, hi, _ = lease.key
            hi = min(hi, lo + IDS_MOST - len(found))
            found += [item_id(node, index) for index in range(lo, hi)] if lease.array else [str(node)]
            if len(found) >= IDS_MOST:
                break
        return found

    def parts(self, key: LeaseKey) -> list[LeaseKey]:
        """The keys by which a pool knows what has started of a lease."""
        return self._parts.get((key.node, key.fence), [key])

    def drop(self, key: LeaseKey) -> list[Lease]:
        """Keep nothing of a lease any more; what was kept."""
        dropped = [one for one in self.kept if (one.key.node, one.key.fence) == (key.node, key.fence)]
        if dropped:
            self.kept = [one for one in self.kept if one not in dropped]
        return dropped

    def forget(self, key: LeaseKey) -> None:
        """A lease is held no more."""
        if self._parts:
            self._parts.pop((key.node, key.fence), None)

    def clear(self) -> list[Lease]:
        """Keep nothing any more; what was kept."""
        kept, self.kept = self.kept, []
        return kept

    def _limited(self, leases: Sequence[Lease]) -> list[Lease]:
        if self._times == (None, None) and not self._times_of:
            return list(leases)
        return [self._with_times(lease) for lease in leases]

    def _with_times(self, lease: Lease) -> Lease:
        policy = lease.policy
        own = policy.soft_time_limit_s, policy.time_limit_s
        told = self._times_of.get(lease.label)
        wanted = told if told is not None else own if own != (None, None) else self._times
        if wanted == own:
            return lease
        soft, hard = wanted
        return lease._replace(policy=replace(policy, soft_time_limit_s=soft, time_limit_s=hard))
