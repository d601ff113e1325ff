"""cancel, retry, key, doctor, worker: commands that do something."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from taskflow.cli import main
from taskflow.ids import WorkerId
from taskflow.records import Event, WorkerView
from taskflow.states import State
from tests.unit.cli.shop import Shop


def test_runs_tasks_and_items_are_cancelled(shop: Shop) -> None:
    call, parse = shop.submit(shop.call()), shop.submit(shop.map(3))

    answer = shop("cancel", call[:18], f"{parse}:1")

    assert answer == (0, f"{call[:18]}  cancelled\n{parse}:1  cancelled\n", "")
    assert shop.store.snapshot(call)[0].state is State.CANCELLED
    assert shop.store.snapshot(parse)[0].counts == {State.CANCELLED: 1, State.QUEUED: 2}


def test_what_has_ended_stays_as_it_is(shop: Shop) -> None:
    run = shop.submit(shop.map(2))
    shop.succeed()

    assert shop("cancel", f"{run}:0").out == f"{run}:0  had ended: succeeded\n"
    shop.succeed()
    assert shop("cancel", run).out == f"{run}  had ended: succeeded\n"


def test_nothing_is_cancelled_when_one_id_is_wrong(shop: Shop) -> None:
    run = shop.submit(shop.call())

    assert shop("cancel", run, "nope").code == 2
    assert shop.store.snapshot(run)[0].counts == {State.QUEUED: 1}


def test_a_retry_prints_the_id_of_a_run_with_what_failed(shop: Shop) -> None:
    run = shop.submit(shop.map(3))
    shop.succeed(0)
    shop.fail(ValueError("no"))
    shop.succeed(2)

    answer = shop("retry", run[:18])

    new = answer.out.strip()
    assert answer.code == 0
    assert shop.store.snapshot(new)[0].counts == {State.SUCCEEDED: 2, State.QUEUED: 1}
    assert f"what gave no value in {run}" in shop("show", new).out
    shop.succeed(1)
    assert shop("result", new).out == "[0, 1, 2]\n"


def test_a_run_without_failures_is_not_run_again(shop: Shop) -> None:
    run = shop.submit(shop.call())
    assert shop("retry", run).err == (
        "taskflow: Nothing to run again yet: it has not ended, and nothing failed so far.\n"
    )
    shop.succeed()

    assert shop("retry", run) == (1, "", "taskflow: Nothing to run again: all of it succeeded.\n")


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "taskflow" / "key"


def test_a_key_is_shown_by_four_words_and_never_itself(key_file: Path, shop: Shop) -> None:
    answer = shop("key")

    (secret,) = (entry["key"] for entry in json.loads(key_file.read_text()))
    assert len(answer.words[0][0].split("-")) == 4
    assert secret not in answer.out
    assert shop("key", "path").out == f"{key_file}\n"
    assert secret not in shop("key", "show", "--json").out


def test_a_new_key_is_printed_and_fits_the_environment(
    key_file: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = shop("key", "new").out.strip()

    monkeypatch.setenv("TASKFLOW_KEY", new)

    assert len(base64.b64decode(new)) == 32
    assert "(from TASKFLOW_KEY)" in shop("key").out
    assert shop("key", "path").code == 1
    assert shop("key", "rotate").code == 2
    assert new not in key_file.read_text()


def test_the_key_is_exported_for_the_environment(
    key_file: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shop("key").out.split()[0]
    exported = shop("key", "export")

    assert exported.code == 0
    assert exported.err == ""
    monkeypatch.setenv("TASKFLOW_KEY", exported.out.strip())
    assert shop("key").out.startswith(f"{words}  (from TASKFLOW_KEY)")


def test_how_long_a_key_is_kept_is_said_with_a_rotation_only(key_file: Path, shop: Shop) -> None:
    assert shop("key", "--keep-days", "1").code == 2
    assert shop("key", "rotate", "--keep-days", "-1").code == 2
    assert shop("key", "rotate", "--keep-days", "0").code == 0
    assert "over" in shop("key").out


def test_a_rotated_key_signs_and_the_old_one_still_opens_until_it_is_revoked(
    key_file: Path, shop: Shop
) -> None:
    before = shop("key").words[0][0]

    after = shop("key", "rotate")
    old = next(line[0] for line in after.words if line[1:2] == ["verify"])
    revoked = shop("key", "revoke", old)

    assert after.words[0][0] != before
    assert [old, "revoked"] in [line[:2] for line in revoked.words]
    assert shop("key", "revoke", "beef").code == 2
    assert shop("key", "revoke").code == 2
    assert shop("key", "show", "beef").code == 2


def test_a_key_that_others_can_read_is_refused_and_the_doctor_finds_it(key_file: Path, shop: Shop) -> None:
    shop("key")
    key_file.chmod(0o644)

    assert shop("key").code == 2
    assert f"chmod 600 {key_file}" in shop("key").err
    answer = shop("doctor")
    assert answer.code == 1
    assert next(line for line in answer.words if line[0] == "key")[1] == "wrong"


def findings(shop: Shop) -> dict[str, tuple[bool, str]]:
    return {f["what"]: (f["well"], f["words"]) for f in json.loads(shop("doctor", "--json").out)}


def test_the_doctor_finds_nothing_wrong_with_a_healthy_store(shop: Shop) -> None:
    answer = shop("doctor")

    assert answer.code == 0, answer.out
    assert {line[0] for line in answer.words} >= {"python", "taskflow", "key", "store", "workers", "clock"}


def test_the_doctor_finds_work_that_nobody_takes(shop: Shop) -> None:
    shop.submit(shop.map(3))

    assert findings(shop)["queue default"] == (
        False,
        "3 items queued and no worker serves it: taskflow worker -Q default",
    )
    now = shop.clock.now()
    shop.store.announce(WorkerView(WorkerId("w1"), "h", 1, ("default",), 1, 0, now, now))
    assert shop("doctor").code == 0


def test_the_doctor_finds_a_worker_of_another_python(shop: Shop) -> None:
    now = shop.clock.now()
    view = WorkerView(WorkerId("w1"), "h", 1, ("default",), 1, 0, now, now, {"python": "3.9"})
    shop.store.announce(view)

    assert "use one version" in findings(shop)["worker w1"][1]


def test_the_doctor_finds_a_clock_that_is_behind(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    future = Event(1, shop.clock.now() + 60, "run", "", 0, 0, State.SUCCEEDED)
    monkeypatch.setattr(shop.store, "events", lambda after, **_: [future])

    assert findings(shop)["clock"][0] is False


def test_the_doctor_goes_on_without_a_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))  # where no other test has made the default store

    named = main(["doctor", "--json", "--url", str(tmp_path / "none.db")])
    (wrong,) = (f for f in json.loads(capsys.readouterr().out) if not f["well"])
    default = main(["doctor"])

    assert (named, wrong["what"]) == (1, "store")
    assert default == 0
    assert "none yet" in capsys.readouterr().out


def test_a_worker_gets_what_was_said_and_nothing_else(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    import taskflow.worker.process

    seen: list[list[str]] = []
    monkeypatch.setattr(taskflow.worker.process, "main", lambda argv, hosted: seen.append(argv) or 0)

    shop("worker", "runs.db", "-n", "4", "-Q", "slow,default", "--idle-exit", "60")
    shop("worker", "--url", "other.db")

    assert seen == [
        ["--url", "runs.db", "--slots=4", "--queues=slow,default", "--idle-exit=60"],
        ["--url", "other.db"],
    ]


def test_every_option_of_a_worker_is_one_the_worker_knows() -> None:
    from taskflow.cli.worker import _OPTIONS
    from taskflow.worker.options import read

    values = {"--pool": "thread", "--loglevel": "info", "--time-limit": "2"}

    for flags, takes, _ in _OPTIONS:
        flag = next(flag for flag in flags if flag.startswith("--"))
        assert read([f"{flag}={values.get(flag, '1')}" if takes else flag])


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["-c", "4", "-l", "INFO"], ["--concurrency=4", "--loglevel=info"]),
        (["-n", "w1@%h"], ["--name=w1@%h"]),
        (["--hostname", "w1", "-n", "4"], ["--slots=4", "--name=w1"]),
        (["-P", "prefork", "--max-tasks-per-child=9"], ["--pool=prefork", "--recycle-calls=9"]),
        (["-Q", "a,b", "-X", "b", "--discard"], ["--queues=a,b", "--exclude-queues=b", "--purge"]),
    ],
)
def test_a_worker_takes_celerys_flags(
    argv: list[str], words: list[str], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import taskflow.worker.process

    seen: list[list[str]] = []
    monkeypatch.setattr(taskflow.worker.process, "main", lambda argv, hosted: seen.append(argv) or 0)

    assert shop("worker", "runs.db", *argv).code == 0

    assert seen == [["--url", "runs.db", *words]]


def test_flags_without_a_meaning_are_taken_and_said_in_one_line(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import taskflow.worker.process

    monkeypatch.setattr(taskflow.worker.process, "main", lambda argv, hosted: 0)

    answer = shop("worker", "runs.db", "-E", "-O", "fair", "--without-gossip", "--prefetch-multiplier=1")

    assert answer.code == 0
    assert answer.err.count("\n") == 1
    assert "--without-gossip (workers do not talk to each other)" in answer.err
    assert shop("-q", "worker", "runs.db", "-E").err == ""


def test_the_doctor_says_what_happens_to_a_configuration_for_celery(shop: Shop, tmp_path: Path) -> None:
    config = tmp_path / "celeryconfig.py"
    config.write_text("BROKER_URL = 'redis://host/0'\nCELERYD_PREFETCH_MULTIPLIER = 1\n", encoding="utf-8")

    answer = shop("doctor", "--from-celery", str(config))
    told = json.loads(shop("doctor", "--from-celery", str(config), "--json").out)

    assert answer.code == 0
    assert "BROKER_URL → broker_url" in answer.out
    assert "Nothing of the file was run." in answer.err
    assert [(line["line"], line["name"], line["here"]) for line in told] == [
        (1, "broker_url", "honoured"),
        (2, "worker_prefetch_multiplier", "no meaning here"),
    ]


def test_the_doctor_finds_what_would_be_refused_of_a_configuration(shop: Shop, tmp_path: Path) -> None:
    config = tmp_path / "celeryconfig.py"
    config.write_text("broker_url = 'amqp://host'\ntask_time_limit = 2 ** 5\n", encoding="utf-8")

    answer = shop("doctor", "--from-celery", str(config))

    assert answer.code == 1
    assert "1 value could not be looked at: --run" in answer.err
    assert shop("doctor", "--run").code == 2
    assert shop("doctor", "--from-celery", str(config), "--run").code == 1
    assert shop("doctor", "--from-celery", str(tmp_path / "nowhere.py")).code == 2
