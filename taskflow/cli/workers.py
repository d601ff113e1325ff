"""List the workers that were seen in the last minute."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from taskflow.cli.exits import Exit
from taskflow.cli.words import ago
from taskflow.observe.table import Column
from taskflow.observe.text import duration

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "list workers"
EXAMPLES = """
taskflow workers
taskflow workers --json
"""

_COLUMNS = (
    Column("worker"),
    Column("host", shrinks=True),
    Column("pid", right=True),
    Column("queues", shrinks=True),
    Column("busy", right=True),
    Column("up", right=True),
    Column("seen", right=True),
)


def arguments(parser: Parser) -> None:
    """It has none of its own."""


def run(options: Namespace, console: Console) -> int:
    """List them."""
    found, now = console.store.workers(), console.now()
    if console.json:
        console.dump(found)
        return Exit.OK
    if not found:
        console.hint("No worker is there. A client starts its own; `taskflow worker` starts one here.")
        return Exit.OK
    rows = [
        (
            w.id,
            w.host,
            str(w.pid),
            ",".join(w.queues),
            f"{w.busy}/{w.slots}",
            duration(now - w.started_at),
            ago(w.seen_at, now),
        )
        for w in found
    ]
    console.table(_COLUMNS, rows)
    return Exit.OK
