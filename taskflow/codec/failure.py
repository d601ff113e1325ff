"""Why a task gave no value: as text that needs no unpickling, and as an exception to raise.

An exception is sent twice: as a `Failure`, always, and pickled, when it survives that. No class is ever
looked up by a name that stands in a text.
"""

from __future__ import annotations

import os
import traceback
import types
from collections.abc import Iterator
from typing import Any

from taskflow.errors import (
    CannotPickle,
    CircuitOpen,
    OOMKilled,
    PayloadError,
    RemoteError,
    SoftTimeLimitExceeded,
    TaskCancelled,
    TaskError,
    TaskExpired,
    TaskflowError,
    TaskRejected,
    TaskSkipped,
    TaskTimedOut,
    Untrusted,
    UpstreamFailed,
    VersionMismatch,
    WorkerLost,
)
from taskflow.records import Failure

__all__ = [
    "MOST_CHAIN",
    "MOST_GROUP",
    "RemoteTraceback",
    "describe_failure",
    "message_of",
    "stand_in",
    "type_name",
    "users_frames",
    "with_traceback",
]

_MOST_BYTES = 24 * 1024
_MOST_MESSAGE_CHARS = 4096
MOST_CHAIN = 10
MOST_GROUP = 15
_MOST_GROUP_DEPTH = 5
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_RUNNER = os.path.join(os.path.dirname(traceback.__file__), "asyncio") + os.sep


class RemoteTraceback(Exception):
    """The cause of an exception that came from a worker: its text is the worker's traceback."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}" if self.args else ""


# ── to text ──────────────────────────────────────────────────────────────────────────


def describe_failure(error: BaseException, kind: str) -> Failure:
    """The failure as text of at most 24 KiB, whatever the exception does when it is asked for its own."""
    message = message_of(error)
    text = "".join(_story(error))
    room = _MOST_BYTES - 4096
    while True:
        failure = Failure(kind, type_name(error), message, _shorten(text, room))
        if len(failure.to_json()) <= _MOST_BYTES:
            return failure
        room //= 2
        message = message[: max(room, 200)]


def type_name(value: object) -> str:
    """The class of something as people read it: with its module, unless that goes without saying."""
    kind = type(value)
    module = kind.__module__
    return kind.__qualname__ if module in ("builtins", "__main__") else f"{module}.{kind.__qualname__}"


def message_of(error: BaseException) -> str:
    """What an exception says, whatever it does when it is asked; shortened."""
    try:
        text = str(error)
    except BaseException as failed:
        if isinstance(failed, SoftTimeLimitExceeded):
            raise
        return f"<unprintable {type(error).__qualname__}>"
    return _clean(_shorten(text, _MOST_MESSAGE_CHARS))


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _shorten(text: str, room: int) -> str:
    if len(text) <= room:
        return text
    tail = room * 2 // 3
    head = room - tail
    return f"{text[:head]}\n… {len(text) - room:,} characters left out …\n{text[-tail:]}"


def _story(error: BaseException) -> Iterator[str]:
    """The traceback, causes first as Python prints it, without our own frames."""
    for link, words in reversed(_chain(error)):
        yield from _one(link, 0)
        if words:
            yield f"\n{words}\n\n"


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """The exception, then what it came from, each with the words that lead to the one before."""
    chain: list[tuple[BaseException, str]] = []
    seen: set[int] = set()
    link: BaseException | None = error
    words = ""
    while link is not None and id(link) not in seen and len(chain) < MOST_CHAIN:
        chain.append((link, words))
        seen.add(id(link))
        if link.__cause__ is not None:
            link, words = (
                link.__cause__,
                "The above exception was the direct cause of the following exception:",
            )
        elif not link.__suppress_context__:
            link, words = (
                link.__context__,
                "During handling of the above exception, another exception occurred:",
            )
        else:
            link = None
    return chain


def _one(error: BaseException, level: int) -> Iterator[str]:
    pad = "  | " * level
    frames = traceback.StackSummary.extract(traceback.walk_tb(_users(error.__traceback__)))
    lines = ["Traceback (most recent call last):\n", *frames.format()] if frames else []
    yield from _indent([*lines, *_last_lines(error)], pad)
    if isinstance(error, BaseExceptionGroup) and level < _MOST_GROUP_DEPTH:
        shown = error.exceptions[:MOST_GROUP]
        for number, part in enumerate(shown, 1):
            yield f"{pad}  +---------------- {number} ----------------\n"
            yield from _one(part, level + 1)
        if len(shown) < len(error.exceptions):
            yield f"{pad}  and {len(error.exceptions) - len(shown)} more exceptions\n"


def _indent(texts: list[str], pad: str) -> Iterator[str]:
    for text in texts:
        yield from (pad + line for line in text.splitlines(keepends=True)) if pad else (text,)


def _last_lines(error: BaseException) -> list[str]:
    if isinstance(error, SyntaxError):
        try:
            return traceback.format_exception_only(error)
        except Exception:  # noqa: BLE001 - its fields may hold anything
            return [f"{type_name(error)}: <unprintable>\n"]
    message = message_of(error)
    lines = [f"{type_name(error)}: {message}\n" if message else f"{type_name(error)}\n"]
    notes = getattr(error, "__notes__", ())
    shown = notes if isinstance(notes, (list, tuple)) else ()
    return lines + [f"{_clean(note) if isinstance(note, str) else '<note>'}\n" for note in shown]


def _users(trace: types.TracebackType | None) -> types.TracebackType | None:
    """The traceback from the user's first frame on, or all of it when there is none."""
    rest = trace
    while rest is not None:
        name = rest.tb_frame.f_code.co_filename
        if not name.startswith((_OURS, _RUNNER)):
            return rest
        rest = rest.tb_next
    return None


def users_frames(trace: types.TracebackType | None) -> list[types.TracebackType]:
    """The steps of a traceback that are not ours, outermost first."""
    found: list[types.TracebackType] = []
    rest = _users(trace)
    while rest is not None:
        if not rest.tb_frame.f_code.co_filename.startswith(_OURS):
            found.append(rest)
        rest = rest.tb_next
    return found


# ── to an exception ──────────────────────────────────────────────────────────────────


def with_traceback(error: BaseException, failure: Failure) -> BaseException:
    """The task's own exception, with the worker's traceback as its cause."""
    if failure.traceback:
        error.__cause__ = RemoteTraceback(failure.traceback)
    return error


def stand_in(failure: Failure) -> BaseException:
    """The exception to raise where the task's own could not be rebuilt, or there was none."""
    named = failure.data.get("error")
    kind = _BY_NAME.get(named) if isinstance(named, str) else None
    kind = kind or _BY_STATE.get(failure.kind)
    if kind is None and (failure.exit_code is not None or failure.signal is not None):
        kind = WorkerLost
    if kind is None and failure.type in _REFUSALS:
        return with_traceback(_REFUSALS[failure.type](str(failure.message)), failure)
    if kind is None:
        return _remote_error(failure)
    return with_traceback(kind(failure.message or _DEFAULTS[kind], **_details(kind, failure)), failure)


def _remote_error(failure: Failure) -> RemoteError:
    error = RemoteError(
        str(failure) or "The task failed, and left no word why.",
        type_name=failure.type,
        remote_traceback=failure.traceback,
    )
    with_traceback(error, failure)
    return error


_BY_NAME: dict[str, type[TaskError]] = {
    kind.__name__: kind
    for kind in (
        CircuitOpen,
        TaskCancelled,
        TaskExpired,
        TaskRejected,
        TaskSkipped,
        TaskTimedOut,
        UpstreamFailed,
        WorkerLost,
        OOMKilled,
    )
}
_REFUSALS: dict[str, type[TaskflowError]] = {
    f"{kind.__module__}.{kind.__name__}": kind
    for kind in (CannotPickle, PayloadError, Untrusted, VersionMismatch)
}
"""What a worker refused, and so never was the task's: the few classes that text alone may name."""
_BY_STATE: dict[str, type[TaskError]] = {
    "cancelled": TaskCancelled,
    "expired": TaskExpired,
    "skipped": UpstreamFailed,
    "lost": WorkerLost,
}
_DEFAULTS: dict[type[TaskError], str] = {
    CircuitOpen: "The circuit breaker of the task was open.",
    TaskCancelled: "The task was cancelled.",
    TaskExpired: "The task was not started before it expired.",
    TaskRejected: "The task rejected its work.",
    TaskSkipped: "The task was skipped.",
    TaskTimedOut: "The task ran past its time limit and was killed.",
    UpstreamFailed: "A task that this one depends on gave no value.",
    WorkerLost: "The process died while it ran the task.",
    OOMKilled: "The process was killed while it ran the task, for the memory it used.",
}


def _details(kind: type[TaskError], failure: Failure) -> dict[str, Any]:
    """The attributes that the class promises, present even when nothing is known."""
    data = failure.data
    if kind is TaskCancelled:
        return {"reason": data.get("reason", failure.message)}
    if kind is TaskTimedOut:
        return {"limit_s": data.get("limit_s", 0.0)}
    if kind is UpstreamFailed:
        return {"root": failure.root or ""}
    if issubclass(kind, WorkerLost):
        details = {"exit_code": failure.exit_code, "signal": failure.signal}
        if kind is OOMKilled:
            details |= {name: data.get(name) for name in ("rss_peak_bytes", "limit_bytes")}
        return details
    return {}
