"""Typed JSON: what it carries comes back equal, and whatever else somebody writes is an error, soon."""

from __future__ import annotations

import contextlib
import time
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.codec import typed
from taskflow.errors import CannotPickle, PayloadError

atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.dates()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.uuids()
)
values = st.recursive(
    atoms,
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("$date") | st.just("$dict"), inner),
    max_leaves=20,
)


@given(values)
def test_what_it_carries_comes_back_equal(value: Any) -> None:
    assert typed.loads(typed.dumps(value)) == value


def test_types_come_back_too() -> None:
    value = [
        datetime(2026, 3, 1, tzinfo=UTC),
        date(2026, 3, 1),
        Decimal("1.50"),
        uuid.UUID(int=7),
        b"\0",
        True,
        1.0,
    ]

    assert list(map(type, typed.loads(typed.dumps(value)))) == list(map(type, value))
    assert typed.dumps([Decimal("1.50"), b"\0"]) == b'[{"$decimal":"1.50"},{"$bytes":"AA=="}]'


def test_tuples_become_lists() -> None:
    assert typed.loads(typed.dumps((1, (2,)))) == [1, [2]]


class Text(str):
    """A text of the user's."""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({1, 2}, r"value: it is builtins\.set"),
        ([{"a": object()}], r"value\[0\]\['a'\]: it is builtins\.object"),
        ({1: 2}, "its keys are int, not text"),
        (float("nan"), "finite"),
        (float("-inf"), "finite"),
        (Decimal("NaN"), "finite"),
        (10**5000, "digits"),
        ("\ud800", "half a character"),
        ("x" * typed.MOST_BYTES, "bytes"),
        (Text("x"), "Text"),
    ],
    ids=range(10),
)
def test_what_it_cannot_carry_is_told_with_its_place(value: Any, words: str) -> None:
    with pytest.raises(CannotPickle, match=words):
        typed.dumps(value)


def test_what_is_nested_too_deep_is_not_written() -> None:
    value: list[Any] = []
    for _ in range(typed.MOST_DEPTH + 1):
        value = [value]

    with pytest.raises(CannotPickle, match="inside of each other"):
        typed.dumps(value)


HOSTILE = {
    "not a number": b"[NaN]",
    "infinite": b"-Infinity",
    "larger than any float": b"1e400",
    "a huge int": b"9" * 100_000,
    "deep lists": b"[" * 10_000 + b"]" * 10_000,
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "just too deep": b"[" * (typed.MOST_DEPTH + 2) + b"]" * (typed.MOST_DEPTH + 2),
    "open lists": b"[" * (5 << 20),
    "many open lists": b"[" * (typed.MOST_BYTES - 1),
    "a name twice": b'{"a":1,"a":2}',
    "half a character": rb'["\ud800"]',
    "half a character in a name": rb'{"\uDC00":1}',
    "not utf-8": b'"\xff"',
    "another encoding": '{"a":1}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf1",
    "nothing": b"",
    "two values": b"1 2",
    "an open text": b'"' + b'\\"' * 400_000,
    "a control character": b'"\n"',
    "a type that is not": b'{"$os.system":"true"}',
    "an exception": b'{"$error":{"exc_module":"os","exc_type":"system"}}',
    "a date that is none": b'{"$date":"yesterday"}',
    "a date that is a number": b'{"$date":1}',
    "an infinite decimal": b'{"$decimal":"Infinity"}',
    "a long decimal": b'{"$decimal":"' + b"9" * 5000 + b'"}',
    "a uuid that is none": b'{"$uuid":"x"}',
    "bytes that are none": b'{"$bytes":"?"}',
    "a dict that is none": b'{"$dict":{"$date":1}}',
    "a dict with a list as name": b'{"$dict":[[[],1]]}',
    "a pickle": b"\x80\x05.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_else_is_written_is_an_error_and_soon(name: str) -> None:
    began = time.monotonic()

    with pytest.raises(PayloadError, match="This"):
        typed.loads(HOSTILE[name])

    assert time.monotonic() - began < 10


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_an_error(data: bytes) -> None:
    with contextlib.suppress(PayloadError):
        typed.loads(data)


def test_an_object_that_celery_would_call_is_plain_data() -> None:
    """CVE-2021-23727."""
    told = b'{"exc_module":"os","exc_type":"system","exc_message":["true"]}'

    assert typed.loads(told) == {"exc_module": "os", "exc_type": "system", "exc_message": ["true"]}
