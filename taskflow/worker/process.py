"""The process around a worker: options, signals, log lines, exit codes; and how to start one.

::

    kernel ── spawn ──► worker process ── fork (before anything is opened) ──► template ──► children
       └── parent pipe ──► end of file: stop at once       └── then: open the store, signals, loop

The order matters: the template is forked while this process has one thread and no open store, so that
children inherit neither.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from taskflow import faults
from taskflow.cores import memory_limit_bytes
from taskflow.errors import ConfigError, StoreError, StoreUnavailable, TaskflowError
from taskflow.links import shown
from taskflow.worker import trust
from taskflow.worker.card import worker_name
from taskflow.worker.queues import Queues

if TYPE_CHECKING:
    from taskflow.ports import Pool, Store
    from taskflow.worker.loop import Worker

__all__ = ["Process", "main", "spawn"]

EXIT_USAGE = 2
EXIT_NO_STORE = 69
EXIT_STUCK = 70
EXIT_QUIT = 128 + signal.SIGQUIT
GRACE_S = 30.0
STUCK_S = 60.0
STORE_WAIT_S = 2.0
STORE_ANSWER_S = 5.0
LEAST_ANSWER_S = 1.0
LOOK_AGAIN_S = 0.5

log = logging.getLogger("taskflow.worker")


# ── started from here ────────────────────────────────────────────────────────────────


class Process:
    """A worker process that was started by `spawn`."""

    def __init__(self, popen: subprocess.Popen[bytes], pipe: int | None, url: str) -> None:
        self.pid, self.url = popen.pid, url
        self._popen, self._pipe = popen, pipe

    def __repr__(self) -> str:
        return f"<worker process {self.pid} of {shown(self.url)}>"

    def poll(self) -> int | None:
        """The exit code, or `None` while it lives; negative when a signal ended it."""
        code = self._popen.poll()
        if code is not None:
            self._let_go()
        return code

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: It still lives.
        """
        code = self._popen.wait(timeout_s)
        self._let_go()
        return code

    def stop(self) -> None:
        """Let what runs end, then leave; a second call stops at once. Returns at once."""
        self._popen.terminate()

    def leave(self) -> None:
        """Do what the death of this process does: a worker that is not detached stops at once."""
        self._close_pipe()

    def kill(self) -> None:
        """End it without a word; its leases run out by themselves."""
        self._popen.kill()

    def resize(self, slots: int) -> None:
        """Grow or shrink its pool.

        Raises:
            ConfigError: It is detached, and listens to nobody.
        """
        if self._pipe is None:
            raise ConfigError("A detached worker cannot be resized: stop it and start another one.")
        with suppress(BrokenPipeError):
            os.write(self._pipe, b"slots %d\n" % slots)

    def _let_go(self) -> None:
        self._close_pipe()
        _started.discard(self)

    def _close_pipe(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            os.close(pipe)


_started: set[Process] = set()
"""Nobody needs to keep a handle: a worker lives as long as its parent, not as long as a variable."""


def spawn(
    url: str,
    slots: int,
    *,
    pool: str = "process",
    queues: Queues | str | Sequence[str] = ("default",),
    autoscale: tuple[int, int] | None = None,
    detach: bool = False,
    idle_exit_s: float | None = None,
    preload: Sequence[str] = (),
    threads_per_slot: int | None = None,
    lease_s: float | None = None,
    loglevel: str = "warning",
    log_file: str | os.PathLike[str] | None = None,
    python: str | None = None,
    accept: Sequence[str] = (),
    allow: Sequence[str] = (),
) -> Process:
    """Start a worker process and return at once; it is ready when the store lists it.

    It inherits the working directory, the environment and standard error, and no other open file. It
    ends with this process unless `detach` is set.

    Args:
        url: The store.
        slots: Calls at once.
        pool: ``"process"``, ``"thread"`` or ``"async"``.
        queues: What it serves.
        autoscale: Most and least slots, instead of `slots`.
        detach: It outlives this process; its standard error is `log_file`, or nowhere.
        idle_exit_s: It leaves after so long without work.
        preload: Modules that children find imported.
        threads_per_slot: Threads that numeric libraries may use in a call.
        lease_s: How long a lease holds unless renewed.
        loglevel: What it writes to standard error.
        log_file: Where its standard error goes.
        python: Another interpreter.
        accept: What it runs, see ``taskflow worker --help``; what is signed by default.
        allow: Which calls by name.
    """
    options: list[str] = [] if "@" in url else ["--url", url]
    served = queues if isinstance(queues, Queues) else Queues.parse(queues)
    options += ["-n", str(slots)] if autoscale is None else ["--autoscale", "{},{}".format(*autoscale)]
    options += ["-Q", str(served), *(["--strict"] if served.strict else []), "--pool", pool]
    options += ["--loglevel", loglevel, "--embedded"]
    for name, value in (
        ("--idle-exit", idle_exit_s),
        ("--preload", ",".join(preload) or None),
        ("--threads", threads_per_slot),
        ("--lease", lease_s),
        ("--accept", ",".join(accept) or None),
        ("--allow", ",".join(allow) or None),
    ):
        options += [name, str(value)] if value is not None else []
    reader, writer = (None, None) if detach else os.pipe()
    options += ["--detach"] if reader is None else ["--parent-fd", str(reader)]
    try:
        command = [python or sys.executable, "-P", str(_script()), *options]
        popen = _popen(command, url, reader, detach, log_file)
    except BaseException:
        if writer is not None:
            os.close(writer)
        raise
    finally:
        if reader is not None:
            os.close(reader)
    process = Process(popen, writer, url)
    _started.add(process)
    return process


def _popen(
    command: list[str], url: str, reader: int | None, detach: bool, log_file: str | os.PathLike[str] | None
) -> subprocess.Popen[bytes]:
    """A session of its own: Ctrl-C in the terminal is for the client, which cancels what it started.

    A URL with a password goes by the environment, which only the user's own processes can read.
    """
    errors: Any = subprocess.DEVNULL if detach else None
    if log_file is not None:
        errors = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            command,
            env={**os.environ, "TASKFLOW_URL": url} if "@" in url else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=() if reader is None else (reader,),
            start_new_session=True,
        )
    finally:
        if log_file is not None:
            os.close(errors)


def _script() -> Path:
    """Run by path and with ``-P``: a file of the working directory cannot stand in for a module of ours."""
    return Path(__file__).with_name("__main__.py")


# ── the process itself ───────────────────────────────────────────────────────────────


def main(argv: Sequence[str] | None = None) -> int:
    """Be a worker process until told to stop; also what ``taskflow worker URL`` does.

    Returns:
        0 after a stop that was asked for, 1 after an unexpected error, 2 for options that cannot be used,
        69 when the store cannot be opened. A loop that is stuck ends the process with 70, SIGQUIT with 131.
    """
    options = _options(argv)
    _log_to_stderr(options.loglevel or ("warning" if options.embedded else "info"))
    if options.embedded:
        logging.getLogger("taskflow.links").setLevel(logging.ERROR)  # the client beside it says it
    pool: Pool | None = None
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        trust.check(options)
        options.key = trust.fingerprint(options)
        pool = _pool(options)
        store = _store(options)
    except TaskflowError as error:
        print(f"taskflow worker: {error}", file=sys.stderr)
        if pool is not None:
            pool.close(drain_s=0.0)
        return EXIT_NO_STORE if isinstance(error, StoreError) else EXIT_USAGE
    except KeyboardInterrupt:  # while there was no store
        if pool is not None:
            pool.close(drain_s=0.0)
        return 0
    return _serve(options, store, pool)


def _serve(options: argparse.Namespace, store: Store, pool: Pool) -> int:
    from taskflow.worker.loop import Worker

    worker = Worker(
        store,
        pool,
        queues=options.queues,
        autoscale=options.autoscale,
        grace_s=options.grace,
        lease_s=options.lease,
        name=options.name,
        idle_exit_s=options.idle_exit,
        parent_fd=options.parent_fd,
        keep_s=options.keep_days * 86_400.0,
        keep_bytes=int(options.keep_gb * (1 << 30)),
        info={"pool": options.pool, "embedded": options.embedded, "detached": options.detach}
        | trust.told(options),
    )
    _Signals(worker, options).install()
    _Watchdog(worker).start()
    if not options.embedded:
        _greet(worker, store, pool, options)
    faults.point("worker.started")
    try:
        worker.run()
    except Exception:  # noqa: BLE001 - the worker has logged it
        return 1
    finally:
        store.close()
    if not options.embedded:
        print("Stopped.", file=sys.stderr)
    return 0


def _pool(options: argparse.Namespace) -> Pool:
    from taskflow.pools.process import ProcessPool
    from taskflow.stores import blobs_place

    return ProcessPool(
        options.autoscale[1] if options.autoscale else options.slots,
        mode=options.pool,
        url=options.url,
        blobs=blobs_place(options.url),
        preload=options.preload,
        threads_per_slot=options.threads,
        recycle_after_calls=options.recycle_calls,
        recycle_rss_bytes=_share_of_memory(options.autoscale[0] if options.autoscale else options.slots)
        if options.recycle_mb is None
        else options.recycle_mb << 20,
        worker=options.name,
        accept=options.accept,
        allow=options.allow,
    )


def _share_of_memory(slots: int) -> int:
    """A child that has grown beyond half of its share of the memory leaks, or keeps more than it should."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return min(pages * size, memory_limit_bytes() or pages * size) // (2 * slots)


def _store(options: argparse.Namespace) -> Store:
    """The store, when it is there, or comes in time."""
    until, told = time.monotonic() + options.wait_for_store, False
    while True:
        try:
            return _open(options)
        except StoreUnavailable as error:
            if time.monotonic() >= until:
                raise
            if not told:
                log.warning("%s Waiting for it.", error, extra={"action": "wait"})
            told = True
            time.sleep(LOOK_AGAIN_S)


def _open(options: argparse.Namespace) -> Store:
    from taskflow.stores import open_store

    # Leases are renewed when a third of their time is over. A server that falls silent is noticed within
    # another third, and the last is left to stop the children.
    third_s = options.lease / 3
    return open_store(
        options.url,
        wait_s=min(STORE_WAIT_S, third_s / 2),
        answer_s=min(STORE_ANSWER_S, max(LEAST_ANSWER_S, third_s)),
        serves=True,
    )


class _Signals:
    """SIGTERM and SIGINT: finish, then leave; once more: leave now. SIGQUIT: not another word."""

    def __init__(self, worker: Worker, options: argparse.Namespace) -> None:
        self._worker = worker
        self._embedded, self._grace_s = options.embedded, options.grace
        self._parent = os.getppid()
        self._asked = 0
        self._with_parent = options.parent_fd is not None

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(signal.SIGQUIT, _quit)
        signal.signal(signal.SIGHUP, self._hang_up)
        if self._with_parent:
            from taskflow.pools.linux import Prctl

            Prctl.die_with_parent(signal.SIGHUP)

    def _end(self, *_: object) -> None:
        self._asked += 1
        if self._asked > 1:
            self._say("Stopping now; what was running goes back to the store.")
            self._worker.stop(drain_s=0.0)
            return
        self._say(
            f"Taking no more work; {self._worker.held} calls may go on for {self._grace_s:.0f} s."
            " Ctrl-C again stops them now."
        )
        self._worker.stop(drain_s=self._grace_s)

    def _hang_up(self, *_: object) -> None:
        """The terminal was closed, or the thread that started this process ended, perhaps its process too."""
        if not self._with_parent:
            self._worker.stop(drain_s=self._grace_s)
        elif os.getppid() != self._parent:
            self._worker.stop(drain_s=0.0)

    def _say(self, text: str) -> None:
        if not self._embedded:
            with suppress(OSError):
                os.write(2, f"\n{text}\n".encode())


def _quit(*_: object) -> NoReturn:
    os._exit(EXIT_QUIT)


class _Watchdog(threading.Thread):
    """Ends the process when the loop does not turn any more: others get its work when the leases run out.

    It counts its own wakes, not seconds, so that a pause of the whole process is no reason.
    """

    def __init__(
        self, worker: Worker, *, stuck_s: float = STUCK_S, end: Callable[[int], Any] = os._exit
    ) -> None:
        super().__init__(name="taskflow-watchdog", daemon=True)
        self._worker, self._end = worker, end
        self._pause_s = stuck_s / 4

    def run(self) -> None:
        turns, still = -1, 0
        while still < 4:
            time.sleep(self._pause_s)
            still = still + 1 if self._worker.turns == turns else 0
            turns = self._worker.turns
        log.critical("worker is stuck", extra={"action": "end", "worker": self._worker.name})
        faulthandler.dump_traceback(sys.__stderr__ or 2)
        self._end(EXIT_STUCK)


# ── options and words ────────────────────────────────────────────────────────────────


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="taskflow worker",
        description="Take work from a store and run it in child processes, until Ctrl-C.",
        epilog="Example: taskflow worker sqlite:////data/runs.db -n 4 -Q default,slow",
    )
    add = parser.add_argument
    add("store", nargs="?", metavar="URL", help="the store (default: $TASKFLOW_URL, else your own)")
    add("--url", default=None, help=argparse.SUPPRESS)
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "-n", "--slots", type=_slots, default="auto", help="calls at once (default: auto, one per processor)"
    )
    size.add_argument(
        "--autoscale",
        type=_bounds,
        default=None,
        metavar="MOST,LEAST",
        help="calls at once, more while work waits and fewer when there is none: 10,3",
    )
    add(
        "-Q",
        "--queues",
        default="",
        help="queues to serve: gpu,default; with weights: high:3,default:1 (default; json where calls by"
        " name are accepted)",
    )
    add("--strict", action="store_true", help="the first queue before the next, whatever the priorities")
    add("--pool", choices=("process", "thread", "async"), default="process", help="what runs the calls")
    add("--name", default=None, help="how it is called in lists (default: host and process)")
    add("--grace", type=float, default=GRACE_S, metavar="S", help="how long running calls may go on (30)")
    add("--idle-exit", type=float, default=None, metavar="S", help="leave after so long without work")
    add("--accept", type=_words, default=("pickle",), metavar="KINDS", help="pickle: what is signed (the"
        " default); json: calls by name, of those without a key; or both, with a comma")  # fmt: skip
    add("--allow", type=_words, default=(), metavar="NAMES", help="which names: 'shop.tasks.*'")
    add("--preload", type=_words, default=(), metavar="MODULES", help="modules that children find imported")
    add("--threads", type=int, default=None, metavar="N", help="BLAS and OpenMP threads of a call")
    add("--recycle-calls", type=int, default=None, metavar="N", help="a new child after so many calls")
    add(
        "--recycle-mb",
        type=int,
        default=None,
        metavar="MB",
        help="a new child when one is so large (default: half of its share of memory)",
    )
    add("--keep-days", type=float, default=7.0, metavar="D", help="forget ended runs after so long (7)")
    add(
        "--keep-gb",
        type=float,
        default=4.0,
        metavar="GB",
        help="and the oldest while the store is larger (4)",
    )
    add(
        "--lease",
        type=float,
        default=15.0,
        metavar="S",
        help="work of a dead worker is free after so long",
    )
    add(
        "--wait-for-store",
        type=float,
        default=0.0,
        metavar="S",
        help="when there is no server, look for it for so long (0)",
    )
    add("--loglevel", type=_level, default=None, help="debug, info, warning, error")
    add("--detach", action="store_true", help=argparse.SUPPRESS)
    add("--embedded", action="store_true", help=argparse.SUPPRESS)
    add("--parent-fd", type=int, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    from taskflow.stores import default_url

    try:
        served = options.queues or trust.queues_of(options) or "default"
        options.queues = Queues.parse(served, strict=options.strict)
    except ConfigError as error:
        parser.error(f"argument -Q/--queues: {error}")
    options.url = options.url or options.store or default_url()
    options.name = options.name or worker_name()
    return options


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _slots(text: str) -> int:
    if text == "auto":
        from taskflow.cores import cpu_count

        return cpu_count()
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of slots: use 1 or more, or auto")
    return int(text)


def _bounds(text: str) -> tuple[int, int]:
    most, comma, least = text.partition(",")
    numbers = (most, least) if comma else (most, "1")
    if not all(n.isascii() and n.isdigit() for n in numbers) or not 1 <= int(numbers[1]) <= int(numbers[0]):
        raise argparse.ArgumentTypeError(
            f"{text!r} are no bounds: write the most and the least slots, as in 10,3"
        )
    return int(numbers[0]), int(numbers[1])


def _level(text: str) -> str:
    if text.lower() not in ("debug", "info", "warning", "error", "critical"):
        raise argparse.ArgumentTypeError(f"{text!r} is no level: use debug, info, warning or error")
    return text.lower()


def _greet(worker: Worker, store: Store, pool: Pool, options: argparse.Namespace) -> None:
    most, least = options.autoscale or (pool.slots, pool.slots)
    size = f"{most} calls" if most == least else f"{least} to {most} calls"
    order = " strictly in this order" if options.strict else ""
    print(
        f"taskflow worker {worker.name}\n"
        f"  store   {shown(store.url)}\n"
        f"  trusts  {trust.words(options)}\n"
        f"  runs    {size} at once, pool {options.pool}, queues {options.queues}{order}\n"
        f"Ctrl-C lets running calls end ({options.grace:.0f} s at most) and stops; twice stops now.",
        file=sys.stderr,
        flush=True,
    )


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    root = logging.getLogger("taskflow")
    root.addHandler(handler)
    root.setLevel(level.upper())


class _Lines(logging.Formatter):
    """One line a record: time, level, message, then the fixed keys that it carries."""

    _KEYS = ("action", "run", "node", "attempt", "worker", "queue", "duration_s", "count")

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is Python's
        found = vars(record)
        return " ".join(
            [super().formatMessage(record), *(f"{k}={found[k]}" for k in self._KEYS if k in found)]
        )
