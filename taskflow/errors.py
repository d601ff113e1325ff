"""Every error taskflow raises, as one tree.

::

    TaskflowError
    ├─ UsageError                 the caller's mistake; raised before anything is stored
    │  ├─ ConfigError             unknown URL scheme, unknown option (names the nearest)
    │  │  ├─ NotRegistered        also a KeyError: no task has that name here
    │  │  └─ UnknownSetting       also an AttributeError and a KeyError: no setting has that name
    │  ├─ MissingExtra            also an ImportError; the message is the pip command
    │  ├─ WrongArguments          also a TypeError: the function cannot be called like this
    │  ├─ GraphError              a graph that cannot run
    │  │  ├─ CycleError           lists the cycle
    │  │  └─ UnknownNode
    │  ├─ PayloadError            bytes that may not, or cannot, be turned into objects
    │  │  ├─ CannotPickle         names the variable that cannot travel
    │  │  └─ Untrusted            unsigned, foreign or altered bytes; never unpickled
    │  └─ NoSuchSchedule          also a KeyError
    ├─ StoreError                 the store's side
    │  ├─ StoreUnavailable        safe to try again
    │  ├─ QueueFull               back-pressure: disk, memory or the queue is full
    │  ├─ Duplicate               another run holds the lock of a unique one
    │  ├─ LeaseLost               another worker owns the attempt
    │  ├─ LockLost                others may have held the lock at the same time
    │  ├─ NoSuchRun               also a LookupError
    │  ├─ RunLost                 the store forgot what it had acknowledged
    │  ├─ ResultExpired
    │  └─ VersionMismatch         written by another Python or another release
    ├─ TaskError                  the task gave no value
    │  ├─ MaxRetriesExceeded      it wanted another attempt, and had no more
    │  ├─ CellFailed              a cell of a notebook that is a task
    │  ├─ TaskFailed              the task raised
    │  │  └─ RemoteError          its exception could not be rebuilt here
    │  ├─ TaskTimedOut            also a TimeoutError
    │  ├─ TaskCancelled           also a concurrent.futures.CancelledError
    │  ├─ UpstreamFailed          a task it depends on gave no value
    │  ├─ TaskSkipped             it chose to be skipped, or what it depends on did
    │  ├─ TaskRejected            it refused its work
    │  ├─ CircuitOpen             its circuit breaker let nothing through
    │  ├─ WorkerLost              the process died while running it
    │  │  └─ OOMKilled
    │  └─ TaskExpired
    ├─ WaitTimedOut               also a TimeoutError: the wait ended, the task did not
    └─ InternalError              an invariant broke

Raised inside a task, meant to be caught there: `SoftTimeLimitExceeded`. For a task to raise: `Skip` (also
as `Ignore`), `Reject`, `Retry`.
"""

from __future__ import annotations

import concurrent.futures
import difflib
from collections.abc import Iterable
from typing import Any

__all__ = [
    "CannotPickle",
    "CellFailed",
    "CircuitOpen",
    "ConfigError",
    "CycleError",
    "Duplicate",
    "GraphError",
    "Ignore",
    "InternalError",
    "LeaseLost",
    "LockLost",
    "MaxRetriesExceeded",
    "MissingExtra",
    "NoSuchRun",
    "NoSuchSchedule",
    "NotRegistered",
    "OOMKilled",
    "PayloadError",
    "QueueFull",
    "Reject",
    "RemoteError",
    "ResultExpired",
    "Retry",
    "RunLost",
    "Skip",
    "SoftTimeLimitExceeded",
    "StoreError",
    "StoreUnavailable",
    "TaskCancelled",
    "TaskError",
    "TaskExpired",
    "TaskFailed",
    "TaskRejected",
    "TaskSkipped",
    "TaskTimedOut",
    "TaskflowError",
    "UnknownNode",
    "UnknownSetting",
    "Untrusted",
    "UpstreamFailed",
    "UsageError",
    "VersionMismatch",
    "WaitTimedOut",
    "WorkerLost",
    "WrongArguments",
]


class TaskflowError(Exception):
    """Root of every error of taskflow.

    Keyword arguments become attributes, and travel with the error when it is pickled.
    """

    def __init__(self, message: str = "", /, **data: Any) -> None:
        super().__init__(message)
        self.__dict__.update(data)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.args, dict(self.__dict__)))


def _rebuild(kind: type[TaskflowError], args: tuple[Any, ...], data: dict[str, Any]) -> TaskflowError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(data)
    return error


class UsageError(TaskflowError):
    """The caller's mistake; raised before anything is stored."""


class ConfigError(UsageError):
    """An option, URL or key that cannot be used; the message names the nearest valid one."""


class NotRegistered(ConfigError, KeyError):
    """No task has that name here; the message names the nearest. Import the module that defines it."""

    __str__ = Exception.__str__  # a KeyError would show its message in quotes


class UnknownSetting(ConfigError, AttributeError, KeyError):
    """A name that no setting has; the message names the nearest."""

    def __str__(self) -> str:
        return Exception.__str__(self)


class MissingExtra(UsageError, ImportError):
    """An optional package is needed; the message is the command that installs it."""


class WrongArguments(UsageError, TypeError):
    """A call whose function cannot take these arguments; the message names the call and the function's."""


class GraphError(UsageError):
    """A graph that cannot run."""


class CycleError(GraphError):
    """Nodes wait for each other; `cycle` lists them in order."""

    cycle: list[str]


class UnknownNode(GraphError):
    """An edge names a node that is not there."""


class PayloadError(UsageError):
    """Bytes that may not, or cannot, be turned into objects (or the reverse)."""


class CannotPickle(PayloadError):
    """An object cannot travel; `culprit` is the path to the variable that stops it."""

    culprit: str


class Untrusted(PayloadError):
    """Unsigned, foreign or altered bytes; they were not unpickled."""


class NoSuchSchedule(UsageError, KeyError):
    """There is no schedule of that name; `taskflow schedules` lists those that there are."""

    __str__ = Exception.__str__  # a KeyError shows what is missing, and this is a sentence


class StoreError(TaskflowError):
    """The store could not do what was asked."""


class StoreUnavailable(StoreError):
    """The store did not answer in time; nothing is known to have changed, try again."""


class QueueFull(StoreError):
    """Too much is pending, or the disk or memory of the store is full; submit later.

    `queue` is the queue in which `pending` calls have not ended; `None` where it is the disk or the memory.
    """

    queue: str | None = None
    pending: int | None = None


class Duplicate(StoreError):
    """Nothing was stored: another run holds the lock of this unique one; `run` is its id."""

    run: str


class LeaseLost(StoreError):
    """Another worker owns the attempt; the result was dropped."""


class LockLost(StoreError):
    """What was held here, others may have held at the same time; `fence` is the number it had here."""

    fence: int


class NoSuchRun(StoreError, LookupError):
    """The store knows no run, node or item with that id."""


class RunLost(StoreError):
    """The store forgot a run that it had acknowledged."""


class ResultExpired(StoreError):
    """The result was removed by retention; `expired_at` is in seconds since the epoch."""

    expired_at: float


class VersionMismatch(StoreError):
    """The other side runs another Python or another release; nothing was unpickled."""


class TaskError(TaskflowError):
    """The task gave no value."""


class MaxRetriesExceeded(TaskError):
    """The task wanted another attempt, gave no exception to fail with, and had no attempts left."""


class CellFailed(TaskError):
    """A cell of a notebook that is a task raised, took too long, or ended its kernel.

    `cell` is its number among those that run, from 1, and `source` its text; `ename`, `evalue` and
    `traceback` are what the kernel said; `notebook` is where what ran up to there was written.
    """

    cell: int
    source: str
    ename: str
    evalue: str
    traceback: str
    notebook: str


class TaskFailed(TaskError):
    """The task raised; `remote_traceback` is the worker's text."""

    remote_traceback: str


class RemoteError(TaskFailed):
    """Stands for an exception whose class could not be rebuilt here.

    `type_name` is the original class, `remote_traceback` the worker's text.
    """

    type_name: str


class TaskTimedOut(TaskError, TimeoutError):
    """The task ran past its hard time limit and was killed; `limit_s` is that limit."""

    limit_s: float


class TaskCancelled(TaskError, concurrent.futures.CancelledError):
    """The task was cancelled; `reason` says why, when known."""

    reason: str


class UpstreamFailed(TaskError):
    """A task this one depends on gave no value; `root` is the id of the first that failed."""

    root: str


class TaskSkipped(TaskError):
    """The task raised `Skip`, or its branch was not taken, or what it depends on was skipped so."""


class TaskRejected(TaskError):
    """The task raised `Reject`: it is a dead letter."""


class CircuitOpen(TaskError):
    """The circuit breaker of the task was open: what it guards had failed too often. Try later."""


class WorkerLost(TaskError):
    """The process died while it ran the task; `exit_code` or `signal` says how."""

    exit_code: int | None
    signal: int | None


class OOMKilled(WorkerLost):
    """The process was killed for its memory; `rss_peak_bytes` and `limit_bytes` when known."""

    rss_peak_bytes: int | None
    limit_bytes: int | None


class TaskExpired(TaskError):
    """The task was not started before its expiry."""


class WaitTimedOut(TaskflowError, TimeoutError):
    """The wait ended; the task did not."""


class InternalError(TaskflowError):
    """An invariant of taskflow broke: please report it with the text of this error."""


class SoftTimeLimitExceeded(Exception):
    """Raised inside a task at its soft time limit; catch it to clean up, then return or raise."""


class Skip(Exception):
    """Raise it in a task that has nothing to do: it is *skipped*, and so is what depends on its value; nobody
    minds, and the run does not fail for it. An item of a map is left out of the results."""


class Ignore(Skip):
    """Celery's name for `Skip`."""


class Reject(Exception):
    """Raise it in a task that refuses its work: it becomes a dead letter at once.

    Args:
        reason: Why; told to who waits.
        requeue: Let it be run again instead, until its deliveries are used up.
    """

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        super().__init__(reason, requeue)
        self.reason = reason
        self.requeue = requeue

    def __str__(self) -> str:
        return str(self.reason) if self.reason is not None else "the task rejected its work"


class Retry(Exception):
    """Raise it in a task that wants to be run again: it waits in the store, not in a worker.

    Args:
        message: Told to who looks.
        exc: What went wrong, and what the task fails with when it has no deliveries left.
        delay_s: Seconds before the next attempt.
    """

    def __init__(
        self, message: str | None = None, exc: BaseException | None = None, delay_s: float = 0.0
    ) -> None:
        super().__init__(message, exc, delay_s)
        self.message = message
        self.exc = exc
        self.delay_s = delay_s

    def __str__(self) -> str:
        said = self.message or (f"{type(self.exc).__name__}: {self.exc}" if self.exc is not None else "")
        return f"to be run again in {self.delay_s:g} s{': ' if said else ''}{said}"


def nearest(word: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """Suggest the known word nearest to a mistyped one.

    Args:
        word: What was written.
        known: What there is.
        cutoff: How alike they must be, from 0 to 1.

    Returns:
        ``" Did you mean 'x'?"`` with a leading space, or an empty string.

    Example:
        >>> nearest("que", ["queue", "priority"])
        " Did you mean 'queue'?"
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f" Did you mean {close[0]!r}?" if close else ""
