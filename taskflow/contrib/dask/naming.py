"""What a person reads in place of keys."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from dask.utils import key_split

from taskflow.contrib.dask.blocks import Block

__all__ = ["Name", "names_of", "stem_of"]

_FINALIZE = re.compile(r"-?(finalize-)?hlgfinalizecompute$")
_STEMS_MOST = 3


class Name(NamedTuple):
    """The name of a node.

    Args:
        layer: What it has in common with the others of its layer, which are shown as one stage.
        at: Which of them it is.
    """

    layer: str
    at: str

    def __str__(self) -> str:
        return f"{self.layer} {self.at}" if self.at else self.layer


def names_of(blocks: Iterable[Block]) -> dict[Any, Name]:
    """The names of blocks, by key, without tokens; no two are the same.

    Layers of one name are told apart by a number; calls without a position in their layer as well.
    """
    names: dict[Any, Name] = {}
    numbers: dict[str, dict[str, int]] = {}
    taken: Counter[Name] = Counter()
    for block in blocks:
        stem, at = _stem_of_all(block), ""
        if isinstance(block.key, tuple):
            layers = numbers.setdefault(stem, {})
            number = layers.setdefault(str(block.key[0]), len(layers) + 1)
            stem = f"{stem} ({number})" if number > 1 else stem
            at = ",".join(map(str, block.key[1:]))
        name = Name(stem, at)
        taken[name] += 1
        names[block.key] = name if taken[name] == 1 else Name(stem, f"{at}#{taken[name]}")
    return names


def stem_of(key: Any) -> str:
    """What a key says to a person.

    Example:
        >>> stem_of(("sum-tree-14cc948f25dee6a8975228b398781589", 0))
        'sum-tree'
    """
    stem = str(key_split(key))
    return _FINALIZE.sub("", stem) or stem


def _stem_of_all(block: Block) -> str:
    """The names of its tasks, as Dask names what it fuses; of many the first and the last."""
    stems = list(dict.fromkeys(map(stem_of, block.keys)))
    return "-".join(stems if len(stems) <= _STEMS_MOST else [stems[0], "…", stems[-1]])
