"""From arguments to an exit code: which command, which store, and what errors look like."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Protocol, TextIO

from taskflow import __version__
from taskflow.cli import (
    alerts,
    beat,
    call,
    cancel,
    control,
    dead,
    doctor,
    events,
    graph,
    inspect,
    key,
    limits,
    listing,
    logs,
    multi,
    purge,
    queues,
    refused,
    report,
    result,
    retry,
    runs,
    schedules,
    shell,
    show,
    status,
    worker,
    workers,
)
from taskflow.cli.application import Sought
from taskflow.cli.console import Console
from taskflow.cli.exits import Exit
from taskflow.cli.parser import Parser
from taskflow.errors import NoSuchRun, ResultExpired, TaskflowError, UsageError
from taskflow.observe.terminal import is_live
from taskflow.observe.text import visible

if TYPE_CHECKING:
    from taskflow.ports import Store

__all__ = ["run"]


class Command(Protocol):
    """What a module of a command offers."""

    SUMMARY: str
    EXAMPLES: str

    def arguments(self, parser: Parser, /) -> None:
        """Declare its arguments."""

    def run(self, options: argparse.Namespace, console: Console, /) -> int:
        """Do it, and return the exit code."""


COMMANDS: dict[str, Command] = {
    "worker": worker,
    "runs": runs,
    "show": show,
    "result": result,
    "logs": logs,
    "cancel": cancel,
    "retry": retry,
    "dead": dead,
    "workers": workers,
    "queues": queues,
    "purge": purge,
    "limits": limits,
    "alerts": alerts,
    "control": control,
    "beat": beat,
    "schedules": schedules,
    "inspect": inspect,
    "status": status,
    "call": call,
    "list": listing,
    "report": report,
    "events": events,
    "shell": shell,
    "graph": graph,
    "multi": multi,
    "doctor": doctor,
    "key": key,
    **refused.COMMANDS,
}

_DESCRIPTION = "Look at runs, take results, start workers."

_EPILOG = """\
examples:
  taskflow worker -n 4              start four worker processes on this machine
  taskflow runs --failed            what went wrong lately
  taskflow show 019a9a3b-4f21 -f    watch a run until it ends
  taskflow result 019a9a3b-4f21     print what it returned
  taskflow -A proj worker -l info   as Celery's: the tasks, settings and store of an application

ids may be shortened to a unique prefix; ID:INDEX is one item of a map.
The store is --url, else that of the application, else $TASKFLOW_URL, else your own embedded store.

exit codes:
  0    all is well
  1    the task or run failed, or something is wrong
  2    wrong use: an unknown command, option, id or store
  69   no worker answered, or the store of a worker is not there
  130  interrupted with Ctrl-C

`taskflow COMMAND --help` explains a command."""


def run(
    argv: Sequence[str] | None = None,
    *,
    out: TextIO | None = None,
    err: TextIO | None = None,
    opened: Callable[[str], Store] | None = None,
    now: Callable[[], float] = time.time,
) -> int:
    """Parse arguments, run the command, turn errors into a line and a code.

    Args:
        argv: Arguments without the program's name.
        out: Instead of the standard output.
        err: Instead of the standard error.
        opened: Opens a store by its URL, instead of `taskflow.stores.open_store`.
        now: Seconds since the epoch.
    """
    out, err = out or sys.stdout, err or sys.stderr
    _tolerate_any_text(out, err)
    try:
        code = _run(sys.argv[1:] if argv is None else list(argv), out, err, opened, now)
        out.flush()
        return code
    except KeyboardInterrupt:
        if is_live(err):
            err.write("\n")  # behind the ^C
        return Exit.INTERRUPTED
    except BrokenPipeError:
        _abandon(out)
        return Exit.OK
    except (TaskflowError, OSError) as error:
        err.write(f"taskflow: {visible(str(error))}\n")
        return _code(error)


def _run(
    argv: list[str],
    out: TextIO,
    err: TextIO,
    opened: Callable[[str], Store] | None,
    now: Callable[[], float],
) -> int:
    try:
        options = _parsed(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else Exit.OK
    url, json = getattr(options, "url", None), getattr(options, "json", False)
    options.argv, options.started_in = argv, os.getcwd()  # noqa: PTH109 - as text, for a start anew
    if getattr(options, "workdir", None):
        os.chdir(options.workdir)
    if getattr(options, "no_color", False):
        os.environ["NO_COLOR"] = "1"
    sought = Sought(
        name=getattr(options, "app", None),
        config=getattr(options, "config", None),
        broker=url,
        backend=getattr(options, "result_backend", None),
    )
    quiet = getattr(options, "quiet", False)
    with closing(
        Console(out, err, url=url, json=json, opened=opened, now=now, sought=sought, quiet=quiet)
    ) as console:
        if getattr(options, "loader", None):
            console.hint(
                "taskflow: --loader has no meaning here: -A names the application, --config a module."
            )
        return COMMANDS[options.command].run(options, console)


def _parsed(argv: list[str]) -> argparse.Namespace:
    parser, commands = _parsers()
    options, left = parser.parse_known_args(argv)
    if options.command is None:
        parser.print_help(sys.stderr)
        raise SystemExit(Exit.MISUSED)
    commands[options.command].refuse_unknown(left)
    return options


def _parsers() -> tuple[Parser, dict[str, Parser]]:
    shared = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    common = shared.add_argument_group("everywhere")
    add = common.add_argument
    add("-A", "--app", metavar="APP", help="the application: module, or module:variable")
    add("-b", "--url", "--broker", metavar="URL", help="the store: a path, or redis://host:6379/0")
    add("--result-backend", metavar="URL", help="where results are put as well")
    add("--config", metavar="MODULE", help="settings of the application")
    add("--loader", metavar="NAME", help="no meaning here: -A and --config name modules")
    add("--skip-checks", action="store_true", help="no meaning here: there are no checks to skip")
    add("--workdir", metavar="FOLDER", help="go there first")
    add("-C", "--no-color", action="store_true", help="no colours")
    add("-q", "--quiet", action="store_true", help="nothing but answers and errors")
    add("-j", "--json", action="store_true", help="write tables as JSON, for programs")
    usage = "taskflow COMMAND ..."
    parser = Parser(prog="taskflow", description=_DESCRIPTION, epilog=_EPILOG, parents=[shared], usage=usage)
    python = ".".join(map(str, sys.version_info[:3]))
    parser.add_argument("--version", action="version", version=f"taskflow {__version__}, Python {python}")
    listed = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=Parser)
    commands = {}
    for name, command in COMMANDS.items():
        commands[name] = listed.add_parser(
            name,
            help=command.SUMMARY,
            description=command.__doc__,
            examples=command.EXAMPLES,
            parents=[shared],
            prog=f"taskflow {name}",
        )
        command.arguments(commands[name])
    return parser, commands


def _code(error: Exception) -> Exit:
    misused = isinstance(error, (UsageError, NoSuchRun, ResultExpired))
    return Exit.MISUSED if misused else Exit.FAILED


def _tolerate_any_text(*streams: TextIO) -> None:
    """A terminal that cannot show a character gets an escape, not an error."""
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _abandon(out: TextIO) -> None:
    """Let nothing be written to the closed pipe at exit, where it would be a traceback."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, out.fileno())
        os.close(null)
