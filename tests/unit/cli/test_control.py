"""taskflow control: what it says, and what it refuses."""

from __future__ import annotations

import json

import pytest

from taskflow.ids import WorkerId
from taskflow.records import WorkerView
from tests.unit.cli.shop import Shop


@pytest.fixture
def shop() -> Shop:
    shop = Shop()
    now = shop.clock.now()
    for name in ("gpu-1", "cpu"):
        shop.store.announce(
            WorkerView(WorkerId(name), "host", 1, ("default",), 2, 0, now, now, {"followed": 99})
        )
    return shop


def test_nothing_was_told_at_first(shop: Shop) -> None:
    answer = shop("control")

    assert (answer.code, answer.out) == (0, "")
    assert answer.err == "Workers are as they were started; nothing else was told.\n"


def test_what_was_told_is_listed_with_who_follows(shop: Shop) -> None:
    assert shop("control", "grow", "2", "--worker", "gpu").out == "Done by gpu-1.\n"
    assert shop("control", "add-queue", "high:3").out.startswith(
        "Done by gpu-1, cpu. Workers that start later"
    )
    assert shop("control", "autoscale", "10,3", "-w", "cpu", "-w", "gpu").code == 0

    rows = json.loads(shop("control", "--json").out)

    assert [(row["worker"], row["wanted"]) for row in rows] == [
        ("all", "queue high:3"), ("cpu", "autoscale 10,3"), ("gpu-1", "autoscale 10,3"),
    ]  # fmt: skip
    assert shop("control").words[1][:4] == ["all", "queue", "high:3", "2"]
    assert shop("control").words[1][-2:] == ["gpu-1,", "cpu"]


@pytest.mark.parametrize("verb", ["drain", "resume", "shutdown", "reset", "grow", "shrink"])
def test_verbs_need_no_value(shop: Shop, verb: str) -> None:
    assert shop("control", verb).code == 0


def test_a_worker_that_does_not_answer_is_a_failure(shop: Shop) -> None:
    shop.store.announce(WorkerView(WorkerId("old"), "host", 1, ("default",), 2, 0, 0.0, shop.clock.now()))

    answer = shop("control", "drain", "--timeout", "0.01")

    assert answer.code == 1
    assert "No answer within 0.01 s from old." in answer.out


def test_a_verb_that_is_misspelt_is_named(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop("control", "gorw").code == 2
    assert "There is no ACTION 'gorw'. Did you mean 'grow'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["grow", "many"], "'many' is no number of slots: taskflow control grow 2"),
        (["grow", "0"], "0 slots are not possible"),
        (["autoscale"], "taskflow control autoscale 10,3"),
        (["autoscale", "3,10"], "min=10 is more than max=3"),
        (["add_queue"], "Which queue?"),
        (["drain", "gpu-1"], "takes no value: name a worker with --worker."),
        (["drain", "--worker", "gpu-2"], "There is no worker 'gpu-2'."),
        (["drain", "--now"], "--now and --later are for"),
        (["add_queue", "a:0"], "1 to 1000"),
    ],
)
def test_wrong_use_is_explained_and_tells_nobody(shop: Shop, words: list[str], said: str) -> None:
    answer = shop("control", *words)

    assert answer.code != 0
    assert said in answer.err
    assert answer.err.count("\n") == 1
    assert shop("control").out == ""


def test_celerys_words_are_taken(shop: Shop) -> None:
    for words in (
        ["pool_grow", "2", "-d", "gpu-1"],
        ["add_consumer", "high", "exchange", "direct", "key"],
        ["autoscale", "10", "3", "-d", "cpu"],
        ["rate_limit", "shop.add", "30/m"],
        ["rate_limit", "shop.mul", "2"],
        ["time_limit", "shop.add", "60", "90", "--destination", "cpu,gpu-1"],
        ["cancel_consumer", "mail"],
    ):
        assert shop("control", *words).code == 0

    rows = json.loads(shop("control", "--json").out)

    assert [(row["worker"], row["wanted"]) for row in rows] == [
        ("gpu-1", "+2 slots"), ("all", "queue high"), ("cpu", "autoscale 10,3"), ("all", "shop.add at 0.5/s"),
        ("all", "shop.mul at 2/s"), ("cpu", "shop.add for 60 s (soft), 90 s (hard)"),
        ("gpu-1", "shop.add for 60 s (soft), 90 s (hard)"), ("all", "no queue mail"),
    ]  # fmt: skip


def test_words_without_a_meaning_say_so(shop: Shop) -> None:
    answer = shop("control", "enable_events")

    assert answer.code == 0
    assert "no meaning here: what happens is always kept" in answer.err


@pytest.mark.parametrize("verb", ["revoke", "terminate"])
def test_tasks_are_cancelled(shop: Shop, verb: str) -> None:
    first, second = shop.submit(shop.call()), shop.submit(shop.call())

    answer = shop("control", verb, *(["TERM"] if verb == "terminate" else []), first, second)

    assert answer.out == f"Cancelled {first}, {second}.\n"
    assert {run.state for run in shop.store.runs()} == {"cancelled"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rate_limit", "shop.add", "often"], "cannot be read"),
        (["rate_limit", "shop.add", "1/s", "x"], "one value too many"),
        (["time_limit", "shop.add", "soon"], "Write a task, and seconds"),
        (["time_limit", "shop.add", "9", "9"], "must be shorter"),
        (["revoke"], "Which tasks?"),
        (["revoke", "0000"], "0000"),
        (["grow", "1", "2"], "one value too many"),
    ],
)
def test_wrong_values_are_explained(shop: Shop, words: list[str], said: str) -> None:
    answer = shop("control", *words)

    assert answer.code != 0
    assert said in answer.err
    assert shop("control").out == ""
