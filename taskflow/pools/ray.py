"""Calls run as tasks of a Ray cluster: the agent's side.

::

    agent: RayEngine ── pipe ──► driver process (`taskflow.pools.ray_driver`) ── Ray ──► tasks: guests

Whoever speaks to Ray is a *driver*, and its C++ part ends the process when the head or the daemon of this
node is gone. So the driver is a process of its own: when it ends, what it had in flight is lost, and another
one is started, again and again until the cluster answers. The agent itself knows nothing of Ray.
"""

from __future__ import annotations

import logging
import marshal
import os
import queue
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from multiprocessing.connection import Connection
from socket import socketpair
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from taskflow.errors import ConfigError, nearest
from taskflow.pools.cluster import ClusterPool
from taskflow.pools.engine import Mailbox, Packet
from taskflow.pools.promises import PROMISES

if TYPE_CHECKING:
    from taskflow.pools.guest import Terms
    from taskflow.ports import Blobs

__all__ = ["Address", "RayEngine", "address_of", "open_pool"]

_log = logging.getLogger("taskflow.worker")

CLIENT_PORT = 10001
READY_S, READY_AGAIN_S = 90.0, 40.0
STALE_S = 10.0
AGAIN_S = (1.0, 5.0)
KEPT_BYTES = 1 << 30
LEAVE_S = 5.0
_START = "from taskflow.pools.ray_driver import main; main({fd})"
_GONE = "The Ray cluster at {} is gone, and with it what ran there."


class Address(NamedTuple):
    """Where a cluster is.

    Args:
        ray: As `ray.init` takes it.
        tcp: What is tried first, since Ray itself waits for minutes; `None` where Ray looks for a head.
        shown: What people read.
    """

    ray: str
    tcp: tuple[str, int] | None
    shown: str


def address_of(url: str) -> Address:
    """The address that a URL means.

    ``ray://`` and ``ray://auto``: of ``RAY_ADDRESS``, or a cluster with a node on this machine.
    ``ray://HOST:6379``: of its head; a node has to be on this machine. ``ray://HOST:10001`` (any port with
    ``?client=1``): by Ray Client, from anywhere, and slower.

    Raises:
        ConfigError: It is no such URL.

    Example:
        >>> address_of("ray://head:6379").ray, address_of("ray://head:10001").ray, address_of("ray://").ray
        ('head:6379', 'ray://head:10001', 'auto')
    """
    text = url if "://" in url else f"ray://{url}"
    form = "ray://HOST:6379 for a head that a node here belongs to, ray://HOST:10001 for Ray Client, or ray://auto"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(f"{url!r} is no address of a Ray cluster ({error}): use {form}.") from error
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name != "client":
            raise ConfigError(f"There is no option {name!r} of ray://.{nearest(name, ['client'])}")
    if parts.scheme != "ray" or parts.path not in ("", "/"):
        raise ConfigError(f"{url!r} is no address of a Ray cluster: use {form}.")
    if host in ("", "auto") and port is None:
        return Address("auto", None, "ray://auto")
    if port is None:
        raise ConfigError(f"{url!r} names no port: use {form}.")
    named = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    client = options.get("client", "1" if port == CLIENT_PORT else "0") in ("1", "true", "yes", "")
    return Address(f"ray://{named}" if client else named, (host, port), f"ray://{named}")


def open_pool(
    url: str, *, terms: Terms, blobs: Callable[[], Blobs], most: int | None = None, grace_s: float = 5.0
) -> ClusterPool:
    """The pool of a Ray cluster.

    Args:
        url: See `address_of`.
        terms: What guests are told.
        blobs: Opens the place of large data.
        most: Use no more slots than this.
        grace_s: What a cancelled task gets to clean up before its process is ended.

    Raises:
        ConfigError: It cannot be reached, or calls could not run there; the message is the cure.
        ModuleNotFoundError: Ray is not installed.
    """
    address = address_of(url)
    if find_spec("ray") is None:
        raise ModuleNotFoundError("Ray is not installed.", name="ray")
    return ClusterPool(
        lambda mailbox: RayEngine(address, mailbox, terms.key), terms, blobs, most=most, grace_s=grace_s
    )


class RayEngine:
    """A Ray cluster, as `taskflow.pools.engine.Engine`.

    Args:
        address: Where.
        mailbox: What is heard goes there.
        key: The fingerprint of the agent's key; empty when it sends nothing that is signed.

    Attributes:
        kept: Bytes of the data that is in Ray's object store for the agent, by name.
        puts: How often data was put there.

    Raises:
        ConfigError: It cannot be used; the message is the cure.
    """

    kind = "Ray"
    promises = PROMISES["ray"]

    def __init__(self, address: Address, mailbox: Mailbox, key: str) -> None:
        self._address, self._mailbox, self._key = address, mailbox, key
        self._lock = threading.Lock()
        self._slots, self._heard_at, self._stale, self._away = 0, time.monotonic(), False, False
        self._flying: dict[int, bool] = {}
        self.kept: OrderedDict[str, int] = OrderedDict()
        self.puts = 0
        self._closing = threading.Event()
        self._driver = _Driver()
        refused = self._greeting(self._driver)
        if refused is not None:
            self._driver.end()
            raise ConfigError(refused)
        self._listener = threading.Thread(target=self._listen, name="taskflow-ray", daemon=True)
        self._listener.start()

    def slots(self) -> int:
        """The processors that Ray has for us; none while nothing is heard of it."""
        stale = time.monotonic() - self._heard_at > STALE_S
        if stale != self._stale:
            self._stale = stale
            if stale:
                _log.warning("nothing is heard of the Ray cluster at %s", self._address.shown)
        return 0 if stale else self._slots

    def send(self, packet: Packet, /) -> None:
        """Have a message run, once."""
        with self._lock:
            if self._away:
                self._mailbox.lost(packet.number, _GONE.format(self._address.shown), began=False)
                return
            self._flying[packet.number] = False
            given = self._keep(packet.given)
            self._driver.tell("send", packet.number, packet.message, packet.label, given)
            self._limit(len(given))

    def _keep(self, given: Mapping[str, bytes | None]) -> list[str]:
        """Have Ray's object store have data, once; the names of what is there."""
        for name, data in given.items():
            if name in self.kept:
                self.kept.move_to_end(name)
            elif data is not None:
                self._driver.tell("keep", name, data)
                self.puts += 1
                self.kept[name] = len(data)
        return [name for name in given if name in self.kept]

    def _limit(self, least: int) -> None:
        """Let go of what was not used for the longest time."""
        while len(self.kept) > least and sum(self.kept.values()) > KEPT_BYTES:
            self._driver.tell("forget", self.kept.popitem(last=False)[0])

    def cancel(self, number: int, /, *, force: bool) -> None:
        """Drop, interrupt or end what a message runs."""
        with self._lock:
            self._driver.tell("cancel", number, force)

    def close(self) -> None:
        """Leave the cluster."""
        self._closing.set()
        with self._lock:
            self._driver.tell("close")
        self._driver.end(LEAVE_S)
        self._listener.join(LEAVE_S)

    # ── the driver ──────────────────────────────────────────────────────────────────

    def _greeting(self, driver: _Driver, wait_s: float = READY_S) -> str | None:
        """Connect; why that is not possible, if it is not."""
        driver.tell("open", self._address.ray, self._address.tcp, self._address.shown, self._key)
        try:
            heard = driver.hear(wait_s)
        except (EOFError, OSError):
            return f"The Ray cluster at {self._address.shown} cannot be joined: Ray ended who tried."
        if heard is None:
            return f"The Ray cluster at {self._address.shown} did not answer for {wait_s:g} s."
        what, *rest = heard
        if what == "refused":
            return str(rest[0])
        self._slots, self._heard_at = rest[0], time.monotonic()
        return None

    def _listen(self) -> None:
        while True:
            with suppress(EOFError, OSError):
                while True:
                    self._take(self._driver.hear(None))
            if self._closing.is_set():
                return
            self._mourn()
            if not self._come_back():
                return

    def _take(self, heard: Any) -> None:
        what, *rest = heard
        self._heard_at = time.monotonic()
        if what in ("answer", "dropped"):
            if self._flying.pop(rest[0], None) is not None:
                getattr(self._mailbox, what)(*rest)
        else:
            getattr(self, f"_take_{what}")(*rest)

    def _take_slots(self, slots: int) -> None:
        if self._slots != slots:
            self._slots = slots
            self._mailbox.changed()

    def _take_began(self, number: int) -> None:
        self._flying[number] = True

    def _take_said(self, records: bytes) -> None:
        self._mailbox.said(records)

    def _take_lost(self, number: int, why: str, error: str) -> None:
        if self._flying.pop(number, None) is not None:
            self._mailbox.lost(number, why, error=error)

    def _take_stays(self, sizes: dict[str, int]) -> None:
        with self._lock:
            self.kept.update(sizes)
            self._limit(len(sizes))

    def _take_lacked(self, number: int, names: list[str], why: str) -> None:
        """Ray has lost what a message was given: it runs again, with data from the store."""
        with self._lock:
            for name in names:
                self.kept.pop(name, None)
        if self._flying.pop(number, None) is not None:
            self._mailbox.lost(number, why, began=False)

    def _mourn(self) -> None:
        """Tell what is lost with a driver."""
        with self._lock:
            self._slots, self._away = 0, True
            flying, self._flying = self._flying, {}
            self.kept.clear()
        why = _GONE.format(self._address.shown)
        for number, began in flying.items():
            self._mailbox.lost(number, why, began=began)
        self._mailbox.changed()
        _log.warning("%s Nothing is claimed until it is back.", why)

    def _come_back(self) -> bool:
        wait_s, longest_s = AGAIN_S
        said = None
        while not self._closing.wait(wait_s):
            wait_s = min(longest_s, wait_s * 2)
            self._driver.end()
            driver = _Driver()  # One that could not join is of no use any more, whatever comes later.
            refused = self._greeting(driver, READY_AGAIN_S)
            with self._lock:
                self._driver, self._away = driver, refused is not None
            if refused is None:
                _log.warning("the Ray cluster at %s is back: %d slots", self._address.shown, self._slots)
                self._mailbox.changed()
                return True
            driver.end()
            if refused != said:
                _log.info("%s", refused)
                said = refused
        return False


class _Driver:
    """The process that speaks to Ray, and the pipe to it; telling it something does not wait."""

    def __init__(self) -> None:
        mine, its = socketpair()
        fd = its.fileno()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(fd=fd)],
            stdin=subprocess.DEVNULL,
            stdout=2,
            pass_fds=[fd],
            start_new_session=True,  # Ctrl-C is for the agent
            env={**os.environ, "PYTHONPATH": os.pathsep.join(name or os.getcwd() for name in sys.path)},
        )
        its.close()
        self._pipe = Connection(mine.detach())
        self._todo: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        threading.Thread(target=self._write, name="taskflow-ray-tell", daemon=True).start()

    def tell(self, *words: Any) -> None:
        """Send it something."""
        self._todo.put(words)

    def hear(self, wait_s: float | None) -> Any:
        """What it says next; `None` when nothing came in time.

        Raises:
            EOFError: It is gone.
            OSError: Likewise.
        """
        if wait_s is not None and not self._pipe.poll(wait_s):
            return None
        return marshal.loads(self._pipe.recv_bytes())

    def end(self, wait_s: float = 0.0) -> None:
        """Wait for its end, and end it."""
        try:
            self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._todo.put(None)

    def _write(self) -> None:
        with suppress(OSError):
            while (words := self._todo.get()) is not None:
                self._pipe.send_bytes(marshal.dumps(words, 2))
