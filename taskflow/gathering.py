"""Collecting: the values of futures in nestings of containers, and futures as they end."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

from taskflow.arrivals import Arrivals
from taskflow.future import Future
from taskflow.maprun import Errors, MapRun, check_errors
from taskflow.result import AsyncResult, ResultSet
from taskflow.run import LEFT_OUT, Run, outcome
from taskflow.workflowrun import WorkflowRun

__all__ = ["as_completed", "gather"]

R = TypeVar("R")


def gather(futures: Any, errors: Errors = "raise") -> Any:
    """The values of futures, in the nesting of lists, tuples, sets and dicts they come in.

    Ctrl-C cancels all of them, unless the client was told otherwise.

    Args:
        futures: Futures, maps and runs, in containers; anything else is its own value.
        errors: ``"raise"``; ``"return"`` puts exceptions in place; ``"skip"`` leaves out what gave no value.
    """
    __tracebackhide__ = True
    check_errors(errors)
    try:
        found = _collect(futures, errors)
    except KeyboardInterrupt:
        _cancel_waited(_leaves(futures))
        raise
    return None if found is LEFT_OUT else found


def as_completed(
    futures: Iterable[Future[R]] | MapRun[R], timeout: float | None = None
) -> Arrivals[Future[R]]:
    """The futures as they end, see `concurrent.futures.as_completed`; for ``for`` and ``async for``.

    Raises:
        WaitTimedOut: After `timeout` seconds some had not ended.
    """
    if isinstance(futures, MapRun):
        return futures.as_completed(timeout)
    known = list(dict.fromkeys(futures))
    return Arrivals(lambda: [(future, future) for future in known], timeout)


def _cancel_waited(futures: Iterable[Any]) -> None:
    """Ctrl-C ended a wait for these."""
    for future in futures:
        if isinstance(future, Future | MapRun | Run) and not future.done():
            future._engine.interrupted([future])


def _collect(futures: Any, errors: Errors) -> Any:
    __tracebackhide__ = True
    if isinstance(futures, dict):
        # Collected outside of comprehensions: these are frames of their own before Python 3.12.
        pairs = zip(futures, map(partial(_collect, errors=errors), futures.values()), strict=True)
        return {key: value for key, value in list(pairs) if value is not LEFT_OUT}
    if isinstance(futures, list | tuple | set | frozenset):
        collected = list(map(partial(_collect, errors=errors), futures))
        values = [value for value in collected if value is not LEFT_OUT]
        kind: Any = type(futures)
        return kind(*values) if hasattr(kind, "_fields") else kind(values)
    return _collect_one(futures, errors)


def _collect_one(future: Any, errors: Errors) -> Any:
    __tracebackhide__ = True
    if isinstance(future, MapRun):
        return future.results(errors)
    if isinstance(future, WorkflowRun):
        return future.gather(errors)
    if isinstance(future, AsyncResult | ResultSet):
        return outcome(future.get, errors)
    return outcome(future.result, errors) if isinstance(future, concurrent.futures.Future) else future


def _leaves(futures: Any) -> Iterator[Any]:
    """The futures and runs in a nesting of containers."""
    if isinstance(futures, concurrent.futures.Future | MapRun | Run):
        yield futures
    elif isinstance(futures, dict):
        yield from _leaves(list(futures.values()))
    elif isinstance(futures, list | tuple | set | frozenset | ResultSet):
        for one in futures:
            yield from _leaves(one)
