"""What a Redis server goes through is waited out: nothing is lost, nothing happens twice."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from itertools import count

import pytest
from redis.exceptions import ResponseError

from taskflow.errors import StoreUnavailable
from taskflow.ids import RunId, new_id
from taskflow.records import Kind, Plan
from taskflow.stores.redis import RedisStore
from taskflow.stores.redis_bell import RedisBell
from taskflow.testing import ManualClock
from tests.contract.redis_sharing import node, rings, settled, some, told_by
from tests.servers import Proxy, RedisServer, until

_numbers = count()
BRIEF_S = 0.02


@pytest.fixture(params=["valkey", "redis"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """It writes down before it answers: with `everysec`, two seconds of what was answered may be lost."""
    with closing(RedisServer(request.param, options=["--hz", "100", "--appendfsync", "always"])) as server:
        yield server.start()


@pytest.fixture
def later() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Does something in a moment, beside the test."""
    threads: list[threading.Timer] = []

    def soon(what: Callable[[], object]) -> None:
        threads.append(threading.Timer(BRIEF_S, what))
        threads[-1].start()

    yield soon
    for thread in threads:
        thread.join()


Soon = Callable[[Callable[[], object]], None]


def url(server: RedisServer) -> str:
    return f"{server.url}?namespace=n{next(_numbers)}"


# ── troubles: each is over in a moment ───────────────────────────────────────────────


def forgets_scripts(server: RedisServer, soon: Soon) -> None:
    server.client().script_flush()
    server.client().function_flush("SYNC")


def dies_and_comes_back(server: RedisServer, soon: Soon) -> None:
    server.kill()
    server.start()


def is_restarted_in_a_moment(server: RedisServer, soon: Soon) -> None:
    server.kill()
    server.launch()


def stops_for_a_moment(server: RedisServer, soon: Soon) -> None:
    process = server.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    soon(lambda: process.send_signal(signal.SIGCONT))


def throws_clients_out(server: RedisServer, soon: Soon) -> None:
    server.client().execute_command("CLIENT KILL TYPE normal")


def throws_listeners_out(server: RedisServer, soon: Soon) -> None:
    server.client().execute_command("CLIENT KILL TYPE pubsub")


def pauses(server: RedisServer, soon: Soon) -> None:
    server.client().client_pause(int(BRIEF_S * 1000), all=True)


def is_read_only(server: RedisServer, soon: Soon) -> None:
    server.client().replicaof("127.0.0.1", 1)
    soon(lambda: server.client().replicaof("NO", "ONE"))


def knows_nothing_new(server: RedisServer, soon: Soon) -> None:
    server.client().config_set("replica-serve-stale-data", "no")
    is_read_only(server, soon)


def is_busy(server: RedisServer, soon: Soon) -> None:
    client = server.client()
    client.config_set("busy-reply-threshold", 1)

    def loop() -> None:
        with suppress(Exception):
            client.eval("while true do end", 0)

    def stop() -> None:
        until(lambda: server.client().script_kill())

    thread = threading.Thread(target=loop)
    thread.start()
    until(lambda: answers(server, "BUSY"))
    soon(stop)


def wants_more_replicas(server: RedisServer, soon: Soon) -> None:
    server.client().config_set("min-replicas-to-write", 1)
    soon(lambda: server.client().config_set("min-replicas-to-write", 0))


def answers(server: RedisServer, word: str) -> bool:
    """Whether a server refuses whatever it is told with this word."""
    try:
        server.client().get("nothing")
    except Exception as error:  # noqa: BLE001 - several kinds
        return str(error).startswith(word) or type(error).__name__.upper().startswith(word)
    return False


@pytest.mark.parametrize(
    ("trouble", "is_noticed"),
    [
        (forgets_scripts, False),
        (dies_and_comes_back, False),
        (is_restarted_in_a_moment, True),
        (stops_for_a_moment, False),
        (throws_clients_out, False),
        (throws_listeners_out, False),
        (pauses, False),
        (is_read_only, True),
        (knows_nothing_new, True),
        (is_busy, True),
        (wants_more_replicas, True),
    ],
)
def test_every_verb_waits_until_it_is_over_and_happens_once(
    server: RedisServer,
    later: Soon,
    trouble: Callable[[RedisServer, Soon], None],
    is_noticed: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with closing(RedisStore(url(server), clock=(clock := ManualClock()))) as quiet:
        expected = told_by(quiet, clock)

    with opened(server, clock := ManualClock()) as (store, bell):
        found = told_by(store, clock, lambda _: trouble(server, later))
        until(lambda: is_silent(bell))
        store.submit([Plan(RunId("last"), (node("last"),))])

        assert found == expected
        assert rings(bell)
        assert is_noticed == ("is away" in caplog.text)


@contextmanager
def opened(server: RedisServer, clock: ManualClock | None = None) -> Iterator[tuple[RedisStore, RedisBell]]:
    """A store, and a bell of it."""
    with closing(RedisStore(url(server), clock=clock)) as store, closing(store.listen("work")) as bell:
        yield store, bell


def is_silent(bell: RedisBell) -> bool:
    """Whether a bell listens, and has nothing to say."""
    bell.fileno()
    return bell._pubsub is not None and not rings(bell, 0.02)


def call() -> Plan:
    """A run of one call."""
    name = new_id()
    return Plan(RunId(name), (node(name),))


# ── more of a server that comes back ─────────────────────────────────────────────────


def test_a_server_that_reads_its_file_is_waited_for(server: RedisServer) -> None:
    with opened(server) as (store, _):
        store.submit([call()])
        client = server.client()
        client.mset({f"filler-{n}": os.urandom(2000) for n in range(300)})
        client.bgrewriteaof()
        until(lambda: client.info("persistence")["aof_rewrites"] == 1, 20.0)
        until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], 20.0)
        server.kill()
        server.options += ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
        server.launch()
        until(lambda: answers(server, "BUSYLOADING"))

        (lease,) = store.claim(some(1))

        assert server.client().info("persistence")["loading"] == 0
        assert not store.settle([settled(lease, Kind.SUCCEEDED)]).lost


def test_a_bell_rings_once_when_it_hears_again(server: RedisServer) -> None:
    with opened(server) as (store, bell):
        server.kill()
        assert rings(bell)  # the end of the connection
        server.start()
        store.submit([call()])  # which the bell may not hear

        until(lambda: select.select([bell], [], [], 0.02)[0])
        until(lambda: is_silent(bell))
        store.submit([call()])
        assert rings(bell)


def test_a_bell_is_silent_while_the_server_is_away(server: RedisServer) -> None:
    with opened(server) as (_, bell):
        server.kill()
        assert rings(bell)

        assert not rings(bell, 0.1)


def test_a_server_that_stays_away_is_given_up_after_the_wait(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    store = RedisStore(url(server), wait_s=0.3)
    server.kill()

    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="no answer"):
            store.submit([call()])
    server.start()
    store.submit([call()])
    store.submit([call()])

    assert [state for state in ("away", "back") if state in caplog.text] == ["away", "back"]
    assert [record.action for record in caplog.records] == ["wait", "resume"]  # type: ignore[attr-defined]
    assert len(store.runs()) == 2
    store.close()


def test_of_several_threads_one_says_that_the_server_is_away(
    server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(server) as (store, _), ThreadPoolExecutor(4) as threads:
        found, is_away = set(), store._link._is_away

        def noted(*given: object) -> None:
            is_away(*given)
            found.add(threading.get_ident())

        monkeypatch.setattr(store._link, "_is_away", noted)
        server.kill()
        waiting = [threads.submit(store.submit, [call()]) for _ in range(4)]
        until(lambda: len(found) == 4)
        server.start()
        for one in waiting:
            one.result(30)

        assert len(store.runs()) == 4
        assert [record.action for record in caplog.records] == ["wait", "resume"]  # type: ignore[attr-defined]


def test_a_connection_that_was_closed_while_nobody_used_it_is_replaced_in_silence(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(server) as (store, _):
        store.submit([call()])
        with closing(server.client()) as other:
            other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        store.submit([call()])

        assert len(store.runs()) == 2
        assert not caplog.records


def test_a_connection_on_which_the_server_refused_is_given_up(server: RedisServer) -> None:
    with opened(server) as (store, _):
        store.submit([call()])
        direct = store._link._direct
        assert direct is not None and len(direct._kept) == 1
        with pytest.raises(ResponseError, match="unknown command"):
            direct.ask("NO-SUCH-THING")

        assert not direct._kept
        assert direct.ask("ECHO", "still") == b"still"


def test_a_connection_is_looked_after_by_its_pool_now_and_then(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(server) as (store, _):
        store.submit([call()])
        direct = store._link._direct
        assert direct is not None
        (kept,) = direct._kept
        store.submit([call()])
        assert direct._kept == [kept]
        store.submit([call()])
        monkeypatch.setattr(kept, "_until", 0.0)
        store.submit([call()])

        (other,) = direct._kept
        assert other is not kept and kept.file.closed


# ── answers that are lost ────────────────────────────────────────────────────────────


@pytest.fixture
def lossy(server: RedisServer) -> Iterator[tuple[Proxy, str]]:
    """A proxy, and the URL of a store behind it."""
    with closing(Proxy(server)) as proxy:
        yield proxy, f"redis+socket://{proxy.socket}"


def test_what_is_asked_again_after_a_lost_answer_happens_once(
    server: RedisServer, lossy: tuple[Proxy, str], caplog: pytest.LogCaptureFixture
) -> None:
    proxy, behind = lossy
    with closing(RedisStore(url(server), clock=(clock := ManualClock()))) as quiet:
        expected = told_by(quiet, clock)
    asked: list[str] = []

    def lose(verb: str) -> None:
        asked.append(verb)
        proxy.lose_next()

    with closing(RedisStore(behind, clock=(clock := ManualClock()))) as store:
        found = told_by(store, clock, lose)

    assert found == expected
    assert caplog.text.count("is away") == len(asked) > 15


# ── Ctrl-C ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("away", ["killed", "stopped"])
def test_ctrl_c_comes_through_at_once_while_the_server_is_away(
    server: RedisServer, later: Soon, away: str, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(server) as (store, _):
        store.submit([call()])
        process = server.process
        assert process is not None
        if away == "killed":
            server.kill()
        else:
            process.send_signal(signal.SIGSTOP)
        pressed: list[float] = []

        def press() -> None:
            pressed.append(time.monotonic())
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        later(press)
        with pytest.raises(KeyboardInterrupt):
            store.claim(some(1))
        assert time.monotonic() - pressed[0] < 2.0

        if away == "killed":
            server.start()
        else:
            process.send_signal(signal.SIGCONT)
        assert [view.total for view in store.runs()] == [1]
        assert caplog.text.count("is away") == caplog.text.count("is back") == (away == "killed")
