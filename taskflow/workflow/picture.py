"""What there is to draw of a graph: boxes with their labels and states, and links between them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from taskflow.codec import Reference
from taskflow.errors import ConfigError, UnknownNode, nearest
from taskflow.states import TERMINAL, State
from taskflow.workflow.grouping import BOXES_MOST, grouped

if TYPE_CHECKING:
    from taskflow.workflow.graph import Workflow

__all__ = ["PLAIN_SIGNS", "SIGNS", "Box", "Picture", "common_label", "overall", "picture_of", "stem_of"]

SIGNS: Mapping[State, str] = {
    State.BLOCKED: "◇",
    State.WAITING: "~",
    State.QUEUED: "○",
    State.RUNNING: "►",
    State.SUCCEEDED: "✓",
    State.FAILED: "✗",
    State.CANCELLED: "⊘",
    State.EXPIRED: "!",
    State.SKIPPED: "»",
    State.DEAD: "✘",
}
"""One character for each state, so that nothing is said by colour alone."""

PLAIN_SIGNS: Mapping[State, str] = {
    State.BLOCKED: ".",
    State.WAITING: "~",
    State.QUEUED: "o",
    State.RUNNING: ">",
    State.SUCCEEDED: "+",
    State.FAILED: "x",
    State.CANCELLED: "-",
    State.EXPIRED: "!",
    State.SKIPPED: "/",
    State.DEAD: "X",
}
"""The same where there is only ASCII."""

_WORST = (State.DEAD, State.FAILED, State.EXPIRED, State.CANCELLED, State.SKIPPED)
_NEXT = (State.RUNNING, State.QUEUED, State.WAITING, State.BLOCKED)


@dataclass(frozen=True)
class Box:
    """A step as it is drawn.

    Args:
        label: Its name.
        kind: What it is: ``call``, ``map``, ``reduce``, ``input``, ``map_reduce``, ...
        width: How many items it has; `None` when that is not known yet.
        state: How it stands; `None` where nothing runs.
        note: What else there is to say, in a few words.
        family: What is written when it is drawn with others of its kind as one.
        same: Tells its kind: boxes are drawn as one only when they have the same.
        steps: How many steps it stands for.
    """

    label: str
    kind: str = "call"
    width: int | None = 1
    state: State | None = None
    note: str = ""
    family: str = ""
    same: Hashable = None
    steps: int = 1


@dataclass
class Picture:
    """A graph as it is drawn.

    Attributes:
        title: What a person reads.
        boxes: By any key, in the order of the drawing.
        links: From box to box; the value tells whether a value is given.
    """

    title: str = ""
    boxes: dict[Any, Box] = field(default_factory=dict)
    links: dict[tuple[Any, Any], bool] = field(default_factory=dict)

    def gathered(self, most: int = BOXES_MOST) -> Picture:
        """The same with at most so many boxes: see `grouping.grouped`."""
        kinds = {key: (box.kind, box.same, stem_of(box.label)) for key, box in self.boxes.items()}
        groups = grouped(kinds, self.links, most)
        if len(groups) == len(self.boxes):
            return self
        group_of = {key: first for first, members in groups.items() for key in members}
        made = Picture(self.title, {k: _one([self.boxes[m] for m in ms]) for k, ms in groups.items()})
        for (parent, child), gives_value in self.links.items():
            link = group_of[parent], group_of[child]
            if link[0] != link[1]:
                made.links[link] = gives_value or made.links.get(link, False)
        return made


def _one(boxes: list[Box]) -> Box:
    """Several boxes as one."""
    first = boxes[0]
    if len(boxes) == 1:
        return first
    alike = len({(box.kind, box.same) for box in boxes}) == 1
    widths = [box.width for box in boxes if box.width is not None]
    states = [box.state for box in boxes if box.state is not None]
    return Box(
        (first.family if alike else "") or common_label([box.label for box in boxes]),
        first.kind if alike else "steps",
        sum(widths) if len(widths) == len(boxes) else None,
        overall(states) if states else None,
        family=first.family,
        same=first.same,
        steps=sum(box.steps for box in boxes),
    )


def common_label(labels: Iterable[str]) -> str:
    """What several labels have in common, without numbers behind it; of strangers the first ones.

    Example:
        >>> common_label(["parse", "parse-2", "parse-3"]), common_label(["load", "sum", "x"])
        ('parse', 'load, sum, …')
    """
    found = list(dict.fromkeys(labels))
    if len(found) == 1:
        return found[0]
    first, last = min(found), max(found)
    alike = "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    stem = stem_of(alike)
    return stem or ", ".join(found[:2]) + (", …" if len(found) > 2 else "")


def stem_of(label: str) -> str:
    """A label without the number behind it.

    Example:
        >>> stem_of("parse-12"), stem_of("x")
        ('parse', 'x')
    """
    return label.rstrip(" -_.:#([0123456789")


def overall(states: Iterable[State]) -> State:
    """The state of several steps as one: it runs while some have ended and others have not.

    Example:
        >>> overall([State.SUCCEEDED, State.QUEUED]).value, overall([State.SUCCEEDED, State.DEAD]).value
        ('running', 'dead')
    """
    found = set(states)
    if found <= TERMINAL:
        return next((state for state in _WORST if state in found), State.SUCCEEDED)
    if found & TERMINAL:
        return State.RUNNING
    return next(state for state in _NEXT if state in found)


# ── of a workflow ────────────────────────────────────────────────────────────────────


def picture_of(workflow: Workflow, states: Mapping[str, State | str] | None = None) -> Picture:
    """A workflow as it is drawn.

    Args:
        workflow: Need not be complete: a name that has no step yet is a box of the kind ``missing``.
        states: The states of its steps, by name.

    Raises:
        UnknownNode: There is no step of that name.
        ConfigError: There is no such state.
    """
    known = {name: _state(state) for name, state in (states or {}).items()}
    for name in known:
        if name not in workflow.graph:
            raise UnknownNode(f"There is no node {name!r}.{nearest(name, workflow.nodes)}")
    made = Picture(workflow.name or "workflow")
    for name, data in workflow.graph.nodes(data=True):
        made.boxes[name] = _box(str(name), data.get("node"), known.get(name))
    for parent, child, data in workflow.graph.edges(data=True):
        made.links[parent, child] = bool(data.get("gives_value"))
    return made


def _box(name: str, node: Any, state: State | None) -> Box:
    if node is None:
        return Box(name, "missing", state=state)
    fn = node.fn
    family = getattr(fn, "__name__", "")
    return Box(name, node.kind, _width(node), state, family=family, same=getattr(fn, "__code__", id(fn)))


def _width(node: Any) -> int | None:
    """How many items a step of a workflow has; `None` when another step decides it."""
    if node.kind != "map":
        return 1
    items = node.args[0] if node.args else ()
    return len(items) if hasattr(items, "__len__") and not isinstance(items, Reference) else None


def _state(state: State | str) -> State:
    try:
        return State(state)
    except ValueError:
        raise ConfigError(
            f"{state!r} is no state.{nearest(str(state), [each.value for each in State])}"
        ) from None
