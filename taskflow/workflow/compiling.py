"""Steps to nodes of a plan, apart from those whose results are there already.

Two ways lead to a result of an earlier run. A *resumed* run names the nodes it has: a step is drawn under
the id of its namesake, and when the store holds the very same call under that id, it need not run. A step
with a *memo* has an id made of what it calls, ``memo-<digest>-<n>``, so that whoever draws it finds it, in
whatever process: of the fingerprint of its function and of what its arguments hold. `n` counts on where an
earlier one failed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from taskflow.codec.fingerprint import digest, fingerprint
from taskflow.errors import CannotPickle, GraphError, UsageError
from taskflow.garbage import uncollected
from taskflow.ids import NodeId, new_id
from taskflow.plan import EXPAND_FN_KWARG
from taskflow.records import Edge, EdgeMode, Node, NodeView
from taskflow.states import TERMINAL, State
from taskflow.workflow.nodes import InputNode
from taskflow.workflow.steps import Step, in_order

if TYPE_CHECKING:
    from taskflow.plan import Draft

__all__ = ["MEMO", "Compiler", "Known"]

MEMO = "memo-"
"""What the ids of remembered steps begin with."""

_TRIAL = NodeId("memo")


class Known(Protocol):
    """What a store knows, as far as a workflow asks."""

    def view(self, node: NodeId, /) -> NodeView | None:
        """A node as it stands, or `None` when there is none of that id (any more)."""
        ...

    def holds(self, node: Node, /) -> bool:
        """Whether the node of that id succeeded, and called the same with the same."""
        ...


class Compiler:
    """Draws steps on a draft.

    Args:
        steps: By name.
        draft: Takes the nodes.
        known: What the store knows; without it every step is drawn.
        resumed: The nodes of an earlier run, by name.
    """

    def __init__(
        self, steps: Mapping[str, Step], draft: Draft, known: Known | None, resumed: Mapping[str, NodeId]
    ) -> None:
        self._steps = steps
        self._draft = draft
        self._known = known
        self._resumed = resumed
        self._remembers = any(step.memo for step in steps.values())
        self._ids: dict[str, NodeId] = {}
        self._drawn: set[NodeId] = set()
        self._keys: dict[NodeId, str] = {}
        self._prints: dict[str, str] = {}
        self._by_key: dict[str, NodeId] = {}
        self._live: list[NodeId] = []
        self._aliases: dict[int, Mapping[NodeId, NodeId]] = {}

    def run(self) -> dict[str, NodeId]:
        """Draw them; gives the id of each."""
        with uncollected():
            return self._run()

    def _run(self) -> dict[str, NodeId]:
        known = self._known
        if known is None or not (self._remembers or self._resumed):
            self._ids = {name: NodeId(new_id()) for name in self._steps}
            for name, step in self._steps.items():
                self._draw(step, self._ids[name])
            return self._ids
        for step in in_order(self._steps):
            self._place(step, known)
        self._wait_for_others()
        return {name: self._ids[name] for name in self._steps}

    # ── drawing ──────────────────────────────────────────────────────────────────────

    def _draw(self, step: Step, node_id: NodeId) -> None:
        edges = [Edge(self._ids[parent], EdgeMode.AFTER) for parent in step.waits]
        self._draft.alias = self._alias(step.scope)
        try:
            step.draw(self._draft, node_id, edges)
        except CannotPickle as error:
            raise CannotPickle(f"The step {step.name!r}: {error}", culprit=error.culprit) from error

    def _alias(self, scope: Mapping[NodeId, str]) -> Mapping[NodeId, NodeId]:
        """What the nodes of a scope stand for, which many steps share; a plain dict where all have ids."""
        alias = self._aliases.get(id(scope))
        if alias is None:
            ids = self._ids
            if len(ids) == len(self._steps) and all(name in ids for name in scope.values()):
                alias = {node: ids[name] for node, name in scope.items()}
            else:
                alias = _Alias(scope, ids)
            self._aliases[id(scope)] = alias
        return alias

    def _new(self, step: Step, node_id: NodeId) -> NodeId:
        self._draw(step, node_id)
        self._drawn.add(node_id)
        return node_id

    def _trial(self, step: Step, node_id: NodeId) -> list[Node]:
        """The nodes of a step, taken off the draft again."""
        mark = len(self._draft.nodes)
        self._draw(step, node_id)
        nodes = self._draft.nodes[mark:]
        del self._draft.nodes[mark:]
        return nodes

    # ── what is there already ────────────────────────────────────────────────────────

    def _place(self, step: Step, known: Known) -> None:
        key = self._key(step)
        if step.memo and key is not None:
            node_id = self._remembered(step, key, known)
        else:
            node_id = self._resumable(step, known)
        self._ids[step.name] = node_id
        if key is not None:
            self._keys[node_id] = key

    def _key(self, step: Step) -> str | None:
        """What a step calls, and with what, as a digest; `None` when that is new in each run."""
        if not step.memo and not (self._remembers and isinstance(step.node, InputNode)):
            return None
        parents = (self._ids[parent] for parent in step.waits)
        if any(parent in self._drawn and parent not in self._keys for parent in parents):
            return None
        try:
            return self._digest(self._trial(step, _TRIAL))
        except UsageError as error:
            raise UsageError(f"The step {step.name!r}: {error}") from error

    def _digest(self, nodes: Iterable[Node]) -> str:
        """What nodes call and with what; predecessors count as what they call in their turn."""
        found = hashlib.blake2b(digest_size=20)
        for node in nodes:
            before = [
                (self._keys.get(edge.parent, edge.parent), str(edge.mode), edge[2:]) for edge in node.edges
            ]
            policy = (node.policy.seed, node.policy.ignore_result)
            told = (self._print(node.fn), self._given(node), node.array, node.width, policy, before)
            found.update(repr(told).encode())
        return found.hexdigest()

    def _print(self, fn: str) -> str:
        if fn not in self._prints:
            self._prints[fn] = fingerprint(self._draft.functions[fn])
        return self._prints[fn]

    def _given(self, node: Node) -> list[str]:
        """What a node is given, as a worker would read it: an input counts by its place."""
        codec = self._draft.codec
        args, kwargs = codec.load_args(node.fn, node.args, _Input)
        if EXPAND_FN_KWARG in kwargs:
            kwargs[EXPAND_FN_KWARG] = self._print(kwargs[EXPAND_FN_KWARG])
        pages = (codec.load_items(node.fn, page.lo, page.items) for page in node.pages)
        return [digest((args, kwargs)), *(digest(items) for items in pages)]

    def _remembered(self, step: Step, key: str, known: Known) -> NodeId:
        """The node with that key, if one succeeded or still may; else a new one for others to find."""
        if key in self._by_key:
            return self._by_key[key]
        for n in count():
            node_id = NodeId(f"{MEMO}{key}-{n}")
            view = known.view(node_id)
            if view is None:
                self._new(step, node_id)
                break
            if view.state not in TERMINAL:
                self._live.append(node_id)
            if view.state not in TERMINAL or view.state is State.SUCCEEDED:
                self._take(self._trial(step, node_id))
                break
        self._by_key[key] = node_id
        return node_id

    def _resumable(self, step: Step, known: Known) -> NodeId:
        """The node of the resumed run, if it still stands for the step; else a new one."""
        old = self._resumed.get(step.name)
        if old is not None and self._drawn.isdisjoint(self._ids[parent] for parent in step.waits):
            nodes = self._trial(step, old)
            if all(known.holds(node) for node in nodes):
                self._take(nodes)
                return old
        return self._new(step, NodeId(new_id()))

    def _take(self, nodes: Iterable[Node]) -> None:
        """Let others be drawn behind nodes that are there already, as if they were drawn here."""
        self._draft.taken.update((node.id, node) for node in nodes)

    def _wait_for_others(self) -> None:
        """Have the run end after the steps that another run is working on."""
        if self._live:
            edges = [Edge(node_id, EdgeMode.ENDED) for node_id in self._live]
            wait = NodeId(f"{new_id()}/wait")
            self._draft.call(_nothing, node_id=wait, edges=edges, label="steps of other runs")


class _Alias(Mapping[NodeId, NodeId]):
    """What the nodes of a workflow stand for in the draft: known only as its steps are drawn."""

    __slots__ = ("_ids", "_scope")

    def __init__(self, scope: Mapping[NodeId, str], ids: Mapping[str, NodeId]) -> None:
        self._scope = scope
        self._ids = ids

    def __getitem__(self, node: NodeId) -> NodeId:
        return self._ids[self._scope[node]]

    def __contains__(self, node: object) -> bool:
        return node in self._scope

    def get(self, node: NodeId, default: Any = None) -> Any:
        name = self._scope.get(node)  # most are asked for in vain: an exception each would be dear
        if name is None:
            return default
        if name not in self._ids:
            raise GraphError(f"{name!r} became an argument after the step was added: give it to `add`.")
        return self._ids[name]

    def __iter__(self) -> Iterator[NodeId]:
        return iter(self._scope)

    def __len__(self) -> int:
        return len(self._scope)


class _Input(NamedTuple):
    """Stands for the value of a predecessor among arguments that are compared."""

    position: int
    item: int | None


def _nothing() -> None:
    pass
