"""What two submits have in common when they ask for the same lock: a digest of what is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from taskflow.errors import ConfigError
from taskflow.records import STAYS, Edge, Lock, Node
from taskflow.unique import Unique

if TYPE_CHECKING:
    from taskflow.codec import Codec

__all__ = ["lock_of_call", "lock_of_graph"]


def lock_of_call(
    unique: Unique,
    codec: Codec,
    fn: Callable[..., Any],
    node: Node,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Lock:
    """The lock of a call.

    Args:
        unique: What makes it the only one.
        codec: Tells arguments apart.
        fn: What is called.
        node: The call as it was drawn.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
    """
    if isinstance(unique.key, str):
        return _lock(unique, "text", unique.key)
    if unique.key is not None:
        return _lock(unique, "answer", _name(fn), codec.fingerprint((unique.key(*args, **kwargs),)))
    return _lock(unique, "call", node.fn, codec.fingerprint(args, kwargs), *map(_edge, node.edges))


def lock_of_graph(unique: Unique, nodes: Sequence[Node]) -> Lock:
    """The lock of a map, a canvas or a workflow.

    Raises:
        ConfigError: The key is a function: there is more than one call that could be asked.
    """
    if callable(unique.key):
        raise ConfigError("A function as key= is for single calls: give a text, for what is sent as a whole.")
    if unique.key is not None:
        return _lock(unique, "text", unique.key)
    place = {node.id: number for number, node in enumerate(nodes)}
    parts = []
    for node in nodes:
        edges = [[place.get(edge.parent, edge.parent), *_edge(edge)[1:]] for edge in node.edges]
        items = [[page.lo, page.hi, page.items.hex()] for page in node.pages]
        parts.append([node.fn, node.args.hex(), edges, node.width, items])
    return _lock(unique, "graph", *parts)


def _edge(edge: Edge) -> list[Any]:
    return [edge.parent, edge.mode.value, edge.lo, edge.hi]


def _lock(unique: Unique, *parts: Any) -> Lock:
    digest = sha256(json.dumps(parts, separators=(",", ":")).encode("utf-8", "surrogatepass"))
    stays = STAYS if unique.until == "expired" else ""
    return Lock(stays + digest.hexdigest()[:40], unique.ttl, unique.on_duplicate)


def _name(fn: Any) -> str:
    return (
        getattr(fn, "name", None) or f"{fn.__module__}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"
    )
