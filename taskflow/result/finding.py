"""Results by their shape, by their id, and by Celery's tuples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from taskflow import hooks
from taskflow.canvas.shape import Shape, split_id
from taskflow.errors import NoSuchRun
from taskflow.ids import NodeId, RunId
from taskflow.result.group import GroupResult
from taskflow.result.single import AsyncResult, EagerResult
from taskflow.run import arrays_of

if TYPE_CHECKING:
    from taskflow.engine import Engine

__all__ = [
    "allow_join_result", "assert_will_not_block", "find_result", "result_from_tuple", "result_of",
]  # fmt: skip


def result_of(
    engine: Engine,
    run: RunId,
    shape: Shape,
    arrays: Mapping[NodeId, int | None],
    path: str = "",
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
        path: Its place in the result of the run.
        ignored: No value is kept.
        eager: Of what ran in this process: what keeps the run in the store while a result of it lives.
    """
    kind = GroupResult if shape.is_list else AsyncResult if eager is None else EagerResult
    kin = partial(result_of, eager=eager)
    return kind(engine, run, shape, arrays, kin, path=path, ignored=ignored)


def find_result(engine: Engine, id: str) -> AsyncResult:  # noqa: A002 - what the attribute is called
    """The handle of a result by its id, from whatever process it was sent.

    Raises:
        NoSuchRun: The store knows no such task or group; ResultExpired: it did.
    """
    engine.flush()
    name, slash, rest = id.partition("/")
    name, index = split_id(name)
    run, node = engine.store.find(name)
    view, _ = engine.store.snapshot(run)
    arrays = arrays_of(view)
    whole = Shape.from_json(view.meta["canvas"]) if "canvas" in view.meta else None
    try:
        if whole is None:
            first = node or view.nodes[0].id
            width = arrays.get(first) if index is None else None
            return result_of(engine, run, Shape(first, index, width), arrays)
        if node is None:
            return result_of(engine, run, whole.follow(slash + rest), arrays, slash + rest)
    except (LookupError, ValueError):
        raise NoSuchRun(f"Run {run} has no part {rest!r}.") from None
    return result_of(engine, run, whole.find(node, index) or Shape(node, index, arrays.get(node)), arrays)


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
    chosen = client or (app.client() if app is not None else hooks.current_client())
    return chosen.async_result(found)  # type: ignore[no-any-return]


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Does nothing: a task may wait for its own tasks, it lends them its slot meanwhile."""
    yield


def assert_will_not_block() -> None:
    """Does nothing: waiting inside a task is allowed."""
