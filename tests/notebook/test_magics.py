"""The magics, in an IPython without a screen."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import taskflow
import taskflow.client as clients
from taskflow import Client, Future, Workflow
from taskflow.errors import ConfigError, TaskCancelled
from taskflow.notebook.words import completions

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    """A shell with the magics, whose client has two workers."""
    with pytest.MonkeyPatch.context() as patch:
        store = tmp_path_factory.mktemp("store") / "runs.db"
        patch.setenv("TASKFLOW_URL", f"sqlite:///{store}")
        patch.setattr(clients, "_default", Client(workers=2))
        shell = new_shell()
        shell.run_line_magic("load_ext", "taskflow")
        yield shell
        if clients._default is not None:
            clients._default.shutdown(wait=False)


@pytest.fixture
def shell(kernel: InteractiveShell) -> Iterator[InteractiveShell]:
    before = dict(kernel.user_ns)
    yield kernel
    kernel.user_ns.clear()
    kernel.user_ns.update(before)


def new_shell() -> InteractiveShell:
    """A shell that leaves no history behind, and completes without looking into every library."""
    config = Config()
    config.HistoryManager.enabled = False
    config.IPCompleter.use_jedi = False
    config.InteractiveShell.warn_venv = False
    return InteractiveShell(config=config)


def say(shell: InteractiveShell, line: str) -> Any:
    return shell.run_line_magic("taskflow", line)


def cell(shell: InteractiveShell, name: str, line: str, body: str) -> Any:
    return shell.run_cell_magic(name, line, textwrap.dedent(body).lstrip())


class TestTask:
    def test_the_last_expression_is_the_result(self, shell: InteractiveShell) -> None:
        future = cell(shell, "task", "", "a = 3\na * 4")

        assert isinstance(future, Future)
        assert future.result(WAIT_S) == 12
        assert "a" not in shell.user_ns

    def test_names_that_it_reads_are_captured_as_they_are_now(self, shell: InteractiveShell) -> None:
        shell.run_cell("scale = 10\ndef times(x):\n    return x * scale")

        future = cell(shell, "task", "", "times(4)")
        shell.run_cell("scale = 0")

        assert future.result(WAIT_S) == 40

    def test_a_name_that_it_changes_is_its_own(self, shell: InteractiveShell) -> None:
        shell.run_cell("total = 1")

        assert cell(shell, "task", "--wait", "total += 5\ntotal") == 6
        assert shell.user_ns["total"] == 1

    def test_futures_are_waited_for(self, shell: InteractiveShell) -> None:
        cell(shell, "task", "first -o left", "20")

        assert cell(shell, "task", "--wait", "left + 1") == 21

    def test_inputs_may_be_named(self, shell: InteractiveShell) -> None:
        shell.run_cell("a, b = 2, 3")

        assert cell(shell, "task", "power -i a,b --wait", "a ** b") == 8
        with pytest.raises(UsageError, match="no 'zzz'"):
            cell(shell, "task", "-i zzz", "1")

    def test_it_is_called_what_one_likes(self, shell: InteractiveShell) -> None:
        future = cell(shell, "task", "clean-up", "1")

        assert future.label == "clean-up"
        assert future.result(WAIT_S) == 1

    def test_what_it_prints_stands_under_the_cell(
        self, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cell(shell, "task", "--wait", "print('hello')\n7") == 7
        assert "hello" in capsys.readouterr().out

    def test_a_semicolon_keeps_the_result_away(self, shell: InteractiveShell) -> None:
        assert cell(shell, "task", "--wait", "7;") is None

    def test_an_error_shows_the_line_of_the_cell(self, shell: InteractiveShell) -> None:
        future = cell(shell, "task", "broken", "x = 1\nx / 0")

        error = future.exception(WAIT_S)
        assert isinstance(error, ZeroDivisionError)
        told = "".join(traceback.format_exception(error))
        assert "x / 0" in told
        assert "line 2, in broken" in told

    def test_it_is_tried_again(self, shell: InteractiveShell, tmp_path: Path) -> None:
        shell.user_ns["flag"] = str(tmp_path / "flag")
        body = """
            from pathlib import Path
            seen = Path(flag).exists()
            Path(flag).touch()
            assert seen
            "well"
        """
        assert cell(shell, "task", "--retries 2 --wait", body) == "well"

    def test_bad_python_is_said_before_anything_is_sent(self, shell: InteractiveShell) -> None:
        with pytest.raises(UsageError, match="line 2"):
            cell(shell, "task", "", "a = 1\nb = = 2")

    def test_a_line_is_one_too(self, shell: InteractiveShell) -> None:
        shell.run_cell("def slow(x):\n    return -x")

        assert shell.run_line_magic("task", "slow(3)").result(WAIT_S) == -3


class TestParallel:
    def test_results_come_in_order(self, shell: InteractiveShell) -> None:
        shell.run_cell("numbers = range(20)\nbase = 100")

        assert cell(shell, "parallel", "x in numbers", "y = x + base\ny") == [100 + x for x in range(20)]

    def test_items_may_be_pairs_and_an_expression(self, shell: InteractiveShell) -> None:
        shell.run_cell("pairs = {'a': 1, 'b': 2}")

        assert cell(shell, "parallel", "name, n in pairs.items()", "name * n") == ["a", "bb"]

    def test_its_run_may_have_a_name(self, shell: InteractiveShell) -> None:
        assert cell(shell, "parallel", "x in range(5) -o run -c 2", "x * x") is None
        assert shell.user_ns["run"].results() == [0, 1, 4, 9, 16]

    @pytest.mark.parametrize("line", ["", "x", "x of items", "-o out"])
    def test_what_it_is_run_for_has_to_be_said(self, shell: InteractiveShell, line: str) -> None:
        with pytest.raises(UsageError, match="x in items"):
            cell(shell, "parallel", line, "x")


class TestWorkflow:
    BODY = """
        numbers: list(range(limit))
        total: sum(numbers)

        def told(total, numbers):
            return f"{total} of {len(numbers)}"
    """

    def test_each_line_is_a_step(self, shell: InteractiveShell) -> None:
        shell.run_cell("limit = 5")
        cell(shell, "workflow", "report", self.BODY)

        made = shell.user_ns["report"]
        assert isinstance(made, Workflow)
        assert set(made.graph.edges) == {("numbers", "total"), ("total", "told"), ("numbers", "told")}

    def test_it_may_run_at_once(self, shell: InteractiveShell) -> None:
        shell.run_cell("limit = 5")
        cell(shell, "workflow", "report -r", self.BODY)

        assert shell.user_ns["report"].result() == "10 of 5"

    def test_anything_else_is_no_step(self, shell: InteractiveShell) -> None:
        with pytest.raises(UsageError, match="line 1 is no step"):
            cell(shell, "workflow", "report", "a = 1")


def test_a_cell_runs_on_each_worker(shell: InteractiveShell) -> None:
    cell(shell, "task", "--wait", "1")  # there is a worker now

    given = cell(shell, "on_workers", "", "import os\nos.getpid()")

    assert len(given) == len(taskflow.get_client().workers())
    assert all(isinstance(pid, int) for pid in given.values())


class TestWords:
    def test_there_is_an_overview(self, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
        say(shell, "")
        assert "%taskflow runs" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "line", ["runs --help", "start --help", "attach -h", "cancel --help", "config --help"]
    )
    def test_each_has_help(
        self, shell: InteractiveShell, capsys: pytest.CaptureFixture[str], line: str
    ) -> None:
        assert say(shell, line) is None
        assert "usage: %taskflow" in capsys.readouterr().out

    def test_an_unknown_word_names_the_nearest(self, shell: InteractiveShell) -> None:
        with pytest.raises(UsageError, match=r"'runz'.*runs"):
            say(shell, "runz")

    def test_an_unknown_option_is_a_usage_error(self, shell: InteractiveShell) -> None:
        with pytest.raises(UsageError, match=r"--failled.*--failed"):
            say(shell, "runs --failled")

    def test_a_part_of_an_option_is_not_guessed(self, shell: InteractiveShell) -> None:
        with pytest.raises(UsageError, match=r"no option '--fail'\. Did you mean '--failed'\?"):
            say(shell, "runs --fail")

    def test_runs_are_a_table(self, shell: InteractiveShell) -> None:
        cell(shell, "task", "tabled --wait", "1")

        table = say(shell, "runs tabled")
        assert list(table["name"]) == ["tabled"]
        assert len(say(shell, "runs tabled --failed")) == 0

    def test_failures_are_found_and_tried_again(
        self, shell: InteractiveShell, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        shell.user_ns["flag"] = str(tmp_path / "flag")
        body = "from pathlib import Path\nassert Path(flag).exists(), 'no flag'\n5"
        future = cell(shell, "task", "flagged", body)
        future.exception(WAIT_S)

        assert list(say(shell, "runs --failed flagged")["name"]) == ["flagged"]
        say(shell, f"why {future.id}")
        assert "no flag" in capsys.readouterr().out
        (tmp_path / "flag").touch()
        assert say(shell, f"retry {future.id}").result(WAIT_S) == 5

    def test_a_run_is_attached_to(self, shell: InteractiveShell) -> None:
        cell(shell, "parallel", "x in range(3) -o mine", "x")
        shell.user_ns["mine"].wait(WAIT_S)

        assert say(shell, f"attach {shell.user_ns['mine'].id}").results() == [0, 1, 2]

    def test_a_task_is_cancelled(self, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
        future = cell(shell, "task", "", "import time\ntime.sleep(60)")
        taskflow.get_client().flush()

        say(shell, f"cancel {future.id}")

        assert "1 of 1" in capsys.readouterr().out
        with pytest.raises(TaskCancelled):
            future.result(WAIT_S)

    def test_output_is_shown(self, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
        future = cell(shell, "task", "", "print('said')")
        future.result(WAIT_S)

        say(shell, f"logs {future.id}")
        assert "said" in capsys.readouterr().out

    @pytest.mark.parametrize("word", ["workers", "queues", "limits", "doctor", "dead", "schedules"])
    def test_there_are_tables(self, shell: InteractiveShell, word: str) -> None:
        assert hasattr(say(shell, word), "columns")

    def test_schedules_are_looked_after(self, shell: InteractiveShell) -> None:
        client = taskflow.get_client()
        client.schedules.add("nightly", pow, taskflow.crontab(0, 2), (2, 5))

        assert say(shell, "schedules run nightly").get(timeout=WAIT_S) == 32
        assert list(say(shell, "schedules next nightly -n 2")["schedule"]) == ["nightly"] * 2
        assert list(say(shell, "schedules pause nightly")["state"]) == ["paused"]
        assert list(say(shell, "schedules")["state"]) == ["paused"]
        assert len(say(shell, "schedules remove nightly")) == 0
        with pytest.raises(UsageError, match="Which one"):
            say(shell, "schedules pause")

    def test_how_things_are_sent(self, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
        assert say(shell, "config retry=3 label=mine") == {"retry": 3, "label": "mine"}
        future = cell(shell, "task", "", "1")
        assert future.result(WAIT_S) == 1
        with pytest.raises(ConfigError, match="retry"):
            say(shell, "config retryy=3")
        assert say(shell, "config retry= label=") == {}

    def test_the_status_is_a_line(self, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
        say(shell, "status")
        assert "workers with" in capsys.readouterr().out

    def test_a_second_start_finds_the_first(
        self, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
    ) -> None:
        say(shell, "start")
        assert "Already there" in capsys.readouterr().out

    def test_words_are_completed(self, shell: InteractiveShell) -> None:
        with provisionalcompleter():
            found = {one.text for one in shell.Completer.completions("%taskflow ru", len("%taskflow ru"))}
        assert "runs" in found

    def test_options_and_what_they_take_are_completed(self) -> None:
        assert {"--failed", "--live", "-n"} <= set(completions("%taskflow runs --"))
        assert set(completions("%taskflow start --pool ")) == {"process", "thread", "async"}
        assert completions("%taskflow runs -n ") == completions("%taskflow nonsense ") == []

    def test_runs_are_completed_by_id_or_by_name(self, shell: InteractiveShell) -> None:
        future = cell(shell, "task", "completed", "1")
        future.result(WAIT_S)

        assert completions("%taskflow attach 0")[0] == future.run_id
        assert "completed" in completions("%taskflow runs comp")


def test_loading_twice_changes_nothing_and_unloading_takes_all_away(shell: InteractiveShell) -> None:
    other = new_shell()
    for _ in range(2):
        taskflow.load_ipython_extension(other)
    assert "taskflow" in other.magics_manager.magics["line"]

    taskflow.unload_ipython_extension(other)
    assert not {"taskflow", "task", "parallel"} & {
        *other.magics_manager.magics["line"],
        *other.magics_manager.magics["cell"],
    }


def test_what_has_not_ended_is_told_once_and_starts_nothing(tmp_path: Path) -> None:
    code = """
        import sys, taskflow
        from IPython.core.interactiveshell import InteractiveShell
        if sys.argv[1] == "leave":
            client = taskflow.Client(workers=0)
            client.options(label="left").submit(pow, 2, 5)
            client.flush()
            client.shutdown(wait=False)
        else:
            shell = InteractiveShell()
            shell.run_line_magic("load_ext", "taskflow")
            import taskflow.client
            assert taskflow.client._default is None
    """
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(code))
    store = f"sqlite:///{tmp_path}/runs.db"

    def run(word: str) -> str:
        env = {**os.environ, "TASKFLOW_URL": store, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path)}
        command = [sys.executable, str(path), word]
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    assert run("load") == ""
    run("leave")
    told = run("load")
    assert "1 run has not ended, the newest is left. %taskflow attach" in told
