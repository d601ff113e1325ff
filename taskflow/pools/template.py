"""The clean process that children are forked from, and the pool's handle on it.

::

    pool ── control line ── template ──fork──► child 1 … child N
         spawn, kill  ───►
         ◄─── ready, born, dead

The template has one thread, imports what children need once, and runs no user code. It is the parent of
the children: it sees their end at once, kills what they left behind, and dies with the pool. Children
die with the template.
"""

from __future__ import annotations

import gc
import importlib
import marshal
import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from taskflow.cores import cpu_count
from taskflow.pools import bars, relay
from taskflow.pools.linux import Prctl, forks_well
from taskflow.pools.verdict import BROKEN_EXIT
from taskflow.pools.wire import Line

__all__ = ["Setup", "Template", "main"]

_CHILD_FDS = 5
_BOOT = """
import marshal, socket, sys
line = socket.socket(fileno=int(sys.argv[1]))
setup = marshal.loads(line.recv(1 << 20))
sys.path[:] = setup["path"]
from taskflow.pools.template import main
main(line, setup)
"""
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)


@dataclass(frozen=True, slots=True)
class Setup:
    """What the template and the children must know.

    Args:
        mode: ``"process"``, ``"thread"`` or ``"async"``.
        slots: Calls at once, over all children.
        lanes: Lanes on the board of a child.
        url: The store, for tasks that want a client.
        blobs: Where the codec finds large payloads.
        preload: Modules to import before forking.
        threads: Threads that numeric libraries may use in a child; `None` shares the cores.
        worker: A name, for tasks that ask.
        path: `sys.path`.
        accept: ``"pickle"`` for what is signed, ``"json"`` for calls by name.
        allow: The names of these, see `taskflow.canvas.allowing`.
        log_level: Records of tasks from this level on are told to the pool; `None` tells it of none.
    """

    mode: str
    slots: int
    lanes: int
    url: str
    blobs: str
    preload: tuple[str, ...] = ()
    threads: int | None = None
    worker: str = ""
    path: tuple[str, ...] = ()
    accept: tuple[str, ...] = ("pickle",)
    allow: tuple[str, ...] = ()
    log_level: int | None = None


class Template:
    """The pool's end of the control line.

    Args:
        setup: What the template must know.
        fork: Whether it is forked from this process, which takes a few milliseconds, or executed
            anew; `None` forks from a small process with one thread, as a worker is at its start.
    """

    def __init__(self, setup: Setup, *, fork: bool | None = None) -> None:
        mine, theirs = Line.pair()
        self.pid = self._fork(theirs, mine, setup) if (forks_well() if fork is None else fork) else 0
        if not self.pid:
            self.pid = _execute(theirs)
            mine.send(marshal.dumps(asdict(setup), 2))
        theirs.close()
        mine.setblocking(False)
        self._line = Line(mine)
        self.fd = self._line.fd

    @staticmethod
    def _fork(theirs: socket.socket, mine: socket.socket, setup: Setup) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            _cover_files(keep=theirs.fileno())
            main(theirs, asdict(setup))
        finally:
            os._exit(70)

    def spawn(self, number: int, fds: list[int]) -> None:
        """Fork a child that gets these files: work line, report line, board, and both ends of the
        pipe for output."""
        with suppress(OSError):
            self._line.send_with(("spawn", number), fds)

    def kill(self, number: int, sig: int, group: bool = True, /) -> None:
        """Send a signal to a child, or to all of its process group; nothing when it has ended."""
        with suppress(OSError):
            self._line.send(("kill", number, int(sig), group))

    def reports(self) -> list[tuple[Any, ...]] | None:
        """What the template said: ``("ready",)``, ``("broken", type, text)``, ``("born", number, pid)``,
        ``("dead", number, status)``; `None` when it is gone."""
        found: list[tuple[Any, ...]] = []
        while True:
            try:
                report = self._line.receive()
            except BlockingIOError:
                return found
            except (
                ConnectionResetError
            ):  # told once, and before what it had said: it left words of ours unread
                continue
            except OSError:
                return found or None
            if report is None:
                return found or None
            found.append(report)

    def close(self, wait_s: float = 2.0) -> None:
        """End the template, and with it all children."""
        self._line.close()
        if not _ended(self.pid, wait_s):
            with suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
            _ended(self.pid, wait_s)


def _execute(theirs: socket.socket) -> int:
    fd = theirs.fileno()
    os.set_inheritable(fd, True)
    null = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    argv = [sys.executable, "-c", _BOOT, str(fd)]
    return os.posix_spawn(sys.executable, argv, os.environ, file_actions=null)


def _ended(pid: int, wait_s: float) -> bool:
    """Whether a process of ours ended within that time; reaps it."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except (AttributeError, OSError):
        return False
    try:
        if not select.select([pidfd], [], [], wait_s)[0]:
            return False
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
        return True
    finally:
        os.close(pidfd)


def _cover_files(keep: int) -> None:
    """Put /dev/null in place of every file but the standard ones and one.

    The objects that owned those files in the process we were forked from may close them at any time: a
    number that they close must not be one that was given out again.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for name in os.listdir("/dev/fd"):
        fd = int(name)
        if fd > 2 and fd not in (keep, null):
            with suppress(OSError):
                os.dup2(null, fd, inheritable=False)


# ── inside the template ──────────────────────────────────────────────────────────────


def main(control: socket.socket, setup: dict[str, Any]) -> None:
    """Prepare, then fork and reap until the pool is gone; never returns."""
    try:
        _Nursery(control, Setup(**setup)).serve()
    except KeyboardInterrupt:
        pass
    finally:
        os._exit(0)


class _Nursery:
    def __init__(self, control: socket.socket, setup: Setup) -> None:
        self._socket = control
        self._line = Line(control)
        self._setup = setup
        self._pids: dict[int, int] = {}
        self._numbers: dict[int, int] = {}
        self._codec: Any = None
        self._pid = os.getpid()

    def serve(self) -> None:
        self._prepare()
        wake, woken = os.pipe()
        for fd in (wake, woken):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._line.fd, select.POLLIN)
        poll.register(wake, select.POLLIN)
        self._wake_fds = (wake, woken)
        while True:
            for fd, _ in poll.poll():
                if fd == wake:
                    os.read(wake, 4096)
                    self._reap()
                elif not self._command():
                    self._end_all()
                    return

    def _prepare(self) -> None:
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(sig, signal.SIG_IGN)
        Prctl.adopt_orphans()
        threads = self._setup.threads or max(1, cpu_count() // max(1, self._setup.slots))
        for name in _THREAD_VARIABLES:
            os.environ.setdefault(name, str(threads))
        relay.install(self._setup.log_level)
        bars.install()
        try:
            self._import()
        except BaseException as error:  # noqa: BLE001 - the pool raises it
            self._line.send(("broken", type(error).__name__, str(error)))
            os._exit(1)
        gc.collect()
        gc.freeze()
        self._line.send(("ready",))

    def _import(self) -> None:
        import cloudpickle  # noqa: F401 - so that children share it

        import taskflow.pools.child  # noqa: F401 - likewise
        from taskflow.blobs import open_blobs
        from taskflow.pools.opener import opener

        lanes = {"thread": "taskflow.pools.threads", "async": "taskflow.pools.loop"}.get(self._setup.mode)
        for name in (*([lanes] if lanes else []), *self._setup.preload):
            importlib.import_module(name)
        setup = self._setup
        self._codec = opener(open_blobs(setup.blobs), setup.accept, setup.allow)

    def _command(self) -> bool:
        try:
            command, fds = self._line.receive_with(_CHILD_FDS)
        except OSError:
            return False
        if command is None:
            return False
        if command[0] == "spawn":
            self._spawn(command[1], fds)
        elif command[0] == "kill" and command[1] in self._pids:
            _signal(self._pids[command[1]], command[2], command[3])
        return True

    def _spawn(self, number: int, fds: list[int]) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            self._line.send(("dead", number, -1, f"no new process could be made: {error}"))
            return
        if pid == 0:
            self._become_child(number, fds)
        for fd in fds:
            os.close(fd)
        self._pids[number] = pid
        self._numbers[pid] = number
        self._line.send(("born", number, pid))

    def _become_child(self, number: int, fds: list[int]) -> None:
        from taskflow.pools import child

        try:
            signal.set_wakeup_fd(-1)
            for fd in (*self._wake_fds, self._socket.detach()):
                os.close(fd)
            child.main(fds, self._setup, self._codec, self._pid)
        except BaseException:  # noqa: BLE001 - there is nobody to raise it to
            traceback.print_exc()
        finally:
            os._exit(BROKEN_EXIT)

    def _reap(self) -> None:
        """Report children that ended, after what they left behind was killed."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            pid = ended.si_pid
            number = self._numbers.pop(pid, None)
            if number is not None:
                # While it is a zombie its number, and that of its group, belong to nobody else.
                _signal(pid, signal.SIGKILL, group=True)
            _, status = os.waitpid(pid, 0)
            if number is not None:
                del self._pids[number]
                self._kill_orphans()
                with suppress(OSError):
                    self._line.send(("dead", number, status, ""))

    def _kill_orphans(self) -> None:
        """Kill what fell to us when a child ended: daemons and other descendants of it."""
        for _ in range(100):
            strays = [pid for pid in _children() if pid not in self._numbers]
            if not strays:
                return
            for pid in strays:  # All of them first: each may fork until it is killed.
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            for pid in strays:
                with suppress(OSError):
                    os.waitpid(pid, 0)

    def _end_all(self) -> None:
        for pid in self._numbers:
            _signal(pid, signal.SIGKILL, group=True)
        for pid in list(self._numbers):
            del self._numbers[pid]
            with suppress(OSError):
                os.waitpid(pid, 0)
        self._kill_orphans()


def _signal(pid: int, sig: int, group: bool) -> None:
    with suppress(OSError):
        if group:
            os.killpg(pid, sig)
            return
    with suppress(OSError):
        os.kill(pid, sig)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []
