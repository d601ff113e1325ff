"""The example notebooks do what they say, with either store, and are fit to be looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.notebooks.stage import NOTEBOOKS, ROOT, checked
from tests.servers import RedisServer, running

LARGEST_BYTES = 200_000

each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    yield from running("valkey")


@pytest.mark.slow
@pytest.mark.timeout(600)
@each_notebook
def test_a_notebook_says_again_what_it_said(notebook: Path, tmp_path: Path) -> None:
    done = checked(notebook, tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
@each_notebook
def test_it_does_so_too_when_the_store_is_a_server(
    notebook: Path, tmp_path: Path, server: RedisServer
) -> None:
    done = checked(notebook, tmp_path, f"{server.url}?namespace={notebook.stem}")

    assert done.returncode == 0, done.stdout + done.stderr


def test_an_output_that_changed_is_noticed(tmp_path: Path) -> None:
    cell = nbformat.v4.new_code_cell("1 + 1", metadata={"tags": ["nbval-check-output"]})
    cell.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "3"})]
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "wrong.ipynb")

    done = checked(tmp_path / "wrong.ipynb", tmp_path)

    assert done.returncode == 1, done.stdout + done.stderr


@each_notebook
def test_it_was_run_from_top_to_bottom_and_compares_something(notebook: Path) -> None:
    cells = code_cells(notebook)

    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    compared = [cell for cell in cells if "nbval-check-output" in cell.metadata.get("tags", ())]
    assert len(compared) >= 2
    assert all(cell.outputs for cell in compared)


@each_notebook
def test_it_says_nothing_of_the_machine_that_ran_it(notebook: Path) -> None:
    text = notebook.read_text(encoding="utf-8")

    assert len(text.encode()) < LARGEST_BYTES
    assert re.findall(r"/root/|/home/|/work/|ipykernel_\d|\b0x[0-9a-f]{6,}", text) == []
    assert nbformat.reads(text, as_version=4).metadata.language_info == {"name": "python"}


@each_notebook
def test_its_links_lead_somewhere(notebook: Path) -> None:
    found = nbformat.read(notebook, as_version=4)
    texts = "\n".join(cell.source for cell in found.cells if cell.cell_type == "markdown")
    links = [link for link in re.findall(r"\]\(([^)#]+)", texts) if "://" not in link]

    assert [link for link in links if not (notebook.parent / link).exists()] == []


def test_the_readme_lists_them_all() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert [path.stem for path in NOTEBOOKS if f"(notebooks/{path.name})" not in readme] == []
    numbers = [path.name[:2] for path in NOTEBOOKS]
    assert numbers == [f"{number:02}" for number in range(1, len(NOTEBOOKS) + 1)]


def code_cells(notebook: Path) -> list[Any]:
    return [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
