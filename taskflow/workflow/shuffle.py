"""What a map-reduce runs on the workers: items to buckets, buckets to reduced values."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from taskflow.codec.pickling import dumps
from taskflow.errors import UsageError
from taskflow.records import Failure
from taskflow.workflow.hashing import key_hash
from taskflow.workflow.partitions import Chunk, Partition

__all__ = ["ItemFailure", "MapChunk", "ReduceBucket", "failure_of", "first_of", "not_in_order"]

COMBINE_AT = 1024
INLINE_BUCKET_BYTES = 4096

first_of = itemgetter(0)
Groups = dict[Any, list[Any]]


class ItemFailure(NamedTuple):
    """What was left out of a map-reduce with ``errors="skip"``.

    Items ``[lo, hi)`` of the data failed to be mapped (both are 0 when it is not known which, as for
    lines of files), `where` says it in words; or, with ``stage == "reduce"``, `key` to be reduced (`None`
    when a whole bucket was lost).
    """

    stage: Literal["map", "reduce"]
    failure: Failure
    lo: int = 0
    hi: int = 0
    key: Any = None
    where: str = ""


# ── mapping ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class MapChunk:
    """Maps a chunk; gives its buckets, each pickled on its own, and what failed.

    Args:
        mapper: Gives the pairs of an item.
        combiner: Makes one value of several of a key.
        buckets: How many.
        skip: Whether items that fail are left out.
    """

    mapper: Callable[[Any], Any]
    combiner: Callable[[Any, list[Any]], Any] | None
    buckets: int
    skip: bool

    def __call__(self, chunk: Chunk[Any]) -> tuple[list[Any], list[ItemFailure]]:
        """Map it."""
        groups: Groups = {}
        failures: list[ItemFailure] = []
        for part in chunk:
            if self.skip:
                self._map_what_can_be(part, groups, failures)
            else:
                self._map(part, groups)
        return self._packed(groups), failures

    def _map(self, part: Partition[Any], groups: Groups) -> None:
        for index, item in enumerate(part):
            try:
                self._gather(groups, _pairs(self.mapper(item)))
            except Exception as error:
                error.add_note(f"while mapping {part.where(index)}")
                raise

    def _map_what_can_be(self, part: Partition[Any], groups: Groups, failures: list[ItemFailure]) -> None:
        for index, item in _readable(part, failures):
            try:
                pairs = [_checked(pair) for pair in _pairs(self.mapper(item))]
            except Exception as error:  # noqa: BLE001 - it is told
                failures.append(_left_out(part, index, error))
            else:
                self._gather(groups, pairs)

    def _gather(self, groups: Groups, pairs: Iterable[Any]) -> None:
        combiner = self.combiner
        for pair in pairs:
            try:
                key, value = pair if type(pair) is tuple else _pair(pair)
                values = groups.get(key)
            except (TypeError, ValueError) as error:
                raise _unusable(pair) from error
            if values is None:
                groups[key] = [value]
                continue
            values.append(value)
            if combiner is not None and len(values) >= COMBINE_AT:
                groups[key] = _combined(combiner, key, values)

    def _packed(self, groups: Groups) -> list[Any]:
        combiner = self.combiner
        buckets: list[Groups] = [{} for _ in range(self.buckets)]
        for key, values in groups.items():
            some = _combined(combiner, key, values) if combiner and len(values) > 1 else values
            buckets[key_hash(key) % self.buckets][key] = some
        return [_packed_bucket(bucket) for bucket in buckets]


def _pairs(made: Any) -> Iterator[Any]:
    try:
        return iter(made.items() if isinstance(made, dict) else made)
    except TypeError:
        raise UsageError(
            f"The mapper gave {_shown(made)}: it must give the (key, value) pairs of an item, as a list,"
            " a generator or a dict."
        ) from None


def _pair(pair: Any) -> tuple[Any, Any]:
    """Take lists and the like for pairs, but not what has no order, nor a text of two letters."""
    if isinstance(pair, str | bytes | dict | set | frozenset):
        raise TypeError("not a pair")
    key, value = pair
    return key, value


def _checked(pair: Any) -> tuple[Any, Any]:
    try:
        key, value = _pair(pair)
        hash(key)
    except (TypeError, ValueError) as error:
        raise _unusable(pair) from error
    key_hash(key)
    return key, value


def _unusable(pair: Any) -> UsageError:
    try:
        key, _ = _pair(pair)
    except (TypeError, ValueError):
        return UsageError(
            f"The mapper gave {_shown(pair)} among its pairs: each must be a tuple (key, value)."
        )
    return UsageError(
        f"The mapper gave the key {_shown(key)}, which has no hash: use text, numbers, or tuples of them."
    )


def _combined(combiner: Callable[[Any, list[Any]], Any], key: Any, values: list[Any]) -> list[Any]:
    try:
        return [combiner(key, values)]
    except Exception as error:
        error.add_note(f"while combining {len(values)} values of the key {_shown(key)}")
        raise


def _readable(part: Partition[Any], failures: list[ItemFailure]) -> Iterator[tuple[int, Any]]:
    """The items with their indexes, up to the first that cannot be read."""
    index = -1
    try:
        for index, item in enumerate(part):
            yield index, item
    except Exception as error:  # noqa: BLE001 - it is told
        failures.append(ItemFailure("map", failure_of(error), where=part.after(index)))


def _left_out(part: Partition[Any], index: int, error: Exception) -> ItemFailure:
    lo, hi = (0, 0) if part.span is None else (part.span[0] + index, part.span[0] + index + 1)
    return ItemFailure("map", failure_of(error), lo, hi, where=part.where(index))


def _packed_bucket(bucket: Groups) -> Any:
    if not bucket:
        return b""
    data = dumps(bucket)
    return pickle.PickleBuffer(data) if len(data) > INLINE_BUCKET_BYTES else data


# ── reducing ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class ReduceBucket:
    """Reduces one bucket of all chunks; the first bucket also brings what failed in the map.

    Args:
        reducer: Makes the result of a key.
        combiner: Keeps the values of a key few while they are brought together.
        sort: Whether the result is in order of its keys.
        skip: Whether keys that fail are left out.
    """

    reducer: Callable[[Any, list[Any]], Any]
    combiner: Callable[[Any, list[Any]], Any] | None
    sort: bool
    skip: bool

    def __call__(
        self, bucket: int, parts: Iterable[tuple[list[Any], list[ItemFailure]]]
    ) -> tuple[list[tuple[Any, Any]], list[ItemFailure]]:
        """Reduce it; `parts` are what the chunks gave."""
        failures: list[ItemFailure] = []
        groups: Groups = {}
        lost: set[Any] = set()
        for buckets, failed in parts:
            if bucket == 0:
                failures += failed
            if buckets[bucket]:
                self._gather(groups, pickle.loads(buckets[bucket]), lost, failures)  # noqa: S301 - in a sealed value
        reduced = list(self._reduced(groups, failures))
        return in_order(reduced) if self.sort else reduced, failures

    def _gather(self, groups: Groups, more: Groups, lost: set[Any], failures: list[ItemFailure]) -> None:
        combiner = self.combiner
        for key, values in more.items():
            if key in lost:
                continue
            known = groups.setdefault(key, values)
            if known is values:
                continue
            known += values
            if combiner is not None and len(known) >= COMBINE_AT:
                try:
                    groups[key] = _combined(combiner, key, known)
                except Exception as error:  # noqa: BLE001 - it is told, or raised
                    self._fail(key, error, failures)
                    lost.add(key)
                    del groups[key]

    def _reduced(self, groups: Groups, failures: list[ItemFailure]) -> Iterator[tuple[Any, Any]]:
        for key in list(groups):
            try:
                yield key, self.reducer(key, groups.pop(key))
            except Exception as error:  # noqa: BLE001 - it is told, or raised
                self._fail(key, error, failures)

    def _fail(self, key: Any, error: Exception, failures: list[ItemFailure]) -> None:
        """Tell of a key that is left out, or raise."""
        if not self.skip:
            error.add_note(f"while reducing the key {_shown(key)}")
            raise error
        failures.append(ItemFailure("reduce", failure_of(error), key=key))


# ── telling ──────────────────────────────────────────────────────────────────────────


def in_order(pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """The pairs in order of their keys."""
    try:
        return sorted(pairs, key=first_of)
    except TypeError as error:
        raise not_in_order(error) from error


def not_in_order(error: TypeError) -> UsageError:
    """What to say when keys cannot be compared."""
    return UsageError(f"The result cannot be sorted: {error}. Give keys of one type, or sort=False.")


def failure_of(error: BaseException | Failure) -> Failure:
    """What a failed item says, short enough to keep thousands."""
    if isinstance(error, Failure):
        return error
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    text = "".join(traceback.format_exception(error, limit=-4))
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - a failure is told, however its exception behaves
        message = "(its text cannot be read)"
    return Failure("failed", name, message[:2000], text[-4000:])


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.200}"
    except Exception:  # noqa: BLE001 - what cannot be shown is named by its type
        return f"of type {type(value).__qualname__}"
