"""A graph for a terminal: one line for each step, and beside it the lines of the graph.

::

    ✓ load
    ├─╮
    │ ✓ header
    ► │ parse
    ├─╯
    ◇ report

Each step that others still wait for has a lane, which goes on below it until the last of them is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from taskflow.ids import NodeId
from taskflow.observe.board import Stage
from taskflow.observe.steps import Step
from taskflow.observe.terminal import Sheet, bar_lines, chosen
from taskflow.observe.text import fit
from taskflow.states import State
from taskflow.workflow.picture import PLAIN_SIGNS, SIGNS

__all__ = ["LANES_MOST", "Row", "graph_lines", "rows_of"]

LANES_MOST = 12
"""With more lanes than that nobody can follow a line."""


class Row(NamedTuple):
    """A line: its part of the graph, and the step that stands there, if any."""

    graph: str
    step: Step | None


def rows_of(steps: Sequence[Step], *, plain: bool = False) -> list[Row]:
    """The lines of a graph, each step below those that it depends on.

    A graph that would need more than `LANES_MOST` lanes has no lines, only the signs of its steps.

    Args:
        steps: The steps; what is not among them counts as no parent.
        plain: Keep to ASCII.
    """
    order = _in_depth(steps)
    signs = PLAIN_SIGNS if plain else SIGNS
    drawing = _Drawing(order, signs)
    for step in order:
        drawing.place(step)
        if len(drawing.lanes) > LANES_MOST:
            return [Row(signs[step.state], step) for step in order]
    if plain:
        return [Row(graph.translate(_PLAIN), step) for graph, step in drawing.rows]
    return drawing.rows


def graph_lines(steps: Sequence[Step], stages: Sequence[Stage], sheet: Sheet) -> list[str]:
    """The graph with a bar for each step, as it is drawn while the run goes on.

    Args:
        steps: The steps of the run.
        stages: How far each is; their labels are the keys of the steps.
        sheet: What is drawn on. When it is too low for all, first the lines of the graph are left out, then
            steps that have ended.
    """
    found = {stage.label: stage for stage in stages}
    rows = rows_of(steps, plain=sheet.plain)
    if len(rows) > sheet.height:
        signs = PLAIN_SIGNS if sheet.plain else SIGNS
        rows = [Row(signs[step.state], step) for _, step in rows if step is not None]
    shown = [_shown(found[row.step.key], row.step) for row in rows if row.step]
    kept, rest = chosen(shown, sheet.height)
    leads = [row.graph for row in rows if row.step]
    if rest:
        leads = [lead for lead, stage in zip(leads, shown, strict=True) if stage in kept]
    lines = bar_lines(kept, width=sheet.width, colour=sheet.colour, plain=sheet.plain, leads=leads)
    if rest:
        return [*lines, fit(rest, sheet.width)]
    drawn = iter(lines)
    return [next(drawn) if row.step else fit(row.graph, sheet.width) for row in rows]


def _shown(stage: Stage, step: Step) -> Stage:
    """What is told of a step; one call has no rate worth telling."""
    stage = stage._replace(label=step.label, state=step.state)
    return stage._replace(rate=None, eta_s=None) if stage.total == 1 else stage


class _Drawing:
    """Rows that grow, and the lanes below them: the step that each belongs to, or `None`."""

    def __init__(self, steps: Sequence[Step], signs: Mapping[State, str]) -> None:
        self.rows: list[Row] = []
        self.lanes: list[NodeId | None] = []
        self._signs = signs
        keys = {step.key for step in steps}
        self._waiting = dict.fromkeys(keys, 0)
        for step in steps:
            for parent in keys.intersection(step.parents):
                self._waiting[parent] += 1

    def place(self, step: Step) -> None:
        """Draw a step, and what leads to it."""
        parents = [parent for parent in step.parents if parent in self._waiting]
        for parent in parents:
            self._waiting[parent] -= 1
        before = list(self.lanes)
        sources = {self.lanes.index(parent) for parent in parents}
        over = {lane for lane in sources if not self._waiting[before[lane] or NodeId("")]}
        lane = min(over) if over else self._free(min(sources, default=-1))
        for ended in over:
            self.lanes[ended] = None
        self.lanes[lane : lane + 1] = [step.key]
        if sources - {lane}:
            self.rows.append(Row(self._connected(before, sources | {lane}), None))
        elif not sources and self._touches(lane):
            self.rows.append(Row(self._line({lane: " "}), None))
        self.rows.append(Row(self._line({lane: self._signs[step.state]}), step))
        if not self._waiting[step.key]:
            self.lanes[lane] = None
        while self.lanes and self.lanes[-1] is None:
            self.lanes.pop()

    def _free(self, after: int) -> int:
        """The first free lane to the right of another."""
        return next((i for i in range(after + 1, len(self.lanes)) if self.lanes[i] is None), len(self.lanes))

    def _touches(self, lane: int) -> bool:
        """Whether something that is no part of it stands right above a lane."""
        return bool(self.rows) and self.rows[-1].graph[2 * lane : 2 * lane + 1].strip() != ""

    def _line(self, marks: Mapping[int, str]) -> str:
        cells = (marks.get(i, "│" if owner is not None else " ") for i, owner in enumerate(self.lanes))
        return " ".join(cells).rstrip()

    def _connected(self, before: Sequence[NodeId | None], ends: set[int]) -> str:
        """The line in which lanes meet, fork and end."""
        left, right = min(ends), max(ends)
        drawn = ""
        for i, owner in enumerate(self.lanes):
            up = i < len(before) and before[i] is not None
            across = left < i < right
            if i in ends:
                drawn += _CORNERS[up, owner is not None, i > left, i < right]
            else:
                drawn += "│" if up else "─" if across else " "
            drawn += "─" if left <= i < right else " "
        return drawn.rstrip()


def _in_depth(steps: Sequence[Step]) -> list[Step]:
    """Each step behind its parents, and as near to them as can be; those of a cycle at the end."""
    by_key = {step.key: step for step in steps}
    children: dict[NodeId, list[NodeId]] = {key: [] for key in by_key}
    missing = dict.fromkeys(by_key, 0)
    for step in steps:
        for parent in step.parents:
            if parent in by_key:
                children[parent].append(step.key)
                missing[step.key] += 1
    ready = [step.key for step in reversed(steps) if not missing[step.key]]
    order: list[Step] = []
    while ready:
        key = ready.pop()
        order.append(by_key[key])
        for child in reversed(children[key]):
            missing[child] -= 1
            if not missing[child]:
                ready.append(child)
    return order


_CORNERS = {
    # from above, to below, from the left, to the right
    (True, True, False, True): "├",
    (True, True, True, False): "┤",
    (True, True, True, True): "┼",
    (True, False, False, True): "╰",
    (True, False, True, False): "╯",
    (True, False, True, True): "┴",
    (False, True, False, True): "╭",
    (False, True, True, False): "╮",
    (False, True, True, True): "┬",
}
_PLAIN = str.maketrans("│─├┤┼╰╯┴╭╮┬", "|-+++++++++")
