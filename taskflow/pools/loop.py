"""Slots in tasks of one event loop: for ``async def`` functions, many at once."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from taskflow.pools import context
from taskflow.pools.running import is_coroutine_function
from taskflow.pools.slot import Slot
from taskflow.pools.wire import Say

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskflow.pools.child import Child

__all__ = ["Loop"]


class Loop:
    """Reads and runs in one event loop; plain functions run in threads beside it."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._todo: asyncio.Queue[Any] = asyncio.Queue()
        self._ended = asyncio.Event()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._runners: dict[int, _Runner] = {}
        self._wanted = 0

    async def serve(self) -> None:
        """Run until the line ends and what came over it is done."""
        self._loop = loop = asyncio.get_running_loop()
        # For plain functions: a thread for each slot, and for those that are lent, made when it is needed.
        loop.set_default_executor(ThreadPoolExecutor(self._child.setup.lanes))
        self._child.work.wait(False)
        loop.add_reader(self._child.work.fd, self._read)
        self._want(self._child.setup.slots)
        await self._ended.wait()
        loop.remove_reader(self._child.work.fd)
        tasks = list(self._tasks.values())
        self._want(-self._wanted)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _read(self) -> None:
        try:
            while True:
                message = self._child.work.receive()
                if message is None:
                    self._ended.set()
                    return
                self._take(message)
        except BlockingIOError:
            return
        except OSError:
            self._ended.set()

    def _take(self, message: tuple[Any, ...]) -> None:
        if message[0] == "wish":
            runner = self._runners.get(message[1])
            if runner is not None:
                runner.obey()
        elif message[0] == "back":
            self._give_back()
        elif message[0] == "slots":
            self._want(message[1])
        else:
            self._todo.put_nowait(message)

    def _want_from_task(self, more: int) -> None:
        self._loop.call_soon_threadsafe(self._want, more)

    def _want(self, more: int) -> None:
        self._wanted += more
        while len(self._tasks) < self._wanted:
            slot = self._child.slot(want=self._want_from_task)
            runner = self._runners[slot.number] = _Runner(slot)
            self._tasks[slot.number] = self._loop.create_task(self._run(runner))
        for _ in range(-more):
            self._todo.put_nowait(None)

    async def _run(self, runner: _Runner) -> None:
        number = runner.slot.number
        context.enter(runner.slot)
        while True:
            message = await self._todo.get()
            if message is not None:
                await runner.run(message)
            elif len(self._tasks) > self._wanted:
                del self._tasks[number], self._runners[number]
                self._child.drop(runner.slot)
                return

    def _give_back(self) -> None:
        reports = self._child.reports
        while not self._todo.empty():
            message = self._todo.get_nowait()
            if message is not None:
                reports.add((Say.BACK, message[0], 0, -1))
                reports.add((Say.DONE, message[0]))
        reports.flush()


class _Runner:
    """Runs the messages of one slot, one item at a time, without blocking the loop."""

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self._call: asyncio.Task[Any] | None = None
        self._order: BaseException | None = None

    async def run(self, message: tuple[Any, ...]) -> None:
        """As `Slot.run`."""
        with self.slot.message(message) as groups:
            first = 0
            for head, entries in groups:
                for at, entry in enumerate(entries, first):
                    if not self.slot.cut:
                        await self._entry(at, head, entry)
                first += len(entries)

    def obey(self) -> None:
        """Do what the pool wants of the item that runs."""
        what = self.slot.lane.take_wish() if self.slot.calling else 0
        if what and self._call is not None:
            self._order = self.slot.order(what)
            self._call.cancel()

    async def _entry(self, at: int, head: tuple[Any, ...], entry: tuple[Any, ...]) -> None:
        slot = self.slot
        for step in slot.steps(at, head, entry):
            self._order, result, failed = None, None, None
            self._call = asyncio.get_running_loop().create_task(_outcome(step.call))
            slot.calling = True
            try:
                result, failed = await self._call
            except asyncio.CancelledError as error:
                failed = error
            slot.calling = False
            slot.finish(step, result, self._ordered(failed))

    def _ordered(self, failed: BaseException | None) -> BaseException | None:
        """What the pool ordered, when the call ended by it."""
        return failed and (self._order or failed)


async def _outcome(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """What a call gives or raises; nothing else may be raised in a loop."""
    if not is_coroutine_function(call):
        copied = contextvars.copy_context()
        result, failed = await asyncio.get_running_loop().run_in_executor(None, copied.run, _caught, call)
        if failed is not None or not asyncio.iscoroutine(result):
            return result, failed
    else:
        result = call()
    try:
        return await result, None
    except BaseException as error:  # noqa: BLE001 - whatever user code raises is an outcome
        return None, error


def _caught(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return call(), None
    except BaseException as error:  # noqa: BLE001 - whatever user code raises is an outcome
        return None, error
