"""Work as packets say it, and back: between `taskflow.records` and `taskflow.pools.wire`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from taskflow.ids import NodeId
from taskflow.policy import Policy
from taskflow.records import Edge, EdgeMode, Growth, Lease, Node, Page, Segment

__all__ = ["Work", "growth", "growth_record", "packet"]


class Work:
    """Items ``[lo, hi)`` of a lease that were not given to a child yet, or were."""

    __slots__ = ("hi", "inputs", "lease", "lo", "pages")

    def __init__(
        self, lease: Lease, lo: int, hi: int, inputs: list[tuple[Any, ...]] | None, pages: Sequence[Page]
    ) -> None:
        self.lease = lease
        self.lo = lo
        self.hi = hi
        self.inputs = inputs
        self.pages = pages

    @classmethod
    def of(cls, lease: Lease, inputs: Mapping[Edge, list[Segment]], pages: Sequence[Page]) -> Work:
        """All of a lease."""
        given = [
            (str(edge.mode), edge.lo, edge.hi, [_plain(s) for s in inputs.get(edge, ())])
            for edge in lease.inputs
        ]
        return cls(lease, lease.key.lo, lease.key.hi, given or None, pages)

    @property
    def own_pages(self) -> Sequence[Page]:
        """The pages that hold its items."""
        first = bisect_right(self.pages, self.lo, key=lambda page: page.hi)
        return self.pages[first : bisect_left(self.pages, self.hi, key=lambda page: page.lo)]

    def part(self, lo: int, hi: int) -> Work:
        """Some of its items."""
        return Work(self.lease, lo, hi, self.inputs, self.pages)

    def cut(self, count: int) -> Work:
        """Take the first `count` items out of it."""
        first = self.part(self.lo, min(self.hi, self.lo + count))
        self.lo = first.hi
        return first


def _plain(s: Segment) -> tuple[Any, ...]:
    return (s.node, s.lo, s.hi, str(s.state), s.value, s.error, s.fence, s.array, s.single)


def packet(
    number: int, works: Sequence[Work], wanted: Callable[[str, Page], bool] = lambda node, page: True
) -> tuple[int, list[Any], list[Any]]:
    """A message of works.

    Args:
        number: Its name.
        works: In the order in which they are to be run.
        wanted: Asked with node and page, once for each that a work needs: whether to send it.
    """
    groups: list[tuple[Any, list[Any]]] = []
    pages: list[tuple[str, int, int, bytes]] = []
    last = None
    entries: list[Any] = []
    for work in works:
        (
            (node, _, _, fence),
            run,
            fn,
            args,
            array,
            width,
            _,
            policy,
            queue,
            label,
            attempt,
            delivery,
            age_s,
            priority,
        ) = work.lease
        head = (fn, run, label, queue, array, width, priority, policy)
        if head != last:
            limited = policy.soft_time_limit_s is not None or policy.time_limit_s is not None
            entries, last = [], head
            treated = (limited, policy.seed, policy.ignore_result, priority, policy.on_failure)
            groups.append(((*head[:6], *treated, policy.frames), entries))
        entries.append((node, work.lo, work.hi, fence, attempt, delivery, age_s, args, work.inputs))
        if work.pages:
            pages += [(node, *page) for page in work.own_pages if wanted(node, page)]
    return number, groups, pages


def growth_record(grown: Growth) -> tuple[Any, ...]:
    """A growth as a record says it: plain values only."""
    return (
        [_plain_node(node) for node in grown.nodes],
        [(node, width, [tuple(page) for page in pages]) for node, (width, pages) in grown.widths.items()],
        grown.final,
        list(grown.joins),
    )


def _plain_node(node: Node) -> tuple[Any, ...]:
    return (
        node.id,
        node.fn,
        node.args,
        [(edge.parent, str(edge.mode), edge.lo, edge.hi) for edge in node.edges],
        node.width,
        node.array,
        [tuple(page) for page in node.pages],
        node.queue,
        node.priority,
        node.policy.to_json(),
        node.delay_s,
        node.expires_s,
        node.label,
    )


def growth(record: tuple[Any, ...] | None) -> Growth | None:
    """Read `growth_record`."""
    if record is None:
        return None
    nodes, widths, final, joins = record
    return Growth(
        tuple(_node(*node) for node in nodes),
        {NodeId(node): (width, _pages(pages)) for node, width, pages in widths},
        None if final is None else NodeId(final),
        tuple(map(NodeId, joins)),
    )


def _node(
    name: str, fn: str, args: bytes, edges: list[Any], width: int | None, array: bool, pages: list[Any],
    queue: str, priority: int, policy: str, *rest: Any,
) -> Node:  # fmt: skip
    links = tuple(Edge(NodeId(parent), EdgeMode(mode), lo, hi) for parent, mode, lo, hi in edges)
    return Node(
        NodeId(name), fn, args, links, width, array, _pages(pages), queue, priority,
        Policy.from_json(policy), *rest,
    )  # fmt: skip


def _pages(pages: list[Any]) -> tuple[Page, ...]:
    return tuple(Page(*page) for page in pages)
