"""Where a canvas is drawn: on a draft, or dry, to learn its ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from taskflow.canvas.applied import Applied
from taskflow.canvas.arity import Arities
from taskflow.canvas.calling import DIFFERENT, HEADERS, OF_MESSAGES, ours, told_of
from taskflow.canvas.registry import resolve
from taskflow.errors import ConfigError
from taskflow.ids import NodeId, new_id
from taskflow.policy import Options
from taskflow.records import Edge

if TYPE_CHECKING:
    from taskflow.plan import Draft

__all__ = ["DraftSheet", "DrySheet", "Sheet", "node_options"]

CANVAS_OPTIONS = frozenset(
    {"task_id", "link", "link_error", "shadow", "group_id", "group_index", "chord", "typing"}
) | frozenset(OF_MESSAGES)


class Sheet(Protocol):
    """Takes the nodes of a canvas."""

    def call(
        self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any],
        edges: tuple[Edge, ...],
    ) -> NodeId:  # fmt: skip
        """Draw one call."""
        ...

    def array(
        self, task: Any, items: Iterable[tuple[tuple[Any, ...], dict[str, Any]]], options: Mapping[str, Any],
        edges: tuple[Edge, ...], *, lead: tuple[Any, ...], node_id: str | None, keyed: bool,
    ) -> tuple[NodeId, int]:  # fmt: skip
        """Draw calls of one function as an array node.

        Args:
            task: What is called.
            items: The arguments of each call, positional and keyword.
            options: What they share.
            edges: What the node waits for.
            lead: Goes before the positional arguments of each call.
            node_id: The id of the node, when it is fixed.
            keyed: Whether any item has keyword arguments.
        """
        ...


class DraftSheet:
    """Draws on a draft.

    Args:
        draft: Takes the nodes.
        options: What every node starts from; the task, the canvas and the signature say more.
    """

    def __init__(self, draft: Draft, options: Options) -> None:
        self._draft = draft
        self._base = options.merge(label=None, key=None)
        self._made: dict[tuple[Any, ...], Options] = {}
        self._arities = Arities()

    def call(
        self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any],
        edges: tuple[Edge, ...],
    ) -> NodeId:  # fmt: skip
        """Draw one call."""
        fn, declared = resolve(task)
        options = {**declared, **options}
        own = options.get("task_id")
        merged = self._options(options)
        if options.get("typing", True):
            self._arities.of(fn).check(args, kwargs)
        told = _told_to(fn, options)
        if told:
            kwargs = {**kwargs, HEADERS: told}
        return self._draft.call(fn, args, kwargs, merged, node_id=own and NodeId(own), edges=edges)

    def array(
        self, task: Any, items: Iterable[tuple[tuple[Any, ...], dict[str, Any]]], options: Mapping[str, Any],
        edges: tuple[Edge, ...], *, lead: tuple[Any, ...], node_id: str | None, keyed: bool,
    ) -> tuple[NodeId, int]:  # fmt: skip
        """Draw calls of one function as an array node; bare argument tuples where those say all."""
        fn, declared = resolve(task)
        options = {**declared, **options}
        merged = self._options(options)
        if options.get("typing", True):
            items = self._arities.of(fn).checked(items, lead)
        own = NodeId(node_id) if node_id else None
        told = _told_to(fn, options)
        if told:
            items, keyed = ((args, {**kwargs, HEADERS: told}) for args, kwargs in items), True
        if not lead and not keyed:
            plain = (args for args, _ in items)
            return self._draft.array(fn, plain, merged, star=True, node_id=own, edges=edges)
        label = merged.label or self._draft.codec.describe(fn)
        return self._draft.array(Applied(fn), items, merged, args=lead, node_id=own, edges=edges, label=label)

    def _options(self, changes: dict[str, Any]) -> Options:
        """The options of a node; the thousands of one canvas share a few objects."""
        known = tuple(item for item in changes.items() if item[0] != "task_id")
        try:
            return self._made.get(known) or self._made.setdefault(known, node_options(changes, self._base))
        except TypeError:  # an option that cannot be hashed, such as tags
            return node_options(changes, self._base)


class DrySheet:
    """Draws nothing: answers with the ids that were fixed."""

    def call(
        self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any],
        edges: tuple[Edge, ...],
    ) -> NodeId:  # fmt: skip
        """The id of the call."""
        return NodeId(options.get("task_id") or new_id())

    def array(
        self, task: Any, items: Iterable[tuple[tuple[Any, ...], dict[str, Any]]], options: Mapping[str, Any],
        edges: tuple[Edge, ...], *, lead: tuple[Any, ...], node_id: str | None, keyed: bool,
    ) -> tuple[NodeId, int]:  # fmt: skip
        """The id of the array node, and its width."""
        return NodeId(node_id or new_id()), sum(1 for _ in items)


def node_options(options: Mapping[str, Any], base: Options) -> Options:
    """The options of a signature as those of its node; what only concerns the canvas is left out.

    Raises:
        ConfigError: There is no such option, or its value is impossible.
    """
    changes = {name: value for name, value in options.items() if name not in CANVAS_OPTIONS}
    if changes.keys() & DIFFERENT:
        changes = ours(changes)
    if changes.get("memo"):
        raise ConfigError(
            "memo= is for client.options(memo=True).submit and .map, and for workflows: Workflow(memo=True)."
        )
    if "shadow" in options:
        changes.setdefault("label", options["shadow"])
    return base.merge(**changes) if changes else base


def _told_to(fn: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """What travels with the calls of a function: only a task of an application asks for it."""
    return told_of(options) if getattr(fn, "takes_headers", False) else {}
