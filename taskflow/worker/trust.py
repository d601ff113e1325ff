"""Whom a worker trusts, as its options say: who has its key, those who call by name, or both."""

from __future__ import annotations

from argparse import Namespace

from taskflow.errors import ConfigError, nearest
from taskflow.policy import JSON_QUEUE

__all__ = ["check", "fingerprint", "queues_of", "told", "words"]

_QUEUES = {"pickle": "default", "json": JSON_QUEUE}
"""What is accepted, and where it waits unless somebody said otherwise."""


def check(options: Namespace) -> None:
    """Refuse a worker that would run nothing, or not what was meant.

    Raises:
        ConfigError: The message is the cure.
    """
    from taskflow.canvas.allowing import check_patterns

    for kind in options.accept:
        if kind not in _QUEUES:
            near = nearest(kind, _QUEUES)
            raise ConfigError(f"--accept {kind} is not known.{near} Use pickle, json or both.")
    if "json" in options.accept:
        check_patterns(options.allow)
    elif options.allow:
        raise ConfigError("--allow names the calls by name that are run: it needs --accept json.")


def queues_of(options: Namespace) -> tuple[str, ...]:
    """What it serves unless it was told."""
    return tuple(queue for kind, queue in _QUEUES.items() if kind in options.accept)


def fingerprint(options: Namespace) -> str:
    """The words of the key by which it knows what is signed; none where nothing signed is run.

    Raises:
        ConfigError: There is a key that cannot be used.
    """
    from taskflow.codec import Keyring

    return Keyring.load().fingerprint() if "pickle" in options.accept else ""


def told(options: Namespace) -> dict[str, str]:
    """What the list of workers says of it."""
    key = {"key": options.key} if options.key else {}
    return key if options.accept == ("pickle",) else {**key, "accept": ",".join(options.accept)}


def words(options: Namespace) -> str:
    """The same, for a person."""
    signed = [f"what is signed with the key {options.key}"] if options.key else []
    named = [f"calls by name of {', '.join(options.allow)}"] if options.allow else []
    return ", and ".join(signed + named)
