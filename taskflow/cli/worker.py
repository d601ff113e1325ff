"""Start a worker here: it takes work from the store and runs it in child processes, until Ctrl-C.

The first Ctrl-C (or SIGTERM) lets running calls end, the second stops them; what did not end goes back to
the store. The exit code is 0 after a stop that was asked for, 69 when the store cannot be opened (in the time
of --wait-for-store), 70 when the worker was stuck.
"""

from __future__ import annotations

from argparse import SUPPRESS, Namespace
from typing import TYPE_CHECKING, Any

from taskflow.cli.exits import Exit
from taskflow.errors import ConfigError

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "start worker processes here, until Ctrl-C"
EXAMPLES = """
taskflow worker                                     a call at once for each processor
taskflow worker sqlite:////data/runs.db -n 4        four calls at once, from that store
taskflow worker redis://host:6379/0 -Q gpu        for a store on a server: work of other machines
taskflow worker -Q slow,default --pool thread       these queues, calls in threads
taskflow worker -Q high:3,default:1                 three calls of high for one of default, when both wait
taskflow worker --autoscale 10,3                    3 calls at once, up to 10 while work waits
taskflow worker --accept json --allow 'shop.tasks.*'  for callers without a key: names and JSON only
taskflow worker --idle-exit 600 --recycle-mb 2000   for batch machines
"""

_OPTIONS = (
    (("-n", "--slots"), "N", "calls at once, or auto (the default): one per processor"),
    (("--autoscale",), "MOST,LEAST", "calls at once: more while work waits, fewer when there is none"),
    (("-Q", "--queues"), "NAMES", "queues: gpu,default; high:3,default:1 (default; json with --accept json)"),
    (("--strict",), None, "the first queue before the next, whatever the priorities"),
    (("--pool",), "POOL", "what runs the calls: process (the default), thread or async"),
    (("--name",), "NAME", "how it is called in lists (host and process)"),
    (("--grace",), "S", "how long running calls may go on after Ctrl-C (30)"),
    (("--idle-exit",), "S", "leave after so long without work"),
    (
        ("--accept",),
        "KINDS",
        "pickle (what is signed, the default), json (calls by name), or both",
    ),
    (("--allow",), "NAMES", "which names may be called, comma-separated: 'shop.tasks.*'"),
    (("--preload",), "MODULES", "modules that children find imported, comma-separated"),
    (("--threads",), "N", "BLAS and OpenMP threads of a call"),
    (("--recycle-calls",), "N", "a new child after so many calls"),
    (("--recycle-mb",), "MB", "a new child when one is so large (default: half of its share of memory)"),
    (("--keep-days",), "D", "forget ended runs after so long (7)"),
    (("--keep-gb",), "GB", "forget the oldest while the store is larger (4)"),
    (("--lease",), "S", "work of a lost worker is free after so long (15)"),
    (("--wait-for-store",), "S", "when there is no server, look for it for so long (0)"),
    (("--loglevel",), "LEVEL", "debug, info (the default), warning or error"),
)
"""Flags, what they take, and help; `taskflow.worker.process` checks the values."""
_CHOICES = {"--pool": ("process", "thread", "async"), "--loglevel": ("debug", "info", "warning", "error")}


def arguments(parser: Parser) -> None:
    """Declare the arguments; those that are not given are left to the worker."""
    parser.add_argument("store", nargs="?", metavar="URL", help="the store, as with --url")
    for flags, takes, explained in _OPTIONS:
        known = _CHOICES.get(flags[-1])
        takes_value: dict[str, Any] = (
            {"metavar": takes, "choices": known} if takes else {"action": "store_true"}
        )
        parser.add_argument(*flags, default=SUPPRESS, help=explained, **takes_value)


def run(options: Namespace, console: Console) -> int:
    """Be the worker."""
    from taskflow.worker.process import main

    url = options.store or console.url
    if url.startswith("memory:"):
        raise ConfigError("A memory:// store is seen by its own process alone: name a file, such as runs.db.")
    words = ["--url", url]
    for flags, _, _ in _OPTIONS:
        value = getattr(options, flags[-1].removeprefix("--").replace("-", "_"), None)
        words += [] if value is None else [flags[-1]] if value is True else [f"{flags[-1]}={value}"]
    try:
        return main(words)
    except SystemExit as stop:  # its own parser refused a value, and said so
        return stop.code if isinstance(stop.code, int) else Exit.MISUSED
