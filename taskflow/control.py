"""What workers are to be, while they run: more or fewer slots, other queues, other limits, drained, gone.

Nothing is sent to a worker. What is wanted is kept in the store, sealed with the user's key, and workers read
it: those that run, within about a second, and those that start later. They say what they follow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from taskflow.codec import Keyring
from taskflow.errors import StoreUnavailable, Untrusted, UsageError, nearest
from taskflow.ids import NodeId, WorkerId, new_id
from taskflow.limits import RateLimit
from taskflow.records import WORKERS, Posted, WorkerView
from taskflow.result.revoking import Place as Marked
from taskflow.result.revoking import revoke_marked
from taskflow.worker.queues import Queues
from taskflow.worker.steward import opened, sealed
from taskflow.worker.wishes import ALL, Setting, What, Wishes

__all__ = ["Control", "Told", "Workers"]

Workers = str | Iterable[str] | None
"""Which workers: one or several by name or by a prefix that only one has, or all with `None`."""

ANSWER_S = 5.0
ASK_GAP_S = 0.05
MOST_SLOTS = 10_000
MOST_NAME_CHARS = 512
MOST_TRIES = 50


class Place(Marked, Protocol):
    """The part of a store that this needs."""

    def workers(self, /) -> list[WorkerView]:
        """See `StatusPort.workers`."""
        ...

    def posted(self, name: str, known: int = -1, /) -> Posted | None:
        """See `PostPort.posted`."""
        ...

    def post(self, name: str, revision: int, body: bytes, /) -> bool:
        """See `PostPort.post`."""
        ...


@dataclass(frozen=True)
class Told:
    """What came of it; true when every worker that it was meant for follows.

    Args:
        revision: What is wanted now.
        followed: Workers that follow it, or have left.
        silent: Workers that have not said so in time: they follow when they can, unless they are dead.
        stays: It also counts for workers that start later.
        within_s: How long it was waited for.
    """

    revision: int
    followed: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    stays: bool = False
    within_s: float = ANSWER_S

    def __bool__(self) -> bool:
        return bool(self.followed) and not self.silent

    def __str__(self) -> str:
        said = []
        if self.followed:
            said.append(f"Done by {', '.join(self.followed)}.")
        if self.silent:
            said.append(f"No answer within {self.within_s:g} s from {', '.join(self.silent)}.")
        if not self.followed and not self.silent:
            said.append("No worker is there.")
        if self.stays:
            said.append("Workers that start later do the same, until it is reset.")
        return " ".join(said)


class Control:
    """Tells workers what to be; ``client.control``.

    Every verb takes `worker`: a name or a prefix that only one worker has, several of them, or none for all
    workers, which also means those that start later. It waits until they follow, `timeout` seconds at most,
    and says who did. What is told to one worker counts as long as that is there.

    Args:
        store: Whose workers.
        keyring: What is wanted is sealed with it; the user's own by default.
        sleep: Waits, seconds.

    Raises:
        UsageError: There is no such worker (the nearest is named), or the value is impossible; nothing was
            told.

    Example:
        ``client.control.grow(2, worker="gpu-1")``
    """

    def __init__(
        self, store: Place, *, keyring: Keyring | None = None, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._store, self._keyring, self._sleep = store, keyring, sleep

    # ── verbs ────────────────────────────────────────────────────────────────────────

    def grow(self, n: int = 1, *, worker: Workers = None, timeout: float = ANSWER_S) -> Told:
        """Have `n` more slots each; a worker that scales has both of its bounds moved."""
        return self._tell("slots", _slots(n), worker, timeout)

    def shrink(self, n: int = 1, *, worker: Workers = None, timeout: float = ANSWER_S) -> Told:
        """Have `n` fewer slots each, one at least: idle ones at once, busy ones when their call has ended."""
        return self._tell("slots", -_slots(n), worker, timeout)

    def autoscale(
        self,
        max: int,  # noqa: A002 - Celery's words
        min: int = 1,  # noqa: A002
        *,
        worker: Workers = None,
        timeout: float = ANSWER_S,
    ) -> Told:
        """Have so many slots, more while work waits and fewer when there is none; equal bounds fix them."""
        most, least = _slots(max), _slots(min)
        if least > most:
            raise UsageError(f"min={least} is more than max={most}: write the larger one first.")
        return self._tell("autoscale", [most, least], worker, timeout)

    def add_queue(
        self, queue: str, *, weight: int | None = None, worker: Workers = None, timeout: float = ANSWER_S
    ) -> Told:
        """Serve this queue too; the name may have its weight behind it, as in ``"high:3"``."""
        name, weight = _queue(queue, weight)
        return self._tell("queue", [name, weight], worker, timeout)

    def cancel_queue(self, queue: str, *, worker: Workers = None, timeout: float = ANSWER_S) -> Told:
        """Serve this queue no more; what runs of it goes on."""
        return self._tell("queue", [_queue(queue, None)[0], 0], worker, timeout)

    def drain(self, *, worker: Workers = None, timeout: float = ANSWER_S) -> Told:
        """Finish what runs, take nothing new, and stay until `resume`."""
        return self._tell("drain", True, worker, timeout)

    def resume(self, *, worker: Workers = None, timeout: float = ANSWER_S) -> Told:
        """Take work again, after `drain`."""
        return self._tell("drain", False, worker, timeout)

    def shutdown(
        self, *, now: bool = False, worker: Workers = None, later: bool = False, timeout: float = ANSWER_S
    ) -> Told:
        """Leave when what runs has ended, within the worker's ``--grace`` at most.

        Args:
            now: At once; what runs goes back to the store as if it had never been handed out.
            worker: Which; all that are there by default. A worker of the same name that starts later is not
                meant.
            later: With all workers: also those that start later, until `reset`.
            timeout: See `Control`. With `now` it is the end that is waited for.
        """
        meant = self._meant(worker)
        if later and worker is not None:
            raise UsageError("later=True is for all workers: leave worker out.")
        if not meant and not later:
            return Told(self._wishes()[0].revision, within_s=timeout)
        aims = [(ALL, None)] if later else [(view.id, view.started_at) for view in meant]
        names = [view.id for view in meant]

        def change(wishes: Wishes, revision: int, name: str) -> Wishes:
            told = [Setting(revision, aim, "shutdown", [since, now], time.time()) for aim, since in aims]
            return wishes.having(told, name)

        return self._change(change, names, timeout, ends=now)

    def revoke_by_stamped_headers(
        self, headers: Mapping[str, Any], *, terminate: bool = False, reason: str = "revoked"
    ) -> list[NodeId]:
        """Cancel every task that is stamped so; it stays cancelled though no worker is up.

        Args:
            headers: Values by the name of the stamp, or tag; of a list of values, one is enough.
            terminate: Stop also those that run.
            reason: Told to who waits for the values.

        Returns:
            Those that had not ended.
        """
        return revoke_marked(self._store, headers, terminate, reason)

    def restart(self, *, worker: Workers = None, timeout: float = ANSWER_S) -> Told:
        """Start anew when what runs has ended: the code is read again, the name stays.

        A worker that a client started for itself cannot: it leaves, and the client starts another.
        """
        meant = self._meant(worker)
        names = [view.id for view in meant]

        def change(wishes: Wishes, revision: int, name: str) -> Wishes:
            now = time.time()
            told = [Setting(revision, view.id, "restart", [view.started_at], now) for view in meant]
            return wishes.having(told, name)

        return self._change(change, names, timeout)

    def rate(
        self, task: str, rate: str | float | None, *, worker: Workers = None, timeout: float = ANSWER_S
    ) -> Told:
        """Start so many calls of a task in a second, in each worker; those that come sooner wait there.

        Args:
            task: Its name, as lists of runs show it.
            rate: ``"10/m"``, ``"100/s"``, or a number of starts in a second; `None` for no bound. One that
                counts over all workers is `RateLimit`.
            worker: See `Control`.
            timeout: See `Control`.

        Raises:
            ConfigError: The rate cannot be read.
        """
        per_s = None if rate is None else RateLimit(rate).per_s
        return self._tell("rate", [_task(task), per_s], worker, timeout)

    def time_limit(
        self,
        task: str,
        soft: float | None = None,
        hard: float | None = None,
        *,
        worker: Workers = None,
        timeout: float = ANSWER_S,
    ) -> Told:
        """Give calls of a task that start from now on so much time, whatever they were sent with.

        Args:
            task: Its name, as lists of runs show it.
            soft: Seconds until `SoftTimeLimitExceeded` is raised in it.
            hard: Seconds until its child is killed. Without both what they were sent with counts again.
            worker: See `Control`.
            timeout: See `Control`.
        """
        for limit in (soft, hard):
            if limit is not None and not limit > 0:
                raise UsageError(f"{limit!r} s are no time: use a number above 0, or None for no limit.")
        if soft is not None and hard is not None and soft >= hard:
            raise UsageError(f"soft={soft:g} must be shorter than hard={hard:g}, or the task never sees it.")
        return self._tell("time", [_task(task), soft, hard], worker, timeout)

    def ask(self, *, worker: Workers = None, timeout: float = ANSWER_S) -> Told:
        """Let workers say how they are, now; those that are well do within a second."""
        names = [view.id for view in self._meant(worker)]
        return self._change(lambda wishes, _, name: wishes.having((), name), names, timeout)

    def reset(self, *, worker: Workers = None, timeout: float = ANSWER_S) -> Told:
        """Forget what was told: to these workers, or with none named to any, so that all are as they were
        started."""
        names = [view.id for view in self._meant(worker)]
        which = [ALL] if worker is None else names
        return self._change(lambda wishes, _, name: wishes.without(which, name), names, timeout)

    def wanted(self) -> Any:
        """What is wanted now: one row for each setting, oldest first (a DataFrame with pandas)."""
        from taskflow.tables import rows_or_frame

        return rows_or_frame(self.rows(), ("worker", "wanted", "revision", "at", "followed_by"))

    def rows(self) -> list[dict[str, Any]]:
        """The rows of `wanted`."""
        followed = {str(view.id): _followed(view) for view in self._store.workers()}
        return [
            {
                "worker": "all" if setting.worker == ALL else setting.worker,
                "wanted": str(setting),
                "revision": setting.revision,
                "at": setting.at,
                "followed_by": [
                    name
                    for name, revision in followed.items()
                    if setting.worker in (ALL, name) and revision >= setting.revision
                ],
            }
            for setting in self._wishes()[1].kept_for(followed).settings
        ]

    # ── how ──────────────────────────────────────────────────────────────────────────

    def _tell(self, what: What, value: Any, worker: Workers, timeout: float) -> Told:
        names = [view.id for view in self._meant(worker)]
        aims = [ALL] if worker is None else names

        def change(wishes: Wishes, revision: int, name: str) -> Wishes:
            now = time.time()
            return wishes.having([Setting(revision, aim, what, value, now) for aim in aims], name)

        return self._change(change, names, timeout)

    def _meant(self, worker: Workers) -> list[WorkerView]:
        views = {str(view.id): view for view in self._store.workers()}
        if worker is None:
            return list(views.values())
        words = [worker] if isinstance(worker, str) else list(worker)
        if not words:
            raise UsageError("No worker is named: name some, or leave worker out for all.")
        return [views[name] for name in dict.fromkeys(_one(word, views) for word in words)]

    def _change(
        self,
        change: Callable[[Wishes, int, str], Wishes],
        names: Collection[WorkerId],
        timeout: float,
        *,
        ends: bool = False,
    ) -> Told:
        revision, wishes = self._write(change)
        stays = any(s.worker == ALL and s.revision == revision for s in wishes.settings)
        followed = self._wait(revision, names, timeout, ends)
        silent = tuple(name for name in names if name not in followed)
        return Told(revision, tuple(name for name in names if name in followed), silent, stays, timeout)

    def _write(self, change: Callable[[Wishes, int, str], Wishes]) -> tuple[int, Wishes]:
        """Change what is wanted, and drop what is wanted of workers that are gone."""
        name = new_id()
        for _ in range(MOST_TRIES):
            known, wishes = self._wishes()
            if name in wishes.recent:  # it was done, but the answer was lost
                return known.revision, wishes
            revision = known.revision + 1
            new = change(wishes.kept_for({view.id for view in self._store.workers()}), revision, name)
            if self._store.post(WORKERS, known.revision, sealed(self._ring(), new, revision)):
                return revision, new
        raise StoreUnavailable("Others change what is wanted of workers all the time: try again.")

    def _wishes(self) -> tuple[Posted, Wishes]:
        found = self._store.posted(WORKERS) or Posted(0, b"")
        if not found.body:
            return found, Wishes()
        try:
            return found, opened(self._ring(), found.body, found.revision)
        except Untrusted as error:
            raise Untrusted(f"What is wanted of workers was written by somebody else. {error}") from error

    def _ring(self) -> Keyring:
        self._keyring = self._keyring or Keyring.load()
        return self._keyring

    def _wait(self, revision: int, names: Collection[WorkerId], timeout: float, ends: bool) -> set[WorkerId]:
        """Those that follow, or are gone."""
        until = time.monotonic() + timeout
        while True:
            there = {view.id: view for view in self._store.workers()}
            followed = {
                name
                for name in names
                if name not in there or (not ends and _followed(there[name]) >= revision)
            }
            if len(followed) == len(names) or time.monotonic() >= until:
                return followed
            self._sleep(ASK_GAP_S)


def _followed(view: WorkerView) -> int:
    found = view.info.get("followed", -1)
    return found if isinstance(found, int) else -1


def _one(word: str, views: Mapping[str, WorkerView]) -> str:
    if word in views:
        return word
    found = [name for name in views if name.startswith(word)] if word else []
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"Several workers begin with {word!r}: {', '.join(found)}. Give more of the name.")
    raise UsageError(f"There is no worker {word!r}.{nearest(word, views)} `taskflow workers` lists them.")


def _slots(n: int) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MOST_SLOTS:
        raise UsageError(f"{n!r} slots are not possible: use a number from 1 to {MOST_SLOTS}.")
    return n


def _task(name: str) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= MOST_NAME_CHARS:
        raise UsageError(f"{name!r} is no name of a task.")
    return name


def _queue(text: str, weight: int | None) -> tuple[str, int | None]:
    queues = Queues.parse(text if weight is None else f"{text}:{weight}")
    if len(queues.names) > 1:
        raise UsageError(f"{text!r} are several queues: name one at a time.")
    return queues.names[0], queues.weights[0] if queues.weights else None
