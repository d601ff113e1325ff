"""Where large data lies beside a server: chosen once, sealed, swept, and said when it cannot be reached."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import numpy
import pytest

from taskflow.blobs import open_blobs
from taskflow.blobs.fsspec import FsspecPlace, checked
from taskflow.codec import Codec, Key, Keyring
from taskflow.errors import (
    ConfigError,
    MissingExtra,
    QueueFull,
    ResultExpired,
    StoreUnavailable,
    Untrusted,
    UsageError,
)
from taskflow.ids import NodeId, RunId, WorkerId
from taskflow.records import Kind, Node, Outcome, Page, Plan, Settlement, Want
from taskflow.stores.redis import RedisStore
from tests.servers import RedisServer, running, s3

MB = 1 << 20
_numbers = count()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    yield from running("valkey")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3("bucket") as url:
        yield url


@pytest.fixture
def url(server: RedisServer) -> str:
    return f"{server.url}?namespace=p{next(_numbers)}"


@pytest.fixture(autouse=True)
def _copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shared"


def opened(url: str, place: object = "", **more: Any) -> closing[RedisStore]:
    return closing(RedisStore(f"{url}&blobs={place}" if place else url, **more))


def objects(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# ── which place ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_who_has_only_the_url_of_the_store_finds_what_lies_apart(
    url: str, kind: str, folder: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(20 * MB)
    with opened(url, folder.as_uri() if kind == "file" else f"{bucket}/some/prefix") as store:
        store.blobs.put("large", [data])
        store.blobs.put("small", [b"x" * 100_000])
        assert store._ask("HKEYS", store._key("b:large")) == [b"at", b"size"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "of another host"))

    there = open_blobs(url)

    assert bytes(there.open("large")) == data
    assert bytes(there.open("small")) == b"x" * 100_000
    there.far._server._link.close()  # type: ignore[attr-defined]


def test_a_client_with_another_place_is_told(url: str, folder: Path) -> None:
    with opened(url, folder.as_uri()):
        pass

    with opened(url, folder.as_uri() + "/"), opened(url):
        pass
    with pytest.raises(ConfigError, match=r"keeps its large data in file://.*shared, not in file:///else"):
        opened(url, "file:///elsewhere")


def test_a_place_may_come_when_the_store_is_in_use_already(url: str, folder: Path) -> None:
    with opened(url) as first, opened(url, folder.as_uri()) as second:
        pass
    with opened(url) as first:
        first.blobs.put("before", [b"1" * 3 * MB])
    with opened(url) as second:
        assert len(second.blobs.open("before")) == 3 * MB
    assert objects(folder)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("folder", "is no URL"),
        ("s3://key:secret@bucket/x", "no user and password"),
        ("memory://x", "only this process sees it"),
        ("https://host/x", "cannot be written"),
        ("file://host/x", "names no directory"),
        ("file:///", "names no directory"),
        ("s3:///x", "names no bucket"),
        ("simplecache::s3://x", "is no URL|more than a scheme"),
    ],
)
def test_what_is_no_place_is_refused(url: str, place: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        checked(place)
    with pytest.raises(ConfigError, match=words):
        opened(url, place)


def test_a_place_that_cannot_be_written_is_not_taken(url: str, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for place in ((tmp_path / "file").as_uri(), "s3://no-such-bucket/x"):
        with pytest.raises(StoreUnavailable, match="cannot be used from here"):
            opened(url, place)
    with opened(url) as store:
        assert store._ask("HGET", store._key("meta"), "blobs") is None


def test_nothing_that_opens_the_place_is_stored(url: str, server: RedisServer, bucket: str) -> None:
    with opened(url, f"{bucket}/prefix") as store:
        store.blobs.put("large", [b"1" * 3 * MB])

    text = b"".join(p.read_bytes() for p in server.folder.rglob("*") if p.is_file())
    assert b"prefix" in text
    assert b"secret of S3" not in text


def test_without_credentials_it_says_where_they_belong(
    url: str, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))

    with pytest.raises(StoreUnavailable, match="AWS_ACCESS_KEY_ID"):
        opened(url, f"{bucket}/prefix")


# ── trust ────────────────────────────────────────────────────────────────────────────


def test_a_place_that_somebody_else_wrote_is_not_used(url: str, folder: Path, tmp_path: Path) -> None:
    with opened(url, folder.as_uri()) as store:
        sealed = store._ask("HGET", store._key("meta"), "blobs")
        forged = Keyring([Key(bytes(32))]).seal(8, 0, store._key("blobs").encode(), b"{}")
        for wrong in (b"{}", sealed[:-1] + bytes([sealed[-1] ^ 1]), forged):
            store._ask("HSET", store._key("meta"), "blobs", wrong)
            with opened(url) as other, pytest.raises(Untrusted):
                other.blobs.put("large", [b"1" * 3 * MB])
            with pytest.raises(Untrusted):
                opened(url, serves=True)
    with opened(f"{url}-other") as other:  # that of another store
        other._ask("HSET", other._key("meta"), "blobs", sealed)
        with pytest.raises(Untrusted):
            other.blobs.put("large", [b"1" * 3 * MB])
    assert not objects(folder)


def test_an_object_that_was_altered_is_not_opened(
    url: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(url, folder.as_uri()) as store:
        codec = Codec(Keyring.load(), store.blobs)
        digest = codec.function(abs)
        value = codec.dump_args(digest, (numpy.arange(1_000_000),), {})
        (path,) = objects(folder)
        data = bytearray(path.read_bytes())
        data[-8] ^= 1
        path.write_bytes(data)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
        with opened(url) as elsewhere, pytest.raises(Untrusted, match="not what was stored"):
            Codec(Keyring.load(), elsewhere.blobs).load_args(digest, value)


def test_a_name_never_leads_out_of_the_folder(folder: Path) -> None:
    place = FsspecPlace(folder.as_uri(), "mine")

    for name, token in (("../x", "0" * 16), ("x", "../../etc"), ("a/b", "0" * 16)):
        with pytest.raises(UsageError):
            next(place.pieces(name, token, 1, 0))
    with pytest.raises(UsageError):
        place.write("../x", [b"x"])


# ── what it needs ────────────────────────────────────────────────────────────────────


def test_what_is_not_installed_is_named_with_its_command(
    url: str, folder: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(url, f"{bucket}/prefix") as store:
        store.blobs.put("large", [b"1" * 3 * MB])
    with opened(f"{url}-f", folder.as_uri()):
        pass
    for module in ("s3fs", "fsspec", "fsspec.registry"):
        monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(MissingExtra, match=r"pip install 'jupyter-taskflow\[s3\]'"):
        opened(url, serves=True)
    with pytest.raises(MissingExtra, match=r"pip install 'jupyter-taskflow\[fsspec\]'"):
        opened(f"{url}-f", serves=True)
    with opened(url) as store:  # who only looks needs nothing of it
        assert store.runs() == []
        assert next(row for row in store.check() if row[0] == "blobs")[1] is False


def test_the_doctor_says_where_large_data_is(url: str, folder: Path) -> None:
    with opened(url, folder.as_uri()) as store:
        assert ("blobs", True, f"large data is in {folder.as_uri()}") in store.check()
        shutil.rmtree(folder)
        folder.touch()
        assert next(row for row in store.check() if row[0] == "blobs")[1] is False
    assert not any(row[0] == "blobs" for row in RedisStore(f"{url}-x").check())


# ── how long ─────────────────────────────────────────────────────────────────────────


def keys(store: RedisStore) -> dict[bytes, int]:
    """Names without their prefix, and in how many seconds they go; -1 is never."""
    prefix = store._key("").encode()
    found = store._ask("KEYS", prefix.replace(b"{", b"\\{").replace(b"}", b"\\}") + b"*")
    return {key[len(prefix) :]: store._ask("TTL", key) for key in found}


def run_large(store: RedisStore, run: str) -> None:
    """A map whose function, pages and results are large, from its submission to its end."""
    codec = Codec(Keyring.load(), store.blobs)
    data = os.urandom(2 * MB)
    digest = codec.function(lambda item: data[:item])
    pages = tuple(Page(i, i + 1, codec.dump_items(digest, i, [os.urandom(2 * MB)])) for i in range(2))
    args = codec.dump_args(digest, (), {})
    store.submit([Plan(RunId(run), (Node(NodeId(f"{run}-n"), digest, args, (), 2, True, pages),))])
    while leases := store.claim(Want(WorkerId("w"), ("default",), 8)):
        for lease in leases:
            node, lo, hi, fence = lease.key
            for i in range(lo, hi):
                value = codec.dump_result(node, i, i + 1, fence, [os.urandom(2 * MB)])
                store.settle([Settlement(lease.key, (Outcome(i, i + 1, Kind.SUCCEEDED, value),))])


def test_after_a_run_is_forgotten_keys_and_objects_are_those_of_before(url: str, folder: Path) -> None:
    with opened(url, folder.as_uri()) as store:
        before = {key for key, ttl_s in keys(store).items() if ttl_s == -1}
        run_large(store, "one")
        run_large(store, "two")
        assert len(objects(folder)) == 2 * (1 + 2 + 2)

        store.forget(RunId("one"))
        store.blobs.sweep((), age_s=-60)
        store._ask("DEL", store._key("swept"))

        # What was made for one place has gone; the data that the function holds may be asked for again.
        assert len(objects(folder)) == 5 + 1
        store.forget(RunId("two"))
        for key in keys(store):
            if key.startswith(b"b:"):
                store._ask("EXPIRE", store._key(key.decode()), 0)
        store.blobs.sweep((), age_s=-60)
        assert objects(folder) == []
        left = {key for key, ttl_s in keys(store).items() if ttl_s == -1}
        assert left <= before | {b"seq", b"cursor", b"said", b"events", b"meta"}


def test_on_s3_too_what_no_run_needs_goes(url: str, bucket: str) -> None:
    with opened(url, f"{bucket}/swept") as store:
        run_large(store, "one")
        place = store._blobs.far.place()
        assert place is not None
        assert len(list(place.objects(-60))) == 5
        assert list(place.objects(3600)) == []  # they are young

        store.forget(RunId("one"))

        assert store.sweep(age_s=0, size_bytes=1 << 40)["blob_bytes"] == 0  # so they stay for an hour
        store._ask("DEL", store._key("swept"))
        assert store.blobs.sweep((), age_s=-60) > 8 * MB
        assert len(list(place.objects(-60))) == 1


def test_an_object_of_which_the_entry_was_never_written_goes(url: str, folder: Path) -> None:
    with opened(url, folder.as_uri()) as store:
        place = store._blobs.far.place()
        assert place is not None
        store.blobs.put("kept", [b"1" * 3 * MB])
        place.write("kept", [b"1" * 3 * MB])  # by a client that died then
        place.write("lost", [b"1" * 3 * MB])
        (folder / place.folder / "not ours").touch()

        assert store.blobs.sweep((), age_s=-60) == 6 * MB

        assert len(objects(folder)) == 2
        assert len(store.blobs.open("kept")) == 3 * MB


def test_many_objects_are_removed_in_several_sweeps(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.blobs.apart.SWEPT_AT_ONCE", 3)
    monkeypatch.setattr("taskflow.blobs.apart._BATCH", 2)
    with opened(url, folder.as_uri()) as store:
        place = store._blobs.far.place()
        assert place is not None
        for number in range(6):
            place.write(f"lost{number}", [b"1" * 10])

        assert [store.blobs.sweep((), age_s=-60) for _ in range(4)] == [40, 20, 0, 0]


def test_a_place_that_is_away_keeps_nobody_from_sweeping(
    url: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(url, folder.as_uri()) as store:
        shutil.rmtree(folder)
        folder.touch()

        def away(fs: Any, root: str) -> Any:
            raise PermissionError("not today")

        store._blobs.far.place()._listed = away  # type: ignore[union-attr]

        assert store.sweep(age_s=0, size_bytes=1 << 40)["blob_bytes"] == 0
        assert "not today" in caplog.text


def test_two_stores_at_one_place_leave_each_others_objects_alone(url: str, folder: Path) -> None:
    with opened(url, folder.as_uri()) as one, opened(f"{url}-2", folder.as_uri()) as two:
        one.blobs.put("large", [b"1" * 3 * MB])

        assert two.blobs.sweep((), age_s=-60) == 0

        assert not two.blobs.has("large")
        assert len(one.blobs.open("large")) == 3 * MB


def test_an_object_that_somebody_deleted_is_expired(
    url: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(url, folder.as_uri()) as store:
        store.blobs.put("large", [b"1" * 3 * MB])
    shutil.rmtree(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))

    with opened(url) as store, pytest.raises(ResultExpired):
        store.blobs.open("large")


def test_of_many_threads_a_few_pieces_are_on_their_way_at_once(url: str) -> None:
    under_way, most = [0], [0]
    lock = threading.Lock()
    with opened(url) as store:
        server = store._blobs.far._server
        keep = server._keep

        def slow(*given: Any) -> None:
            with lock:
                under_way[0] += 1
                most[0] = max(most[0], under_way[0])
            time.sleep(0.01)
            keep(*given)
            with lock:
                under_way[0] -= 1

        server._keep = lambda name, fields, *more: (slow if "0" in fields else keep)(name, fields, *more)  # type: ignore[method-assign]
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda n: server.put(f"blob{n}", [b"1" * MB]), range(32)))

    assert 1 < most[0] <= 4


# ── how much ─────────────────────────────────────────────────────────────────────────


def test_what_is_too_large_for_a_server_is_refused_with_advice_and_fits_apart(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.blobs.redis.MOST_BYTES", 5 * MB)
    with opened(url) as store:
        with pytest.raises(UsageError, match=r"too large for Redis.*pass the path.*\?blobs=s3://"):
            store.blobs.put("large", [b"1" * 6 * MB])
        assert not store.blobs.has("large")
    with opened(url, folder.as_uri()) as store:
        store.blobs.put("large", [b"1" * 6 * MB])
        assert len(store.blobs.open("large")) == 6 * MB


def test_what_is_large_for_a_server_is_said_once(
    url: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(url) as store:
        for name in ("a", "b"):
            store.blobs.put(name, [b"1" * 17 * MB])
    assert [r.getMessage() for r in caplog.records if "goes through Redis" in r.getMessage()] == [
        "an object of 18 MB goes through Redis: better pass a path, or give the store a place for what is"
        " large (?blobs=s3://bucket/prefix, ?blobs=file:///shared/folder)"
    ]
    caplog.clear()
    with opened(url, folder.as_uri()) as store:
        store.blobs.put("c", [b"1" * 17 * MB])
    assert not caplog.records


def test_a_full_disk_of_the_place_is_said_and_nothing_of_it_stays(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.local import LocalFileOpener

    with opened(url, folder.as_uri()) as store:

        def full(self: Any, data: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(LocalFileOpener, "write", full)
        with pytest.raises(QueueFull, match="disk of file://"):
            store.blobs.put("large", [b"1" * 3 * MB])
        assert not store.blobs.has("large")
        assert objects(folder) == []
