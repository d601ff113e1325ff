"""Where partitions come from: they are kept, were made by a run, or are made of those of another frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taskflow.frames import kinds
from taskflow.frames.drawing import Drawn, Feed, Source, Stage
from taskflow.frames.exchange import Division, Matched, Pieces
from taskflow.frames.ordering import Bounds, Order, OrderedPieces, RangeDivision, Sample
from taskflow.frames.places import Place, spans
from taskflow.plan import Output

if TYPE_CHECKING:
    from taskflow.ref import Ref
    from taskflow.workflowrun import WorkflowRun

__all__ = ["Held", "Made", "Merged", "Repartitioned", "Shuffled", "Sorted", "Together"]


@dataclass(frozen=True, eq=False)
class Held(Source):
    """Partitions that were stored by `Client.scatter`."""

    refs: Sequence[Ref[Any]]
    places: Sequence[Place]

    label = "partition"

    @property
    def npartitions(self) -> int:
        """See `Source`."""
        return len(self.refs)

    def feed(self, plan: Drawn) -> Feed:
        """See `Source`."""
        return Feed(self.refs, self.places)


@dataclass(frozen=True, eq=False)
class Made(Source):
    """Partitions that are the results of a run, or will be.

    Args:
        run: Its handle.
        outputs: For each partition the name of its node there, and which item of it, if it is one of several.
        told: What is said of the partitions of each node there, by its name.
    """

    run: WorkflowRun
    outputs: Sequence[tuple[str, int | None]]
    told: dict[str, Sequence[Place]]

    label = "partition"

    @property
    def npartitions(self) -> int:
        """See `Source`."""
        return len(self.outputs)

    def feed(self, plan: Drawn) -> Feed:
        """See `Source`."""
        places = [self.told[name][index or 0] for name, index in self.outputs]
        return Feed([self._output(name, index) for name, index in self.outputs], places)

    def _output(self, name: str, index: int | None) -> Output:
        node = self.run.names[name]
        return Output(node) if index is None else Output(node, index, lo=index, hi=index + 1)


class _Regrouped(Source):
    """Partitions of which it was said how many there shall be."""

    parts: int

    @property
    def npartitions(self) -> int:
        """See `Source`."""
        return self.parts


@dataclass(frozen=True, eq=False)
class Shuffled(_Regrouped):
    """Rows brought together by key."""

    stage: Stage
    by: list[Any]
    parts: int

    label = "shuffle"

    def feed(self, plan: Drawn) -> Feed:
        """See `Source`."""
        pieces = _divided(plan, self.stage, self.by, self.parts)
        return Feed(
            range(self.parts), _places(self.parts, f"after shuffle by {_told(self.by)}"), Pieces(), (pieces,)
        )


@dataclass(frozen=True, eq=False)
class Merged(_Regrouped):
    """Rows of two frames that have equal keys."""

    left: Stage
    right: Stage
    left_on: list[Any]
    right_on: list[Any]
    parts: int
    how: dict[str, Any]

    label = "merge"

    def feed(self, plan: Drawn) -> Feed:
        """See `Source`."""
        left = _divided(plan, self.left, self.left_on, self.parts)
        right = _divided(plan, self.right, self.right_on, self.parts)
        places = _places(self.parts, f"after merge on {_told(self.left_on)}")
        return Feed(range(self.parts), places, Matched(self.how), (left, right))


@dataclass(frozen=True, eq=False)
class Sorted(_Regrouped):
    """Rows in order: each partition holds a range of the keys."""

    stage: Stage
    order: Order
    parts: int

    label = "sort"

    def feed(self, plan: Drawn) -> Feed:
        """See `Source`: what is to be sorted is made once, sampled, and then divided."""
        made = plan.parts(self.stage)
        places = _places(len(made), "before sort")
        samples = plan.calls(Feed(made, places), (Sample(self.order),), "sort: sample")
        choose = Feed([samples], [Place(0, 1, step="bounds of sort")])
        (bounds,) = plan.calls(choose, (Bounds(self.order, self.parts),), "sort: bounds")
        pairs = Feed([(part, bounds) for part in made], places)
        pieces = plan.calls(pairs, (RangeDivision(self.order, self.parts),), "sort: divide")
        step = f"after sort by {_told(self.order.by)}"
        return Feed(range(self.parts), _places(self.parts, step), OrderedPieces(self.order), (pieces,))


@dataclass(frozen=True, eq=False)
class Repartitioned(_Regrouped):
    """The same rows in the same order, in partitions of equal length."""

    stage: Stage
    parts: int

    label = "repartition"

    def feed(self, plan: Drawn) -> Feed:
        """See `Source`."""
        shared = (plan.all_of(self.stage),)
        return Feed(range(self.parts), _places(self.parts, "after repartition"), _Even(self.parts), shared)


@dataclass(frozen=True, eq=False)
class Together(Source):
    """All partitions as one list, which the steps make one partition of."""

    stage: Stage
    label: str

    @property
    def npartitions(self) -> int:
        """See `Source`."""
        return 1

    def feed(self, plan: Drawn) -> Feed:
        """See `Source`."""
        return Feed([plan.all_of(self.stage)], [Place(0, 1, step=self.label)])


@dataclass(frozen=True)
class _Even:
    """Reads the rows of one of so many partitions of equal length."""

    parts: int

    def __call__(self, index: int, given: Sequence[Any]) -> Any:
        counts = [kinds.rows_of(part) for part in given]
        lo, hi = spans(sum(counts), self.parts)[index]
        found, at = [], 0
        for part, rows in zip(given, counts, strict=True):
            if at < hi and lo < at + rows:
                found.append(kinds.slice_of(part, max(0, lo - at), min(rows, hi - at)))
            at += rows
        return kinds.joined(found) if found else kinds.empty_of(given[0])


def _divided(plan: Drawn, stage: Stage, by: list[Any], parts: int) -> list[Output]:
    """The partitions of a stage, each as pieces by the hash of their keys."""
    label = f"{stage.label}, by {_told(by)}"
    return plan.all_of(stage.then(Division(by, parts), label))


def _places(count: int, step: str) -> list[Place]:
    return [Place(index, count, step=step) for index in range(count)]


def _told(by: Sequence[Any]) -> str:
    return ", ".join(map(repr, by))
