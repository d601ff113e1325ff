"""What there is to show of a run: a pure view model, fed with snapshots and events.

No clock, no store, no terminal: time is handed in, rows come out. Nodes that share a label are one
*stage*, so that a group of a thousand calls is one row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from taskflow.observe.steps import helpers_of
from taskflow.records import Event, NodeView, RunView
from taskflow.states import TERMINAL, State

__all__ = ["Board", "History", "Stage"]

LOOK_BACK_S = 5.0
SAMPLES = 256

_FAILURES = frozenset({State.FAILED, State.DEAD, State.EXPIRED})
_RAN = frozenset({State.SUCCEEDED, State.FAILED, State.DEAD})
_SEVERITY = (State.DEAD, State.FAILED, State.EXPIRED, State.CANCELLED, State.SKIPPED)


class Stage(NamedTuple):
    """One row: the items of all nodes with the same label.

    `total` is `None` while a predecessor has yet to decide it. `done` counts all that ended, whatever
    the outcome; `failed` those of them that failed, died or expired, `cached` those whose results an earlier
    run had: nothing ran for them, and no `rate` counts them. `rate` is in items a second, over
    the recent past while it runs and over all of it afterwards; `rate` and `eta_s` are `None` when
    nothing can be said. `eta_most_s` is how long it takes should it go on as slowly as it once did.
    """

    label: str
    state: State
    total: int | None
    done: int
    running: int
    failed: int
    cancelled: int
    skipped: int
    retried: int
    rate: float | None
    elapsed_s: float
    eta_s: float | None
    eta_most_s: float | None = None
    cached: int = 0


@dataclass
class _Tally:
    """The items of all nodes of a stage; `running_before` are those of which a snapshot told no more."""

    total: int = 0
    cached: int = 0
    undecided: int = 0
    running: int = 0
    running_before: int = 0
    ended: dict[State, int] = field(default_factory=dict)
    started_at: float | None = None
    ended_at: float | None = None

    @property
    def done(self) -> int:
        return sum(self.ended.values())

    @property
    def complete(self) -> bool:
        return not self.undecided and self.done >= self.total

    def end(self, state: State, items: int) -> None:
        self.ended[state] = self.ended.get(state, 0) + items

    def elapsed_s(self, now: float) -> float:
        if self.started_at is None:
            return 0.0
        ended_at = now if self.ended_at is None or not self.complete else self.ended_at
        return max(0.0, ended_at - self.started_at)

    def state(self) -> State:
        if self.complete:
            return next((state for state in _SEVERITY if self.ended.get(state)), State.SUCCEEDED)
        return State.RUNNING if self.running or self.done else State.QUEUED


@dataclass
class History:
    """When a stage was how far; `samples` thin out as they age. Outlives the tallies of a snapshot."""

    samples: list[tuple[float, int]] = field(default_factory=list)
    retried: int = 0

    def add(self, at: float, done: int) -> None:
        """So much was done at that time."""
        if not self.samples or self.samples[-1][0] < at:
            self.samples.append((at, done))
            if len(self.samples) > SAMPLES:
                del self.samples[1:-1:2]

    def rate(self, now: float, done: int) -> float | None:
        """Items a second over the last third of the time, and at least over some seconds."""
        if not self.samples:
            return None
        look_back_s = max(LOOK_BACK_S, (now - self.samples[0][0]) / 3)
        at, before = next((s for s in reversed(self.samples) if s[0] <= now - look_back_s), self.samples[0])
        return (done - before) / (now - at) if done > before and now > at else None

    def slowest(self, now: float, done: int, rate: float) -> float:
        """Items a second, over all the time or over one half of it, where that was least."""
        began_at, first = self.samples[0]
        middle_at, half = next((s for s in self.samples if s[0] >= (began_at + now) / 2), (now, done))
        spans = (
            (began_at, first, now, done),
            (began_at, first, middle_at, half),
            (middle_at, half, now, done),
        )
        rates = [
            (there - here) / (to - at) for at, here, to, there in spans if to - at >= 1.0 and there > here
        ]
        return min([rate, *rates])


class Board:
    """The stages of one run as they stand.

    Feed it a snapshot with `show`, then either events with `add` or further snapshots: a snapshot is
    always right, an event costs no more in a large run than in a small one. Ask for `stages` whenever
    something is to be drawn.

    Args:
        stages: For each node the name of its stage; one that is not named belongs to none. Nodes with the
            same label are one stage by default, and one that only prepares a map belongs to none.
    """

    def __init__(self, stages: Callable[[RunView], Mapping[str, str]] | None = None) -> None:
        self.run: RunView | None = None
        self.cursor = -1
        self.state: State | None = None
        self.stale = False
        """Whether the run grew since the last snapshot: take another."""
        self._stages = stages or _by_label
        self._stage_of: dict[str, str] = {}
        self._apart: set[str] = set()
        self._undecided: set[str] = set()
        self._running: dict[str, list[tuple[int, int]]] = {}
        self._tallies: dict[str, _Tally] = {}
        self._history: dict[str, History] = {}

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.state in TERMINAL

    def show(self, run: RunView, *, now: float, cursor: int = -1) -> None:
        """Take a snapshot with its nodes; events up to `cursor` are part of it."""
        self.run, self.state, self.stale = run, run.state, False
        self.cursor = max(self.cursor, cursor)
        self._stage_of, self._undecided, self._running, self._tallies = {}, set(), {}, {}
        stages = self._stages(run)
        self._apart = {node.id for node in run.nodes if node.id not in stages}
        for node in run.nodes:
            if node.id in stages:
                self._take(node, stages[node.id])
        if "rerun_of" not in run.meta and run.nodes and run.nodes[0].id in stages:  # it is that of a map
            self._tallies[stages[run.nodes[0].id]].cached = run.meta.get("cached", 0)
        self._sample(now)

    def add(self, event: Event) -> None:
        """Take an event; those of other runs and those that a snapshot covered change nothing."""
        if self.run is None or event.cursor <= self.cursor or event.run != self.run.id:
            return
        self.cursor = event.cursor
        if not event.node:
            self.state = event.state
        elif event.node in self._apart:
            pass
        elif event.node not in self._stage_of:
            self.stale = True
        elif event.lo < event.hi:
            self.stale = self.stale or event.node in self._undecided
            self._move(self._stage_of[event.node], event)
        elif event.state in TERMINAL:
            self._tallies[self._stage_of[event.node]].ended_at = event.at
            self.stale = self.stale or event.node in self._undecided

    def stages(self, now: float) -> list[Stage]:
        """The rows, in the order in which their first nodes were submitted."""
        self._sample(now)
        return [self._stage(label, tally, now) for label, tally in self._tallies.items()]

    def _take(self, node: NodeView, label: str) -> None:
        tally = self._tallies.setdefault(label, _Tally())
        self._stage_of[node.id] = label
        ended = {state: items for state, items in node.counts.items() if state in TERMINAL}
        if not ended and node.state in TERMINAL:
            ended = {node.state: 1 if node.width is None else node.width}
        if node.growing or (node.width is None and not ended):
            tally.undecided += 1
            self._undecided.add(node.id)
        tally.total += sum(ended.values()) if node.width is None else node.width
        tally.running_before += node.counts.get(State.RUNNING, 0)
        tally.running = tally.running_before
        for state, items in ended.items():
            tally.end(state, items)
        tally.started_at = _least(tally.started_at, node.started_at)
        tally.ended_at = max(tally.ended_at or 0.0, node.ended_at or 0.0) or None

    def _move(self, label: str, event: Event) -> None:
        tally, items = self._tallies[label], event.hi - event.lo
        if event.state is State.RUNNING:
            self._running.setdefault(event.node, []).append((event.lo, event.hi))
            tally.running += items
            tally.started_at = _least(tally.started_at, event.at)
            return
        self._stop(tally, event)
        if event.state in TERMINAL:
            tally.end(event.state, items)
            tally.ended_at = event.at
        elif event.state is State.WAITING:
            self._past(label).retried += items

    def _stop(self, tally: _Tally, event: Event) -> None:
        """Items of an event run no more, those of them that did."""
        stopped, left = 0, []
        for lo, hi in self._running.get(event.node, ()):
            inside = max(0, min(hi, event.hi) - max(lo, event.lo))
            stopped += inside
            if not inside:
                left.append((lo, hi))
                continue
            left += [piece for piece in ((lo, event.lo), (event.hi, hi)) if piece[0] < piece[1]]
        self._running[event.node] = left
        if event.state not in TERMINAL or event.state in _RAN:
            before = min(tally.running_before, event.hi - event.lo - stopped)
            tally.running_before -= before
            stopped += before
        tally.running -= stopped

    def _past(self, label: str) -> History:
        return self._history.setdefault(label, History())

    def _sample(self, now: float) -> None:
        for label, tally in self._tallies.items():
            self._past(label).add(now, tally.done)

    def _stage(self, label: str, tally: _Tally, now: float) -> Stage:
        past, ended, done = self._past(label), tally.ended, tally.done
        elapsed_s = tally.elapsed_s(now)
        ran = done - tally.cached
        rate = past.rate(now, done) if not tally.complete else ran / elapsed_s if elapsed_s else None
        left = None if tally.undecided else max(0, tally.total - done)
        eta_s = most_s = 0.0 if tally.complete else None
        if eta_s is None and rate and left is not None:
            eta_s, most_s = left / rate, left / past.slowest(now, done, rate)
        return Stage(
            label,
            tally.state(),
            None if tally.undecided else tally.total,
            done,
            tally.running,
            sum(ended.get(state, 0) for state in _FAILURES),
            ended.get(State.CANCELLED, 0),
            ended.get(State.SKIPPED, 0),
            past.retried,
            rate,
            elapsed_s,
            eta_s,
            most_s,
            tally.cached,
        )


def _by_label(run: RunView) -> dict[str, str]:
    helpers = {helper for helper, _ in helpers_of(run)}
    return {node.id: node.label or node.id for node in run.nodes if node.id not in helpers}


def _least(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)
