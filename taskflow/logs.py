"""The log of a worker: its own lines, and what tasks log while they run.

A task logs as any code does. Its records come from the child that runs it to the worker, as records: the
handlers of the worker's process write them, with the name and the id of the task. They stay in the captured
output of the task too, as far as the child prints them.

    >>> log = get_task_logger("proj.tasks")
    >>> log.parent.name
    'taskflow.task'

The words are Celery's: `get_task_logger`, `TaskFormatter`, and formats that know ``%(task_name)s`` and
``%(task_id)s``.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from taskflow import signals
from taskflow.errors import ConfigError, nearest
from taskflow.pools import context
from taskflow.pools.relay import RECORD
from taskflow.records import Note

__all__ = [
    "TASK_FORMAT",
    "TASK_LOGGER",
    "WORKER_FORMAT",
    "Formatter",
    "TaskFormatter",
    "get_task_logger",
    "options_of",
    "setup",
    "write_records",
]

TASK_LOGGER = "taskflow.task"
"""The parent of all loggers of tasks."""
WORKER_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
TASK_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"

_KEYS = ("action", "run", "node", "attempt", "worker", "queue", "duration_s", "count")
_COLOURS = {"DEBUG": "34", "WARNING": "33", "ERROR": "31", "CRITICAL": "35"}
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_OURS = "taskflow"
_SETTINGS = {
    "format": "worker_log_format",
    "task_format": "worker_task_log_format",
    "datefmt": "worker_log_datefmt",
    "task_datefmt": "worker_task_log_datefmt",
    "color": "worker_log_color",
    "hijack": "worker_hijack_root_logger",
}


def get_task_logger(name: str) -> logging.Logger:
    """The logger for a module of tasks: what it logs is handled as what tasks log.

    Args:
        name: As for `logging.getLogger`; ``__name__`` as a rule.

    Raises:
        ConfigError: The name is one of taskflow's own.
    """
    if name in ("", "taskflow", TASK_LOGGER):
        raise ConfigError(f"{name!r} is no name for the logger of a task: use the module's, __name__.")
    tasks, logger = logging.getLogger(TASK_LOGGER), logging.getLogger(name)
    if logger.parent in (None, logging.root):
        logger.parent = tasks
    return logger


class Formatter(logging.Formatter):
    """One line a record: as the format says, then the fixed keys that records of taskflow carry.

    What a terminal would obey is written out: what tasks log may come from anywhere.

    Args:
        format: In the style of ``%``.
        datefmt: For ``%(asctime)s``; the date with milliseconds by default.
        color: Whether lines have the colour of their level.
    """

    def __init__(self, format: str, datefmt: str | None = None, color: bool = False) -> None:  # noqa: A002
        super().__init__(format, datefmt)
        self._color = color

    def format(self, record: logging.LogRecord) -> str:
        """The line, or lines, of a record."""
        told = vars(record)
        text = super().format(record).translate(_CONTROLS)
        if record.name.startswith("taskflow."):
            text = " ".join([text, *(f"{key}={told[key]}" for key in _KEYS if key in told)])
        code = _COLOURS.get(record.levelname) if self._color else None
        return f"\x1b[{code}m{text}\x1b[0m" if code else text


class TaskFormatter(Formatter):
    """A formatter whose format may have ``%(task_name)s`` and ``%(task_id)s``; ``???`` outside of a task."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, or lines, of a record."""
        told = vars(record)
        if "task_id" not in told:
            here = context.place()
            request = here.request() if here is not None else None
            told["task_id"] = request.id if request is not None else "???"
            told["task_name"] = request.label if request is not None else "???"
        return super().format(record)


class _Either(logging.Formatter):
    """The one for records of tasks, the other for the rest."""

    def __init__(self, tasks: logging.Formatter, rest: logging.Formatter) -> None:
        super().__init__()
        self._tasks, self._rest = tasks, rest

    def format(self, record: logging.LogRecord) -> str:
        return (self._tasks if "task_id" in vars(record) else self._rest).format(record)


def setup(
    level: str | int = "INFO",
    file: str | os.PathLike[str] | None = None,
    *,
    format: str | None = None,  # noqa: A002 - Celery's word for it
    task_format: str | None = None,
    datefmt: str | None = None,
    task_datefmt: str | None = None,
    color: bool | None = None,
    hijack: bool = True,
) -> bool:
    """Have this process write its log; a second call takes the place of the first.

    A receiver of `signals.setup_logging` does it instead. Those of `signals.after_setup_logger` and
    `signals.after_setup_task_logger` are given the loggers, to add handlers of their own.

    Args:
        level: The least level that is written.
        file: Where to; it is made for its owner alone, and opened again when it was rotated. By default the
            error output.
        format: Of the worker's own lines, and of others; `WORKER_FORMAT` by default.
        task_format: Of what tasks log; `TASK_FORMAT` by default.
        datefmt: Of the time in the former.
        task_datefmt: Of the time in the latter; `datefmt` by default.
        color: Whether lines have colours; by default on a terminal only.
        hijack: Set up the root logger; else only that of taskflow, and others are left alone.

    Returns:
        Whether it was done here, and not by a receiver.

    Raises:
        ConfigError: There is no such level, or the file cannot be opened.
    """
    number = _level(level)
    format, task_format = format or WORKER_FORMAT, task_format or TASK_FORMAT  # noqa: A001
    colorize = (file is None and sys.stderr.isatty()) if color is None else color
    told = {"loglevel": number, "logfile": file, "colorize": colorize}
    if signals.setup_logging.has_listeners():
        signals.setup_logging.send(None, **told, format=format)
        return False
    of_tasks = TaskFormatter(task_format, task_datefmt or datefmt, colorize)
    either = _Either(of_tasks, Formatter(format, datefmt, colorize))
    logger = logging.getLogger(None if hijack else "taskflow")
    _give(logger, _handler(file, either), number)
    signals.after_setup_logger.send(None, logger=logger, **told, format=format)

    tasks = logging.getLogger(TASK_LOGGER)
    _give(tasks, _handler(file, of_tasks), number)
    tasks.propagate = False
    signals.after_setup_task_logger.send(None, logger=tasks, **told, format=task_format)
    return True


def options_of(conf: Mapping[str, Any]) -> dict[str, Any]:
    """What `setup` takes beside level and file, as the settings of an app say it (``worker_log_format`` …).

    Args:
        conf: `taskflow.settings.Settings`, or any mapping; what it lacks is as by default.
    """
    told = {name: conf.get(setting) for name, setting in _SETTINGS.items()}
    return {name: value for name, value in told.items() if value is not None}


def write_records(notes: Sequence[Note]) -> list[Note]:
    """Have the handlers of this process write what tasks have logged in others.

    Args:
        notes: What a pool has heard. It is untrusted: only loggers that are known here get a record, and its
            text is no format.

    Returns:
        Those that are no records.
    """
    for note in notes:
        if note.kind == RECORD:
            _write(note.data)
    return [note for note in notes if note.kind != RECORD]


def _write(told: Mapping[str, Any]) -> None:
    level, at, text = told.get("level"), told.get("at"), str(told.get("text", ""))
    if not isinstance(level, int) or not isinstance(at, (int, float)):
        return
    record = logging.makeLogRecord(
        {
            "name": str(told.get("name", "")),
            "levelno": level,
            "levelname": logging.getLevelName(level),
            "msg": text,
            "created": at,
            "msecs": at % 1 * 1000,
            "process": told.get("pid"),
            "processName": f"Child-{told.get('pid')}",
            "exc_text": told.get("exc"),
            "task_id": told.get("task_id"),
            "task_name": told.get("task_name"),
        }
    )
    _known(record.name, bool(told.get("is_task"))).handle(record)


def _known(name: str, is_task: bool) -> logging.Logger:
    """The logger of that name, or the one above it that is known here: none is made."""
    known = logging.root.manager.loggerDict
    while name:
        logger = known.get(name)
        if isinstance(logger, logging.Logger):
            return get_task_logger(name) if is_task and not name.startswith("taskflow") else logger
        name = name.rpartition(".")[0]
    return logging.getLogger(TASK_LOGGER if is_task else None)


def _level(level: str | int) -> int:
    number = logging.getLevelName(level.upper()) if isinstance(level, str) else level
    if not isinstance(number, int):
        levels = ("debug", "info", "warning", "error", "critical")
        raise ConfigError(f"There is no log level {level!r}.{nearest(str(level).lower(), levels)}")
    return number


def _handler(file: str | os.PathLike[str] | None, formatter: logging.Formatter) -> logging.Handler:
    handler: logging.Handler = logging.StreamHandler() if file is None else _file_handler(file)
    handler.setFormatter(formatter)
    handler.set_name(_OURS)
    return handler


def _file_handler(file: str | os.PathLike[str]) -> logging.Handler:
    from logging.handlers import WatchedFileHandler

    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
        return WatchedFileHandler(file, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigError(f"The log file {os.fspath(file)} cannot be opened: {error.strerror}.") from error


def _give(logger: logging.Logger, handler: logging.Handler, level: int) -> None:
    """Put a handler in place of what an earlier call has set up."""
    for old in [one for one in logger.handlers if one.get_name() == _OURS]:
        logger.removeHandler(old)
        old.close()
    logger.addHandler(handler)
    logger.setLevel(level)
