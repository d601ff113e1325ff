"""Who may send us code: keys, and the seal around everything that will be unpickled.

A sealed payload is::

    "TFE1" | kind u8 | flags u8 | key id 8 bytes | body | tag 32 bytes

The tag is HMAC-SHA256 over all of it and over a *context* that is not stored: the digest of the
function, the node, its range and its fence. So a payload that was altered, or that stands where
it was not put, is `Untrusted`. Each kind has a key of its own, derived from the master key: a result can
never pass for arguments. This module never looks into a body.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

from taskflow.codec.keys import (
    Key,
    config_dir,
    create,
    derived,
    from_text,
    new_key,
    read,
    stamp,
    words_of,
    write_beside,
)
from taskflow.errors import ConfigError, Untrusted

__all__ = ["HEADER", "KEEP_S", "MAGIC", "TAG", "Keyring", "Purpose"]

MAGIC = b"TFE1"
HEADER = 14
"""Bytes before the body: magic, kind, flags, key id."""
TAG = 32
"""Bytes after the body."""

_LOOK_EVERY_S = 1.0
KEEP_S = 14 * 86_400.0
"""How long a key that was replaced still opens: a week for tasks that wait, a week for their results."""
_length = struct.Struct("<H").pack


class Purpose(IntEnum):
    """What a payload is; each purpose has its own derived key."""

    FUNCTION = 1
    ARGS = 2
    ITEMS = 3
    RESULT = 4
    ERROR = 5
    CONTROL = 6
    PLACE = 8
    SAID = 9
    KEPT = 10


class _Seal(NamedTuple):
    """A header, and copies of the two halves of an HMAC that have absorbed the key (and the header)."""

    header: bytes
    inner: Callable[[], Any]
    outer: Callable[[], Any]


class Keyring:
    """The keys of a user: one seals, all that are not revoked open.

    A ring that came from a file follows it: keys that another process adds or revokes count within a second.

    Args:
        keys: The newest that signs seals.
        path: The file that they came from.
        is_secret: It was named by ``TASKFLOW_KEY_FILE``, and may be a secret of a container.
    """

    def __init__(self, keys: Sequence[Key], *, path: Path | None = None, is_secret: bool = False) -> None:
        self.path = path
        self._is_secret = is_secret
        self._look_at = 0.0
        self._stamp = stamp(path)
        self._take(keys)

    def _take(self, keys: Sequence[Key]) -> None:
        signers = [key for key in keys if key.use == "sign"]
        if not signers:
            raise ConfigError("The keyring has no key to sign with: make one with `taskflow key rotate`.")
        self.keys = tuple(keys)
        self.signer = max(signers, key=lambda key: key.created)
        self.kid = self.signer.kid
        self._known = {key.kid: key for key in keys}
        self._seals: dict[int, _Seal] = {}
        self._opens: dict[bytes, _Seal] = {}
        self._over_at = min((k.not_after for k in keys if k.not_after and not k.is_over), default=math.inf)

    # ── sealing ─────────────────────────────────────────────────────────────────────

    def seal(self, purpose: int, flags: int, context: bytes, body: bytes) -> bytes:
        """The body in its envelope."""
        header, new_inner, new_outer = self._seals.get(flags << 4 | purpose) or self._new_seal(purpose, flags)
        inner = new_inner()
        inner.update(_length(len(context)) + context + body)
        outer = new_outer()
        outer.update(inner.digest())
        sealed: bytes = header + body + outer.digest()
        return sealed

    def open(self, purpose: int, context: bytes, sealed: bytes, start: int = 0) -> tuple[int, bytes]:
        """Verify an envelope, which begins at `start`.

        Returns:
            Its flags and its body.

        Raises:
            Untrusted: It is no envelope, was altered, stands in the wrong place, or its key is
                unknown or revoked. Nothing of it was decoded.
        """
        if self.path is not None and time.monotonic() > self._look_at:
            self._follow()
        header = sealed[start : start + HEADER]
        _, new_inner, new_outer = self._opens.get(header) or self._find(header, len(sealed) - start)
        body = sealed[start + HEADER : -TAG]
        inner = new_inner()
        inner.update(_length(len(context)) + context + body)
        outer = new_outer()
        outer.update(inner.digest())
        if header[4] != purpose or not hmac.compare_digest(sealed[-TAG:], outer.digest()):
            raise Untrusted(
                f"The seal of this {_name(purpose)} is not right: it was altered, or belongs to another task."
                " It was not opened."
            )
        return header[5], body

    def _new_seal(self, purpose: int, flags: int) -> _Seal:
        seal = _seal(self.signer, purpose, flags)
        self._seals[flags << 4 | purpose] = seal
        return seal

    def _find(self, header: bytes, size: int) -> _Seal:
        if header[:4] != MAGIC or size < HEADER + TAG:
            raise Untrusted("This payload is not sealed by taskflow. It was not opened.")
        kid = header[6:]
        key = self._known.get(kid)
        if key is None:
            raise Untrusted(
                f"This payload was sealed with the key {words_of(kid)} ({kid.hex()}), which is not on this"
                f" ring: here it is {self.fingerprint()}. Give both sides the same key: `taskflow key show`"
                " tells which they have."
            )
        if key.use == "revoked":
            raise Untrusted(
                f"This payload was sealed with the key {words_of(kid)} ({kid.hex()}), which was revoked."
            )
        if key.is_over and key.not_after is not None:
            day = time.strftime("%Y-%m-%d", time.gmtime(key.not_after))
            raise Untrusted(
                f"This payload was sealed with the key {words_of(kid)} ({kid.hex()}), which was replaced, and"
                f" verified until {day} only. Submit it again."
            )
        seal = _seal(key, header[4], header[5])
        if len(self._opens) < 1024:
            self._opens[header] = seal
        return seal

    # ── keys ────────────────────────────────────────────────────────────────────────

    def fingerprint(self) -> str:
        """Four words that are the same wherever the same key signs.

        Example:
            >>> Keyring([Key(bytes(32))]).fingerprint()
            'jasmine-eagle-nickel-azure'
        """
        return words_of(self.kid)

    def rotate(self, keep_s: float = KEEP_S) -> Keyring:
        """Make a new key to sign with; the old ones still open what they sealed, for a time. Writes the file.

        Args:
            keep_s: How long: as long as tasks may wait and results are kept.

        Raises:
            ConfigError: The ring has no file, or it cannot be written.
        """
        until = time.time() + keep_s
        old = [
            replace(key, use="verify", not_after=until) if key.use == "sign" else key
            for key in self._newest()
        ]
        return self._rewrite([*old, new_key()])

    def revoke(self, kid: str) -> Keyring:
        """Refuse from now on whatever this key sealed. Writes the file.

        Raises:
            ConfigError: No such key, or the ring has no file.
        """
        keys = self._newest()
        if kid not in {key.kid.hex() for key in keys}:
            raise ConfigError(f"There is no key {kid!r} on this ring: `taskflow key show` lists them.")
        keys = [replace(key, use="revoked") if key.kid.hex() == kid else key for key in keys]
        if not any(key.use == "sign" for key in keys):
            keys.append(new_key())
        return self._rewrite(keys)

    def _newest(self) -> list[Key]:
        return read(self.path, secret=self._is_secret) if self.path is not None else list(self.keys)

    def _rewrite(self, keys: list[Key]) -> Keyring:
        if self.path is None:
            raise ConfigError("This key came from TASKFLOW_KEY, not from a file: change it where it is set.")
        try:
            temporary = write_beside(self.path, keys)
            os.replace(temporary, self.path)
        except OSError as error:
            raise ConfigError(
                f"{self.path} cannot be written ({error.strerror}): change the key where it comes from."
            ) from None
        self._take(keys)
        self._stamp = stamp(self.path)
        return self

    def _follow(self) -> None:
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        if time.time() > self._over_at:
            self._take(self.keys)
        now = stamp(self.path)
        if now is None or now == self._stamp or self.path is None:
            return
        self._stamp = now
        self._take(read(self.path, secret=self._is_secret))

    # ── where keys come from ────────────────────────────────────────────────────────

    @classmethod
    def load(cls) -> Keyring:
        """The keys of this user; the first use makes one.

        Looks at ``TASKFLOW_KEY`` (base64; older keys may follow, with commas), then at the file
        ``TASKFLOW_KEY_FILE``, then at ``taskflow/key`` in the user's configuration directory.

        Raises:
            ConfigError: A key is set but cannot be used, or others may read it; the message is the cure.
        """
        text = os.environ.get("TASKFLOW_KEY")
        if text is not None:
            return cls(from_text(text))
        named = os.environ.get("TASKFLOW_KEY_FILE")
        if named is not None:
            path = Path(named)
            return cls(read(path, secret=True), path=path, is_secret=True)
        path = config_dir() / "key"
        if not os.path.lexists(path):
            create(path)
        return cls.from_file(path)

    @classmethod
    def from_file(cls, path: Path) -> Keyring:
        """The keys in a file that only its owner can read.

        Raises:
            ConfigError: As `load`.
        """
        return cls(read(path), path=path)

    @classmethod
    def ephemeral(cls) -> Keyring:
        """A ring with a new key that is nowhere kept: for tests, and for stores that die with the process."""
        return cls([new_key()])


def _name(purpose: int) -> str:
    return Purpose(purpose).name.lower() if purpose in Purpose._value2member_map_ else "payload"


def _seal(key: Key, purpose: int, flags: int) -> _Seal:
    # hmac.digest looks its hash up by name each time, which costs more than the hashing of a small payload.
    secret = derived(key.secret, _name(purpose)).ljust(64, b"\0")
    header = MAGIC + bytes((purpose, flags)) + key.kid
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in secret))
    inner.update(header)
    return _Seal(header, inner.copy, hashlib.sha256(bytes(b ^ 0x5C for b in secret)).copy)
