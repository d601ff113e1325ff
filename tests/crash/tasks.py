"""What is run in the crash tests. Worker processes import it by name."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from taskflow.pools.context import current
from taskflow.testing.checker import Ledger

MODULUS = 1_000_000_007


def square(ledger: str, pause_s: float, x: int) -> int:
    """Write it down, take a while, write it down."""
    with Ledger(ledger).running():
        pause(pause_s)
    return x * x


def squared(x: int, ledger: str, pause_s: float) -> int:
    """`square`, for a map whose other arguments come after the item."""
    return square(ledger, pause_s, x)


def add_up(values: list[int], ledger: str) -> int:
    with Ledger(ledger).running():
        return sum(values)


def follow(ledger: str, pause_s: float, *values: int) -> int:
    """One more than all before together."""
    with Ledger(ledger).running():
        pause(pause_s)
    return (sum(values) + 1) % MODULUS


def pid_while_running(path: str, seconds: float) -> int:
    """Say who runs, then go on for a while."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(seconds)
    return os.getpid()


def deadly_once(ledger: str, marks: str, every: int, x: int) -> int:
    """The first attempt at every so manieth item kills its process."""
    with Ledger(ledger).running():
        if x % every == 0 and _is_first(Path(marks) / str(x)):
            os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def pause(seconds: float) -> None:
    """A sleep that libfaketime leaves alone: it spoils those that name a clock."""
    select.select([], [], [], seconds)


def _is_first(mark: Path) -> bool:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


# ── how a process can end ────────────────────────────────────────────────────────────


def leave_politely() -> None:
    sys.exit(3)


def leave() -> None:
    os._exit(4)


def leave_with_success() -> None:
    os._exit(0)


def abort() -> None:
    os.abort()


def segfault() -> None:
    ctypes.string_at(0)


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt_self() -> None:
    raise KeyboardInterrupt


def hang_in_c() -> None:
    """No signal that can be blocked gets in, and Python never gets a turn."""
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.valid_signals()))
    while True:
        ctypes.pythonapi.pause()


def ignore_and_sleep() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.setpgid(0, 0) if os.getpid() != os.getsid(0) else None
    while True:
        time.sleep(60)


def kill_parent() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def kill_parent_once(mark: str) -> int:
    if _is_first(Path(mark)):
        kill_parent()
    return current().delivery


def close_everything() -> None:
    os.closerange(0, 256)


def daemonise(path: str) -> int:
    """Leave a process behind that is in a session of its own."""
    code = "import os, time; os.setsid() if os.fork() == 0 else os._exit(0); time.sleep(600)"
    daemon = subprocess.Popen(
        [
            sys.executable,
            "-S",
            "-c",
            f"open({path!r}, 'a').write(str(__import__('os').getpid())+chr(10));{code}",
        ],
        start_new_session=True,
    )
    daemon.wait()
    return daemon.pid


def multiply(path: str, most: int) -> None:
    """A fork bomb with a bound: each process makes two more, then all of them wait."""

    def pids() -> list[str]:
        return Path(path).read_text().split() if Path(path).exists() else []

    while len(pids()) < most:
        if os.fork() == 0:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(fd, f"{os.getpid()}\n".encode())
            os.close(fd)
            if len(pids()) >= most:
                time.sleep(60)
                os._exit(0)
    os._exit(9)


def open_many() -> int:
    """Files until there are no more, and none of them is closed."""
    kept: list[Any] = []
    try:
        while len(kept) < 4096:
            kept.append(socket.socket())
    except OSError:
        return len(kept)
    _forgotten.extend(kept)
    return len(kept)


_forgotten: list[Any] = []
