"""Suites and doubles for those who write stores and pools, and for our own tests.

`ManualClock` is time that stands still, `StoreContract` the promises every store keeps, `Story` the words
its tests are told in, `histories` random lives of a store against a simple oracle. `PoolContract` are the
promises of every pool, `Workbench` starts leases on one. `ResultsContract` are those of a place for results.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskflow.testing.clock import ManualClock
    from taskflow.testing.histories import Histories
    from taskflow.testing.pool_contract import PoolContract
    from taskflow.testing.results_contract import ResultsContract
    from taskflow.testing.store_contract import StoreContract
    from taskflow.testing.story import Story
    from taskflow.testing.workbench import Workbench

__all__ = [
    "Histories",
    "ManualClock",
    "PoolContract",
    "ResultsContract",
    "StoreContract",
    "Story",
    "Workbench",
]

_ROOM_OF = {
    "Histories": "taskflow.testing.histories",
    "ManualClock": "taskflow.testing.clock",
    "PoolContract": "taskflow.testing.pool_contract",
    "ResultsContract": "taskflow.testing.results_contract",
    "StoreContract": "taskflow.testing.store_contract",
    "Story": "taskflow.testing.story",
    "Workbench": "taskflow.testing.workbench",
}

if "pytest" in sys.modules:  # so that a failed assert in a suite says what was compared
    sys.modules["pytest"].register_assert_rewrite(*_ROOM_OF.values())


def __getattr__(name: str) -> Any:
    """Load a name on its first use: the clock needs no pytest."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'taskflow.testing' has no attribute {name!r}")
    return getattr(import_module(_ROOM_OF[name]), name)
