"""`WorkflowRun`: a workflow that was sent."""

from __future__ import annotations

import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import TYPE_CHECKING, Any

from taskflow.errors import GraphError, UsageError, nearest
from taskflow.future import decode
from taskflow.ids import NodeId, RunId
from taskflow.lookup import Lookup
from taskflow.maprun import Errors, MapRun
from taskflow.observe import showing
from taskflow.records import Failure, ItemView, Node, NodeView, RunView
from taskflow.run import LEFT_OUT, Handle, Run, arrays_of, outcome, seconds_left
from taskflow.states import TERMINAL, State
from taskflow.tables import rows_or_frame

if TYPE_CHECKING:
    from taskflow.arrivals import Arrivals
    from taskflow.engine import Engine
    from taskflow.plan import Draft
    from taskflow.policy import Options
    from taskflow.workflow import Workflow

__all__ = ["WorkflowRun", "compiled"]


class _Nodes(Mapping[str, Handle]):
    def __init__(self, run: WorkflowRun, names: Mapping[str, NodeId]) -> None:
        self._run, self._names = run, names

    def __getitem__(self, name: str) -> Handle:
        try:
            node = self._names[name]
        except KeyError:
            raise GraphError(f"The run has no node {name!r}.{nearest(name, self._names)}") from None
        return self._run._handle(node, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class WorkflowRun(Run):
    """A workflow that was sent.

    Attributes:
        id: The run; ``client.attach(id)`` finds it again in another process.
        nodes: By name: the `Future` of a call, the `MapRun` of a map.
    """

    def __init__(
        self, engine: Engine, run: RunId, names: Mapping[str, NodeId], arrays: Mapping[NodeId, int | None],
        last: Sequence[str], homes: Mapping[NodeId, RunId] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(engine, run, arrays, homes)
        self.nodes: Mapping[str, Handle] = _Nodes(self, names)
        self._names = names
        self._last = tuple(last)

    @classmethod
    def of(cls, engine: Engine, view: RunView, lookup: Lookup) -> WorkflowRun:
        """The handle of a run that is in the store."""
        names, last = _names_in(view, lookup)
        arrays, homes = _elsewhere(names, {node.id for node in view.nodes}, lookup)
        arrays |= arrays_of(view)
        return cls(engine, view.id, names, arrays, last, homes)

    @property
    def names(self) -> Mapping[str, NodeId]:
        """The id of each node, by name; some may be nodes of an earlier run."""
        return self._names

    def result(self, node: str | None = None, timeout: float | None = None) -> Any:
        """The value of a node; of the last one when none is named (of several last ones a dict by name)."""
        __tracebackhide__ = True
        if node is not None:
            self.nodes[node]
            return self._value(self._names[node], None, timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        values = {}
        with showing.during(self):
            for name in self._last:  # a comprehension is a frame of its own before Python 3.12
                values[name] = self._value(self._names[name], None, seconds_left(deadline))
        return values[self._last[0]] if len(values) == 1 else values

    def gather(self, errors: Errors = "raise") -> dict[str, Any]:
        """The values of all nodes, by name.

        Args:
            errors: ``"raise"``; ``"return"`` puts exceptions in place; ``"skip"`` leaves out nodes without
                a value, and failed items in the lists of maps.
        """
        __tracebackhide__ = True
        values = {}
        with showing.during(self):
            for name, handle in self.nodes.items():
                values[name] = self._gathered(handle, errors)
        return {name: value for name, value in values.items() if value is not LEFT_OUT}

    @staticmethod
    def _gathered(handle: Handle, errors: Errors) -> Any:
        __tracebackhide__ = True
        if isinstance(handle, MapRun):
            return handle.results(errors)
        return outcome(handle.result, errors)

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the result without blocking the event loop."""
        return self._awaited(self.result).__await__()

    def retry_failed(self) -> WorkflowRun:
        """Run again what gave no value, and what is below it; the rest is kept."""
        new, fresh = self._engine.rerun(self.id)
        if not fresh:
            return self
        names = {name: fresh.get(node, node) for name, node in self._names.items()}
        arrays, homes = self._moved(fresh)
        return self._told(WorkflowRun(self._engine, new, names, arrays, self._last, homes))

    def debug(
        self,
        name: str | None = None,
        index: int | None = None,
        *,
        fn: Callable[..., Any] | None = None,
        post_mortem: bool = True,
    ) -> Any:
        """Run one call of it once more, here and now; a debugger opens where it raises: see `Future.debug`.

        Args:
            name: Of the node; the first that failed by default.
            index: Which item, where the node is a map; the first that failed by default.
            fn: Run this in place of the function that was sent: the one that you have just edited.
            post_mortem: Open a debugger.

        Raises:
            GraphError: There is no such node (the nearest is named).
            UsageError: No node has failed, and none was named.
        """
        __tracebackhide__ = True
        if name is None:
            views = self._views_of(list(self._names.values()))
            bad = (each for each, node in self._names.items() if _has_failed(views.get(node)))
            name = next(bad, None)
            if name is None:
                raise UsageError(f"No node of {self!r} has failed: say which one to run.")
        handle = self.nodes[name]
        if isinstance(handle, MapRun):
            return handle.debug(index, fn=fn, post_mortem=post_mortem)
        return handle.debug(fn=fn, post_mortem=post_mortem)

    # ── as it goes on ───────────────────────────────────────────────────────────────

    def as_completed(self, timeout: float | None = None) -> Arrivals[tuple[str, Handle]]:
        """The nodes as they end, however they end: name and handle; for ``for`` and ``async for``.

        Args:
            timeout: Seconds to wait at most for all of them; then `WaitTimedOut` is raised.

        Example:
            ``async for name, handle in run.as_completed():``, or ``async for name, handle in run:``
        """
        from taskflow.arrivals import Arrivals

        return Arrivals(
            lambda: [((name, handle), handle) for name, handle in self.nodes.items()], timeout, whole=self
        )

    def __aiter__(self) -> AsyncIterator[tuple[str, Handle]]:
        """The nodes as they end, see `as_completed`."""
        return self.as_completed()

    def partial(self) -> dict[str, Any]:
        """What is there now, by name: of calls that succeeded the value, of maps the list of what there is.

        Nodes that have given nothing so far are left out.
        """
        self._engine.flush()
        segments = self._engine.store.values(list(self._names.values()))
        found: dict[str, Any] = {}
        for name, node in self._names.items():
            for segment in segments[node]:
                if segment.state is not State.SUCCEEDED:
                    continue
                value, error = decode(self._engine, segment, None)
                if error is not None:
                    raise error
                if segment.array:
                    found.setdefault(name, []).extend(value)
                else:
                    found[name] = value
        return found

    # ── showing ──────────────────────────────────────────────────────────────────────

    def to_frame(self) -> Any:
        """One row for each node (a DataFrame with pandas); times are seconds since the epoch."""
        return rows_or_frame([_row(node) for node in self.progress.nodes])

    def timeline(self) -> Any:
        """What was worked on where and when, a row for each stretch (a DataFrame with pandas).

        Columns: ``node``, its items ``lo`` to ``hi`` (half open), ``worker``, ``started_at`` (seconds since
        the epoch), ``took_s`` (of all of its items together; until now for what runs), ``state``. Items that
        have not started have no row.
        """
        now = time.time()
        rows = []
        for node in self.progress.nodes:
            items = self._engine.store.items(node.id) if node.started_at is not None else ()
            rows += [_stretch(node, item, now) for item in items if item.started_at]
        rows.sort(key=lambda row: row["started_at"])
        return rows_or_frame(rows, _TIMELINE)

    def to_svg(self) -> str:
        """The graph with the states of the moment, as SVG text; see `Workflow.to_svg`."""
        return _picture(self.progress)


def _picture(run: RunView) -> str:
    from taskflow.observe.steps import picture_of_run
    from taskflow.workflow.drawing import to_svg

    return to_svg(picture_of_run(run))


def _has_failed(view: NodeView | None) -> bool:
    return view is not None and any(view.counts.get(state) for state in _FAILED)


_FAILED = (State.FAILED, State.DEAD)
_TIMELINE = ("node", "lo", "hi", "worker", "started_at", "took_s", "state")


def _stretch(node: NodeView, item: ItemView, now: float) -> dict[str, Any]:
    took_s = item.took_s if item.state in TERMINAL or item.started_at is None else now - item.started_at
    values = (node.label, item.lo, item.hi, item.worker, item.started_at, took_s, str(item.state))
    return dict(zip(_TIMELINE, values, strict=True))


def compiled(
    engine: Engine, draft: Draft, run: RunId, workflow: Workflow, options: Options, inputs: Mapping[str, Any],
    only: Collection[str] | None, resume: WorkflowRun | str | None, memo: bool | None,
) -> tuple[WorkflowRun, dict[str, Any]]:  # fmt: skip
    """Draw a workflow for this store; see `Workflow.run`.

    Returns:
        The handle of the run, and what its plan must note for `WorkflowRun.of`.
    """
    engine.flush()
    lookup = Lookup(engine.store)
    earlier = None if resume is None else _earlier(engine, resume, lookup)
    names = workflow.compile(
        draft, options, inputs, only=only, memo=memo, known=lookup, resumed=earlier.names if earlier else None
    )
    last = workflow.last if only is None else list(only)
    arrays, homes = _elsewhere(names, {node.id for node in draft.nodes}, lookup)
    arrays |= {node.id: node.width for node in draft.nodes if node.array}
    noted = _marks(draft.nodes, names, last) | ({"resume_of": earlier.id} if earlier else {})
    return WorkflowRun(engine, run, names, arrays, last, homes), noted


def _earlier(engine: Engine, run: WorkflowRun | str, lookup: Lookup) -> WorkflowRun:
    """The run that is to be gone on with."""
    view = lookup.run(run.id if isinstance(run, WorkflowRun) else engine.store.find(run)[0])
    found = None if view is None else WorkflowRun.of(engine, view, lookup)
    if found is None or not found.names:
        raise UsageError(f"{run} is not the run of a workflow: there is nothing to resume.")
    return found


def _elsewhere(
    names: Mapping[str, NodeId], own: Collection[NodeId], lookup: Lookup
) -> tuple[dict[NodeId, int | None], dict[NodeId, RunId]]:
    """The widths, and the runs, of nodes that a run took from others."""
    views = [view for node in set(names.values()).difference(own) if (view := lookup.view(node))]
    return {v.id: v.width for v in views if v.array}, {v.id: v.run for v in views}


def _marks(nodes: Sequence[Node], names: Mapping[str, NodeId], last: Sequence[str]) -> dict[str, Any]:
    """What a run must note beside its nodes, so that its names are found again.

    The label of a step is its name: this is little, however many steps there are.
    """
    own = _labels(nodes)
    found: dict[str, Any] = {}
    if strange := {name: node for name, node in names.items() if own.get(name) != node}:
        found["names"] = strange
    if list(last) != _sinks(own, (edge.parent for node in nodes for edge in node.edges)):
        found["last"] = list(last)
    return found


def _names_in(view: RunView, lookup: Lookup) -> tuple[Mapping[str, NodeId], Sequence[str]]:
    """The nodes of a run by name, and the names of the last ones."""
    older = lookup.run(RunId(view.meta["rerun_of"])) if "rerun_of" in view.meta else None
    if older is not None:
        names, last = _names_in(older, lookup)
        again = {node.source: node.id for node in view.nodes if node.source is not None}
        fresh = {n.id: again[one] for n in older.nodes for one in (n.source, n.id) if one in again}
        return {name: fresh.get(node, node) for name, node in names.items()}, last
    own = _labels(view.nodes) if view.meta.get("shape") == "workflow" else {}
    parents = (edge.parent for node in view.nodes for edge in node.parents)
    last = view.meta["last"] if "last" in view.meta else _sinks(own, parents)
    return {**own, **view.meta.get("names", {})}, last


def _labels(nodes: Iterable[Node | NodeView]) -> dict[str, NodeId]:
    """The steps among the nodes of a run: parts of a step have ids of two parts."""
    return {node.label: node.id for node in nodes if "/" not in node.id}


def _sinks(names: Mapping[str, NodeId], parents: Iterable[NodeId]) -> list[str]:
    followed = set(parents)
    return [name for name, node in names.items() if node not in followed]


def _row(node: NodeView) -> dict[str, Any]:
    failure = Failure.from_json(node.error) if node.error else None
    took = node.ended_at - node.started_at if node.ended_at and node.started_at else None
    return {
        "node": node.label,
        "state": str(node.state),
        "items": node.width,
        **{str(state): items for state, items in node.counts.items()},
        "started_at": node.started_at,
        "ended_at": node.ended_at,
        "took_s": took,
        "error": str(failure) if failure else None,
    }
