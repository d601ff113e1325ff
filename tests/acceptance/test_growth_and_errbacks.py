"""What a task does to its graph: errbacks, replacement, company for a chord, skipping, rejecting."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskflow import Client, Ignore, Reject, Skip, add_to_chord, chain, chord, group, replace, signature, task
from taskflow.errors import TaskRejected, TaskSkipped, UpstreamFailed, UsageError
from tests.acceptance.stage import until

pytestmark = pytest.mark.usefixtures("current")


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "book"


def entries(book: Path) -> list[Any]:
    return [json.loads(line) for line in book.read_text().splitlines()] if book.exists() else []


def write(book: Path, *what: Any) -> None:
    with Path(book).open("a") as file:
        file.write(json.dumps(what) + "\n")


@task
def add(x: int, y: int = 0) -> int:
    return x + y


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def fail(*_: Any) -> None:
    raise ValueError("broken")


@task
def tell(request: Any, error: BaseException, trace: str, book: Path) -> None:
    write(book, request.id, request.task.rpartition(".")[2], repr(error), "ValueError: broken" in trace)


@task
def tell_id(task_id: str) -> str:
    return f"failed: {task_id}"


def over(client: Client, result: Any) -> None:
    """Wait until the whole run has ended, its errbacks included."""
    run = str(result.run_id)
    until(lambda: client._engine.store.snapshot(run)[0].ended_at is not None)


# ── errbacks ─────────────────────────────────────────────────────────────────────────


def test_an_errback_is_told_what_failed_and_why(client: Client, book: Path) -> None:
    sig = fail.s(1).on_error(tell.s(book))
    result = sig.apply_async()

    with pytest.raises(ValueError, match="broken"):
        result.get(20)
    over(client, result)

    assert entries(book) == [[result.task_id, "fail", "ValueError('broken')", True]]
    assert result.state == "FAILURE"


def test_an_errback_is_left_alone_when_nothing_fails(client: Client, book: Path) -> None:
    result = add.s(1, 2).on_error(tell.s(book)).apply_async()

    assert result.get(20) == 3
    over(client, result)
    assert entries(book) == []
    assert str(client._engine.store.snapshot(result.run_id)[0].state) == "succeeded"


def test_an_errback_of_the_old_style_gets_the_id(client: Client, tmp_path: Path) -> None:
    found = tmp_path / "found"
    result = fail.s().on_error(chain(tell_id.s(), signature(found.write_text))).apply_async()

    over(client, result)

    assert found.read_text() == f"failed: {result.task_id}"


def test_of_a_chain_the_step_that_failed_is_told_once(client: Client, book: Path) -> None:
    steps = chain(add.s(1), fail.s(), add.s(2), add.s(3))
    result = steps.on_error(tell.s(book)).apply_async()

    with pytest.raises(UpstreamFailed):
        result.get(20)
    over(client, result)

    assert [entry[0] for entry in entries(book)] == [result.parent.parent.task_id]


def test_the_errback_of_a_step_that_never_ran_is_not_called(client: Client, book: Path) -> None:
    result = chain(fail.s(), add.s(1).on_error(tell.s(book))).apply_async()

    over(client, result)

    assert entries(book) == []


def test_of_a_group_each_member_that_fails_is_told(client: Client, book: Path) -> None:
    members = group(fail.s(1), add.s(2), fail.s(3)).on_error(tell.s(book))
    result = members.apply_async()

    over(client, result)

    ids = {part.task_id for part in result.children if part.state == "FAILURE"}
    assert len(ids) == 2
    assert {entry[0] for entry in entries(book)} == ids


@pytest.mark.parametrize("on_body", [False, True])
def test_of_a_chord_a_header_that_failed_is_told_once(client: Client, book: Path, on_body: bool) -> None:
    body = total.s()
    if on_body:
        body.link_error(tell.s(book))
    sig = chord([fail.s(1), fail.s(2), add.s(3)], body)
    result = (sig if on_body else sig.on_error(tell.s(book))).apply_async()

    over(client, result)

    (entry,) = entries(book)
    assert entry[2:] == ["ValueError('broken')", True]
    assert entry[0] in {part.task_id for part in result.parent.children}


@pytest.fixture
def of_headers(client: Client) -> Iterator[None]:
    """As an app with ``task_allow_error_cb_on_chord_header`` has it."""
    client._engine.header_errbacks = True
    yield
    client._engine.header_errbacks = False


@pytest.mark.usefixtures("of_headers")
def test_of_a_chord_each_member_of_the_header_is_told_too_when_that_is_wanted(
    client: Client, book: Path
) -> None:
    result = chord([fail.s(1), fail.s(2), add.s(3)], total.s()).on_error(tell.s(book)).apply_async()

    over(client, result)

    failed = {part.task_id for part in result.parent.children if part.failed()}
    ids = [entry[0] for entry in entries(book)]
    assert len(failed) == 2
    assert set(ids) == failed
    assert len(ids) == 3  # once for each of them, and once for the body that could not run


@pytest.mark.usefixtures("of_headers")
def test_a_header_without_a_failure_is_not_told_of_that_of_the_body(client: Client, book: Path) -> None:
    result = chord([add.s(1), add.s(2)], fail.s()).on_error(tell.s(book)).apply_async()

    over(client, result)

    assert [entry[:2] for entry in entries(book)] == [[result.task_id, "fail"]]


@pytest.mark.usefixtures("of_headers")
def test_an_errback_of_the_body_alone_is_none_of_the_header(client: Client, book: Path) -> None:
    result = chord([fail.s(1), fail.s(2)], total.s().on_error(tell.s(book))).apply_async()

    over(client, result)

    assert len(entries(book)) == 1


def test_an_errback_that_is_linked_twice_runs_once_and_a_list_is_several(client: Client, book: Path) -> None:
    sig = fail.s(1)
    errbacks = [tell.s(book), tell.s(book).set(label="other")]
    assert sig.link_error(errbacks) is errbacks
    sig.link_error(tell.s(book))

    result = sig.apply_async()
    over(client, result)

    assert len(entries(book)) == 2


def test_an_errback_at_the_end_of_a_chain_that_ends_in_a_group(client: Client, book: Path) -> None:
    result = chain(add.s(1), group(fail.s(), add.s(1))).on_error(tell.s(book)).apply_async()

    over(client, result)

    assert [entry[1] for entry in entries(book)] == ["fail"]


@pytest.mark.parametrize("at", range(4))
def test_an_errback_of_a_chain_that_ends_in_a_chain_that_ends_in_a_group(
    client: Client, book: Path, at: int
) -> None:
    first, second, *members = [fail.s() if n == at else add.s(1) for n in range(4)]
    result = chain(add.s(1), first, chain(second, group(members))).on_error(tell.s(book)).apply_async()

    over(client, result)

    (entry,) = entries(book)
    assert entry[2:] == ["ValueError('broken')", True]


def test_an_errback_that_fails_is_only_its_own_failure(client: Client) -> None:
    @task
    def worse(request: Any, error: BaseException, trace: str) -> None:
        raise LookupError("worse")

    result = fail.s().on_error(worse.s()).apply_async()

    with pytest.raises(ValueError, match="broken"):
        result.get(20)
    over(client, result)


def test_errbacks_travel_as_json(client: Client, book: Path) -> None:
    text = json.dumps(chain(fail.s(), add.s(1)).on_error(tell.s(str(book))))

    result = signature(json.loads(text)).apply_async()
    over(client, result)

    assert len(entries(book)) == 1


def test_no_errback_is_called_for_what_was_revoked(client: Client, book: Path) -> None:
    result = add.s(1).on_error(tell.s(book)).apply_async(countdown=600)

    result.revoke()
    over(client, result)

    assert entries(book) == []


# ── skipping and rejecting ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [Skip, Ignore])
def test_a_task_that_chose_to_be_skipped(client: Client, kind: type[Exception]) -> None:
    def nothing_to_do() -> None:
        raise kind("nothing new")

    result = chain(signature(nothing_to_do), add.s(1)).apply_async()
    over(client, result)

    assert (result.parent.state, result.state) == ("IGNORED", "IGNORED")
    with pytest.raises(TaskSkipped, match="nothing new"):
        result.parent.get()
    assert str(client._engine.store.snapshot(result.run_id)[0].state) == "succeeded"


def test_items_that_are_skipped_are_left_out_of_what_follows(client: Client) -> None:
    def even(x: int) -> int:
        if x % 2:
            raise Skip
        return x

    assert client.submit(sum, client.map(even, range(10))).result(20) == 20


def test_a_rejected_task_is_a_dead_letter_at_once(client: Client) -> None:
    def refuse() -> None:
        raise Reject("not for me")

    future = client.options(retry=3).submit(refuse)

    with pytest.raises(TaskRejected, match="not for me"):
        future.result(20)
    assert future.state == "dead"
    found = client.dead_letters()
    rows = found.to_dict("records") if hasattr(found, "to_dict") else found
    assert any(future.id in str(row) for row in rows)


def test_work_that_is_given_back_runs_again(client: Client, tmp_path: Path) -> None:
    flag = tmp_path / "flag"

    def second_time() -> str:
        if not flag.exists():
            flag.touch()
            raise Reject(requeue=True)
        return "done"

    assert client.submit(second_time).result(20) == "done"


# ── growing ──────────────────────────────────────────────────────────────────────────


def test_a_task_may_be_replaced_by_another(client: Client) -> None:
    @task
    def power(x: int, n: int) -> int:
        if n == 0:
            return 1
        replace(power.s(x, n - 1) | signature(lambda y: x * y))
        raise AssertionError("it goes on after replace")

    result = (power.s(2, 6) | add.s(1)).apply_async()

    assert result.get(30) == 65
    assert result.parent.get(5) == 64


def test_a_task_may_be_replaced_by_a_chord_or_a_group(client: Client) -> None:
    @task
    def fan(n: int) -> Any:
        replace(chord([add.s(i, 1) for i in range(n)], total.s()))

    @task
    def several(n: int) -> Any:
        replace(group(add.s(i) for i in range(n)))

    assert chain(fan.s(4), add.s(100)).apply_async().get(20) == 110
    assert several.s(3).apply_async().get(20) == [0, 1, 2]


def test_items_of_a_map_may_be_replaced_one_by_one(client: Client) -> None:
    def item(x: int) -> Any:
        if x % 3 == 0:
            replace(chord([add.s(x), add.s(x)], total.s()))
        return x

    run = client.map(item, range(12))

    assert run.results() == [2 * x if x % 3 == 0 else x for x in range(12)]
    assert client.submit(sum, run).result(20) == sum(range(12)) + 0 + 3 + 6 + 9


def test_members_of_a_chord_may_be_replaced(client: Client) -> None:
    @task
    def member(x: int) -> Any:
        replace(add.s(x, 10) | add.s(100))

    assert chord([member.s(x) for x in range(5)], total.s()).apply_async().get(20) == 560


def test_a_replacement_that_fails_fails_what_it_replaced(client: Client) -> None:
    @task
    def member(x: int) -> Any:
        if x == 2:
            replace(fail.s(x))
        return x

    result = group(member.s(x) for x in range(4)).apply_async()
    over(client, result)

    assert [part.state for part in result.children] == ["SUCCESS", "SUCCESS", "FAILURE", "SUCCESS"]
    with pytest.raises(ValueError, match="broken"):
        result.children[2].get()


def test_an_errback_is_told_when_the_first_step_of_a_replacement_fails(client: Client, book: Path) -> None:
    @task
    def member(x: int) -> Any:
        replace(fail.s(x) | add.s(1))

    result = member.s(1).on_error(tell.s(book)).apply_async()
    over(client, result)

    assert result.state == "FAILURE"
    assert [entry[2:] for entry in entries(book)] == [["ValueError('broken')", True]]


def test_a_header_that_fails_before_a_group_is_told_of(client: Client, book: Path) -> None:
    result = chord([fail.s(1), add.s(1)], group(total.s(), total.s())).on_error(tell.s(book)).apply_async()
    over(client, result)

    assert [entry[2:] for entry in entries(book)] == [["ValueError('broken')", True]]


def test_a_member_may_add_to_its_chord(client: Client) -> None:
    @task
    def member(x: int) -> int:
        if x == 1:
            add_to_chord(add.s(1000))
            add_to_chord(group(add.s(1), add.s(2)) | total.s())
        return x

    @task
    def last(numbers: list[int]) -> list[int]:
        return sorted(numbers)

    result = chord([member.s(x) for x in range(3)], last.s()).apply_async()

    assert result.get(20) == [0, 1, 2, 3, 1000]


def test_what_a_failing_task_would_have_added_does_not_appear(client: Client) -> None:
    @task
    def member(x: int) -> int:
        add_to_chord(add.s(x))
        raise ValueError("broken")

    result = chord([member.s(1)], total.s()).apply_async()
    over(client, result)

    assert client._engine.store.snapshot(result.run_id)[0].total == 2


def test_a_replacement_that_cannot_be_drawn_fails_the_task(client: Client) -> None:
    def bad() -> None:
        replace(chord([add.s(1)]))

    with pytest.raises(Exception, match="needs a body"):
        client.submit(bad).result(20)


@pytest.mark.parametrize("call", [replace, add_to_chord])
def test_outside_a_task_there_is_nothing_to_grow(call: Any) -> None:
    with pytest.raises(UsageError, match="inside a task"):
        call(add.s(1))
