"""What a circuit breaker guards outside the options of a task: a block, a function, a coroutine function.

The store is asked before, and told after; so it is one breaker for all that have its name, tasks or not.
"""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar, cast

from taskflow.errors import CircuitOpen, StoreError
from taskflow.hooks import client_of

__all__ = ["enter", "guarded", "leave", "store"]

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

_began: ContextVar[tuple[float, ...]] = ContextVar("taskflow_guarded", default=())
"""When each of the blocks began in which this code is, the innermost last."""


class Breaker(Protocol):
    """What this asks a `CircuitBreaker`."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def fallback(self) -> Callable[..., Any] | None:
        """What is called in place of a function while it is open."""
        ...

    def tell(self, word: Any, took_s: float = 0.0) -> bool:
        """Ask or tell the store."""
        ...

    def spares(self, error: BaseException) -> bool:
        """Whether an exception is no failure."""
        ...


def store() -> Any:
    """The store of the task, or of the client of those who name none."""
    return client_of()._engine.store


def enter(breaker: Breaker) -> None:
    """A block begins.

    Raises:
        CircuitOpen: It may not.
    """
    if not breaker.tell("enter"):
        raise CircuitOpen(
            f"The circuit breaker {breaker.name!r} is open: what it guards has failed too often."
        )
    _began.set((*_began.get(), time.monotonic()))


def leave(breaker: Breaker, error: BaseException | None) -> None:
    """A block has ended. What was interrupted says nothing of what is guarded."""
    *outer, began = _began.get()
    _began.set(tuple(outer))
    if error is not None and not isinstance(error, Exception):
        return
    failed = error is not None and not breaker.spares(error)
    try:
        breaker.tell("failed" if failed else "answered", time.monotonic() - began)
    except StoreError as unsaid:  # the value, or the error, of what was guarded is worth more
        log.warning("circuit breaker %s was not told how it went: %s", breaker.name, unsaid)


def guarded(breaker: Breaker, fn: F) -> F:
    """A function that asks the breaker first, and calls its fallback, if it has one, while that is open."""
    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            instead = _begin(breaker)
            if instead is not None:
                given = instead(*args, **kwargs)
                return await given if inspect.isawaitable(given) else given
            with _Leaving(breaker):
                return await fn(*args, **kwargs)

        return cast(F, awaited)

    @functools.wraps(fn)
    def called(*args: Any, **kwargs: Any) -> Any:
        instead = _begin(breaker)
        if instead is not None:
            return instead(*args, **kwargs)
        with _Leaving(breaker):
            return fn(*args, **kwargs)

    return cast(F, called)


def _begin(breaker: Breaker) -> Callable[..., Any] | None:
    """Enter, or say what to call instead."""
    try:
        enter(breaker)
    except CircuitOpen:
        if breaker.fallback is None:
            raise
        return breaker.fallback
    return None


class _Leaving:
    """A block that `_begin` has entered."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        leave(self._breaker, error)
