"""What is sent in place of a function, where a node does more than call it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from taskflow.codec.functions import describe

__all__ = ["Applied", "Serially"]


@dataclass(frozen=True)
class Applied:
    """A function as the items of an array node call it when they bring keywords or follow another step."""

    func: Callable[..., Any]  # the name that `functools.partial` has for it: pools look through it

    def __call__(self, item: tuple[tuple[Any, ...], dict[str, Any]], /, *lead: Any) -> Any:
        """Call the function with what all items share, then with what this one brings."""
        args, kwargs = item
        return self.func(*lead, *args, **kwargs)


@dataclass(frozen=True)
class Serially:
    """Calls a function with each item in turn, and gives the list of the results."""

    func: Callable[..., Any]
    star: bool

    @property
    def __name__(self) -> str:
        return f"{describe(self.func)}.{'starmap' if self.star else 'map'}"

    def __call__(self, items: Sequence[Any], /, *args: Any, **kwargs: Any) -> Any:
        """Make the calls; of a coroutine function, give the coroutine that makes them."""
        calls = (self.func(*call, **kwargs) for call in self.calls(items, *args))
        return _awaited(calls) if _is_async(self.func) else list(calls)

    def calls(self, items: Sequence[Any], /, *args: Any) -> Iterator[tuple[Any, ...]]:
        """The positional arguments of each call."""
        return ((*item, *args) if self.star else (item, *args) for item in items)


async def _awaited(calls: Iterator[Any]) -> list[Any]:
    return [await call for call in calls]


def _is_async(fn: Any) -> bool:
    while hasattr(fn, "func") and not inspect.iscoroutinefunction(fn):
        fn = fn.func
    return inspect.iscoroutinefunction(fn)
