"""Results by their shape, by their id, and by Celery's tuples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from taskflow import hooks
from taskflow.canvas.shape import Shape
from taskflow.ids import NodeId, RunId
from taskflow.records import RunView
from taskflow.result.group import GroupResult
from taskflow.result.looking import by_id, of_run
from taskflow.result.single import AsyncResult, EagerResult

if TYPE_CHECKING:
    from taskflow.burst import Pledge
    from taskflow.engine import Engine
    from taskflow.future import Future

__all__ = [
    "allow_join_result", "assert_will_not_block", "find_result", "result_from_tuple", "result_of",
    "result_of_future", "result_of_pledge", "result_of_run",
]  # fmt: skip


def result_of(
    engine: Engine,
    run: RunId,
    shape: Shape,
    arrays: Mapping[NodeId, int | None],
    path: str | None = "",
    homes: Mapping[NodeId, RunId] | None = None,
    /,
    *,
    ignored: bool = False,
    eager: object = None,
) -> AsyncResult:
    """The handle of a result: that of a group, or of one task.

    Args:
        engine: Where it was sent.
        run: The run it is part of.
        shape: Where the values are.
        arrays: The array nodes of the run, with their widths.
        path: Its place in the result of the run; `None` where that does not come from it.
        homes: The runs of nodes that are not of this one.
        ignored: No value is kept.
        eager: Of what ran in this process: what keeps the run in the store while a result of it lives.
    """
    kind = GroupResult if shape.is_list else AsyncResult if eager is None else EagerResult
    kin = partial(result_of, eager=eager)
    return kind.made(engine, run, shape, arrays, kin, path=path, homes=homes, ignored=ignored)


_KIN = partial(result_of, eager=None)


result_of_pledge: Callable[[Pledge], AsyncResult] = partial(AsyncResult.of_pledge, kin=_KIN)
"""The handle of a call of a burst in Celery's words."""

result_of_future: Callable[[Future[Any]], AsyncResult] = partial(AsyncResult.of_future, kin=_KIN)
"""The handle of a call in Celery's words."""


def result_of_run(engine: Engine, view: RunView) -> AsyncResult:
    """The handle of the run of a canvas that is in the store; what it runs again is found where it is now."""
    return of_run(engine, view, result_of)


def find_result(engine: Engine, id: str) -> AsyncResult:  # noqa: A002 - what the attribute is called
    """The handle of a result by its id, from whatever process it was sent.

    Raises:
        NoSuchRun: The store knows no such task or group; ResultExpired: it did.
    """
    return by_id(engine, id, result_of)


def result_from_tuple(found: Any, app: Any = None, *, client: Any = None) -> AsyncResult | None:
    """The handle that `AsyncResult.as_tuple` was made of; also of an id, or of a handle itself.

    Args:
        found: ``((id, parent), children)``.
        app: Where it was sent to.
        client: Where it was sent to; the current client by default.

    Raises:
        NoSuchRun: The store knows no such task or group.
    """
    if found is None or isinstance(found, AsyncResult):
        return found
    while not isinstance(found, str):
        found = found[0]
    return hooks.client_of(client, app).async_result(found)  # type: ignore[no-any-return]


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Does nothing: a task may wait for its own tasks, it lends them its slot meanwhile."""
    yield


def assert_will_not_block() -> None:
    """Does nothing: waiting inside a task is allowed."""
