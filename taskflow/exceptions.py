"""The errors under Celery's names; the tree that they are part of is `taskflow.errors`."""

from __future__ import annotations

from taskflow.errors import (
    ConfigError,
    Duplicate,
    Ignore,
    MaxRetriesExceeded,
    NotRegistered,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    StoreUnavailable,
    TaskCancelled,
    TaskError,
    TaskflowError,
    TaskTimedOut,
    UpstreamFailed,
    WaitTimedOut,
    WorkerLost,
)

__all__ = [
    "AlreadyRegistered",
    "ChordError",
    "Ignore",
    "ImproperlyConfigured",
    "MaxRetriesExceededError",
    "NotRegistered",
    "OperationalError",
    "Reject",
    "Retry",
    "SoftTimeLimitExceeded",
    "TaskError",
    "TaskRevokedError",
    "TaskflowError",
    "TimeLimitExceeded",
    "TimeoutError",
    "WorkerLostError",
]

AlreadyRegistered = Duplicate
ChordError = UpstreamFailed
ImproperlyConfigured = ConfigError
MaxRetriesExceededError = MaxRetriesExceeded
OperationalError = StoreUnavailable
TaskRevokedError = TaskCancelled
TimeLimitExceeded = TaskTimedOut
TimeoutError = WaitTimedOut  # noqa: A001 - Celery's name
WorkerLostError = WorkerLost
