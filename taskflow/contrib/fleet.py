"""What workers of Celery import to run calls: ``celery -A proj worker -I taskflow.contrib.fleet``.

Or, where the application is made: ``app.conf.include = [..., "taskflow.contrib.fleet"]``. It adds one task
and two commands; nothing else of the application changes. Then ``taskflow worker STORE --pool
celery://proj:app`` has these workers run what is in the store, see `taskflow.pools.celery`.

The workers need taskflow in the same version, the same Python (3.11 and 3.11), and the same key; what they
are sent is verified before anything of it is loaded.
"""

from __future__ import annotations

import base64
import mmap
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from celery import shared_task
from celery.signals import worker_process_init
from celery.worker import state as worker_state
from celery.worker.control import control_command, inspect_command

from taskflow.errors import TaskflowError
from taskflow.pools import guest
from taskflow.pools.celery import ASKED, CANCEL, RUN, SAID, VERSIONS

__all__ = ["cancel", "run", "versions"]

_SIGNAL = signal.SIGUSR2
_WORD = 8
_PLACES = 64
_wanted = mmap.mmap(-1, _WORD * _PLACES)
"""Numbers of messages that are to be cancelled, the latest: the processes of a worker share them with it."""
_next = 0


@shared_task(  # type: ignore[untyped-decorator]
    name=RUN, bind=True, track_started=True, ignore_result=False, acks_late=False, max_retries=0
)
def run(self: Any, message: str) -> str:
    """Run a message of an agent; see `taskflow.pools.guest.run`."""
    return base64.b64encode(guest.run(base64.b64decode(message), _Ground(self))).decode()


class _Ground:
    """What Celery offers to a guest.

    Args:
        task: The task, which is bound to its request.
    """

    def __init__(self, task: Any) -> None:
        from billiard.process import current_process

        self._task, self._id = task, task.request.id  # it is known in this thread only
        is_child = current_process().name != "MainProcess"
        self.alone = is_child and threading.current_thread() is threading.main_thread()

    def speak(self, records: bytes) -> bool:
        """Tell the agent, by a state of the task."""
        try:
            self._task.update_state(self._id, state=SAID, meta=base64.b64encode(records).decode())
        except Exception:  # noqa: BLE001 - of the backend; then it is told with the answer
            return False
        return True

    def want(self, more: int) -> None:
        """Nothing: the processes of a worker are so many as they are."""


@inspect_command(name=VERSIONS)  # type: ignore[untyped-decorator]
def versions(state: Any, **_: Any) -> dict[str, str]:
    """What must be the same here and at the agent."""
    try:
        return guest.versions()._asdict()
    except TaskflowError as error:
        return {"error": str(error)}


@control_command(name=CANCEL, args=[("number", int)])  # type: ignore[untyped-decorator]
def cancel(state: Any, number: int, task_id: str = "", **_: Any) -> dict[str, Any]:
    """Raise `TaskCancelled` in what runs of a message."""
    if guest.cancel(number):
        return {"ok": ASKED}
    for request in list(worker_state.active_requests):
        if request.id == task_id and request.worker_pid:
            _want(number)
            with suppress(ProcessLookupError):
                os.kill(request.worker_pid, _SIGNAL)
                return {"ok": ASKED}
    return {"ok": "not here"}


def _want(number: int) -> None:
    global _next  # noqa: PLW0603 - of the process
    _wanted[_next * _WORD : (_next + 1) * _WORD] = number.to_bytes(_WORD, "little")
    _next = (_next + 1) % _PLACES


def _all_wanted() -> Iterator[int]:
    for at in range(0, _WORD * _PLACES, _WORD):
        if number := int.from_bytes(_wanted[at : at + _WORD], "little"):
            yield number


def _obey() -> None:
    for number in _all_wanted():
        guest.cancel(number)


@worker_process_init.connect(weak=False)  # type: ignore[untyped-decorator]
def _listen(**_: Any) -> None:
    """In each process of a worker: look at what is wanted, in a thread, for a signal comes at any moment."""
    signal.signal(_SIGNAL, lambda *_: threading.Thread(target=_obey, daemon=True).start())
