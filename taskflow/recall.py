"""What earlier runs have given: results that need not be made again.

A run that is remembered says in its meta what it called: by which name it is found, and the fingerprint of
its function. Whoever calls the same again looks at those runs, the newest first, and compares arguments by
content::

    new items   page 0   page 1   page 2        equal pages are not even opened
                  =        =        ≠
    old items   page 0   page 1   page 2  ──►   item by item, by their digests
                                  │
    results     ─────────────────────────►      whole segments are sealed anew as they are, others are cut
"""

from __future__ import annotations

import hashlib
import logging
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from taskflow.codec import Codec, TooMuch, blob_names
from taskflow.codec.fingerprint import NO_VALUE, digest, fingerprint
from taskflow.errors import NoSuchRun, PayloadError, ResultExpired, UsageError
from taskflow.ids import RunId
from taskflow.policy import Options
from taskflow.ports import Store
from taskflow.records import Given, Node, NodeView, Page, RunView, Segment
from taskflow.states import State

__all__ = ["ITEMS_MOST", "Memo", "earlier_call", "memo_of_call", "memo_of_map", "with_results"]

log = logging.getLogger(__name__)

ITEMS_MOST = 1_000_000
"""Items of a map that is remembered, at most: they are compared one by one."""

_RUNS_LISTED = 200
_RUNS_READ = 20
_ITEMS_IN_ONE = 1000


@dataclass(frozen=True, slots=True)
class Memo:
    """How a call or map is remembered.

    Args:
        name: What its runs are found by.
        fn: The fingerprint of its function.
        edited: Results of earlier versions of the function count too.
    """

    name: str
    fn: str
    edited: bool

    @property
    def meta(self) -> dict[str, Any]:
        """What its run says of it: what was given to one that says ``edited`` may be of other versions."""
        return {"name": self.name, "fn": self.fn, **({"edited": True} if self.edited else {})}

    def takes(self, run: RunView) -> bool:
        """Whether the results of a run count."""
        return self.edited or run.meta["memo"].get("fn") == self.fn

    def trusts(self, run: RunView) -> bool:
        """Whether also those count that the run was given."""
        return self.edited or not run.meta["memo"].get("edited")


def memo_of_map(fn: Callable[..., Any], options: Options, *, star: bool) -> Memo:
    """How a map of a function is remembered; with `star` its items are tuples of arguments.

    Raises:
        UsageError: The function has no fingerprint, or no name and is to be known by it.
    """
    return _memo("map", fn, options, (star,))


def memo_of_call(
    fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: Options, codec: Codec
) -> Memo:
    """How a call is remembered.

    Raises:
        UsageError: The function or an argument has no digest, or the function no name.
    """
    given = digest((tuple(args), sorted(kwargs.items())), kept=lambda ref: codec.kept(ref.blob))
    return _memo("call", fn, options, (given,))


def _memo(kind: str, fn: Callable[..., Any], options: Options, given: Iterable[Any]) -> Memo:
    if not callable(fn):
        raise UsageError(f"memo= needs the function, and {fn!r:.80} is the name of one.")
    edited = options.memo == "edited"
    if edited and "<lambda>" in Codec.describe(fn):
        raise UsageError(
            "memo='edited' knows a function by its name, and a lambda has none: define it with def, or use"
            " memo=True."
        )
    told = (kind, fingerprint(fn, by_name=True), options.seed, options.ignore_result, *given)
    name = hashlib.blake2b(repr(told).encode(), digest_size=20).hexdigest()
    return Memo(name, fingerprint(fn), edited)


# ── looking ──────────────────────────────────────────────────────────────────────────


def earlier_call(store: Store, memo: Memo) -> RunId | None:
    """The newest run that made this very call, and succeeded."""
    found = store.runs(memo=memo.name, states=[State.SUCCEEDED], limit=_RUNS_LISTED)
    return next((run.id for run in found if memo.takes(run)), None)


def with_results(store: Store, codec: Codec, node: Node, memo: Memo) -> tuple[Node, int]:
    """A map that is given what earlier runs have for its items, and for how many of these that is.

    At most 20 runs are looked at, the newest first.

    Raises:
        UsageError: There are too many items, one has no digest, or there is a future among them.
    """
    given = _known_items(store, codec, node, memo)
    return node._replace(given=given), sum(hi - lo for lo, hi, _ in given)


def _known_items(store: Store, codec: Codec, node: Node, memo: Memo) -> tuple[Given, ...]:
    if node.edges:
        raise UsageError(NO_VALUE)
    if (node.width or 0) > ITEMS_MOST:
        raise UsageError(
            f"A map of {node.width:,} items is too large for memo, which compares at most {ITEMS_MOST:,}:"
            " map parts of it, or do without memo."
        )
    search = _Search(codec, node)
    left = _RUNS_READ
    for run in store.runs(memo=memo.name, limit=_RUNS_LISTED):
        if not left or not search.missing:
            break
        earlier = _earlier(store, run, given=memo.trusts(run)) if memo.takes(run) else None
        if earlier is not None:
            search.look_into(earlier)
            left -= 1
    return tuple(_Cut(codec, node).given(search.found))


class _Piece(NamedTuple):
    """Items ``[lo, hi)`` whose results lie one behind the other in a segment, from index `at` on."""

    lo: int
    hi: int
    segment: Segment
    at: int

    @property
    def is_whole(self) -> bool:
        """Whether they are all of the segment, and it is a list of results."""
        segment = self.segment
        return self.at == segment.lo and self.hi - self.lo == segment.hi - segment.lo and not segment.single


class _Earlier(NamedTuple):
    """An earlier map: the digest of its function, its items, and the results that there are, in order."""

    fn: str
    pages: list[Page]
    segments: list[Segment]

    def within(self, lo: int, hi: int) -> Iterator[_Piece]:
        """The results of items ``[lo, hi)``, as those of the same items."""
        at = max(0, bisect_right(self.segments, lo, key=lambda one: one.lo) - 1)
        for segment in islice(self.segments, at, None):
            if segment.lo >= hi:
                break
            if segment.hi > lo:
                start = max(lo, segment.lo)
                yield _Piece(start, min(hi, segment.hi), segment, start)


def _earlier(store: Store, run: RunView, *, given: bool) -> _Earlier | None:
    """A map with its results, or `None` when it has none; without those it was given, unless these count."""
    try:
        node: NodeView = store.snapshot(run.id)[0].nodes[0]
        found = store.values([node.id])[node.id] if node.array and node.width else ()
        segments = [one for one in found if one.state is State.SUCCEEDED and (given or one.fence)]
        pages = store.pages(node.id, 0, node.width or 0) if segments else []
    except (NoSuchRun, ResultExpired, IndexError):  # it was forgotten a moment ago
        return None
    return _Earlier(node.fn, pages, segments) if segments else None


class _Search:
    """Finds results for the items of a node.

    Attributes:
        found: Where they are.
        missing: Ranges of items that have none yet, in order.
    """

    def __init__(self, codec: Codec, node: Node) -> None:
        self._codec = codec
        self._node = node
        self._keys: dict[int, Hashable] = {}
        self.found: list[_Piece] = []
        self.missing = [(0, node.width)] if node.width else []

    def look_into(self, earlier: _Earlier) -> None:
        """Take what an earlier run has for items that have nothing yet."""
        pages = {page.lo: page for page in earlier.pages}
        same = [
            page
            for page in self._node.pages
            if (old := pages.get(page.lo)) is not None and self._is_same(earlier.fn, old, page)
        ]
        self._take([piece for page in same for piece in self._in_page(earlier, page)])
        if self.missing:
            self._take(list(self._by_item(earlier)))

    def _is_same(self, fn: str, old: Page, new: Page) -> bool:
        try:
            return old.hi == new.hi and self._codec.has_same_items(
                self._node.fn, new.items, fn, old.items, new.lo
            )
        except (PayloadError, ResultExpired):
            return False

    def _in_page(self, earlier: _Earlier, page: Page) -> Iterator[_Piece]:
        for lo, hi in self._missing_in(page):
            yield from earlier.within(lo, hi)

    def _missing_in(self, page: Page) -> Iterator[tuple[int, int]]:
        for lo, hi in self.missing:
            if lo < page.hi and page.lo < hi:
                yield max(lo, page.lo), min(hi, page.hi)

    def _take(self, pieces: list[_Piece]) -> None:
        if pieces:
            self.found = sorted([*self.found, *pieces], key=lambda piece: piece.lo)
            self.missing = _gaps(self.found, self._node.width or 0)

    def _by_item(self, earlier: _Earlier) -> Iterator[_Piece]:
        """Results of items that are equal, wherever they stood."""
        where = self._results(earlier)
        for lo, hi in self.missing:
            piece: _Piece | None = None
            for index in range(lo, hi):
                segment, at = where.get(self._key(index), _NOWHERE)
                if piece is not None and piece.segment is segment and at == piece.at + index - piece.lo:
                    continue
                if piece is not None:
                    yield piece._replace(hi=index)
                piece = None if segment is None else _Piece(index, hi, segment, at)
            if piece is not None:
                yield piece

    def _results(self, earlier: _Earlier) -> dict[Hashable, tuple[Segment, int]]:
        """The results of an earlier run, by what they are of."""
        where: dict[Hashable, tuple[Segment, int]] = {}
        for page in earlier.pages:
            pieces = list(earlier.within(page.lo, page.hi))
            try:
                items = self._codec.load_items(earlier.fn, page.lo, page.items) if pieces else ()
            except (PayloadError, ResultExpired) as error:
                log.warning("items of an earlier run cannot be compared: %s", error, extra={"action": "memo"})
                continue
            for lo, hi, segment, _ in pieces:
                for index in range(lo, hi):
                    with suppress(UsageError):
                        where.setdefault(_key(items[index - page.lo]), (segment, index))
        return where

    def _key(self, index: int) -> Hashable:
        """What an item is known by; the items are read as a worker would read them."""
        if index not in self._keys:
            page = next(page for page in self._node.pages if page.lo <= index < page.hi)
            items = self._codec.load_items(self._node.fn, page.lo, page.items)
            for lo, hi in self._missing_in(page):
                self._keys.update((at, _key(items[at - page.lo])) for at in range(lo, hi))
        return self._keys[index]


_NOWHERE: tuple[Segment | None, int] = (None, 0)
_PLAIN = frozenset({int, str, bytes, bool, type(None)})


def _key(item: Any) -> Hashable:
    """What tells an item from those that are not equal to it; of most it is a digest."""
    kind = type(item)
    if kind in _PLAIN:
        return kind, item
    return tuple(map(_key, item)) if kind is tuple else digest(item)


# ── taking ───────────────────────────────────────────────────────────────────────────


def _gaps(pieces: Sequence[_Piece], width: int) -> list[tuple[int, int]]:
    """What of ``[0, width)`` the pieces leave out."""
    ends = [0, *(piece.hi for piece in pieces)]
    starts = [*(piece.lo for piece in pieces), width]
    return [(lo, hi) for lo, hi in zip(ends, starts, strict=True) if lo < hi]


class _Cut:
    """Makes values for a node of those that its results were found in."""

    def __init__(self, codec: Codec, node: Node) -> None:
        self._codec = codec
        self._node = node
        self._loaded: tuple[Segment, list[Any]] | None = None

    def given(self, pieces: Iterable[_Piece]) -> Iterator[Given]:
        """What the node is given, in order: whole segments as they are, pieces of others together."""
        lo = 0
        values: list[Any] = []
        for piece in pieces:
            if values and (piece.is_whole or piece.lo != lo + len(values) or len(values) >= _ITEMS_IN_ONE):
                yield from self._dumped(lo, values)
                values = []
            try:
                if piece.is_whole:
                    yield Given(piece.lo, piece.hi, self._moved(piece))
                    continue
                taken = self._values(piece)
            except (PayloadError, ResultExpired) as error:
                log.warning("an earlier result cannot be taken: %s", error, extra={"action": "memo"})
                continue
            lo = lo if values else piece.lo
            values += taken
        if values:
            yield from self._dumped(lo, values)

    def _moved(self, piece: _Piece) -> bytes | None:
        """The value of a segment as it is, for its new place; large parts stay where they lie."""
        value = piece.segment.value
        if value is None:
            return None
        for name in blob_names(value):
            if not self._codec.blobs.has(name):
                raise ResultExpired("its blob was removed", expired_at=0.0)
        return self._codec.result_for(self._node.id, piece.lo, piece.hi, piece.segment)

    def _values(self, piece: _Piece) -> list[Any]:
        if self._loaded is None or self._loaded[0] is not piece.segment:
            self._loaded = piece.segment, self._codec.load_segment(piece.segment)
        start = piece.at - piece.segment.lo
        return self._loaded[1][start : start + piece.hi - piece.lo]

    def _dumped(self, lo: int, values: list[Any]) -> Iterator[Given]:
        hi, node = lo + len(values), self._node
        if node.policy.ignore_result:
            yield Given(lo, hi, None)
            return
        try:
            yield Given(lo, hi, self._codec.dump_result(node.id, lo, hi, 0, values))
        except TooMuch:
            for at, value in enumerate(values, lo):
                yield Given(at, at + 1, self._codec.dump_result(node.id, at, at + 1, 0, [value]))
