"""What a result shares with what was mapped from a blob is named, and not stored again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskflow.blobs.files import FileBlobs
from taskflow.blobs.memory import MemoryBlobs
from taskflow.codec import Codec, Keyring, blob_names, lending, value_bytes
from taskflow.codec.payload import SEGMENT_MAX, TooMuch
from taskflow.codec.stored import Blob

FN = "f" * 40
ROWS = 100_000

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells which pages were written to"
)


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    return Codec(Keyring.ephemeral(), FileBlobs(tmp_path_factory.mktemp("blobs")))


def frame() -> pd.DataFrame:
    return pd.DataFrame({name: np.arange(ROWS) * factor for factor, name in enumerate("abcd")})


def given_to_a_task(codec: Codec, obj: Any) -> tuple[Any, Blob]:
    """An object as a task is given it, and the blob that it is in."""
    blob = codec.keep(obj)
    return codec.kept(blob), blob


def stored(codec: Codec, obj: Any) -> tuple[Any, tuple[str, ...], int]:
    """What becomes of a result; the blobs that it needs; the bytes that are its own."""
    value = codec.dump_result("n", 0, 1, 1, obj)
    return codec.load_result("n", 0, 1, 1, value), blob_names(value), value_bytes(value)


def test_a_result_with_a_new_column_stores_that_column_only(codec: Codec) -> None:
    part, blob = given_to_a_task(codec, frame())

    result, names, own = stored(codec, part.assign(z=part.a * part.b))

    pd.testing.assert_frame_equal(result, frame().assign(z=frame().a * frame().b))
    assert len(names) == 2 and names[1] == blob.name
    assert ROWS * 8 <= own < ROWS * 8 * 1.1


def test_what_is_handed_on_is_not_stored_at_all(codec: Codec) -> None:
    part, blob = given_to_a_task(codec, frame())

    value = codec.dump_args(FN, (part, 5), {"again": part})

    args, kwargs = codec.load_args(FN, value)
    assert blob_names(value) == (blob.name,)
    assert len(value) < 3_000
    for found in (args[0], kwargs["again"]):
        pd.testing.assert_frame_equal(found, frame())


def test_results_of_several_items_that_need_much_of_others_are_stored_one_by_one(codec: Codec) -> None:
    array, _ = given_to_a_task(codec, np.arange(SEGMENT_MAX // 8))

    codec.dump_result("n", 0, 1, 1, [array])
    with pytest.raises(TooMuch):
        codec.dump_result("n", 0, 2, 1, [array, 1])


def test_it_goes_on_from_result_to_result(codec: Codec) -> None:
    part, blob = given_to_a_task(codec, frame())
    wider, _, _ = stored(codec, part.assign(z=1.5))

    widest, names, own = stored(codec, wider.assign(y=2.5))

    pd.testing.assert_frame_equal(widest, frame().assign(z=1.5, y=2.5))
    assert len(names) == 3 and blob.name in names
    assert own < ROWS * 8 * 1.1


@pytest.mark.parametrize("at", [0, 1, ROWS // 2, ROWS - 1])
def test_what_was_written_to_is_stored_as_it_is_now(codec: Codec, at: int) -> None:
    array, blob = given_to_a_task(codec, np.arange(ROWS))
    array[at] = -1

    result, names, _ = stored(codec, array)

    assert blob.name not in names
    assert result[at] == -1 and array.tolist() == result.tolist()
    assert codec.kept(blob)[at] == at


def test_what_is_written_to_after_it_was_sent_is_sent_as_it_was(codec: Codec) -> None:
    array, _ = given_to_a_task(codec, np.arange(ROWS))
    value = codec.dump_args(FN, (array,))

    array[:] = -1

    (found,), _ = codec.load_args(FN, value)
    assert found.tolist() == list(range(ROWS))


def test_a_small_part_does_not_keep_the_whole(codec: Codec) -> None:
    array, blob = given_to_a_task(codec, np.arange(ROWS))

    half, named, _ = stored(codec, array[: ROWS // 2 + ROWS // 10])
    third, names, _ = stored(codec, array[: ROWS // 3])

    assert half.tolist() == list(range(ROWS // 2 + ROWS // 10)) and blob.name in named
    assert third.tolist() == list(range(ROWS // 3)) and blob.name not in names


def test_what_is_gone_meanwhile_is_stored_again(codec: Codec) -> None:
    array, blob = given_to_a_task(codec, np.arange(ROWS) + 7)
    Path(codec.blobs.path(blob.name)).unlink()  # type: ignore[attr-defined]

    result, names, _ = stored(codec, array)

    assert blob.name not in names
    assert result.tolist() == array.tolist()


def test_results_may_be_written_to_and_keep_what_they_need_alone(codec: Codec) -> None:
    array, _ = given_to_a_task(codec, np.arange(ROWS) + 3)
    value = codec.dump_result("n", 0, 1, 1, array)
    del array

    first, second = (codec.load_result("n", 0, 1, 1, value) for _ in range(2))
    first[:] = 0

    assert second.tolist() == list(range(3, ROWS + 3))


def test_pages_that_name_other_places_of_a_blob_are_not_the_same(codec: Codec) -> None:
    array, _ = given_to_a_task(codec, np.arange(ROWS))
    cut = ROWS - 1_000
    one, same, other = (codec.dump_items(FN, 0, [part]) for part in (array[:cut], array[:cut], array[1_000:]))

    assert codec.has_same_items(FN, one, FN, same, 0)
    assert not codec.has_same_items(FN, one, FN, other, 0)


def test_bytes_that_are_not_mapped_are_not_lent() -> None:
    codec = Codec(Keyring.ephemeral(), MemoryBlobs())
    array, blob = given_to_a_task(codec, np.arange(ROWS))

    result, names, _ = stored(codec, array)

    assert blob.name not in names and result.tolist() == array.tolist()


@pytest.mark.parametrize("size", [None, 0, 1 << 38], ids=["no file", "nothing", "zeros"])
def test_a_system_that_does_not_tell_what_was_written_lends_nothing(
    codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None
) -> None:
    pages = tmp_path / "pagemap"
    if size is not None:
        with pages.open("wb") as file:
            file.truncate(size)  # 1 << 38: eight bytes for each page that may be
    monkeypatch.setattr(lending, "_SELF", str(pages))
    monkeypatch.setattr(lending, "_tells_writes", lending._tells_writes.__wrapped__)  # asked anew
    array, blob = given_to_a_task(codec, np.arange(ROWS))
    array[0] = -1

    result, names, _ = stored(codec, array)

    assert result[0] == -1 and blob.name not in names


Write = tuple[int, int, int]
writes = st.lists(st.tuples(st.integers(0, 3), st.integers(0, ROWS - 1), st.integers(1, 5_000)), max_size=3)
change: dict[str, Callable[[pd.DataFrame], Any]] = {
    "itself": lambda part: part,
    "wider": lambda part: part.assign(z=part.a + 1),
    "fewer": lambda part: part[["a", "c", "d"]],
    "slice": lambda part: part.iloc[5_000:],
    "columns": lambda part: [part[name].to_numpy() for name in part],
    "copy": lambda part: part.copy(),
}


@settings(max_examples=60, deadline=None)
@given(writes=writes, how=st.sampled_from(sorted(change)))
def test_whatever_was_written_anywhere_comes_back(codec: Codec, writes: list[Write], how: str) -> None:
    arrays, _ = given_to_a_task(codec, [np.arange(ROWS) * factor for factor in range(4)])
    for which, at, many in writes:
        arrays[which][at : at + many] = -7
    part = pd.DataFrame(dict(zip("abcd", arrays, strict=True)), copy=False)
    changed = change[how](part)

    result, _, _ = stored(codec, changed)

    for found, wanted in zip(
        *(value if isinstance(value, list) else [value] for value in (result, changed)), strict=True
    ):
        assert np.array_equal(found, wanted)
