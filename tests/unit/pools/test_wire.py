"""Packets and shared memory."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskflow.pools.wire import BACK, LANE_BYTES, PACKET_BYTES, SOFT, Board, Lane, Line


@pytest.fixture
def line() -> Iterator[tuple[Line, Line]]:
    one, two = (Line(end) for end in Line.pair())
    yield one, two
    one.close()
    two.close()


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize("size", [0, 1, PACKET_BYTES - 100, PACKET_BYTES, PACKET_BYTES + 1, 5_000_000])
def test_packets_of_any_size_arrive_whole(line: tuple[Line, Line], size: int) -> None:
    one, two = line

    assert one.send((1, b"x" * size, ["a", None, 2.5]))
    assert two.receive() == (1, b"x" * size, ["a", None, 2.5])


def test_the_end_of_a_line_is_seen(line: tuple[Line, Line]) -> None:
    one, two = line
    one.send(("last",))
    one.finish()

    assert two.receive() == ("last",)
    assert two.receive() is None


def test_a_full_line_says_so_and_can_be_read_back(line: tuple[Line, Line]) -> None:
    mine, back = line
    mine.wait(False)
    sent = 0
    while mine.send((sent, b"x" * 50_000)):
        sent += 1

    assert sent > 3
    assert [back.receive(now=True)[0] for _ in range(sent)] == list(range(sent))
    with pytest.raises(BlockingIOError):
        back.receive(now=True)


def test_large_packets_that_are_read_back_leave_no_files_open(line: tuple[Line, Line]) -> None:
    one, two = line
    before = open_files()
    for _ in range(5):
        one.send(b"x" * 1_000_000)
    for _ in range(5):
        two.receive(now=True)

    assert open_files() == before
    assert select.select([two.fd], [], [], 0)[0] == []


def test_two_processes_see_the_same_board() -> None:
    fd = Board.make(3)
    mine, theirs = Board(fd, 3).lanes, Board(fd, 3).lanes
    theirs[2].ints[Lane.NUMBER] = 4
    theirs[2].print(b"hello")

    assert mine[2].running == (4, 0, 0)
    assert mine[2].printed() == "hello"
    assert mine[1].running is None
    os.close(fd)


def test_a_wish_is_for_one_item_only() -> None:
    lane = Lane(memoryview(bytearray(LANE_BYTES)))
    lane.ints[Lane.NUMBER], lane.ints[Lane.INDEX] = 1, 7
    lane.wish(SOFT, (1, 0, 6))

    assert lane.take_wish() == 0
    lane.wish(SOFT, (1, 0, 7))
    assert lane.take_wish() == SOFT
    assert lane.take_wish() == 0


def test_handing_back_is_wanted_of_whatever_runs() -> None:
    lane = Lane(memoryview(bytearray(LANE_BYTES)))
    lane.ints[Lane.NUMBER], lane.ints[Lane.INDEX] = 1, 7
    lane.wish(BACK, (1, 0, 6))

    assert lane.take_wish() == BACK


@settings(max_examples=60)
@given(st.lists(st.integers(0, 20_000), max_size=8))
def test_output_keeps_its_beginning_and_its_end(sizes: list[int]) -> None:
    lane = Lane(memoryview(bytearray(LANE_BYTES)))
    everything = b""
    for n, size in enumerate(sizes):
        piece = bytes([97 + n]) * size
        everything += piece
        lane.print(piece)
    text = everything.decode()

    kept = lane.printed()
    if len(text) <= 32 * 1024:
        assert kept == text
    else:
        assert kept.startswith(text[: 24 * 1024])
        assert kept.endswith(text[-8 * 1024 :])
        assert f"{len(text) - 32 * 1024} bytes left out" in kept


@settings(max_examples=60)
@given(st.lists(st.integers(1, 9_000), min_size=1, max_size=8))
def test_what_was_seen_is_not_told_again(sizes: list[int]) -> None:
    lane = Lane(memoryview(bytearray(LANE_BYTES)))
    heard = ""
    seen = 0
    everything = ""
    for n, size in enumerate(sizes):
        piece = chr(97 + n) * min(size, 8000)
        everything += piece
        lane.print(piece.encode())
        heard += lane.printed(seen)
        seen = lane.ints[Lane.PRINTED]

    assert heard == everything


def test_what_was_said_last_is_on_the_board() -> None:
    memory = bytearray(LANE_BYTES)
    speaks, hears = Lane(memoryview(memory)), Lane(memoryview(memory))
    assert hears.said() == b""

    assert speaks.say(b"one" * 1000)
    assert speaks.say(b"two")

    assert (hears.said(), hears.ints[Lane.SAID]) == (b"two", 2)
    assert not speaks.say(b"x" * 9000)
    assert hears.said() == b"two"


def test_what_is_being_written_is_not_read() -> None:
    memory = bytearray(LANE_BYTES)
    lane = Lane(memoryview(memory))
    lane.say(b"one and two")
    memory[memory.index(b"one")] ^= 1

    assert lane.said() is None


def test_output_does_not_run_into_what_was_said() -> None:
    lane = Lane(memoryview(bytearray(LANE_BYTES)))
    lane.say(b"x" * 8000)
    lane.print(b"y" * 100_000)

    assert lane.said() == b"x" * 8000
    assert "y" in lane.printed()
