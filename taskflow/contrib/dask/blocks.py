"""What of a Dask graph becomes a node: what is asked for and needed, and tasks that go together as one.

::

    read ─► filter ─► chunk ─┐          one node      read ─► filter ─► chunk ─┐
    read ─► filter ─► chunk ─┴─► sum    ────────►     read ─► filter ─► chunk ─┴─► sum

Constants and aliases are no nodes: they stand in the arguments of those that need them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError as Circle
from graphlib import TopologicalSorter
from types import MappingProxyType
from typing import Any

from dask._task_spec import Alias, DataNode, convert_legacy_graph

from taskflow.contrib.dask.program import Place, Program
from taskflow.contrib.dask.writing import Need, Writer, in_order
from taskflow.errors import CycleError, UnknownNode

__all__ = ["Block", "Tasks", "blocks_of"]


@dataclass(frozen=True, eq=False)
class Block:
    """Tasks that are one node.

    Args:
        keys: Theirs, in order.
        program: What is called.
        values: What it is given: constants, and a `Need` for each value of another block.
        sources: The keys of those that need no others.
        said: What annotations say of it.
    """

    keys: tuple[Any, ...]
    program: Program
    values: tuple[Any, ...]
    sources: tuple[Any, ...]
    said: Mapping[str, Any]

    @property
    def key(self) -> Any:
        """That of the last of them, whose value is that of the node."""
        return self.keys[-1]

    @property
    def needs(self) -> list[Any]:
        """The keys of the blocks before it, in the order in which they stand in it."""
        return [value.key for value in self.values if type(value) is Need]


class Tasks:
    """The tasks of a graph, by key.

    Args:
        graph: Tasks of today, or tuples as they were before.
        said: What annotations say, by name and key.
        read: See `signs_of`.
    """

    def __init__(
        self,
        graph: Mapping[Any, Any],
        said: Mapping[str, Mapping[Any, Any]],
        read: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.read = read
        self._nodes: Mapping[Any, Any] = convert_legacy_graph(graph)
        self._said = said

    def __getitem__(self, key: Any) -> Any:
        return self._nodes[key]

    def target(self, key: Any) -> Any:
        """The key itself, or that which it is another name of.

        Raises:
            UnknownNode: There is no such key.
            CycleError: Names stand for each other.
        """
        met: list[Any] = []
        while True:
            node = self._nodes.get(key)
            if node is None:
                raise UnknownNode(f"The graph needs {key!r}, and there is no such key in it.")
            if not isinstance(node, Alias):
                return key
            if key in met:
                raise _cycle([*met, key])
            met.append(key)
            key = node.target

    def is_data(self, key: Any) -> bool:
        """Whether there is nothing to call."""
        return isinstance(self._nodes[key], DataNode)

    def said(self, key: Any) -> dict[str, Any]:
        """What annotations say of a task."""
        return {name: values[key] for name, values in self._said.items() if key in values}


def blocks_of(tasks: Tasks, wanted: Sequence[Any], *, fuse: bool) -> list[Block]:
    """The nodes that give what is wanted, each after those it needs.

    Args:
        tasks: The graph.
        wanted: Keys that are no aliases.
        fuse: Whether tasks may be parts of the node of another: see `_Regions`.

    Raises:
        UnknownNode: A task needs a key that is not there.
        CycleError: Tasks wait for each other.
    """
    regions = _Regions(tasks, _needed(tasks, wanted), wanted)
    programs: dict[Any, Program] = {}
    begun: dict[Any, Block] = {}
    ended: dict[Any, Block] = {}
    todo = list(reversed(wanted))
    while todo:
        key = todo[-1]
        if key not in begun:
            begun[key] = _block(tasks, regions.of(key) if fuse else {key}, key, programs)
            todo += [other for other in reversed(begun[key].needs) if other not in begun]
        else:
            ended.setdefault(todo.pop(), begun[key])
    return list(ended.values())


def _needed(tasks: Tasks, wanted: Sequence[Any]) -> dict[Any, frozenset[Any]]:
    """The tasks that are needed, each after those it needs; constants are left out."""
    needs: dict[Any, frozenset[Any]] = {}
    todo = list(wanted)
    while todo:
        key = todo.pop()
        if key not in needs:
            targets = map(tasks.target, tasks[key].dependencies)
            needs[key] = frozenset(other for other in targets if not tasks.is_data(other))
            todo += needs[key]
    try:
        return {key: needs[key] for key in TopologicalSorter(needs).static_order()}
    except Circle as error:
        raise _cycle(error.args[1][::-1]) from None


def _cycle(keys: Sequence[Any]) -> CycleError:
    cycle = list(map(str, keys))
    return CycleError(f"Tasks wait for each other: {' → '.join(cycle)}.", cycle=cycle[:-1])


class _Regions:
    """Tasks that are one node: nobody else needs another of them than the last, and nothing that could have
    run beside them has to wait for them.

    So a task with all that is one with it belongs to the one that needs it when that waits for nothing else,
    or when what it waits for itself is waited for anyhow; and annotations say the same of both. ::

        read ─┬─► compare ─► filter      all three
              └──────────────►┘
        read ─► clean ─┐
        read ─► clean ─┴─► join          read and clean, twice; and join

    Args:
        tasks: The graph.
        needs: What each task needs; a task comes after those.
        wanted: What stays the last of its node.
    """

    def __init__(self, tasks: Tasks, needs: Mapping[Any, frozenset[Any]], wanted: Collection[Any]) -> None:
        self._tasks = tasks
        self._wanted = frozenset(wanted)
        self._users: dict[Any, set[Any]] = {}
        self._outside: dict[Any, set[Any]] = {}
        self._inside: dict[Any, set[Any]] = {}
        for key, some in needs.items():
            for other in some:
                self._users.setdefault(other, set()).add(key)
        for key, some in needs.items():
            self._grow(key, set(some))

    def of(self, key: Any) -> set[Any]:
        """The tasks of the node that gives the value of a key."""
        return self._inside[key]

    def _grow(self, key: Any, outside: set[Any]) -> None:
        inside = {key}
        while found := [one for one in outside if self._belongs(one, key, inside, outside)][:1]:
            outside.remove(found[0])
            outside |= self._outside[found[0]]
            less, inside = sorted((inside, self._inside[found[0]]), key=len)
            inside |= less
        self._inside[key], self._outside[key] = inside, outside

    def _belongs(self, key: Any, last: Any, inside: set[Any], outside: set[Any]) -> bool:
        if key in self._wanted or not self._users[key] <= inside:
            return False
        needs = self._outside[key]
        if len(outside) > 1 and not (needs and needs <= outside | inside):
            return False
        return self._tasks.said(key) == self._tasks.said(last)


def _block(tasks: Tasks, inside: Collection[Any], last: Any, programs: dict[Any, Program]) -> Block:
    writer = Writer()
    places: dict[Any, Place] = {}

    def where(name: Any) -> Place:
        key = tasks.target(name)
        if key not in places:
            data = tasks.is_data(key)
            places[key] = writer.value(tasks[key].value) if data else writer.need(key)
        return places[key]

    keys = in_order({key: tasks[key] for key in inside}, last, tasks.target)
    for key in keys:
        places[key] = writer.task(key, tasks[key], where)
    program = writer.program(places[last], programs)
    return Block(tuple(keys), program, tuple(writer.values), tuple(writer.sources), tasks.said(last))
