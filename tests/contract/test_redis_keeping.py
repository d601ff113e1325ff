"""What the Redis store leaves on its server: nothing for ever, and nothing that a live run needs goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import numpy
import pytest

from taskflow.codec import Codec, Keyring
from taskflow.errors import Untrusted
from taskflow.ids import NodeId, RunId, WorkerId
from taskflow.records import Kind, Node, Outcome, Page, Plan, Settlement, Want
from taskflow.stores import redis_reads
from taskflow.stores.redis import RedisStore
from taskflow.stores.redis_records import want_to
from taskflow.testing import ManualClock
from tests.servers import RedisServer, running

_numbers = count()
BASE = {b"meta", b"seq", b"cursor", b"said", b"events"}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    yield from running("valkey")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(server: RedisServer, clock: ManualClock) -> Iterator[RedisStore]:
    store = RedisStore(f"{server.url}?namespace=k{next(_numbers)}", clock=clock)
    yield store
    store.close()


@pytest.fixture
def codec(store: RedisStore) -> Codec:
    return Codec(Keyring.load(), store.blobs)


def keys(store: RedisStore) -> dict[bytes, int]:
    """Names without their prefix, and in how many seconds they go; -1 is never."""
    prefix = store._key("").encode()
    pattern = prefix.replace(b"{", b"\\{").replace(b"}", b"\\}") + b"*"
    found = store._ask("KEYS", pattern)
    return {key[len(prefix) :]: store._ask("TTL", key) for key in found}


def large(codec: Codec, run: str, items: int = 2) -> Plan:
    """A map whose function and pages are blobs."""
    data = bytes(range(256)) * 8192
    digest = codec.function(lambda item: data[:item])
    pages = (Page(0, items, codec.dump_items(digest, 0, [data] * items)),)
    args = codec.dump_args(digest, (), {})
    return Plan(RunId(run), (Node(NodeId(f"{run}-n"), digest, args, (), items, True, pages),))


def run_all(store: RedisStore, codec: Codec, size: int = 1) -> None:
    want = Want(WorkerId("w"), ("default",), 8)
    while leases := store.claim(want):
        for lease in leases:
            node, lo, hi, fence = lease.key
            value = codec.dump_result(node, lo, hi, fence, [b"x" * size] * (hi - lo))
            store.settle([Settlement(lease.key, (Outcome(lo, hi, Kind.SUCCEEDED, value),))])


def test_after_a_run_is_forgotten_the_keys_are_those_of_before(store: RedisStore, codec: Codec) -> None:
    before = keys(store)
    store.submit([large(codec, "run")])
    run_all(store, codec, 100_000)
    assert len(keys(store)) > len(before) + 8

    store.forget(RunId("run"))

    left = keys(store)
    assert {key for key, ttl_s in left.items() if ttl_s == -1} <= BASE | before.keys()
    expiring = {key.partition(b":")[0] for key, ttl_s in left.items() if ttl_s != -1}
    assert expiring <= {b"gone", b"b", b"c", b"once", b"idle"}
    assert all(0 < ttl_s <= 3600 for key, ttl_s in left.items() if key.startswith(b"b:"))
    # What was made for one place has gone at once: pages and results; a function may be called again.
    assert all(len(key) > len("b:") + 32 for key in left if key.startswith(b"b:"))


def test_blobs_stay_while_a_run_needs_them(store: RedisStore, codec: Codec) -> None:
    store.submit([large(codec, "one")])
    store.submit([large(codec, "two")])
    run_all(store, codec)
    blobs = {key for key in keys(store) if key.startswith(b"b:")}
    assert {keys(store)[key] for key in blobs} == {-1}

    store.forget(RunId("one"))

    shared = {key for key in blobs if len(key) > len("b:") + 32}
    assert {keys(store)[key] for key in shared} == {-1}
    assert len(shared) >= 2  # the function, and what it captured


def test_what_nobody_came_to_refer_to_goes_by_itself(store: RedisStore) -> None:
    store.blobs.put("orphan", [b"x"])

    assert 0 < keys(store)[b"b:orphan"] <= 86_400


def test_a_name_that_is_found_is_kept_for_another_hour(store: RedisStore) -> None:
    store.blobs.put("known", [b"x"])
    store._ask("EXPIRE", store._key("b:known"), 5)

    assert store.blobs.has("known")

    assert keys(store)[b"b:known"] == 3600
    assert not store.blobs.has("unknown")


def test_a_sweep_gives_all_of_an_ended_run_a_time_to_go(store: RedisStore, codec: Codec) -> None:
    store.submit([large(codec, "ended"), Plan(RunId("live"), (Node(NodeId("a"), "fn", b"args"),))])
    want = Want(WorkerId("w"), ("default",), 2)
    for lease in store.claim(want):
        if lease.run == "ended":
            node, lo, hi, fence = lease.key
            value = codec.dump_result(node, lo, hi, fence, [1] * (hi - lo))
            store.settle([Settlement(lease.key, (Outcome(lo, hi, Kind.SUCCEEDED, value),))])

    store.sweep(age_s=1000, size_bytes=1 << 40)

    ttls = keys(store)
    own = [ttl_s for key, ttl_s in ttls.items() if b":ended" in key]
    assert len(own) > 4
    assert all(1000 < ttl_s <= 2060 for ttl_s in own)
    assert {ttls[b"n:a"], ttls[b"n:live"], ttls.get(b"q:default", -1)} == {-1}


def test_a_claim_that_is_asked_again_gives_the_same_again(store: RedisStore) -> None:
    store.submit([Plan(RunId("run"), tuple(Node(NodeId(f"n{i}"), "fn", b"args") for i in range(4)))])
    want = want_to(Want(WorkerId("w"), ("default",), 2), "nonce")

    ((first, repeated), values), ((again, is_again), others) = (store._step("claim", want) for _ in range(2))
    other = store.claim(Want(WorkerId("w"), ("default",), 2))

    assert (first, values[1:]) == (again, others[1:])
    assert (repeated, is_again) == (False, True)
    assert [lease.key.node for lease in other] == ["n2", "n3"]


def test_a_claim_that_is_asked_again_does_not_give_what_was_lost_meanwhile(
    store: RedisStore, clock: ManualClock
) -> None:
    store.submit([Plan(RunId("run"), (Node(NodeId("n"), "fn", b"args"),))])
    want = want_to(Want(WorkerId("w"), ("default",), 1), "nonce")
    store._step("claim", want)
    clock.advance(16)
    store.reap()
    (lease,) = store.claim(Want(WorkerId("other"), ("default",), 1))

    assert store._step("claim", want)[0][0] == []
    assert lease.delivery == 2


def test_a_blob_that_others_altered_is_not_opened(
    store: RedisStore, codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = codec.function(abs)
    value = codec.dump_args(digest, (numpy.arange(1_000_000),), {})
    key = max(
        (key for key in keys(store) if key.startswith(b"b:")),
        key=lambda key: store._ask("HSTRLEN", store._key(key.decode()), "0"),
    )
    piece = bytearray(store._ask("HGET", store._key(key.decode()), "0"))
    piece[-8] ^= 1
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with closing(RedisStore(store.url)) as elsewhere:
        there = Codec(Keyring.load(), elsewhere.blobs)
        assert there.load_args(digest, value)[0][0].sum() == 499_999_500_000

    store._ask("HSET", store._key(key.decode()), "0", bytes(piece))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    with closing(RedisStore(store.url)) as elsewhere, pytest.raises(Untrusted, match="not what was stored"):
        Codec(Keyring.load(), elsewhere.blobs).load_args(digest, value)


def test_a_check_of_many_nodes_reads_some_of_them_and_says_so(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In steps, with one round trip for many nodes."""
    monkeypatch.setattr(redis_reads, "NODES_CHECKED", 400)
    nodes = tuple(Node(NodeId(f"n{i}"), "fn", b"args") for i in range(2000))
    store.submit([Plan(RunId("few"), nodes[:50])])
    assert ("invariants", True, "every node is in order") in store.check()
    store.submit([Plan(RunId("many"), nodes[50:])])
    asked = store._ask("INFO", "stats")["total_commands_processed"]

    (told,) = [line for line in store.check() if line[0] == "invariants"]

    assert told[1]
    assert "the rest was not read" in told[2]
    assert store._ask("INFO", "stats")["total_commands_processed"] - asked < 3 * 1000
