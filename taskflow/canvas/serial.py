"""Many calls in one task: `xmap`, `xstarmap`, and `chunks`, which makes a group of them.

These are Celery's ``task.map``, ``task.starmap`` and ``task.chunks``: the calls of one task are made one
after the other, by one worker. What runs side by side is `Client.map`, and a `group`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from taskflow import hooks
from taskflow.canvas.applied import Serially
from taskflow.canvas.combinators import group
from taskflow.canvas.registry import resolve
from taskflow.canvas.shape import Shape
from taskflow.canvas.sheet import CANVAS_OPTIONS, Sheet
from taskflow.canvas.signatures import Signature, as_signature
from taskflow.canvas.stamping import as_tags
from taskflow.errors import UsageError

__all__ = ["chunks", "xmap", "xstarmap"]


class _OfItems(Signature):
    """A signature over the calls of another one, which it keeps with the items, as Celery does."""

    subtask_type = "items"
    _name: ClassVar[str] = ""

    def __init__(self, task: Any, it: Iterable[Any] = (), **options: Any) -> None:
        super().__init__(self._name, (), {"task": as_signature(task)}, immutable=True, **options)
        self["kwargs"]["it"] = self._items(it)

    @property
    def it(self) -> list[Any]:
        """The items."""
        return self.kwargs["it"]  # type: ignore[no-any-return]

    @property
    def inner(self) -> Signature:
        """What is called with each."""
        return self.kwargs["task"]  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"{self.inner.name}.{self._name.removeprefix('taskflow.')}({len(self.it):,} items)"

    @staticmethod
    def _items(it: Iterable[Any]) -> list[Any]:
        return list(it)

    def _restore(self) -> None:
        kwargs = self["kwargs"]
        kwargs["task"], kwargs["it"] = as_signature(kwargs["task"]), self._items(kwargs["it"])


class xmap(_OfItems):  # noqa: N801 - Celery's name
    """One task that calls another one with each item in turn; its result is the list of theirs.

    It is immutable: in a chain, the result before it is left out. What the other signature has of
    arguments goes behind the item.

    Args:
        task: What is called: a signature, a task or a function.
        it: The items.
        options: Options of the one task.

    Example:
        >>> from taskflow import signature
        >>> xmap(signature(sum), [[1, 2], [3]])()
        [3, 3]
    """

    subtask_type = "map"
    _name = "taskflow.map"
    _star: ClassVar[bool] = False

    @property
    def type(self) -> Callable[..., Any]:
        """The function that makes the calls."""
        return self._as_call()[0].target  # type: ignore[no-any-return]

    def __call__(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Make the calls here and now."""
        return self.type(self.it, *self.inner.args, **self.inner.kwargs)  # type: ignore[no-any-return]

    def _as_call(self) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        inner = self.inner
        own = as_tags(inner.options)
        extra = {name: value for name, value in own.items() if name not in CANVAS_OPTIONS}
        return _Serial(inner["task"], self._star, extra), (self.it, *inner.args), inner.kwargs


class xstarmap(xmap):  # noqa: N801 - Celery's name
    """The same as `xmap`, but each item is the tuple of arguments of its call.

    Example:
        >>> from taskflow import signature
        >>> xstarmap(signature(pow), [(2, 3), (3, 2)])()
        [8, 9]
    """

    subtask_type = "starmap"
    _name = "taskflow.starmap"
    _star = True

    @staticmethod
    def _items(it: Iterable[Any]) -> list[Any]:
        return [tuple(item) for item in it]


class chunks(_OfItems):  # noqa: N801 - Celery's name
    """A group of tasks, each of which makes `n` of the calls; its result is a list of lists.

    Args:
        task: What is called: a signature, a task or a function.
        it: The tuples of arguments.
        n: How many calls one task makes; the last one has the rest.
        options: Options of each of the tasks.

    Example:
        >>> from taskflow import signature
        >>> [part.it for part in chunks(signature(pow), zip(range(5), range(5)), 2).group().tasks]
        [[(0, 0), (1, 1)], [(2, 2), (3, 3)], [(4, 4)]]
    """

    subtask_type = "chunks"
    _name = "taskflow.chunks"
    _is_call = False

    def __init__(self, task: Any, it: Iterable[Any] = (), n: int = 1, **options: Any) -> None:
        super().__init__(task, it, **options)
        if n < 1:
            raise UsageError(f"chunks of {n} items are not possible: use a number above 0.")
        self["kwargs"]["n"] = n

    @classmethod
    def apply_chunks(cls, task: Any, it: Iterable[Any], n: int, app: Any = None) -> Any:
        """Make chunks, and send them.

        Args:
            task: What is called.
            it: The tuples of arguments.
            n: How many calls one task makes.
            app: Where to send them; the current client by default.
        """
        return cls(task, it, n).apply_async(client=hooks.client_of(named=app))

    def group(self) -> group:
        """The group that it stands for: one `xstarmap` for each chunk."""
        size = self.kwargs["n"]
        parts = [self.it[at : at + size] for at in range(0, len(self.it), size)]
        return group([xstarmap(self.inner, part) for part in parts], **self.options)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Send it."""
        return self.apply_async(**options)

    def __or__(self, other: Any) -> Any:
        """``chunks | b`` is the chord whose body is `b`."""
        return self.group() | other

    def draw(
        self, sheet: Sheet, lead: Shape | None = None, inherited: Mapping[str, Any] | None = None
    ) -> Shape:
        """Draw the group; its members are of one kind, and become one array node."""
        members, own = self.group(), self._own_id(inherited).get("task_id")
        if own and len(members.tasks) == 1:
            members.tasks[0].options["task_id"] = own
        elif own:
            members._fix_ids(own)
        return members.draw(sheet, lead, inherited)

    @staticmethod
    def _items(it: Iterable[Any]) -> list[Any]:
        return [tuple(item) for item in it]


@dataclass(frozen=True)
class _Serial:
    """In place of a task: what makes its calls one after the other, treated as the task says."""

    task: Any
    star: bool
    extra: Mapping[str, Any] = field(hash=False)

    @property
    def target(self) -> Callable[..., Any]:
        """What is sent."""
        return Serially(resolve(self.task)[0], self.star)

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the task, and of the signature of it."""
        return {**resolve(self.task)[1], **self.extra}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.target(*args, **kwargs)
