"""A second opinion on limits: what of each name was started, and how that went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from taskflow.limits import Limit
from taskflow.records import Kind, Outcome

__all__ = ["Bounds"]

_DUST = 1e-6


@dataclass
class _Bucket:
    tokens: float
    at: float

    def level(self, limit: Limit, now: float) -> float:
        return min(limit.burst, self.tokens + (now - self.at) * (limit.per_s or 0))


@dataclass
class _Fuse:
    failures: list[float] = field(default_factory=list)
    blown_at: float | None = None
    shut_until: float = 0.0
    tries: int = 0

    def blow(self, limit: Limit, now: float) -> None:
        self.failures, self.blown_at, self.tries = [], now, 0
        self.shut_until = now + limit.reset_s


@dataclass
class Bounds:
    """Rates and breakers, by name; what runs at once is counted by looking."""

    buckets: dict[str, _Bucket] = field(default_factory=dict)
    fuses: dict[str, _Fuse] = field(default_factory=dict)

    def free(self, limit: Limit, worker: str, now: float) -> float:
        """How many items a rate or a breaker lets start."""
        if limit.per_s is not None:
            bucket = self.buckets.get(_name(limit, worker))
            return int((limit.burst if bucket is None else bucket.level(limit, now)) + _DUST)
        fuse = self.fuses.get(limit.name)
        if fuse is None or fuse.blown_at is None:
            return float("inf")
        return limit.probes if fuse.shut_until <= now else fuse.tries

    def blown(self, limits: Iterable[Limit], now: float) -> float | None:
        """Until when the breaker is open for whose sake what is new fails; `None` where there is none."""
        for limit in limits:
            if limit.failures is not None and not limit.holds and self.free(limit, "", now) <= 0:
                return self.fuses[limit.name].shut_until
        return None

    def started(self, limits: Iterable[Limit], worker: str, items: int, now: float) -> None:
        """Items were handed out; there must have been room for them."""
        for limit in limits:
            if limit.most is not None:
                continue
            assert self.free(limit, worker, now) >= items, f"{limit.name} has no room"
            if limit.per_s is not None:
                bucket = self.buckets.setdefault(_name(limit, worker), _Bucket(limit.burst, now))
                bucket.tokens, bucket.at = bucket.level(limit, now) - items, now
            elif (fuse := self.fuses.get(limit.name)) is not None and fuse.blown_at is not None:
                if fuse.shut_until <= now:
                    fuse.tries, fuse.shut_until = limit.probes, now + limit.reset_s
                fuse.tries -= items

    def heard(self, limits: Iterable[Limit], outcome: Outcome, started_at: float, now: float) -> None:
        """An attempt ended."""
        bad = outcome.kind in (Kind.FAILED, Kind.RETRY) and not outcome.spared
        good = outcome.kind in (Kind.SUCCEEDED, Kind.SKIPPED, Kind.REPLACED) or (
            outcome.spared and outcome.kind in (Kind.FAILED, Kind.RETRY)
        )
        for limit in limits:
            if limit.failures is None or not (good or bad):
                continue
            fuse = self.fuses.setdefault(limit.name, _Fuse())
            if fuse.blown_at is not None and started_at <= fuse.blown_at:
                continue
            if good:
                fuse.blown_at = None
            elif fuse.blown_at is not None:
                fuse.blow(limit, now)
            else:
                fuse.failures = [at for at in fuse.failures if at + limit.window_s > now] + [now]
                if len(fuse.failures) >= limit.failures:
                    fuse.blow(limit, now)


def _name(limit: Limit, worker: str) -> str:
    return f"{limit.name} of {worker}" if limit.alone else limit.name
