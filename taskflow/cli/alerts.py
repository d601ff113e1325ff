"""List alerts, look at what they ask for, pause, resume, remove and test them.

`run` looks every few seconds and delivers notices, until it is interrupted; any number of them may run.
"""

from __future__ import annotations

import signal
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from taskflow.cli.exits import Exit
from taskflow.cli.words import ago
from taskflow.errors import UsageError
from taskflow.observe.table import Column

if TYPE_CHECKING:
    from taskflow.alerts import Alerts
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "list, watch, pause and test alerts"
EXAMPLES = """
taskflow alerts                 what is looked for, and how it stands
taskflow alerts run             look every 5 seconds, and tell whom it may concern
taskflow alerts test failing    tell all places of an alert that this is a test
taskflow alerts pause failing
taskflow alerts resume failing
taskflow alerts remove failing
"""

_ACTIONS = ("list", "run", "test", "pause", "resume", "remove")
_COLUMNS = (
    Column("name", shrinks=True),
    Column("when", shrinks=True),
    Column("state"),
    Column("since", right=True),
    Column("now", right=True),
    Column("notify", shrinks=True),
    Column("error", shrinks=True),
)


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("action", nargs="?", choices=_ACTIONS, default="list", metavar="ACTION", help=", ".join(_ACTIONS))
    add("name", nargs="?", metavar="NAME", help="which alert")
    add("--every", type=float, default=5.0, metavar="S", help="with run: how often it looks, seconds (5)")


def run(options: Namespace, console: Console) -> int:
    """List them, or do what was said."""
    if (options.name is None) is not (options.action in ("list", "run")):
        wanted = "takes no name" if options.name else "needs the name of an alert"
        raise UsageError(f"`taskflow alerts {options.action}` {wanted}.")
    home = _Home(console)
    if options.action == "run":
        return _watch(options, home, console)
    from taskflow.alerts import Alerts

    alerts = Alerts(home)
    if options.action == "list":
        return _show(alerts, console)
    getattr(alerts, options.action)(options.name)
    return Exit.OK


class _Home:
    """The store of the console, and the user's key."""

    def __init__(self, console: Console) -> None:
        from taskflow.codec import Codec, Keyring

        self.store = console.store
        self.codec = Codec(Keyring.load(), self.store.blobs)

    def when_closed(self, stop: Any, /) -> None:
        """The console is closed when the command has ended."""


def _watch(options: Namespace, home: _Home, console: Console) -> int:
    from taskflow.alerts import Watch

    if not options.every > 0:
        raise UsageError(f"--every {options.every} is not possible: use a number of seconds above 0.")
    watch = Watch(home, look_s=options.every)
    before = signal.signal(signal.SIGTERM, lambda *_: watch.stop())
    console.hint("Looking for what alerts ask for. Ctrl-C ends it.")
    try:
        watch.run()
    finally:
        signal.signal(signal.SIGTERM, before)
    return Exit.OK


def _show(alerts: Alerts, console: Console) -> int:
    rows = alerts.rows()
    if console.json:
        console.dump(rows)
        return Exit.OK
    if not rows:
        console.hint("There are no alerts. client.alerts.add(...) makes one.")
        return Exit.OK
    console.table(
        _COLUMNS,
        [
            (
                row["name"],
                row["when"],
                row["state"] if row["enabled"] else "paused",
                ago(row["since"], console.now()),
                "" if row["now"] is None else f"{row['now']:g}",
                row["notify"],
                row["error"],
            )
            for row in rows
        ],
    )
    return Exit.OK
