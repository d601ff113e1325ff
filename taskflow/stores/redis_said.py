"""What the server says with a ring: which leases it hands to a worker, and what has ended.

A message is a packed head with the sizes of the bytes behind it (``R.framed`` in `redis_lua/rows.lua`). One
that makes no sense is a ring and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from taskflow.ids import NodeId
from taskflow.records import Event, Heard, Lease, Segment, Want
from taskflow.stores.redis_records import events_from, segment_from, unpack, want_to

__all__ = ["Standing", "handed", "news"]

_SENSELESS = (ValueError, TypeError, LookupError, AttributeError)
Leases = Callable[[Sequence[Sequence[Any]], Sequence[bytes]], list[Lease]]


class Standing:
    """Under which name each worker claims: the claim that it left standing has the name of its next one.

    So whatever the server gave by itself is given again when the worker asks without having heard of it.
    """

    def __init__(self) -> None:
        self._nonces: dict[str, str] = {}

    def ask(self, want: Want) -> list[Any]:
        """A claim, for a script; asked again it has the same nonce."""
        nonce = self._nonces.get(want.worker)
        if nonce is None:
            nonce = self._nonces[want.worker] = _nonce()
        return want_to(want, nonce, _nonce() if want.standing and not want.turns else None)

    def answered(self, asked: Sequence[Any]) -> None:
        """The server has answered a claim."""
        worker, standing = asked[0], asked[-1]
        if standing:
            self._nonces[worker] = standing
        else:
            self._nonces.pop(worker, None)

    def take(self, worker: str, nonce: str) -> bool:
        """Whether what was given under that name is still to be taken."""
        if self._nonces.get(worker) != nonce:
            return False
        del self._nonces[worker]
        return True


def handed(standing: Standing, worker: str, leases: Leases, said: Sequence[tuple[bytes, bytes]]) -> Heard:
    """What a worker was told on its channel and on others."""
    own = f":work:{worker}".encode()
    given: list[Lease] = []
    is_turn = bool(said)
    for channel, message in said:
        if not channel.endswith(own):
            is_turn = False
        elif message:
            try:
                (nonce, told), values = _unframed(message)
            except _SENSELESS:
                continue
            if told and standing.take(worker, nonce):
                given += leases(told, [b"", *values])
    return Heard(is_turn=is_turn, leases=tuple(given))


def news(said: Sequence[tuple[bytes, bytes]]) -> Heard:
    """What clients were told; nothing when a part of it is missing."""
    after = 0
    events: list[Event] = []
    values: dict[NodeId, list[Segment]] = {}
    try:
        for _, message in said:
            (before, steps, outcomes), blobs = _unframed(message)
            if events and before != events[-1].cursor:
                return Heard()
            after = after if events else int(before)
            for (step, at), body in zip(steps, blobs, strict=False):
                events += events_from(int(step.split("-")[0]), float(at), body)
            for name, *told, number in outcomes:
                segment = segment_from([*told, number], [b"", *blobs])
                values.setdefault(NodeId(name), []).append(segment)
    except _SENSELESS:
        return Heard()
    if not events or events[0].cursor != after + 1 or events[-1].cursor - after != len(events):
        return Heard()
    return Heard(after=after, events=tuple(events), values=values)


def _unframed(message: bytes) -> tuple[Any, list[bytes]]:
    at = 4 + int.from_bytes(message[:4], "big")
    head, sizes = unpack(message[4:at])
    parts = []
    for size in sizes:
        parts.append(message[at : at + size])
        at += size
    if at != len(message):
        raise ValueError("a message is not as long as it says")
    return head, parts


def _nonce() -> str:
    return os.urandom(8).hex()
