"""A frame laid out as calls: one for each partition, with as much done in it as can be.

`Stage` says what is done to each partition of a source; `FramePlan` draws stages on a draft, each once
however often it is needed, and is sent as a workflow is: the handle of its run is a `WorkflowRun`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taskflow.frames.places import Place
from taskflow.frames.steps import Pipeline, Step, given
from taskflow.ids import NodeId, new_id
from taskflow.plan import Output

if TYPE_CHECKING:
    from taskflow.plan import Draft
    from taskflow.policy import Options

__all__ = ["Drawn", "Feed", "FramePlan", "Source", "Stage"]


@dataclass(frozen=True)
class Feed:
    """What the calls of a stage are given.

    Args:
        items: One for each partition.
        places: What is said of each.
        read: Makes a partition of its item and what is shared.
        shared: What all of them share: then they are one array node.
    """

    items: Sequence[Any]
    places: Sequence[Place]
    read: Callable[..., Any] = given
    shared: tuple[Any, ...] = ()


class Source(ABC):
    """Where the partitions of a frame come from."""

    label = "frame"
    """What is done to have them, in a word."""

    @property
    @abstractmethod
    def npartitions(self) -> int:
        """How many there are."""

    @abstractmethod
    def feed(self, plan: Drawn) -> Feed:
        """Draw what has to be done first, and say what the partitions are made of."""


@dataclass(frozen=True, eq=False)
class Stage:
    """What is done to each partition of a source.

    Args:
        source: Where they come from.
        steps: What is done, in order.
        label: What a person reads.
    """

    source: Source
    steps: tuple[Step, ...]
    label: str

    def then(self, step: Step, label: str) -> Stage:
        """The same with one more step."""
        return Stage(self.source, (*self.steps, step), label)


class Drawn:
    """Stages on a draft.

    Args:
        draft: Takes the nodes.
        options: How they are treated.

    Attributes:
        names: The nodes by name, in the order in which they were drawn.
        places: What is said of the partitions of each node, by its name.
    """

    def __init__(self, draft: Draft, options: Options) -> None:
        self._draft = draft
        self._options = options
        self._done: dict[int, tuple[Stage, list[Output]]] = {}
        self.names: dict[str, NodeId] = {}
        self.places: dict[str, Sequence[Place]] = {}

    def stage(self, stage: Stage, only: int | None = None) -> list[Output]:
        """Draw a stage; what its partitions become, in order.

        Args:
            stage: What to draw; the same one is drawn once.
            only: Draw this partition alone.
        """
        if only is None and id(stage) in self._done:
            return self._done[id(stage)][1]
        feed = stage.source.feed(self)
        if only is not None:
            feed = Feed([feed.items[only]], [feed.places[only]], feed.read, feed.shared)
        made = self.calls(feed, stage.steps, stage.label)
        if only is None:
            self._done[id(stage)] = stage, made
        return made

    def parts(self, stage: Stage) -> list[Any]:
        """What stands for the partitions of a stage, which is drawn unless they are there already."""
        if not stage.steps:
            feed = stage.source.feed(self)
            if feed.read is given and not feed.shared:
                return list(feed.items)
        return list(self.stage(stage))

    def all_of(self, stage: Stage) -> list[Any]:
        """The same for one who waits for all of them: a node has one edge to another."""
        parts = self.parts(stage)
        return [Output(part.node_id, part.index) if isinstance(part, Output) else part for part in parts]

    def calls(self, feed: Feed, steps: tuple[Step, ...], label: str) -> list[Output]:
        """Draw a call for each item of a feed."""
        fn = Pipeline(feed.read, steps)
        if feed.shared:
            return self._array(fn, feed, label)
        base, made = new_id(), []
        for at, (item, place) in enumerate(zip(feed.items, feed.places, strict=True)):
            node = NodeId(f"{base}/{at}")
            self._draft.call(fn, (item, place), None, self._options, node_id=node, label=label)
            self._name(f"{label} {at}", node, [place])
            made.append(Output(node))
        return made

    def _array(self, fn: Pipeline, feed: Feed, label: str) -> list[Output]:
        node = NodeId(new_id())
        pairs = zip(feed.items, feed.places, strict=True)
        how: dict[str, Any] = {"args": feed.shared, "node_id": node, "label": label}
        self._draft.array(fn, pairs, self._options, star=True, **how)
        self._name(label, node, feed.places)
        return [Output(node, at, lo=at, hi=at + 1) for at in range(len(feed.items))]

    def _name(self, wanted: str, node: NodeId, places: Sequence[Place]) -> None:
        name, number = wanted, 1
        while name in self.names:
            number += 1
            name = f"{wanted} ({number})"
        self.names[name], self.places[name] = node, places


class FramePlan:
    """Stages that are sent together; a client takes it as it takes a `Workflow`.

    Args:
        name: What a person reads.
        draw: Draws them, and gives what is asked for.

    Attributes:
        outputs: What `draw` gave, once it was sent.
        names: The nodes by name, once it was sent.
        places: What is said of the partitions of each node, by its name.
        last: The names of the nodes whose values are asked for.
    """

    def __init__(self, name: str, draw: Callable[[Drawn], Sequence[Output]]) -> None:
        self.name = name
        self._draw = draw
        self.outputs: list[tuple[str, int | None]] = []
        self.names: dict[str, NodeId] = {}
        self.places: dict[str, Sequence[Place]] = {}
        self.last: list[str] = []

    def compile(
        self, draft: Draft, options: Options, inputs: Mapping[str, Any] | None = None, **_: Any
    ) -> dict[str, NodeId]:
        """Draw it; see `Workflow.compile`."""
        drawn = Drawn(draft, options.of_run().merge(label=None, key=None, unique=None))
        outputs = self._draw(drawn)
        self.names, self.places = drawn.names, drawn.places
        name_of = {node: name for name, node in drawn.names.items()}
        self.outputs = [(name_of[output.node_id], output.index) for output in outputs]
        self.last = list(dict.fromkeys(name for name, _ in self.outputs))
        return dict(self.names)
