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
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

from taskflow import __version__, faults, logs
from taskflow.cores import memory_limit_bytes
from taskflow.errors import ConfigError, StoreError, StoreUnavailable, TaskflowError
from taskflow.links import shown
from taskflow.pools.promises import ENGINES
from taskflow.signals import celeryd_after_setup, celeryd_init
from taskflow.worker import trust
from taskflow.worker.daemon import Pidfile, become, is_ours, ready_pipe, say_ready, write_log_to
from taskflow.worker.options import read
from taskflow.worker.queues import Queues
from taskflow.worker.sources import Sources

if TYPE_CHECKING:
    from taskflow.ports import Pool, Store
    from taskflow.worker.loop import Worker

__all__ = ["Beside", "Hosted", "Process", "main", "spawn", "start_anew"]

EXIT_USAGE = 2
EXIT_NO_STORE = 69
EXIT_STUCK = 70
EXIT_QUIT = 128 + signal.SIGQUIT
STUCK_S = 60.0
STORE_WAIT_S = 2.0
STORE_ANSWER_S = 5.0
LEAST_ANSWER_S = 1.0
LOOK_AGAIN_S = 0.5
NAMES_SHOWN = 40
ANEW = "TASKFLOW_ANEW"
"""In the environment of a process that has started itself anew: the name of its worker."""

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
    pool_url: str = "",
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
        pool: ``"process"``, ``"thread"`` or ``"async"``; or ``"dask"``, ``"ray"``, ``"celery"``.
        pool_url: The address of the cluster.
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
        ("--pool-url", pool_url or None),
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


class Beside(Protocol):
    """What runs in the process of a worker, beside it."""

    def start(self) -> object:
        """Begin, and return at once."""
        ...

    def stop(self) -> object:
        """Come to an end."""
        ...


class Hosted(NamedTuple):
    """What a worker process is given by who knows more than its options say.

    Args:
        words: A line of the greeting: what it works for.
        tasks: The names of tasks that it knows, for the greeting and for lists.
        beside: What runs in this process too; it is started when the worker is ready.
        folder: Where this process was started, if it has gone to another.
        conf: Settings that were changed, as text, for lists.
        settings: The settings of the application, for receivers of signals.
        logs: How the log looks, see `taskflow.logs.setup`.
    """

    words: str = ""
    tasks: Sequence[str] = ()
    beside: Sequence[Beside] = ()
    folder: str = ""
    conf: Mapping[str, str] = MappingProxyType({})
    settings: Any = None
    logs: Mapping[str, Any] = MappingProxyType({})


def main(argv: Sequence[str] | None = None, *, hosted: Hosted | None = None) -> int:
    """Be a worker process until told to stop; also what ``taskflow worker URL`` does.

    When it is told to start anew, by SIGHUP, by ``taskflow control restart`` or because a source file has
    changed, it does so in this process: it does not return.

    Args:
        argv: The options; those of the process by default.
        hosted: What goes with it.

    Returns:
        0 after a stop that was asked for, 1 after an unexpected error, 2 for options that cannot be used,
        69 when the store cannot be opened. A loop that is stuck ends the process with 70, a second SIGQUIT
        with 131.
    """
    hosted = hosted or Hosted()
    options = read(argv)
    options.anew, options.ready = os.environ.pop(ANEW, ""), ready_pipe()
    options.name = options.anew or options.name
    celeryd_init.send(options.name, instance=None, conf=hosted.settings, options=vars(options))
    pool: Pool | None = None
    pidfile: Pidfile | None = None
    try:
        if options.logfile:
            write_log_to(options.logfile)
        logs.setup(options.loglevel or ("warning" if options.embedded else "info"), **hosted.logs)
        if options.embedded:
            logging.getLogger("taskflow.links").setLevel(logging.ERROR)  # the client beside it says it
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        become(options.uid, options.gid, options.umask)
        pidfile = Pidfile(options.pidfile) if options.pidfile else None
        trust.check(options)
        options.key = trust.fingerprint(options)
        pool = _pool(options)
        store = _store(options)
    except (TaskflowError, KeyboardInterrupt) as error:  # Ctrl-C while there was no store
        if pool is not None:
            pool.close(drain_s=0.0)
        if pidfile is not None:
            pidfile.remove()
        if isinstance(error, KeyboardInterrupt):
            return 0
        print(f"taskflow worker: {error}", file=sys.stderr)
        return EXIT_NO_STORE if isinstance(error, StoreError) else EXIT_USAGE
    code, anew = _serve(options, store, pool, hosted)
    if anew:
        start_anew(hosted.folder, name=options.name)
    if pidfile is not None:
        pidfile.remove()
    return code


def _serve(options: argparse.Namespace, store: Store, pool: Pool, hosted: Hosted) -> tuple[int, bool]:
    """Work; the exit code, and whether it is to start anew."""
    worker = _worker(options, store, pool, hosted)
    signals = _Signals(worker, options)
    signals.install()
    _Watchdog(worker).start()
    celeryd_after_setup.send(worker.name, instance=worker, conf=hosted.settings)
    if options.purge and not options.anew:
        for queue in options.queues.names:
            store.purge(queue)
    if not options.embedded:
        _greet(worker, store, pool, options, hosted)
        _warn_of_twins(worker, store)
    if options.autoreload:
        Sources(options.autoreload).watch(signals.reload)
    for one in hosted.beside:
        one.start()
    say_ready(options.ready, quiet=not options.logfile)
    faults.point("worker.started")
    try:
        worker.run()
    except Exception:  # noqa: BLE001 - the worker has logged it
        return 1, False
    finally:
        for one in hosted.beside:
            one.stop()
        store.close()
    anew = (worker.starts_anew or signals.anew) and not options.embedded
    if not options.embedded:
        print("Starting anew." if anew else "Stopped.", file=sys.stderr, flush=True)
    return 0, anew


def _warn_of_twins(worker: Worker, store: Store) -> None:
    """What is told to one by its name, two of a name would both do."""
    host = socket.gethostname()
    for other in store.workers():
        is_self = (other.host, other.pid) == (host, os.getpid())
        if other.id == worker.name and not is_self and (other.host != host or is_ours(other.pid)):
            log.warning(
                "process %d on %s has the name %s too: give each its own with --name",
                other.pid, other.host, worker.name, extra={"action": "start", "worker": worker.name},
            )  # fmt: skip


def start_anew(folder: str = "", *, name: str = "") -> NoReturn:
    """Become what this process was at its start: same command, same number, fresh code.

    Args:
        folder: Where it was started.
        name: What it is called, in place of what it would be.
    """
    if name:
        os.environ[ANEW] = name
    if folder:
        os.chdir(folder)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - itself


def _worker(options: argparse.Namespace, store: Store, pool: Pool, hosted: Hosted) -> Worker:
    from taskflow.worker.chronicle import Chronicle
    from taskflow.worker.loop import Worker

    info: dict[str, Any] = {
        "pool": options.pool,
        "embedded": options.embedded,
        "detached": options.detach or options.ready is not None,
    }
    if hosted.tasks:
        info["tasks"] = sorted(hosted.tasks)
    if hosted.conf:
        info["conf"] = dict(hosted.conf)
    times = (options.soft_time_limit, options.time_limit)
    if times != (None, None):
        info["times"] = list(times)
    if options.recycle_calls is not None:
        info["recycle_calls"] = options.recycle_calls
    return Worker(
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
        info=info | trust.told(options),
        times=times,
        chronicle=Chronicle() if options.loglevel in ("info", "debug") and not options.embedded else None,
    )


def _cluster(options: argparse.Namespace) -> Pool:
    """The pool of a cluster that is already there.

    Raises:
        ConfigError: It cannot be used; the message is the cure.
    """
    from importlib import import_module

    from taskflow.blobs import open_blobs
    from taskflow.pools.guest import terms_of
    from taskflow.stores import blobs_place

    place = blobs_place(options.url)
    try:
        module = import_module(f"taskflow.pools.{options.pool}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("taskflow"):
            raise
        extra = f"pip install 'jupyter-taskflow[{options.pool}]'"
        raise ConfigError(f"--pool {options.pool} needs the package {error.name}: {extra}") from error
    pool: Pool = module.open_pool(
        options.pool_url,
        terms=terms_of(options.url, place, options.name, options.accept, options.allow),
        blobs=lambda: open_blobs(place),
        most=options.autoscale[0] if options.autoscale else options.slots,
    )
    return pool


def _pool(options: argparse.Namespace) -> Pool:
    if options.pool in ENGINES:
        return _cluster(options)
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
        recycle_rss_bytes=_share_of_memory(_children(options))
        if options.recycle_mb is None
        else options.recycle_mb << 20,
        worker=options.name,
        accept=options.accept,
        allow=options.allow,
        log_level=None if options.embedded else logging.getLogger().level,
    )


def _children(options: argparse.Namespace) -> int:
    """How many processes the slots are in."""
    if options.pool != "process":
        return 1
    slots: int = options.autoscale[0] if options.autoscale else options.slots
    return slots


def _share_of_memory(children: int) -> int:
    """A child that has grown beyond half of its share of the memory leaks, or keeps more than it should."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return min(pages * size, memory_limit_bytes() or pages * size) // (2 * children)


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
    """What signals mean.

    SIGTERM and SIGINT: finish, then leave; once more: leave now. SIGQUIT: leave now, or after
    ``--soft-shutdown``; once more: not another word. SIGHUP: finish, then start anew; but leave when the
    terminal was closed. With ``REMAP_SIGTERM=SIGQUIT`` in the environment SIGTERM is SIGQUIT, as in Celery.

    Attributes:
        anew: It is to start anew when it has left.
    """

    def __init__(self, worker: Worker, options: argparse.Namespace) -> None:
        self._worker = worker
        self._embedded, self._grace_s, self._soft_s = options.embedded, options.grace, options.soft_shutdown
        self._parent = os.getppid()
        self._asked = 0
        self._with_parent = options.parent_fd is not None
        self.anew = False

    def install(self) -> None:
        remapped = os.environ.get("REMAP_SIGTERM") == "SIGQUIT" and not self._embedded
        signal.signal(signal.SIGTERM, self._drop if remapped else self._end)
        signal.signal(signal.SIGINT, self._end)
        signal.signal(signal.SIGQUIT, self._drop)
        signal.signal(signal.SIGHUP, self._hang_up)
        if self._with_parent:
            from taskflow.pools.linux import Prctl

            Prctl.die_with_parent(signal.SIGHUP)

    def reload(self, file: str) -> None:
        """A source file has changed."""
        self._say(f"{file} has changed.")
        self.anew = True
        self._worker.stop(drain_s=self._grace_s)

    def _end(self, number: int = signal.SIGTERM, *_: object) -> None:
        self._asked += 1
        self.anew = False
        if self._asked > 1:
            self._say("Stopping now; what was running goes back to the store.")
            self._worker.stop(drain_s=0.0, sig=_named(number))
            return
        self._say(
            f"Taking no more work; {self._worker.held} calls may go on for {self._grace_s:.0f} s."
            " Ctrl-C again stops them now."
        )
        self._worker.stop(drain_s=self._grace_s, sig=_named(number))

    def _drop(self, number: int = signal.SIGQUIT, *_: object) -> None:
        signal.signal(signal.SIGQUIT, _quit)
        self.anew = False
        self._say("Stopping now; what was running goes back to the store.")
        self._worker.stop(drain_s=self._soft_s, sig=_named(number))

    def _hang_up(self, *_: object) -> None:
        """Told to start anew; or the terminal was closed, or the thread that started this process ended,
        perhaps its process too."""
        if not self._with_parent:
            self.anew = not self._embedded and not _on_terminal()
            self._worker.stop(drain_s=self._grace_s)
        elif os.getppid() != self._parent:
            self._worker.stop(drain_s=0.0)

    def _say(self, text: str) -> None:
        if not self._embedded:
            with suppress(OSError):
                os.write(2, f"\n{text}\n".encode())


def _named(number: int) -> str:
    return signal.Signals(number).name


def _on_terminal() -> bool:
    with suppress(OSError, ValueError, AttributeError):
        return sys.stdin.isatty()
    return False


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


# ── words ────────────────────────────────────────────────────────────────────────────


def _greet(worker: Worker, store: Store, pool: Pool, options: argparse.Namespace, hosted: Hosted) -> None:
    most, least = options.autoscale or (pool.slots, pool.slots)
    size = f"{most} calls" if most == least else f"{least} to {most} calls"
    order = " strictly in this order" if options.strict else ""
    lines = [f"taskflow worker {worker.name}, version {__version__}, process {os.getpid()}"]
    if hosted.words:
        lines.append(f"  app     {hosted.words}")
    lines += [
        f"  store   {shown(store.url)}",
        f"  trusts  {trust.words(options)}",
        f"  runs    {size} at once, pool {options.pool}, queues {options.queues}{order}",
    ]
    if hosted.tasks:
        names = sorted(hosted.tasks)
        more = [f"… and {len(names) - NAMES_SHOWN} more"] if len(names) > NAMES_SHOWN else []
        lines.append("  tasks   " + "\n          ".join([*names[:NAMES_SHOWN], *more]))
    lines.append(f"Ctrl-C lets running calls end ({options.grace:.0f} s at most) and stops; twice stops now.")
    print("\n".join(lines), file=sys.stderr, flush=True)
