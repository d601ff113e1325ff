"""A pool whose calls end when the test says so, and stores that misbehave on request."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from taskflow.errors import StoreUnavailable
from taskflow.ids import NodeId, RunId, new_id
from taskflow.records import Edge, Kind, Lease, LeaseKey, Node, Note, Outcome, Page, Plan, Segment, Settlement
from taskflow.stores.memory import MemoryStore


class Clock:
    """Time that stands still until it is moved; both the store's and the worker's."""

    def __init__(self) -> None:
        self.at = 1_000_000.0

    def now(self) -> float:
        return self.at

    def __call__(self) -> float:
        return self.at

    def pass_s(self, seconds: float) -> None:
        self.at += seconds


class HeldPool:
    """Runs nothing: a lease stays in its slot until `end` is called. `instant` ends all at once."""

    def __init__(self, slots: int = 2, *, instant: bool = False) -> None:
        self.slots, self.instant = slots, instant
        self.running: dict[LeaseKey, Lease] = {}
        self.started: list[tuple[Lease, Mapping[Edge, list[Segment]], Sequence[Page]]] = []
        self.killed: list[tuple[LeaseKey, str]] = []
        self.closed = False
        self.pace_s: dict[str, float] = {}
        self._ended: list[Settlement] = []
        self._read, self._write = os.pipe()

    def free(self) -> int:
        return max(0, self.slots - len(self.running))

    def start(self, lease: Lease, inputs: Mapping[Edge, list[Segment]], pages: Sequence[Page], /) -> None:
        self.started.append((lease, inputs, pages))
        self.running[lease.key] = lease
        if self.instant:
            self.end(lease.key)

    def end(self, key: LeaseKey, *outcomes: Outcome, last: bool = True) -> None:
        """A lease reports; it keeps its slot unless this is its last word."""
        if last:
            del self.running[key]
        ended = outcomes or (Outcome(key.lo, key.hi, Kind.SUCCEEDED, b"value"),)
        self._ended.append(Settlement(key, ended))
        os.write(self._write, b"!")

    def kill(self, key: LeaseKey, reason: str, /, *, grace_s: float | None = None) -> None:
        self.killed.append((key, reason))
        if key in self.running:
            self.end(key, *(Outcome(i, i + 1, Kind.CANCELLED) for i in range(key.lo, key.hi)))

    def finished(self) -> tuple[list[Settlement], list[Note]]:
        ended, self._ended = self._ended, []
        if ended:
            os.read(self._read, 4096)
        return ended, []

    def filenos(self) -> Sequence[int]:
        return (self._read,)

    def due_s(self) -> float | None:
        return None

    def resize(self, slots: int, /) -> None:
        self.slots = slots

    def close(self, /, *, drain_s: float) -> list[Settlement]:
        self.closed = True
        os.close(self._read)
        os.close(self._write)
        keys, self.running = list(self.running), {}
        return [Settlement(key, (Outcome(key.lo, key.hi, Kind.RELEASED),)) for key in keys]


_ASKED = {
    "announce",
    "claim",
    "pages",
    "posted",
    "reap",
    "renew",
    "settle",
    "sweep",
    "values",
    "waited_s",
    "workers",
}


class FlakyStore(MemoryStore):
    """Is away while `away` is set; counts what it was asked."""

    def __init__(self, *, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.away = False
        self.asked: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return partial(self._ask, name, found) if name in _ASKED else found

    def _ask(self, name: str, verb: Callable[..., object], *args: object, **named: object) -> object:
        self.asked.append(name)
        if self.away:
            raise StoreUnavailable("the store is away")
        return verb(*args, **named)


def submit_call(store: MemoryStore, **more: object) -> NodeId:
    """One call; its run has the same id."""
    node = NodeId(new_id())
    store.submit([Plan(RunId(node), (Node(node, "f", b"args", **more),))])  # type: ignore[arg-type]
    return node


def submit_map(store: MemoryStore, width: int, *, page: int = 4, **more: object) -> NodeId:
    """A map over `width` items."""
    node = NodeId(new_id())
    pages = tuple(Page(lo, min(lo + page, width), b"items") for lo in range(0, width, page))
    many = Node(node, "f", b"args", width=width, array=True, pages=pages, **more)  # type: ignore[arg-type]
    store.submit([Plan(RunId(node), (many,))])
    return node
