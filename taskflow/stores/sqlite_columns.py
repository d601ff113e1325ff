"""Between the columns of a store file and the rows of the machine, in both directions.

Which columns are read and written, and in what order, is said here and nowhere else: a statement stands
beside the function that reads or makes its values.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from itertools import compress
from operator import ne
from typing import Any

from taskflow.ids import NodeId, RunId
from taskflow.machine.rows import LimitRow, NodeRow, Part, RunRow
from taskflow.policy import Policy
from taskflow.records import WORKERS, Edge, EdgeMode, ItemView, Segment
from taskflow.states import State

__all__ = [
    "INSERT_NODE",
    "INSERT_RUN",
    "LOAD_LIMIT",
    "LOAD_NODE",
    "LOAD_NODE_ALONE",
    "LOAD_NODE_ALONE_ARGS",
    "LOAD_NODE_ARGS",
    "LOAD_RUN",
    "LOAD_RUN_BRIEFLY",
    "NEXT_ALARM",
    "PART_COLUMNS",
    "STATES",
    "UPDATE_LIMIT",
    "UPDATE_RUN",
    "WORDS",
    "changed_limit",
    "changed_node",
    "changed_run",
    "compact",
    "edge_from",
    "inputs_of",
    "item_from",
    "limit_from",
    "new_node",
    "new_run",
    "node_from",
    "part_from",
    "posted_as",
    "queues_with_work",
    "run_from",
    "segment_from",
    "stored",
    "update_node",
]

STATES = {state.value: state for state in State}
WORDS: dict[State | None, str | None] = {None: None} | {state: state.value for state in State}
"""What is written of a state: looked up, as `value` is a property of Python."""
MODES = {mode.value: mode for mode in EdgeMode}
_MAYBE: dict[str | None, State | None] = {None: None} | STATES

_FIXED = (
    "id",
    "fn",
    "args",
    "width",
    "array",
    "queue",
    "priority",
    "policy",
    "label",
    "created_at",
    "source",
    "lane",
)
_CHANGING = (
    *(
        "state",
        "width",
        "cursor",
        "open",
        "held",
        "waiting",
        "returned",
        "worst",
        "fence",
        "remaining",
    ),
    *("due_at", "expires_at", "alarm_at", "cancelled", "root", "final", "started_at", "ended_at", "ranged"),
    "growing",
)
_PART = (
    *("part_state", "part_fence", "worker", "until", "attempts", "deliveries"),
    *("part_started_at", "part_cancelled", "part_error"),
)
_LOAD = ", ".join(
    (
        *("n.key", "n.id", "{run}", "n.fn", "{args}", "n.array", "n.queue", "n.priority", "n.policy"),
        *("n.label", "n.created_at", "n.source", "n.inputs"),
        *(f"n.{name}" for name in (*_CHANGING, *_PART)),
    )
)
LOAD_NODE = _LOAD.format(run="r.id", args="x''")
LOAD_NODE_ARGS = _LOAD.format(run="r.id", args="n.args")
LOAD_NODE_ALONE = _LOAD.format(run="n.run", args="x''")
LOAD_NODE_ALONE_ARGS = _LOAD.format(run="n.run", args="n.args")
"""With the key of its run instead of the id: no other table is read."""
_FIRST_CHANGING = LOAD_NODE.count(",") + 1 - len(_CHANGING) - len(_PART)
_RUN = (
    *("key", "id", "name", "meta", "created_at", "total", "open", "state", "counts", "ended_at"),
    *("worst", "held", "lock"),
)
LOAD_RUN = ", ".join(f"r.{name}" for name in _RUN)
LOAD_RUN_BRIEFLY = LOAD_RUN.replace("r.meta", "null")

_INSERT_COLUMNS = ("key", "run", *_FIXED, *(c for c in _CHANGING if c != "width"), "inputs", *_PART)
INSERT_NODE = (
    f"insert into node({', '.join(_INSERT_COLUMNS)}) values({', '.join('?' * len(_INSERT_COLUMNS))})"
)
_STORY = (
    "end_state",
    "value",
    "error",
    "end_fence",
    "item_started_at",
    "took_s",
    "worker",
    "attempts",
    "deliveries",
)
PART_COLUMNS = "lo, hi, state, fence, worker, until, attempts, deliveries, started_at, cancelled, error"
_HAS_WORK = (
    "(exists(select 1 from node where state = 'queued' and lane is null and queue = ?)"
    " or exists(select 1 from lane where open = 1 and queue = ?))"
)
compact = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_NO_PART = (None,) * len(_PART)
_ONE_SUCCEEDED = {State.SUCCEEDED: 1}
INSERT_RUN = f"insert into run({', '.join(_RUN)}) values({', '.join('?' * len(_RUN))})"
LOAD_LIMIT = "select name, body from limits"
UPDATE_LIMIT = "insert or replace into limits values(?,?,?)"
NEXT_ALARM = (
    "select min(at) from (select min(alarm_at) as at from node where alarm_at is not null"
    " union all select min(alarm_at) from limits where alarm_at is not null)"
)
UPDATE_RUN = (
    "update run set total=?, open=?, state=?, counts=?, ended_at=?, worst=?, held=?, lock=? where key=?"
)


def queues_with_work(queues: Sequence[str]) -> tuple[str, list[str]]:
    """The statement that tells of each of some queues whether anything can be claimed from it; its values."""
    return f"select {', '.join([_HAS_WORK] * len(queues))}", [name for name in queues for _ in range(2)]


# ── reading ──────────────────────────────────────────────────────────────────────────


def node_from(t: Sequence[Any], run: RunId | None = None) -> NodeRow:
    """A row of `LOAD_NODE` as the machine's; one of `LOAD_NODE_ALONE` with the id of its run."""
    row = NodeRow(
        t[1], run or t[2], STATES[t[13]], t[3], t[4], t[14], bool(t[5]), t[6], t[7], Policy.from_json(t[8]),
        t[9], t[10], t[15], t[16], t[17], t[18], t[19], _MAYBE[t[20]], t[21], t[22], t[23], t[24], t[25],
        t[26], t[27], t[28], t[11], t[29], t[30],
    )  # fmt: skip
    row.ranged, row.growing = bool(t[31]), bool(t[32])
    if t[12]:
        row.inputs = tuple(edge_from(*edge) for edge in json.loads(t[12]))
    if t[33] is not None:
        row.part = Part(0, 1, STATES[t[33]], *t[34:42])
    row.key = t[0]
    return row


def stored(t: Sequence[Any]) -> tuple[Any, ...]:
    """What a loaded row holds of what may change, as `changed_node` says it."""
    return tuple(t[_FIRST_CHANGING:])


def edge_from(parent: str, mode: str, lo: int = 0, hi: int | None = None) -> Edge:
    """A row of ``edge``, with the name of the parent, as a record."""
    return Edge(NodeId(parent), MODES[mode], lo, hi)


def run_from(t: Sequence[Any]) -> RunRow:
    """A row of `LOAD_RUN` as the machine's."""
    counts = {STATES[state]: items for state, items in json.loads(t[8]).items()}
    meta, worst = json.loads(t[3]) if t[3] is not None else {}, _MAYBE[t[10]]
    return RunRow(t[1], t[2], meta, t[4], t[5], t[6], STATES[t[7]], counts, t[9], worst, t[11], t[12], t[0])


def limit_from(t: Sequence[Any]) -> LimitRow:
    """A row of `LOAD_LIMIT` as the machine's."""
    held, tokens, at, failed, *rest = json.loads(t[1])
    row = LimitRow(t[0], held, tokens, at, tuple(failed), *rest[:6])
    if len(rest) > 6:
        row.fence, holders, line = rest[6:]
        row.holders = {name: (fence, until) for name, fence, until in holders}
        row.line = dict(line)
    return row


def part_from(t: Sequence[Any]) -> Part:
    """A row of ``part`` (without its node) as the machine's."""
    return Part(t[0], t[1], STATES[t[2]], *t[3:])


def segment_from(t: Sequence[Any]) -> Segment:
    """(node, lo, hi, state, value, error, fence, single) of an array node as a record."""
    return Segment(t[0], t[1], t[2], STATES[t[3]], t[4], t[5], t[6], True, bool(t[7]))


def item_from(t: Sequence[Any]) -> ItemView:
    """(lo, hi, state, attempts, deliveries, worker, started_at, took_s, error) as a record."""
    return ItemView(t[0], t[1], STATES[t[2]], *t[3:9])


# ── writing ──────────────────────────────────────────────────────────────────────────


def new_run(r: RunRow) -> tuple[Any, ...]:
    """The values of `INSERT_RUN`."""
    meta = json.dumps(dict(r.meta)) if r.meta else "{}"
    return (
        r.key, r.id, r.name, meta, r.created_at, r.total, r.open, WORDS[r.state], _counts(r), r.ended_at,
        WORDS[r.worst], r.held, r.lock,
    )  # fmt: skip


def changed_run(r: RunRow) -> tuple[Any, ...]:
    """The values of `UPDATE_RUN`."""
    return r.total, r.open, WORDS[r.state], _counts(r), r.ended_at, WORDS[r.worst], r.held, r.lock, r.key


def changed_limit(row: LimitRow) -> tuple[Any, ...]:
    """The values of `UPDATE_LIMIT`."""
    body: list[Any] = [
        row.held, row.tokens, row.at, row.failed, row.opened_at, row.until, row.probes, row.refused,
        row.wake_at, row.idle_at,
    ]  # fmt: skip
    if row.is_shared:
        body += [row.fence, [(name, *held) for name, held in row.holders.items()], list(row.line.items())]
    return row.name, json.dumps(body), row.alarm_at


def new_node(row: NodeRow, run: int, lane: int | None) -> tuple[Any, ...]:
    """The values of `INSERT_NODE`; `run` and `lane` are keys."""
    changing = changed_node(row)
    return (
        row.key, run, row.id, row.fn, row.args, row.width, int(row.array), row.queue,
        row.priority, row.policy.to_json(), row.label, row.created_at, row.source, lane,
        changing[0], *changing[2 : len(_CHANGING)], inputs_of(row), *changing[len(_CHANGING) :],
    )  # fmt: skip


def changed_node(row: NodeRow) -> tuple[Any, ...]:
    """What may change of a node."""
    part = row.part
    story: tuple[Any, ...] = _NO_PART
    if part is not None:
        story = (
            WORDS[part.state], part.fence, part.worker, part.until, part.attempts, part.deliveries,
            part.started_at, part.cancelled, part.error,
        )  # fmt: skip
    return (
        WORDS[row.state], row.width, row.cursor, row.open, row.held, row.waiting, row.returned,
        WORDS[row.worst], row.fence, row.remaining, row.due_at, row.expires_at,
        row.alarm_at, row.cancelled, row.root, row.final, row.started_at, row.ended_at, int(row.ranged),
        int(row.growing), *story,
    )  # fmt: skip


def update_node(
    was: tuple[Any, ...] | None, now: tuple[Any, ...], end: tuple[Any, ...] | None
) -> tuple[str, list[Any]]:
    """The statement that writes what differs between two `changed_node`, and its values but for the key.

    It is short: SQLite looks into every index that has a column of those it is told to set.

    Args:
        was: What the file holds; `None` where that is not known.
        now: What it is to hold.
        end: How the one item of the node ended, which then takes the place of its part.
    """
    if end is not None:
        now = now[: len(_CHANGING)]
    differs = [True] * len(now) if was is None else list(map(ne, now, was))
    values = list(compress(now, differs))
    return _update(tuple(differs), end is not None), values if end is None else [*values, None, *end]


@lru_cache(maxsize=256)
def _update(differs: tuple[bool, ...], ended: bool) -> str:
    names = list(compress((*_CHANGING, *_PART), differs))
    if ended:
        names += ["part_state", *_STORY]
    return f"update node set {', '.join(f'{name}=?' for name in names)} where key=?" if names else ""


def inputs_of(row: NodeRow) -> str | None:
    """The edges that give a value, as text."""
    if not row.inputs:
        return None
    return compact([e[:2] if e.hi is None else e for e in row.inputs])


def posted_as(name: str) -> tuple[str, str]:
    """Under which keys of ``meta`` the revision and the body of what is posted are kept.

    What is wanted of workers has kept the name it had when it was alone.
    """
    if name == WORKERS:
        return "steering", "steering.body"
    return f"posted/{name}", f"posted.body/{name}"


def _counts(run: RunRow) -> str:
    if not run.counts:
        return "{}"
    if run.counts == _ONE_SUCCEEDED:
        return '{"succeeded":1}'
    return compact(run.counts)
