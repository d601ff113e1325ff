"""Follow a run until it ends: drawn in place on a terminal, told line by line elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from taskflow.cli.words import done, done_of, failed
from taskflow.observe.text import clock, count
from taskflow.states import TERMINAL, State

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.observe.steps import Step
    from taskflow.records import RunView

__all__ = ["STEPS_MOST", "Journal", "follow"]

STEPS_MOST = 40
"""Of more steps those that are alike are one."""

_TOLD = TERMINAL | {State.RUNNING, State.WAITING}


def follow(run: RunView, console: Console) -> RunView:
    """Watch a run until it ends; nothing is cancelled when the watching ends before.

    Returns:
        The run as it was in the end.
    """
    from taskflow.cli.follow import news
    from taskflow.observe.board import Board
    from taskflow.observe.lanes import graph_lines
    from taskflow.observe.steps import has_graph, steps_of
    from taskflow.observe.terminal import Bars

    board, by_step, journal = Board(), Board(_stages), Journal(run.created_at)
    with Bars(console.err, interval_s=0.0) as bars:  # `news` keeps the pace
        for _ in news(console.store):
            run, cursor = console.store.snapshot(run.id)
            now = console.now()
            board.show(run, now=now, cursor=cursor)
            steps = steps_of(run, STEPS_MOST)
            if not bars.live:
                for line in journal.news(steps, now):
                    console.hint(line)
            if board.ended:
                bars.clear()
                break
            if not has_graph(run):
                bars.update(board.stages(now))
                continue
            by_step.show(run, now=now, cursor=cursor)
            bars.show(partial(graph_lines, steps, by_step.stages(now)))
    return run


def _stages(run: RunView) -> dict[str, str]:
    from taskflow.observe.steps import steps_of

    return {node.id: step.key for step in steps_of(run, STEPS_MOST) for node in step.nodes}


class Journal:
    """What is worth a line: that a step begins, waits or ends, and each tenth of a map.

    Args:
        began_at: Since when the time of a line is counted.
    """

    def __init__(self, began_at: float) -> None:
        self._began_at = began_at
        self._told: dict[str, tuple[State, int]] = {}

    def news(self, steps: Sequence[Step], now: float) -> Iterator[str]:
        """The lines since the last time."""
        for step in steps:
            standing = step.state, 10 * done(step.counts) // (step.width or 1)
            if step.state in _TOLD and self._told.get(step.key) != standing:
                self._told[step.key] = standing
                yield self._line(step, now)

    def _line(self, step: Step, now: float) -> str:
        running, bad = step.counts.get(State.RUNNING, 0), failed(step.counts)
        facts = (
            clock(now - self._began_at),
            step.label,
            str(step.state),
            done_of(step.counts, step.width),
            f"{count(running)} running" if running else "",
            f"{count(bad)} failed" if bad else "",
        )
        return "  ".join(fact for fact in facts if fact)
