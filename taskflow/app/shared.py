"""`shared_task`: tasks that belong to whatever application is current."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from taskflow.app.task import Task, make_task

__all__ = ["shared_task"]

P = ParamSpec("P")
R = TypeVar("R")


@overload
def shared_task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(
    fn: None = None,
    /,
    *,
    bind: Literal[True],
    name: str | None = None,
    base: type | None = None,
    **options: Any,
) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...
@overload
def shared_task(
    fn: None = None,
    /,
    *,
    bind: Literal[False] = False,
    name: str | None = None,
    base: type | None = None,
    **options: Any,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def shared_task(
    fn: Any = None, /, *, bind: bool = False, name: str | None = None, base: Any = None, **options: Any
) -> Any:
    """Make a task of a function that belongs to whatever application is current when it is sent.

    For modules that are to be used by several applications, or that do not know theirs; else as
    ``@app.task``.

    Example:
        >>> @shared_task
        ... def add(x, y):
        ...     return x + y
        >>> add(2, 2)
        4
    """
    options["name"] = name
    if fn is None:
        return lambda fn: make_task(None, fn, bind, base, options)
    return make_task(None, fn, bind, base, options)
