"""``%debug`` after a failure in a worker: in a real IPython, and in a real kernel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

import taskflow.client as clients
from taskflow import Client, shells
from taskflow.shells import FRAMES, wants_frames
from tests.notebook.test_magics import new_shell

WAIT_S = 60.0

STORY = """\
%load_ext taskflow
import taskflow
FACTOR = 3
def ratio(table, name):
    total = sum(table[name])
    return FACTOR / (total - 6)
def analyse(n):
    table = {"a": [1, 2, n]}
    return ratio(table, "a")

client = taskflow.Client(workers=1)
future = client.submit(analyse, 3)
"""


def told(tmp_path: Path, script: str) -> str:
    """What an IPython in a terminal prints that is typed this."""
    environment = {
        **os.environ,
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "TASKFLOW_URL": f"sqlite:///{tmp_path / 'runs.db'}",
    }
    environment.pop(FRAMES, None)
    tmp_path.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor", "--no-tip"],
        input=script, env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


class TestInATerminal:
    def test_a_debugger_opens_the_frames_of_the_worker(self, tmp_path: Path) -> None:
        out = told(
            tmp_path,
            f"{STORY}future.result()\n%debug\np total\np [FACTOR + n for n in table[name]]\nup\np table\nq\n",
        )

        assert "--> 1 future.result()" in out.replace("----> 1", "--> 1")
        assert re.search(r"Cell In\[\d\], line \d, in ratio", out)
        assert "ipdb> 6" in out and "[4, 5, 6]" in out and "{'a': [1, 2, 3]}" in out

    def test_frames_of_ours_and_a_wall_of_text_are_left_out(self, tmp_path: Path) -> None:
        out = told(tmp_path, f"{STORY}client.map(analyse, [1, 3, 4]).results()\n")

        assert "Raised by" in out and "ZeroDivisionError" in out
        assert "RemoteTraceback" not in out
        assert not re.search(r"File .*(taskflow|concurrent)/", out)

    def test_so_it_is_whatever_is_asked_for_the_result(self, tmp_path: Path) -> None:
        out = told(
            tmp_path,
            STORY
            + "_ = taskflow.gather({'a': [future]})\n"
            + "_ = taskflow.task(analyse).delay(3).get()\n"
            + "_ = taskflow.group(taskflow.task(analyse).s(n) for n in (3, 3)).delay().get()\n"
            + "flow = taskflow.Workflow('w'); node = flow.add(analyse, 3)\n"
            + "_ = flow.run(client).result()\n"
            + "_ = flow.run(client).gather()\n"
            + "for _ in client.map(analyse, [3]): pass\n"
            + "_ = await future\n",
        )

        assert out.count("ZeroDivisionError: division by zero") == 7
        assert not re.search(r"File .*(taskflow|concurrent)/", out)

    def test_a_call_is_run_here_under_the_debugger_of_ipython(self, tmp_path: Path) -> None:
        out = told(
            tmp_path, STORY + "get_ipython().run_line_magic('taskflow', f'debug {future.id}')\np total\nq\n"
        )

        assert "ipdb> 6" in out

    def test_without_the_extension_no_variable_is_sent(self, tmp_path: Path) -> None:
        out = told(tmp_path, STORY.replace("%load_ext taskflow\n", "") + "future.result()\n")

        assert "RemoteTraceback" in out and "Raised by" not in out


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A kernel, and a client of it that answers when it asks for input."""
    from jupyter_client.manager import start_new_kernel

    tmp_path.chmod(0o700)
    monkeypatch.setenv("TASKFLOW_URL", f"sqlite:///{tmp_path / 'runs.db'}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv(FRAMES, raising=False)
    manager, client = start_new_kernel(kernel_name="python3", startup_timeout=WAIT_S)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(kernel: Any, code: str, typed: list[str] | None = None) -> str:
    """What a cell printed; somebody types into what it asks."""
    lines, said = list(typed or ()), []

    def hear(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            said.append(content["text"])
        elif message["msg_type"] == "error":
            said.append("\n".join(content["traceback"]))

    def answer(message: dict[str, Any]) -> None:
        kernel.input(lines.pop(0) if lines else "q")

    try:
        kernel.execute_interactive(
            code, timeout=WAIT_S, output_hook=hear, stdin_hook=answer, allow_stdin=True
        )
    except Empty:
        raise AssertionError(f"the kernel did not answer: {''.join(said)}") from None
    return re.sub(r"\x1b\[[\d;]*m", "", "".join(said))


class TestInAKernel:
    def test_frames_come_by_themselves_and_cells_have_their_numbers(self, kernel: Any) -> None:
        run(kernel, STORY.replace("%load_ext taskflow\n", ""))

        shown = run(kernel, "future.result()")
        debugged = run(kernel, "%debug", ["p total", "up", "p table", "q"])

        assert re.search(r"Cell In\[1\], line 5, in ratio", shown)
        assert "futures/_base.py" not in shown
        assert "6" in debugged and "{'a': [1, 2, 3]}" in debugged

    def test_frames_of_ours_are_left_out_where_runs_are_shown_too(self, kernel: Any) -> None:
        run(kernel, STORY)

        for asked in ("client.map(analyse, [3]).results()", "list(client.map(analyse, [3]))"):
            shown = run(kernel, asked)
            assert "in ratio" in shown and "Raised by" in shown
            assert not re.search(r"File .*(taskflow|concurrent)/", shown)

    def test_a_coroutine_is_debugged_beside_the_event_loop_of_the_kernel(self, kernel: Any) -> None:
        run(kernel, STORY + "async def later(n):\n    return analyse(n)\nslow = client.submit(later, 3)\n")

        debugged = run(kernel, "slow.debug()", ["p total", "q"])

        assert "ZeroDivisionError" in debugged and re.search("^6$", debugged, re.MULTILINE)
        assert "1.5" in run(kernel, "print(slow.debug(fn=lambda n: n / 2))")


class TestWhoWantsThem:
    def test_no_script_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(FRAMES, raising=False)

        assert shells.shell() is None and not wants_frames()

    @pytest.mark.parametrize(("said", "wanted"), [("1", True), ("0", False), ("off", False), ("yes", True)])
    def test_the_environment_decides(self, monkeypatch: pytest.MonkeyPatch, said: str, wanted: bool) -> None:
        monkeypatch.setenv(FRAMES, said)

        assert wants_frames() is wanted

    def test_loading_asks_for_them_also_where_there_is_a_client(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv(FRAMES, raising=False)
        shell: InteractiveShell = new_shell()
        monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: shell)
        with Client(mode="inline") as client:
            monkeypatch.setattr(clients, "_default", client)
            assert not client._sender.options.frames

            shell.run_line_magic("load_ext", "taskflow")

            assert client._sender.options.frames
            assert not client.options(frames=False)._sender.options.frames
