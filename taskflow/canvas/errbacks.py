"""What runs when a task has failed: the signatures given to `link_error`.

An errback is a node like any other, with an edge that is met by a failure. Celery's two styles are kept: one
that takes more than one argument gets ``(request, exc, traceback)``, another the id of the task that failed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taskflow.canvas.registry import resolve
from taskflow.canvas.shape import Shape, item_id
from taskflow.canvas.stamping import as_tags
from taskflow.ids import NodeId
from taskflow.plan import Fault, Output
from taskflow.records import EdgeMode

if TYPE_CHECKING:
    from taskflow.canvas.sheet import Sheet
    from taskflow.canvas.signatures import Signature

__all__ = ["Failed", "draw_errbacks", "headers_too", "of_headers"]

_of_headers: ContextVar[bool] = ContextVar("taskflow_errbacks_of_headers", default=False)


@dataclass(frozen=True)
class Failed:
    """The task that failed, as an errback gets it.

    Args:
        id: Its id.
        task: Its name.
        args: Its positional arguments, without the result of the step before.
        kwargs: Its keyword arguments.
    """

    id: str
    task: str = ""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def headers_too(on: bool) -> Iterator[None]:
    """Whether what is drawn meanwhile calls the errbacks of a chord for each member of its header as well."""
    token = _of_headers.set(on)
    try:
        yield
    finally:
        _of_headers.reset(token)


def of_headers() -> bool:
    """See `headers_too`."""
    return _of_headers.get()


def draw_errbacks(
    sheet: Sheet, errbacks: Iterable[Signature], shape: Shape, sig: Signature, mode: EdgeMode
) -> None:
    """Draw errbacks behind a node.

    Args:
        sheet: Takes them.
        errbacks: What to run.
        shape: Where the result would have been; of several results, one that is missing is enough.
        sig: What the node calls, for the request.
        mode: Whether only its own failure counts, or also one before it.
    """
    errbacks = list(errbacks)
    if not errbacks:
        return
    mark = _tags_of(errbacks[0])
    node = shape.node or sheet.call(_nothing, (), {}, {"label": "all of these", **mark}, shape.waits())
    fault = Output(node, mode=mode)
    for errback in errbacks:
        if errback.subtask_type is None and _takes_several(resolve(errback.task)[0]):
            _draw_call(sheet, errback, fault, _Told(sig.name, sig.args, sig.kwargs))
        else:
            options = {"label": "id of what failed", **_tags_of(errback)}
            named = sheet.call(_failed_id, (fault,), {}, options, ())
            errback.draw(sheet, Shape(named))


def _tags_of(errback: Signature) -> dict[str, Any]:
    """What a node that serves an errback is found by: the same as that."""
    return {name: tags for name, tags in as_tags(errback.options).items() if name == "tags"}


def _draw_call(sheet: Sheet, errback: Signature, fault: Output, told: _Told) -> None:
    fn, declared = resolve(errback.task)
    handler = _Errback(fn, told, errback.immutable)
    options = as_tags({**declared, "label": errback.name, **errback.options})
    sheet.call(handler, (fault, *errback.args), errback.kwargs, options, ())


def _takes_several(fn: Callable[..., Any]) -> bool:
    """Whether a function takes more than one positional argument: Celery's test for the new style."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 1 or any(p.kind is p.VAR_POSITIONAL for p in parameters)


@dataclass(frozen=True)
class _Told:
    """What is known of a task when its errback is drawn."""

    task: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class _Errback:
    """Calls an errback of the new style."""

    func: Callable[..., Any]  # the name that `functools.partial` has for it: pools look through it
    told: _Told
    immutable: bool

    def __call__(self, fault: Fault, /, *args: Any, **kwargs: Any) -> Any:
        """Call it with request, exception and traceback, then with its own arguments."""
        if self.immutable:
            return self.func(*args, **kwargs)
        told = self.told
        request = Failed(_failed_id(fault), told.task, told.args, told.kwargs)
        return self.func(request, fault.error, fault.traceback, *args, **kwargs)


def _nothing() -> None:
    """Stands for several results at once: it is skipped when one of them is missing."""


def _failed_id(fault: Fault) -> str:
    return item_id(fault.node, fault.item) if fault.array else NodeId(fault.node)
