"""What is measured and told, by several watches, over the memory store and a clock that is moved by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskflow.alerts import Alerts, Callback, Log, Look, Notice, Watch, Webhook
from taskflow.alerts.measuring import Filter, Tail
from taskflow.codec import Codec, Keyring
from taskflow.errors import ConfigError, StoreUnavailable, Untrusted, UsageError
from taskflow.ids import WorkerId
from taskflow.records import Kind, Outcome, WorkerView
from taskflow.stores.memory import MemoryStore
from taskflow.testing import ManualClock
from taskflow.testing.story import Story, array, call, outcome
from tests.unit.alerts.listeners import wall

TOLD: list[Notice] = []


def keep(notice: Notice) -> None:
    """What a watch of this process was told."""
    TOLD.append(notice)


class Home:
    """A store, its key, and a story that is told in it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(clock=self.clock, url="memory://home")
        self.codec = Codec(Keyring.ephemeral(), self.store.blobs)
        self.story = Story(self.store, self.clock)
        self.alerts = Alerts(self, clock=self.clock.now)
        self._runs = 0

    def when_closed(self, stop: Callable[[], None], /) -> None:
        """Nothing is closed."""

    def add(self, name: str, when: Any, **more: Any) -> None:
        self.alerts.add(name, when, **({"notify": Callback(keep), "cooldown": 0.0, "watch": False} | more))

    def watch(self) -> Watch:
        return Watch(self, clock=self.clock.now)

    def ends(self, *, well: int = 0, badly: int = 0, queue: str = "default", label: str = "work") -> None:
        """So many items end, each a call of its own."""
        for n in range(well + badly):
            self._runs += 1
            run = f"{label}{self._runs}"
            self.story.submit(call(run, queue=queue, label=label), run=run)
            lease = self.story.take(queues=(queue,))
            (self.story.succeed if n < well else self.story.fail)(lease)

    def look(self, **of: Any) -> Look:
        tail = Tail(self.store, 3600.0)
        tail.read_on(self.clock.now())
        return Look(tail, Filter(**of), self.clock.now())


@pytest.fixture
def home() -> Iterator[Home]:
    TOLD.clear()
    yield Home()


def states() -> list[str]:
    return [notice.state for notice in TOLD]


# ── measuring ────────────────────────────────────────────────────────────────────────


def test_what_ended_in_the_window_is_counted(home: Home) -> None:
    """Of one queue, of tasks of a name, or of all."""
    home.ends(well=5, badly=5)
    home.clock.advance(50.0)
    home.ends(well=6, badly=2, queue="mail", label="shop.mail")

    assert (home.look().failures, home.look().failure_rate) == (7, pytest.approx(7 / 18))
    assert home.look(queue="mail").failure_rate == 0.25
    assert home.look(task="shop.*").failures == 2
    assert home.look(task="work", queue="mail").failure_rate is None
    home.clock.advance(20.0)
    assert home.look().failures == 2
    assert home.look(window_s=600.0).failures == 7


def test_of_a_part_the_newest_are_looked_at(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a look is not long in a busy store."""
    monkeypatch.setattr("taskflow.alerts.measuring.NODES_ASKED", 5)
    home.ends(badly=10)
    home.ends(well=3)

    assert home.look(task="work").failures == 2
    assert home.look().failures == 10


def test_items_of_maps_count_each(home: Home) -> None:
    home.story.submit(array("a", 10))
    (lease,) = home.story.claim(1, batch_s=1e9, pace_s={"f": 1e-6}, share=1)
    for index in range(3):
        home.story.fail(lease, at=index)
    rest = Outcome(3, lease.key.hi, Kind.SUCCEEDED, value=b"\x01v", took_s=1.0)
    home.story.settle(lease, rest)

    look = home.look()

    assert lease.key.hi == 10
    assert (look.failures, look.failure_rate) == (3, 0.3)
    assert look.duration_p95 == pytest.approx(1 / 7)


def test_retries_are_a_share_of_the_attempts(home: Home) -> None:
    home.story.submit(call("a"), call("b", delay_s=5.0))
    home.story.retry(home.story.take(), delay_s=1.0)
    home.story.wait(1.0)
    home.story.succeed(home.story.take())

    assert home.look().retry_rate == 0.5
    assert home.look(queue="other").retry_rate is None


def test_the_longest_of_most_times_is_told(home: Home) -> None:
    for n in range(20):
        home.story.submit(call(f"c{n}"), run=f"c{n}")
        lease = home.story.take()
        home.story.settle(lease, outcome(lease, Kind.SUCCEEDED, value=b"\x01v", took_s=float(n)))

    assert home.look().duration_p95 == 18.0
    assert home.look(window_s=0.1, queue="other").duration_p95 is None


def test_what_waits_and_who_works_is_told(home: Home) -> None:
    for name, queues in (("w1", ("default",)), ("w2", ("mail", "default"))):
        home.store.announce(WorkerView(WorkerId(name), "host", 1, queues, 2, 0, 0.0, home.clock.now()))
    home.story.submit(call("a"), call("b", queue="mail"), call("c"))
    home.clock.advance(5.0)
    home.story.claim(1)

    assert (home.look().queue_length, home.look(queue="mail").queue_length) == (2, 1)
    assert (home.look().waiting_s, home.look(queue="none").waiting_s) == (5.0, 0.0)
    assert [home.look(queue=queue).workers for queue in ("", "mail", "none")] == [2, 1, 0]


def test_dead_letters_are_counted_however_old(home: Home) -> None:
    home.ends(badly=3)
    home.ends(badly=1, queue="mail", label="mail")
    home.clock.advance(7200.0)

    assert (home.look().dead, home.look(queue="mail").dead, home.look(task="wor?").dead) == (4, 1, 3)


# ── watching ─────────────────────────────────────────────────────────────────────────


def test_who_asked_is_told_once_by_all_who_watch_and_again_when_it_is_over(home: Home) -> None:
    home.add("failing", "failure_rate > 5% for 5m")
    watches = [home.watch() for _ in range(3)]
    for _ in range(60):  # five minutes
        home.ends(badly=1)
        for watch in watches:
            watch.look()
        home.clock.advance(5.0)
    assert TOLD == []

    for watch in watches:
        watch.look()
    home.clock.advance(60.0)
    home.ends(well=30)
    for watch in watches:
        watch.look()

    firing, resolved = TOLD
    assert (firing.alert, firing.state, firing.value) == ("failing", "firing", 1.0)
    assert (resolved.state, resolved.value) == ("resolved", 0.0)
    assert firing.id != resolved.id
    assert firing.condition == "failure_rate > 5% for 5m"


def test_watches_that_look_at_the_same_moment_tell_once(home: Home) -> None:
    home.add("dead", "dead > 0")
    home.ends(badly=1)
    watches = [home.watch() for _ in range(8)]
    gate = threading.Barrier(len(watches))

    def look(watch: Watch) -> None:
        gate.wait()
        watch.look()

    threads = [threading.Thread(target=look, args=(watch,)) for watch in watches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert states() == ["firing"]


def test_one_that_began_late_knows_what_was_before(home: Home) -> None:
    """It takes over from one that died."""
    home.add("failing", "failures > 2 for 1m", window=600.0)
    home.ends(badly=3)
    home.watch().look()
    home.clock.advance(60.0)

    home.watch().look()

    assert states() == ["firing"]


def test_a_watch_that_died_while_it_told_is_replaced(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notice has the same id."""
    home.add("dead", "dead > 0")
    home.ends(badly=1)
    dies = home.watch()
    monkeypatch.setattr(dies, "_deliver", lambda due: None)
    dies.look()
    home.watch().look()
    assert TOLD == []

    home.clock.advance(121.0)
    home.watch().look()
    home.watch().look()

    assert [notice.id.rpartition("/")[2] for notice in TOLD] == ["1"]


def test_where_it_did_not_arrive_it_is_told_again(home: Home) -> None:
    """And only there."""
    with wall() as server:
        server.answer = 500
        home.add("dead", "dead > 0", notify=[Callback(keep), Webhook(server.url)])
        home.ends(badly=1)
        watch = home.watch()
        watch.look()
        assert "webhook: HTTPError" in home.alerts.rows()[0]["error"]
        server.answer = 200
        home.clock.advance(1.0)
        watch.look()
        assert len(server.posted) == 1
        home.clock.advance(5.0)
        watch.look()

        assert len(server.posted) == 2
    assert states() == ["firing"]
    assert home.alerts.rows()[0]["error"] == ""


def crowded(look: Look) -> bool | None:
    return look.queue_length > 2 and look.workers < 1


def test_a_function_may_be_the_condition(home: Home) -> None:
    home.add("crowded", crowded, for_s=10.0)
    home.story.submit(*(call(name) for name in "abc"))
    watch = home.watch()
    watch.look()
    home.clock.advance(10.0)
    watch.look()
    home.story.claim(2)
    watch.look()

    assert states() == ["firing", "resolved"]
    assert TOLD[0].value is None
    assert "crowded" in TOLD[0].condition


def broken(look: Look) -> bool:
    raise LookupError("no such thing")


def test_a_condition_that_fails_harms_no_other(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once."""
    home.add("broken", broken)
    home.add("dead", "dead > 0")
    home.ends(badly=1)
    watch = home.watch()
    watch.look()
    watch.look()

    assert states() == ["firing"]
    said = [record.getMessage() for record in caplog.records if "broken" in record.getMessage()]
    assert said == ["alert 'broken' cannot be looked at: LookupError: no such thing"]


def test_what_is_paused_or_removed_is_not_looked_for(home: Home) -> None:
    home.add("one", "dead > 0")
    home.add("two", "dead > 0")
    home.alerts.pause("one")
    home.alerts.remove("two")
    home.ends(badly=1)
    watch = home.watch()
    watch.look()
    assert TOLD == []

    home.alerts.resume("one")
    watch.look()

    assert states() == ["firing"]
    assert list(home.alerts) == ["one"]


def test_one_of_the_same_name_is_another(home: Home) -> None:
    """It fires anew."""
    home.add("dead", "dead > 0")
    home.ends(badly=1)
    watch = home.watch()
    watch.look()
    home.add("dead", "dead >= 1")
    watch.look()

    assert [notice.condition for notice in TOLD] == ["dead > 0", "dead >= 1"]


def test_alerts_are_listed_with_what_is_measured_now(home: Home) -> None:
    home.add(
        "failing", "failure_rate > 5%", notify=[Log(), Webhook("https://user:secret@hooks.example.org/x")]
    )
    home.add("crowded", crowded, for_s=60.0)
    home.ends(well=1, badly=1)
    home.watch().look()

    failing, crowd = home.alerts.rows()

    assert (failing["state"], failing["now"], failing["since"]) == ("firing", 0.5, home.clock.now())
    assert failing["notify"] == "log, webhook hooks.example.org"
    assert (crowd["state"], crowd["now"], crowd["notify"]) == ("quiet", None, "callback")
    assert len(home.alerts.list()) == len(home.alerts) == 2


def test_a_test_reaches_all_places_and_says_which_it_did_not(home: Home) -> None:
    home.add("dead", "dead > 0", notify=[Webhook("http://127.0.0.1:1/nobody"), Callback(keep)])

    with pytest.raises(UsageError, match=r"did not arrive. webhook: URLError"):
        home.alerts.test("dead")

    assert states() == ["test"]
    assert home.alerts.rows()[0]["state"] == "quiet"


def test_who_has_no_key_adds_no_alert(home: Home) -> None:
    """What somebody else has posted is not read."""
    other = Home()
    other.add("dead", "dead > 0")
    posted = other.store.posted("alerts")
    assert posted is not None
    assert home.store.post("alerts", 0, posted.body)

    with pytest.raises(Untrusted):
        home.watch().look()
    assert TOLD == []


def test_a_watch_outlives_a_store_that_is_away(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch, looked = home.watch(), threading.Event()

    def look() -> int:
        if looked.is_set():
            watch.stop()
        looked.set()
        raise StoreUnavailable("away")

    monkeypatch.setattr(watch, "look", look)
    monkeypatch.setattr(watch, "_look_s", 0.001)
    watch.start().close()
    assert looked.wait(10)
    assert [record.getMessage() for record in caplog.records] == ["alerts are not looked at: away"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": ""}, "name="),
        ({"name": "a\nb"}, "one line"),
        ({"when": "failure_rat > 1"}, "'failure_rate'"),
        ({"when": 3}, "a condition"),
        ({"notify": []}, "one or several"),
        ({"notify": "ann@example.org"}, "Webhook"),
        ({"cooldown": -1}, "cooldown"),
        ({"window": 0}, "window"),
        ({"for_s": 5.0}, "write it into"),
    ],
)
def test_what_is_impossible_is_refused_before_it_is_stored(home: Home, given: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        home.add(**({"name": "a", "when": "dead > 0"} | given))
    assert len(home.alerts) == 0


def test_an_alert_that_is_not_there_is_named_with_the_nearest(home: Home) -> None:
    home.add("failing", "dead > 0")
    for verb in (home.alerts.pause, home.alerts.resume, home.alerts.remove, home.alerts.test):
        with pytest.raises(UsageError, match="Did you mean 'failing'"):
            verb("faling")
