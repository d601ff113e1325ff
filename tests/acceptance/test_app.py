"""An application: tasks with names, sent in Celery's words, run by real workers."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import taskflow
from taskflow import Client, Task, Taskflow, hooks, set_client, shared_task, signals
from taskflow.errors import (
    ConfigError,
    MaxRetriesExceeded,
    NotRegistered,
    Reject,
    TaskRejected,
    WrongArguments,
)
from taskflow.result import EagerResult
from tests.acceptance.stage import run_script

made = Taskflow("made here", set_as_current=False)


@pytest.fixture(scope="module")
def app(client: Client) -> Iterator[Taskflow]:
    """The application of this module, in the store of the client."""
    made.conf.broker_url = client.url
    yield made
    made.close()


@pytest.fixture(autouse=True)
def chosen(app: Taskflow) -> Iterator[None]:
    """It is the current one."""
    before = hooks.app
    app.set_current()
    yield
    hooks.app = before


class Telling(Task[..., Any]):
    """Writes what happens to it into a file, which is its first argument."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        told(args[0], "start", task_id)

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        told(args[0], "success", retval)
        raise RuntimeError("a hook that fails")

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        told(args[0], "failure", f"{exc!r} {'Traceback' in str(einfo)}")

    def on_retry(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        told(args[0], "retry", repr(exc))

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        told(args[0], "after", status)


def told(path: str, *words: Any) -> None:
    with Path(path).open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@made.task
def add(x: int, y: int = 1) -> int:
    """Adds."""
    return x + y


@made.task(bind=True)
def seen(self: Task[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    request = self.request
    names = ("id", "retries", "args", "kwargs", "headers", "is_eager", "called_directly", "eta", "expires")
    found = {name: getattr(request, name) for name in (*names, "delivery_info", "timelimit", "parent_id")}
    return {**found, "root_id": request.root_id, "group": request.group, "index": request.group_index}


@made.task(bind=True, base=Telling, max_retries=2)
def risky(self: Task[..., Any], path: str, good_at: int) -> str:
    if self.request.retries < good_at:
        self.retry(exc=ValueError(f"not yet, {self.request.retries}"), countdown=0)
    return "well"


@made.task(
    autoretry_for=(OSError,), dont_autoretry_for=(FileNotFoundError,), max_retries=2, retry_backoff=0.01
)
def by_itself(path: str, kind: str) -> None:
    told(path, kind)
    raise {"pipe": BrokenPipeError, "file": FileNotFoundError}[kind](kind)


@made.task(retry=taskflow.RetryPolicy(2, on=KeyError, delay=0.0), base=Telling)
def by_policy(path: str) -> None:
    raise KeyError("gone")


@made.task(bind=True, max_retries=1)
def changed(self: Task[..., Any], n: int) -> list[int]:
    if n < 3:
        self.retry(args=(n + 1,), countdown=0, max_retries=5)
    return [n, self.request.retries]


@made.task(bind=True, max_retries=1, default_retry_delay=0.0)
def never(self: Task[..., Any]) -> None:
    self.retry()


@made.task(bind=True)
async def slowly(self: Task[..., Any], n: int) -> tuple[int, bool]:
    await asyncio.sleep(0)
    return n, self.request.called_directly


@made.task(bind=True)
def replaced(self: Task[..., Any], n: int) -> None:
    self.replace(add.s(n, n) | add.s(1))


@made.task
def by_another(n: int) -> Any:
    return add.delay(n, n).get(timeout=10)


@shared_task
def shared(n: Any) -> Any:
    return n * 2


class Summing(Task[..., Any]):
    """A task that is a class."""

    name = "summing"

    def run(self, *numbers: int) -> int:
        return sum(numbers)


class Doubling(Task[..., Any]):
    """Its own `__call__` is around each call."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return ["around", super().__call__(*args, **kwargs), self.request.id]


@made.task(base=Doubling)
def doubled(n: int) -> int:
    return 2 * n


def test_a_task_is_called_as_a_function_and_sent_as_a_task() -> None:
    assert add(2, 2) == 4
    assert add.delay(4, 6).get(timeout=10) == 10
    assert (add.name, add.__doc__, add.__name__) == (f"{__name__}.add", "Adds.", "add")


def test_a_result_has_the_name_of_the_task_and_the_id_that_the_task_sees() -> None:
    result = seen.delay(1, two=2)

    request = result.get(timeout=10)

    assert (result.name, result.args, result.kwargs) == (seen.name, (1,), {"two": 2})
    assert request["id"] == result.id
    assert (request["args"], request["kwargs"]) == ((1,), {"two": 2})
    assert (request["called_directly"], request["retries"], request["is_eager"]) == (False, 0, False)
    assert (request["root_id"], request["parent_id"], request["group"]) == (result.id, None, None)
    assert request["delivery_info"]["routing_key"] == "default"


def test_what_is_said_of_a_call_reaches_it(app: Taskflow) -> None:
    request = seen.apply_async(
        headers={"trace": "7"}, countdown=0.01, expires=60, time_limit=50, soft_time_limit=40, priority=3
    ).get(timeout=10)

    assert request["headers"] == {"trace": "7"}
    assert request["timelimit"] == (50, 40)
    assert request["delivery_info"]["priority"] == 3
    assert request["kwargs"] == {}


def test_options_of_messages_are_taken_and_mean_nothing() -> None:
    sent = add.apply_async(
        (1, 2),
        retry=True,
        retry_policy={"max_retries": 3},
        serializer="json",
        compression="gzip",
        exchange="x",
    )

    assert sent.get(timeout=10) == 3
    assert sent.kwargs == {}


def test_an_unknown_option_names_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="countdown"):
        add.apply_async((1, 2), count_down=3)
    with pytest.raises(ConfigError, match="max_retries"):
        made.task(max_retry=3)(lambda: None)


def test_wrong_arguments_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(WrongArguments, match="add"):
        add.delay(1, 2, 3)
    with pytest.raises(TypeError):
        add.apply_async((1,), {"z": 2}, countdown=1)


def test_a_task_that_is_defined_again_is_sent_as_it_is_now(app: Taskflow) -> None:
    def one(x: int) -> str:
        return f"one {x}"

    def two(x: int, y: int) -> str:
        return f"two {x} {y}"

    assert app.task(name="again")(one).delay(1).get(20) == "one 1"
    assert app.task(name="again")(two).delay(1, 2).get(20) == "two 1 2"
    with pytest.raises(WrongArguments, match="'y'"):
        app.task(name="again")(two).delay(1)


def test_what_changes_after_a_first_call_counts_for_the_next(app: Taskflow) -> None:
    heard: list[Any] = []

    def hear(sender: Any, body: Any, **_: Any) -> None:
        heard.append((sender, body[0]))

    assert add.delay(1).get(20) == 2

    signals.before_task_publish.connect(hear)
    assert add.delay(2).get(20) == 3
    signals.before_task_publish.disconnect(hear)
    assert heard == [(add.name, (2,))]

    app.conf.task_always_eager = True
    assert isinstance(add.delay(3), EagerResult)
    app.conf.task_always_eager = False

    app.close()
    assert add.delay(4).get(20) == 5
    app.client().shutdown()
    assert add.delay(5).get(20) == 6


def test_a_task_without_an_application_is_sent_by_the_current_one(app: Taskflow) -> None:
    @shared_task(name="shared by two")
    def where() -> str:
        return "there"

    others = [Taskflow(name, set_as_current=False) for name in ("not eager", "eager")]
    others[1].conf.task_always_eager = True

    def kinds() -> list[bool]:
        """Whether they run it at once."""
        found = []
        for one in (app, *others, app):
            one.set_current()
            found.append(isinstance(where.delay(), EagerResult))
        return found

    with Client(mode="inline") as client:  # both others send by the client of the process
        before = set_client(client)
        try:
            assert kinds() == kinds() == [False, False, True, False]
        finally:
            set_client(before)


def test_a_task_sends_to_the_store_that_it_came_from(app: Taskflow) -> None:
    assert add.delay(1).get(20) == 2

    def sends() -> str:
        return add.delay(7).future.url

    with Client(mode="inline") as inline:
        assert inline.submit(sends).result() == inline.url
    assert add.delay(7).future.url == app.client().url


def test_an_application_without_a_broker_sends_to_the_client_of_the_moment() -> None:
    own = Taskflow("nowhere", set_as_current=False)
    where = own.task(name="where")(os.getcwd)

    with Client(mode="inline") as first, Client(mode="inline") as second:
        before = set_client(first)
        try:
            assert where.delay().future.url == first.url
            set_client(second)
            assert where.delay().future.url == second.url
        finally:
            set_client(before)


def test_a_fork_sends_by_a_client_of_its_own(app: Taskflow, tmp_path: Path) -> None:
    printed = run_script(
        tmp_path,
        f"""
        import os
        from taskflow import Taskflow
        app = Taskflow("forked", broker={app.conf.broker_url!r})
        sent = app.task(name="sent")(abs)
        print(sent.delay(-1).get(20), flush=True)
        if child := os.fork():
            os.waitpid(child, 0)
        else:
            print(sent.delay(-2).get(20), flush=True)
            os._exit(0)
        """.replace("\n        ", "\n"),
    )

    assert printed.split() == ["1", "2"]


def test_an_id_may_be_chosen() -> None:
    result = add.apply_async((1, 1), task_id="mine-" + format(random.getrandbits(64), "x"))

    assert result.get(timeout=10) == 2
    assert result.id.startswith("mine-")
    assert made.AsyncResult(result.id).get(timeout=10) == 2


def test_hooks_are_called_once_each_and_harm_nothing(tmp_path: Path) -> None:
    path = tmp_path / "told"

    result = risky.delay(str(path), 1)

    assert result.get(timeout=10) == "well"
    assert lines(path) == [
        f"start {result.id}",
        "retry ValueError('not yet, 0')",
        f"start {result.id}",
        "success well",
        "after SUCCESS",
    ]
    assert result.retries == 1


def test_a_task_without_attempts_left_fails_with_what_went_wrong(tmp_path: Path) -> None:
    path = tmp_path / "told"

    result = risky.delay(str(path), 9)

    with pytest.raises(ValueError, match="not yet, 2"):
        result.get(timeout=10)
    assert [line.split()[0] for line in lines(path)] == [
        *("start", "retry", "start", "retry", "start", "failure", "after")
    ]
    assert lines(path)[-2:] == ["failure ValueError('not yet, 2') True", "after FAILURE"]
    assert (result.state, result.failed()) == ("FAILURE", True)


def test_a_retry_without_a_reason_ends_as_such() -> None:
    with pytest.raises(MaxRetriesExceeded, match="had 1 retries"):
        never.delay().get(timeout=10)


def test_it_retries_by_itself_what_it_was_told_to(tmp_path: Path) -> None:
    path = tmp_path / "told"

    with pytest.raises(BrokenPipeError):
        by_itself.delay(str(path), "pipe").get(timeout=10)
    with pytest.raises(FileNotFoundError):
        by_itself.delay(str(path), "file").get(timeout=10)

    assert lines(path) == ["pipe", "pipe", "pipe", "file"]


def test_a_policy_retries_with_hooks(tmp_path: Path) -> None:
    path = tmp_path / "told"

    with pytest.raises(KeyError):
        by_policy.delay(str(path)).get(timeout=10)

    assert [line.split()[0] for line in lines(path)].count("retry") == 2


def test_a_retry_with_other_arguments_is_another_call_with_the_same_result() -> None:
    result = changed.delay(0)

    assert result.get(timeout=10) == [3, 3]


def test_waits_between_retries_grow_and_stay_below_the_most() -> None:
    grows = made.task(name="grows", retry_backoff=2, retry_backoff_max=10, retry_jitter=False)(lambda: None)
    random_ones = made.task(name="rolls", retry_backoff=True)(lambda: None)

    assert [grows.wait_s(n) for n in range(5)] == [2, 4, 8, 10, 10]
    assert all(0 <= random_ones.wait_s(3) <= 8 for _ in range(100))
    assert len({random_ones.wait_s(3) for _ in range(100)}) > 50


def test_a_coroutine_function_is_a_task_too() -> None:
    assert slowly.delay(3).get(timeout=10) == (3, False)


def test_a_class_is_a_task(app: Taskflow) -> None:
    task = app.register_task(Summing())

    assert task(1, 2) == 3
    assert task.delay(1, 2, 3).get(timeout=10) == 6
    assert app.tasks["summing"] is task


def test_a_call_of_its_own_class_is_around_each_call() -> None:
    result = doubled.delay(4)

    assert result.get(timeout=10) == ["around", 8, result.id]
    assert doubled(4) == ["around", 8, None]


def test_a_signature_takes_the_place_of_a_task() -> None:
    assert replaced.delay(4).get(timeout=10) == 9


def test_a_task_sends_tasks_and_waits_for_them() -> None:
    assert by_another.delay(4).get(timeout=10) == 8


def test_a_shared_task_belongs_to_the_current_application(app: Taskflow) -> None:
    assert shared.app is app
    assert shared.delay(4).get(timeout=10) == 8
    assert shared.name in app.tasks


def test_canvases_of_its_tasks_go_to_its_store() -> None:
    assert (add.s(2, 2) | add.s(4)).apply_async().get(timeout=10) == 8
    assert taskflow.group(add.s(i, i) for i in range(4))().get(timeout=10) == [0, 2, 4, 6]
    assert taskflow.chord([add.s(1, 1), add.s(2, 2)])(shared.s()).get(timeout=10) == [2, 4, 2, 4]


def test_members_of_a_group_know_their_places() -> None:
    first, second = taskflow.group(seen.s(), seen.s())().get(timeout=10)

    assert (first["index"], second["index"]) == (0, 1)
    assert first["group"] == second["group"] is not None


def test_the_steps_of_a_chain_know_what_was_before_them() -> None:
    result = taskflow.chain(add.si(1, 1), seen.si())()

    assert result.get(timeout=10)["parent_id"] == result.parent.id == result.get()["root_id"]


def test_a_name_is_enough_to_send_a_task(app: Taskflow) -> None:
    assert app.send_task(add.name, (1, 2)).get(timeout=10) == 3
    assert taskflow.signature(add.name, (2,)).delay(2).get(timeout=10) == 4


def test_a_name_that_no_worker_knows_is_a_dead_letter_that_names_the_nearest(app: Taskflow) -> None:
    sent = app.send_task("nobody.has.this")

    with pytest.raises(TaskRejected, match=r"No task has the name 'nobody\.has\.this'"):
        sent.get(timeout=10)


def test_the_registry_names_the_nearest(app: Taskflow) -> None:
    with pytest.raises(NotRegistered, match="add"):
        _ = app.tasks[add.name + "d"]
    assert issubclass(NotRegistered, KeyError)
    assert app.tasks.get("no such") is None


def test_routes_and_settings_decide_about_calls(app: Taskflow) -> None:
    app.conf.task_routes = {add.name: {"queue": "elsewhere"}}
    try:
        sent, other = add.delay(1, 1), shared.delay(1)
        assert sent.queue == "elsewhere"
        assert other.queue == "default"
        assert add.apply_async((1, 1), queue="default").get(timeout=10) == 2
        sent.revoke()
    finally:
        app.conf.task_routes = None
    assert add.delay(1, 1).get(timeout=10) == 2


def test_what_was_asked_for_by_a_key_is_done_once(tmp_path: Path) -> None:
    path = str(tmp_path / "told")
    order = made.task(name="order", idempotency_key=lambda path, number: f"{path}-{number}")(told)

    first, second = order.delay(path, 7), order.delay(path, 7)

    assert first.get(timeout=10) == second.get(timeout=10)
    assert first.id == second.id
    order.delay(path, 8).get(timeout=10)
    assert lines(Path(path)) == ["7", "8"]


def test_eager_calls_run_here(app: Taskflow) -> None:
    app.conf.update(task_always_eager=True)
    try:
        result = seen.delay(1)
        assert result.state == "SUCCESS"
        assert result.get()["is_eager"] is True
        assert (add.s(1, 1) | add.s(2)).delay().get() == 4
        assert never.delay().state == "FAILURE"
        app.conf.task_eager_propagates = True
        with pytest.raises(MaxRetriesExceeded):
            never.delay()
    finally:
        app.conf.update(task_always_eager=False, task_eager_propagates=False)


def test_results_are_put_where_a_setting_wants_them_too(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    script = f"""
import taskflow
from taskflow.worker.process import spawn

url = "sqlite:///{tmp_path}/runs.db"
app = taskflow.Taskflow("kept", broker=url, backend="db+sqlite:///{tmp_path}/results.db")

@app.task
def half(x):
    return x // (x % 2 == 0)

worker = spawn(url, 1)
well, badly, unkept = half.delay(8), half.delay(7), half.apply_async((6,), ignore_result=True)
well.get(60), badly.get(60, propagate=False), unkept.future.exception(60)
print([app.backend.find(r.id) and app.backend.find(r.id).status for r in (well, badly, unkept)])
store = app.client()._engine.store
store.forget(well.run_id), store.forget(badly.run_id)
print(well.state, well.get(), badly.state, repr(badly.result), well.name)
worker.stop()
"""

    assert run_script(tmp_path, script).splitlines() == [
        "['SUCCESS', 'FAILURE', None]",
        "SUCCESS 8 FAILURE ZeroDivisionError('integer division or modulo by zero') kept.half",
    ]


def test_an_application_by_value_leaves_the_address_of_its_store_at_home(app: Taskflow) -> None:
    away = Taskflow("away", broker="redis://:secret@host:6379/0", task_time_limit=9, set_as_current=False)

    kind, (name, changes) = away.__reduce__()

    assert (name, changes) == ("away", {"task_time_limit": 9.0})
    assert kind(name, changes).conf.task_time_limit == 9


def test_an_application_without_a_broker_has_workers_for_the_queues_of_its_settings(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    script = f"""
import os
os.environ["TASKFLOW_URL"] = "sqlite:///{tmp_path}/runs.db"
import taskflow

app = taskflow.Taskflow("web", task_default_queue="web")

@app.task
def add(x, y):
    return x + y

print(add.delay(1, 2).get(60), add.delay(1, 1).queue)
app.close()
"""

    assert run_script(tmp_path, script) == "3 web\n"


def test_an_application_is_its_own_command(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    script = f"""
import taskflow

app = taskflow.Taskflow("alone", broker="sqlite:///{tmp_path}/runs.db")

@app.task(name="add")
def add(x, y):
    return x + y

taskflow.Client(app.conf.broker_url, workers=0).shutdown()
once = ["--idle-exit", "0.1", "-c", "1", "--loglevel", "error"]
print(app.start(["list", "queues"]), app.worker_main(once))
"""

    assert run_script(tmp_path, script).splitlines()[-1] == "0 0"


def test_a_rejected_task_is_no_failure_of_its_hooks(tmp_path: Path) -> None:
    @made.task(base=Telling, name="rejecting")
    def rejecting(path: str) -> None:
        raise Reject("no")

    with pytest.raises(TaskRejected):
        rejecting.delay(str(tmp_path / "told")).get(timeout=10)
    assert len(lines(tmp_path / "told")) == 1


def test_a_task_of_an_application_is_json_as_a_signature() -> None:
    text = json.dumps(add.s(1) | add.s(2))

    assert taskflow.signature(json.loads(text)).delay().get(timeout=10) == 4
