"""The pool without processes: `InlinePool.start` runs the call before it returns.

For debugging: breakpoints work, output goes where it always goes. Limits of time and memory are not kept.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from taskflow.pools import context
from taskflow.pools.outcomes import Reports
from taskflow.pools.paces import Paces
from taskflow.pools.packing import Work, growth, packet
from taskflow.pools.promises import PROMISES
from taskflow.pools.slot import Slot
from taskflow.pools.stash import Stash
from taskflow.pools.wire import LANE_BYTES, Lane, Say
from taskflow.records import Edge, Kind, Lease, LeaseKey, Note, Outcome, Page, Segment, Settlement

if TYPE_CHECKING:
    from taskflow.codec import Codec

__all__ = ["InlinePool"]


class InlinePool:
    """Runs calls in the thread that starts them; see `taskflow.ports.Pool`.

    Args:
        codec: Of this process: the objects still make the way through bytes, as in the other pools.
        url: The store, for tasks that open a client.
        worker: The name of the worker, for tasks that ask.

    Attributes:
        pace_s: Seconds an item of a map takes, by function: quick ones are run in long ranges. Calls are
            leased one by one, as one may wait for another.
        gave_back: Called when an item that waits has given back the rest of its range.
    """

    def __init__(self, codec: Codec, *, url: str = "", worker: str = "") -> None:
        self.slots = 1
        self.promises = PROMISES["inline"]
        self.pace_s = Paces()
        self.gave_back: Callable[[], object] = lambda: None
        self._interrupted = False
        self._codec = codec
        self._url = url
        self._worker = worker
        self._stash = Stash()
        self._settlements: list[Settlement] = []
        self._notes: list[Note] = []

    def free(self) -> int:
        """Always one: whoever calls is free to run something."""
        return self.slots

    def start(self, lease: Lease, inputs: Mapping[Edge, list[Segment]], pages: Sequence[Page], /) -> None:
        """Run a lease to its end, in this thread."""
        lane = Lane(memoryview(bytearray(LANE_BYTES)))
        reports = Reports(partial(self._hear, lease, lane))
        slot = Slot(self._codec, lane, reports, self._stash, url=self._url, worker=self._worker)
        before = context.place()
        context.enter(slot)
        try:
            slot.run(packet(1, [Work.of(lease, inputs, pages)]))
        finally:
            context.enter(before)
        if self._interrupted:
            self._interrupted = False
            raise KeyboardInterrupt

    def start_many(
        self, batch: Iterable[tuple[Lease, Mapping[Edge, list[Segment]], Sequence[Page]]], /
    ) -> None:
        """Run leases one after another."""
        for lease, inputs, pages in batch:
            self.start(lease, inputs, pages)

    def _hear(self, lease: Lease, lane: Lane, records: Iterable[tuple[Any, ...]]) -> None:
        for record in records:
            if record[0] == Say.SAID:
                *item, said = marshal.loads(lane.said() or b"")
                for kind, told in said.items():
                    self._take(lease, (Say.NOTE, *item, kind, *told))
            else:
                self._take(lease, record)

    def _take(self, lease: Lease, record: tuple[Any, ...]) -> None:
        key, say = lease.key, record[0]
        if say == Say.CALLS:
            _, _, _, values, started, tooks = record
            outcome = Outcome(key.lo, key.hi, Kind.SUCCEEDED, values[0], None, 0.0, started, tooks[0])
            self._settlements.append(Settlement(key, (outcome,)))
        elif say == Say.OUTCOME:
            _, _, _, lo, hi, kind, *rest, grown = record
            outcome = Outcome(lo, hi, Kind(kind), *rest)
            self._settlements.append(Settlement(key, (outcome,), growth(grown)))
            self._interrupted = self._interrupted or _is_interrupt(outcome)
            if lease.array and outcome.kind is not Kind.RELEASED:
                self.pace_s.learn(lease.fn, hi - lo, outcome.took_s)
        elif say == Say.BACK:
            lo = max(record[3], key.lo) if record[2] == 0 else key.hi
            if lo < key.hi:
                self._settlements.append(Settlement(key, (Outcome(lo, key.hi, Kind.RELEASED),)))
                self.gave_back()
        elif say == Say.NOTE:
            self._notes.append(Note(key, record[4], {**_json(record[5]), "index": record[3]}, record[6]))

    def kill(self, key: LeaseKey, reason: str, /, *, grace_s: float | None = None) -> None:
        """Nothing: what was started has ended."""

    def finished(self) -> tuple[list[Settlement], list[Note]]:
        """What ended since the last call."""
        settlements, self._settlements = self._settlements, []
        notes, self._notes = self._notes, []
        return settlements, notes

    def filenos(self) -> Sequence[int]:
        """None: nothing happens behind the caller's back."""
        return ()

    def due_s(self) -> float | None:
        """At once, when something ended."""
        return 0.0 if self._settlements or self._notes else None

    def resize(self, slots: int, /) -> None:
        """Nothing: there is one thread."""

    def close(self, /, *, drain_s: float) -> list[Settlement]:
        """What ended and was not fetched."""
        return self.finished()[0]


def _is_interrupt(outcome: Outcome) -> bool:
    """Whether Ctrl-C ended it: it was meant for the thread that runs all this."""
    return outcome.error is not None and '"type":"KeyboardInterrupt"' in outcome.error[:80]


def _json(text: str) -> dict[str, Any]:
    import json

    return dict(json.loads(text))
