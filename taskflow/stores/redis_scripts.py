"""The scripts of the Redis store: `redis_lua`, put together for a verb."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from pathlib import Path

__all__ = ["moves", "reads"]

_LUA = Path(__file__).with_name("redis_lua")
_ROOMS = (
    "rows",
    "needs",
    "ending",
    "releasing",
    "growing",
    "claiming",
    "settling",
    "cancelling",
    "rerunning",
    "moves",
)


def moves(verb: str) -> tuple[str, str]:
    """The script of a verb that changes something, and its digest.

    Only a submit may be refused by a server without memory: all else keeps leases alive, or makes room.
    """
    return _script("" if verb == "submit" else "allow-oom", _ROOMS)


def reads() -> tuple[str, str]:
    """The script of what only looks, and its digest."""
    return _script("no-writes,allow-oom", ("reads",))


@cache
def _script(flags: str, rooms: tuple[str, ...]) -> tuple[str, str]:
    head = f"#!lua flags={flags}\n" if flags else "#!lua\n"
    text = head + "\n".join((_LUA / f"{room}.lua").read_text(encoding="utf-8") for room in rooms)
    return text, sha1(text.encode()).hexdigest()  # noqa: S324 - it is how Redis names scripts
