"""What the command line and the magics share: arguments without guessing, errors with the nearest word."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from taskflow.errors import nearest

__all__ = ["Parser"]


class Parser(argparse.ArgumentParser):
    """`argparse` without abbreviations, whose errors name what was probably meant.

    How an error is told is for subclasses to say: `argparse` prints it and ends the process.

    Args:
        options: Of `argparse.ArgumentParser`; descriptions keep their lines.

    Example:
        >>> parser = Parser(prog="count", exit_on_error=False)
        >>> _ = parser.add_argument("--by", choices=("word", "line"))
        >>> parser.parse_args(["--by", "lines"])
        Traceback (most recent call last):
        argparse.ArgumentError: There is no by 'lines'. Did you mean 'line'?
    """

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

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
