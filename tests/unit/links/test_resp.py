"""What a server says, read from a file that waits for it."""

from __future__ import annotations

import io

import pytest

from taskflow.links.direct import packed
from taskflow.links.resp import Refusal, Replies, read


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (b"+OK\r\n", b"OK"),
        (b"$5\r\na\r\nbc\r\n", b"a\r\nbc"),
        (b"$0\r\n\r\n", b""),
        (b"$-1\r\n", None),
        (b"_\r\n", b""),
        (b"*0\r\n", []),
        (b"*2\r\n$1\r\na\r\n*1\r\n:7\r\n", [b"a", [b"7"]]),
    ],
)
def test_an_answer_is_read_as_a_listener_reads_it(said: bytes, meant: object) -> None:
    file = io.BytesIO(said + b"+NEXT\r\n")

    assert read(file) == meant == Replies().take(said)[0]
    assert read(file) == b"NEXT"


def test_what_was_said_unasked_is_passed_over() -> None:
    assert read(io.BytesIO(b">2\r\n$6\r\nMOVING\r\n:1\r\n$2\r\nhi\r\n")) == b"hi"


@pytest.mark.parametrize("said", [b"-READONLY You can't write\r\n", b"!24\r\nREADONLY You can't write\r\n"])
def test_a_refusal_is_raised_in_the_words_of_the_server(said: bytes) -> None:
    with pytest.raises(Refusal, match=r"^READONLY You can't write$"):
        read(io.BytesIO(said))


@pytest.mark.parametrize("said", [b"", b"$5", b"$5\r\nab", b"$2\r\nab", b"$2\r\nab\r", b"*2\r\n+OK\r\n"])
def test_an_answer_that_breaks_off_is_none(said: bytes) -> None:
    with pytest.raises(EOFError):
        read(io.BytesIO(said))


def test_what_no_server_says_is_refused() -> None:
    with pytest.raises(ValueError, match="does not begin with"):
        read(io.BytesIO(b"HTTP/1.1 400 Bad Request\r\n"))


def test_a_command_is_sent_as_it_will_be_read() -> None:
    assert read(io.BytesIO(packed(["FCALL", b"\r\n$", "ü", 1]))) == [b"FCALL", b"\r\n$", "ü".encode(), b"1"]
