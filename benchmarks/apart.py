"""One measurement in a process of its own: what it found, as a line that it prints."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence

__all__ = ["MARK", "Silent", "figures_of", "tell"]

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
