"""Which variable is it that cannot be pickled?

Runs only after a pickle has failed: it pickles the parts of the object one by one, into nothing,
follows the first that fails, and so finds the path to the smallest thing that cannot travel.
"""

from __future__ import annotations

import time
import types
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from taskflow.codec.functions import children, describe
from taskflow.codec.pickling import Kept, Position, Reference, importable, pack
from taskflow.errors import CannotPickle

__all__ = ["cannot_pickle"]

_MOST_DEPTH = 20
_MOST_CHILDREN = 10_000
_MOST_S = 2.0


def cannot_pickle(
    error: BaseException, roots: Iterable[tuple[str, str, Any]], position: Position | None = None
) -> CannotPickle:
    """The error to raise in place of what pickling raised.

    Args:
        error: What pickling raised.
        roots: What was pickled, as (kind, name, object): the object alone, or arguments, or items.
        position: As for `pack`.
    """
    roots = list(roots)
    search = _Search(position, refs=not roots or roots[0][0] != "function")
    found = next(search.failing(roots), None)
    if found is None:
        return CannotPickle(f"cannot pickle this: {_text(error)}", culprit="")
    path, thing, reason = search.follow(found)
    place = _place(path)
    culprit = _spell(path[1:] if path[0][0] == "function" and len(path) > 1 else path)
    if issubclass(type(thing), Reference):
        return CannotPickle(
            f"cannot pickle a future: {place}. Pass the future as an argument, and the task is given its"
            " value.",
            culprit=culprit,
        )
    if issubclass(type(thing), Kept):
        return CannotPickle(
            f"cannot pickle a Ref: {place}. Pass the Ref as an argument, and the task is given the object.",
            culprit=culprit,
        )
    return CannotPickle(
        f"cannot pickle {type(thing).__name__!r}: {place} ({_text(reason)}).{_hint(thing)}", culprit=culprit
    )


class _Search:
    def __init__(self, position: Position | None, *, refs: bool) -> None:
        self._position = position
        self._refs = refs
        self._ends_at = time.monotonic() + _MOST_S

    def failing(self, parts: Iterable[tuple[str, str, Any]]) -> Iterator[tuple[str, str, Any, BaseException]]:
        """The parts that cannot be pickled, as they are found."""
        for kind, name, value in islice(parts, _MOST_CHILDREN):
            if time.monotonic() > self._ends_at:
                return
            try:
                pack(value, self._position, kept=[] if self._refs else None)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - that it fails is what is looked for
                yield kind, name, value, error

    def follow(
        self, found: tuple[str, str, Any, BaseException]
    ) -> tuple[list[tuple[str, str, Any]], Any, BaseException]:
        """From a part that fails down to the smallest that does."""
        path: list[tuple[str, str, Any]] = []
        seen: set[int] = set()
        while True:
            kind, name, value, error = found
            path.append((kind, name, value))
            seen.add(id(value))
            if len(path) >= _MOST_DEPTH or not _has_parts(value):
                return path, value, error
            parts = (part for part in _parts(value) if id(part[2]) not in seen)
            deeper = next(self.failing(parts), None)
            if deeper is None:
                return path, value, error
            found = deeper


def _has_parts(value: Any) -> bool:
    kind = type(value)
    return not issubclass(kind, (Reference, Kept, types.ModuleType)) and not (
        issubclass(kind, type) and importable(value)
    )


def _parts(value: Any) -> Iterator[tuple[str, str, Any]]:
    try:
        yield from children(value)
    except Exception:  # noqa: BLE001 - properties of the user's objects may raise anything
        return


def _place(path: list[tuple[str, str, Any]]) -> str:
    """In words: ``variable `self.lock` captured by `train` ``."""
    kind = path[0][0]
    if kind != "function":
        words = {"argument": "argument ", "item": "item ", "variable": "variable "}.get(kind, "")
        return f"{words}`{_spell(path)}`"
    if len(path) == 1:
        return f"`{path[0][1]}`"
    last = max(depth for depth, (_, _, value) in enumerate(path[:-1]) if depth == 0 or _is_function(value))
    holder = path[0][1] if last == 0 else describe(path[last][2])
    return f"variable `{_spell(path[last + 1 :])}` captured by `{holder}`"


def _is_function(value: Any) -> bool:
    return isinstance(value, types.FunctionType)


def _spell(path: list[tuple[str, str, Any]]) -> str:
    text = ""
    for kind, name, _ in path:
        text += f"[{name}]" if kind == "item" and text else f".{name}" if text else name
    return text


def _text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except Exception:  # noqa: BLE001
        return type(error).__name__


_HINTS = {
    "lock": "Make the lock inside the function; between processes it would guard nothing.",
    "RLock": "Make the lock inside the function; between processes it would guard nothing.",
    "generator": "A generator cannot leave its process: make a list of it.",
    "coroutine": "Pass the `async def` function itself and its arguments: it is awaited in the worker.",
    "Connection": "Open the connection inside the function.",
    "socket": "Open the connection inside the function.",
    "TextIOWrapper": "Pass the name of the file, and open it inside the function.",
    "BufferedReader": "Pass the name of the file, and open it inside the function.",
    "BufferedWriter": "Pass the name of the file, and open it inside the function.",
    "Client": "Use `taskflow.current()` or make a client inside the function.",
    "memoryview": "Pass `bytes(...)` of it.",
}


def _hint(thing: Any) -> str:
    hint = _HINTS.get(type(thing).__name__, "Make it inside the function, or pass what is needed to make it.")
    return f" {hint}"
