"""The functions of the Redis store: `redis_lua`, put together as two libraries of the server.

A library is named by its content, so that releases can use a server side by side.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from pathlib import Path

from taskflow.links.redis import Library

__all__ = ["moves", "reads"]

_LUA = Path(__file__).with_name("redis_lua")
_ROOMS = (
    *("rows", "needs", "ending", "limiting", "releasing", "growing"),
    *("claiming", "settling", "cancelling", "rerunning", "moves"),
)


@cache
def moves() -> Library:
    """The verbs that change something."""
    return _library("moves", _ROOMS)


@cache
def reads() -> Library:
    """The verbs that only look."""
    return _library("reads", ("reads",))


def _library(name: str, rooms: tuple[str, ...]) -> Library:
    body = "\n".join((_LUA / f"{room}.lua").read_text(encoding="utf-8") for room in rooms)
    digest = sha1(body.encode()).hexdigest()[:12]  # noqa: S324 - a name, not a seal
    prefix = f"taskflow_{name}_{digest}_"
    return Library(prefix, f"#!lua name={prefix[:-1]}\nlocal PREFIX = '{prefix}'\n{body}")
