"""`Keeper`: puts what became of tasks into a place for results, sealed, and reads it there."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taskflow.codec.failure import describe_failure, stand_in
from taskflow.codec.whole import open_whole, seal_error, seal_whole, whole_error
from taskflow.ids import NodeId, RunId
from taskflow.records import Failure, GroupRecord, ItemView, NodeView, ResultRecord
from taskflow.states import State

if TYPE_CHECKING:
    from taskflow.codec import Keyring
    from taskflow.ports import Results

__all__ = ["Keeper", "Known"]

_STATES = {
    "SUCCESS": State.SUCCEEDED,
    "FAILURE": State.FAILED,
    "REVOKED": State.CANCELLED,
    "IGNORED": State.SKIPPED,
    "REJECTED": State.DEAD,
    "RETRY": State.WAITING,
    "PENDING": State.QUEUED,
}
_MOST_CHARS = 64 * 1024
"""The longest JSON that is written for people; what is sealed is whole."""


@dataclass(frozen=True, slots=True)
class Known:
    """A task that has ended, told without its store.

    Args:
        id: Of the task.
        status: Celery's word for its state.
        value: What it gave.
        error: What it raised.
        name: Of the task.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        failure: What it raised, as text.
        worker: Who ran it.
        queue: Where it waited.
        retries: How often it was tried again.
        date_done: When it ended, seconds since the epoch.
        run: The run that it was part of.
    """

    id: str
    status: str
    value: Any = None
    error: BaseException | None = None
    name: str = ""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    failure: Failure | None = None
    worker: str = ""
    queue: str = ""
    retries: int = 0
    date_done: float | None = None
    run: str = ""

    @property
    def state(self) -> State:
        """Its state."""
        return _STATES.get(self.status, State.RUNNING)

    def item(self) -> ItemView:
        """The same as a row of a result table."""
        attempts = self.retries + (1 if self.state in (State.FAILED, State.DEAD) else 0)
        error, at = self.failure.to_json() if self.failure is not None else None, self.date_done
        return ItemView(0, 1, self.state, attempts, attempts, self.worker or None, at, 0.0, error)

    def node(self) -> NodeView:
        """The same as a node."""
        at, item = self.date_done, self.item()
        return NodeView(
            NodeId(self.id), RunId(self.run), self.name, self.state, 1, False, {self.state: 1}, self.queue, 0,
            (), at or 0.0, at, at, item.attempts, item.deliveries, item.worker, item.error,
        )  # fmt: skip


class Keeper:
    """Results of tasks in a place beside their store.

    Args:
        place: Where they are put.
        keyring: Seals them, and opens what it has sealed; nothing else is unpickled.
    """

    def __init__(self, place: Results, keyring: Keyring) -> None:
        self.place = place
        self._keyring = keyring

    def keep(
        self,
        id: str,  # noqa: A002 - what the attribute is called
        *,
        value: Any = None,
        error: BaseException | None = None,
        status: str | None = None,
        name: str = "",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        worker: str = "",
        queue: str = "",
        retries: int = 0,
        run: str = "",
        fence: int = 0,
    ) -> None:
        """Put what became of a task.

        Args:
            id: Of the task, as `AsyncResult.id` has it.
            value: What it gave.
            error: What it raised.
            status: Celery's word for its state; by default ``FAILURE`` with an error, ``SUCCESS`` without.
            name: Of the task.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            worker: Who ran it.
            queue: Where it waited.
            retries: How often it was tried again.
            run: The run it is part of.
            fence: Of its lease; an older one does not overwrite what a newer one has put.

        Raises:
            CannotPickle: The value or an argument cannot travel.
            StoreUnavailable: The place does not answer.
        """
        ring, given = self._keyring, dict(kwargs or {})
        status = status or ("SUCCESS" if error is None else "FAILURE")
        failure = None if error is None else describe_failure(error, str(_STATES.get(status, State.FAILED)))
        raised = b"" if error is None else seal_error(ring, id, error)
        said = None if failure is None else failure.to_json()
        record = ResultRecord(
            id,
            status,
            seal_whole(ring, id, (status, value, tuple(args), given, raised, said)),
            _told(value) if failure is None else _told({"type": failure.type, "message": failure.message}),
            name,
            _told(list(args)),
            _told(given),
            failure.traceback if failure is not None else "",
            worker,
            queue,
            retries,
            time.time(),
            run,
            fence,
        )
        self.place.put(record)

    def find(self, id: str) -> Known | None:  # noqa: A002 - what the attribute is called
        """What became of a task, if it was put here.

        Raises:
            Untrusted: Somebody else has written or altered it; nothing was unpickled.
            PayloadError: It needs something that is not here, such as a module.
        """
        record = self.place.get(id)
        if record is None:
            return None
        ring, found = self._keyring, open_whole(self._keyring, id, record.sealed)
        status, value, args, kwargs, raised, said = found
        failure = error = None
        if said is not None:
            failure = Failure.from_json(said)
            error = whole_error(ring, id, raised, failure) or stand_in(failure)
        return Known(
            id, status, value, error, record.name, args, kwargs, failure, record.worker, record.queue,
            record.retries, record.date_done, record.run,
        )  # fmt: skip

    def knows(self, id: str) -> bool:  # noqa: A002 - what the attribute is called
        """Whether a task or a group was put here."""
        return self.place.get(id) is not None or self.place.get_group(id) is not None

    def keep_group(self, id: str, members: Sequence[str]) -> None:  # noqa: A002 - what the attribute is called
        """Put the members of a group, by their ids."""
        self.place.put_group(GroupRecord(id, tuple(members), time.time()))

    def members(self, id: str) -> tuple[str, ...] | None:  # noqa: A002 - what the attribute is called
        """The ids of a group's members, if it was put here."""
        found = self.place.get_group(id)
        return None if found is None else found.members


def _told(value: Any) -> str:
    """A value as JSON for people: as it is, or by its `repr`, and not too long."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        text = ""
    if text and len(text) <= _MOST_CHARS:
        return text
    try:
        said = repr(value)
    except Exception:  # noqa: BLE001 - what is kept is sealed; this is for people
        said = f"<{type(value).__qualname__}>"
    return json.dumps(said[: _MOST_CHARS // 2])
