"""Named points at which a process may be made to fail, for tests that kill it exactly there.

Nothing happens unless ``TASKFLOW_FAULT`` is set when this module is imported::

    TASKFLOW_FAULT=settle.before:kill9:3            killed at the third passing of that point
    TASKFLOW_FAULT=claim.after:stop,renew.before:raise

Actions: ``kill9`` and ``stop`` send SIGKILL and SIGSTOP to this process, ``exit`` ends it at once,
``raise`` raises an `OSError`. Every process counts its own passings.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator

from taskflow.errors import ConfigError, nearest

__all__ = ["ACTIONS", "POINTS", "parse", "point", "unarmed"]

POINTS = (
    *("submit.before", "submit.inside", "submit.after"),
    *("claim.before", "claim.inside", "claim.after"),
    *("settle.before", "settle.inside", "settle.after"),
    *("renew.before", "renew.inside", "renew.after"),
    *("step.before", "step.inside", "step.after"),
    *("worker.started", "child.received", "child.before_run", "child.after_run"),
)
"""Of a store's step: *before* it began, *inside* before it is committed, *after* it was committed and
before anybody was told. ``step`` is any other step. Of a child: when it has a message and nobody sees that,
before it runs, and when its outcomes are known but not yet told."""


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _exit() -> None:
    os._exit(86)


def _raise() -> None:
    raise OSError("a fault was asked for here (TASKFLOW_FAULT)")


ACTIONS: dict[str, Callable[[], None]] = {"kill9": _kill, "stop": _stop, "exit": _exit, "raise": _raise}


def parse(text: str) -> dict[str, tuple[str, int]]:
    """Read faults as ``point:action`` or ``point:action:passing``, separated by commas.

    Raises:
        ConfigError: There is no such point or action.

    Example:
        >>> parse("settle.before:kill9:3,renew.before:stop")
        {'settle.before': ('kill9', 3), 'renew.before': ('stop', 1)}
    """
    found = {}
    for fault in text.split(","):
        name, _, rest = fault.strip().partition(":")
        action, _, passing = rest.partition(":")
        if name not in POINTS:
            raise ConfigError(f"TASKFLOW_FAULT: there is no point {name!r}.{nearest(name, POINTS)}")
        if action not in ACTIONS or not (passing or "1").isdigit():
            raise ConfigError(
                f"TASKFLOW_FAULT: {fault!r} is not point:action:passing.{nearest(action, ACTIONS)}"
            )
        found[name] = (action, int(passing or 1))
    return found


def _armed(faults: dict[str, tuple[str, int]]) -> Callable[[str], None]:
    passings: dict[str, Iterator[int]] = {name: itertools.count(1) for name in faults}

    def point(name: str, /) -> None:
        if name in faults and next(passings[name]) == faults[name][1]:
            ACTIONS[faults[name][0]]()

    return point


_nothing: dict[str, None] = {}

unarmed: Callable[[str], None] = _nothing.get
"""Pass a point; nothing happens. Each call passes several: no function of Python is as quick."""

point: Callable[[str], None] = (
    _armed(parse(os.environ["TASKFLOW_FAULT"])) if os.environ.get("TASKFLOW_FAULT") else unarmed
)
"""Pass a named point."""
