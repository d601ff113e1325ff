"""A workflow laid flat: its steps and those of workflows inside it, by the names they have in a run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

from taskflow.errors import ConfigError, GraphError, UnknownNode, nearest
from taskflow.ids import NodeId
from taskflow.policy import Options
from taskflow.records import Edge
from taskflow.workflow.nodes import NOT_GIVEN, InputNode, Node, SubNode, given, nodes_in

if TYPE_CHECKING:
    from taskflow.plan import Draft
    from taskflow.workflow.graph import Workflow

__all__ = ["Layout", "Step", "in_order", "values_of"]

Scope = dict[NodeId, str]
"""Which step stands for a node, by the id that the node has in its workflow."""


@dataclass(eq=False, slots=True)
class Step:
    """One step of a run.

    Args:
        name: Its name in the run.
        node: What it is.
        options: How it is treated.
        waits: The steps before it.
        scope: What its arguments stand for.
        memo: Whether its result is remembered.
        value: What an input was given.
    """

    name: str
    node: Node
    options: Options
    waits: tuple[str, ...]
    scope: Scope
    memo: bool
    value: Any = NOT_GIVEN

    def draw(self, draft: Draft, node_id: NodeId, edges: Iterable[Edge]) -> None:
        """Draw it on a draft, under this id and with its name as label."""
        if self.value is not NOT_GIVEN:
            draft.call(
                given, (self.value,), None, self.options, node_id=node_id, edges=edges, label=self.name
            )
        else:
            self.node.draw(draft, node_id, self.options, edges, self.name)


@dataclass(slots=True)
class Layout:
    """The steps of a workflow.

    Attributes:
        steps: By name, in the order in which they were added.
        aliases: Further names, and the steps they stand for: a workflow inside is its last step.
    """

    steps: dict[str, Step] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, workflow: Workflow, options: Options, inputs: Mapping[str, Any], memo: bool | None) -> Layout:
        """Lay a workflow flat.

        Args:
            workflow: It must be valid.
            options: What every step starts from.
            inputs: Values of its inputs, by name.
            memo: Whether steps that say nothing of it are remembered, as the workflow says by default;
                with `False` none is.
        """
        made = cls()
        base = options.of_run().merge(**workflow.options, label=None, key=None)
        made._spread(workflow, _Place(base, workflow.memo if memo is None else memo, inputs))
        if memo is False:
            for step in made.steps.values():
                step.memo = False
        return made

    def only(self, names: Collection[str]) -> dict[str, Step]:
        """The named steps and all they need.

        Raises:
            UnknownNode: There is no step of that name.
        """
        needed: set[str] = set()
        todo = [self._resolved(name) for name in names]
        while todo:
            name = todo.pop()
            if name not in needed:
                needed.add(name)
                todo += self.steps[name].waits
        return {name: step for name, step in self.steps.items() if name in needed}

    def names(self, ids: Mapping[str, NodeId]) -> dict[str, NodeId]:
        """The ids of steps, also under their further names; of a part that has no steps there are none."""
        parts = {name.rpartition("/")[0] for name in ids} | {""}
        further = {
            name: ids[step]
            for name, step in self.aliases.items()
            if step in ids and (name.rpartition("/")[0] in parts or step.startswith(f"{name}/"))
        }
        return dict(ids) | further

    def _resolved(self, name: str) -> str:
        name = self.aliases.get(name, name)
        if name not in self.steps:
            raise UnknownNode(f"There is no node {name!r}.{nearest(name, [*self.steps, *self.aliases])}")
        return name

    def _spread(self, workflow: Workflow, place: _Place) -> None:
        """Add the steps of a workflow."""
        nodes, inputs = workflow.nodes, values_of(workflow, place.inputs)
        graph = workflow.graph
        stands = {
            name: self._stands(place.prefix + name, node, inputs.get(name), place.scope)
            for name, node in nodes.items()
        }
        scope = {node.node_id: stands[name] for name, node in nodes.items()}
        own = {name for name in nodes if not isinstance(inputs.get(name), Node)}
        for name, node in nodes.items():
            full = place.prefix + name
            if stands[name] != full:
                self.aliases[full] = stands[name]
            before = list(graph.predecessors(name))
            given = (scope[parent.node_id] for parent in node.parents)
            waits = tuple(dict.fromkeys((*(stands[other] for other in before), *given)))
            if isinstance(node, SubNode):
                after = [stands[o] for o in before if not graph.edges[o, name].get("gives_value")]
                self._spread(node.fn, place.inside(node, full, scope, (*after, *place.roots)))
                if stands[name] != full:
                    continue
                last = (f"{full}/{one}" for one in node.fn.last)
                waits = tuple(self.aliases.get(one, one) for one in last)
            elif name not in own:
                continue
            elif place.roots and (own.isdisjoint(before) or node.kind == "join"):
                waits += place.roots  # a join runs although what is before it is skipped
            self._add(node, place, full, waits, scope, inputs.get(name))

    def _add(
        self, node: Node, place: _Place, full: str, waits: tuple[str, ...], scope: Scope, value: Any
    ) -> None:
        if full in self.steps:
            raise GraphError(f"Two steps would be called {full!r} in the run: choose other names.")
        options = place.options.merge(**node.options) if node.options else place.options
        memo = place.memo if node.memo is None else node.memo
        step = self.steps[full] = Step(full, node, options, waits, scope, memo)
        if isinstance(node, InputNode):
            step.value, step.scope = value, place.scope
            step.waits += tuple(place.scope[parent.node_id] for parent in nodes_in(value))
        elif isinstance(node, SubNode):
            step.scope = {node.fn[last].node_id: one for last, one in zip(node.fn.last, waits, strict=True)}

    def _stands(self, full: str, node: Node, value: Any, outer: Scope) -> str:
        """The name of the step whose result a node has."""
        if isinstance(node, InputNode) and isinstance(value, Node):
            if value.node_id not in outer:
                raise UnknownNode(f"The input {full!r} is the node {value.name!r} of another workflow.")
            return outer[value.node_id]
        if isinstance(node, SubNode) and len(node.fn.last) == 1:
            last = node.fn.last[0]
            return self._stands(f"{full}/{last}", node.fn[last], None, outer)
        return full


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a workflow is spread: `roots` is what its first steps wait for."""

    options: Options
    memo: bool
    inputs: Mapping[str, Any]
    prefix: str = ""
    scope: Scope = field(default_factory=dict)
    roots: tuple[str, ...] = ()

    def inside(self, node: SubNode, full: str, scope: Scope, roots: tuple[str, ...]) -> _Place:
        """The place of a workflow inside this one."""
        inner: Workflow = node.fn
        # What happens to the rest of the run when a step fails is a rule of the run, not of a part of it.
        own = {name: value for name, value in inner.options.items() if name != "on_failure"}
        memo = (inner.memo or self.memo) if node.memo is None else node.memo
        options = self.options.merge(**{**own, **node.options})
        return _Place(options, memo, node.kwargs, f"{full}/", scope, roots)


def in_order(steps: Mapping[str, Step]) -> Iterable[Step]:
    """Steps in an order in which each comes after what it waits for."""
    order = TopologicalSorter({name: step.waits for name, step in steps.items()}).static_order()
    return (steps[name] for name in order)


def values_of(workflow: Workflow, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The value of each input of a workflow, as given or by default.

    Raises:
        ConfigError: There is no input of that name.
    """
    values = {name: node.default for name, node in workflow.nodes.items() if isinstance(node, InputNode)}
    for name in inputs:
        if name not in values:
            raise ConfigError(f"The workflow has no input {name!r}.{nearest(name, values)}")
    return {**values, **inputs}
