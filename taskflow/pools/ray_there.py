"""What runs in the processes of a Ray cluster for `taskflow.pools.ray_driver`: tasks, and how they speak."""

from __future__ import annotations

import marshal
import signal
import socket
import threading
from typing import Any

from taskflow.pools import guest

__all__ = ["Hub", "run"]


class Hub:
    """An actor: where tasks speak, and the driver listens."""

    def __init__(self) -> None:
        import asyncio

        self._said: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()

    async def say(self, *words: Any) -> None:
        """Have the driver know."""
        self._said.put_nowait(words)

    async def listen(self) -> list[tuple[Any, ...]]:
        """What was said since the last time; waits for something."""
        said = [await self._said.get()]
        while not self._said.empty():
            said.append(self._said.get_nowait())
        return said


class _Ground:
    """What a task of Ray offers to a guest: it runs in the main thread, alone in its process."""

    alone = True

    def __init__(self, number: int, hub: Any) -> None:
        self._number, self._hub = number, hub
        self.said = 0

    def speak(self, records: bytes) -> bool:
        """Tell the agent, by way of the hub."""
        self.said += 1
        self._hub.say.remote("said", self._number, records)
        return True

    def want(self, more: int) -> None:
        """Have the driver give the processor to another."""
        self.said += 1
        self._hub.say.remote("lent", self._number, more)


def run(
    number: int, message: bytes, hub: Any, names: list[str], *data: bytes | dict[str, bytes]
) -> tuple[tuple[bytes, int, list[str]], dict[str, bytes]]:
    """A task of Ray: runs a message. Its answer, how many words came before it, the names of the large data
    that it made; and these data, which are an object of their own: it stays here until it is needed.
    """
    ground = _Ground(number, hub)
    _ear(number)
    given = {name: it[name] if isinstance(it, dict) else it for name, it in zip(names, data, strict=True)}
    answer = guest.answer(message, ground, given)
    rest = marshal.dumps(tuple(answer._replace(made={})), 2)
    return (rest, ground.said, list(answer.made)), answer.made


_running = 0
_wake: socket.socket | None = None


def _ear(number: int) -> None:
    """Hear in this process when Ray wants a task to end.

    Ray only pretends a Ctrl-C in the main thread, which does not wake it when it sleeps. What Python writes
    to its wakeup file then wakes another thread, which interrupts the item that runs.
    """
    global _running, _wake  # noqa: PLW0603 - of this process, which runs one message at a time
    _running = number
    if _wake is not None:
        return
    read, _wake = socket.socketpair()
    _wake.setblocking(False)
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.set_wakeup_fd(_wake.fileno(), warn_on_full_buffer=False)

    def listen() -> None:
        while data := read.recv(64):
            if signal.SIGINT in data:
                guest.cancel(_running)

    threading.Thread(target=listen, name="taskflow-ear", daemon=True).start()
