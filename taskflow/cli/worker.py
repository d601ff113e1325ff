"""Start a worker here: it takes work from the store and runs it in child processes, until Ctrl-C.

The first Ctrl-C (or SIGTERM) lets running calls end, the second stops them; what did not end goes back to
the store. SIGQUIT stops at once, SIGHUP starts anew. The exit code is 0 after a stop that was asked for, 69
when the store cannot be opened (in the time of --wait-for-store), 70 when the worker was stuck.

With -A it has the settings and tasks of an application. `taskflow worker status`, `stop` and `restart` are
about the workers of this machine.
"""

from __future__ import annotations

from argparse import SUPPRESS, Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from taskflow.cli.exits import Exit
from taskflow.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "start worker processes here, until Ctrl-C"
EXAMPLES = """
taskflow worker                                     a call at once for each processor
taskflow -A proj worker -l info -c 4                for the tasks of an application; as Celery's
taskflow worker sqlite:////data/runs.db -n 4        four calls at once, from that store
taskflow worker redis://host:6379/0 -Q gpu        for a store on a server: work of other machines
taskflow worker -Q slow,default --pool thread       these queues, calls in threads
taskflow worker -Q high:3,default:1                 three calls of high for one of default, when both wait
taskflow worker --autoscale 10,3                    3 calls at once, up to 10 while work waits
taskflow worker --accept json --allow 'shop.tasks.*'  for callers without a key: names and JSON only
taskflow worker --idle-exit 600 --recycle-mb 2000   for batch machines
taskflow -A proj worker --detach --logfile w.log --pidfile w.pid
taskflow worker stop --pidfile w.pid                or: stop NAME, or all of this machine
"""

_OPTIONS = (
    (("-n", "--slots"), "N", "calls at once, or auto (the default): one per processor; a name is --name"),
    (("-c", "--concurrency"), "N", "the same as -n"),
    (("--autoscale",), "MOST,LEAST", "calls at once: more while work waits, fewer when there is none"),
    (("-Q", "--queues"), "NAMES", "queues: gpu,default; high:3,default:1 (default; json with --accept json)"),
    (("-X", "--exclude-queues"), "NAMES", "but not these"),
    (("--strict",), None, "the first queue before the next, whatever the priorities"),
    (("--purge", "--discard"), None, "cancel first what waits in its queues"),
    (("-P", "--pool"), "POOL", "process (the default; prefork), thread, async; solo: one call at a time"),
    (("--name", "--hostname"), "NAME", "how it is called in lists; %%h is the host (host and process)"),
    (("--grace",), "S", "how long running calls may go on after Ctrl-C (30)"),
    (("--soft-shutdown",), "S", "and after SIGQUIT (0)"),
    (("--idle-exit",), "S", "leave after so long without work"),
    (
        ("--accept",),
        "KINDS",
        "pickle (what is signed, the default), json (calls by name), or both",
    ),
    (("--allow",), "NAMES", "which names may be called, comma-separated: 'shop.tasks.*'"),
    (("--preload", "-I", "--include"), "MODULES", "modules that children find imported, comma-separated"),
    (("--threads",), "N", "BLAS and OpenMP threads of a call"),
    (("--recycle-calls", "--max-tasks-per-child"), "N", "a new child after so many calls"),
    (("--recycle-mb",), "MB", "a new child when one is so large (default: half of its share of memory)"),
    (("--recycle-kb", "--max-memory-per-child"), "KIB", "the same, in Celery's unit"),
    (("--time-limit",), "S", "a call without a limit of its own is killed after so long"),
    (("--soft-time-limit",), "S", "SoftTimeLimitExceeded is raised in it after so long"),
    (("--keep-days",), "D", "forget ended runs after so long (7)"),
    (("--keep-gb",), "GB", "forget the oldest while the store is larger (4)"),
    (("--lease",), "S", "work of a lost worker is free after so long (15)"),
    (("--wait-for-store",), "S", "when there is no server, look for it for so long (0)"),
    (("-l", "--loglevel"), "LEVEL", "debug, info, warning or error; said, info has a line for each task"),
    (("-f", "--logfile"), "FILE", "where log lines go, %%n is its name (the terminal)"),
    (("--pidfile",), "FILE", "where its process id is written"),
    (("--uid",), "USER", "be this user, from root"),
    (("--gid",), "GROUP", "and of this group"),
    (("--umask",), "MASK", "of files that calls make: 022"),
)
"""Flags, what they take, and help; `taskflow.worker.process` checks the values, under the first long flag."""


def _pool(text: str) -> str:
    from taskflow.worker.options import pool_named

    return pool_named(text)


def _level(text: str) -> str:
    from taskflow.worker.options import level_named

    return level_named(text)


_CHECKED = {"--pool": _pool, "--loglevel": _level}
"""What is refused here, in one line."""

_NO_MEANING = (
    (("-E", "--task-events", "--events"), None, "what happens is always kept"),
    (("-O", "--optimization"), "PROFILE", "work goes to the child that is free"),
    (("--without-gossip",), None, "workers do not talk to each other"),
    (("--without-mingle",), None, "workers do not talk to each other"),
    (("--without-heartbeat",), None, "leases are renewed, or work would be lost"),
    (("--heartbeat-interval",), "S", "see --lease"),
    (("--prefetch-multiplier",), "N", "a few milliseconds of work are taken ahead, no more"),
    (("--disable-prefetch",), None, "a few milliseconds of work are taken ahead, no more"),
    (("-S", "--statedb"), "FILE", "what was revoked is kept in the store"),
    (("-s", "--schedule", "--schedule-filename"), "FILE", "schedules are kept in the store"),
    (("--scheduler",), "CLASS", "schedules are kept in the store"),
    (("--pool-start-method",), "NAME", "children are forked from a template that has one thread"),
    (("--executable",), "FILE", "it is this Python"),
)
"""Celery's flags that are taken and change nothing, and why."""


FLAGS = {
    **{flag: takes is not None for flags, takes, _ in (*_OPTIONS, *_NO_MEANING) for flag in flags},
    **dict.fromkeys(("-B", "--beat", "-D", "--detach", "--autoreload"), False),
}
"""For each flag whether a value follows it."""


def arguments(parser: Parser) -> None:
    """Declare the arguments; those that are not given are left to the worker."""
    add = parser.add_argument
    add("store", nargs="?", metavar="URL", help="the store, as with --url; or status, stop, restart")
    add("which", nargs="*", metavar="NAME", help="with these: which workers of this machine")
    for flags, takes, explained in _OPTIONS:
        takes_value: dict[str, Any] = {"metavar": takes} if takes else {"action": "store_true"}
        if _long(flags) in _CHECKED:
            takes_value["type"] = _CHECKED[_long(flags)]
        add(*flags, dest=_dest(flags), default=SUPPRESS, help=explained, **takes_value)
    add("-B", "--beat", action="store_true", help="send what is scheduled as well")
    add("-D", "--detach", action="store_true", help="in the background")
    add("--autoreload", action="store_true", help="start anew when a source file changes; for development")
    taken = parser.add_argument_group("taken for Celery's sake, without a meaning here")
    for flags, takes, why in _NO_MEANING:
        nothing: dict[str, Any] = {"metavar": takes} if takes else {"action": "store_true"}
        taken.add_argument(*flags, dest=f"no_{_dest(flags)}", default=SUPPRESS, help=why, **nothing)


def run(options: Namespace, console: Console) -> int:
    """Be the worker, or see to those that are there."""
    from taskflow.cli import background

    if options.store in background.VERBS:
        return background.see_to(options.store, options, console)
    if options.which:
        raise UsageError(f"{options.which[0]!r} is one argument too many.")
    if options.detach:
        return background.start(options, console)
    return _work(options, console)


def _work(options: Namespace, console: Console) -> int:
    from taskflow.cli import hosting
    from taskflow.worker.process import main

    _say_what_has_no_meaning(options, console)
    app = hosting.application(options, console) if console.has_app else None
    of_app = [] if app is None else hosting.flags_of(app, options)
    url = options.store or console.url
    if url.startswith("memory:"):
        raise ConfigError("A memory:// store is seen by its own process alone: name a file, such as runs.db.")
    try:
        return main(["--url", url, *of_app, *_words(options)], hosted=hosting.hosted(app, options, url))
    except SystemExit as stop:  # its own parser refused a value, and said so
        return stop.code if isinstance(stop.code, int) else Exit.MISUSED


def _words(options: Namespace) -> Iterator[str]:
    """The options for `taskflow.worker.process`, as they were given."""
    for flags, _, _ in _OPTIONS:
        flag, value = _long(flags), getattr(options, _dest(flags), None)
        if flag == "--slots" and value is not None and value != "auto" and not _is_number(value):
            flag = "--name"
        if value is not None:
            yield flag if value is True else f"{flag}={value}"
    if options.autoreload:
        from pathlib import Path

        yield f"--autoreload={Path.cwd()}"


def _say_what_has_no_meaning(options: Namespace, console: Console) -> None:
    given = [
        f"{_long(flags)} ({why})" for flags, _, why in _NO_MEANING if hasattr(options, f"no_{_dest(flags)}")
    ]
    if given:
        console.hint(f"taskflow worker: taken, and without a meaning here: {', '.join(given)}.")


def _long(flags: tuple[str, ...]) -> str:
    return next(flag for flag in flags if flag.startswith("--"))


def _dest(flags: tuple[str, ...]) -> str:
    return _long(flags).removeprefix("--").replace("-", "_")


def _is_number(text: str) -> bool:
    return text.lstrip("-").isdigit()
