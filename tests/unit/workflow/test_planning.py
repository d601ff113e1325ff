"""The plan of a workflow as a table; nothing of it is stored."""

from __future__ import annotations

import operator
import sys
from pathlib import Path
from typing import Any

import pytest

from taskflow.errors import ConfigError, CycleError
from taskflow.workflow import Workflow


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)


def planned(wf: Workflow, **inputs: Any) -> dict[str, dict[str, Any]]:
    return {row["node"]: row for row in wf.plan(**inputs)}


def report() -> Workflow:
    wf = Workflow("report", retry=2)
    path = wf.input("path")
    lines = wf.add(str.split, path, name="lines").set(queue="io", priority=3)
    parsed = wf.map(int, lines, name="parsed")
    known = wf.map(abs, [1, 2, 3], name="known")
    wf.reduce(operator.add, parsed, name="total", after=known)
    wf.map_reduce(lines, len, max, name="longest")
    return wf


@pytest.mark.usefixtures("rows")
def test_it_tells_what_would_run() -> None:
    found = planned(report())

    assert [(row["kind"], row["function"], row["width"], row["after"]) for row in found.values()] == [
        ("input", "", 1, ""),
        ("call", "str.split", 1, "path"),
        ("map", "int", "?", "lines"),
        ("map", "abs", 3, ""),
        ("reduce", "add", 1, "known, parsed"),
        ("map_reduce", "len, max", "?", "lines"),
    ]


@pytest.mark.usefixtures("rows")
def test_options_are_those_that_were_chosen() -> None:
    found = planned(report())

    assert found["lines"]["options"] == {"queue": "io", "priority": 3, "retry": 2}
    assert found["known"]["options"] == {"retry": 2}
    assert planned(Workflow()) == {}


@pytest.mark.usefixtures("rows")
def test_sizes_are_those_of_what_would_be_stored() -> None:
    wf = Workflow()
    wf.add(len, b"x" * 1000, name="small")
    wf.add(len, b"x" * 1_000_000, name="large")
    wf.map(len, [b"x" * 1000] * 500, name="items")
    sizes = {name: row["size_bytes"] for name, row in planned(wf).items()}

    assert 1_000 < sizes["small"] < 1_200
    assert 1_000_000 < sizes["large"] < 1_001_000
    assert 2_000 < sizes["items"] < 600_000


@pytest.mark.usefixtures("rows")
def test_an_input_without_a_value_has_no_size() -> None:
    assert planned(report())["path"]["size_bytes"] is None
    assert planned(report(), path="1 2")["path"]["size_bytes"] > 0
    with pytest.raises(ConfigError, match="no input 'pth'"):
        report().plan(pth="1")


def test_it_is_a_table_with_pandas() -> None:
    table = report().plan()

    assert list(table["node"]) == ["path", "lines", "parsed", "known", "total", "longest"]
    assert list(Workflow().plan().columns) == list(table.columns)


def test_what_cannot_run_is_an_error() -> None:
    wf = report()
    wf.graph.add_edge("total", "lines")

    with pytest.raises(CycleError):
        wf.plan()


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TASKFLOW_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    report().plan(path="x" * 10_000_000)

    assert list(tmp_path.iterdir()) == []
