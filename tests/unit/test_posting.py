"""Posted texts: sealed, and changed by one at a time."""

from __future__ import annotations

from typing import Any

import pytest

from taskflow.codec import Keyring
from taskflow.errors import StoreUnavailable, Untrusted
from taskflow.posting import Paper
from taskflow.stores.memory import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def ring() -> Keyring:
    return Keyring.ephemeral()


def paper(store: Any, ring: Keyring, name: str = "list") -> Paper:
    return Paper(store, ring, name, [])


def adding(item: str) -> Any:
    return lambda value: value if item in value else [*value, item]


def test_what_one_has_written_others_read(store: MemoryStore, ring: Keyring) -> None:
    mine, theirs = paper(store, ring), paper(store, ring)

    assert mine.look()
    assert mine.value == []
    assert mine.change(adding("a")) == ["a"]

    assert theirs.look()
    assert theirs.value == ["a"]
    assert not theirs.look()


def test_who_was_second_makes_the_change_anew(store: MemoryStore, ring: Keyring) -> None:
    mine, theirs = paper(store, ring), paper(store, ring)
    mine.look()
    theirs.change(adding("theirs"))
    seen: list[Any] = []

    def edit(value: Any) -> Any:
        if not seen:
            paper(store, ring).change(adding("third"))
        seen.append(value)
        return [*value, "mine"]

    assert mine.change(edit) == ["theirs", "third", "mine"]
    assert seen == [["theirs"], ["theirs", "third"]]


def test_a_change_whose_answer_was_lost_is_made_once(store: MemoryStore, ring: Keyring) -> None:
    class Deaf(MemoryStore):
        def post(self, name: str, revision: int, body: bytes, /) -> bool:
            return super().post(name, revision, body) and False

    deaf = Deaf()

    assert paper(deaf, ring).change(adding("a")) == ["a"]
    assert deaf.posted("list") is not None
    assert deaf.posted("list").revision == 1  # type: ignore[union-attr]


def test_nothing_is_posted_where_nothing_changes(store: MemoryStore, ring: Keyring) -> None:
    assert paper(store, ring).change(lambda value: value) == []
    assert store.posted("list", 0) is None


def test_a_place_that_changes_all_the_time_is_given_up(ring: Keyring) -> None:
    class Busy(MemoryStore):
        def post(self, name: str, revision: int, body: bytes, /) -> bool:
            return False

    with pytest.raises(StoreUnavailable, match="all the time"):
        paper(Busy(), ring).change(adding("a"))


def test_who_has_another_key_writes_nothing_that_is_read(store: MemoryStore, ring: Keyring) -> None:
    paper(store, Keyring.ephemeral()).change(adding("evil"))

    with pytest.raises(Untrusted, match="somebody else"):
        paper(store, ring).look()


def test_an_old_text_cannot_be_put_back(store: MemoryStore, ring: Keyring) -> None:
    mine = paper(store, ring)
    mine.change(adding("a"))
    old = store.posted("list")
    mine.change(adding("b"))
    assert old is not None
    assert store.post("list", 2, old.body)

    with pytest.raises(Untrusted, match="put an old one back"):
        mine.look()


def test_a_text_cannot_stand_under_another_name(store: MemoryStore, ring: Keyring) -> None:
    paper(store, ring, "other").change(adding("a"))
    other = store.posted("other")
    assert other is not None
    assert store.post("list", 0, other.body)

    with pytest.raises(Untrusted, match="somebody else"):
        paper(store, ring).look()
