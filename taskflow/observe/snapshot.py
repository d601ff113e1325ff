"""A run as one piece of JSON: what a widget, an output of a notebook, a panel and a saved page draw.

`Watch` reads a store, and gives a snapshot whenever there is something new to see. It looks no more often
than it can afford: whatever a run costs to read, watching it takes no more than a fiftieth of a processor.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from taskflow.errors import ResultExpired
from taskflow.ids import RunId
from taskflow.links import shown
from taskflow.observe.board import Board, Stage
from taskflow.observe.cells import Cells
from taskflow.observe.progress import progress_of, told_of
from taskflow.observe.reasons import Reason, reasons
from taskflow.observe.steps import has_graph, picture_of_run
from taskflow.ports import Store
from taskflow.records import NodeView, RunView
from taskflow.states import TERMINAL, State
from taskflow.workflow.drawing import Arranged, Drawn, arranged, as_svg

__all__ = ["LABEL_CHARS", "MIME", "MOST_BYTES", "VERSION", "Snapshot", "Watch", "shortened", "size_bytes"]

T = TypeVar("T")

MIME = "application/vnd.taskflow.run.v1+json"
VERSION = 1

Snapshot = dict[str, Any]

INTERVAL_S = 0.1
SHARE = 0.02
"""Of one processor: what watching takes at most."""
MOST_BYTES = 50_000
"""Of a snapshot, whatever is in the run: it is sent several times a second, and kept in notebooks."""
LABEL_CHARS = 120
_STAGES, _STAGES_BYTES = ((40, LABEL_CHARS), (40, 30), (10, 30)), 12_000
_ERRORS, _ERRORS_BYTES = ((10, 2_500, 500), (10, 600, 300), (5, 600, 300), (3, 200, 100)), 14_000
_BOXES, _GRAPH_BYTES = (None, 60, 24, 8), 18_000
_ORIGIN = ("notebook", "cell")
CELLS_LEAST, CELLS_MOST_ITEMS = 2, 5_000_000


class Watch:
    """Looks at a run again and again.

    Args:
        store: Where it is.
        run: Its id.
        clock: Seconds since the epoch.

    Attributes:
        rest_s: How long to wait before the next look.
    """

    def __init__(self, store: Store, run: RunId, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._run = run
        self._clock = clock
        self._board = Board()
        self._cursor = -1
        self._view: RunView | None = None
        self._cells: tuple[NodeView, Cells] | None = None
        self._graph: Arranged | None = None
        self._boxes = 0
        self._reasons: tuple[int, list[dict[str, Any]]] = (0, [])
        self.rest_s = INTERVAL_S

    @property
    def ended(self) -> bool:
        """Whether the run had ended when it was looked at."""
        return self._board.ended

    def picture(self) -> str | None:
        """The graph as SVG text, as it was at the last look; `None` when there is none."""
        if self._graph is None or self._view is None:
            return None
        return as_svg(self._graph, self._view.name, f"{self._view.name}: {self._view.state}")

    def look(self) -> Snapshot | None:
        """The run as it stands now; `None` when nothing has happened since the last look.

        Raises:
            NoSuchRun: The store knows no such run; ResultExpired: it did.
            StoreUnavailable: The store is away.
        """
        began = time.thread_time()
        try:
            return self._snapshot() if self._follow() else None
        finally:
            self.rest_s = max(INTERVAL_S, (time.thread_time() - began) / SHARE)

    # ── reading ──────────────────────────────────────────────────────────────────────

    def _follow(self) -> bool:
        """Take in what has happened; whether that was anything."""
        if self._view is None:
            self._read()
            return True
        try:
            news = self._take_events()
        except ResultExpired:  # not all events are kept
            self._cells = None
            self._read()
            return True
        if news and (self._board.stale or self._graph is not None or self._is_over()):
            self._read()
        return news

    def _take_events(self) -> bool:
        news = False
        while events := self._store.events(self._cursor):
            self._cursor = events[-1].cursor
            for event in events:
                if event.run == self._run:
                    news = True
                    self._board.add(event)
                    if self._cells is not None and event.node == self._cells[0].id:
                        self._cells[1].add(event)
        return news

    def _is_over(self) -> bool:
        """Whether all items have ended; of a run of one call nothing else is told."""
        return all(stage.state in TERMINAL for stage in self._board.stages(self._clock()))

    def _read(self) -> None:
        view, cursor = self._store.snapshot(self._run)
        self._view = view
        self._board.show(view, now=self._clock(), cursor=cursor)
        self._graph = self._arranged(view) if has_graph(view) else None
        self._paint(_widest(view), cursor)
        self._cursor = cursor

    def _paint(self, node: NodeView | None, cursor: int) -> None:
        """Have the squares as they were at a cursor, or a little later."""
        if node is None or node.width is None:
            self._cells = None
        elif self._cells is None or (self._cells[0].id, self._cells[0].width) != (node.id, node.width):
            self._cells = node, Cells(node.width, self._store.items(node.id))
        else:
            try:
                self._repaint(*self._cells, cursor)
            except ResultExpired:
                self._cells = node, Cells(node.width, self._store.items(node.id))

    def _repaint(self, node: NodeView, cells: Cells, cursor: int) -> None:
        """A snapshot is ahead of the events that were read before it: the squares need those between."""
        at = self._cursor
        while at < cursor and (events := self._store.events(at)):
            at = events[-1].cursor
            for event in events:
                if event.node == node.id and event.cursor <= cursor:
                    cells.add(event)

    def _arranged(self, view: RunView) -> Arranged | None:
        """The graph, with fewer boxes when it is too long to be told; `None` when it is even then."""
        picture = picture_of_run(view)
        while self._boxes < len(_BOXES):
            most = _BOXES[self._boxes]
            made = arranged(picture, most=most, before=self._graph, grows=True)
            if self._graph is not None and made.lines is self._graph.lines:
                return made
            if size_bytes(_graph(made)) <= _GRAPH_BYTES:
                return made
            self._boxes += 1
        return None

    # ── telling ──────────────────────────────────────────────────────────────────────

    def _snapshot(self) -> Snapshot:
        view, now = self._view, self._clock()
        assert view is not None
        stages = self._board.stages(now)
        failed = sum(stage.failed for stage in stages)
        told = _fitting(
            ([_stage(stage, chars) for stage in stages[:most]] for most, chars in _STAGES), _STAGES_BYTES
        )
        totals = [stage.total for stage in stages]
        return {
            "v": VERSION,
            "run": view.id,
            "name": view.name[:LABEL_CHARS] or "run",
            "state": str(_state(self._board.state or view.state, stages)),
            "origin": {name: str(view.meta[name])[:LABEL_CHARS] for name in _ORIGIN if name in view.meta},
            "store": _place(self._store.url),
            "created_at": round(view.created_at, 3),
            "ended_at": view.ended_at and round(view.ended_at, 3),
            "at": round(now, 3),
            "total": None if None in totals else sum(total for total in totals if total is not None),
            "done": sum(stage.done for stage in stages),
            "failed": failed,
            "stages": told,
            "stages_left_out": len(stages) - len(told),
            "graph": None if self._graph is None else _graph(self._graph),
            "errors": self._why(failed),
            "cells": self._squares(),
            "doing": self._doing(view),
        }

    def _doing(self, view: RunView) -> dict[str, Any] | None:
        """How far the task of a run of one call says it is."""
        if len(view.nodes) != 1 or view.nodes[0].array or self._board.ended:
            return None
        items = self._store.items(view.nodes[0].id)
        return told_of(progress_of(items[0] if items else None))

    def _why(self, failed: int) -> list[dict[str, Any]]:
        """Read again only when another item has failed."""
        if failed != self._reasons[0] and self._view is not None:
            fresh = self._board.ended or self._graph is not None
            nodes = self._view.nodes if fresh else self._store.snapshot(self._run)[0].nodes
            self._reasons = failed, _causes(reasons(self._store, nodes))
        return self._reasons[1]

    def _squares(self) -> dict[str, Any] | None:
        if self._cells is None:
            return None
        node, cells = self._cells
        states = b64encode(cells.states()).decode()
        return {"label": node.label[:LABEL_CHARS], "per_cell": cells.per_cell, "states": states}


def _place(url: str) -> str:
    """A store as a saved notebook may name it: without passwords, and without the folders of who made it.

    Example:
        >>> _place("sqlite:////home/ann/secret/taskflow/7c/store.db"), _place("redis://:pw@host/0")
        ('sqlite:…/7c/store.db', 'redis://:***@host/0')
    """
    scheme, _, path = shown(url).partition(":///")
    return f"{scheme}:…/{'/'.join(path.split('/')[-2:])}" if scheme == "sqlite" else shown(url)


def _state(state: State, stages: Sequence[Stage]) -> State:
    """A run of which something has begun runs, though its map waits to be claimed again."""
    if state in (State.QUEUED, State.BLOCKED) and any(stage.running or stage.done for stage in stages):
        return State.RUNNING
    return state


def _widest(view: RunView) -> NodeView | None:
    """The map with the most items, where there are squares to paint."""
    arrays = [node for node in view.nodes if node.array and node.width and not node.growing]
    widest = max(arrays, key=lambda node: node.width or 0, default=None)
    if widest is None or not CELLS_LEAST <= (widest.width or 0) <= CELLS_MOST_ITEMS:
        return None
    return widest


def _causes(found: Sequence[Reason]) -> list[dict[str, Any]]:
    told = (
        [reason.to_json(trace_chars=trace, chars=chars) for reason in found[:most]]
        for most, trace, chars in _ERRORS
    )
    return _fitting(told, _ERRORS_BYTES)


def _stage(stage: Stage, label_chars: int) -> dict[str, Any]:
    told: Mapping[str, Any] = stage._asdict()
    plain = {name: _plain(value) for name, value in told.items()} | {"label": stage.label[:label_chars]}
    return plain | {"rate": None} if stage.total == 1 else plain  # one call has no pace


def _plain(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else str(value) if isinstance(value, State) else value


# ── how much ─────────────────────────────────────────────────────────────────────────


def shortened(snapshot: Snapshot, most_bytes: int = MOST_BYTES) -> Snapshot:
    """Without what one can do without, the least wanted first, until it is short enough."""
    for name in ("output", "rows", "graph", "cells"):
        if size_bytes(snapshot) <= most_bytes:
            break
        snapshot = {**snapshot, name: None}
    return snapshot


def size_bytes(value: Any) -> int:
    """How long it is as JSON."""
    return len(json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass"))


def _fitting(choices: Iterable[T], most_bytes: int) -> T:
    """The first that is short enough, or the last."""
    for choice in choices:
        if size_bytes(choice) <= most_bytes:
            break
    return choice


# ── the graph ────────────────────────────────────────────────────────────────────────


def _graph(graph: Arranged) -> dict[str, Any]:
    return {
        "w": round(graph.width, 1),
        "h": round(graph.height, 1),
        "boxes": [_box(key, drawn) for key, drawn in graph.boxes.items()],
        "links": [
            {
                "points": [[round(point.x, 1), round(point.y, 1)] for point in points],
                "dotted": not gives_value,
            }
            for points, gives_value in graph.lines.values()
        ],
    }


def _box(key: Any, drawn: Drawn) -> dict[str, Any]:
    box, words, place = drawn
    return {
        "key": str(key),
        "label": words.label,
        "full": words.full[:LABEL_CHARS],
        "kind": box.kind,
        "note": words.below,
        "sign": words.sign,
        "state": str(box.state or ""),
        "stacked": drawn.is_stacked,
        "x": round(place.x, 1),
        "y": round(place.y, 1),
        "w": round(place.width, 1),
        "h": round(place.height, 1),
    }
