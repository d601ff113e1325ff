"""Cancel runs, tasks or single items. What runs is stopped by its worker; what has ended stays as it is."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from taskflow.cli.exits import Exit
from taskflow.states import TERMINAL

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser
    from taskflow.cli.target import Target

SUMMARY = "stop runs, tasks or single items"
EXAMPLES = """
taskflow cancel 019a9a3b-4f21                      a run
taskflow cancel 019a9a3b-4f21:7 019a9a3b-4f21:9    two items of a map
taskflow cancel 019a9a3b-4f21 --reason "wrong input"
"""


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("ids", nargs="+", metavar="ID[:INDEX]", help="runs, tasks, or single items of maps")
    parser.add_argument("--reason", default="", metavar="TEXT", help="kept with the run")


def run(options: Namespace, console: Console) -> int:
    """Cancel them; all ids are looked up before anything is changed."""
    from taskflow.cli.target import look_up

    targets = [look_up(console.store, word) for word in options.ids]
    answers = []
    for word, target in zip(options.ids, targets, strict=True):
        node = target.id if target.item is None else target.nodes[0].id
        changed = console.store.cancel(node, index=target.item, reason=options.reason)
        answers.append({"id": node, "index": target.item, "changed": changed})
        if not console.json:
            console.say(f"{word}  {'cancelled' if changed else _why_not(target, console)}")
    if console.json:
        console.dump(answers)
    return Exit.OK


def _why_not(target: Target, console: Console) -> str:
    if target.item is None:
        state = target.node.state if target.node is not None else target.run.state
        return f"had ended: {state}"
    items = console.store.items(target.nodes[0].id)
    item = next((item for item in items if item.lo <= target.item < item.hi), None)
    if item is None or item.state in TERMINAL:
        return f"had ended: {item.state}" if item else "had ended"
    return "runs together with other items, and cannot be stopped alone"
