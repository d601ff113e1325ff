"""Runs of workflows with real workers: workflows inside, gone on with, found again, remembered."""

from __future__ import annotations

import operator
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from taskflow import Client, MapRun, Workflow, WorkflowRun
from taskflow.errors import GraphError, UpstreamFailed, UsageError
from taskflow.states import State
from tests.acceptance.stage import DEADLINE_S, run_script, until


@pytest.fixture
def diary(tmp_path: Path) -> Path:
    """Each call writes a line: what ran, and how often."""
    return tmp_path / "diary"


def note(diary: Path, line: object) -> None:
    with diary.open("a") as file:
        file.write(f"{line}\n")


def lines(diary: Path) -> list[str]:
    """What was written since it was last read, sorted."""
    found = sorted(diary.read_text().split()) if diary.exists() else []
    diary.write_text("")
    return found


def cleaning(diary: Path) -> Workflow:
    """A workflow with one input and a map whose width is known late."""

    def load(text: str) -> list[str]:
        note(diary, "load")
        return text.split()

    def parse(word: str) -> int:
        note(diary, f"parse-{word}")
        return int(word)

    def fill(numbers: list[int]) -> int:
        note(diary, "fill")
        return sum(numbers)

    wf = Workflow("cleaning")
    words = wf.add(load, wf.input("text"), name="load")
    wf.add(fill, wf.map(parse, words, name="parse"), name="sum")
    return wf


def report(diary: Path, text: str, better: int = 0) -> Workflow:
    def show(total: int) -> str:
        note(diary, "show")
        return f"{total + better}"

    wf = Workflow("report", on_failure="continue")
    wf.add(show, wf.add(cleaning(diary), text=text, name="clean"), name="show")
    return wf


# ── workflows inside ─────────────────────────────────────────────────────────────────


def test_the_steps_of_a_workflow_inside_are_in_the_run(client: Client, diary: Path) -> None:
    run = report(diary, "1 2 3").run(client)

    assert run.result(timeout=DEADLINE_S) == "6"
    assert run.result("clean") == run.result("clean/sum") == 6
    parsed = run.nodes["clean/parse"]
    assert isinstance(parsed, MapRun)
    assert parsed.results() == [1, 2, 3]
    assert run.gather() == {
        "clean/text": "1 2 3",
        "clean/load": ["1", "2", "3"],
        "clean/parse": [1, 2, 3],
        "clean/sum": 6,
        "clean": 6,
        "show": "6",
    }
    with pytest.raises(GraphError, match="Did you mean 'clean/parse'"):
        _ = run.nodes["clean/pars"]


def test_another_process_finds_the_run_with_its_names(client: Client, diary: Path) -> None:
    run = report(diary, "1 2 3").run(client).wait(DEADLINE_S)

    with Client(client.url, workers=0) as other:
        found = other.attach(run.id)

        assert isinstance(found, WorkflowRun)
        assert dict(found.names) == dict(run.names)
        assert found.result() == "6"
        assert found.gather() == run.gather()
        assert len(found.nodes["clean/parse"]) == 3  # type: ignore[arg-type] - a map has a length


def test_a_run_of_which_several_steps_are_the_last_is_found_again(client: Client) -> None:
    inner = Workflow("ends")
    inner.add(min, inner.input("numbers"), name="low")
    inner.add(max, inner["numbers"], name="high")
    wf = Workflow()
    numbers = wf.add(list, (4, 9), name="numbers")
    wf.add(inner, numbers=numbers, name="ends")
    wf.add(len, numbers, name="length")

    run = wf.run(client)
    assert run.result(timeout=DEADLINE_S) == {"ends": {"low": 4, "high": 9}, "length": 2}
    with Client(client.url, workers=0) as other:
        assert other.attach(run.id).result() == run.result()
        assert dict(other.attach(run.id).names) == dict(run.names)


def test_a_workflow_inside_is_cancelled_with_the_run(client: Client, diary: Path) -> None:
    run = report(diary, "1").run(client.options(countdown=60))

    assert run.cancel()

    assert run.wait(DEADLINE_S).state is State.CANCELLED
    assert {node.state for node in run.progress.nodes} == {State.CANCELLED}
    assert lines(diary) == []


def test_only_some_steps_are_run(client: Client, diary: Path) -> None:
    run = report(diary, "1 2").run(client, only="clean/parse")

    assert run.result(timeout=DEADLINE_S) == [1, 2]
    assert run.wait(DEADLINE_S).state is State.SUCCEEDED
    assert lines(diary) == ["load", "parse-1", "parse-2"]
    assert run.gather()["clean/load"] == ["1", "2"]


# ── again, what failed ───────────────────────────────────────────────────────────────


def gated(diary: Path, gate: Path) -> Workflow:
    def through(item: int) -> int:
        note(diary, f"item-{item}")
        if item == 2:
            gate.read_text()
        return item

    inner = Workflow("inner")
    count = inner.add(operator.add, inner.input("n"), 0, name="count")
    inner.add(sum, inner.map(through, inner.add(range, count), name="items"), name="sum")
    wf = Workflow(on_failure="continue")
    wf.add(operator.neg, wf.add(inner, n=wf.add(int, "4", name="four"), name="in"), name="minus")
    return wf


def test_only_what_failed_is_run_again_also_in_a_workflow_inside(
    client: Client, diary: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    run = gated(diary, gate).run(client).wait(DEADLINE_S)
    assert lines(diary) == ["item-0", "item-1", "item-2", "item-3"]
    with pytest.raises(UpstreamFailed):
        run.result()

    gate.write_text("")
    again = run.retry_failed()

    assert again.result(timeout=DEADLINE_S) == -6
    assert lines(diary) == ["item-2"]
    assert again.nodes["in/items"].results() == [0, 1, 2, 3]  # type: ignore[union-attr]
    assert again.result("in/count") == 4
    assert {node.label for node in again.progress.nodes} == {"in/items", "in/sum", "minus"}
    with Client(client.url, workers=0) as other:
        found = other.attach(again.id)
        assert dict(found.names) == dict(again.names)
        assert found.gather() == again.gather()


# ── gone on with ─────────────────────────────────────────────────────────────────────


def test_a_run_is_gone_on_with_where_it_failed(client: Client, diary: Path) -> None:
    run = report(diary, "1 two 3").run(client).wait(DEADLINE_S)
    assert lines(diary) == ["load", "parse-1", "parse-3", "parse-two"]

    fixed = report(diary, "1 two 3")
    fixed["clean"].fn["parse"].fn = len
    again = fixed.run(client, resume=run)

    assert again.result(timeout=DEADLINE_S) == "5"
    assert lines(diary) == ["fill", "show"]
    assert again.result("clean/load") == ["1", "two", "3"]
    assert {node.label for node in again.progress.nodes} >= {"clean/parse", "clean/sum", "show"}
    assert "clean/load" not in {node.label for node in again.progress.nodes}


def test_what_changed_is_run_again_and_all_below_it(client: Client, diary: Path) -> None:
    run = report(diary, "1 2").run(client).wait(DEADLINE_S)
    lines(diary)

    def resumed(text: str, better: int = 0) -> list[str]:
        again = report(diary, text, better).run(client, resume=run.id[:18]).wait(DEADLINE_S)
        assert again.state is State.SUCCEEDED
        assert again.result() == str(sum(map(int, text.split())) + better)
        return lines(diary)

    assert resumed("1 2") == []
    assert resumed("1 2", better=1) == ["show"]
    assert resumed("4") == ["fill", "load", "parse-4", "show"]


def test_a_resumed_run_can_be_attached_and_resumed_in_its_turn(client: Client, diary: Path) -> None:
    first = report(diary, "1 2").run(client).wait(DEADLINE_S)
    second = report(diary, "1 2", better=1).run(client, resume=first).wait(DEADLINE_S)
    lines(diary)

    with Client(client.url, workers=0) as other:
        found = other.attach(second.id)
        assert dict(found.names) == dict(second.names)
        assert found.gather() == second.gather()
        assert found.nodes["clean/parse"].results() == [1, 2]
        third = report(diary, "1 2", better=1).run(other, resume=second.id)
        assert third.result(timeout=DEADLINE_S) == "4"
        assert third.wait(DEADLINE_S).state is State.SUCCEEDED
    assert lines(diary) == []


def test_what_only_waits_for_something_that_is_run_again_is_run_again(client: Client, diary: Path) -> None:
    def drawn(text: str) -> Workflow:
        wf = Workflow()
        first = wf.add(note, diary, text, name="first")
        wf.add(note, diary, "second", name="second", after=first)
        wf.add(note, diary, "apart", name="apart")
        return wf

    run = drawn("a").run(client).wait(DEADLINE_S)
    assert lines(diary) == ["a", "apart", "second"]

    drawn("b").run(client, resume=run).wait(DEADLINE_S)
    assert lines(diary) == ["b", "second"]


def test_a_map_over_plain_items_and_a_map_reduce_are_kept_or_not(client: Client, diary: Path) -> None:
    def drawn(*items: int) -> Workflow:
        def double(item: int) -> int:
            note(diary, item)
            return 2 * item

        wf = Workflow()
        doubled = wf.map(double, items, name="doubled")
        wf.map_reduce(doubled, _even, _count, name="counts", partitions=2)
        return wf

    run = drawn(1, 2, 3).run(client)
    assert run.result(timeout=DEADLINE_S) == {True: 3}
    assert lines(diary) == ["1", "2", "3"]

    again = drawn(1, 2, 3).run(client, resume=run.wait(DEADLINE_S))
    assert again.result(timeout=DEADLINE_S) == {True: 3}
    assert again.wait(DEADLINE_S).progress.nodes == ()
    assert lines(diary) == []
    assert drawn(1, 2, 4).run(client, resume=run).result(timeout=DEADLINE_S) == {True: 3}
    assert lines(diary) == ["1", "2", "4"]


def _even(number: int) -> list[tuple[bool, int]]:
    return [(number % 2 == 0, 1)]


def _count(_: bool, ones: list[int]) -> int:
    return sum(ones)


def test_only_a_workflow_is_gone_on_with(client: Client) -> None:
    future = client.submit(abs, -1)
    future.result(DEADLINE_S)
    wf = Workflow()
    wf.add(int, "1")

    with pytest.raises(UsageError, match="not the run of a workflow"):
        wf.run(client, resume=future.run_id)


# ── remembered ───────────────────────────────────────────────────────────────────────


def remembered(diary: Path, text: str, better: int = 0) -> Workflow:
    wf = report(diary, text, better)
    wf.memo = True
    return wf


def test_a_result_is_found_again_by_what_was_called(client: Client, diary: Path) -> None:
    def run(text: str, better: int = 0) -> list[str]:
        sent = remembered(diary, text, better).run(client)
        assert sent.result(timeout=DEADLINE_S) == str(sum(map(int, text.split())) + better)
        assert sent.wait(DEADLINE_S).state is State.SUCCEEDED
        return lines(diary)

    assert run("10 20") == ["fill", "load", "parse-10", "parse-20", "show"]
    assert run("10 20") == []
    assert run("10 20", better=1) == ["show"]
    assert run("10 30") == ["fill", "load", "parse-10", "parse-30", "show"]


def test_a_failure_is_not_remembered(client: Client, diary: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def through() -> int:
        note(diary, "through")
        return len(gate.read_text())

    wf = Workflow()
    wf.add(through, name="through").set(memo=True)
    with pytest.raises(FileNotFoundError):
        wf.run(client).result(timeout=DEADLINE_S)
    gate.write_text("abc")

    assert wf.run(client).result(timeout=DEADLINE_S) == 3
    gate.write_text("abcdef")
    assert wf.run(client).result(timeout=DEADLINE_S) == 3
    assert lines(diary) == ["through", "through"]
    assert wf.run(client, memo=False).result(timeout=DEADLINE_S) == 6


def test_what_follows_a_step_that_is_not_remembered_is_run(client: Client, diary: Path) -> None:
    wf = Workflow()
    now = wf.add(time.time, name="now")
    wf.add(note, diary, now, name="noted").set(memo=True)

    for _ in range(2):
        wf.run(client).wait(DEADLINE_S)

    assert len(lines(diary)) == 2


def test_a_step_that_somebody_is_working_on_is_shared(client: Client, diary: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def wait() -> str:
        note(diary, "wait")
        end = time.monotonic() + DEADLINE_S
        while not gate.exists() and time.monotonic() < end:
            time.sleep(0.01)
        return "through"

    wf = Workflow(memo=True)
    wf.add(wait, name="wait")
    one = wf.run(client)
    until(lambda: diary.exists() and diary.read_text())
    with Client(client.url, workers=0) as other:
        two = wf.run(other)
        assert two.names == one.names
        assert not two.done()
        gate.write_text("")
        assert two.wait(DEADLINE_S).result() == one.result() == "through"
    assert lines(diary) == ["wait"]


def test_two_clients_that_send_at_once_run_it_once(client: Client, diary: Path) -> None:
    others = [Client(client.url, workers=0) for _ in range(4)]
    barrier = threading.Barrier(len(others))
    found: list[Any] = []

    def send(other: Client, text: str) -> None:
        wf = remembered(diary, text)
        barrier.wait()
        found.append(wf.run(other).result(timeout=DEADLINE_S))

    for round_ in range(5):
        threads = [threading.Thread(target=send, args=(other, f"{round_} 100")) for other in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [str(100 + round_)] * len(others)
        assert lines(diary) == sorted(["fill", "load", f"parse-{round_}", "parse-100", "show"])
        found.clear()
    for other in others:
        other.shutdown(wait=False)


def test_what_was_forgotten_is_run_again(client: Client, diary: Path) -> None:
    first = remembered(diary, "7 8").run(client).wait(DEADLINE_S)
    lines(diary)
    client._engine.store.forget(first.id)

    assert remembered(diary, "7 8").run(client).result(timeout=DEADLINE_S) == "15"
    assert lines(diary) == ["fill", "load", "parse-7", "parse-8", "show"]


def test_two_equal_steps_of_a_workflow_are_one(client: Client, diary: Path) -> None:
    wf = Workflow(memo=True)
    a = wf.add(note, diary, "once", name="a")
    b = wf.add(note, diary, "once", name="b")
    wf.add(list, (a, b), name="both")

    run = wf.run(client)

    assert run.result(timeout=DEADLINE_S) == [None, None]
    assert run.gather() == {"a": None, "b": None, "both": [None, None]}
    assert lines(diary) == ["once"]


def test_all_of_it_also_inline(diary: Path) -> None:
    with Client(mode="inline") as client:
        run = report(diary, "1 2").run(client)
        assert run.result() == "3"
        again = report(diary, "1 2", better=1).run(client, resume=run)
        assert again.wait().result() == "4"
        assert lines(diary) == ["fill", "load", "parse-1", "parse-2", "show", "show"]
        assert client.attach(again.id).gather() == again.gather()
        for _ in range(2):
            assert remembered(diary, "1 2").run(client).wait(DEADLINE_S).result() == "3"
        assert lines(diary) == ["fill", "load", "parse-1", "parse-2", "show"]


def test_a_resumed_run_that_fails_in_its_turn(client: Client, diary: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = gated(diary, gate).run(client).wait(DEADLINE_S)
    second = gated(diary, gate).run(client, resume=first).wait(DEADLINE_S)
    assert lines(diary) == sorted(["item-0", "item-1", "item-2", "item-3"] * 2)
    gate.write_text("")

    third = second.retry_failed()

    assert third.result(timeout=DEADLINE_S) == -6
    assert lines(diary) == ["item-2"]
    assert third.result("in/count") == 4
    with Client(client.url, workers=0) as other:
        assert other.attach(third.id).gather() == third.gather()
    fourth = gated(diary, gate).run(client, resume=third)
    assert fourth.result(timeout=DEADLINE_S) == -6


SCRIPT = """
import sys
import taskflow

def square(x):
    with open("squares", "a") as file:
        file.write(f"{x} ")
    return x * x

memo, resume = sys.argv[1] == "memo", sys.argv[2:]
wf = taskflow.Workflow("squares", memo=memo)
wf.add(sum, wf.map(square, wf.add(range, wf.input("n"), name="range"), name="squares"), name="sum")

if __name__ == "__main__":
    with taskflow.Client(workers=2) as client:
        run = wf.run(client, n=4, resume=resume[0] if resume else None)
        print(run.result(), *sorted(open("squares").read().split()))
        print(run.id)
"""


def test_another_process_remembers(tmp_path: Path) -> None:
    for _ in range(2):
        assert run_script(tmp_path, SCRIPT, "memo").startswith("14 0 1 2 3\n")


def test_another_process_goes_on(tmp_path: Path) -> None:
    first = run_script(tmp_path, SCRIPT, "plain").split("\n")
    second = run_script(tmp_path, SCRIPT, "plain", first[1]).split("\n")
    third = run_script(tmp_path, SCRIPT, "plain").split("\n")

    assert first[0] == second[0] == "14 0 1 2 3"
    assert third[0] == "14 0 0 1 1 2 2 3 3"
