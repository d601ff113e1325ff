"""Steps that run only if: gates, which skip by choice what follows them, and the place where branches join.

::

    cond ──► gate ┄┄► then ──────┐          a gate whose condition does not hold raises `Skip`:
       └───► gate ┄┄► otherwise ─┴─► join   it is skipped, so is what follows it, and nobody minds
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taskflow.errors import GraphError, Skip, TaskSkipped
from taskflow.ids import NodeId
from taskflow.policy import Options
from taskflow.records import Edge, EdgeMode
from taskflow.workflow.checks import check_call
from taskflow.workflow.nodes import InputNode, Node, NodeItem

if TYPE_CHECKING:
    import networkx as nx

    from taskflow.plan import Draft

__all__ = ["GateNode", "JoinNode", "branch_of"]


class GateNode(Node):
    """A condition: what follows it runs when it holds, and is skipped by choice when it does not."""

    kind = "gate"

    def check(self) -> None:
        """See `Node.check`: the condition takes the arguments of the step."""
        if self.fn.condition is not None:
            check_call(self.name, self.fn.condition, self.args, self.kwargs)


class JoinNode(Node):
    """The value of the branch that was taken; `None` when none was."""

    kind = "join"

    def check(self) -> None:
        """See `Node.check`: it calls nothing of the user's."""

    def draw(
        self, draft: Draft, node_id: NodeId, options: Options, edges: Iterable[Edge], label: str
    ) -> None:
        """See `Node.draw`: branches that were skipped by choice are no hindrance."""
        branches = [NodeItem(branch, mode=EdgeMode.TAKEN) for branch in self.args]
        draft.call(taken, (branches,), None, options, node_id=node_id, edges=edges, label=label)


@dataclass(frozen=True)
class Gate:
    """What a gate calls.

    Args:
        condition: Called with the arguments of the step; `None`: the first of them is the condition.
        wanted: What it must be, as true or false.
    """

    condition: Callable[..., Any] | None = None
    wanted: bool = True

    def __call__(self, *args: Any, **kwargs: Any) -> bool:
        """Let pass, or not.

        Raises:
            Skip: It does not hold.
        """
        found = args[0] if self.condition is None else self.condition(*args, **kwargs)
        if bool(found) is not self.wanted:
            raise Skip(f"its condition was {found!r:.100}")
        return self.wanted


def taken(values: list[Any]) -> Any:
    """What a join calls: the first value that was given."""
    return next((value for value in values if not isinstance(value, TaskSkipped)), None)


def branch_of(graph: nx.DiGraph[str], end: Node, others: Collection[Node]) -> Iterator[str]:
    """What has to wait for the gate of a branch: of the steps that are there for its end alone the first, and
    the joins, which run although what is before them is skipped.

    Args:
        graph: The workflow's.
        end: The last step of the branch.
        others: The condition, and the other branch.

    Raises:
        GraphError: The branch is needed elsewhere, so that it cannot be left out.
    """
    if any(graph.successors(end.name)):
        raise GraphError(
            f"The step {end.name!r} is followed by other steps already: they would be skipped with it."
            " Let them follow the join, which `branch` returns."
        )
    kept = {other.name for other in others}
    own = {end.name}
    todo = [end.name]
    while todo:
        for parent in graph.predecessors(todo.pop()):
            is_own = parent not in kept and not isinstance(graph.nodes[parent]["node"], InputNode)
            if parent not in own and is_own and own.issuperset(graph.successors(parent)):
                own.add(parent)
                todo.append(parent)
    joins = {name for name in own if isinstance(graph.nodes[name]["node"], JoinNode)}
    return (n for n in graph if n in joins or (n in own and own.isdisjoint(graph.predecessors(n))))
