"""The way to a Redis server: its URL, the connection, and what is asked again.

Whatever is asked through a link may be asked twice. So whatever passes (a lost connection, a server that
loads, a replica that becomes the master) is waited out here, and nowhere else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.retry import Retry

from taskflow.errors import ConfigError, QueueFull, StoreUnavailable, nearest
from taskflow.policy import backoff_s, roll

__all__ = ["SCHEMES", "Address", "RedisLink", "parse"]

T = TypeVar("T")
log = logging.getLogger(__name__)

FIRST_CONTACT_S = 5.0
CONNECT_S = 3.0
LEAST_ANSWER_S = 5.0
OPTIONS = frozenset(
    {"namespace", "allow_eviction", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"}
)
SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "redis+socket": "unix",
    "redis+sentinel": "sentinel",
    "redis+cluster": "cluster",
}
"""What a URL may begin with, and the kind of server that it means."""

_PASSING = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    BusyLoadingError,
    ReadOnlyError,
    ClusterDownError,
    MasterDownError,
    TryAgainError,
    ConnectionError,
)
_PASSING_WORDS = (
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "BUSY",
    "MISCONF",
    "UNBLOCKED",
)


# ── where it is ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Address:
    """A server, and a namespace on it.

    Args:
        kind: ``redis``, ``rediss`` (TLS), ``unix``, ``sentinel`` or ``cluster``.
        hosts: Host and port; several of sentinels and of a cluster.
        db: The database; a cluster has only one.
        path: Of the socket, for ``unix``.
        service: What sentinels call the master.
        username, password: Of the server.
        namespace: Stores of several names share a server and know nothing of each other.
        allow_eviction: Use a server that may throw our keys away.
        tls: Files of certificates, by the names that redis-py has for them.
        shown: The URL without the password.
    """

    kind: str
    hosts: tuple[tuple[str, int], ...] = ()
    db: int = 0
    path: str = ""
    service: str = ""
    username: str | None = None
    password: str | None = None
    namespace: str = "default"
    allow_eviction: bool = False
    tls: Mapping[str, str] = field(default_factory=dict)
    shown: str = ""

    @property
    def prefix(self) -> str:
        """What all keys begin with; its braces keep a namespace in one slot of a cluster."""
        return f"tf:{{{self.namespace}}}:"


def parse(url: str) -> Address:
    """Read the URL of a Redis store.

    ``redis://user:password@host:6379/0?namespace=team`` · ``rediss://…`` · ``redis+socket:///run/redis.sock?db=1``
    · ``redis+sentinel://host:26379,host:26379/mymaster/0`` · ``redis+cluster://host:7000,host:7001``

    Raises:
        ConfigError: An unknown option (the nearest is named), or a part that cannot be read.
    """
    parts = urlsplit(url)
    kind = SCHEMES[parts.scheme]
    options = dict(parse_qsl(parts.query))
    known = OPTIONS | ({"db"} if kind == "unix" else set())
    for name in options.keys() - known:
        raise ConfigError(f"A Redis store has no option {name!r}.{nearest(name, known)}")
    account, _, places = parts.netloc.rpartition("@")
    username, _, password = account.partition(":")
    namespace = options.get("namespace", "default")
    if not namespace or any(c in namespace for c in "{}"):
        raise ConfigError(f"namespace={namespace!r} is not possible: it must not be empty or hold braces.")
    service, _, rest = parts.path.strip("/").partition("/")
    if kind != "sentinel":
        service, rest = "", parts.path.strip("/")
    if kind == "sentinel" and not service:
        raise ConfigError(
            f"{_shown(url)} does not say which master: write redis+sentinel://host:26379/mymaster"
        )
    if kind == "unix":
        rest = options.get("db", "0")
    if rest and not rest.isdigit():
        raise ConfigError(f"{_shown(url)}: {rest!r} is no number of a database.")
    return Address(
        kind,
        tuple(
            _host(place, 26379 if kind == "sentinel" else 6379)
            for place in (places or "localhost").split(",")
        ),
        int(rest or 0),
        parts.path if kind == "unix" else "",
        service,
        unquote(username) or None,
        unquote(password) or None,
        namespace,
        options.get("allow_eviction", "").lower() in ("1", "true", "yes"),
        {name: value for name, value in options.items() if name.startswith("ssl_")},
        _shown(url),
    )


def _host(place: str, port: int) -> tuple[str, int]:
    host, colon, given = place.rpartition(":") if not place.endswith("]") else (place, "", "")
    if not colon:
        host, given = place, str(port)
    if not given.isdigit():
        raise ConfigError(f"{place!r}: {given!r} is no port.")
    return host.strip("[]") or "localhost", int(given)


def _shown(url: str) -> str:
    parts = urlsplit(url)
    account, at, places = parts.netloc.rpartition("@")
    name = account.partition(":")[0]
    hidden = f"{name}:***{at}{places}" if ":" in account else parts.netloc
    query = urlencode([(k, v) for k, v in parse_qsl(parts.query)])
    return urlunsplit((parts.scheme, hidden, parts.path, query, ""))


def _client(address: Address, answer_s: float) -> Any:
    """A client of redis-py that gives bytes, and asks nothing twice by itself."""
    common: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "socket_connect_timeout": CONNECT_S,
        "socket_timeout": answer_s,
        "socket_keepalive": True,
        "health_check_interval": 0,
        "retry": Retry(NoBackoff(), 0),
    }
    if address.kind == "unix":
        del common["socket_keepalive"]
        return redis.Redis(unix_socket_path=address.path, db=address.db, **common)
    if address.kind == "rediss" or address.tls:
        common |= {"ssl": True, **address.tls}
    if address.kind == "sentinel":
        from redis import sentinel

        watchers: Any = sentinel.Sentinel  # redis-py has no types for these
        brief = {"socket_connect_timeout": 1.0, "socket_timeout": 1.0, "retry": Retry(NoBackoff(), 0)}
        found = watchers(list(address.hosts), sentinel_kwargs=brief, db=address.db, **common)
        return found.master_for(address.service)
    if address.kind == "cluster":
        from redis import cluster

        node: Any = cluster.ClusterNode
        return cluster.RedisCluster(startup_nodes=[node(*host) for host in address.hosts], **common)
    host, port = address.hosts[0]
    return redis.Redis(host, port, db=address.db, **common)


# ── the link ─────────────────────────────────────────────────────────────────────────


class RedisLink:
    """Asks a server, and waits while it is away.

    Args:
        url: Where it is.
        wait_s: How long a question waits for a server that is away before `StoreUnavailable`; one that is
            connected and silent is away too, after at least 5 s.

    Raises:
        ConfigError: The server cannot be used as it is set up, or does not let us in.
        StoreUnavailable: There is none.
    """

    def __init__(self, url: str, wait_s: float) -> None:
        self.address = parse(url)
        self.prefix = self.address.prefix
        self._patience_s = wait_s
        self.wait_s = min(wait_s, FIRST_CONTACT_S)
        self._lock = threading.Lock()
        self._away = False
        self.client: Any = None
        self.info: Mapping[str, Any] = self.ask(lambda client: client.info())
        if self.address.kind == "cluster" and "redis_version" not in self.info:
            self.info = next(iter(self.info.values()))
        self.wait_s = wait_s

    def key(self, name: str) -> str:
        """A key of this namespace."""
        return self.prefix + name

    def run(self, text: str, digest: str, *args: Any) -> list[bytes]:
        """Run a script, which the server may have forgotten."""

        def ask(client: Any) -> Any:
            try:
                return client.evalsha(digest, 1, self.prefix, *args)
            except NoScriptError:
                return client.eval(text, 1, self.prefix, *args)

        answer: list[bytes] = self.ask(ask)
        return answer

    def ask(self, question: Callable[[Any], T]) -> T:
        """Ask the server; what may be asked twice is asked again while it is away.

        Raises:
            StoreUnavailable: It stayed away for `wait_s`.
            QueueFull: Its memory is full.
            ConfigError: It does not let us in.
        """
        failures, until = 0, time.monotonic() + self.wait_s
        while True:
            try:
                answer = question(self._connected())
            except Exception as error:
                if not _passes(error):
                    raise self._explained(error) from error
                failures += 1
                rest_s = backoff_s(failures, base_s=0.05, factor=2.0, cap_s=1.0) * (0.5 + roll() / 2)
                if time.monotonic() + rest_s > until:
                    raise StoreUnavailable(self._unreachable(error)) from error
                if not self._away:
                    self._away = True
                    log.warning(
                        "%s is away, retrying: %s", self.address.shown, error, extra={"action": "wait"}
                    )
                time.sleep(rest_s)
                continue
            if self._away:
                self._away = False
                log.warning("%s is back", self.address.shown, extra={"action": "resume"})
            return answer

    def _connected(self) -> Any:
        if self.client is None:
            with self._lock:
                if self.client is None:
                    self.client = _client(self.address, max(self._patience_s, LEAST_ANSWER_S))
        return self.client

    def _unreachable(self, error: Exception) -> str:
        return (
            f"There is no answer from {self.address.shown} ({error}). Is the server running, and reachable"
            " from here? `redis-cli ping` tells; without a server, leave the URL out: the default is a file."
        )

    def _explained(self, error: Exception) -> Exception:
        shown = self.address.shown
        if isinstance(error, OutOfMemoryError):
            return QueueFull(
                f"The memory of {shown} is full: nothing new is taken until some runs are forgotten."
            )
        if isinstance(error, AuthenticationError) or "WRONGPASS" in str(error) or "NOAUTH" in str(error):
            return ConfigError(f"{shown} does not let us in: {error}. Give user and password in the URL.")
        if isinstance(error, NoPermissionError):
            return ConfigError(
                f"{shown}: {error}. The user needs all keys that begin with 'tf:', all channels that do, and"
                " the categories @read, @write, @scripting, @pubsub, @connection, and the command info."
            )
        return error

    def close(self) -> None:
        """Let go of the connections."""
        client, self.client = self.client, None
        if client is not None:
            client.close()


def _passes(error: Exception) -> bool:
    if isinstance(error, AuthenticationError | NoPermissionError | OutOfMemoryError):
        return False
    if isinstance(error, _PASSING):
        return True
    return isinstance(error, ResponseError | RedisError) and str(error).startswith(_PASSING_WORDS)
