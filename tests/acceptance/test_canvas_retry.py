"""Canvases that failed and are run again: the new handle tells of what counts now, new or kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import taskflow
from taskflow import chain, chord, group
from taskflow.errors import UsageError
from taskflow.result import AsyncResult, GroupResult
from tests.acceptance.stage import DEADLINE_S, run_script


@taskflow.task
def add(x: int, y: int = 1) -> int:
    return x + y


@taskflow.task
def double(x: int) -> int:
    return 2 * x


@taskflow.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@taskflow.task
def through(x: int, gate: str) -> int:
    """Leaves a mark for each call; multiples of 30 need the gate to be open."""
    with Path(gate).with_suffix(f".{x}").open("a") as marks:
        marks.write(".")
    if x % 30 == 0 and not Path(gate).exists():
        raise OSError(f"{x}: closed")
    return x


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def failed(what: Any, client: taskflow.Client) -> Any:
    """The handle of a canvas that was sent, and has failed."""
    result = what.apply_async(client=client)
    result.get(DEADLINE_S, propagate=False)
    assert result.failed()
    return result


def calls(gate: Path, x: int) -> int:
    return len(gate.with_suffix(f".{x}").read_text())


def test_a_chord_whose_header_failed_gives_its_value(client: taskflow.Client, gate: Path) -> None:
    header = [through.s(1, str(gate)), add.s(2), through.s(30, str(gate))]
    first = failed(chord(header, total.s()), client)
    gate.touch()

    again = client.retry(first)

    assert again.get(DEADLINE_S) == 1 + 3 + 30
    assert (again.state, first.state) == ("SUCCESS", "FAILURE")
    assert isinstance(again.parent, GroupResult)
    assert again.parent.get(DEADLINE_S) == [1, 3, 30]
    assert again.parent.state == "SUCCESS"
    assert [child.state for child in again.parent.children] == ["SUCCESS"] * 3
    assert again.parent[1].id == first.parent[1].id, "what succeeded is kept where it was"
    assert again.parent[2].id != first.parent[2].id
    assert (calls(gate, 1), calls(gate, 30)) == (1, 2)


def test_items_of_a_long_group_that_failed_run_again(client: taskflow.Client, gate: Path) -> None:
    first = failed(group(through.s(x, str(gate)) for x in range(1, 101)), client)
    assert first.completed_count() == 97
    gate.touch()

    again = client.retry(first.id)

    assert again.get(DEADLINE_S) == list(range(1, 101))
    assert len(again) == again.completed_count() == 100
    assert {x: calls(gate, x) for x in range(1, 101)} == {x: 1 + (x % 30 == 0) for x in range(1, 101)}
    assert first.completed_count() == 97


def test_the_steps_of_a_chain_are_those_that_count(client: taskflow.Client, gate: Path) -> None:
    first = failed(add.s(29) | through.s(str(gate)) | double.s(), client)
    gate.touch()

    again = first.retry_failed()

    assert again.get(DEADLINE_S) == 60
    assert (again.parent.get(DEADLINE_S), again.parent.parent.get(DEADLINE_S)) == (30, 30)
    assert again.parent.parent == first.parent.parent
    assert again.parent != first.parent
    assert [step.state for step in (again, again.parent, again.parent.parent)] == ["SUCCESS"] * 3
    assert again.parent.parent.name == "add"


def test_what_did_not_fail_cannot_be_retried(client: taskflow.Client) -> None:
    result = (add.s(1) | double.s()).apply_async(client=client)
    assert result.get(DEADLINE_S) == 4

    assert result.retry_failed() is result
    with pytest.raises(UsageError, match="nothing to retry"):
        client.retry(result.id)


def test_it_may_fail_again_and_be_retried_again(client: taskflow.Client, gate: Path) -> None:
    first = failed(chain(add.s(29), through.s(str(gate)), double.s()), client)

    second = client.retry(first)
    with pytest.raises(OSError, match="closed"):
        second.parent.get(DEADLINE_S)
    second.get(DEADLINE_S, propagate=False)
    gate.touch()
    third = client.retry(second)

    assert third.get(DEADLINE_S) == 60
    assert client.attach(third.run_id).parent.parent.get(DEADLINE_S) == 30
    assert calls(gate, 30) == 3


def test_another_process_finds_it_by_its_id(client: taskflow.Client, gate: Path, tmp_path: Path) -> None:
    header = [through.s(1, str(gate)), add.s(2), through.s(30, str(gate))]
    first = failed(chord(header, total.s()), client)
    gate.touch()
    again = client.retry(first)
    assert again.get(DEADLINE_S) == 34

    told = run_script(
        tmp_path,
        "import json, sys, taskflow\n"
        "with taskflow.Client(sys.argv[1], workers=0) as client:\n"
        "    for found in (client.attach(sys.argv[2]), client.async_result(sys.argv[3])):\n"
        "        line = found.parent\n"
        "        print(json.dumps([found.id, found.get(30), line.get(30), [one.id for one in line]]))\n",
        client.url,
        again.run_id,
        again.id,
    )

    expected = [again.id, 34, [1, 3, 30], [one.id for one in again.parent]]
    assert [json.loads(line) for line in told.splitlines()] == [expected, expected]


def test_a_part_is_found_by_its_place(client: taskflow.Client, gate: Path) -> None:
    first = failed(chord([add.s(1), through.s(30, str(gate))], total.s()), client)
    gate.touch()

    header = client.retry(first).parent

    assert GroupResult.restore(header.id, client=client).get(DEADLINE_S) == [2, 30]
    assert isinstance(first.parent.retry_failed(), GroupResult)
    assert AsyncResult.get(first.parent.retry_failed(), DEADLINE_S) == [2, 30]


def test_a_map_of_a_run_that_was_retried_is_found_by_its_id(client: taskflow.Client, gate: Path) -> None:
    first = client.map(through, range(28, 33), [str(gate)] * 5).wait(DEADLINE_S)
    gate.touch()

    again = client.retry(first.id)

    assert again.results() == list(range(28, 33))
    assert client.attach(again.id).results() == list(range(28, 33))
