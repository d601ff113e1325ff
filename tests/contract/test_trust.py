"""What anybody may put into the bytes of a server: the rows of `reliability.md` §3.6 that touch it.

The attacker has a bare connection and no key. Whatever he writes, nothing of his is unpickled, it is refused
with a word that says why, and the worker goes on with honest work.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import resource
import struct
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgpack
import pytest

import taskflow
from taskflow.client import Client
from taskflow.codec import Codec, Key, Keyring
from taskflow.codec.signing import HEADER, TAG, Purpose
from taskflow.errors import CannotPickle, RemoteError, TaskflowError, Untrusted
from taskflow.future import Future
from taskflow.records import Failure
from taskflow.worker.process import Process, spawn
from tests.servers import RedisServer, running, until

_names = count()
WAIT_S = 30.0


class Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


class Scene:
    """A client on a server, an attacker beside it, and a worker that comes when it is called."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.namespace = f"n{next(_names)}"
        self.url = f"{server.url}?namespace={self.namespace}"
        self.attacker = server.client()
        self.canary = folder / "canary"
        self.log = folder / "worker.log"
        self.client = Client(self.url)
        self.worker: Process | None = None

    def key(self, name: str) -> str:
        """What the store calls it on the server."""
        return f"tf:{{{self.namespace}}}:{name}"

    def submit(self, fn: Callable[..., Any], *args: Any, **options: Any) -> Future[Any]:
        """Call a function; the store has it when this returns."""
        call = self.client.options(**options).submit(fn, *args)
        self.client.flush()
        return call

    def evil(self) -> bytes:
        """A pickle that would be noticed."""
        return pickle.dumps(Canary(self.canary))

    def write(self, call: Future[Any], field: str, value: bytes) -> None:
        """Put bytes into a field of a node."""
        self.attacker.hset(self.key(f"n:{call.node_id}"), field, value)

    def read(self, call: Future[Any], field: str) -> bytes:
        """What a field of a node holds."""
        found = self.attacker.hget(self.key(f"n:{call.node_id}"), field)
        assert isinstance(found, bytes)
        return found

    def work(self, **options: Any) -> None:
        """Have a worker, which knows nothing yet."""
        if self.worker is not None:
            self.worker.kill()
            self.worker.wait(10)
        self.worker = spawn(self.url, 1, log_file=self.log, **options)

    def again(self, call: Future[Any]) -> Future[Any]:
        """The same call, as another process sees it."""
        return self.client.future(call.node_id)

    def goes_on(self) -> bool:
        """Whether the worker still does honest work, and the canary is not there."""
        assert self.submit(pow, 2, 5).result(WAIT_S) == 32, self.log.read_text()
        assert self.worker is not None
        return self.worker.poll() is None and not self.canary.exists()

    def refused(self) -> int:
        """How much was refused, as the list of workers tells."""
        return sum(w.info.get("refused", 0) for w in self.client._engine.store.workers())

    def close(self) -> None:
        if self.worker is not None:
            self.worker.kill()
            self.worker.wait(10)
        self.client.shutdown(wait=False)
        self.attacker.close()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    yield from running("valkey")


@pytest.fixture
def scene(server: RedisServer, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(server, tmp_path)
    yield scene
    scene.close()


def wrapped(raw: bytes) -> list[bytes]:
    """A pickle in every wrapping that might be opened."""
    inside = b"\x01TFE1" + bytes(10) + raw + bytes(32)
    return [raw, b"\x01" + raw, b"\x02" + raw, b"\x03" + raw, inside, b"\x03[1]", b"", b"\x01"]


# ── 1: raw pickles ───────────────────────────────────────────────────────────────────


def test_row_1_raw_pickles_as_arguments_are_refused_and_counted(scene: Scene) -> None:
    calls = []
    for raw in wrapped(scene.evil()):
        calls.append(scene.submit(divmod, 7, 3))
        scene.write(calls[-1], "a", raw)

    scene.work()

    assert [type(call.exception(WAIT_S)) for call in calls] == [Untrusted] * len(calls)
    assert scene.goes_on()
    until(lambda: scene.refused() == len(calls))
    told = [line for line in scene.log.read_text().splitlines() if "work refused" in line]
    assert 1 <= len(told) <= 3
    assert "touch" not in told[0]


@pytest.mark.parametrize("field", ["s", "d", "e", "i"])
def test_row_1_raw_pickles_in_a_node_do_not_stop_the_worker(scene: Scene, field: str) -> None:
    """Nor does what is packed as the store packs it, and makes no sense."""
    for raw in (
        scene.evil(),
        b"",
        msgpack.packb(7),
        msgpack.packb([1, 2]),
        msgpack.packb(["x"] * 21),
        b"\xc1",
    ):
        scene.write(scene.submit(divmod, 7, 3), field, raw)

    scene.work()

    assert scene.goes_on()


def test_row_1_a_policy_that_makes_no_sense_is_refused(scene: Scene) -> None:
    calls = [scene.submit(divmod, 7, 3) for _ in range(3)]
    for call, policy in zip(calls, ("{", "[]", '{"max_deliveries": {}}'), strict=True):
        row = msgpack.unpackb(scene.read(call, "s"))
        row[5] = policy
        scene.write(call, "s", msgpack.packb(row, use_bin_type=False))

    scene.work()

    assert all(isinstance(call.exception(WAIT_S), Exception) for call in calls[:2])
    assert scene.goes_on()


def test_row_1_raw_pickles_in_a_queue_do_not_stop_the_worker(scene: Scene) -> None:
    queue = scene.key("q:default")
    for score, raw in enumerate(wrapped(scene.evil())):
        scene.attacker.zadd(queue, {raw: score})
    scene.attacker.set(scene.key("n:text"), scene.evil())
    scene.attacker.hset(scene.key("n:half"), "s", scene.evil())
    scene.attacker.zadd(queue, {"text": -1, "half": -2, "nobody": -3})
    scene.attacker.zadd(scene.key("alarm"), {"text": 1, "half": 2, "nobody": 3})

    scene.work()

    assert scene.goes_on()
    found = {name: (well, words) for name, well, words in scene.client._engine.store.check()}
    assert found["struck nodes"][0] is False


def test_row_1_raw_pickles_as_items_are_refused(scene: Scene) -> None:
    run = scene.client.map(abs, range(10))
    scene.attacker.hset(scene.key(f"pv:{run.node_id}"), "0", b"\x01" + scene.evil())

    scene.work()

    assert {type(error) for error in run.results("return")} == {Untrusted}
    assert scene.goes_on()


def test_row_1_a_raw_pickle_as_function_is_refused(scene: Scene) -> None:
    call = scene.submit(len, [])
    for key in scene.attacker.scan_iter(scene.key("b:*")):
        for field in scene.attacker.hkeys(key):
            scene.attacker.hset(key, field, scene.evil())

    scene.work()

    assert isinstance(call.exception(WAIT_S), TaskflowError)
    assert not scene.canary.exists()


@pytest.mark.parametrize("number", range(8))
def test_row_1_a_raw_pickle_as_result_is_not_opened_by_the_client(scene: Scene, number: int) -> None:
    scene.work()
    call = scene.submit(divmod, 7, 3)
    call.result(WAIT_S)
    scene.write(call, "v", wrapped(scene.evil())[number])

    with pytest.raises(Untrusted):
        scene.again(call).result(WAIT_S)
    assert scene.goes_on()


def test_row_1_a_run_that_makes_no_sense_does_not_stop_the_worker(scene: Scene) -> None:
    for raw in (scene.evil(), b"", msgpack.packb(7)):
        scene.attacker.hset(scene.key(f"n:{scene.submit(divmod, 7, 3).run_id}"), "rd", raw)
    scene.attacker.hdel(scene.key(f"n:{scene.submit(divmod, 7, 3).run_id}"), "rs", "rd")

    scene.work()

    assert scene.goes_on()


def test_row_1_raw_pickles_where_workers_and_events_are_do_not_stop_the_worker(scene: Scene) -> None:
    scene.work()
    assert scene.goes_on()
    attacker, evil = scene.attacker, scene.evil()
    names = [name.decode() for name in attacker.hkeys(scene.key("workers"))]
    for name, text in (
        ("evil", evil),
        (evil, b"1e10 ["),
        ("deep", b"9e9 " + b"[" * 10_000),
        ("odd", b"9e9 [1]"),
    ):
        attacker.hset(scene.key("workers"), name, text)
    for name in names:
        attacker.set(scene.key(f"c:{name}"), evil)
    cursor = attacker.incr(scene.key("cursor"))
    attacker.xadd(scene.key("events"), {"at": "x", "b": evil}, id=f"{cursor}-0")
    attacker.publish(scene.key("watch"), evil)
    attacker.publish(scene.key("work"), evil)
    attacker.zadd(scene.key("runs"), {evil: 1e12, "nobody": 1e12})
    attacker.sadd(scene.key("paused"), evil)
    attacker.hset(scene.key("tally"), evil, "x")

    assert scene.goes_on()
    assert [w.id for w in scene.client._engine.store.workers()] == names
    assert len(scene.client.runs()) == 2
    assert len(scene.client.queues()) >= 1


# ── 2: one bit ───────────────────────────────────────────────────────────────────────


def test_row_2_an_envelope_with_any_bit_flipped_is_refused() -> None:
    ring = Keyring.ephemeral()
    sealed = ring.seal(Purpose.ARGS, 0, b"fn", bytes(300 - HEADER - TAG))
    assert len(sealed) == 300
    ring.open(Purpose.ARGS, b"fn", sealed)

    for at in range(len(sealed)):
        for bit in range(8):
            flipped = bytearray(sealed)
            flipped[at] ^= 1 << bit
            with pytest.raises(Untrusted):
                ring.open(Purpose.ARGS, b"fn", bytes(flipped))


def test_row_2_a_value_with_any_byte_changed_is_refused(tmp_path: Path) -> None:
    from taskflow.blobs.files import FileBlobs

    codec = Codec(Keyring.ephemeral(), FileBlobs(tmp_path / "blobs"))
    value = codec.dump_args("fn", ("x" * 240,), {})

    for at in range(len(value)):
        with pytest.raises(Untrusted):
            codec.load_args("fn", value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :])


def test_row_2_arguments_with_a_byte_changed_are_refused_by_a_worker(scene: Scene) -> None:
    calls = [scene.submit(divmod, 7, 3) for _ in range(24)]
    for n, call in enumerate(calls):
        sealed = bytearray(scene.read(call, "a"))
        sealed[n * (len(sealed) - 1) // (len(calls) - 1)] ^= 1 << n % 8
        scene.write(call, "a", bytes(sealed))

    scene.work()

    assert {type(call.exception(WAIT_S)) for call in calls} == {Untrusted}
    assert scene.goes_on()


# ── 3: other keys ────────────────────────────────────────────────────────────────────


def test_row_3_unknown_expired_and_revoked_keys_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "key"
    stranger = Keyring.ephemeral().seal(Purpose.ARGS, 0, b"fn", b"body")
    ring = Keyring([Key(os.urandom(32), created=1.0)])
    revoked = ring.seal(Purpose.ARGS, 0, b"fn", b"body")
    old = ring.keys[0]
    mine = Keyring(
        [
            Key(old.secret, 1.0, "revoked"),
            Key(gone := os.urandom(32), 2.0, "verify", not_after=3.0),
            Key(os.urandom(32), 4.0),
        ],
        path=path,
    )
    expired = Keyring([Key(gone)]).seal(Purpose.ARGS, 0, b"fn", b"body")

    for sealed, words in (
        (stranger, "not on this ring"),
        (expired, "verified until 1970-01-01"),
        (revoked, "was revoked"),
    ):
        with pytest.raises(Untrusted, match=words):
            mine.open(Purpose.ARGS, b"fn", sealed)


def test_row_3_a_foreign_key_is_refused_and_both_sides_are_named(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine = Keyring.load().fingerprint()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))
    theirs = Keyring.load().fingerprint()
    with Client(scene.url) as stranger:
        call = stranger.submit(pow, 2, 3)
        monkeypatch.undo()
        scene.work()
        error = call.exception(WAIT_S)

    assert isinstance(error, Untrusted)
    assert mine in str(error)
    assert theirs in str(error)
    assert scene.goes_on()
    assert [w.info["key"] for w in scene.client._engine.store.workers()] == [mine]
    log = scene.log.read_text()
    assert mine in log
    assert theirs in log


# ── 4 to 8: genuine, in the wrong place ──────────────────────────────────────────────


def test_row_4_a_result_as_arguments_is_refused(scene: Scene) -> None:
    scene.work()
    done = scene.submit(divmod, 7, 3)
    done.result(WAIT_S)
    assert scene.worker is not None
    scene.worker.kill()
    call = scene.submit(divmod, 9, 3)
    scene.write(call, "a", scene.read(done, "v"))

    scene.work()

    assert isinstance(call.exception(WAIT_S), Untrusted)
    assert scene.goes_on()


def test_row_4_each_kind_has_a_key_of_its_own() -> None:
    ring = Keyring.ephemeral()
    for kind in Purpose:
        sealed = ring.seal(kind, 0, b"same", b"body")
        for other in Purpose:
            relabelled = sealed[:4] + bytes([other]) + sealed[5:]
            if other != kind:
                for forged in (sealed, relabelled):
                    with pytest.raises(Untrusted):
                        ring.open(other, b"same", forged)


def test_row_5_the_result_of_another_call_is_refused(scene: Scene) -> None:
    scene.work()
    one, other = scene.submit(divmod, 7, 3), scene.submit(divmod, 9, 3)
    assert (one.result(WAIT_S), other.result(WAIT_S)) == ((2, 1), (3, 0))
    scene.write(other, "v", scene.read(one, "v"))

    with pytest.raises(Untrusted):
        scene.again(other).result(WAIT_S)


def flaky(folder: str) -> str:
    """Fails when it is run first."""
    mark = Path(folder) / "ran"
    if not mark.exists():
        mark.touch()
        raise ValueError("the first time")
    return "second"


def test_row_6_the_result_of_an_older_attempt_is_refused(scene: Scene, tmp_path: Path) -> None:
    scene.work()
    call = scene.submit(flaky, str(tmp_path), retry=1)
    assert call.result(WAIT_S) == "second"
    codec = scene.client._engine.codec
    older = codec.dump_result(call.node_id, 0, 1, 1, "first")  # as the worker sealed it before its retry
    scene.write(call, "v", older)

    with pytest.raises(Untrusted):
        scene.again(call).result(WAIT_S)


def count_up(path: str) -> int:
    """How often it was run."""
    with Path(path).open("a") as file:
        file.write(".")
    return Path(path).stat().st_size


def test_row_7_a_signed_task_that_is_put_back_after_its_success_is_not_run(
    scene: Scene, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    call = scene.submit(count_up, str(runs))
    entries = scene.attacker.zrange(scene.key("q:default"), 0, -1, withscores=True)
    scene.work()
    assert call.result(WAIT_S) == 1

    for member, score in entries:
        scene.attacker.zadd(scene.key("q:default"), {member: score})
    scene.attacker.publish(scene.key("work"), "")

    assert scene.goes_on()
    assert runs.stat().st_size == 1


def test_row_7_a_run_that_is_submitted_again_is_there_already(scene: Scene, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    scene.work()
    for _ in range(2):
        assert scene.submit(count_up, str(runs), key="once").result(WAIT_S) == 1

    assert scene.goes_on()
    assert runs.stat().st_size == 1


def test_row_8_arguments_under_another_function_are_refused(scene: Scene) -> None:
    harmless, harmful = scene.submit(len, "abc"), scene.submit(os.path.exists, "abc")
    row, other = (msgpack.unpackb(scene.read(call, "s")) for call in (harmless, harmful))
    row[1] = other[1]
    scene.write(harmless, "s", msgpack.packb(row, use_bin_type=False))

    scene.work()

    assert isinstance(harmless.exception(WAIT_S), Untrusted)
    assert harmful.result(WAIT_S) is False
    assert scene.goes_on()


def test_row_8_a_function_under_another_name_is_refused(scene: Scene) -> None:
    call, other = scene.submit(len, "abc"), scene.submit(os.path.exists, "abc")
    mine, theirs = (msgpack.unpackb(scene.read(c, "s"))[1] for c in (call, other))
    scene.attacker.delete(scene.key(f"b:{mine}"))
    scene.attacker.copy(scene.key(f"b:{theirs}"), scene.key(f"b:{mine}"))

    scene.work()

    assert isinstance(call.exception(WAIT_S), Untrusted)
    assert scene.goes_on()


@pytest.mark.parametrize(
    "fn", ["../../../../etc/passwd", "/etc/passwd", "..", "", "x\0y", "json:os.system", "é" * 300]
)
def test_row_8_a_function_that_names_something_else_is_refused(scene: Scene, fn: str) -> None:
    call = scene.submit(len, "abc")
    row = msgpack.unpackb(scene.read(call, "s"))
    row[1] = fn
    scene.write(call, "s", msgpack.packb(row, use_bin_type=False))

    scene.work()

    assert isinstance(call.exception(WAIT_S), TaskflowError)
    assert scene.goes_on()


# ── 9, 10: lengths ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**32 - 1])
def test_row_9_absurd_lengths_are_refused_and_nothing_is_allocated(length: int) -> None:
    from taskflow.codec import blob_names

    ring = Keyring.ephemeral()
    header = ring.seal(Purpose.ARGS, 4, b"fn", b"")[:HEADER]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    for body in (struct.pack("<I", length), struct.pack("<I", length) + b'{"blobs":[["x",1,1,""]]}', b""):
        forged = b"\x02" + header + body + bytes(TAG)
        assert len(blob_names(forged)) <= 1
        with pytest.raises(Untrusted):
            ring.open(Purpose.ARGS, b"fn", forged, 1)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


@pytest.mark.parametrize("size", [2**63, 2**62, -1, "9" * 400, "x", ""])
def test_row_9_a_blob_of_absurd_size_is_refused(scene: Scene, size: Any) -> None:
    scene.work()
    call = scene.submit(
        bytes, 50_000
    )  # larger than what stands in a task, smaller than what is copied to files
    call.result(WAIT_S)
    for key in scene.attacker.scan_iter(scene.key("b:*")):
        for field, value in scene.attacker.hgetall(key).items():
            if value.isdigit():
                scene.attacker.hset(key, field, str(size))

    scene.work()
    error = scene.submit(len, call).exception(WAIT_S)

    assert isinstance(error, (TaskflowError, MemoryError))
    assert scene.goes_on()


def test_row_10_nothing_that_comes_from_a_store_unfolds() -> None:
    """Only files that a task was told to read are decompressed, bit by bit."""
    package = Path(taskflow.__file__).parent
    unfolding = re.compile(
        r"^\s*(?:import|from) +(zlib|gzip|bz2|lzma|zstandard|lz4|blosc|snappy)\b", re.MULTILINE
    )
    users = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if unfolding.search(path.read_text(encoding="utf-8"))
    }
    assert users == {"pools/wire.py", "workflow/hashing.py"}  # checksums
    assert "decompress" not in (package / "workflow/hashing.py").read_text(encoding="utf-8")


class Bomb:
    """Does something when it is loaded, by who has the key: a legal client with an odd object."""

    def __init__(self, does: Callable[..., Any], *args: Any) -> None:
        self.does, self.args = does, args

    def __reduce__(self) -> Any:
        return self.does, self.args


def nested(depth: int) -> list[Any]:
    """Lists in lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "bomb", [(bytes, 1 << 46), (os.abort,), (os._exit, 3), (nested, 10**6), (int, "9" * 10**6)], ids=count()
)
def test_rows_11_and_15_a_bomb_that_was_signed_ends_its_own_task_only(scene: Scene, bomb: Any) -> None:
    scene.work()
    call = scene.submit(type, Bomb(*bomb), max_deliveries=1)

    with contextlib.suppress(Exception):
        call.result(WAIT_S)

    assert call.done()
    assert scene.goes_on()


# ── 16: objects with odd manners ─────────────────────────────────────────────────────


class Odd:
    """Raises whatever is asked of it, but can travel."""

    def _refuse(self, *_: Any) -> Any:
        raise RuntimeError("nobody should have asked")

    __repr__ = __str__ = __eq__ = __len__ = __bool__ = __iter__ = __getitem__ = __format__ = _refuse
    __hash__ = _refuse  # type: ignore[assignment]
    __contains__ = __lt__ = __add__ = __call__ = __int__ = __index__ = __dir__ = _refuse


class Untravelled:
    """Cannot be pickled, in one way or another."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __repr__(self) -> str:
        raise RuntimeError("nobody should have asked")

    def __reduce__(self) -> Any:
        if self.how == "recurses":
            return self.__reduce__()
        if self.how == "raises":
            raise ValueError("not this one")
        if self.how == "exits":
            raise SystemExit(3)
        return 7


class Mourned:
    """Raises when it is forgotten."""

    def __del__(self) -> None:
        raise RuntimeError("it was not time")


@pytest.mark.parametrize("where", ["argument", "item", "captured"])
def test_row_16_nothing_is_asked_of_an_argument(scene: Scene, where: str) -> None:
    scene.work()
    odd = Odd()

    if where == "item":
        (name,) = scene.client.map(lambda x: type(x).__name__, [odd])
    else:
        fn = (lambda: type(odd).__name__) if where == "captured" else (lambda x: type(x).__name__)
        name = scene.submit(fn, *([odd] if where == "argument" else [])).result(WAIT_S)

    assert name == "Odd"


def test_row_16_nothing_is_asked_of_a_result_or_of_what_an_exception_holds(scene: Scene) -> None:
    scene.work()

    def fail(x: Any) -> None:
        local = x  # noqa: F841 - it is in the frame
        raise ValueError(x)

    assert type(scene.submit(Odd).result(WAIT_S)) is Odd
    error = scene.submit(fail, Odd()).exception(WAIT_S)
    assert type(error).__name__ in ("ValueError", "RemoteError")
    assert scene.goes_on()


@pytest.mark.parametrize("how", ["recurses", "raises", "exits", "gives nonsense"])
def test_row_16_what_cannot_travel_is_named_before_anything_is_stored(scene: Scene, how: str) -> None:
    before = len(scene.client.runs())

    with pytest.raises(CannotPickle, match=r"argument (1|2)|argument 'x'|args\[1\]|\bx\b"):
        scene.client.submit(pow, 2, Untravelled(how))
    with pytest.raises(CannotPickle, match=r"item"):
        scene.client.map(abs, [1, Untravelled(how)])

    assert len(scene.client.runs()) == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_row_16_what_raises_when_it_is_forgotten_harms_nobody(scene: Scene) -> None:
    scene.work()

    assert scene.submit(lambda x: type(x).__name__, Mourned()).result(WAIT_S) == "Mourned"
    assert scene.goes_on()


# ── 12: exceptions ───────────────────────────────────────────────────────────────────


def test_row_12_a_forged_exception_is_text(scene: Scene) -> None:
    """CVE-2021-23727."""
    scene.work()
    call = scene.submit(divmod, 1, 0)
    assert isinstance(call.exception(WAIT_S), ZeroDivisionError)
    text = Failure("failed", "os.system", f"touch {scene.canary}", data={"error": "system"}).to_json()
    scene.attacker.hdel(scene.key(f"n:{call.node_id}"), "v")
    scene.attacker.hset(scene.key(f"n:{call.node_id}"), "er", text)
    end = msgpack.unpackb(scene.read(call, "g"))
    scene.write(
        call, "g", msgpack.packb([text if isinstance(x, str) and x.startswith("{") else x for x in end])
    )

    error = scene.again(call).exception(WAIT_S)

    assert isinstance(error, RemoteError), error
    assert not scene.canary.exists()


@pytest.mark.parametrize("text", ["", "[", "[]", "7", '{"kind":7}', '{"message":[]}', "[" * 10_000])
def test_row_12_an_error_that_makes_no_sense_is_an_error(scene: Scene, text: str) -> None:
    scene.work()
    call = scene.submit(divmod, 1, 0)
    call.exception(WAIT_S)
    end = msgpack.unpackb(scene.read(call, "g"))
    scene.attacker.hdel(scene.key(f"n:{call.node_id}"), "v")
    scene.write(
        call, "g", msgpack.packb([text if isinstance(x, str) and x.startswith("{") else x for x in end])
    )

    assert isinstance(scene.again(call).exception(WAIT_S), Exception)
