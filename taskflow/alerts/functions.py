"""Functions that are kept in a posted text: sealed as those of tasks, and verified before they are opened."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from taskflow.codec import Codec, blob_names
from taskflow.errors import ConfigError, Untrusted

__all__ = ["function_from", "function_to"]

MOST_BYTES = 64 * 1024


def function_to(codec: Codec, fn: Callable[..., Any]) -> list[str]:
    """A function as it is kept: its digest, and its stored form.

    Raises:
        CannotPickle: It cannot travel.
        ConfigError: It is too large for that.
    """
    digest = codec.function(fn)
    stored = bytes(codec.blobs.open(digest))
    if blob_names(stored) or len(stored) > MOST_BYTES:
        raise ConfigError(
            f"{codec.describe(fn)} captures too much to be part of an alert: let it read large data when it"
            " is called."
        )
    return [digest, base64.b64encode(stored).decode("ascii")]


def function_from(codec: Codec, told: list[str]) -> Callable[..., Any]:
    """The function of `function_to`.

    Raises:
        Untrusted: Nobody who has the key has sealed it.
    """
    digest, text = told
    if not codec.blobs.has(digest):
        codec.blobs.put(digest, [base64.b64decode(text)])
    found = codec.load_function(digest).fn
    if not callable(found):
        raise Untrusted("What an alert calls is no function.")
    return found
