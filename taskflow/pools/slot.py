"""Runs items one after another, in the process, thread or loop that user code is given.

A slot takes messages (see `taskflow.pools.wire`), loads what they need, calls, and reports. It never
touches the store. How it calls is in `taskflow.pools.running`, how it reports in `taskflow.pools.outcomes`;
here is the message as a whole, and what a running item may ask.
"""

from __future__ import annotations

import json
import marshal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from taskflow import faults
from taskflow.ids import NodeId, RunId
from taskflow.pools.capture import Leak
from taskflow.pools.context import Request
from taskflow.pools.outcomes import Reports
from taskflow.pools.running import EXPAND, STAR, Running
from taskflow.pools.stash import Stash
from taskflow.pools.wire import SAY_S, Lane, Say
from taskflow.records import Kind

if TYPE_CHECKING:
    from taskflow.codec import Codec

__all__ = ["Slot", "Step"]


class Step(NamedTuple):
    """One item, ready to be called."""

    call: Callable[[], Any]
    loaded: Any
    at: int
    item: int


class Slot(Running):
    """One place where items run, one at a time.

    Args:
        codec: Turns bytes into objects and back.
        lane: Where the pool sees what runs.
        reports: Where outcomes go.
        stash: Pages, shared by the slots of the process.
        number: Of the lane.
        leak: Output that bypassed Python; `None` where several slots share a process.
        want: Called with +1 and -1 where lending a slot needs another one in this process.
        worker, url: For `Request`.
    """

    def __init__(
        self,
        codec: Codec,
        lane: Lane,
        reports: Reports,
        stash: Stash,
        *,
        number: int = 0,
        leak: Leak | None = None,
        want: Callable[[int], None] | None = None,
        worker: str = "",
        url: str = "",
    ) -> None:
        super().__init__(codec, lane, reports, leak, url, stash, worker)
        self.number = number
        self._want = want
        self._worker = worker
        self._url = url
        self._speaker: tuple[int, int, int] | None = None
        self._said: dict[str, tuple[str, bytes | None]] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._called_at = 0.0

    # ── asked from inside the task ──────────────────────────────────────────────────

    def request(self) -> Request | None:
        """The item that runs."""
        running = self.lane.running
        if running is None or not self._entry:
            return None
        _, run, label, queue, array, width, _, seed, *_ = self._head
        node, lo, _, fence, attempt, delivery, age_s, _, _ = self._entry
        index = max(lo, running[2])
        return Request(
            NodeId(node),
            RunId(run),
            index,
            attempt,
            delivery,
            fence,
            label,
            queue,
            self._worker,
            self._url,
            width,
            seed,
            age_s,
            array,
        )

    def lend(self) -> None:
        """Hand back what waits behind this item, and say that it only waits."""
        self.hand_back()
        self._lend(1)

    def resume(self) -> None:
        """Say that it goes on."""
        self._lend(-1)

    def _lend(self, more: int) -> None:
        self._reports.add((Say.LEND, more))
        self._reports.flush()
        if self._want is not None:
            self._want(more)

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        """Tell the pool something of this item."""
        running = self.lane.running
        if running is not None:
            self._note(running, kind, json.dumps(dict(data), default=str), None)

    def _note(self, running: tuple[int, int, int], kind: str, told: str, value: bytes | None) -> None:
        self._reports.add((Say.NOTE, *running, kind, told, value))
        self._reports.flush()

    def say(self, said: Mapping[str, Mapping[str, Any]], meta: Any = None) -> None:
        """Have the last of each kind known of this item; quick enough for every turn of a loop. What was said
        under other names stays; `None` takes a name away.

        It is put where the pool can see it, and the pool is called at most every `SAY_S`: it goes on looking
        until there is nothing new.
        """
        running = self.lane.running
        if running is None or not self._entry:
            return
        node, fence = self._entry[0], self._entry[3]
        value = None if meta is None else self._codec.dump_said(node, running[2], fence, meta)
        if self._speaker != running:
            self._speaker, self._said, self._facts = running, {}, {}
        for kind, data in said.items():
            merged = {**self._facts.get(kind, {}), **data}
            facts = self._facts[kind] = {name: fact for name, fact in merged.items() if fact is not None}
            self._said[kind] = json.dumps(facts, default=str), value if kind == "state" else None
        if not self.lane.say(marshal.dumps((*running, self._said))):
            for kind in said:
                self._note(running, kind, *self._said[kind])
        elif (now := time.monotonic()) - self._called_at >= SAY_S:
            self._called_at = now
            self._reports.add((Say.SAID,))
            self._reports.flush()

    def leave(self) -> None:
        """This process is a copy that user code forked: it ends with the task, and says nothing."""
        self._is_copy = True
        self.alarm.append("fork")

    def print(self, data: bytes) -> None:
        """Keep output of this item."""
        self.lane.print(data)
        self.alarm.append("print")

    # ── a message ───────────────────────────────────────────────────────────────────

    def run(self, message: tuple[Any, ...]) -> None:
        """Run all items of a message and report each, then that it is done."""
        groups = self._take(message)
        try:
            faults.point("child.before_run")
            first = 0
            for head, entries in groups:
                self._group(first, head, entries)
                first += len(entries)
                if self.cut is not None:
                    break
        finally:
            self._entry = ()
        self._say_done()

    @contextmanager
    def message(self, message: tuple[Any, ...]) -> Iterator[list[tuple[Any, ...]]]:
        """The groups of a message, for who runs them in another way; at the end of the ``with`` block it is
        done."""
        groups = self._take(message)
        try:
            yield groups
        finally:
            self._entry = ()
        self._say_done()

    def _take(self, message: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        faults.point("child.received")
        number, groups, pages = message
        self._stash.keep(pages)
        self._number, self.cut = number, None
        ints = self.lane.ints
        ints[Lane.NUMBER] = ints[Lane.ENTRY] = ints[Lane.INDEX] = 0
        self.lane.reals[Lane.START] = time.monotonic()
        ints[Lane.NUMBER] = number
        return groups  # type: ignore[no-any-return]

    def _say_done(self) -> None:
        """The lane goes on naming the last item, so that a child which dies while it reports is seen to."""
        self._reports.add((Say.DONE, self._number))
        self._reports.flush()

    def steps(self, at: int, head: tuple[Any, ...], entry: tuple[Any, ...]) -> Iterator[Step]:
        """The items of an entry, one by one, for who calls them otherwise than `run` does."""
        self._head, self._entry = head, entry
        node, lo, hi = entry[:3]
        self._begin(at, lo)
        try:
            loaded = self._load_function(head[0])
            args, kwargs = self._codec.load_args(head[0], entry[7], self._inputs.of(entry[8]))
            args = self._inputs.join(entry[8], args)
            if EXPAND in kwargs:
                self._expand(at, loaded, entry, args, kwargs)
                return
            star = kwargs.pop(STAR, False)
            items = self._stash.items(self._codec, head[0], node, lo, hi) if head[4] else [()]
            star = star or not head[4]
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is an outcome
            self._fail_rest(at, [entry], at, error)
            return
        if items is None:
            self._emit(at, lo, hi, Kind.RELEASED)
            return
        for index, item in enumerate(items, lo):
            if self.cancelled or (self.cut is not None and self.cut <= (at, index)):
                break
            self._begin(at, index)
            yield Step(partial(loaded.fn, *(item if star else (item,)), *args, **kwargs), loaded, at, index)
        if self.cancelled:
            self._cancel_rest(at, index, hi)

    def finish(self, step: Step, result: Any, error: BaseException | None) -> None:
        """Report how a step ended, and all that is waiting to be."""
        log = self._aftermath()
        if error is not None:
            self._fail(step.at, step.item, error, step.loaded, log)
        else:
            growth = self._growing.take()
            self._emit_range(step.at, step.item, step.item + 1, [result], step.loaded, log, growth)
        self._reports.flush()
