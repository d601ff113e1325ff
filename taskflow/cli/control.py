"""Tell workers what to be, while they run: one, several, or all, also those that start later.

It waits until they follow. The exit code is 0 when all did, and 1 when some did not answer or none is there.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taskflow.cli import asking
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
taskflow control grow 2 -d gpu-1            two more slots; a prefix of the name will do
taskflow control shrink                     one slot less for each worker; busy ones end their call first
taskflow control autoscale 10,3             between 3 and 10 slots, as the load demands
taskflow control add_queue high:3           serve this queue too
taskflow control cancel_queue mail          serve it no more
taskflow control rate_limit shop.add 10/m   start no more calls of a task, in each worker
taskflow control time_limit shop.add 60 90  seconds for a call of it: soft, hard
taskflow control revoke 019a9a3b-4f21       cancel tasks that have not started; terminate: also those that run
taskflow control drain                      finish what runs, take nothing new, stay
taskflow control resume
taskflow control restart                    start anew, with code that is read again
taskflow control shutdown -d gpu-1          leave when what runs has ended; --now: at once
taskflow control reset                      forget all that was told
"""

_COLUMNS = (
    Column("worker", shrinks=True),
    Column("wanted"),
    Column("revision", right=True),
    Column("since", right=True),
    Column("followed by", shrinks=True),
)
_ALIASES = {
    "pool_grow": "grow",
    "pool_shrink": "shrink",
    "pool_restart": "restart",
    "add_consumer": "add_queue",
    "cancel_consumer": "cancel_queue",
}
"""Celery's words, and ours."""
_NO_MEANING = {
    "enable_events": "what happens is always kept: `taskflow events` prints it",
    "disable_events": "what happens is always kept",
    "election": "no worker leads the others",
}


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    known = [*_ACTIONS, *_TASKS, *_ALIASES, *_NO_MEANING]
    add = parser.add_argument
    add(
        "action", nargs="?", choices=known, type=_verb, metavar="ACTION", help=", ".join([*_ACTIONS, *_TASKS])
    )
    add("values", nargs="*", metavar="VALUE", help="slots, bounds as in 10,3, a queue, a task, ids")
    asking.declare(parser, timeout_s=5.0)
    add("--now", action="store_true", help="with shutdown: do not wait for what runs")
    add("--later", action="store_true", help="with shutdown: also workers that start later")


def _verb(text: str) -> str:
    return text.replace("-", "_")


def run(options: Namespace, console: Console) -> int:
    """Tell them, or show what they were told."""
    from taskflow.control import Control

    if options.list:
        for word in (*_ACTIONS, *_TASKS, *_ALIASES):
            console.say(word)
        return Exit.OK
    if options.action in _NO_MEANING:
        console.hint(f"taskflow control {options.action} has no meaning here: {_NO_MEANING[options.action]}.")
        return Exit.OK
    if options.action in _TASKS:
        return _cancel(options, console)
    control = Control(console.store)
    if options.action is None:
        return _show(control, console)
    verb = options.action = _ALIASES.get(options.action, options.action)
    if (options.now or options.later) and verb != "shutdown":
        raise UsageError("--now and --later are for `taskflow control shutdown`.")
    whom = {"worker": asking.destination(options), "timeout": options.timeout}
    told = _ACTIONS[verb](control, options, whom)
    if console.json:
        console.dump(told)
    else:
        console.say(str(told))
    return Exit.OK if told else Exit.FAILED


def _cancel(options: Namespace, console: Console) -> int:
    from taskflow.steering import AppControl

    ids = list(options.values)
    if options.action == "revoke_by_stamped_headers":
        return _cancel_stamped(ids, console)
    if options.action == "terminate" and len(ids) > 1 and _is_signal(ids[0]):
        ids.pop(0)  # the child is asked, then killed, whatever the signal
    if not ids:
        raise UsageError(f"Which tasks? taskflow control {options.action} ID ...")
    AppControl(console.desk).revoke(ids, terminate=options.action == "terminate")
    if console.json:
        console.dump({"cancelled": ids})
    else:
        console.say(f"Cancelled {', '.join(ids)}.")
    return Exit.OK


def _cancel_stamped(words: list[str], console: Console) -> int:
    from taskflow.control import Control

    pairs = [word.partition("=") for word in words]
    if not pairs or not all(name and equals for name, equals, _ in pairs):
        raise UsageError("Which stamps? taskflow control revoke_by_stamped_headers NAME=VALUE ...")
    headers: dict[str, list[str]] = {}
    for name, _, value in pairs:
        headers.setdefault(name, []).append(value)
    gone = Control(console.store).revoke_by_stamped_headers(headers)
    if console.json:
        console.dump({"cancelled": list(gone)})
    else:
        console.say(
            f"Cancelled {', '.join(map(str, gone))}." if gone else "Nothing that waits is stamped so."
        )
    return Exit.OK


def _is_signal(text: str) -> bool:
    return text.isupper() or (text.isdigit() and len(text) <= 2)


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


def _value(options: Namespace, most: int = 1) -> str:
    """The first value, if any; with no more than `most` of them."""
    if len(options.values) > most:
        raise UsageError(
            f"{options.values[most]!r} is one value too many for `taskflow control {options.action}`."
        )
    return str(options.values[0]) if options.values else ""


def _number(options: Namespace) -> int:
    value = _value(options) or "1"
    if not value.isascii() or not value.isdigit():
        raise UsageError(f"{value!r} is no number of slots: taskflow control {options.action} 2")
    return int(value)


def _bounds(options: Namespace) -> tuple[int, int]:
    _value(options, 2)
    most, comma, least = ",".join(options.values).partition(",")
    if not (most.isascii() and most.isdigit()) or (comma and not (least.isascii() and least.isdigit())):
        raise UsageError("Write the most and the least slots: taskflow control autoscale 10,3")
    return int(most), int(least) if comma else 1


def _queue(options: Namespace) -> str:
    if not _value(options, 4):  # Celery's exchange, its type and the routing key: a queue is its name here
        raise UsageError(f"Which queue? taskflow control {options.action} NAME")
    return str(options.values[0])


def _rate(control: Control, options: Namespace, whom: dict[str, Any]) -> Told:
    _value(options, 2)
    if len(options.values) < 2:
        raise UsageError(
            "Write a task and its rate, 0 for no bound: taskflow control rate_limit shop.add 10/m"
        )
    task, rate = options.values
    return control.rate(task, None if rate == "0" else float(rate) if _is_number(rate) else rate, **whom)


def _time(control: Control, options: Namespace, whom: dict[str, Any]) -> Told:
    _value(options, 3)
    task, *limits = options.values or [""]
    if not task or not all(_is_number(limit) for limit in limits):
        raise UsageError(
            "Write a task, and seconds, soft and hard: taskflow control time_limit shop.add 60 90"
        )
    soft, hard = ([float(limit) or None for limit in limits] + [None, None])[:2]
    return control.time_limit(task, soft, hard, **whom)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit() and text.isascii()


def _plain(verb: str) -> Callable[[Control, Namespace, dict[str, Any]], Told]:
    def act(control: Control, options: Namespace, whom: dict[str, Any]) -> Told:
        if options.values:
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
    "rate_limit": _rate,
    "time_limit": _time,
    "drain": _plain("drain"),
    "resume": _plain("resume"),
    "restart": _plain("restart"),
    "shutdown": _plain("shutdown"),
    "reset": _plain("reset"),
    "heartbeat": _plain("ask"),
}
_TASKS = ("revoke", "terminate", "revoke_by_stamped_headers")
