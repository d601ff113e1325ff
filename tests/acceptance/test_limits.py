"""Limits that the whole store keeps, as a user says them; on a file, and on a server with two workers."""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from taskflow import CircuitBreaker, Client, ConcurrencyLimit, RateLimit, chord, task
from taskflow.errors import CircuitOpen, ConfigError, TaskExpired
from taskflow.states import State
from taskflow.worker.agenda import REST_S
from tests.acceptance.stage import DEADLINE_S, Desk, opened, until
from tests.servers import running

NAP_S = 0.03


@pytest.fixture(scope="module")
def shared_url() -> Iterator[str]:
    for server in running("valkey"):
        yield server.url


@pytest.fixture(params=["file", "server"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    """Four slots; on a server in two workers."""
    if request.param == "file":
        with opened(tmp_path, workers=4) as client:
            yield client
        return
    url = f"{request.getfixturevalue('shared_url')}?namespace={tmp_path.name}"
    desk = Desk(tmp_path, url)
    try:
        desk.worker(2)
        desk.worker(2)
        with Client(url, workers=0) as client:
            yield client
    finally:
        desk.close()


def spans(folder: Path) -> list[tuple[float, float]]:
    """Begin and end of what `span` ran."""
    return [tuple(map(float, line.split())) for line in (folder / "spans").read_text().splitlines()]  # type: ignore[misc]


def span(folder: str, item: Any = None, nap_s: float = NAP_S, beside: int = 1) -> Any:
    """Note when it ran; the first of them does so until that many have begun."""
    began = time.monotonic()
    (Path(folder) / f"here-{uuid4()}").touch()
    until(lambda: len(list(Path(folder).glob("here-*"))) >= beside)
    time.sleep(nap_s)
    handle = os.open(f"{folder}/spans", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    os.write(handle, f"{began} {time.monotonic()}\n".encode())
    os.close(handle)
    return item


def at_once(folder: Path) -> int:
    """How many ran together at most."""
    edges = sorted(edge for begin, end in spans(folder) for edge in ((begin, 1), (end, -1)))
    most = now = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most


def test_so_many_at_once_in_the_whole_store(client: Client, tmp_path: Path) -> None:
    """Calls, maps and canvases together; the others use the slots that are left."""
    limited = client.options(concurrency=ConcurrencyLimit("gpu", 2))
    run = functools.partial(span, str(tmp_path), beside=2)
    calls = [limited.submit(run, n) for n in range(4)]
    mapped = limited.map(run, range(6))
    free = client.map(abs, range(100))

    assert [call.result(DEADLINE_S) for call in calls] == [0, 1, 2, 3]
    assert list(mapped) == list(range(6))
    assert list(free) == list(range(100))
    assert at_once(tmp_path) == 2


def test_what_waits_takes_no_slot(client: Client, tmp_path: Path) -> None:
    """A quick call passes a hundred that must wait for each other."""
    held = client.options(concurrency=1).map(functools.partial(span, str(tmp_path), nap_s=0.05), range(20))
    quick = client.submit(os.getpid)

    assert quick.result(DEADLINE_S) > 0
    assert not held.done()
    held.cancel()


def test_a_rate_spreads_starts_over_time(client: Client) -> None:
    """Of all workers together: eight at twenty a second are a twentieth of a second apart."""
    run = client.options(rate_limit=RateLimit("20/s", burst=1)).map(abs, range(8))

    assert list(run) == list(range(8))

    told = client._engine.store.events(0)
    starts = [event.at for event in told if event.run == run.run_id and event.state is State.RUNNING]
    assert len(starts) == 8
    assert all(later - before > 0.0499 for before, later in itertools.pairwise(starts))


def test_a_task_says_its_limits_itself(client: Client, tmp_path: Path) -> None:
    """Wherever it is part of a canvas."""

    @task(concurrency=1)
    def one(item: int) -> Any:
        return span(str(tmp_path), item)

    result = chord([one.s(n) for n in range(5)], task(sum).s()).apply_async(client=client)

    assert result.get(DEADLINE_S) == 10
    assert at_once(tmp_path) == 1


def test_a_key_of_the_arguments_counts_apart(client: Client) -> None:
    """Each user has a limit of his own."""
    by_user = client.options(concurrency=ConcurrencyLimit("user", 1, key=lambda user, nap_s: user))
    first = by_user.submit(wait_for, "ann", 0.3)
    names = {"user:ann", "user:bob"}
    second = by_user.submit(wait_for, "bob", 0.3)
    deadline = time.monotonic() + DEADLINE_S
    while names - {row["limit"] for row in records(client.limits())} and time.monotonic() < deadline:
        time.sleep(0.01)

    assert names <= {row["limit"] for row in records(client.limits())}
    assert (first.result(DEADLINE_S), second.result(DEADLINE_S)) == ("ann", "bob")


def wait_for(user: str, nap_s: float) -> str:
    time.sleep(nap_s)
    return user


def records(table: Any) -> list[dict[str, Any]]:
    """The rows of what a client tells."""
    rows: list[dict[str, Any]] = table.to_dict("records") if hasattr(table, "to_dict") else list(table)
    return rows


class ServiceAway(Exception):
    pass


def call_service(folder: str, item: int) -> int:
    if (Path(folder) / "away").exists():
        raise ServiceAway(item)
    return item


def test_a_breaker_spares_a_service_and_closes_when_it_is_back(client: Client, tmp_path: Path) -> None:
    """What is new fails at once meanwhile, with an error of its own."""
    breaker = CircuitBreaker("service", failures=3, window=60, reset_after=0.5)
    guarded = client.options(breaker=breaker)
    (tmp_path / "away").touch()
    for n in range(3):
        assert isinstance(guarded.submit(call_service, str(tmp_path), n).exception(DEADLINE_S), ServiceAway)

    with pytest.raises(CircuitOpen, match="service"):
        guarded.submit(call_service, str(tmp_path), 9).result(DEADLINE_S)

    (tmp_path / "away").unlink()
    deadline = time.monotonic() + DEADLINE_S
    while (call := guarded.submit(call_service, str(tmp_path), 1)).exception(DEADLINE_S) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert call.result() == 1
    assert guarded.submit(call_service, str(tmp_path), 2).result(DEADLINE_S) == 2


def test_retries_wait_for_the_service(client: Client, tmp_path: Path) -> None:
    """They are not used up while it is away."""
    breaker = CircuitBreaker("slow service", failures=1, window=60, reset_after=1.5)
    guarded = client.options(breaker=breaker, retry=2)
    (tmp_path / "away").touch()
    call = guarded.options(label="call").submit(call_service, str(tmp_path), 5)
    deadline = time.monotonic() + DEADLINE_S
    while not any(row["state"] == "open" for row in records(client.limits())):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (tmp_path / "away").unlink()

    assert call.result(DEADLINE_S) == 5


def test_exceptions_that_say_nothing_of_the_service_do_not_count(client: Client) -> None:
    """They are named."""
    breaker = CircuitBreaker("strict", failures=1, ignore=ValueError)
    guarded = client.options(breaker=breaker)
    for _ in range(3):
        assert isinstance(guarded.submit(int, "x").exception(DEADLINE_S), ValueError)

    assert guarded.submit(int, "3").result(DEADLINE_S) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate_limit": "ten a minute"}, "cannot be read"),
        ({"rate_limit": "10/fortnight"}, "no time"),
        ({"rate_limit": 0}, "nothing would ever start"),
        ({"concurrency": 0}, "above 0"),
        ({"concurrency": "two"}, "ConcurrencyLimit"),
        ({"breaker": "api"}, "CircuitBreaker"),
    ],
)
def test_what_makes_no_limit_is_refused_before_anything_is_sent(options: dict[str, Any], words: str) -> None:
    """With the cure."""
    from taskflow import Options

    with pytest.raises(ConfigError, match=words):
        Options(**options)


def test_the_items_of_a_map_share_their_limits(client: Client) -> None:
    """A key of the arguments is refused, before anything is stored."""
    keyed = client.options(rate_limit=RateLimit("5/s", key=str))

    with pytest.raises(ConfigError, match="one by one"):
        keyed.map(abs, range(3))


# ── moments that nobody rings for ───────────────────────────────────────────────────


def began(_: Any) -> float:
    """When it began, on the clock of the host."""
    return time.monotonic()


def test_a_call_that_waits_for_its_rate_starts_when_its_time_has_come(client: Client, tmp_path: Path) -> None:
    """Though everybody rests when it comes."""
    slowly, go = client.options(rate_limit=RateLimit("30/m", key="api")), tmp_path / "go"
    first = slowly.submit(_wait_for, str(go))
    until(first.running)
    since = time.monotonic()

    second = slowly.submit(began, 2).result(DEADLINE_S)
    go.touch()

    assert 1.0 < second - since < REST_S / 2
    assert first.result(DEADLINE_S) is None


def test_calls_that_wait_for_their_rate_start_while_others_of_them_run(
    client: Client, tmp_path: Path
) -> None:
    """None has to end for that."""
    slowly = client.options(rate_limit=RateLimit("1/s"))

    for call in [slowly.submit(span, str(tmp_path), beside=3) for _ in range(3)]:
        call.result(DEADLINE_S)

    times = [begin for begin, _ in spans(tmp_path)]
    assert max(times) - min(times) < REST_S / 2


def test_a_call_expires_in_time_though_no_slot_is_free(client: Client, tmp_path: Path) -> None:
    go = tmp_path / "go"
    busy = [client.submit(_wait_for, str(go)) for _ in range(4)]
    until(lambda: all(call.running() for call in busy))

    sent = time.monotonic()
    late = client.options(expires=1.0).submit(began, 1)
    assert isinstance(late.exception(DEADLINE_S), TaskExpired)
    took_s = time.monotonic() - sent
    go.touch()

    assert took_s < REST_S / 4
    assert [call.result(DEADLINE_S) for call in busy] == [None] * 4


def _wait_for(path: str) -> None:
    until(Path(path).exists)
