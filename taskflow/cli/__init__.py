"""The command ``taskflow``: look at runs, take results, start workers, from a terminal.

One file for each command. Importing this costs next to nothing; a command imports what it needs when
it is run.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        0 when all is well, 1 when the task or run failed or something is wrong, 2 for wrong use,
        130 when interrupted.
    """
    from taskflow.cli.program import run

    return run(argv)
