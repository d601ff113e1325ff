"""What must hold after every step. Tests and `taskflow doctor` use it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from taskflow.machine.rows import LimitRow, NodeRow, Part
from taskflow.states import LIVE, TERMINAL, State

__all__ = ["broken", "miscounted"]


def broken(row: NodeRow, parts: Iterable[Part], ended: Iterable[tuple[int, int]]) -> list[str]:
    """Say in words what is wrong with a node; an empty list when nothing is.

    Args:
        row: The node.
        parts: Its live parts.
        ended: The ranges of its segments.
    """
    parts = sorted(parts, key=lambda part: part.lo)
    ended = sorted(ended)
    faults = []
    if row.width is not None and row.final is None:
        faults += _partition(row, parts, ended)
    for state, tally in (
        (State.RUNNING, row.held),
        (State.WAITING, row.waiting),
        (State.QUEUED, row.returned),
    ):
        items = sum(part.size for part in parts if part.state is state)
        if items != tally:
            faults.append(f"{items} items of its parts are {state}, the node counts {tally}")
    if any(part.fence > row.fence for part in parts):
        faults.append("a part has a fence that was never issued")
    if any(part.deliveries > row.policy.max_deliveries for part in parts):
        faults.append("a part was delivered too often")
    if row.state in TERMINAL and (parts or row.open):
        faults.append(f"it is {row.state} with {row.open} items open and {len(parts)} live parts")
    if row.state in LIVE and row.open == 0 and row.width:
        faults.append(f"it is {row.state} though every item has ended")
    faults += _state(row)
    return [f"node {row.id}: {fault}" for fault in faults]


def miscounted(limits: Iterable[LimitRow], nodes: Iterable[NodeRow]) -> list[str]:
    """Say which limits count other items than run."""
    running: Counter[str] = Counter()
    for row in nodes:
        for limit in row.policy.limits:
            if limit.most is not None:
                running[limit.name] += row.held
    counted = {row.name: row.held for row in limits if row.held}
    names = sorted(counted.keys() | +running)
    return [
        f"limit {name}: {running[name]} items run, it counts {counted.get(name, 0)}"
        for name in names
        if running[name] != counted.get(name, 0)
    ]


def _partition(row: NodeRow, parts: list[Part], ended: list[tuple[int, int]]) -> list[str]:
    width = row.width or 0
    pieces = sorted(
        [(part.lo, part.hi) for part in parts] + ended + [(row.cursor, width)] * (row.cursor < width)
    )
    at = 0
    for lo, hi in pieces:
        if lo != at or hi <= lo:
            return [f"items [{min(lo, at)}, {max(lo, at)}) are in no piece or in two"]
        at = hi
    if at != width:
        return [f"items [{at}, {width}) are in no piece"]
    still = width - sum(hi - lo for lo, hi in ended)
    return [] if still == row.open else [f"{still} items have not ended, the node counts {row.open}"]


def _state(row: NodeRow) -> list[str]:
    claimable = row.returned > 0 or (row.fresh > 0 and row.due_at is None)
    blocked = row.remaining > 0 or row.final is not None or row.width is None
    expected: dict[State, bool] = {
        State.BLOCKED: blocked,
        State.QUEUED: not blocked and claimable,
        State.RUNNING: not blocked and not claimable and (row.held > 0 or row.replaced > 0),
        State.WAITING: not blocked and not claimable and row.held == 0 and row.replaced == 0,
    }
    if row.state in expected and not expected[row.state]:
        return [f"it is {row.state} with {row.remaining} predecessors, {row.fresh} fresh, {row.held} held"]
    return []
