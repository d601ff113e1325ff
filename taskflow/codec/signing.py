"""Who may send us code: keys, and the seal around everything that will be unpickled.

A sealed payload is::

    "TFE1" | kind u8 | flags u8 | key id 8 bytes | body | tag 32 bytes

The tag is HMAC-SHA256 over all of it and over a *context* that is not stored: the digest of the
function, the node, its range and its fence. So a payload that was altered, or that stands where
it was not put, is `Untrusted`. Each kind has a key of its own, derived from the master key: a result can
never pass for arguments. This module never looks into a body.
"""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import hmac
import json
import os
import secrets
import stat
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal, NamedTuple

from taskflow.errors import ConfigError, Untrusted

__all__ = ["HEADER", "MAGIC", "TAG", "Key", "Keyring", "Purpose"]

MAGIC = b"TFE1"
HEADER = 14
"""Bytes before the body: magic, kind, flags, key id."""
TAG = 32
"""Bytes after the body."""

_KEY_BYTES = 32
_LEAST_KEY_BYTES = 16
_MOST_FILE_BYTES = 65_536
_LOOK_EVERY_S = 1.0
_length = struct.Struct("<H").pack


class Purpose(IntEnum):
    """What a payload is; each purpose has its own derived key."""

    FUNCTION = 1
    ARGS = 2
    ITEMS = 3
    RESULT = 4
    ERROR = 5
    PLACE = 8


@dataclass(frozen=True, slots=True)
class Key:
    """A master key.

    Args:
        secret: The key itself, never shown.
        created: Seconds since the epoch.
        use: ``"sign"`` also verifies; ``"verify"`` opens what older releases of the ring sealed;
            ``"revoked"`` opens nothing, and is kept to be able to say so.
    """

    secret: bytes
    created: float = 0.0
    use: Literal["sign", "verify", "revoked"] = "sign"

    @property
    def kid(self) -> bytes:
        """Eight bytes that name the key without telling it."""
        return _derive(self.secret, "kid")[:8]

    def __repr__(self) -> str:
        return f"Key({self.kid.hex()}, use={self.use!r})"


class _Seal(NamedTuple):
    """A header, and copies of the two halves of an HMAC that have absorbed the key (and the header)."""

    header: bytes
    inner: Callable[[], Any]
    outer: Callable[[], Any]


class Keyring:
    """The keys of a user: one seals, all that are not revoked open.

    A ring that came from a file follows it: keys that another process adds or revokes count within a second.
    """

    def __init__(self, keys: Sequence[Key], *, path: Path | None = None) -> None:
        self.path = path
        self._look_at = 0.0
        self._stamp = _stamp(path)
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
                f"This payload was sealed with key {kid.hex()}, which is not on this ring"
                f" ({self.fingerprint()}). Give both sides the same key: `taskflow key show` tells which they"
                " have."
            )
        if key.use == "revoked":
            raise Untrusted(f"This payload was sealed with key {kid.hex()}, which was revoked.")
        seal = _seal(key, header[4], header[5])
        if len(self._opens) < 1024:
            self._opens[header] = seal
        return seal

    # ── keys ────────────────────────────────────────────────────────────────────────

    def fingerprint(self) -> str:
        """Four words that are the same wherever the same key signs.

        Example:
            >>> Keyring([Key(bytes(32))]).fingerprint()
            'honey-indigo-pecan-igloo'
        """
        digest = _derive(self.signer.secret, "fingerprint")
        return "-".join(_WORDS[byte % len(_WORDS)] for byte in digest[:4])

    def rotate(self) -> Keyring:
        """Make a new key to sign with; the old ones still open what they sealed. Writes the file."""
        old = [replace(key, use="verify") if key.use == "sign" else key for key in self._newest()]
        return self._rewrite([*old, _new_key()])

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
            keys.append(_new_key())
        return self._rewrite(keys)

    def _newest(self) -> list[Key]:
        return _read(self.path) if self.path is not None else list(self.keys)

    def _rewrite(self, keys: list[Key]) -> Keyring:
        if self.path is None:
            raise ConfigError("This key came from TASKFLOW_KEY, not from a file: change it where it is set.")
        temporary = _write_beside(self.path, keys)
        os.replace(temporary, self.path)
        self._take(keys)
        self._stamp = _stamp(self.path)
        return self

    def _follow(self) -> None:
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        stamp = _stamp(self.path)
        if stamp is None or stamp == self._stamp or self.path is None:
            return
        self._stamp = stamp
        self._take(_read(self.path))

    # ── where keys come from ────────────────────────────────────────────────────────

    @classmethod
    def load(cls) -> Keyring:
        """The keys of this user; the first use makes one.

        Looks at ``TASKFLOW_KEY`` (base64), then at the file ``TASKFLOW_KEY_FILE``, then at
        ``taskflow/key`` in the user's configuration directory.

        Raises:
            ConfigError: A key is set but cannot be used, or others may read it; the message is the cure.
        """
        text = os.environ.get("TASKFLOW_KEY")
        if text is not None:
            return cls([Key(_decode(text))])
        named = os.environ.get("TASKFLOW_KEY_FILE")
        if named is not None:
            return cls.from_file(Path(named))
        path = _config_dir() / "key"
        if not os.path.lexists(path):
            _create(path)
        return cls.from_file(path)

    @classmethod
    def from_file(cls, path: Path) -> Keyring:
        """The keys in a file that only its owner can read.

        Raises:
            ConfigError: As `load`.
        """
        return cls(_read(path), path=path)

    @classmethod
    def ephemeral(cls) -> Keyring:
        """A ring with a new key that is nowhere kept: for tests, and for stores that die with the process."""
        return cls([_new_key()])


def _derive(secret: bytes, purpose: str) -> bytes:
    return hmac.digest(secret, f"taskflow/v1/{purpose}".encode(), "sha256")


def _name(purpose: int) -> str:
    return Purpose(purpose).name.lower() if purpose in Purpose._value2member_map_ else "payload"


def _seal(key: Key, purpose: int, flags: int) -> _Seal:
    # hmac.digest looks its hash up by name each time, which costs more than the hashing of a small payload.
    secret = _derive(key.secret, _name(purpose)).ljust(64, b"\0")
    header = MAGIC + bytes((purpose, flags)) + key.kid
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in secret))
    inner.update(header)
    return _Seal(header, inner.copy, hashlib.sha256(bytes(b ^ 0x5C for b in secret)).copy)


def _new_key() -> Key:
    return Key(secrets.token_bytes(_KEY_BYTES), created=time.time())


def _decode(text: str) -> bytes:
    try:
        secret = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError("TASKFLOW_KEY is not base64. Make one with `taskflow key new`.") from None
    if len(secret) < _LEAST_KEY_BYTES:
        raise ConfigError(
            f"TASKFLOW_KEY is empty or too short: it needs {_KEY_BYTES} random bytes."
            " Make one with `taskflow key new`."
        )
    return secret


# ── the key file ─────────────────────────────────────────────────────────────────────


def _config_dir() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "taskflow"


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        info = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return info.st_ino, info.st_mtime_ns, info.st_size


def _create(path: Path) -> None:
    """Make the file whole or not at all: of several processes that start together one wins."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = _write_beside(path, [_new_key()])
    except OSError as error:
        raise ConfigError(
            f"No key could be written to {path} ({error.strerror}). Set TASKFLOW_KEY, or XDG_CONFIG_HOME to a"
            " directory of yours."
        ) from error
    try:
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)


def _write_beside(path: Path, keys: Iterable[Key]) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    text = json.dumps([_to_json(key) for key in keys], indent=1)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)
    return temporary


def _read(path: Path) -> list[Key]:
    text = _read_private(path)
    if not text.strip():
        raise ConfigError(
            f"The key file {path} is empty. Delete it, and a new key is made at the next start."
        )
    try:
        keys = [_from_json(entry) for entry in json.loads(text)]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ConfigError(
            f"{path} is not a key file of taskflow. Delete it, and a new key is made at the next start."
        ) from None
    if any(len(key.secret) < _LEAST_KEY_BYTES for key in keys):
        raise ConfigError(
            f"A key in {path} is too short. Delete the file, and a new key is made at the next start."
        )
    return keys


def _read_private(path: Path) -> str:
    try:
        # Non-blocking, so that a pipe that was put there cannot hold us up.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ConfigError(f"The key file {path} is a symbolic link: put the file itself there.") from None
        raise ConfigError(
            f"The key file {path} cannot be read ({error.strerror}): `chown $USER` and `chmod 600` it, or"
            " name another in TASKFLOW_KEY_FILE."
        ) from None
    try:
        _check_private(path, os.fstat(fd))
        return os.read(fd, _MOST_FILE_BYTES).decode("ascii", "replace")
    finally:
        os.close(fd)


def _check_private(path: Path, info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise ConfigError(f"The key file {path} is not a plain file: remove what is there.")
    if info.st_uid != os.geteuid():
        raise ConfigError(
            f"The key file {path} belongs to another user (uid {info.st_uid}): `chown {os.geteuid()} {path}`."
        )
    if info.st_mode & 0o077:
        raise ConfigError(f"Others can read or write the key file {path}: `chmod 600 {path}`.")


def _to_json(key: Key) -> dict[str, Any]:
    secret = base64.b64encode(key.secret).decode()
    return {"kid": key.kid.hex(), "key": secret, "created": key.created, "use": key.use}


def _from_json(entry: dict[str, Any]) -> Key:
    if entry["use"] not in ("sign", "verify", "revoked"):
        raise ValueError(entry["use"])
    return Key(base64.b64decode(entry["key"], validate=True), float(entry["created"]), entry["use"])


_WORDS = (  # noqa: SIM905 - words read best as words
    "acorn agate alder amber anvil apple aspen azure badge bagel basil beach birch bison blaze bloom "
    "brass brick brook cabin camel candy cedar chalk cherry clove cobra coral cotton crane crown daisy "
    "delta diver dune eagle ebony elder ember fable falcon fern fjord flint forest frost garnet ginger "
    "glacier gold grape hazel heron honey igloo indigo iris ivory ivy jade jasmine jewel juniper kayak "
    "kelp kettle kite koala lagoon larch lemon lilac lime linen lotus lunar lynx magnet mango maple "
    "marble meadow mint moss mural nectar nickel nomad oasis ocean olive onyx orbit orchid otter panda "
    "pearl pecan pepper pine plaza plum poppy prism quartz quill rabbit raven reef river robin ruby "
    "sable sage salmon shell silver slate spruce sugar tango teal tiger topaz tulip umber violet willow"
).split()
