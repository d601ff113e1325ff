"""Awaiting: what ends in a thread of the client, waited for in an event loop.

A client has one thread that hears what happens, and that wakes whoever waits, however many they are. Nothing
here asks the store in the thread of the loop, and no thread waits for anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from taskflow.errors import TaskflowError
from taskflow.pools import context

if TYPE_CHECKING:
    from taskflow.engine import Engine

__all__ = ["comes"]

log = logging.getLogger(__name__)


async def comes(
    engine: Engine,
    tell: Callable[[Callable[..., None]], object],
    give_up: Callable[[], object],
    timeout: float | None = None,
) -> bool:
    """Wait until something has happened; other tasks of the loop run meanwhile.

    Args:
        engine: Whose workers it depends on.
        tell: Takes a function, and has it called when that is so, in any thread, or at once.
        give_up: Called, in a thread beside the loop, when the task that waits is cancelled and the client was
            not told otherwise (``cancel_on_interrupt=False``).
        timeout: Seconds to wait at most.

    Returns:
        `False` when the time was up, or nobody is left who could make it happen.
    """
    loop = asyncio.get_running_loop()
    gate: asyncio.Future[bool] = loop.create_future()

    def from_thread(came: bool, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits
            loop.call_soon_threadsafe(_open, gate, came)

    despair = partial(from_thread, False)
    timer = None if timeout is None else loop.call_later(timeout, _open, gate, False)
    engine.hoping.add(despair)
    try:
        tell(partial(from_thread, True))
        with context.lend_once():
            return await gate
    except asyncio.CancelledError:
        if engine.cancel_on_interrupt:
            await _beside(give_up)
        raise
    finally:
        engine.hoping.discard(despair)
        if timer is not None:
            timer.cancel()


def _open(gate: asyncio.Future[bool], came: bool) -> None:
    if not gate.done():
        gate.set_result(came)


async def _beside(give_up: Callable[[], object]) -> None:
    try:
        await asyncio.to_thread(give_up)
    except TaskflowError as error:
        log.warning("what was awaited could not be cancelled: %s", error)
