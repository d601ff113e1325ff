"""Between the records that cross the ports and what the scripts of the Redis store read and write.

Plain lists of text and numbers, as MessagePack; `None` is ``False`` there. Sealed values never pass through
it: they stand beside it, and are named by their number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import msgpack

from taskflow.codec import NAMED, blob_names
from taskflow.ids import NodeId, RunId
from taskflow.limits import Limit
from taskflow.machine.needs import unique
from taskflow.machine.rows import LimitRow, NodeRow, Part
from taskflow.policy import Policy
from taskflow.records import (
    Edge,
    EdgeMode,
    Event,
    Growth,
    ItemView,
    Lease,
    LeaseKey,
    Lock,
    Node,
    Note,
    Outcome,
    Page,
    Plan,
    Said,
    Segment,
    Settlement,
    Want,
)
from taskflow.states import State

__all__ = [
    "STATES",
    "Values",
    "edge_from",
    "events_from",
    "item_from",
    "lease_from",
    "limit_from",
    "limit_to",
    "lock_to",
    "needs_of",
    "node_from",
    "note_to",
    "pack",
    "part_from",
    "pieces_of",
    "plan_to",
    "said_from",
    "segment_from",
    "settlement_to",
    "unpack",
    "want_to",
]

STATES = {state.value: state for state in State}
_MODES = {mode.value: mode for mode in EdgeMode}
_SURROGATES = "surrogatepass"


class Values(list[bytes]):
    """Sealed values on their way to a script; each is named by its number, from 1.

    Args:
        kept_by: Tells which blobs a function needs.
    """

    def __init__(self, kept_by: Callable[[str], Iterable[str]] = lambda _: ()) -> None:
        super().__init__()
        self._kept_by = kept_by
        self._blobs: set[str] = set()

    def number(self, value: bytes | None) -> int | bool:
        """Its number, or ``False`` for none."""
        if value is None:
            return False
        self.append(value)
        self._blobs.update(blob_names(value))
        return len(self)

    def function(self, digest: str) -> str:
        """A function that is called: it is a blob, and may need others, unless it is called by name."""
        if digest not in self._blobs and not digest.startswith(NAMED):
            self._blobs.update((digest, *self._kept_by(digest)))
        return digest

    def take_blobs(self) -> list[str]:
        """The blobs that were named since the last time."""
        if not self._blobs:
            return []
        named, self._blobs = self._blobs, set()
        return sorted(named)


def pack(obj: Any) -> bytes:
    """Lists of text and numbers as bytes."""
    packed: bytes = msgpack.Packer(unicode_errors=_SURROGATES).pack(obj)
    return packed


def unpack(packed: bytes) -> Any:
    """What `pack`, or a script, has packed."""
    return msgpack.unpackb(packed, unicode_errors=_SURROGATES, strict_map_key=False)


# ── to a script ──────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=1024)
def _policy(policy: Policy) -> tuple[str, list[Any], Any]:
    """A policy as text, without its seed; what the rules read of it; its limits."""
    told = [policy.max_deliveries, _or_false(policy.chunk), policy.on_failure]
    told += [_or_false(policy.max_parallel), _or_false(policy.run_parallel)]
    limits = [limit_to(limit) for limit in policy.limits]
    return replace(policy, seed=None).to_json(), told, limits or False


def _node(node: Node, values: Values, *, ranged: bool = False, first: bool = False) -> list[Any]:
    policy = node.policy
    text, told, limits = _policy(policy)
    edges = [_edge(edge) for edge in unique(node.edges)] if node.edges else []
    pages = _pages(node.pages, values) if node.pages else []
    given = [[lo, hi, values.number(value)] for lo, hi, value in node.given] if node.given else []
    row = [
        node.id, values.function(node.fn), values.number(node.args), edges, node.width,
        int(node.array), pages, node.queue, node.priority, text, node.delay_s,
        node.expires_s, node.label, *told, policy.seed,
        int(ranged), int(first), limits, int(policy.unlocks), int(policy.singles),
        given,
    ]  # fmt: skip
    return [False if value is None else value for value in row]


def _edge(edge: Edge) -> list[Any]:
    parent, mode, lo, hi = edge
    return [parent, mode, lo, _or_false(hi)]


def _pages(pages: Sequence[Page], values: Values) -> list[Any]:
    return [[page.lo, page.hi, values.number(page.items)] for page in pages]


def plan_to(plan: Plan, meta: str, values: Values) -> list[Any]:
    """A plan for the verb ``submit``."""
    nodes = [_node(node, values) for node in plan.nodes]
    lock = lock_to(plan.lock)
    return [plan.run, plan.name, meta, nodes, values.take_blobs(), lock, _or_false(plan.max_pending)]


def lock_to(lock: Lock | None) -> list[Any] | bool:
    """A lock for the verbs ``submit`` and ``assemble``."""
    return False if lock is None else list(lock)


def pieces_of(plan: Plan, kept_by: Callable[[str], Iterable[str]], most: int) -> Iterator[bytes]:
    """A large plan in pieces of at most so many nodes, each with its values."""
    own = {node.id for node in plan.nodes}
    ranged = {edge.parent for node in plan.nodes for edge in node.edges if edge.hi is not None}
    for at in range(0, len(plan.nodes), most):
        values = Values(kept_by)
        nodes = [
            _node(node, values, ranged=node.id in ranged, first=own.isdisjoint(e.parent for e in node.edges))
            for node in plan.nodes[at : at + most]
        ]
        # As the older kind of string: the server's MessagePack has no other for bytes.
        yield msgpack.packb([nodes, values.take_blobs(), list(values)], use_bin_type=False)


def needs_of(plan: Plan) -> list[tuple[str, str]]:
    """Predecessors that are not in a plan, each with the name of one that waits for it."""
    own = {node.id for node in plan.nodes}
    found = {edge.parent: node for node in plan.nodes for edge in node.edges if edge.parent not in own}
    return [(node.label or node.id, parent) for parent, node in found.items()]


def _growth(growth: Growth, values: Values) -> list[Any]:
    return [
        [_node(node, values) for node in growth.nodes],
        [[node, width, _pages(pages, values)] for node, (width, pages) in growth.widths.items()],
        _or_false(growth.final),
        list(growth.joins),
    ]


def settlement_to(settlement: Settlement, values: Values) -> list[Any]:
    """A settlement for the verb ``settle``."""
    grow = settlement.grow
    outcomes = [_outcome(outcome, values) for outcome in settlement.outcomes]
    growth = _growth(grow, values) if grow is not None else False
    return [list(settlement.key), outcomes, growth, values.take_blobs()]


def _outcome(outcome: Outcome, values: Values) -> list[Any]:
    lo, hi, kind, value, error, delay_s, started_at, took_s, log, spared = outcome
    row = [lo, hi, str(kind), values.number(value), error, delay_s, started_at, took_s, log, spared]
    return [False if value is None else value for value in row]


def note_to(note: Note, values: Values) -> list[Any]:
    """What an item says, for the verb ``note``."""
    text = (
        str(note.data["text"]) if note.kind == "log" else json.dumps(dict(note.data), separators=(",", ":"))
    )
    return [list(note.item), note.kind, note.at, text, values.number(note.value)]


def said_from(found: Mapping[bytes, bytes]) -> list[tuple[int, Said]]:
    """What was said of items of a node, by index."""
    said = []
    for name, told in found.items():
        fence, _, kind = name.decode().partition("\0")
        if "\0" not in kind:
            index, body = unpack(told)
            said.append((int(index), Said(kind, json.loads(body), found.get(name + b"\0v"), int(fence))))
    return said


def want_to(want: Want, nonce: str, standing: str | None = None) -> list[Any]:
    """What a worker asks, for the verbs ``claim`` and ``settle``: under which nonce, and under which one the
    server may claim the same once more."""
    return [
        want.worker, list(want.queues), want.slots, want.lease_s, dict(want.pace_s), want.batch_s, want.share,
        nonce, list(want.turns), _or_false(standing),
    ]  # fmt: skip


def _or_false(value: Any) -> Any:
    return False if value is None else value


# ── from a script, or from what it has written ───────────────────────────────────────


def _or_none(value: Any) -> Any:
    return None if value is False else value


def _seconds(value: Any) -> float | None:
    return None if value is False else float(value)


@lru_cache(maxsize=1024)
def _policy_from(text: str, seed: Any) -> Policy:
    policy = Policy.from_json(text)
    return policy if seed is False else replace(policy, seed=seed)


def edge_from(t: Sequence[Any]) -> Edge:
    """An edge."""
    return Edge(NodeId(t[0]), _MODES[t[1]], t[2], _or_none(t[3]))


def lease_from(t: Sequence[Any], args: bytes) -> Lease:
    """A lease; its arguments come beside it."""
    return Lease(
        LeaseKey(NodeId(t[0]), t[1], t[2], t[3]), RunId(t[4]), t[5], args, t[6] == 1, t[7],
        tuple(map(edge_from, t[8])), _policy_from(t[9], t[10]), t[11], t[12],
        t[13], t[14], float(t[15]), t[16],
    )  # fmt: skip


def part_from(lo: int, hi: int, t: Sequence[Any]) -> Part:
    """A part of a node."""
    return Part(
        lo, hi, STATES[t[0]], t[1], _or_none(t[2]), _seconds(t[3]), t[4], t[5], _seconds(t[6]),
        _or_none(t[7]), _or_none(t[8]),
    )  # fmt: skip


def node_from(node: str, fixed: bytes, changing: bytes) -> tuple[NodeRow, dict[State, int]]:
    """A node, without its arguments and inputs, and how many of its items ended in which state."""
    s, d = unpack(fixed), unpack(changing)
    row = NodeRow(
        NodeId(node), RunId(s[0]), STATES[d[0]], s[1], b"", _or_none(d[1]), s[2] == 1, s[3], s[4],
        _policy_from(s[5], s[15]), s[6], float(s[7]),
    )  # fmt: skip
    row.source = _or_none(s[8])
    row.cursor, row.open, row.held, row.waiting, row.returned = d[2:7]
    row.worst, row.fence, row.remaining = STATES.get(d[7]), d[8], d[9]
    row.due_at, row.expires_at, row.alarm_at = map(_seconds, d[10:13])
    row.cancelled, row.root, row.final = map(_or_none, d[13:16])
    row.started_at, row.ended_at, row.ranged = _seconds(d[16]), _seconds(d[17]), d[18] == 1
    row.growing = d[21:22] == [1]
    if d[19]:
        row.part = part_from(0, 1, d[19])
    row.key = s[9]
    return row, {STATES[state]: items for state, items in (d[20] or {}).items()}


def limit_to(limit: Limit) -> list[Any]:
    """A limit, as the rules of the server read it."""
    return [_or_false(value) for value in limit]


def limit_from(name: str, body: bytes) -> LimitRow:
    """What is counted under the name of a limit."""
    held, tokens, at, failed, opened_at, until, probes, refused, wake_at, idle_at, *shared = unpack(body)
    row = LimitRow(
        name, held, float(tokens), _seconds(at), tuple(map(float, failed)), _seconds(opened_at), float(until),
        probes, refused, _seconds(wake_at), _seconds(idle_at),
    )  # fmt: skip
    if shared:
        fence, holders, line = shared
        row.fence = int(fence)
        row.holders = {holder: (int(number), float(until)) for holder, number, until in holders}
        row.line = {waiter: float(until) for waiter, until in line}
    return row


def segment_from(t: Sequence[Any], values: Sequence[bytes]) -> Segment:
    """A segment; its value is among the values by number."""
    node, lo, hi, state, error, fence, array, single, number = t
    value = values[number] if number is not False else None
    return Segment(
        NodeId(node), lo, hi, STATES[state], value, _or_none(error), fence, 1 in (array, single), single == 1
    )  # fmt: skip


def item_from(story: bytes) -> ItemView:
    """The row of a result table that a stored segment is."""
    lo, hi, state, _, _, _, attempts, deliveries, worker, started_at, took_s, error = unpack(story)
    return ItemView(
        lo, hi, STATES[state], attempts, deliveries, _or_none(worker), _seconds(started_at), _seconds(took_s),
        _or_none(error),
    )  # fmt: skip


def events_from(last: int, at: float, body: bytes) -> list[Event]:
    """The events of one step; `last` is the cursor of the last of them."""
    told = unpack(body)
    first = last - len(told) + 1
    return [
        Event(first + n, at, RunId(run or node), NodeId(node), lo, hi, STATES[state])
        for n, (run, node, lo, hi, state) in enumerate(told)
    ]
