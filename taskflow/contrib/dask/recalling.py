"""By what a node is found again in a later process: what it calls, with what, and what is before it.

A key of Dask does not say it by itself: that of a `delayed` call is new each time. What tasks say that read
something does count, since there Dask puts in the key what is not in the arguments: when a file was written.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from taskflow.codec.fingerprint import digest, fingerprint
from taskflow.contrib.dask.blocks import Block
from taskflow.contrib.dask.program import Program
from taskflow.contrib.dask.writing import Need
from taskflow.errors import UsageError
from taskflow.ids import new_id

__all__ = ["signs_of"]

_TOKEN = re.compile(r"[0-9a-f]{32}")
_CHANCE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def signs_of(blocks: Iterable[Block], read: Mapping[str, str] = MappingProxyType({})) -> dict[Any, str]:
    """What each node is known by, by its key: the same in every process in which it would do the same.

    Of several that do the same each has its own. What has no digest is known by the token in its key, and by
    nothing that comes back where there is none.

    Args:
        blocks: Each after those it needs.
        read: Of keys that are new in each process though they read the same, what stands for them.
    """
    prints: dict[int, str | None] = {}
    signs: dict[Any, str] = {}
    seen: Counter[str] = Counter()
    for block in blocks:
        sign = _sign(block, signs, prints, read)
        signs[block.key] = f"{sign}.{seen[sign]}" if seen[sign] else sign
        seen[sign] += 1
    return signs


def _sign(
    block: Block, signs: Mapping[Any, str], prints: dict[int, str | None], read: Mapping[str, str]
) -> str:
    told: object = "key", str(block.key)
    program = _print(block.program, prints)
    try:
        given = [signs[v.key] if type(v) is Need else (digest(v),) for v in block.values]
    except UsageError:
        program = None
    else:
        told = program, given, [_source(key, read) for key in block.sources]
    if program is None and (_CHANCE.search(str(block.key)) or not _TOKEN.search(str(block.key))):
        told = new_id()
    return hashlib.blake2b(repr(told).encode(), digest_size=16).hexdigest()


def _source(key: Any, read: Mapping[str, str]) -> str:
    """What the key of a task says that needs no other."""
    if isinstance(key, tuple) and key[0] in read:
        return str((read[key[0]], *key[1:]))
    return "" if _CHANCE.search(str(key)) else str(key)


def _print(program: Program, prints: dict[int, str | None]) -> str | None:
    if id(program) not in prints:
        try:
            prints[id(program)] = fingerprint(program)
        except UsageError:
            prints[id(program)] = None
    return prints[id(program)]
