"""Map-reduce: pairs from every item, brought together by key, without passing through the client.

::

    data ─ chunks ─► map node: one item per chunk             reduce node: one item per bucket
                     mapper, combiner, k buckets, each  ────► reads its bucket of every chunk,
                     pickled on its own                       combines, calls the reducer for each key

The buckets of a chunk are one result, mapped from its blob: a reducer touches only its own bytes. A chunk
holds items, or says where they lie (`taskflow.workflow.partitions`).
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from os import fspath
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from taskflow import hooks
from taskflow.codec import Reference
from taskflow.errors import ConfigError, UsageError, nearest
from taskflow.ids import NodeId, new_id
from taskflow.plan import Output
from taskflow.policy import Options
from taskflow.records import EdgeMode, Failure
from taskflow.workflow.partitions import CHUNKS, Chunk, cut
from taskflow.workflow.shuffle import (
    ItemFailure,
    MapChunk,
    ReduceBucket,
    failure_of,
    first_of,
    not_in_order,
)

if TYPE_CHECKING:
    from taskflow.plan import Draft

__all__ = ["ItemFailure", "MapReduceJob", "MapReducePlan", "MapReduceRun", "compile_map_reduce", "map_reduce"]

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")

Mapper = Callable[[T], Iterable[tuple[K, V]] | dict[K, V]]
Reducer = Callable[[K, list[V]], R]
Combiner = Callable[[K, list[V]], V]
Errors = Literal["raise", "skip"]


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
        starts: The first item of each chunk, and the number of items at the end; empty when that is not
            known beforehand.
        places: Where each chunk lies, in words; empty unless the data is a source.
        sort: Whether the result is in order of its keys.
        errors: ``"raise"``, or ``"skip"``: then failures of either node are not failures of the run.
    """

    map: NodeId
    reduce: NodeId
    starts: Sequence[int]
    places: Sequence[str] = ()
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
        gone = lost or {}
        dropped = [self._dropped(chunk, failure_of(gone[chunk])) for chunk in sorted(gone)]
        return merged(outputs, self.sort, dropped)

    def _dropped(self, chunk: int, failure: Failure) -> ItemFailure:
        if self.places:
            return ItemFailure("map", failure, where=self.places[chunk])
        if not self.starts:
            return ItemFailure("map", failure)
        lo, hi = self.starts[chunk], self.starts[chunk + 1]
        return ItemFailure("map", failure, lo, hi, where=f"items {lo} to {hi - 1}")


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
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ConfigError(f"{name}={value!r} is not possible: use a number above 0, or None.")
        for name in ("mapper", "reducer", "combiner"):
            function = getattr(self, name)
            if not callable(function) and (function is not None or name != "combiner"):
                raise ConfigError(f"{name}={function!r:.80} is not a function.")
        _check_data(self.data)

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
    data: Iterable[T] | Reference,
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
        data: The items: any iterable, read once; `taskflow.lines` or `taskflow.blocks` of files, which
            the workers read; the paths of `taskflow.files`; a future. Of a DataFrame the items are its
            rows, as ``itertuples()`` gives them (``row.price``, ``row.Index``): to map pieces of it at
            once, give a list of frames.
        mapper: Gives the (key, value) pairs of an item, or a dict of them. Keys are what can be a key of a
            dict and hash alike in every process: text, numbers, dates, tuples of them.
        reducer: Gives the result of a key and the list of its values, in order of the data. A worker holds
            all values of a bucket in memory, unless there is a combiner.
        combiner: Reduces values of a key to one value, on the worker that made them and on the one that
            brings them together, so that less travels and no list grows long, however often a key
            comes. It may be called any number of times, on its own results too.
        partitions: Into how many chunks the data is cut; by default 64, or more when they grow long.
        reducers: Into how many buckets the keys are divided; by default one for 8 chunks, 16 at most.
        sort: Give the result in order of its keys: each bucket is sorted on its worker.
        errors: ``"skip"`` leaves out items and keys that fail and tells of them in `failures`.
        progress: Whether the client shows how far it is.
        client: Where it runs; the current client by default.

    Raises:
        ConfigError: An option is impossible.
        UsageError: The mapper gave something else than pairs, or a key that cannot be used, or keys that
            cannot be sorted. This, and what the functions raise, has a note of the item or key it was.

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
    buckets = job.reducers or max(1, min(16, (job.partitions or CHUNKS) // 8))
    skip = job.errors == "skip"
    if skip:
        options = options.merge(on_failure="continue")
    map_fn = MapChunk(job.mapper, job.combiner, buckets, skip)
    named = f"{label} " if label else ""
    map_label = f"{named}map {draft.codec.describe(job.mapper)}"
    map_id, reduce_id = NodeId(f"{node_id}/map"), NodeId(f"{node_id}/reduce")
    noted = _Noted()
    if isinstance(job.data, Reference):
        how: Any = {"node_id": map_id, "label": map_label}
        mapped = draft.array_of(map_fn, job.data, options, spread=_Cut(job.partitions), **how)
    else:
        chunks = noted.passing(cut(job.data, job.partitions))
        how = {"node_id": map_id, "label": map_label, "page_items": 1}
        mapped, _ = draft.array(map_fn, chunks, options, **how)
    parts = Output(mapped, mode=EdgeMode.DROP if skip else EdgeMode.ALL)
    reduced, _ = draft.array(
        ReduceBucket(job.reducer, job.combiner, job.sort, skip),
        range(buckets),
        options,
        args=(parts,),
        node_id=reduce_id,
        label=f"{named}reduce {draft.codec.describe(job.reducer)}",
    )
    known = noted.starts if len(noted.starts) > 1 else ()
    return MapReducePlan(mapped, reduced, known, noted.places, job.sort, job.errors)


@dataclass(frozen=True)
class _Cut:
    """Cuts the value of another node, on the worker."""

    chunks: int | None

    def __call__(self, data: Iterable[Any]) -> Iterator[Chunk[Any]]:
        _check_data(data)
        return cut(data, self.chunks)


class _Noted:
    """Notes where the chunks lie that were sent, to tell of those that fail as a whole."""

    def __init__(self) -> None:
        self.starts = array("q", [0])
        self.places: list[str] = []

    def passing(self, chunks: Iterable[Chunk[T]]) -> Iterator[Chunk[T]]:
        for chunk in chunks:
            if (span := chunk[-1].span) is not None:
                self.starts.append(span[1])
            else:
                others = f" and {len(chunk) - 1} more partitions" if len(chunk) > 1 else ""
                self.places.append(f"{chunk[0]}{others}")
            yield chunk


def _check_data(data: Any) -> None:
    if isinstance(data, str | bytes | PurePath):
        raise ConfigError(
            f"The data is {fspath(data)!r:.80}: give a list of texts, or taskflow.lines(path) for the lines"
            " of a file, or taskflow.files(directory) for paths."
        )
    if not isinstance(data, Iterable | Reference) and not hasattr(data, "__getitem__"):
        raise ConfigError(f"The data is of type {type(data).__name__!r}, which is no iterable of items.")


# ── the result ───────────────────────────────────────────────────────────────────────


def merged(
    outputs: Iterable[Any], sort: bool, failures: Iterable[ItemFailure] = ()
) -> MapReduceRun[Any, Any]:
    """The results of all buckets as one."""
    found = list(failures)
    buckets: list[list[tuple[Any, Any]]] = []
    for output in outputs:
        if isinstance(output, Failure | BaseException):
            found.append(ItemFailure("reduce", failure_of(output)))
            continue
        pairs, failed = output
        found += failed
        buckets.append(pairs)
    run: MapReduceRun[Any, Any] = MapReduceRun()
    try:
        run.update(heapq.merge(*buckets, key=first_of) if sort else chain.from_iterable(buckets))
    except TypeError as error:
        raise not_in_order(error) from error
    if sum(map(len, buckets)) != len(run):
        raise UsageError(
            "Equal keys were reduced apart, for they pickle differently: use text, numbers or tuples as keys."
        )
    run.failures = sorted(found, key=lambda one: (one.stage, one.lo))
    return run


@dataclass(frozen=True)
class Merge:
    """Puts the buckets together on a worker, where a map-reduce is part of a workflow."""

    sort: bool

    def __call__(self, outputs: Iterable[Any]) -> MapReduceRun[Any, Any]:
        """The result of the map-reduce."""
        return merged(outputs, self.sort)
