"""Celery's other commands, with a worker that runs: what they say, and with which exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskflow.states import State
from tests.acceptance.project import Project
from tests.acceptance.stage import until


@pytest.fixture(scope="module")
def proj(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("proj"))
    project.worker("-n", "w1", "-c", "2")
    yield project
    project.close()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Project]:
    """Without a worker."""
    project = Project(tmp_path)
    yield project
    project.close()


def running(proj: Project, name: str) -> str:
    """A call that runs until `ended`."""
    one = proj.call("hold", json.dumps([name]))
    until(lambda: proj.store.items(one)[0].state is State.RUNNING)
    return one


def test_what_runs_is_inspected(proj: Project) -> None:
    one = running(proj, "inspected")

    told = json.loads(proj("inspect", "active", "-t", "20", "--json").stdout)
    said = proj("inspect", "active", "--destination", "w1", "--timeout", "20")
    where = json.loads(proj("inspect", "query_task", one, "-t", "20", "-j").stdout)
    (proj.folder / "inspected").touch()

    assert [(task["id"], task["name"], task["args"]) for task in told["w1"]] == [
        (one, "proj.hold", ["inspected"])
    ]
    assert said.stdout.startswith(f"w1: OK\n    * proj.hold[{one}] args=['inspected']")
    assert where["w1"][one][0] == "active"
    assert proj.result(one) == "'inspected'"


def test_what_waits_for_its_time_is_inspected_and_revoked(proj: Project) -> None:
    one = proj.call("add", "[1, 1]", "--countdown", "600")

    scheduled = json.loads(proj("inspect", "scheduled", "-t", "20", "-j").stdout)
    assert one in [task["request"]["id"] for task in scheduled["w1"]]
    assert proj("control", "revoke", one).stdout == f"Cancelled {one}.\n"

    assert one in json.loads(proj("inspect", "revoked", "-t", "20", "-j").stdout)["w1"]


def test_a_task_that_runs_is_terminated(proj: Project) -> None:
    one = running(proj, "never")

    assert proj("control", "revoke", one).returncode == 0
    assert proj.store.items(one)[0].state is State.RUNNING
    assert proj("control", "terminate", "SIGKILL", one).returncode == 0

    until(lambda: proj.store.items(one)[0].state is State.CANCELLED)


def test_tasks_queues_and_counts_are_inspected(proj: Project) -> None:
    proj.result(proj.call("add", "[1, 1]"))

    assert "    * proj.add\n" in proj("inspect", "registered", "-t", "20").stdout
    assert json.loads(proj("inspect", "stats", "-t", "20", "-j").stdout)["w1"]["total"]["proj.add"] >= 1
    assert "* default" in proj("inspect", "active_queues", "-t", "20").stdout
    assert "python: 3." in proj("inspect", "report", "-t", "20").stdout


def test_who_answers_is_listed(proj: Project, alone: Project) -> None:
    listed, nobody = proj("status", "-t", "20"), alone("status", "-t", "0.1")

    assert (listed.returncode, listed.stdout, listed.stderr) == (0, "w1: OK\n", "1 worker online.\n")
    assert (nobody.returncode, nobody.stdout) == (69, "")
    assert "No worker answered" in nobody.stderr


def test_a_rate_is_told_and_kept(proj: Project) -> None:
    try:
        assert proj("control", "rate_limit", "proj.version", "1/m", "-t", "20").returncode == 0
        first, second = proj.call("version"), proj.call("version")
        assert proj.result(first) == "1"

        reserved = json.loads(proj("inspect", "reserved", "-t", "20", "-j").stdout)
        assert [task["id"] for task in reserved["w1"]] == [second]
        assert "proj.version at 0.0166667/s" in proj("control").stdout
    finally:
        assert proj("control", "reset", "-t", "20").returncode == 0
    assert proj.result(second) == "1"


def test_what_waits_is_purged_and_queues_are_listed(alone: Project) -> None:
    alone.call("add", "[1, 1]")

    assert "default" in alone("list", "queues").stdout
    assert alone("purge", "-f").stdout == "default  1 item cancelled\n"


def test_options_may_stand_before_or_after_the_command(alone: Project) -> None:
    found = [
        alone.run(*argv).stdout
        for argv in (["-A", "proj", "report"], ["report", "--app=proj"], ["-A", "proj:app", "-q", "report"])
    ]

    assert len(set(found)) == 1
    assert "app: proj" in found[0]
    other = alone.run("--workdir", "/", "-b", str(alone.folder / "other.db"), "-A", "proj", "report")
    assert "There is no module 'proj' here" in other.stderr
    elsewhere = alone.run("-b", f"sqlite:///{alone.folder / 'other.db'}", "-A", "proj", "report").stdout
    assert "other.db" in elsewhere


def test_events_are_told_with_the_names_of_tasks(proj: Project) -> None:
    one = proj.call("add", "[1, 1]")
    proj.result(one)

    lines = proj("events", "--all", "--once").stdout.splitlines()
    told = [json.loads(line) for line in proj("events", "--all", "--once", "--json").stdout.splitlines()]

    mine = [line.split()[1:] for line in lines if one in line]
    assert mine == [[word, "proj.add", one] for word in ("queued", "running", "succeeded")]
    assert [event["state"] for event in told if event["node"] == one] == ["queued", "running", "succeeded"]


def test_a_shell_has_the_application_and_its_tasks(proj: Project) -> None:
    code = "print(app.main, add.delay(2, 3).get(timeout=30), control.ping(timeout=20), chain, group)\n"

    answer = proj("shell", "--python", input=code, stdin=None)

    assert "proj 5 [{'w1': {'ok': 'pong'}}]" in answer.stdout


def test_graphs_are_told_to_dot(proj: Project) -> None:
    one = proj.call("add", "[1, 1]")
    proj.result(one)

    run, workers = proj("graph", "run", one).stdout, proj("graph", "workers").stdout

    assert '[label="proj.add\\n1 succeeded", fillcolor=palegreen];' in run
    assert '"queue default" -> "w1";' in workers
    assert proj("graph", "bootsteps").stdout.startswith("digraph {\n")
    assert "Which run?" in proj("graph", "canvas").stderr


@pytest.mark.parametrize("command", ["migrate", "upgrade", "logtool", "amqp"])
def test_commands_without_a_meaning_say_why_and_what_to_do(command: str, alone: Project) -> None:
    answer = alone(command, "settings", "--what", "ever")

    assert answer.returncode == 2
    assert "has no meaning here" in answer.stderr
    assert "Instead: " in answer.stderr


def test_wrong_use_is_answered_in_one_line(alone: Project) -> None:
    for argv, said in (
        (["inspect", "actve"], "Did you mean 'active'?"),
        (["inspect", "active", "w1"], "name workers with --destination"),
        (["control", "rate_limit", "proj.add"], "Write a task and its rate"),
        (["call", "proj.add", "-a", "2"], "is not of the form '[2, 3]'"),
        (["-A", "prjo", "report"], "There is no module 'prjo' here"),
    ):
        answer = alone.run(*argv) if argv[0] == "-A" else alone(*argv)
        assert answer.returncode == 2
        assert said in answer.stderr
        assert answer.stderr.count("\n") == 1
