"""What is told to workers, who is meant, and who answers: over the memory store, with workers that obey."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from taskflow.codec import Keyring
from taskflow.control import Control
from taskflow.errors import ConfigError, StoreUnavailable, Untrusted, UsageError
from taskflow.ids import WorkerId
from taskflow.records import WORKERS, Posted, WorkerView
from taskflow.stores.memory import MemoryStore
from taskflow.worker.steward import opened


class Floor:
    """A store with workers; those in `deaf` hear nothing."""

    def __init__(self, *names: str) -> None:
        self.store, self.deaf = MemoryStore(), {""}
        self.ring = Keyring.ephemeral()
        for name in names:
            self.start(name)
        self.control = Control(self.store, keyring=self.ring, sleep=lambda _: self.obey())

    def start(self, name: str, started_at: float = 7.0) -> None:
        view = WorkerView(
            WorkerId(name), "host", 1, ("default",), 2, 0, started_at, time.time(), {"followed": 0}
        )
        self.store.announce(view)

    def obey(self) -> None:
        known = self.store.posted(WORKERS)
        for view in self.store.workers():
            if view.id not in self.deaf and known is not None:
                info = {"followed": known.revision}
                self.store.announce(WorkerView(*[getattr(view, n) for n in view.__slots__[:-1]], info))

    def told(self) -> list[str]:
        """What is wanted."""
        return [f"{row['worker']}: {row['wanted']}" for row in self.control.rows()]


@pytest.fixture
def floor() -> Iterator[Floor]:
    yield Floor("gpu-1", "gpu-2", "cpu")


def test_all_are_told_and_say_that_they_follow(floor: Floor) -> None:
    told = floor.control.grow(2)

    assert told
    assert set(told.followed) == {"gpu-1", "gpu-2", "cpu"}
    assert floor.told() == ["all: +2 slots"]
    assert str(told) == (
        "Done by gpu-1, gpu-2, cpu. Workers that start later do the same, until it is reset."
    )


def test_one_is_told_by_a_prefix_and_several_by_their_names(floor: Floor) -> None:
    assert floor.control.drain(worker="c").followed == ("cpu",)
    assert floor.control.shrink(worker=["gpu-1", "gpu-2", "gpu-1"]).followed == ("gpu-1", "gpu-2")
    assert floor.told() == ["cpu: drain", "gpu-1: -1 slots", "gpu-2: -1 slots"]


def test_who_does_not_answer_is_named(floor: Floor) -> None:
    floor.deaf.add("gpu-2")

    told = floor.control.autoscale(10, 3, timeout=0.05)

    assert not told
    assert (set(told.followed), told.silent) == ({"gpu-1", "cpu"}, ("gpu-2",))
    assert "No answer within 0.05 s from gpu-2." in str(told)


def test_when_nobody_is_there_those_that_start_later_are_told() -> None:
    floor = Floor()

    told = floor.control.add_queue("gpu")

    assert not told
    assert str(told) == "No worker is there. Workers that start later do the same, until it is reset."
    assert floor.told() == ["all: queue gpu"]
    assert str(floor.control.shutdown()) == "No worker is there."


@pytest.mark.parametrize(
    ("worker", "words"),
    [
        ("gpu", "Several workers begin with 'gpu': gpu-1, gpu-2"),
        ("gpu-3", "no worker 'gpu-3'. Did you mean"),
        ("", "no worker ''"),
        ([], "No worker is named"),
    ],
)
def test_a_worker_that_is_not_there_is_not_told_anything(floor: Floor, worker: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        floor.control.drain(worker=worker)

    assert floor.told() == []


def test_values_that_are_not_possible_are_refused(floor: Floor) -> None:
    control = floor.control
    for n in (0, -1, 10_001, True, "2", 1.5):
        with pytest.raises(UsageError, match="slots are not possible"):
            control.grow(n)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="min=10 is more than max=3"):
        control.autoscale(3, 10)
    with pytest.raises(UsageError, match="several queues"):
        control.add_queue("a,b")
    with pytest.raises(ConfigError, match="1 to 1000"):
        control.add_queue("a", weight=0)
    with pytest.raises(UsageError, match="leave worker out"):
        control.shutdown(worker="cpu", later=True)
    assert floor.told() == []


def test_only_those_that_are_there_leave(floor: Floor) -> None:
    """One of the same name that starts afterwards is another."""
    floor.control.shutdown(timeout=0.01)

    assert floor.told() == ["gpu-1: shutdown", "gpu-2: shutdown", "cpu: shutdown"]
    known = floor.store.posted(WORKERS)
    assert known is not None
    assert {s.value[0] for s in opened(floor.ring, known.body, known.revision).settings} == {7.0}


def test_those_that_are_to_leave_now_have_answered_when_they_are_gone(floor: Floor) -> None:
    floor.deaf.add("cpu")

    def leave(_: float) -> None:
        for view in floor.store.workers():
            if view.id not in floor.deaf:
                floor.store.announce(view, gone=True)

    told = Control(floor.store, keyring=floor.ring, sleep=leave).shutdown(now=True, timeout=0.05)

    assert (set(told.followed), told.silent) == ({"gpu-1", "gpu-2"}, ("cpu",))


def test_workers_that_start_later_leave_too_when_that_is_said(floor: Floor) -> None:
    assert floor.control.shutdown(later=True, timeout=0.01).stays
    assert floor.told() == ["all: shutdown"]
    floor.control.reset()
    assert floor.told() == []


def test_what_was_told_to_workers_that_are_gone_is_dropped_with_the_next_change(floor: Floor) -> None:
    floor.control.grow(worker="cpu")
    floor.store.announce(next(v for v in floor.store.workers() if v.id == "cpu"), gone=True)

    floor.control.grow(worker="gpu-1")

    assert floor.told() == ["gpu-1: +1 slots"]


def test_what_was_told_to_workers_that_are_gone_is_not_shown(floor: Floor) -> None:
    floor.control.grow(worker="cpu")
    floor.store.announce(next(v for v in floor.store.workers() if v.id == "cpu"), gone=True)

    assert floor.told() == []


def test_what_ends_something_leaves_nothing_for_workers_that_start_later(floor: Floor) -> None:
    floor.control.drain()

    assert str(floor.control.resume()) == "Done by gpu-1, gpu-2, cpu."
    assert floor.control.rows() == []


def test_what_one_was_told_is_forgotten_alone(floor: Floor) -> None:
    floor.control.grow(worker="cpu")
    floor.control.grow(2)

    floor.control.reset(worker="cpu")

    assert floor.told() == ["all: +2 slots"]


def test_of_two_changes_at_one_moment_none_is_lost(floor: Floor) -> None:
    """The second one looks again."""

    class Slow(MemoryStore):
        def post(self, name: str, revision: int, body: bytes, /) -> bool:
            if revision == 0 and not floor.store.posted(name, 0):
                other = Control(floor.store, keyring=floor.ring, sleep=lambda _: floor.obey())
                other.drain()
            return floor.store.post(name, revision, body)

        def posted(self, name: str, known: int = -1, /) -> Posted | None:
            return floor.store.posted(name, known)

        def workers(self, /) -> list[WorkerView]:
            return floor.store.workers()

    Control(Slow(), keyring=floor.ring, sleep=lambda _: floor.obey()).grow(2)

    assert floor.told() == ["all: drain", "all: +2 slots"]


def test_a_change_whose_answer_was_lost_is_made_once(floor: Floor) -> None:
    """It was done, and asked again it is refused, for there is another revision by now."""
    post = floor.store.post
    floor.store.post = lambda name, revision, body, /: post(name, revision, body) and False  # type: ignore[method-assign]

    assert floor.control.grow(2)

    assert floor.told() == ["all: +2 slots"]


def test_a_store_that_always_has_another_revision_is_given_up(floor: Floor) -> None:
    floor.store.post = lambda name, revision, body, /: False  # type: ignore[method-assign]

    with pytest.raises(StoreUnavailable, match="try again"):
        floor.control.grow()


def test_what_somebody_else_has_written_is_not_built_upon(floor: Floor) -> None:
    floor.control.grow()

    with pytest.raises(Untrusted, match="written by somebody else"):
        Control(floor.store, keyring=Keyring.ephemeral()).drain()
    assert floor.told() == ["all: +1 slots"]


# ── rates, limits of time, starting anew ─────────────────────────────────────────────


def test_rates_and_limits_of_time_are_told(floor: Floor) -> None:
    assert floor.control.rate("shop.add", "30/m").stays
    assert floor.control.time_limit("shop.add", 5, 9, worker="cpu")

    assert floor.told() == ["all: shop.add at 0.5/s", "cpu: shop.add for 5 s (soft), 9 s (hard)"]
    floor.control.rate("shop.add", None)
    floor.control.time_limit("shop.add")
    assert floor.told() == []


def test_rates_and_limits_that_are_not_possible_are_refused(floor: Floor) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        floor.control.rate("shop.add", "many")
    with pytest.raises(UsageError, match="no name of a task"):
        floor.control.rate("", 1)
    with pytest.raises(UsageError, match="no time"):
        floor.control.time_limit("shop.add", 0)
    with pytest.raises(UsageError, match="must be shorter"):
        floor.control.time_limit("shop.add", 5, 5)
    assert floor.told() == []


def test_workers_are_told_to_start_anew_each_by_its_name(floor: Floor) -> None:
    floor.control.restart(worker=["cpu", "gpu-1"])

    assert floor.told() == ["cpu: restart", "gpu-1: restart"]


def test_who_is_asked_answers_and_nothing_else_changes(floor: Floor) -> None:
    floor.control.drain(worker="cpu")
    floor.deaf.add("gpu-2")

    told = floor.control.ask(timeout=0.05)

    assert (set(told.followed), told.silent) == ({"gpu-1", "cpu"}, ("gpu-2",))
    assert not told.stays
    assert floor.told() == ["cpu: drain"]
