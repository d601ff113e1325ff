"""Handles of what a store holds already: of a run, a map or a task, from whatever process it was sent."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from taskflow.burst import SHAPE as BURST
from taskflow.canvas.shape import split_id
from taskflow.errors import NoSuchRun, UsageError
from taskflow.future import Future
from taskflow.ids import NodeId, RunId
from taskflow.lookup import Lookup
from taskflow.maprun import MapRun
from taskflow.ports import WatchPort
from taskflow.records import EdgeMode, NodeView, RunView
from taskflow.result.finding import result_of_run
from taskflow.run import Run, arrays_of
from taskflow.states import TERMINAL
from taskflow.workflowrun import WorkflowRun

if TYPE_CHECKING:
    from taskflow.engine import Engine

__all__ = ["future_by_id", "handle_of", "run_by_id"]


def handle_of(engine: Engine, view: RunView) -> Any:
    """The handle that submitting a run gave, told of all that has happened."""
    if view.meta.get("shape") not in _GRAPHS and "canvas" not in view.meta and len(view.nodes) == 1:
        return _handle_of_node(engine, view.nodes[0])
    fed = [node for node in view.nodes if _feeder_of(node) is not None]
    if fed and view.meta.get("shape") == "map":
        return _handle_of_node(engine, fed[0])
    handle = _handle_of_run(engine, view)
    engine.feed.catch_up(NodeId(view.id), handle)
    return handle


def run_by_id(engine: Engine, run: str | None) -> RunView:
    """A run, by its id, that of a node in it, a unique prefix, or its name; by default the newest live one.

    Raises:
        NoSuchRun: The store knows no such run, or none that has not ended.
    """
    engine.flush()
    store = engine.store
    if run is not None:
        return store.snapshot(_id_of(store, run))[0]
    live = next((view for view in store.runs(limit=1000) if view.state not in TERMINAL), None)
    if live is None:
        raise NoSuchRun("There is no run that has not ended; `taskflow runs` lists those that have.")
    return store.snapshot(live.id)[0]


def _id_of(store: WatchPort, run: str) -> RunId:
    try:
        return store.find(run)[0]
    except NoSuchRun:
        named = next((view for view in store.runs(limit=1000, match=run) if view.name == run), None)
        if named is None:
            raise
        return named.id


def future_by_id(engine: Engine, id: str) -> Future[Any]:  # noqa: A002 - what the attribute of a future is called
    """The future of a call, or of an item of a map.

    Raises:
        NoSuchRun: The store knows no such task; ResultExpired: it did.
        UsageError: It is the id of more than one task.
    """
    engine.flush()
    name, index = split_id(id)
    run, node = engine.store.find(name)
    view, _ = engine.store.snapshot(run)
    if node is None and any(str(one.id) == run for one in view.nodes):
        node = NodeId(run)
    if node is None and len(view.nodes) > 1:
        raise UsageError(f"{run} is a run of {len(view.nodes)} nodes: attach({id!r}) gives its handle.")
    found = next(one for one in view.nodes if one.id == (node or view.nodes[0].id))
    handle = _handle_of_node(engine, found)
    if isinstance(handle, Future):
        return handle
    if index is None:
        raise UsageError(
            f"{found.id} is a map of {found.width} items: attach({id!r}) gives all of it,"
            f" future({found.id + '[0]'!r}) its first item."
        )
    future = handle[index]
    future.is_single = view.meta.get("shape") == BURST
    return future


_GRAPHS = ("workflow", "map_reduce")


def _handle_of_node(engine: Engine, node: NodeView) -> Future[Any] | MapRun[Any]:
    handle: Future[Any] | MapRun[Any]
    if node.array:
        width = None if node.growing else node.width
        handle = MapRun(engine, node.run, node.id, width, node.label, feeder=_feeder_of(node))
    else:
        handle = Future(engine, node.run, node.id, None, node.label)
    engine.feed.catch_up(node.id, handle)
    return handle


def _feeder_of(node: NodeView) -> NodeId | None:
    return next((edge.parent for edge in node.parents if edge.mode is EdgeMode.FEEDS), None)


def _handle_of_run(engine: Engine, view: RunView) -> Run:
    if view.meta.get("shape") in _GRAPHS:
        return WorkflowRun.of(engine, view, Lookup(engine.store))
    if "canvas" in view.meta:
        return result_of_run(engine, view)
    labels = Counter(node.label for node in view.nodes)
    names = {node.label if labels[node.label] == 1 else node.id: node.id for node in view.nodes}
    parents = {edge.parent for node in view.nodes for edge in node.parents}
    last = [name for name, node_id in names.items() if node_id not in parents]
    return WorkflowRun(engine, view.id, names, arrays_of(view), last)
