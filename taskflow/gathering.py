"""Collecting: the values of futures in nestings of containers, and futures as they end."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from taskflow.errors import WaitTimedOut
from taskflow.future import Future
from taskflow.maprun import Errors, MapRun, check_errors
from taskflow.pools import context
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
    check_errors(errors)
    try:
        found = _collect(futures, errors)
    except KeyboardInterrupt:
        _cancel_waited(_leaves(futures))
        raise
    return None if found is LEFT_OUT else found


def as_completed(
    futures: Iterable[Future[R]] | MapRun[R], timeout: float | None = None
) -> Iterator[Future[R]]:
    """The futures as they end; see `concurrent.futures.as_completed`.

    Raises:
        WaitTimedOut: After `timeout` seconds some had not ended.
    """
    known = futures.futures if isinstance(futures, MapRun) else list(futures)
    for engine in {future._engine for future in known}:
        engine.flush(wait=False)
        if engine.inline:
            mine = [future for future in known if future._engine is engine]
            engine.drive(lambda mine=mine: all(one.done() for one in mine), timeout)  # type: ignore[misc]
    try:
        with context.lend():
            yield from concurrent.futures.as_completed(known, timeout)  # type: ignore[misc]
    except TimeoutError as error:
        raise WaitTimedOut(f"{error}. {known[0]._engine.why_waiting()}") from None
    except KeyboardInterrupt:
        _cancel_waited(known)
        raise


def _cancel_waited(futures: Iterable[Any]) -> None:
    """Ctrl-C ended a wait for these."""
    for future in futures:
        if isinstance(future, Future | MapRun | Run) and not future.done():
            future._engine.interrupted([future])


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


def _leaves(futures: Any) -> Iterator[Any]:
    """The futures and runs in a nesting of containers."""
    if isinstance(futures, concurrent.futures.Future | MapRun | Run):
        yield futures
    elif isinstance(futures, dict):
        yield from _leaves(list(futures.values()))
    elif isinstance(futures, list | tuple | set | frozenset | ResultSet):
        for one in futures:
            yield from _leaves(one)
