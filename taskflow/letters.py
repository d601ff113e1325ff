"""Dead letters are run again: each once, however often that is asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from taskflow.burst import SHAPE as BURST
from taskflow.canvas.shape import item_id, split_id
from taskflow.errors import UsageError
from taskflow.handles import future_by_id, handle_of
from taskflow.ids import NodeId, RunId, id_from
from taskflow.states import TERMINAL

if TYPE_CHECKING:
    from taskflow.engine import Engine

__all__ = ["requeue"]


def requeue(engine: Engine, letters: Any, limit: int) -> list[Any]:
    """Run dead letters again; see `Client.requeue`."""
    engine.flush()
    handles: dict[str, Any] = {}
    for run, node, index in _letters(engine, letters, limit):
        view, _ = engine.store.snapshot(run)
        if view.meta.get("shape") == BURST and node is not None and index is not None:
            letter = item_id(node, index)
            if letter not in handles:
                handles[letter] = _run_call(engine, letter)
        elif run not in handles:
            if view.state not in TERMINAL:
                raise UsageError(
                    f"Run {run} has not ended, and more of it may fail: requeue it then, or cancel it."
                )
            new = RunId(id_from(f"requeue {run}"))
            if engine.store.rerun(run, new):
                handles[run] = handle_of(engine, engine.store.snapshot(new)[0])
    engine.begin()
    return list(handles.values())


def _run_call(engine: Engine, letter: str) -> Any:
    """A call that was sent together with others is run again by itself."""
    name = id_from(f"requeue {letter}")
    engine.bursts.retry(future_by_id(engine, letter), name=name)
    return future_by_id(engine, name)


def _letters(engine: Engine, given: Any, limit: int) -> Iterable[tuple[RunId, NodeId | None, int | None]]:
    """Run, node and index of each."""
    if given is None:
        for run, node, item in engine.store.dead(limit=limit):
            yield run, node, item.lo
        return
    if hasattr(given, "to_dict"):
        given = given.to_dict("records")
    for letter in [given] if isinstance(given, str | dict) else list(given):
        if isinstance(letter, str):
            name, index = split_id(letter)
            run, found = engine.store.find(name)
            yield run, found or NodeId(name), index
        elif isinstance(letter, dict) and {"run", "node", "index"} <= letter.keys():
            yield RunId(letter["run"]), NodeId(letter["node"]), int(letter["index"])
        else:
            raise UsageError(
                f"{letter!r} is no dead letter: give rows of client.dead_letters(), or ids of runs or tasks."
            )
