"""Those who have no key send names and JSON; workers that were started for it run what they allow."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from taskflow import Client
from taskflow.codec import NAMED, NamedCodec
from taskflow.errors import (
    CannotPickle,
    ConfigError,
    PayloadError,
    RemoteError,
    TaskflowError,
    Untrusted,
    UsageError,
)
from taskflow.ids import NodeId, RunId, new_id
from taskflow.records import Edge, EdgeMode, Node, Page, Plan
from taskflow.worker.process import Process, spawn
from tests.acceptance import called
from tests.servers import RedisServer, running

ROOT = Path(__file__).parents[2]
WAIT_S = 30.0
TASKS = "tests.acceptance.called"
_numbers = count()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    yield from running("valkey")


@pytest.fixture(scope="module", params=["redis", "sqlite"])
def url(
    request: pytest.FixtureRequest, server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A store with one worker for calls by name, which has no key."""
    folder = tmp_path_factory.mktemp("store")
    folder.chmod(0o700)
    url = f"{server.url}?namespace=by-name" if request.param == "redis" else f"sqlite:///{folder / 'runs.db'}"
    worker = started(url, folder, allow=[f"{TASKS}.*"])
    yield url
    worker.kill()
    worker.wait(10)


def started(url: str, folder: Path, **options: Any) -> Process:
    """A worker for calls by name, in a home without a key, that finds our module."""
    before = dict(os.environ)
    os.environ |= {"PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(folder / "no key")}
    try:
        return spawn(
            url, 1, **({"accept": ["json"], "queues": ["json"], "log_file": folder / "worker.log"} | options)
        )
    finally:
        os.environ.clear()
        os.environ |= before


@pytest.fixture
def client(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client that has no key, and makes none."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    client = Client(url, serializer="json")
    yield client
    client.shutdown(wait=False)
    assert not (tmp_path / "config").exists()


# ── what works ───────────────────────────────────────────────────────────────────────


def test_a_task_is_called_by_its_name(client: Client) -> None:
    assert client.send(f"{TASKS}.add", 2, 3).result(WAIT_S) == 5
    assert client.send(f"{TASKS}.add", x="a", y="b").result(WAIT_S) == "ab"


def test_values_keep_their_types_there_and_back(client: Client) -> None:
    assert client.send(f"{TASKS}.tomorrow", date(2026, 2, 28)).result(WAIT_S) == date(2026, 3, 1)
    args = [
        None,
        True,
        1,
        1.5,
        "é",
        b"\0",
        datetime(2026, 3, 1, tzinfo=UTC),
        Decimal("1.50"),
        UUID(int=7),
        {"$x": [1]},
    ]

    assert client.send(f"{TASKS}.echo", *args, y={"a": 1}).result(WAIT_S) == [args, {"y": {"a": 1}}]


def test_a_task_that_is_known_here_may_be_sent_itself(client: Client) -> None:
    assert client.submit(called.add, 2, 3).result(WAIT_S) == 5
    assert called.add.s(2, 3).apply_async(client=client).get(WAIT_S) == 5


def test_a_map_by_name(client: Client) -> None:
    assert list(client.map(f"{TASKS}.add", range(200))) == list(range(1, 201))  # type: ignore[arg-type]
    assert list(client.map(f"{TASKS}.add", [1, 2], [10, 20])) == [11, 22]  # type: ignore[arg-type]


def test_another_process_finds_the_result(client: Client, url: str) -> None:
    call = client.send(f"{TASKS}.add", 2)
    call.result(WAIT_S)

    with Client(url, serializer="json") as other:
        assert other.future(call.id).result(WAIT_S) == 3
        assert other.async_result(call.id).args == (2,)
    told = subprocess.run(
        [sys.executable, "-m", "taskflow", "result", call.id, "--url", url],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert told.stdout == "3\n"


def test_what_a_task_raises_comes_as_text(client: Client) -> None:
    error = client.send(f"{TASKS}.fail", "words").exception(WAIT_S)

    assert type(error) is RemoteError
    assert str(error) == "LookupError: words"
    assert "called.py" in error.remote_traceback


def test_a_task_is_retried_as_it_is_declared(client: Client) -> None:
    assert client.send(f"{TASKS}.attempt").result(WAIT_S) == 2


def test_it_runs_in_this_process_too() -> None:
    with Client(mode="inline", serializer="json") as client:
        assert client.send(f"{TASKS}.add", 2, 3).result() == 5
        assert isinstance(client.send("os.system", "true").exception(), Untrusted)


def test_with_a_key_a_name_is_that_of_a_task_of_this_process() -> None:
    with Client(mode="inline") as client:
        assert client.send(f"{TASKS}.add", 2, 3).result() == 5
        with pytest.raises(ConfigError, match="no task"):
            client.send(f"{TASKS}.ad", 2, 3)


# ── what is refused here ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda c: c.send(f"{TASKS}.add", {1}),
            CannotPickle,
            r"arguments\['args'\]\[0\]: it is builtins\.set",
        ),
        (lambda c: c.send(f"{TASKS}.add", float("nan")), CannotPickle, "finite"),
        (lambda c: c.send(f"{TASKS}.add", "x" * (1 << 20)), CannotPickle, "at most"),
        (lambda c: c.send(f"{TASKS}.add", c.send(f"{TASKS}.add", 1)), CannotPickle, "wait for the result"),
        (lambda c: c.send(f"{TASKS}.add", **{"**expand": 1}), PayloadError, "name of an argument"),
        (lambda c: c.submit(len, "x"), UsageError, "'len' is a function"),
        (lambda c: c.submit(called.secret), UsageError, "'secret' is a function"),
        (lambda c: c.options(retry=2).send(f"{TASKS}.add", 1), UsageError, "where it is defined"),
        (lambda c: c.send("../x"), UsageError, "not the name of a task"),
        (lambda c: c.send("tests.аcceptance"), UsageError, "not the name of a task"),
        (lambda c: c.send(""), UsageError, "not the name of a task"),
        (lambda c: c.scatter([1]), ConfigError, "has no key"),
        (lambda c: c.upload(__file__), ConfigError, "has no key"),
    ],
    ids=count(),
)
def test_what_cannot_be_sent_is_refused_before_it_is(
    client: Client, call: Callable[[Client], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call(client)


def test_such_a_client_starts_no_workers(url: str) -> None:
    with pytest.raises(ConfigError, match="--accept json"):
        Client(url, serializer="json", workers=2)
    with pytest.raises(ConfigError, match="Did you mean 'json'"):
        Client(url, serializer="jason")  # type: ignore[arg-type]


# ── row 13: names that are refused there ─────────────────────────────────────────────


def planned(fn: str, args: bytes, **more: Any) -> Plan:
    """A call as an attacker would write it."""
    name = new_id()
    return Plan(RunId(name), (Node(NodeId(name), fn, args, queue="json", **more),))


def outcome(client: Client, plan: Plan) -> BaseException | None:
    """What became of it."""
    client._engine.store.submit([plan])
    call = client.future(plan.run)
    return call.exception(WAIT_S)


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "posix.system",
        "taskflow.task",
        f"{TASKS}.secret",
        f"{TASKS}.add.__class__",
        f"{TASKS}.__class__",
        f"{TASKS}.add.func",
        f"{TASKS}..add",
        f" {TASKS}.add",
        f"{TASKS}.add\n",
        f"{TASKS}.аdd",
        f"{TASKS}.ADD",
        "../x",
        "",
        ".",
        "x" * 5000,
        "tests.acceptance.stage.opened",
    ],
)
def test_row_13_a_name_that_is_not_allowed_is_refused(client: Client, name: str) -> None:
    error = outcome(client, planned(NAMED + name, b'\x03{"args":["true"]}'))

    assert isinstance(error, Untrusted), error
    assert client.send(f"{TASKS}.add", 2, 3).result(WAIT_S) == 5


def test_row_13_refusals_are_counted(client: Client) -> None:
    def refused() -> int:
        return sum(int(w.info.get("refused", 0)) for w in client._engine.store.workers())

    before = refused()
    outcome(client, planned(NAMED + "os.system", b"\x03{}"))

    end = time.monotonic() + WAIT_S
    while refused() == before:
        assert time.monotonic() < end
        time.sleep(0.1)


# ── row 14: arguments that are refused there ─────────────────────────────────────────


@pytest.mark.parametrize(
    "args",
    [
        b'{"args":[NaN]}',
        b'{"args":[1e400]}',
        b'{"args":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"args":[],"args":[1]}',
        rb'{"args":["\ud800"]}',
        b"[" * (5 << 20),
        b'{"args":[' + b"9" * 100_000 + b"]}",
        b"[1]",
        b"7",
        b"",
        b'{"args":7}',
        b'{"kwargs":[]}',
        b'{"args":[1],"more":1}',
        b'{"args":[1],"kwargs":{"**expand":"x","**expand_fn":"y"}}',
        b'{"args":[1],"kwargs":{"__class__ ":1}}',
        b'{"args":[{"$os":"x"}]}',
    ],
    ids=count(),
)
def test_row_14_arguments_that_are_none_fail_and_nothing_hangs(client: Client, args: bytes) -> None:
    error = outcome(client, planned(f"{NAMED}{TASKS}.add", b"\x03" + args))

    assert isinstance(error, (PayloadError, Untrusted)), error
    assert client.send(f"{TASKS}.add", 2, 3).result(WAIT_S) == 5


def test_what_is_no_json_is_refused_with_a_name_too(client: Client, tmp_path: Path) -> None:
    import pickle

    raw = pickle.dumps(((1,), {}))
    for args in (raw, b"\x01" + raw, b"\x01TFE1" + bytes(10) + raw + bytes(32)):
        assert isinstance(outcome(client, planned(f"{NAMED}{TASKS}.add", args)), Untrusted)


def test_pages_that_are_none_are_refused(client: Client) -> None:
    for page in (b"\x03{}", b"\x03[1", b"\x01[1,2]"):
        plan = planned(f"{NAMED}{TASKS}.add", b"\x03{}", width=2, array=True, pages=(Page(0, 2, page),))
        client._engine.store.submit([plan])
        errors = client.attach(plan.run).results("return")
        assert all(isinstance(error, PayloadError) for error in errors), errors


def test_results_are_odd_or_too_large_and_that_is_an_error(client: Client) -> None:
    assert isinstance(client.send(f"{TASKS}.odd").exception(WAIT_S), CannotPickle)
    assert isinstance(client.send(f"{TASKS}.long", 1 << 20).exception(WAIT_S), CannotPickle)


# ── the two worlds do not mix ────────────────────────────────────────────────────────


def test_what_is_signed_is_refused_by_a_worker_for_names(
    client: Client, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with Client(url, workers=0) as signed:
        error = signed.options(queue="json").submit(len, "abc").exception(WAIT_S)

    assert isinstance(error, Untrusted)
    assert "by name only" in str(error)


def test_a_name_is_refused_by_a_worker_for_what_is_signed(url: str, tmp_path: Path) -> None:
    with Client(url, serializer="json") as client:
        worker = spawn(url, 1, queues=["signed"], log_file=tmp_path / "log")
        try:
            error = client.options(queue="signed").send(f"{TASKS}.add", 1).exception(WAIT_S)
        finally:
            worker.kill()
            worker.wait(10)

    assert isinstance(error, Untrusted)
    assert "--accept json" in str(error)


@pytest.fixture
def both(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Client, Client]]:
    """A client with a key and one without, of a worker that runs both, on a queue of its own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    queue = f"both{next(_numbers)}"
    worker = spawn(url, 1, queues=[queue], accept=["pickle", "json"], allow=[f"{TASKS}.*"])
    with Client(url, workers=0) as signed, Client(url, serializer="json") as plain:
        yield signed.options(queue=queue), plain.options(queue=queue)
    worker.kill()
    worker.wait(10)


def test_a_worker_may_run_both(both: tuple[Client, Client]) -> None:
    signed, plain = both

    assert signed.submit(lambda x: {x}, 2).result(WAIT_S) == {2}
    assert plain.send(f"{TASKS}.add", 2, 3).result(WAIT_S) == 5


def test_neither_reads_what_is_meant_for_the_other(both: tuple[Client, Client]) -> None:
    signed, plain = both
    one, other = signed.submit(len, "abc"), plain.send(f"{TASKS}.add", 2)
    assert (one.result(WAIT_S), other.result(WAIT_S)) == (3, 3)

    with pytest.raises(Untrusted):
        plain.future(one.id).result(WAIT_S)
    with pytest.raises(Untrusted, match='serializer="json"'):
        signed.future(other.id).result(WAIT_S)


def test_a_signed_task_does_not_take_what_nobody_signed(both: tuple[Client, Client]) -> None:
    signed, plain = both
    other = plain.send(f"{TASKS}.add", 2)
    other.result(WAIT_S)

    error = signed.submit(abs, signed.future(other.id)).exception(WAIT_S)

    assert isinstance(error, Untrusted)


def test_a_call_by_name_is_not_given_what_is_signed(both: tuple[Client, Client]) -> None:
    """An attacker draws the edge; the task must not be handed the value."""
    signed, plain = both
    one = signed.submit(list, "abc")
    one.result(WAIT_S)
    plan = planned(f"{NAMED}{TASKS}.echo", b'\x03{"args":[[]]}', edges=(Edge(one.node_id, EdgeMode.JOIN),))
    moved = plan.nodes[0]._replace(queue=plain._sender.options.queue)

    error = outcome(plain, Plan(plan.run, (moved,)))

    assert isinstance(error, TaskflowError)


# ── workers that cannot be ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--accept", "json"], "Name the tasks"),
        (["--accept", "jsn", "--allow", "a.*"], "Did you mean 'json'"),
        (["--allow", "a.*"], "needs --accept json"),
        (["--accept", "json", "--allow", "*"], "begins with a word"),
        (["--accept", "json", "--allow", "*.add"], "begins with a word"),
        (["--accept", "json", "--allow", "a/b"], "begins with a word"),
        (["--accept", "json", "--allow", "no_such_module.*"], "there is no module 'no_such_module'"),
        (["--accept", "json", "--allow", f"{TASKS}.ad"], f"Did you mean '{TASKS}.add'"),
        (["--accept", "json", "--allow", f"{TASKS}.secret"], "no task has such a name"),
        (["--accept", "json", "--allow", "os.*"], "no task has such a name"),
    ],
)
def test_a_worker_that_would_run_nothing_says_so(tmp_path: Path, options: list[str], words: str) -> None:
    tmp_path.chmod(0o700)
    command = [
        sys.executable,
        "-m",
        "taskflow",
        "worker",
        f"sqlite:///{tmp_path / 'runs.db'}",
        "-n",
        "1",
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50, cwd=ROOT)

    assert done.returncode != 0
    assert words in done.stderr


def test_a_star_does_not_reach_over_a_dot() -> None:
    from taskflow.canvas.allowing import allowed

    assert "tests.acceptance.called.add" in allowed(["tests.acceptance.called.a*"])
    with pytest.raises(ConfigError):
        allowed(["tests.acceptance.*"])


def test_a_codec_for_names_unpickles_nothing_whatever_it_is_asked() -> None:
    import pickle

    codec = NamedCodec(blobs=None)  # type: ignore[arg-type]
    raw = b"\x01TFE1" + bytes(10) + pickle.dumps([1]) + bytes(32)
    for ask in (
        lambda: codec.load_args("json:x", raw),
        lambda: codec.load_items("json:x", 0, raw),
        lambda: codec.load_result("n", 0, 1, 1, raw),
        lambda: codec.load_error("n", 0, 1, raw),
        lambda: codec._fetch("0" * 40),
        lambda: codec._load(4, "x", raw, "It"),
        lambda: codec.of("0" * 40),
    ):
        with pytest.raises((Untrusted, AttributeError)):
            ask()
