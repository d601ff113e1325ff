"""`Related`: a result, the results before it, and those that came of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from taskflow.burst import SHAPE as BURST
from taskflow.canvas.shape import Shape, longer
from taskflow.errors import UsageError
from taskflow.ids import NodeId, RunId
from taskflow.records import EdgeMode
from taskflow.result.fields import GONE, OfTask
from taskflow.result.looking import by_id

if TYPE_CHECKING:
    from taskflow.engine import Engine
    from taskflow.result.single import AsyncResult

__all__ = ["SENT_BY", "Kin", "Related"]

SENT_BY = "parent"
"""The tag of a run that a task has sent: the id of that task."""

_ALL = 1 << 30
_FOR_FAILURES = (EdgeMode.FAILED, EdgeMode.BROKEN, EdgeMode.ITEM)


class Kin(Protocol):
    """Makes the handle of another result of the same run."""

    def __call__(
        self,
        engine: Engine,
        run: RunId,
        shape: Shape,
        arrays: Mapping[NodeId, int | None],
        path: str | None,
        homes: Mapping[NodeId, RunId],
        /,
    ) -> AsyncResult:
        """The handle of `shape`, which is at `path` in the result of the run."""
        ...


class Related(OfTask):
    """A handle of a result that knows its relatives.

    Attributes:
        run_id: The run it is part of.
    """

    _kin: Kin
    _path: str | None = ""

    @property
    def children(self) -> list[AsyncResult]:
        """The results of what came of it: first of what follows this task alone, such as the next step of a
        chain and what is linked to it, then of what the task itself has sent; of a group, of its members."""
        return [] if self._known is not None else [*self._followers(), *self._what_it_sent()]

    @property
    def parent(self) -> AsyncResult | None:
        """The result of the step before; behind a group a `GroupResult`."""
        before = self.shape.parent
        return None if before is None else self._relative(before, "p1")

    def as_tuple(self) -> tuple[Any, Any]:
        """((id, parent), members), as Celery nests them; `result_from_tuple` reads it."""
        found: Any = None
        for result in reversed(self._line()):
            members = result.children if result.shape.is_list else []
            found = (result.id, found), [member.as_tuple() for member in members] or None
        return found  # type: ignore[no-any-return]

    def as_list(self) -> list[str]:
        """Its id, and those of the steps before."""
        return [result.id for result in self._line()]

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[AsyncResult | None, AsyncResult]]:
        """This result and all that came of it, level by level, each behind the one it came of.

        Args:
            intermediate: Leave out what came of tasks that have not ended.

        Raises:
            UsageError: One has not ended, so that nobody knows what will have come of it.
        """
        left: deque[tuple[AsyncResult | None, Any]] = deque([(None, self)])
        while left:
            parent, result = left.popleft()
            yield parent, result
            if result.ready():
                left.extend((result, child) for child in result.children)
            elif not intermediate:
                raise UsageError(
                    f"{result!r} has not ended, and more may come of it: wait for it first, or ask with"
                    " intermediate=True."
                )

    def collect(self, intermediate: bool = False, **how: Any) -> Iterator[tuple[AsyncResult, Any]]:
        """This result and all that came of it, each with its value; each is waited for.

        Args:
            intermediate: See `iterdeps`.
            how: As `get` takes it.
        """
        for _, result in self.iterdeps(intermediate):
            yield result, result.get(**how)

    def get_leaf(self) -> Any:
        """The value of what came of it last."""
        return [value for _, value in self.collect()][-1]

    def build_graph(self, intermediate: bool = False, formatter: Any = None) -> Any:
        """What came of it as a `networkx.DiGraph` of results.

        Args:
            intermediate: See `iterdeps`.
            formatter: Taken for Celery's sake: ``networkx`` draws it.
        """
        import networkx

        graph = networkx.DiGraph()
        for parent, result in self.iterdeps(intermediate):
            graph.add_node(result)
            if parent is not None:
                graph.add_edge(parent, result)
        return graph

    @property
    def graph(self) -> Any:
        """See `build_graph`."""
        return self.build_graph()

    def part(self, shape: Shape, path: str | None = "") -> AsyncResult:
        """The handle of another result of the same run.

        Args:
            shape: Where it is.
            path: Its place in the result of the run; `None` where that does not come from it.
        """
        found = self._kin(self._engine, self.run_id, shape, self._arrays, path, self._homes)
        found._handles = self._handles
        return found

    def _relative(self, shape: Shape, step: str) -> AsyncResult:
        return self.part(shape, None if self._path is None else longer(self._path, step))

    def _line(self) -> list[Any]:
        """It, and the steps before it."""
        line: list[Any] = []
        result: Any = self
        while result is not None:
            line.append(result)
            result = result.parent
        return line

    def _followers(self) -> list[AsyncResult]:
        """What follows this node alone."""
        node = self.shape.node
        if node is None or self.shape.index is not None:
            return []
        try:
            views = self._engine.store.snapshot(self._homes.get(node, self.run_id))[0].nodes
        except GONE:  # its result may be kept elsewhere, but not what followed it
            return []
        found = [
            Shape(view.id, width=view.width if view.array else None, parent=self.shape)
            for view in views
            if {edge.parent for edge in view.parents} == {node}
            and not any(edge.mode in _FOR_FAILURES for edge in view.parents)
        ]
        return [self.part(shape, None) for shape in found]

    def _what_it_sent(self) -> list[AsyncResult]:
        """What the task has sent while it ran, in order."""
        runs = self._engine.store.runs(limit=_ALL, tags={SENT_BY: self.id})
        found: list[Any] = [by_id(self._engine, str(view.id), self._kin) for view in reversed(runs)]
        bursts = {view.id for view in runs if view.meta.get("shape") == BURST}
        apart = (one.results if one.run_id in bursts else [one] for one in found)
        return [result for several in apart for result in several]
