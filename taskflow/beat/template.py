"""`Template`: a plan that is sent many times, each time under other ids, and opened by nobody who sends it.

What it calls was drawn, pickled and sealed when the schedule was added. A beat needs neither the function nor
its modules: it copies the nodes, and sees to it that the store still has the function.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from taskflow.canvas import Shape
from taskflow.codec import Codec, blob_names
from taskflow.codec.stored import Blobs
from taskflow.errors import ConfigError
from taskflow.ids import NodeId, RunId, id_from
from taskflow.marks import renamed
from taskflow.policy import Policy
from taskflow.records import Edge, EdgeMode, Lock, Node, Page, Plan

__all__ = ["MOST_BYTES", "Template"]

MOST_BYTES = 256 * 1024
LOCKED_S = 30 * 86_400.0


@dataclass(frozen=True)
class Template:
    """A plan as JSON; its nodes are named by their numbers.

    Args:
        key: Which key sealed it, in hex.
        name: What a person reads.
        nodes: A row for each.
        canvas: Where its results are, see `Shape.to_json`.
        meta: What else the run says of itself.
        lock: The lock that it asks for.
        max_pending: See `Plan.max_pending`.
        blobs: What its nodes cannot do without, by name: bytes in base64.
    """

    key: str
    name: str
    nodes: list[list[Any]]
    canvas: dict[str, Any]
    meta: dict[str, Any]
    lock: list[Any] | None
    max_pending: int | None
    blobs: dict[str, str]

    @staticmethod
    def of(plan: Plan, codec: Codec) -> Template:
        """The template of a plan that was drawn.

        Raises:
            ConfigError: It is too large to be kept with a schedule, or waits for another run.
        """
        numbers = {node.id: NodeId(str(number)) for number, node in enumerate(plan.nodes)}
        strangers = {edge.parent for node in plan.nodes for edge in node.edges} - set(numbers)
        if strangers:
            raise ConfigError("A schedule cannot wait for a run: leave after= and futures away.")
        meta = renamed(plan.meta, numbers)
        canvas = Shape.from_json(meta.pop("canvas"), numbers).to_json()
        rows = [_row(node, numbers) for node in plan.nodes]
        lock = list(plan.lock) if plan.lock is not None else None
        blobs = _blobs_of(plan, codec.blobs)
        made = Template(codec.keyring.kid.hex(), plan.name, rows, canvas, meta, lock, plan.max_pending, blobs)
        text = json.dumps(made.to_json())
        if len(text) > MOST_BYTES:
            raise ConfigError(
                f"{plan.name or 'This'} takes {len(text) // 1024:,} KiB, and a schedule keeps"
                f" {MOST_BYTES // 1024} at most: put the function into a module that the workers can import,"
                " and name large data by its place instead of giving it as an argument."
            )
        return Template.from_json(json.loads(text))

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> Template:
        """Read `to_json`."""
        return Template(**told)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def plan(
        self,
        run: RunId,
        *,
        tags: Mapping[str, Any],
        delay_s: float = 0.0,
        after: Sequence[str] = (),
        lock: str | None = None,
    ) -> Plan:
        """The plan of one run.

        Args:
            run: Its id; those of its nodes follow from it.
            tags: To find it by, with those that it has.
            delay_s: Nothing of it starts sooner than this after the submit.
            after: Nodes of an earlier run that must have ended before any of it starts.
            lock: It is not stored while another run of that lock has not ended. What asks for a lock of its
                own keeps to that one.
        """
        names = {NodeId(str(number)): name for number, name in enumerate(self._names(run))}
        waits = tuple(Edge(NodeId(name), EdgeMode.ENDED) for name in after)
        nodes = []
        for number, row in enumerate(self.nodes):
            node = _node(row, names[NodeId(str(number))], names)
            if not node.edges and (waits or delay_s):
                later = (node.delay_s or 0.0) + delay_s
                node = node._replace(edges=waits, delay_s=later or None)
            nodes.append(node)
        canvas = Shape.from_json(self.canvas, names).to_json()
        meta = renamed(self.meta, names) | {"canvas": canvas, "tags": {**self.meta.get("tags", {}), **tags}}
        locked = self.lock or (lock and [lock, LOCKED_S])
        return Plan(run, tuple(nodes), self.name, meta, Lock(*locked) if locked else None, self.max_pending)

    def tails(self, run: RunId) -> list[str]:
        """The nodes of a run that nothing follows."""
        parents = {edge[0] for row in self.nodes for edge in row[2]}
        return [name for number, name in enumerate(self._names(run)) if str(number) not in parents]

    def keep(self, blobs: Blobs) -> None:
        """See that the store has what its nodes cannot do without."""
        for name, text in self.blobs.items():
            if not blobs.has(name):
                blobs.put(name, [b64decode(text)])

    def renewed(self, codec: Codec) -> Template:
        """The same, sealed with the key that signs now: verified, and not opened.

        Raises:
            Untrusted: The key that sealed it was revoked, or is over.
        """
        if self.key == codec.keyring.kid.hex():
            return self
        digests, blobs = {}, dict(self.blobs)
        for digest in dict.fromkeys(row[0] for row in self.nodes):
            new, sealed = codec.sealed_anew(digest, b64decode(blobs.pop(digest)))
            digests[digest], blobs[new] = new, b64encode(sealed).decode()
        rows = []
        for fn, args, edges, pages, *rest in self.nodes:
            new = digests[fn]
            moved = [
                [lo, hi, _text(codec.items_for(new, fn, lo, b64decode(items)))] for lo, hi, items in pages
            ]
            rows.append([new, _text(codec.args_for(new, fn, b64decode(args))), edges, moved, *rest])
        return replace(self, key=codec.keyring.kid.hex(), nodes=rows, blobs=blobs)

    def _names(self, run: RunId) -> list[NodeId]:
        if len(self.nodes) == 1:
            return [NodeId(run)]
        return [NodeId(id_from(f"{run}/{number}")) for number in range(len(self.nodes))]


def _row(node: Node, numbers: Mapping[NodeId, NodeId]) -> list[Any]:
    edges = [[numbers[edge.parent], edge.mode.value, edge.lo, edge.hi] for edge in node.edges]
    pages = [[page.lo, page.hi, _text(page.items)] for page in node.pages]
    return [
        node.fn, _text(node.args), edges, pages, node.width, node.array, node.queue, node.priority,
        node.policy.to_json(), node.delay_s, node.expires_s, node.label,
    ]  # fmt: skip


def _node(row: Sequence[Any], name: NodeId, names: Mapping[NodeId, NodeId]) -> Node:
    fn, args, edges, pages, width, array, queue, priority, policy, delay_s, expires_s, label = row
    return Node(
        name, fn, b64decode(args),
        tuple(Edge(names[parent], EdgeMode(mode), lo, hi) for parent, mode, lo, hi in edges),
        width, array, tuple(Page(lo, hi, b64decode(items)) for lo, hi, items in pages),
        queue, priority, Policy.from_json(policy), delay_s, expires_s, label,
    )  # fmt: skip


def _blobs_of(plan: Plan, blobs: Blobs) -> dict[str, str]:
    """All blobs that the nodes name, and those that these name."""
    wanted: list[str] = []
    for node in plan.nodes:
        wanted.append(node.fn)
        for value in (node.args, *(page.items for page in node.pages)):
            wanted += blob_names(value)
    found: dict[str, str] = {}
    size = 0
    while wanted and size <= MOST_BYTES:
        name = wanted.pop()
        if name not in found:
            body = bytes(blobs.open(name))
            size += len(body)
            found[name] = _text(body)
            wanted += blob_names(body)
    return found


def _text(body: bytes | memoryview) -> str:
    return b64encode(body).decode()
