"""No two of a kind at once: as a person asks for it, and as clients race for it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from taskflow import Client, Options, Unique, Workflow, chain, group, signature, task
from taskflow.errors import ConfigError, Duplicate, TaskCancelled, TaskSkipped
from taskflow.hooks import using
from taskflow.states import State
from taskflow.stores import open_store
from tests.acceptance.stage import opened
from tests.servers import RedisServer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A client without workers: what is submitted stays queued."""
    with Client(f"sqlite:///{tmp_path / 'store.db'}", workers=0) as client:
        yield client
        client.purge()


def double(x: int) -> int:
    return 2 * x


def slowly(x: int) -> int:
    time.sleep(0.3)
    return x


def test_the_second_is_the_first_until_that_has_ended(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        unique = client.options(unique=True)
        first, second, other = (unique.submit(slowly, x) for x in (1, 1, 2))

        assert first.id == second.id != other.id
        assert [future.result(20) for future in (first, second, other)] == [1, 1, 2]
        assert unique.submit(slowly, 1).id != first.id


def test_what_makes_two_of_a_kind(client: Client) -> None:
    def same(key: object, *calls: tuple[tuple[object, ...], dict[str, object]]) -> bool:
        unique = client.options(unique=Unique(key))  # type: ignore[arg-type]
        ids = {unique.submit(dict, *args, **kwargs).id for args, kwargs in calls}
        client.purge()
        return len(ids) == 1

    pair = "".join(["a", "b"])
    assert same(None, (([("ab", "ab")],), {}), (([(pair, "ab")],), {}))
    assert same(None, ((), {"x": 1, "y": pair}), ((), {"y": "ab", "x": 1}))
    assert same(None, (([("k", "v" * 3_000_000)],), {}), (([("k", "v" * 3_000_000)],), {}))
    assert not same(None, ((), {"x": 1}), ((), {"x": 2}))
    assert not same(None, ((), {"x": 1}), ((), {"x": True}))
    assert same("text", ((), {"x": 1}), ((), {"x": 2}))
    assert same(lambda **kwargs: kwargs["x"] % 2, ((), {"x": 1}), ((), {"x": 3}))
    assert not same(lambda **kwargs: kwargs["x"] % 2, ((), {"x": 1}), ((), {"x": 2}))


def test_functions_and_inputs_are_told_apart(client: Client) -> None:
    unique, by_first = client.options(unique=True), client.options(unique=Unique(lambda x: x))
    one, two = client.submit(double, 1), client.submit(double, 1)

    assert unique.submit(double, one).id == unique.submit(double, one).id
    assert unique.submit(double, one).id != unique.submit(double, two).id
    assert unique.submit(double, 5).id != unique.submit(slowly, 5).id
    assert by_first.submit(double, 5).id != by_first.submit(slowly, 5).id
    client.purge()


def test_what_becomes_of_a_duplicate(client: Client) -> None:
    first = client.options(unique=True).submit(double, 1)

    with pytest.raises(Duplicate, match=f"double is unique, and run {first.id} is there already") as caught:
        client.options(unique=Unique(on_duplicate="raise")).submit(double, 1)
    assert caught.value.run == first.id
    skipped = client.options(unique=Unique(on_duplicate="skip")).submit(double, 1)
    after = client.submit(double, skipped)
    for future in (skipped, after):
        with pytest.raises(TaskSkipped):
            future.result(10)
    newer = client.options(unique=Unique(on_duplicate="replace")).submit(double, 1)
    with pytest.raises(TaskCancelled, match="replaced by a newer one"):
        first.result(10)
    assert newer.state is State.QUEUED
    assert len(client.runs(limit=100)) == 4


def test_one_that_runs_is_not_replaced(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        newest = client.options(unique=Unique("it", on_duplicate="replace"))
        first = newest.submit(time.sleep, 1.0)
        while first.state is not State.RUNNING:
            time.sleep(0.01)

        with pytest.raises(Duplicate):
            newest.submit(time.sleep, 0.0)
        debounced = client.options(unique=Unique("other", on_duplicate="replace", until="started"))
        client.pause()
        kept = [debounced.submit(double, x) for x in range(5)]
        client.resume()
        assert kept[-1].result(20) == 8
        assert [future.cancelled() for future in kept] == [True] * 4 + [False]


def test_what_is_sent_as_a_whole_is_unique_as_a_whole(client: Client) -> None:
    unique = client.options(unique=True)
    flow = Workflow()
    flow.add(double, 1, name="a")

    runs = [unique.map(double, [1, 2, 3]).run_id for _ in range(2)]
    assert runs[0] == runs[1] != unique.map(double, [1, 2, 4]).run_id
    steps = [(signature(double, (n,)) | signature(double)) for n in (1, 1, 2)]
    results = [unique.submit_canvas(canvas) for canvas in steps]
    assert results[0].id == results[1].id != results[2].id
    assert unique.submit_workflow(flow).id == unique.submit_workflow(flow).id
    named = client.options(unique=Unique("nightly"))
    assert named.map(double, [1]).run_id == named.map(double, [2, 3]).run_id


@task(unique=Unique(lambda x: x, until="started"))
def tidy(x: int) -> int:
    """A task that says so of itself."""
    return x


def test_a_task_says_so_of_itself(client: Client) -> None:
    sent = [tidy.apply_async((x,), client=client) for x in (1, 1, 2)]

    assert sent[0].id == sent[1].id != sent[2].id


@pytest.mark.parametrize(
    ("send", "words"),
    [
        (lambda client: client.submit_canvas(chain(tidy.s(1), tidy.s())), "part of something larger"),
        (lambda client: client.submit_canvas(group(tidy.s(1), tidy.s(2))), "one of many in a map or group"),
        (lambda client: client.options(unique=Unique(abs)).map(abs, [1]), "for single calls"),
        (
            lambda client: client.options(unique=Unique(on_duplicate="skip")).submit_canvas(
                signature(double, (1,)) | signature(double)
            ),
            "for single calls and maps, and this has 2 nodes",
        ),
        (lambda client: client.options(unique=True, key="name"), "use one of them"),
        (lambda client: client.options(unique="yes"), "unique='yes' is not possible"),
        (lambda client: Unique(on_duplicate="ignore"), "'ignore' is not known"),  # type: ignore[arg-type]
        (lambda client: Unique(until="finish"), "Did you mean 'finished'"),  # type: ignore[arg-type]
        (lambda client: Unique(ttl=0), "ttl=0 is not possible"),
        (lambda client: Unique(key=7), "key=7 is not possible"),  # type: ignore[arg-type]
    ],
)
def test_where_it_cannot_be_it_is_said_before_anything_is_stored(
    client: Client, send: object, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        send(client)  # type: ignore[operator]

    assert len(client.runs()) == 0


def test_a_running_task_can_submit_unique_ones_but_not_become_one(tmp_path: Path) -> None:
    def submits() -> list[str]:
        from taskflow import get_client

        unique = get_client().options(unique=Unique("within"))
        return [unique.submit(double, x).id for x in (1, 2)]

    def becomes() -> None:
        from taskflow import replace

        raise replace(tidy.s(1))

    with opened(tmp_path) as client:
        one, two = client.submit(submits).result(20)
        assert one == two
        with pytest.raises(ConfigError, match="submit it by itself"):
            client.submit(becomes).result(20)


_RACE = """
import sys, time
from taskflow import Client, Unique
def once(path):
    with open(path, "a") as file:
        file.write("ran\\n")
with Client(sys.argv[1], workers=0) as client:
    unique = client.options(unique=Unique("race"))
    print("ready", flush=True)
    sys.stdin.readline()
    print(unique.submit(once, sys.argv[2]).id, flush=True)
    sys.stdin.readline()
    client.shutdown(wait=False)
"""


def race(url: str, tmp_path: Path) -> None:
    """Of eight processes that submit the same at the same moment exactly one is stored, and it runs once."""
    ran = tmp_path / "ran"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", _RACE, url, str(ran)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(8)
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        ids = {racer.stdout.readline() for racer in racers if racer.stdout is not None}
        with closing(open_store(url)) as store:
            assert [f"{view.id}\n" for view in store.runs()] == list(ids)
        with Client(url, workers=2) as client:
            client.future(ids.pop().strip()).result(30)
            client.options(unique=Unique("race")).submit(double, 1).result(30)
        assert ran.read_text() == "ran\n"
    finally:
        for racer in racers:
            racer.communicate("end\n", timeout=20)


def test_of_eight_clients_one_is_heard_on_sqlite(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    race(f"sqlite:///{tmp_path / 'store.db'}", tmp_path)


def test_of_eight_clients_one_is_heard_on_redis(tmp_path: Path) -> None:
    with closing(RedisServer()) as server:
        race(f"{server.start().url}?namespace=race", tmp_path)


def test_inline_mode_knows_it_too() -> None:
    with Client(mode="inline") as client:
        unique = client.options(unique=True, countdown=0.2)
        first, second = unique.submit(double, 4), unique.submit(double, 4)
        assert first.id == second.id
        assert second.result(10) == 8
        with pytest.raises(ConfigError, match="map_reduce cannot be unique"):
            unique.run_map_reduce(None)


# ── the first for good ───────────────────────────────────────────────────────────────


def charge(order: str, folder: str) -> int:
    ledger = Path(folder) / order
    with ledger.open("a") as lines:
        lines.write("charged\n")
    if order == "bad" and len(ledger.read_text().splitlines()) == 1:
        raise ValueError(order)
    return len(ledger.read_text().splitlines())


def test_an_order_is_processed_once(tmp_path: Path) -> None:
    """By a client, by `delay`, from wherever; also when the first has ended. What failed is run anew."""
    process = task(idempotency_key=lambda order, folder: order, name="shop.process_order")(charge)
    with opened(tmp_path) as client, using(client):
        first = process.delay("o-1", str(tmp_path))
        again = process.delay("o-1", str(tmp_path))
        assert first.get(20) == again.get(20) == 1
        late = client.options(idempotency_key=lambda order, folder: order)
        handles = [process.delay("o-1", str(tmp_path)), process.delay("o-1", folder=str(tmp_path))]

        assert {handle.id for handle in handles} == {first.id}
        assert [handle.get(20) for handle in handles] == [1, 1]
        assert process.delay("o-2", str(tmp_path)).id != first.id
        calls = [late.submit(charge, "o-3", str(tmp_path)) for _ in range(3)]
        assert [call.result(20) for call in calls] == [1, 1, 1]
        assert late.submit(charge, "o-3", str(tmp_path)).id == calls[0].id
        with pytest.raises(ValueError, match="bad"):
            late.submit(charge, "bad", str(tmp_path)).result(20)
        assert late.submit(charge, "bad", str(tmp_path)).result(20) == 2


def test_what_is_sent_as_a_whole_has_a_text_for_a_key(tmp_path: Path) -> None:
    """A map and a canvas too."""
    with opened(tmp_path) as client:
        once = client.options(idempotency_key="nightly")
        first = once.map(double, range(3))
        assert list(first) == [0, 2, 4]

        again = once.map(double, range(3))
        assert again.run_id == first.run_id
        assert again.results() == [0, 2, 4]
        with pytest.raises(ConfigError, match="single calls"):
            client.options(idempotency_key=double).map(double, range(3))


def test_two_ways_to_say_it_are_too_much() -> None:
    """Whichever was said first."""
    with pytest.raises(ConfigError, match="one of them"):
        Options(unique=True, idempotency_key="a")
    with pytest.raises(ConfigError, match="one of them"):
        Options(idempotency_key="a").merge(key="b")
    assert Options(idempotency_key="a").unique == Unique("a", until="expired", ttl=86_400)
