"""Print a graph as text that `dot` draws: the tasks of a run, the workers of a store, the steps of a worker.

``taskflow graph workers | dot -Tsvg -o workers.svg``
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from taskflow.cli.exits import Exit
from taskflow.errors import UsageError

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "print a graph for dot: a run, workers, or the steps of a worker"
EXAMPLES = """
taskflow graph run 019a9a3b-4f21      its tasks, and what waits for what
taskflow graph workers                workers, their queues and slots
taskflow graph bootsteps              how a worker is started
"""

_STEPS = (
    ("options", "log file"),
    ("log file", "user"),
    ("user", "template"),
    ("template", "children"),
    ("template", "store"),
    ("store", "what is wanted"),
    ("what is wanted", "loop"),
    ("children", "loop"),
)
"""What comes first, and what after it."""
_COLOURS = {
    "succeeded": "palegreen",
    "running": "lightblue",
    "failed": "salmon",
    "dead": "salmon",
    "expired": "salmon",
    "waiting": "khaki",
}


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    known = ("run", "workflow", "canvas", "workers", "bootsteps")
    add("what", choices=known, metavar="WHAT", help="run (or canvas, workflow), workers, bootsteps")
    add("id", nargs="?", metavar="ID", help="which run")


def run(options: Namespace, console: Console) -> int:
    """Print it."""
    if options.what == "bootsteps":
        lines = _edges(_STEPS)
    elif options.what == "workers":
        lines = _workers(console)
    elif not options.id:
        raise UsageError(f"Which run? `taskflow runs` lists them: taskflow graph {options.what} ID")
    else:
        lines = _run(options.id, console)
    console.say("digraph {")
    console.say('    node [shape=box, style="rounded,filled", fillcolor=white, fontname="sans-serif"];')
    for line in lines:
        console.say(f"    {line}")
    console.say("}")
    return Exit.OK


def _run(word: str, console: Console) -> Iterator[str]:
    from taskflow.cli.target import look_up
    from taskflow.cli.words import counted
    from taskflow.observe.steps import steps_of

    steps = steps_of(look_up(console.store, word).run, most=500)
    known = {step.key for step in steps}
    for step in steps:
        colour = _COLOURS.get(step.state, "white")
        words = _text(f"{step.label}\n{counted(step.counts)}")
        yield f"{_text(step.key)} [label={words}, fillcolor={colour}];"
    for step in steps:
        for parent, gives in step.parents.items():
            if parent in known:
                yield f"{_text(parent)} -> {_text(step.key)}{'' if gives else ' [style=dashed]'};"


def _workers(console: Console) -> Iterator[str]:
    from taskflow.links import shown

    store = _text(shown(console.url))
    yield f"{store} [shape=cylinder];"
    queues: set[str] = set()
    for worker in console.store.workers():
        words = _text(f"{worker.id}\n{worker.busy} of {worker.slots} busy, {worker.host}")
        yield f"{_text(str(worker.id))} [label={words}];"
        queues |= set(worker.queues)
        for queue in worker.queues:
            yield f"{_text('queue ' + queue)} -> {_text(str(worker.id))};"
    for queue in sorted(queues):
        yield f"{_text('queue ' + queue)} [shape=ellipse, label={_text(queue)}];"
        yield f"{store} -> {_text('queue ' + queue)};"


def _edges(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for before, after in pairs:
        yield f"{_text(before)} -> {_text(after)};"


def _text(text: str) -> str:
    """A string of dot: quotes and backslashes in it are data."""
    return json.dumps(text, ensure_ascii=False)
