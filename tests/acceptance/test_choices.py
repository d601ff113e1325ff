"""Workflows that decide as they run: conditions, branches, trees, bounds, and steps that may fail."""

from __future__ import annotations

import operator
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskflow import Client, Skip, Workflow
from taskflow.errors import ConfigError, GraphError, TaskSkipped
from taskflow.hooks import using
from tests.acceptance.stage import opened, until


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with opened(tmp_path_factory.mktemp("store")) as client:
        yield client


@pytest.fixture(autouse=True)
def _current(client: Client) -> Iterator[None]:
    with using(client):
        yield


def one() -> int:
    return 1


def double(x: int) -> int:
    return 2 * x


def numbers(n: int) -> list[int]:
    return list(range(n))


def broken(*_: Any) -> Any:
    raise ValueError("broken")


def states(run: Any) -> dict[str, str]:
    run.wait(30)
    return {node.label: str(node.state) for node in run.progress.nodes}


# ── when ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("x", [1, 5])
def test_a_step_runs_only_when_its_condition_holds(x: int) -> None:
    wf = Workflow()
    start = wf.input("x")
    big = wf.add(double, start, name="big", when=lambda value: value > 3)
    wf.add(double, big, name="below")
    wf.add(double, start, name="beside")

    run = wf.run(x=x)

    ended = "succeeded" if x > 3 else "skipped"
    found = states(run)
    assert (found["big"], found["below"], found["beside"]) == (ended, ended, "succeeded")
    assert str(run.progress.state) == "succeeded"
    if x <= 3:
        with pytest.raises(TaskSkipped):
            run.result("below")
        assert run.gather("skip")["beside"] == 2
    else:
        assert run.result("below") == 20


def test_a_condition_may_be_a_step() -> None:
    wf = Workflow()
    no = wf.add(bool, 0, name="no")
    wf.map(double, range(3), name="map", when=no)
    wf.map_reduce(["a b"], lambda line: [(word, 1) for word in line.split()], lambda _, n: sum(n), after=no)

    found = states(wf.run())

    assert (found["map"], found["no?"] if "no?" in found else found["map?"]) == ("skipped", "skipped")


def test_a_map_over_what_is_not_there_yet_may_be_skipped() -> None:
    wf = Workflow()
    items = wf.add(numbers, 0, name="items")
    wf.map(double, items, name="map", when=bool)
    wf.add(len, wf["map"], name="length")

    found = states(wf.run())

    assert (found["items"], found["map"], found["length"]) == ("succeeded", "skipped", "skipped")


def test_a_workflow_inside_may_be_skipped() -> None:
    inner = Workflow("inner")
    inner.add(double, inner.add(one))
    wf = Workflow()
    wf.add(inner, name="sub", when=wf.add(bool, 0))

    found = states(wf.run())

    assert found["sub/one"] == found["sub/double"] == "skipped"


def test_a_condition_that_is_none_is_an_error() -> None:
    with pytest.raises(GraphError, match="no condition"):
        Workflow().add(one, when="yes")


# ── branch ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("x", "value", "left_out"), [(8, 16, "small"), (3, 103, "big")])
def test_one_of_two_branches_is_taken(x: int, value: int, left_out: str) -> None:
    wf = Workflow()
    start = wf.input("x")
    condition = wf.add(lambda value: value > 5, start, name="condition")
    big = wf.add(double, start, name="big")
    small = wf.add(operator.add, wf.add(lambda: 100, name="hundred"), start, name="small")
    join = wf.branch(condition, big, small)
    wf.add(str, join, name="end")

    run = wf.run(x=x)

    assert run.result() == str(value)
    found = states(run)
    assert found[left_out] == "skipped"
    assert found["hundred"] == ("skipped" if left_out == "small" else "succeeded")
    assert str(run.progress.state) == "succeeded"


def test_without_another_branch_the_value_is_none() -> None:
    wf = Workflow()
    join = wf.branch(wf.add(bool, 0), wf.add(one))
    wf.add(repr, join, name="end")

    assert wf.run().result() == "None"


def test_a_branch_that_fails_fails_the_join() -> None:
    wf = Workflow(on_failure="continue")
    wf.branch(wf.add(bool, 1), wf.add(broken, name="then"), wf.add(one, name="else"), name="join")

    run = wf.run()

    assert states(run)["join"] == "skipped"
    assert str(run.progress.state) == "failed"


def test_what_others_need_runs_in_any_case() -> None:
    wf = Workflow()
    shared = wf.add(one, name="shared")
    wf.add(double, shared, name="other")
    wf.branch(wf.add(bool, 0), wf.add(double, shared, name="then"))

    found = states(wf.run())

    assert (found["shared"], found["other"], found["then"]) == ("succeeded", "succeeded", "skipped")


def test_a_branch_that_others_follow_is_refused() -> None:
    wf = Workflow()
    then = wf.add(one, name="then")
    wf.add(double, then)

    with pytest.raises(GraphError, match="followed by other steps"):
        wf.branch(wf.add(bool, 1), then)


# ── trees ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(("tree", "width"), [(None, 9), (2, 9), (3, 1), (True, 100), (4, 16), (2, 2)])
def test_a_tree_folds_in_order(tree: Any, width: int, dynamic: bool) -> None:
    wf = Workflow()
    items = wf.add(numbers, width) if dynamic else range(width)
    parts = wf.map(str, items, name="map")
    wf.reduce(operator.add, parts, tree=tree, initial=">", name="sum")

    assert wf.run().result("sum") == ">" + "".join(map(str, range(width)))


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_tree_of_nothing_is_its_initial_value(dynamic: bool) -> None:
    wf = Workflow()
    items = wf.add(numbers, 0) if dynamic else []
    wf.reduce(operator.add, wf.map(str, items), tree=2, initial="nothing", name="sum")

    assert wf.run().result("sum") == "nothing"


def test_a_tree_over_single_steps() -> None:
    wf = Workflow()
    parts = [wf.add(double, x, name=f"part {x}") for x in range(7)]
    wf.reduce(operator.add, parts, tree=2, name="sum")

    assert wf.run().result("sum") == 42


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_tree_folds_as_parts_arrive(tmp_path: Path, dynamic: bool) -> None:
    folded, gate = tmp_path / "folded", tmp_path / "gate"

    def item(x: int) -> int:
        while x == 7 and not gate.exists():
            time.sleep(0.01)
        return x

    def add(x: int, y: int) -> int:
        folded.touch()
        return x + y

    wf = Workflow()
    wf.reduce(add, wf.map(item, wf.add(numbers, 8) if dynamic else range(8), name="map"), tree=2, name="sum")
    run = wf.run()
    until(folded.exists, 20)  # while the map goes on
    gate.touch()

    assert run.result("sum") == 28


def test_a_tree_that_is_no_tree_is_refused() -> None:
    wf = Workflow()
    with pytest.raises(ConfigError, match="tree=1"):
        wf.reduce(operator.add, wf.map(double, range(3)), tree=1)


# ── bounds, and what may fail ────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["step", "workflow", "map"])
def test_no_more_run_at_once_than_is_allowed(client: Client, tmp_path: Path, way: str) -> None:
    def item(x: int) -> int:
        mine = tmp_path / f"running-{x}"
        mine.touch()
        try:
            time.sleep(0.02)
            return len(list(tmp_path.glob("running-*")))
        finally:
            mine.unlink()

    if way == "map":
        assert set(client.options(max_parallel=1).map(item, range(12)).results()) == {1}
        return
    wf = Workflow(max_parallel=1 if way == "workflow" else None)
    first = wf.map(item, range(6), name="first")
    if way == "workflow":
        wf.map(item, range(6, 12), name="second")
    else:
        first.set(max_parallel=1)

    assert {count for counts in wf.run().gather().values() for count in counts} == {1}


def test_a_step_that_may_fail_fails_no_run() -> None:
    wf = Workflow()
    optional = wf.add(broken, name="optional").set(on_failure="skip")
    wf.add(double, optional, name="below")
    wf.add(one, name="beside")

    run = wf.run()

    found = states(run)
    assert (found["optional"], found["below"], found["beside"]) == ("failed", "skipped", "succeeded")
    assert str(run.progress.state) == "succeeded"


def test_a_task_may_skip_itself_and_what_follows() -> None:
    def nothing_new() -> None:
        raise Skip("nothing new")

    wf = Workflow()
    wf.add(double, wf.add(nothing_new, name="look"), name="below")

    run = wf.run()

    assert states(run) == {"look": "skipped", "below": "skipped"}
    with pytest.raises(TaskSkipped, match="nothing new"):
        run.result("look")


def test_what_is_retried_does_not_ask_again_for_a_branch_that_was_taken(tmp_path: Path) -> None:
    flag, asked = tmp_path / "flag", tmp_path / "asked"

    def fragile(x: int) -> int:
        if not flag.exists():
            raise ValueError("not yet")
        return x

    def ask() -> bool:
        with asked.open("a") as file:
            file.write("!")
        return True

    wf = Workflow(on_failure="continue")
    join = wf.branch(wf.add(ask), wf.add(fragile, 5, name="then"), wf.add(one, name="else"))
    wf.add(double, join, name="end")
    run = wf.run()
    assert states(run)["end"] == "skipped"
    flag.touch()

    again = run.retry_failed()

    assert again.result("end") == 10
    assert asked.read_text() == "!"


def test_a_picture_shows_gates_and_joins(client: Client) -> None:
    wf = Workflow("decide")
    wf.branch(wf.add(bool, 1, name="condition"), wf.add(one, name="then"), name="join")
    assert "then?" in wf.to_svg()
    assert "then?" in wf.to_mermaid()
    found = wf.plan()
    rows = found.to_dict("records") if hasattr(found, "to_dict") else found
    assert [row["kind"] for row in rows] == ["call", "call", "gate", "join"]


@pytest.mark.parametrize("tree", [True, False, 2, 5])
def test_the_results_of_a_map_are_folded_while_it_runs(client: Client, tree: Any) -> None:
    run = client.map(str, range(40))

    assert run.reduce(operator.add, tree=tree).result(30) == "".join(map(str, range(40)))
    with pytest.raises(ConfigError, match="tree=0"):
        run.reduce(operator.add, tree=0)
