"""Print what a bug report needs: versions, the machine, the store, and the settings of the application.

Passwords are left out.
"""

from __future__ import annotations

import os
import platform
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from taskflow.cli.exits import Exit

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "print what a bug report needs"
EXAMPLES = """
taskflow report
taskflow -A proj report
"""


def arguments(parser: Parser) -> None:
    """It has none of its own."""


def run(options: Namespace, console: Console) -> int:
    """Print it."""
    found = dict(_facts(console))
    if console.json:
        console.dump(found)
        return Exit.OK
    for name, value in found.items():
        if isinstance(value, dict):
            console.say(f"{name}:")
            for key, one in value.items():
                console.say(f"    {key}: {one}")
        else:
            console.say(f"{name}: {value}")
    return Exit.OK


def _facts(console: Console) -> Iterator[tuple[str, Any]]:
    from taskflow.links import shown
    from taskflow.versions import here

    yield from here().items()
    yield (
        "machine",
        f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} processors",
    )
    yield "store", shown(console.url)
    if console.has_app:
        app = console.app
        yield "app", app.main
        yield "tasks", len(app.tasks)
        yield "settings", settings_of(app)


def settings_of(app: Any) -> dict[str, str]:
    """What was set of an application, as text without passwords."""
    from taskflow.settings import OPTIONS
    from taskflow.settings.explaining import shown_value

    changes = sorted(app.conf.changes.items())
    return {name: shown_value(OPTIONS[name], given.value) for name, given in changes}
