"""Several workers in one command: their names, and what is said of single ones."""

from __future__ import annotations

import pytest

from taskflow.cli.nodes import nodes_of
from taskflow.errors import UsageError
from tests.unit.cli.shop import Shop

TAKES = {"-c": True, "-Q": True, "-A": True, "-B": False, "--pidfile": True}


def nodes(line: str) -> dict[str, str]:
    return {node.name: " ".join(node.words) for node in nodes_of(line.split(), TAKES, host="here")}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2", {"worker1@here": "", "worker2@here": ""}),
        ("a b@there -c 3", {"a@here": "-c 3", "b@there": "-c 3"}),
        (
            "3 -Q:1-2 images -Q:3 x",
            {f"worker{n}@here": f"-Q {'x' if n == 3 else 'images'}" for n in (1, 2, 3)},
        ),
        ("a b c -c 1 -c:a,c 9", {"a@here": "-c 1 -c 9", "b@here": "-c 1", "c@here": "-c 1 -c 9"}),
        ("-A proj -B a", {"a@here": "-A proj -B"}),
        ("a --pidfile=%n.pid --pidfile:a@here=x", {"a@here": "--pidfile=%n.pid --pidfile=x"}),
        ("a --pidfile %n.pid", {"a@here": "--pidfile %n.pid"}),
    ],
)
def test_names_and_options_are_told_apart(line: str, expected: dict[str, str]) -> None:
    assert nodes(line) == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-c 3", "Which workers?"),
        ("0", "not possible"),
        ("a a", "named twice"),
        ("a -c:b 3", "speak of worker 'b', and there are a@here"),
        ("a -c:2-9 3", "speak of worker '2-9'"),
        ("a -c", "-c needs a value"),
    ],
)
def test_what_cannot_be_meant_is_refused(line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        nodes(line)


def test_names_are_listed_and_abbreviations_written_out(shop: Shop) -> None:
    assert shop("multi", "names", "a@h", "b@h", "-c", "3").out == "a@h\nb@h\n"
    assert shop("multi", "expand", "%n.pid", "a@h", "b@h").out == "a.pid\nb.pid\n"
    assert shop("multi", "get", "b", "a@h", "b@h", "-c:b", "3").out == "-c 3\n"
    assert "no worker 'c'" in shop("multi", "get", "c", "a@h", "b@h").err


def test_the_commands_are_shown(shop: Shop) -> None:
    shown = shop("-A", "proj", "multi", "show", "1", "--range-prefix=w", "-l", "info", "-f", "x.log").out

    assert " -m taskflow --app proj worker -l info -f x.log --pidfile=%n.pid --name=w1@" in shown


def test_workers_that_do_not_run_are_not_stopped(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)

    assert shop("multi", "stop", "a@h").out == "a@h: does not run\n"
