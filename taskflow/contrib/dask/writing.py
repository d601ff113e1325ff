"""Tasks of Dask written down as a `Program`, and the values that a node gives it.

A task may hold others: containers of results, and graphs of its own, which Dask makes where it fuses. All
of them become steps. They are written in the order in which they stand in the arguments, never in that of a
set, so that every process writes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from dask._task_spec import Alias, DataNode, GraphNode, NestedContainer, TaskRef, _execute_subgraph

from taskflow.contrib.dask.program import FIXED, MADE, VALUE, Place, Program, Step

__all__ = ["Need", "Writer", "in_order"]

Where = Callable[[Any], Place]
"""Where the value of a key is."""


class Need(NamedTuple):
    """Stands for the value of another node."""

    key: Any


class Writer:
    """Writes the tasks of one node.

    Attributes:
        values: What the program is given: constants, and a `Need` for each value of another node.
        sources: The keys of tasks that need no others: they may say what their arguments do not, such as
            when a file was written.
    """

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.sources: list[Any] = []
        self._fixed: list[Any] = []
        self._at: dict[int, int] = {}
        self._steps: list[tuple[Place, tuple[Place, ...], tuple[tuple[str, Place], ...]]] = []

    def task(self, key: Any, task: Any, where: Where) -> Place:
        """Write what is found by a key.

        Args:
            key: Of the task.
            task: Of the kinds of `dask._task_spec`.
            where: Where the values are that it needs.
        """
        if not task.dependencies:
            self.sources.append(key)
        return self._node(task, where)

    def need(self, key: Any) -> Place:
        """The place of the value of another node."""
        return self.value(Need(key))

    def value(self, value: Any) -> Place:
        """The place of a constant; one that can be called belongs to the program."""
        if callable(value) and type(value) is not Need:
            return self._fix(value)
        self.values.append(value)
        return VALUE, len(self.values) - 1

    def program(self, last: Place, known: dict[Any, Program]) -> Program:
        """What was written; two with the same functions and steps are one.

        Args:
            last: Where the result is.
            known: Programs that were written before.
        """
        if last != (MADE, len(self._steps) - 1):
            last = self._step(_given, (last,))
        fixed = tuple(self._fixed)
        shape = tuple(map(id, fixed)), tuple(self._steps)
        if shape not in known:
            known[shape] = Program(tuple(self._finished()), fixed)
        return known[shape]

    # ── inside ──────────────────────────────────────────────────────────────────────

    def _node(self, node: Any, where: Where) -> Place:
        if isinstance(node, Alias):
            return where(node.target)
        if isinstance(node, DataNode):
            return self.value(node.value)
        if node.func is _execute_subgraph:
            return self._graph(*_Inner.of(node), where)
        if _is_constant(node):
            return self.value(node())
        args = tuple(self._argument(arg, where) for arg in node.args)
        return self._step(
            node.func, args, tuple((name, self._argument(arg, where)) for name, arg in node.kwargs.items())
        )

    def _argument(self, arg: Any, where: Where) -> Place:
        if isinstance(arg, TaskRef):
            return where(arg.key)
        return self._node(arg, where) if isinstance(arg, GraphNode) else self.value(arg)

    def _graph(self, tasks: Mapping[Any, Any], last: Any, given: Mapping[Any, Any], where: Where) -> Place:
        """Write a graph inside a task."""
        places: dict[Any, Place] = {}

        def here(key: Any) -> Place:
            if key not in places:
                places[key] = self._argument(given[key], where)
            return places[key]

        for key in in_order(tasks, last):
            places[key] = self.task(key, tasks[key], here)
        return here(last)

    def _step(self, fn: Any, args: tuple[Place, ...], kwargs: tuple[tuple[str, Place], ...] = ()) -> Place:
        self._steps.append((self._fix(fn), args, kwargs))
        return MADE, len(self._steps) - 1

    def _fix(self, value: Any) -> Place:
        at = self._at.setdefault(id(value), len(self._fixed))
        if at == len(self._fixed):
            self._fixed.append(value)
        return FIXED, at

    def _finished(self) -> Iterator[Step]:
        """The steps, each with the results that are not needed behind it."""
        last_use: dict[int, int] = {}
        for number, (fn, args, kwargs) in enumerate(self._steps):
            for kind, at in (fn, *args, *(place for _, place in kwargs)):
                if kind == MADE:
                    last_use[at] = number
        over: dict[int, list[int]] = {}
        for at, number in last_use.items():
            over.setdefault(number, []).append(at)
        for number, step in enumerate(self._steps):
            yield (*step, tuple(over.get(number, ())))


class _Inner(NamedTuple):
    """A graph inside a task: its tasks, the key of its result, and what its other keys stand for outside."""

    tasks: Mapping[Any, Any]
    last: Any
    given: Mapping[Any, Any]

    @classmethod
    def of(cls, task: Any) -> _Inner:
        tasks, last, names, *values = task.args
        given = dict(zip(names, values, strict=True))
        return cls({key: one for key, one in tasks.items() if key not in given}, last, given)


def in_order(
    tasks: Mapping[Any, Any], last: Any, target: Callable[[Any], Any] = lambda key: key
) -> list[Any]:
    """The keys that a task of a graph needs, and its own: each after what it needs itself.

    Args:
        tasks: The graph; other keys are passed over.
        last: The key of the task.
        target: What a key stands for.
    """
    found: dict[Any, None] = {}
    todo = [(last, False)]
    while todo:
        key, is_ready = todo.pop()
        if is_ready:
            found[key] = None
        elif key in tasks and key not in found:
            todo.append((key, True))
            todo += [(target(other), False) for other in reversed(_needs(tasks[key]))]
    return list(found)


def _needs(node: Any) -> list[Any]:
    """The keys that a task needs, in the order in which they stand in it."""
    if isinstance(node, TaskRef):
        return [node.key]
    if not isinstance(node, GraphNode) or not node.dependencies:
        return []
    if isinstance(node, Alias):
        return [node.target]
    args: list[Any] = [*node.args, *node.kwargs.values()]
    if node.func is _execute_subgraph:
        inner = _Inner.of(node)
        inside = (other for key in in_order(inner.tasks, inner.last) for other in _needs(inner.tasks[key]))
        args = [inner.given[key] for key in dict.fromkeys(inside) if key in inner.given]
    return list(dict.fromkeys(key for arg in args for key in _needs(arg)))


def _is_constant(node: Any) -> bool:
    """Whether it is a container of nothing but constants."""
    return (
        isinstance(node, NestedContainer)
        and all(not isinstance(arg, GraphNode) or _is_constant(arg) for arg in node.args)
        and not node.dependencies
    )


def _given(value: Any) -> Any:
    return value
