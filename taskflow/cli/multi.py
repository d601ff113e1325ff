"""Start, stop and restart several workers in the background of this machine.

Each has a pid file and a log file: NAME.pid and NAME.log here, unless --pidfile and --logfile say otherwise
(%n is the name, so that they differ). Options with : speak of single workers: `-c:1 4`, `-Q:images,2-3 big`.
"""

from __future__ import annotations

import argparse
import signal
import socket
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from taskflow.cli.background import command, ended, launch, tell
from taskflow.cli.exits import Exit
from taskflow.cli.nodes import Node, nodes_of
from taskflow.errors import UsageError

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "start, stop and restart several workers in the background"
EXAMPLES = """
taskflow multi start 3 -A proj -l info -c 2
taskflow multi start images mail -A proj -Q:images big,small -Q:mail mail
taskflow multi show 3 -A proj                 the commands, and nothing else
taskflow multi restart 3 -A proj              each stops when what runs has ended
taskflow multi stop 3                         stopwait: and wait for their end; kill: at once
taskflow multi start 10 -A proj --pidfile=/run/taskflow/%n.pid --logfile=/var/log/taskflow/%n.log
"""

_OURS = ("--verbose", "--nosplash", "--no-color", "--quiet")
_PREFIX = "--range-prefix"
STOP_S = 60.0


def arguments(parser: Parser) -> None:
    """A verb, and what it is about; options of workers are theirs to read."""
    add = parser.add_argument
    add("action", choices=tuple(_VERBS), metavar="ACTION", help=", ".join(_VERBS))
    add("words", nargs=argparse.REMAINDER, metavar="NAMES OPTIONS", help="how many workers, or their names;"
        " and the options of `taskflow worker`")  # fmt: skip


def run(options: Namespace, console: Console) -> int:
    """Do it, for each worker."""
    words = [word for word in options.words if word not in _OURS]
    prefix = "worker"
    for word in list(words):
        if word.startswith(_PREFIX):
            words.remove(word)
            prefix = word.partition("=")[2] or prefix
    lead: list[str] = []
    if (options.action == "get" and len(words) > 1) or (options.action == "expand" and words):
        lead = [words.pop(0)]
    named = words or ["1"]
    nodes = nodes_of(named, _takes(), host=socket.gethostname(), prefix=prefix)
    return _VERBS[options.action](nodes, [*_globals(options), *lead], options, console)


def _takes() -> dict[str, bool]:
    """For each option of a worker, and of all commands, whether a value follows."""
    from taskflow.cli.worker import FLAGS

    shared = (
        "-A",
        "--app",
        "-b",
        "--url",
        "--broker",
        "--result-backend",
        "--config",
        "--loader",
        "--workdir",
    )
    return {**FLAGS, **dict.fromkeys(shared, True)}


def _globals(options: Namespace) -> list[str]:
    """What was said before ``multi``, for each of them."""
    said = []
    for flag in ("app", "url", "result_backend", "config", "workdir"):
        value = getattr(options, flag, None)
        if value:
            said += [f"--{flag.replace('_', '-')}", value]
    return said


# ── verbs ────────────────────────────────────────────────────────────────────────────

Verb = Callable[[Sequence[Node], Sequence[str], Namespace, "Console"], int]


def _words(node: Node, shared: Sequence[str]) -> list[str]:
    own = list(node.words)
    for flag, usual in (("--pidfile", "%n.pid"), ("--logfile", "%n.log")):
        if not any(word.partition("=")[0] in (flag, _SHORT.get(flag)) for word in own):
            own.append(f"{flag}={usual}")
    return [*shared, "worker", *own, f"--name={node.name}"]


_SHORT = {"--logfile": "-f"}


def _pidfile(node: Node) -> str:
    from taskflow.worker.options import expanded

    given = [word.partition("=")[2] for word in node.words if word.startswith("--pidfile=")]
    if "--pidfile" in node.words:
        given.append(node.words[node.words.index("--pidfile") + 1])
    return expanded(given[-1] if given else "%n.pid", node.name)


def _pid(node: Node) -> int | None:
    from taskflow.worker.daemon import Pidfile, is_ours

    pid = Pidfile.read(_pidfile(node))
    return pid if pid is not None and is_ours(pid) else None


def _start(nodes: Sequence[Node], shared: Sequence[str], options: Namespace, console: Console) -> int:
    code = Exit.OK
    for node in nodes:
        if (running := _pid(node)) is not None:
            console.say(f"{node.name}: runs already, process {running}")
            continue
        started = launch(_words(node, shared))
        if isinstance(started, str):
            console.err.write(started)
            console.say(f"{node.name}: did not start")
            code = Exit.FAILED
        else:
            console.say(f"{node.name}: started, process {started}")
    return code


def _stop(nodes: Sequence[Node], console: Console, number: int, *, waits: bool) -> int:
    pids = {pid: node.name for node in nodes if (pid := _pid(node)) is not None}
    for node in nodes:
        if node.name not in pids.values():
            console.say(f"{node.name}: does not run")
    return tell(pids, number, console, waits=waits, wait_s=STOP_S)


def _restart(nodes: Sequence[Node], shared: Sequence[str], options: Namespace, console: Console) -> int:
    code = _stop(nodes, console, signal.SIGTERM, waits=True)
    return code or _start(nodes, shared, options, console)


def _kill(nodes: Sequence[Node], shared: Sequence[str], options: Namespace, console: Console) -> int:
    pids = [pid for node in nodes if (pid := _pid(node)) is not None]
    code = _stop(nodes, console, signal.SIGKILL, waits=False)
    ended(pids, 5.0)
    return code


def _show(nodes: Sequence[Node], shared: Sequence[str], options: Namespace, console: Console) -> int:
    import shlex

    for node in nodes:
        console.say(shlex.join(command(_words(node, shared))))
    return Exit.OK


def _names(nodes: Sequence[Node], shared: Sequence[str], options: Namespace, console: Console) -> int:
    for node in nodes:
        console.say(node.name)
    return Exit.OK


def _expand(nodes: Sequence[Node], shared: Sequence[str], options: Namespace, console: Console) -> int:
    from taskflow.worker.options import expanded

    for node in nodes:
        console.say(expanded(shared[-1], node.name) if shared else node.name)
    return Exit.OK


def _get(nodes: Sequence[Node], shared: Sequence[str], options: Namespace, console: Console) -> int:
    if not shared:
        raise UsageError("Which worker? taskflow multi get NAME NAMES OPTIONS")
    wanted = shared[-1]
    for node in nodes:
        if wanted in (node.name, node.name.partition("@")[0]):
            console.say(" ".join(node.words))
            return Exit.OK
    raise UsageError(f"There is no worker {wanted!r} among {', '.join(node.name for node in nodes)}.")


_VERBS: dict[str, Verb] = {
    "start": _start,
    "stop": lambda nodes, _, __, console: _stop(nodes, console, signal.SIGTERM, waits=False),
    "stopwait": lambda nodes, _, __, console: _stop(nodes, console, signal.SIGTERM, waits=True),
    "restart": _restart,
    "kill": _kill,
    "show": _show,
    "names": _names,
    "expand": _expand,
    "get": _get,
}
