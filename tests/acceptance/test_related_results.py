"""What came of a task, what was frozen, handles that travel, and stamps: as Celery's guides have it."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

import taskflow
from taskflow import AsyncResult, Client, EagerResult, GroupResult, ResultSet, chain, chord, group, task
from taskflow.canvas import StampingVisitor
from taskflow.errors import NoSuchRun, TaskCancelled, UsageError
from taskflow.result import result_from_tuple
from tests.acceptance.stage import run_script, until

pytestmark = pytest.mark.usefixtures("current")


@task
def add(x: int, y: int = 0) -> int:
    return x + y


@task
def mul(x: int, y: int) -> int:
    return x * y


@task
def total(values: list[int]) -> int:
    return sum(values)


@task
def refuse(*_: Any) -> None:
    raise ValueError("refused")


@task
def wait_for(path: str) -> str:
    until(Path(path).exists)
    return "open"


@task
def pow2(i: int) -> int:
    return i**2


@task
def one_of(i: int) -> AsyncResult:
    return pow2.delay(i)  # type: ignore[no-any-return]


@task
def all_of(how_many: int) -> GroupResult:
    return group(one_of.s(i) for i in range(how_many))()  # type: ignore[no-any-return]


# ── what came of it ──────────────────────────────────────────────────────────────────


def test_what_is_linked_is_a_child(client: Client) -> None:
    result = add.apply_async((2, 2), link=mul.s(16))

    assert result.get(30) == 4
    assert [child.get(30) for child in result.children] == [64]
    assert [value for _, value in result.collect()] == [4, 64]
    assert result.children[0].parent == result


def test_the_steps_of_a_chain_are_children_from_the_first_on(client: Client) -> None:
    result = chain(add.s(4, 4), mul.s(8), mul.s(10))()

    assert result.get(30) == 640
    first = result.parent.parent
    assert list(first.graph.edges) == [(first, result.parent), (result.parent, result)]
    assert [value for _, value in first.collect()] == [8, 64, 640]
    assert first.get_leaf() == 640
    assert result.children == []


def test_what_a_task_sent_are_its_children(client: Client) -> None:
    result = all_of.delay(4)

    found = [value for child, value in result.collect(timeout=30) if not child.children]

    assert found == [0, 1, 4, 9]
    assert result.children == [result.get()]
    assert client.async_result(result.id).children == result.children


def test_a_body_is_no_child_of_a_member_of_its_header(client: Client) -> None:
    result = chord([add.s(1), mul.s(2, 3)], total.s())()

    assert result.get(30) == 7
    assert [child.children for child in result.parent] == [[], []]
    assert [value for _, value in result.parent.collect()] == [[1, 6], 1, 6]


def test_what_goes_on_may_have_more_children(client: Client, tmp_path: Path) -> None:
    result = wait_for.apply_async((str(tmp_path / "gate"),), link=add.si(1))

    assert [one for _, one in result.iterdeps(intermediate=True)] == [result]
    with pytest.raises(UsageError, match="intermediate=True"):
        list(result.iterdeps())

    (tmp_path / "gate").touch()
    assert [value for _, value in result.collect()] == ["open", 1]


def test_errbacks_are_no_children(client: Client) -> None:
    result = refuse.s().on_error(add.si(1)).apply_async()

    result.get(30, propagate=False)

    assert result.children == []


# ── frozen ───────────────────────────────────────────────────────────────────────────


def test_what_is_frozen_has_its_ids_and_nothing_else_until_it_is_sent(client: Client) -> None:
    sig = chain(add.s(1, 1), group(add.s(1), add.s(2)), total.s())

    frozen = sig.freeze()

    assert isinstance(frozen, AsyncResult)
    assert isinstance(frozen.parent, GroupResult)
    assert frozen.id == sig.tasks[-1].id
    assert [part.id for part in frozen.parent] == [part.id for part in sig.tasks[1].tasks]  # type: ignore[attr-defined]
    assert frozen.parent.parent.id == sig.tasks[0].id  # type: ignore[union-attr]
    assert frozen.as_list() == [frozen.id, frozen.parent.id, sig.tasks[0].id]
    for ask in (frozen.get, frozen.ready, frozen.parent.join, frozen.forget, lambda: frozen.state):
        with pytest.raises(UsageError, match="has not been sent"):
            ask()
    assert not frozen.is_sent

    sent = sig.apply_async()

    assert frozen == sent
    assert (frozen.get(30), frozen.parent.get(), frozen.parent.parent.get()) == (7, [3, 4], 2)  # type: ignore[union-attr]
    assert frozen.parent == sent.parent
    assert [child.get() for child in frozen.parent.results] == [3, 4]
    assert (frozen.state, frozen.name, frozen.successful()) == ("SUCCESS", "total", True)
    assert asyncio.run(awaited(frozen)) == 7


async def awaited(result: Any) -> Any:
    return await result


def test_the_id_of_a_body_is_known_before_its_chord_is_sent(client: Client) -> None:
    sig = chord([add.s(i) for i in range(3)], total.s())
    assert sig.body is not None
    name = sig.body.freeze().id

    assert sig.apply_async().id == name
    assert AsyncResult(name).get(30) == 3


def test_freezing_takes_what_celerys_does() -> None:
    sig = add.s(1, 1)

    result = sig.freeze("mine", group_id="g", chord=None, root_id="r", parent_id="p", group_index=2)

    assert (result.id, sig.id, sig.freeze("other").id) == ("mine", "mine", "mine")


def test_a_group_of_several_tasks_is_found_by_its_members(client: Client) -> None:
    sig = chain(group(add.s(1), mul.s(2, 3)), total.s())
    frozen = sig.freeze()
    members = frozen.parent

    sent = sig.apply_async()

    assert (frozen.get(30), members.get()) == (7, [1, 6])
    assert members.id == sent.parent.id
    assert GroupResult.restore(members.id) == sent.parent


def test_what_was_never_sent_raises_for_every_question(client: Client) -> None:
    frozen = group(add.s(1), mul.s(2, 3)).freeze()

    assert [part.id for part in frozen] != [None, None]
    with pytest.raises(UsageError, match="frozen"):
        frozen.completed_count()
    with pytest.raises(AttributeError, match="no attribute 'redy'"):
        frozen.redy()


# ── handles travel ───────────────────────────────────────────────────────────────────


def test_a_handle_can_be_given_to_a_task(client: Client) -> None:
    first = group(add.s(n, n) for n in range(3)).apply_async()

    def look(result: GroupResult) -> tuple[list[int], str, bool]:
        return result.get(30), result.id, isinstance(result, GroupResult)

    assert client.submit(look, first).result(30) == ([0, 2, 4], first.id, True)


def test_a_handle_can_be_pickled_and_copied(client: Client) -> None:
    result = chain(add.s(1, 1), add.s(2)).apply_async()

    for again in (pickle.loads(pickle.dumps(result)), copy.copy(result), copy.deepcopy(result)):
        assert again == result
        assert hash(again) == hash(result)
        assert (again.get(30), again.parent.get(), again.parent == result.parent) == (4, 2, True)
    assert result_from_tuple(result.as_tuple()) == result


def test_a_handle_of_a_store_that_is_not_open_says_which_that_is(client: Client, tmp_path: Path) -> None:
    result = add.delay(1, 1)
    (tmp_path / "handle").write_bytes(pickle.dumps(result))
    script = f"""
import pickle
import taskflow
from pathlib import Path
result = pickle.loads(Path({str(tmp_path / "handle")!r}).read_bytes())
print(result.id)
with taskflow.Client("sqlite:///{tmp_path / "other.db"}", workers=0) as other, taskflow.hooks.using(other):
    try:
        result.get()
    except taskflow.errors.UsageError as error:
        print(str(error))
with taskflow.Client({client.url!r}, workers=0):
    print(result.get(30))
"""
    first, second, third = run_script(tmp_path, f"import taskflow.hooks\n{script}").splitlines()

    assert first == result.id
    assert client.url in second
    assert third == "2"


# ── made by hand ─────────────────────────────────────────────────────────────────────


def test_an_eager_result_may_be_made_of_what_is_known() -> None:
    good, bad = (
        EagerResult("one", 42, "SUCCESS", name="n"),
        EagerResult("two", ValueError("x"), "FAILURE", "tb"),
    )
    heard: list[Any] = []

    good.then(heard.append)
    bad.then(heard.append, on_error=lambda result: heard.append(result.id))

    assert (good.get(), good.wait(), good.state, good.result, good.name) == (42, 42, "SUCCESS", 42, "n")
    assert (bad.state, bad.failed(), str(bad.result), bad.traceback) == ("FAILURE", True, "x", "tb")
    assert heard == [good, "two"]
    for result in (good, bad):
        assert (result.ready(), result.exists(), result.children, result.parent) == (True, True, [], None)
        assert not result.revoke()
        result.forget()
        back = pickle.loads(pickle.dumps(result))
        assert (back, back.state, str(back.result)) == (result, result.state, str(result.result))
    with pytest.raises(ValueError, match="x"):
        bad.get()
    assert (bad.get(propagate=False) is bad.result, asyncio.run(awaited(good))) == (True, 42)
    assert ResultSet([good]).join() == [42]


# ── sets, and what is of no interest ─────────────────────────────────────────────────


def test_a_set_is_told_of_when_all_have_ended(client: Client, tmp_path: Path) -> None:
    gate, told, failed = tmp_path / "gate", threading.Event(), threading.Event()
    ResultSet([wait_for.delay(str(gate)), add.delay(1)]).then(lambda _: told.set())
    ResultSet([refuse.delay(), add.delay(1)]).then(lambda _: None, on_error=lambda _: failed.set())

    assert failed.wait(30)
    assert not told.is_set()
    gate.touch()
    assert told.wait(30)


def test_what_is_ignored_is_not_waited_for(client: Client, tmp_path: Path) -> None:
    result = wait_for.delay(str(tmp_path / "gate"))
    result.ignored = True

    assert result.get() is None

    (tmp_path / "gate").touch()
    result.ignored = False
    assert result.get(30) == "open"


# ── stamps ───────────────────────────────────────────────────────────────────────────


class Monitored(StampingVisitor):
    """Stamps each task with a name of its own."""

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        return {"monitoring_id": f"{sig.name.rpartition('.')[2]}-{len(sig.args)}"}


def test_a_result_tells_what_its_task_was_stamped_with(client: Client) -> None:
    sig = chain(add.s(1, 1), group(add.s(1), mul.s(2)), total.s())
    sig.stamp(Monitored(), exp=7)

    result = client.options(tags={"who": "me"}).submit_canvas(sig)

    assert result.get(30) == 7
    assert result.stamps == {"who": "me", "exp": 7, "monitoring_id": "total-0"}
    assert [part.stamps["monitoring_id"] for part in result.parent] == ["add-1", "mul-1"]
    assert client.async_result(result.id).stamps == result.stamps
    assert [row.id for row in client._engine.store.runs(tags={"exp": 7, "who": "me"})] == [result.run_id]


def test_tasks_are_revoked_by_their_stamps_whoever_sent_them(client: Client) -> None:
    late = {"countdown": 3600}
    whole = group(add.s(n).stamp(batch="a") for n in range(3)).apply_async(**late)
    part = group(add.s(1).stamp(batch="b"), mul.s(1, 1).stamp(batch="c", kind=["x", "y"])).apply_async(**late)
    other = add.s(1).stamp(batch="d").apply_async(**late)
    try:
        assert len(other.revoke_by_stamped_headers({"batch": ["a", "b"], "kind": "z"})) == 2
        assert [member.state for member in whole] == ["REVOKED"] * 3
        assert [member.state for member in part] == ["REVOKED", "PENDING"]

        assert client.control.revoke_by_stamped_headers({"kind": "y"}) == [part[1].id]
        assert (part[1].state, other.state) == ("REVOKED", "PENDING")
        with pytest.raises(TaskCancelled):
            part[1].get(30)
        assert client.control.revoke_by_stamped_headers({"batch": "a"}) == []
    finally:
        other.revoke()


def test_what_runs_is_revoked_by_its_stamp_only_when_that_is_said(client: Client, tmp_path: Path) -> None:
    result = wait_for.s(str(tmp_path / "never")).stamp(batch="running").apply_async()
    until(lambda: result.state == "STARTED")

    assert result.revoke_by_stamped_headers({"batch": "running"}) == []
    assert result.state == "STARTED"
    assert result.revoke_by_stamped_headers({"batch": "running"}, terminate=True) == [result.id]

    until(result.ready)
    assert result.state == "REVOKED"


def test_an_election_says_what_to_do_instead() -> None:
    with pytest.raises(UsageError, match="unique=True"):
        add.s(1).election()


def test_a_handle_of_nothing_is_no_handle(client: Client) -> None:
    with pytest.raises(NoSuchRun):
        AsyncResult("never-sent")
    assert taskflow.AsyncResult[int] is not None
