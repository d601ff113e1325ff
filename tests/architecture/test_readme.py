"""The examples of the README run as they are printed, from top to bottom."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from taskflow import Client

ROOT = Path(__file__).parents[2]


def test_the_readme_runs_as_printed(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    script = tmp_path / "readme.py"
    script.write_text("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), encoding="utf-8")

    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    squares = sum(x * x for x in range(1_000_000))
    assert done.stdout.splitlines() == [
        str(squares),
        str(2**100),
        "[1, 2, 4]",
        "3",
        "6",
        "285",
        "2",
        "6 is much",
    ]


def test_the_workflow_of_the_guide_runs_as_printed(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8")
    session: dict[str, Any] = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), session)

    with Client(mode="inline") as client:
        run = session["wf"].run(client, day="mo")
        assert run.result("answer") == "24: large"
