"""docs/where-to-run.md says of each pool what the contract suite asserts, and its example runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from taskflow.pools.promises import PROMISES
from taskflow.ports import Promises

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "where-to-run.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)` \|((?: (?:yes|no|refused) \|)+)$", PAGE, re.M))
REFUSED = ("hard_limit", "memory_limit")


def test_every_pool_has_a_row() -> None:
    assert list(ROWS) == list(PROMISES)


@pytest.mark.parametrize("pool", PROMISES)
def test_the_table_is_the_one_that_the_contract_suite_asserts(pool: str) -> None:
    cells = [cell.strip() for cell in ROWS[pool].strip(" |").split("|")]

    def word(name: str, kept: bool) -> str:
        return "yes" if kept else "refused" if name in REFUSED and pool != "inline" else "no"

    assert cells == [word(*one) for one in zip(Promises._fields, PROMISES[pool], strict=True)]


def test_the_pages_that_it_names_are_there() -> None:
    named = re.findall(r"\]\(([\w./-]+\.md)\)", PAGE)

    assert named
    assert [name for name in named if not (DOCS / name).exists()] == []


def test_its_example_runs(tmp_path: Path) -> None:
    code = "".join(re.findall(r"```python\n(.*?)```", PAGE, re.S))

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, "45\n"), done.stderr
