"""What docs/comparison.md shows of others is what was run, and what it shows of us runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import RedisServer, running

DOCS = Path(__file__).parents[2] / "docs"
PROGRAMS = sorted((DOCS / "comparison").glob("*.py"))
SQUARES = str([number * number for number in range(20)])


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    yield from running("valkey")


def play(step: str, folder: Path, *more: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "with_taskflow.py", step, *more],
        cwd=DOCS / "comparison", capture_output=True, text=True, check=False, timeout=100,
        env={**os.environ, "XDG_STATE_HOME": str(folder / "state"), "SEEN": str(folder)},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_each_program_is_one(program: Path) -> None:
    compile(program.read_text(encoding="utf-8"), str(program), "exec")


def test_what_the_page_shows_is_in_the_programs() -> None:
    page = (DOCS / "comparison.md").read_text(encoding="utf-8")
    shown = 0

    for paragraph in page.split("\n**[")[1:]:
        programs = re.findall(r"\]\((comparison/with_\w+\.py)\)\*\*", paragraph)
        blocks = re.findall(r"```python\n(.*?)```", paragraph, flags=re.DOTALL)
        for program in programs:
            there = [line.strip() for line in (DOCS / program).read_text(encoding="utf-8").splitlines()]
            missing = [line for block in blocks for line in block.splitlines() if line.strip() not in there]
            assert missing == [], program
            shown += len(blocks)
    assert shown > 20


def test_a_map_gives_what_can_be_had(tmp_path: Path) -> None:
    results, failures = play("failure_and_retry", tmp_path).splitlines()

    assert results == SQUARES.replace("169, ", "")
    assert failures == "[(13, '13 cannot be fetched')]"


def test_a_graph_and_partial_results(tmp_path: Path) -> None:
    assert play("graph", tmp_path) == "2470 in all, the largest is 361\n"
    assert re.fullmatch(r"\d+ of 20 so far\n", play("progress_and_partial_results", tmp_path))


def test_a_client_that_was_killed_is_followed_by_another(tmp_path: Path) -> None:
    play("leave", tmp_path, code=1)

    assert play("come_back", tmp_path).strip() == SQUARES


def test_a_worker_elsewhere(tmp_path: Path, server: RedisServer) -> None:
    assert play("scale_out", tmp_path, server.url).splitlines()[-2:] == [SQUARES, "[2]"]
