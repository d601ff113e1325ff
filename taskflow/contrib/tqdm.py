"""tqdm: maps with a bar, in the words of ``tqdm.contrib.concurrent``.

It is for code that says ``from tqdm.contrib.concurrent import process_map``. A map knows how long it is, so
``tqdm(client.map(f, items))`` and ``tqdm(taskflow.as_completed(futures))`` need nothing of this. Bars inside
of tasks need nothing either: they are shown where the task is watched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from taskflow.client import Client, get_client
from taskflow.errors import MissingExtra

__all__ = ["process_map", "thread_map"]

R = TypeVar("R")


def process_map(
    fn: Callable[..., R],
    *iterables: Iterable[Any],
    client: Client | None = None,
    tqdm_class: Callable[..., Iterable[R]] | None = None,
    max_workers: int | None = None,
    chunksize: int | None = None,
    **bar: Any,
) -> list[R]:
    """The results of a map, in order, with a bar while they come.

    Args:
        fn: What to call.
        iterables: Its arguments, as for `Client.map`.
        client: Who sends it; the one of `get_client` by default.
        tqdm_class: Makes the bar; that of ``tqdm.auto`` by default.
        max_workers: Taken for tqdm's sake: the workers are those of the client.
        chunksize: Most items in one lease; by default as the measured time of an item demands.
        **bar: For the bar: ``desc``, ``unit``, ``disable`` …

    Raises:
        MissingExtra: tqdm is not installed.

    Example:
        >>> with Client(mode="inline") as inline:
        ...     process_map(abs, [-1, -2], client=inline, disable=True)
        [1, 2]
    """
    run = (client or get_client()).map(fn, *iterables, chunksize=chunksize or "auto")
    return list((tqdm_class or _auto())(run, **bar))


thread_map = process_map
"""The same: where it runs is decided by the pool of the workers."""


def _auto() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise MissingExtra("Bars need tqdm: pip install 'jupyter-taskflow[tqdm]'") from None
    return tqdm
