"""`Causes`: what failed first, told to whoever waits for something behind it."""

from __future__ import annotations

from typing import TypeVar

from taskflow.errors import StoreError, UpstreamFailed
from taskflow.ids import NodeId, RunId
from taskflow.ports import WatchPort
from taskflow.records import Failure, NodeView
from taskflow.states import TERMINAL, State

__all__ = ["Causes"]

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
        self._words: dict[str, str] = {}
        self._nodes: dict[NodeId, NodeView] = {}  # of the run that was asked for last

    def told(self, error: E) -> E:
        """The error; one that comes of a failure elsewhere names what failed first, and how.

        Its message is left as it is where that is not known any more, or cannot be read now.
        """
        if isinstance(error, UpstreamFailed) and error.root:
            words = self._words_of(NodeId(error.root))
            error.args = (words, *error.args[1:]) if words else error.args
        return error

    def _words_of(self, root: NodeId) -> str:
        if root not in self._words:
            if len(self._words) >= _ROOTS_KEPT:
                self._words.clear()
            try:
                self._words[root] = self._look(root)
            except StoreError:
                return ""
        return self._words[root]

    def _look(self, root: NodeId) -> str:
        view = self._view(root)
        bad = (i for i in self._store.items(root) if i.state in TERMINAL and i.state is not State.SUCCEEDED)
        item = next(bad, None)
        name = view.label or view.id
        if item is None:
            return f"{name} {view.state}"
        at = f"[{item.lo}]" if view.array else ""
        lines = str(Failure.from_json(item.error or "{}")).strip().splitlines()
        reason = f": {lines[0][:_MOST_CHARS]}" if lines else ""
        return f"{name}{at} {item.state}{reason}"

    def _view(self, node: NodeId) -> NodeView:
        if node not in self._nodes:
            run, _ = self._store.find(node)
            view, _ = self._store.snapshot(RunId(run))
            self._nodes = {each.id: each for each in view.nodes}
        return self._nodes[node]
