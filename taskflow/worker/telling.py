"""The signals of a worker: sent in its process, by the thread that runs the loop.

Without receivers nothing is made and nothing is kept. What happens inside a task is told by the child that
runs it; from here comes what only the worker knows: that it took a task, that one was stopped, that one
could not be run, that its process died.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from taskflow import signals
from taskflow.codec import NAMED
from taskflow.errors import NotRegistered, TaskTimedOut, Untrusted, WorkerLost
from taskflow.records import Failure, Kind, Lease, LeaseKey, Outcome, Settlement

__all__ = ["Received", "Telling"]

_KEPT_BESIDE = 100


@dataclass(frozen=True, slots=True)
class Received:
    """What a worker knows of a task that it has taken; its arguments only the child that runs it can open.

    Args:
        id: Of the task; of a range of a map, that of the map.
        name: Of the task.
        root_id: Its run.
        hostname: The worker.
        delivery_info: ``routing_key`` (the queue), ``priority``, and ``redelivered``: whether it was started
            before, by a worker that was lost.
        retries: How often it was tried again.
        width: How many items there are; 1 for a call.
        by_name: Whether it was called by its name, by somebody without a key.
        is_last: Whether it will not be started again when its process dies.
    """

    id: str
    name: str
    root_id: str
    hostname: str
    delivery_info: Mapping[str, Any]
    retries: int = 0
    width: int = 1
    by_name: bool = False
    is_last: bool = False

    @property
    def task_id(self) -> str:
        """The same as `id`."""
        return self.id

    @property
    def task_name(self) -> str:
        """The same as `name`."""
        return self.name


_NOBODY = Received("", "", "", "", MappingProxyType({}))


class Telling:
    """Tells receivers what happens to a worker.

    Args:
        worker: Who is told to have sent it.
        name: Of the worker.
        has: Whether a lease is held.
    """

    def __init__(self, worker: Any, name: str, has: Callable[[LeaseKey], bool]) -> None:
        self._worker, self._name, self._has = worker, name, has
        self._known: dict[tuple[str, int], tuple[LeaseKey, Received]] = {}
        self._most = _KEPT_BESIDE
        self._is_begun = self._is_ready = self._is_leaving = False

    # ── the worker ───────────────────────────────────────────────────────────────────

    def begins(self) -> None:
        """It is about to work."""
        self._is_begun = True
        signals.worker_init.send(self._worker)

    def announced(self) -> None:
        """It has said that it is alive; the first time it is ready."""
        if not self._is_ready:
            self._is_ready = True
            signals.worker_ready.send(self._worker)
        signals.heartbeat_sent.send(self._worker)

    def leaves(self, sig: str, *, drains: bool) -> None:
        """It was told to end; only the first time counts."""
        if not self._is_leaving:
            self._is_leaving = True
            how = "Warm" if drains else "Cold"
            signals.worker_shutting_down.send(self._name, sig=sig, how=how, exitcode=0)

    def left(self) -> None:
        """It works no more."""
        if self._is_begun:
            self._is_begun = False
            signals.worker_shutdown.send(self._worker)

    # ── its tasks ────────────────────────────────────────────────────────────────────

    def took(self, leases: Iterable[Lease]) -> None:
        """It has leases."""
        is_heard = signals.task_received.has_listeners()
        is_kept = signals.any_heard(_OF_ENDS)
        if not is_heard and not is_kept:
            return
        for lease in leases:
            request = self._received(lease)
            if is_kept:
                self._known[lease.key.node, lease.key.fence] = lease.key, request
            if is_heard:
                signals.task_received.send(self._worker, request=request)
        if len(self._known) > self._most:
            self._known = {name: one for name, one in self._known.items() if self._has(one[0])}
            self._most = 2 * len(self._known) + _KEPT_BESIDE

    def revoked(self, key: LeaseKey, *, terminated: bool) -> None:
        """A task that it had was cancelled; `terminated`: while it ran."""
        if signals.task_revoked.has_listeners():
            _, request = self._known.pop((key.node, key.fence), (key, _NOBODY))
            signals.task_revoked.send(
                request.name or key.node,
                request=request if request.id else Received(key.node, "", "", self._name, {}),
                terminated=terminated,
                signum=None,
                expired=False,
            )

    def ended(self, report: Settlement) -> None:
        """Something has ended: what could not be run, or died with its process, is told of here."""
        if not self._known:
            return
        _, request = self._known.get((report.key.node, report.key.fence), (report.key, _NOBODY))
        for outcome in report.outcomes:
            if outcome.kind in (Kind.FAILED, Kind.LOST) and outcome.error:
                self._ended_badly(request, outcome, Failure.from_json(outcome.error))

    def _ended_badly(self, request: Received, outcome: Outcome, failure: Failure) -> None:
        task_id = f"{request.id}[{outcome.lo}]" if request.width != 1 else request.id
        kind = failure.type.rpartition(".")[2]
        if kind in ("TaskTimedOut", "WorkerLost", "OOMKilled"):
            if outcome.kind is Kind.FAILED or request.is_last:
                error: Exception = (TaskTimedOut if kind == "TaskTimedOut" else WorkerLost)(failure.message)
                signals.task_failure.send(
                    request.name,
                    task_id=task_id,
                    exception=error,
                    args=None,
                    kwargs=None,
                    traceback=None,
                    einfo=None,
                )
        elif kind == "NotRegistered" or (kind == "Untrusted" and request.by_name):
            error = NotRegistered(failure.message)
            signals.task_unknown.send(self._worker, message=request, exc=error, name=request.name, id=task_id)
        elif kind == "Untrusted":
            signals.task_rejected.send(self._worker, message=request, exc=Untrusted(failure.message))

    def _received(self, lease: Lease) -> Received:
        info = {
            "exchange": "",
            "routing_key": lease.queue,
            "priority": lease.priority,
            "redelivered": lease.delivery > lease.attempt,
        }
        return Received(
            lease.key.node,
            lease.label,
            lease.run,
            self._name,
            info,
            lease.attempt - 1,
            lease.width,
            lease.fn.startswith(NAMED),
            lease.delivery >= lease.policy.max_deliveries,
        )


_OF_ENDS = (
    signals.task_revoked,
    signals.task_rejected,
    signals.task_unknown,
    signals.task_failure,
)
