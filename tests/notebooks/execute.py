"""Run the example notebooks, and write their outputs down: ``make notebooks``, or ``python -m
tests.notebooks.execute notebooks/01-quickstart.ipynb``.

What differs from machine to machine and says nothing (paths, process numbers, times of cells) is not kept, so
that a change of an output is a change of what taskflow says.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.notebooks.stage import NOTEBOOKS, ROOT, environment

_SAID_HERE = (
    (re.compile(r"/tmp/ipykernel_\d+/\d+\.py"), "<cell>"),
    (re.compile(re.escape(f"{ROOT}/")), ""),
    (re.compile(r"/tmp/tf-nb-\w+/\w+"), "~"),
    (re.compile(rf"\b{re.escape(socket.gethostname())}-\d+-[0-9a-f]{{4}}\b"), "worker"),
    (re.compile(r"(?:~|/)[\w./+~-]*/(?=(?:site-packages|concurrent|lib/python3\.\d+)/)"), ""),
    (re.compile(r"(?<=\bprocess )\d+"), "4711"),
    (re.compile(r"\b0x[0-9a-f]{6,}\b"), "0x…"),
)
_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(notebook: Path) -> None:
    """Run a notebook in a home of its own, and write it with its outputs."""
    import nbformat
    from nbclient import NotebookClient

    found = nbformat.read(notebook, as_version=4)
    with tempfile.TemporaryDirectory(prefix="tf-nb-") as home:
        os.environ.update(environment(Path(home)))
        NotebookClient(found, timeout=120, resources={"metadata": {"path": str(notebook.parent)}}).execute()
    text = json.dumps(tidy(found), indent=1, ensure_ascii=False, sort_keys=False)
    notebook.write_text(f"{text}\n", encoding="utf-8")


def tidy(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook without what is of this machine or of this moment only."""
    cells = [_tidy_cell(cell) for cell in notebook["cells"]]
    return {"cells": cells, "metadata": _METADATA, "nbformat": 4, "nbformat_minor": 5}


def _tidy_cell(cell: dict[str, Any]) -> dict[str, Any]:
    tags = cell["metadata"].get("tags")
    kept = {**cell, "metadata": {"tags": tags} if tags else {}, "source": _lines(cell["source"])}
    if cell["cell_type"] == "code":
        kept["outputs"] = [_tidy_output(output) for output in cell["outputs"]]
    return kept


def _tidy_output(output: dict[str, Any]) -> dict[str, Any]:
    tidied: dict[str, Any] = _anywhere(output)
    if "text" in tidied:
        tidied["text"] = _lines(tidied["text"])
    if "data" in tidied:
        tidied["data"] = {
            kind: _lines(value) if isinstance(value, str) else value for kind, value in tidied["data"].items()
        }
    return tidied


def _anywhere(value: Any) -> Any:
    match value:
        case str():
            for pattern, said in _SAID_HERE:
                value = pattern.sub(said, value)
            return value
        case dict():
            return {name: _anywhere(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_anywhere(inner) for inner in value]
    return value


def _lines(text: str | Iterable[str]) -> list[str]:
    return ("".join(text)).splitlines(keepends=True)


if __name__ == "__main__":
    for path in [Path(name).resolve() for name in sys.argv[1:]] or NOTEBOOKS:
        print(path.name, flush=True)
        execute(path)
