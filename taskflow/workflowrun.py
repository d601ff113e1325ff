"""`WorkflowRun`: a workflow that was sent."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskflow.errors import GraphError, UsageError, nearest
from taskflow.future import Future, decode
from taskflow.ids import NodeId, RunId
from taskflow.lookup import Lookup
from taskflow.maprun import Errors, MapRun
from taskflow.records import Failure, ItemView, Node, NodeView, RunView
from taskflow.run import LEFT_OUT, Handle, Run, arrays_of, outcome, seconds_left
from taskflow.states import TERMINAL, State
from taskflow.tables import rows_or_frame

if TYPE_CHECKING:
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
        if node is not None:
            self.nodes[node]
            return self._value(self._names[node], None, timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        values = {name: self._value(self._names[name], None, seconds_left(deadline)) for name in self._last}
        return values[self._last[0]] if len(values) == 1 else values

    def gather(self, errors: Errors = "raise") -> dict[str, Any]:
        """The values of all nodes, by name.

        Args:
            errors: ``"raise"``; ``"return"`` puts exceptions in place; ``"skip"`` leaves out nodes without
                a value, and failed items in the lists of maps.
        """
        values = {name: self._gathered(handle, errors) for name, handle in self.nodes.items()}
        return {name: value for name, value in values.items() if value is not LEFT_OUT}

    @staticmethod
    def _gathered(handle: Handle, errors: Errors) -> Any:
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

    # ── as it goes on ───────────────────────────────────────────────────────────────

    def as_completed(self, timeout: float | None = None) -> Iterator[tuple[str, Handle]]:
        """The nodes as they end, however they end: name and handle.

        Args:
            timeout: Seconds to wait at most for all of them.

        Raises:
            WaitTimedOut: The time was up, and not all nodes had ended.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        ended: deque[str] = deque()

        def over(name: str, *_: Any) -> None:
            with self._changed:
                ended.append(name)
                self._changed.notify_all()

        for name, handle in self.nodes.items():
            tell = handle.add_done_callback if isinstance(handle, Future) else handle.when_over
            tell(functools.partial(over, name))
        for _ in range(len(self.nodes)):
            self._block(lambda: bool(ended), seconds_left(deadline))
            name = ended.popleft()
            yield name, self.nodes[name]

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

    def _repr_svg_(self) -> str:
        return self.to_svg()

    def _repr_html_(self) -> str:
        """The graph as an image, which is shown in notebooks that are not trusted, too."""
        from base64 import b64encode
        from html import escape

        run = self.progress
        picture = b64encode(_picture(run).encode()).decode()
        name = escape(f"{run.name or 'run'}: {run.state}", quote=True)
        return (
            f'<figure style="margin:0"><img alt="{name}" style="max-width:100%"'
            f' src="data:image/svg+xml;base64,{picture}"><figcaption>{name}</figcaption></figure>'
        )


def _picture(run: RunView) -> str:
    from taskflow.observe.steps import picture_of_run
    from taskflow.workflow.drawing import to_svg

    return to_svg(picture_of_run(run))


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
        again = {node.label: node.id for node in view.nodes}
        fresh = {node.id: again[node.label] for node in older.nodes if node.label in again}
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
