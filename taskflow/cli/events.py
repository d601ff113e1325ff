"""Print what happens in the store, as it happens, until Ctrl-C.

The store keeps what happens always; nothing needs to be switched on in workers.
"""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime
from typing import TYPE_CHECKING

from taskflow.cli.exits import Exit
from taskflow.cli.words import items_name
from taskflow.errors import NoSuchRun, ResultExpired, UsageError
from taskflow.observe.table import paint

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser
    from taskflow.records import Event

SUMMARY = "print what happens, as it happens"
EXAMPLES = """
taskflow events                   from now on
taskflow events --all             what the store still knows, then from now on
taskflow events --once --all --json   that, and no more, a line of JSON each
"""

_PAGE = 1_000
_LABELS_MOST = 10_000


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("-d", "--dump", action="store_true", help="taken for Celery's sake: it is a stream of lines always")
    add("--all", action="store_true", help="begin with what has happened before")
    add("--once", action="store_true", help="do not wait for more")
    add("-c", "--camera", metavar="CLASS", help="no meaning here: the store is read at any time")
    taken = parser.add_argument_group("of cameras, without a meaning here")
    for flags in (
        ("-F", "--freq", "--frequency"),
        ("-r", "--maxrate"),
        ("-l", "--loglevel"),
        ("-f", "--logfile"),
    ):
        taken.add_argument(*flags, metavar="X", help="there are no cameras")
    for flag in ("--pidfile", "--uid", "--gid", "--umask", "--executable"):
        taken.add_argument(flag, metavar="X", help="there are no cameras")
    taken.add_argument("--detach", action="store_true", help="there are no cameras")


def run(options: Namespace, console: Console) -> int:
    """Print them."""
    if options.camera:
        raise UsageError(
            "There are no cameras here: what a snapshot would hold is in the store. Read it with"
            " `taskflow runs --json`, or client.runs(), whenever you want."
        )
    from taskflow.cli.follow import news

    store, teller = console.store, _Teller(console)
    newest = store.events(-1)
    cursor = 0 if options.all or not newest else newest[-1].cursor
    for _ in news(store):
        while found := store.events(cursor, limit=_PAGE):
            cursor = found[-1].cursor
            for event in found:
                teller.tell(event)
        console.out.flush()
        if options.once:
            break
    return Exit.OK


class _Teller:
    """Writes events; the names of tasks are looked up once for a run.

    Args:
        console: Where.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._labels: dict[str, tuple[str, bool]] = {}

    def tell(self, event: Event) -> None:
        label, array = self._label(event)
        if self._console.json:
            self._console.dump({**event._asdict(), "task": label})
            return
        at = datetime.fromtimestamp(event.at).astimezone().strftime("%H:%M:%S.%f")[:-3]
        what = str(event.node or event.run)
        if event.hi > event.lo:
            what = items_name(what, event.lo, event.hi, array=array)
        state = paint(f"{event.state:<9}", event.state) if self._console.colour else f"{event.state:<9}"
        self._console.out.write(f"{at}  {state}  ")
        self._console.say(f"{label or 'run'}  {what}")

    def _label(self, event: Event) -> tuple[str, bool]:
        node = str(event.node)
        if node and node not in self._labels:
            if len(self._labels) > _LABELS_MOST:
                self._labels.clear()
            try:
                run, _ = self._console.store.snapshot(event.run)
            except (NoSuchRun, ResultExpired):
                return "", True
            self._labels |= {str(one.id): (one.label, one.array) for one in run.nodes}
        return self._labels.get(node, ("", True))
