"""The main function of a child: takes messages, runs them in its slots, until the pool is gone.

``process``: one slot, in the main thread. ``thread``: a slot in each of several threads. ``async``: a slot
in each of several tasks of one event loop. In the last two the main thread keeps reading, so the pool can
speak to it while calls run.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from taskflow import signals
from taskflow.pools import capture, context
from taskflow.pools.linux import Prctl, humble
from taskflow.pools.outcomes import Reports
from taskflow.pools.slot import Slot
from taskflow.pools.stash import Stash
from taskflow.pools.surroundings import Surroundings
from taskflow.pools.wire import WISH_SIGNAL, Board, Line, Say

if TYPE_CHECKING:
    from taskflow.codec import Codec
    from taskflow.pools.template import Setup

__all__ = ["Child", "main"]


def main(fds: list[int], setup: Setup, codec: Codec, parent: int) -> None:
    """Run until the pool closes the line.

    Args:
        fds: Work line, report line, board, the output pipe's end to write and its end to read.
        setup: What the pool wants.
        codec: Shared with all children of the template until one writes to it.
        parent: The template.
    """
    _become_own_session(parent)
    child = Child(fds, setup, codec)
    faulthandler.enable(2)
    signals.worker_process_init.send(setup.worker)
    if setup.mode == "thread":
        from taskflow.pools.threads import Threads

        Threads(child).serve()
    elif setup.mode == "async":
        import asyncio

        from taskflow.pools.loop import Loop

        asyncio.run(Loop(child).serve())
    else:
        child.serve_process()
    with suppress(BaseException):
        signals.worker_process_shutdown.send(None, pid=os.getpid(), exitcode=0)
    with suppress(BaseException):
        atexit._run_exitfuncs()
    os._exit(0)


def _become_own_session(parent: int) -> None:
    with suppress(OSError):
        os.setsid()
    Prctl.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    Prctl.adopt_orphans()
    humble()
    atexit._clear()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    for sig in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
        signal.signal(sig, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "numpy" in sys.modules:
        # All children of one template would draw the same numbers.
        sys.modules["numpy"].random.seed()


class Child:
    """What the slots of this process share.

    Attributes:
        work: Messages of the pool.
        reports: Records to the pool.
        setup: What the pool wants.
    """

    def __init__(self, fds: list[int], setup: Setup, codec: Codec) -> None:
        work, reports, board, output, leak = fds
        self.setup = setup
        self.work = Line(socket.socket(fileno=work))
        self.reports = Reports(Line(socket.socket(fileno=reports)).send)
        self._codec = codec
        self._stash = Stash()
        self._lanes = Board(board, setup.lanes).lanes
        self._free = list(range(setup.lanes - 1, -1, -1))
        self._leak = leak
        self.slots: dict[int, Slot] = {}
        capture.install(output)
        os.close(board)
        os.close(output)

    def slot(self, **extra: Any) -> Slot:
        """A new slot, on a free lane."""
        number = self._free.pop()
        setup = self.setup
        slot = Slot(
            self._codec,
            self._lanes[number],
            self.reports,
            self._stash,
            number=number,
            worker=setup.worker,
            url=setup.url,
            **extra,
        )
        self.slots[number] = slot
        return slot

    def drop(self, slot: Slot) -> None:
        """Give up a slot."""
        del self.slots[slot.number]
        self._free.append(slot.number)

    def serve_process(self) -> None:
        """Run messages in the main thread until the line ends or the slot wants to retire."""
        slot = self.slot(leak=capture.Leak(self._leak))
        signal.signal(WISH_SIGNAL, lambda *_: slot.obey())
        os.register_at_fork(after_in_child=slot.leave)
        slot.surroundings = Surroundings(slot.alarm)
        context.enter(slot, alone=True)
        receive, run = self.work.receive, slot.run
        while not slot.retiring:
            message = receive()
            if message is None:
                return
            run(message)
        self.reports.add((Say.RETIRE,))
        self.reports.flush()
