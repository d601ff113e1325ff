"""List the rates, limits and circuit breakers that are in use."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from taskflow.cli.exits import Exit
from taskflow.observe.table import Column

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "list rates, limits and circuit breakers in use"
EXAMPLES = """
taskflow limits
taskflow limits --json
"""

_COLUMNS = (
    Column("limit", shrinks=True),
    Column("kind"),
    Column("running", right=True),
    Column("tokens", right=True),
    Column("state"),
    Column("waits"),
)


def arguments(parser: Parser) -> None:
    """It takes none."""


def run(options: Namespace, console: Console) -> int:
    """List them."""
    from taskflow.observe.overview import limit_rows

    found = limit_rows(console.store)
    if console.json:
        console.dump(found)
        return Exit.OK
    if not found:
        console.hint("No limit is in use.")
        return Exit.OK
    console.table(_COLUMNS, [tuple(_cell(row[str(column.title)]) for column in _COLUMNS) for row in found])
    return Exit.OK


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
