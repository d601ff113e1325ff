"""The verbs of a store, as rules over rows: what a store calls, each in one atomic step.

Pure: the clock is `rows.now`, nothing here reads or writes anything but rows, so all stores keep the same
semantics. One room to a verb::

    submit ─► growing          claim, renew ─► claiming          reap ─► reaping
    cancel ─► cancelling             settle ─► settling         rerun ─► rerunning

    claim ──► lease (range + fence) ──► settle ──► segment | part (retry, returned)
                      │                    │
                      └── renew            └── node ends ──► successors released, run ends
"""

from __future__ import annotations

from collections.abc import Iterable

from taskflow.machine.cancelling import cancel
from taskflow.machine.claiming import claim, renew
from taskflow.machine.growing import add_plan
from taskflow.machine.reaping import reap
from taskflow.machine.rerunning import rerun
from taskflow.machine.rows import Rows
from taskflow.machine.settling import settle
from taskflow.records import Plan

__all__ = ["cancel", "claim", "reap", "renew", "rerun", "settle", "submit"]


def submit(rows: Rows, plans: Iterable[Plan]) -> None:
    """Add plans; those whose run is there are left as they are."""
    for plan in plans:
        add_plan(rows, plan)
