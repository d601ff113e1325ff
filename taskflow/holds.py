"""What whoever runs may hold for a while: `Lock`, `Semaphore`, `Barrier`, over all machines of a store.

They are places under a name in the store (`machine.sharing`). Who holds one says so again from a thread,
three times within its `ttl`; of who died nothing is heard, and the place is free when its `ttl` is over. Each
place has a fence, a number larger than those of all holders before it: who writes to something outside gives
it along, and what was written there with a larger one is not overwritten.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self

from taskflow.errors import ConfigError, LockLost, UsageError, WaitTimedOut
from taskflow.hooks import client_of
from taskflow.ids import new_id
from taskflow.pools.context import lend

if TYPE_CHECKING:
    from taskflow.client import Client
    from taskflow.ports import Store

__all__ = ["Barrier", "Lock", "Semaphore"]

log = logging.getLogger(__name__)

LOOK_S = 0.5
TURN_S = 5.0
PASSED_S = 600.0
"""How long who waited before a barrier may take to see that it has passed."""
RENEWALS = 3
_MOST_NAME_CHARS = 512


class Semaphore:
    """At most `n` hold it at once, in all tasks and clients of the store.

    Who asks first gets it first. Waiting inside a task lends its slot, so that those who are waited for can
    run. As a context manager it is held for the block; ``async with`` waits and holds up no event loop. It
    travels to tasks as what it is called, not as what is held.

    Args:
        name: All that have it share the places.
        n: How many places there are.
        ttl: Seconds after which the place of a holder that is not heard of any more is free. One that lives
            keeps it as long as it likes, unless it holds up its own process for so long.
        client: Whose store; by default that of the task, or of the client of those who name none.

    Raises:
        ConfigError: A value is impossible.

    Example:
        ``with Semaphore("licences", 3): solve(model)``
    """

    _kind = "semaphore"

    def __init__(self, name: str, n: int, ttl: float = 30.0, *, client: Client | None = None) -> None:
        _check(self._kind, name, n, ttl)
        self.name, self.n, self.ttl = name, n, float(ttl)
        self._client = client
        self._holds: list[_Hold] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.n, self.ttl)

    @property
    def fence(self) -> int:
        """The number of the place that is held; larger than that of all who held one before.

        Raises:
            UsageError: None is held.
        """
        return self._held().fence

    @property
    def is_lost(self) -> bool:
        """Whether others may hold it by now, for the store was not told in time that it is held here."""
        return any(hold.is_lost for hold in self._holds)

    def locked(self) -> bool:
        """Whether all places are held, by whomever."""
        running = (view.running for view in self._store().limits() if (view.kind, view.name) == self._row)
        return sum(running) >= self.n

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a place; `False` when there is none (in time).

        Args:
            blocking: Wait for one.
            timeout: Seconds to wait at most; `None` for as long as it takes.

        Raises:
            UsageError: It is not to wait, and has a time for it.
        """
        if not blocking and timeout is not None:
            raise UsageError("acquire(blocking=False) waits for nothing: leave timeout out.")
        hold = _Hold(self._store(), self._key, self.n, self.ttl)
        if not hold.take(None if blocking and timeout is None else time.monotonic() + (timeout or 0.0)):
            return False
        self._holds.append(hold)
        return True

    def release(self) -> None:
        """Give a place back.

        Raises:
            UsageError: None is held.
            LockLost: Others may have held it meanwhile: the store was not told in time that it is held here.
        """
        hold = self._held()
        self._holds.remove(hold)
        hold.give_back()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            self.release()
        except LockLost as lost:
            if error is None:
                raise
            error.add_note(str(lost))

    async def __aenter__(self) -> Self:
        hold = _Hold(self._store(), self._key, self.n, self.ttl)
        await hold.take_async()
        self._holds.append(hold)
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.n}, ttl={self.ttl:g})"

    @property
    def _row(self) -> tuple[str, str]:
        return self._kind, self.name

    @property
    def _key(self) -> str:
        return ":".join(self._row)

    def _store(self) -> Store:
        return _store_of(self._client)

    def _held(self) -> _Hold:
        if not self._holds:
            raise UsageError(f"{self!r} is not held here: acquire() it first.")
        return self._holds[-1]


class Lock(Semaphore):
    """Held by one at once, in all tasks and clients of the store; not reentrant.

    See `Semaphore` for the order of those who wait, and for what becomes of the lock of one that died.

    Args:
        name: All that have it share the lock.
        ttl: See `Semaphore`.
        client: See `Semaphore`.

    Example:
        ``with Lock("ledger", ttl=30) as lock: write(entry, fence=lock.fence)``
    """

    _kind = "lock"

    def __init__(self, name: str, ttl: float = 30.0, *, client: Client | None = None) -> None:
        super().__init__(name, 1, ttl, client=client)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.ttl)

    def __repr__(self) -> str:
        return f"Lock({self.name!r}, ttl={self.ttl:g})"


class Barrier:
    """Lets nobody pass before `n` have come, in tasks and clients of the store; then the next round begins.

    Waiting inside a task lends its slot. Who dies before the last has come does not count.

    Args:
        name: All that have it wait for each other.
        n: How many pass together.
        client: See `Semaphore`.

    Example:
        ``Barrier("epoch", 4).wait(timeout=60)``
    """

    def __init__(self, name: str, n: int, *, client: Client | None = None) -> None:
        _check("barrier", name, n, PASSED_S)
        self.name, self.n = name, n
        self._client = client

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.n)

    def wait(self, timeout: float | None = None) -> int:
        """Return when `n` are there.

        Returns:
            A number that all who pass together have in common; it grows from round to round.

        Raises:
            WaitTimedOut: They did not come in time; this one is not waited for any more.
        """
        hold = _Hold(_store_of(self._client), f"barrier:{self.name}", self.n, PASSED_S, together=True)
        if not hold.take(None if timeout is None else time.monotonic() + timeout):
            raise WaitTimedOut(f"Fewer than {self.n} came to barrier {self.name!r} within {timeout:g} s.")
        hold.leave()
        return hold.fence

    def __repr__(self) -> str:
        return f"Barrier({self.name!r}, {self.n})"


class _Hold:
    """One place, from the first question for it until it is given back."""

    def __init__(self, store: Store, key: str, most: int, ttl_s: float, *, together: bool = False) -> None:
        self.fence = 0
        self._store, self._key, self._most, self._ttl_s = store, key, most, ttl_s
        self._together = together
        self._token = new_id()
        self._until = 0.0
        self._gone = self._waits = False
        self._over = threading.Event()

    @property
    def is_lost(self) -> bool:
        return self._gone or time.monotonic() >= self._until

    def take(self, deadline: float | None) -> bool:
        """Ask until there is a place, or the deadline has passed."""
        try:
            if self._ask(deadline) is None:
                return True
            if deadline is None or time.monotonic() < deadline:
                with lend(), closing(self._store.listen("holds")) as bell:
                    poll = select.poll()
                    poll.register(bell, select.POLLIN)
                    while (rest_s := self._ask(deadline)) is not None:
                        if deadline is not None:
                            rest_s = min(rest_s, deadline - time.monotonic())
                        if rest_s <= 0:
                            break
                        poll.poll(rest_s * 1000)
                        bell.hush()
        except BaseException:
            with contextlib.suppress(Exception):  # what happened first is what counts; its turn is over soon
                self.leave()
            raise
        if self._waits and not self.fence:
            self.leave()
        return self.fence > 0

    async def take_async(self) -> None:
        """The same without a deadline, for an event loop."""
        try:
            with lend():
                while (rest_s := await asyncio.to_thread(self._ask, None)) is not None:
                    await asyncio.sleep(min(rest_s, LOOK_S / 2))
        except BaseException:
            with contextlib.suppress(Exception):
                self.leave()
            raise

    def _ask(self, deadline: float | None) -> float | None:
        """`None` when it has a place; else how long to wait before it asks again, seconds."""
        now = time.monotonic()
        wait_s = TURN_S if deadline is None or now < deadline else 0.0
        self._waits = wait_s > 0
        held = self._store.hold(
            self._key, self._token, most=self._most, ttl_s=self._ttl_s, wait_s=wait_s, together=self._together
        )
        if not held.fence:
            return min(LOOK_S, max(held.rest_s, 0.001))
        self.fence, self._until = held.fence, now + self._ttl_s
        if not self._together:
            threading.Thread(target=self._keep, name=f"taskflow-hold-{self._key}", daemon=True).start()
        return None

    def _keep(self) -> None:
        """Say again and again that it is held."""
        while not self._over.wait(self._ttl_s / RENEWALS):
            now = time.monotonic()
            try:
                held = self._store.hold(self._key, self._token, most=0, ttl_s=self._ttl_s)
            except Exception as error:  # noqa: BLE001 - the thread must not die while there is hope
                if self._over.is_set():
                    return
                log.warning("%s is held, and the store was not told so: %s", self._key, error)
                if time.monotonic() >= self._until:
                    return
                continue
            if held.fence != self.fence:
                self._gone = True
                if not self._over.is_set():
                    log.warning("%s was held here, and others have it by now", self._key)
                return
            self._until = now + self._ttl_s

    def leave(self) -> bool:
        """Let go, of a place or a turn; whether it still had the place."""
        self._over.set()
        return self._store.let_go(self._key, self._token)

    def give_back(self) -> None:
        """Let go.

        Raises:
            LockLost: It had the place no more.
        """
        was_lost = self.is_lost
        if not self.leave() or was_lost:
            raise LockLost(
                f"{self._key} was not heard of for {self._ttl_s:g} s, and others may have held it meanwhile:"
                " give the fence along with what must not be overwritten, or choose a longer ttl.",
                fence=self.fence,
            )


def _store_of(client: Client | None) -> Store:
    store: Store = client_of(client)._engine.store
    return store


def _check(kind: str, name: Any, n: Any, ttl: Any) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= _MOST_NAME_CHARS:
        raise ConfigError(f"name={name!r} is not possible: a {kind} has text of 1 to 512 characters as name.")
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ConfigError(f"n={n!r} is not possible: a {kind} has a whole number of 1 or more.")
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not ttl > 0:
        raise ConfigError(f"ttl={ttl!r} is not possible: use a number of seconds above 0.")
