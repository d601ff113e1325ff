"""What a pool and its children say to each other: packets on a line, and memory they share.

A *line* is one end of a pair of packet sockets: a packet arrives whole or not at all, so the pool may
read back what a child has not taken. A packet is a marshalled tuple; a large one travels as an open
memory file. A *board* is memory that both see: each *lane* of it says which item a slot runs, and holds
what the item printed, readable even after the process died.

Pool to child::

    (number, groups, pages)      a message of work; `groups` are (head, entries)
    head  = (fn, run, label, queue, array, width, limited, seed, ignored, priority,
             on_failure, frames)
    entry = (node, lo, hi, fence, attempt, delivery, age_s, args, inputs)
    page  = (node, lo, hi, items)

Child to pool: a list of records, each a tuple that begins with a `Say`.
"""

from __future__ import annotations

import array
import fcntl
import marshal
import mmap
import os
import signal
import socket
import struct
import zlib
from typing import Any

__all__ = [
    "BACK",
    "CANCEL",
    "LANE_BYTES",
    "PACKET_BYTES",
    "PAGES_KEPT",
    "PAGES_SENT",
    "SAY_S",
    "SOFT",
    "WISH_SIGNAL",
    "Board",
    "Lane",
    "Line",
    "Say",
    "shortened",
]

PACKET_BYTES = 96 * 1024
PAGES_KEPT = 48
"""Pages a child keeps, the latest that it got."""
PAGES_SENT = 16
"""At most so many are in a packet, and so many fewer than `PAGES_KEPT` are trusted to be there still."""

SOFT, CANCEL, BACK = 1, 2, 3
"""What the pool wants of a running item: a soft time limit, an end, or to hand back what waits behind it."""

SAY_S = 0.1
"""What an item says of itself is passed on after so long at the latest, and not more often."""

WISH_SIGNAL = int(signal.SIGRTMIN + 7 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2)
"""Tells the main thread of a process-mode child to look at the wish on its lane."""

_FD_BYTES = socket.CMSG_SPACE(array.array("i").itemsize)
_THEN = int(socket.MSG_CMSG_CLOEXEC)
_NOW = _THEN | int(socket.MSG_DONTWAIT)
_BUFFER_BYTES = PACKET_BYTES + 4096
_SOCKET_BYTES = 1 << 20


class Say:
    """What a record of a child is about; plain numbers, since only those can be marshalled."""

    CALLS = 0
    """(number, first entry, values, started_at, seconds of each): calls that succeeded, one after another."""
    OUTCOME = 1
    """(number, entry, lo, hi, kind, value, error, delay_s, started_at, took_s, log, growth)"""
    DONE = 2
    """(number,): nothing of this message is left."""
    BACK = 3
    """(number, entry, lo): what is left of this message, from this item on, will not be run here."""
    NOTE = 4
    """(number, entry, index, kind, JSON, value)"""
    LEND = 5
    """(+1 or -1,): the item waits for others, or goes on."""
    RETIRE = 6
    """(): takes no more messages, and ends."""
    SAID = 7
    """(): an item has said something of itself; what, is on its lane."""


class Line:
    """One end of a packet line; not for several threads at once."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self.fd = end.fileno()

    @staticmethod
    def pair() -> tuple[socket.socket, socket.socket]:
        """Two connected ends."""
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
        return ends

    def send(self, message: Any) -> bool:
        """Send one packet; `False` when a line that does not wait is full.

        Raises:
            OSError: The other end is gone.
        """
        data = marshal.dumps(message, 2)
        try:
            if len(data) <= PACKET_BYTES:
                self._end.send(data)
            else:
                self._send_large(data)
        except BlockingIOError:
            return False
        return True

    def send_with(self, message: Any, fds: list[int]) -> None:
        """Send a small packet with open files."""
        socket.send_fds(self._end, [marshal.dumps(message, 2)], fds)

    def receive(self, *, now: bool = False) -> Any:
        """The next packet, or `None` when the other end is gone.

        Args:
            now: Do not wait, though the line does: the file may be shared with a process that waits.

        Raises:
            BlockingIOError: Nothing is there, and nobody waits.
        """
        size, ancillary, _, _ = self._end.recvmsg_into([self._view], _FD_BYTES, _NOW if now else _THEN)
        if ancillary:
            return _read_large(ancillary)
        return marshal.loads(self._view[:size]) if size else None

    def receive_with(self, most: int) -> tuple[Any, list[int]]:
        """The next small packet with its open files; `None` when the other end is gone."""
        data, fds, _, _ = socket.recv_fds(self._end, PACKET_BYTES, most, socket.MSG_CMSG_CLOEXEC)
        return (marshal.loads(data) if data else None), fds

    def wait(self, waits: bool) -> None:
        """Whether sending and receiving wait for the other side."""
        self._end.setblocking(waits)

    def finish(self) -> None:
        """Send nothing more; the other side sees the end after the last packet."""
        self._end.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let go of this end."""
        self._end.close()

    def _send_large(self, data: bytes) -> None:
        fd = _memory_file("packet")
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            socket.send_fds(self._end, [b"L"], [fd])
        finally:
            os.close(fd)


def _read_large(ancillary: list[tuple[int, int, bytes]]) -> Any:
    fds = array.array("i")
    fds.frombytes(ancillary[0][2][: fds.itemsize])
    with open(fds[0], "rb", buffering=0) as file:
        file.seek(0)
        return marshal.loads(file.read())


def shortened(text: str) -> str:
    """Output of one item, parts of which were kept in two places, no longer than one would have kept."""
    lost = len(text) - _HEAD_BYTES - _TAIL_BYTES
    if lost <= 0:
        return text
    return f"{text[:_HEAD_BYTES]}\n… {lost} characters left out …\n{text[-_TAIL_BYTES:]}"


def _memory_file(name: str) -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create(f"taskflow-{name}", os.MFD_CLOEXEC)
    import tempfile

    with tempfile.TemporaryFile() as file:
        return fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)


# ── shared memory ────────────────────────────────────────────────────────────────────

_WORDS = 16
_HEAD_BYTES = 24 * 1024
_TAIL_BYTES = 8 * 1024
_SAID_BYTES = 8 * 1024
LANE_BYTES = _WORDS * 8 + _HEAD_BYTES + _TAIL_BYTES + _SAID_BYTES
_SIZE = struct.Struct("<II")  # of what was said, and a checksum: it may be read while it is written


class Lane:
    """The part of a board that belongs to one slot.

    Words of `ints`: which item runs (`NUMBER` of the message, 0 for none, `ENTRY`, `INDEX`), what the
    pool wants of which item (`WISH`, `WISH_NUMBER` …), and how much was `PRINTED`. `reals[START]` is
    when the item began, by the monotonic clock, which all processes share. `SAID` counts what items have
    said of themselves.
    """

    NUMBER, ENTRY, INDEX, START, PRINTED, WISH, WISH_NUMBER, WISH_ENTRY, WISH_INDEX, SAID = range(10)

    __slots__ = ("_head", "_said", "_tail", "ints", "reals")

    def __init__(self, memory: memoryview) -> None:
        self.ints = memory[: _WORDS * 8].cast("q")
        self.reals = memory[: _WORDS * 8].cast("d")
        self._head = memory[_WORDS * 8 : _WORDS * 8 + _HEAD_BYTES]
        self._tail = memory[_WORDS * 8 + _HEAD_BYTES : LANE_BYTES - _SAID_BYTES]
        self._said = memory[LANE_BYTES - _SAID_BYTES : LANE_BYTES]

    @property
    def running(self) -> tuple[int, int, int] | None:
        """Message, entry and index of the item that runs."""
        number = self.ints[self.NUMBER]
        return (number, self.ints[self.ENTRY], self.ints[self.INDEX]) if number else None

    @property
    def since(self) -> float:
        """When the running item began, by `time.monotonic`."""
        return float(self.reals[self.START])

    def wish(self, what: int, item: tuple[int, int, int]) -> None:
        """Want something of an item."""
        self.ints[self.WISH_NUMBER], self.ints[self.WISH_ENTRY], self.ints[self.WISH_INDEX] = item
        self.ints[self.WISH] = what

    def take_wish(self) -> int:
        """What is wanted of the item that runs now, once; 0 when nothing is."""
        ints = self.ints
        what = ints[self.WISH]
        wanted = (ints[self.WISH_NUMBER], ints[self.WISH_ENTRY], ints[self.WISH_INDEX])
        if not what or (wanted != self.running and what != BACK):
            return 0
        ints[self.WISH] = 0
        return int(what)

    def say(self, data: bytes) -> bool:
        """Put something in place of what was said before; `False` when there is no room for it."""
        said = _SIZE.pack(len(data), zlib.crc32(data)) + data
        if len(said) > _SAID_BYTES:
            return False
        self._said[: len(said)] = said  # at once: several threads of a task may speak
        self.ints[self.SAID] += 1
        return True

    def said(self) -> bytes | None:
        """What was said last; `None` while it is being written."""
        size, checksum = _SIZE.unpack(self._said[: _SIZE.size])
        data = bytes(self._said[_SIZE.size : _SIZE.size + size])
        return data if zlib.crc32(data) == checksum else None

    def print(self, data: bytes) -> None:
        """Keep output: the first 24 KiB and the last 8 KiB of it."""
        printed = self.ints[self.PRINTED]
        size = len(data)
        room = _HEAD_BYTES - printed
        if room > 0:
            part = data[:room]
            self._head[printed : printed + len(part)] = part
            data = data[room:]
        if data:
            self._print_tail(printed + size, data[-_TAIL_BYTES:])
        self.ints[self.PRINTED] = printed + size

    def _print_tail(self, end: int, data: bytes) -> None:
        at = (end - len(data) - _HEAD_BYTES) % _TAIL_BYTES
        first = min(len(data), _TAIL_BYTES - at)
        self._tail[at : at + first] = data[:first]
        self._tail[: len(data) - first] = data[first:]

    def printed(self, seen: int = 0) -> str:
        """What was printed after the first `seen` bytes, as far as it was kept."""
        printed = self.ints[self.PRINTED]
        data = bytes(self._head[seen:printed]) if seen < _HEAD_BYTES else b""
        if printed > _HEAD_BYTES:
            begin = max(seen, _HEAD_BYTES)
            lost = printed - _TAIL_BYTES - begin
            if lost > 0:
                data += f"\n… {lost} bytes left out …\n".encode()
                begin += lost
            data += self._tail_between(begin, printed)
        return data.decode("utf-8", "replace")

    def _tail_between(self, begin: int, end: int) -> bytes:
        start, stop = (begin - _HEAD_BYTES) % _TAIL_BYTES, (end - _HEAD_BYTES) % _TAIL_BYTES
        if end == begin:
            return b""
        if start < stop:
            return bytes(self._tail[start:stop])
        return bytes(self._tail[start:]) + bytes(self._tail[:stop])

    def take_printed(self) -> str | None:
        """What was printed, and forget it."""
        if not self.ints[self.PRINTED]:
            return None
        text = self.printed()
        self.ints[self.PRINTED] = 0
        return text


class Board:
    """Memory that a pool shares with one child: a lane for each slot in it."""

    def __init__(self, fd: int, lanes: int) -> None:
        self._memory = mmap.mmap(fd, lanes * LANE_BYTES)
        self._view = memoryview(self._memory)
        self.lanes = [Lane(self._view[n * LANE_BYTES : (n + 1) * LANE_BYTES]) for n in range(lanes)]

    @staticmethod
    def make(lanes: int) -> int:
        """A new memory file for that many lanes; pages that are not touched cost nothing."""
        fd = _memory_file("board")
        os.ftruncate(fd, lanes * LANE_BYTES)
        return fd
