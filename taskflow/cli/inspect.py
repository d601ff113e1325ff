"""Ask workers how they are, and what they do.

What runs is read from the store's leases; workers are asked to say how they are now, and those that do not
within --timeout are left out. The exit code is 69 when nobody answers, as Celery's.
"""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from taskflow.cli import asking
from taskflow.cli.exits import Exit
from taskflow.errors import UsageError

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "ask workers what they do: active, registered, stats, ..."
EXAMPLES = """
taskflow inspect active                     what runs where
taskflow inspect scheduled                  what waits for its time
taskflow inspect registered rate_limit      names of tasks, with an attribute of each
taskflow inspect stats -d gpu-1 --json
taskflow inspect query_task 019a9a3b-4f21   who has it
taskflow inspect ping -t 5
"""

_VERBS = (
    *("active", "scheduled", "reserved", "revoked", "registered", "stats", "ping", "active_queues", "conf"),
    *("report", "query_task", "clock", "memsample", "memdump"),
)
_ALIASES = {
    "dump_active": "active",
    "dump_schedule": "scheduled",
    "dump_reserved": "reserved",
    "dump_revoked": "revoked",
    "dump_tasks": "registered",
    "dump_conf": "conf",
    "list_tasks": "registered",
    "query_tasks": "query_task",
}
_REFUSED = {
    "objgraph": "objects live in the children of a worker, which end after their calls",
    "hello": "workers do not talk to each other",
}


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    known = (*_VERBS, *_ALIASES, *_REFUSED)
    add = parser.add_argument
    add("action", nargs="?", choices=known, type=_verb, metavar="ACTION", help=", ".join(_VERBS))
    add("values", nargs="*", metavar="VALUE", help="of query_task: ids; of registered: attributes")
    asking.declare(parser, timeout_s=1.0)


def run(options: Namespace, console: Console) -> int:
    """Ask them."""
    from taskflow.steering import Inspect

    if options.list or options.action is None:
        for word in _VERBS:
            console.say(word)
        return Exit.OK if options.list else Exit.MISUSED
    verb = _ALIASES.get(options.action, options.action)
    if verb in _REFUSED:
        console.hint(f"taskflow inspect {verb} has no meaning here: {_REFUSED[verb]}.")
        return Exit.MISUSED
    if options.values and verb not in ("query_task", "registered"):
        raise UsageError(f"`taskflow inspect {verb}` takes no value: name workers with --destination.")
    if verb == "query_task" and not options.values:
        raise UsageError("Which task? taskflow inspect query_task ID ...")
    inspect = Inspect(console.desk, asking.destination(options), options.timeout)
    answers: dict[str, Any] | None = getattr(inspect, verb)(*options.values)
    return asking.tell(answers, console)


def _verb(text: str) -> str:
    return text.replace("-", "_")
