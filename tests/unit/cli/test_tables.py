"""runs, show, dead, workers, queues: what they list."""

from __future__ import annotations

import io
import json

import pytest

from taskflow.ids import WorkerId
from taskflow.records import WORKERS, Kind, WorkerView
from tests.unit.cli.shop import Shop


def test_runs_are_listed_newest_first_with_what_is_done(shop: Shop) -> None:
    old = shop.submit(shop.map(3), name="old")
    shop.succeed()
    shop.fail(ValueError("no"))
    shop.clock.advance(90)
    shop.submit(shop.call(), name="new")

    answer = shop("runs")

    assert answer.code == 0
    assert [line[1] for line in answer.words[1:]] == ["new", "old"]
    assert answer.words[2][2:] == ["running", "2/3", "1", "1", "min", "30", "s", "ago", "1", "min", "30", "s"]
    assert old.startswith(answer.words[2][0])


def test_no_runs_is_a_hint_and_no_table(shop: Shop) -> None:
    assert shop("runs") == (0, "", "No runs yet.\n")
    assert shop("runs", "--failed") == (0, "", "No run is like that.\n")


def test_runs_can_be_chosen_by_state_name_and_number(shop: Shop) -> None:
    shop.submit(shop.call(), name="bad")
    shop.fail(ValueError("no"))
    shop.submit(shop.call(), name="good")
    shop.succeed()

    assert [line[1] for line in shop("runs", "--failed").words[1:]] == ["bad"]
    assert [line[1] for line in shop("runs", "--state", "succeeded").words[1:]] == ["good"]
    assert [line[1] for line in shop("runs", "--match", "ba").words[1:]] == ["bad"]
    assert len(shop("runs", "-n", "1").words) == 2


def test_a_shown_id_is_short_and_names_its_run_alone(shop: Shop) -> None:
    ids = {shop.submit(shop.call()) for _ in range(40)}

    shown = [line[0] for line in shop("runs", "-n", "40").words[1:]]

    assert {shop.store.find(short)[0] for short in shown} == ids
    assert all(len(short) < 36 for short in shown)
    assert all(shop("show", short).code == 0 for short in shown[:3])


def test_a_run_is_shown_with_its_tasks_and_what_failed(shop: Shop) -> None:
    parse = shop.map(3)
    run = shop.submit(parse, shop.call("total", parse.id))
    shop.succeed(1)
    shop.fail(ValueError("bad file"))

    answer = shop("show", run)

    assert answer.code == 0
    assert answer.out.startswith("census  running\n")
    assert "items    1 succeeded, 1 queued, 1 blocked, 1 failed" in answer.out
    table = [line for line in answer.words if "parse" in line or "total" in line]
    assert table[0][1:4] == ["►", "parse", "running"]
    assert "2/3" in table[0]
    assert table[1][1:4] == ["◇", "total", "blocked"]
    assert table[2][0].endswith(":1")
    assert table[2][-3:] == ["ValueError:", "bad", "file"]


def test_one_task_or_one_item_of_a_run_can_be_shown(shop: Shop) -> None:
    parse = shop.map(3)
    shop.submit(parse, shop.call("total", parse.id))
    shop.succeed(1)

    assert "total" not in shop("show", parse.id).out
    assert f"{parse.id[:13]}" in shop("show", f"{parse.id}:0").out
    assert shop("show", f"{parse.id}:3").err == f"taskflow: {parse.id} has items 0 to 2, there is no 3.\n"


def test_an_index_of_a_run_with_several_tasks_asks_of_which(shop: Shop) -> None:
    parse = shop.map(3)
    run = shop.submit(parse, shop.call("total", parse.id))

    answer = shop("show", f"{run}:1")

    assert answer.code == 2
    assert "has 2 tasks" in answer.err


def test_items_are_listed_on_request(shop: Shop) -> None:
    run = shop.submit(shop.map(30))
    shop.succeed()

    assert ":0 " not in shop("show", run).out
    listed = shop("show", run, "--items").words[-2:]
    assert [line[0].partition(":")[2] for line in listed] == ["0", "1–29"]


def test_a_run_of_very_many_tasks_is_shown_by_label(shop: Shop) -> None:
    run = shop.submit(*(shop.call("step") for _ in range(50)), shop.call("last"))

    answer = shop("show", run)

    assert [line[0] for line in answer.words[-2:]] == ["step", "last"]
    assert "0/50" in answer.words[-2]
    assert "--items" in answer.err


def test_names_and_errors_cannot_steer_the_terminal(shop: Shop) -> None:
    evil = "\x1b[2J\x07\u202e\n"
    run = shop.submit(shop.call(f"task{evil}"), name=f"run{evil}")
    shop.fail(ValueError(f"error{evil}"), log=f"log{evil}")

    for argv in (["runs"], ["show", run], ["show", run, "--items"], ["dead"], ["logs", run], ["result", run]):
        for options in ([], ["--json"]):
            answer = shop(*argv, *options)
            assert all(line.isprintable() for line in (answer.out + answer.err).split("\n")), argv


def test_json_is_complete_and_readable_by_programs(shop: Shop) -> None:
    run = shop.submit(shop.map(2))
    shop.fail(ValueError("bad file"))

    (listed,) = json.loads(shop("runs", "--json").out)
    shown = json.loads(shop("show", run, "--items", "--json").out)

    assert listed["id"] == shown["id"] == run
    assert listed["counts"] == {"failed": 1, "queued": 1}
    (node,) = shown["nodes"]
    assert node["label"] == "parse"
    assert shown["items"][node["id"]][0]["error"]["message"] == "bad file"


def test_dead_letters_say_what_failed_and_where(shop: Shop) -> None:
    assert shop("dead").err == "There are no dead letters.\n"
    run = shop.submit(shop.map(3))
    shop.fail(ValueError("bad file"))
    shop.clock.advance(30)

    answer = shop("dead")

    (line,) = answer.words[1:]
    assert line[0].endswith(":0")
    assert run.startswith(line[1])
    assert line[2:] == ["parse", "failed", "1", "30", "s", "ago", "ValueError:", "bad", "file"]
    assert json.loads(shop("dead", "--json").out)[0]["run"] == run


def test_workers_are_listed(shop: Shop) -> None:
    assert shop("workers").err.startswith("No worker is there.")
    now = shop.clock.now()
    shop.store.announce(WorkerView(WorkerId("w1"), "host", 42, ("a", "b"), 4, 3, now - 75, now - 2))

    info = {"python": "3.12.1", "memory_bytes": 51_000_000, "followed": 0}
    shop.store.announce(
        WorkerView(
            WorkerId("w2"),
            "host",
            43,
            ("a", "b"),
            4,
            0,
            now - 75,
            now,
            info | {"serves": "a:3,b:1", "status": "drained", "autoscale": "9,1"},
        )
    )

    assert " ".join(shop("workers").words[1]) == "w1 host 42 a,b 3/4 busy 1 min 15 s 2 s ago"
    assert (
        " ".join(shop("workers").words[2])
        == "w2 host 43 a:3,b:1 0/4 of 9 drained 51 MB 3.12.1 1 min 15 s now"
    )
    shop.store.post(WORKERS, 0, b"anything")
    assert "drained, behind" in shop("workers").out
    assert json.loads(shop("workers", "--json").out)[0]["pid"] == 42


def test_queues_tell_what_waits_and_who_serves(shop: Shop) -> None:
    assert shop("queues").err == "All queues are empty.\n"
    shop.submit(shop.map(3))
    shop.settle(shop.take(), Kind.RETRY, delay_s=5.0)
    shop.take()

    assert shop("queues").words[1] == ["default", "1", "1", "1", "0"]


def test_a_queue_is_paused_and_resumed(shop: Shop) -> None:
    assert shop("queues", "pause", "gpu").err == "Queue gpu is paused.\n"
    assert shop("queues", "pause", "gpu").err == "Queue gpu is paused already.\n"
    assert shop("queues").words[1] == ["gpu", "0", "0", "0", "0", "paused"]
    assert shop("queues", "resume", "gpu").err == "Queue gpu is open.\n"
    assert shop("queues").err == "All queues are empty.\n"


def test_which_queue_has_to_be_said(shop: Shop) -> None:
    told = shop("queues", "pause")
    assert told.code == 2
    assert "Which queue?" in told.err


def test_queues_are_purged(shop: Shop) -> None:
    assert shop("purge", "-f").err == "All queues are empty.\n"
    shop.submit(shop.map(3))
    shop.take()
    shop.submit(shop.call())
    for queue in ("gpu", "slow"):
        shop.submit(shop.call()._replace(queue=queue))

    told = shop("purge")
    assert told.code == 2
    assert "This cancels 5 items of default, gpu, slow: say -f" in told.err
    assert shop("purge", "-f", "-X", "default,slow").words == [["gpu", "1", "item", "cancelled"]]
    assert shop("purge", "-f", "-Q", "gpu").err == "Nothing waits there.\n"
    assert json.loads(shop("--json", "purge", "-f", "-Q", "default,gpu").out) == {"default": 3, "gpu": 0}
    assert shop("queues").words[1:] == [["default", "0", "0", "1", "0"], ["slow", "1", "0", "0", "0"]]


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("", 1)])
def test_before_it_purges_it_asks(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    typed = io.StringIO(answer)
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", typed)
    shop.submit(shop.map(2))

    told = shop("purge", "-Q", "default")

    assert told.code == code
    assert "Cancel 2 items of default? What runs goes on. [y/N]" in told.err
    assert len(shop.store.queues()) == code
