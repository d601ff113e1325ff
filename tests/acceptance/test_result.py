"""The handle of the Celery face: Celery's words over the stored run."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import taskflow
from taskflow import hooks
from taskflow.errors import NoSuchRun, UsageError, WaitTimedOut
from taskflow.result import allow_join_result, assert_will_not_block, result_from_tuple
from tests.acceptance.stage import run_script, until


@taskflow.task
def add(x: int, y: int = 1) -> int:
    return x + y


@taskflow.task
def refuse(x: int) -> None:
    raise ValueError(f"not {x}")


@taskflow.task(retry=taskflow.RetryPolicy(2, delay=0.0))
def third_time_lucky(path: str) -> str:
    with Path(path).open("a+") as file:
        file.write(".")
        file.seek(0)
        if len(file.read()) < 3:
            raise OSError("again")
    return "done"


def send(what: Any, client: taskflow.Client, *args: Any) -> Any:
    return what.apply_async(args, client=client) if args else what.apply_async(client=client)


def test_what_ends_while_it_is_asked_gives_its_value(
    client: taskflow.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`info` of a task in PROGRESS a moment ago is what it told, or its result, and never nothing."""

    def work(go: Path) -> str:
        until(go.exists)
        return "the result"

    result = taskflow.task(work).apply_async((tmp_path / "go",), client=client)
    ask = result._meta

    def ask_late() -> Any:
        (tmp_path / "go").touch()
        until(result.ready)
        return ask()

    monkeypatch.setattr(result, "_meta", ask_late)

    assert result.info == "the result"


def test_a_result_knows_everything_of_its_task(client: taskflow.Client) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)

    result = add.apply_async((4,), {"y": 6}, client=client)

    assert result.get(timeout=10) == 10
    assert (result.state, result.status, result.result, result.info) == ("SUCCESS", "SUCCESS", 10, 10)
    assert (result.name, result.args, result.kwargs, result.queue) == ("add", (4,), {"y": 6}, "default")
    assert result.worker
    assert before < result.date_done < datetime.now(UTC) + timedelta(seconds=1)
    assert (result.retries, result.traceback, result.parent, result.children) == (0, None, None, [])
    assert (result.ready(), result.successful(), result.failed(), result.exists()) == (
        True,
        True,
        False,
        True,
    )


def test_a_failed_task_is_ready_and_failed_and_shows_its_own_exception(client: taskflow.Client) -> None:
    result = send(refuse, client, 3)

    with pytest.raises(ValueError, match="not 3"):
        result.get(timeout=10)

    assert isinstance(result.get(propagate=False), ValueError)
    assert isinstance(result.result, ValueError)
    assert result.state == "FAILURE"
    assert "raise ValueError" in result.traceback
    assert (result.ready(), result.successful(), result.failed()) == (True, False, True)


def test_a_task_that_waits_is_pending_and_one_that_is_revoked_says_so(client: taskflow.Client) -> None:
    result = add.apply_async((1,), client=client, countdown=3600)

    assert (result.state, result.result, result.ready()) == ("PENDING", None, False)
    with pytest.raises(WaitTimedOut):
        result.get(timeout=0.01)
    assert result.revoke()

    assert result.state == "REVOKED"
    with pytest.raises(taskflow.errors.TaskCancelled):
        result.get(timeout=10)


def test_retries_are_counted(client: taskflow.Client, tmp_path: Path) -> None:
    result = send(third_time_lucky, client, str(tmp_path / "tries"))

    assert result.get(timeout=10) == "done"
    assert result.retries == 2


def test_a_chain_has_its_last_value_and_its_parents(client: taskflow.Client) -> None:
    result = send(taskflow.chain(add.s(2, 2), add.s(4)), client)

    assert result.get(timeout=10) == 8
    assert result.parent.get() == 4
    assert result.as_list() == [result.task_id, result.parent.task_id]


def test_a_group_has_its_values_in_order_and_children(client: taskflow.Client) -> None:
    result = send(taskflow.group(add.s(n, y=n) for n in range(4)), client)

    assert result.get(timeout=10) == [0, 2, 4, 6]
    assert [(part.args, part.kwargs) for part in result.children] == [((n,), {"y": n}) for n in range(4)]
    assert [value for _, value in result.collect()] == [[0, 2, 4, 6], 0, 2, 4, 6]
    assert (result.state, result.name, result.worker) == ("SUCCESS", None, None)


def test_of_a_group_with_a_failure_the_rest_is_there(client: taskflow.Client) -> None:
    result = send(taskflow.group(add.s(1), refuse.s(2), add.s(3)), client)

    with pytest.raises(ValueError, match="not 2"):
        result.get(timeout=10)
    result.children[2].get(timeout=10)

    assert (result.state, result.failed()) == ("FAILURE", True)
    assert [part.state for part in result.children] == ["SUCCESS", "FAILURE", "SUCCESS"]


def test_a_chord_body_gets_the_values_in_order(client: taskflow.Client) -> None:
    result = send(taskflow.chord([add.s(n) for n in range(5)], taskflow.signature(list)), client)

    assert result.get(timeout=10) == [1, 2, 3, 4, 5]


def test_callbacks_get_the_result_when_it_is_there(client: taskflow.Client) -> None:
    told: list[tuple[str, Any]] = []
    good, bad = threading.Event(), threading.Event()

    send(add, client, 1).then(lambda result: good.set())
    send(refuse, client, 1).then(lambda result: None, on_error=lambda result: bad.set())
    value = send(add, client, 5).get(timeout=10, callback=lambda name, found: told.append((name, found)))

    assert good.wait(10)
    assert bad.wait(10)
    assert [found for _, found in told] == [value]


@taskflow.task(retry=taskflow.RetryPolicy(1, delay=0.3, jitter=None))
def second_time(path: str) -> str:
    if not Path(path).exists():
        Path(path).touch()
        raise OSError("again")
    return "done"


def test_who_waits_is_told_what_becomes_of_a_task(client: taskflow.Client, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    looks: list[None] = []
    result = send(second_time, client, str(tmp_path / "tried"))

    value = result.get(30, interval=0.05, on_message=told.append, on_interval=lambda: looks.append(None))

    assert value == "done"
    assert [(message["status"], message["result"]) for message in told] == [
        ("RETRY", None),
        ("SUCCESS", "done"),
    ]
    assert told[0]["task_id"] == result.id
    assert len(looks) > 2


def test_a_wait_that_tells_ends_with_its_time(client: taskflow.Client) -> None:
    result = add.apply_async((1,), client=client, countdown=3600)
    told: list[dict[str, Any]] = []

    with pytest.raises(WaitTimedOut):
        result.get(0.05, on_message=told.append)

    assert told == []
    result.revoke()


def test_a_result_can_be_awaited(client: taskflow.Client) -> None:
    async def both() -> list[int]:
        return list(await asyncio.gather(send(add, client, 1), send(add, client, 2)))

    assert asyncio.run(both()) == [2, 3]


def test_what_is_forgotten_is_gone(client: taskflow.Client) -> None:
    result = send(add, client, 1)
    result.get(timeout=10)
    waiting = add.apply_async((1,), client=client, countdown=3600)

    result.forget()

    assert not result.exists()
    with pytest.raises((NoSuchRun, taskflow.errors.ResultExpired)):
        _ = result.state
    with pytest.raises(UsageError, match="cancel it first"):
        waiting.forget()
    waiting.revoke()


def test_an_option_that_does_not_exist_names_the_nearest(client: taskflow.Client) -> None:
    with pytest.raises(taskflow.errors.ConfigError, match="countdown"):
        add.apply_async((1,), client=client, countdwn=3)


def test_a_result_that_is_ignored_is_none_at_once_and_is_not_kept(client: taskflow.Client) -> None:
    result = add.apply_async((4, 6), client=client, ignore_result=True)

    assert result.get(timeout=0) is None

    while not result.ready():
        result.maybe_throw()
    assert result.state == "SUCCESS"
    assert client.future(result.task_id).result(timeout=10) is None


def test_a_run_is_named_by_its_tasks_and_not_by_their_arguments(client: taskflow.Client) -> None:
    result = send(taskflow.chain(add.s(271828), add.s(4)), client)
    result.get(timeout=10)

    name = result.progress.name

    assert "add" in name
    assert "271828" not in name


# ── groups ───────────────────────────────────────────────────────────────────────────


def test_a_group_is_a_list_of_results(client: taskflow.Client) -> None:
    result = send(taskflow.group(add.s(n) for n in range(4)), client)

    assert isinstance(result, taskflow.GroupResult)
    assert result.join(timeout=10) == result.join_native() == result.get() == [1, 2, 3, 4]
    assert (len(result), bool(result), result.completed_count(), result.waiting()) == (4, True, 4, False)
    assert [part.get() for part in result] == [part.get() for part in result.results] == [1, 2, 3, 4]
    assert result[2] == result.children[2]
    assert result[2] != result[1]
    assert result.as_tuple() == ((result.id, None), [((part.id, None), None) for part in result])
    with pytest.raises(UsageError, match=r"ResultSet\(group.results\)"):
        result.add(result[0])
    with pytest.raises(UsageError, match="not one task"):
        _ = result.future


def test_a_chord_has_its_group_before_it(client: taskflow.Client) -> None:
    result = send(taskflow.chord([add.s(n) for n in range(3)], taskflow.signature(sum)), client)

    assert result.get(timeout=10) == 6
    assert isinstance(result.parent, taskflow.GroupResult)
    assert [part.get() for part in result.parent] == [1, 2, 3]


def test_the_members_of_a_group_are_told_as_they_end(client: taskflow.Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gates = [taskflow.signature(wait_for, (str(gate),)), add.s(1), refuse.s(2)]
    result = send(taskflow.group(gates), client)
    heard: list[dict[str, Any]] = []

    ends = result.iter_native(timeout=20, on_message=heard.append)
    first, second = next(ends), next(ends)
    assert (result.ready(), result.failed(), result.completed_count()) == (False, True, 1)
    gate.write_text("")
    third = next(ends)

    told = {name: (message["status"], message["result"]) for name, message in (first, second, third)}
    assert told[result[0].id] == ("SUCCESS", "open")
    assert told[result[1].id] == ("SUCCESS", 2)
    assert told[result[2].id][0] == "FAILURE"
    assert third[0] == result[0].id
    assert heard == [message for _, message in (first, second, third)]
    assert next(ends, None) is None


def wait_for(path: str) -> str:
    until(Path(path).exists)
    return "open"


def test_callbacks_of_a_group_are_called_for_each_member(client: taskflow.Client) -> None:
    told: list[tuple[str, Any]] = []
    result = send(taskflow.group(add.s(1), refuse.s(2), add.s(3)), client)

    values = result.get(timeout=10, propagate=False, callback=lambda name, value: told.append((name, value)))

    assert [name for name, _ in told] == [part.id for part in result]
    assert [value for _, value in told] == values
    assert (values[0], str(values[1]), values[2]) == (2, "not 2", 4)
    assert "raise ValueError" in result.traceback


def test_a_group_is_revoked_and_forgotten(client: taskflow.Client) -> None:
    result = taskflow.group([add.s(n) for n in range(3)]).apply_async(client=client, countdown=3600)

    assert (result.state, result.completed_count()) == ("PENDING", 0)
    assert result.revoke(wait=True, timeout=10)

    assert (result.state, result.ready(), result.failed()) == ("REVOKED", True, False)
    result.forget()
    assert not result.exists()


def test_a_task_that_runs_is_revoked_only_when_that_is_said(client: taskflow.Client, tmp_path: Path) -> None:
    result = taskflow.signature(wait_for, (str(tmp_path / "never"),)).apply_async(client=client)
    members = taskflow.group(
        [taskflow.signature(wait_for, (str(tmp_path / "never"),)), add.s(1).set(countdown=3600)]
    ).apply_async(client=client)
    until(lambda: (result.state, members[0].state) == ("STARTED", "STARTED"))

    assert not result.revoke()
    assert members.revoke()
    assert (result.state, members[0].state, members[1].state) == ("STARTED", "STARTED", "REVOKED")
    assert result.revoke(terminate=True, wait=True, timeout=20)
    assert members.revoke(terminate=True, wait=True, timeout=20)

    assert (result.state, members.state) == ("REVOKED", "REVOKED")


def test_a_group_without_members_is_there_at_once(client: taskflow.Client) -> None:
    result = send(taskflow.group(), client)

    assert (result.get(), len(result), list(result)) == ([], 0, [])
    assert (result.ready(), result.successful(), result.state) == (True, True, "SUCCESS")


@pytest.mark.parametrize("several", [False, True])
def test_a_part_of_a_canvas_can_be_awaited_and_told_of(client: taskflow.Client, several: bool) -> None:
    middle = taskflow.group(add.s(1), add.s(2), taskflow.signature(abs)) if several else add.s(1)
    told = threading.Event()
    result = send(taskflow.chain(add.s(1), middle, taskflow.signature(str)), client)
    assert result.parent is not None

    result.parent.then(lambda _: told.set())

    async def both() -> tuple[Any, Any]:
        return await result.parent, await result

    assert asyncio.run(both()) == (([3, 4, 2], "[3, 4, 2]") if several else (3, "3"))
    assert told.wait(10)


# ── by id ────────────────────────────────────────────────────────────────────────────


def test_another_process_restores_a_group_by_its_id(client: taskflow.Client, tmp_path: Path) -> None:
    result = send(
        taskflow.chord(
            [add.s(1), taskflow.signature(abs, (-5,)), taskflow.chain(add.s(1), taskflow.group(add.s(1)))],
            taskflow.signature(len),
        ),
        client,
    )
    result.parent.save()
    ids = [part.id for part in result.parent]
    script = f"""
from taskflow import Client, GroupResult
client = Client({client.url!r}, workers=0)
group = GroupResult.restore({result.parent.id!r}, client=client)
inner = GroupResult.restore({result.parent[2].id!r}, client=client)
print(group.get(10), len(group), inner.get(), [part.id for part in group] == {ids!r})
print(client.async_result({result.id!r}).get(), client.async_result({result.id!r}).parent == group)
"""

    assert run_script(tmp_path, script).splitlines() == ["[2, 5, [3]] 3 [3] True", "3 True"]


def test_what_is_deleted_or_never_was_cannot_be_restored(client: taskflow.Client) -> None:
    result = send(taskflow.group([add.s(1), add.s(2)]), client)
    assert taskflow.GroupResult.restore(result.id, client=client) == result
    with pytest.raises(NoSuchRun, match="not of a group"):
        taskflow.GroupResult.restore(result[0].id, client=client)
    with pytest.raises(NoSuchRun, match="no part"):
        taskflow.GroupResult.restore(f"{result.id}/7", client=client)
    result.get(timeout=10)

    result.delete()

    with pytest.raises((NoSuchRun, taskflow.errors.ResultExpired)):
        taskflow.GroupResult.restore(result.id, client=client)


def test_the_id_of_a_result_is_that_which_its_task_sees(client: taskflow.Client) -> None:
    alone = send(taskflow.signature(own_id), client)
    members = send(taskflow.group(taskflow.signature(own_id) for _ in range(3)), client)

    assert alone.get(timeout=10) == alone.id == alone.task_id
    assert client.future(alone.id).result() == alone.id
    assert client.async_result(alone.id) == alone
    assert client.async_result(members[1].id) == members[1]
    assert members[1].run_id == members.run_id


def own_id() -> str:
    return taskflow.current().id


def test_a_tuple_stands_for_a_result(client: taskflow.Client) -> None:
    result = send(
        taskflow.chain(add.s(1), taskflow.group(add.s(1), add.s(2)), taskflow.signature(sum)), client
    )

    again = result_from_tuple(result.as_tuple(), client=client)

    assert again == result
    assert again.get(timeout=10) == 7
    assert again.parent.parent.get() == 2
    assert result_from_tuple(result.id, client=client) == result
    assert result_from_tuple(None) is None
    with allow_join_result():
        assert_will_not_block()


# ── sets ─────────────────────────────────────────────────────────────────────────────


def test_a_set_holds_results_of_whatever_was_sent(client: taskflow.Client) -> None:
    one, two = send(add, client, 1), send(taskflow.group(add.s(n) for n in range(2)), client)
    results = taskflow.ResultSet([one, one])

    results.add(two)
    results.add(two)

    assert (len(results), results[0], one in results, list(results)) == (2, one, True, [one, two])
    assert results.get(timeout=10) == results.join() == [2, [1, 2]]
    assert asyncio.run(awaited(results)) == [2, [1, 2]]
    assert client.gather([results, 3]) == [[2, [1, 2]], 3]
    assert (results.ready(), results.successful(), results.failed(), results.completed_count()) == (
        True,
        True,
        False,
        2,
    )
    assert {name for name, _ in results.iter_native()} == {one.id, two.id}
    results.remove(one.id)
    results.discard(one)
    with pytest.raises(KeyError):
        results.remove(one)
    results.update([one, two])
    assert list(results) == [two, one]
    assert results == taskflow.ResultSet([two, one])
    results.forget()
    assert not one.exists()
    results.clear()
    assert (list(results), results.get()) == ([], [])


async def awaited(results: taskflow.ResultSet) -> list[Any]:
    return await results


def test_a_set_raises_or_keeps_what_failed_and_revokes(client: taskflow.Client) -> None:
    results = taskflow.ResultSet([send(add, client, 1), send(refuse, client, 2)])
    late = taskflow.ResultSet([add.apply_async((1,), client=client, countdown=3600)])

    with pytest.raises(ValueError, match="not 2"):
        results.get(timeout=10)
    with pytest.raises(ValueError, match="not 2"):
        results.maybe_throw()
    assert str(results.join(propagate=False)[1]) == "not 2"
    with pytest.raises(WaitTimedOut):
        late.get(timeout=0.01)
    with pytest.raises(WaitTimedOut):
        next(late.iter_native(timeout=0.01))
    assert late.waiting()
    assert late.revoke(wait=True, timeout=10)
    assert late.ready()


# ── at once ──────────────────────────────────────────────────────────────────────────


def test_apply_retries_links_and_fails_as_any_run_does(tmp_path: Path) -> None:
    linked = tmp_path / "linked"

    tried = third_time_lucky.apply((str(tmp_path / "tries"),))
    broken = taskflow.chain(add.s(1), refuse.s(), add.s()).apply()
    note = add.apply((1,), link=taskflow.signature(write, (str(linked),)), queue="other")

    assert isinstance(tried, taskflow.EagerResult)
    assert (tried.get(), tried.retries, tried.state) == ("done", 2, "SUCCESS")
    assert (broken.state, broken.ready(), broken.failed()) == ("FAILURE", True, True)
    assert isinstance(broken.parent.result, ValueError)
    assert "raise ValueError" in broken.parent.traceback
    assert (note.get(), note.queue, linked.read_text()) == (2, "other", "2")
    with pytest.raises(ValueError, match="not 3"):
        refuse.apply((3,), throw=True)


def write(value: object, path: str) -> None:
    Path(path).write_text(str(value))


def test_apply_gives_groups_and_its_tasks_may_apply_too() -> None:
    def inner(x: int) -> int:
        return add.s(x).apply().get() + add.apply_async((x,)).get()

    result = taskflow.group(taskflow.signature(inner, (n,)) for n in range(3)).apply()

    assert isinstance(result, taskflow.GroupResult)
    assert result.get() == [2, 4, 6]
    assert isinstance(result[0], taskflow.EagerResult)


def test_what_was_applied_is_kept_as_long_as_its_result(client: taskflow.Client) -> None:
    kept = taskflow.chain(add.s(1), add.s()).apply().parent

    for n in range(50):
        add.apply((n,))

    eager = hooks.eager_client()
    assert kept.get() == 2
    assert len(eager.runs()) < 10  # type: ignore[attr-defined]


def test_a_result_is_made_of_its_id(client: taskflow.Client) -> None:
    sent = (add.s(1) | taskflow.group(add.s(2), add.s(3)) | taskflow.signature(sum)).apply_async(
        client=client
    )
    assert sent.get(timeout=10) == 4 + 5

    with hooks.using(client):
        found = taskflow.AsyncResult(sent.id)
    item = taskflow.AsyncResult(sent.parent[1].id, client=client)

    assert found == sent
    assert (type(found), found.get(timeout=10), found.parent.get(timeout=10)) == (type(sent), 9, [4, 5])
    assert (item.get(timeout=10), item.name, item.state) == (5, "add", "SUCCESS")
    assert taskflow.GroupResult(sent.parent.id, client=client) == sent.parent


def test_a_result_is_of_what_the_store_knows(client: taskflow.Client) -> None:
    sent = taskflow.group(add.s(1), add.s(2)).apply_async(client=client)

    with pytest.raises(NoSuchRun):
        taskflow.AsyncResult("never-sent", client=client)
    with pytest.raises(NoSuchRun, match="id of a group"):
        taskflow.AsyncResult(sent.id, client=client)
    with pytest.raises(NoSuchRun, match="id of a task"):
        taskflow.GroupResult(sent[0].id, client=client)


def test_what_is_frozen_tells_the_ids_it_will_have(client: taskflow.Client) -> None:
    canvas = add.s(1) | add.s(2) | taskflow.group(add.s(3), refuse.s())

    frozen = canvas.freeze()
    sent = canvas.apply_async(client=client)

    assert [child.id for child in frozen.children] == [child.id for child in sent.children]
    assert frozen.parent is not None
    assert frozen.parent.parent is not None
    assert frozen.parent.as_list() == sent.parent.as_list() == [sent.parent.id, sent.parent.parent.id]
    assert taskflow.AsyncResult(frozen.parent.parent.task_id, client=client).get(timeout=10) == 2
    assert [child.id for child in frozen.parent.children] == [child.id for child in sent.children]


def test_a_signature_can_be_followed_by_the_id_it_was_given(client: taskflow.Client) -> None:
    sig = add.s(1, 2)
    id = sig.freeze().id  # noqa: A001 - what the attribute is called

    assert sig.apply_async(client=client).get(timeout=10) == 3
    assert taskflow.AsyncResult(id, client=client).get(timeout=10) == 3
