"""What ``inspect``, ``status`` and ``control`` share: whom they ask, how long, and how answers are told."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from taskflow.cli.exits import Exit
from taskflow.cli.words import ago, plural
from taskflow.observe.text import fit

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

__all__ = ["declare", "destination", "tell"]

_ARGUMENTS_CHARS = 60


def declare(parser: Parser, *, timeout_s: float) -> None:
    """Declare whom, and for how long."""
    add = parser.add_argument
    add("-d", "--destination", "-w", "--worker", action="append", metavar="NAMES", type=_names,
        help="only these, or prefixes of their names; with commas, or again")  # fmt: skip
    add("--list", action="store_true", help="the words that there are; --help explains")
    add("-t", "--timeout", type=float, default=timeout_s, metavar="S",
        help=f"how long to wait for answers ({timeout_s:g})")  # fmt: skip


def destination(options: Namespace) -> list[str] | None:
    """The workers that were named; `None` when none was."""
    named: list[list[str]] | None = options.destination
    return None if named is None else [name for names in named for name in names]


def tell(answers: Mapping[str, Any] | None, console: Console) -> int:
    """Write answers by worker, and what it means when there are none."""
    found = answers or {}
    if console.json:
        console.dump(found)
    else:
        for name, answer in found.items():
            console.title(f"{name}: OK", "succeeded")
            for line in _lines(answer, console.now()):
                console.say(f"    {line}")
    if not found:
        console.hint("No worker answered in time. `taskflow workers` lists those that were seen lately.")
        return Exit.UNAVAILABLE
    console.hint(f"{plural(len(found), 'worker')} online.")
    return Exit.OK


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("names no worker")
    return names


def _lines(answer: Any, now: float) -> Iterator[str]:
    from taskflow.cli.plain import json_text, plain

    if isinstance(answer, Mapping):
        for name, value in answer.items():
            text = value if isinstance(value, str) else json_text(plain(value))
            first, *rest = text.splitlines() or [""]
            yield f"{name}: {first}"
            yield from (f"    {line}" for line in rest)
    elif isinstance(answer, list):
        for one in answer:
            yield f"* {_line(one, now)}"
        if not answer:
            yield "- nothing -"
    else:
        yield str(answer)


def _line(one: Any, now: float) -> str:
    """One task, one queue, one name."""
    if not isinstance(one, Mapping):
        return str(one)
    if "request" in one:
        return f"{_line(one['request'], now)}, due {one['eta']}"
    if "routing_key" in one:
        return str(one["name"])
    begun = f", since {ago(one['time_start'], now)}" if one.get("time_start") else ""
    args = "" if one["args"] is None else f" args={fit(repr(one['args']), _ARGUMENTS_CHARS)}"
    kwargs = f" kwargs={fit(repr(one['kwargs']), _ARGUMENTS_CHARS)}" if one["kwargs"] else ""
    return f"{one['name']}[{one['id']}]{args}{kwargs}{begun}"
