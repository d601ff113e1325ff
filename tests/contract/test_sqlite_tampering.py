"""Whoever can write to the store but has no key: nothing of theirs is unpickled, and the worker goes on."""

from __future__ import annotations

import os
import pickle
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from taskflow.client import Client
from taskflow.codec import functions
from taskflow.errors import Untrusted, VersionMismatch
from taskflow.future import Future
from taskflow.records import Failure
from taskflow.stores import open_store
from taskflow.worker.process import Process, spawn


class Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


class Scene:
    """A client, a store that is tampered with before a worker comes, and the canary."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o700)
        self.file = folder / "runs.db"
        self.canary = folder / "canary"
        self.client = Client(f"sqlite:///{self.file}", workers=0)
        self.worker: Process | None = None
        self._log = folder / "worker.log"

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        """Call a function; the store has it when this returns."""
        call = self.client.submit(fn, *args)
        self.client.flush()
        return call

    def change(self, sql: str, *values: object) -> None:
        """Write to the file behind the store's back."""
        db = sqlite3.connect(self.file, timeout=5)
        with db:
            assert db.execute(sql, values).rowcount > 0
        db.close()

    def work(self) -> None:
        """Have a worker, which knows nothing yet."""
        if self.worker is not None:
            self.worker.kill()
            self.worker.wait(10)
        self.worker = spawn(self.client.url, 1, lease_s=2.0, log_file=self._log)

    def goes_on(self) -> bool:
        """Whether the worker still does honest work, and the canary is not there."""
        assert self.submit(pow, 2, 5).result(14) == 32
        assert self.worker is not None
        return self.worker.poll() is None and not self.canary.exists()

    def close(self) -> None:
        if self.worker is not None:
            self.worker.kill()
            self.worker.wait(10)
        self.client.shutdown(wait=False)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.close()


def forged(canary: Path) -> list[bytes]:
    """Pickles in every wrapping that might be opened."""
    raw = pickle.dumps(Canary(canary))
    name = b'{"name":"x","size":1}'
    return [raw, b"\x01" + raw, b"\x02" + name, b"\x01TFE1" + bytes(10) + raw + bytes(32), b"", b"\x01"]


def test_the_canary_sings(tmp_path: Path) -> None:
    """The tests below would see it."""
    pickle.loads(pickle.dumps(Canary(tmp_path / "canary")))

    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("number", range(6))
def test_forged_arguments_fail_as_untrusted_and_are_not_opened(scene: Scene, number: int) -> None:
    call = scene.submit(pow, 2, 3)
    scene.change("update node set args=? where id=?", forged(scene.canary)[number], call.node_id)

    scene.work()
    error = call.exception(14)

    assert isinstance(error, Untrusted), error
    assert scene.goes_on()


def test_arguments_with_any_byte_flipped_are_untrusted(scene: Scene) -> None:
    calls = [scene.submit(divmod, 7, 3) for _ in range(40)]
    db = sqlite3.connect(scene.file)
    for n, call in enumerate(calls):
        (sealed,) = db.execute("select args from node where id=?", (call.node_id,)).fetchone()
        at = n * (len(sealed) - 1) // (len(calls) - 1)
        flipped = sealed[:at] + bytes([sealed[at] ^ (1 << n % 8)]) + sealed[at + 1 :]
        db.execute("update node set args=? where id=?", (flipped, call.node_id))
    db.commit()
    db.close()

    scene.work()

    assert {type(call.exception(14)) for call in calls} == {Untrusted}
    assert scene.goes_on()


def test_forged_items_fail_as_untrusted_and_are_not_opened(scene: Scene) -> None:
    run = scene.client.map(abs, range(10))
    scene.change("update page set items=?", b"\x01" + pickle.dumps([Canary(scene.canary)] * 10))

    scene.work()
    errors = run.results("return")

    assert {type(error) for error in errors} == {Untrusted}
    assert scene.goes_on()


def test_a_forged_function_is_not_opened(scene: Scene) -> None:
    call = scene.submit(len, [])
    with closing(sqlite3.connect(scene.file)) as db:
        (digest,) = db.execute("select fn from node").fetchone()
    (blob,) = (scene.file.parent / "runs.db.d" / "blobs").rglob(digest)
    blob.write_bytes(pickle.dumps(Canary(scene.canary)))

    scene.work()

    assert isinstance(call.exception(14), Untrusted)
    assert scene.goes_on()


def test_another_function_in_place_of_the_right_one_is_untrusted(scene: Scene) -> None:
    """Arguments are sealed for one function."""
    harmless, harmful = scene.submit(len, "abc"), scene.submit(os.path.exists, "abc")
    db = sqlite3.connect(scene.file)
    (fn,) = db.execute("select fn from node where id=?", (harmful.node_id,)).fetchone()
    db.close()
    scene.change("update node set fn=? where id=?", fn, harmless.node_id)

    scene.work()

    assert isinstance(harmless.exception(14), Untrusted)
    assert scene.goes_on()


@pytest.mark.parametrize("number", range(6))
def test_a_forged_result_is_not_opened_by_the_client(scene: Scene, number: int) -> None:
    scene.work()
    call = scene.submit(pow, 2, 3)
    call.result(14)
    scene.change("update node set value=? where id=?", forged(scene.canary)[number], call.node_id)

    again = scene.client.future(call.node_id)

    with pytest.raises(Untrusted):
        again.result(5)
    assert scene.goes_on()


def test_results_of_two_calls_that_were_swapped_are_untrusted(scene: Scene) -> None:
    scene.work()
    calls = [scene.submit(pow, 2, n) for n in (3, 4)]
    assert [call.result(14) for call in calls] == [8, 16]
    db = sqlite3.connect(scene.file)
    values = dict(db.execute("select id, value from node").fetchall())
    db.close()
    first, second = (call.node_id for call in calls)
    scene.change("update node set value=? where id=?", values[second], first)
    scene.change("update node set value=? where id=?", values[first], second)

    for call in calls:
        with pytest.raises(Untrusted):
            scene.client.future(call.node_id).result(5)


def test_a_result_that_is_swapped_before_a_successor_reads_it_is_untrusted(scene: Scene) -> None:
    scene.work()
    first = scene.submit(pow, 2, 3)
    other = scene.submit(pow, 2, 4)
    assert (first.result(14), other.result(14)) == (8, 16)
    db = sqlite3.connect(scene.file)
    (value,) = db.execute("select value from node where id=?", (other.node_id,)).fetchone()
    db.close()
    scene.change("update node set value=? where id=?", value, first.node_id)
    scene.work()  # the first worker still has what it made

    after = scene.submit(abs, first)

    assert isinstance(after.exception(14), Untrusted)
    assert scene.goes_on()


def test_an_old_result_under_a_newer_fence_is_untrusted(scene: Scene) -> None:
    scene.work()
    call = scene.submit(pow, 2, 3)
    call.result(14)
    scene.change("update node set end_fence=end_fence+1 where id=?", call.node_id)

    with pytest.raises(Untrusted):
        scene.client.future(call.node_id).result(5)


def test_a_forged_exception_is_told_as_text_only(scene: Scene) -> None:
    scene.work()
    call = scene.submit(divmod, 1, 0)
    assert isinstance(call.exception(14), ZeroDivisionError)
    scene.change(
        "update node set value=? where id=?", b"\x01" + pickle.dumps(Canary(scene.canary)), call.node_id
    )
    text = Failure("failed", "os.system", "rm -rf", data={"error": "system"}).to_json()
    scene.change("update node set error=? where id=?", text, call.node_id)

    error = scene.client.future(call.node_id).exception(5)

    assert type(error).__name__ in ("RemoteError", "Untrusted")
    assert scene.goes_on()


@pytest.mark.parametrize("what", ["python", "implementation", "cloudpickle"])
def test_a_function_of_another_python_is_refused_before_it_is_opened(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    here = functions._versions()
    monkeypatch.setattr(functions, "_versions", lambda: {**here, what: "2.99"})
    canary = Canary(scene.canary)
    call = scene.submit(_captures(canary))
    monkeypatch.undo()

    scene.work()
    error = call.exception(14)

    assert isinstance(error, VersionMismatch)
    assert all(
        word in str(error) for word in ("2.99", here[what], "Start client and worker with the same Python")
    )
    assert scene.goes_on()


def _captures(thing: object) -> Callable[[], object]:
    return lambda: thing


@pytest.mark.parametrize(("column", "value"), [("policy", "{"), ("policy", "[]"), ("inputs", "[[1]]")])
def test_a_row_that_makes_no_sense_does_not_stop_the_worker(scene: Scene, column: str, value: str) -> None:
    call = scene.submit(pow, 2, 3)
    scene.change(f"update node set {column}=? where id=?", value, call.node_id)

    scene.work()

    assert scene.goes_on()
    store = open_store(scene.client.url)
    assert call.node_id in next(text for name, _, text in store.check() if name == "invariants")
    store.close()


def test_a_key_of_someone_else_is_no_key(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))
    with Client(scene.client.url, workers=0) as stranger:
        call = stranger.submit(pow, 2, 3)
        monkeypatch.undo()
        scene.work()
        error = call.exception(14)

    assert isinstance(error, Untrusted)
    assert scene.goes_on()
