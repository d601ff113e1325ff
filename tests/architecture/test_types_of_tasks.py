"""A type checker knows what a task takes: it flags the call that would fail."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

GOOD = """
from typing import Any
from taskflow import AsyncResult, Task, Taskflow, shared_task

app = Taskflow("typed")

@app.task
def add(x: int, y: int = 1) -> int:
    return x + y

@app.task(bind=True, max_retries=3)
def bound(self: Task[..., Any], x: int) -> int:
    return self.request.retries + x

@shared_task
def shared(text: str) -> str:
    return text

total: int = add(1, 2) + add(1, y=2)
result: AsyncResult = add.delay(4, y=6)
other: AsyncResult = shared.delay("x")
of_bound: AsyncResult = bound.delay(1)
sent: AsyncResult = add.apply_async((1, 2), countdown=3)
chained = (add.s(1) | add.s(2)).apply_async()
"""

BAD = """
from taskflow import Taskflow, shared_task

app = Taskflow("typed")

@app.task
def add(x: int, y: int = 1) -> int:
    return x + y

@app.task(bind=True)
def bound(self, x: int) -> int:  # type: ignore[no-untyped-def]
    return x

@shared_task
def shared(text: str) -> str:
    return text

bound.delay("x")  # wrong
add.delay("x")  # wrong
add.delay(1, 2, 3)  # wrong
add.delay(1, z=3)  # wrong
add("x")  # wrong
text: str = add(1, 2)  # wrong
shared.delay(7)  # wrong
"""


def complaints(path: Path, text: str) -> list[int]:
    """The lines that mypy complains of."""
    path.write_text(text)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--cache-dir",
        str(path.parent),
    ]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [int(line) for line in re.findall(rf"{path.name}:(\d+): error", done.stdout)]


def test_what_is_right_is_not_flagged_and_what_is_wrong_is(tmp_path: Path) -> None:
    wrong = [number for number, line in enumerate(BAD.splitlines(), 1) if line.endswith("# wrong")]

    assert complaints(tmp_path / "good.py", GOOD) == []
    assert complaints(tmp_path / "bad.py", BAD) == wrong
