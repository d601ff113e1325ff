"""`OfTask`: Celery's fields of a task, as the store tells them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from taskflow.errors import NoSuchRun, ResultExpired, RunLost, TaskflowError
from taskflow.ids import NodeId
from taskflow.marks import tags_of
from taskflow.records import Failure, ItemView, NodeView
from taskflow.result.words import said_of, word
from taskflow.run import Run
from taskflow.states import TERMINAL, State

if TYPE_CHECKING:
    from taskflow.backends import Known
    from taskflow.canvas.shape import Shape

__all__ = ["GONE", "OfTask"]

GONE = (NoSuchRun, ResultExpired, RunLost)
"""What a store says of a run that it does not have any more."""


class OfTask(Run):
    """A handle of one task of a run.

    Attributes:
        shape: Where its value is.
    """

    shape: Shape
    _known: Known | None = None
    _ignored: bool = False

    @property
    def id(self) -> str:  # type: ignore[override]  # a handle of a run has that of the run
        """The id of the task, as ``taskflow.current().id`` tells it inside. It is in the store by then."""
        self._engine.flush()
        return self.shape.id or self.run_id

    @property
    def task_id(self) -> str:
        """The same as `id`."""
        return self.id

    @property
    def state(self) -> str:  # type: ignore[override]  # Celery's words
        """``PENDING``, ``STARTED``, ``RETRY``, ``SUCCESS``, ``FAILURE``, ``REVOKED``, or, when the task
        wanted it so, ``IGNORED`` or ``REJECTED``; while it runs, the word that it said by ``update_state``.

        Raises:
            NoSuchRun: The store knows no such task: unlike in Celery, PENDING means that it is there.
        """
        item = self._item()
        said = said_of(item)
        return str(said.data["state"]) if said is not None else word(item or self._node())

    def _stands(self) -> str:
        """As `state`, whatever a running task says of itself."""
        return word(self._item() or self._node())

    def _meta(self) -> Any:
        """The value that a running task tells of itself by ``update_state``."""
        said = said_of(self._item()) if self.shape.node is not None else None
        if said is None or said.value is None:
            return None
        node, index = str(self.shape.node), self.shape.index or 0
        return self._engine.codec.load_said(node, index, said.fence, said.value)

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

    # ── where it is, and what it is marked with ─────────────────────────────────────

    @property
    def app(self) -> Any:
        """The app that it was sent by, if it was one."""
        return self._engine.app

    @property
    def backend(self) -> Any:
        """Where results are: the place beside the store, if there is one, else the store."""
        keeper = self._engine.keeper
        return self._engine.store if keeper is None else keeper.place

    @property
    def supports_native_join(self) -> bool:
        """Always true: several results are waited for together."""
        return True

    @property
    def ignored(self) -> bool:
        """Whether its value is of no interest: `get` gives `None` at once. It may be set."""
        return self._ignored

    @ignored.setter
    def ignored(self, value: bool) -> None:
        """Wait for it, or not."""
        self._ignored = value

    @property
    def stamps(self) -> dict[str, Any]:
        """What the task was stamped with: its tags, those of its run included."""
        return {} if self._known is not None else tags_of(self.progress.meta, str(self.shape.node))

    # ── asked of the store, or of where results are kept beside it ──────────────────

    def _node(self) -> NodeView:
        if self._known is None:
            node = NodeId(str(self.shape.node))
            try:
                return self._views_of({node})[node]
            except GONE as error:
                return self._kept(error).node()
        return self._known.node()

    def _item(self) -> ItemView | None:
        if self._known is not None:
            return self._known.item()
        self._engine.flush()
        index = self.shape.index or 0
        try:
            found = self._engine.store.items(NodeId(str(self.shape.node)))
        except GONE as error:
            return self._kept(error).item()
        return next((item for item in found if item.lo <= index < item.hi), None)

    def _kept(self, error: TaskflowError) -> Known:
        """What is known of the task where results are kept beside the store, which has forgotten it."""
        found = None if self._engine.keeper is None else self._engine.keeper.find(self.id)
        if found is None:
            raise error
        self._known = found
        return found

    def _failure(self) -> Failure | None:
        item, node = self._item(), self._node()
        error = item.error if item is not None else node.error
        ended = (item if item is not None else node).state in TERMINAL
        return Failure.from_json(error) if error and ended else None

    def _call(self) -> tuple[Any, Any]:
        if self._known is None:
            try:
                return self._engine.call_of(NodeId(str(self.shape.node)), self.shape.index)
            except GONE as error:
                self._kept(error)
        assert self._known is not None
        return self._known.args, dict(self._known.kwargs)
