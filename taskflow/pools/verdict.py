"""What it means that a child ended: the story of the item that ran in it."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from enum import Enum
from typing import Any

from taskflow.records import Failure, Kind

__all__ = ["BROKEN_EXIT", "Why", "cancelled", "could_not_report", "lost", "of_kill"]

BROKEN_EXIT = 71
"""The exit code of a child that cannot read or report any more."""


class Why(Enum):
    """Why the pool killed a child."""

    TIME = "time"
    MEMORY = "memory"
    CANCEL = "cancel"
    CLOSE = "close"


def of_kill(why: Why, data: Mapping[str, Any]) -> tuple[Kind, Failure | None]:
    """The outcome of the item for whose sake the pool killed its child."""
    if why is Why.TIME:
        limit = data["limit_s"]
        text = f"The task ran longer than its time limit of {limit:g} s and was killed."
        known = {"error": "TaskTimedOut", "limit_s": limit}
        return Kind.FAILED, Failure(
            kind="failed", type="taskflow.errors.TaskTimedOut", message=text, data=known
        )
    if why is Why.MEMORY:
        return Kind.LOST, _out_of_memory(data["rss_peak_bytes"], data["limit_bytes"], signal.SIGKILL)
    if why is Why.CANCEL:
        return Kind.CANCELLED, cancelled(data["reason"])
    return Kind.RELEASED, None


def cancelled(reason: str) -> Failure:
    """The story of an item that was cancelled."""
    return Failure(
        kind="cancelled",
        type="taskflow.errors.TaskCancelled",
        message=reason or "The task was cancelled.",
        data={"error": "TaskCancelled", "reason": reason},
    )


def lost(status: int, *, out_of_memory: bool, why: str = "") -> Failure:
    """The story of an item whose process ended by itself.

    Args:
        status: As `os.waitpid` gives it; negative when nobody knows.
        out_of_memory: The kernel killed a process for memory just then.
        why: What is known beyond that.
    """
    if status >= 0 and os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if out_of_memory and number == signal.SIGKILL:
            return _out_of_memory(None, None, number)
        text = f"The process that ran the task was ended by {_name(number)}."
        return _lost(text, {"signal": number}, number=number)
    if could_not_report(status):
        text = (
            f"The process that ran the task could not report its outcome (exit code {BROKEN_EXIT}):"
            " did the task close files that are not its own?"
        )
        return _lost(text, {"exit_code": BROKEN_EXIT}, code=BROKEN_EXIT)
    if status >= 0:
        code = os.WEXITSTATUS(status)
        return _lost(
            f"The process that ran the task ended with exit code {code}.", {"exit_code": code}, code=code
        )
    return _lost(why or "The process that ran the task is gone.", {})


def could_not_report(status: int) -> bool:
    """Whether a child ended because it could not reach the pool; `status` is as `os.waitpid` gives it."""
    return status >= 0 and os.WIFEXITED(status) and os.WEXITSTATUS(status) == BROKEN_EXIT


def _lost(text: str, data: dict[str, Any], *, code: int | None = None, number: int | None = None) -> Failure:
    known = {"error": "WorkerLost", **data}
    return Failure("lost", "taskflow.errors.WorkerLost", text, exit_code=code, signal=number, data=known)


def _out_of_memory(peak: int | None, limit: int | None, number: int) -> Failure:
    text = "The process that ran the task was killed because memory ran out"
    if peak is not None and limit is not None:
        text += f": it used {peak >> 20} MiB and may use {limit >> 20} MiB"
    known = {"error": "OOMKilled", "rss_peak_bytes": peak, "limit_bytes": limit}
    return Failure("lost", "taskflow.errors.OOMKilled", text + ".", signal=number, data=known)


def _name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
