"""Large arguments are stored once; small ones are what they are."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taskflow.codec import Codec, Keyring
from taskflow.errors import CannotPickle, UsageError
from taskflow.ref import Ref
from taskflow.repeats import Once
from taskflow.stores import open_store


@pytest.fixture
def once() -> Once:
    return Once(Codec(Keyring.load(), open_store("memory://").blobs))


@pytest.mark.parametrize("small", [3, "text", None, [1, 2], {"a": 1}, b"bytes", np.arange(10), print])
def test_what_is_small_is_itself(small: Any, once: Once) -> None:
    assert once(small) is small


def test_an_array_that_comes_again_is_the_same(once: Once) -> None:
    array = np.arange(10_000)

    first = once(array)

    assert isinstance(first, Ref)
    assert once(array) is first
    assert (first.get() == array).all()


def test_what_is_gone_is_not_taken_for_another(once: Once) -> None:
    for x in range(50):
        array = np.full(10_000, x)
        assert once(array).get()[0] == x
        del array
    gc.collect()

    assert once._known == {}


def test_a_list_is_looked_at_each_time(once: Once) -> None:
    some = ["text"] * 10_000
    first = once(some)
    again = once(list(some))
    some[0] = "other"

    assert first.id == again.id
    assert once(some).id != first.id
    assert once(some).get()[0] == "other"


def test_tables_and_sparse_matrices_count_as_what_they_hold(once: Once) -> None:
    pd = pytest.importorskip("pandas")
    sparse = pytest.importorskip("scipy.sparse")

    assert isinstance(once(pd.DataFrame({"x": np.arange(10_000)})), Ref)
    assert isinstance(once(pd.Series(np.arange(10_000))), Ref)
    assert isinstance(once(sparse.csr_matrix(np.ones((100, 100)))), Ref)
    assert not isinstance(once(pd.DataFrame({"x": np.arange(10)})), Ref)


def test_an_array_that_is_mapped_for_writing_stands_for_its_file(once: Once, tmp_path: Path) -> None:
    whole = np.memmap(tmp_path / "file", dtype="i8", shape=(5, 4), mode="w+", offset=16)

    make, terms = once(whole[2]).__reduce__()
    make(*terms)[:] = 7

    assert whole.sum(axis=1).tolist() == [0, 0, 28, 0, 0]
    with pytest.raises(UsageError, match="take the part in the call"):
        once(whole[:, 2])


def test_a_part_of_fortran_order_is_that_part(once: Once, tmp_path: Path) -> None:
    whole = np.memmap(tmp_path / "file", dtype="i8", shape=(5, 4), mode="w+", order="F")

    make, terms = once(whole[:, 1:3]).__reduce__()
    make(*terms)[0, 1] = 9

    assert whole[0].tolist() == [0, 0, 9, 0]


def test_an_array_that_is_mapped_for_reading_is_stored(once: Once, tmp_path: Path) -> None:
    np.arange(10_000).tofile(tmp_path / "file")

    stored = once(np.memmap(tmp_path / "file", dtype="i8", mode="r"))

    assert stored.get()[-1] == 9999


def test_what_cannot_travel_is_named(once: Once) -> None:
    with pytest.raises(CannotPickle, match="generator"):
        once([(x for x in ())] * 10_000)
