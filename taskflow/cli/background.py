"""Workers in the background of this machine: starting one, seeing which there are, stopping them."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from taskflow.cli.exits import Exit
from taskflow.errors import UsageError
from taskflow.observe.table import Column

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.records import WorkerView

__all__ = ["VERBS", "command", "ended", "launch", "see_to", "start", "tell"]

VERBS = ("status", "stop", "restart")
START_S = 60.0
STOP_S = 40.0
_COLUMNS = (
    Column("worker", shrinks=True),
    Column("pid", right=True),
    Column("busy"),
    Column("queues", shrinks=True),
)
_DETACH = ("-D", "--detach")


# ── starting ─────────────────────────────────────────────────────────────────────────


def start(options: Namespace, console: Console) -> int:
    """Start the worker of these options in the background, and return when it works."""
    words = [word for word in options.argv if word not in _DETACH]
    log = getattr(options, "logfile", None)
    log = None if log is None or "%" in log else str(Path(log).resolve())
    started = launch(words, folder=options.started_in, log=log)
    if isinstance(started, str):
        console.err.write(started)
        return Exit.FAILED
    console.say(f"Started in the background, process {started}.")
    if not getattr(options, "logfile", None):
        console.hint("What it prints goes nowhere: --logfile names a file for it.")
    return Exit.OK


def launch(
    words: Sequence[str], *, folder: str | None = None, log: str | None = None, wait_s: float = START_S
) -> int | str:
    """Start ``taskflow`` with these words, as a process of its own, and wait until it is ready.

    Args:
        words: The arguments.
        folder: Where; here by default.
        log: The file that it writes its log lines to, if that is known.
        wait_s: How long to wait, seconds.

    Returns:
        Its process id; or what it printed, when it ended before it was ready.
    """
    import subprocess
    import tempfile

    from taskflow.worker.daemon import READY

    reader, writer = os.pipe()
    before = _size(log)
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command(words),
                cwd=folder,
                env={**os.environ, READY: str(writer)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=(writer,),
                start_new_session=True,
            )
        finally:
            os.close(writer)
        try:
            ready, _, _ = select.select([reader], [], [], wait_s)
            if ready and os.read(reader, 16):
                process.returncode = 0  # it is nobody's child any more: nothing is to be said of its end
                return process.pid
        finally:
            os.close(reader)
        if not ready:
            process.terminate()
        process.wait()
        said.seek(0)
        text = said.read().decode(errors="replace") + _since(log, before)
        return text or f"taskflow: it ended with code {process.returncode} before it was ready.\n"


def _size(path: str | None) -> int:
    with suppress(OSError):
        return Path(path).stat().st_size if path else 0
    return 0


def _since(path: str | None, before: int) -> str:
    with suppress(OSError):
        return Path(path).read_bytes()[before:].decode(errors="replace") if path else ""
    return ""


def command(words: Sequence[str]) -> list[str]:
    """The command line that is `taskflow` with these words, in this Python."""
    return [sys.executable, "-P", "-m", "taskflow", *words]


# ── those that are there ─────────────────────────────────────────────────────────────


def see_to(verb: str, options: Namespace, console: Console) -> int:
    """List, stop or restart workers of this machine: those that are named, or all."""
    path = getattr(options, "pidfile", None)
    if path:
        return _see_to_process(verb, path, console)
    views = _here(console, options.which)
    if verb == "status":
        return _list(views, console)
    if not views:
        console.hint("No worker of this store runs on this machine.")
        return Exit.FAILED
    pids = {view.pid: str(view.id) for view in views}
    return tell(pids, signal.SIGTERM if verb == "stop" else signal.SIGHUP, console, waits=verb == "stop")


def _see_to_process(verb: str, path: str, console: Console) -> int:
    from taskflow.worker.daemon import Pidfile, is_ours

    pid = Pidfile.read(path)
    if pid is None or not is_ours(pid):
        console.hint(f"No worker runs that {path} speaks of.")
        return Exit.FAILED
    if verb == "status":
        console.say(f"Process {pid} runs.")
        return Exit.OK
    return tell({pid: f"process {pid}"}, signal.SIGTERM if verb == "stop" else signal.SIGHUP, console,
                waits=verb == "stop")  # fmt: skip


def _here(console: Console, names: Sequence[str]) -> list[WorkerView]:
    """The workers of this machine, but for those that clients started for themselves.

    Raises:
        UsageError: There is none of a name.
    """
    from taskflow.worker.daemon import is_ours

    host = socket.gethostname()
    views = [
        view
        for view in console.store.workers()
        if view.host == host
        and is_ours(view.pid)
        and (view.info.get("detached") or not view.info.get("embedded"))
    ]
    if not names:
        return views
    for name in names:
        if not any(str(view.id).startswith(name) for view in views):
            raise UsageError(f"No worker {name!r} runs on this machine: `taskflow worker status` lists them.")
    return [view for view in views if any(str(view.id).startswith(name) for name in names)]


def _list(views: Sequence[WorkerView], console: Console) -> int:
    from taskflow.observe.overview import serves

    if console.json:
        console.dump(list(views))
    elif views:
        console.table(
            _COLUMNS,
            [(str(view.id), str(view.pid), f"{view.busy}/{view.slots}", serves(view)) for view in views],
        )
    else:
        console.hint("No worker of this store runs on this machine.")
    return Exit.OK if views else Exit.FAILED


def tell(
    pids: dict[int, str],
    number: int,
    console: Console,
    *,
    waits: bool,
    wait_s: float = STOP_S,
) -> int:
    """Send a signal to processes, and wait for their end if it is to come.

    Args:
        pids: Processes, and what they are called.
        number: The signal.
        console: Says what became of them.
        waits: Whether they are to end.
        wait_s: How long that may take, seconds.
    """
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    left = ended(pids, wait_s) if waits else set()
    for pid, name in pids.items():
        word = (
            "is still busy; a second stop ends it now"
            if pid in left
            else "has stopped"
            if waits
            else "was told"
        )
        console.say(f"{name} {word}.")
    return Exit.FAILED if left else Exit.OK


def ended(
    pids: Collection[int], wait_s: float, *, monotonic: Callable[[], float] = time.monotonic
) -> set[int]:
    """Wait for the end of processes; those that have not ended in time."""
    from taskflow.worker.daemon import is_ours

    until = monotonic() + wait_s
    left = {pid for pid in pids if is_ours(pid)}
    while left and monotonic() < until:
        time.sleep(0.05)
        left = {pid for pid in left if is_ours(pid)}
    return left
