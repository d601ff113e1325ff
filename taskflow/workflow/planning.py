"""What a workflow would run, as a table: it is compiled as for a submit, and what comes out is weighed."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from taskflow.codec import Codec, Keyring, blob_names
from taskflow.codec.functions import describe
from taskflow.errors import ResultExpired
from taskflow.ids import NodeId
from taskflow.plan import Draft
from taskflow.policy import Options
from taskflow.records import Node
from taskflow.tables import rows_or_frame

if TYPE_CHECKING:
    from taskflow.workflow.graph import Workflow

__all__ = ["planned"]

_COLUMNS = ("node", "kind", "function", "width", "after", "options", "size_bytes")


class _Scales:
    """Blobs of which only the size is kept."""

    guarded = True

    def __init__(self) -> None:
        self.size_bytes: dict[str, int] = {}

    def put(self, name: str, parts: Sequence[bytes | memoryview], /) -> None:
        self.size_bytes[name] = sum(memoryview(part).nbytes for part in parts)

    def has(self, name: str, /) -> bool:
        return name in self.size_bytes

    def drop(self, name: str, /) -> None:
        pass

    def open(self, name: str, /) -> memoryview:
        raise ResultExpired(f"{name} was weighed and not stored.")


def planned(workflow: Workflow, inputs: Mapping[str, Any]) -> Any:
    """The rows of `Workflow.plan`.

    ``width`` is ``"?"`` while another step decides it. ``after`` names the steps before; ``options`` are
    those that differ from the defaults of a workflow. ``size_bytes`` is what the arguments and items take in
    the store, without the function and without what other steps give; `None` for an input without a value.

    Raises:
        CycleError: Nodes wait for each other.
        UnknownNode: An edge or an argument names a node that is not here.
        CannotPickle: A function or an argument cannot travel.
        ConfigError: There is no input of that name.
    """
    missing = [name for name, node in workflow.nodes.items() if node.kind == "input" and not node.args]
    missing = [name for name in missing if name not in inputs]
    scales = _Scales()
    draft = Draft(Codec(Keyring.ephemeral(), scales), time.time)
    ids = workflow.compile(draft, inputs={**dict.fromkeys(missing), **inputs})
    drawn = {node.id: node for node in draft.nodes}
    own = {ids[name] for name in workflow.nodes}
    rows = []
    for name in workflow.nodes:
        parts = _parts(ids[name], drawn, own)
        size = None if name in missing else _size_bytes(parts, scales)
        rows.append(_row(workflow, name, _width(parts), size))
    return rows_or_frame(rows, _COLUMNS)


def _parts(step: NodeId, drawn: Mapping[NodeId, Node], own: Collection[NodeId]) -> list[Node]:
    """The nodes that were drawn for a step, its own the last: it needs the others, and they are no steps."""
    found, seen = [drawn[step]], {step}
    for node in found:  # grows while it is read
        for edge in node.edges:
            if edge.parent in drawn and edge.parent not in own and edge.parent not in seen:
                seen.add(edge.parent)
                found.append(drawn[edge.parent])
    return found[::-1]


def _row(workflow: Workflow, name: str, width: int | None, size_bytes: int | None) -> dict[str, Any]:
    node = workflow[name]
    values = (
        name,
        node.kind,
        _function(node) if node.kind != "input" else "",
        "?" if width is None else width,
        ", ".join(workflow.graph.predecessors(name)),
        _changed(Options().merge(**workflow.options).merge(**node.options)),
        size_bytes,
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _function(node: Any) -> str:
    """The function that the user gave, also of a fold and of a map-reduce."""
    if node.kind == "map_reduce":
        return f"{describe(node.fn.mapper)}, {describe(node.fn.reducer)}"
    if node.kind == "gate":
        return describe(node.fn.condition) if node.fn.condition is not None else ""
    if node.kind == "reduce":
        return describe(getattr(node.fn, "fold", node.fn).fn)
    return describe(node.fn)


def _changed(options: Options) -> dict[str, Any]:
    usual = Options(on_failure="stop")
    named = (f.name for f in fields(Options) if f.name != "after")
    return {name: getattr(options, name) for name in named if getattr(options, name) != getattr(usual, name)}


def _width(parts: Iterable[Node]) -> int | None:
    """The width of the first array node; 1 where there is none."""
    return next((part.width for part in parts if part.array), 1)


def _size_bytes(parts: Iterable[Node], scales: _Scales) -> int:
    values = [value for part in parts for value in (part.args, *(page.items for page in part.pages))]
    return sum(map(len, values)) + sum(scales.size_bytes.get(b, 0) for v in values for b in blob_names(v))
