"""List what runs by itself, pause it, resume it, remove it, run it now, or tell when it runs next."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from taskflow.cli.exits import Exit
from taskflow.cli.words import ago
from taskflow.errors import UsageError
from taskflow.observe.table import Column

if TYPE_CHECKING:
    from taskflow.beat import Schedules
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "list what runs by itself; pause, resume, remove or run it"
EXAMPLES = """
taskflow schedules                      one row for each
taskflow schedules next -n 20           the next ticks of all
taskflow schedules next nightly         those of one
taskflow schedules pause nightly        not until it is resumed
taskflow schedules resume nightly
taskflow schedules run nightly          now, besides; prints the id of the run
taskflow schedules remove nightly old   for good
"""

_ACTIONS = ("list", "next", "pause", "resume", "remove", "run")
_COLUMNS = (
    Column("name", shrinks=True),
    Column("runs", shrinks=True),
    Column("when", shrinks=True),
    Column("zone"),
    Column("state"),
    Column("next", right=True),
    Column("last", right=True),
    Column("count", right=True),
)
_TICKS = (Column("at"), Column("schedule", shrinks=True), Column("runs", shrinks=True))


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("action", nargs="?", choices=_ACTIONS, default="list", metavar="ACTION", help=", ".join(_ACTIONS))
    add("names", nargs="*", metavar="NAME", help="of schedules")
    add("-n", type=int, default=10, metavar="N", help="with next: how many ticks (10)")


def run(options: Namespace, console: Console) -> int:
    """Show or change them."""
    schedules, names = _schedules(console), options.names
    if options.action == "list":
        return _list(schedules, console)
    if options.action == "next":
        return _next(schedules, options.n, names, console)
    if not names:
        raise UsageError(f"Which one? taskflow schedules {options.action} NAME")
    if options.action == "run":
        for name in names:
            console.say(schedules.run_now(name))
        return Exit.OK
    getattr(schedules, options.action)(*names)
    console.hint(f"{_DONE[options.action]}: {', '.join(names)}.")
    return Exit.OK


_DONE = {"pause": "Paused", "resume": "Resumed", "remove": "Removed"}


def _schedules(console: Console) -> Schedules:
    from taskflow.beat import Schedules
    from taskflow.beat.schedules import Home
    from taskflow.codec import Codec, Keyring

    store = console.store

    def drawn(sig: Any) -> Any:
        raise UsageError("Schedules are added in Python: client.schedules.add(...)")

    home = Home(
        store,
        Codec(Keyring.load(), store.blobs),
        drawn,
        send=lambda plan: store.submit([plan]).get(plan.run),
        attach=str,
        is_open=lambda: True,
    )
    return Schedules(home)


def _list(schedules: Schedules, console: Console) -> int:
    rows = schedules.rows()
    if console.json:
        console.dump(list(map(_for_programs, rows)))
        return Exit.OK
    if not rows:
        console.hint("Nothing is scheduled: client.schedules.add(...) in Python, or beat_schedule of an app.")
        return Exit.OK
    now = console.now()
    console.table(
        _COLUMNS,
        [
            (
                row["name"],
                row["runs"],
                row["when"],
                row["tz"],
                row["state"],
                _shown(row["next"]),
                ago(row["last"].timestamp(), now) if row["last"] is not None else "",
                str(row["count"]),
            )
            for row in rows
        ],
    )
    return Exit.OK


def _next(schedules: Schedules, n: int, names: list[str], console: Console) -> int:
    if n < 1:
        raise UsageError(f"-n {n} is not possible: use a number above 0.")
    if len(names) > 1:
        raise UsageError("Name one schedule, or none for all.")
    rows = schedules.next_rows(n, names[0] if names else None)
    if console.json:
        console.dump(list(map(_for_programs, rows)))
    else:
        console.table(_TICKS, [(_shown(row["at"]), row["schedule"], row["runs"]) for row in rows])
    return Exit.OK


def _for_programs(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def _shown(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment is not None else ""
