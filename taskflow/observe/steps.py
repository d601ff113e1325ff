"""The graph of a run as a person thinks of it: steps that depend on each other, and how they stand.

A node that only prepares another one (it takes apart the value whose parts are the items of a map) belongs to
that one. In a large run steps that play the same part are one: see `taskflow.workflow.grouping`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from taskflow.ids import NodeId
from taskflow.plan import HELPER, PARTS
from taskflow.records import NodeView, RunView
from taskflow.states import TERMINAL, State
from taskflow.workflow.grouping import grouped
from taskflow.workflow.picture import Box, Picture, common_label, overall, stem_of

__all__ = ["Step", "has_graph", "helpers_of", "picture_of_run", "steps_of"]

_HEADS = (HELPER.removesuffix("{}"), PARTS.removesuffix("{}"))
_FAILURES = (State.FAILED, State.DEAD, State.EXPIRED)


@dataclass
class Step:
    """A node of a run, or several that are shown as one.

    Attributes:
        label: Its name, with a number when there are several.
        nodes: What it is made of, without `helpers`.
        helpers: Nodes that prepare those.
        parents: The first node of each step before it; the value tells whether a value is given.
    """

    label: str
    nodes: list[NodeView]
    helpers: list[NodeView] = field(default_factory=list)
    parents: dict[NodeId, bool] = field(default_factory=dict)

    @property
    def key(self) -> NodeId:
        """Its first node, by which others name it."""
        return self.nodes[0].id

    @property
    def state(self) -> State:
        """How it stands: a map runs while some of its items have ended and others have not."""
        states = [_state(node) for node in self.nodes]
        if len(self.nodes) == 1 and self.helpers and states[0] in (State.BLOCKED, State.SKIPPED):
            before = self.helpers[0].state
            return states[0] if before in (State.SUCCEEDED, State.SKIPPED) else before
        return overall(states)

    @property
    def width(self) -> int | None:
        """How many items it has; `None` while that is not known, or more may come."""
        widths = [None if node.growing else node.width for node in self.nodes]
        return None if None in widths else sum(width for width in widths if width is not None)

    @property
    def counts(self) -> Mapping[State, int]:
        """Its items by state."""
        found: dict[State, int] = {}
        for node in self.nodes:
            for state, items in node.counts.items():
                found[state] = found.get(state, 0) + items
        return found

    def took_s(self, now: float) -> float | None:
        """Seconds from its first start to its end, or until now."""
        starts = [node.started_at for node in self.nodes if node.started_at is not None]
        if not starts:
            return None
        over = self.state in TERMINAL
        ends = [node.ended_at for node in self.nodes if node.ended_at is not None]
        return max(0.0, (max(ends) if over and ends else now) - min(starts))


def _state(node: NodeView) -> State:
    if node.state in TERMINAL or not node.array:
        return node.state
    ended = any(node.counts.get(state) for state in TERMINAL)
    return State.RUNNING if ended or node.counts.get(State.RUNNING) else node.state


def steps_of(run: RunView, most: int | None = None) -> list[Step]:
    """The steps of a run, in the order of its nodes.

    Args:
        run: With its nodes.
        most: How many steps there may be; of more those that are alike are one.
    """
    owner = dict(helpers_of(run))
    steps = {n.id: Step(n.label or n.id, [n]) for n in run.nodes if n.id not in owner}
    for node in run.nodes:
        target = owner.get(node.id, node.id)
        if node.id in owner:
            steps[target].helpers.append(node)
        for edge in node.parents:
            parent = owner.get(edge.parent, edge.parent)
            if parent in steps and parent != target:
                given = steps[target].parents.get(parent, False)
                steps[target].parents[parent] = given or edge.mode.gives_value
    return list(steps.values()) if most is None else _gathered(steps, most)


def has_graph(run: RunView) -> bool:
    """Whether nodes of a run depend on each other."""
    ids = {node.id for node in run.nodes}
    return any(edge.parent in ids for node in run.nodes for edge in node.parents)


def helpers_of(run: RunView) -> Iterator[tuple[NodeId, NodeId]]:
    """Pairs of a node that only serves another one, and that one."""
    named = {node.label: node.id for node in run.nodes}
    for node in run.nodes:
        served = _served(node.label)
        if served != node.label and served in named:
            yield node.id, named[served]


def _served(label: str) -> str:
    """The label of the node that one with this label serves; its own when it serves none."""
    for head in _HEADS:
        if label.startswith(head):
            return _served(label.removeprefix(head))
    return label


def _gathered(steps: Mapping[NodeId, Step], most: int) -> list[Step]:
    kinds = {key: (step.nodes[0].fn, stem_of(step.label)) for key, step in steps.items()}
    links = [(parent, key) for key, step in steps.items() for parent in step.parents]
    groups = grouped(kinds, links, most)
    first = {key: leader for leader, members in groups.items() for key in members}
    made = []
    for leader, members in groups.items():
        parts = [steps[key] for key in members]
        step = Step(_named(parts), [node for part in parts for node in part.nodes])
        step.helpers = [node for part in parts for node in part.helpers]
        for part in parts:
            for parent, given in part.parents.items():
                if first[parent] != leader:
                    step.parents[first[parent]] = given or step.parents.get(first[parent], False)
        made.append(step)
    return made


def _named(parts: Sequence[Step]) -> str:
    label = common_label([part.label for part in parts])
    return f"{label} × {len(parts):,}" if len(parts) > 1 else label


def picture_of_run(run: RunView) -> Picture:
    """A run as it is drawn, with the states of the moment."""
    made = Picture(run.name or "run")
    for step in steps_of(run):
        node = step.nodes[0]
        made.boxes[step.key] = Box(
            step.label,
            "map" if node.array else "call",
            step.width,
            step.state,
            _note(step),
            same=node.fn,
        )
        made.links.update(((parent, step.key), given) for parent, given in step.parents.items())
    return made


def _note(step: Step) -> str:
    """How far a map is, and what failed of it."""
    counts = step.counts
    bad = sum(counts.get(state, 0) for state in _FAILURES)
    if not step.nodes[0].array:
        return ""
    done = sum(items for state, items in counts.items() if state in TERMINAL)
    told = [f"{done:,} done"] if done and step.state is State.RUNNING else []
    return ", ".join([*told, *([f"{bad:,} failed"] if bad else [])])
