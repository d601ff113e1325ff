"""Signals: call a function of yours when something happens to a task, a worker, beat or the logging.

    >>> from taskflow.signals import task_success
    >>> @task_success.connect
    ... def cheer(sender=None, result=None, **rest):
    ...     return f"{sender} gave {result}"
    >>> [response for _, response in task_success.send("proj.add", result=3, runtime=0.1)]
    ['proj.add gave 3']
    >>> task_success.disconnect(cheer)
    True

A receiver is called with ``signal=``, ``sender=`` and what the signal gives (`Signal.providing_args`); it
must take ``**kwargs``, since more may be given later. It is called in the process in which the thing happens,
and only there: what is connected in a notebook hears of what the notebook does (`before_task_publish`), what
is connected in a module that workers import hears of what they do. The signals of a task that runs
(`task_prerun` … `task_postrun`) are sent in the child that runs it, those of its coming and going
(`task_received`, `task_revoked` …) by the worker.

Names and arguments are Celery's; ``docs/signals-and-logging.md`` says of each when it is sent. Those that
nothing of ours sends are there to be connected to: `eventlet_pool_started` and its like (there is no such
pool), `task_sent` (`after_task_publish` took its place).
"""

from __future__ import annotations

import inspect
import itertools
import logging
import threading
import time
import weakref
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar, overload

from taskflow.errors import SoftTimeLimitExceeded, UsageError

__all__ = [
    "Signal",
    "after_setup_logger",
    "after_setup_task_logger",
    "after_task_publish",
    "any_heard",
    "beat_embedded_init",
    "beat_init",
    "before_task_publish",
    "celeryd_after_setup",
    "celeryd_init",
    "eventlet_pool_apply",
    "eventlet_pool_postshutdown",
    "eventlet_pool_preshutdown",
    "eventlet_pool_started",
    "heartbeat_sent",
    "import_modules",
    "setup_logging",
    "task_failure",
    "task_internal_error",
    "task_postrun",
    "task_prerun",
    "task_received",
    "task_rejected",
    "task_retry",
    "task_revoked",
    "task_sent",
    "task_success",
    "task_unknown",
    "user_preload_options",
    "worker_before_create_process",
    "worker_init",
    "worker_process_init",
    "worker_process_shutdown",
    "worker_ready",
    "worker_shutdown",
    "worker_shutting_down",
]

log = logging.getLogger(__name__)

PAUSES_S = (2.0, 4.0, 8.0, 16.0, 30.0)
"""How long a receiver that asked for ``retry`` is left alone after each failure; the last again and again."""

Receiver = Callable[..., Any]
R = TypeVar("R", bound=Receiver)


class _Link(NamedTuple):
    """One receiver, and what it wants to hear of."""

    name: Hashable
    sender: Hashable
    find: Callable[[], Receiver | None]
    retry: bool
    held: Any


class Signal:
    """Something that happens, and who wants to hear of it.

    It may be used from any thread. Without a receiver, `send` costs less than a microsecond.

    Args:
        name: What it is called.
        providing_args: Names of the arguments it is sent with; they are documented, not checked.

    Attributes:
        name: What it is called.
        providing_args: Names of the arguments it is sent with.
    """

    def __init__(self, name: str = "", providing_args: Collection[str] = ()) -> None:
        self.name = name
        self.providing_args = frozenset(providing_args)
        self._links: tuple[_Link, ...] = ()
        self._lock = threading.RLock()  # a receiver may be collected at any moment, in any thread

    def __repr__(self) -> str:
        return f"<Signal: {self.name} {sorted(self.providing_args)}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        name = self.name
        if globals().get(name) is self:
            return name  # what travels is the name: each process has its own receivers
        return Signal, (self.name, self.providing_args)

    @overload
    def connect(
        self,
        receiver: R,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Hashable | None = None,
        retry: bool = False,
    ) -> R: ...

    @overload
    def connect(
        self,
        receiver: None = None,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Hashable | None = None,
        retry: bool = False,
    ) -> Callable[[R], R]: ...

    def connect(
        self,
        receiver: Receiver | None = None,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Hashable | None = None,
        retry: bool = False,
    ) -> Any:
        """Call a function whenever this happens; also a decorator, with or without arguments.

        What is connected already is not connected again.

        Args:
            receiver: What to call; it takes ``**kwargs``.
            sender: Only what this one sends: something that has a name (a task) or the name itself, or one
                object, which is held. `None`: whoever sends.
            weak: Let go of the receiver when nobody else holds it. Functions of a module are held by it;
                give `False` for one made inside a function.
            dispatch_uid: What the receiver is known by, in place of itself.
            retry: Call it again in a thread of its own when it raises, after 2, 4, … 30 seconds, until it
                does not. It is not held weakly then.

        Returns:
            The receiver; without one, a decorator.

        Raises:
            UsageError: It cannot be called, or not with keyword arguments that it does not name.
        """
        if receiver is None:
            return lambda function: self.connect(function, sender, weak, dispatch_uid, retry)
        _check(receiver)
        find = self._weakly(receiver) if weak and not retry else lambda: receiver
        link = _Link(_uid(receiver, dispatch_uid), _key(sender), find, retry, sender)
        with self._lock:
            if all(link[:2] != other[:2] for other in self._links):
                self._links += (link,)
        return receiver

    def disconnect(
        self,
        receiver: Receiver | None = None,
        sender: Any = None,
        weak: bool | None = None,
        dispatch_uid: Hashable | None = None,
    ) -> bool:
        """Call a function no longer.

        Args:
            receiver: What was connected; not needed with `dispatch_uid`.
            sender: As it was connected.
            weak: Not looked at.
            dispatch_uid: As it was connected.

        Returns:
            Whether it was connected.
        """
        this = (_uid(receiver, dispatch_uid), _key(sender))
        with self._lock:
            left = tuple(link for link in self._links if link[:2] != this)
            found = len(left) < len(self._links)
            self._links = left
        return found

    def send(self, sender: Any, **named: Any) -> list[tuple[Receiver, Any]]:
        """Call all receivers, in the order in which they were connected.

        What a receiver raises is logged, and stands in place of its response; the others are called all the
        same. Only `SoftTimeLimitExceeded` passes: it is meant for the task.

        Args:
            sender: Who sends it.
            **named: What it tells.

        Returns:
            Each receiver with what it returned, or raised.
        """
        if not self._links:
            return []
        return [
            (receiver, self._call(receiver, link.retry, sender, named))
            for link, receiver in self._live(sender)
        ]

    send_robust = send

    def has_listeners(self, sender: Any = None) -> bool:
        """Whether anybody would hear it.

        Args:
            sender: If this one sent it; `None`: whoever did.
        """
        return bool(self._links) and (sender is None or any(True for _ in self._live(sender)))

    @property
    def receivers(self) -> list[Receiver]:
        """What is connected, in that order."""
        return [receiver for link in self._links if (receiver := link.find()) is not None]

    def _live(self, sender: Any) -> Iterator[tuple[_Link, Receiver]]:
        keys = {_key(None), _key(sender)}
        for link in self._links:
            receiver = link.find() if link.sender in keys else None
            if receiver is not None:
                yield link, receiver

    def _call(self, receiver: Receiver, retry: bool, sender: Any, named: dict[str, Any]) -> Any:
        try:
            return receiver(signal=self, sender=sender, **named)
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:
            log.exception("A receiver of the signal %s failed: %r", self.name, receiver)
            if retry:
                again = threading.Thread(target=self._call_again, args=(receiver, sender, named), daemon=True)
                again.start()
            return error

    def _call_again(self, receiver: Receiver, sender: Any, named: dict[str, Any]) -> None:
        for pause_s in itertools.chain(PAUSES_S, itertools.repeat(PAUSES_S[-1])):
            time.sleep(pause_s)
            if not isinstance(self._call(receiver, False, sender, named), Exception):
                return

    def _weakly(self, receiver: Receiver) -> Callable[[], Receiver | None]:
        if inspect.ismethod(receiver):
            return weakref.WeakMethod(receiver, self._drop)
        return weakref.ref(receiver, self._drop)

    def _drop(self, find: Any) -> None:
        with self._lock:
            self._links = tuple(link for link in self._links if link.find is not find)


def any_heard(several: Iterable[Signal]) -> bool:
    """Whether anybody would hear one of these."""
    return any(map(_LINKS_OF, several))


_LINKS_OF = attrgetter("_links")


def _check(receiver: Receiver) -> None:
    if not callable(receiver):
        raise UsageError(f"A receiver of a signal is a function; this is none: {receiver!r}.")
    try:
        parameters = inspect.signature(receiver).parameters.values()
    except (TypeError, ValueError):
        return  # of C, which does not say what it takes
    if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
        raise UsageError(
            f"{receiver!r} cannot receive signals: it must take any keyword argument; add **kwargs."
        )


def _uid(receiver: Receiver | None, dispatch_uid: Hashable | None) -> Hashable:
    if dispatch_uid is not None:
        return ("uid", dispatch_uid)
    if inspect.ismethod(receiver):
        return (id(receiver.__self__), id(receiver.__func__))
    return id(receiver)


def _key(sender: Any) -> Hashable:
    """What a sender is known by: its name, since a task that travelled is not the object that it was."""
    name = sender if isinstance(sender, str) else getattr(sender, "name", None)
    return name if isinstance(name, str) else id(sender)


# ── sending tasks ────────────────────────────────────────────────────────────────────

before_task_publish = Signal(
    "before_task_publish",
    ("body", "exchange", "routing_key", "headers", "properties", "declare", "retry_policy"),
)
"""A call is about to be sent, in the process that sends it; the sender is the name of the task.

``body`` (args, kwargs, what comes with it), ``exchange`` (always empty), ``routing_key`` (the queue),
``headers`` (id, task, eta …), ``properties``, ``declare`` (always empty), ``retry_policy``.
"""
after_task_publish = Signal(
    "after_task_publish", ("body", "exchange", "routing_key", "headers", "properties")
)
"""A call was sent; the store has it. The sender is the name of the task, the rest as before."""
task_sent = Signal("task_sent", ("task_id", "task", "args", "kwargs", "eta", "taskset"))
"""Nothing of ours sends it: `after_task_publish` took its place."""

# ── tasks ────────────────────────────────────────────────────────────────────────────

task_received = Signal("task_received", ("request",))
"""The worker has claimed a task; sent by the worker, which is the sender. ``request`` describes the task."""
task_prerun = Signal("task_prerun", ("task_id", "task", "args", "kwargs"))
"""A task is about to run, in the child that runs it. The sender is the task."""
task_postrun = Signal("task_postrun", ("task_id", "task", "args", "kwargs", "retval", "state"))
"""A task has run, however it ended: ``retval`` is its value or exception, ``state`` Celery's word for it."""
task_success = Signal("task_success", ("result", "runtime"))
"""A task has succeeded: ``result``, and ``runtime`` in seconds."""
task_retry = Signal("task_retry", ("request", "reason", "einfo"))
"""A task will be run again: its ``request``, the exception as ``reason``, and ``einfo``."""
task_failure = Signal("task_failure", ("task_id", "exception", "args", "kwargs", "traceback", "einfo"))
"""A task has failed, and will not be run again."""
task_internal_error = Signal(
    "task_internal_error", ("task_id", "args", "kwargs", "request", "exception", "traceback", "einfo")
)
"""Something of ours, not of the task, has failed while the task was run."""
task_revoked = Signal("task_revoked", ("request", "terminated", "signum", "expired"))
"""A task was cancelled while a worker had it; sent by the worker.

``terminated``: it was stopped in the middle, by the signal ``signum``. ``expired``: because it was too late.
"""
task_rejected = Signal("task_rejected", ("message", "exc"))
"""The worker gave back what it cannot run: ``message`` describes it, ``exc`` says why."""
task_unknown = Signal("task_unknown", ("message", "exc", "name", "id"))
"""A call names a task that this worker does not have."""

# ── workers ──────────────────────────────────────────────────────────────────────────

celeryd_init = Signal("celeryd_init", ("instance", "conf", "options"))
"""The program of a worker begins; the sender is its name. It is the first: ``conf`` may still be changed."""
celeryd_after_setup = Signal("celeryd_after_setup", ("instance", "conf"))
"""The program of a worker is set up, and has not begun to work; the sender is the worker's name."""
import_modules = Signal("import_modules")
"""Modules of tasks are about to be imported; the sender is the app."""
worker_init = Signal("worker_init")
"""A worker is about to start; the sender is the worker."""
worker_ready = Signal("worker_ready")
"""A worker takes work from now on."""
worker_before_create_process = Signal("worker_before_create_process")
"""A child is about to be made."""
worker_process_init = Signal("worker_process_init")
"""A child has begun, sent in the child; it takes no task before all receivers have returned."""
worker_process_shutdown = Signal("worker_process_shutdown", ("pid", "exitcode"))
"""A child is about to end, sent in the child. One that is killed does not say so."""
worker_shutting_down = Signal("worker_shutting_down", ("sig", "how", "exitcode"))
"""A worker was told to end: by ``sig``, and ``how`` (``"Warm"``, ``"Soft"`` or ``"Cold"``)."""
worker_shutdown = Signal("worker_shutdown")
"""A worker has ended its work, and is about to leave."""
heartbeat_sent = Signal("heartbeat_sent")
"""A worker has told the store that it is alive."""

# ── logging ──────────────────────────────────────────────────────────────────────────

setup_logging = Signal("setup_logging", ("loglevel", "logfile", "format", "colorize"))
"""The logging of a worker is about to be set up. With any receiver, taskflow leaves that to it."""
after_setup_logger = Signal("after_setup_logger", ("logger", "loglevel", "logfile", "format", "colorize"))
"""The root ``logger`` was set up: the place to add handlers."""
after_setup_task_logger = Signal(
    "after_setup_task_logger", ("logger", "loglevel", "logfile", "format", "colorize")
)
"""The ``logger`` of tasks was set up."""

# ── beat, programs, pools of others ──────────────────────────────────────────────────

beat_init = Signal("beat_init")
"""Beat starts, by itself or in a worker; the sender is beat."""
beat_embedded_init = Signal("beat_embedded_init")
"""Beat starts in a worker, after `beat_init`."""
user_preload_options = Signal("user_preload_options", ("app", "options"))
"""A command line was read: ``app``, and its ``options``."""
eventlet_pool_started = Signal("eventlet_pool_started")
"""Nothing of ours sends it: there is no such pool."""
eventlet_pool_preshutdown = Signal("eventlet_pool_preshutdown")
"""Nothing of ours sends it: there is no such pool."""
eventlet_pool_postshutdown = Signal("eventlet_pool_postshutdown")
"""Nothing of ours sends it: there is no such pool."""
eventlet_pool_apply = Signal("eventlet_pool_apply", ("target", "args", "kwargs"))
"""Nothing of ours sends it: there is no such pool."""
