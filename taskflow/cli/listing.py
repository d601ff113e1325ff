"""List the queues that workers serve, or that have work."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from taskflow.cli.exits import Exit
from taskflow.observe.table import Column

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "list queues, and who serves them"
EXAMPLES = """
taskflow list queues              as `taskflow queues`, with those that are empty and served
taskflow list bindings            the same: a queue is its name here, there are no exchanges
"""

_COLUMNS = (Column("queue", shrinks=True), Column("queued", right=True), Column("served by", shrinks=True))


def arguments(parser: Parser) -> None:
    """What to list."""
    known = ("queues", "bindings")
    parser.add_argument(
        "what", nargs="?", default="queues", choices=known, metavar="WHAT", help=" or ".join(known)
    )


def run(options: Namespace, console: Console) -> int:
    """List them."""
    from taskflow.observe.overview import queue_rows

    waiting = {
        str(row["queue"]): int(row["queued"]) + int(row["waiting"]) for row in queue_rows(console.store)
    }
    served: dict[str, list[str]] = {name: [] for name in waiting}
    for worker in console.store.workers():
        for queue in worker.queues:
            served.setdefault(queue, []).append(str(worker.id))
    rows = [(name, waiting.get(name, 0), sorted(served[name])) for name in sorted(served)]
    if options.what == "bindings":
        console.hint("There are no exchanges and no bindings here: a queue is its name.")
    if console.json:
        console.dump([{"queue": name, "queued": items, "served_by": who} for name, items, who in rows])
    elif rows:
        console.table(_COLUMNS, [(name, str(items), ", ".join(who) or "nobody") for name, items, who in rows])
    else:
        console.hint("No queue has work, and no worker is there.")
    return Exit.OK
