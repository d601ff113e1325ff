"""Open a Python shell with the application, its tasks, and the words of the canvas.

IPython is used where it is installed, then bpython, then Python's own.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from taskflow.cli.exits import Exit
from taskflow.errors import UsageError

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "open a Python shell with an application and its tasks"
EXAMPLES = """
taskflow -A proj shell
taskflow -A proj shell --python       Python's own, whatever is installed
taskflow shell                        `client` and the canvas, without an application
"""

_CANVAS = ("Taskflow", "chain", "chord", "chunks", "group", "signature", "xmap", "xstarmap", "AsyncResult")


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("-I", "--ipython", action="store_const", dest="kind", const="ipython", help="IPython")
    kind.add_argument("-B", "--bpython", action="store_const", dest="kind", const="bpython", help="bpython")
    kind.add_argument(
        "-P", "--python", action="store_const", dest="kind", const="python", help="Python's own"
    )
    add("-T", "--without-tasks", action="store_true", help="no names of tasks")
    add("--eventlet", action="store_true", help="no meaning here")
    add("--gevent", action="store_true", help="no meaning here")


def run(options: Namespace, console: Console) -> int:
    """Open it."""
    if options.eventlet or options.gevent:
        raise UsageError("There is no eventlet and no gevent here: leave the option out.")
    kind = options.kind or next(name for name in ("ipython", "bpython", "python") if _is_there(name))
    if not _is_there(kind):
        raise UsageError(f"{kind} is not installed: pip install {kind}, or use --python.")
    names = _names(console, with_tasks=not options.without_tasks)
    tasks = len(console.app.tasks) if console.has_app else 0
    _SHELLS[kind](
        names, f"taskflow: {', '.join(sorted(n for n in names if n in _SHOWN))}; {tasks} tasks by name"
    )
    return Exit.OK


_SHOWN = ("app", "celery", "client", "control")


def _names(console: Console, *, with_tasks: bool) -> dict[str, Any]:
    import taskflow

    names: dict[str, Any] = {"taskflow": taskflow}
    names |= {name: getattr(taskflow, name) for name in _CANVAS if name in dir(taskflow)}
    if not console.has_app:
        from taskflow import Client

        return {**names, "client": Client(console.url)}
    app = console.app
    names |= {"app": app, "celery": app, "client": app.client(), "control": app.control}
    if with_tasks:
        for name, task in app.tasks.items():
            names.setdefault(name.rpartition(".")[2], task)
    return names


def _is_there(kind: str) -> bool:
    return kind == "python" or find_spec({"ipython": "IPython"}.get(kind, kind)) is not None


def _ipython(names: dict[str, Any], banner: str) -> None:
    from IPython.terminal.embed import InteractiveShellEmbed

    InteractiveShellEmbed(banner1=banner, user_ns=names)()  # type: ignore[no-untyped-call]


def _bpython(names: dict[str, Any], banner: str) -> None:
    import bpython  # type: ignore[import-not-found, unused-ignore]

    bpython.embed(locals_=names, banner=banner)


def _python(names: dict[str, Any], banner: str) -> None:
    import code

    try:
        import readline
        import rlcompleter
    except ImportError:
        pass
    else:
        readline.set_completer(rlcompleter.Completer(names).complete)
        readline.parse_and_bind("tab: complete")
    code.interact(banner=banner, local=names, exitmsg="")


_SHELLS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "ipython": _ipython,
    "bpython": _bpython,
    "python": _python,
}
