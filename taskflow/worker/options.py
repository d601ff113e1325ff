"""The options of a worker process: what may be said, and what is meant by it."""

from __future__ import annotations

import argparse
import re
import socket
from collections.abc import Sequence

from taskflow.cores import cpu_count
from taskflow.errors import ConfigError, nearest
from taskflow.pools.promises import ENGINES
from taskflow.worker import trust
from taskflow.worker.card import worker_name
from taskflow.worker.queues import Queues

__all__ = ["GRACE_S", "expanded", "level_named", "pool_named", "read"]

GRACE_S = 30.0
_POOLS = {
    "process": "process",
    "prefork": "process",
    "processes": "process",
    "solo": "process",
    "thread": "thread",
    "threads": "thread",
    "async": "async",
}
"""Names of pools, Celery's among them, and what runs the calls."""
_GREEN = ("eventlet", "gevent")
_LEVELS = {"debug", "info", "warning", "error", "critical"}


def read(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options that a command line means.

    Raises:
        SystemExit: They cannot be used; it has been said why.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    from taskflow.stores import default_url

    try:
        served = options.queues or trust.queues_of(options) or "default"
        options.queues = _served(served, options.exclude_queues, strict=options.strict)
    except ConfigError as error:
        parser.error(f"argument -Q/--queues: {error}")
    options.url = options.url or options.store or default_url()
    options.name = expanded(options.name) if options.name else worker_name()
    if options.pool == "solo":
        options.slots, options.autoscale = 1, None
    options.pool, url = _engine_of(options.pool)
    options.pool_url = options.pool_url or url
    try:
        _check_engine(options)
    except ConfigError as error:
        parser.error(str(error))
    if options.slots is None and options.pool not in ENGINES:
        options.slots = cpu_count()
    if options.recycle_kb is not None:
        options.recycle_mb = max(1, options.recycle_kb >> 10)
    soft, hard = options.soft_time_limit, options.time_limit
    if soft is not None and hard is not None and soft >= hard:
        parser.error(f"--soft-time-limit {soft:g} must be shorter than --time-limit {hard:g}")
    options.logfile = None if options.logfile in (None, "", "-") else expanded(options.logfile, options.name)
    options.pidfile = expanded(options.pidfile, options.name) if options.pidfile else None
    return options


def expanded(text: str, name: str = "") -> str:
    """A name of a worker or of its files, with Celery's abbreviations written out.

    ``%h`` is the host with its domain, ``%d`` the domain alone, ``%n`` the worker's name up to its ``@`` (in
    a worker's name: the host without its domain), ``%p`` the whole name. ``%i`` and ``%I``, the number of a
    child, are ``0`` and nothing: children write no files of their own.

    Example:
        >>> expanded("%n%I.log", "worker1@here"), expanded("100%%")
        ('worker1.log', '100%')
    """
    if "%" not in text:
        return text
    host = socket.gethostname()
    short, _, domain = host.partition(".")
    values = {"h": host, "d": domain, "n": name.partition("@")[0] or short, "p": name or host}
    values |= {"i": "0", "I": ""}
    return re.sub("%(.)", lambda found: "%" if found[1] == "%" else values.get(found[1], found[0]), text)


def pool_named(text: str) -> str:
    """A name of a pool that is known, Celery's included.

    Raises:
        argparse.ArgumentTypeError: The message is the cure.
    """
    if text in _POOLS or _scheme(text) in ENGINES:
        return text
    if text in _GREEN:
        raise argparse.ArgumentTypeError(
            f"there is no {text} here: use --pool async for coroutines (async def), or --pool thread for"
            " functions that wait; -c may be a few hundred for either"
        )
    raise argparse.ArgumentTypeError(
        f"There is no pool {text!r}.{nearest(text, (*_POOLS, *ENGINES))} Known are process, thread and async,"
        " and dask://, ray:// and celery:// with an address."
    )


def _check_engine(options: argparse.Namespace) -> None:
    """A cluster has an address, and processes that are not ours to shape.

    Raises:
        ConfigError: The message is the cure.
    """
    pool = options.pool
    if pool not in ENGINES:
        if options.pool_url:
            raise ConfigError(f"--pool-url is for {', '.join(ENGINES)}: --pool {pool} has no address")
        return
    if not options.pool_url:
        raise ConfigError(f"--pool {pool} needs an address: --pool {pool}://HOST:PORT, or --pool-url")
    for name in ("preload", "threads", "recycle_calls", "recycle_mb"):
        if getattr(options, name):
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"{flag} shapes processes of ours: those of --pool {pool} are the cluster's own"
            )


def _scheme(text: str) -> str:
    return text.partition("://")[0].partition("+")[0]


def _engine_of(text: str) -> tuple[str, str]:
    """What runs the calls, and the address of the cluster if it is one."""
    if (name := _scheme(text)) in ENGINES:
        return name, text if "://" in text else ""
    return _POOLS[text], ""


def _served(named: str | Sequence[str], without: Sequence[str], *, strict: bool) -> Queues:
    queues = Queues.parse(named, strict=strict)
    for name in without:
        queues = queues.without(name)
    if not queues.names:
        raise ConfigError("every queue is excluded: there is nothing to serve.")
    return queues


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="taskflow worker",
        description="Take work from a store and run it in child processes, until Ctrl-C.",
        epilog="Example: taskflow worker sqlite:////data/runs.db -n 4 -Q default,slow",
    )
    parser.add_argument("store", nargs="?", metavar="URL", help="the store ($TASKFLOW_URL, else your own)")
    parser.add_argument("--url", default=None, help=argparse.SUPPRESS)
    _declare_work(parser)
    _declare_calls(parser)
    _declare_process(parser)
    return parser


def _declare_work(parser: argparse.ArgumentParser) -> None:
    """What it takes, and how much of it."""
    add = parser.add_argument
    add("-n", "--slots", "-c", "--concurrency", type=_slots, default="auto", metavar="N",
        help="calls at once (auto: one per processor)")  # fmt: skip
    add("--autoscale", type=_bounds, default=None, metavar="MOST,LEAST", help="instead of -n: calls at once,"
        " more while work waits and fewer when there is none: 10,3")  # fmt: skip
    add("-Q", "--queues", default="", metavar="NAMES", help="queues to serve: gpu,default; with weights:"
        " high:3,default:1 (default; json where calls by name are accepted)")  # fmt: skip
    add("-X", "--exclude-queues", type=_words, default=(), metavar="NAMES", help="but not these")
    add("--strict", action="store_true", help="the first queue before the next, whatever the priorities")
    add("--purge", action="store_true", help="cancel first what waits in its queues")
    add("--accept", type=_words, default=("pickle",), metavar="KINDS", help="pickle: what is signed (the"
        " default); json: calls by name, of those without a key; or both, with a comma")  # fmt: skip
    add("--allow", type=_words, default=(), metavar="NAMES", help="which names: 'shop.tasks.*'")
    add("--keep-days", type=float, default=7.0, metavar="D", help="forget ended runs after so long (7)")
    add("--keep-gb", type=float, default=4.0, metavar="GB", help="the oldest while the store is larger (4)")
    add("--lease", type=float, default=15.0, metavar="S", help="work of a dead worker is free after so long")


def _declare_calls(parser: argparse.ArgumentParser) -> None:
    """How calls are run."""
    add = parser.add_argument
    add(
        "--pool",
        type=pool_named,
        default="process",
        metavar="POOL",
        help="process, thread or async; or a cluster's address: dask://…, ray://… or celery://…",
    )
    add("--pool-url", default="", metavar="URL", help="the address of the cluster, as its own tools write it")
    add("--preload", type=_words, default=(), metavar="MODULES", help="modules that children find imported")
    add("--threads", type=int, default=None, metavar="N", help="BLAS and OpenMP threads of a call")
    add("--recycle-calls", type=int, default=None, metavar="N", help="a new child after so many calls")
    add("--recycle-mb", type=int, default=None, metavar="MB",
        help="a new child when one is so large (default: half of its share of memory)")  # fmt: skip
    add("--recycle-kb", type=int, default=None, help=argparse.SUPPRESS)
    add("--time-limit", type=_seconds, default=None, metavar="S", help="a call without a limit of its own is"
        " killed after so long")  # fmt: skip
    add("--soft-time-limit", type=_seconds, default=None, metavar="S", help="SoftTimeLimitExceeded is raised"
        " in it after so long")  # fmt: skip


def _declare_process(parser: argparse.ArgumentParser) -> None:
    """What kind of process it is."""
    add = parser.add_argument
    add("--name", default=None, metavar="NAME", help="how it is called in lists (host and process)")
    add("--grace", type=float, default=GRACE_S, metavar="S", help="how long running calls may go on (30)")
    add("--soft-shutdown", type=float, default=0.0, metavar="S", help="and so long after SIGQUIT (0)")
    add("--idle-exit", type=float, default=None, metavar="S", help="leave after so long without work")
    add("--wait-for-store", type=float, default=0.0, metavar="S",
        help="when there is no server, look for it for so long (0)")  # fmt: skip
    add("--loglevel", type=level_named, default=None, help="debug, info, warning, error")
    add("--logfile", default=None, metavar="FILE", help="where log lines go")
    add("--pidfile", default=None, metavar="FILE", help="where its process id is written")
    add("--uid", default=None, metavar="USER", help="be this user")
    add("--gid", default=None, metavar="GROUP", help="and of this group")
    add("--umask", type=_octal, default=None, metavar="MASK", help="of the files that calls make: 022")
    add("--autoreload", default=None, metavar="FOLDER", help="start anew when a .py file in it changes")
    for hidden in ("--detach", "--embedded"):
        add(hidden, action="store_true", help=argparse.SUPPRESS)
    add("--parent-fd", type=int, default=None, help=argparse.SUPPRESS)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _slots(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of slots: use 1 or more, or auto")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: use a number of seconds above 0")
    return seconds


def _octal(text: str) -> int:
    try:
        mask = int(text, 8)
    except ValueError:
        mask = -1
    if not 0 <= mask <= 0o777:
        raise argparse.ArgumentTypeError(f"{text!r} is no mask: write it in octal digits, as in 022")
    return mask


def _bounds(text: str) -> tuple[int, int]:
    most, comma, least = text.partition(",")
    numbers = (most, least) if comma else (most, "1")
    if not all(n.isascii() and n.isdigit() for n in numbers) or not 1 <= int(numbers[1]) <= int(numbers[0]):
        raise argparse.ArgumentTypeError(
            f"{text!r} are no bounds: write the most and the least slots, as in 10,3"
        )
    return int(numbers[0]), int(numbers[1])


def level_named(text: str) -> str:
    """A level of log lines, in any case.

    Raises:
        argparse.ArgumentTypeError: There is none of that name.
    """
    level = {"fatal": "critical", "warn": "warning"}.get(text.lower(), text.lower())
    if level not in _LEVELS:
        raise argparse.ArgumentTypeError(f"{text!r} is no level: use debug, info, warning or error")
    return level
