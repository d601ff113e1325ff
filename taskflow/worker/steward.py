"""Sees to what a worker is: which queues it serves, how many slots it has, whether it takes work at all.

It reads what is wanted of workers from the store, now and then and soon after the work bell has rung, and
moves the number of slots with the load. The loop asks it what to claim and does what it says.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from typing import Any

from taskflow.codec import Keyring
from taskflow.codec.signing import Purpose
from taskflow.errors import ConfigError, Untrusted
from taskflow.ids import WorkerId
from taskflow.ports import Pool, Store
from taskflow.records import WORKERS, Lease, Want
from taskflow.worker.agenda import REST_S
from taskflow.worker.queues import Turns
from taskflow.worker.scaling import Scaler
from taskflow.worker.wishes import Wish, Wishes, wish

__all__ = ["Steward", "opened", "sealed"]

log = logging.getLogger(__name__)

LOOK_GAP_S = 0.5
SCALE_GAP_S = 1.0


class Steward:
    """What is wanted of one worker, and what it is.

    Args:
        store: Where it is kept what is wanted.
        pool: Whose slots it moves.
        name: The worker's name.
        started_at: What it says of when it started.
        start: What it was started as.
        clock: A steady clock, seconds.
        alone: It is not to be steered: nobody turns its loop all the time.

    Attributes:
        at: When `tend` is due.
        wish: What the worker is.
        revision: What it follows; -1 before it has looked.
    """

    def __init__(
        self,
        store: Store,
        pool: Pool,
        name: WorkerId,
        started_at: float,
        start: Wish,
        clock: Callable[[], float],
        *,
        alone: bool = False,
    ) -> None:
        self._store, self._pool, self._clock = store, pool, clock
        self._name, self._started_at, self._alone = name, started_at, alone
        self._start, self._wishes = start, Wishes()
        self._looked_at = -inf
        self._keyring: Keyring | None = None
        self._scaler: Scaler | None = None
        self._refused = -1
        self._turns = Turns(start.queues.weights or (1,))
        self._news = False
        self._names = self._queues_of(start)
        self.wish = start
        self.revision = -1
        self.at = inf if alone else clock()
        self._keep_within(start.least, start.most)

    # ── what to claim ────────────────────────────────────────────────────────────────

    @property
    def takes_work(self) -> bool:
        """Whether it may claim: not before it knows what is wanted."""
        return (self.revision >= 0 or self._alone) and not self.wish.drains

    def want(self, slots: int, share: int, lease_s: float, pace_s: dict[str, float]) -> Want:
        """What it asks of the store for so many free slots."""
        queues = self.wish.queues
        turns: tuple[int, ...] = ()
        if queues.weights:
            turns = (slots, *self._turns.next(slots))
        elif queues.strict:
            turns = (slots,) + (0,) * len(queues.names)
        stands = not self._alone
        return Want(
            self._name, self._names, slots, lease_s, pace_s, share=share, turns=turns, standing=stands
        )

    def nothing(self) -> Want:
        """What it asks of the store to be given nothing any more: it hears what was given meanwhile."""
        return Want(self._name, self._names, 0)

    def took(self, slots: int) -> None:
        """So many slots were filled by a claim."""
        if self.wish.queues.weights:
            self._turns.took(slots)

    # ── the load ─────────────────────────────────────────────────────────────────────

    def saw(self, spare: int) -> None:
        """So many slots are free and there is nothing for them."""
        if self._scaler is not None:
            self._scaler.saw(self._clock(), spare)

    def look_soon(self) -> None:
        """The bell rang: something else may be wanted."""
        if not self._alone:
            self.at = min(self.at, max(self._looked_at + LOOK_GAP_S, 0.0))

    # ── what is wanted ───────────────────────────────────────────────────────────────

    def tend(self, spare: int) -> tuple[bool, list[Lease]]:
        """Look what is wanted, and how large the load is.

        Returns:
            Whether others should know what has changed, and what was given before it changed.

        Args:
            spare: Slots that are free and for which there is nothing.
        """
        given = self._follow()
        self._scale(spare)
        self._looked_at = now = self._clock()
        rests = self._scaler is None or (spare >= self._pool.slots <= self._scaler.least)
        self.at = now + (REST_S if rests else SCALE_GAP_S)
        news, self._news = self._news, False
        return news, given

    def resize(self, slots: int) -> None:
        """Whoever started the worker wants it to have so many slots."""
        self._start = self._start._replace(least=slots, most=slots)
        self._become(wish(self._start, self._wishes.settings, self._name, self._started_at))

    def prune(self) -> None:
        """Drop what is wanted of workers that are gone."""
        if self.revision <= 0 or self._keyring is None:
            return
        there = {view.id for view in self._store.workers()} | {self._name}
        kept = self._wishes.kept_for(there)
        if kept != self._wishes:
            self._store.post(WORKERS, self.revision, sealed(self._keyring, kept, self.revision + 1))

    def told(self) -> dict[str, Any]:
        """What the worker says of it."""
        queues = self.wish.queues
        said: dict[str, Any] = {"followed": self.revision} if not self._alone else {}
        if queues.strict or queues.weights:
            said["serves"] = f"{queues}{' strictly' if queues.strict else ''}"
        if self.wish.scales:
            said["autoscale"] = f"{self.wish.most},{self.wish.least}"
        if self.wish.shutdown:
            said["status"] = "leaving"
        elif self.wish.drains:
            said["status"] = "drained"
        return said

    def _follow(self) -> list[Lease]:
        found = self._store.posted(WORKERS, self.revision)
        if found is None or found.revision == self._refused:
            return []
        try:
            self._wishes = self._read(found.body, found.revision)
        except (Untrusted, ConfigError, ValueError, TypeError) as error:
            log.error("orders refused: %s", error, extra={"action": "refuse", "worker": self._name})
            self._refused = found.revision
            self.revision = max(self.revision, 0)
            return []
        self.revision, self._news = found.revision, True
        before, served, nothing = self.takes_work, self._names, self.nothing()
        self._become(wish(self._start, self._wishes.settings, self._name, self._started_at))
        if (before and not self.takes_work) or not set(served) <= set(self._names):
            # Whoever was called for work that is not its any more passes the call on.
            return self._store.claim(nothing)
        return []

    def _read(self, body: bytes, revision: int) -> Wishes:
        if not body:
            return Wishes()
        self._keyring = self._keyring or Keyring.load()
        return opened(self._keyring, body, revision)

    def _become(self, new: Wish) -> None:
        old, self.wish = self.wish, new
        if new.queues != old.queues:
            self._names = self._queues_of(new)
            self._turns = Turns(new.queues.weights or (1,))
        if (new.least, new.most) != (old.least, old.most):
            self._keep_within(new.least, new.most)

    def _queues_of(self, wish: Wish) -> tuple[str, ...]:
        """What was sent to it alone goes first."""
        return (f"worker/{self._name}", *wish.queues.names)

    def _keep_within(self, least: int, most: int) -> None:
        self._scaler = Scaler(least, most, self._clock()) if least < most else None
        self._size(min(max(self._pool.slots, least), most))
        if self._scaler is not None:
            self.at = min(self.at, self._clock() + SCALE_GAP_S)

    def _scale(self, spare: int) -> None:
        scaler, slots = self._scaler, self._pool.slots
        if scaler is None:
            return
        now = self._clock()
        scaler.saw(now, spare)
        pressed = scaler.is_pressed(now, slots) and not self.wish.drains
        waited_s = self._store.waited_s(self.wish.queues.names) if pressed else None
        self._size(scaler.slots(now, slots, waited_s))

    def _size(self, slots: int) -> None:
        if slots != self._pool.slots:
            log.info(
                "%d slots instead of %d", slots, self._pool.slots,
                extra={"action": "resize", "worker": self._name},
            )  # fmt: skip
            self._pool.resize(slots)
            self._news = True


def sealed(keyring: Keyring, wishes: Wishes, revision: int) -> bytes:
    """What is wanted, as it is kept in the store under that revision."""
    return keyring.seal(Purpose.CONTROL, 0, b"", wishes.to_json(revision))


def opened(keyring: Keyring, body: bytes, revision: int) -> Wishes:
    """Read `sealed`.

    Raises:
        Untrusted: Nobody who has the key has written it; ValueError: It is of another revision or release.
    """
    return Wishes.from_json(keyring.open(Purpose.CONTROL, b"", body)[1], revision)
