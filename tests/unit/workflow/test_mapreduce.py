from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow import hooks
from taskflow.errors import ConfigError, UsageError
from taskflow.records import EdgeMode, Failure
from taskflow.workflow import MapReduceJob, MapReduceRun, compile_map_reduce, map_reduce
from taskflow.workflow.hashing import key_hash
from taskflow.workflow.partitions import Items, cut
from taskflow.workflow.shuffle import MapChunk, ReduceBucket
from tests.unit.evaluator import evaluate, new_draft

TEXTS = ["the cat and the dog", "the bird", "", "a dog and a cat and a bird"]


def words(text: str) -> Iterator[tuple[str, int]]:
    return ((word, 1) for word in text.split())


def count(_: Any, values: Iterable[int]) -> int:
    return sum(values)


class InProcess:
    """A client that runs a map-reduce here."""

    def run_map_reduce(self, job: MapReduceJob[Any, Any, Any, Any]) -> MapReduceRun[Any, Any]:
        draft = new_draft()
        made = job.compile(draft)
        ran = evaluate(draft)
        if made.errors == "raise":
            ran.value(made.map)  # its error is the one to raise, not that the reducers were skipped
            return made.assemble(ran.value(made.reduce))
        lost = {
            chunk: Failure("failed", type(item).__name__, str(item))
            for chunk, item in enumerate(ran.ended[made.map].items)
            if isinstance(item, Exception)
        }
        return made.assemble(ran.ended[made.reduce].items, lost)


def reduced(data: Any, mapper: Any, reducer: Any, **how: Any) -> MapReduceRun[Any, Any]:
    return map_reduce(data, mapper, reducer, client=InProcess(), **how)


def test_words_are_counted() -> None:
    expected = Counter(" ".join(TEXTS).split())

    assert reduced(TEXTS, words, count) == expected
    assert reduced(iter(TEXTS), words, count, combiner=count) == expected
    assert reduced(TEXTS, words, count, combiner=count, partitions=2, reducers=5) == expected


def test_it_is_two_array_nodes_the_second_behind_the_first() -> None:
    draft = new_draft()

    made = compile_map_reduce(draft, range(100), words, count, partitions=10, reducers=3)

    mapped, reduce = draft.nodes
    assert (mapped.id, reduce.id) == (made.map, made.reduce)
    assert [(node.width, node.label) for node in draft.nodes] == [(10, "map words"), (3, "reduce count")]
    assert [(edge.parent, edge.mode) for edge in reduce.edges] == [(mapped.id, EdgeMode.ALL)]
    assert list(made.starts) == list(range(0, 101, 10))


def test_the_combiner_runs_where_the_pairs_are_made() -> None:
    draft = new_draft()
    made = compile_map_reduce(
        draft, ["a " * 5000, "a b"], words, lambda key, values: list(values), combiner=count, reducers=1
    )

    ran = evaluate(draft)

    assert made.assemble(ran.value(made.reduce)) == {"a": [5000, 1], "b": [1]}


def test_values_reach_the_reducer_in_order_of_the_data() -> None:
    found = reduced(range(50), lambda i: [(i % 3, i)], lambda key, values: values, partitions=7)

    assert found == {key: list(range(key, 50, 3)) for key in range(3)}


def test_sorted_output_is_in_order_of_the_keys() -> None:
    found = reduced(range(100), lambda i: [(-i, i)], lambda key, values: values[0], sort=True)

    assert list(found) == sorted(found)


def test_no_data_give_an_empty_result() -> None:
    assert reduced([], words, count) == {}
    assert reduced(iter(()), words, count) == {}


def test_large_buckets_travel_whole() -> None:
    found = reduced(
        range(4), lambda i: [(i % 2, bytes([i]) * 100_000)], lambda _, v: b"".join(v), partitions=4
    )

    assert {key: len(value) for key, value in found.items()} == {0: 200_000, 1: 200_000}


def test_an_error_says_which_item_it_was() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        reduced([1, 2, 0, 4], lambda x: [(1 // x, x)], count)
    assert caught.value.__notes__ == ["while mapping item 2"]

    with pytest.raises(TypeError) as told:
        reduced([1], lambda x: [("key", None)], lambda key, values: sum(values))
    assert told.value.__notes__ == ["while reducing the key 'key'"]


def test_objects_on_their_way_to_a_reducer_keep_their_lines() -> None:
    class Sample:
        def weight(self) -> int:
            raise ValueError("too heavy")

    def reducer(key: str, samples: list[Sample]) -> int:
        return sum(sample.weight() for sample in samples)

    found = reduced([1, 2], lambda x: [("all", Sample())], reducer, errors="skip")

    assert 'raise ValueError("too heavy")' in found.failures[0].failure.traceback


def test_items_that_fail_are_left_out_and_told_of_when_asked() -> None:
    def mapper(x: int) -> Iterator[tuple[str, int]]:
        yield "seen", 1
        yield "inverse", 6 // x

    found = reduced([1, 0, 2, 3, 0], mapper, count, errors="skip", partitions=2)

    assert found == {"seen": 3, "inverse": 11}
    assert [(f.stage, f.lo, f.hi, f.failure.type) for f in found.failures] == [
        ("map", 1, 2, "ZeroDivisionError"),
        ("map", 4, 5, "ZeroDivisionError"),
    ]
    assert "6 // x" in found.failures[0].failure.traceback


def test_keys_that_cannot_be_reduced_are_left_out_and_told_of() -> None:
    found = reduced([1, 0], lambda x: [(x, x)], lambda key, values: 1 // key, errors="skip")

    assert found == {1: 1}
    assert [(f.stage, f.key, f.failure.type) for f in found.failures] == [("reduce", 0, "ZeroDivisionError")]


def test_a_chunk_that_is_lost_as_a_whole_is_told_of_as_its_items() -> None:
    class Unpicklable:
        def __reduce__(self) -> Any:
            raise TypeError("not me")

    found = reduced(
        range(6),
        lambda i: [("ok", i)] if i != 3 else [("bad", Unpicklable())],
        count,
        errors="skip",
        partitions=3,
    )

    assert found == {"ok": 0 + 1 + 4 + 5}
    assert [(f.stage, f.lo, f.hi) for f in found.failures] == [("map", 2, 4)]


def test_what_may_fail_does_not_stop_the_run() -> None:
    draft = new_draft()

    compile_map_reduce(draft, [1], words, count, errors="skip")

    assert [edge.mode for edge in draft.nodes[1].edges] == [EdgeMode.DROP]
    assert {node.policy.on_failure for node in draft.nodes} == {"continue"}


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (None, "The mapper gave None: it must give the .* pairs"),
        (7, "The mapper gave 7: it must give"),
        ([1], "gave 1 among its pairs"),
        (["ab"], "gave 'ab' among its pairs"),
        ("ab", "gave 'a' among its pairs"),
        ([("a", 1, 2)], r"gave \('a', 1, 2\) among its pairs"),
        ([{"a", "b"}], "among its pairs"),
        ([([1], 1)], r"gave the key \[1\], which has no hash"),
    ],
)
def test_what_is_no_pair_is_refused_and_its_item_named(made: Any, message: str) -> None:
    def mapper(x: int) -> Any:
        return made if x == 2 else [(x, x)]

    with pytest.raises(UsageError, match=message) as caught:
        reduced([0, 1, 2, 3], mapper, count, partitions=1)
    assert caught.value.__notes__ == ["while mapping item 2"]

    found = reduced([0, 1, 2, 3], mapper, count, partitions=1, errors="skip")
    assert found == {0: 0, 1: 1, 3: 3}
    assert [(f.stage, f.lo, f.hi, f.where) for f in found.failures] == [("map", 2, 3, "item 2")]


def test_a_key_without_a_lasting_hash_costs_only_its_item_when_asked() -> None:
    def mapper(x: int) -> Any:
        return [(x, x)] if x != 2 else [(x, x), (Keyless(), x)]

    with pytest.raises(UsageError, match="no hash that is the same in every process"):
        reduced([0, 1, 2, 3], mapper, count, partitions=1)
    found = reduced([0, 1, 2, 3], mapper, count, partitions=1, errors="skip")

    assert found == {0: 0, 1: 1, 3: 3}
    assert [f.lo for f in found.failures] == [2]


def test_a_mapper_may_give_a_dict_and_pairs_may_be_lists() -> None:
    assert reduced(TEXTS, lambda text: Counter(text.split()), count) == Counter(" ".join(TEXTS).split())
    assert reduced([1, 2], lambda x: ([x, 1], Point(x, "a")), lambda _, v: v) == {1: [1, "a"], 2: [1, "a"]}


def test_a_combiner_that_fails_names_the_key() -> None:
    def broken(key: str, values: list[int]) -> int:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken") as caught:
        reduced(["a b", "a"], words, count, combiner=broken, partitions=1)
    assert caught.value.__notes__ == ["while combining 2 values of the key 'a'"]

    found = reduced(["a a", "b"], words, count, combiner=broken, partitions=2, errors="skip")
    assert found == {"b": 1}
    assert [(f.stage, f.where) for f in found.failures] == [("map", "items 0 to 0")]


def test_a_key_whose_values_cannot_be_brought_together_is_left_out_when_asked() -> None:
    def picky(key: str, values: list[int]) -> int:
        if key == "bad" and len(values) > 1000:
            raise ValueError("too many")
        return sum(values)

    def reducer(key: str, values: list[int]) -> int:
        return sum(values)

    data = [[("bad", 1), ("good", 1)] for _ in range(2000)]

    found = reduced(data, list, reducer, combiner=picky, partitions=2000, errors="skip")

    assert found == {"good": 2000}
    assert [(f.stage, f.key, f.failure.type) for f in found.failures] == [("reduce", "bad", "ValueError")]
    with pytest.raises(ValueError, match="too many") as caught:
        reduced(data, list, reducer, combiner=picky, partitions=2000)
    assert caught.value.__notes__ == [
        "while combining 1024 values of the key 'bad'",
        "while reducing the key 'bad'",
    ]


def test_no_list_of_a_key_grows_long_where_there_is_a_combiner() -> None:
    lengths = []

    def add(key: Any, values: list[int]) -> int:
        lengths.append(len(values))
        return sum(values)

    def skewed(_: int) -> Iterator[tuple[Any, int]]:
        return (("key" if i % 10 else i % 70, 1) for i in range(20_000))

    chunk, _ = MapChunk(skewed, add, 1, False)((Items(0, [0]),))
    mapped = len(lengths)
    pairs, _ = ReduceBucket(add, add, False, False)(0, [(chunk, [])] * 5000)

    assert dict(pairs)["key"] == 18_000 * 5000
    assert sum(dict(pairs).values()) == 20_000 * 5000
    assert max(lengths[:mapped]) == max(lengths[mapped:]) == 1024


def test_keys_that_cannot_be_sorted_are_an_error() -> None:
    for reducers in (1, 8):
        with pytest.raises(UsageError, match=r"cannot be sorted: .* or sort=False"):
            reduced([1, "a", 2, "b"], lambda x: [(x, x)], lambda _, v: v[0], sort=True, reducers=reducers)


def test_buckets_are_sorted_on_the_workers() -> None:
    draft = new_draft()
    made = compile_map_reduce(draft, range(100), lambda i: [(-i, i)], count, sort=True, reducers=3)

    for pairs, _ in evaluate(draft).value(made.reduce):
        assert len(pairs) > 10
        assert pairs == sorted(pairs)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"errors": "skipp"}, "Did you mean 'skip'"),
        ({"reducers": 0}, "reducers=0"),
        ({"partitions": -1}, "partitions=-1"),
        ({"reducers": 2.5}, "reducers=2.5"),
        ({"data": "text"}, r"The data is 'text': .* taskflow\.lines"),
        ({"data": Path("a.txt")}, r"The data is 'a.txt': .* taskflow\.lines"),
        ({"data": 5}, "of type 'int', which is no iterable"),
        ({"mapper": "words"}, "mapper='words' is not a function"),
        ({"reducer": None}, "reducer=None is not a function"),
        ({"combiner": 1}, "combiner=1 is not a function"),
    ],
)
def test_impossible_options_are_refused(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        reduced(**{"data": [], "mapper": words, "reducer": count, **how})


def test_it_goes_to_the_client_in_use() -> None:
    with hooks.using(InProcess()):  # type: ignore[arg-type]
        assert map_reduce(["a a"], words, count) == {"a": 2}


KEYS = (
    st.integers(-3, 3) | st.text("ab", max_size=2) | st.none() | st.tuples(st.integers(0, 1), st.booleans())
)
COMBINABLE: dict[str, Any] = {
    "sum": lambda _, values: sum(values),
    "max": lambda _, values: max(values),
    "first": lambda _, values: values[0],
    "last": lambda _, values: values[-1],
}


@given(
    st.lists(st.lists(st.tuples(KEYS, st.integers()))),
    st.sampled_from(sorted(COMBINABLE)),
    st.none() | st.integers(1, 8),
    st.integers(1, 8),
    st.booleans(),
    st.sampled_from(["raise", "skip"]),
    st.booleans(),
)
def test_any_map_reduce_equals_that_of_one_process(
    data: list[list[tuple[Any, int]]],
    reducer: str,
    partitions: int | None,
    reducers: int,
    combined: bool,
    errors: str,
    stream: bool,
) -> None:
    values: dict[Any, list[int]] = defaultdict(list)
    for key, value in (pair for item in data for pair in item):
        values[key].append(value)
    reduce = COMBINABLE[reducer]

    found = reduced(
        iter(data) if stream else data,
        list,
        reduce,
        combiner=reduce if combined else None,
        partitions=partitions,
        reducers=reducers,
        errors=errors,
    )

    assert found == {key: reduce(key, some) for key, some in values.items()}
    assert not found.failures


# ── chunks ───────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 500), st.none() | st.integers(1, 600), st.booleans())
def test_chunks_hold_the_data_in_order(size: int, chunks: int | None, known: bool) -> None:
    data = range(size)

    pieces = [piece for (piece,) in cut(data if known else iter(data), chunks)]

    assert [x for piece in pieces for x in piece] == list(data)
    assert [piece.span for piece in pieces] == [(min(piece), max(piece) + 1) for piece in pieces]
    if known:
        lengths = [len(list(piece)) for piece in pieces]
        assert len(pieces) == min(size, chunks or 64)
        assert not lengths or max(lengths) - min(lengths) <= 1


def test_a_stream_begins_with_short_chunks() -> None:
    sizes = [len(list(piece)) for (piece,) in cut(iter(range(20_000)), None)]

    assert sizes[:9] == [1] * 8 + [2]
    assert max(sizes) <= 256


# ── hashes of keys ───────────────────────────────────────────────────────────────────


class Colour(Enum):
    RED = 1
    BLUE = 2


class Point(NamedTuple):
    x: int
    y: str


class Keyless:
    def __reduce__(self) -> Any:
        raise TypeError("not me")


@pytest.mark.parametrize(
    "equal",
    [
        (1, 1.0, True, Decimal(1), Fraction(1), 1 + 0j),
        ("a", "".join(["a"])),
        ((1, "a", None), (1.0, "a", None)),
        (frozenset("ab"), frozenset("ba")),
        (Point(1, "a"), (1, "a")),
        (date(2020, 1, 1), date.fromordinal(737425)),
        (datetime(2020, 1, 1, tzinfo=UTC), datetime.fromtimestamp(1577836800, UTC)),
        (UUID(int=7), UUID(hex="0" * 31 + "7")),
        (Path("a/b"), Path("a") / "b"),
        (("ab", "ab"), ("ab", "".join("ab"))),
    ],
)
def test_equal_keys_have_one_hash(equal: tuple[Any, ...]) -> None:
    assert len(set(equal)) == 1
    assert len({key_hash(key) for key in equal}) == 1


def test_different_keys_are_spread() -> None:
    keys = [*range(1000), *map(str, range(1000)), *((i, str(i)) for i in range(1000)), *Colour, Path("x")]

    counts = Counter(key_hash(key) % 8 for key in keys)

    assert min(counts.values()) > 250


def test_a_hash_is_the_same_in_every_process() -> None:
    keys = "['a', b'b', ('c', 1), frozenset('xyz'), None, 2.5, __import__('datetime').date(2020, 1, 1)]"
    code = f"from taskflow.workflow.hashing import key_hash; print([key_hash(k) for k in {keys}])"

    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[3])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(printed) == 1


def test_a_key_without_such_a_hash_is_refused() -> None:
    with pytest.raises(UsageError, match="no hash that is the same in every process"):
        key_hash([1])
