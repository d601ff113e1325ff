"""A canvas drawn on a `Workflow`, by the rules by which it is drawn when it is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from taskflow.canvas.applied import Applied
from taskflow.canvas.registry import resolve
from taskflow.canvas.sheet import CANVAS_OPTIONS, node_options
from taskflow.ids import NodeId
from taskflow.plan import Output
from taskflow.policy import Options
from taskflow.records import Edge, EdgeMode
from taskflow.workflow import Workflow
from taskflow.workflow.nodes import MapNode, Node, NodeItem

__all__ = ["WorkflowSheet"]


class WorkflowSheet:
    """Adds the nodes of a canvas to a workflow; ids that were fixed are left out, as each run has its own.

    Args:
        workflow: Takes them.
    """

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow
        self._nodes: dict[NodeId, Node] = {}

    def call(
        self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any],
        edges: tuple[Edge, ...],
    ) -> NodeId:  # fmt: skip
        """See `Sheet.call`."""
        fn, declared = resolve(task)
        given = tuple(self.argument(arg) if at == 0 else arg for at, arg in enumerate(args))
        name, own = self._named(fn, {**declared, **options})
        return self._insert(Node(name, fn, given, dict(kwargs), own), edges)

    def array(
        self, task: Any, items: Iterable[tuple[tuple[Any, ...], dict[str, Any]]], options: Mapping[str, Any],
        edges: tuple[Edge, ...], *, lead: tuple[Any, ...], node_id: str | None, keyed: bool,
    ) -> tuple[NodeId, int]:  # fmt: skip
        """See `Sheet.array`."""
        fn, declared = resolve(task)
        calls = list(items)
        shared = tuple(map(self.argument, lead))
        name, own = self._named(fn, {**declared, **options})
        return self._insert(MapNode(name, Applied(fn), (calls, *shared), {}, own), edges), len(calls)

    def argument(self, value: Any) -> Any:
        """What `Shape.argument` gives, made of the nodes of the workflow."""
        if isinstance(value, list):
            return [self.argument(part) for part in value]
        node = self._nodes.get(value.node_id) if isinstance(value, Output) else None
        if node is None:
            return value
        if value.index is None and value.mode is EdgeMode.ALL:
            return node
        return NodeItem(node, value.index, value.mode)

    def _insert(self, node: Node, edges: Iterable[Edge]) -> NodeId:
        self._nodes[node.node_id] = node
        self._workflow._insert(node, [self._nodes[edge.parent] for edge in edges])
        return node.node_id

    def _named(self, fn: Any, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The name of a step, and its options; what only concerns a canvas is left out."""
        node_options(options, Options())
        own = {name: value for name, value in options.items() if name not in CANVAS_OPTIONS}
        label = own.pop("label", None) or options.get("shadow")
        return self._workflow._unused(str(label or getattr(fn, "__name__", type(fn).__name__))), own
