"""A Dask graph as the plan of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskflow.contrib.dask.blocks import Block, Tasks, blocks_of
from taskflow.contrib.dask.naming import names_of, stem_of
from taskflow.contrib.dask.recalling import signs_of
from taskflow.contrib.dask.writing import Need
from taskflow.errors import CannotPickle, GraphError
from taskflow.ids import NodeId, new_id
from taskflow.plan import Output

if TYPE_CHECKING:
    from taskflow.plan import Draft
    from taskflow.policy import Options
    from taskflow.records import NodeView

__all__ = ["GraphPlan", "sign_of"]

_SAID = {
    "retries": "retry",
    **{
        name: name
        for name in ("memory_limit", "priority", "queue", "soft_time_limit", "time_limit", "max_deliveries")
    },
}
"""Annotations that say something to us, and the options that they are."""

_NAMES_MOST = 500
"""Of a run with more nodes only those have names that are asked for: they are stored with the run."""


class GraphPlan:
    """The nodes of a graph; a client takes it as it takes a `Workflow`.

    Args:
        tasks: The graph.
        wanted: The keys that are asked for, each with the one that it has in the graph.
        name: What a person reads; by default what is asked for.
        fuse: See `blocks_of`.
        recalls: Whether nodes are known by what they do, and may be found in earlier runs.

    Attributes:
        signs: What each node that is asked for is known by; without `recalls` there are none.
        known: Nodes of earlier runs that succeeded, by what they are known by: they stand for those here.
        names: The names of the nodes that are asked for, by key.
        last: The same, each once.

    Raises:
        UnknownNode: A task needs a key that is not there.
        CycleError: Tasks wait for each other.
        GraphError: It passes values by files or connections of one process.
    """

    def __init__(
        self, tasks: Tasks, wanted: Mapping[Any, Any], name: str | None, *, fuse: bool, recalls: bool
    ) -> None:
        self._wanted = {key: tasks.target(inside) for key, inside in wanted.items()}
        self._blocks = blocks_of(tasks, list(dict.fromkeys(self._wanted.values())), fuse=fuse)
        _check_travels(self._blocks)
        self._signs = signs_of(self._blocks, tasks.read) if recalls else {}
        self.signs = {key: self._signs[target] for key, target in self._wanted.items()} if recalls else {}
        self.name = name or next(map(stem_of, wanted), "dask")
        self.known: Mapping[str, NodeId] = {}
        self._names = names_of(self._blocks)
        self.names = {key: str(self._names[target]) for key, target in self._wanted.items()}
        self.last = list(dict.fromkeys(self.names.values()))

    def compile(
        self, draft: Draft, options: Options, inputs: Mapping[str, Any] | None = None, **_: Any
    ) -> dict[str, NodeId]:
        """Draw it; see `Workflow.compile`."""
        around = options.of_run().merge(label=None, key=None, unique=None)
        base = new_id()
        ids = {
            block.key: NodeId(f"{base}/{self._signs.get(block.key, number)}")
            for number, block in enumerate(self._blocks)
        }
        ids |= {key: self.known[sign] for key, sign in self._signs.items() if sign in self.known}
        drawn = self._drawn(ids)
        for block in drawn:
            how = around.merge(**_options(block.said)) if block.said else around
            _draw(draft, block, ids, how, self._names[block.key].layer)
        told = set(self._wanted.values()).union(() if len(drawn) > _NAMES_MOST else _keys(drawn))
        return {str(self._names[key]): ids[key] for key in _keys(self._blocks) if key in told}

    def _drawn(self, ids: Mapping[Any, NodeId]) -> list[Block]:
        """The blocks that have to run: what is needed, and not known."""
        known = set(self.known.values())
        blocks = {block.key: block for block in self._blocks}
        needed: set[Any] = set()
        todo = list(self._wanted.values())
        while todo:
            key = todo.pop()
            if key not in needed and ids[key] not in known:
                needed.add(key)
                todo += blocks[key].needs
        return [block for block in self._blocks if block.key in needed]


def sign_of(node: NodeView) -> str:
    """What a node is known by that was drawn with `recalls`, also when it runs again."""
    return (node.source or node.id).rpartition("/")[2]


def _check_travels(blocks: Sequence[Block]) -> None:
    """Refuse what would work in one process only.

    Raises:
        GraphError: The graph shuffles by files of this process, or from worker to worker of a cluster.
    """
    for program in {block.program: None for block in blocks}:
        for fn in program.fixed:
            home, name = str(getattr(fn, "__module__", "")), type(fn).__name__
            if home.startswith(("distributed.shuffle", "partd")) or name == "maybe_buffered_partd":
                raise GraphError(
                    "This graph shuffles by files of this process, or by connections between workers of Dask:"
                    ' dask.config.set({"dataframe.shuffle.method": "tasks"}) before it is made and computed'
                    " lets it do so by tasks."
                )


def _draw(draft: Draft, block: Block, ids: Mapping[Any, NodeId], options: Options, label: str) -> None:
    values = [Output(ids[value.key]) if type(value) is Need else value for value in block.values]
    try:
        draft.call(
            block.program, (str(block.key), *values), None, options, node_id=ids[block.key], label=label
        )
    except CannotPickle as error:
        raise CannotPickle(f"The Dask task {block.key!r}: {error}", culprit=error.culprit) from error


def _options(said: Mapping[str, Any]) -> dict[str, Any]:
    """Annotations as options; what speaks to other schedulers says nothing here."""
    found = {_SAID[name]: value for name, value in said.items() if name in _SAID}
    if "priority" in found:
        found["priority"] = min(255, max(0, int(found["priority"])))
    return found


def _keys(blocks: Iterable[Block]) -> list[Any]:
    return [block.key for block in blocks]
