"""List the workers that answer now. The exit code is 69 when nobody does, as Celery's."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from taskflow.cli import asking

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser

SUMMARY = "list the workers that answer now"
EXAMPLES = """
taskflow status
taskflow status -d gpu-1 -t 5
"""


def arguments(parser: Parser) -> None:
    """Declare the arguments."""
    asking.declare(parser, timeout_s=1.0)


def run(options: Namespace, console: Console) -> int:
    """List them."""
    from taskflow.steering import Inspect

    found = Inspect(console.desk, asking.destination(options), options.timeout).ping() or {}
    if console.json:
        return asking.tell(found, console)
    return asking.tell({name: {} for name in found}, console)
