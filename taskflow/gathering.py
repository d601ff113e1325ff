"""Values and handles in nestings of containers; see `taskflow.gather`."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from typing import Any

from taskflow.maprun import Errors, MapRun
from taskflow.result import AsyncResult, ResultSet
from taskflow.run import LEFT_OUT, Run, outcome
from taskflow.workflowrun import WorkflowRun

__all__ = ["collect", "leaves"]


def collect(futures: Any, errors: Errors = "raise") -> Any:
    """See `taskflow.gather`."""
    found = _collect(futures, errors)
    return None if found is LEFT_OUT else found


def _collect(futures: Any, errors: Errors) -> Any:
    if isinstance(futures, dict):
        pairs = [(key, _collect(value, errors)) for key, value in futures.items()]
        return {key: value for key, value in pairs if value is not LEFT_OUT}
    if isinstance(futures, list | tuple | set | frozenset):
        values = [value for value in [_collect(one, errors) for one in futures] if value is not LEFT_OUT]
        kind: Any = type(futures)
        return kind(*values) if hasattr(kind, "_fields") else kind(values)
    return _collect_one(futures, errors)


def _collect_one(future: Any, errors: Errors) -> Any:
    if isinstance(future, MapRun):
        return future.results(errors)
    if isinstance(future, WorkflowRun):
        return future.gather(errors)
    if isinstance(future, AsyncResult | ResultSet):
        return outcome(future.get, errors)
    return outcome(future.result, errors) if isinstance(future, concurrent.futures.Future) else future


def leaves(futures: Any) -> Iterator[Any]:
    """The futures and runs in a nesting of containers."""
    if isinstance(futures, concurrent.futures.Future | MapRun | Run):
        yield futures
    elif isinstance(futures, dict):
        yield from leaves(list(futures.values()))
    elif isinstance(futures, list | tuple | set | frozenset | ResultSet):
        for one in futures:
            yield from leaves(one)
