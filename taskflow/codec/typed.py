"""Typed JSON: plain values as text that anybody may have written, and that can only ever become plain values.

It is JSON (RFC 8259) in UTF-8. What JSON lacks stands as an object with one name, which begins with ``$``::

    {"$datetime": "2026-03-01T09:30:00+00:00"}    {"$date": "2026-03-01"}    {"$decimal": "12.50"}
    {"$uuid": "0f8f…"}    {"$bytes": "AAEC"}    {"$dict": [["$date", "of mine"]]}

The last is a dict of the user's that looks like one of the others. Tuples become lists. Which types there are
is written here: no name that stands in a text is ever looked up.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NoReturn
from uuid import UUID

from taskflow.errors import CannotPickle, PayloadError

__all__ = ["MOST_BYTES", "MOST_DEPTH", "dumps", "loads"]

MOST_BYTES = 1 << 20
"""The longest text that is written or read."""
MOST_DEPTH = 100
"""Containers inside of each other."""
MOST_DIGITS = 4300
"""Of a number: reading one takes time that grows with the square of its length."""

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_ATOMS = frozenset({bool, int, type(None)})


# ── to text ──────────────────────────────────────────────────────────────────────────


def dumps(obj: Any, what: str = "value") -> bytes:
    """The text of a value.

    Args:
        obj: None, bool, int, float, str, bytes, datetime, date, Decimal, UUID, and lists, tuples and dicts
            (with text as keys) of these.
        what: How the value is called in errors.

    Raises:
        CannotPickle: It holds something else; the message says where.
    """
    try:
        text = json.dumps(_plain(obj, what, 0), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        data = text.encode()
    except UnicodeEncodeError:
        raise CannotPickle(f"JSON cannot carry {what}: a text in it holds half a character.") from None
    except ValueError as error:  # an int of more digits than Python writes
        raise CannotPickle(f"JSON cannot carry {what}: {error}.") from None
    if len(data) > MOST_BYTES:
        raise CannotPickle(
            f"JSON carries at most {MOST_BYTES:,} bytes, and {what} takes {len(data):,}: pass a path or an id"
            " that the task can read."
        )
    return data


def _plain(obj: Any, where: str, depth: int) -> Any:
    kind = type(obj)
    if kind in _ATOMS or kind is str:
        return obj
    if kind is float:
        if not math.isfinite(obj):
            raise CannotPickle(f"JSON cannot carry {where}: it is {obj}, and JSON has finite numbers only.")
        return obj
    if depth >= MOST_DEPTH:
        raise CannotPickle(f"JSON carries {MOST_DEPTH} containers inside of each other at most.")
    if kind in (list, tuple):
        return [_plain(part, f"{where}[{at}]", depth + 1) for at, part in enumerate(obj)]
    if kind is dict:
        return _plain_dict(obj, where, depth)
    writes = _WRITERS.get(kind)
    if writes is None:
        raise CannotPickle(
            f"JSON cannot carry {where}: it is {kind.__module__}.{kind.__qualname__}. Calls by name take and"
            " give None, bool, int, float, str, bytes, datetime, date, Decimal, UUID, and lists and dicts of"
            " these."
        )
    name, write = writes
    return {f"${name}": write(obj)}


def _plain_dict(obj: dict[Any, Any], where: str, depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in obj.items():
        if type(key) is not str:
            raise CannotPickle(f"JSON cannot carry {where}: its keys are {type(key).__name__}, not text.")
        made[key] = _plain(value, f"{where}[{key[:40]!r}]", depth + 1)
    return {"$dict": [list(pair) for pair in made.items()]} if _is_typed(made) else made


def _decimal_text(value: Decimal) -> str:
    if not value.is_finite():
        raise CannotPickle(f"JSON cannot carry the decimal {value}: it has finite numbers only.")
    return str(value)


_WRITERS: dict[type, tuple[str, Callable[[Any], str]]] = {
    datetime: ("datetime", datetime.isoformat),
    date: ("date", date.isoformat),
    Decimal: ("decimal", _decimal_text),
    UUID: ("uuid", str),
    bytes: ("bytes", lambda value: base64.b64encode(value).decode()),
}


# ── from text ────────────────────────────────────────────────────────────────────────


def loads(data: bytes | memoryview) -> Any:
    """The value of a text, whoever wrote it.

    Raises:
        PayloadError: It is too long, too deep, no JSON, or says something twice; the message says which.
    """
    if len(data) > MOST_BYTES:
        raise PayloadError(f"This JSON has {len(data):,} bytes; {MOST_BYTES:,} are read at most.")
    data = bytes(data)
    try:
        value = _read(data.decode())
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError:
        raise PayloadError("This JSON is not UTF-8.") from None
    except ValueError as error:
        raise PayloadError(f"This is not JSON: {str(error)[:200]}.") from None
    _check(value, bool(_HALF.search(data)))
    return value


def _object(pairs: list[tuple[str, Any]]) -> Any:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise PayloadError("This JSON has an object in which a name stands twice.")
    if not _is_typed(made):
        return made
    ((name, told),) = made.items()
    if name == "$dict":
        return _escaped(told)
    read = _READERS.get(name)
    if read is None:
        raise PayloadError(f"This JSON has a value of the type {name[:40]!a}, which is not known.")
    try:
        if type(told) is not str:
            raise ValueError
        return read(told)
    except (ValueError, ArithmeticError):
        raise PayloadError(f"This JSON has a {name} that is none.") from None


def _escaped(pairs: Any) -> dict[str, Any]:
    if (
        type(pairs) is not list
        or len(pairs) != 1
        or type(pairs[0]) is not list
        or len(pairs[0]) != 2
        or type(pairs[0][0]) is not str
    ):
        raise PayloadError("This JSON has a $dict that is none.")
    return {pairs[0][0]: pairs[0][1]}


def _is_typed(made: dict[str, Any]) -> bool:
    return len(made) == 1 and next(iter(made)).startswith("$")


def _decimal(text: str) -> Decimal:
    value = Decimal(text)
    if len(text) > MOST_DIGITS or not value.is_finite():
        raise ValueError
    return value


_READERS: dict[str, Callable[[str], Any]] = {
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$decimal": _decimal,
    "$uuid": UUID,
    "$bytes": lambda text: base64.b64decode(text, validate=True),
}


def _int(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise PayloadError(f"This JSON has a number of {len(text):,} digits; {MOST_DIGITS:,} are the most.")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise PayloadError("This JSON has a number that is larger than any float.")
    return value


def _constant(text: str) -> NoReturn:
    raise PayloadError(f"This JSON has {text}, which is no number.")


_read: Callable[[str], Any] = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_int, parse_float=_float, parse_constant=_constant
).decode


def _check(value: Any, halves: bool) -> None:
    """Refuse what is too deep, and, where there may be some, texts with half a character."""
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        if halves and any(_is_half(part) for part in level):
            raise PayloadError("This JSON has a text that holds half a character.")
        level = [part for parent in level if type(parent) in (list, dict) for part in _parts(parent, halves)]
        if not level:
            return
    raise _too_deep()


def _parts(parent: Any, keys_too: bool) -> Any:
    if type(parent) is list:
        return parent
    return [*parent, *parent.values()] if keys_too else parent.values()


def _is_half(part: Any) -> bool:
    if type(part) is not str:
        return False
    try:
        part.encode()
    except UnicodeEncodeError:
        return True
    return False


def _too_deep() -> PayloadError:
    return PayloadError(f"This JSON is nested too deep: {MOST_DEPTH} levels are read at most.")
