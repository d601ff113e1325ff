"""Blobs of a store on a server whose large ones lie apart, at a place that the store keeps.

The server has an entry for every blob: its bytes, or under which token they are at the place. So what runs
need, and until when, is known once: an object to whose token no entry points is garbage, and goes when it is
old enough that nobody can be about to write its entry. The place is sealed: who can only write to the server
cannot send data elsewhere.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Sequence
from functools import partial
from itertools import islice

from taskflow.blobs.fetching import Pieces
from taskflow.blobs.fsspec import FsspecPlace, checked
from taskflow.blobs.redis import RedisBlobs
from taskflow.codec import Keyring
from taskflow.codec.signing import Purpose
from taskflow.errors import ConfigError, ResultExpired

__all__ = ["APART_BYTES", "ApartBlobs"]

APART_BYTES = 1 << 20
"""Smaller ones are on the server in any case: there they are found sooner."""

SWEEP_GAP_S = 600
SWEPT_AT_ONCE = 1000
_BATCH = 500
_FIELD = "blobs"


class ApartBlobs:
    """Blobs on a server; larger ones at its place, when it has one.

    Args:
        server: The server's.
    """

    guarded = False

    def __init__(self, server: RedisBlobs) -> None:
        self._server = server
        self._place: FsspecPlace | None = None

    # ── Blobs ────────────────────────────────────────────────────────────────────────

    def put(self, name: str, parts: Sequence[bytes | memoryview], /) -> None:
        """See `ports.Blobs`. The entry is written when all bytes are there."""
        size = sum(memoryview(part).nbytes for part in parts)
        place = self.place() if size >= APART_BYTES else None
        if place is None:
            self._server.put(name, parts)
        elif not self._server.has(name):
            self._server.point(name, size, place.write(name, parts))

    def open(self, name: str, /) -> memoryview:
        """See `ports.Blobs`."""
        whole = bytearray()
        for piece in self.find(name)[1](0):
            whole += piece
        return memoryview(whole)

    def find(self, name: str) -> tuple[int, Pieces]:
        """The size of a blob, and what reads it from a piece on.

        Raises:
            ResultExpired: There is no such blob any more.
        """
        size, token, pieces = self._server.find(name)
        if not token:
            return size, pieces
        place = self.place()
        if place is None:
            raise ResultExpired(
                f"The blob {name} is at a place that the store knows no more.", expired_at=0.0
            )
        return size, partial(place.pieces, name, token, size)

    def has(self, name: str, /) -> bool:
        """See `ports.Blobs`."""
        return self._server.has(name)

    def drop(self, name: str, /) -> None:
        """Nothing to do: it is no copy."""

    def sweep(self, keep: Collection[str], /, *, age_s: float) -> int:
        """Delete objects older than that to which nothing on the server points.

        The place is looked through once in ten minutes, however many sweep, and then given up to a thousand
        objects to remove; when there are more the next sweep goes on.
        """
        place = self.place()
        if place is None or not self._server.once("swept", SWEEP_GAP_S):
            return 0
        freed, count, found = 0, 0, place.objects(age_s)
        while batch := list(islice(found, _BATCH)):
            tokens = self._server.tokens([name for name, _, _ in batch])
            garbage = [entry for entry, token in zip(batch, tokens, strict=True) if entry[1] != token]
            place.remove([(name, token) for name, token, _ in garbage])
            freed += sum(size for _, _, size in garbage)
            count += len(garbage)
            if count >= SWEPT_AT_ONCE:
                self._server.again("swept")
                break
        return freed

    # ── the place ────────────────────────────────────────────────────────────────────

    def choose(self, url: str) -> None:
        """Keep large blobs at a place from now on; the store remembers it for all who open it.

        Raises:
            ConfigError: It is no place for several machines, or the store has another one.
            MissingExtra: What reaches it is not installed here.
            StoreUnavailable: It cannot be written.
        """
        wanted, place = checked(url), self.place()
        if place is None:
            folder = secrets.token_hex(8)
            FsspecPlace(wanted, folder).probe()
            body = json.dumps({"url": wanted, "folder": folder}).encode()
            self._server.remember(_FIELD, Keyring.load().seal(Purpose.PLACE, 0, self._server.namespace, body))
            place = self.place()
        if place is not None and place.url != wanted:
            raise ConfigError(
                f"This store keeps its large data in {place.url}, not in {wanted}: leave blobs= out, for the"
                " store knows its place, or use another namespace."
            )

    def place(self) -> FsspecPlace | None:
        """Where the store keeps its large blobs; `None` when that is the server.

        Raises:
            Untrusted: Who named the place does not have our key.
        """
        if self._place is None:
            sealed = self._server.remembered(_FIELD)
            if sealed is not None:
                _, body = Keyring.load().open(Purpose.PLACE, self._server.namespace, sealed)
                told = json.loads(body)
                self._place = FsspecPlace(checked(told["url"]), told["folder"])
        return self._place
