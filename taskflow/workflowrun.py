"""`WorkflowRun`: a workflow that was sent."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskflow.errors import GraphError, nearest
from taskflow.ids import NodeId, RunId
from taskflow.maprun import Errors, MapRun
from taskflow.records import Failure, NodeView
from taskflow.run import LEFT_OUT, Handle, Run, outcome, seconds_left
from taskflow.tables import rows_or_frame

if TYPE_CHECKING:
    from taskflow.engine import Engine

__all__ = ["WorkflowRun"]


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
        last: Sequence[str],
    ) -> None:  # fmt: skip
        super().__init__(engine, run, arrays)
        self.nodes: Mapping[str, Handle] = _Nodes(self, names)
        self._names = names
        self._last = tuple(last)

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
        from taskflow.ids import new_id

        new = RunId(new_id())
        fresh = self._engine.store.rerun(self.id, new)
        if not fresh:
            return self
        names = {name: fresh.get(node, node) for name, node in self._names.items()}
        arrays = {fresh.get(node, node): width for node, width in self._arrays.items()}
        again = WorkflowRun(self._engine, new, names, arrays, self._last)
        self._engine.feed.catch_up(NodeId(new), again)
        self._engine.begin()
        return again

    def to_frame(self) -> Any:
        """One row for each node (a DataFrame with pandas)."""
        return rows_or_frame([_row(node) for node in self.progress.nodes])


def _row(node: NodeView) -> dict[str, Any]:
    failure = Failure.from_json(node.error) if node.error else None
    took = node.ended_at - node.started_at if node.ended_at and node.started_at else None
    return {
        "node": node.label,
        "state": str(node.state),
        "items": node.width,
        **{str(state): items for state, items in node.counts.items()},
        "took_s": took,
        "error": f"{failure.type}: {failure.message}" if failure else None,
    }
