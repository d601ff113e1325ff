"""What a task may change of its process, and how the next task finds it again.

After each task that took a while, or that called one of the functions watched here, the working
directory, the umask, the environment, the standard streams and files, signal handlers, timers and
tracing are put back. A quick task that changes none of them costs one look at a list.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["Surroundings"]

_SIGNALS = tuple(
    getattr(signal, name)
    for name in (
        "SIGTERM",
        "SIGINT",
        "SIGHUP",
        "SIGQUIT",
        "SIGALRM",
        "SIGUSR1",
        "SIGUSR2",
        "SIGCHLD",
        "SIGPIPE",
    )
    if hasattr(signal, name)
)
_WATCHED = (
    (os, ("chdir", "fchdir", "umask", "putenv", "unsetenv", "dup2")),
    (signal, ("signal", "setitimer", "alarm", "pthread_sigmask")),
    (sys, ("settrace", "setprofile")),
)


class Surroundings:
    """The state of this process that tasks share.

    Args:
        alarm: Gets an entry when a watched function is called: look after this task.
    """

    def __init__(self, alarm: list[str]) -> None:
        self._cwd = os.getcwd()
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._environ = dict(os.environ)
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        self._files = [(os.dup(fd), _identity(fd)) for fd in range(3)]
        self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        self._alarm = alarm
        for module, names in _WATCHED:
            for name in names:
                _watch(module, name, alarm)

    def settle(self, cwd: str) -> None:
        """Make a directory the one that tasks start in, if it is there."""
        if cwd != self._cwd:
            with suppress(OSError):
                os.chdir(cwd)
                self._cwd = cwd

    def restore(self) -> None:
        """Put back what differs."""
        called = set(self._alarm)
        self._restore_cwd()
        os.umask(self._umask)
        if called & {"putenv", "unsetenv"} and os.environ != self._environ:
            os.environ.clear()
            os.environ.update(self._environ)
        if (sys.stdin, sys.stdout, sys.stderr) != self._streams:
            sys.stdin, sys.stdout, sys.stderr = self._streams
        for fd, (kept, identity) in enumerate(self._files):
            if _identity(fd) != identity:
                os.dup2(kept, fd)
        if called & {"signal", "setitimer", "alarm"}:
            self._restore_signals()
        if signal.pthread_sigmask(signal.SIG_BLOCK, []) != self._mask:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        if called & {"settrace", "setprofile"}:
            sys.settrace(None)
            sys.setprofile(None)
        self._alarm.clear()

    def _restore_cwd(self) -> None:
        try:
            here = os.getcwd()
        except OSError:
            here = ""
        if here != self._cwd:
            with suppress(OSError):
                os.chdir(self._cwd)

    def _restore_signals(self) -> None:
        for number, handler in self._handlers.items():
            if signal.getsignal(number) != handler:
                signal.signal(number, handler)
        if signal.getitimer(signal.ITIMER_REAL)[0]:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        info = os.fstat(fd)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _watch(module: Any, name: str, alarm: list[str]) -> None:
    original = getattr(module, name, None)
    if original is None:
        return

    @functools.wraps(original)
    def watched(*args: Any, **kwargs: Any) -> Any:
        alarm.append(name)
        return original(*args, **kwargs)

    setattr(module, name, watched)
    for group in (os.supports_fd, os.supports_follow_symlinks, os.supports_dir_fd, os.supports_effective_ids):
        _join(group, original, watched)


def _join(group: set[Callable[..., Any]], original: Any, watched: Any) -> None:
    with suppress(TypeError):
        if original in group:
            group.add(watched)
