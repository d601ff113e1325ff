"""Send a call of a task by its name, and print its id.

With -A the application sends it, with the settings and the options that it has for the task; the name need
not be known here, the worker looks it up. Without, the name and the arguments as JSON are all that is sent,
to workers that were started with --accept json.
"""

from __future__ import annotations

import argparse
import json
from argparse import Namespace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from taskflow.cli.exits import Exit

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "send a call of a task by its name"
EXAMPLES = """
taskflow call shop.tasks.add -a '[2, 3]'            by name, in JSON
taskflow -A proj call proj.tasks.add -a '[2, 3]'
taskflow -A proj call proj.tasks.add -a '[2, 3]' --countdown 10 --queue slow
taskflow -A proj call proj.tasks.report -k '{"day": "2026-11-26"}' --expires 3600
taskflow -A proj result $(taskflow -A proj call proj.tasks.add -a '[2, 3]') --wait
"""


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("name", metavar="TASK", help="the name of the task")
    add("-a", "--args", type=_json(list), default=[], metavar="JSON", help="positional arguments: '[2, 3]'")
    add("-k", "--kwargs", type=_json(dict), default={}, metavar="JSON", help="""by name: '{"x": 2}'""")
    add("--eta", type=_time, metavar="TIME", help="not before: 2026-11-26T09:00")
    add("--countdown", type=float, metavar="S", help="not before so many seconds from now")
    add("--expires", type=_seconds_or_time, metavar="S|TIME", help="not after")
    add("--queue", metavar="NAME", help="where it waits")
    add("--routing-key", metavar="NAME", help="the same: a queue is its name here")
    add("--priority", type=int, metavar="N", help="higher runs first")
    add("--exchange", metavar="NAME", help="no meaning here")
    add("--serializer", metavar="NAME", help="no meaning here: json without -A, else what fits the values")


def run(options: Namespace, console: Console) -> int:
    """Send it."""
    named = ("eta", "countdown", "expires", "priority")
    given = {name: value for name in named if (value := getattr(options, name)) is not None}
    if queue := options.queue or options.routing_key:
        given["queue"] = queue
    if options.exchange:
        console.hint("taskflow: --exchange has no meaning here: a queue is its name.")
    id = _sent(options, given, console)  # noqa: A001 - what everyone calls it
    if console.json:
        console.dump({"id": id})
    else:
        console.say(id)
    return Exit.OK


def _sent(options: Namespace, given: dict[str, Any], console: Console) -> str:
    if console.has_app:
        result = console.app.send_task(options.name, options.args, options.kwargs, **given)
        return str(result.id)
    from taskflow import Client

    with Client(console.url, serializer="json") as client:
        future = client.options(**given).send(options.name, *options.args, **options.kwargs)
        client.flush()
        client.shutdown(wait=False)
        return str(future.id)


class _json:  # noqa: N801 - used like a function, `type=_json(list)`
    """A type of argument: JSON of one kind."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def __call__(self, text: str) -> Any:
        try:
            value = json.loads(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {error}") from None
        if not isinstance(value, self._kind):
            example = "'[2, 3]'" if self._kind is list else """'{"x": 2}'"""
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form {example}")
        return value


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 2026-11-26T09:00") from None
    return at if at.tzinfo is not None else at.astimezone(UTC)


def _seconds_or_time(text: str) -> float | datetime:
    try:
        return float(text)
    except ValueError:
        return _time(text)
