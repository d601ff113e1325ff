"""``%taskflow``, ``%task``, ``%%task``, ``%%parallel``, ``%%workflow`` and ``%%on_workers``."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_cell_magic, line_magic, magics_class, no_var_expand

from taskflow.codec import Reference
from taskflow.notebook.cells import cell_function, each, steps
from taskflow.notebook.parsing import Helped, Parser
from taskflow.notebook.session import Session
from taskflow.notebook.words import say

__all__ = ["TaskflowMagics"]


@magics_class
class TaskflowMagics(Magics):
    """The magics of a notebook.

    Attributes:
        session: Its client.
    """

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.session = Session()

    @property
    def _names(self) -> dict[str, Any]:
        assert self.shell is not None
        names: dict[str, Any] = self.shell.user_ns
        return names

    @no_var_expand
    @line_magic
    def taskflow(self, line: str) -> Any:
        """Look at runs, workers and queues; start, stop, attach, retry: ``%taskflow`` tells the words."""
        return _unless_helped(lambda: say(self.session, line))

    @no_var_expand
    @line_cell_magic
    def task(self, line: str, cell: str | None = None) -> Any:
        """Run a cell, or an expression, in another process: gives its future; with ``--wait`` its result."""
        if cell is None and line.split()[:1] not in (["--help"], ["-h"]):
            made = cell_function(line, self._names, label="task", handed=_is_handed)
            return self.session.client.options(label=line[:40]).submit(made.fn, *self._values(made.inputs))
        return _unless_helped(lambda: self._task(line, cell or ""))

    def _task(self, line: str, cell: str) -> Any:
        parser = Parser("%%task", "Run this cell in another process; its last expression is the result.")
        parser.add_argument("name", nargs="?", default="cell", help="what it is called in lists")
        parser.add_argument("-i", "--inputs", help="names that are its arguments: a,b (those it changes)")
        parser.add_argument("-o", "--out", help="the name that gets its future")
        parser.add_argument("--wait", action="store_true", help="wait, and give the result")
        _declare_options(parser)
        options = parser.read(line)
        inputs = None if options.inputs is None else [name for name in options.inputs.split(",") if name]
        made = cell_function(cell, self._names, label=options.name, inputs=inputs, handed=_is_handed)
        client = self.session.client.options(label=options.name, **_options(options))
        future = client.submit(made.fn, *self._values(made.inputs))
        given = future.result() if options.wait else future
        if options.wait:
            print(future.logs, end="")
        return self._keep(options.out, given)

    @no_var_expand
    @cell_magic
    def parallel(self, line: str, cell: str) -> Any:
        """Run a cell for each of some items: ``%%parallel x in items``; gives the list of the results."""
        return _unless_helped(lambda: self._parallel(line, cell))

    def _parallel(self, line: str, cell: str) -> Any:
        words, *flags = _before_flags(line)
        parser = Parser("%%parallel x in items", "Run this cell for each item, in other processes.")
        parser.add_argument("-o", "--out", help="the name that gets the run; else its results are waited for")
        parser.add_argument("-c", "--chunksize", type=int, help="most items in one lease")
        _declare_options(parser)
        options = parser.read(" ".join(flags))
        if not words:
            raise UsageError("Say what the cell is run for: %%parallel x in items")
        items, made = each(words, cell, self._names)
        client = self.session.client.options(**_options(options))
        run = client.map(made.fn, items, chunksize=options.chunksize or "auto")
        return self._keep(options.out, run) if options.out else run.results()

    @no_var_expand
    @cell_magic
    def on_workers(self, line: str, cell: str) -> Any:
        """Run a cell once on each worker; gives the results by worker."""
        return _unless_helped(lambda: self._on_workers(line, cell))

    def _on_workers(self, line: str, cell: str) -> Any:
        parser = Parser("%%on_workers", "Run this cell once on each worker.")
        parser.add_argument("-w", "--workers", help="only on these: their names, comma-separated")
        parser.add_argument("-o", "--out", help="the name that gets the results")
        options = parser.read(line)
        made = cell_function(cell, self._names, label="on_workers", handed=_is_handed)
        names = options.workers.split(",") if options.workers else None
        given = self.session.client.run(made.fn, *self._values(made.inputs), workers=names)
        return self._keep(options.out, given)

    @no_var_expand
    @cell_magic
    def workflow(self, line: str, cell: str) -> Any:
        """Make a workflow of a cell: each ``name: expression``, and each function, is a step."""
        return _unless_helped(lambda: self._workflow(line, cell))

    def _workflow(self, line: str, cell: str) -> Any:
        from taskflow.workflow import Workflow

        parser = Parser(
            "%%workflow", "Make a workflow of this cell: a step is name: expression, or a function."
        )
        parser.add_argument("name", help="the name that gets the workflow, or with -r its run")
        parser.add_argument("-r", "--run", action="store_true", help="run it too")
        options = parser.read(line)
        made = Workflow(options.name)
        for name, fn in steps(cell, self._names):
            made.task(fn, name=name)
        return self._keep(options.name, made.run(self.session.client) if options.run else made)

    def _values(self, names: tuple[str, ...]) -> list[Any]:
        return [self._names[name] for name in names]

    def _keep(self, name: str | None, value: Any) -> Any:
        """Under a name, or as what the cell gives."""
        if name is None:
            return value
        if not name.isidentifier():
            raise UsageError(f"{name!r} is no name.")
        self._names[name] = value
        return None


def _declare_options(parser: Parser) -> None:
    parser.add_argument("--queue", help="which workers: those that serve this queue")
    parser.add_argument("--retries", type=int, help="how often it is tried again when it fails")
    parser.add_argument("--timeout", type=float, metavar="S", help="it is stopped after so many seconds")


def _options(options: Namespace) -> dict[str, Any]:
    given = {"queue": options.queue, "retry": options.retries, "time_limit": options.timeout}
    return {name: value for name, value in given.items() if value is not None}


def _before_flags(line: str) -> list[str]:
    """The words before the first flag as one, and the rest."""
    words = line.split(" ")
    flags = (n for n, word in enumerate(words) if word.startswith("--") or re.match("-[a-z]$", word))
    at = next(flags, len(words))
    return [" ".join(words[:at]).strip(), *words[at:]]


def _is_handed(value: Any) -> bool:
    """Futures and references cannot be captured: they are arguments."""
    return isinstance(value, Reference)


def _unless_helped(do: Callable[[], Any]) -> Any:
    try:
        return do()
    except Helped:
        return None
