"""Print what tasks wrote: their standard output, standard error and logging."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from typing import TYPE_CHECKING

from taskflow.cli.exits import Exit
from taskflow.observe.text import visible
from taskflow.states import TERMINAL

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser
    from taskflow.cli.target import Target

SUMMARY = "print the captured output of tasks"
EXAMPLES = """
taskflow logs 019a9a3b-4f21         of all tasks of a run
taskflow logs 019a9a3b-4f21:7       of item 7 of a map
taskflow logs 019a9a3b-4f21 -f      go on until it ends
"""


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("id", metavar="ID[:INDEX]", help="id of a run or a task; INDEX is one item of a map")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until it ends")


def run(options: Namespace, console: Console) -> int:
    """Print them."""
    from taskflow.cli.follow import news
    from taskflow.cli.target import look_up

    target = look_up(console.store, options.id)
    seen: Counter[tuple[str, int]] = Counter()
    if not options.follow:
        _write_new(target, seen, console)
        if not seen:
            console.hint("Nothing was written.")
        return Exit.OK
    for _ in news(console.store):
        target = look_up(console.store, options.id)
        over = all(node.state in TERMINAL for node in target.nodes)
        _write_new(target, seen, console)
        console.out.flush()
        if over:
            break
    return Exit.OK


def _write_new(target: Target, seen: Counter[tuple[str, int]], console: Console) -> None:
    """Write what the store has beyond what was seen of each item; an item's pieces keep their order."""
    several = len(target.nodes) > 1
    for node in target.nodes:
        met: Counter[int] = Counter()
        for index, text in console.store.logs(node.id, index=target.item):
            met[index] += 1
            if met[index] <= seen[node.id, index]:
                continue
            seen[node.id, index] += 1
            if console.json:
                console.dump({"node": node.id, "label": node.label, "index": index, "text": text})
                continue
            name = (node.label or node.id) if several else ""
            if node.array and target.item is None:
                name += f"[{index}]"
            _write(text, f"{visible(name)} | " if name else "", console)


def _write(text: str, prefix: str, console: Console) -> None:
    for line in visible(text, lines=True).removesuffix("\n").split("\n"):
        console.out.write(f"{prefix}{line}\n")
