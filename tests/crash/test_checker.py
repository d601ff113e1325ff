"""The history checker finds each kind of fault that is planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskflow import faults
from taskflow.errors import ConfigError
from taskflow.ids import NodeId, RunId
from taskflow.records import Event, Segment
from taskflow.states import State
from taskflow.testing.checker import Expected, Ledger, Verdict, examine

NODE, BEFORE = NodeId("n"), NodeId("before")


class Told:
    """A store and a codec that say what they were told to."""

    def __init__(self, segments: list[Segment], ended: list[tuple[int, int]]) -> None:
        self._segments, self._ended = segments, ended

    def events(self, after: int, *, limit: int) -> list[Event]:
        told = [
            Event(n, 0.0, RunId("r"), NODE, *ends, State.SUCCEEDED) for n, ends in enumerate(self._ended, 1)
        ]
        return [event for event in told if event.cursor > after][:limit]

    def values(self, nodes: list[NodeId]) -> dict[NodeId, list[Segment]]:
        return {node: self._segments if node == NODE else [] for node in nodes}

    def load_segment(self, segment: Segment) -> Any:
        return segment.value


def judge(folder: Path, *lines: tuple[int, int, str], **told: Any) -> Verdict:
    """Two items that should be 0 and 1, with this ledger: (item, fence, phase)."""
    ledger = Ledger(folder / "ledger")
    for item, fence, phase in lines:
        ledger.write(NODE, item, fence, phase)
    segments = [Segment(NODE, 0, 2, State.SUCCEEDED, told.get("values", [0, 1]), None, 1, True)]  # type: ignore[arg-type]
    store: Any = Told(told.get("segments", segments), told.get("ended", [(0, 2)]))
    after = told.get("after", ())
    return examine(store, store, [Expected(NODE, 2, lambda index: index, after)], ledger, lease_s=-1.0)


GOOD = [(0, 1, "begin"), (0, 1, "done"), (1, 1, "begin"), (1, 1, "done")]


def test_a_sound_history_is_sound(tmp_path: Path) -> None:
    verdict = judge(tmp_path, *GOOD)

    assert (verdict.faults, verdict.executions, verdict.duplicates.total()) == ({}, 2, 0)


@pytest.mark.parametrize(
    ("fault", "lines", "told"),
    [
        ("lost", GOOD, {"segments": []}),
        ("double", GOOD, {"ended": [(0, 2), (1, 2)]}),
        ("untold", GOOD, {"ended": [(0, 1)]}),
        ("wrong", GOOD, {"values": [0, 7]}),
        ("unexpected", [*GOOD, (5, 1, "begin")], {}),
        ("stale", [*GOOD, (1, 2, "begin")], {}),
        ("disorder", GOOD, {"after": (BEFORE,)}),
        ("overlap", [(0, 1, "begin"), (0, 2, "begin"), (0, 1, "done")], {}),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, fault: str, lines: Any, told: Any) -> None:
    assert fault in judge(tmp_path, *lines, **told).faults


def test_a_second_execution_is_counted_and_no_fault(tmp_path: Path) -> None:
    verdict = judge(tmp_path, (0, 1, "begin"), *GOOD)

    assert (verdict.faults, verdict.duplicates.total()) == ({}, 1)


@pytest.mark.parametrize("text", ["settle.befor:kill9", "settle.before:kill", "settle.before:kill9:x", "x"])
def test_a_fault_with_a_mistake_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="TASKFLOW_FAULT"):
        faults.parse(text)


def test_points_are_passed_for_nothing_where_no_fault_is_asked_for() -> None:
    assert faults.point == faults.unarmed
    assert all(faults.point(name) is None for name in faults.POINTS)
