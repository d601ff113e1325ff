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
    *("rows", "needs", "ending", "limiting", "sharing", "releasing", "admitting", "growing"),
    *("claiming", "settling", "cancelling", "purging", "rerunning", "handing", "plain", "moves"),
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
    first, *others = ((_LUA / f"{room}.lua").read_text(encoding="utf-8") for room in rooms)
    # Each room is a block of its own: Lua lets a function have 200 local names, and what the rooms share is
    # in the first.
    body = "\n".join([first, *(f"do\n{other}\nend" for other in others)])
    digest = sha1(body.encode()).hexdigest()[:12]  # noqa: S324 - a name, not a seal
    prefix = f"taskflow_{name}_{digest}_"
    return Library(prefix, f"#!lua name={prefix[:-1]}\nlocal PREFIX = '{prefix}'\n{body}")
