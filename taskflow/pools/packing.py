"""Work as packets say it, and back: between `taskflow.records` and `taskflow.pools.wire`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from taskflow.ids import NodeId
from taskflow.records import Growth, Lease, Page, Segment

__all__ = ["Work", "growth", "packet"]


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
    def of(cls, lease: Lease, inputs: Mapping[NodeId, list[Segment]], pages: Sequence[Page]) -> Work:
        """All of a lease."""
        given = [(str(mode), [_plain(s) for s in inputs.get(node, ())]) for node, mode in lease.inputs]
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
    return (s.node, s.lo, s.hi, str(s.state), s.value, s.error, s.fence, s.array)


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
        ) = work.lease
        head = (fn, run, label, queue, array, width, policy)
        if head != last:
            limited = policy.soft_time_limit_s is not None or policy.time_limit_s is not None
            entries, last = [], head
            groups.append(((*head[:6], limited, policy.seed, policy.ignore_result), entries))
        entries.append((node, work.lo, work.hi, fence, attempt, delivery, age_s, args, work.inputs))
        if work.pages:
            pages += [(node, *page) for page in work.own_pages if wanted(node, page)]
    return number, groups, pages


def growth(made: tuple[Any, ...] | None) -> Growth | None:
    """What the call in front of an array node of unknown width made, see `taskflow.plan`."""
    if made is None:
        return None
    target, width, pages = made
    return Growth(widths={NodeId(target): (width, tuple(Page(*page) for page in pages))})
