"""Results of which only the ids are known so far: what was frozen, and handles from another process.

They are looked for in the stores that are open in this process when more is asked of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from taskflow import hooks
from taskflow.canvas.shape import Shape
from taskflow.errors import NoSuchRun, ResultExpired, UsageError
from taskflow.result.finding import result_of
from taskflow.result.group import GroupResult
from taskflow.result.looking import by_shape
from taskflow.result.single import AsyncResult

__all__ = ["PromisedGroup", "PromisedResult", "promised"]

_OF_SENT = frozenset(
    {"run_id", "_arrays", "_begun", "_changed", "_engine", "_handles", "_homes", "_ignored", "_kin", "_lost"}
    | {"_on_end", "_over"}
)
"""What `AsyncResult.made` sets."""


def promised(found: Shape | Mapping[str, Any], url: str = "") -> AsyncResult:
    """The handle of a result whose place is known.

    Args:
        found: The place, or what `Shape.to_json` gave of it.
        url: The store; any that is open here, when it is empty.
    """
    shape = found if isinstance(found, Shape) else Shape.from_json(found)
    kind = PromisedGroup if shape.is_list else PromisedResult
    return kind.of(shape, url)


class _Promised(AsyncResult):
    """Knows its ids; everything else as soon as it was sent."""

    _url: str

    @classmethod
    def of(cls, shape: Shape, url: str) -> AsyncResult:
        """The handle for a place."""
        self = cls.__new__(cls)
        self.shape, self._url, self._path = shape, url, None
        return self

    def __getattr__(self, name: str) -> Any:
        """What a handle of something that was sent has."""
        if name not in _OF_SENT or "_engine" in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        vars(self).update(vars(self._found()))
        return getattr(self, name)

    def _found(self) -> AsyncResult:
        """The handle that sending gave.

        Raises:
            UsageError: It was not sent to any store that is open here.
        """
        engines = hooks.engines(self._url) or [cast("Any", hooks.current_client())._engine]
        for engine in engines:
            try:
                return by_shape(engine, self.shape, result_of)
            except (NoSuchRun, ResultExpired):
                continue
        name = self.shape.id or "This group"
        if self._url:
            raise UsageError(f"{name} is not in a store that is open here: open {self._url} first.")
        raise UsageError(f"{name} was frozen, and has not been sent: send it with apply_async() first.")

    @property
    def is_sent(self) -> bool:
        """Whether a store that is open here knows it."""
        try:
            return self._engine is not None
        except UsageError:
            return False

    @property
    def parent(self) -> AsyncResult | None:
        """The result of the step before."""
        before = self.shape.parent
        return None if before is None else promised(before, self._url)

    @property
    def _place(self) -> str:
        return vars(self)["_engine"].url if "_engine" in vars(self) else self._url

    def __reduce__(self) -> tuple[Any, ...]:
        return hooks.promised, (self.shape.to_json(), self._place)

    def _ipython_display_(self) -> None:
        if self.is_sent:
            super()._ipython_display_()
        else:
            print(repr(self))


class PromisedResult(_Promised):
    """The result of a task, chain or chord that was frozen, or that another process has sent."""

    @property
    def id(self) -> str:  # type: ignore[override]
        """The id that the task has, or will have."""
        return str(self.shape.id)

    @property
    def children(self) -> list[AsyncResult]:
        """What followed it, once it was sent."""
        return super().children if self.is_sent else []


class PromisedGroup(_Promised, GroupResult):  # type: ignore[misc]  # as of a `GroupResult`
    """The same of a group."""

    @property
    def id(self) -> str:  # type: ignore[override]
        """The id of the group; of one of several tasks it is known when it was sent."""
        return super().id if self.is_sent else str(self.shape.id or "")

    @property
    def results(self) -> list[AsyncResult]:
        """The results of its members, in order."""
        if self._members is None:
            self._members = [promised(part, self._url) for part in self.shape.items()]
        return self._members
