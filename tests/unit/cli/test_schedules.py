"""taskflow schedules: what runs by itself, and how it is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from taskflow import Client, crontab
from tests.unit.cli.shop import Shop


def add(x: int) -> int:
    return x + 1


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(mode="inline") as client:
        yield client


@pytest.fixture
def shop(client: Client) -> Shop:
    """A command line in front of the store of a client."""
    return Shop(client._engine.store)


def test_schedules_are_listed(client: Client, shop: Shop) -> None:
    client.schedules.add("nightly", add, crontab(0, 2), (1,), tz="Asia/Tokyo")
    client.schedules.add("often", add, 30, (1,))

    answer = shop("schedules")

    assert answer.code == 0
    assert answer.words[0] == ["name", "runs", "when", "zone", "state", "next", "last", "count"]
    assert answer.words[1][:8] == ["nightly", "add(1)", "0", "2", "*", "*", "*", "Asia/Tokyo"]
    assert answer.words[2][:6] == ["often", "add(1)", "every", "30", "s", "UTC"]
    assert [row["name"] for row in json.loads(shop("schedules", "--json").out)] == ["nightly", "often"]


def test_no_schedules_is_a_hint(shop: Shop) -> None:
    answer = shop("schedules")

    assert (answer.code, answer.out) == (0, "")
    assert "Nothing is scheduled" in answer.err


def test_they_are_paused_resumed_and_removed(client: Client, shop: Shop) -> None:
    for name in ("a", "b", "c"):
        client.schedules.add(name, add, 30, (1,))

    assert shop("schedules", "pause", "a", "b") == (0, "", "Paused: a, b.\n")
    assert [entry.enabled for entry in client.schedules.values()] == [False, False, True]
    assert shop("schedules", "resume", "a") == (0, "", "Resumed: a.\n")
    assert shop("schedules", "remove", "c") == (0, "", "Removed: c.\n")
    assert {name: entry.enabled for name, entry in client.schedules.items()} == {"a": True, "b": False}


def test_one_is_run_now(client: Client, shop: Shop) -> None:
    client.schedules.add("a", add, 30, (1,))

    answer = shop("schedules", "run", "a")

    assert answer.code == 0
    assert client.attach(answer.out.strip()).get() == 2


def test_the_next_ticks_are_told(client: Client, shop: Shop) -> None:
    client.schedules.add("a", add, 30, (1,))
    client.schedules.add("b", add, 45, (1,))

    assert [line[2] for line in shop("schedules", "next", "-n", "3").words[1:]] == ["a", "b", "a"]
    assert [line[2] for line in shop("schedules", "next", "b", "-n", "2").words[1:]] == ["b", "b"]
    assert len(json.loads(shop("schedules", "next", "--json").out)) == 10


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("pause",), "Which one? taskflow schedules pause NAME"),
        (("pause", "nigthly"), "Did you mean 'nightly'"),
        (("next", "nightly", "other"), "Name one"),
        (("next", "-n", "0"), "not possible"),
    ],
)
def test_wrong_use_says_what_to_do(client: Client, shop: Shop, words: tuple[str, ...], text: str) -> None:
    client.schedules.add("nightly", add, 30, (1,))

    answer = shop("schedules", *words)

    assert answer.code == 2
    assert text in answer.err


def test_names_cannot_steer_the_terminal(client: Client, shop: Shop) -> None:
    client.schedules.add("evil\x1b[2J", add, 30, (1,))

    assert "\x1b" not in shop("schedules").out
    assert "\x1b" not in shop("schedules", "next").out


def test_a_beat_needs_a_store_that_others_see(shop: Shop) -> None:
    answer = shop("beat", "memory://x")

    assert answer.code == 2
    assert "seen by its own process alone" in answer.err
    assert shop("beat", "--max-interval", "0").code == 2
