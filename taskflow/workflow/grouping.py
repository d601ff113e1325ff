"""A large graph made small: nodes that play the same part become one; pure, and the same every time."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

from taskflow.workflow.layers import backward, layers_of, neighbours

__all__ = ["BOXES_MOST", "grouped"]

K = TypeVar("K", bound=Hashable)

BOXES_MOST = 500
"""More boxes than this are not drawn one by one."""

_ROUNDS = 64


def grouped(
    kinds: Mapping[K, tuple[Hashable, ...]], edges: Iterable[tuple[K, K]], most: int = BOXES_MOST
) -> dict[K, list[K]]:
    """Groups of nodes, by the first of each; every node alone when there are few enough of them.

    The finest of these is taken that has at most `most` groups: nodes of one kind at one layer with the same
    neighbours, where neighbours in one group are the same (colour refinement: B. Weisfeiler, A. Leman, 1968,
    stopped when there are enough colours); nodes of one kind at one layer, by all that tells their kind or by
    less; all nodes of a layer; all nodes of neighbouring layers. Between groups no cycle arises.

    Args:
        kinds: For each node what tells its kind, from coarse to fine; all of the same length.
        edges: From node to node.
        most: How many groups there may be.

    Example:
        >>> fan = {"load": ("load",), "a": ("parse",), "b": ("parse",), "sum": ("sum",)}
        >>> ways = [("load", "a"), ("load", "b"), ("a", "sum"), ("b", "sum")]
        >>> grouped(fan, ways, 3)
        {'load': ['load'], 'a': ['a', 'b'], 'sum': ['sum']}
    """
    keys = list(kinds)
    if len(keys) <= most:
        return {key: [key] for key in keys}
    number = {key: i for i, key in enumerate(keys)}
    pairs = list(dict.fromkeys((number[a], number[b]) for a, b in edges if a != b))
    chosen: list[int] = []
    for colours in _finer_and_finer([kinds[key] for key in keys], pairs, most):
        if chosen and len(set(colours)) > most:
            break
        chosen = colours
    first: dict[int, K] = {}
    groups: dict[K, list[K]] = {}
    for key, colour in zip(keys, chosen, strict=True):
        groups.setdefault(first.setdefault(colour, key), []).append(key)
    return groups


def _finer_and_finer(
    kinds: list[tuple[Hashable, ...]], pairs: list[tuple[int, int]], most: int
) -> Iterator[list[int]]:
    """Colours of the nodes, each a refinement of the one before."""
    turned = backward(len(kinds), pairs)
    downward = [(b, a) if (a, b) in turned else (a, b) for a, b in pairs]
    layer = layers_of(len(kinds), downward)
    deep = max(layer) + 1
    if deep > most:
        yield _numbered(at * most // deep for at in layer)
    colours = _numbered(layer)
    yield colours
    for level in zip(*kinds, strict=True):
        colours = _numbered(zip(colours, level, strict=True))
        yield colours
    above, below = neighbours(len(kinds), pairs)
    for _ in range(_ROUNDS):
        finer = _numbered(
            (colour, frozenset(colours[n] for n in above[v]), frozenset(colours[n] for n in below[v]))
            for v, colour in enumerate(colours)
        )
        if len(set(finer)) == len(set(colours)):
            return
        colours = finer
        yield colours


def _numbered(signs: Iterable[Hashable]) -> list[int]:
    """Equal signs get equal numbers."""
    seen: dict[Hashable, int] = {}
    return [seen.setdefault(sign, len(seen)) for sign in signs]
