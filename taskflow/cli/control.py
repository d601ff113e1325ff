"""Tell workers what to be, while they run: one, several, or all, also those that start later.

It waits until they follow. The exit code is 0 when all did, and 1 when some did not answer or none is there.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taskflow.cli.exits import Exit
from taskflow.cli.words import ago
from taskflow.errors import UsageError
from taskflow.observe.table import Column

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser
    from taskflow.control import Control, Told

SUMMARY = "tell workers to grow, shrink, serve other queues, drain or leave"
EXAMPLES = """
taskflow control                            what is wanted, and who follows
taskflow control grow 2 --worker gpu-1      two more slots; a prefix of the name will do
taskflow control shrink                     one slot less for each worker; busy ones end their call first
taskflow control autoscale 10,3             between 3 and 10 slots, as the load demands
taskflow control add_queue high:3           serve this queue too
taskflow control cancel_queue mail          serve it no more
taskflow control drain                      finish what runs, take nothing new, stay
taskflow control resume
taskflow control shutdown --worker gpu-1    leave when what runs has ended; --now: at once
taskflow control reset                      forget all that was told
"""

_COLUMNS = (
    Column("worker", shrinks=True),
    Column("wanted"),
    Column("revision", right=True),
    Column("since", right=True),
    Column("followed by", shrinks=True),
)


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    add, known = parser.add_argument, list(_ACTIONS)
    add("action", nargs="?", choices=known, type=_verb, metavar="ACTION", help=", ".join(known))
    add("value", nargs="?", metavar="VALUE", help="slots, bounds as in 10,3, or a queue")
    add(
        "-w",
        "--worker",
        action="append",
        metavar="NAME",
        help="this one, or a prefix of its name; repeatable",
    )
    add("--now", action="store_true", help="with shutdown: do not wait for what runs")
    add("--later", action="store_true", help="with shutdown: also workers that start later")
    add("--timeout", type=float, default=5.0, metavar="S", help="how long to wait for answers (5)")


def _verb(text: str) -> str:
    return text.replace("-", "_")


def run(options: Namespace, console: Console) -> int:
    """Tell them, or show what they were told."""
    from taskflow.control import Control

    control = Control(console.store)
    if options.action is None:
        return _show(control, console)
    if (options.now or options.later) and options.action != "shutdown":
        raise UsageError("--now and --later are for `taskflow control shutdown`.")
    told = _ACTIONS[options.action](control, options, {"worker": options.worker, "timeout": options.timeout})
    if console.json:
        console.dump(told)
    else:
        console.say(str(told))
    return Exit.OK if told else Exit.FAILED


def _show(control: Control, console: Console) -> int:
    rows = control.rows()
    if console.json:
        console.dump(rows)
        return Exit.OK
    if not rows:
        console.hint("Workers are as they were started; nothing else was told.")
        return Exit.OK
    console.table(
        _COLUMNS,
        [
            (
                row["worker"],
                row["wanted"],
                str(row["revision"]),
                ago(row["at"], console.now()),
                ", ".join(row["followed_by"]) or "nobody",
            )
            for row in rows
        ],
    )
    return Exit.OK


def _number(options: Namespace) -> int:
    value = options.value or "1"
    if not value.isascii() or not value.isdigit():
        raise UsageError(f"{value!r} is no number of slots: taskflow control {options.action} 2")
    return int(value)


def _bounds(options: Namespace) -> tuple[int, int]:
    most, comma, least = (options.value or "").partition(",")
    if not (most.isascii() and most.isdigit()) or (comma and not (least.isascii() and least.isdigit())):
        raise UsageError("Write the most and the least slots: taskflow control autoscale 10,3")
    return int(most), int(least) if comma else 1


def _queue(options: Namespace) -> str:
    if not options.value:
        raise UsageError(f"Which queue? taskflow control {options.action} NAME")
    return str(options.value)


def _plain(verb: str) -> Callable[[Control, Namespace, dict[str, Any]], Told]:
    def act(control: Control, options: Namespace, whom: dict[str, Any]) -> Told:
        if options.value is not None:
            raise UsageError(
                f"`taskflow control {options.action}` takes no value: name a worker with --worker."
            )
        more = {"now": options.now, "later": options.later} if verb == "shutdown" else {}
        told: Told = getattr(control, verb)(**whom, **more)
        return told

    return act


_ACTIONS: dict[str, Callable[[Control, Namespace, dict[str, Any]], Told]] = {
    "grow": lambda control, options, whom: control.grow(_number(options), **whom),
    "shrink": lambda control, options, whom: control.shrink(_number(options), **whom),
    "autoscale": lambda control, options, whom: control.autoscale(*_bounds(options), **whom),
    "add_queue": lambda control, options, whom: control.add_queue(_queue(options), **whom),
    "cancel_queue": lambda control, options, whom: control.cancel_queue(_queue(options), **whom),
    "drain": _plain("drain"),
    "resume": _plain("resume"),
    "shutdown": _plain("shutdown"),
    "reset": _plain("reset"),
}
