"""Where the results of a canvas will be, known before any of it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from taskflow.ids import NodeId
from taskflow.plan import Output
from taskflow.records import Edge, EdgeMode

__all__ = ["Shape"]


@dataclass(frozen=True, slots=True)
class Shape:
    """The result of a canvas: a call, one item of an array node, a whole array node, or a list of shapes.

    Args:
        node: The node that has it; `None` for a list of shapes.
        index: The item of `node`, when the result is one item.
        width: How many items `node` has, when the result is the list of them all.
        members: The shapes of a list, in order.
        parent: The step before, as Celery's ``result.parent``.
    """

    node: NodeId | None = None
    index: int | None = None
    width: int | None = None
    members: tuple[Shape, ...] | None = None
    parent: Shape | None = field(default=None, repr=False, compare=False)

    @property
    def id(self) -> str | None:
        """The id of the result as text; a list of shapes has none."""
        return self.node if self.index is None else item_id(str(self.node), self.index)

    @property
    def is_list(self) -> bool:
        """Whether the result is that of a group."""
        return self.members is not None or self.width is not None

    def items(self) -> tuple[Shape, ...]:
        """The shapes of the parts of a group's result, in order; of another result, itself."""
        if self.members is not None:
            return self.members
        if self.width is None:
            return (self,)
        return tuple(Shape(self.node, index, parent=self.parent) for index in range(self.width))

    def nodes(self) -> Iterator[NodeId]:
        """The nodes that hold the result, each once, in order."""
        return iter(dict.fromkeys(self._nodes()))

    def argument(self) -> Any:
        """The result as an argument of a later node: references, nested as the result is."""
        if self.members is not None:
            return [member.argument() for member in self.members]
        return Output(self.node, self.index) if self.node is not None else None

    def waits(self) -> tuple[Edge, ...]:
        """Edges of a node that runs after this result is there and takes nothing of it."""
        if self.node is not None:
            return (Edge(self.node, EdgeMode.AFTER),)
        edges = dict.fromkeys(edge for member in self.members or () for edge in member.waits())
        return tuple(edges) or (self.parent.waits() if self.parent is not None else ())

    def collect(self, value: Callable[[NodeId, int | None], Any]) -> Any:
        """Put the result together.

        Args:
            value: Gives the value of a call or of an item, or the list of all items of an array node.
        """
        if self.members is not None:
            return [member.collect(value) for member in self.members]
        return None if self.node is None else value(self.node, self.index)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `from_json`, without the empty ones."""
        found: dict[str, Any] = {name: getattr(self, name) for name in ("node", "index", "width")}
        if self.members is not None:
            found["members"] = [member.to_json() for member in self.members]
        if self.parent is not None:
            found["parent"] = self.parent.to_json()
        return {name: value for name, value in found.items() if value is not None}

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> Shape:
        """Read `to_json`."""
        members, parent = found.get("members"), found.get("parent")
        return Shape(
            found.get("node"),
            found.get("index"),
            found.get("width"),
            None if members is None else tuple(map(Shape.from_json, members)),
            None if parent is None else Shape.from_json(parent),
        )

    def _nodes(self) -> Iterator[NodeId]:
        if self.node is not None:
            yield self.node
        for member in self.members or ():
            yield from member.nodes()


def item_id(node: str, index: int) -> str:
    """The id of one item of an array node.

    Example:
        >>> item_id("0190", 3)
        '0190[3]'
    """
    return f"{node}[{index}]"


def split_id(text: str) -> tuple[str, int | None]:
    """Read `item_id`; the id of a node has no index.

    Example:
        >>> split_id("0190[3]"), split_id("0190")
        (('0190', 3), ('0190', None))
    """
    node, bracket, rest = text.rpartition("[")
    return (node, int(rest[:-1])) if bracket and rest[:-1].isdigit() else (text, None)
