"""Many values into one: in one call, or as a tree of calls that fold what has arrived.

::

    map   0 1 2 3 | 4 5 6 7 | 8 9      a leaf waits for its own items only, and runs while the map goes on
              │         │       │
            leaf      leaf    leaf     fold(fold(fold(0, 1), 2), 3) …
              └────┬────┘       │
                 inner ────── root     the order is kept: the function must be associative, no more

A tree over a map whose width is not known yet is drawn by its root: a call that is told the width, and is
replaced by the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import isqrt
from typing import TYPE_CHECKING, Any

from taskflow.codec import Reference
from taskflow.ids import NodeId, new_id
from taskflow.plan import PARTS, Output, Replaced
from taskflow.policy import Options
from taskflow.records import Edge

if TYPE_CHECKING:
    from taskflow.plan import Draft

__all__ = ["Fold", "Tree", "draw_fold"]

LEAST_FAN = 8


@dataclass(frozen=True)
class Fold:
    """Folds a list with a function of two values."""

    fn: Callable[[Any, Any], Any]
    initial: tuple[Any, ...] = ()

    def __call__(self, parts: Iterable[Any]) -> Any:
        """The parts as one value, from the left."""
        return reduce(self.fn, (part for part in parts if not isinstance(part, _Nothing)), *self.initial)


@dataclass(frozen=True)
class _Nothing:
    """What a part of a tree gives when all of its items chose to be skipped."""


@dataclass(frozen=True)
class _Part:
    """A part of a tree."""

    fn: Callable[[Any, Any], Any]

    def __call__(self, parts: Iterable[Any]) -> Any:
        """The parts as one value, if there are any."""
        given = [part for part in parts if not isinstance(part, _Nothing)]
        return reduce(self.fn, given) if given else _Nothing()


@dataclass(frozen=True)
class Tree:
    """How a fold is spread over calls.

    Args:
        fold: What is done; the initial value goes before the first part.
        fan: How many values one call folds; `None` takes about the square root of their number.
    """

    fold: Fold
    fan: int | None = None

    def fan_of(self, count: int) -> int:
        """How many values one call folds, of so many."""
        return self.fan or max(LEAST_FAN, isqrt(count))

    def over_items(self, node: NodeId, width: int) -> list[Any]:
        """The arguments of the leaves over an array node: stretches of its items."""
        fan = self.fan_of(width)
        return [Output(node, lo=lo, hi=min(lo + fan, width)) for lo in range(0, width, fan)]

    def over(self, parts: Sequence[Any]) -> list[Any]:
        """The arguments of the leaves over single values."""
        fan = self.fan_of(len(parts))
        return [list(parts[lo : lo + fan]) for lo in range(0, len(parts), fan)]

    def draw(
        self, draft: Draft, leaves: Sequence[Any], options: Options, node_id: NodeId, label: str,
        edges: Iterable[Edge] = (),
    ) -> NodeId:  # fmt: skip
        """Draw the tree over its leaves; the root has the id and the label. All of it waits for `edges`."""
        fan, level, edges = self.fan_of(len(leaves)), 0, tuple(edges)
        while len(leaves) > 1:
            before = edges if level == 0 else ()
            one = [
                Output(self._part(draft, leaf, options, f"{node_id}/{level}.{at}", label, before))
                for at, leaf in enumerate(leaves)
            ]
            leaves = [one[lo : lo + fan] for lo in range(0, len(one), fan)]
            level += 1
        last = leaves[0] if leaves else []
        return draft.call(self.fold, (last,), None, options, node_id=node_id, edges=edges, label=label)

    def _part(
        self, draft: Draft, leaf: Any, options: Options, name: str, label: str, edges: Iterable[Edge]
    ) -> NodeId:
        label, part = PARTS.format(label), _Part(self.fold.fn)
        return draft.call(part, (leaf,), None, options, node_id=NodeId(name), label=label, edges=edges)


def draw_fold(
    draft: Draft, tree: Tree, parts: Any, options: Options, node_id: NodeId, label: str, edges: Iterable[Edge]
) -> NodeId:
    """Draw a tree over whatever its parts are.

    Args:
        draft: Takes it.
        tree: How it is spread.
        parts: References to single values; or one reference: to an array node of the draft, or to a list.
        options: How its calls are treated.
        node_id: The id of the result.
        label: What a person reads.
        edges: What the result waits for beside the parts.
    """
    if isinstance(parts, (list, tuple)):
        own = {draft.alias.get(part.node_id, part.node_id) for part in parts if isinstance(part, Reference)}
        others = [edge for edge in edges if edge.parent not in own]  # a leaf waits for its own parts only
        return tree.draw(draft, tree.over(parts), options, node_id, label, others)
    source = draft.alias.get(parts.node_id, parts.node_id)
    drawn = draft.find(source)
    if drawn is None or not drawn.array or getattr(parts, "index", None) is not None:
        return draft.call(tree.fold, (parts,), None, options, node_id=node_id, edges=edges, label=label)
    others = [edge for edge in edges if edge.parent != source or drawn.width == 0]
    if drawn.width is not None:
        return tree.draw(draft, tree.over_items(source, drawn.width), options, node_id, label, others)
    planner = _Planner(tree, source, options.merge(after=(), key=None), label)
    items = Output(NodeId(f"{source}/items"))
    return draft.call(planner, (items,), None, options, node_id=node_id, edges=others, label=label)


@dataclass(frozen=True)
class _Planner:
    """Runs when the width of a map is known, and is replaced by the tree over it."""

    tree: Tree
    node: NodeId
    options: Options
    label: str

    def __call__(self, width: int) -> Any:
        """End here, and let the tree give the result."""
        raise Replaced(_Planned(self, width))


@dataclass(frozen=True)
class _Planned:
    planner: _Planner
    width: int

    def draw_on(self, draft: Draft, _: Options) -> NodeId:
        """Draw the tree; see `pools.growing.Drawn`."""
        plan, root = self.planner, NodeId(f"{new_id()}/fold")  # there may be other trees over the same map
        leaves = plan.tree.over_items(plan.node, self.width)
        return plan.tree.draw(draft, leaves, plan.options, root, PARTS.format(plan.label))
