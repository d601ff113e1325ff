"""The verbs of a store, as rules over rows: what a store calls, each in one atomic step.

Pure: the clock is `rows.now`, nothing here reads or writes anything but rows, so all stores keep the same
semantics. One room to a verb::

    submit ─► admitting, growing     claim, renew ─► claiming         reap ─► reaping
    cancel ─► cancelling             settle ─► settling              rerun ─► rerunning
    purge ─► purging                 hold, let_go, tell_breaker ─► sharing

    claim ──► lease (range + fence) ──► settle ──► segment | part (retry, returned)
                      │                    │
                      └── renew            └── node ends ──► successors released, run ends
"""

from __future__ import annotations

from collections.abc import Sequence

from taskflow.ids import RunId
from taskflow.machine.admitting import check_room
from taskflow.machine.cancelling import cancel
from taskflow.machine.claiming import claim, renew
from taskflow.machine.growing import add_plan
from taskflow.machine.purging import purge
from taskflow.machine.reaping import reap
from taskflow.machine.rerunning import rerun
from taskflow.machine.rows import Rows
from taskflow.machine.settling import settle
from taskflow.machine.sharing import hold, let_go, tell_breaker
from taskflow.records import Plan

__all__ = [
    "cancel",
    "claim",
    "hold",
    "let_go",
    "purge",
    "reap",
    "renew",
    "rerun",
    "settle",
    "submit",
    "tell_breaker",
]


def submit(rows: Rows, plans: Sequence[Plan]) -> dict[RunId, RunId]:
    """Add plans; those whose run is there are left as they are.

    Returns:
        For each that was not added the run that holds its lock.
    """
    check_room(rows, plans)
    held = {plan.run: add_plan(rows, plan) for plan in plans}
    return {run: holder for run, holder in held.items() if holder is not None}
