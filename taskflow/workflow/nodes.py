"""The kinds of node a workflow has; each draws itself as nodes of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Self

from taskflow.codec import Reference
from taskflow.ids import NodeId, new_id
from taskflow.plan import Output
from taskflow.policy import Options
from taskflow.records import Edge, EdgeMode
from taskflow.workflow.mapreduce import Merge

if TYPE_CHECKING:
    from taskflow.plan import Draft

__all__ = ["NOT_GIVEN", "Fold", "InputNode", "MapNode", "MapReduceNode", "Node", "ReduceNode", "given"]

NOT_GIVEN: Any = object()
"""In place of a value that nobody gave."""

_DEEPEST = 32


@dataclass(eq=False)
class Node(Reference):
    """A step of a workflow. As an argument of another step, anywhere inside it, it stands for its result.

    Args:
        name: Its name in the graph.
        fn: What it calls.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        options: Options of its own.

    Attributes:
        parents: The nodes among its arguments, each once.
    """

    name: str
    fn: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: dict[str, Any]

    kind = "call"
    index = None

    def __post_init__(self) -> None:
        self.parents = tuple(_nodes_in((self.args, self.kwargs)))
        # A workflow runs many times: this id stands for the one the node gets in each plan.
        self.node_id = NodeId(new_id())

    def set(self, **options: Any) -> Self:
        """Set options of this step, as `Client.options` takes them.

        Raises:
            ConfigError: There is no such option (the nearest is named), or its value is impossible.
        """
        Options().merge(**options)
        self.options.update(options)
        return self

    def draw(self, draft: Draft, node_id: NodeId, options: Options, edges: Iterable[Edge]) -> None:
        """Draw it on a draft, under this id."""
        draft.call(self.fn, self.args, self.kwargs, options, node_id=node_id, edges=edges, label=self.name)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r}>"


class MapNode(Node):
    """One call for each item; the items are the first of its arguments."""

    kind = "map"

    def draw(self, draft: Draft, node_id: NodeId, options: Options, edges: Iterable[Edge]) -> None:
        """See `Node.draw`: an array node."""
        items = self.args[0]
        if isinstance(items, Reference):
            draft.array_of(
                self.fn, items, options, kwargs=self.kwargs, node_id=node_id, edges=edges, label=self.name
            )
        else:
            draft.array(
                self.fn, items, options, kwargs=self.kwargs, node_id=node_id, edges=edges, label=self.name
            )


class ReduceNode(Node):
    """Folds the items of another node."""

    kind = "reduce"


class InputNode(Node):
    """A value that is given when the workflow is run: the first of its arguments, then."""

    kind = "input"

    @property
    def default(self) -> Any:
        """The value when none is given."""
        return self.args[0] if self.args else NOT_GIVEN


class MapReduceNode(Node):
    """A map-reduce: its result is the dict. `fn` is the job."""

    kind = "map_reduce"

    def draw(self, draft: Draft, node_id: NodeId, options: Options, edges: Iterable[Edge]) -> None:
        """See `Node.draw`: two array nodes, and a call that puts their results together."""
        waits = tuple(Output(edge.parent) for edge in edges)
        parts = self.fn.compile(draft, options.merge(after=(*options.after, *waits)), label=self.name)
        mode = EdgeMode.KEEP if parts.errors == "skip" else EdgeMode.ALL
        outputs = Output(parts.reduce, mode=mode)
        draft.call(Merge(parts.sort), (outputs,), None, options, node_id=node_id, label=self.name)


@dataclass(frozen=True)
class Fold:
    """Folds a list with a function of two values."""

    fn: Callable[[Any, Any], Any]
    initial: tuple[Any, ...] = ()

    def __call__(self, parts: Iterable[Any]) -> Any:
        """The parts as one value, from the left."""
        return reduce(self.fn, parts, *self.initial)


def given(value: Any) -> Any:
    """What an input calls."""
    return value


def _nodes_in(value: Any) -> Iterable[Node]:
    """The nodes inside a value, each once."""
    found: dict[int, Node] = {}
    _search(value, found, _DEEPEST)
    return found.values()


def _search(value: Any, found: dict[int, Node], depth: int) -> None:
    if isinstance(value, Node):
        found[id(value)] = value
    elif depth and isinstance(value, (list, tuple, set, frozenset)):
        for part in value:
            _search(part, found, depth - 1)
    elif depth and isinstance(value, dict):
        for part in value.values():
            _search(part, found, depth - 1)
