"""List runs, the newest first."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError, Namespace
from typing import TYPE_CHECKING, Any

from taskflow.cli.exits import Exit
from taskflow.cli.words import FAILURES, ago, done_of, failed, took
from taskflow.observe.table import Column
from taskflow.observe.text import count
from taskflow.states import State

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "list runs, the newest first"
EXAMPLES = """
taskflow runs                      the last 20
taskflow runs --failed -n 100      the last 100 that went wrong
taskflow runs --state running      those that are at work now
taskflow runs --match census       those with "census" in their name
taskflow runs --tag exp=7          those that were sent with this tag
"""

_STATES = tuple(state.value for state in (State.RUNNING, State.SUCCEEDED, *FAILURES, State.CANCELLED))
_COLUMNS = (
    Column("id"),
    Column("name", shrinks=True),
    Column("state", state=True),
    Column("done", right=True),
    Column("failed", right=True),
    Column("submitted", right=True),
    Column("took", right=True),
)


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    from taskflow.cli.parser import at_least

    parser.add_argument("--failed", action="store_true", help="only runs that failed, died or expired")
    parser.add_argument(
        "--state",
        action="append",
        choices=_STATES,
        metavar="STATE",
        help=f"only runs in this state ({', '.join(_STATES)}); may be repeated",
    )
    parser.add_argument("--match", default="", metavar="TEXT", help="part of the name, or start of the id")
    parser.add_argument(
        "--tag",
        dest="tags",
        action="append",
        type=_tag,
        default=[],
        metavar="NAME=VALUE",
        help="only runs with this tag; the value is JSON, or text; may be repeated",
    )
    parser.add_argument(
        "-n", dest="limit", type=at_least(1), default=20, metavar="N", help="at most so many (20)"
    )


def _tag(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ArgumentTypeError(f"{text!r} is no tag: write name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def run(options: Namespace, console: Console) -> int:
    """List them."""
    states = [*(options.state or ()), *(FAILURES if options.failed else ())]
    found = console.store.runs(
        limit=options.limit, states=states, match=options.match, tags=dict(options.tags)
    )
    if console.json:
        console.dump(found)
        return Exit.OK
    if not found:
        console.hint("No run is like that." if states or options.match or options.tags else "No runs yet.")
        return Exit.OK
    names, now = console.short(run.id for run in found), console.now()
    rows = []
    for each in found:
        bad = failed(each.counts)
        rows.append(
            (
                names[each.id],
                each.name,
                each.state,
                done_of(each.counts, each.total),
                count(bad) if bad else "",
                ago(each.created_at, now),
                took(each, now),
            )
        )
    console.table(_COLUMNS, rows)
    return Exit.OK
