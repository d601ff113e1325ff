"""`Causes`: what failed first, told to whoever waits for something behind it."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

from taskflow.errors import StoreError, UpstreamFailed
from taskflow.ids import NodeId, RunId
from taskflow.ports import WatchPort
from taskflow.records import Failure, NodeView
from taskflow.states import TERMINAL, State

__all__ = ["Causes"]

_Place: TypeAlias = tuple[NodeId, int, int | None]
E = TypeVar("E", bound=BaseException | None)

_ROOTS_KEPT = 4096
_MOST_CHARS = 300


class Causes:
    """Words for the first failures of graphs; each is looked up once.

    Args:
        store: Is asked.
    """

    def __init__(self, store: WatchPort) -> None:
        self._store = store
        self._words: dict[_Place, str] = {}
        self._nodes: dict[NodeId, NodeView] = {}  # of the run that was asked for last

    def told(self, error: E, node: str = "") -> E:
        """The error; one that comes of a failure elsewhere names what failed first, and how.

        Its message is left as it is where that is not known any more, or cannot be read now.

        Args:
            error: Why there is no value.
            node: The node that has none: when it needed some items of the root only, one of these is named.
        """
        if isinstance(error, UpstreamFailed) and error.root:
            words = self._words_of(NodeId(error.root), NodeId(node))
            error.args = (words, *error.args[1:]) if words else error.args
        return error

    def _words_of(self, root: NodeId, node: NodeId) -> str:
        try:
            place = self._place(root, node)
            if place not in self._words:
                if len(self._words) >= _ROOTS_KEPT:
                    self._words.clear()
                self._words[place] = self._look(*place)
            return self._words[place]
        except StoreError:
            return ""

    def _place(self, root: NodeId, node: NodeId) -> _Place:
        """The items of the root that kept a node from running, by way of the nodes between them."""
        if not self._view(root).array:
            return root, 0, None
        seen: set[NodeId] = set()
        while node and node not in seen:
            seen.add(node)
            edges = self._view(node).parents
            to_root = next((edge for edge in edges if edge.parent == root), None)
            if to_root is not None:
                return root, to_root.lo, to_root.hi
            between = (edge.parent for edge in edges if self._view(edge.parent).root == root)
            node = next(between, NodeId(""))
        return root, 0, None

    def _look(self, root: NodeId, lo: int, hi: int | None) -> str:
        view = self._view(root)
        bad = (
            item
            for item in self._store.items(root)
            if item.state in TERMINAL
            and item.state is not State.SUCCEEDED
            and lo < item.hi
            and (hi is None or item.lo < hi)
        )
        item = next(bad, None)
        name = view.label or view.id
        if item is None:
            return f"{name} {view.state}"
        at = f"[{max(item.lo, lo)}]" if view.array else ""
        lines = str(Failure.from_json(item.error or "{}")).strip().splitlines()
        reason = f": {lines[0][:_MOST_CHARS]}" if lines else ""
        return f"{name}{at} {item.state}{reason}"

    def _view(self, node: NodeId) -> NodeView:
        if node not in self._nodes:
            run, _ = self._store.find(node)
            view, _ = self._store.snapshot(RunId(run))
            self._nodes = {each.id: each for each in view.nodes}
        return self._nodes[node]
