"""What is found in earlier runs: for whatever items, in whatever order, and only what is there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskflow import Client
from taskflow.blobs.memory import MemoryBlobs
from taskflow.recall import _RUNS_READ


class Notes(list[Any]):
    """What ran; it is no part of what the functions do."""

    def __fingerprint__(self) -> str:
        return "notes"


NOTES = Notes()


def work(item: Any) -> Any:
    NOTES.append(item)
    if item in ("bad", 13):
        raise ValueError(item)
    return [item] * 3


ITEMS = st.lists(
    st.sampled_from([*range(10), 13, "a", "b", "bad", 2.0, None, (1, "a"), (1, ("a",))]), max_size=12
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(ITEMS, st.booleans()), min_size=2, max_size=5))
def test_whatever_is_mapped_only_what_has_no_result_runs(maps: list[tuple[list[Any], bool]]) -> None:
    with Client(mode="inline") as client:
        memo, known = client.options(memo=True), set()
        for items, in_pieces in maps:
            NOTES.clear()
            run = memo.options(chunksize=3 if in_pieces else None).map(work, items)
            values = run.results("return")
            good = [repr(item) for item in items if item not in ("bad", 13)]

            assert [value for value in values if not isinstance(value, ValueError)] == [
                [item] * 3 for item in items if item not in ("bad", 13)
            ]
            assert sorted(map(repr, NOTES)) == sorted(repr(i) for i in items if repr(i) not in known)
            assert list(map(type, [v[0] for v in values if isinstance(v, list)])) == [
                type(item) for item in items if item not in ("bad", 13)
            ]
            known.update(good)


def large(item: int) -> bytes:
    NOTES.append(item)
    return bytes([item]) * 100_000


def test_a_result_whose_blob_is_gone_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(mode="inline") as client:
        memo = client.options(memo=True)
        memo.map(large, [1, 2]).wait()
        NOTES.clear()
        assert [len(value) for value in memo.map(large, [1, 2]).results()] == [100_000] * 2
        assert NOTES == []

        blobs: Any = client._engine.store.blobs
        assert isinstance(blobs, MemoryBlobs)
        monkeypatch.setattr(blobs, "has", lambda name: False)

        assert memo.map(large, [1, 2]).results() == [bytes([1]) * 100_000, bytes([2]) * 100_000]
        assert NOTES == [1, 2]


def test_only_the_newest_runs_are_looked_at() -> None:
    with Client(mode="inline") as client:
        memo = client.options(memo=True)
        for item in range(_RUNS_READ + 1):
            memo.map(work, [item * 100]).wait()
        NOTES.clear()

        memo.map(work, [0, 100]).wait()

        assert NOTES == [0]
