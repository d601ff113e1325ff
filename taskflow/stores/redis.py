"""Many machines: a Redis (or Valkey) server, whose scripts keep the rules of `taskflow.machine`.

Every verb is one script: it reads the rows that it touches, changes them as the rules say, writes them back,
appends the events and publishes that something happened. The scripts are the one port of the rules, room by
room (`stores/redis_lua`); random histories hold it equal to the other stores. Keys of a namespace share a
hash tag, so that a namespace is one slot of a cluster. All begin with ``tf:{namespace}:``::

    r:RUN  rn:RUN  xr:RUN       a run, its nodes in order, the runs that need it
    n:NODE                      a node: s (fixed), d (changing), a (arguments), e (edges), i (inputs),
                                and of a call g (how it ended) and v (its value)
    pt: px: pq: pu:NODE         live parts of an array: by lo, all in order, the queued, by time
    sg: sv: sx:NODE             segments of an array: stories, values, order
    pv: pg:NODE                 pages of items: values, order
    ch:NODE  lg:NODE            successors in order; captured output
    q:QUEUE  ql:QUEUE  tally    queued nodes in order; lanes of bounded ones; items by queue and state
    limits  limits:due          what is counted by name, and when something is to be done about it
    shut:LIMIT                  lanes in which nothing can be claimed until a limit calls back
    alarm  todo  runs  ended    what is due, what is still to be released, runs by age, by end
    events  cursor  seq         what happened, and two counters
    b:BLOB  bu:BLOB  bl:RUN     blobs in pieces, the runs that need one, the blobs that a run needs
    c:WORKER                    what its last claim gave, for when the answer was lost
    stage: hold:RUN  assembling   pieces of a plan on their way, what begins when all are there, until when
    idle:QUEUE                  workers that found nothing to claim, and are called in turn
    paused                      queues of which nothing is handed out
    dead  workers  gone:RUN  doomed  unaged  meta

What was stored and nobody came to refer to goes by itself; so does all of a run that has ended, when nobody
sweeps.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from taskflow.blobs.redis import HELD_S
from taskflow.errors import StoreError
from taskflow.ids import NodeId, RunId
from taskflow.machine.needs import check_acyclic
from taskflow.records import (
    Lease,
    LeaseKey,
    Note,
    Plan,
    Renewal,
    Settled,
    Settlement,
    Want,
    WorkerView,
)
from taskflow.stores.redis_bell import RedisBell
from taskflow.stores.redis_reads import RedisReads, pairs
from taskflow.stores.redis_records import (
    Values,
    lease_from,
    needs_of,
    pieces_of,
    plan_to,
    settlement_to,
    unpack,
    want_to,
)

__all__ = ["RedisStore"]

log = logging.getLogger(__name__)

WORKERS_KEPT_S = 86_400.0
PIECE_NODES = 1000
STAGED_S = 3600
BURIED_PER_STEP = 1000
AGED_PER_STEP = 50
RUNS_PER_STEP = 200
TIGHT = 0.8


class RedisStore(RedisReads):
    """All ports over one namespace of a Redis server.

    Args:
        url: See `taskflow.links.redis.parse`.
        clock: Where time comes from; the server's own clock by default.
        wait_s: How long a step waits for a server that is away before `StoreUnavailable`; the first contact
            at most 5 s.
        serves: A worker opens it: what reaches the place for large data has to be installed.

    Raises:
        ConfigError: The server would lose what we store, or does not let us in; or the store keeps its large
            data elsewhere than the URL says.
        MissingExtra: What reaches the place for large data is not installed.
        StoreUnavailable: There is no server.
        VersionMismatch: Another release uses the namespace.
    """

    # ── GraphPort ────────────────────────────────────────────────────────────────────

    def submit(self, plans: Sequence[Plan], /) -> None:
        """See `GraphPort.submit`. A large plan is sent in pieces; it begins when the last is there."""
        for plan in plans:
            if any(node.edges for node in plan.nodes):
                check_acyclic(plan.nodes)
        small = [plan for plan in plans if len(plan.nodes) <= PIECE_NODES]
        values = Values(self._kept_by)
        if small or not plans:
            given = [plan_to(plan, json.dumps(dict(plan.meta)), values) for plan in small]
            self._step("submit", given, values)
        for plan in plans:
            if len(plan.nodes) > PIECE_NODES:
                self._submit_in_pieces(plan)

    def _submit_in_pieces(self, plan: Plan) -> None:
        if self._ask("EXISTS", self._key(f"r:{plan.run}")):
            # It is there, as a whole or in part: what is left of it is still staged.
            pieces: list[bytes] = []
        else:
            pieces = list(pieces_of(plan, self._kept_by, PIECE_NODES))
            stage = self._key(f"stage:{plan.run}")
            self._ask("DEL", stage)
            for number, piece in enumerate(pieces):
                self._stage(stage, number, piece)
        given = [plan.run, plan.name, json.dumps(dict(plan.meta)), len(pieces), needs_of(plan)]
        while not self._step("assemble", given)[0]:
            pass

    def _stage(self, key: str, number: int, piece: bytes) -> None:
        """Add a piece behind those before it; asked again it is there already."""

        def ask(client: Any) -> None:
            if client.llen(key) <= number:
                client.rpush(key, piece)
                client.expire(key, STAGED_S)

        self._link.ask(ask)

    def cancel(self, node: NodeId | RunId, /, *, index: int | None = None, reason: str = "") -> bool:
        """See `GraphPort.cancel`."""
        changed, at = False, 0
        while at is not False:
            given = [node, False if index is None else index, reason or "cancelled", at]
            (some, at), _ = self._step("cancel", given)
            changed = changed or some
        self._call_all()
        return changed

    def rerun(self, run: RunId, new: RunId, /) -> Mapping[NodeId, NodeId]:
        """See `GraphPort.rerun`."""
        fixed = self._ask("HGET", self._key(f"r:{run}"), "s")
        meta = json.loads(unpack(fixed)[1]) if fixed is not None else {}
        given, _ = self._step("rerun", [run, new, json.dumps({**meta, "rerun_of": run})])
        return {NodeId(old): NodeId(name) for old, name in given}

    def forget(self, run: RunId, /) -> None:
        """See `GraphPort.forget`."""
        self._step("forget", run)
        self._bury()

    def _bury(self) -> None:
        while self._step("bury", BURIED_PER_STEP)[0]:
            pass

    # ── WorkPort ─────────────────────────────────────────────────────────────────────

    def claim(self, want: Want, /) -> list[Lease]:
        """See `WorkPort.claim`."""
        told, answer = self._step("claim", want_to(want))
        return [lease_from(t, args) for t, args in zip(told, answer[1:], strict=True)]

    def renew(self, held: Sequence[LeaseKey], /, *, lease_s: float) -> Renewal:
        """See `WorkPort.renew`."""
        (lost, cancelled), _ = self._step("renew", [[list(key) for key in held], lease_s])
        return Renewal(
            frozenset(held[number - 1] for number in lost),
            {held[number - 1]: reason for number, reason in cancelled},
        )

    def settle(self, done: Sequence[Settlement], /, *, want: Want | None = None) -> Settled:
        """See `WorkPort.settle`."""
        values = Values(self._kept_by)
        for settlement in done:
            if settlement.grow is not None:
                check_acyclic(settlement.grow.nodes)
        given = [[settlement_to(s, values) for s in done], want_to(want) if want is not None else False]
        (lost, told), answer = self._step("settle", given, values)
        leases = [lease_from(t, args) for t, args in zip(told, answer[1:], strict=True)]
        return Settled(frozenset(done[number - 1].key for number in lost), leases)

    def reap(self, /, *, limit: int = 1000) -> float | None:
        """See `WorkPort.reap`."""
        rest_s, _ = self._step("reap", limit)
        return None if rest_s is False else float(rest_s)

    def note(self, notes: Sequence[Note], /) -> None:
        """See `WorkPort.note`."""
        logs = [
            [list(n.key), int(n.data.get("index", n.key.lo)), str(n.data["text"])]
            for n in notes
            if n.kind == "log"
        ]
        if logs:
            self._step("note", logs)

    def _call_all(self) -> None:
        """All workers look what there is to do."""
        self._all([("PUBLISH", self._key(topic), "") for topic in ("work", "urgent")])

    # ── StatusPort ───────────────────────────────────────────────────────────────────

    def pause(self, queue: str, /, *, resume: bool = False) -> bool:
        """See `StatusPort.pause`."""
        changed = self._ask("SREM" if resume else "SADD", self._key("paused"), queue)
        if changed:
            self._call_all()
        return bool(changed)

    def announce(self, view: WorkerView, /, *, gone: bool = False) -> None:
        """See `StatusPort.announce`."""
        if gone:
            self._ask("HDEL", self._key("workers"), view.id)
            return
        body = [
            view.host,
            view.pid,
            list(view.queues),
            view.slots,
            view.busy,
            view.started_at,
            dict(view.info),
        ]
        self._step("announce", [view.id, json.dumps(body)])

    def sweep(self, /, *, age_s: float, size_bytes: int) -> Mapping[str, int]:
        """See `StatusPort.sweep`; the size is that of the whole server, and counts when it has a bound.

        Others may use the server too, so that forgetting need not help: one sweep forgets a tenth of what has
        ended, at most, for the sake of room.
        """
        now, ttl_s = self._seconds(), int(2 * age_s) + 60
        removed = self._forget_ended(now - age_s, ttl_s)
        if self._is_tight(size_bytes):
            tenth = 1 + self._ask("ZCARD", self._key("ended")) // 10
            (more, _), _ = self._step("forget_ended", [now + 1.0, 0, min(tenth, RUNS_PER_STEP), ttl_s])
            removed += more
        self._bury()
        while self._step("age", [AGED_PER_STEP, ttl_s])[0]:
            pass
        self._strike_workers(now)
        return {"runs": removed, "blob_bytes": self._sweep_place(), "size_bytes": self._memory()[0]}

    def _sweep_place(self) -> int:
        """Remove large data that nothing refers to; a place that is away is swept another time."""
        try:
            return self.blobs.sweep((), age_s=HELD_S)
        except StoreError as error:
            log.warning("large data that is not needed stays for now: %s", error, extra={"action": "sweep"})
            return 0

    def _strike_workers(self, now: float) -> None:
        """Take those off the list that have said nothing for a day."""
        old = [
            name
            for name, text in pairs(self._ask("HGETALL", self._key("workers")))
            if float(text.partition(b" ")[0]) < now - WORKERS_KEPT_S
        ]
        if old:
            self._ask("HDEL", self._key("workers"), *old)

    def _forget_ended(self, before: float, ttl_s: int) -> int:
        removed, at, more = 0, 0, 1
        while more:
            left = at
            (more, at), _ = self._step("forget_ended", [before, at, RUNS_PER_STEP, ttl_s])
            removed, more = removed + more, more + at - left
            self._bury()
        return removed

    def _is_tight(self, size_bytes: int) -> bool:
        used, most = self._memory()
        return bool(most) and used > min(size_bytes, TIGHT * most)

    def _memory(self) -> tuple[int, int]:
        """Bytes that the server uses, and may use; 0 for no bound."""
        info = self._link.ask(lambda client: client.info("memory"))
        return int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))

    # ── the rest ─────────────────────────────────────────────────────────────────────

    def listen(self, topic: str, /, *, worker: str | None = None) -> RedisBell:
        """See `Store.listen`. That of a worker rings when it is its turn, or when all are called."""
        return RedisBell(self._link, (topic,) if worker is None else (f"work:{worker}", "urgent"))

    def close(self) -> None:
        """Let go of the connections."""
        self._link.close()
