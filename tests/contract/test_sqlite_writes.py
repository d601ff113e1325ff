"""A step writes each row once, and of it what has changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taskflow.ids import NodeId, RunId
from taskflow.records import Edge, Node, Plan
from taskflow.states import State
from taskflow.stores.sqlite import SQLiteStore
from taskflow.testing import ManualClock
from tests.contract import sharing


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    tmp_path.chmod(0o700)
    store = SQLiteStore(tmp_path / "runs.db", clock=ManualClock())
    yield store
    store.close()


@contextmanager
def written(store: SQLiteStore) -> Iterator[list[str]]:
    """The statements by which nodes are changed inside."""
    statements: list[str] = []
    store._writer.set_trace_callback(
        lambda statement: statements.append(statement) if statement.startswith("update node") else None
    )
    try:
        yield statements
    finally:
        store._writer.set_trace_callback(None)


def node(name: str, *parents: str) -> Node:
    return Node(NodeId(name), "0" * 40, b"args", tuple(Edge(NodeId(parent)) for parent in parents))


def states(store: SQLiteStore) -> dict[str, State]:
    return {node.id: node.state for node in store.snapshot(RunId("run"))[0].nodes}


def test_what_a_step_sets_free_and_hands_out_is_written_once(store: SQLiteStore) -> None:
    store.submit([Plan(RunId("run"), (node("a"), node("b", "a")))])
    leases = store.claim(sharing.want())

    with written(store) as statements:
        [lease] = store.settle(sharing.settle_all(leases), want=sharing.want()).leases

    assert lease.key.node == "b"
    assert states(store) == {"a": State.SUCCEEDED, "b": State.RUNNING}
    assert len(statements) == 2
    assert not any("'queued'" in statement for statement in statements)


def test_of_what_waits_for_more_the_number_is_written(store: SQLiteStore) -> None:
    store.submit([Plan(RunId("run"), (node("a"), node("b"), node("c", "a", "b")))])
    leases = store.claim(sharing.want())

    with written(store) as statements:
        store.settle(sharing.settle_all(leases[:1]))

    assert [statement for statement in statements if "remaining" in statement] == [
        "update node set remaining=1 where key=3"
    ]
    [last] = store.settle(sharing.settle_all(leases[1:]), want=sharing.want()).leases
    assert (last.key.node, last.args) == ("c", b"args")


def test_a_node_that_another_store_has_changed_is_read_anew(store: SQLiteStore, tmp_path: Path) -> None:
    """What a store knows of a node it has handed out holds only while nobody else writes to the file."""
    store.submit([Plan(RunId("run"), (node("a"), node("b", "a")))])
    leases = store.claim(sharing.want())
    other = SQLiteStore(tmp_path / "runs.db", clock=ManualClock())
    assert other.cancel(NodeId("b"), reason="not needed")
    other.close()

    assert store.settle(sharing.settle_all(leases), want=sharing.want()).leases == []
    assert states(store) == {"a": State.SUCCEEDED, "b": State.CANCELLED}
