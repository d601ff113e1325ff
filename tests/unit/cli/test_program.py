"""What all commands have in common: words, stores, errors, exit codes."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

import taskflow
from taskflow.cli import main
from taskflow.cli.program import COMMANDS, run
from taskflow.errors import StoreUnavailable
from tests.unit.cli.shop import Shop


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main([command, "--help"])

    out = capsys.readouterr().out
    assert code == 0
    assert "examples:" in out
    assert f"taskflow {command}" in out.partition("examples:")[2]


def test_help_lists_all_commands_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--help"])

    out = capsys.readouterr().out
    assert code == 0
    assert all(f"    {name} " in out for name in COMMANDS)
    assert all(f"  {number}  " in out for number in (0, 1, 2, 130))


def test_no_command_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().err


def test_the_version_names_python_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"taskflow {taskflow.__version__}, Python 3.")


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["rusn"], "There is no command 'rusn'. Did you mean 'runs'?"),
        (["runs", "--faild"], "There is no option '--faild'. Did you mean '--failed'?"),
        (["runs", "--state", "runing"], "There is no STATE 'runing'. Did you mean 'running'?"),
        (["key", "rotat"], "There is no ACTION 'rotat'. Did you mean 'rotate'?"),
        (["worker", "--pool", "thraed"], "There is no pool 'thraed'. Did you mean 'thread'?"),
        (["worker", "--pool", "gevent"], "use --pool async"),
        (["runs", "extra"], "'extra' is one argument too many."),
        (["runs", "-n", "0"], "0 is less than 1"),
        (["runs", "-n", "many"], "'many' is not a whole number"),
        (["show"], "required: RUN"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest_in_one_line(
    argv: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(argv)

    err = capsys.readouterr().err
    assert code == 2
    assert hint in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("place", ["before", "after"])
def test_shared_options_may_stand_before_or_after_the_command(place: str, shop: Shop) -> None:
    answer = shop(*(["--json", "runs"] if place == "before" else ["runs", "--json"]))

    assert (answer.code, answer.out) == (0, "[]\n")


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("sqlit:///x.db", "Did you mean 'sqlite'?"),
        ("memory://", "name a file"),
        ("{tmp}/none.db", "There is no store at {tmp}/none.db yet"),
        ("sqlite:///{tmp}/none.db", "There is no store at {tmp}/none.db yet"),
        ("{tmp}/notes.txt", "is not a taskflow store"),
    ],
)
def test_a_wrong_store_is_one_line_that_says_what_to_do(
    url: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o700)
    notes = tmp_path / "notes.txt"
    notes.write_text("not a database, " * 100)
    notes.chmod(0o600)

    code = main(["runs", "--url", url.format(tmp=tmp_path)])

    err = capsys.readouterr().err
    assert code == 2
    assert hint.format(tmp=tmp_path) in err
    assert err.count("\n") == 1
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("argv", [["show"], ["result"], ["logs"], ["cancel"], ["retry"]])
@pytest.mark.parametrize("word", ["7f3a", "\x1b[2J", "7f3a:2", ":2", "7f3a:x", ""])
def test_an_unknown_id_is_one_line_and_wrong_use(argv: list[str], word: str, shop: Shop) -> None:
    shop.submit(shop.map(3))

    answer = shop(*argv, word)

    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.count("\n") == 1
    assert answer.err[:-1].isprintable()


def test_an_ambiguous_prefix_asks_for_more(shop: Shop) -> None:
    shop.submit(shop.call())
    shop.submit(shop.call())

    answer = shop("show", "01")

    assert answer.code == 2
    assert "give more of it" in answer.err


def test_a_store_that_fails_is_exit_code_1() -> None:
    def opened(url: str) -> None:
        raise StoreUnavailable("locked for 20 s")

    err = io.StringIO()

    assert run(["runs"], out=io.StringIO(), err=err, opened=opened) == 1
    assert err.getvalue() == "taskflow: locked for 20 s\n"


def test_ctrl_c_is_exit_code_130_and_no_traceback() -> None:
    def opened(url: str) -> None:
        raise KeyboardInterrupt

    err = io.StringIO()

    assert run(["runs"], out=io.StringIO(), err=err, opened=opened) == 130
    assert err.getvalue() == ""


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from taskflow.cli import main; main(['--help']); print('\\n', *sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = set(done.stdout.rpartition("\n ")[2].split())
    assert "taskflow.cli.program" in loaded
    assert not loaded & {"asyncio", "cloudpickle", "dataclasses", "networkx", "sqlite3", "taskflow.records"}
