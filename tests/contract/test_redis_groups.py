"""Servers that stand in for each other (sentinels), or share the keys (a cluster)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import count

import pytest

from taskflow.errors import ConfigError, StoreUnavailable
from taskflow.stores.redis import RedisStore
from tests.contract.redis_sharing import rings, works
from tests.contract.redis_suite import OnAServer
from tests.contract.sharing import call, settle_all, want
from tests.servers import RedisServer, Sentinel, cluster, free_port, is_whole, until

_numbers = count()


# ── sentinels ────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["valkey", "redis"])
def watched(request: pytest.FixtureRequest) -> Iterator[tuple[RedisServer, RedisServer, Sentinel]]:
    """A master, its replica, and the sentinel that watches them."""
    with ExitStack() as stack:
        options = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
        master = stack.enter_context(closing(RedisServer(request.param, free_port(), options).start()))
        options += ["--replicaof", "127.0.0.1", str(master.port)]
        replica = stack.enter_context(closing(RedisServer(request.param, free_port(), options).start()))
        until(lambda: replica.client().info("replication")["master_link_status"] == "up")
        sentinel = stack.enter_context(closing(Sentinel(master)))
        sentinel.start()
        until(lambda: sentinel.client().sentinel_master("mymaster")["num-slaves"] == 1)
        yield master, replica, sentinel


def test_a_store_goes_on_behind_the_sentinels_when_its_master_dies(
    watched: tuple[RedisServer, RedisServer, Sentinel], caplog: pytest.LogCaptureFixture
) -> None:
    master, replica, sentinel = watched
    works(sentinel.url)
    with closing(RedisStore(sentinel.url)) as store, closing(store.listen("work")) as bell:
        first = call()
        store.submit([first])
        store.blobs.put("blob", [b"data"])
        assert rings(bell)
        (lease,) = store.claim(want())
        master.client().wait(1, 5000)

        master.kill()
        with caplog.at_level(logging.WARNING, "taskflow.links.redis"):
            assert not store.settle(settle_all([lease])).lost

        assert replica.client().role()[0] == b"master"
        assert [view.state for view in store.runs()] == ["succeeded"]
        assert bytes(store.blobs.open("blob")) == b"data"
        told = [record.getMessage().rpartition("is ")[2][:4] for record in caplog.records]
        # Twice, when the sentinels knew of no master meanwhile.
        assert told in (["away", "back"], ["away", "back"] * 2)
        until(lambda: rings(bell, 0.6))
        until(lambda: not rings(bell, 0.1))
        store.submit([call()])
        assert rings(bell)


def test_a_master_that_the_sentinels_do_not_know_is_named(
    watched: tuple[RedisServer, RedisServer, Sentinel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.links.redis.FIRST_CONTACT_S", 0.1)
    _, _, sentinel = watched

    with pytest.raises(StoreUnavailable, match="No master found for 'other'"):
        RedisStore(sentinel.url.replace("mymaster", "other"))


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_sentinels_may_have_a_password_of_their_own(kind: str) -> None:
    with ExitStack() as stack:
        master = stack.enter_context(closing(RedisServer(kind, free_port()).start()))
        sentinel = stack.enter_context(closing(Sentinel(master, "s&cret")))
        sentinel.start()
        until(lambda: sentinel.client().sentinel_master("mymaster")["num-slaves"] == 0)

        works(f"{sentinel.url}?sentinel_password=s%26cret")
        with closing(RedisStore(f"{sentinel.url}?sentinel_password=s%26cret")) as store:
            assert "cret" not in store._link.address.shown
        with pytest.raises((ConfigError, StoreUnavailable)) as refused:
            RedisStore(f"{sentinel.url}?sentinel_password=wrong")
        assert "wrong" not in str(refused.value)
    with pytest.raises(ConfigError, match="no option 'sentinel_password'"):
        RedisStore(f"{master.url}?sentinel_password=x")


def test_a_sentinel_is_not_taken_for_a_server(watched: tuple[RedisServer, RedisServer, Sentinel]) -> None:
    _, _, sentinel = watched

    with pytest.raises(ConfigError, match=r"redis\+sentinel://"):
        RedisStore(f"redis://127.0.0.1:{sentinel.port}")


def test_a_sentinel_that_is_away_is_passed_over(watched: tuple[RedisServer, RedisServer, Sentinel]) -> None:
    _, _, sentinel = watched

    works(f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/mymaster/3")


# ── a cluster ────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[RedisServer]]:
    """Three servers that share the keys."""
    with cluster("valkey") as servers:
        yield servers


def url_of(nodes: list[RedisServer]) -> str:
    """A namespace of its own on a cluster."""
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    return f"redis+cluster://{hosts}?namespace=n{next(_numbers)}"


def owner(nodes: list[RedisServer], store: RedisStore) -> RedisServer:
    """The node that has the keys of a store."""
    client = nodes[0].client()
    slot = client.execute_command("CLUSTER KEYSLOT", store._link.prefix)
    return nodes[next(n for n in range(3) if slot <= (n + 1) * 16384 // 3 - 1)]


class TestOnACluster(OnAServer):
    """A namespace for each test, on whichever node it lies."""

    @pytest.fixture
    def url(self, nodes: list[RedisServer]) -> str:
        return url_of(nodes)


def test_a_cluster_carries_everything_wherever_the_namespace_lies(nodes: list[RedisServer]) -> None:
    met = set()
    while len(met) < 3:
        url = url_of(nodes)
        works(url)
        with closing(RedisStore(url)) as store:
            met.add(owner(nodes, store).port)


def test_one_node_of_a_cluster_tells_of_the_others(nodes: list[RedisServer]) -> None:
    works(url_of([nodes[1]]))


def test_what_a_cluster_says_of_itself_is_said_by_the_node_of_the_namespace(nodes: list[RedisServer]) -> None:
    with closing(RedisStore(url_of(nodes))) as store:
        mine = owner(nodes, store)
        mine.client().config_set("appendonly", "no")
        try:
            durable = [[well for name, well, _ in store.check() if name == "durable"] for _ in range(9)]
            infos = [store._link.client.info()["tcp_port"] for _ in range(9)]
        finally:
            mine.write_down()

    assert durable == [[False]] * 9
    assert infos == [mine.port] * 9


def test_a_node_of_a_cluster_that_dies_and_comes_back_is_waited_for(nodes: list[RedisServer]) -> None:
    with closing(RedisStore(url_of(nodes))) as store, closing(store.listen("work")) as bell:
        mine = owner(nodes, store)
        store.submit([call(), call()])
        assert rings(bell)
        leases = store.claim(want())
        mine.kill()
        mine.start()

        assert not store.settle(settle_all(leases[:1])).lost

        assert store.claim(want()) == []
        assert sorted(view.state for view in store.runs()) == ["running", "succeeded"]
        store.submit([call()])
        until(lambda: rings(bell, 0.6))
        for node in nodes:
            until(lambda at=node: is_whole(at))  # type: ignore[misc]


def test_a_slot_that_is_moved_to_another_node_is_waited_for(nodes: list[RedisServer]) -> None:
    url = url_of(nodes)
    with closing(RedisStore(url)) as store, closing(store.listen("work")) as bell:
        plans = [call() for _ in range(3)]
        store.submit(plans[:2])
        leases = store.claim(want())
        slot = nodes[0].client().execute_command("CLUSTER KEYSLOT", store._link.prefix)
        old, new = owner(nodes, store), next(node for node in nodes if node is not owner(nodes, store))
        names = {node.port: node.client().execute_command("CLUSTER MYID").decode() for node in nodes}
        keys = old.client().execute_command("CLUSTER GETKEYSINSLOT", slot, 1000)
        new.client().execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[old.port])
        old.client().execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[new.port])
        migrate = ("MIGRATE", "127.0.0.1", new.port, "", 0, 5000, "KEYS")
        old.client().execute_command(*migrate, *keys[::2])  # half of them

        with ThreadPoolExecutor(2) as threads:
            settled = threads.submit(store.settle, settle_all(leases))
            submitted = threads.submit(store.submit, plans)
            until(lambda: store._link._away)
            assert new.client().execute_command("CLUSTER COUNTKEYSINSLOT", slot) == len(keys[::2])
            old.client().execute_command(*migrate, *keys[1::2])
            for node in (new, old):
                node.client().execute_command("CLUSTER SETSLOT", slot, "NODE", names[new.port])
            assert not settled.result(10).lost
            submitted.result(10)

        assert [view.state for view in store.runs()] == ["running", "succeeded", "succeeded"]
        assert all(well for _, well, _ in store.check())
        until(lambda: not rings(bell, 0.1))
        store.submit([call()])
        assert rings(bell)


@pytest.mark.slow
def test_a_store_goes_on_with_the_replica_when_its_node_of_a_cluster_dies() -> None:
    with ExitStack() as stack:
        nodes = stack.enter_context(cluster("valkey"))
        store = stack.enter_context(closing(RedisStore(url_of(nodes))))
        bell = stack.enter_context(closing(store.listen("work")))
        mine = owner(nodes, store)
        replica = stack.enter_context(closing(RedisServer("valkey", free_port(), nodes[0].options).start()))
        replica.client().execute_command("CLUSTER MEET", "127.0.0.1", mine.port)
        name = mine.client().execute_command("CLUSTER MYID")
        until(lambda: replica.client().execute_command("CLUSTER REPLICATE", name))
        until(lambda: replica.client().info("replication")["master_link_status"] == "up")
        for node in (*nodes, replica):
            node.client().config_set("cluster-node-timeout", 500)
        store.submit([call()])
        assert rings(bell)
        (lease,) = store.claim(want())
        mine.client().wait(1, 5000)
        mine.kill()

        assert not store.settle(settle_all([lease])).lost

        assert replica.client().role()[0] == b"master"
        assert [view.state for view in store.runs()] == ["succeeded"]
        until(lambda: rings(bell, 0.6))
        until(lambda: not rings(bell, 0.1))
        store.submit([call()])
        assert rings(bell)


def test_a_cluster_that_is_away_is_said_within_the_time(
    nodes: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.links.redis.FIRST_CONTACT_S", 0.1)

    with pytest.raises(StoreUnavailable, match="no answer from redis\\+cluster://"):
        RedisStore(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}")


def test_a_node_of_a_cluster_is_not_taken_for_a_single_server(nodes: list[RedisServer]) -> None:
    with pytest.raises(ConfigError, match=r"write redis\+cluster://"):
        for name in "abc":
            RedisStore(f"redis://127.0.0.1:{nodes[0].port}?namespace={name}").close()


def test_a_single_server_is_not_taken_for_a_cluster() -> None:
    with closing(RedisServer("valkey", free_port())) as server:
        server.start()
        with pytest.raises(ConfigError, match=r"is not a cluster .* write redis://"):
            RedisStore(f"redis+cluster://127.0.0.1:{server.port}")


def test_who_is_not_let_in_by_a_cluster_is_told_so(nodes: list[RedisServer]) -> None:
    for node in nodes:
        node.client().acl_setuser("poor", enabled=True, passwords=["+pw"])

    with pytest.raises(ConfigError, match="does not let us in"):
        RedisStore(f"redis+cluster://poor:wrong@127.0.0.1:{nodes[0].port}")
    with pytest.raises(ConfigError, match=r"acl setuser NAME .*cluster\|slots"):
        RedisStore(f"redis+cluster://poor:pw@127.0.0.1:{nodes[0].port}")
