"""How the Redis store asks its server: verbs by scripts, commands by themselves or many at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from taskflow.blobs.cached import cached
from taskflow.clock import Clock
from taskflow.codec import blob_names
from taskflow.codec.recent import keep
from taskflow.errors import (
    ConfigError,
    GraphError,
    NoSuchRun,
    QueueFull,
    ResultExpired,
    TaskflowError,
    UnknownNode,
    UsageError,
    VersionMismatch,
)
from taskflow.ids import new_id
from taskflow.links.redis import RedisLink
from taskflow.machine.admitting import queue_full
from taskflow.ports import Blobs
from taskflow.stores.redis_records import pack, unpack
from taskflow.stores.redis_said import Standing
from taskflow.stores.redis_scripts import moves

__all__ = ["RedisAsk"]

_REFUSALS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (AssertionError, GraphError, NoSuchRun, UnknownNode, UsageError)
}
"""What a script may refuse with, by name."""

SCHEMA = 2
FUNCTIONS_KNOWN = 10_000


class RedisAsk:
    """A namespace of a server that was found fit."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        wait_s: float = 20.0,
        answer_s: float | None = None,
        serves: bool = False,
    ) -> None:
        self.url = url
        self._clock = clock
        self._link = RedisLink(url, wait_s, answer_s)
        self._key = self._link.key
        self._blobs = cached(url, self._link)
        self.blobs: Blobs = self._blobs
        self._kept: dict[str, tuple[str, ...]] = {}
        self._standing = Standing()
        self._check_server()
        if self._link.address.blobs:
            self._blobs.far.choose(self._link.address.blobs)
        place = self._blobs.far.place() if serves else None
        if place is not None:
            place.require()

    def _check_server(self) -> None:
        info = self._link.info
        shown = self._link.address.shown
        if int(str(info.get("redis_version", "0")).split(".", maxsplit=1)[0]) < 7:
            raise ConfigError(f"{shown} is Redis {info.get('redis_version')}: 7.0 or newer is needed.")
        policy = str(info.get("maxmemory_policy", "noeviction"))
        if policy.startswith("allkeys") and not self._link.address.allow_eviction:
            raise ConfigError(
                f"{shown} throws keys away when its memory is full (maxmemory-policy {policy}), and so would"
                " lose tasks: `redis-cli config set maxmemory-policy noeviction`, or add ?allow_eviction=1"
                " to the URL."
            )
        schema = self._link.ask(self._schema)
        if int(schema) != SCHEMA:
            raise VersionMismatch(
                f"The namespace {self._link.address.namespace!r} of {shown} has layout {int(schema)}, this"
                f" release uses {SCHEMA}: use another namespace, or the release that wrote it."
            )

    def _kept_by(self, function: str) -> tuple[str, ...]:
        """The blobs that the stored form of a function names."""
        known = self._kept.get(function)
        if known is None:
            try:
                known = blob_names(self.blobs.open(function))
            except ResultExpired:
                return ()  # whoever runs it will say so; it may be stored again
            keep(self._kept, function, known, FUNCTIONS_KNOWN)
        return known

    def _schema(self, client: Any) -> Any:
        key = self._key("meta")
        found = client.hget(key, "schema")
        if found is None:
            client.hsetnx(key, "schema", SCHEMA)
            found = client.hget(key, "schema")
        client.hsetnx(key, "epoch", new_id())
        return found

    def epoch(self) -> str:
        """See `WatchPort.epoch`: what the namespace and the server are called.

        An emptied namespace gets a new name. A server has another after every start, and another history
        after every fail-over, with which it may have forgotten the last moments.
        """
        name, info = self._link.ask(self._names)
        if name is None:
            with suppress(QueueFull):  # it gets one when there is room
                self._link.ask(self._schema)
            name, info = self._link.ask(self._names)
        return f"{(name or b'').decode()} {info.get('run_id')} {info.get('master_replid')}"

    def _names(self, client: Any) -> tuple[bytes | None, dict[str, Any]]:
        return client.hget(self._key("meta"), "epoch"), client.info("server", "replication")

    def _now(self) -> str:
        return repr(self._clock.now()) if self._clock is not None else ""

    def _step(self, verb: str, given: Any, values: Sequence[bytes] = ()) -> tuple[Any, list[bytes]]:
        """Run a verb; its result, and the answer whose first entry is not a value."""
        answer = self._link.run(moves(), verb, self._now(), pack(given), *values)
        well, result, *rest = unpack(answer[0])
        if not well:
            raise self._error(result, rest[0])
        return result, answer

    def _error(self, kind: str, text: str) -> Exception:
        if kind == "missing":
            return self._missing(text)
        if kind == "QueueFull":
            queue, pending, most = text.split("\0")
            return queue_full(queue, int(pending), int(most))
        made: Exception = _REFUSALS[kind](text)
        return made

    def _ask(self, *command: Any) -> Any:
        return self._link.ask(lambda client: client.execute_command(*command))

    def _all(self, commands: Iterable[Sequence[Any]]) -> list[Any]:
        """The answers to many commands, in one round trip."""
        listed = list(commands)

        def ask(client: Any) -> list[Any]:
            pipe = client.pipeline(transaction=False)
            for command in listed:
                pipe.execute_command(*command)
            answers: list[Any] = pipe.execute()
            return answers

        return self._link.ask(ask) if listed else []

    def _missing(self, what: str) -> TaskflowError:
        gone = self._ask("GET", self._key(f"gone:{what}"))
        if gone is not None:
            return ResultExpired(f"Run {what} was removed by retention.", expired_at=float(gone))
        return NoSuchRun(f"The store knows no run or node {what!r}; `taskflow runs` lists what it knows.")
