"""The Redis store by every way there is to a server: what is told by one connection is seen by another."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from taskflow.errors import ConfigError, StoreUnavailable
from taskflow.stores.redis import RedisStore
from tests.contract.redis_sharing import rings, works
from tests.contract.sharing import call, settle_all, want
from tests.servers import RedisServer, certificates, free_port

SECRET = "p@ss/w:rd%?#"  # every sign that means something in a URL
QUOTED = "p%40ss%2Fw%3Ard%25%3F%23"


@pytest.fixture(scope="module", params=["valkey", "redis"])
def started(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """On a port and on a socket."""
    server = RedisServer(request.param, free_port())
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def server(started: RedisServer) -> RedisServer:
    """It is empty."""
    started.client().flushall()
    return started


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first contact may take half a second."""
    monkeypatch.setattr("taskflow.links.redis.FIRST_CONTACT_S", 0.3)
    monkeypatch.setattr("taskflow.links.redis.FIRST_ANSWER_S", 0.3)


# ── one server ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_a_server_is_reached_by_its_port(server: RedisServer, scheme: str) -> None:
    works(f"{scheme}://127.0.0.1:{server.port}")


def test_a_server_is_reached_by_its_socket(server: RedisServer) -> None:
    works(f"redis+socket://{server.socket}")


def test_a_server_is_reached_by_its_name(server: RedisServer) -> None:
    works(f"redis://localhost:{server.port}/")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{port}/3", "redis+socket://{socket}?db=3"])
def test_a_database_is_one_of_several(server: RedisServer, url: str) -> None:
    url = url.format(port=server.port, socket=server.socket)

    with closing(RedisStore(url)) as store:
        store.submit([call()])

    sizes = {name: info["keys"] for name, info in server.client().info("keyspace").items()}
    assert list(sizes) == ["db3"]


def test_a_database_that_is_not_there_is_refused(server: RedisServer) -> None:
    with pytest.raises(ConfigError, match="has no such database"):
        RedisStore(f"redis://127.0.0.1:{server.port}/99")


def _loopbacks() -> list[str]:
    """Addresses of this host; a container may have no IPv6."""
    found = ["127.0.0.1"]
    with suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        found.append("::1")
    return found


@pytest.mark.parametrize("address", _loopbacks())
def test_a_server_is_reached_by_its_address(address: str) -> None:
    port = free_port()
    with closing(RedisServer("valkey", port, ["--bind", address])) as server:
        server.start()
        works(f"redis://{f'[{address}]' if ':' in address else address}:{port}/0")


def test_namespaces_on_a_server_know_nothing_of_each_other(server: RedisServer) -> None:
    names = ["n", "n1", "n*", "N", "ñ", "n:r"]
    stores = {name: RedisStore(f"{server.url}?namespace={name}") for name in names}
    plans = {name: call(args=name.encode()) for name in names}
    bells = {name: store.listen("work") for name, store in stores.items()}
    for name, store in stores.items():
        assert not rings(bells[name], 0.0)
        store.submit([plans[name]])
        store.blobs.put("blob", [name.encode()])

    for name, store in stores.items():
        assert rings(bells[name])
        assert [view.id for view in store.runs()] == [plans[name].run]
        assert store.find("")[0] == plans[name].run
        assert bytes(store.blobs.open("blob")) == name.encode()
        (lease,) = store.claim(want(slots=9))
        assert lease.args == name.encode()
        assert [line["running"] for line in store.queues()] == [1]
        assert not store.settle(settle_all([lease])).lost
    stores["n"].forget(plans["n"].run)
    assert [len(stores[name].runs()) for name in names] == [0, 1, 1, 1, 1, 1]
    assert all(well for name in names for _, well, _ in stores[name].check())
    for name in names:
        bells[name].close()
        stores[name].close()


# ── who is let in ────────────────────────────────────────────────────────────────────


@pytest.fixture
def locked(server: RedisServer) -> Iterator[RedisServer]:
    """It wants a password."""
    server.client().config_set("requirepass", SECRET)
    server.password = SECRET
    yield server
    server.client().config_set("requirepass", "")
    server.password = None


@pytest.mark.parametrize("account", [f":{QUOTED}", f"default:{QUOTED}"])
def test_a_password_lets_in(locked: RedisServer, account: str) -> None:
    works(f"redis://{account}@127.0.0.1:{locked.port}")
    works(f"redis+socket://{account}@{locked.socket}")


@pytest.mark.parametrize("account", ["", ":wrong-one@", "nobody:wrong-one@"])
def test_who_is_not_let_in_is_told_so_at_once(locked: RedisServer, account: str) -> None:
    with pytest.raises(ConfigError, match="does not let us in") as told:
        RedisStore(f"redis://{account}127.0.0.1:{locked.port}")

    assert "user and password in the URL" in str(told.value)
    assert "wrong-one" not in str(told.value)


def test_a_password_that_changed_meanwhile_is_told_when_it_is_asked_for(locked: RedisServer) -> None:
    with closing(RedisStore(f"redis://:{QUOTED}@127.0.0.1:{locked.port}")) as store:
        locked.client().config_set("requirepass", "other")
        locked.password = "other"
        locked.client().client_kill_filter(_type="normal", skipme=True)

        with pytest.raises(ConfigError, match=r"redis://:\*\*\*@127\.0\.0\.1.* does not let us in"):
            store.submit([call()])


def rights_that_are_named(server: RedisServer) -> list[str]:
    """What the message for a user without rights says that it needs."""
    server.client().acl_setuser("poor", enabled=True, passwords=["+pw"])
    with pytest.raises(ConfigError, match="acl setuser") as told:
        RedisStore(f"redis://poor:pw@127.0.0.1:{server.port}")
    found = re.search(r"`acl setuser NAME ([^`]+)`", str(told.value))
    assert found is not None
    return found[1].split()


def with_rights(server: RedisServer, rights: list[str]) -> str:
    server.client().execute_command("ACL", "SETUSER", "user", "reset", "on", ">pw", *rights)
    return f"redis://user:pw@127.0.0.1:{server.port}"


def test_the_rights_that_are_named_suffice(server: RedisServer) -> None:
    works(with_rights(server, rights_that_are_named(server)))


def test_each_right_that_is_named_is_needed_and_missed_by_name(server: RedisServer) -> None:
    rights = rights_that_are_named(server)

    for left_out in rights:
        url = with_rights(server, [right for right in rights if right != left_out])
        if (
            left_out == "+@connection"
        ):  # AUTH and HELLO are always allowed; without SELECT there is one database
            url += "/1"
        with pytest.raises(ConfigError, match=r"acl setuser NAME .* \+@scripting"):
            works(url, wait_s=0.5)


# ── TLS ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, int, Path]]:
    """A server that speaks TLS on a port, and the folder of its authority."""
    folder, port = certificates(tmp_path_factory.mktemp("ca")), free_port()
    options = [
        "--tls-port", str(port), "--tls-cert-file", str(folder / "server.pem"),
        "--tls-auth-clients", "optional", "--tls-key-file", str(folder / "server.key"),
        "--tls-ca-cert-file", str(folder / "ca.pem"),
    ]  # fmt: skip
    server = RedisServer("redis", options=options)
    try:
        yield server.start(), port, folder
    finally:
        server.close()


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
def test_a_server_is_reached_by_tls(tls: tuple[RedisServer, int, Path], scheme: str) -> None:
    _, port, folder = tls

    works(f"{scheme}://127.0.0.1:{port}?ssl_ca_certs={folder}/ca.pem")


def test_a_certificate_of_our_own_is_shown(tls: tuple[RedisServer, int, Path]) -> None:
    server, port, folder = tls
    server.client().config_set("tls-auth-clients", "yes")
    own = f"&ssl_certfile={folder}/server.pem&ssl_keyfile={folder}/server.key"

    works(f"rediss://localhost:{port}?ssl_ca_certs={folder}/ca.pem{own}")

    server.client().config_set("tls-auth-clients", "optional")


def test_a_certificate_that_nobody_vouches_for_is_refused(tls: tuple[RedisServer, int, Path]) -> None:
    _, port, _ = tls

    with pytest.raises(ConfigError, match=r"not trusted .*ssl_ca_certs="):
        RedisStore(f"rediss://127.0.0.1:{port}")

    works(f"rediss://127.0.0.1:{port}?ssl_cert_reqs=none")


def test_tls_on_a_port_that_does_not_speak_it_is_asked_about(server: RedisServer, brief: None) -> None:
    with pytest.raises(StoreUnavailable, match="is this the port where it speaks TLS"):
        RedisStore(f"rediss://127.0.0.1:{server.port}")


# ── nobody there ─────────────────────────────────────────────────────────────────────


def test_without_a_server_the_first_contact_says_what_to_do(brief: None) -> None:
    port = free_port()

    with pytest.raises(StoreUnavailable) as told:
        RedisStore(f"redis://user:secret@127.0.0.1:{port}/0")

    assert f"redis://user:***@127.0.0.1:{port}/0" in str(told.value)
    assert "secret" not in str(told.value)
    assert "redis-cli ping" in str(told.value)


def test_a_server_that_does_not_answer_is_not_waited_for_longer(server: RedisServer, brief: None) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)

    try:
        with pytest.raises(StoreUnavailable, match="no answer"):
            RedisStore(server.url)
    finally:
        server.process.send_signal(signal.SIGCONT)


def test_another_kind_of_server_is_said() -> None:
    with (
        socket.create_server(("127.0.0.1", port := free_port())) as listener,
        ThreadPoolExecutor(1) as threads,
    ):

        def answer() -> None:
            with listener.accept()[0] as near:
                near.recv(1000)
                near.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threads.submit(answer)
        with pytest.raises(ConfigError, match=r"is no Redis server .*400 Bad Request"):
            RedisStore(f"redis://127.0.0.1:{port}")


def test_the_first_contact_is_bounded_by_what_is_documented() -> None:
    from taskflow.links import redis as link

    assert link.FIRST_CONTACT_S + link.FIRST_ANSWER_S <= 5.0
    assert link.GUIDE_S <= link.FIRST_ANSWER_S
