"""What a task prints goes with its outcome.

``sys.stdout`` and ``sys.stderr`` of a child write into the lane of the item that runs, in memory that the
pool sees too: so it can show the output of a long call while it runs, and of a call that killed its
process. What bypasses Python (C code, subprocesses) goes through a pipe in place of the files 1 and 2.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TextIO

from taskflow.pools.context import place

__all__ = ["Leak", "Stream", "install", "route"]

_READ_BYTES = 1 << 16
_MOST_BYTES = 1 << 20


class Stream(io.TextIOBase):
    """A text stream that ends in the lane of the item that prints.

    Args:
        fd: The file behind it, for those who ask.
        name: What the stream calls itself.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self.name = name
        self.mode = "w"
        self.buffer = _Bytes(self)

    def write(self, text: str, /) -> int:
        """Print."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.put(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def put(self, data: bytes) -> None:
        """Print bytes."""
        slot = place()
        if slot is None:
            os.write(self._fd, data)
        else:
            slot.print(data)

    def fileno(self) -> int:
        """The file that subprocesses may write to; it is captured too."""
        return self._fd

    def writable(self) -> bool:
        """Yes."""
        return True


class _Routed(Stream):
    """A stream of a process that is not ours alone: what is printed outside of items goes where it went."""

    def __init__(self, fd: int, name: str, before: TextIO) -> None:
        super().__init__(fd, name)
        self._before = before

    def put(self, data: bytes) -> None:
        slot = place()
        if slot is not None:
            slot.print(data)
        else:
            self._before.write(data.decode("utf-8", "replace"))

    def flush(self) -> None:
        self._before.flush()

    def isatty(self) -> bool:
        return False


class _Bytes(io.RawIOBase):
    """The ``buffer`` of a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def write(self, data: object, /) -> int:
        raw = bytes(data)  # type: ignore[call-overload]
        self._stream.put(raw)
        return len(raw)

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True


class Leak:
    """The pipe behind the files 1 and 2, read where it does not wait.

    Attributes:
        ended: Nobody can write to it any more.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.ended = False
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def read(self) -> bytes:
        """What came, or nothing."""
        data = b""
        while len(data) < _MOST_BYTES and self._poll.poll(0):
            try:
                part = os.read(self.fd, _READ_BYTES)
            except BlockingIOError:
                break  # The pool was quicker.
            if not part:
                self.ended = True
                break
            data += part
        return data


def install(write_fd: int) -> None:
    """Put the streams and the pipe in place of what this process had."""
    os.dup2(write_fd, 1)
    os.dup2(write_fd, 2)
    sys.stdout = sys.__stdout__ = Stream(1, "<stdout>")  # type: ignore[misc, assignment]
    sys.stderr = sys.__stderr__ = Stream(2, "<stderr>")  # type: ignore[misc, assignment]


def route() -> None:
    """Have what items print kept with them, and leave everything else of this process where it goes.

    Whoever puts other streams in place meanwhile is heeded: call it again before a message is run.
    """
    if not isinstance(sys.stdout, Stream):
        sys.stdout = _Routed(1, "<stdout>", sys.stdout)
    if not isinstance(sys.stderr, Stream):
        sys.stderr = _Routed(2, "<stderr>", sys.stderr)
