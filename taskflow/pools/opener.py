"""What opens the calls that a process runs: those that are signed, those by name, or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskflow.ports import Blobs

__all__ = ["opener"]


def opener(blobs: Blobs, accept: Sequence[str], allow: Sequence[str]) -> Any:
    """A codec.

    Args:
        blobs: Where functions and large payloads are.
        accept: ``"pickle"`` for what is signed, ``"json"`` for calls by name, or both.
        allow: Which names may be called.
    """
    from taskflow.codec import Codec, Keyring, NamedCodec

    named = None
    if "json" in accept:
        from taskflow.canvas.allowing import allowed

        named = NamedCodec(blobs, allowed(allow).get)
        if "pickle" not in accept:
            return named
    return Codec(Keyring.load(), blobs, named)
