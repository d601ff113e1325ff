from __future__ import annotations

from typing import Any

import pytest

from taskflow.ids import NodeId, RunId
from taskflow.lookup import Lookup
from taskflow.records import Edge, EdgeMode, Node, Page, Plan
from taskflow.stores.memory import MemoryStore
from taskflow.testing.clock import ManualClock
from taskflow.testing.story import Story

A = Node(NodeId("memo-a-1"), "fn", b"args")
B = Node(NodeId("b"), "fn", b"more", (Edge(A.id), Edge(NodeId("w"), EdgeMode.AFTER)))
W = Node(NodeId("w"), "fn", b"")
M = Node(NodeId("m"), "fn", b"", (), 4, True, (Page(0, 2, b"12"), Page(2, 4, b"34")))


@pytest.fixture
def store() -> MemoryStore:
    clock = ManualClock()
    store = MemoryStore(clock=clock)
    store.submit([Plan(RunId("run"), (A, W, B, M, A._replace(id=NodeId("late"))))])
    story = Story(store, clock)
    story.run("memo-a-1", "w")
    while leases := [lease for lease in story.claim(1) if lease.key.node != "late"]:
        assert story.succeed(*leases)
    return store


def test_a_node_is_found_by_its_whole_id(store: MemoryStore) -> None:
    lookup = Lookup(store)

    assert lookup.view(A.id).run == "run"  # type: ignore[union-attr]
    assert lookup.view(NodeId("memo-a")) is None
    assert lookup.view(NodeId("nowhere")) is None
    assert lookup.run(RunId("nowhere")) is None


def test_each_run_is_read_once(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = Lookup(store)
    lookup.run(RunId("run"))
    monkeypatch.delattr(MemoryStore, "snapshot")
    monkeypatch.delattr(MemoryStore, "find")

    assert lookup.view(B.id).label == B.label  # type: ignore[union-attr]


@pytest.mark.parametrize("node", [A, B, W, M])
def test_a_node_that_succeeded_holds_what_it_was(store: MemoryStore, node: Node) -> None:
    assert Lookup(store).holds(node)


@pytest.mark.parametrize(
    ("node", "change"),
    [
        (A, {"fn": "other"}),
        (A, {"args": b"other"}),
        (A, {"id": NodeId("late")}),
        (A, {"id": NodeId("nowhere")}),
        (A, {"edges": (Edge(W.id, EdgeMode.AFTER),)}),
        (B, {"edges": (Edge(A.id, EdgeMode.KEEP), Edge(W.id, EdgeMode.AFTER))}),
        (B, {"edges": (Edge(A.id),)}),
        (M, {"pages": (Page(0, 2, b"12"), Page(2, 4, b"35"))}),
        (M, {"width": 2, "pages": M.pages[:1]}),
    ],
)
def test_what_changed_is_not_held(store: MemoryStore, node: Node, change: dict[str, Any]) -> None:
    assert not Lookup(store).holds(node._replace(**change))
