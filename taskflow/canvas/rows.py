"""Rows of a group: calls of one function, side by side, which become one array node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain as concat
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from taskflow.canvas.shape import Shape, following, split_id
from taskflow.canvas.stamping import as_tags
from taskflow.codec import Reference

if TYPE_CHECKING:
    from taskflow.canvas.sheet import Sheet
    from taskflow.canvas.signatures import Signature

__all__ = ["Kind", "draw_row", "in_rows"]

Member = tuple["Signature", Mapping[str, Any]]
"""A member of a group, and the options it inherits."""


class Kind:
    """What calls must have in common to be items of one array node.

    Args:
        sig: A member of a group.
        inherited: Options of the canvas around it.

    Attributes:
        single: It cannot share a node.
        node: The id of the node, where that is fixed.
    """

    __slots__ = ("immutable", "keyed", "node", "options", "single", "task")

    def __init__(self, sig: Signature, inherited: Mapping[str, Any]) -> None:
        own = sig.options.get("task_id")
        node, index = split_id(own) if own else (None, None)
        linked = "link" in sig.options or "link_error" in sig.options
        self.task, args, kwargs = sig._as_call()
        self.single = not sig._is_call or linked or (bool(own) and index is None)
        self.single = self.single or _refers((*args, *kwargs.values()))
        self.immutable = sig["immutable"]
        self.keyed = bool(kwargs)
        self.node = node if index is not None else None
        self.options = {**inherited, **sig.options} if sig.options else inherited
        if own:
            self.options = {k: v for k, v in self.options.items() if k != "task_id"}
        self.options = as_tags(self.options)

    @classmethod
    def of(cls, member: Member) -> Kind:
        """The kind of a member."""
        return cls(*member)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Kind)
            and not (self.single or other.single)
            and self.task == other.task
            and self.immutable == other.immutable
            and self.keyed == other.keyed
            and self.node == other.node
            and self.options == other.options
        )

    __hash__ = None  # type: ignore[assignment]


def in_rows(members: Iterable[Member]) -> Iterator[tuple[Kind | None, Iterator[Member]]]:
    """The members of a group as they come; `None` instead of their kind, where each is a node of its own.

    Args:
        members: Read once, as far as the rows are.
    """
    for kind, run in groupby(members, key=Kind.of):
        several, row = _is_several(run)
        yield kind if several and not kind.single else None, row


def draw_row(sheet: Sheet, lead: Shape | None, kind: Kind, members: Iterable[Member]) -> Shape:
    """Draw members of one kind as an array node.

    Args:
        sheet: Takes it.
        lead: The result it follows.
        kind: What the members have in common.
        members: Read once.
    """
    items = (sig._as_call()[1:] for sig, _ in members)
    first, edges = following(lead, kind.immutable)
    node, width = sheet.array(
        kind.task, items, kind.options, edges, lead=first, node_id=kind.node, keyed=kind.keyed
    )
    return Shape(node, width=width, parent=lead)


def _is_several(run: Iterator[Member]) -> tuple[bool, Iterator[Member]]:
    """Whether more than one comes, and all that come."""
    head = list(islice(run, 2))
    return len(head) > 1, concat(head, run)


def _refers(values: Iterable[Any]) -> bool:
    """Whether a reference is among the values, or in a short list or dict among them."""
    for value in values:
        if isinstance(value, Reference):
            return True
        inner = value.values() if type(value) is dict else value if type(value) in (list, tuple, set) else ()
        if 0 < len(inner) <= 64 and _refers(inner):
            return True
    return False
