"""Words of a magic, read by argparse: help is text, and what cannot be read is a usage error, not an exit."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import Any, NoReturn

from IPython.core.error import UsageError

from taskflow import arguments

__all__ = ["Helped", "Parser", "split"]


class Helped(Exception):
    """Somebody asked for help, and has it."""


class Parser(arguments.Parser):
    """A parser that never ends the kernel.

    Raises:
        UsageError: The words make no sense; IPython shows it in one line.
        Helped: They were ``--help``.
    """

    def __init__(self, name: str, summary: str, **options: Any) -> None:
        super().__init__(prog=name, description=summary, **options)

    def error(self, message: str) -> NoReturn:
        """See `argparse.ArgumentParser.error`."""
        end = "" if message.endswith((".", "?")) else "."
        raise UsageError(f"{self.prog}: {message}{end} {self.prog} --help tells what there is.")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """See `argparse.ArgumentParser.exit`: the help was printed."""
        raise Helped

    def read(self, line: str) -> argparse.Namespace:
        """The options that a line gives."""
        found, unknown = self.parse_known_args(split(line))
        self.refuse_unknown(unknown)
        return found


def split(line: str) -> Sequence[str]:
    """A line as words, as a shell has them.

    Raises:
        UsageError: A quotation has no end.
    """
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{line!r} cannot be read: {error}") from None
