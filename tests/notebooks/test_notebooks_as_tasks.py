"""A notebook is a task: with parameters, in a kernel that ends with it, seen cell by cell."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import taskflow
from taskflow import Client, Workflow
from taskflow.contrib.notebooks import Notebook, NotebookResult, grid, record, run_notebook
from taskflow.errors import (
    CellFailed,
    ConfigError,
    MissingExtra,
    SoftTimeLimitExceeded,
    TaskTimedOut,
    UsageError,
)
from taskflow.states import State
from tests.acceptance.stage import alive, opened, run_script, until

pytest.importorskip("papermill", reason="papermill is not installed: pip install -e '.[test]'")
nbformat = pytest.importorskip("nbformat")

WAIT_S = 100.0
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One for all: the second kernel of a child starts quicker than the first."""
    with opened(tmp_path_factory.mktemp("store")) as client:
        yield client


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a notebook: cells, the first of them with the parameters if that is wanted."""

    def written(*cells: str, name: str = "report.ipynb", parameters: str = "", **metadata: Any) -> Path:
        made = [nbformat.v4.new_code_cell(cell) for cell in cells]
        if parameters:
            made.insert(0, nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A report"), *made])
        book.metadata = nbformat.from_dict(metadata)
        path = tmp_path / name
        nbformat.write(book, path)
        return path

    return written


def outputs(path: Path) -> list[Any]:
    return [cell.get("outputs", []) for cell in nbformat.read(path, as_version=4).cells]


# ── it runs ──────────────────────────────────────────────────────────────────────────


def test_a_notebook_is_submitted_with_parameters(client: Client, write: Write, tmp_path: Path) -> None:
    path = write(
        "print(region, year)",
        "from taskflow.contrib.notebooks import record\nrecord(total=year * 2, names=[region])",
        "{'total': year * 2}",
        parameters="region = 'none'\nyear = 2025",
    )
    report = Notebook(path, output=tmp_path / "out" / "{region}.ipynb")
    path.unlink()  # what is sent is what was read, not the path

    result = client.submit(report, region="no'rth").result(WAIT_S)

    assert report.parameters == ("region", "year")
    assert result.output == str(tmp_path / "out" / "no'rth.ipynb")
    assert result.values == {"total": 4050, "names": ["no'rth"]}
    assert (result["total"], result.value, result.cells) == (4050, {"total": 4050}, 5)
    assert outputs(Path(result.output))[3][0]["text"] == "no'rth 2025\n"
    with pytest.raises(KeyError, match=r"recorded no 'totl'.*total"):
        result["totl"]


def test_a_grid_of_parameters_is_mapped_and_the_results_have_their_notebooks(
    client: Client, write: Write, tmp_path: Path
) -> None:
    report = Notebook(write("x * y", parameters="x = y = 0"))

    results = client.map(report, grid(x=[1, 2], y=[10])).results()

    assert [result.value for result in results] == [10, 20]
    assert [result.output for result in results] == [None, None]
    results[1].save(tmp_path / "second.ipynb")
    assert outputs(tmp_path / "second.ipynb")[-1][0]["data"]["text/plain"] == "20"


def test_a_notebook_is_a_node_of_a_workflow_and_a_task_of_an_app(client: Client, write: Write) -> None:
    report = Notebook(write("total + 1", parameters="total = 0"))
    wf = Workflow()
    total = wf.add(sum, [1, 2, 3], name="count")
    wf.add(_value, wf.add(report, total=total, name="report"), name="last")

    assert client.submit_workflow(wf, {}).result(timeout=WAIT_S) == 7

    app = taskflow.Taskflow("books", broker=client.url)
    in_app = app.task(report, name="books.report")
    assert in_app.delay(total=41).get(timeout=WAIT_S).value == 42


def _value(result: NotebookResult) -> Any:
    return result.value


def test_it_is_seen_cell_by_cell(client: Client, write: Write, tmp_path: Path) -> None:
    waits = (
        f"import pathlib, time\nwhile not pathlib.Path({str(tmp_path / 'gate')!r}).exists(): time.sleep(0.01)"
    )
    report = Notebook(
        write("from taskflow.contrib.notebooks import record\nrecord(loss=0.5)", "1", waits, "2"),
        output=tmp_path / "seen.ipynb",
    )

    future = client.submit(report)

    until(lambda: future.done() or (future.progress is not None and future.progress.done == 2), WAIT_S)
    assert future.progress is not None
    assert str(future.progress) == "cells 2/4 (50%), loss 0.5"
    (tmp_path / "gate").touch()
    assert future.result(WAIT_S).value == 2


# ── it fails ─────────────────────────────────────────────────────────────────────────


def test_a_failed_cell_is_named_with_its_source_and_what_ran_is_kept(
    client: Client, write: Write, tmp_path: Path
) -> None:
    path = write("print('first')", "def half(n):\n    return n / 0\n", "half(3)", "print('never')")
    future = client.submit(Notebook(path, output=tmp_path / "out.ipynb"))

    with pytest.raises(
        CellFailed, match=r"Cell 3 of 4 of .*report\.ipynb raised ZeroDivisionError"
    ) as raised:
        future.result(WAIT_S)

    error = raised.value
    assert (error.cell, error.source, error.ename, error.evalue) == (
        3, "half(3)", "ZeroDivisionError", "division by zero",
    )  # fmt: skip
    assert "return n / 0" in error.traceback
    assert "\x1b" not in str(error)
    assert error.notebook == str(tmp_path / "out.ipynb")
    _, first, _, failed, never = outputs(Path(error.notebook))
    assert (first[0]["text"], failed[0]["ename"], never) == ("first\n", "ZeroDivisionError", [])


def test_what_failed_without_a_place_for_it_is_kept_too(client: Client, write: Write) -> None:
    with pytest.raises(CellFailed) as raised:
        client.submit(Notebook(write("1 / 0"))).result(WAIT_S)

    kept = Path(raised.value.notebook)
    assert kept.parent.name == "notebooks"
    assert outputs(kept)[1][0]["ename"] == "ZeroDivisionError"


def test_a_cell_may_not_take_longer_than_it_may_and_a_kernel_may_die(client: Client, write: Write) -> None:
    slow = client.submit(Notebook(write("import time\ntime.sleep(60)", name="slow.ipynb"), cell_timeout=0.3))
    dead = client.submit(Notebook(write("import os\nos._exit(1)", name="dead.ipynb")))

    with pytest.raises(CellFailed, match=r"Cell 1 of 1 .*it took longer than 0\.3 s"):
        slow.result(WAIT_S)
    with pytest.raises(CellFailed, match="the kernel died"):
        dead.result(WAIT_S)


def test_a_worker_without_the_kernel_says_which_it_has(client: Client, write: Write) -> None:
    future = client.submit(Notebook(write("1"), kernel_name="pithon3"))

    with pytest.raises(ConfigError, match=r"no kernel 'pithon3'.*python3"):
        future.result(WAIT_S)


def test_what_is_no_parameter_is_said_before_a_kernel_is_started(client: Client, write: Write) -> None:
    report = Notebook(write("1", parameters="region: str = 'x'\nyear = 1"))

    with pytest.raises(UsageError, match=r"has no parameter 'regoin'.*region"):
        client.submit(report, regoin="north").result(WAIT_S)
    with pytest.raises(UsageError, match="'region' is a set"):
        report(region={1})
    with pytest.raises(UsageError, match="'loss' is a object"):
        record(loss=object())
    assert Notebook(write("1", name="any.ipynb")).parameters is None


def test_what_is_no_notebook_is_said_when_it_is_made(tmp_path: Path) -> None:
    (tmp_path / "text.ipynb").write_text("hello", encoding="utf-8")

    with pytest.raises(ConfigError, match="is no notebook"):
        Notebook(tmp_path / "text.ipynb")
    with pytest.raises(ConfigError, match="cannot be read"):
        Notebook(tmp_path / "none.ipynb")


def test_an_output_that_needs_what_is_not_given_is_an_error(write: Write) -> None:
    with pytest.raises(UsageError, match="needs 'region'"):
        Notebook(write("1"), output="{region}.ipynb")()


def test_without_papermill_it_says_what_to_install(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "papermill.parameterize", None)

    with pytest.raises(MissingExtra, match=r"pip install 'jupyter-taskflow\[papermill\]'"):
        Notebook(write("1"))()


# ── it ends ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def endless(write: Write, tmp_path: Path) -> Iterator[tuple[Notebook, Callable[[], int]]]:
    """A notebook that never ends, and the process of its kernel."""
    pid = tmp_path / "pid"
    path = write(
        "print('before')",
        f"import os, pathlib, signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        f"pathlib.Path({str(tmp_path / 'half')!r}).write_text(str(os.getpid()))\n"
        f"os.rename({str(tmp_path / 'half')!r}, {str(pid)!r})\nwhile True: time.sleep(0.01)",
    )

    def kernel() -> int:
        until(pid.exists, WAIT_S)
        return int(pid.read_text())

    yield Notebook(path, output=tmp_path / "endless.ipynb"), kernel
    if pid.exists():
        with suppress(ProcessLookupError):
            os.kill(kernel(), signal.SIGKILL)


Endless = tuple[Notebook, Callable[[], int]]


def test_cancelling_ends_the_kernel_and_keeps_what_ran(
    client: Client, endless: Endless, tmp_path: Path
) -> None:
    notebook, kernel = endless
    future = client.submit(notebook)
    pid = kernel()

    future.cancel()

    until(lambda: not alive(pid), WAIT_S)
    until(lambda: future.state is State.CANCELLED)
    assert future.logs == ""
    until((tmp_path / "endless.ipynb").exists)
    assert outputs(tmp_path / "endless.ipynb")[1][0]["text"] == "before\n"


@pytest.mark.parametrize("limit", [{"soft_time_limit": 3.0}, {"time_limit": 3.0}], ids=["soft", "hard"])
def test_a_time_limit_ends_the_kernel(
    client: Client, endless: Endless, tmp_path: Path, limit: dict[str, float]
) -> None:
    notebook = Notebook(endless[0].path, cwd=tmp_path)

    with pytest.raises((TaskTimedOut, SoftTimeLimitExceeded)):
        client.options(**limit).submit(notebook).result(WAIT_S)

    until(lambda: not working_in(tmp_path), WAIT_S)


def working_in(folder: Path) -> list[int]:
    """The processes whose working directory it is."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if (entry / "cwd").readlink() == folder:
                    found.append(int(entry.name))
    return found


def test_a_child_that_is_killed_leaves_no_kernel(client: Client, endless: Endless) -> None:
    notebook, kernel = endless
    future = client.options(max_deliveries=1).submit(notebook)
    pid = kernel()

    os.kill(_parent(pid), signal.SIGKILL)

    until(lambda: not alive(pid), WAIT_S)
    assert future.exception(WAIT_S) is not None


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# ── elsewhere ────────────────────────────────────────────────────────────────────────


def test_it_runs_where_it_is_called_also_in_a_running_loop(write: Write, tmp_path: Path) -> None:
    path = write("n + 1", parameters="n = 1")

    async def main() -> NotebookResult:
        return run_notebook(path, {"n": 2}, output=f"memory://{tmp_path.name}/out.ipynb")

    result = asyncio.run(main())

    import fsspec

    assert result.value == 3
    with fsspec.open(str(result.output)) as file:
        assert json.load(file)["metadata"]["papermill"]["parameters"] == {"n": 2}
    assert Notebook(str(result.output)).name == "out"


GUIDE = Path(__file__).parents[2] / "docs" / "notebooks-as-tasks.md"


def test_the_examples_of_the_guide_are_true(write: Write, tmp_path: Path) -> None:
    write(
        "import time\nfrom taskflow.contrib.notebooks import record\nscore = depth / 10",
        "record(score=score)",
        "score",
        name="train.ipynb",
        parameters="depth = 1\ndata = ''",
    )
    source = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL))
    began = time.monotonic()

    said = run_script(tmp_path, source, deadline_s=WAIT_S).splitlines()

    assert said == ["0.3", "[0.2, 0.4]", "best 4", "data/table.csv 0.1"]
    assert (tmp_path / "runs" / "4.ipynb").exists()
    assert time.monotonic() - began < WAIT_S
