"""Graphs are sent, found again, and waited for."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dask
from dask.core import flatten
from dask.utils import ensure_dict

from taskflow import hooks
from taskflow.contrib.dask.blocks import Tasks
from taskflow.contrib.dask.planning import GraphPlan, sign_of
from taskflow.contrib.dask.program import NOTE
from taskflow.errors import NoSuchRun, ResultExpired, UsageError
from taskflow.frames.running import with_run
from taskflow.records import RunView
from taskflow.states import LIVE, State

if TYPE_CHECKING:
    from taskflow.ids import NodeId
    from taskflow.workflowrun import WorkflowRun

__all__ = ["computed", "sent", "submitted"]

_FAILED = (State.FAILED, State.DEAD, State.EXPIRED)
_PARQUET = "dask.dataframe.dask_expr.io.parquet"
_SHUFFLE = "dask.dataframe.dask_expr._shuffle"
_RUNS_LISTED = 200
_RUNS_READ = 20


def computed(graph: Any, keys: Any, client: Any, *, progress: bool, **how: Any) -> Any:
    """Send a graph, wait, and give the values of keys in their nesting; see `taskflow.contrib.dask.get`."""
    __tracebackhide__ = True
    chosen = client or hooks.current_client()
    run, names = sent(graph, keys, chosen, **how)
    run.wait(progress=progress)
    try:
        values = {key: run.result(name) for key, name in names.items()}
    except Exception as error:  # noqa: BLE001 - it is raised, or what failed before it
        raise _cause(chosen, run) or error from None
    return _nested(keys, values.__getitem__)


def _cause(client: Any, run: WorkflowRun) -> BaseException | None:
    """What the task raised that failed first, with notes of it and of the run."""
    failed = [node for node in run.progress.nodes if node.state in _FAILED]
    if not failed:
        return None
    first = min(failed, key=lambda node: node.ended_at or math.inf)
    error: BaseException = client.future(first.id).exception()
    if not any(note.startswith(NOTE) for note in getattr(error, "__notes__", ())):
        error.add_note(f"{NOTE} of {first.label!r}")  # its process was lost before it could say which
    return with_run(error, run.id)


def submitted(collection: Any, client: Any, **how: Any) -> WorkflowRun:
    """Send what a collection is computed by; see `taskflow.contrib.dask.submit`.

    Dask prepares the graph as it does for `compute`, and takes what is sent in place of the values.
    """
    if not dask.is_dask_collection(collection):
        raise UsageError(
            f"A {type(collection).__name__} is no collection of Dask: give one, or"
            " `dask.delayed([a, b])` for several."
        )
    runs: list[WorkflowRun] = []

    def send(graph: Any, keys: Any, **_: Any) -> list[None]:
        runs.append(sent(graph, keys, client, **how)[0])
        return [None for _ in flatten([keys])]

    dask.compute(collection, scheduler=send, traverse=False)
    return runs[0]


def sent(
    graph: Any, keys: Any, client: Any, *, name: str | None, resume: bool, fuse: bool, **options: Any
) -> tuple[WorkflowRun, Mapping[Any, str]]:
    """Send a graph, unless it is there already; its run, and the names of what is asked for, by key."""
    chosen: Any = client or hooks.current_client()
    ours = chosen.options(**{"on_failure": "stop"} | _in_our_words(options))
    graph, renamed = _shuffled_by_tasks(graph)
    wanted = {key: renamed.get(key, key) for key in flatten([keys])}
    recalls = resume and name is not None
    plan = GraphPlan(_tasks(graph), wanted, name, fuse=fuse, recalls=recalls)
    if recalls:
        earlier = list(_runs_named(chosen, plan.name))
        for view in earlier:
            there = _served(chosen, view, plan.signs)
            if there is not None:
                return there
        plan.known = _succeeded(earlier)
    return ours.submit_workflow(plan, {}), plan.names


def _tasks(graph: Any) -> Tasks:
    """The tasks of an expression, a graph in layers, or a dict."""
    if hasattr(graph, "__dask_annotations__"):
        said = graph.__dask_annotations__()
    else:
        said = _said(getattr(graph, "layers", {}).values())
    tasks = ensure_dict(graph.__dask_graph__() if hasattr(graph, "__dask_graph__") else graph)
    return Tasks(tasks, said, _read(graph))


def _read(graph: Any) -> dict[str, str]:
    """The checksums of Parquet files, by the name that an expression has for them.

    Dask makes that of the checksum and of objects that have another digest in each process.
    """
    if _PARQUET not in sys.modules or not hasattr(graph, "walk"):
        return {}
    kind = sys.modules[_PARQUET].ReadParquet
    ops = (one for op in graph.walk() for one in (op.exprs if "exprs" in op._parameters else [op]))
    return {op._name: f"parquet {op.checksum}" for op in ops if isinstance(op, kind)}


def _said(layers: Any) -> dict[str, dict[Any, Any]]:
    """What annotations of layers say, by name and key."""
    found: dict[str, dict[Any, Any]] = {}
    for layer in layers:
        for name, value in (layer.annotations or {}).items():
            said = ((key, value(key) if callable(value) else value) for key in layer)
            found.setdefault(name, {}).update(said)
    return found


def _in_our_words(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"retry" if name == "retries" else name: value for name, value in options.items()}


def _nested(keys: Any, value: Callable[[Any], Any]) -> Any:
    """Values in place of keys: of a list a tuple, as Dask's own schedulers give it."""
    return tuple(_nested(key, value) for key in keys) if isinstance(keys, list) else value(keys)


# ── what there is already ────────────────────────────────────────────────────────────


def _runs_named(client: Any, name: str) -> Iterator[RunView]:
    """The newest runs of a name, with their nodes."""
    store = client._engine.store
    client.flush()
    listed = (run for run in store.runs(limit=_RUNS_LISTED, match=name) if run.name == name)
    for run, _ in zip(listed, range(_RUNS_READ), strict=False):
        with contextlib.suppress(NoSuchRun, ResultExpired):  # it was forgotten a moment ago
            yield store.snapshot(run.id)[0]


def _served(
    client: Any, run: RunView, wanted: Mapping[Any, str]
) -> tuple[WorkflowRun, Mapping[Any, str]] | None:
    """A run that gives what is wanted and nothing else, or will; and the names of that in it."""
    if run.state not in LIVE and run.state is not State.SUCCEEDED:
        return None
    signs = {node.id: sign_of(node) for node in run.nodes}
    last = signs.keys() - {edge.parent for node in run.nodes for edge in node.parents}
    if not {signs[node] for node in last} <= set(wanted.values()) <= set(signs.values()):
        return None
    handle = client.attach(run.id)
    names = {signs.get(node): name for name, node in handle.names.items()}
    return (handle, {key: names[sign] for key, sign in wanted.items()}) if _all_in(wanted, names) else None


def _all_in(wanted: Mapping[Any, str], names: Mapping[str | None, str]) -> bool:
    return all(sign in names for sign in wanted.values())


def _succeeded(runs: Sequence[RunView]) -> dict[str, NodeId]:
    """The nodes that have a value, by what they are known by."""
    nodes = (node for run in runs for node in run.nodes)
    return {sign_of(node): node.id for node in nodes if node.state is State.SUCCEEDED}


# ── shuffles ─────────────────────────────────────────────────────────────────────────


def _shuffled_by_tasks(graph: Any) -> tuple[Any, dict[Any, Any]]:
    """The same expression, where Dask means to shuffle by files of one process; and its keys, renamed.

    That is what Dask chooses where it knows of no cluster. By tasks each part is a value in the store.
    """
    if _SHUFFLE not in sys.modules or not hasattr(graph, "find_operations"):
        return graph, {}
    shuffle = sys.modules[_SHUFFLE]
    made = graph
    while (found := next(iter(made.find_operations(shuffle.DiskShuffle)), None)) is not None:
        made = made.substitute(found, shuffle.TaskShuffle(*found.operands))
    if made is graph:
        return graph, {}
    old, new = (list(flatten(one.__dask_keys__())) for one in (graph, made))
    return made, dict(zip(old, new, strict=True))
