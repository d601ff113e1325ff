"""One measurement in a process of its own: what it found, as a line that it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence

__all__ = ["MARK", "Silent", "figures_of", "in_rounds", "tell"]

MARK = "figures: "
_MOST_CHARS = 200


class Silent(Exception):
    """A measurement that gave no figures; the text says why."""


def tell(figures: object) -> None:
    """Print figures, in the process that found them."""
    print(MARK + json.dumps(figures), flush=True)


def figures_of(command: Sequence[str], timeout_s: float) -> dict[str, float]:
    """Run a command that calls `tell`, and read what it found.

    Raises:
        Silent: It cannot be started, took longer than `timeout_s`, or said nothing.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Silent(str(error)[:_MOST_CHARS]) from error
    line = next((line for line in done.stdout.splitlines() if line.startswith(MARK)), None)
    if line is None:
        raise Silent((done.stderr.strip().splitlines() or ["it said nothing"])[-1][:_MOST_CHARS])
    found: dict[str, float] = json.loads(line.removeprefix(MARK))
    return found


def in_rounds(
    names: Iterable[str], rounds: int, command_of: Callable[[str], Sequence[str]], timeout_s: float
) -> tuple[dict[str, dict[str, list[float]]], dict[str, str]]:
    """Measure all, round by round, in turned order: the figures of each, and why one gave none."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    why: dict[str, str] = {}
    for round_no in range(rounds):
        for name in list(found)[:: -1 if round_no % 2 else 1]:
            print(f"round {round_no + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            try:
                figures = figures_of(command_of(name), timeout_s)
            except Silent as error:
                why[name] = str(error)
                continue
            for key, value in figures.items():
                found[name].setdefault(key, []).append(value)
    return found, why
