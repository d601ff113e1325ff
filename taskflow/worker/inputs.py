"""What leases need from the store before they can run: values of predecessors, and pages of items.

Both never change once they can be read, so what was read lately is kept, bounded in bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from taskflow.ids import NodeId
from taskflow.records import Edge, EdgeMode, Failure, Kind, Lease, Page, Segment, Settlement
from taskflow.states import State

__all__ = ["Inputs", "Ready", "Source"]

KEPT_BYTES = 16 << 20
PAGES_OF_A_NODE = 8
T = TypeVar("T")
_NO_INPUTS: Mapping[Edge, list[Segment]] = {}


class Source(Protocol):
    """The part of a store that this needs."""

    def values(
        self, nodes: Sequence[NodeId], /, *, lo: int = 0, hi: int | None = None
    ) -> dict[NodeId, list[Segment]]:
        """See `WatchPort.values`."""
        ...

    def pages(self, node: NodeId, lo: int, hi: int, /) -> list[Page]:
        """See `WorkPort.pages`."""
        ...


class Ready(NamedTuple):
    """A lease with all it needs, as `Pool.start` takes it."""

    lease: Lease
    inputs: Mapping[Edge, list[Segment]]
    pages: Sequence[Page]


class Inputs:
    """Reads for many leases in few calls."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._values = _Recent[list[Segment]]()
        self._pages = _Recent[list[Page]]()

    def read(self, leases: Sequence[Lease]) -> list[Ready]:
        """The leases, ready to start: one call for all values, and one for the pages of each node."""
        edges = {edge for lease in leases for edge in lease.inputs}
        values = self._read_values(edges) if edges else {}
        arrays = [lease for lease in leases if lease.array]
        pages = self._read_pages(arrays) if arrays else {}
        return [
            Ready(lease, {edge: values[edge] for edge in lease.inputs}, _of(lease, pages))
            if lease.inputs or lease.array
            else Ready(lease, _NO_INPUTS, ())
            for lease in leases
        ]

    def made(self, done: Iterable[Settlement]) -> None:
        """Keep what calls gave that were settled here: their successors are likely to run here too."""
        for key, outcomes, grown in done:
            if len(outcomes) == 1 and grown is None and outcomes[0].kind is Kind.SUCCEEDED:
                value = outcomes[0].value
                made = Segment(key.node, 0, 1, State.SUCCEEDED, value, None, key.fence)
                self._values.keep(key.node, [made], len(value or b"") + 100)

    def _read_values(self, edges: set[Edge]) -> dict[Edge, list[Segment]]:
        whole = self._read_whole({edge.parent for edge in edges if edge.hi is None})
        found = {
            edge: whole[edge.parent]
            if edge.hi is None
            else self._source.values([edge.parent], lo=edge.lo, hi=edge.hi)[edge.parent]
            for edge in edges
        }
        for edge in edges:
            if edge.mode in (EdgeMode.FAILED, EdgeMode.BROKEN):
                found[edge] = self._reasons(found[edge])
        return found

    def _reasons(self, segments: list[Segment]) -> list[Segment]:
        """In place of what was skipped, what failed before it."""
        skipped = [s.error for s in segments if s.state is State.SKIPPED and s.error]
        roots = {root for error in skipped if (root := Failure.from_json(error).root) is not None}
        if not roots:
            return segments
        found = self._read_whole({NodeId(root) for root in roots})
        return [
            s for node in sorted(found) for s in found[node] if s.state is not State.SUCCEEDED
        ] or segments

    def _read_whole(self, nodes: set[NodeId]) -> dict[NodeId, list[Segment]]:
        if not nodes:
            return {}
        found = {node: known for node in nodes if (known := self._values.find(node)) is not None}
        missing = sorted(nodes - found.keys())
        if missing:
            fresh = self._source.values(missing)
            for node, segments in fresh.items():
                self._values.keep(node, segments, sum(len(s.value or b"") + 100 for s in segments))
            found |= fresh
        return found

    def _read_pages(self, leases: Iterable[Lease]) -> dict[NodeId, list[Page]]:
        spans: dict[NodeId, tuple[int, int]] = {}
        for lease in leases:
            node, lo, hi, _ = lease.key
            before = spans.get(node, (lo, hi))
            spans[node] = min(lo, before[0]), max(hi, before[1])
        return {node: self._pages_of(node, lo, hi) for node, (lo, hi) in spans.items()}

    def _pages_of(self, node: NodeId, lo: int, hi: int) -> list[Page]:
        known = [page for page in self._pages.find(node) or () if page.lo < hi and lo < page.hi]
        if _covers(known, lo, hi):
            return known
        fresh = self._source.pages(node, lo, hi)
        recent = fresh[-PAGES_OF_A_NODE:]
        self._pages.keep(node, recent, sum(len(page.items) for page in recent))
        return fresh


def _of(lease: Lease, pages: Mapping[NodeId, list[Page]]) -> Sequence[Page]:
    if not lease.array:
        return ()
    node, lo, hi, _ = lease.key
    return [page for page in pages[node] if page.lo < hi and lo < page.hi]


def _covers(pages: Iterable[Page], lo: int, hi: int) -> bool:
    for page in pages:
        if page.lo > lo:
            return False
        lo = max(lo, page.hi)
    return lo >= hi


class _Recent(Generic[T]):
    """What was used last, up to `KEPT_BYTES`."""

    def __init__(self) -> None:
        self._kept: OrderedDict[NodeId, tuple[T, int]] = OrderedDict()
        self._bytes = 0

    def find(self, node: NodeId) -> T | None:
        known = self._kept.get(node)
        if known is None:
            return None
        self._kept.move_to_end(node)
        return known[0]

    def keep(self, node: NodeId, value: T, size_bytes: int) -> None:
        _, before = self._kept.pop(node, (None, 0))
        self._kept[node] = (value, size_bytes)
        self._bytes += size_bytes - before
        while self._bytes > KEPT_BYTES:
            _, (_, size_bytes) = self._kept.popitem(last=False)
            self._bytes -= size_bytes
