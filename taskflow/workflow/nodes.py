"""The kinds of node a workflow has; each draws itself as nodes of a plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from taskflow.codec import Reference
from taskflow.errors import GraphError
from taskflow.ids import NodeId, new_id
from taskflow.plan import Output
from taskflow.policy import Options
from taskflow.records import Edge, EdgeMode
from taskflow.workflow.checks import check_call
from taskflow.workflow.folding import Tree, draw_fold
from taskflow.workflow.mapreduce import Merge

if TYPE_CHECKING:
    from taskflow.plan import Draft

__all__ = [
    "NOT_GIVEN",
    "InputNode",
    "MapNode",
    "MapReduceNode",
    "Node",
    "NodeItem",
    "ReduceNode",
    "SubNode",
    "given",
    "nodes_in",
]

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
        memo: Whether its result is remembered; `None` leaves it to the workflow.
    """

    name: str
    fn: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: dict[str, Any]

    kind = "call"
    index = None

    def __post_init__(self) -> None:
        self.memo: bool | None = None
        self.parents = tuple(nodes_in(*self.args, *self.kwargs.values()))
        # A workflow runs many times: this id stands for the one the node gets in each plan.
        self.node_id = NodeId(new_id())

    def set(self, *, memo: bool | None = None, **options: Any) -> Self:
        """Set options of this step.

        Args:
            memo: Remember the result: a later run of the same function with the same arguments, from any
                process, takes it from the store while it is kept there. It is for functions that give
                the same whenever they are called, which are known by what they do (see docs/memo.md). A
                step is found only when those before it are remembered as well, or are inputs.
            options: As `Client.options` takes them.

        Raises:
            ConfigError: There is no such option (the nearest is named), or its value is impossible.
        """
        Options().merge(**options)
        self.options.update(options)
        if memo is not None:
            self.memo = memo
        return self

    def item(self, index: int) -> NodeItem:
        """One item of its result, where it is a map's: as an argument of another step."""
        return NodeItem(self, index)

    def check(self) -> None:
        """Check that its function takes its arguments.

        Raises:
            GraphError: It does not.
        """
        check_call(self.name, self.fn, self.args, self.kwargs)

    def draw(
        self, draft: Draft, node_id: NodeId, options: Options, edges: Iterable[Edge], label: str
    ) -> None:
        """Draw it on a draft, under this id and with this label, its name in the run."""
        draft.call(self.fn, self.args, self.kwargs, options, node_id=node_id, edges=edges, label=label)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r}>"


class NodeItem(Reference):
    """A part of the result of a node, or something else than that, as an argument of another one.

    Args:
        node: The node.
        index: One item of it, where it is a map.
        mode: What the other one needs of it; see `EdgeMode`.
    """

    __slots__ = ("index", "mode", "node", "node_id")

    def __init__(self, node: Node, index: int | None = None, mode: EdgeMode = EdgeMode.ALL) -> None:
        self.node = node
        self.node_id = node.node_id
        self.index = index
        self.mode = mode


class MapNode(Node):
    """One call for each item; the items are the first of its arguments, the others are shared."""

    kind = "map"

    def check(self) -> None:
        """See `Node.check`: each item is the first argument of a call."""
        if not isinstance(self.args[0], Reference | Iterable):
            raise GraphError(
                f"The step {self.name!r} maps over a {type(self.args[0]).__name__!r}: give it an iterable, or"
                " a node that returns one."
            )
        check_call(self.name, self.fn, (None, *self.args[1:]), self.kwargs)

    def draw(
        self, draft: Draft, node_id: NodeId, options: Options, edges: Iterable[Edge], label: str
    ) -> None:
        """See `Node.draw`: an array node."""
        items, *shared = self.args
        how: Any = {"args": shared, "kwargs": self.kwargs, "node_id": node_id, "edges": edges}
        if isinstance(items, Reference):
            draft.array_of(self.fn, items, options, label=label, **how)
        else:
            draft.array(self.fn, items, options, label=label, **how)


class ReduceNode(Node):
    """Folds the items of another node: `fn` is the `Fold`, or the `Tree` of calls that does it."""

    kind = "reduce"

    def check(self) -> None:
        """See `Node.check`: the function takes two values."""
        fold = self.fn.fold if isinstance(self.fn, Tree) else self.fn
        check_call(self.name, fold.fn, (None, None), {})

    def draw(
        self, draft: Draft, node_id: NodeId, options: Options, edges: Iterable[Edge], label: str
    ) -> None:
        """See `Node.draw`: one call, or a tree of them."""
        if isinstance(self.fn, Tree):
            draw_fold(draft, self.fn, self.args[0], options, node_id, label, edges)
        else:
            super().draw(draft, node_id, options, edges, label)


class InputNode(Node):
    """A value that is given when the workflow is run: the first of its arguments, then."""

    kind = "input"

    @property
    def default(self) -> Any:
        """The value when none is given."""
        return self.args[0] if self.args else NOT_GIVEN

    def check(self) -> None:
        """See `Node.check`: it calls nothing of the user's."""


class MapReduceNode(Node):
    """A map-reduce: its result is the dict. `fn` is the job."""

    kind = "map_reduce"

    def check(self) -> None:
        """See `Node.check`: the mapper takes an item, the reducer a key and its values."""
        check_call(self.name, self.fn.mapper, (None,), {})
        check_call(self.name, self.fn.reducer, (None, None), {})

    def draw(
        self, draft: Draft, node_id: NodeId, options: Options, edges: Iterable[Edge], label: str
    ) -> None:
        """See `Node.draw`: two array nodes, and a call that puts their results together."""
        waits = tuple(Output(edge.parent) for edge in edges)
        around = options.merge(after=(*options.after, *waits))
        parts = self.fn.compile(draft, around, label=label, node_id=node_id)
        mode = EdgeMode.KEEP if parts.errors == "skip" else EdgeMode.ALL
        outputs = Output(parts.reduce, mode=mode)
        draft.call(Merge(parts.sort), (outputs,), None, options, node_id=node_id, label=label)


class SubNode(Node):
    """A workflow as a step of another one: `fn` is the workflow, its keyword arguments are the inputs.

    It is drawn as its steps. Where several of them are the last, it is also a call that makes a dict of
    their results.
    """

    kind = "workflow"

    def check(self) -> None:
        """See `Node.check`: inputs are given by name."""
        if self.args:
            raise GraphError(f"The inputs of {self.name!r} are given by name: add(workflow, x=...).")

    def draw(
        self, draft: Draft, node_id: NodeId, options: Options, edges: Iterable[Edge], label: str
    ) -> None:
        """See `Node.draw`: the results of its last steps, by name."""
        results = {name: self.fn[name] for name in self.fn.last}
        draft.call(given, (results,), None, options, node_id=node_id, edges=edges, label=label)


def given(value: Any) -> Any:
    """What an input calls."""
    return value


def nodes_in(*values: Any) -> Iterable[Node]:
    """The nodes inside values, each once."""
    found: dict[int, Node] = {}
    _search(values, found, _DEEPEST)
    return found.values()


def _search(parts: Iterable[Any], found: dict[int, Node], depth: int) -> None:
    for part in parts:
        if isinstance(part, Node):
            found[id(part)] = part
        elif isinstance(part, NodeItem):
            found[id(part.node)] = part.node
        elif depth and isinstance(part, (list, tuple, set, frozenset)):
            _search(part, found, depth - 1)
        elif depth and isinstance(part, dict):
            _search(part.values(), found, depth - 1)
