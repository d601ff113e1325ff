"""List the workers that were seen in the last minute.

One that is *behind* does not follow yet what was told with `taskflow control`.
"""

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
    from taskflow.records import WorkerView

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
    Column("status"),
    Column("memory", right=True),
    Column("python"),
    Column("up", right=True),
    Column("seen", right=True),
)


def arguments(parser: Parser) -> None:
    """It has none of its own."""


def run(options: Namespace, console: Console) -> int:
    """List them."""
    from taskflow.observe.overview import serves, status

    found, now = console.store.workers(), console.now()
    if console.json:
        console.dump(found)
        return Exit.OK
    if not found:
        console.hint("No worker is there. A client starts its own; `taskflow worker` starts one here.")
        return Exit.OK
    from taskflow.records import WORKERS

    wanted = console.store.posted(WORKERS)
    revision = wanted.revision if wanted is not None else 0
    rows = [
        (
            w.id,
            w.host,
            str(w.pid),
            serves(w),
            f"{w.busy}/{w.slots}" + _most(w),
            status(w) + (", behind" if w.info.get("followed", revision) != revision else ""),
            f"{w.info['memory_bytes'] / 1e6:,.0f} MB" if "memory_bytes" in w.info else "",
            str(w.info.get("python", "")),
            duration(now - w.started_at),
            ago(w.seen_at, now),
        )
        for w in found
    ]
    console.table(_COLUMNS, rows)
    return Exit.OK


def _most(worker: WorkerView) -> str:
    """Up to how many slots it grows."""
    most, comma, _ = str(worker.info.get("autoscale", "")).partition(",")
    return f" of {most}" if comma else ""
