"""What the Redis store does not take: URLs that cannot be, servers that lose data, and more than fits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from typing import Any

import pytest

from taskflow.errors import ConfigError, QueueFull, VersionMismatch
from taskflow.ids import NodeId, RunId, WorkerId, new_id
from taskflow.links.redis import parse
from taskflow.records import Edge, EdgeMode, Growth, Kind, Page, Plan, Settlement, WorkerView
from taskflow.stores.redis import RedisStore
from taskflow.testing import ManualClock
from taskflow.testing.story import value
from tests.contract.redis_sharing import array, node, rings, settled, some
from tests.servers import RedisServer

_numbers = count()


@pytest.fixture(scope="module", params=["valkey", "redis"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with closing(RedisServer(request.param)) as server:
        yield server.start()


@pytest.fixture
def url(server: RedisServer) -> Iterator[str]:
    yield f"{server.url}?namespace=n{next(_numbers)}"
    client = server.client()
    client.config_set("maxmemory", 0)
    client.config_set("maxmemory-policy", "noeviction")
    server.write_down()
    client.flushall()


# ── URLs ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://host?namespaces=team", r"has no option 'namespaces'.*namespace"),
        ("redis://host?db=1", "has no option 'db'"),
        ("redis+socket:///run/s?ssl_ca_certs=x", "has no option 'ssl_ca_certs'"),
        ("redis://host:many", "'many' is no port"),
        ("redis://host:99999", "'99999' is no port"),
        ("redis://host:0", "'0' is no port"),
        ("redis://host:", "'' is no port"),
        ("redis://host:²", "'²' is no port"),
        ("redis://[::1", "cannot be read"),
        ("redis://[::1]:x", "'x' is no port"),
        ("redis+sentinel://a:1,b:x/mymaster", "'x' is no port"),
        ("redis://host/one", "'one' is no number of a database"),
        ("redis://host/-1", "'-1' is no number of a database"),
        ("redis+socket:///run/s?db=x", "'x' is no number of a database"),
        ("redis+sentinel://host/mymaster/x", "'x' is no number of a database"),
        ("redis+cluster://host/1", "a cluster has only database 0"),
        ("redis://host?namespace=", "must not be empty or hold braces"),
        ("redis://host?namespace={a}", "must not be empty or hold braces"),
        ("redis://host?namespace=a%7D", "must not be empty or hold braces"),
        ("redis+sentinel://host", "does not say which master"),
        ("redis+sentinel://host/?namespace=a", "does not say which master"),
        ("redis+socket://run/redis.sock", "names no file: write redis.socket:///path"),
        ("redis+socket://", "names no file: write redis.socket:///path"),
        ("redis://host?allow_eviction=perhaps", "allow_eviction='perhaps' is not possible: it is one of 1,"),
        ("rediss://host?ssl_cert_reqs=never", "ssl_cert_reqs='never' is not possible: it is one of required"),
        ("rediss://host?ssl_ca_certs=/nowhere/ca.pem", "'/nowhere/ca.pem': there is no such file"),
    ],
)
def test_a_url_that_cannot_be_is_refused_and_says_what_is_wrong(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(url)


@pytest.mark.parametrize("url", ["redis://u:pa/ss@host", "redis://u:pa?ss@host", "redis://u:pa#ss@host"])
def test_a_password_that_is_not_quoted_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="are written %2F %3F %23") as told:
        parse(url)

    assert "pa" not in str(told.value).replace("password", "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:1/2?namespace=a", "redis://:***@host:1/2?namespace=a"),
        ("redis://me:secret@host", "redis://me:***@host"),
        ("redis://me@host", "redis://me@host"),
        ("redis+socket://:secret@/run/s", "redis+socket://:***@/run/s"),
        ("redis+socket:///run/s", "redis+socket:///run/s"),
        ("redis+sentinel://:secret@a,b:2/mymaster", "redis+sentinel://:***@a,b:2/mymaster"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert parse(url).shown == shown


def test_a_url_that_is_right_is_read_to_its_end() -> None:
    many = parse("redis+sentinel://me:s%40@a,b:2,[::1]:3,[::2]/mymaster/4?namespace=team")

    assert many.hosts == (("a", 26379), ("b", 2), ("::1", 3), ("::2", 26379))
    assert (many.service, many.db, many.namespace) == ("mymaster", 4, "team")
    assert (many.username, many.password) == ("me", "s@")
    assert parse("redis://").hosts == (("localhost", 6379),)
    assert parse("redis+socket:///run/a%20b?db=3").path == "/run/a b"


# ── how the server is set up ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_a_server_that_throws_keys_away_is_refused_unless_it_is_allowed(
    server: RedisServer, url: str, policy: str
) -> None:
    server.client().config_set("maxmemory-policy", policy)

    with pytest.raises(ConfigError, match=rf"maxmemory-policy {policy}.*noeviction.*\?allow_eviction=1"):
        RedisStore(url)

    with closing(RedisStore(f"{url}&allow_eviction=1")) as store:
        assert ("eviction", False, f"maxmemory-policy {policy}") in store.check()


def test_a_server_that_writes_nothing_down_is_said(server: RedisServer, url: str) -> None:
    with closing(RedisStore(url)) as store:
        assert any(line[:2] == ("durable", True) and "AOF is on" in line[2] for line in store.check())
        server.client().config_set("appendonly", "no")

        (told,) = [(well, words) for name, well, words in store.check() if name == "durable"]

        assert not told[0]
        assert "config set appendonly yes" in told[1]


def test_a_namespace_of_another_layout_is_refused(server: RedisServer, url: str) -> None:
    with closing(RedisStore(url)) as store:
        server.client().hset(store._link.key("meta"), "schema", 99)

    with pytest.raises(VersionMismatch, match="has layout 99"):
        RedisStore(url)


# ── more than fits ───────────────────────────────────────────────────────────────────


def fill(server: RedisServer) -> None:
    """Let it have less memory than it uses."""
    client = server.client()
    client.config_set("maxmemory", client.info("memory")["used_memory"] * 3 // 4)


def call(**options: Any) -> Plan:
    """A run of one call."""
    name = new_id()
    return Plan(RunId(name), (node(name, **options),))


@pytest.mark.parametrize("forgets", [False, True])
def test_a_full_server_takes_nothing_new_and_lets_all_that_is_there_end(
    server: RedisServer, url: str, forgets: bool
) -> None:
    """Also when it has forgotten the functions, and has no room for them."""
    clock = ManualClock()
    with closing(RedisStore(url, clock=clock)) as store, closing(store.listen("work")) as bell:
        plans = [call() for _ in range(4)]
        store.submit([*plans, Plan(RunId("map"), (array("m", 100),))])
        assert rings(bell)
        fill(server)
        if forgets:
            server.client().function_flush("SYNC")

        for _ in range(2):
            with pytest.raises(QueueFull, match="nothing new is taken until some runs are forgotten"):
                store.submit([call()])
        with pytest.raises(QueueFull):
            store.blobs.put("blob", [os.urandom(100)])
        leases = store.claim(some(2))
        assert not store.renew([lease.key for lease in leases], lease_s=60.0).lost
        assert not store.settle([settled(leases[0], Kind.SUCCEEDED)]).lost
        assert store.cancel(plans[2].run)
        assert store.cancel(NodeId("m"), index=7)
        clock.advance(61.0)
        store.reap()
        assert len(store.claim(some(9))) > 2
        assert store.rerun(plans[2].run, RunId("again")) == {plans[2].run: "again.0"}
        store.forget(plans[0].run)
        store.announce(WorkerView(WorkerId("w"), "host", 1, (), 1, 0, clock.now(), clock.now(), {}))
        assert [view.id for view in store.workers()] == ["w"]
        assert not store.blobs.has("blob")

        server.client().config_set("maxmemory", 0)
        last = call()
        store.submit([last])
        store.blobs.put("blob", [b"data"])
        assert {view.id for view in store.runs()} == {
            RunId("map"), RunId("again"), last.run, *(plan.run for plan in plans[1:]),
        }  # fmt: skip
        assert all(well for _, well, _ in store.check())


def test_a_submit_that_was_refused_has_stored_nothing(server: RedisServer, url: str) -> None:
    with closing(RedisStore(url)) as store:
        cursor = store.events(-1)
        fill(server)

        with pytest.raises(QueueFull):
            store.submit([call(), call()])

        assert store.runs() == []
        assert store.queues() == []
        assert store.events(-1) == cursor


def test_a_full_server_takes_no_more_items_of_a_map_and_lets_go_on_what_adds_them(
    server: RedisServer, url: str
) -> None:
    edges = (Edge(NodeId("feeder"), EdgeMode.FEEDS),)
    with closing(RedisStore(url)) as store:
        store.submit([Plan(RunId("run"), (node("feeder", queue="own"), array("m", 1)._replace(edges=edges)))])
        (lease,) = store.claim(some(1)._replace(queues=("own",)))
        more = Growth(widths={NodeId("m"): (2, (Page(1, 2, value()),))})
        fill(server)

        with pytest.raises(QueueFull):
            store.settle([Settlement(lease.key, (), more)])
        assert not store.renew([lease.key], lease_s=60.0).lost
        server.client().config_set("maxmemory", 0)
        assert not store.settle([Settlement(lease.key, (), more)]).lost

        assert store.snapshot(RunId("run"))[0].total == 3


def test_a_blob_of_which_only_half_fitted_goes_by_itself_and_can_be_put_again(
    server: RedisServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.blobs.redis.PIECE_BYTES", 1 << 18)
    data = os.urandom(6 << 20)
    client = server.client()
    with closing(RedisStore(url)) as store:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + (5 << 19))
        key = store._link.key("b:blob")

        with pytest.raises(QueueFull):
            store.blobs.put("blob", [data])

        assert not store.blobs.has("blob")
        assert 0 < client.hlen(key) < 24
        assert 0 < client.ttl(key) <= 3600
        client.config_set("maxmemory", 0)
        store.blobs.put("blob", [data])
        assert store.blobs.open("blob") == data
        assert client.ttl(key) > 3600
