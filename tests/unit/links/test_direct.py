"""Commands on kept connections, to a server that has answered already."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import ResponseError

from taskflow.links.direct import Direct, packed


class Connection:
    """As much of redis-py's as is used."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.is_given_up = False

    def disconnect(self) -> None:
        self.is_given_up = True


class Client:
    """A client, and its pool, of one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection_pool = self
        self._connection = connection

    def get_connection(self, *_: str) -> Connection:
        return self._connection

    def release(self, connection: Connection) -> None:
        pass


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    own, other = socket.socketpair()
    with own, other:
        yield own, other


def test_a_connection_is_kept_between_commands(ends: tuple[socket.socket, socket.socket]) -> None:
    own, server = ends
    connection = Connection(own)
    direct = Direct(Client(connection))
    for said in (b"first", b"second"):
        server.sendall(b"$%d\r\n%b\r\n" % (len(said), said))
        assert direct.ask("GET", "key") == said

    assert server.recv(1000) == 2 * packed(("GET", "key"))
    assert not connection.is_given_up


def test_what_is_refused_is_said_in_the_words_of_the_server(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    own, server = ends
    connection = Connection(own)
    server.sendall(b"-ERR Function not found\r\n")

    with pytest.raises(ResponseError, match="ERR Function not found"):
        Direct(Client(connection)).ask("FCALL", "f", 0)
    assert connection.is_given_up


def test_a_connection_that_ends_within_an_answer_is_lost(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    own, server = ends
    connection = Connection(own)
    server.sendall(b"$5\r\nhal")
    server.shutdown(socket.SHUT_WR)

    with pytest.raises(ConnectionLost):
        Direct(Client(connection)).ask("GET", "key")
    assert connection.is_given_up
