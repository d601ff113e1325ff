"""Objects in one piece, for places outside of a store: sealed by the user's key, nothing of them apart."""

from __future__ import annotations

import pickle
from typing import Any

from taskflow.codec.culprit import cannot_pickle
from taskflow.codec.failure import with_traceback
from taskflow.codec.pickling import dumps
from taskflow.codec.signing import Keyring, Purpose
from taskflow.errors import PayloadError, SoftTimeLimitExceeded, TaskflowError
from taskflow.records import Failure

__all__ = ["open_whole", "seal_error", "seal_whole", "whole_error"]


def seal_whole(keyring: Keyring, name: str, obj: Any) -> bytes:
    """An object as sealed bytes, which open under no other name.

    Raises:
        CannotPickle: The message says which part of it.
    """
    try:
        body = dumps(obj)
    except (MemoryError, SoftTimeLimitExceeded, TaskflowError):
        raise
    except Exception as error:
        raise cannot_pickle(error, [("result", "result", obj)]) from error
    return keyring.seal(Purpose.KEPT, 0, name.encode(), body)


def open_whole(keyring: Keyring, name: str, sealed: bytes) -> Any:
    """What `seal_whole` was given.

    Raises:
        Untrusted: Nobody who has the key has written it, or it is something else; nothing was unpickled.
        PayloadError: It needs something that is not here, such as a module.
    """
    _, body = keyring.open(Purpose.KEPT, name.encode(), sealed)
    try:
        return pickle.loads(body)
    except (MemoryError, SoftTimeLimitExceeded, TaskflowError):
        raise
    except Exception as error:
        raise PayloadError(
            f"What is kept of {name} could not be rebuilt here: {type(error).__name__}: {error}."
        ) from error


def seal_error(keyring: Keyring, name: str, error: BaseException) -> bytes:
    """An exception as sealed bytes; empty when it cannot be pickled and unpickled again."""
    try:
        sealed = seal_whole(keyring, name, error)
        again = open_whole(keyring, name, sealed)
    except (MemoryError, SoftTimeLimitExceeded):
        raise
    except Exception:  # noqa: BLE001 - whatever the user's exception does, its text is kept
        return b""
    return sealed if type(again) is type(error) else b""


def whole_error(keyring: Keyring, name: str, sealed: bytes, failure: Failure) -> BaseException | None:
    """What `seal_error` was given, with the worker's traceback; `None` when it cannot be had.

    Raises:
        Untrusted: As `open_whole`.
    """
    if not sealed:
        return None
    try:
        found = open_whole(keyring, name, sealed)
    except PayloadError as error:
        if type(error) is not PayloadError:
            raise
        return None
    return with_traceback(found, failure) if isinstance(found, BaseException) else None
