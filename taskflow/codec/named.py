"""Calls by name: `NamedCodec` speaks plain JSON with those who have no key.

The function of such a call is ``json:`` and the name of a task; arguments, items and results are one byte
(``0x03``) and typed JSON, and errors are text. Nothing of it is signed, so nothing of it may ever become more
than data: a worker runs those names that it was started for, which it has looked up before anything came.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from taskflow.codec import typed
from taskflow.codec.failure import stand_in
from taskflow.codec.functions import Loaded, working_directory
from taskflow.codec.payload import NAMED, PLAIN, Codec
from taskflow.codec.pickling import Inputs, Position, Reference
from taskflow.codec.signing import Keyring
from taskflow.codec.stored import Blob, Blobs
from taskflow.errors import CannotPickle, ConfigError, PayloadError, Untrusted, UsageError
from taskflow.limits import CircuitBreaker
from taskflow.policy import RetryPolicy
from taskflow.records import Failure, Segment, Value

__all__ = ["NamedCodec", "NoKeys"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]*(\.[A-Za-z_][A-Za-z0-9_\-]*)*", re.ASCII)
_MOST_NAME_CHARS = 200
_STAR = "*"
"""The one keyword that is no name of Python's: the agreement of `taskflow.plan` on items that are tuples."""


class NoKeys(Keyring):
    """A ring without keys: it seals nothing and opens nothing."""

    def __init__(self) -> None:
        self.path = None
        self.keys = ()
        self.kid = b""

    def seal(self, purpose: int, flags: int, context: bytes, body: bytes) -> bytes:
        """Refuse."""
        raise _names_only()

    def open(self, purpose: int, context: bytes, sealed: bytes, start: int = 0) -> tuple[int, bytes]:
        """Refuse."""
        raise Untrusted(
            "This is for those who have a key, and here are only calls by name (JSON). It was not opened."
        )

    def fingerprint(self) -> str:
        """No words."""
        return "no key"


class NamedCodec(Codec):
    """Turns calls of registered names into JSON and back; it has no key, and never unpickles.

    Args:
        blobs: Those of the store; nothing is put there.
        find: What a name stands for, where calls are run; `None` for a name that is not allowed. Those who
            only send have none, and may name anything.
    """

    def __init__(
        self,
        blobs: Blobs,
        find: Callable[[str], Loaded | None] | None = None,
    ) -> None:
        super().__init__(NoKeys(), blobs)
        self._find = find

    def of(self, fn: str) -> Codec:
        """The codec for the calls of a function: this one, for names."""
        if not fn.startswith(NAMED):
            raise Untrusted(
                "This worker runs calls by name only (--accept json). The function was not opened."
            )
        return self

    # ── names ───────────────────────────────────────────────────────────────────────

    @staticmethod
    def describe(fn: Any) -> str:
        """The name."""
        return fn if isinstance(fn, str) else str(getattr(fn, "name", "") or Codec.describe(fn))

    def function(
        self, fn: Any, *, retry: RetryPolicy | None = None, breaker: CircuitBreaker | None = None
    ) -> str:
        """What stands for a name, or for a task that has one.

        Raises:
            UsageError: It has no name, or retries are asked for, which are the task's own affair.
        """
        name = fn if isinstance(fn, str) else getattr(fn, "name", None)
        if not isinstance(name, str):
            raise UsageError(
                f"This client sends names, for it has no key, and {Codec.describe(fn)!r} is a function:"
                " decorate it with @taskflow.task in a module that the worker allows, or use a client with a"
                " key."
            )
        _check_name(name, UsageError)
        if retry is not None or breaker is not None:
            raise UsageError(
                f"What the exceptions of {name!r} mean is said where it is defined: @taskflow.task(retry=3)."
            )
        return NAMED + name

    def load_function(self, digest: str) -> Loaded:
        """The task of a name.

        Raises:
            Untrusted: It is not among those that this worker was started for. Nothing was imported.
        """
        name = digest.removeprefix(NAMED)
        if self._find is None:
            return Loaded(_elsewhere, None, name, working_directory())
        _check_name(name, Untrusted)
        found = self._find(name)
        if found is None:
            raise Untrusted(f"This worker does not run {name!r}: it is not among the names it allows.")
        return found

    # ── values ──────────────────────────────────────────────────────────────────────

    def dump_args(
        self,
        fn: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any] | None = None,
        position: Position | None = None,
    ) -> Value:
        """The arguments of a call.

        Raises:
            CannotPickle: JSON has no such value; the message says which argument.
        """
        named = dict(kwargs or {})
        if any(isinstance(value, Reference) for value in (*args, *named.values())):
            raise CannotPickle("A call by name takes values: wait for the result, and pass that.")
        _check_keywords(named)
        return PLAIN + typed.dumps({"args": list(args), "kwargs": named}, "arguments")

    def load_args(
        self, fn: str, value: Value, inputs: Inputs | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call.

        Raises:
            Untrusted: They are no JSON.
            PayloadError: They are no arguments.
        """
        told = _loads(value)
        if type(told) is not dict or told.keys() - {"args", "kwargs"}:
            raise PayloadError('The arguments of a call by name are {"args": […], "kwargs": {…}}.')
        args, kwargs = told.get("args", []), told.get("kwargs", {})
        if type(args) is not list or type(kwargs) is not dict:
            raise PayloadError('The arguments of a call by name are {"args": […], "kwargs": {…}}.')
        _check_keywords(kwargs)
        return tuple(args), kwargs

    def snapshot(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Nothing: each call is sent by itself."""
        return None

    def dump_items(self, fn: str, lo: int, items: Sequence[Any]) -> Value:
        """A page of items."""
        return PLAIN + typed.dumps(list(items), "items")

    def load_items(self, fn: str, lo: int, value: Value) -> Sequence[Any]:
        """The items of a page."""
        items = _loads(value)
        if type(items) is not list:
            raise PayloadError("The items of a map by name are a list.")
        return items

    def dump_result(self, node: str, lo: int, hi: int, fence: int, obj: Any) -> Value:
        """A result, or the list of those of a range."""
        return PLAIN + typed.dumps(obj, "result")

    def load_result(self, node: str, lo: int, hi: int, fence: int, value: Value) -> Any:
        """What `dump_result` was given; whoever can write to the store may have written it."""
        return _loads(value)

    def dump_said(self, node: str, index: int, fence: int, obj: Any) -> Value:
        """A value that a running item tells of itself."""
        return PLAIN + typed.dumps(obj, "meta")

    def load_said(self, node: str, index: int, fence: int, value: Value) -> Any:
        """What `dump_said` was given; whoever can write to the store may have written it."""
        return _loads(value)

    def dump_error(
        self, node: str, lo: int, fence: int, error: BaseException, story: bytes | None = None
    ) -> Value | None:
        """Nothing: errors travel as text."""
        return None

    def load_error(self, node: str, lo: int, fence: int, value: Value) -> BaseException:
        """Refuse."""
        raise Untrusted("An exception that is more than text is not for a client without a key.")

    def segment_error(self, segment: Segment, *, frames: bool = False) -> BaseException:
        """The exception of a segment: one of ours, or a `RemoteError`; no class is looked up by its name."""
        return stand_in(Failure.from_json(segment.error) if segment.error else Failure(kind=segment.state))

    # ── what needs a key ────────────────────────────────────────────────────────────

    def upload(self, *what: Any) -> None:
        """Refuse."""
        raise _names_only()

    def keep(self, obj: Any) -> Blob:
        """Refuse."""
        raise _names_only()

    def kept(self, blob: Blob) -> Any:
        """Refuse."""
        raise _names_only()


def _loads(value: Value) -> Any:
    if value[:1] != PLAIN:
        raise Untrusted("This is not plain JSON, as a call by name has it. It was not opened.")
    return typed.loads(value[1:])


def _check_keywords(kwargs: Mapping[str, Any]) -> None:
    for name in kwargs:
        if not name.isidentifier() and name != _STAR:
            raise PayloadError(f"{name[:40]!a} cannot be the name of an argument.")


def _check_name(name: str, error: type[UsageError]) -> None:
    if len(name) > _MOST_NAME_CHARS or not _NAME.fullmatch(name):
        raise error(
            f"{name[:60]!a} is not the name of a task: use words of A-Z a-z 0-9 _ - with dots between."
        )


def _names_only() -> ConfigError:
    return ConfigError(
        'This client has no key (serializer="json"): it sends names of tasks, and values that JSON has.'
    )


def _elsewhere(*_: Any, **__: Any) -> NoReturn:
    raise UsageError("This is run by workers, not here.")
