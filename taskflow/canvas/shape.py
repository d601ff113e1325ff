"""Where the results of a canvas will be, known before any of it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, cast

from taskflow.ids import NodeId
from taskflow.plan import Output
from taskflow.records import Edge, EdgeMode

__all__ = ["Shape"]


@dataclass(frozen=True, slots=True)
class Shape:
    """The result of a canvas: a call, one item of an array node, a whole array node, or a list of shapes.

    It is what `Signature.freeze` gives, and answers what Celery's result can before anything was sent.

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
    def task_id(self) -> str | None:
        """The same as `id`."""
        return self.id

    @property
    def children(self) -> list[Shape]:
        """The results of a group's members; one task has none."""
        return list(self.items()) if self.is_list else []

    def as_list(self) -> list[str | None]:
        """Its id, and those of the steps before."""
        return [self.id, *(self.parent.as_list() if self.parent is not None else ())]

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
        __tracebackhide__ = True
        if self.members is not None:
            found = []
            for (
                member
            ) in self.members:  # no comprehension: before Python 3.12 tracebacks show that as a frame
                found.append(member.collect(value))
            return found
        return None if self.node is None else value(self.node, self.index)

    def follow(self, path: str) -> Shape:
        """The part at the end of a path, see `longer`.

        Raises:
            LookupError: There is no such part.
        """
        shape = self
        for step in path.split("/")[1:]:
            back = int(step[1:]) if step.startswith("p") else 0
            for _ in range(back):
                if shape.parent is None:
                    raise LookupError(step)
                shape = shape.parent
            if not back:
                shape = shape.items()[int(step)]
        return shape

    def locate(self, wanted: Shape) -> tuple[str, Shape] | None:
        """A part that has the same result, and the path that leads to it, see `follow`.

        Args:
            wanted: A node, an item, or several of them.
        """
        seen: set[int] = set()
        stack = [("", self)]
        while stack:
            path, shape = stack.pop()
            if id(shape) in seen:
                continue
            seen.add(id(shape))
            if shape._is(wanted):
                return path, shape
            if shape.width is not None and shape.node == wanted.node and wanted.index is not None:
                part = Shape(shape.node, wanted.index, parent=shape.parent)
                return longer(path, str(wanted.index)), part
            for index, member in enumerate(shape.members or ()):
                if member._is(wanted):
                    return longer(path, str(index)), member
                if not _is_plain(member, shape):
                    stack.append((longer(path, str(index)), member))
            if shape.parent is not None:
                stack.append((longer(path, "p1"), shape.parent))
        return None

    def _is(self, other: Shape) -> bool:
        if self.node is None:
            return other.node is None and self.members == other.members
        return self.node == other.node and self.index == other.index

    def to_json(self) -> dict[str, Any]:
        """Plain values for `from_json`: a row for each part, those it refers to before it.

        The rows are flat, however deep a canvas is, and a part that many others follow is there once.
        """
        places: dict[int, int] = {}
        rows: list[dict[str, Any]] = []
        for shape in self._parts():
            row: dict[str, Any] = {
                name: getattr(shape, name)
                for name in ("node", "index", "width")
                if getattr(shape, name) is not None
            }
            if shape.members is not None:
                row["members"] = list(_shortened(shape, places))
            if shape.parent is not None:
                row["parent"] = places[id(shape.parent)]
            places[id(shape)] = len(rows)
            rows.append(row)
        return {"shapes": rows}

    @staticmethod
    def from_json(found: Mapping[str, Any], names: Mapping[NodeId, NodeId] = MappingProxyType({})) -> Shape:
        """Read `to_json`.

        Args:
            found: What that gave.
            names: The nodes that hold the results instead of others.
        """
        made: list[Shape] = []
        for row in found["shapes"]:
            parent = made[row["parent"]] if "parent" in row else None
            members = tuple(_lengthened(row["members"], made, parent, names)) if "members" in row else None
            node = row.get("node")
            made.append(Shape(names.get(node, node), row.get("index"), row.get("width"), members, parent))
        return made[-1]

    def renamed(self, names: Mapping[NodeId, NodeId]) -> Shape:
        """The same result, held by other nodes.

        Args:
            names: The new node of each that is replaced.
        """
        return Shape.from_json(self.to_json(), names)

    def _parts(self) -> Iterator[Shape]:
        """It and all that it consists of or follows, each once, behind what it refers to."""
        seen: set[int] = set()
        stack = [self]
        while stack:
            shape = stack[-1]
            if id(shape) in seen:
                stack.pop()
                continue
            behind = [shape.parent] if shape.parent is not None else []
            behind += [member for member in shape.members or () if not _is_plain(member, shape)]
            left = [part for part in behind if id(part) not in seen]
            if left:
                stack += left
                continue
            seen.add(id(shape))
            stack.pop()
            yield shape

    def _nodes(self) -> Iterator[NodeId]:
        if self.node is not None:
            yield self.node
        for member in self.members or ():
            yield from member.nodes()


def _is_plain(member: Shape, group: Shape) -> bool:
    """Whether a member is an item that says nothing that its group does not: most of a long group are."""
    return member.index is not None and member.parent is group.parent


def _shortened(group: Shape, places: Mapping[int, int]) -> Iterator[int | list[Any]]:
    """The members as places; items in a row as ``[node, first, last + 1]``."""
    row: list[Any] | None = None
    for member in group.members or ():
        if not _is_plain(member, group):
            if row is not None:
                yield row
            row = None
            yield places[id(member)]
        elif row is not None and row[0] == member.node and row[2] == member.index:
            row[2] += 1
        else:
            if row is not None:
                yield row
            row = [member.node, member.index, cast("int", member.index) + 1]
    if row is not None:
        yield row


def _lengthened(
    members: Iterable[int | list[Any]],
    made: Sequence[Shape],
    parent: Shape | None,
    names: Mapping[NodeId, NodeId],
) -> Iterator[Shape]:
    for member in members:
        if isinstance(member, int):
            yield made[member]
        else:
            node, lo, hi = member
            node = names.get(node, node)
            yield from (Shape(node, index, parent=parent) for index in range(lo, hi))


def following(lead: Shape | None, immutable: bool) -> tuple[tuple[Any, ...], tuple[Edge, ...]]:
    """The first arguments and the edges of what follows a result.

    Args:
        lead: The result; `None` for what comes first.
        immutable: Whether what follows takes nothing of it.
    """
    if lead is None:
        return (), ()
    return () if immutable else (lead.argument(),), lead.waits()


def longer(path: str, step: str) -> str:
    """A path through a result with one more step: an index of a part, or ``p1``, the step before.

    Example:
        >>> longer("", "3"), longer("/3", "p1"), longer("/3/p1", "p1")
        ('/3', '/3/p1', '/3/p2')
    """
    head, slash, last = path.rpartition("/")
    if step == "p1" and last.startswith("p"):
        return f"{head}{slash}p{int(last[1:]) + 1}"
    return f"{path}/{step}"


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
