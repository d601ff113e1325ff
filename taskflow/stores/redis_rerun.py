"""A large run again, a piece at a time: the server would be busy for too long with all of it.

So what is cloned is found out here. The run has ended, and nothing of it changes meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from taskflow.ids import NodeId, RunId
from taskflow.machine.rerunning import edges_kept, to_rerun
from taskflow.machine.rows import NodeRow
from taskflow.records import Edge

__all__ = ["Copy"]


class Copy:
    """What is cloned of a run.

    Args:
        nodes: Those of the run, in order.
        parents: All edges of each.
        children: Gives those whom the end of a node released.
        new: The run that will have the clones.

    Attributes:
        names: Of the clones, by their nodes, in order.
    """

    def __init__(
        self,
        nodes: Sequence[NodeRow],
        parents: Mapping[NodeId, Sequence[Edge]],
        children: Callable[[NodeId], Collection[NodeId]],
        new: RunId,
    ) -> None:
        again = to_rerun(parents.__getitem__, nodes)
        self._parents = parents
        self.names = {
            node.id: NodeId(f"{new}.{number}") for number, node in enumerate(nodes) if node.id in again
        }
        cloned = [node for node in nodes if node.id in again]
        self._kept = edges_kept(parents.__getitem__, children, cloned)

    def pieces(self, size: int) -> Iterator[list[list[tuple[str, str]]]]:
        """Of up to `size` nodes each: nodes and clones; the same of whom they wait for; edges that stay."""
        nodes = list(self.names)
        for at in range(0, len(nodes), size):
            some = nodes[at : at + size]
            before = dict.fromkeys(edge.parent for node in some for edge in self._parents[node])
            yield [
                [(node, self.names[node]) for node in some],
                [(node, self.names[node]) for node in before if node in self.names],
                [
                    (node, edge.parent)
                    for node in some
                    for edge in self._parents[node]
                    if self._stays(node, edge)
                ],
            ]

    def _stays(self, node: NodeId, edge: Edge) -> bool:
        return (node, edge.parent) in self._kept
