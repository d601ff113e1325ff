"""Which run, task or item a word of the command line names: ``ID``, ``ID:INDEX`` or ``ID[INDEX]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from taskflow.errors import NoSuchRun, UsageError

if TYPE_CHECKING:
    from taskflow.ids import NodeId, RunId
    from taskflow.ports import Store
    from taskflow.records import NodeView, RunView

__all__ = ["Target", "look_up"]


class Target(NamedTuple):
    """A run; one of its nodes, when the word names one; one item, when it has an index."""

    run: RunView
    node: NodeView | None
    item: int | None

    @property
    def id(self) -> RunId | NodeId:
        """The id of the node, or else of the run."""
        return self.node.id if self.node is not None else self.run.id

    @property
    def nodes(self) -> tuple[NodeView, ...]:
        """The node that is named, or all of the run."""
        return (self.node,) if self.node is not None else self.run.nodes

    @property
    def ends(self) -> tuple[NodeView, ...]:
        """The node that is named, or those whose values are the result of the run: no other uses them."""
        used = {edge.parent for node in self.run.nodes for edge in node.parents}
        return (self.node,) if self.node is not None else tuple(n for n in self.run.nodes if n.id not in used)


def look_up(store: Store, word: str) -> Target:
    """Find what a word names; ids may be shortened to a unique prefix.

    An item is ``ID:INDEX``, or ``ID[INDEX]`` as its future says it.

    Raises:
        NoSuchRun: Nothing, or more than one thing, has that id; or the index is outside.
        UsageError: The word is no id, or an index needs to be told of which task.
    """
    name, colon, number = word.partition(":")
    if word.endswith("]") and not colon:
        name, colon, number = word.removesuffix("]").rpartition("[")
    if not name or (colon and not number.isdecimal()):
        raise UsageError(f"{word!r} is not an id: write ID, or ID:INDEX with an index from 0.")
    run_id, node_id = store.find(name)
    run, _ = store.snapshot(run_id)
    node = next((node for node in run.nodes if node.id == node_id), None)
    if not colon:
        return Target(run, node, None)
    if node is None and len(run.nodes) != 1:
        raise UsageError(
            f"Run {name} has {len(run.nodes)} tasks, and an index is that of an item of one of them:"
            f" `taskflow show {name}` lists their ids."
        )
    node = node or run.nodes[0]
    width = node.width or 0
    if int(number) >= width:
        last = f"items 0 to {width - 1}" if width else "no items"
        raise NoSuchRun(f"{name} has {last}, there is no {number}.")
    return Target(run, node, int(number))
