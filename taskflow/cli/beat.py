"""Send what is scheduled, until Ctrl-C: each tick becomes a run, which workers take.

Any number of beats may look after the same store: each tick is sent once, and when one is gone the others
go on. With an application its `beat_schedule` is put into the store when the beat begins.
"""

from __future__ import annotations

import logging
import signal
from argparse import Namespace
from contextlib import closing
from typing import TYPE_CHECKING, Any

from taskflow.cli.exits import Exit
from taskflow.errors import ConfigError

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "send what is scheduled, until Ctrl-C"
EXAMPLES = """
taskflow beat                           what is scheduled in your own store
taskflow -A proj beat --loglevel=info   with the beat_schedule of an application
taskflow beat redis://host:6379/0       for a store on a server; start as many as you like
"""

_LEVELS = ("debug", "info", "warning", "error", "critical")
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("store", nargs="?", metavar="URL", help="the store, as with --url")
    add(
        "--max-interval",
        type=float,
        default=5.0,
        metavar="S",
        help="look for changes this often at least (5)",
    )
    add("-l", "--loglevel", type=str.lower, choices=_LEVELS, default="info", help="what is logged (info)")
    add("-f", "--logfile", metavar="FILE", help="where to, instead of the terminal")
    add("-D", "--detach", action="store_true", help="in the background")
    add("--pidfile", metavar="FILE", help="where its process id is written")
    add("--uid", metavar="USER", help="be this user, from root")
    add("--gid", metavar="GROUP", help="and of this group")
    add("--umask", metavar="MASK", help="no meaning here: it writes no files but its own")
    add("-n", "--hostname", metavar="NAME", help="no meaning here: beats have no names")
    add("--executable", metavar="FILE", help="no meaning here: it is this Python")
    add("--enable-remote-control", action="store_true", help="no meaning here: `taskflow schedules` tells it")
    for flags in (("-s", "--schedule"), ("-S", "--scheduler")):
        add(*flags, metavar="X", help="no meaning here: schedules are kept in the store")


def run(options: Namespace, console: Console) -> int:
    """Be the beat."""
    from taskflow.beat import Beat
    from taskflow.client import Client
    from taskflow.worker.daemon import Pidfile, become, ready_pipe, say_ready

    if options.max_interval <= 0:
        raise ConfigError(f"--max-interval={options.max_interval:g} is not possible: use seconds above 0.")
    if options.schedule or options.scheduler:
        console.hint("taskflow: --schedule and --scheduler have no meaning here: the store keeps schedules.")
    if options.detach:
        from taskflow.cli import background

        return background.start(options, console)
    url = options.store or console.url
    if url.startswith("memory:"):
        raise ConfigError("A memory:// store is seen by its own process alone: name a file, such as runs.db.")
    ready = ready_pipe()
    _log(options)
    app: Any = console.app if console.has_app else None
    become(options.uid, options.gid, None)
    pidfile = Pidfile(options.pidfile) if options.pidfile else None
    client = Client(url, workers=0)
    try:
        kind = {"max_interval": options.max_interval}
        with closing(Beat(client, **kind) if app is None else Beat.of(app, client=client, **kind)) as beat:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: beat.stop())
            say_ready(ready, quiet=not options.logfile)
            beat.run()
    finally:
        if pidfile is not None:
            pidfile.remove()
        client.shutdown(wait=False)
    return Exit.OK


def _log(options: Namespace) -> None:
    handler = logging.FileHandler(options.logfile) if options.logfile else logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT))
    logger = logging.getLogger("taskflow")
    logger.addHandler(handler)
    logger.setLevel(options.loglevel.upper())
