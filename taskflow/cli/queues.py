"""List the queues that have work or are paused; pause and resume them."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from taskflow.cli.exits import Exit
from taskflow.errors import UsageError
from taskflow.observe.table import Column
from taskflow.observe.text import count

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "list queues and what waits in them; pause and resume them"
EXAMPLES = """
taskflow queues
taskflow queues pause gpu         workers take nothing more of it; what runs goes on
taskflow queues resume gpu
"""

_COUNTS = ("queued", "waiting", "running")
_COLUMNS = (
    Column("queue", shrinks=True),
    *(Column(name, right=True) for name in _COUNTS),
    Column("workers", right=True),
    Column("paused"),
)


def arguments(parser: Parser) -> None:
    """What to do with which queue; nothing lists them."""
    parser.add_argument("action", nargs="?", choices=("pause", "resume"), help="what to do")
    parser.add_argument("queue", nargs="?", metavar="QUEUE", help="with which queue")


def run(options: Namespace, console: Console) -> int:
    """List them, or pause or resume one."""
    if options.action:
        return _change(options, console)
    from taskflow.observe.overview import queue_rows

    found = queue_rows(console.store)
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
            "paused" if queue["paused"] else "",
        )
        for queue in found
    ]
    console.table(_COLUMNS, rows)
    return Exit.OK


def _change(options: Namespace, console: Console) -> int:
    if not options.queue:
        raise UsageError(f"Which queue? `taskflow queues` lists them: taskflow queues {options.action} NAME")
    resume = options.action == "resume"
    changed = console.store.pause(options.queue, resume=resume)
    word = "open" if resume else "paused"
    console.hint(f"Queue {options.queue} is {word}{'' if changed else ' already'}.")
    return Exit.OK
