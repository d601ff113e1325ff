"""What a task logs goes to the worker too, as records.

In a child every record that a logger lets through is told to the pool as well, whatever handlers the task has
set up. There is no handler of ours that `logging.basicConfig` would find, and a task that logs nothing pays
nothing.
"""

from __future__ import annotations

import logging
import os
import traceback
from typing import Any

from taskflow.pools.context import place

__all__ = ["RECORD", "install"]

RECORD = "record"
"""The kind of note that a record is."""

_MOST_CHARS = 32_000
_TASK_LOGGER = "taskflow.task"


def install(level: int | None) -> None:
    """Be a process in which nothing is set up but this.

    Args:
        level: The least level that the pool is told of; `None` tells it nothing.
    """
    root = logging.getLogger()
    for logger in (root, logging.getLogger("taskflow"), logging.getLogger(_TASK_LOGGER)):
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    least = logging.WARNING if level is None else min(level, logging.WARNING)
    root.setLevel(least)
    if logging.lastResort is not None:
        logging.lastResort.setLevel(least)
    if level is not None:
        _tell_from(level)


def _tell_from(level: int) -> None:
    handle = logging.Logger.callHandlers

    def handle_and_tell(self: logging.Logger, record: logging.LogRecord) -> None:
        handle(self, record)
        if record.levelno >= level:
            _tell(self, record)

    logging.Logger.callHandlers = handle_and_tell  # type: ignore[method-assign]


def _tell(logger: logging.Logger, record: logging.LogRecord) -> None:
    here = place()
    request = here.request() if here is not None else None
    if here is None or request is None:
        return
    here.note(
        RECORD,
        {
            "level": record.levelno,
            "name": record.name,
            "text": _text(record),
            "exc": _exception(record),
            "at": record.created,
            "pid": os.getpid(),
            "task_id": request.id if request.width == 1 else f"{request.id}[{request.index}]",
            "task_name": request.label,
            "is_task": _is_of_tasks(logger),
        },
    )


def _text(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()[:_MOST_CHARS]
    except Exception:  # noqa: BLE001 - the arguments do not fit, or cannot be shown: handlers have said so
        return str(record.msg)[:_MOST_CHARS]


def _exception(record: logging.LogRecord) -> str | None:
    if record.exc_text:
        return record.exc_text[:_MOST_CHARS]
    if not record.exc_info or record.exc_info[1] is None:
        return None
    return "".join(traceback.format_exception(record.exc_info[1])).rstrip()[:_MOST_CHARS]


def _is_of_tasks(logger: logging.Logger | None) -> bool:
    """Whether it was made by `taskflow.logs.get_task_logger`."""
    above: Any = logger
    while above is not None:
        if above.name == _TASK_LOGGER:
            return True
        above = above.parent
    return False
