"""``taskflow -A proj worker …`` as Celery's users type it: what they find there."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskflow.worker.daemon import is_ours
from tests.acceptance.project import Project
from tests.acceptance.stage import DEADLINE_S, alive, gone_within, until


@pytest.fixture
def proj(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    yield project
    project.close()


def names(proj: Project) -> list[str]:
    return sorted(str(view.id) for view in proj.store.workers())


# ── the seeds' commands ──────────────────────────────────────────────────────────────


def test_a_worker_tells_its_tasks_runs_them_and_stops_at_ctrl_c(proj: Project) -> None:
    worker = proj.worker("--loglevel=info")

    assert proj.result(proj.call("add", "[2, 3]")) == "5"

    worker.send_signal(signal.SIGINT)
    assert worker.wait(DEADLINE_S) == 0
    assert all(f"proj.{name}" in proj.printed for name in ("add", "meet", "hold", "version"))
    assert re.search(r"Task proj\.add\[[-0-9a-f]+\] succeeded in", proj.printed)
    assert "app     proj, 4 tasks" in proj.printed


def test_concurrency_is_how_many_run_at_once(proj: Project) -> None:
    proj.worker("--concurrency=4")

    ids = [proj.call("meet", json.dumps([name, 4])) for name in "abcd"]

    assert len({proj.result(one) for one in ids}) == 4


def test_a_detached_worker_writes_its_log_and_is_found_and_stopped(proj: Project) -> None:
    started = proj("worker", "--detach", "--loglevel=info", "--logfile=celery.log", "--pidfile=w.pid")

    pid = int((proj.folder / "w.pid").read_text())
    assert (started.returncode, started.stderr) == (0, "")
    assert str(pid) in started.stdout
    assert proj.result(proj.call("add", "[2, 3]")) == "5"
    assert "proj.add" in (proj.folder / "celery.log").read_text()
    assert (proj.folder / "celery.log").stat().st_mode & 0o777 == 0o600
    assert str(pid) in proj("worker", "status").stdout

    second = proj("worker", "--detach", "--pidfile=w.pid")
    assert second.returncode == 1
    assert f"process {pid} runs already" in second.stderr

    assert proj("worker", "stop").returncode == 0
    assert not is_ours(pid)
    assert not (proj.folder / "w.pid").exists()
    assert proj("worker", "stop").returncode == 1


def test_a_detached_worker_that_cannot_start_says_why(proj: Project) -> None:
    proj.module.write_text("import nothing_of_that_name\n")

    started = proj("worker", "--detach", "--logfile=w.log")

    assert started.returncode == 1
    assert "nothing_of_that_name" in started.stderr


def test_a_worker_serves_the_queues_that_are_named(proj: Project) -> None:
    proj.worker("-Q", "high_priority,default", "-X", "none")
    other = proj.call("add", "[1, 1]", "--queue", "images")

    assert proj.result(proj.call("add", "[2, 3]", "--queue", "high_priority")) == "5"

    assert proj.store.workers()[0].queues == ("high_priority", "default")
    assert proj("result", other).returncode == 1


def test_autoscale_starts_with_the_least_and_grows(proj: Project) -> None:
    proj.worker("--autoscale=10,3", "-c", "2")
    assert proj.store.workers()[0].slots == 3

    ids = [proj.call("meet", json.dumps([f"n{number}", 4])) for number in range(4)]

    assert len({proj.result(one) for one in ids}) == 4
    told = json.loads(proj("inspect", "stats", "-t", "20", "--json").stdout)
    assert {one["autoscaler"]["max"] for one in told.values()} == {10}


def test_a_worker_with_beat_sends_what_is_scheduled(proj: Project) -> None:
    with proj.module.open("a") as file:
        entry = {"task": "proj.add", "schedule": 0.5, "args": (16, 16)}
        file.write(f"\napp.conf.beat_schedule = {{'often': {entry!r}}}\n")

    proj.worker("-B", "-c", "1", "-n", "w1")
    proj.worker("-B", "-c", "1", "-n", "w2", count=2)
    until(lambda: len(proj.store.runs(states=["succeeded"])) >= 4)

    ticks = [run for run in proj.store.runs() if run.name == "proj.add"]
    moments = sorted(run.created_at for run in ticks)
    assert len(ticks) >= 4
    assert len(ticks) <= (moments[-1] - moments[0]) / 0.5 + 2, "two of them sent one tick"


def test_a_detached_beat_is_stopped_by_its_pid_file(proj: Project) -> None:
    with proj.module.open("a") as file:
        file.write("\napp.conf.beat_schedule = {'often': {'task': 'proj.version', 'schedule': 0.2}}\n")

    assert proj("beat", "--detach", "--logfile=beat.log", "--pidfile=b.pid").returncode == 0
    pid = int((proj.folder / "b.pid").read_text())
    until(lambda: len(proj.store.runs()) >= 2)
    os.kill(pid, signal.SIGTERM)

    assert gone_within([pid], DEADLINE_S)
    assert not (proj.folder / "b.pid").exists()
    assert "often" in (proj.folder / "beat.log").read_text()


# ── flags ────────────────────────────────────────────────────────────────────────────


def test_a_worker_has_the_name_that_it_is_given(proj: Project) -> None:
    proj.worker("-n", "w1@%h", "-c", "1")

    assert names(proj) == [f"w1@{socket.gethostname()}"]


def test_what_waits_is_purged_first(proj: Project) -> None:
    waiting = proj.call("add", "[2, 3]")

    proj.worker("--purge", "-l", "WARNING")

    assert "cancelled" in proj("result", waiting, "--wait").stderr


def test_limits_of_time_are_those_of_calls_without_their_own(proj: Project) -> None:
    proj.worker("--time-limit=0.5", "-P", "solo")

    failed = proj("result", proj.call("hold", '["never"]'), "--wait")

    assert failed.returncode == 1
    assert "time limit of 0.5 s" in failed.stderr
    assert proj.store.workers()[0].slots == 1


def test_settings_of_the_application_count_and_flags_count_more(proj: Project) -> None:
    with proj.module.open("a") as file:
        file.write("\napp.conf.worker_concurrency = 3\napp.conf.task_default_queue = 'mine'\n")

    proj.worker("--soft-time-limit=9")
    proj.worker("-c", "1", count=2)

    assert sorted((view.slots, view.queues) for view in proj.store.workers()) == [
        (1, ("mine",)), (3, ("mine",)),
    ]  # fmt: skip
    told = json.loads(proj("inspect", "conf", "-t", "20", "-j").stdout)
    assert {one["worker_concurrency"] for one in told.values()} == {"3"}


def test_flags_without_a_meaning_are_taken(proj: Project) -> None:
    proj.worker("-E", "-O", "fair", "--without-gossip", "--without-mingle", "--without-heartbeat", "-s", "x")

    assert "taken, and without a meaning here: --task-events" in proj.printed


def test_celerys_other_pools_are_answered_with_what_to_use(proj: Project) -> None:
    answer = proj("worker", "-P", "eventlet")

    assert answer.returncode == 2
    assert "use --pool async" in answer.stderr


# ── signals, and starting anew ───────────────────────────────────────────────────────


def test_sigterm_ends_what_runs_and_sigquit_gives_it_back(proj: Project) -> None:
    first = proj.worker("-c", "1")
    warm = proj.call("hold", '["go"]')
    until(lambda: proj.store.workers()[0].busy or proj.store.runs(states=["running"]))
    first.send_signal(signal.SIGTERM)
    until(lambda: "Taking no more work" in proj.printed)
    (proj.folder / "go").touch()
    assert first.wait(DEADLINE_S) == 0
    assert proj.result(warm) == "'go'"

    second = proj.worker("-c", "1")
    cold = proj.call("hold", '["later"]')
    until(lambda: proj.store.runs(states=["running"]))
    second.send_signal(signal.SIGQUIT)
    assert second.wait(DEADLINE_S) == 0
    assert proj.store.items(cold)[0].state == "queued"


def test_sighup_starts_anew_with_code_that_is_read_again(proj: Project) -> None:
    worker = proj.worker("-c", "1")
    name = names(proj)
    assert proj.result(proj.call("version")) == "1"

    # Of another length: Python takes what it has compiled for current by the second and the size of a file.
    proj.module.write_text(proj.module.read_text().replace("return 1", "return 22"))
    worker.send_signal(signal.SIGHUP)
    until(lambda: proj.printed.count("taskflow worker ") == 2)
    until(lambda: names(proj) == name)

    assert worker.poll() is None
    assert proj.result(proj.call("version")) == "22"


def test_a_worker_is_told_to_start_anew_by_way_of_the_store(proj: Project) -> None:
    proj.worker("-c", "1", "-n", "w1")
    before = proj.store.workers()[0].started_at

    assert proj("control", "pool_restart", "-d", "w1", "-t", "20").returncode == 0

    until(lambda: any(view.started_at > before for view in proj.store.workers()))
    assert names(proj) == ["w1"]


def test_a_worker_under_development_follows_the_source_files(proj: Project) -> None:
    worker = proj.worker("--autoreload", "-c", "1")
    text = proj.module.read_text()

    proj.module.write_text(text + "\nraise ValueError('half an edit')\n")
    until(lambda: "half an edit" in proj.printed)
    proj.module.write_text(text.replace("return 1", "return 22"))
    until(lambda: proj.printed.count("Ctrl-C lets running calls end") == 2)

    assert worker.poll() is None
    assert proj.result(proj.call("version")) == "22"


# ── several ──────────────────────────────────────────────────────────────────────────


def test_several_workers_are_started_restarted_and_stopped(proj: Project) -> None:
    host = socket.gethostname()
    words = ("2", "-A", "proj", "-c", "1", "-Q:2", "mail")

    started = proj.run("multi", "start", *words)
    first = {view.id: view.pid for view in proj.store.workers()}
    assert started.returncode == 0, started.stderr
    assert sorted(first) == [f"worker1@{host}", f"worker2@{host}"]
    assert {view.id: view.queues for view in proj.store.workers()}[f"worker2@{host}"] == ("mail",)
    assert "runs already" in proj.run("multi", "start", *words).stdout
    assert (proj.folder / "worker1.log").exists()

    assert proj.run("multi", "restart", *words).returncode == 0
    second = {view.id: view.pid for view in proj.store.workers()}
    assert set(second) == set(first)
    assert set(second.values()).isdisjoint(first.values())

    assert proj.run("multi", "stopwait", "2").returncode == 0
    assert gone_within(second.values(), 1.0)
    assert not list(proj.folder.glob("*.pid"))


def test_a_worker_that_was_killed_leaves_a_pid_file_that_the_next_one_takes(proj: Project) -> None:
    proj.worker("--pidfile=w.pid", "-c", "1")
    pid = int((proj.folder / "w.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    proj.processes[0].wait()

    proj.worker("--pidfile=w.pid", "-c", "1", count=2)

    assert int((proj.folder / "w.pid").read_text()) != pid
    assert alive(int((proj.folder / "w.pid").read_text()))
