"""A store with runs in it, and the command line in front of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from taskflow.cli.program import run
from taskflow.codec import Codec, Keyring
from taskflow.ids import NodeId, RunId, new_id
from taskflow.ports import Store
from taskflow.records import Edge, EdgeMode, Kind, Lease, Node, Outcome, Page, Plan, Settlement, Want
from taskflow.stores.memory import MemoryStore
from taskflow.testing import ManualClock


class Answer(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> list[list[str]]:
        """The lines of the answer, split at spaces."""
        return [line.split() for line in self.out.splitlines()]


class Shop:
    """Submits and settles by hand, and runs commands in this process."""

    def __init__(self, store: Store | None = None) -> None:
        self.clock = ManualClock()
        self.store = store or MemoryStore(clock=self.clock)
        self.codec = Codec(Keyring.load(), self.store.blobs)

    def __call__(self, *argv: str) -> Answer:
        """Run a command."""
        out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
        code = run(argv, out=out, err=err, opened=lambda url: self.store, now=self.clock.now)
        out.flush()
        return Answer(code, out.buffer.getvalue().decode(), err.getvalue())

    def submit(self, *nodes: Node, name: str = "census") -> RunId:
        """Submit a run of these nodes; one call has the id of its run."""
        run_id = nodes[0].id if len(nodes) == 1 and not nodes[0].array else new_id()
        self.store.submit([Plan(RunId(run_id), nodes, name)])
        return RunId(run_id)

    def call(self, label: str = "total", *parents: NodeId, mode: EdgeMode = EdgeMode.KEEP) -> Node:
        """A call."""
        edges = tuple(Edge(parent, mode) for parent in parents)
        return Node(NodeId(new_id()), self._fn, self._args, edges, label=label)

    def map(self, width: int, label: str = "parse") -> Node:
        """A map."""
        page = Page(0, width, self.codec.dump_items(self._fn, 0, list(range(width))))
        return Node(NodeId(new_id()), self._fn, self._args, (), width, True, (page,), label=label)

    @property
    def _fn(self) -> str:
        return self.codec.function(abs)

    @property
    def _args(self) -> bytes:
        return self.codec.dump_args(self._fn, (), {}, None)

    def take(self) -> Lease:
        """Claim one item."""
        (lease,) = self.store.claim(Want("w1", ("default",), 1))
        return lease

    def settle(self, lease: Lease, kind: Kind = Kind.SUCCEEDED, **facts: Any) -> None:
        """Give an outcome for all of a lease."""
        key = lease.key
        self.store.settle([Settlement(key, (Outcome(key.lo, key.hi, kind, **facts),))])

    def succeed(self, value: Any = None, *, log: str | None = None) -> None:
        """The next item returns a value."""
        lease = self.take()
        key = lease.key
        obj = [value] if lease.array else value
        sealed = self.codec.dump_result(key.node, key.lo, key.hi, key.fence, obj)
        self.settle(lease, value=sealed, took_s=0.5, log=log)

    def fail(self, error: Exception, *, log: str | None = None) -> None:
        """The next item raises."""
        lease = self.take()
        with suppress(type(error)):
            raise error  # so that it has a traceback
        self.settle(lease, Kind.FAILED, error=self.codec.failure(error).to_json(), took_s=0.5, log=log)

    def work(self, do: Callable[[int], Any]) -> None:
        """Run everything that may run, by a function of the item's index."""
        while leases := self.store.claim(Want("w1", ("default",), 1)):
            (lease,) = leases
            key = lease.key
            value = do(key.lo)
            sealed = self.codec.dump_result(
                key.node, key.lo, key.hi, key.fence, [value] if lease.array else value
            )
            self.settle(lease, value=sealed)
