"""A module of tasks for those who have no key, and a few functions that are none."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import taskflow


@taskflow.task
def add(x: Any, y: Any = 1) -> Any:
    return x + y


@taskflow.task
def tomorrow(day: date) -> date:
    return day + timedelta(days=1)


@taskflow.task
def echo(*args: Any, **kwargs: Any) -> Any:
    return [list(args), kwargs]


@taskflow.task
def fail(words: str) -> None:
    raise LookupError(words)


@taskflow.task
def long(size: int) -> str:
    return "x" * size


@taskflow.task
def odd() -> set[int]:
    return {1}


@taskflow.task(retry=taskflow.RetryPolicy(2, delay=0.01))
def attempt() -> int:
    number = taskflow.current().attempt
    if number < 2:
        raise ValueError("not yet")
    return number


def secret() -> str:
    """No task: nobody may call it by name."""
    return "secret"
