"""Show a run: its tasks as a graph with their states and counts, and what went wrong."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from taskflow.cli.exits import Exit
from taskflow.cli.following import STEPS_MOST, follow
from taskflow.cli.words import (
    NO_VALUE,
    ago,
    counted,
    done,
    done_of,
    error_line,
    failed,
    items_name,
    plural,
    took,
)
from taskflow.observe.table import Column
from taskflow.observe.text import count, duration
from taskflow.states import TERMINAL, State

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser
    from taskflow.cli.target import Target
    from taskflow.records import ItemView, NodeView, RunView

SUMMARY = "show a run: its tasks, their progress, what went wrong"
EXAMPLES = """
taskflow show 019a9a3b-4f21            how it stands
taskflow show 019a9a3b-4f21 -f         watch it until it ends; the exit code is 1 if it fails
taskflow show 019a9a3b-4f21 --items    a row for every item with a story of its own
"""

ROWS_MOST = STEPS_MOST
BAR_CELLS = 16

_NODES = (
    Column("id"),
    Column("task", shrinks=True),
    Column("state", state=True),
    Column("", spare=True),
    Column("done", right=True),
    Column("running", right=True),
    Column("failed", right=True),
    Column("took", right=True),
)
_ITEMS = (
    Column("item"),
    Column("task", shrinks=True),
    Column("state", state=True),
    Column("tries", right=True),
    Column("took", right=True),
    Column("worker", shrinks=True, spare=True),
    Column("error", shrinks=True),
)


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    parser.add_argument("id", metavar="RUN", help="id of a run, or of one task of it")
    parser.add_argument("-f", "--follow", action="store_true", help="watch it until it ends")
    parser.add_argument("--items", action="store_true", help="list all items, not only those that failed")


def run(options: Namespace, console: Console) -> int:
    """Show it."""
    from taskflow.cli.target import look_up

    target = look_up(console.store, options.id)
    if options.follow:
        target = target._replace(run=follow(target.run, console))
        if target.node is not None:
            target = look_up(console.store, target.node.id)
    if console.json:
        record = {**target.run._asdict(), "nodes": target.nodes}
        if options.items:
            record["items"] = {node.id: console.store.items(node.id) for node in target.nodes}
        console.dump(record)
    else:
        _write(target, console, every_item=options.items)
    state = target.node.state if target.node is not None else target.run.state
    return Exit.FAILED if options.follow and state is not State.SUCCEEDED else Exit.OK


# ── what is written ──────────────────────────────────────────────────────────────────


def _write(target: Target, console: Console, *, every_item: bool) -> None:
    from taskflow.observe.steps import has_graph

    run, now = target.run, console.now()
    console.title(f"{run.name or 'run'}  {run.state}", run.state)
    console.say(f"id       {run.id}")
    console.say(f"started  {ago(run.created_at, now)}, {'took' if run.ended_at else 'for'} {took(run, now)}")
    console.say(f"items    {counted(run.counts) or 'none'}")
    again = run.meta.get("rerun_of")
    if isinstance(again, str):
        console.say(f"again    what gave no value in {again}")
    console.say()
    nodes = target.nodes
    if target.node is None and has_graph(run):
        _write_graph(run, console, every_item=every_item)
    elif len(nodes) > ROWS_MOST and not every_item:
        _write_stages(run, console)
    else:
        names = console.short(node.id for node in nodes)
        console.table(_NODES, [_node_row(node, names[node.id], now, console.plain) for node in nodes])
    _write_items(target, console, every_item=every_item)


def _node_row(node: NodeView, name: str, now: float, plain: bool) -> Sequence[str]:
    took_s = None if node.started_at is None else (node.ended_at or now) - node.started_at
    return (
        name,
        node.label,
        node.state,
        *_figures(node.counts, None if node.growing else node.width, took_s, plain),
    )


def _figures(
    counts: Mapping[State, int], width: int | None, took_s: float | None, plain: bool
) -> Sequence[str]:
    """What is said of a task, and of several as one: from the bar to the time."""
    from taskflow.observe.terminal import bar

    running, bad = counts.get(State.RUNNING, 0), failed(counts)
    return (
        bar(done(counts), width, BAR_CELLS, plain=plain),
        done_of(counts, width),
        count(running) if running else "",
        count(bad) if bad else "",
        duration(took_s),
    )


def _write_graph(run: RunView, console: Console, *, every_item: bool) -> None:
    """Tasks that depend on each other: each below those it waits for, with lines between them."""
    from taskflow.observe.lanes import rows_of
    from taskflow.observe.steps import steps_of

    now = console.now()
    steps = steps_of(run, None if every_item else STEPS_MOST)
    alone = all(len(step.nodes) == 1 for step in steps)
    names = console.short(step.key for step in steps) if alone else {}
    rows = []
    for graph, step in rows_of(steps, plain=console.plain):
        if step is None:
            rows.append(("", graph, *[""] * (len(_NODES) - 2)))
            continue
        figures = _figures(step.counts, step.width, step.took_s(now), console.plain)
        rows.append((names.get(step.key, ""), f"{graph} {step.label}", step.state, *figures))
    console.table(_NODES if alone else _NODES[1:], rows if alone else [row[1:] for row in rows])
    if not alone:
        console.hint(
            f"{plural(len(run.nodes), 'task')}; those that are alike are one. All: --items, or --json"
        )


def _write_stages(run: RunView, console: Console) -> None:
    """A run of very many tasks: those with the same label in one row."""
    from taskflow.observe.board import Board
    from taskflow.observe.terminal import bar

    board = Board()
    board.show(run, now=console.now())
    rows = [
        (
            s.label,
            s.state,
            bar(s.done, s.total, BAR_CELLS, plain=console.plain),
            f"{count(s.done)}/{'?' if s.total is None else count(s.total)}",
            count(s.running) if s.running else "",
            count(s.failed) if s.failed else "",
            duration(s.elapsed_s),
        )
        for s in board.stages(console.now())
    ]
    console.table(_NODES[1:], rows[:ROWS_MOST])
    more = f" {plural(len(rows) - ROWS_MOST, 'more row')}." if len(rows) > ROWS_MOST else ""
    console.hint(f"{plural(len(run.nodes), 'task')} by label.{more} All of them: --items, or --json")


def _write_items(target: Target, console: Console, *, every_item: bool) -> None:
    found = list(_items(target, console, every_item=every_item))
    if not found:
        return
    names = console.short(node.id for node, _ in found)
    rows = [_item_row(node, item, names[node.id]) for node, item in found]
    limit = len(rows) if every_item else ROWS_MOST
    console.say()
    console.table(_ITEMS, rows[:limit])
    if len(rows) > limit:
        console.hint("There are more: --items lists them all.")


def _items(target: Target, console: Console, *, every_item: bool) -> Iterator[tuple[NodeView, ItemView]]:
    """All rows of the nodes; or those without a value, and little more of them than is shown."""
    room = ROWS_MOST + 1
    for node in target.nodes:
        if not every_item and (room <= 0 or not any(node.counts.get(state) for state in NO_VALUE)):
            continue
        for item in console.store.items(node.id):
            if target.item is not None and not item.lo <= target.item < item.hi:
                continue
            if every_item or target.item is not None or item.state in NO_VALUE:
                room -= 1
                yield node, item


def _item_row(node: NodeView, item: ItemView, name: str) -> Sequence[str]:
    return (
        items_name(name, item.lo, item.hi, array=node.array),
        node.label,
        item.state,
        str(max(item.attempts, item.deliveries) or ""),
        duration(item.took_s) if item.state in TERMINAL else "",
        item.worker or "",
        error_line(item.error),
    )
