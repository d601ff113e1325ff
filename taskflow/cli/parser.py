"""The argument parser of the command line: examples in its help, errors in one line."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from taskflow import arguments
from taskflow.cli.exits import Exit
from taskflow.observe.text import visible

__all__ = ["Parser", "at_least"]


class Parser(arguments.Parser):
    """A parser with examples, that leaves with an exit code of ours."""

    def __init__(self, *, examples: str = "", **kwargs: Any) -> None:
        kwargs.setdefault("epilog", _section("examples", examples))
        super().__init__(**kwargs)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, and where help is; then leave."""
        self.exit(Exit.MISUSED, f"{self.prog}: {visible(message)}  (`{self.prog} --help` explains)\n")


def _section(title: str, text: str) -> str | None:
    lines = "\n".join(f"  {line}".rstrip() for line in text.strip().splitlines())
    return f"{title}:\n{lines}" if lines else None


class at_least:  # noqa: N801 - used like a function, `type=at_least(1)`
    """A type of argument: a whole number that is not smaller than another."""

    def __init__(self, least: int) -> None:
        self._least = least

    def __call__(self, text: str) -> int:
        """The number a word stands for."""
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if number < self._least:
            raise argparse.ArgumentTypeError(f"{number} is less than {self._least}")
        return number
