"""What random workflows found: where something of a shape is missing, fails, or runs again."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskflow import Client, Skip, Workflow, chain, replace, signature
from tests.acceptance.stage import opened

NAMES = ("inline", "sqlite")


@pytest.fixture(scope="module", params=NAMES)
def client(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    if request.param == "inline":
        with Client(mode="inline") as client:
            yield client
    else:
        with opened(tmp_path_factory.mktemp("store")) as client:
            yield client


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    return tmp_path / "healed"


def letters(n: int) -> list[str]:
    return [chr(97 + i) for i in range(n)]


def nothing(*_: Any) -> None:
    return None


def broken(*_: Any) -> Any:
    raise ValueError("broken")


def states(run: Any) -> dict[str, str]:
    run.wait(30)
    return {node.label: str(node.state) for node in run.progress.nodes}


def test_a_map_whose_condition_does_not_hold_never_looks_at_its_items(client: Client) -> None:
    wf = Workflow()
    source = wf.add(nothing, name="source")
    wf.map(str, source, name="map", when=lambda items: items is not None)

    run = wf.run(client)

    assert states(run)["map"] == "skipped"
    assert str(run.progress.state) == "succeeded"


def test_no_part_of_a_tree_runs_when_its_condition_does_not_hold(client: Client) -> None:
    wf = Workflow()
    wf.reduce(broken, wf.map(str, range(8)), tree=2, name="sum", when=lambda parts: False)

    run = wf.run(client)

    assert set(states(run).values()) == {"succeeded", "skipped"}
    assert str(run.progress.state) == "succeeded"


def test_a_tree_of_steps_waits_for_its_condition_and_folds_as_they_arrive(client: Client) -> None:
    wf = Workflow()
    parts = [wf.add(str, n, name=f"part {n}") for n in range(5)]
    wf.reduce(operator.add, parts, tree=2, name="sum", after=wf.add(nothing, name="first"))

    run = wf.run(client)

    assert run.result("sum") == "01234"
    waits = {node.label: len(node.parents) for node in run.progress.nodes if "parts" in node.label}
    assert waits["parts of sum"] <= 3


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_tree_over_a_map_without_items_is_skipped_with_it(client: Client, dynamic: bool) -> None:
    wf = Workflow()
    items: Any = wf.add(letters, 0) if dynamic else []
    wf.reduce(operator.add, wf.map(str, items, when=lambda items: False), tree=2, initial="", name="sum")

    assert states(wf.run(client))["sum"] == "skipped"


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("kept", ["", "a", "ah", "cd"])
def test_items_that_choose_to_be_skipped_are_left_out_of_a_tree(
    client: Client, kept: str, dynamic: bool
) -> None:
    def item(letter: str) -> str:
        if letter not in kept:
            raise Skip
        return letter

    wf = Workflow(on_failure="continue")
    mapped = wf.map(item, wf.add(letters, 8) if dynamic else letters(8))
    wf.reduce(operator.add, mapped, tree=2, initial=">", name="sum")
    wf.reduce(operator.add, mapped, tree=2, name="plain")

    run = wf.run(client)

    assert run.result("sum", 20) == f">{kept}"
    assert states(run)["plain"] == ("succeeded" if kept else "failed")


def test_two_trees_over_one_map_are_two_trees(client: Client) -> None:
    wf = Workflow()
    mapped = wf.map(str, wf.add(letters, 6))
    wf.reduce(operator.add, mapped, tree=2, name="sum")
    wf.reduce(max, mapped, tree=2, name="most")

    run = wf.run(client)

    assert (run.result("sum", 20), run.result("most")) == ("abcdef", "f")


def test_a_retry_folds_the_items_of_the_retry(client: Client, flag: Path) -> None:
    def source() -> list[str]:
        if not flag.exists():
            raise ValueError("broken")
        return letters(6)

    def item(letter: str) -> str:
        if letter == "e" and not flag.with_name("items").exists():
            raise ValueError("broken")
        return letter

    wf = Workflow(on_failure="continue")
    wf.reduce(operator.add, wf.map(item, wf.add(source), name="map"), tree=2, name="sum")
    run = wf.run(client)
    assert states(run)["sum"] == "skipped"

    flag.touch()
    again = run.retry_failed()
    assert states(again)["sum"] == "skipped"
    flag.with_name("items").touch()

    assert again.retry_failed().result("sum", 20) == "abcdef"


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_resumed_run_takes_trees_and_what_was_replaced(
    client: Client, tmp_path: Path, flag: Path, dynamic: bool
) -> None:
    ran = tmp_path / "ran"

    def item(letter: str) -> str:
        with ran.open("a") as file:
            file.write(letter)
        replace(signature(str.upper, (letter,)))

    def step(text: str) -> str:
        with ran.open("a") as file:
            file.write("!")
        replace(signature(str.lower, (text,)))

    def last(text: str) -> str:
        if not flag.exists():
            raise ValueError("broken")
        return text

    wf = Workflow(on_failure="continue")
    mapped = wf.map(item, wf.add(letters, 4) if dynamic else letters(4), name="map")
    whole = wf.reduce(operator.add, mapped, tree=2, name="sum")
    wf.add(last, wf.add(step, whole, name="step"), name="last")
    run = wf.run(client)
    assert states(run)["last"] == "failed"
    flag.touch()

    again = wf.run(client, resume=run)

    assert again.result("last", 20) == "abcd"
    assert len(again.progress.nodes) == 1
    assert sorted(ran.read_text()) == sorted("abcd!")


def test_what_takes_the_place_of_a_step_that_may_fail_may_fail(client: Client) -> None:
    def step(n: int) -> None:
        replace(signature(broken) if n == 0 else chain(signature(broken), signature(nothing)))

    wf = Workflow()
    below = [
        wf.add(nothing, wf.add(step, n, name=f"step {n}").set(on_failure="skip"), name=f"below {n}")
        for n in range(2)
    ]
    wf.add(nothing, after=wf.add(nothing, name="beside"), name="end")

    run = wf.run(client)

    found = states(run)
    assert {found[node.name] for node in below} == {"skipped"}
    assert found["end"] == "succeeded"
    assert str(run.progress.state) == "succeeded"


def test_a_step_whose_replacement_fails_stops_the_run(client: Client, flag: Path) -> None:
    def step() -> None:
        replace(chain(signature(broken), signature(nothing)))

    wf = Workflow(on_failure="stop")
    wf.add(step, name="step")
    wf.add(nothing, name="later").set(countdown=600)

    run = wf.run(client)

    assert states(run)["later"] == "cancelled"
    assert str(run.progress.state) == "failed"


@pytest.mark.parametrize("outer", [True, False])
def test_a_branch_inside_a_branch_that_is_not_taken_is_not_taken(client: Client, outer: bool) -> None:
    wf = Workflow()
    inner = wf.branch(wf.add(bool, 1, name="inner"), wf.add(letters, 1, name="a"), name="join")
    wf.add(nothing, wf["inner"], name="beside")  # so that the condition runs in any case
    wf.branch(wf.add(bool, int(outer), name="outer"), wf.add(len, inner, name="leg"), name="end")

    run = wf.run(client)

    found = states(run)
    assert found["join"] == found["leg"] == ("succeeded" if outer else "skipped")
    assert run.result("end") == (1 if outer else None)


@pytest.mark.parametrize("given", [True, False])
def test_a_workflow_inside_that_branches_may_be_skipped(client: Client, given: bool) -> None:
    inside = Workflow("inside")
    condition = inside.input("x") if given else inside.add(bool, 1)
    inside.branch(condition, inside.add(letters, 1), name="join")
    wf = Workflow()
    more = {"x": wf.add(bool, 1)} if given else {}
    wf.add(len, wf.add(inside, name="sub", when=wf.add(bool, 0, name="no"), **more), name="below")

    run = wf.run(client)

    found = states(run)
    assert found["sub/join"] == found["below"] == "skipped"
    assert str(run.progress.state) == "succeeded"


def test_a_branch_whose_condition_chose_to_be_skipped_is_skipped(client: Client) -> None:
    def nothing_new() -> bool:
        raise Skip

    wf = Workflow()
    wf.branch(wf.add(nothing_new), wf.add(letters, 1), name="join")

    assert states(wf.run(client))["join"] == "skipped"
