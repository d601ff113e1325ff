"""What ``taskflow doctor --from-celery FILE`` says: what happens to each setting of a configuration."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from taskflow.cli.exits import Exit
from taskflow.cli.words import plural
from taskflow.observe.table import Column

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.settings.judging import Verdict

__all__ = ["report"]

_COLUMNS = (
    Column("line", right=True),
    Column("setting"),
    Column("value", shrinks=True),
    Column("here", state=True),
    Column("in words"),
)


def report(options: Namespace, console: Console) -> int:
    """Write it as a table or JSON; the exit code is 1 when something would be refused."""
    from taskflow.settings.judging import REFUSED, judged

    path = Path(options.from_celery)
    verdicts = judged(path, execute=options.run)
    if console.json:
        console.dump(verdicts)
    else:
        rows = [(str(v.line or ""), _names(v), v.value, v.here, v.words) for v in verdicts]
        console.table(_COLUMNS, rows)
        console.hint(_in_short(verdicts, path, ran=options.run))
    return Exit.FAILED if any(verdict.here == REFUSED for verdict in verdicts) else Exit.OK


def _names(verdict: Verdict) -> str:
    renamed = verdict.name and verdict.name != verdict.setting
    return f"{verdict.setting} → {verdict.name}" if renamed else verdict.setting


def _in_short(verdicts: Sequence[Verdict], path: Path, *, ran: bool) -> str:
    counted = ", ".join(
        f"{number} {here}" for here, number in Counter(v.here for v in verdicts).most_common()
    )
    words = f"{path}: {plural(len(verdicts), 'setting')}{': ' if counted else ''}{counted}."
    if ran:
        return words
    computed = sum(verdict.value == "(computed)" for verdict in verdicts)
    left = (
        f" {plural(computed, 'value')} could not be looked at: --run runs the file for them."
        if computed
        else ""
    )
    return f"{words} Nothing of the file was run.{left}"
