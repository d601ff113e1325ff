"""Runs under their cells, in real kernels: what moves while a cell blocks, and what stays in the notebook."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty
from typing import Any, NamedTuple

import pytest

from taskflow.observe.snapshot import MIME
from taskflow.states import TERMINAL, State

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
manager = pytest.importorskip("jupyter_client.manager")

WAIT_S = 60.0
VIEW = "application/vnd.jupyter.widget-view+json"


def surroundings(home: Path) -> dict[str, str]:
    """Kernels find their own homes, and no workers or stores but their own."""
    names = ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    own = dict.fromkeys((*names, "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(home))
    dropped = ("TASKFLOW_URL", "TASKFLOW_DISPLAY", "XDG_RUNTIME_DIR", "JUPYTER_PATH", "PYTHONWARNINGS")
    return {name: value for name, value in os.environ.items() if name not in dropped} | own


PREPARED = """
%load_ext taskflow
%taskflow start -n 2
import os, threading, time, taskflow
from taskflow import Workflow
client = taskflow.get_client()

def nap(x):
    time.sleep(0.02)
    return x * x

def tick(x):
    time.sleep(0.001)

def picky(x):
    if x % 5 == 3:
        raise ValueError(f"item {x}: </script><img src=x onerror=alert(1)>")
    return x
"""

THREADS = "print([thread.name for thread in threading.enumerate() if 'display' in thread.name])"

CELLS = {
    "prepared": PREPARED,
    "waited": "run = client.map(nap, range(40))\nrun.wait();",
    "threads": f"client.map(nap, range(20)).wait()\n{THREADS}",
    "last line": "client.map(nap, range(20)).wait()",
    "shown": "later = client.map(nap, range(50))\nlater",
    "waited for later": "later.wait();",
    "shown again": "later",
    "twice": "twice = client.map(nap, range(60))\ntwice",
    "twice again": "twice",
    "twice waited for": f"twice.wait()\n{THREADS}",
    "failed": "bad = client.map(picky, range(20))\nbad.wait();",
    "awaited": "values = await client.map(nap, range(10))\nvalues",
    "awaited together": (
        "import asyncio\n"
        "both = client.map(nap, range(10)), client.map(nap, range(30))\n"
        "print([len(values) for values in await asyncio.gather(*both)])"
    ),
    "iterated in the loop": (
        "ticks = 0\n"
        "async def tick():\n"
        "    global ticks\n"
        "    while True:\n"
        "        await asyncio.sleep(0.001)\n"
        "        ticks += 1\n"
        "ticking = asyncio.create_task(tick())\n"
        "print(sum([x async for x in client.map(nap, range(20))]), ticks > 10)\n"
        "ticking.cancel();"
    ),
    "given up": (
        "endless = client.map(time.sleep, [60, 60])\n"
        "try:\n"
        "    await asyncio.wait_for(asyncio.ensure_future(endless), 0.2)\n"
        "except TimeoutError:\n"
        "    print('in time')"
    ),
    "workflow": (
        "flow = Workflow('two steps')\n"
        "flow.task(lambda: 3, name='load')\n"
        "flow.task(lambda load: load + 1, name='sum')\n"
        "flow.run(client).result()"
    ),
    "graph of dask": (
        "from dask import delayed\n"
        "from taskflow.contrib.dask import get\n"
        "parts = [delayed(nap)(n, dask_key_name=('nap', n)) for n in range(4)]\n"
        "delayed(sum)(parts).compute(scheduler=get, client=client)"
    ),
    "call": "one = client.submit(nap, 3)\none",
    "call waited for": f"print(one.result())\n{THREADS}",
    "hostile": "client.options(label='</script><b onclick=x>').map(nap, range(10)).wait();",
    "off": "os.environ['TASKFLOW_DISPLAY'] = 'off'\nclient.map(nap, range(10)).wait();",
    "off, asked for": "client.map(nap, range(10)).wait()",
    "text": "os.environ['TASKFLOW_DISPLAY'] = 'text'\nclient.map(nap, range(10)).wait();",
    "html": "os.environ['TASKFLOW_DISPLAY'] = 'html'\nclient.map(nap, range(20)).wait();",
    "wrong": "os.environ['TASKFLOW_DISPLAY'] = 'htlm'\nclient.map(nap, range(10)).wait();",
    "moving": "del os.environ['TASKFLOW_DISPLAY']\nslow = client.map(nap, range(300))\nslow",
    "unloaded": "%unload_ext taskflow",
    "bare": f"{THREADS}\nslow.cancel()\nslow",
    "bare wait": "short = client.map(nap, range(5)).wait()\nshort",
}


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A notebook that was executed once, as others do it: its cells by name."""
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in CELLS.values()]
    executor = nbclient.NotebookClient(
        nbformat.v4.new_notebook(cells=cells), kernel_name="python3", timeout=WAIT_S, allow_errors=True
    )
    home = tmp_path_factory.mktemp("home")
    done = executor.execute(env=surroundings(home), cwd=str(home))
    return dict(zip(CELLS, done.cells, strict=True))


def shown(cell: Any) -> list[dict[str, Any]]:
    """The bundles of a cell."""
    return [out["data"] for out in cell.outputs if out["output_type"] in ("display_data", "execute_result")]


def said(cell: Any) -> str:
    return "".join(out["text"] for out in cell.outputs if out["output_type"] == "stream")


def errors(cell: Any) -> list[str]:
    return [f"{out['ename']}: {out['evalue']}" for out in cell.outputs if out["output_type"] == "error"]


def last_word(cell: Any) -> dict[str, Any]:
    """The only bundle of a cell; all in it is static."""
    (bundle,) = shown(cell)
    assert VIEW not in bundle
    assert {MIME, "text/html", "text/plain"} <= set(bundle)
    assert State(bundle[MIME]["state"]) in TERMINAL
    snapshot: dict[str, Any] = bundle[MIME]
    return snapshot


class TestWhatStays:
    """In a saved notebook."""

    def test_nothing_went_wrong(self, book: dict[str, Any]) -> None:
        assert {name: errors(cell) for name, cell in book.items() if errors(cell) and name != "wrong"} == {}

    def test_no_output_needs_a_kernel(self, book: dict[str, Any]) -> None:
        for name, cell in book.items():
            for bundle in shown(cell):
                assert VIEW not in bundle, name
                assert not re.search("HBox|VBox|RunWidget|model not found", json.dumps(bundle)), name

    def test_a_cell_that_waited_has_one_bundle_with_how_it_ended(self, book: dict[str, Any]) -> None:
        snapshot = last_word(book["waited"])

        assert (snapshot["state"], snapshot["done"], snapshot["total"]) == ("succeeded", 40, 40)
        assert [row["preview"] for row in snapshot["rows"]["rows"][:3]] == ["0", "1", "4"]
        assert "40/40" in shown(book["waited"])[0]["text/plain"]
        assert "40 of 40" in shown(book["waited"])[0]["text/html"]

    def test_nothing_moves_it_when_the_wait_is_over(self, book: dict[str, Any]) -> None:
        assert said(book["threads"]).strip() == "[]"
        assert last_word(book["threads"])["done"] == 20

    def test_a_wait_in_the_last_line_shows_it_once(self, book: dict[str, Any]) -> None:
        assert last_word(book["last line"])["done"] == 20

    def test_what_was_shown_in_one_cell_and_waited_for_in_the_next_has_its_last_word(
        self, book: dict[str, Any]
    ) -> None:
        assert last_word(book["shown"])["done"] == 50
        assert shown(book["waited for later"]) == []

    def test_a_run_that_is_asked_for_again_is_shown_again(self, book: dict[str, Any]) -> None:
        assert last_word(book["shown again"])["done"] == 50

    def test_each_cell_that_shows_a_run_has_its_last_word_when_the_wait_is_over(
        self, book: dict[str, Any]
    ) -> None:
        assert [last_word(book[name])["done"] for name in ("twice", "twice again")] == [60, 60]
        assert said(book["twice waited for"]).strip() == "[]"

    def test_failures_are_grouped_and_it_says_how_to_go_on(self, book: dict[str, Any]) -> None:
        snapshot, html = last_word(book["failed"]), shown(book["failed"])[0]["text/html"]

        (cause,) = snapshot["errors"]
        assert (snapshot["state"], snapshot["failed"], cause["count"]) == ("failed", 4, 4)
        assert cause["items"] == [["picky", 3], ["picky", 8], ["picky", 13], ["picky", 18]]
        assert "raise ValueError" in cause["traceback"]
        assert f"%taskflow retry {snapshot['run'][:18]} " in html
        assert "<img src=x" not in html

    def test_a_run_can_be_awaited(self, book: dict[str, Any]) -> None:
        *bundles, values = shown(book["awaited"])

        assert values["text/plain"] == str([x * x for x in range(10)])
        assert [bundle[MIME]["done"] for bundle in bundles] == [10]

    def test_runs_that_are_awaited_together_are_shown_together(self, book: dict[str, Any]) -> None:
        bundles = shown(book["awaited together"])

        assert [bundle[MIME]["done"] for bundle in bundles] == [10, 30]
        assert said(book["awaited together"]).strip() == "[10, 30]"

    def test_the_loop_of_the_kernel_turns_while_results_come(self, book: dict[str, Any]) -> None:
        assert last_word(book["iterated in the loop"])["done"] == 20
        assert said(book["iterated in the loop"]).strip() == "2470 True"

    def test_a_run_whose_awaiting_was_given_up_is_cancelled(self, book: dict[str, Any]) -> None:
        (first, *_) = shown(book["given up"])

        assert first[MIME]["state"] == "cancelled"
        assert said(book["given up"]).strip() == "in time"

    def test_a_workflow_has_its_graph(self, book: dict[str, Any]) -> None:
        first, value = shown(book["workflow"])

        assert value["text/plain"] == "4"
        assert {box["label"]: box["state"] for box in first[MIME]["graph"]["boxes"]} == {
            "load": "succeeded",
            "sum": "succeeded",
        }
        assert first["text/html"].count("<img") == 1

    def test_a_graph_of_dask_is_shown_by_its_layers_while_the_cell_waits(self, book: dict[str, Any]) -> None:
        pytest.importorskip("dask")
        first, value = shown(book["graph of dask"])

        assert value["text/plain"] == "14"
        stages = {stage["label"]: stage["done"] for stage in first[MIME]["stages"]}
        assert stages == {"nap": 4, "sum": 1}
        assert len(first[MIME]["graph"]["boxes"]) == 5

    def test_a_call_is_shown_as_a_run_of_one(self, book: dict[str, Any]) -> None:
        snapshot = last_word(book["call"])

        assert (snapshot["done"], snapshot["cells"], snapshot["graph"]) == (1, None, None)
        assert snapshot["rows"]["rows"][0]["preview"] == "9"
        assert said(book["call waited for"]).split() == ["9", "[]"]

    def test_a_hostile_label_is_inert(self, book: dict[str, Any]) -> None:
        html = shown(book["hostile"])[0]["text/html"]

        assert "</script>" not in html
        assert "&lt;/script&gt;&lt;b onclick=x&gt;" in html


class TestModes:
    def test_off_shows_nothing_of_a_wait(self, book: dict[str, Any]) -> None:
        assert (shown(book["off"]), said(book["off"])) == ([], "")

    def test_off_says_in_a_line_what_was_asked_for(self, book: dict[str, Any]) -> None:
        assert shown(book["off, asked for"]) == []
        assert said(book["off, asked for"]).startswith("<MapRun")

    def test_text_is_nothing_but_text(self, book: dict[str, Any]) -> None:
        (bundle,) = shown(book["text"])

        assert set(bundle) == {"text/plain"}
        assert "10/10" in bundle["text/plain"]

    def test_html_is_html_and_text(self, book: dict[str, Any]) -> None:
        (bundle,) = shown(book["html"])

        assert set(bundle) == {"text/html", "text/plain"}
        assert "20 of 20" in bundle["text/html"]

    def test_a_wrong_one_names_the_nearest(self, book: dict[str, Any]) -> None:
        (error,) = errors(book["wrong"])

        assert "TASKFLOW_DISPLAY='htlm'" in error
        assert "'html'" in error


class TestWithoutTheExtension:
    def test_unloading_ends_what_moves_and_leaves_no_widget(self, book: dict[str, Any]) -> None:
        (bundle,) = shown(book["moving"])

        assert said(book["bare"]).splitlines()[0] == "[]"
        assert VIEW not in bundle
        assert bundle[MIME]["state"] == "running"

    def test_a_run_has_its_static_bundle(self, book: dict[str, Any]) -> None:
        assert last_word(book["bare wait"])["done"] == 5

    def test_a_plain_ipython_shows_text(self, tmp_path: Path) -> None:
        code = (
            "%load_ext taskflow\n"
            "import taskflow\n"
            "client = taskflow.Client(workers=1)\n"
            "run = client.map(abs, range(3)).wait(60)\n"
            "display(run)\n"
            "client.shutdown()\n"
        )
        script = tmp_path / "script.ipy"
        script.write_text(code)

        done = subprocess.run(
            [sys.executable, "-m", "IPython", "--colors=NoColor", str(script)],
            env=surroundings(tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S,
            check=True,
        )  # fmt: skip

        assert "<MapRun" in done.stdout
        assert not re.search("<div|application/|Traceback", done.stdout + done.stderr)


# ── while the cell blocks ────────────────────────────────────────────────────────────


class Heard(NamedTuple):
    """A message of a kernel, when it came, and how long it was."""

    at: float
    kind: str
    content: dict[str, Any]
    size: int


class Kernel:
    """A kernel that is spoken to message by message."""

    def __init__(self, home: Path) -> None:
        self._env = surroundings(home)
        self._manager = manager.KernelManager(kernel_name="python3")
        self._manager.start_kernel(env=self._env, cwd=str(home))
        self._connect()

    def _connect(self) -> None:
        self.is_prepared = False
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=WAIT_S)

    def restart(self) -> None:
        self._client.stop_channels()
        self._manager.restart_kernel(now=True)
        self._connect()

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def interrupt(self) -> None:
        self._manager.interrupt_kernel()

    def run(self, code: str, when: Callable[[list[Heard]], object] = lambda heard: None) -> list[Heard]:
        """Execute a cell; `when` sees after each message what has come so far."""
        parent = self._client.execute(code)
        return self.hear(parent, when)

    def hear(self, parent: str, when: Callable[[list[Heard]], object] = lambda heard: None) -> list[Heard]:
        """What comes until the kernel has done what it was asked for."""
        heard: list[Heard] = []
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            try:
                message = self._client.get_iopub_msg(timeout=1.0)
            except Empty:
                continue
            size = len(json.dumps(message, default=str))
            heard.append(Heard(time.monotonic(), message["msg_type"], message["content"], size))
            when(heard)
            mine = message["parent_header"].get("msg_id") == parent
            if mine and message["content"].get("execution_state") == "idle":
                return heard
        raise AssertionError(f"the kernel is not done: {heard[-3:]}")

    def ask(self, comm: str, **content: Any) -> dict[str, Any]:
        """Ask by a widget, as its drawing does."""
        data = {"method": "custom", "content": content}
        message = self._client.session.msg("comm_msg", {"comm_id": comm, "data": data})
        self._client.shell_channel.send(message)
        heard = self.hear(message["header"]["msg_id"])
        (answer,) = [told["content"] for told in customs(heard)]
        return dict(answer)


def customs(heard: list[Heard]) -> list[dict[str, Any]]:
    datas = [each.content["data"] for each in heard if each.kind == "comm_msg"]
    return [data for data in datas if data.get("method") == "custom"]


def moves(heard: list[Heard]) -> list[tuple[Heard, dict[str, Any]]]:
    """What the widgets of this cell were told."""
    mine = {each.content["comm_id"] for each in heard if each.kind == "comm_open"}
    told = [each for each in heard if each.kind == "comm_msg" and each.content["comm_id"] in mine]
    states = [(each, each.content["data"].get("state", {})) for each in told]
    return [(each, state["snapshot"]) for each, state in states if "snapshot" in state]


def text_of(heard: list[Heard]) -> str:
    return "".join(each.content["text"] for each in heard if each.kind == "stream")


def errors_of(heard: list[Heard]) -> list[dict[str, Any]]:
    return [each.content for each in heard if each.kind == "error"]


def comm_of(heard: list[Heard]) -> str:
    return next(each.content["comm_id"] for each in heard if each.kind == "comm_open"
                and "snapshot" in each.content["data"].get("state", {}))  # fmt: skip


def final(heard: list[Heard]) -> dict[str, Any]:
    """The last that was put in the place of the display."""
    updates = [each.content["data"] for each in heard if each.kind == "update_display_data"]
    snapshot: dict[str, Any] = updates[-1][MIME]
    assert VIEW not in updates[-1]
    return snapshot


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    kernel = Kernel(tmp_path_factory.mktemp("home"))
    yield kernel
    kernel.close()


@pytest.fixture
def kernel(started: Kernel) -> Kernel:
    """One for all tests; it is prepared again when it was restarted."""
    if not started.is_prepared:
        started.run(PREPARED)
        started.is_prepared = True
    return started


def once(condition: Callable[[list[Heard]], bool], do: Callable[[], None]) -> Callable[[list[Heard]], None]:
    """Do something as soon as something was heard."""
    done: list[bool] = []

    def when(heard: list[Heard]) -> None:
        if not done and condition(heard):
            done.append(True)
            do()

    return when


class TestWhileItRuns:
    def test_it_moves_while_the_cell_blocks(self, kernel: Kernel) -> None:
        heard = kernel.run("client.map(nap, range(150)).wait();")

        told = [snapshot for _, snapshot in moves(heard)]
        done = [snapshot["done"] for snapshot in told]
        assert len(told) >= 4
        assert done == sorted(done)
        assert len(set(done)) >= 4
        assert final(heard)["done"] == 150
        assert [each.kind for each in heard].count("display_data") == 1

    def test_a_large_map_that_is_interrupted_keeps_what_was_done_and_says_so(self, kernel: Kernel) -> None:
        heard = kernel.run(
            "client.map(tick, range(100_000)).wait();",
            once(lambda heard: len(moves(heard)) >= 12, kernel.interrupt),
        )

        told = moves(heard)[:12]
        took_s = told[-1][0].at - told[0][0].at
        assert (len(told) - 1) / took_s <= 12
        assert sum(each.size for each, _ in told[1:]) / took_s < 100_000
        last = final(heard)
        assert (last["state"], last["total"]) == ("cancelled", 100_000)
        kept = sum(stage["done"] - stage["cancelled"] for stage in last["stages"])
        assert 0 < kept < 100_000
        assert "Once more, within a second, leaves it running" in text_of(heard)
        assert [each.content["ename"] for each in heard if each.kind == "error"] == ["KeyboardInterrupt"]
        page = [each.content["data"]["text/html"] for each in heard if each.kind == "update_display_data"][-1]
        assert f"{kept:,} done are kept; %taskflow retry {last['run'][:18]} " in page

    def test_interrupted_twice_it_goes_on_and_can_be_shown_again(self, kernel: Kernel) -> None:
        def twice(heard: list[Heard]) -> None:
            first(heard)
            second(heard)

        first = once(lambda heard: len(moves(heard)) >= 2, kernel.interrupt)
        second = once(lambda heard: "Once more" in text_of(heard), kernel.interrupt)
        heard = kernel.run("left = client.map(nap, range(200))\nleft.wait();", twice)

        run = moves(heard)[-1][1]["run"]
        assert f"Left running: %taskflow attach {run} shows it again." in text_of(heard)
        assert not [
            each for each in heard if each.kind == "error" and each.content["ename"] != "KeyboardInterrupt"
        ]
        assert text_of(kernel.run("print(left.state)")).strip() == "running"

        shown_again = kernel.run(f"%taskflow attach {run}")
        heard = kernel.run("left.wait();")

        assert [each.kind for each in shown_again].count("display_data") == 1
        assert (final(heard)["state"], final(heard)["done"]) == ("succeeded", 200)

    def test_a_wait_after_that_is_cancelled_as_any_other(self, kernel: Kernel) -> None:
        interrupt = once(lambda heard: bool(moves(heard)), kernel.interrupt)

        heard = kernel.run("client.map(nap, range(500)).wait();", interrupt)

        assert final(heard)["state"] == "cancelled"

    def test_questions_are_answered_when_the_kernel_is_free(self, kernel: Kernel) -> None:
        heard = kernel.run("asked = client.map(nap, range(400))\nasked")
        comm = comm_of(heard)

        rows = kernel.ask(comm, number=7, ask={"what": "rows", "sort": "index", "size": 2})
        wrong = kernel.ask(comm, number=8, ask={"what": "rwos"})
        worse = kernel.ask(comm, number=9, act="cancle")
        done = kernel.ask(comm, number=10, act="cancel")

        assert (rows["number"], rows["answer"]["matching"], len(rows["answer"]["rows"])) == (7, 400, 2)
        assert (wrong["number"], "'rows'" in wrong["error"], "answer" in wrong) == (8, True, False)
        assert "'cancel'" in worse["error"]
        assert done == {"number": 10, "answer": {"changed": True}}
        assert final(kernel.run("asked.wait();"))["state"] == "cancelled"

    def test_what_is_no_question_is_not_answered(self, kernel: Kernel) -> None:
        comm = comm_of(kernel.run("odd = client.map(nap, range(100))\nodd"))

        assert "error" in kernel.ask(comm, number=1, ask="rows")
        assert "error" in kernel.ask(comm, number=2)
        kernel.run("odd.cancel()\nodd.wait();")

    def test_after_a_restart_it_is_found_and_goes_on(self, kernel: Kernel) -> None:
        heard = kernel.run("client.map(nap, range(200))")
        run = next(each.content["data"][MIME]["run"] for each in heard if each.kind == "display_data")

        kernel.restart()
        found = text_of(kernel.run("%load_ext taskflow"))
        heard = kernel.run("again = get_ipython().run_line_magic('taskflow', 'attach')\nagain.wait();")

        assert found.count("\n") == 1
        assert "not ended, the newest is nap. %taskflow attach goes on with it." in found
        assert final(heard)["run"] == run
        assert (final(heard)["state"], final(heard)["done"]) == ("succeeded", 200)
        assert len(moves(heard)) >= 2
