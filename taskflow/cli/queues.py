"""List the queues that have work."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from taskflow.cli.exits import Exit
from taskflow.observe.table import Column
from taskflow.observe.text import count

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "list queues and what waits in them"
EXAMPLES = """
taskflow queues
"""

_COUNTS = ("queued", "waiting", "running")
_COLUMNS = (
    Column("queue", shrinks=True),
    *(Column(name, right=True) for name in _COUNTS),
    Column("workers", right=True),
)


def arguments(parser: Parser) -> None:
    """It has none of its own."""


def run(options: Namespace, console: Console) -> int:
    """List them."""
    found = console.store.queues()
    if console.json:
        console.dump(found)
        return Exit.OK
    if not found:
        console.hint("All queues are empty.")
        return Exit.OK
    workers = console.store.workers()
    rows = [
        (
            str(queue["queue"]),
            *(count(queue[name]) for name in _COUNTS),
            str(sum(queue["queue"] in worker.queues for worker in workers)),
        )
        for queue in found
    ]
    console.table(_COLUMNS, rows)
    return Exit.OK
