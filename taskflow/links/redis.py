"""The way to a Redis server: its URL, the connection, and what is asked again.

Whatever is asked through a link may be asked twice. So whatever passes (a lost connection, a server that
loads, a replica that becomes the master) is waited out here, and nowhere else.
"""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.retry import Retry

from taskflow.errors import ConfigError, QueueFull, StoreUnavailable, nearest
from taskflow.links import shown
from taskflow.links.direct import Direct
from taskflow.policy import backoff_s, roll

__all__ = ["SCHEMES", "Address", "Library", "RedisLink", "parse"]

T = TypeVar("T")
log = logging.getLogger(__name__)

FIRST_CONTACT_S = 3.0
FIRST_ANSWER_S = 2.0
CONNECT_S = 3.0
LEAST_ANSWER_S = 5.0
GUIDE_S = 1.0
"""How long one of several guides (a sentinel, a node of a cluster) may take to say where our server is."""
OPTIONS = frozenset(
    {"namespace", "blobs", "allow_eviction", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"}
)
GUARDED = frozenset({"sentinel_username", "sentinel_password"})
_YES_NO = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_WORDS = {"allow_eviction": tuple(_YES_NO), "ssl_cert_reqs": ("required", "optional", "none")}
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
    TimeoutError,
)
_PASSING_WORDS = (
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "BUSY",
    "MISCONF",
    "NOREPLICAS",
    "UNBLOCKED",
)
_RIGHTS = (
    "{shown}: {text}. The user needs what this gives: `acl setuser NAME ~tf:* &tf:* +@read +@write"
    " +@scripting +@pubsub +@connection +info +time`, and on a cluster also `+cluster|slots`."
)
_BY_TLS = ", and is this the port where it speaks TLS"
_LETS_US_IN = "{shown} does not let us in: {text}. Give user and password in the URL."
_NO_CLUSTER = "{shown} is not a cluster ({text}): write redis:// for a single server."
_NO_SERVER = (
    "{shown} is no Redis server of version 7.0 or newer ({text}). To ask sentinels for one, write"
    " redis+sentinel://host:26379/mymaster."
)
_ELSEWHERE = "the keys are on another node"
_REFUSALS = {
    "WRONGPASS": _LETS_US_IN,
    "NOAUTH": _LETS_US_IN,
    "without any password": _LETS_US_IN,
    "Authentication required": _LETS_US_IN,
    "NOPERM": _RIGHTS,
    "ACL failure": _RIGHTS,
    "ermissions to ": _RIGHTS,
    "can't run this command": _RIGHTS,
    "cluster support disabled": _NO_CLUSTER,
    _ELSEWHERE: "{shown} is a node of a cluster: write redis+cluster://host:port,host:port.",
    "DB index": "{shown} has no such database ({text}): give another number, or none.",
    "Invalid Database": "{shown} has no such database: give another number, or none.",
    "unknown command": _NO_SERVER,
    "Protocol Error": _NO_SERVER,
    "CERTIFICATE_VERIFY": "The certificate of {shown} is not trusted ({text}): name the file of its"
    " authority, ?ssl_ca_certs=/path/ca.pem.",
}
"""What a server says when asking again is of no use, and the cure."""
_GUIDED = {"socket_connect_timeout": GUIDE_S, "socket_timeout": GUIDE_S}


# ── where it is ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Library:
    """Functions that a server runs: what their names begin with, and the text to load."""

    prefix: str
    text: str

    @property
    def script(self) -> str:
        """A script that runs one of the functions, named by its first argument.

        It is for a server that has forgotten them and is too full to take them. What may be refused by such
        a server is.
        """
        _, _, body = self.text.partition("\n")
        return _AS_SCRIPT.format(body=body)


_AS_SCRIPT = """#!lua flags=allow-oom
local registered, real = {{}}, redis
local redis = setmetatable({{
  register_function = function(one) registered[one.function_name] = one end,
}}, {{__index = real}})
local function load()
{body}
end
load()
local one, args = registered[ARGV[1]], {{}}
for i = 2, #ARGV do args[i - 1] = ARGV[i] end
for _, flag in ipairs(one.flags) do
  if flag == 'allow-oom' then return one.callback(KEYS, args) end
end
return real.error_reply("OOM command not allowed when used memory > 'maxmemory'.")
"""


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
        guides: User name and password of the sentinels, by the names that redis-py has for them.
        namespace: Stores of several names share a server and know nothing of each other.
        allow_eviction: Use a server that may throw our keys away.
        tls: Files of certificates, by the names that redis-py has for them.
        blobs: The URL of the place for large blobs, when one is named.
        shown: The URL without the password.
    """

    kind: str
    hosts: tuple[tuple[str, int], ...] = ()
    db: int = 0
    path: str = ""
    service: str = ""
    username: str | None = None
    password: str | None = None
    guides: Mapping[str, str] = field(default_factory=dict)
    namespace: str = "default"
    allow_eviction: bool = False
    tls: Mapping[str, str] = field(default_factory=dict)
    blobs: str = ""
    shown: str = ""

    @property
    def prefix(self) -> str:
        """What all keys begin with; its braces keep a namespace in one slot of a cluster."""
        return f"tf:{{{self.namespace}}}:"


def parse(url: str) -> Address:
    """Read the URL of a Redis store.

    ``redis://user:password@host:6379/0?namespace=team`` · ``rediss://…`` · ``redis+socket:///run/redis.sock?db=1``
    · ``redis+sentinel://host:26379,host:26379/mymaster/0?sentinel_password=…``
    · ``redis+cluster://host:7000,host:7001``

    Raises:
        ConfigError: An unknown option (the nearest is named), or a part that cannot be read.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"The URL of the Redis store cannot be read: {error}.") from error
    kind = SCHEMES[parts.scheme]
    account, _, places = parts.netloc.rpartition("@")
    if not account and places and "@" in url:
        raise ConfigError("In the URL of a Redis store, / ? # in a password are written %2F %3F %23.")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    _check_options(kind, options)
    username, _, password = account.partition(":")
    service, rest = "", parts.path.strip("/")
    if kind == "sentinel":
        service, _, rest = rest.partition("/")
        if not service:
            raise ConfigError(
                f"{shown(url)} does not say which master: write redis+sentinel://host:26379/mymaster"
            )
    if kind == "unix":
        rest = options.get("db", "0")
        if places or not parts.path:
            raise ConfigError(f"{shown(url)} names no file: write redis+socket:///path/redis.sock")
    return Address(
        kind,
        tuple(
            _host(place, 26379 if kind == "sentinel" else 6379)
            for place in (places or "localhost").split(",")
        ),
        _db(url, kind, rest),
        unquote(parts.path) if kind == "unix" else "",
        service,
        unquote(username) or None,
        unquote(password) or None,
        {name.removeprefix("sentinel_"): options[name] for name in GUARDED & options.keys()},
        options.get("namespace", "default"),
        _YES_NO[options.get("allow_eviction", "0").lower()],
        {name: value for name, value in options.items() if name.startswith("ssl_")},
        options.get("blobs", ""),
        shown(url),
    )


def _check_options(kind: str, options: Mapping[str, str]) -> None:
    known = {"namespace", "blobs", "allow_eviction", "db"} if kind == "unix" else OPTIONS
    known |= GUARDED if kind == "sentinel" else set()
    for name in options.keys() - known:
        raise ConfigError(f"A Redis store has no option {name!r}.{nearest(name, known)}")
    namespace = options.get("namespace", "default")
    if not namespace or any(c in namespace for c in "{}"):
        raise ConfigError(f"namespace={namespace!r} is not possible: it must not be empty or hold braces.")
    for name, words in _WORDS.items():
        if name in options and options[name].lower() not in words:
            raise ConfigError(f"{name}={options[name]!r} is not possible: it is one of {', '.join(words)}.")
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if name in options and not Path(options[name]).is_file():
            raise ConfigError(f"{name}={options[name]!r}: there is no such file.")


def _db(url: str, kind: str, given: str) -> int:
    if given and not _is_number(given):
        raise ConfigError(f"{shown(url)}: {given!r} is no number of a database.")
    if kind == "cluster" and int(given or 0):
        raise ConfigError(f"{shown(url)}: a cluster has only database 0.")
    return int(given or 0)


def _host(place: str, port: int) -> tuple[str, int]:
    host, colon, given = place.rpartition(":") if not place.endswith("]") else (place, "", "")
    if not colon:
        host, given = place, str(port)
    if not _is_number(given) or not 0 < int(given) < 65536:
        raise ConfigError(f"{place!r}: {given!r} is no port.")
    return host.strip("[]") or "localhost", int(given)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _client(address: Address, hosts: list[tuple[str, int]], answer_s: float) -> Any:
    """A client of redis-py that gives bytes, and asks nothing twice by itself.

    Of a cluster it is one of the node that has our slot; nodes that it tells of are added to the hosts.
    """
    common: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "socket_connect_timeout": min(CONNECT_S, answer_s),
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
        brief = {"retry": common["retry"], **_GUIDED, **address.guides}
        found = watchers(list(address.hosts), sentinel_kwargs=brief, db=address.db, **common)
        return found.master_for(address.service)
    if address.kind == "cluster":
        return _node_with(address.prefix, hosts, common)
    host, port = address.hosts[0]
    return redis.Redis(host, port, db=address.db, **common)


def _node_with(prefix: str, hosts: list[tuple[str, int]], common: Mapping[str, Any]) -> Any:
    """A plain client of the node of a cluster that has all keys of a prefix, since they share a slot.

    redis-py's own client of a cluster would follow ASK: while a slot is moved, a script would then find half
    of the keys on one node and write the other half anew. Here ASK is waited out.
    """
    from redis.crc import key_slot

    slot, failure = key_slot(prefix.encode()), None
    for at in list(hosts):
        try:
            with redis.Redis(*at, **{**common, **_GUIDED}) as client:
                ranges = client.execute_command("CLUSTER", "SLOTS")
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
            failure = error
            continue
        nodes = {(lo, hi): _place(node, at) for lo, hi, node, *_ in ranges}
        hosts += [node for node in dict.fromkeys(nodes.values()) if node not in hosts]
        for (lo, hi), node in nodes.items():
            if lo <= slot <= hi:
                return redis.Redis(*node, **common)
    raise failure or ClusterDownError(f"no node has slot {slot}")


def _place(node: Sequence[Any], asked: tuple[str, int]) -> tuple[str, int]:
    """Where a node is; one that does not know its own name is where it was asked."""
    name = (node[0] or b"").decode()
    return (name if name not in ("", "?") else asked[0]), int(node[1])


# ── the link ─────────────────────────────────────────────────────────────────────────


class RedisLink:
    """Asks a server, and waits while it is away.

    Args:
        url: Where it is.
        wait_s: How long a question waits for a server that is away before `StoreUnavailable`.
        answer_s: One that is connected and silent is away too, after so long; `wait_s` by default, but no
            less than 5 s.

    Raises:
        ConfigError: The server cannot be used as it is set up, or does not let us in.
        StoreUnavailable: There is none.
    """

    def __init__(self, url: str, wait_s: float, answer_s: float | None = None) -> None:
        self.address = parse(url)
        self.prefix = self.address.prefix
        self.wait_s, self.answer_s = min(wait_s, FIRST_CONTACT_S), FIRST_ANSWER_S
        self._lock = threading.Lock()
        self._away = False
        self._leave_at = math.inf
        self._leaving = threading.Event()
        self._hosts = list(self.address.hosts)
        self.client: Any = None
        self._direct: Direct | None = None
        self.info: Mapping[str, Any] = self.ask(lambda client: client.info())
        self.close()  # that client was impatient
        self.wait_s, self.answer_s = wait_s, answer_s or max(wait_s, LEAST_ANSWER_S)

    def key(self, name: str) -> str:
        """A key of this namespace."""
        return self.prefix + name

    def run(self, library: Library, name: str, *args: Any) -> list[bytes]:
        """Run a function of a library, which the server may not know yet, or not any more.

        One that is full does not take the library: then it is given the function for this once, so that
        leases are kept and room can be made.
        """
        function = library.prefix + name

        def ask(client: Any) -> Any:
            direct = self._direct
            if direct is None or direct.client is not client:
                direct = self._direct = Direct(client)
            try:
                return direct.ask("FCALL", function, 1, self.prefix, *args)
            except ResponseError as error:
                if "Function not found" not in str(error):
                    raise
                try:
                    client.function_load(library.text, replace=True)
                except OutOfMemoryError:
                    return client.eval(library.script, 1, self.prefix, function, *args)
                return direct.ask("FCALL", function, 1, self.prefix, *args)

        answer: list[bytes] = self.ask(ask)
        return answer

    def ask(self, question: Callable[[Any], T]) -> T:
        """Ask the server; what may be asked twice is asked again while it is away.

        Raises:
            StoreUnavailable: It stayed away for `wait_s`.
            QueueFull: Its memory is full.
            ConfigError: It does not let us in.
        """
        client, failures, until = None, 0, time.monotonic() + self.wait_s
        while True:
            if self._away and time.monotonic() > self._leave_at:
                raise StoreUnavailable(f"{self.address.shown} is away, and nobody waits for it.", told=True)
            try:
                client = self.client or self.connected()
                answer = question(client)
            except Exception as error:
                if not self._passes(error):
                    self._refuse(error)
                failures += 1
                rest_s = backoff_s(failures, base_s=0.05, factor=2.0, cap_s=1.0) * (0.5 + roll() / 2)
                self._is_away(error, client)
                if time.monotonic() + rest_s > min(until, self._leave_at):
                    raise StoreUnavailable(self._unreachable(error), told=True) from error
                if self._leaving.wait(rest_s):
                    time.sleep(0.05)
                continue
            if self._away:
                self._is_back()
            return answer

    def hurry(self, within_s: float) -> None:
        """Wait no longer than this for a server that is away; one that is slow is waited for."""
        self._leave_at = min(self._leave_at, time.monotonic() + within_s)
        self._leaving.set()
        probe = threading.Timer(within_s, self._cut_if_silent)
        probe.daemon = True
        probe.start()

    def _cut_if_silent(self) -> None:
        """Let go of connections on which somebody waits, when the server answers nobody."""
        client = self.client
        if client is None:
            return
        try:
            with _client(self.address, list(self._hosts), GUIDE_S) as fresh:
                fresh.ping()
        except (redis.exceptions.RedisError, OSError):
            for connection in list(client.connection_pool._in_use_connections):
                with suppress(OSError, AttributeError):
                    connection._sock.shutdown(socket.SHUT_RDWR)  # who reads from it finds its end

    def _is_away(self, error: Exception, client: Any) -> None:
        with self._lock:
            first, self._away = not self._away, True
            if self.address.kind == "cluster" and self.client is client:
                self.client = None  # another node may have the keys now
        if first:
            log.warning("%s is away, retrying: %s", self.address.shown, error, extra={"action": "wait"})

    def _is_back(self) -> None:
        with self._lock:
            first, self._away = self._away, False
        if first:
            log.warning("%s is back", self.address.shown, extra={"action": "resume"})

    def connected(self) -> Any:
        """The client; it is made when it is needed.

        Raises:
            redis.exceptions.RedisError: No node of the cluster answers.
        """
        client = self.client
        if client is None:
            with self._lock:
                client = self.client
                if client is None:
                    client = self.client = _client(self.address, self._hosts, self.answer_s)
        return client

    def _unreachable(self, error: Exception) -> str:
        by_tls = _BY_TLS if self.address.kind == "rediss" else ""
        return (
            f"There is no answer from {self.address.shown} ({error}). Is the server running, and reachable"
            f" from here{by_tls}? `redis-cli ping` tells; without a server, leave the URL out: the default is"
            " a file."
        )

    def _passes(self, error: Exception) -> bool:
        """Whether it is of use to ask again."""
        if _is_elsewhere(error):
            return self.address.kind == "cluster"
        text = _said(error)
        if isinstance(error, AuthenticationError | OutOfMemoryError) or any(w in text for w in _REFUSALS):
            return False
        return isinstance(error, _PASSING) or text.startswith(_PASSING_WORDS)

    def _refuse(self, error: Exception) -> NoReturn:
        """Raise what an error means to people."""
        where, text = self.address.shown, _ELSEWHERE if _is_elsewhere(error) else str(error)
        if isinstance(error, OutOfMemoryError) or "OOM command not allowed" in text:
            raise QueueFull(
                f"The memory of {where} is full: nothing new is taken until some runs are forgotten."
            ) from error
        for words, cure in _REFUSALS.items():
            if words in text:
                raise ConfigError(cure.format(shown=where, text=text.rstrip("."))) from error
        if isinstance(error, AuthenticationError):
            raise ConfigError(_LETS_US_IN.format(shown=where, text=text.rstrip("."))) from error
        raise error

    def close(self) -> None:
        """Let go of the connections."""
        client, self.client, self._direct = self.client, None, None
        if client is not None:
            client.close()


def _said(error: Exception) -> str:
    """What a server said; in a pipeline, the command is told before it."""
    return str(error).rpartition("caused error: ")[2]


def _is_elsewhere(error: Exception) -> bool:
    """Whether another node of a cluster has the keys; only newer releases of redis-py have a class for it."""
    return isinstance(error, AskError) or _said(error).startswith(("MOVED ", "ASK "))
