"""Doorbells: between processes of one host a datagram socket per listener, in a private directory; within one
process a pipe.

A ring is a hint. It may be lost (the listener polls now and then) and it may be for nothing.
Ringing never blocks: a listener whose socket is full has been rung already.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from taskflow.records import Heard

__all__ = ["Bells", "PipeBell", "SocketBell"]

_LONGEST_ADDRESS = 100
_BUFFER = 4096


class SocketBell:
    """One listener's bell; see `ports.Bell`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        with _Address(path) as address:
            self._socket.bind(address)
        os.chmod(path, 0o600)

    def fileno(self) -> int:
        """Readable when it rang."""
        return self._socket.fileno()

    def hush(self) -> Heard:
        """Be silent until it rings again."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(64)
        return Heard()

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self._socket.close()


class Bells:
    """All bells of a store, by topic. `directory` must be private to the user."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sender: socket.socket | None = None
        self._making = threading.Lock()
        self._sender_pid = 0
        self._seen: dict[str, tuple[int, list[str]]] = {}
        self._own: set[str] = set()
        self._folders: dict[str, str] = {}

    def listen(self, topic: str) -> SocketBell:
        """A new bell for a topic."""
        folder = self._folder(topic)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        bell = SocketBell(folder / f"{os.getpid()}-{secrets.token_hex(4)}")
        self._own.add(str(bell.path))
        return bell

    def ring(self, topic: str, *, others_only: bool = False) -> None:
        """Ring every listener of a topic; those of this process may be left out."""
        for path in self._listeners(topic):
            if not (others_only and path in self._own):
                self._send(path)

    def _folder(self, topic: str) -> Path:
        return self._directory / topic

    def _listeners(self, topic: str) -> list[str]:
        """Paths of sockets, listed anew only when the folder has changed."""
        folder = self._folders.get(topic)
        if folder is None:
            folder = self._folders[topic] = str(self._folder(topic))
        try:
            changed = os.stat(folder).st_mtime_ns
        except FileNotFoundError:
            return []
        seen = self._seen.get(topic)
        if seen is None or seen[0] != changed:
            seen = self._seen[topic] = (changed, [f"{folder}/{name}" for name in os.listdir(folder)])
        return seen[1]

    def _send(self, path: str) -> None:
        sender = self._sender
        if sender is None or self._sender_pid != os.getpid():
            sender = self._new_sender()
        try:
            if len(path) <= _LONGEST_ADDRESS:
                sender.sendto(b"!", path)
            else:
                with _Address(Path(path)) as address:
                    sender.sendto(b"!", address)
        except BlockingIOError:
            pass
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(OSError):
                os.unlink(path)
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # as good as full
                raise

    def _new_sender(self) -> socket.socket:
        with self._making:  # several threads may ring at the same moment
            if self._sender is None or self._sender_pid != os.getpid():
                self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._sender.setblocking(False)
                self._sender_pid = os.getpid()
            return self._sender

    def close(self) -> None:
        """Stop ringing."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None


class _Address:
    """The address of a socket file: a long path goes through a descriptor of its directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> str:
        text = str(self._path)
        if len(os.fsencode(text)) <= _LONGEST_ADDRESS:
            return text
        self._fd = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._fd}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


class PipeBell:
    """A bell for listeners of this process; see `ports.Bell`. `on_close` is told when it is closed."""

    def __init__(self, on_close: Callable[[PipeBell], None]) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._on_close = on_close

    def fileno(self) -> int:
        """Readable when it rang."""
        return self._read

    def ring(self) -> None:
        """Wake who listens."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"!")

    def hush(self) -> Heard:
        """Be silent until it rings again."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass
        return Heard()

    def close(self) -> None:
        """Stop listening."""
        self._on_close(self)
        os.close(self._read)
        os.close(self._write)
