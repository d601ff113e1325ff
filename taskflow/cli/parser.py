"""An argument parser whose errors say what was probably meant."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any, NoReturn

from taskflow.cli.exits import Exit
from taskflow.errors import nearest
from taskflow.observe.text import visible

__all__ = ["Parser", "at_least"]


class Parser(argparse.ArgumentParser):
    """`argparse` without guessing, with examples, and with a nearest word for what it does not know."""

    def __init__(self, *, examples: str = "", **kwargs: Any) -> None:
        kwargs.setdefault("epilog", _section("examples", examples))
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            is_command = isinstance(action, argparse._SubParsersAction)
            kind = "command" if is_command else action.metavar or action.dest
            known = [str(choice) for choice in action.choices]
            hint = nearest(str(value), known) or f" Known are {', '.join(known)}."
            raise argparse.ArgumentError(None, f"There is no {kind} {value!r}.{hint}")

    def refuse_unknown(self, words: Iterable[str]) -> None:
        """Stop with an error when words are left over that no argument took."""
        for word in words:
            if word.startswith("-") and word != "-":
                option = word.partition("=")[0]
                self.error(f"There is no option {option!r}.{nearest(option, self._option_string_actions)}")
            self.error(f"{word!r} is one argument too many.")

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
