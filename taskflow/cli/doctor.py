"""Examine store, workers, key, disk and clock. The exit code is 1 if anything is wrong.

With --from-celery it examines a configuration for Celery instead, line by line; nothing of the file is run
unless --run says so. The exit code is 1 if something in it would be refused.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from taskflow import __version__
from taskflow.cli.exits import Exit
from taskflow.cli.words import plural
from taskflow.errors import ConfigError, TaskflowError
from taskflow.observe.table import Column
from taskflow.observe.text import duration
from taskflow.states import State

if TYPE_CHECKING:
    from taskflow.cli.console import Console
    from taskflow.cli.parser import Parser
    from taskflow.ports import Store

SUMMARY = "examine store, workers, key, disk and clock"
EXAMPLES = """
taskflow doctor
taskflow doctor --url sqlite:////data/runs.db --json
taskflow doctor --from-celery celeryconfig.py
"""

SLOW_S = 0.25
SKEW_S = 2.0

_COLUMNS = (Column("what"), Column("is", state=True), Column("in words"))


class Finding(NamedTuple):
    """One thing that was examined."""

    what: str
    well: bool
    words: str


def arguments(parser: Parser) -> None:
    """Declare its arguments."""
    add = parser.add_argument
    add(
        "--from-celery", metavar="FILE", help="say what happens to each setting of a configuration for Celery"
    )
    add("--run", action="store_true", help="run that file, to know the values that it computes")


def run(options: Namespace, console: Console) -> int:
    """Examine everything, whatever is found on the way."""
    if options.from_celery is not None:
        from taskflow.cli.from_celery import report

        return report(options, console)
    if options.run:
        raise ConfigError("--run goes with --from-celery FILE: it runs that file.")
    findings = [*_versions(), *_key(), *_store(console)]
    if console.json:
        console.dump(findings)
    else:
        rows = [(f.what, "ok" if f.well else "wrong", f.words) for f in findings]
        console.table(_COLUMNS, rows)
    return Exit.OK if all(f.well for f in findings) else Exit.FAILED


def _versions() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", sys.version_info >= (3, 11), f"{python} at {sys.executable}")
    yield Finding("taskflow", True, __version__)
    for package in ("cloudpickle", "networkx"):
        try:
            yield Finding(package, True, version(package))
        except PackageNotFoundError:
            yield Finding(package, False, f"is not installed: pip install {package}")


def _key() -> Iterator[Finding]:
    from taskflow.codec import Keyring

    try:
        ring = Keyring.load()
    except TaskflowError as error:
        yield Finding("key", False, str(error))
    else:
        yield Finding("key", True, f"{ring.fingerprint()}, from {ring.path or 'TASKFLOW_KEY'}")


def _store(console: Console) -> Iterator[Finding]:
    from taskflow.cli.console import NoStore

    try:
        store = console.store
    except (TaskflowError, OSError) as error:
        if isinstance(error, NoStore) and console.is_default:
            yield Finding("store", True, "none yet: the first client or worker makes it")
            return
        yield Finding("store", False, str(error))
        return
    for examine in (_answers, _checked, _workers, _clock):
        try:
            yield from examine(store, console.now())
        except (TaskflowError, OSError) as error:
            yield Finding(examine.__name__.strip("_"), False, str(error))


def _answers(store: Store, now: float) -> Iterator[Finding]:
    from taskflow.links import shown

    began = time.perf_counter()
    store.runs(limit=1)
    took_s = time.perf_counter() - began
    yield Finding("store", took_s < SLOW_S, f"{shown(store.url)} answers in {duration(took_s)}")


def _checked(store: Store, now: float) -> Iterable[Finding]:
    return (Finding(f"store {what}", well, words) for what, well, words in store.check())


def _workers(store: Store, now: float) -> Iterator[Finding]:
    from taskflow.observe.overview import queue_rows

    workers = store.workers()
    slots = sum(worker.slots for worker in workers)
    busy = sum(worker.busy for worker in workers)
    words = f"{plural(len(workers), 'worker')} with {plural(slots, 'slot')}, {busy} busy"
    yield Finding("workers", True, words)
    served = {queue for worker in workers for queue in worker.queues}
    for queue in queue_rows(store):
        if queue[State.QUEUED] and queue["queue"] not in served:
            yield Finding(
                f"queue {queue['queue']}",
                False,
                f"{plural(queue[State.QUEUED], 'item')} queued and no worker serves it:"
                f" taskflow worker -Q {queue['queue']}",
            )
    for worker in workers:
        for words in _strange(worker.info):
            yield Finding(f"worker {worker.id}", False, words)


def _strange(info: Mapping[str, Any]) -> Iterator[str]:
    """What of a worker does not fit to this side, or to what was sent to it."""
    from taskflow.codec import Keyring
    from taskflow.versions import differences, here

    mine = here()
    for name in differences(mine, info):
        known = "Python" if name == "python" else name
        yield f"runs {known} {info[name]}, this is {mine[name]}: use one version"
    if "key" in info and info["key"] != (own := Keyring.load().fingerprint()):
        yield f"has the key {info['key']}, this is {own}: they refuse each other (`taskflow key --help`)"
    if refused := info.get("refused"):
        yield f"has refused {plural(refused, 'item')} that nobody it trusts has signed; its log says why"


def _clock(store: Store, now: float) -> Iterator[Finding]:
    """Nothing may have happened in the future."""
    newest = [event.at for event in store.events(-1)]
    newest += [worker.seen_at for worker in store.workers()]
    ahead_s = max(newest, default=now) - now
    well = ahead_s < SKEW_S
    late = f"is {duration(ahead_s)} behind the store's: is the time set?"
    words = "runs with the store's" if well else late
    yield Finding("clock", well, words)
