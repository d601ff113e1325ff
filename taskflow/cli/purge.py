"""Empty queues: what waits in them is cancelled, what runs goes on."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from taskflow.cli.exits import Exit
from taskflow.cli.words import plural
from taskflow.errors import UsageError

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "cancel all that waits in queues"
EXAMPLES = """
taskflow purge                    all queues; asks before it does
taskflow purge -Q gpu,slow        these
taskflow purge -X default -f      all but this, without asking
"""


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("-Q", "--queues", metavar="NAMES", help="only these queues, separated by commas")
    parser.add_argument("-X", "--exclude-queues", metavar="NAMES", help="all queues but these")
    parser.add_argument("-f", "--force", action="store_true", help="do not ask")


def run(options: Namespace, console: Console) -> int:
    """Purge them, when the person at the terminal says so."""
    lengths = {str(row["queue"]): _waiting(row) for row in console.store.queues()}
    names = _names(options.queues) or [name for name, items in lengths.items() if items]
    names = [name for name in names if name not in _names(options.exclude_queues)]
    items = sum(lengths.get(name, 0) for name in names)
    if items and not options.force and not _is_sure(names, items, console):
        console.hint("Nothing was cancelled.")
        return Exit.FAILED
    purged = {name: console.store.purge(name) for name in names}
    if console.json:
        console.dump(purged)
    elif not any(purged.values()):
        console.hint("Nothing waits there." if names else "All queues are empty.")
    else:
        for name, count in purged.items():
            console.say(f"{name}  {plural(count, 'item')} cancelled")
    return Exit.OK


def _names(text: str | None) -> list[str]:
    return [name for name in dict.fromkeys((text or "").split(",")) if name]


def _waiting(row: Mapping[str, Any]) -> int:
    return int(row["queued"] + row["waiting"])


def _is_sure(names: list[str], items: int, console: Console) -> bool:
    """Ask at the terminal.

    Raises:
        UsageError: There is nobody to ask.
    """
    what = f"{plural(items, 'item')} of {', '.join(names)}"
    if not sys.stdin.isatty():
        raise UsageError(f"This cancels {what}: say -f, since there is no terminal to ask at.")
    print(f"Cancel {what}? What runs goes on. [y/N] ", end="", file=console.err, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
