"""The engine of a Dask cluster: a message is a task of Dask, pinned to a worker that is chosen here.

::

    pool ── send ──► loop of this engine ── submit(workers=[one]) ──► scheduler ──► worker: a thread
      ◄── Mailbox ── awaits the future ◄──────────────── answer ─────────────────────┤
                     hears its own topic ◄────────────── log_event ── what it says ──┘
                     hears the topic "all" ◄──────────── workers that come and go

Dask runs no pinned task elsewhere when its worker dies, so a message is run once; and what a dead worker had
is known here within milliseconds. A thread cannot be killed: limits that kill are kept, and cancelled calls
ended by force, where a worker has one thread and a nanny, which starts another. A client of Dask forgets all
that it had when its connection breaks; so a new one is made.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from concurrent.futures import Future as Reply
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import distributed

from taskflow.errors import ConfigError
from taskflow.pools.dask_asks import ANSWER_S, answer_of, ask, unlike
from taskflow.pools.dask_there import by_value, end_worker, start, take_back
from taskflow.pools.fleet import Fleet, Member
from taskflow.pools.promises import PROMISES

if TYPE_CHECKING:
    from taskflow.pools.cluster import ClusterPool
    from taskflow.pools.engine import Mailbox, Packet
    from taskflow.pools.guest import Terms
    from taskflow.ports import Blobs, Promises

__all__ = ["DaskEngine", "Place", "open_pool", "place_of"]

T = TypeVar("T")

_log = logging.getLogger("taskflow.worker")

CONNECT_S = 5.0
"""How long a scheduler has to answer."""
_AGAIN_S = 0.5
_LOOK_S = 0.1
_CLOSE_S = 5.0
_SMALL_BYTES = 64 << 10
_DATA_KEPT = 256
_GROW_TURNS = 5
_WISHES_PER_SLOT, _WISHES_MOST = 10, 1000


def open_pool(
    url: str, *, terms: Terms, blobs: Callable[[], Blobs], most: int | None = None, **options: Any
) -> ClusterPool:
    """The pool of a Dask cluster.

    Args:
        url: See `place_of`.
        terms: What guests are told.
        blobs: Opens the place of the store.
        most: Use no more slots than this.
        options: More of `taskflow.pools.cluster.ClusterPool`.

    Raises:
        ConfigError: There is no scheduler, or none of its workers can run what is sent.
    """
    from taskflow.pools.cluster import ClusterPool

    place = place_of(url)
    return ClusterPool(lambda mailbox: DaskEngine(place, mailbox), terms, blobs, most=most, **options)


class Place(NamedTuple):
    """Where a scheduler is: its address, or a file that tells it."""

    address: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        return self.address or str(self.file)


def place_of(url: str) -> Place:
    """What a URL of a pool means to Dask.

    Example:
        >>> str(place_of("dask://head:8786")), str(place_of("dask+tls://head:8786"))
        ('tcp://head:8786', 'tls://head:8786')
        >>> place_of("dask:///shared/scheduler.json").file
        '/shared/scheduler.json'

    Raises:
        ConfigError: It names neither an address nor a file.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "inproc":
        raise ConfigError("This Dask cluster is inside one process: make it by LocalCluster(processes=True).")
    if scheme == "dask" and rest.startswith("/"):
        return Place(file=rest)
    if not rest or scheme not in ("dask", "dask+tcp", "dask+tls", "tcp", "tls"):
        raise ConfigError(
            f"{url!r} names no Dask scheduler: write dask://HOST:8786, dask+tls://HOST:8786, or"
            " dask:///PATH/scheduler.json for a scheduler file."
        )
    return Place(f"{'tls' if scheme.endswith('tls') else 'tcp'}://{rest}")


class DaskEngine:
    """See `taskflow.pools.engine.Engine`. All that it knows is changed in the thread of its loop.

    Args:
        place: Where the scheduler is.
        mailbox: What is heard goes there.

    Raises:
        ConfigError: There is no scheduler, or none of its workers can run what is sent.
    """

    kind = "Dask"

    def __init__(self, place: Place, mailbox: Mailbox) -> None:
        self._place, self._mailbox = place, mailbox
        self._client: Any = None
        self._topic = ""
        self._slots, self._wish = 0, 0
        self._ready: Reply[None] = Reply()
        self._begin()
        self._promises = _kept(self._fleet)
        self._loop = asyncio.new_event_loop()
        self._main: asyncio.Task[Any] | None = None
        self._thread = threading.Thread(target=self._run, name="taskflow-dask", daemon=True)
        self._thread.start()
        try:
            self._ready.result()
        except BaseException:
            self.close()
            raise

    # ── the port ────────────────────────────────────────────────────────────────────

    @property
    def promises(self) -> Promises:
        """Of workers that have one thread, more; of those that a nanny starts, more still."""
        return self._promises

    def slots(self) -> int:
        """The threads of all workers that fit."""
        return self._slots

    def wish(self, slots: int, /) -> None:
        """Have an adaptive cluster grow to so many slots, and keep them."""
        self._wish = slots

    def send(self, packet: Packet, /) -> None:
        """Have a message run by the worker that has least to do."""
        self._soon(self._place_packet, packet)

    def cancel(self, number: int, /, *, force: bool) -> None:
        """Take a message back, interrupt it, or end the worker that runs it."""
        self._soon(self._cancel, number, force)

    def close(self) -> None:
        """Leave the cluster: what it still runs goes on, and is not heard."""
        self._soon(self._stop)
        self._thread.join(2 * _CLOSE_S)

    # ── its loop ────────────────────────────────────────────────────────────────────

    def _soon(self, call: Callable[..., None], *args: Any) -> None:
        with suppress(RuntimeError):  # The loop has ended: nobody is there any more.
            self._loop.call_soon_threadsafe(call, *args)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        except asyncio.CancelledError:
            pass  # That is how it is closed.
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    def _stop(self) -> None:
        if self._main is not None:
            self._main.cancel()

    def _start(self, job: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self._loop.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._has_ended)
        return task

    def _has_ended(self, task: asyncio.Task[Any]) -> None:
        self._jobs.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("the Dask scheduler at %s was asked in vain: %r", self._place, error)

    # ── connected, again and again ──────────────────────────────────────────────────

    def _begin(self) -> None:
        """Know nothing of a cluster yet, or any more."""
        self._fleet = Fleet(self._give)
        self._unfit: dict[str, str] = {}
        self._coming: set[str] = set()
        self._ways: dict[int, asyncio.Task[None]] = {}
        self._data: OrderedDict[str, asyncio.Task[Any]] = OrderedDict()
        self._wishes: list[Any] = []
        self._jobs: set[asyncio.Task[Any]] = set()

    async def _serve(self) -> None:
        self._main = asyncio.current_task()
        while True:
            client = distributed.Client(
                self._place.address, scheduler_file=self._place.file, name="taskflow", timeout=CONNECT_S,
                asynchronous=True, set_as_default=False,
            )  # fmt: skip
            try:
                await client
                await self._attend(client)
            except Exception as error:
                if not self._ready.done():
                    raise self._no_scheduler(error) from error
                _log.debug("no Dask scheduler at %s: %r", self._place, error)
            finally:
                await self._leave(client)
            await asyncio.sleep(_AGAIN_S)

    async def _attend(self, client: Any) -> None:
        """Use a connection until it breaks."""
        self._client, self._topic = client, f"taskflow-{client.id}"
        client.subscribe_topic(self._topic, self._hear_said)
        client.subscribe_topic("all", self._hear_all)
        await self._look()
        if self._ready.done():
            _log.warning("the Dask scheduler at %s is back", self._place, extra={"action": "pool"})
        elif self._unfit and not self._fleet.members:
            raise ConfigError(next(iter(self._unfit.values())))
        else:
            self._ready.set_result(None)
        turn = 0
        while client.status == "running":
            if (turn := turn + 1) % _GROW_TURNS == 0 and (self._wish or self._wishes):
                await asyncio.wait_for(self._grow(), ANSWER_S)
            await asyncio.sleep(_LOOK_S)
        _log.warning(
            "the Dask scheduler at %s is gone: what it had is given back, nothing is taken until it comes",
            self._place,
            extra={"action": "pool"},
        )

    async def _leave(self, client: Any) -> None:
        numbers, jobs = list(self._fleet.numbers()), list(self._jobs)
        self._client = None
        self._begin()
        self._measure()
        for number in numbers:
            self._mailbox.dropped(number)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        with suppress(Exception):  # It may be looking for its scheduler just now.
            await asyncio.wait_for(client.close(), _CLOSE_S)

    def _no_scheduler(self, error: Exception) -> ConfigError:
        if isinstance(error, ConfigError):
            return error
        said = (str(error).strip().splitlines() or [""])[0]
        return ConfigError(
            f"No Dask scheduler answers at {self._place} ({type(error).__name__}: {said})."
            " Start one by `dask scheduler`, and workers by `dask worker ADDRESS`."
        )

    # ── its workers ─────────────────────────────────────────────────────────────────

    def _hear_all(self, event: tuple[float, Any]) -> None:
        told = event[1]
        if not isinstance(told, dict):
            return
        if told.get("action") == "add-worker":
            self._start(self._look())
        elif told.get("action") == "remove-worker":
            for key in told.get("lost-scattered-tasks", ()):
                self._data.pop(key, None)
            self._remove(told["worker"], expected=bool(told.get("expected")))

    async def _look(self) -> None:
        """See which workers there are; those that are new are asked what they have."""
        client, fleet = self._client, self._fleet
        known = (await client.scheduler.identity())["workers"]
        new = [a for a in known if a not in fleet.members and a not in self._unfit and a not in self._coming]
        self._coming.update(new)
        try:
            unfit = await unlike(client, new)
        except BaseException:
            self._coming.difference_update(new)
            raise
        for address in [address for address in new if address in self._coming]:  # Some may be gone.
            self._coming.discard(address)
            if why := unfit[address]:
                self._unfit[address] = why
                if self._ready.done():
                    _log.warning("a worker is not used: %s", why, extra={"action": "pool"})
                continue
            threads = known[address]["nthreads"]
            fleet.join(Member(address, threads, kills=threads == 1 and bool(known[address].get("nanny"))))
        self._measure()

    def _remove(self, address: str, *, expected: bool) -> None:
        """A worker is gone: what it ran is lost, what waited for it is given back."""
        self._coming.discard(address)
        self._unfit.pop(address, None)
        fates = self._fleet.leave(address, expected=expected)
        self._measure()
        for number, began, sure in fates:
            self._ways.pop(number).cancel()
            why = f"The Dask worker {address} that ran the task is gone."
            self._mailbox.lost(number, why, began=began, sure=sure)

    def _measure(self) -> None:
        self._slots, self._promises = self._fleet.slots, _kept(self._fleet)
        self._mailbox.changed()

    async def _grow(self) -> None:
        """Have as many tasks wait, for a resource that is nowhere, as make the scheduler want what is wished.

        An adaptive cluster follows what the scheduler wants, which depends on how long it thinks that tasks
        take; so it is asked, and the number found step by step.
        """
        threads = self._slots / max(1, len(self._fleet.members)) or 1.0
        missing = self._wish - (await self._client.scheduler.adaptive_target()) * threads if self._wish else 0
        idle = self._wish - len(self._ways)
        least = _WISHES_PER_SLOT * (idle - 1) + 1 if idle > 0 else 0  # what it takes where nothing else is
        count = len(self._wishes)
        if missing > 0:
            count = min(count + math.ceil(3 * missing), _WISHES_MOST)
        elif missing <= -threads or not self._wish:
            count = max(count // 2, least)
        for future in self._wishes[count:]:
            future.release()
        del self._wishes[count:]
        while len(self._wishes) < count:
            key, never = f"taskflow-wish-{self._client.id}-{len(self._wishes)}", {"taskflow-wish": 1}
            self._wishes.append(self._client.submit(int, key=key, resources=never, pure=False))

    # ── messages ────────────────────────────────────────────────────────────────────

    def _place_packet(self, packet: Packet) -> None:
        if self._client is None:
            self._mailbox.dropped(packet.number)
        else:
            self._fleet.place(packet)

    def _give(self, packet: Packet, member: Member) -> None:
        self._ways[packet.number] = self._start(self._send_and_wait(packet, member.name))

    async def _send_and_wait(self, packet: Packet, address: str) -> None:
        """The way of a message: to a worker, and back as an answer."""
        number, future = packet.number, None
        try:
            given = {n: await self._keep(n, data) for n, data in packet.given.items() if data is not None}
            future = self._client.submit(
                by_value(start), number, self._topic, packet.message, given,
                key=f"taskflow-{packet.label}-{number:x}", workers=[address], allow_other_workers=False,
                pure=False, retries=0, priority=packet.priority,
            )  # fmt: skip
            answer, made = await answer_of(future)
            self._fleet.keep(number, made)
        except CancelledError:  # Of Dask: the connection broke, or data that it needs was lost with a worker.
            if self._client is not None and self._client.status == "running" and self._end(number):
                self._mailbox.dropped(number)
        except Exception as error:  # noqa: BLE001 - whatever Dask says, it is told
            if self._end(number):
                self._mailbox.lost(number, f"Dask did not run the task: {type(error).__name__}: {error}")
        else:
            if self._end(number):
                self._mailbox.answer(number, answer, made)
        finally:
            if future is not None:
                future.release()

    async def _keep(self, name: str, data: bytes) -> Any:
        """Large data as Dask keeps it: it goes to the cluster once, and there from worker to worker."""
        if len(data) < _SMALL_BYTES:
            return data
        key = f"taskflow-data-{name}"
        if (kept := self._data.get(key)) is None:
            kept = self._data[key] = self._start(self._client.scatter({key: data}, hash=False))
            while len(self._data) > _DATA_KEPT:
                self._data.popitem(last=False)
        self._data.move_to_end(key)
        try:
            return (await asyncio.shield(kept))[key]
        except Exception:
            self._data.pop(key, None)
            raise

    def _end(self, number: int) -> bool:
        self._ways.pop(number, None)
        return self._fleet.end(number)

    def _hear_said(self, event: tuple[float, Any]) -> None:
        number, more, records = event[1]
        if more:
            self._fleet.lend(number, more)
        elif self._fleet.where(number) is not None:
            self._mailbox.said(records)

    def _cancel(self, number: int, force: bool) -> None:
        member = self._fleet.where(number)
        if member is not None:
            self._start(self._take_back(number, member, force))
        else:
            self._fleet.drop(number)
            self._mailbox.dropped(number)

    async def _take_back(self, number: int, member: Member, force: bool) -> None:
        way = self._ways.get(number)
        taken = await ask(self._client, member.name, take_back, number)
        if force and not taken and member.kills and number in member.begun:
            await ask(self._client, member.name, end_worker, nanny=True)
        elif (taken or force) and way is not None and self._end(number):
            way.cancel()
            self._mailbox.dropped(number)


def _kept(fleet: Fleet) -> Promises:
    """What these workers keep; of a cluster that has none yet, what the best could."""
    members, kills = fleet.members.values(), fleet.kills
    alone = all(member.threads == 1 for member in members)
    return PROMISES["dask"]._replace(hard_limit=kills, force=kills, dies_alone=alone)
