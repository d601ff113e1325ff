"""`OfTask`: Celery's fields of a task, as the store tells them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from taskflow.ids import NodeId
from taskflow.records import Failure, ItemView, NodeView
from taskflow.result.words import word
from taskflow.run import Run
from taskflow.states import TERMINAL, State

if TYPE_CHECKING:
    from taskflow.canvas.shape import Shape

__all__ = ["OfTask"]


class OfTask(Run):
    """A handle of one task of a run.

    Attributes:
        shape: Where its value is.
    """

    shape: Shape

    @property
    def id(self) -> str:  # type: ignore[override]  # a handle of a run has that of the run
        """The id of the task, as ``taskflow.current().id`` tells it inside."""
        return self.shape.id or self.run_id

    @property
    def task_id(self) -> str:
        """The same as `id`."""
        return self.id

    @property
    def state(self) -> str:  # type: ignore[override]  # Celery's words
        """``PENDING``, ``STARTED``, ``RETRY``, ``SUCCESS``, ``FAILURE``, ``REVOKED``, or, when the task
        wanted it so, ``IGNORED`` or ``REJECTED``.

        Raises:
            NoSuchRun: The store knows no such task: unlike in Celery, PENDING means that it is there.
        """
        return word(self._item() or self._node())

    @property
    def status(self) -> str:
        """The same as `state`."""
        return self.state

    @property
    def traceback(self) -> str | None:
        """The worker's traceback of a task that failed."""
        failure = self._failure()
        return failure.traceback or str(failure) if failure is not None else None

    @property
    def name(self) -> str | None:
        """The name of the task."""
        return self._node().label

    @property
    def args(self) -> tuple[Any, ...] | None:
        """Its positional arguments; results of other tasks among them are told as futures."""
        found: tuple[Any, ...] | None = self._call()[0]
        return found

    @property
    def kwargs(self) -> dict[str, Any] | None:
        """Its keyword arguments."""
        found: dict[str, Any] | None = self._call()[1]
        return found

    @property
    def worker(self) -> str | None:
        """Who ran it, or runs it."""
        item = self._item()
        return item.worker if item is not None else None

    @property
    def retries(self) -> int:
        """How often it was tried again."""
        item = self._item()
        if item is None:
            return 0
        return max(0, item.attempts - (1 if item.state in (State.FAILED, State.DEAD) else 0))

    @property
    def queue(self) -> str | None:
        """Where it waited."""
        return self._node().queue

    @property
    def date_done(self) -> datetime | None:
        """When it ended, in UTC."""
        item, node = self._item(), self._node()
        if item is not None and item.state in TERMINAL and item.started_at is not None:
            return datetime.fromtimestamp(item.started_at + (item.took_s or 0.0), UTC)
        return datetime.fromtimestamp(node.ended_at, UTC) if node.ended_at is not None else None

    def _node(self) -> NodeView:
        node = NodeId(str(self.shape.node))
        return self._views_of({node})[node]

    def _item(self) -> ItemView | None:
        self._engine.flush()
        index = self.shape.index or 0
        found = self._engine.store.items(NodeId(str(self.shape.node)))
        return next((item for item in found if item.lo <= index < item.hi), None)

    def _failure(self) -> Failure | None:
        item, node = self._item(), self._node()
        error = item.error if item is not None else node.error
        ended = (item if item is not None else node).state in TERMINAL
        return Failure.from_json(error) if error and ended else None

    def _call(self) -> tuple[Any, Any]:
        return self._engine.call_of(NodeId(str(self.shape.node)), self.shape.index)
