"""Keys, and where they are kept: a file that only its owner can read, a secret of a container, a variable."""

from __future__ import annotations

import base64
import binascii
import errno
import hmac
import json
import os
import secrets
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from taskflow.errors import ConfigError

__all__ = [
    "Key",
    "config_dir",
    "create",
    "derived",
    "from_text",
    "new_key",
    "read",
    "stamp",
    "words_of",
    "write_beside",
]

_KEY_BYTES = 32
_LEAST_KEY_BYTES = 16
_MOST_FILE_BYTES = 65_536
_START_ANEW = "Delete it, and a new key is made at the next start."


@dataclass(frozen=True, slots=True)
class Key:
    """A master key.

    Args:
        secret: The key itself, never shown.
        created: Seconds since the epoch.
        use: ``"sign"`` also verifies; ``"verify"`` opens what older releases of the ring sealed;
            ``"revoked"`` opens nothing, and is kept to be able to say so.
        not_after: Seconds since the epoch until which it opens anything; `None` for ever.
    """

    secret: bytes
    created: float = 0.0
    use: Literal["sign", "verify", "revoked"] = "sign"
    not_after: float | None = None

    @property
    def kid(self) -> bytes:
        """Eight bytes that name the key without telling it."""
        return derived(self.secret, "kid")[:8]

    @property
    def is_over(self) -> bool:
        """Whether it opens nothing any more because of its age."""
        return self.not_after is not None and time.time() > self.not_after

    def __repr__(self) -> str:
        return f"Key({self.kid.hex()}, use={self.use!r})"


def derived(secret: bytes, purpose: str) -> bytes:
    """The key for one purpose."""
    return hmac.digest(secret, f"taskflow/v1/{purpose}".encode(), "sha256")


def words_of(kid: bytes) -> str:
    """Four words for a key, of the bytes that name it: whoever sees a payload can say them.

    Example:
        >>> words_of(Key(bytes(32)).kid)
        'jasmine-eagle-nickel-azure'
    """
    return "-".join(_WORDS[byte % len(_WORDS)] for byte in kid[:4])


def new_key() -> Key:
    """A key that nobody had before."""
    return Key(secrets.token_bytes(_KEY_BYTES), created=time.time())


def from_text(text: str) -> list[Key]:
    """The keys of a variable: base64; behind a comma may stand older ones, which only open what they sealed.

    Raises:
        ConfigError: It is none, or too short.
    """
    first, *older = text.split(",")
    return [Key(_decode(first)), *(Key(_decode(one), use="verify") for one in older)]


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


def config_dir() -> Path:
    """Where the key of this user is, unless one is set."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "taskflow"


def stamp(path: Path | None) -> tuple[int, int, int] | None:
    """What changes when a file is written anew, or a link leads to another."""
    if path is None:
        return None
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_ino, info.st_mtime_ns, info.st_size


def create(path: Path) -> None:
    """Make the file whole or not at all: of several processes that start together one wins."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = write_beside(path, [new_key()])
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


def write_beside(path: Path, keys: Iterable[Key]) -> Path:
    """Write keys to a new file in the same directory."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    text = json.dumps([_to_json(key) for key in keys], indent=1)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)
    return temporary


def read(path: Path, *, secret: bool = False) -> list[Key]:
    """The keys in a file that only its owner can read.

    Args:
        path: The file: what `write_beside` writes, or base64 as in `from_text`.
        secret: Take a secret of a container too (`_is_mounted_secret`), and links to it.

    Raises:
        ConfigError: It cannot be used, or others may read it; the message is the cure.
    """
    text = _read_private(path, secret).strip()
    if not text:
        raise ConfigError(f"The key file {path} is empty. {_START_ANEW}")
    try:
        if not text.startswith("["):
            return from_text(text)
        keys = [_from_json(entry) for entry in json.loads(text)]
    except (ValueError, TypeError, KeyError, AttributeError, ConfigError):
        raise ConfigError(f"{path} is not a key file of taskflow. {_START_ANEW}") from None
    if any(len(key.secret) < _LEAST_KEY_BYTES for key in keys):
        raise ConfigError(f"A key in {path} is too short. {_START_ANEW}")
    return keys


def _read_private(path: Path, secret: bool) -> str:
    real = os.path.realpath(path) if secret and _lies_on_a_reading_mount(path.parent) else path
    try:
        # Non-blocking, so that a pipe that was put there cannot hold us up.
        fd = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ConfigError(f"The key file {path} is a symbolic link: put the file itself there.") from None
        raise ConfigError(
            f"The key file {path} cannot be read ({error.strerror}): `chown $USER` and `chmod 600` it, or"
            " name another in TASKFLOW_KEY_FILE."
        ) from None
    try:
        if not (secret and _is_mounted_secret(fd)):
            _check_private(path, os.fstat(fd))
        return os.read(fd, _MOST_FILE_BYTES).decode("ascii", "replace")
    finally:
        os.close(fd)


def _is_mounted_secret(fd: int) -> bool:
    """Whether a file that the user named is a secret that Docker or Kubernetes has put there.

    Those belong to root, may often be read by all, and lie on a mount that cannot be written to. All who see
    that mount are in the container; the container is the border, not the mode. So the file has to be root's,
    on such a mount, and writable by nobody else; elsewhere, or when it was not named, its mode decides.
    """
    info = os.fstat(fd)
    return (
        stat.S_ISREG(info.st_mode)
        and info.st_uid == 0
        and not info.st_mode & 0o022
        and bool(os.fstatvfs(fd).f_flag & os.ST_RDONLY)
    )


def _lies_on_a_reading_mount(folder: Path) -> bool:
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _check_private(path: Path, info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise ConfigError(f"The key file {path} is not a plain file: remove what is there.")
    if info.st_uid != os.geteuid():
        raise ConfigError(
            f"The key file {path} belongs to another user (uid {info.st_uid}): `chown {os.geteuid()} {path}`."
            " (A secret of a container, named by TASKFLOW_KEY_FILE, is root's and mounted read-only.)"
        )
    if info.st_mode & 0o077:
        raise ConfigError(f"Others can read or write the key file {path}: `chmod 600 {path}`.")


def _to_json(key: Key) -> dict[str, Any]:
    secret = base64.b64encode(key.secret).decode()
    entry = {"kid": key.kid.hex(), "key": secret, "created": key.created, "use": key.use}
    return entry if key.not_after is None else {**entry, "not_after": key.not_after}


def _from_json(entry: dict[str, Any]) -> Key:
    if entry["use"] not in ("sign", "verify", "revoked"):
        raise ValueError(entry["use"])
    until = entry.get("not_after")
    secret = base64.b64decode(entry["key"], validate=True)
    return Key(secret, float(entry["created"]), entry["use"], None if until is None else float(until))


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
