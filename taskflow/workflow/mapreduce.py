"""Map-reduce: pairs from every item, brought together by key, without passing through the client.

::

    data ─ chunks ─► map node: one item per chunk             reduce node: one item per bucket
                     mapper, combiner, k buckets, each  ────► reads its bucket of every chunk,
                     pickled on its own                       calls the reducer for each key

The buckets of a chunk are one result, mapped from its blob: a reducer touches only its own bytes.
"""

from __future__ import annotations

import pickle
import traceback
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar, cast

from taskflow import hooks
from taskflow.codec import Reference
from taskflow.errors import ConfigError, UsageError, nearest
from taskflow.ids import NodeId, new_id
from taskflow.plan import Output
from taskflow.policy import Options
from taskflow.records import EdgeMode, Failure
from taskflow.workflow.hashing import key_hash

if TYPE_CHECKING:
    from taskflow.plan import Draft

__all__ = ["ItemFailure", "MapReduceJob", "MapReducePlan", "MapReduceRun", "compile_map_reduce", "map_reduce"]

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")

Mapper = Callable[[T], Iterable[tuple[K, V]]]
Reducer = Callable[[K, list[V]], R]
Combiner = Callable[[K, list[V]], V]
Errors = Literal["raise", "skip"]

PARTITIONS = 64
CHUNK_ITEMS = 10_000
STREAM_CHUNK_ITEMS = 256
COMBINE_AT = 1024
INLINE_BUCKET_BYTES = 4096


class ItemFailure(NamedTuple):
    """What was left out of a map-reduce with ``errors="skip"``.

    Items ``[lo, hi)`` of the data failed to be mapped; or, with ``stage == "reduce"``, `key` to be
    reduced (`None` when a whole bucket was lost).
    """

    stage: Literal["map", "reduce"]
    failure: Failure
    lo: int = 0
    hi: int = 0
    key: Any = None


class MapReduceRun(dict[K, R]):
    """The result of a map-reduce: the reduced value of each key.

    Attributes:
        failures: What was left out, in order of the data; empty unless ``errors="skip"``.
    """

    failures: list[ItemFailure]

    def __init__(self, values: Iterable[tuple[K, R]] = (), failures: Iterable[ItemFailure] = ()) -> None:
        super().__init__(values)
        self.failures = list(failures)


@dataclass(frozen=True)
class MapReducePlan:
    """A compiled map-reduce: which nodes to wait for, and how to put their results together.

    Args:
        map: The array node over the chunks.
        reduce: The array node over the buckets; its results are what `assemble` takes.
        starts: The first item of each chunk, and the number of items at the end; empty when the
            data comes from another node.
        sort: Whether the result is in order of its keys.
        errors: ``"raise"``, or ``"skip"``: then failures of either node are not failures of the run.
    """

    map: NodeId
    reduce: NodeId
    starts: Sequence[int]
    sort: bool = False
    errors: Errors = "raise"

    def assemble(
        self, outputs: Iterable[Any], lost: Mapping[int, Failure | BaseException] | None = None
    ) -> MapReduceRun[Any, Any]:
        """Put the result together.

        Args:
            outputs: The results of the reduce node in order, with an exception or a `Failure` in place
                of each that failed.
            lost: The chunks that failed as a whole, by index in the map node.

        Raises:
            UsageError: Two buckets hold one key: equal keys that rebuild from unequal parts.
        """
        spans = ((self._span(chunk), (lost or {})[chunk]) for chunk in sorted(lost or {}))
        dropped = [ItemFailure("map", failure_of(error), lo, hi) for (lo, hi), error in spans]
        return merged(outputs, self.sort, dropped)

    def _span(self, chunk: int) -> tuple[int, int]:
        return (self.starts[chunk], self.starts[chunk + 1]) if self.starts else (0, 0)


@dataclass(frozen=True, kw_only=True)
class MapReduceJob(Generic[T, K, V, R]):
    """A map-reduce that has not been sent; the fields are the arguments of `map_reduce`."""

    data: Iterable[T] | Reference
    mapper: Mapper[T, K, V]
    reducer: Reducer[K, V, R]
    combiner: Combiner[K, V] | None = None
    partitions: int | None = None
    reducers: int | None = None
    sort: bool = False
    errors: Errors = "raise"
    progress: bool = True

    def __post_init__(self) -> None:
        if self.errors not in ("raise", "skip"):
            near = nearest(self.errors, ("raise", "skip"))
            raise ConfigError(f"errors={self.errors!r} is not known.{near} Use 'raise' or 'skip'.")
        for name in ("partitions", "reducers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value} is not possible: use a number above 0, or None.")
        if isinstance(self.data, str | bytes):
            raise ConfigError("The data is one text: give a list of texts, lines or paths.")

    def compile(
        self, draft: Draft, options: Options | None = None, *, label: str = "", node_id: str = ""
    ) -> MapReducePlan:
        """Draw its two array nodes.

        Args:
            draft: Takes them.
            options: How both are treated.
            label: Goes before their names.
            node_id: Goes before their ids; without it these are new.
        """
        return _compile(self, draft, options or Options(), label, node_id or new_id())


def map_reduce(
    data: Iterable[T],
    mapper: Mapper[T, K, V],
    reducer: Reducer[K, V, R],
    *,
    combiner: Combiner[K, V] | None = None,
    partitions: int | None = None,
    reducers: int | None = None,
    sort: bool = False,
    errors: Errors = "raise",
    progress: bool = True,
    client: Any = None,
) -> MapReduceRun[K, R]:
    """Map every item to pairs, bring the pairs together by key, reduce the values of each key.

    Args:
        data: The items, read once.
        mapper: Gives the (key, value) pairs of an item.
        reducer: Gives the result of a key and the list of its values, in order of the data.
        combiner: Reduces values of a key to one value on the worker that made them, so that less
            travels; may be called any number of times, on its own results too.
        partitions: Into how many pieces the data is cut; by default 64, or more when they grow long.
        reducers: Into how many buckets the keys are divided.
        sort: Give the result in order of its keys.
        errors: ``"skip"`` leaves out items and keys that fail and tells of them in `failures`.
        progress: Whether the client shows how far it is.
        client: Where it runs; the current client by default.

    Raises:
        ConfigError: An option is impossible.

    Example:
        ``map_reduce(paths, lambda p: ((w, 1) for w in open(p).read().split()), lambda w, n: sum(n))``
    """
    job = MapReduceJob(
        data=data, mapper=mapper, reducer=reducer, combiner=combiner, partitions=partitions,
        reducers=reducers, sort=sort, errors=errors, progress=progress,
    )  # fmt: skip
    return cast("MapReduceRun[K, R]", (client or hooks.current_client()).run_map_reduce(job))


def compile_map_reduce(
    draft: Draft, data: Any, mapper: Any, reducer: Any, *, options: Options | None = None, **how: Any
) -> MapReducePlan:
    """Draw a map-reduce on a draft; the arguments are those of `map_reduce`."""
    return MapReduceJob(data=data, mapper=mapper, reducer=reducer, **how).compile(draft, options)


def _compile(
    job: MapReduceJob[Any, Any, Any, Any], draft: Draft, options: Options, label: str, node_id: str
) -> MapReducePlan:
    buckets = job.reducers or max(1, min(16, (job.partitions or PARTITIONS) // 8))
    skip = job.errors == "skip"
    if skip:
        options = options.merge(on_failure="continue")
    map_fn = _MapChunk(job.mapper, job.combiner, buckets, skip)
    named = f"{label} " if label else ""
    map_label = f"{named}map {draft.codec.describe(job.mapper)}"
    map_id, reduce_id = NodeId(f"{node_id}/map"), NodeId(f"{node_id}/reduce")
    starts = array("q", [0])
    if isinstance(job.data, Reference):
        cut = _Chunks(job.partitions)
        how: Any = {"node_id": map_id, "label": map_label}
        mapped = draft.array_of(map_fn, job.data, options, star=True, spread=cut, **how)
    else:
        pieces = _noted(chunks(job.data, job.partitions), starts)
        how = {"node_id": map_id, "label": map_label, "page_items": 1}
        mapped, _ = draft.array(map_fn, pieces, options, star=True, **how)
    parts = Output(mapped, mode=EdgeMode.DROP if skip else EdgeMode.ALL)
    reduced, _ = draft.array(
        _ReduceBucket(job.reducer, skip),
        range(buckets),
        options,
        args=(parts,),
        node_id=reduce_id,
        label=f"{named}reduce {draft.codec.describe(job.reducer)}",
    )
    known = starts if len(starts) > 1 else ()
    return MapReducePlan(mapped, reduced, known, job.sort, job.errors)


# ── the data ─────────────────────────────────────────────────────────────────────────


def chunks(data: Iterable[T], partitions: int | None) -> Iterator[tuple[int, list[T]]]:
    """Cut data into pieces, as (index of the first item, items).

    Data of known length is cut evenly. A stream begins with single items and goes on with longer
    pieces, so that neither ten long items nor ten million short ones end in one piece.
    """
    source = iter(data)
    sizes = _even(len(data), partitions) if isinstance(data, Sized) else _growing()
    lo = 0
    for size in sizes:
        piece = list(islice(source, size))
        if not piece:
            return
        yield lo, piece
        lo += len(piece)


def _even(count: int, partitions: int | None) -> Iterator[int]:
    pieces = partitions or max(PARTITIONS, -(-count // CHUNK_ITEMS))
    size, larger = divmod(count, max(1, min(pieces, count)))
    while True:
        yield size + 1 if larger > 0 else max(1, size)
        larger -= 1


def _growing() -> Iterator[int]:
    made = 0
    while True:
        yield min(STREAM_CHUNK_ITEMS, 1 + made // 8)
        made += 1


def _noted(pieces: Iterable[tuple[int, list[T]]], starts: array[int]) -> Iterator[tuple[int, list[T]]]:
    for lo, piece in pieces:
        starts.append(lo + len(piece))
        yield lo, piece


@dataclass(frozen=True)
class _Chunks:
    """Cuts the value of another node, on the worker."""

    partitions: int | None

    def __call__(self, data: Iterable[Any]) -> Iterator[tuple[int, list[Any]]]:
        return chunks(data, self.partitions)


# ── on the workers ───────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _MapChunk:
    """Maps a chunk; gives its buckets, each pickled on its own, and what failed."""

    mapper: Mapper[Any, Any, Any]
    combiner: Combiner[Any, Any] | None
    buckets: int
    skip: bool

    def __call__(self, lo: int, items: Sequence[Any]) -> tuple[list[Any], list[ItemFailure]]:
        groups: dict[Any, list[Any]] = {}
        failures: list[ItemFailure] = []
        for index, item in enumerate(items, lo):
            try:
                pairs = list(self.mapper(item)) if self.skip else self.mapper(item)
                self._gather(groups, pairs)
            except Exception as error:
                if not self.skip:
                    error.add_note(f"while mapping item {index}")
                    raise
                failures.append(ItemFailure("map", failure_of(error), index, index + 1))
        return self._packed(groups), failures

    def _gather(self, groups: dict[Any, list[Any]], pairs: Iterable[tuple[Any, Any]]) -> None:
        combiner = self.combiner
        for key, value in pairs:
            values = groups.get(key)
            if values is None:
                groups[key] = [value]
                continue
            values.append(value)
            if combiner is not None and len(values) >= COMBINE_AT:
                groups[key] = [combiner(key, values)]

    def _packed(self, groups: dict[Any, list[Any]]) -> list[Any]:
        buckets: list[dict[Any, list[Any]]] = [{} for _ in range(self.buckets)]
        for key, values in groups.items():
            combined = [self.combiner(key, values)] if self.combiner and len(values) > 1 else values
            buckets[key_hash(key) % self.buckets][key] = combined
        return [_packed_bucket(bucket) for bucket in buckets]


@dataclass(frozen=True)
class _ReduceBucket:
    """Reduces one bucket of all chunks; the first bucket also brings what failed in the map."""

    reducer: Reducer[Any, Any, Any]
    skip: bool

    def __call__(
        self, bucket: int, parts: Iterable[tuple[list[Any], list[ItemFailure]]]
    ) -> tuple[list[tuple[Any, Any]], list[ItemFailure]]:
        groups: dict[Any, list[Any]] = {}
        failures: list[ItemFailure] = []
        for buckets, failed in parts:
            if bucket == 0:
                failures += failed
            if buckets[bucket]:
                for key, values in pickle.loads(buckets[bucket]).items():  # noqa: S301 - inside a sealed value
                    groups.setdefault(key, []).extend(values)
        return list(self._reduced(groups, failures)), failures

    def _reduced(
        self, groups: dict[Any, list[Any]], failures: list[ItemFailure]
    ) -> Iterator[tuple[Any, Any]]:
        for key in list(groups):
            try:
                yield key, self.reducer(key, groups.pop(key))
            except Exception as error:
                if not self.skip:
                    error.add_note(f"while reducing the key {key!r:.200}")
                    raise
                failures.append(ItemFailure("reduce", failure_of(error), key=key))


def merged(
    outputs: Iterable[Any], sort: bool, failures: Iterable[ItemFailure] = ()
) -> MapReduceRun[Any, Any]:
    """The results of all buckets as one."""
    found = list(failures)
    run: MapReduceRun[Any, Any] = MapReduceRun()
    total = 0
    for output in outputs:
        if isinstance(output, Failure | BaseException):
            found.append(ItemFailure("reduce", failure_of(output)))
            continue
        pairs, failed = output
        found += failed
        run.update(pairs)
        total += len(pairs)
    if total != len(run):
        raise UsageError(
            "Equal keys were reduced apart, for they pickle differently: use text, numbers or tuples as keys."
        )
    if sort:
        ordered = sorted(run.items(), key=lambda pair: pair[0])
        run.clear()
        run.update(ordered)
    run.failures = sorted(found, key=lambda one: (one.stage, one.lo))
    return run


@dataclass(frozen=True)
class Merge:
    """Puts the buckets together on a worker, where a map-reduce is part of a workflow."""

    sort: bool

    def __call__(self, outputs: Iterable[Any]) -> MapReduceRun[Any, Any]:
        """The result of the map-reduce."""
        return merged(outputs, self.sort)


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


def _packed_bucket(bucket: dict[Any, list[Any]]) -> Any:
    if not bucket:
        return b""
    import cloudpickle

    data = cloudpickle.dumps(bucket, protocol=5)
    return pickle.PickleBuffer(data) if len(data) > INLINE_BUCKET_BYTES else data
