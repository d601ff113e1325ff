"""List dead letters: the items that failed for good, the newest first."""

from __future__ import annotations

from argparse import Namespace
from functools import cache
from typing import TYPE_CHECKING

from taskflow.cli.exits import Exit
from taskflow.cli.words import ago, error_line, items_name
from taskflow.observe.table import Column

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser
    from taskflow.ids import RunId
    from taskflow.records import NodeView

SUMMARY = "list the items that failed for good"
EXAMPLES = """
taskflow dead              the last 20
taskflow dead -n 500       more of them
taskflow retry RUN         runs those of a run again
"""

_COLUMNS = (
    Column("item"),
    Column("run"),
    Column("task", shrinks=True),
    Column("state", state=True),
    Column("tries", right=True),
    Column("started", right=True),
    Column("error", shrinks=True),
)


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    from taskflow.cli.parser import at_least

    parser.add_argument(
        "-n", dest="limit", type=at_least(1), default=20, metavar="N", help="at most so many (20)"
    )


def run(options: Namespace, console: Console) -> int:
    """List them."""
    letters = console.store.dead(limit=options.limit)
    if console.json:
        console.dump([{"run": run, "node": node, **item._asdict()} for run, node, item in letters])
        return Exit.OK
    if not letters:
        console.hint("There are no dead letters.")
        return Exit.OK

    @cache
    def nodes(run: RunId) -> dict[str, NodeView]:
        return {node.id: node for node in console.store.snapshot(run)[0].nodes}

    names = console.short(each for run, node, _ in letters for each in (run, node))
    rows = []
    for run, node, item in letters:
        view = nodes(run)[node]
        rows.append(
            (
                items_name(names[node], item.lo, item.hi, array=view.array),
                names[run],
                view.label,
                item.state,
                str(max(item.attempts, item.deliveries)),
                ago(item.started_at, console.now()),
                error_line(item.error),
            )
        )
    console.table(_COLUMNS, rows)
    return Exit.OK
