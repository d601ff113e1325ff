"""Run again what gave no value in a run, as a new run. What succeeded is kept, and not run again."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from taskflow.cli.exits import Exit
from taskflow.states import TERMINAL

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "run again what failed in a run"
EXAMPLES = """
taskflow retry 019a9a3b-4f21                            prints the id of the new run
taskflow show -f "$(taskflow retry 019a9a3b-4f21)"      and watches it
"""


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("id", metavar="RUN", help="id of the run")


def run(options: Namespace, console: Console) -> int:
    """Submit it anew; prints the id of the new run."""
    from taskflow.cli.target import look_up
    from taskflow.errors import UsageError
    from taskflow.ids import RunId, new_id

    target = look_up(console.store, options.id)
    if target.item is not None or (target.node is not None and str(target.node.id) != target.run.id):
        raise UsageError(f"A run is retried as a whole: taskflow retry {target.run.id}")
    new = RunId(new_id())
    nodes = console.store.rerun(target.run.id, new)
    if not nodes:
        over = target.run.state in TERMINAL
        console.hint(
            "taskflow: Nothing to run again: all of it succeeded."
            if over
            else "taskflow: Nothing to run again yet: it has not ended, and nothing failed so far."
        )
        return Exit.FAILED
    if console.json:
        console.dump({"run": new, "nodes": nodes})
    else:
        console.say(new)
    return Exit.OK
