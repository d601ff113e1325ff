"""What readers ask of the server: `WatchPort`, and the half of `StatusPort` that only looks."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from taskflow.errors import (
    NoSuchRun,
    ResultExpired,
    TaskflowError,
)
from taskflow.ids import NodeId, RunId, WorkerId
from taskflow.machine.invariants import broken, miscounted
from taskflow.machine.rows import LimitRow, NodeRow, Part
from taskflow.records import (
    WORKERS,
    Call,
    Edge,
    Event,
    ItemView,
    LimitView,
    NodeView,
    Page,
    Posted,
    RunView,
    Segment,
    WorkerView,
)
from taskflow.states import TERMINAL, State
from taskflow.stores.redis_ask import RedisAsk
from taskflow.stores.redis_records import (
    STATES,
    edge_from,
    events_from,
    item_from,
    limit_from,
    node_from,
    pack,
    part_from,
    said_from,
    segment_from,
    unpack,
)
from taskflow.stores.redis_scripts import reads
from taskflow.stores.views import item_views, limit_view, node_view, queue_line

__all__ = ["RedisReads", "pairs", "worker_from"]

NODES_PER_LOOK = 500
NODES_PER_STEP = 200
NODES_CHECKED = 10_000
"""Of how many nodes a check says whether they are in order; more of them would take long to read."""


class RedisReads(RedisAsk):
    """Looks, and changes nothing."""

    def pages(self, node: NodeId, lo: int, hi: int, /) -> list[Page]:
        """See `WorkPort.pages`."""
        answer = self._link.run(reads(), "pages", pack([node, lo, hi]))
        return [Page(at, end, answer[number]) for at, end, number in unpack(answer[0])]

    def runs(
        self,
        /,
        *,
        limit: int = 100,
        states: Collection[str] = (),
        match: str = "",
        tags: Mapping[str, Any] | None = None,
        memo: str = "",
    ) -> list[RunView]:
        """See `WatchPort.runs`."""
        found: list[RunView] = []
        for view in self._newest_runs(f"memo:{memo}" if memo else "runs"):
            if (states and view.state not in states) or (match and not _matches(view, match)):
                continue
            own = view.meta.get("tags", {})
            if any(name not in own or own[name] != value for name, value in (tags or {}).items()):
                continue
            found.append(view)
            if len(found) >= limit:
                break
        return found

    def _newest_runs(self, listed: str) -> Iterator[RunView]:
        at = 0
        while found := self._ask("ZREVRANGE", self._key(listed), at, at + 199):
            at += 200
            names = [name.decode() for name in found if name.isascii()]
            rows = self._all(("HMGET", self._key(f"n:{name}"), "rs", "rd") for name in names)
            for name, (fixed, changing) in zip(names, rows, strict=True):
                if fixed is not None and _is_whole(changing):
                    yield _run_view(name, fixed, changing)

    def snapshot(self, run: RunId, /) -> tuple[RunView, int]:
        """See `WatchPort.snapshot`. Events after the cursor may tell what the view shows already."""
        cursor, (fixed, changing), members = self._all(
            [
                ("GET", self._key("cursor")),
                ("HMGET", self._key(f"n:{run}"), "rs", "rd"),
                ("LRANGE", self._key(f"rn:{run}"), 0, -1),
            ]
        )
        if fixed is None or not _is_whole(changing):
            raise self._missing(run)
        view = _run_view(run, fixed, changing)
        return view._replace(nodes=tuple(self._node_views(_names(members, run)))), int(cursor or 0)

    def _node_views(self, names: Sequence[str]) -> Iterator[NodeView]:
        for at in range(0, len(names), NODES_PER_LOOK):
            some = names[at : at + NODES_PER_LOOK]
            asked = (("HMGET", self._key(f"n:{name}"), "s", "d", "e", "er", "g") for name in some)
            for name, (fixed, changing, edges, error, end) in zip(some, self._all(asked), strict=True):
                if fixed is not None:
                    yield _node_view(name, fixed, changing, edges, error, end)

    def _graph_of(self, run: RunId) -> tuple[list[NodeRow], dict[NodeId, list[Edge]]]:
        """The nodes of a run in order, and all edges of each."""
        names = _names(self._ask("LRANGE", self._key(f"rn:{run}"), 0, -1), run)
        rows, parents = [], {}
        for at in range(0, len(names), NODES_PER_LOOK):
            some = names[at : at + NODES_PER_LOOK]
            asked = (("HMGET", self._key(f"n:{name}"), "s", "d", "e") for name in some)
            for name, (fixed, changing, edges) in zip(some, self._all(asked), strict=True):
                if fixed is not None:
                    row, _ = node_from(name, fixed, changing)
                    rows.append(row)
                    parents[row.id] = list(map(edge_from, unpack(edges))) if edges is not None else []
        return rows, parents

    def _released_by(self, node: NodeId) -> list[NodeId]:
        """Those whom the end of a node released; of those who waited for items of it, some."""
        members = self._ask("ZRANGE", self._key(f"ch:{node}"), 0, -1)
        return [NodeId(member.partition(b"\0")[0].decode()) for member in members]

    def events(self, after: int, /, *, limit: int = 1000) -> list[Event]:
        """See `WatchPort.events`.

        Raises:
            ResultExpired: What came after the cursor is not kept any more: look at the state itself.
        """
        key = self._key("events")
        if after < 0:
            newest = self._ask("XREVRANGE", key, "+", "-", "COUNT", 1)
            return _events(newest)[-1:]
        found: list[Event] = []
        at = after
        while len(found) < limit:
            entries = self._ask("XRANGE", key, f"({at}-0" if at else "-", "+", "COUNT", min(limit, 1000))
            found += [event for event in _events(entries) if event.cursor > after]
            if len(entries) < min(limit, 1000) or (last := _cursor(entries[-1][0])) <= at:
                break
            at = last
        if after > 0 and (
            found[0].cursor > after + 1 if found else int(self._ask("GET", self._key("cursor")) or 0) < after
        ):
            raise ResultExpired("The events after this cursor are not kept any more.", expired_at=0.0)
        return found[:limit]

    def find(self, prefix: str, /) -> tuple[RunId, NodeId | None]:
        """See `WatchPort.find`."""
        run, node = self._ask("HMGET", self._key(f"n:{prefix}"), "rs", "s")
        if run is not None:
            return RunId(prefix), None
        if node is not None:
            return RunId(unpack(node)[0]), NodeId(prefix)
        names = self._named(prefix)
        rows = self._all(("HMGET", self._key(f"n:{name}"), "rs", "s") for name in names)
        runs = [name for name, (run, _) in zip(names, rows, strict=True) if run is not None]
        nodes = [(name, node) for name, (_, node) in zip(names, rows, strict=True) if node is not None]
        if len(runs) == 1:
            return RunId(runs[0]), None
        if len(nodes) == 1 and not runs:
            return RunId(unpack(nodes[0][1])[0]), NodeId(nodes[0][0])
        if runs or nodes:
            raise NoSuchRun(f"Several ids begin with {prefix!r}: give more of it.")
        raise self._missing(prefix)

    def _named(self, prefix: str) -> list[str]:
        """Ids of runs and nodes that begin so."""
        start = self._key("n:")
        pattern = _literally(start + prefix) + "*"
        scan = self._link.ask(lambda client: list(client.scan_iter(match=pattern, count=1000)))
        return sorted({key.decode()[len(start) :] for key in scan})

    def values(
        self, nodes: Sequence[NodeId], /, *, lo: int = 0, hi: int | None = None
    ) -> dict[NodeId, list[Segment]]:
        """See `WatchPort.values`."""
        answer = self._link.run(reads(), "values", pack([list(nodes), lo, False if hi is None else hi]))
        found: dict[NodeId, list[Segment]] = {}
        for node, segments in zip(nodes, unpack(answer[0]), strict=True):
            if segments is False:
                raise self._missing(node)
            found[node] = [segment_from(t, answer) for t in segments]
        return found

    def call(self, node: NodeId, /) -> Call:
        """See `WatchPort.call`."""
        fixed, changing, args, inputs = self._ask("HMGET", self._key(f"n:{node}"), "s", "d", "a", "i")
        if fixed is None:
            raise self._missing(node)
        row, _ = node_from(node, fixed, changing)
        edges = tuple(map(edge_from, unpack(inputs))) if inputs is not None else ()
        return Call(row.fn, args, row.array, edges, row.policy)

    def items(self, node: NodeId, /) -> list[ItemView]:
        """See `WatchPort.items`."""
        row, parts, ended = self._story(node)
        said = dict(pairs(self._ask("HGETALL", self._key(f"sd:{node}")))) if row.held else {}
        return item_views(row, parts, ended, said_from(said))

    def _story(self, node: str) -> tuple[NodeRow, list[Part], list[ItemView]]:
        for story in self._stories([node]):
            return story
        raise self._missing(node)

    def _stories(self, nodes: Sequence[str]) -> Iterator[tuple[NodeRow, list[Part], list[ItemView]]]:
        """Rows, live parts, and what has ended, of those nodes that are there."""
        asked: list[Sequence[Any]] = []
        for node in nodes:
            asked += [
                ("HMGET", self._key(f"n:{node}"), "s", "d", "g"),
                ("HVALS", self._key(f"pt:{node}")),
                ("HVALS", self._key(f"sg:{node}")),
            ]
        answers = iter(self._all(asked))
        for node, (fixed, changing, end), parts, ended in zip(nodes, answers, answers, answers, strict=False):
            if fixed is None:
                continue
            row, _ = node_from(node, fixed, changing)
            if not row.array:
                yield row, [row.part] if row.part else [], [item_from(end)] if end is not None else []
            else:
                live = [part_from(t[10], t[9], t) for t in map(unpack, parts)]
                yield row, live, [item_from(story) for story in ended]

    def logs(self, node: NodeId, /, *, index: int | None = None) -> list[tuple[int, str]]:
        """See `WatchPort.logs`."""
        there, lines = self._all(
            [("EXISTS", self._key(f"n:{node}")), ("LRANGE", self._key(f"lg:{node}"), 0, -1)]
        )
        if not there:
            raise self._missing(node)
        kept = sorted((tuple(unpack(line)) for line in lines), key=lambda log: log[0])
        return [(lo, text) for lo, text in kept if index is None or lo == index]

    def workers(self, /) -> list[WorkerView]:
        """See `StatusPort.workers`."""
        found = self._ask("HGETALL", self._key("workers"))
        views, now = [], self._seconds()
        for name, text in sorted(pairs(found)):
            view = worker_from(name, text)
            if view is not None and view.seen_at > now - 60:
                views.append(view)
        return views

    def _seconds(self) -> float:
        if self._clock is not None:
            return self._clock.now()
        seconds, micros = self._ask("TIME")
        return int(seconds) + int(micros) / 1e6

    def queues(self, /) -> list[Mapping[str, Any]]:
        """See `StatusPort.queues`."""
        table: dict[str, dict[str, Any]] = {}
        for name, items in pairs(self._ask("HGETALL", self._key("tally"))):
            queue, _, word = name.decode(errors="replace").rpartition("\0")
            if items.isdigit():
                table.setdefault(queue, queue_line(queue))[word] = int(items)
        for name in self._ask("SMEMBERS", self._key("paused")):
            queue = name.decode(errors="replace")
            table.setdefault(queue, queue_line(queue))["paused"] = True
        return [table[name] for name in sorted(table)]

    def posted(self, name: str, known: int = -1, /) -> Posted | None:
        """See `PostPort.posted`."""
        key = self._key(posted_as(name))
        if int(self._ask("HGET", key, "r") or 0) == known:
            return None
        revision, body = self._ask("HMGET", key, "r", "b")
        return Posted(int(revision or 0), body or b"")

    def now(self) -> float:
        """See `StatusPort.now`: the server's, unless the store was given another."""
        return self._seconds()

    def waited_s(self, queues: Sequence[str], /) -> float | None:
        """See `StatusPort.waited_s`."""
        first = unpack(self._link.run(reads(), "first_of", pack(list(queues)))[0])
        return None if first is False else self._seconds() - float(first)

    def limits(self, /) -> list[LimitView]:
        """See `StatusPort.limits`."""
        seconds, micros = self._ask("TIME") if self._clock is None else (self._clock.now(), 0)
        now = float(seconds) + float(micros) / 1e6
        return [limit_view(row, now) for row in self._limit_rows()]

    def _limit_rows(self) -> list[LimitRow]:
        found = pairs(self._ask("HGETALL", self._key("limits")))
        return [limit_from(name.decode(), body) for name, body in sorted(found)]

    def dead(self, /, *, limit: int = 1000) -> list[tuple[RunId, NodeId, ItemView]]:
        """See `StatusPort.dead`."""
        members = self._ask("ZREVRANGE", self._key("dead"), 0, limit - 1, "WITHSCORES")
        letters = []
        for member, seq in _scored(members):
            node, _, lo = member.decode().rpartition("\0")
            letters.append((-seq, int(lo), node))
        asked = []
        for _, at, node in sorted(letters):
            asked += [
                ("HMGET", self._key(f"n:{node}"), "s", "g"),
                ("HGET", self._key(f"sg:{node}"), at),
            ]
        answers = self._all(asked)
        found = []
        for (_, _, node), (fixed, call), item in zip(
            sorted(letters), answers[::2], answers[1::2], strict=True
        ):
            if fixed is not None and (call or item) is not None:
                found.append((RunId(unpack(fixed)[0]), NodeId(node), item_from(call or item)))
        return found

    def check(self, /) -> list[tuple[str, bool, str]]:
        """See `StatusPort.check`."""
        info = self._link.ask(lambda client: client.info())
        durable = bool(info.get("aof_enabled"))
        policy = info.get("maxmemory_policy", "noeviction")
        version = info.get("valkey_version") or info.get("redis_version")
        faults, seen, all_seen = self._faults()
        well = "every node is in order" if all_seen else f"{seen:,} nodes are in order, the rest was not read"
        struck = self._ask("HLEN", self._key("struck"))
        return [
            (
                "server",
                True,
                f"{info.get('server_name', 'redis')} {version}, {self._link.address.shown}",
            ),
            (
                "durable",
                durable,
                "AOF is on: only a crash of the machine may lose the last second or two"
                if durable
                else "AOF is off: a crash of the server loses what came since its last snapshot"
                " (`redis-cli config set appendonly yes`)",
            ),
            ("eviction", policy == "noeviction", f"maxmemory-policy {policy}"),
            *self._place_found(),
            (
                "struck nodes",
                not struck,
                f"{struck} made no sense, are not handed out and were not opened" if struck else "none",
            ),
            ("invariants", not faults, "; ".join(faults[:5]) or well),
        ]

    def _place_found(self) -> list[tuple[str, bool, str]]:
        """Whether the place for large data can be used from here, when there is one."""
        try:
            place = self._blobs.far.place()
            if place is None:
                return []
            place.probe()
        except TaskflowError as error:
            return [("blobs", False, str(error))]
        return [("blobs", True, f"large data is in {place.url}")]

    def _faults(self) -> tuple[list[str], int, bool]:
        """What is broken in the nodes that were looked at, how many these were, and whether they were all."""
        faults: list[str] = []
        rows: list[NodeRow] = []
        seen = 0
        for names in self._some_nodes():
            for row, parts, ended in self._sound(names, faults):
                faults += broken(row, parts, [(item.lo, item.hi) for item in ended])
                rows.append(row)
            seen += len(names)
            if seen >= NODES_CHECKED:
                return faults, seen, False
        return faults + miscounted(self._limit_rows(), rows), seen, True

    def _sound(self, names: list[str], faults: list[str]) -> list[tuple[NodeRow, list[Part], list[ItemView]]]:
        """The stories of nodes; those that cannot be read are among the faults."""
        try:
            return list(self._stories(names))
        except Exception as error:  # noqa: BLE001 - whatever somebody has written there
            if len(names) > 1:
                return [story for name in names for story in self._sound([name], faults)]
            faults.append(f"node {names[0]} cannot be read ({type(error).__name__})")
            return []

    def _some_nodes(self) -> Iterator[list[str]]:
        """The nodes of the store as the server comes across them, up to `NODES_PER_STEP` at once."""
        start, at = self._key("n:"), 0
        pattern = _literally(start) + "*"
        while True:
            at, found = self._link.ask(
                lambda client, at=at: client.scan(at, match=pattern, count=NODES_PER_STEP)  # type: ignore[misc]
            )
            if found:
                yield [key.decode(errors="replace")[len(start) :] for key in found]
            if at == 0:
                return


def _names(members: Sequence[bytes], run: str) -> list[str]:
    """The nodes of a run, whose list has only those that are not one of its name alone."""
    return [name.decode() for name in members] or [run]


def _is_whole(changing: bytes) -> bool:
    """Whether all pieces of a run have come: what is handed over in part is not there."""
    return unpack(changing)[8] is False


def _run_view(run: str, fixed: bytes, changing: bytes) -> RunView:
    name, meta, created_at, _ = unpack(fixed)
    total, _, state, counts, ended_at, _, _, (queued, waiting, running), *_ = unpack(changing)
    told = {STATES[word]: items for word, items in (counts or {}).items() if items}
    live = {State.QUEUED: queued, State.WAITING: waiting, State.RUNNING: running}
    live[State.BLOCKED] = total - sum(told.values()) - queued - waiting - running
    told |= {word: items for word, items in live.items() if items}
    ended = None if ended_at is False else float(ended_at)
    return RunView(RunId(run), name, STATES[state], told, total, float(created_at), ended, json.loads(meta))


def _node_view(
    name: str, fixed: bytes, changing: bytes, edges: bytes | None, error: bytes | None, end: bytes | None
) -> NodeView:
    row, ended = node_from(name, fixed, changing)
    if row.state in TERMINAL and (row.final is not None or row.width is None):
        ended[row.state] = 1
    parents = [edge_from(edge) for edge in unpack(edges)] if edges is not None else []
    item = item_from(end) if end is not None else None
    text = error.decode() if error is not None else item.error if item is not None else None
    view = node_view(row, parents, ended, text)
    if item is None:
        return view
    return view._replace(attempts=item.attempts, deliveries=item.deliveries, worker=item.worker)


def worker_from(name: bytes, text: bytes) -> WorkerView | None:
    """A worker as it has described itself; nothing, where that makes no sense."""
    seen, _, body = text.partition(b" ")
    try:
        host, pid, queues, slots, busy, started_at, info = json.loads(body)
        return WorkerView(
            WorkerId(name.decode()), str(host), int(pid), tuple(map(str, queues)), int(slots), int(busy),
            float(started_at), float(seen), dict(info),
        )  # fmt: skip
    except (ValueError, TypeError, RecursionError, OverflowError):
        return None


def _events(entries: Sequence[Any]) -> list[Event]:
    """The events of entries; those that make no sense leave a gap, as if they were not kept any more."""
    found: list[Event] = []
    for name, fields in entries:
        told = dict(zip(fields[::2], fields[1::2], strict=True)) if isinstance(fields, list) else fields
        with suppress(ValueError, TypeError, LookupError):
            found += events_from(_cursor(name), float(told[b"at"]), told[b"b"])
    return found


def _cursor(name: bytes) -> int:
    return int(name.partition(b"-")[0])


def pairs(found: Any) -> list[tuple[bytes, bytes]]:
    """Names and values of a hash, however the client gives them."""
    return list(found.items()) if isinstance(found, dict) else list(zip(found[::2], found[1::2], strict=True))


def _scored(found: Any) -> list[tuple[bytes, float]]:
    if found and isinstance(found[0], list | tuple):
        return [(member, float(score)) for member, score in found]
    return [(member, float(score)) for member, score in zip(found[::2], found[1::2], strict=True)]


def _matches(view: RunView, match: str) -> bool:
    return view.id.startswith(match) or match in view.name


def posted_as(name: str) -> str:
    """The key of what is posted; what is wanted of workers has kept the one it had when it was alone."""
    return "steering" if name == WORKERS else f"posted:{name}"


def _literally(text: str) -> str:
    return "".join(f"\\{c}" if c in "*?[]^\\" else c for c in text)
