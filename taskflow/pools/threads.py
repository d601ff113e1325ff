"""Slots in threads of one child: for calls that wait, and for code that shares memory on purpose."""

from __future__ import annotations

import ctypes
import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from taskflow.errors import SoftTimeLimitExceeded, TaskCancelled
from taskflow.pools import context
from taskflow.pools.wire import SOFT, Say

if TYPE_CHECKING:
    from taskflow.pools.child import Child
    from taskflow.pools.slot import Slot

__all__ = ["Threads"]


class Threads:
    """Reads in the main thread, runs in others."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._todo: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: dict[int, threading.Thread] = {}
        self._wanted = 0

    def serve(self) -> None:
        """Run until the line ends and what came over it is done."""
        self._want(self._child.setup.slots)
        while (message := self._child.work.receive()) is not None:
            if message[0] == "wish":
                self._obey(message[1])
            elif message[0] == "back":
                self._give_back()
            elif message[0] == "slots":
                self._want(message[1])
            else:
                self._todo.put(message)
        threads = list(self._threads.values())
        self._want(-self._wanted)
        for thread in threads:
            thread.join()

    def _want(self, more: int) -> None:
        with self._lock:
            self._wanted += more
            while len(self._threads) < self._wanted:
                slot = self._child.slot(want=self._want)
                thread = threading.Thread(target=self._run, args=[slot], daemon=True)
                self._threads[slot.number] = thread
                thread.start()
        for _ in range(-more):
            self._todo.put(None)

    def _run(self, slot: Slot) -> None:
        context.enter(slot)
        while True:
            message = self._todo.get()
            if message is not None:
                slot.run(message)
            with self._lock:
                if message is None and len(self._threads) > self._wanted:
                    del self._threads[slot.number]
                    self._child.drop(slot)
                    return

    def _obey(self, number: int) -> None:
        slot, thread = self._child.slots.get(number), self._threads.get(number)
        if slot is None or thread is None:
            return
        slot.alarm.append("wish")  # Its thread looks at it when the call begins, which may be just now.
        what = slot.lane.take_wish() if slot.calling else 0
        if what:
            slot.order(what)
            kind = SoftTimeLimitExceeded if what == SOFT else TaskCancelled
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident or 0), ctypes.py_object(kind)
            )

    def _give_back(self) -> None:
        reports = self._child.reports
        with suppress(queue.Empty):
            while True:
                message = self._todo.get_nowait()
                if message is not None:
                    reports.add((Say.BACK, message[0], 0, -1))
                    reports.add((Say.DONE, message[0]))
        reports.flush()
