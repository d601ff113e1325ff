"""Commands of Celery that have no meaning here: they say why, and what to do instead."""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import TYPE_CHECKING

from taskflow.cli.exits import Exit

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

__all__ = ["COMMANDS", "Refused"]


class Refused:
    """A command that only says why it is none.

    Args:
        name: What it is called.
        why: In one sentence.
        instead: What to do.
    """

    def __init__(self, name: str, why: str, instead: str) -> None:
        self.SUMMARY = f"no meaning here: {why}"
        self.EXAMPLES = f"taskflow {name}\n{instead}"
        self.__doc__ = f"Celery's `{name}` has no meaning here: {why}.\n\nInstead: {instead}"
        self._name, self._words = name, f"`taskflow {name}` has no meaning here: {why}. Instead: {instead}"

    def arguments(self, parser: Parser) -> None:
        """Whatever Celery's takes."""
        parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)

    def run(self, options: Namespace, console: Console) -> int:
        """Say it."""
        console.err.write(f"taskflow: {self._words}\n")
        return Exit.MISUSED


COMMANDS = {
    one._name: one
    for one in (
        Refused(
            "flower",
            "there is no dashboard outside of Jupyter yet",
            "taskflow runs, taskflow show ID -f, taskflow events; in JupyterLab the panel of taskflow",
        ),
        Refused(
            "migrate",
            "messages are no files between brokers, a run is kept in one store",
            "let workers empty the old store, and send to the new one",
        ),
        Refused(
            "upgrade",
            "settings are read under their old names too",
            "taskflow doctor --from-celery celeryconfig.py tells what each of them does here",
        ),
        Refused(
            "logtool",
            "what tasks print is kept with each of them",
            "taskflow logs ID, taskflow runs --failed",
        ),
        Refused(
            "amqp",
            "there is no AMQP broker below the store",
            "taskflow queues, taskflow shell",
        ),
    )
}
