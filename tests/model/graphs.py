"""Graphs of many shapes, by networkx."""

from __future__ import annotations

import random

import networkx as nx

__all__ = ["GRAPHS", "parents_of"]


def parents_of(graph: nx.Graph) -> list[list[int]]:
    """The predecessors of each node: neighbours with smaller numbers."""
    return [
        sorted(other for other in nx.all_neighbors(graph, node) if other < node) for node in sorted(graph)
    ]


def gnp(size: int, seed: int) -> nx.Graph:
    return nx.gnp_random_graph(size, 0.3, seed=seed)


def growing(size: int, seed: int) -> nx.Graph:
    return nx.gn_graph(size, seed=seed)


def tree(size: int, seed: int) -> nx.Graph:
    return nx.random_labeled_tree(size, seed=seed)


def layers(size: int, seed: int) -> nx.Graph:
    """Layers, each behind some of the one before."""
    chance = random.Random(seed)
    found = nx.Graph()
    found.add_nodes_from(range(size))
    width = chance.choice([1, 2, 3])
    for node in range(width, size):
        first = node // width * width - width
        found.add_edges_from((first + n, node) for n in range(width) if chance.random() < 0.7)
    return found


def diamonds(size: int, _: int) -> nx.Graph:
    """One, two, one, two, one."""
    return nx.Graph([(n, m) for n in range(0, size, 3) for m in (n + 1, n + 2)] + [
        (m, n + 3) for n in range(0, size, 3) for m in (n + 1, n + 2)
    ])  # fmt: skip


GRAPHS = (gnp, growing, tree, layers, diamonds)
