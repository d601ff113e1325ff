"""Many machines: a Redis (or Valkey) server, whose scripts keep the rules of `taskflow.machine`.

Every verb is one script: it reads the rows that it touches, changes them as the rules say, writes them back,
appends the events and publishes that something happened. The scripts are the one port of the rules, room by
room (`stores/redis_lua`); random histories hold it equal to the other stores. Keys of a namespace share a
hash tag, so that a namespace is one slot of a cluster. All begin with ``tf:{namespace}:``::

    n:NODE                      a node: s (fixed), d (changing), a (arguments), e (edges), i (inputs),
                                and of a call g (how it ended) and v (its value)
    n:RUN                       a run: rs (fixed), rd (changing), rb (blobs that it needs from the beginning),
                                st (the stage from which it gets its pieces);
                                one of a single call has the name of its node, and is in the same hash
    rn:RUN  xr:RUN              its nodes in order, but for a single one of its name; the runs that need it
    pt: px: pq: pu:NODE         live parts of an array: by lo, all in order, the queued, by time
    sg: sv: sx:NODE             segments of an array: stories, values, order
    pv: pg:NODE                 pages of items: values, order
    ch:NODE  lg:NODE  sd:NODE   successors in order; captured output; what running items said last
    q:QUEUE  ql:QUEUE  tally    queued nodes in order; lanes of bounded ones; items by queue and state
    limits  limits:due          what is counted by name, and when something is to be done about it
    shut:LIMIT                  lanes in which nothing can be claimed until a limit calls back
    alarm  todo  runs  ended    what is due, what is still to be released, runs by age, by end
    events  cursor  seq  said   what happened, two counters, and up to where clients were told
    b:BLOB  bu:BLOB  bl:RUN     blobs in pieces, the runs that need one, the blobs that a run came to need
    c:WORKER                    what its last claim gave, for when the answer was lost
    want:WORKER                 the claim that it left standing, carried out when it is its turn
    once:NONCE                  what another verb answered, likewise
    cl:RUN                      clones of a rerun by what they are clones of
    stage:NODE  hold:RUN        pieces of a plan by its first node; what begins when all are there
    assembling                  until when the next piece of which run is waited for
    idle:QUEUE                  workers that found nothing to claim, and are called in turn
    paused  struck              queues of which nothing is handed out; nodes that made no sense
    pending                     calls by queue that have not ended, where their number is bounded
    lk:LOCK  memo:NAME          which run holds a lock, and until when; runs by what they are remembered by
    steering  posted:NAME       what is wanted of workers, what else is posted: r (its revision), b
    dead  workers  gone:RUN  doomed  unaged  meta

What was stored and nobody came to refer to goes by itself; so does all of a run that has ended, when nobody
sweeps.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from taskflow.blobs.redis import HELD_S
from taskflow.errors import ConfigError, StoreError
from taskflow.ids import NodeId, RunId, new_id
from taskflow.limits import BreakerWord, Limit
from taskflow.machine.needs import check_acyclic
from taskflow.records import (
    SAID,
    WORKERS,
    Failure,
    Heard,
    Hold,
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
from taskflow.stores.redis_reads import RedisReads, pairs, posted_as, worker_from
from taskflow.stores.redis_records import (
    Values,
    lease_from,
    limit_to,
    lock_to,
    needs_of,
    note_to,
    pieces_of,
    plan_to,
    settlement_to,
    unpack,
)
from taskflow.stores.redis_rerun import Copy
from taskflow.stores.redis_said import handed, news

__all__ = ["RedisStore"]

log = logging.getLogger(__name__)

WORKERS_KEPT_S = 86_400.0
PIECE_NODES = 1000
STAGED_S = 3600
BURIED_PER_STEP = 1000
PURGED_PER_STEP = 1000
AGED_PER_STEP = 50
RUNS_PER_STEP = 200
TIGHT = 0.8
_SENSELESS = Failure(
    "failed",
    "taskflow.errors.Untrusted",
    "What the store says of this task makes no sense: somebody has changed it. It was not opened.",
).to_json()


class RedisStore(RedisReads):
    """All ports over one namespace of a Redis server.

    Args:
        url: See `taskflow.links.redis.parse`.
        clock: Where time comes from; the server's own clock by default.
        wait_s: How long a step waits for a server that is away before `StoreUnavailable`; the first contact
            at most 5 s.
        answer_s: A server that is connected and silent is away after so long; `wait_s` by default, but no
            less than 5 s.
        serves: A worker opens it: what reaches the place for large data has to be installed.

    Raises:
        ConfigError: The server would lose what we store, or does not let us in; or the store keeps its large
            data elsewhere than the URL says.
        MissingExtra: What reaches the place for large data is not installed.
        StoreUnavailable: There is no server.
        VersionMismatch: Another release uses the namespace.
    """

    # ── GraphPort ────────────────────────────────────────────────────────────────────

    def submit(self, plans: Sequence[Plan], /) -> Mapping[RunId, RunId]:
        """See `GraphPort.submit`. A large plan is sent in pieces; it begins when the last is there.

        Whether there is room for that one is looked at after the others.
        """
        held: dict[RunId, RunId] = {}
        for plan in plans:
            if any(node.edges for node in plan.nodes):
                check_acyclic(plan.nodes)
        small = [plan for plan in plans if len(plan.nodes) <= PIECE_NODES]
        values = Values(self._kept_by)
        if small or not plans:
            given = [
                plan_to(plan, json.dumps(dict(plan.meta)) if plan.meta else "{}", values) for plan in small
            ]
            told, _ = self._step("submit", given, values)
            held |= {small[number - 1].run: RunId(holder) for number, holder in told}
        for plan in plans:
            if len(plan.nodes) > PIECE_NODES:
                holder = self._submit_in_pieces(plan)
                if holder is not None:
                    held[plan.run] = holder
        return held

    def _submit_in_pieces(self, plan: Plan) -> RunId | None:
        """Returns the run that holds its lock, if that is another one.

        Others may have drawn the same run, with names of their own: each has a stage, and one is taken.
        """
        drawing = plan.nodes[0].id
        if self._ask("HEXISTS", self._key(f"n:{plan.run}"), "rs"):
            # It is there, as a whole or in part: what is left of it is still staged.
            pieces: list[bytes] = []
        else:
            pieces = list(pieces_of(plan, self._kept_by, PIECE_NODES))
            stage = self._key(f"stage:{drawing}")
            self._ask("DEL", stage)
            for number, piece in enumerate(pieces):
                self._stage(stage, number, piece)
        queues = list(dict.fromkeys(node.queue for node in plan.nodes))
        most = False if plan.max_pending is None else plan.max_pending
        given = [plan.run, plan.name, json.dumps(dict(plan.meta)), len(pieces), needs_of(plan)]
        given += [lock_to(plan.lock), queues, most, drawing]
        begun = False
        while not begun:
            (begun, holder), _ = self._step("assemble", given)
        return RunId(holder) if holder else None

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
            given = [node, False if index is None else index, reason or "cancelled", at, new_id()]
            (some, at), _ = self._step("cancel", given)
            changed = changed or some
        self._call_all()
        return changed

    def purge(self, queue: str, /) -> int:
        """See `GraphPort.purge`."""
        items, names = 0, self._pending_in(queue)
        while names:
            (some, left), _ = self._step("purge", [queue, names[:PURGED_PER_STEP], PURGED_PER_STEP])
            items += some
            names[:PURGED_PER_STEP] = left
        return items

    def _pending_in(self, queue: str) -> list[str]:
        """Nodes that may have something queued or waiting there: those in its lanes, all with an alarm."""
        shut = [self._key(f"shut:{name.decode()}") for name in self._ask("HKEYS", self._key("limits"))]
        found_in = self._all(("SMEMBERS", key) for key in (self._key(f"ql:{queue}"), *shut))
        names = {name.decode() for members in found_in for name in members}
        lanes = [queue, *(name for name in names if name.startswith(f"{queue}\0"))]
        found: dict[str, None] = {}
        for key in (self._key("alarm"), *(self._key(f"q:{lane}") for lane in lanes)):
            found.update((name.decode(), None) for name in self._members(key))
        return list(found)

    def _members(self, key: str) -> list[bytes]:
        """The members of a sorted set, in steps that hold up nobody."""
        return self._link.ask(lambda client: [name for name, _ in client.zscan_iter(key, count=1000)])

    def rerun(self, run: RunId, new: RunId, /) -> Mapping[NodeId, NodeId]:
        """See `GraphPort.rerun`."""
        (fixed, changing), size = self._all(
            [("HMGET", self._key(f"n:{run}"), "rs", "rd"), ("LLEN", self._key(f"rn:{run}"))]
        )
        meta = json.dumps({**(json.loads(unpack(fixed)[1]) if fixed is not None else {}), "rerun_of": run})
        if size > PIECE_NODES and changing is not None and unpack(changing)[4] is not False:
            return self._rerun_in_pieces(run, new, meta)
        given, _ = self._step("rerun", [run, new, meta])
        return {NodeId(old): NodeId(name) for old, name in given}

    def _rerun_in_pieces(self, run: RunId, new: RunId, meta: str) -> Mapping[NodeId, NodeId]:
        copy = Copy(*self._graph_of(run), self._released_by, new)
        pieces = list(copy.pieces(PIECE_NODES))
        left: Any = len(pieces)
        while pieces and left is not False:
            piece = pieces[-left] if left else [[], [], []]
            left, _ = self._step("clone_piece", [run, new, meta, len(pieces), left, *piece])
        return copy.names

    def forget(self, run: RunId, /) -> None:
        """See `GraphPort.forget`."""
        self._step("forget", [run, new_id()])
        self._bury()

    def _bury(self) -> None:
        while self._step("bury", BURIED_PER_STEP)[0]:
            pass

    # ── WorkPort ─────────────────────────────────────────────────────────────────────

    def claim(self, want: Want, /) -> list[Lease]:
        """See `WorkPort.claim`."""
        asked = self._standing.ask(want)
        (told, again), answer = self._step("claim", asked)
        self._standing.answered(asked)
        return self._leases(told, answer) + (self._claim_rest(want, len(told)) if again else [])

    def _claim_rest(self, want: Want, given: int) -> list[Lease]:
        """What was answered was given before: there may be more by now."""
        return self.claim(want._replace(slots=want.slots - given)) if given < want.slots else []

    def _leases(self, told: Sequence[Sequence[Any]], answer: Sequence[bytes]) -> list[Lease]:
        """The leases that make sense; the others fail at once, unopened."""
        leases, senseless = [], []
        for t, args in zip(told, answer[1:], strict=True):
            try:
                leases.append(lease_from(t, args))
            except (ValueError, TypeError, LookupError, AttributeError, ConfigError):
                senseless.append(t)
        for t in senseless:
            outcomes = [
                [i, i + 1, "failed", False, _SENSELESS, 0.0, 0.0, 0.0, False] for i in range(t[1], t[2])
            ]
            self._step("settle", [[[list(t[:4]), outcomes, False, []]], False])
        return leases

    def renew(self, held: Sequence[LeaseKey], /, *, lease_s: float) -> Renewal:
        """See `WorkPort.renew`."""
        (lost, cancelled), _ = self._step("renew", [[list(key) for key in held], lease_s])
        return Renewal(
            frozenset(held[number - 1] for number in lost),
            {held[number - 1]: reason for number, reason in cancelled},
        )

    def settle(self, done: Sequence[Settlement], /, *, want: Want | None = None) -> Settled:
        """See `WorkPort.settle`; items that are added by a call which goes on may be refused, as a submit.

        Raises:
            QueueFull: The memory of the server is full.
        """
        values, only_feeds = Values(self._kept_by), bool(done)
        for settlement in done:
            if settlement.grow is not None:
                check_acyclic(settlement.grow.nodes)
            if settlement.grow is None or settlement.outcomes:
                only_feeds = False
        asked = self._standing.ask(want) if want is not None else False
        given = [[settlement_to(s, values) for s in done], asked]
        verb = "feed" if only_feeds else "settle"  # what adds more items, and ends nothing, can wait for room
        (lost, told, again), answer = self._step(verb, given, values)
        if isinstance(asked, list):
            self._standing.answered(asked)
        leases = self._leases(told, answer)
        if want is not None and again:
            leases += self._claim_rest(want, len(told))
        return Settled(frozenset(done[number - 1].key for number in lost), leases)

    def reap(self, /, *, limit: int = 1000) -> float | None:
        """See `WorkPort.reap`."""
        rest_s, _ = self._step("reap", limit)
        return None if rest_s is False else float(rest_s)

    def note(self, notes: Sequence[Note], /) -> None:
        """See `WorkPort.note`."""
        values = Values()
        told = [note_to(note, values) for note in notes if note.kind == "log" or note.kind in SAID]
        if told:
            self._step("note", [told, new_id()], values)

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
        removed = self._forget_ended(now - age_s)
        if self._is_tight(size_bytes):
            tenth = 1 + self._ask("ZCARD", self._key("ended")) // 10
            (more, _), _ = self._step("forget_ended", [now + 1.0, 0, min(tenth, RUNS_PER_STEP)])
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
            if (view := worker_from(name, text)) is None or view.seen_at < now - WORKERS_KEPT_S
        ]
        if old:
            self._ask("HDEL", self._key("workers"), *old)

    def _forget_ended(self, before: float) -> int:
        removed, at, more = 0, 0, 1
        while more:
            left = at
            (more, at), _ = self._step("forget_ended", [before, at, RUNS_PER_STEP])
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

    # ── SharingPort ──────────────────────────────────────────────────────────────────

    def hold(
        self,
        name: str,
        holder: str,
        /,
        *,
        most: int,
        ttl_s: float,
        wait_s: float = 0.0,
        together: bool = False,
    ) -> Hold:
        """See `SharingPort.hold`."""
        (fence, rest_s), _ = self._step("hold", [name, holder, most, ttl_s, wait_s, together])
        return Hold(int(fence), float(rest_s))

    def let_go(self, name: str, holder: str, /) -> bool:
        """See `SharingPort.let_go`."""
        return bool(self._step("let_go", [name, holder, new_id()])[0])

    def tell_breaker(self, limit: Limit, word: BreakerWord, /, *, took_s: float = 0.0) -> bool:
        """See `SharingPort.tell_breaker`."""
        return bool(self._step("tell_breaker", [limit_to(limit), str(word), took_s, new_id()])[0])

    # ── PostPort ─────────────────────────────────────────────────────────────────────

    def post(self, name: str, revision: int, body: bytes, /) -> bool:
        """See `PostPort.post`."""
        topics = ["posted", "work", "urgent"] if name == WORKERS else ["posted"]
        return bool(self._step("post", [posted_as(name), revision, 1, topics], [body])[0])

    # ── the rest ─────────────────────────────────────────────────────────────────────

    def listen(self, topic: str, /, *, worker: str | None = None) -> RedisBell:
        """See `Store.listen`. That of a worker rings when it is its turn, or when all are called."""
        if worker is not None:
            given = partial(handed, self._standing, worker, self._leases)
            return RedisBell(self._link, (f"work:{worker}", "urgent"), given)
        if topic == "ends":
            return RedisBell(self._link, (topic,), news)
        return RedisBell(self._link, ("watch", "ends") if topic == "watch" else (topic,), _only_rings)

    def hurry(self, within_s: float, /) -> None:
        """See `Store.hurry`."""
        self._link.hurry(within_s)

    def close(self) -> None:
        """Let go of the connections."""
        self._link.close()


def _only_rings(said: Sequence[tuple[bytes, bytes]]) -> Heard:
    return Heard()
