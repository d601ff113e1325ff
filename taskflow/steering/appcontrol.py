"""`AppControl`: tells workers and tasks what to do, in Celery's words; ``app.control``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from taskflow.canvas.shape import split_id
from taskflow.control import Told
from taskflow.errors import NoSuchRun, ResultExpired, UsageError, nearest
from taskflow.ids import NodeId
from taskflow.states import TERMINAL, State
from taskflow.steering.desk import Desk
from taskflow.steering.inspect import Inspect

__all__ = ["AppControl"]

Whom = Iterable[str] | str | None
Answers = list[dict[str, Any]]
ANSWER_S = 1.0


class AppControl:
    """Tells workers what to be and tasks to stop.

    Every verb takes `destination`: names of workers, or prefixes that only one has; without it all are meant,
    also those that start later. It is kept in the store, and counts though nobody hears of it now. With
    ``reply=True`` it waits `timeout` seconds, and gives Celery's answers: ``[{worker: {"ok": "…"}}]``.

    Args:
        desk: Whose workers and tasks.

    Raises:
        UsageError: There is no such worker (the nearest is named), or a value is impossible; nothing was
            told.

    Example:
        ``app.control.pool_grow(2, destination=["gpu-1"], reply=True)``
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._control = desk.control

    def inspect(self, destination: Whom = None, timeout: float = ANSWER_S, **more: Any) -> Inspect:
        """Ask workers how they are, and what they do; see `Inspect`.

        Args:
            destination: Which; all by default.
            timeout: How long to wait for them, seconds.
            more: The other options of `Inspect`.
        """
        return Inspect(self._desk, destination, timeout, **more)

    # ── size, queues, life of workers ────────────────────────────────────────────────

    def pool_grow(self, n: int = 1, destination: Whom = None, **how: Any) -> Answers | None:
        """Have so many more slots, each."""
        return self._tell(lambda whom: self._control.grow(n, **whom), f"{n} more slots", destination, how)

    def pool_shrink(self, n: int = 1, destination: Whom = None, **how: Any) -> Answers | None:
        """Have so many fewer slots, each; one stays."""
        return self._tell(lambda whom: self._control.shrink(n, **whom), f"{n} fewer slots", destination, how)

    def autoscale(self, max: int, min: int, destination: Whom = None, **how: Any) -> Answers | None:  # noqa: A002
        """Have so many slots, as the load demands."""
        said = f"autoscale now max={max} min={min}"
        return self._tell(lambda whom: self._control.autoscale(max, min, **whom), said, destination, how)

    def add_consumer(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str = "direct",
        routing_key: str | None = None,
        options: Mapping[str, Any] | None = None,
        destination: Whom = None,
        **how: Any,
    ) -> Answers | None:
        """Serve a queue too; exchanges and keys are taken for Celery's sake: a queue is its name here."""
        said = f"serves {queue}"
        return self._tell(lambda whom: self._control.add_queue(queue, **whom), said, destination, how)

    def cancel_consumer(self, queue: str, destination: Whom = None, **how: Any) -> Answers | None:
        """Serve a queue no more; what runs of it goes on."""
        said = f"serves {queue} no more"
        return self._tell(lambda whom: self._control.cancel_queue(queue, **whom), said, destination, how)

    def shutdown(self, destination: Whom = None, timeout: float = ANSWER_S, **how: Any) -> Answers | None:
        """Leave when what runs has ended: those that are there now."""
        how["timeout"] = timeout
        return self._tell(lambda whom: self._control.shutdown(**whom), "leaves", destination, how)

    def pool_restart(
        self,
        modules: Sequence[str] | None = None,
        reload: bool = False,
        reloader: Callable[..., Any] | None = None,
        destination: Whom = None,
        **how: Any,
    ) -> Answers | None:
        """Start anew when what runs has ended, with code that is read again: the whole worker does, so that
        the other arguments need not say what is to be reloaded."""
        said = "starts anew"
        return self._tell(lambda whom: self._control.restart(**whom), said, destination, how)

    def enable_events(self, destination: Whom = None, **how: Any) -> Answers | None:
        """Nothing: the store keeps what happens, always."""
        return self._tell(self._ask, "what happens is always kept", destination, how)

    def disable_events(self, destination: Whom = None, **how: Any) -> Answers | None:
        """Nothing, as `enable_events`."""
        return self.enable_events(destination, **how)

    def heartbeat(self, destination: Whom = None, **how: Any) -> Answers | None:
        """Let workers say how they are, now."""
        return self._tell(self._ask, "alive", destination, how)

    # ── limits of tasks ──────────────────────────────────────────────────────────────

    def rate_limit(
        self, task_name: str, rate_limit: str | float | None, destination: Whom = None, **how: Any
    ) -> Answers | None:
        """Start so many calls of a task in a second, minute or hour, in each worker.

        Args:
            task_name: Its name.
            rate_limit: ``"10/m"``, or a number a second; `None` or 0 for no bound.
            destination: See `AppControl`.
            how: `reply` and `timeout`.
        """
        rate = None if rate_limit in (None, 0, "0", "") else rate_limit
        said = f"{task_name}: {'no bound' if rate is None else rate}"
        return self._tell(lambda whom: self._control.rate(task_name, rate, **whom), said, destination, how)

    def time_limit(
        self,
        task_name: str,
        soft: float | None = None,
        hard: float | None = None,
        destination: Whom = None,
        **how: Any,
    ) -> Answers | None:
        """Give calls of a task that start from now on so many seconds; without both, those of the call."""
        said = f"{task_name}: soft={soft} hard={hard}"

        def tell(whom: dict[str, Any]) -> Told:
            return self._control.time_limit(task_name, soft, hard, **whom)

        return self._tell(tell, said, destination, how)

    # ── tasks ────────────────────────────────────────────────────────────────────────

    def revoke(
        self,
        task_id: Any,
        destination: Whom = None,
        terminate: bool = False,
        signal: str = "SIGTERM",
        **how: Any,
    ) -> Answers | None:
        """Cancel tasks: they stay cancelled though no worker is up.

        Args:
            task_id: An id, a result, or several.
            destination: Taken for Celery's sake: it holds for all workers.
            terminate: Stop it also when it runs; else a task that runs goes on.
            signal: Taken for Celery's sake: the child that runs it is asked, then killed, and nothing else
                with it.
            how: `reply` and `timeout`.

        Raises:
            NoSuchRun: The store knows no such task, `ResultExpired`: it did; the others were cancelled.
        """
        self._desk.flush()
        several = isinstance(task_id, (list, tuple, set, frozenset))
        ids = [str(getattr(one, "id", one)) for one in (task_id if several else [task_id])]
        unknown: Exception | None = None
        for one in ids:
            try:
                self._revoke(one, terminate)
            except (NoSuchRun, ResultExpired) as error:
                unknown = unknown or error
        if unknown is not None:
            raise unknown
        return self._tell(self._ask, f"cancelled {', '.join(ids)}", destination, how)

    def terminate(
        self, task_id: Any, destination: Whom = None, signal: str = "SIGTERM", **how: Any
    ) -> Answers | None:
        """Cancel tasks, also those that run."""
        return self.revoke(task_id, destination, True, signal, **how)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        destination: Whom = None,
        terminate: bool = False,
        signal: str = "SIGTERM",
        **how: Any,
    ) -> Answers | None:
        """Cancel every task that is stamped so; of a list of values one is enough.

        Args:
            headers: Values by the name of the stamp.
            destination: Taken for Celery's sake: it holds for all workers.
            terminate: See `revoke`.
            signal: See `revoke`.
            how: `reply` and `timeout`.
        """
        self._desk.flush()
        gone = self._control.revoke_by_stamped_headers(headers, terminate=terminate)
        return self._tell(self._ask, f"cancelled {len(gone)} tasks", destination, how)

    def purge(self, connection: Any = None) -> int:
        """Cancel all that waits in any queue; what runs goes on.

        Returns:
            How many items were cancelled.
        """
        self._desk.flush()
        store = self._desk.store
        return sum(store.purge(str(row["queue"])) for row in store.queues())

    discard_all = purge

    # ── by name ──────────────────────────────────────────────────────────────────────

    def ping(self, destination: Whom = None, timeout: float = ANSWER_S, **_: Any) -> Answers:
        """Who answers: ``[{worker: {"ok": "pong"}}]``."""
        return self._tell(self._ask, "pong", destination, {"reply": True, "timeout": timeout}) or []

    def broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: Whom = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float = ANSWER_S,
        limit: int | None = None,
        callback: Callable[[dict[str, Any]], object] | None = None,
        channel: Any = None,
        pattern: str | None = None,
        matcher: str = "glob",
        **extra: Any,
    ) -> Answers | None:
        """Say a command by its name: ``broadcast("rate_limit", {"task_name": "add", "rate_limit": "1/s"})``.

        Args:
            command: A verb of this class, or one of `Inspect`, whose answers are given too.
            arguments: By name.
            destination: Which workers.
            connection: Taken for Celery's sake.
            reply: Wait for answers, and give them.
            timeout: How long, seconds.
            limit: Only so many answers.
            callback: Called with each answer.
            channel: Taken for Celery's sake.
            pattern: Workers whose name is like this.
            matcher: How the pattern is written.
            extra: Added to `arguments`.

        Raises:
            UsageError: There is no such command (the nearest is named).
        """
        whom = self._desk.meant(destination, pattern, matcher)
        given = {**(arguments or {}), **extra}
        if command in _ASKING:
            inspect = Inspect(self._desk, whom, timeout)
            found = getattr(inspect, command)(*given.pop("ids", ()), **given) or {}
            answers: Answers = [{name: answer} for name, answer in found.items()]
        elif command in _TELLING:
            told = getattr(self, command)(**given, destination=whom, reply=reply, timeout=timeout)
            answers = told or []
        else:
            known = (*_TELLING, *_ASKING)
            raise UsageError(f"There is no command {command!r}.{nearest(command, known)}")
        answers = answers[:limit]
        for answer in answers if callback is not None else ():
            callback(answer)  # type: ignore[misc]
        return answers if reply else None

    # ── how ──────────────────────────────────────────────────────────────────────────

    def _ask(self, whom: dict[str, Any]) -> Told:
        return self._control.ask(**whom)

    def _tell(
        self, tell: Callable[[dict[str, Any]], Told], said: str, destination: Whom, how: Mapping[str, Any]
    ) -> Answers | None:
        known = ("reply", "timeout", "limit", "callback", "connection", "pattern", "matcher")
        for name in how:
            if name not in known:
                raise UsageError(f"There is no option {name!r}.{nearest(name, known)}")
        reply = bool(how.get("reply"))
        whom = self._desk.meant(destination, how.get("pattern"), how.get("matcher", "glob"))
        if whom == []:
            return [] if reply else None
        told = tell({"worker": whom, "timeout": how.get("timeout", ANSWER_S) if reply else 0.0})
        if not reply:
            return None
        answers = [{name: {"ok": said}} for name in told.followed][: how.get("limit")]
        for answer in answers if how.get("callback") else ():
            how["callback"](answer)
        return answers

    def _revoke(self, id: str, terminate: bool) -> None:  # noqa: A002 - what everyone calls it
        store = self._desk.store
        name, index = split_id(id)
        run_id, node_id = store.find(name)
        if terminate:
            store.cancel(node_id or run_id, index=index, reason="revoked")
            return
        run, _ = store.snapshot(run_id)
        if node_id is None and not any(node.counts.get(State.RUNNING) for node in run.nodes):
            store.cancel(run_id, reason="revoked")
            return
        for node in run.nodes:
            if node.id == node_id or node_id is None:
                self._revoke_waiting(node.id, index)

    def _revoke_waiting(self, node: NodeId, index: int | None) -> None:
        """What has not started of a node; the rest goes on."""
        store, items = self._desk.store, self._desk.store.items(node)
        if index is not None:
            items = [item for item in items if item.lo <= index < item.hi]
        if not any(item.state is State.RUNNING for item in items):
            store.cancel(node, index=index, reason="revoked")
            return
        for item in items:
            if item.state is not State.RUNNING and item.state not in TERMINAL:
                for one in range(item.lo, item.hi) if index is None else [index]:
                    store.cancel(node, index=one, reason="revoked")


_ASKING = (
    *("active", "reserved", "scheduled", "revoked", "registered", "query_task", "stats", "active_queues"),
    *("conf", "clock", "memsample", "memdump", "report"),
)
_TELLING = (
    *("pool_grow", "pool_shrink", "autoscale", "add_consumer", "cancel_consumer", "shutdown", "pool_restart"),
    *("enable_events", "disable_events", "heartbeat", "rate_limit", "time_limit", "revoke", "terminate"),
    *("revoke_by_stamped_headers", "ping"),
)
