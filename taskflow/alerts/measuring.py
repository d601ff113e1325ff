"""What alerts measure: a `Tail` remembers what has ended lately, a `Look` tells numbers of one moment.

Both only read the store, through the ports of those who watch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from taskflow.errors import NoSuchRun, ResultExpired
from taskflow.ids import NodeId, RunId
from taskflow.ports import StatusPort, WatchPort
from taskflow.records import Event, NodeView
from taskflow.states import FAILURES, State

__all__ = ["Filter", "Look", "Readable", "Tail"]

EVENTS_AT_ONCE = 1000
EVENTS_KEPT = 200_000
NODES_KNOWN = 10_000
NODES_TIMED = 200
NODES_ASKED = 2000
"""Whose they are has to be asked of each: of so many, the newest, so that a look does not take long."""
MOST_DEAD = 10_000


class Readable(WatchPort, StatusPort, Protocol):
    """The part of a store that is looked at."""


class Ended(NamedTuple):
    """Items of a node that ended, or that are tried again."""

    at: float
    run: RunId
    node: NodeId
    lo: int
    hi: int
    state: State


class Tail:
    """What has ended in a store, or was tried again, in the last `keep_s` seconds.

    Args:
        store: Is read.
        keep_s: How long it is remembered.
    """

    def __init__(self, store: Readable, keep_s: float) -> None:
        self.store = store
        self.keep_s = keep_s
        self._ended: deque[Ended] = deque(maxlen=EVENTS_KEPT)
        self._cursor = 0
        self._nodes: dict[NodeId, NodeView | None] = {}

    def read_on(self, now: float) -> None:
        """Hear what has happened since the last time; the first time, in all that the store remembers."""
        while events := self.store.events(self._cursor, limit=EVENTS_AT_ONCE):
            self._cursor = events[-1].cursor
            self._ended.extend(_ended(event) for event in events if _counts(event, now - self.keep_s))
        while self._ended and self._ended[0].at < now - self.keep_s:
            self._ended.popleft()

    def since(self, at: float) -> Iterator[Ended]:
        """What has ended after an instant, the newest first."""
        for one in reversed(self._ended):
            if one.at < at:
                return
            yield one

    def node(self, run: RunId, node: NodeId) -> NodeView | None:
        """A node as it was when it was first asked for; `None` when it is not there any more."""
        if node not in self._nodes:
            if len(self._nodes) > NODES_KNOWN:
                self._nodes.clear()
            self._nodes[node] = None
            try:
                view, _ = self.store.snapshot(run)
            except (NoSuchRun, ResultExpired):
                return None
            self._nodes |= {one.id: one for one in view.nodes}
        return self._nodes[node]


def _counts(event: Event, after: float) -> bool:
    ends = event.state is State.SUCCEEDED or event.state in FAILURES or event.state is State.WAITING
    return ends and event.hi > event.lo and event.at >= after


def _ended(event: Event) -> Ended:
    return Ended(event.at, event.run, NodeId(event.node), event.lo, event.hi, event.state)


@dataclass(frozen=True)
class Filter:
    """Of which work is spoken.

    Args:
        queue: The name of a queue; empty for all.
        task: What tasks are called, as people read it; ``*`` and ``?`` stand for anything. Empty for all.
        window_s: How long what has ended is counted.
    """

    queue: str = ""
    task: str = ""
    window_s: float = 60.0

    @property
    def is_part(self) -> bool:
        """Whether it is not of all."""
        return bool(self.queue or self.task)


class Look:
    """What there is to measure, at one moment: each number is counted when it is asked for.

    A share or a time of calls that ended is `None` while none has ended in the window. Where one queue or
    some tasks are meant, the newest 2,000 nodes that ended are looked at. A function that is the condition of
    an alert is given one of these.

    Args:
        tail: What has ended.
        of: Of which work.
        now: The moment, seconds since the epoch.

    Example:
        ``client.alerts.add("stuck", lambda look: look.queue_length > 100 and look.workers < 2, ...)``
    """

    def __init__(self, tail: Tail, of: Filter, now: float) -> None:
        self._tail, self._of, self.now = tail, of, now

    def measure(self, name: str) -> float | None:
        """The number of that name, see `grammar.MEASURES`."""
        found: float | None = getattr(self, name)
        return found

    @cached_property
    def failure_rate(self) -> float | None:
        """Of the items that ended, the share that failed for good, died or expired."""
        ended = self._items(lambda state: state is not State.WAITING)
        return self.failures / ended if ended else None

    @cached_property
    def failures(self) -> int:
        """How many items failed for good, died or expired."""
        return self._items(lambda state: state in FAILURES)

    @cached_property
    def retry_rate(self) -> float | None:
        """Of the attempts that ended, the share after which the item was to be tried again, later."""
        tried = self._items(lambda state: True)
        return self._items(lambda state: state is State.WAITING) / tried if tried else None

    @cached_property
    def duration_p95(self) -> float | None:
        """Seconds that 95 of 100 items took at most, of the last 200 nodes of which items succeeded."""
        times: list[tuple[float, int]] = []
        seen: set[NodeId] = set()
        for one in self._ended:
            if one.state is State.SUCCEEDED and one.node not in seen and len(seen) < NODES_TIMED:
                seen.add(one.node)
                times += self._times_of(one.node)
        return _percentile(times, 0.95)

    @cached_property
    def queue_length(self) -> int:
        """How many items could be started."""
        return sum(line["queued"] for line in self._queues)

    @cached_property
    def waiting_s(self) -> float:
        """How long the first in a queue has been in the store, seconds; 0 when nothing waits for a slot."""
        return self._tail.store.waited_s([line["queue"] for line in self._queues]) or 0.0

    @cached_property
    def workers(self) -> int:
        """How many workers are there, of those that serve the queue."""
        queue = self._of.queue
        return sum(not queue or queue in view.queues for view in self._tail.store.workers())

    @cached_property
    def dead(self) -> int:
        """How many dead letters there are, of the newest 10,000."""
        return sum(self._is_meant(run, node) for run, node, _ in self._tail.store.dead(limit=MOST_DEAD))

    @cached_property
    def _queues(self) -> list[dict[str, Any]]:
        return [dict(line) for line in self._tail.store.queues() if self._of.queue in ("", line["queue"])]

    @cached_property
    def _ended(self) -> list[Ended]:
        recent = self._tail.since(self.now - self._of.window_s)
        if not self._of.is_part:
            return list(recent)
        found, nodes = [], set()
        for one in recent:
            nodes.add(one.node)
            if len(nodes) > NODES_ASKED:
                break
            if self._is_meant(one.run, one.node):
                found.append(one)
        return found

    def _items(self, wanted: Callable[[State], bool]) -> int:
        return sum(one.hi - one.lo for one in self._ended if wanted(one.state))

    def _times_of(self, node: NodeId) -> Iterator[tuple[float, int]]:
        try:
            views = self._tail.store.items(node)
        except (NoSuchRun, ResultExpired):
            return
        for view in views:
            if view.state is State.SUCCEEDED and view.took_s is not None:
                yield view.took_s / (view.hi - view.lo), view.hi - view.lo

    def _is_meant(self, run: RunId, node: NodeId) -> bool:
        if not self._of.is_part:
            return True
        view = self._tail.node(run, node)
        if view is None or self._of.queue not in ("", view.queue):
            return False
        return not self._of.task or fnmatchcase(view.label, self._of.task)


def _percentile(times: list[tuple[float, int]], share: float) -> float | None:
    """The value that so many of all items do not exceed; each value counts for a number of items."""
    rest = share * sum(items for _, items in times)
    for value, items in sorted(times):
        rest -= items
        if rest <= 1e-9:
            return value
    return None
