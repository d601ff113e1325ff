"""A proxy that stands between taskflow and a server, and that can be told to be a bad network.

It reads the commands that pass, so that a fault can be had at one verb: before the server has it, when the
server has half of it, or after it was executed and before anybody was told.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Fault", "Proxy", "request_in"]

HOST = "127.0.0.1"
CHUNK_BYTES = 1 << 16
ANY = "*"
Where = Literal["before", "inside", "after"]


@dataclass
class Fault:
    """What goes wrong with a verb; the connection is cut then.

    Args:
        verb: Of the store (``claim``, ``settle``, …), or a command (``HGETALL``); ``*`` is any verb.
        where: *before*: the server never gets it; *inside*: half of it; *after*: it was executed, and
            the answer is thrown away.
        times: How often.
        skip: So many pass first.
        chance: And of the others each with this chance.
        then: Called at that moment, before anything is cut.

    Attributes:
        happened: How often it went wrong.
    """

    verb: str
    where: Where
    times: float = 1
    skip: int = 0
    chance: float = 1.0
    then: Callable[[], object] = field(default=lambda: None)
    happened: int = 0
    _dice: random.Random = field(default_factory=lambda: random.Random(1))

    def meets(self, verb: str) -> bool:
        """Whether this request is one of those that go wrong."""
        if (
            self.happened >= self.times
            or self.verb not in (verb, ANY)
            or (self.verb == ANY and verb.isupper())
        ):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self._dice.random() >= self.chance:
            return False
        self.happened += 1
        return True


class Proxy:
    """Listens on a port of its own until `close`, in a thread of its own.

    Args:
        target: The unix socket of the server.

    Attributes:
        url: The store behind it, ready for ``?namespace=``.
        delay_s: Added to whatever passes, each way.
        seen: How often each verb came by.
        given_bytes: How much the server has said.
    """

    def __init__(self, target: str) -> None:
        self.delay_s = 0.0
        self.seen: Counter[str] = Counter()
        self.given_bytes = 0
        self._target = target
        self._faults: list[Fault] = []
        self._swallows = False
        self._pairs: set[_Pair] = set()
        self._holder = _bound(0)  # the port is ours also while nobody listens
        self.port = int(self._holder.getsockname()[1])
        self.url = f"redis://{HOST}:{self.port}/0"
        self._listener: socket.socket | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._do(self._listen)

    # ── what it can be told ──────────────────────────────────────────────────────────

    def fault(self, verb: str, where: Where, **more: Any) -> Fault:
        """Have something go wrong at a verb; see `Fault`."""
        made = Fault(verb, where, **more)
        self._faults = [*self._faults, made]
        return made

    def cut(self) -> int:
        """Reset all connections; how many there were."""
        return self._do(self._cut)

    def refuse(self) -> None:
        """Reset all connections, and let nobody in until `heal`."""
        self._do(self._deafen)
        self.cut()

    def swallow(self) -> None:
        """Go half-open: take what comes, give no answer. Connections of this time stay so until they end."""
        self._do(self._silence)

    def heal(self) -> None:
        """Be a good network again, for new connections and those that were spared."""
        self.delay_s, self._faults, self._swallows = 0.0, [], False
        self._do(self._listen)

    def close(self) -> None:
        """Cut everything and stop."""
        if self._loop.is_closed():
            return
        self._do(self._deafen)
        self._do(self._cut)
        self._ask(self._rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._holder.close()

    # ── in its thread ────────────────────────────────────────────────────────────────

    def _do(self, deed: Callable[[], Any]) -> Any:
        async def call() -> Any:
            return deed()

        return self._ask(call())

    def _ask(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = _bound(self.port)
            self._listener.listen(256)
            self._loop.add_reader(self._listener, self._accept, self._listener)

    def _deafen(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.shutdown(socket.SHUT_RDWR)  # a process that is being started may have a copy of it
            self._listener.close()
            self._listener = None

    def _silence(self) -> None:
        self._swallows = True
        for pair in self._pairs:
            pair.silent = True

    def _cut(self) -> int:
        count = len(self._pairs)
        for pair in list(self._pairs):
            pair.cut()
        return count

    async def _rest(self) -> None:
        """Let go of what is still at work."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        """Not a task: one that is cancelled when a connection is there would leave it open."""
        try:
            near, _ = listener.accept()
        except BlockingIOError:  # it has gone again
            return
        near.setblocking(False)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = _Pair(self, near, self._swallows)
        self._pairs.add(pair)
        pair.task = self._loop.create_task(self._serve(pair))

    async def _serve(self, pair: _Pair) -> None:
        try:
            await pair.serve()
        finally:
            pair.cut()
            self._pairs.discard(pair)

    def fault_at(self, verb: str) -> Fault | None:
        """What goes wrong with a request that is here now."""
        self.seen[verb] += 1
        return next((fault for fault in self._faults if fault.meets(verb)), None)


class _Pair:
    """A connection, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, near: socket.socket, silent: bool) -> None:
        self.silent = silent
        self.task: asyncio.Task[None] | None = None
        self._proxy, self._near = proxy, near
        self._far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._far.setblocking(False)
        self._loop = proxy._loop
        self._dropping: Fault | None = None
        self._is_cut = False

    async def serve(self) -> None:
        with contextlib.suppress(OSError):
            if not self.silent:
                await self._loop.sock_connect(self._far, self._proxy._target)
            ways = [self._up()] if self.silent else [self._up(), self._down()]
            tasks = [self._loop.create_task(way) for way in ways]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset it: what was under way is lost."""
        if self._is_cut:
            return
        self._is_cut = True
        for sock in (self._near, self._far):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
            sock.close()
        if self.task is not None and self.task is not asyncio.current_task(self._loop):
            self.task.cancel()

    async def _up(self) -> None:
        buffer = bytearray()
        while data := await self._loop.sock_recv(self._near, CHUNK_BYTES):
            if self.silent:
                continue
            buffer += data
            while (found := request_in(buffer)) is not None:
                size, verb = found
                request = bytes(buffer[:size])
                del buffer[:size]
                if not await self._pass(request, verb):
                    return

    async def _pass(self, request: bytes, verb: str) -> bool:
        if self._proxy.delay_s:
            await asyncio.sleep(self._proxy.delay_s)
        fault = self._proxy.fault_at(verb)
        if fault is not None and fault.where == "after":
            self._dropping = fault
        elif fault is not None:
            if fault.where == "inside":
                await self._loop.sock_sendall(self._far, request[: len(request) // 2])
            fault.then()
            return False
        await self._loop.sock_sendall(self._far, request)
        return True

    async def _down(self) -> None:
        while data := await self._loop.sock_recv(self._far, CHUNK_BYTES):
            self._proxy.given_bytes += len(data)
            if self.silent:
                continue
            if self._dropping is not None:
                if not data.startswith(b"-ERR Function not found"):
                    self._dropping.then()
                    return
                self._dropping.happened -= 1  # nothing was executed: it will come again, when it is loaded
                self._dropping = None
            if self._proxy.delay_s:
                await asyncio.sleep(self._proxy.delay_s)
            await self._loop.sock_sendall(self._near, data)


def request_in(buffer: bytes | bytearray) -> tuple[int, str] | None:
    """The size of the first request of a stream, and its verb; `None` when not all of it is there.

    Example:
        >>> request_in(b"*2\\r\\n$3\\r\\nGET\\r\\n$1\\r\\nx\\r\\n*1")
        (22, 'GET')
    """
    line = buffer.find(b"\r\n")
    if line < 0:
        return None
    assert buffer[:1] == b"*", f"not a request: {bytes(buffer[:40])!r}"
    at, words = line + 2, []
    for _ in range(int(buffer[1:line])):
        line = buffer.find(b"\r\n", at)
        if line < 0:
            return None
        size = int(buffer[at + 1 : line])
        at = line + 2 + size + 2
        if at > len(buffer):
            return None
        if len(words) < 2:
            words.append(bytes(buffer[line + 2 : line + 2 + size]))
    verb = words[0].upper()
    if verb == b"FCALL":
        verb = re.sub(rb"^taskflow_[a-z]+_[0-9a-f]+_", b"", words[1])
    return at, verb.decode()


def _bound(port: int) -> socket.socket:
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(socket.socket())
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setblocking(False)
        made.bind((HOST, port))
        stack.pop_all()
    return made
