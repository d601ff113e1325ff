"""Pages of array nodes, as they came to a child, and their items."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from taskflow.pools.wire import PAGES_KEPT

if TYPE_CHECKING:
    from taskflow.codec import Codec

__all__ = ["Stash"]

_LOADED_KEPT = 8


class Stash:
    """What the slots of one process share: pages as they came, and loaded items of those in use.

    An item is given out once: whoever asks for it again, after a failure, gets a new object.
    """

    def __init__(self) -> None:
        self._pages: OrderedDict[tuple[str, int], tuple[int, bytes]] = OrderedDict()
        self._loaded: OrderedDict[tuple[str, str, int], tuple[int, Sequence[Any]]] = OrderedDict()

    def keep(self, pages: Iterable[tuple[str, int, int, bytes]]) -> None:
        """Keep pages; the oldest go."""
        for node, lo, hi, items in pages:
            self._pages.pop((node, lo), None)
            self._pages[node, lo] = (hi, items)
            if len(self._pages) > PAGES_KEPT:
                self._pages.popitem(last=False)

    def items(self, codec: Codec, fn: str, node: str, lo: int, hi: int) -> Sequence[Any] | None:
        """Items ``[lo, hi)`` of an array node, or `None` when a page of them is not here.

        The numbers of a range are made one by one: so they stay in the cache of the processor.
        """
        found: list[Any] = []
        while lo < hi:
            key = next((k for k, v in self._pages.items() if k[0] == node and k[1] <= lo < v[0]), None)
            if key is None:
                return None
            begin, (end, value) = key[1], self._pages[key]
            loaded = (fn, *key)  # what was verified for one function counts for that one only
            given, items = self._loaded.pop(loaded, (end, []))
            if lo < given:
                items = codec.load_items(fn, begin, value)
            if hi < end:
                self._loaded[loaded] = hi, items
            if len(self._loaded) > _LOADED_KEPT:
                self._loaded.popitem(last=False)
            part = items[lo - begin : hi - begin]
            if type(part) is range and hi <= end and not found:
                return part
            found += part
            lo = end
        return found
