"""Arguments, items and results: there and back, large and small, and only from where they were put."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskflow.blobs.files import FileBlobs
from taskflow.codec import INLINE_MAX, Codec, Keyring, Reference, blob_names
from taskflow.codec.pickling import Rows, pack
from taskflow.errors import CannotPickle, PayloadError, ResultExpired, Untrusted
from taskflow.ids import NodeId
from taskflow.records import Segment
from taskflow.states import State
from tests.unit.codec.cost import calls_in

FN = "f" * 40
NESTED = b"\x02TFE1" + bytes(10) + (60_000).to_bytes(4, "little") + b"[" * 60_000 + bytes(32)
Cell = Callable[[str], dict[str, Any]]


class Pending(Reference):
    def __init__(self, node_id: str, index: int | None = None) -> None:
        self.node_id, self.index = node_id, index
        self.lock = threading.Lock()


class Odd:
    """Pickles, and then cannot be unpickled."""

    def __reduce__(self) -> Any:
        return (os.path.join, ())


@pytest.fixture(scope="module")
def shared_codec(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    return Codec(Keyring.ephemeral(), FileBlobs(tmp_path_factory.mktemp("blobs")))


def _result(codec: Codec, obj: Any) -> Any:
    return codec.load_result("n", 0, 1, 1, codec.dump_result("n", 0, 1, 1, obj))


# ── there and back ───────────────────────────────────────────────────────────────────

atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
trees = st.recursive(
    atoms,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@settings(max_examples=40)
@given(args=st.lists(trees).map(tuple), kwargs=st.dictionaries(st.text(), trees))
def test_any_tree_of_plain_values_arrives_as_it_was(
    shared_codec: Codec, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    value = shared_codec.dump_args(FN, args, kwargs)

    assert repr(shared_codec.load_args(FN, value)) == repr((args, kwargs))


@settings(max_examples=40)
@given(obj=trees)
def test_any_result_arrives_as_it_was(shared_codec: Codec, obj: Any) -> None:
    assert repr(_result(shared_codec, obj)) == repr(obj)


@settings(max_examples=40)
@given(items=st.lists(trees))
def test_any_page_arrives_as_it_was(shared_codec: Codec, items: list[Any]) -> None:
    value = shared_codec.dump_items(FN, 7, tuple(items))

    assert repr(shared_codec.load_items(FN, 7, value)) == repr(items)


def test_sets_dictionaries_and_classes_of_a_cell_arrive(codec: Codec, cell: Cell) -> None:
    thing = cell("class Thing:\n    def __init__(self, x): self.x = x")["Thing"]

    (args, kwargs) = codec.load_args(FN, codec.dump_args(FN, ({1, 2}, thing(3)), {"f": lambda: 4}))

    assert args[0] == {1, 2}
    assert (type(args[1]), args[1].x, kwargs["f"]()) == (thing, 3, 4)


def test_arguments_may_be_absent(codec: Codec) -> None:
    assert codec.load_args(FN, codec.dump_args(FN, ())) == ((), {})


def test_a_small_value_is_inline_and_short(codec: Codec) -> None:
    value = codec.dump_result("n", 0, 1, 1, 5)

    assert value[:1] == b"\x01"
    assert len(value) < 64
    assert blob_names(value) == ()


# ── futures ──────────────────────────────────────────────────────────────────────────


def test_a_future_anywhere_in_the_arguments_becomes_an_input(codec: Codec) -> None:
    order = ["a", "b"]
    deep = {"x": [(Pending("b", 3),)], "frame": pd.DataFrame({"c": [1, Pending("a")]})}
    value = codec.dump_args(
        FN, (Pending("a"), deep), {"k": Pending("b")}, lambda ref: order.index(ref.node_id)
    )

    args, kwargs = codec.load_args(FN, value, lambda position, index: (position, index))

    assert args[0] == (0, None)
    assert args[1]["x"] == [((1, 3),)]
    assert list(args[1]["frame"]["c"]) == [1, (0, None)]
    assert kwargs == {"k": (1, None)}


links = st.builds(Pending, st.sampled_from("abc"), st.none() | st.integers(0, 3))
linked = st.recursive(
    atoms | links,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
)


def _resolved(value: Any) -> Any:
    """What a worker sees: in place of a reference, which input it is and which item of it."""
    if isinstance(value, Pending):
        return ("abc".index(value.node_id), value.index)
    if isinstance(value, dict):
        return {key: _resolved(part) for key, part in value.items()}
    return type(value)(map(_resolved, value)) if isinstance(value, (list, tuple)) else value


@settings(max_examples=60)
@given(args=st.lists(linked).map(tuple), kwargs=st.dictionaries(st.text(), linked))
def test_futures_among_any_arguments_become_inputs_and_the_rest_arrives_as_it_was(
    shared_codec: Codec, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    value = shared_codec.dump_args(FN, args, kwargs, lambda ref: "abc".index(ref.node_id))

    found = shared_codec.load_args(FN, value, lambda position, index: (position, index))

    assert repr(found) == repr((_resolved(args), _resolved(kwargs)))


def test_inputs_that_are_not_there_are_told(shared_codec: Codec) -> None:
    value = shared_codec.dump_args(FN, (Pending("a"), [Pending("b")]), {}, lambda ref: 0)

    with pytest.raises(PayloadError, match="no inputs here"):
        shared_codec.load_args(FN, value)


def test_thousands_of_futures_in_a_list_are_inputs(codec: Codec) -> None:
    many = [Pending(str(n)) for n in range(5000)]
    value = codec.dump_args(FN, (many,), {}, lambda ref: int(ref.node_id))

    args, _ = codec.load_args(FN, value, lambda position, index: position)

    assert args == (list(range(5000)),)
    assert len(blob_names(value)) == 1


def test_a_future_beside_a_large_argument_is_an_input(codec: Codec) -> None:
    big = np.arange(100_000)
    value = codec.dump_args(FN, (big, [big, Pending("a")]), {}, lambda ref: 0)

    args, _ = codec.load_args(FN, value, lambda position, index: "value")

    assert args[1][1] == "value"
    assert args[1][0] is args[0]


def test_a_future_where_none_may_be_is_refused_with_a_hint(codec: Codec) -> None:
    with pytest.raises(CannotPickle, match=r"`result\[1\]`.*[Pp]ass the future as an argument"):
        codec.dump_result("n", 0, 1, 1, [1, Pending("a")])
    with pytest.raises(CannotPickle, match=r"item `items\[8\]`"):
        codec.dump_items(FN, 7, [1, Pending("a")])
    with pytest.raises(CannotPickle, match=r"argument `args\[0\]`"):
        codec.dump_args(FN, (Pending("a"),))


def test_inputs_that_are_not_given_are_an_error_and_not_a_guess(codec: Codec) -> None:
    value = codec.dump_args(FN, (Pending("a"),), {}, lambda ref: 0)

    with pytest.raises(PayloadError, match="inputs"):
        codec.load_args(FN, value)


# ── large objects ────────────────────────────────────────────────────────────────────


def test_a_large_result_is_a_blob_that_is_named_without_a_key(codec: Codec) -> None:
    value = codec.dump_result("n", 0, 1, 1, "x" * INLINE_MAX)

    (name,) = blob_names(value)
    assert len(value) < 300
    assert codec.blobs.has(name)
    assert codec.load_result("n", 0, 1, 1, value) == "x" * INLINE_MAX


@pytest.mark.parametrize("size", [10, 600, 4096, 30_000, 40_000, 1_000_000])
def test_arrays_and_frames_of_any_size_arrive_and_can_be_written_to(codec: Codec, size: int) -> None:
    frame = pd.DataFrame({"a": np.arange(size), "b": np.arange(size) * 0.5, "c": ["x"] * size})

    array = _result(codec, np.arange(size))
    again = _result(codec, frame)

    array[0] = 7
    again.loc[0, "a"] = 7
    assert array.sum() == np.arange(size).sum() + 7
    pd.testing.assert_frame_equal(again.iloc[1:], frame.iloc[1:])


def test_an_array_that_was_read_only_stays_so(codec: Codec) -> None:
    array = np.arange(100_000)
    array.flags.writeable = False

    assert not _result(codec, array).flags.writeable


def test_a_large_array_is_a_view_of_the_file(codec: Codec) -> None:
    value = codec.dump_result("n", 0, 1, 1, np.arange(4_000_000))
    (name,) = blob_names(value)

    array = codec.load_result("n", 0, 1, 1, value)

    assert not array.flags.owndata
    assert array.ctypes.data % 64 == 0
    assert str(codec.blobs.path(name)) in Path("/proc/self/maps").read_text()  # type: ignore[attr-defined]
    array[0] = 99
    assert codec.load_result("n", 0, 1, 1, value)[0] == 0


def test_views_and_strided_arrays_arrive(codec: Codec) -> None:
    base = np.arange(1_000_000).reshape(1000, 1000)

    for array in (base[::3, 5:900], base.T, np.asfortranarray(base), base[:0], base[5]):
        np.testing.assert_array_equal(_result(codec, array), array)


@pytest.mark.parametrize("writeable", [True, False])
def test_rows_that_lie_apart_are_not_copied_before_they_are_written(codec: Codec, writeable: bool) -> None:
    whole = np.arange(600_000.0).reshape(6, 100_000)
    whole.flags.writeable = writeable
    rows = whole[1:5, 20_000:60_000]

    (buffer,) = pack([rows, "and more"]).buffers
    again = _result(codec, [rows, rows, whole])

    assert isinstance(buffer, Rows)
    assert all(np.shares_memory(np.frombuffer(part), rows) for part in buffer.parts)
    np.testing.assert_array_equal(again[0], rows)
    np.testing.assert_array_equal(again[2], whole)
    assert again[1] is again[0]
    assert again[0].flags.writeable == writeable


def test_a_slice_of_a_frame_is_not_copied_before_it_is_written(codec: Codec) -> None:
    whole = pd.DataFrame({name: np.arange(100_000.0) for name in "abc"}) * 2
    part = whole.iloc[30_000:70_000]
    mixed = part.assign(d=part.a + 1, e="text", f=np.arange(40_000))

    assert [type(buffer) for buffer in pack(part).buffers] == [Rows]
    pd.testing.assert_frame_equal(_result(codec, part), part)
    pd.testing.assert_frame_equal(_result(codec, mixed), mixed)
    pd.testing.assert_frame_equal(codec.load_args(FN, codec.dump_args(FN, (part,)))[0][0], part)


def test_an_exception_may_hold_such_rows(codec: Codec) -> None:
    error = ValueError(np.arange(400_000.0).reshape(4, 100_000)[:, :50_000])

    value = codec.dump_error("n", 0, 1, error)

    assert value is not None
    np.testing.assert_array_equal(codec.load_error("n", 0, 1, value).args[0], error.args[0])


def test_a_large_argument_is_stored_once_for_all_calls(codec: Codec) -> None:
    frame = pd.DataFrame({"a": np.arange(100_000)})

    values = [codec.dump_args(FN, (frame, n), {"again": frame}) for n in range(5)]

    assert len({blob_names(value) for value in values}) == 1
    args, kwargs = codec.load_args(FN, values[3])
    assert args[1] == 3
    assert kwargs["again"] is args[0]
    pd.testing.assert_frame_equal(args[0], frame)


def test_many_small_arguments_that_are_large_together_are_one_blob(codec: Codec) -> None:
    args = tuple("x" * 100 + str(n) for n in range(1000))

    value = codec.dump_args(FN, args)

    assert len(blob_names(value)) == 1
    assert codec.load_args(FN, value) == (args, {})


def test_large_arguments_among_many_small_ones_arrive(codec: Codec) -> None:
    big = np.arange(100_000)
    small = tuple("x" * 100 + str(n) for n in range(1000))

    value = codec.dump_args(FN, (big, *small), {"again": [big]})

    args, kwargs = codec.load_args(FN, value)
    assert len(blob_names(value)) == 2
    assert args[1:] == small
    assert kwargs["again"][0] is args[0]
    np.testing.assert_array_equal(args[0], big)


def test_a_blob_that_is_gone_has_expired(codec: Codec) -> None:
    value = codec.dump_result("n", 0, 1, 1, "x" * INLINE_MAX)

    codec.blobs.sweep((), age_s=-7200)

    with pytest.raises(ResultExpired):
        codec.load_result("n", 0, 1, 1, value)


@pytest.mark.parametrize(
    "value",
    [b"", b"\x02", b"\x02TFE1", b"\x02" + b"TFE1" + b"\xff" * 100, os.urandom(200), b"TFE1" * 40, NESTED],
)
def test_garbage_names_no_blobs(value: bytes) -> None:
    assert blob_names(value) == ()


# ── only from where it was put ───────────────────────────────────────────────────────


def _values(codec: Codec) -> list[tuple[bytes, Callable[[bytes], Any]]]:
    big = np.arange(20_000)
    return [
        (codec.dump_args(FN, (1,)), lambda v: codec.load_args(FN, v)),
        (codec.dump_args(FN, (big, 1)), lambda v: codec.load_args(FN, v)),
        (
            codec.dump_args(FN, (Pending("a"),), {}, lambda r: 0),
            lambda v: codec.load_args(FN, v, lambda p, i: 0),
        ),
        (codec.dump_items(FN, 0, [1, "a"]), lambda v: codec.load_items(FN, 0, v)),
        (codec.dump_result("n", 0, 1, 1, {"a": 1}), lambda v: codec.load_result("n", 0, 1, 1, v)),
        (codec.dump_result("n", 0, 1, 1, big), lambda v: codec.load_result("n", 0, 1, 1, v)),
        (codec.dump_result("n", 0, 1, 1, big[:1000]), lambda v: codec.load_result("n", 0, 1, 1, v)),
    ]


def test_a_value_with_any_byte_altered_is_refused(codec: Codec) -> None:
    for value, load in _values(codec):
        load(value)
        for at in range(0, len(value), 1 if len(value) < 1000 else 97):
            for flip in (0x01, 0x80):
                altered = value[:at] + bytes([value[at] ^ flip]) + value[at + 1 :]
                with pytest.raises(Untrusted):
                    load(altered)


def test_the_blob_of_a_value_with_any_interpreted_byte_altered_is_refused(codec: Codec) -> None:
    big = {"a": list(range(20_000)), "b": np.arange(20_000)}
    value = codec.dump_result("n", 0, 1, 1, big)
    (name,) = blob_names(value)
    path = Path(codec.blobs.path(name))  # type: ignore[attr-defined]
    whole = path.read_bytes()

    for at in range(0, 50_000, 499):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(Untrusted):
            codec.load_result("n", 0, 1, 1, value)
    path.write_bytes(whole[:-1])
    with pytest.raises(Untrusted):
        codec.load_result("n", 0, 1, 1, value)


@pytest.mark.parametrize(
    "place", [("m", 0, 1, 1), ("n", 1, 2, 1), ("n", 0, 2, 1), ("n", 0, 1, 2), ("n|0", 1, 1, 1)]
)
def test_a_result_under_another_node_range_or_fence_is_refused(
    codec: Codec, place: tuple[str, int, int, int]
) -> None:
    value = codec.dump_result("n", 0, 1, 1, 5)

    with pytest.raises(Untrusted):
        codec.load_result(*place, value)


def test_arguments_of_another_function_and_items_of_another_page_are_refused(codec: Codec) -> None:
    with pytest.raises(Untrusted):
        codec.load_args("0" * 40, codec.dump_args(FN, (1,)))
    with pytest.raises(Untrusted):
        codec.load_items(FN, 1, codec.dump_items(FN, 0, [1]))
    with pytest.raises(Untrusted):
        codec.load_result("n", 0, 1, 1, codec.dump_args(FN, (1,)))


# ── what cannot travel ───────────────────────────────────────────────────────────────


def test_the_argument_that_cannot_travel_is_named(codec: Codec) -> None:
    with pytest.raises(CannotPickle, match=r"'lock': argument `args\[1\]\[0\]`") as caught:
        codec.dump_args(FN, (1, [threading.Lock()]))
    assert caught.value.culprit == "args[1][0]"
    with pytest.raises(CannotPickle, match=r"'lock': argument `table.inner`"):
        codec.dump_args(FN, (), {"table": _with_inner()})


def _with_inner() -> Any:
    class Table:
        def __init__(self) -> None:
            self.inner = threading.Lock()

    return Table()


def test_the_part_of_a_result_that_cannot_travel_is_named(codec: Codec) -> None:
    with pytest.raises(CannotPickle, match=r"'generator': `result`.*make a list"):
        codec.dump_result("n", 0, 1, 1, (x for x in "ab"))
    with pytest.raises(CannotPickle, match=r"item `items\[12\]`"):
        codec.dump_items(FN, 10, [0, 1, sys._getframe()])


def test_an_object_that_pickles_only_one_way_is_explained_where_it_fails(codec: Codec) -> None:
    value = codec.dump_result("n", 0, 1, 1, Odd())

    with pytest.raises(PayloadError, match="The result could not be rebuilt here: TypeError"):
        codec.load_result("n", 0, 1, 1, value)


def test_a_bottomless_object_is_refused(codec: Codec) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(CannotPickle):
        codec.dump_result("n", 0, 1, 1, deep)


# ── cost ─────────────────────────────────────────────────────────────────────────────


def test_small_values_cost_a_few_calls(codec: Codec) -> None:
    args, result = codec.dump_args(FN, (1,)), codec.dump_result("n", 0, 1, 1, 5)
    verbs: list[Callable[[], Any]] = [
        lambda: codec.dump_args(FN, (1,)),
        lambda: codec.load_args(FN, args),
        lambda: codec.dump_result("n", 0, 1, 1, 5),
        lambda: codec.load_result("n", 0, 1, 1, result),
    ]

    for verb in verbs:
        verb()
        assert calls_in(verb) < 60


def test_importing_the_codec_imports_nothing_heavy() -> None:
    heavy = "{'cloudpickle', 'numpy', 'pandas', 'networkx', 'asyncio'}"
    code = f"import sys, taskflow.codec, taskflow.blobs.files; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


# ── the same in another place ────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "item", ["small", "large" * 20_000, np.arange(100_000)], ids=["text", "blob", "array"]
)
def test_what_is_sealed_for_another_place_says_the_same_there(codec: Codec, item: Any) -> None:
    page, again = (codec.dump_items("f", 4, [item, item]) for _ in range(2))
    args, result = codec.dump_args("f", (item,)), codec.dump_result("n", 4, 6, 9, [item, item])
    segment = Segment(NodeId("n"), 4, 6, State.SUCCEEDED, result, None, 9, True)

    moved = codec.items_for("g", "f", 4, page)
    taken = codec.result_for("m", 0, 2, segment)

    assert taken is not None
    for found in (
        codec.load_items("g", 4, moved)[1],
        codec.load_args("g", codec.args_for("g", "f", args))[0][0],
        codec.load_result("m", 0, 2, 0, taken)[0],
    ):
        assert np.array_equal(found, item)
    assert codec.has_same_items("g", moved, "f", again, 4)
    assert not codec.has_same_items("g", moved, "f", codec.dump_items("f", 4, [item, item[::-1]]), 4)
    assert codec.result_for("m", 0, 2, segment._replace(value=None)) is None


def test_only_what_was_sealed_here_is_sealed_for_another_place(codec: Codec) -> None:
    page, args, result = (
        codec.dump_items("f", 0, [1]),
        codec.dump_args("f", (1,)),
        codec.dump_result("n", 0, 1, 9, [1]),
    )
    segment = Segment(NodeId("n"), 0, 1, State.SUCCEEDED, result, None, 8, True)

    for attempt in (
        lambda: codec.items_for("g", "other", 0, page),
        lambda: codec.items_for("g", "f", 0, page[:-1] + bytes([page[-1] ^ 1])),
        lambda: codec.args_for("g", "f", page),
        lambda: codec.args_for("g", "h", args),
        lambda: codec.result_for("m", 0, 1, segment),
        lambda: codec.has_same_items("f", page, "g", page, 0),
    ):
        with pytest.raises(Untrusted):
            attempt()
