"""Handles of what was sent by the Celery face: its module, its words.

One task, chain or chord gives an `AsyncResult`, a group a `GroupResult`, and what ran at once in this
process (`Signature.apply`) an `EagerResult`. A `ResultSet` gathers any of them.
"""

from __future__ import annotations

from taskflow.result.finding import allow_join_result, assert_will_not_block, result_from_tuple, result_of
from taskflow.result.group import GroupResult
from taskflow.result.sets import ResultSet
from taskflow.result.single import AsyncResult, EagerResult

__all__ = [
    "AsyncResult",
    "EagerResult",
    "GroupResult",
    "ResultSet",
    "allow_join_result",
    "assert_will_not_block",
    "result_from_tuple",
    "result_of",
]
