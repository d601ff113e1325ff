"""Stores that are shown: opened when they are there, left alone while they are away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskflow.errors import NoSuchRun, StoreUnavailable
from taskflow.jupyter.shelf import Place, Shelf
from taskflow.stores.memory import MemoryStore


class Opener:
    """Opens a store in memory, unless it is away."""

    def __init__(self) -> None:
        self.is_away = False
        self.tries = 0

    def __call__(self, url: str) -> Any:
        self.tries += 1
        if self.is_away:
            raise StoreUnavailable("The server does not answer. Is it running?")
        return MemoryStore()


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_file_that_is_not_there_is_not_made_and_is_opened_once_it_is(tmp_path: Path) -> None:
    opener, path = Opener(), tmp_path / "store.db"
    place = Place(f"sqlite:///{path}", opener)

    before = (place.ask(lambda store: 1), place.state, path.exists(), opener.tries)
    path.touch()

    assert before == (None, "absent", False, 0)
    assert (place.ask(lambda store: 1), place.state) == (1, "ok")


def test_a_file_that_is_replaced_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    place = Place(f"sqlite:///{path}", Opener())
    first = place.store()

    path.rename(tmp_path / "old.db")
    gone = place.store()
    path.touch()

    assert gone is None
    assert place.store() not in (None, first)


def test_a_store_that_is_away_is_left_alone_longer_and_longer() -> None:
    opener, seconds = Opener(), Seconds()
    place = Place("redis://:secret@127.0.0.1:1/0", opener, seconds)
    opener.is_away = True

    tries = []
    for _ in range(100):
        with pytest.raises(StoreUnavailable, match="Is it running"):
            place.ask(lambda store: 1)
        tries.append(opener.tries)
        seconds.now += 0.5

    assert (place.state, "secret" in place.shown) == ("away", False)
    assert tries[1] == 1
    assert opener.tries == 7  # after 0, 1, 3, 7, 15, 30 and 45 seconds

    opener.is_away = False
    seconds.now += 15
    assert (place.ask(lambda store: 1), place.state) == (1, "ok")


def test_a_question_that_fails_of_itself_says_nothing_of_the_store() -> None:
    place = Place("redis://127.0.0.1/0", Opener())

    with pytest.raises(NoSuchRun):
        place.ask(lambda store: store.find("019a9a3b"))

    assert place.state == "ok"


def test_a_run_that_may_be_in_a_store_that_is_away_is_not_said_to_be_unknown(tmp_path: Path) -> None:
    shelf = Shelf(lambda: [f"sqlite:///{tmp_path}/none.db", "redis://127.0.0.1:1/0"])

    with pytest.raises(StoreUnavailable):
        shelf.place_of("019a9a3b-4f21-7abc-8def-0123456789ab")

    shelf.close()
