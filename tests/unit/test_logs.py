"""The log of a worker: formats, colours, the signals around it, and what came from tasks."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskflow import Taskflow, logs, signals
from taskflow.errors import ConfigError
from taskflow.ids import NodeId
from taskflow.records import LeaseKey, Note


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The loggers of this process are left as they were."""
    loggers = [logging.getLogger(name) for name in (None, "taskflow", logs.TASK_LOGGER)]
    before = [(one, list(one.handlers), one.level, one.propagate) for one in loggers]
    yield
    for one, handlers, level, propagate in before:
        for handler in one.handlers:
            if handler not in handlers:
                handler.close()
        one.handlers[:] = handlers
        one.setLevel(level)
        one.propagate = propagate


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


def record(**told: Any) -> Note:
    data = {
        "level": logging.WARNING,
        "name": "proj.tasks",
        "text": "careful",
        "exc": None,
        "at": time.time(),
        "pid": 123,
        "task_id": "t-1",
        "task_name": "proj.add",
        "is_task": False,
    }
    return Note(LeaseKey(NodeId("n"), 0, 1, 1), "record", data | told)


def lines_of(log: Path) -> list[str]:
    """The lines without the time."""
    return [line.partition(": ")[2] for line in log.read_text().splitlines()]


def test_lines_look_as_those_of_celery(log: Path) -> None:
    assert logs.setup("info", log)
    logging.getLogger("taskflow.worker").info("ready")
    logs.write_records([record(level=logging.INFO, text="added 100 %s")])

    assert lines_of(log) == [
        "INFO/MainProcess] ready",
        "INFO/Child-123] proj.add[t-1]: added 100 %s",
    ]
    assert log.read_text().startswith(time.strftime("[%Y-%m-%d "))
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_line_of_ours_carries_the_keys_of_its_record(log: Path) -> None:
    logs.setup("info", log)
    logging.getLogger("taskflow.worker.loop").warning("lease lost", extra={"node": "n1", "action": "lose"})

    assert lines_of(log) == ["WARNING/MainProcess] lease lost action=lose node=n1"]


def test_formats_may_be_given(log: Path) -> None:
    logs.setup("info", log, format="%(name)s|%(message)s", task_format="%(task_id)s|%(name)s|%(message)s")
    logging.getLogger("other").info("one")
    logs.write_records([record()])
    logs.get_task_logger("proj.more").warning("three")

    assert log.read_text().splitlines() == ["other|one", "t-1|proj.tasks|careful", "???|proj.more|three"]


def test_formats_may_come_from_the_settings_of_an_app(log: Path) -> None:
    app = Taskflow("logging", set_as_current=False)
    app.conf.update(worker_log_format="%(message)s!", worker_task_log_format="%(task_name)s: %(message)s")

    logs.setup("info", log, **logs.options_of(app.conf))
    logging.getLogger("other").info("one")
    logs.write_records([record()])

    assert log.read_text().splitlines() == ["one!", "proj.add: careful"]
    assert logs.options_of({"worker_log_color": False}) == {"color": False}


def test_below_the_level_nothing_is_written(log: Path) -> None:
    logs.setup("error", log)
    logging.getLogger("other").warning("no")
    logging.getLogger("other").error("yes")

    assert lines_of(log) == ["ERROR/MainProcess] yes"]


def test_a_second_call_takes_the_place_of_the_first(log: Path) -> None:
    logs.setup("info", log.with_name("first"))
    logs.setup("info", log)
    logging.getLogger("other").info("once")
    logs.write_records([record(is_task=True)])

    assert lines_of(log) == ["INFO/MainProcess] once", "WARNING/Child-123] proj.add[t-1]: careful"]
    assert log.with_name("first").read_text() == ""


def test_exceptions_of_tasks_stand_below_their_line(log: Path) -> None:
    logs.setup("info", log)
    logs.write_records([record(exc="Traceback …\nValueError: 7")])

    assert log.read_text().splitlines()[1:] == ["Traceback …", "ValueError: 7"]


def test_what_a_terminal_would_obey_is_written_out(log: Path) -> None:
    logs.setup("info", log)
    logs.write_records([record(text="\x1b[2Jgone\r\x9b", task_name="a\x07b")])

    assert lines_of(log) == ["WARNING/Child-123] a\\x07b[t-1]: \\x1b[2Jgone\\x0d\\x9b"]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_are_coloured_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    written = {}
    for name, stream in (("terminal", _Terminal()), ("pipe", io.StringIO())):
        monkeypatch.setattr(sys, "stderr", stream)
        logs.setup("info")
        logging.getLogger("other").error("red")
        logging.getLogger("other").info("plain")
        written[name] = stream.getvalue().splitlines()

    red, plain = written["terminal"]
    assert red.startswith("\x1b[31m[")
    assert red.endswith("red\x1b[0m")
    assert plain.startswith("[")
    assert not any("\x1b" in line for line in written["pipe"])


def test_colours_may_be_wanted_or_not(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs.setup("info", log, color=True)
    logging.getLogger("other").critical("loud")
    assert log.read_text().startswith("\x1b[35m")

    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    logs.setup("info", color=False)
    logging.getLogger("other").critical("loud")
    assert "\x1b" not in terminal.getvalue()


def test_who_sets_up_logging_does_it_alone(log: Path) -> None:
    seen: list[dict[str, Any]] = []

    @signals.setup_logging.connect
    def mine(**told: Any) -> None:
        seen.append(told)

    before = list(logging.root.handlers)
    try:
        assert not logs.setup("debug", log)
    finally:
        signals.setup_logging.disconnect(mine)

    (told,) = seen
    assert (told["loglevel"], told["logfile"], told["colorize"]) == (logging.DEBUG, log, False)
    assert told["format"] == logs.WORKER_FORMAT
    assert logging.root.handlers == before
    assert not log.exists()


def test_handlers_may_be_added_after_the_set_up(log: Path) -> None:
    mine = io.StringIO()
    heard: list[Any] = []

    @signals.after_setup_logger.connect
    def plain(logger: logging.Logger, **told: Any) -> None:
        heard.append((logger, told["format"]))

    @signals.after_setup_task_logger.connect
    def of_tasks(logger: logging.Logger, **told: Any) -> None:
        heard.append((logger, told["format"]))
        for handler in logger.handlers:
            handler.setFormatter(logs.TaskFormatter("%(task_id)s!%(message)s"))
        logger.addHandler(logging.StreamHandler(mine))

    try:
        logs.setup("info", log)
    finally:
        signals.after_setup_logger.disconnect(plain)
        signals.after_setup_task_logger.disconnect(of_tasks)
    logs.write_records([record(is_task=True, name="proj.tasks.unknown")])

    tasks = logging.getLogger(logs.TASK_LOGGER)
    assert heard == [(logging.root, logs.WORKER_FORMAT), (tasks, logs.TASK_FORMAT)]
    assert log.read_text() == "t-1!careful\n"
    assert mine.getvalue() == "careful\n"


def test_without_hijacking_the_root_logger_is_left_alone(log: Path) -> None:
    before = list(logging.root.handlers), logging.root.level

    logs.setup("debug", log, hijack=False)
    logging.getLogger("taskflow.worker").info("ours")

    assert (list(logging.root.handlers), logging.root.level) == before
    assert lines_of(log) == ["INFO/MainProcess] ours"]


def test_a_record_is_handled_by_the_loggers_that_this_process_knows() -> None:
    mine = io.StringIO()
    logger = logging.getLogger("known_here.tasks")
    logger.addHandler(logging.StreamHandler(mine))
    try:
        logs.write_records(
            [record(name="known_here.tasks.deeper"), record(name=f"unheard{os.getpid()}.of", text="no")]
        )
    finally:
        logger.handlers.clear()

    assert mine.getvalue() == "careful\n"
    assert f"unheard{os.getpid()}" not in logging.root.manager.loggerDict


def test_records_are_taken_out_of_what_is_kept() -> None:
    note = Note(LeaseKey(NodeId("n"), 0, 1, 1), "log", {"text": "x"})

    assert logs.write_records([record(level="high"), note, record(at=None)]) == [note]


def test_a_task_logger_has_the_logger_of_tasks_above_it() -> None:
    logger = logs.get_task_logger("some.module.of.tasks")

    assert logger is logs.get_task_logger("some.module.of.tasks") is logging.getLogger("some.module.of.tasks")
    assert logger.parent is logging.getLogger(logs.TASK_LOGGER)
    for name in ("", "taskflow", logs.TASK_LOGGER):
        with pytest.raises(ConfigError, match="__name__"):
            logs.get_task_logger(name)


def test_what_cannot_be_set_up_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no log level 'inof'.*info"):
        logs.setup("inof")
    with pytest.raises(ConfigError, match="cannot be opened"):
        logs.setup("info", tmp_path / "no" / "folder")
