"""What every place for blobs has to keep. A subclass defines the fixture `blobs`.

class TestMine(BlobContract):
@pytest.fixture
def blobs(self): ...
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from taskflow.errors import ResultExpired
from taskflow.ports import Blobs

__all__ = ["BlobContract"]

MB = 1 << 20


class BlobContract:
    """The suite."""

    def test_the_parts_are_found_one_behind_the_other(self, blobs: Blobs) -> None:
        """Of whatever kind they are."""
        wide: Any = memoryview(bytes(range(256)) * 8).cast("d")

        blobs.put("abc", [b"one", memoryview(b"two"), b"", wide])

        assert bytes(blobs.open("abc")) == b"onetwo" + bytes(wide)

    @pytest.mark.parametrize("size", [0, 1, 100_000, 8 * MB, 8 * MB + 1, 20 * MB])
    def test_what_is_put_is_given_back(self, blobs: Blobs, size: int) -> None:
        """At and around the sizes at which it takes another way."""
        data = os.urandom(size)

        blobs.put("abc", [data[: size // 3], data[size // 3 :]])

        view = blobs.open("abc")
        assert (view.nbytes, bytes(view) == data) == (size, True)
        assert blobs.has("abc")

    @pytest.mark.parametrize("size", [10, 3 * MB])
    def test_a_name_is_written_once(self, blobs: Blobs, size: int) -> None:
        """What comes second is the same by its name, so it need not be looked at."""
        blobs.put("abc", [b"1" * size])

        blobs.put("abc", [b"2" * size])

        assert bytes(blobs.open("abc")) == b"1" * size

    @pytest.mark.parametrize("size", [10, 3 * MB])
    def test_writing_to_a_view_changes_no_one_elses(self, blobs: Blobs, size: int) -> None:
        """Tasks may change what they were given."""
        blobs.put("abc", [b"1" * size])
        mine = blobs.open("abc")

        mine[0:1] = b"X"

        assert bytes(mine[:2]) == b"X1"
        assert bytes(blobs.open("abc")) == b"1" * size

    def test_what_is_not_there_is_expired(self, blobs: Blobs) -> None:
        """It is an error, and never a wait."""
        assert not blobs.has("absent")
        with pytest.raises(ResultExpired):
            blobs.open("absent")

    def test_dropping_a_copy_loses_nothing(self, blobs: Blobs) -> None:
        """Only a copy goes."""
        data = os.urandom(3 * MB)
        blobs.put("abc", [data])

        blobs.drop("abc")

        assert bytes(blobs.open("abc")) == data

    def test_a_view_outlives_the_blob(self, blobs: Blobs) -> None:
        """Who has it keeps it."""
        data = os.urandom(3 * MB)
        blobs.put("abc", [data])
        view = blobs.open("abc")

        blobs.sweep((), age_s=-7200)
        blobs.drop("abc")

        assert bytes(view) == data

    def test_a_sweep_spares_what_is_young(self, blobs: Blobs) -> None:
        """Its run may be about to be sent."""
        blobs.put("abc", [b"1" * 3 * MB])

        blobs.sweep(("abc",), age_s=3600)

        assert blobs.has("abc")
        assert len(blobs.open("abc")) == 3 * MB

    @pytest.mark.parametrize("size", [1000, 3 * MB])
    def test_several_writers_of_one_name_leave_one_whole_blob(self, blobs: Blobs, size: int) -> None:
        """As processes do that send the same function."""
        data = os.urandom(size)

        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(blobs.put, "abc", [data]) for _ in range(8)]:
                done.result()

        assert bytes(blobs.open("abc")) == data
