"""Results of what a store holds already: by their run, by their id, and by their place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow.canvas.shape import Shape, split_id
from taskflow.errors import NoSuchRun, ResultExpired
from taskflow.ids import NodeId, RunId
from taskflow.lookup import Lookup
from taskflow.records import RunView
from taskflow.run import arrays_of

if TYPE_CHECKING:
    from taskflow.backends import Keeper
    from taskflow.engine import Engine
    from taskflow.result.single import AsyncResult, Kin

__all__ = ["by_id", "by_shape", "of_run"]


def of_run(engine: Engine, view: RunView, kin: Kin) -> AsyncResult:
    """The handle of the run of a canvas; what it runs again is found where it is now."""
    line = Lookup(engine.store).line(view)
    shape = Shape.from_json(view.meta["canvas"], {first: node.id for first, node in line.items()})
    arrays = {node.id: node.width for node in line.values() if node.array}
    homes = {node.id: node.run for node in line.values() if node.run != view.id}
    return kin(engine, view.id, shape, arrays, "", homes)


def by_id(engine: Engine, id: str, kin: Kin) -> AsyncResult:  # noqa: A002 - what the attribute is called
    """The handle of a result by its id; of one that the store has forgotten, by what is kept beside it.

    Raises:
        NoSuchRun: The store knows no such task or group; ResultExpired: it did.
    """
    try:
        return _in_store(engine, id, kin)
    except (NoSuchRun, ResultExpired):
        found = None if engine.keeper is None else _kept(engine, engine.keeper, id, kin)
        if found is None:
            raise
        return found


def _in_store(engine: Engine, id: str, kin: Kin) -> AsyncResult:  # noqa: A002 - as above
    engine.flush()
    name, slash, rest = id.partition("/")
    name, index = split_id(name)
    run, node = engine.store.find(name)
    view, _ = engine.store.snapshot(run)
    arrays = arrays_of(view)
    if "canvas" not in view.meta:
        first = node or view.nodes[0].id
        width = arrays.get(first) if index is None else None
        return kin(engine, run, Shape(first, index, width), arrays, "", {})
    whole = of_run(engine, view, kin)
    if node is not None:
        wanted = Shape(node, index, arrays.get(node) if index is None else None)
        return _part(whole, wanted)
    try:
        return whole.part(whole.shape.follow(slash + rest), slash + rest)
    except (LookupError, ValueError):
        raise NoSuchRun(f"Run {run} has no part {rest!r}.") from None


def by_shape(engine: Engine, shape: Shape, kin: Kin) -> AsyncResult:
    """The handle of a result whose place is known.

    Raises:
        NoSuchRun: The store knows nothing of it; ResultExpired: it did.
    """
    engine.flush()
    node = next(shape.nodes(), None) or next(shape.parent.nodes() if shape.parent else iter(()), None)
    if node is None:
        raise NoSuchRun("It is a group without members, and nothing of it is ever sent.")
    run, _ = engine.store.find(NodeId(node))
    view, _ = engine.store.snapshot(run)
    if "canvas" not in view.meta:
        return kin(engine, run, shape, arrays_of(view), "", {})
    return _part(of_run(engine, view, kin), shape)


def _kept(engine: Engine, keeper: Keeper, id: str, kin: Kin) -> AsyncResult | None:  # noqa: A002 - as above
    """The handle of a task or a group that is known beside the store only."""
    known = keeper.find(id)
    if known is not None:
        name, index = split_id(id)
        result = kin(engine, RunId(known.run or name), Shape(NodeId(name), index), {}, None, {})
        result._known = known
        return result
    members = keeper.members(id)
    if members is None:
        return None
    parts = [by_id(engine, member, kin) for member in members]
    run, slash, rest = id.partition("/")
    shape = Shape(members=tuple(part.shape for part in parts))
    group: Any = kin(engine, RunId(run), shape, {}, slash + rest, {})
    group._members = parts
    return group  # type: ignore[no-any-return]


def _part(whole: AsyncResult, wanted: Shape) -> AsyncResult:
    """A part of a run; one that its result does not come from, such as what is linked, has no path."""
    found = whole.shape.locate(wanted)
    return whole.part(wanted, None) if found is None else whole.part(found[1], found[0])
