"""What is wrong with a graph, said before anything is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from taskflow.errors import CycleError, GraphError, UnknownNode, nearest
from taskflow.forms import Forms

if TYPE_CHECKING:
    import networkx as nx

    from taskflow.workflow.graph import Workflow

__all__ = ["check_acyclic", "check_call", "check_contained", "check_nodes"]


def check_nodes(graph: nx.DiGraph[str]) -> None:
    """Check that every name in the graph has its node, and every argument is a node of this graph.

    Raises:
        UnknownNode: An edge or an argument names a node that is not here.
    """
    nodes = {name: data.get("node") for name, data in graph.nodes(data=True)}
    here = {node.node_id for node in nodes.values() if node is not None}
    for name, node in nodes.items():
        if node is None:
            known = [other for other, there in nodes.items() if there is not None]
            raise UnknownNode(f"An edge names {name!r}, and there is no such node.{nearest(name, known)}")
        for parent in node.parents:
            if parent.node_id not in here:
                raise UnknownNode(f"An argument of {name!r} is the node {parent.name!r} of another workflow.")


def check_acyclic(graph: nx.DiGraph[Any]) -> None:
    """Check that no nodes wait for each other.

    Raises:
        CycleError: The message and `cycle` list them.
    """
    import networkx

    place = {node: at for at, node in enumerate(graph)}
    if all(place[one] < place[other] for one, other in graph.edges):  # as most graphs are built
        return
    if networkx.is_directed_acyclic_graph(graph):
        return
    cycle = [str(parent) for parent, *_ in networkx.find_cycle(graph)]
    raise CycleError(f"Nodes wait for each other: {' → '.join([*cycle, cycle[0]])}.", cycle=cycle)


def check_contained(workflow: Workflow, outer: Sequence[Workflow]) -> None:
    """Check that a workflow is none of those it is a step of, however deep.

    Args:
        workflow: The one that is to be a step.
        outer: The one it is a step of last, those around it before.

    Raises:
        CycleError: The message and `cycle` list their names.
    """
    path = (*outer, workflow)
    for at, around in enumerate(outer):
        if around is workflow:
            cycle = [one.name or "workflow" for one in path[at:-1]]
            text = " → ".join([*cycle, cycle[0]])
            raise CycleError(f"A workflow would be a step of itself: {text}.", cycle=cycle)
    for inner in workflow.subworkflows():
        check_contained(inner, path)


def check_call(name: str, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Check that a function takes these arguments, where it tells what it takes.

    Raises:
        GraphError: It does not, or is no function.
    """
    if not callable(fn):
        raise GraphError(f"The step {name!r} calls {fn!r}, which is no function.")
    forms = _forms_of(fn)
    refusal = forms.refusal(args, kwargs)
    if refusal is not None:
        called = getattr(fn, "__name__", type(fn).__name__)
        raise GraphError(f"The step {name!r} cannot call {called}{forms.signature}: {refusal}.")


_known: WeakKeyDictionary[Callable[..., Any], Forms] = WeakKeyDictionary()


def _forms_of(fn: Callable[..., Any]) -> Forms:
    with suppress(KeyError, TypeError):  # unhashable callables are few
        return _known[fn]
    found = Forms(fn)
    with suppress(TypeError):
        _known[fn] = found
    return found
