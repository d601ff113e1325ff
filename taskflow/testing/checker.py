"""The history checker: compares what a store says with what really ran.

Tasks write a line before and after their work into a *ledger*, a file that is only appended to and that
outlives every SIGKILL. Afterwards `examine` holds the ledger, the events and the results of the store against
what was submitted, and counts what must not be there.

Source:
    The counts are those of Jepsen's ``total-queue`` checker (lost, unexpected, duplicated, recovered),
    with results and order added. https://github.com/jepsen-io/jepsen
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from taskflow.ids import NodeId
from taskflow.states import TERMINAL, State

if TYPE_CHECKING:
    from taskflow.codec import Codec
    from taskflow.ports import Store
    from taskflow.records import Segment

__all__ = ["Ends", "Entry", "Expected", "Item", "Ledger", "Verdict", "examine"]

NODES_PER_LOOK = 500

Item = tuple[NodeId, int]
"""A node and the index of one of its items; 0 for a call."""


class Entry(NamedTuple):
    """A line of a ledger: an item began, or its work was done."""

    node: NodeId
    item: int
    fence: int
    phase: str
    at: float
    pid: int


class Ledger:
    """Where tasks write that they ran.

    Args:
        path: The file; many processes append to it at once.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Write down that the current item begins, and at the end of the block that its work is done."""
        from taskflow.pools.context import current

        request = current()
        where = (request.id, request.index, request.fence)
        self.write(*where, "begin")
        yield
        self.write(*where, "done")

    def write(self, node: str, index: int, fence: int, phase: str) -> None:
        """Append one line; a single write, so that lines of several processes never mix."""
        line = json.dumps([node, index, fence, phase, time.monotonic(), os.getpid()]) + "\n"
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)

    def entries(self) -> list[Entry]:
        """All lines so far, in order of time."""
        try:
            text = Path(self.path).read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        whole = text[: text.rfind("\n") + 1]
        return sorted((Entry(*json.loads(line)) for line in whole.splitlines()), key=lambda entry: entry.at)

    def begun(self) -> Counter[Item]:
        """How often each item began."""
        return Counter((e.node, e.item) for e in self.entries() if e.phase == "begin")


@dataclass(frozen=True, slots=True)
class Expected:
    """What was submitted as one node.

    Args:
        node: Its id.
        width: How many items it has.
        value: The result that an item should have, by index.
        after: Nodes that must have ended before any of its items begins.
        states: States in which its items may end.
    """

    node: NodeId
    width: int
    value: Callable[[int], Any]
    after: tuple[NodeId, ...] = ()
    states: frozenset[State] = frozenset({State.SUCCEEDED})


@dataclass(slots=True)
class Verdict:
    """What was found; every list but `duplicates` must be empty.

    Attributes:
        lost: Items that were submitted and have no outcome.
        double: Items with more than one outcome.
        untold: Items that have an outcome of which no event told.
        wrong: Items whose result is not what it should be, or that ended in a state they may not end in.
        unexpected: Items that ran and were never submitted.
        stale: Items whose outcome is of an older lease than one that ran later.
        disorder: Items that began before what they depend on had ended.
        overlap: Items of which two executions under live leases ran at the same time.
        duplicates: How often items ran beyond the first time.
        executions: How often any item ran.
    """

    lost: list[Item] = field(default_factory=list)
    double: list[Item] = field(default_factory=list)
    untold: list[Item] = field(default_factory=list)
    wrong: list[tuple[Item, Any]] = field(default_factory=list)
    unexpected: list[Item] = field(default_factory=list)
    stale: list[Item] = field(default_factory=list)
    disorder: list[Item] = field(default_factory=list)
    overlap: list[Item] = field(default_factory=list)
    duplicates: Counter[Item] = field(default_factory=Counter)
    executions: int = 0

    @property
    def faults(self) -> dict[str, list[Any]]:
        """What must not be there, by name."""
        names = ("lost", "double", "untold", "wrong", "unexpected", "stale", "disorder", "overlap")
        return {name: found for name in names if (found := getattr(self, name))}

    def __str__(self) -> str:
        counts = {name: len(found) for name, found in self.faults.items()}
        return f"{counts or 'sound'}, {self.executions} executions, {self.duplicates.total()} duplicates"


class Ends:
    """How often each item ended, read from the events.

    A store keeps only the newest events. Where more happen than it keeps, make this before the first submit
    and `read` again and again while it happens.

    Args:
        store: Whose events these are.

    Attributes:
        times: How often each item entered a terminal state.
    """

    def __init__(self, store: Store) -> None:
        self.times: Counter[Item] = Counter()
        self._store = store
        self._cursor = 0

    def read(self) -> int:
        """Read what happened since; how many events that were.

        Raises:
            ResultExpired: Some of it is not kept any more.
        """
        count = 0
        while events := self._store.events(self._cursor, limit=5000):
            self._cursor = events[-1].cursor
            count += len(events)
            for event in events:
                if event.state in TERMINAL and event.node:
                    self.times.update((NodeId(event.node), index) for index in range(event.lo, event.hi))
        return count


def examine(
    store: Store,
    codec: Codec,
    expected: Iterable[Expected],
    ledger: Ledger,
    *,
    lease_s: float = 2.0,
    ends: Ends | None = None,
) -> Verdict:
    """Hold a store and a ledger against what was submitted.

    Args:
        store: Where everything should have ended.
        codec: Opens the results.
        expected: What was submitted.
        ledger: What ran.
        lease_s: How long a worker that lost its lease may go on, less a second.
        ends: What was read of the events so far; by default the store still has them all.
    """
    nodes = {one.node: one for one in expected}
    verdict = Verdict()
    entries = ledger.entries()
    ends = ends or Ends(store)
    ends.read()
    fences = _check_results(store, codec, nodes, verdict)
    _check_events(ends.times, nodes, fences, verdict)
    _check_ledger(entries, nodes, fences, verdict)
    _check_time(entries, nodes, lease_s + 1.0, verdict)
    return verdict


def _check_events(
    times: Mapping[Item, int],
    nodes: Mapping[NodeId, Expected],
    fences: Mapping[Item, int],
    verdict: Verdict,
) -> None:
    """Each item must have entered a terminal state exactly once."""
    verdict.double += [item for item, count in times.items() if count > 1 and item[0] in nodes]
    verdict.untold += [item for item in fences if item not in times]


def _check_results(
    store: Store, codec: Codec, nodes: Mapping[NodeId, Expected], verdict: Verdict
) -> dict[Item, int]:
    """Each item must have one outcome, and the right one; returns the fences of the outcomes."""
    fences: dict[Item, int] = {}
    for node, segments in _segments(store, list(nodes)):
        one = nodes[node]
        for segment in segments:
            values = _values(codec, segment) if segment.state is State.SUCCEEDED else None
            for index in range(segment.lo, segment.hi):
                item = (node, index)
                if item in fences:
                    verdict.double.append(item)
                fences[item] = segment.fence
                if segment.state not in one.states:
                    verdict.wrong.append((item, segment.error or segment.state))
                elif values is not None and values[index - segment.lo] != one.value(index):
                    verdict.wrong.append((item, values[index - segment.lo]))
        verdict.lost += [(node, i) for i in range(one.width) if (node, i) not in fences]
    return fences


def _segments(store: Store, nodes: Sequence[NodeId]) -> Iterator[tuple[NodeId, list[Segment]]]:
    for at in range(0, len(nodes), NODES_PER_LOOK):
        yield from store.values(nodes[at : at + NODES_PER_LOOK]).items()


def _values(codec: Codec, segment: Any) -> list[Any]:
    value = codec.load_segment(segment)
    return value if segment.array else [value]


def _check_ledger(
    entries: list[Entry], nodes: Mapping[NodeId, Expected], fences: Mapping[Item, int], verdict: Verdict
) -> None:
    newest: dict[Item, int] = {}
    times: Counter[Item] = Counter()
    for entry in entries:
        item = (entry.node, entry.item)
        if entry.phase == "begin":
            times[item] += 1
            newest[item] = max(entry.fence, newest.get(item, 0))
    known = {item for item in times if item[0] in nodes and item[1] < nodes[item[0]].width}
    verdict.unexpected += sorted(times.keys() - known)
    verdict.stale += sorted(item for item in known & fences.keys() if 0 < fences[item] < newest[item])
    verdict.executions = times.total()
    verdict.duplicates = Counter({item: n - 1 for item, n in times.items() if n > 1})


def _check_time(
    entries: list[Entry], nodes: Mapping[NodeId, Expected], allowed_s: float, verdict: Verdict
) -> None:
    """Nothing begins before what it needs has ended; two executions of an item hardly overlap."""
    done: dict[Item, float] = {}
    by_item: dict[Item, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_item[entry.node, entry.item].append(entry)
        if entry.phase == "done":
            done.setdefault((entry.node, entry.item), entry.at)
    finished = {
        node: max((done.get((node, i), inf) for i in range(one.width)), default=0.0)
        for node, one in nodes.items()
    }
    for item, story in by_item.items():
        one = nodes.get(item[0])
        begun = story[0].at
        if one is not None and any(finished.get(parent, inf) > begun for parent in one.after):
            verdict.disorder.append(item)
        if _overlaps(story, allowed_s):
            verdict.overlap.append(item)


def _overlaps(story: list[Entry], allowed_s: float) -> bool:
    """Whether an execution was still at work long after a newer one had begun."""
    begun = [(entry.at, entry.fence) for entry in story if entry.phase == "begin"]
    return any(
        entry.phase == "done"
        and any(entry.fence < fence and entry.at > at + allowed_s for at, fence in begun)
        for entry in story
    )
