"""`Lookup`: what a store knows of nodes, asked many times while something is compiled."""

from __future__ import annotations

from collections.abc import Iterable

from taskflow.errors import NoSuchRun, ResultExpired
from taskflow.ids import NodeId, RunId
from taskflow.ports import Store
from taskflow.records import Edge, EdgeMode, Node, NodeView, RunView
from taskflow.states import State

__all__ = ["Lookup"]


class Lookup:
    """Reads each run once, so it tells of the moment at which it was first asked.

    Args:
        store: Is asked.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._runs: dict[RunId, RunView] = {}
        self._nodes: dict[NodeId, NodeView] = {}

    def run(self, run: RunId) -> RunView | None:
        """A run with its nodes, or `None` when there is none of that id (any more)."""
        if run not in self._runs:
            try:
                view, _ = self._store.snapshot(run)
            except (NoSuchRun, ResultExpired):
                return None
            self._runs[run] = view
            self._nodes |= {node.id: node for node in view.nodes}
        return self._runs[run]

    def view(self, node: NodeId, /) -> NodeView | None:
        """A node as it stands, or `None` when there is none of that id (any more)."""
        if node not in self._nodes:
            try:
                self.run(self._store.find(node)[0])
            except (NoSuchRun, ResultExpired):
                return None
        return self._nodes.get(node)  # `find` also takes the beginning of an id

    def line(self, run: RunView, /) -> dict[NodeId, NodeView]:
        """The nodes of a run, and those that it kept of the runs it runs again: each by the id of its first.

        A run that was forgotten ends the line.
        """
        found: dict[NodeId, NodeView] = {}
        older: RunView | None = run
        while older is not None:
            for node in older.nodes:
                found.setdefault(node.source or node.id, node)
            older = self.run(RunId(older.meta["rerun_of"])) if "rerun_of" in older.meta else None
        return found

    def holds(self, node: Node, /) -> bool:
        """Whether the node of that id succeeded, and called the same with the same."""
        view = self.view(node.id)
        if view is None or view.state is not State.SUCCEEDED or view.fn != node.fn:
            return False
        call = self._store.call(node.id)
        inputs = tuple(edge for edge in node.edges if edge.mode.gives_value)
        return (
            call.args == node.args
            and call.inputs == inputs
            and _parents(_drawn(view.parents, node)) == _parents(node.edges)
            and (node.width is None or (view.width == node.width and self._holds_pages(node)))
        )

    def _holds_pages(self, node: Node) -> bool:
        return not node.pages or self._store.pages(node.id, 0, node.width or 0) == list(node.pages)


def _drawn(edges: Iterable[Edge], node: Node) -> list[Edge]:
    """The edges that a node had when it was drawn, without those to what took its place, or that of items."""
    drawn = _parents(node.edges)
    return [edge for edge in edges if edge.parent in drawn or edge.mode not in _REPLACED]


_REPLACED = (EdgeMode.ENDED, EdgeMode.ITEM)


def _parents(edges: Iterable[Edge]) -> set[NodeId]:
    return {edge.parent for edge in edges}
