"""What is wrong with a graph, said before anything is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow.errors import CycleError, UnknownNode, nearest

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["check_acyclic", "check_nodes"]


def check_nodes(graph: nx.DiGraph[str]) -> None:
    """Check that every name in the graph has its node, and every argument is a node of this graph.

    Raises:
        UnknownNode: An edge or an argument names a node that is not here.
    """
    nodes = {name: data.get("node") for name, data in graph.nodes(data=True)}
    for name, node in nodes.items():
        if node is None:
            known = [other for other, there in nodes.items() if there is not None]
            raise UnknownNode(f"An edge names {name!r}, and there is no such node.{nearest(name, known)}")
        for parent in node.parents:
            if nodes.get(parent.name) is not parent:
                raise UnknownNode(f"An argument of {name!r} is the node {parent.name!r} of another workflow.")


def check_acyclic(graph: nx.DiGraph[Any]) -> None:
    """Check that no nodes wait for each other.

    Raises:
        CycleError: The message and `cycle` list them.
    """
    import networkx

    if networkx.is_directed_acyclic_graph(graph):
        return
    cycle = [str(parent) for parent, *_ in networkx.find_cycle(graph)]
    raise CycleError(f"Nodes wait for each other: {' → '.join([*cycle, cycle[0]])}.", cycle=cycle)
