"""What every way to a Redis server has to carry."""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import closing
from typing import Any

from taskflow.ids import NodeId, RunId, WorkerId
from taskflow.records import (
    Edge,
    Kind,
    Lease,
    Node,
    Note,
    Outcome,
    Page,
    Plan,
    Settlement,
    Want,
    WorkerView,
)
from taskflow.stores.redis import RedisStore
from taskflow.testing import ManualClock
from tests.contract.sharing import call, settle_all, want

__all__ = ["array", "node", "rings", "settled", "some", "told_by", "works"]


def works(url: str, wait_s: float = 20.0) -> None:
    """A run goes from one connection to another, with a blob, and the bells of both topics ring."""
    with closing(RedisStore(url, wait_s=wait_s)) as one, closing(RedisStore(url, wait_s=wait_s)) as other:
        plan = call(args=b"argument")
        with closing(other.listen("work")) as work, closing(other.listen("watch")) as watch:
            one.blobs.put(f"blob-{plan.run}", [b"large", b" data"])
            one.submit([plan])
            assert rings(work)
            assert rings(watch)
            assert bytes(other.blobs.open(f"blob-{plan.run}")) == b"large data"
            (lease,) = other.claim(want())
            assert lease.args == b"argument"
            assert not other.settle(settle_all([lease])).lost
        view, _ = one.snapshot(plan.run)
        assert view.state == "succeeded"
        assert one.find(plan.run[:-1])[0] == plan.run
        assert one.reap() is None
        assert all(well for name, well, _ in one.check() if name != "durable"), one.check()
        assert one.sweep(age_s=-1.0, size_bytes=1 << 40)["runs"] == 1


def rings(bell: Any, within_s: float = 5.0) -> bool:
    readable = bool(select.select([bell], [], [], within_s)[0])
    bell.hush()
    return readable


def told_by(
    store: RedisStore, clock: ManualClock, trouble: Callable[[str], object] = lambda _: None
) -> list[Any]:
    """What a store answers to every verb once, and what it holds in the end; trouble comes before each,
    and is told its name."""
    told: list[Any] = []

    def ask(verb: Callable[..., Any], *args: Any, **named: Any) -> Any:
        trouble(verb.__name__)
        told.append(verb(*args, **named))
        return told[-1]

    run = RunId("run")
    nodes = (node("a"), node("b", "a"), node("c"), node("d", "c"), array("m", 25), node("late", delay_s=60.0))
    ask(store.submit, [Plan(run, nodes, "name")])
    leases = {lease.key.node: lease for lease in ask(store.claim, some(3))}
    ask(store.renew, [lease.key for lease in leases.values()], lease_s=30.0)
    ask(store.note, [Note(leases[NodeId("a")].key, "log", {"text": "line"})])
    done = [settled(leases[NodeId("a")], Kind.SUCCEEDED), settled(leases[NodeId("c")], Kind.FAILED)]
    ask(store.settle, done, want=some(1))
    ask(store.claim, some(1))
    clock.advance(40.0)
    ask(store.reap)
    ask(store.cancel, NodeId("m"), index=3)
    ask(store.pages, NodeId("m"), 0, 25)
    ask(store.rerun, run, RunId("again"))
    ask(
        store.announce, WorkerView(WorkerId("w"), "host", 1, ("default",), 2, 1, clock.now(), clock.now(), {})
    )
    ask(store.blobs.put, "blob", [b"da", b"ta"])
    assert bytes(ask(store.blobs.open, "blob")) == b"data"
    ask(store.blobs.has, "blob")
    for look in (store.runs, store.queues, store.workers, store.dead):
        ask(look)
    ask(store.values, [NodeId("a")])
    ask(store.items, NodeId("m"))
    ask(store.logs, NodeId("a"))
    ask(store.find, "aga")
    ask(store.submit, [Plan(RunId("brief"), (node("brief"),))])
    ask(store.cancel, RunId("brief"))
    ask(store.forget, RunId("brief"))
    ask(store.snapshot, run)
    ask(store.events, 0)
    assert all(well for _, well, _ in store.check())
    return told


def some(slots: int) -> Want:
    """What a worker asks with so many free slots."""
    return Want(WorkerId("w"), ("default",), slots)


def node(name: str, *parents: str, **options: Any) -> Node:
    """A call."""
    return Node(NodeId(name), "f", b"args", tuple(Edge(NodeId(p)) for p in parents), **options)


def array(name: str, width: int) -> Node:
    """An array with one page."""
    return Node(NodeId(name), "f", b"", width=width, array=True, pages=(Page(0, width, b"page"),))


def settled(lease: Lease, kind: Kind) -> Settlement:
    """The end of all items of a lease."""
    return Settlement(lease.key, (Outcome(lease.key.lo, lease.key.hi, kind, b"value"),))
