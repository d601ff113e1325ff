"""What a slot tells the pool: records of items that ended, gathered until there are enough of them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from taskflow import faults
from taskflow.errors import Reject, Retry, Skip
from taskflow.policy import Options, roll
from taskflow.pools.capture import Leak
from taskflow.pools.evidence import Evidence
from taskflow.pools.growing import Growing, Replaced
from taskflow.pools.packing import growth_record
from taskflow.pools.surroundings import Surroundings
from taskflow.pools.wire import Lane, Say
from taskflow.records import Growth, Kind

if TYPE_CHECKING:
    from taskflow.codec import Codec

__all__ = ["Outcomes", "Reports"]

_LATE_S = 0.05
_REPORT_ITEMS, _REPORT_ITEMS_MOST, _REPORT_BYTES = 3000, 24_000, 28_000


class Reports:
    """Records on their way to the pool; safe from several threads and from a signal handler."""

    def __init__(self, send: Callable[[list[tuple[Any, ...]]], object]) -> None:
        self._send = send
        self._lock = threading.RLock()
        self._records: list[tuple[Any, ...]] = []
        self._bytes = 0
        self._flushed_at = 0.0

    def add(self, record: tuple[Any, ...], size: int = 0) -> None:
        """Keep a record until the next flush; a few dozen kilobytes are enough for one."""
        self._records.append(record)
        self._bytes += size
        if self._bytes > 65_536:
            self.flush()

    def flush(self) -> None:
        """Send what is there."""
        with self._lock:
            records, self._records, self._bytes = self._records, [], 0
            if records:
                faults.point("child.after_run")
                self._send(records)
        self._flushed_at = time.monotonic()

    def are_late(self, now: float) -> bool:
        """Whether what there is should not wait any longer."""
        return now - self._flushed_at > _LATE_S

    def flush_late(self, now: float) -> None:
        """Send what is there, unless some was sent just now."""
        if self.are_late(now):
            self.flush()


class Outcomes:
    """The part of a slot that tells how items ended.

    Args:
        codec: Turns bytes into objects and back.
        lane: Where the pool sees what runs.
        reports: Where outcomes go.
        leak: Output that bypassed Python; `None` where several slots share a process.
        url: The store, for what a task adds to its run.
        worker: Its name, for people.

    Attributes:
        alarm: Not empty when the item that runs needs a look.
        surroundings: What to restore; `None` where several slots share a process.
        calling: Whether user code runs.
        cut: The first entry and index of the message that were given back; `None` when nothing was.
        retiring: Whether this process should take no more.
        cancelled: Whether the running item was told to end.
        report_items: After so many quick items of a range their results are told: as many as stand in a row
            of the store without a blob.
    """

    def __init__(
        self, codec: Codec, lane: Lane, reports: Reports, leak: Leak | None, url: str, worker: str
    ) -> None:
        self.lane = lane
        self.alarm: list[str] = []
        self.surroundings: Surroundings | None = None
        self.cut: tuple[int, int] | None = None
        self.calling = False
        self.retiring = False
        self.cancelled = False
        self.report_items = _REPORT_ITEMS
        self._codecs = self._codec = codec
        self._reports = reports
        self._leak = leak
        self._head: tuple[Any, ...] = ()
        self._entry: tuple[Any, ...] = ()
        self._number = 0
        self._values: list[bytes] = []
        self._tooks: list[float] = []
        self._first = 0
        self._begun = 0.0
        self._ended: list[Any] = []
        self._ended_at = self._ended_lo = 0
        self._is_copy = False
        self._growing = Growing(codec, url)
        self._evidence = Evidence(worker)

    def hand_back(self) -> None:
        """Give the rest of the message back to the pool, from the next item on."""
        running = self.lane.running
        if running is None or not self._entry or self.cut is not None:
            return
        number, entry, index = running
        array, hi = self._head[4], self._entry[2]
        self.cut = (entry, index + 1) if array and index + 1 < hi else (entry + 1, -1)
        self.alarm.append("back")
        self._emit_calls()
        self._emit_ended()
        self._reports.add((Say.BACK, number, *self.cut))
        self._reports.flush()

    def _emit_ended(self) -> None:
        """Report the items of a range that have ended before the one that is held up.

        The task may be in the middle of anything: what cannot be pickled now is told of when it has ended.
        """
        lo, node, fence = self._ended_lo, self._entry[0], self._entry[3]
        done = self._ended[: max(0, self.lane.ints[Lane.INDEX] - lo)]
        if not done:
            return
        hi = lo + len(done)
        try:
            kept = [None] * len(done) if self._head[8] else done
            value = self._codec.dump_result(node, lo, hi, fence, kept)
        except BaseException:  # noqa: BLE001 - see above
            return
        del self._ended[: len(done)]
        self._ended_lo = hi
        began, self._begun = self._begun, self.lane.reals[Lane.START]
        took = max(0.0, self._begun - began)
        self._emit(self._ended_at, lo, hi, Kind.SUCCEEDED, value, began=began, took=took)

    def _emit_calls(self) -> None:
        if not self._values:
            return
        values, tooks = self._values[:], self._tooks[:]
        self._values.clear()
        self._tooks.clear()
        record = (Say.CALLS, self._number, self._first, values, _wall(self._begun), tooks)
        self._first += len(values)
        self._reports.add(record, sum(map(len, values)) + 32 * len(values))

    def _emit_range(
        self, at: int, lo: int, hi: int, results: list[Any], loaded: Any, log: str | None = None,
        growth: Growth | None = None,
    ) -> None:  # fmt: skip
        if lo >= hi:
            return
        node, fence = self._entry[0], self._entry[3]
        began, self._begun = self._begun, time.monotonic()
        took = self._begun - began
        if self._head[8]:
            results = [None] * (hi - lo)
        try:
            value = self._codec.dump_result(node, lo, hi, fence, results if self._head[4] else results[0])
        except BaseException as error:  # noqa: BLE001 - a result that cannot travel fails its item
            if hi - lo == 1:
                self._fail(at, lo, error, None, log)
                return
            for index, result in enumerate(results, lo):
                self._emit_range(at, index, index + 1, [result], loaded, log)
            return
        self._emit(at, lo, hi, Kind.SUCCEEDED, value, began=began, took=took, log=log, growth=growth)
        if hi - lo >= _REPORT_ITEMS:
            is_blob = len(value) < hi - lo  # its name is shorter than any results are
            fit = (hi - lo) // 2 if is_blob else (hi - lo) * _REPORT_BYTES // len(value)
            self.report_items = min(max(fit, _REPORT_ITEMS), _REPORT_ITEMS_MOST)

    def add(self, sig: Any) -> None:
        """Let what waits for the running item wait for a signature too, once the item has succeeded."""
        self._growing.join(sig, self._own_options())
        self.alarm.append("grow")

    def _own_options(self) -> Options:
        """What nodes that a task adds have in common with it."""
        return Options(queue=self._head[3], priority=self._head[9], frames=self._head[11])

    def _cancel_rest(self, at: int, lo: int, hi: int) -> None:
        self.cancelled = False
        for index in range(lo, hi):
            self._emit(at, index, index + 1, Kind.CANCELLED)

    def _aftermath(self) -> str | None:
        """Put the surroundings back and collect the output of the last item."""
        if self._is_copy:
            os._exit(0)
        if self.surroundings is not None:
            self.surroundings.restore()
        else:
            self.alarm.clear()
        if self._leak is not None:
            data = self._leak.read()
            if data:
                self.lane.print(data)
        return self.lane.take_printed()

    def _fail(self, at: int, index: int, error: BaseException, loaded: Any, log: str | None = None) -> None:
        """Report an item that raised: to be retried, failed, skipped, replaced, or cancelled."""
        took = time.monotonic() - self.lane.reals[Lane.START]
        log = log or self._aftermath()
        self._growing.take()
        if isinstance(error, Replaced) and not self.cancelled:
            try:
                options = self._own_options().merge(on_failure=self._head[10])
                growth = self._growing.replacement(error.by, options)
            except BaseException as worse:  # noqa: BLE001 - what cannot be drawn fails the task
                error = worse
            else:
                self._emit(at, index, index + 1, Kind.REPLACED, took=max(0.0, took), log=log, growth=growth)
                return
        node, _, _, fence, attempt, _, age_s, _, _ = self._entry
        kind: Kind = Kind.FAILED
        delay_s: float | None = None
        if self.cancelled:
            kind = Kind.CANCELLED
        elif isinstance(error, (Skip, Reject, Retry)):
            kind, delay_s, error = _wanted(error)
        elif loaded is not None and loaded.retry is not None:
            delay_s, error = self._decide(loaded.retry, error, attempt, age_s + took)
            kind = Kind.FAILED if delay_s is None else Kind.RETRY
        failure = self._codec.failure(error, kind=str(kind))
        if kind in _BY_WISH:
            failure = replace(failure, kind=_BY_WISH[kind][0], type=_BY_WISH[kind][1], data=_BY_WISH[kind][2])
        value = self._dump_error(node, index, fence, error) if kind == Kind.FAILED else None
        breaker = loaded.breaker if loaded is not None else None
        spared = breaker is not None and breaker.spares(error)
        took = max(0.0, took)
        self._emit(
            at,
            index,
            index + 1,
            kind,
            value,
            failure.to_json(),
            delay_s or 0.0,
            None,
            took,
            log,
            None,
            spared,
        )
        if isinstance(error, MemoryError):
            self.retiring = True
            self.hand_back()
        if not self._head[4]:
            self.cancelled = False

    def _dump_error(self, node: str, index: int, fence: int, error: BaseException) -> bytes | None:
        story = None
        if self._head[11] and self._codec is self._codecs:  # by name nothing travels but text
            story, is_held_up = self._evidence.take(error, self._head[1], self._head[0])
            if is_held_up:
                self.retiring = True
                self.hand_back()
        return self._codec.dump_error(node, index, fence, error, story)

    @staticmethod
    def _decide(
        retry: Any, error: BaseException, attempt: int, age_s: float
    ) -> tuple[float | None, BaseException]:
        try:
            return retry.decide(error, attempt=attempt, age_s=age_s, roll=roll()), error
        except BaseException as worse:  # noqa: BLE001 - `retry_if` is user code
            worse.__context__ = error
            return None, worse

    def _emit(
        self,
        at: int,
        lo: int,
        hi: int,
        kind: Kind,
        value: bytes | None = None,
        error: str | None = None,
        delay_s: float = 0.0,
        began: float | None = None,
        took: float = 0.0,
        log: str | None = None,
        growth: Growth | None = None,
        spared: bool = False,
    ) -> None:
        started = _wall(self.lane.reals[Lane.START] if began is None else began)
        record = (
            Say.OUTCOME,
            self._number,
            at,
            lo,
            hi,
            str(kind),
            value,
            error,
            delay_s,
            started,
            took,
            log,
            spared,
            None if growth is None else growth_record(growth),
        )
        self._reports.add(record, len(value or b"") + len(error or "") + len(log or "") + 200)


_BY_WISH: dict[Kind, tuple[str, str, dict[str, Any]]] = {
    Kind.SKIPPED: ("skipped", "Skip", {"error": "TaskSkipped"}),
    Kind.REJECTED: ("dead", "Reject", {"error": "TaskRejected"}),
    Kind.LOST: ("lost", "Reject", {"error": "TaskRejected"}),
}
"""Kind, type and data of the failure of an item that ended as it wanted to."""


def _wanted(error: Skip | Reject | Retry) -> tuple[Kind, float | None, BaseException]:
    if isinstance(error, Retry):
        return Kind.RETRY, error.delay_s, error.exc or error
    if isinstance(error, Skip):
        return Kind.SKIPPED, None, error
    return Kind.LOST if error.requeue else Kind.REJECTED, None, error


def _wall(monotonic: float) -> float:
    return time.time() - (time.monotonic() - monotonic)
