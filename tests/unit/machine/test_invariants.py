"""A node that is out of order is found out."""

from __future__ import annotations

from typing import Any

import pytest

from taskflow.ids import NodeId, RunId
from taskflow.machine.invariants import broken
from taskflow.machine.rows import NodeRow, Part
from taskflow.policy import Policy
from taskflow.states import State


def _row(**changes: Any) -> NodeRow:
    """A map over ten items: two ended, three held, one waits, one came back, three were never handed out."""
    row = NodeRow(
        NodeId("n"), RunId("r"), State.QUEUED, "f", b"", 10, True, "default", 0, Policy(), "", 0.0,
        cursor=7, open=8, held=3, waiting=1, returned=1, fence=4,
    )  # fmt: skip
    for name, value in changes.items():
        setattr(row, name, value)
    return row


def _parts() -> list[Part]:
    return [
        Part(2, 5, State.RUNNING, fence=4, deliveries=1),
        Part(5, 6, State.WAITING),
        Part(6, 7, State.QUEUED, fence=-2),
    ]


ENDED = [(0, 1), (1, 2)]


def test_a_node_in_order_has_no_faults() -> None:
    assert broken(_row(), _parts(), ENDED) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"cursor": 6}, "in no piece or in two"),
        ({"cursor": 8}, "in no piece"),
        ({"width": 11}, "have not ended"),
        ({"open": 7}, "have not ended"),
        ({"held": 2}, "are running"),
        ({"waiting": 0}, "are waiting"),
        ({"returned": 2}, "are queued"),
        ({"fence": 3}, "never issued"),
        ({"policy": Policy(max_deliveries=0)}, "too often"),
        ({"state": State.RUNNING}, "it is running with"),
        ({"state": State.BLOCKED}, "it is blocked with"),
        ({"state": State.SUCCEEDED}, "items open"),
        ({"remaining": 1}, "1 predecessors"),
    ],
)
def test_a_wrong_count_is_found(change: dict[str, Any], fault: str) -> None:
    found = broken(_row(**change), _parts(), ENDED)

    assert any(fault in line for line in found), found
    assert all(line.startswith("node n: ") for line in found)


@pytest.mark.parametrize("ended", [[(0, 1)], [(0, 2), (1, 2)], [(0, 1), (1, 3)], [(0, 2), (2, 2)]])
def test_an_item_in_no_piece_or_in_two_is_found(ended: list[tuple[int, int]]) -> None:
    assert broken(_row(), _parts(), ended) != []


def test_a_node_that_lives_though_all_has_ended_is_found() -> None:
    row = _row(cursor=10, open=0, held=0, waiting=0, returned=0, state=State.RUNNING)

    assert any("though every item has ended" in line for line in broken(row, [], [(0, 10)]))
