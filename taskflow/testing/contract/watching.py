"""The store contract: what is seen, and what is forgotten."""

from __future__ import annotations

import select
from typing import Any

import pytest

from taskflow.errors import NoSuchRun, ResultExpired, UsageError
from taskflow.ids import NodeId, RunId, WorkerId
from taskflow.ports import Bell, Store
from taskflow.records import Kind, Note, Outcome, Said, WorkerView
from taskflow.states import TERMINAL, State
from taskflow.testing.contract.told import Told
from taskflow.testing.story import (
    ERROR,
    Story,
    array,
    call,
    keep,
    one,
    value,
)

__all__ = ["Forgetting", "Showing", "Watching"]


class Forgetting(Told):
    """What was removed is known to have been there."""

    def test_a_run_that_is_forgotten_has_expired(self, story: Story) -> None:
        """Asking for it says that it was there."""
        story.submit(call("a"))
        story.run("a")

        story.store.forget(RunId("run"))

        story.check()
        for ask in (story.run_view, lambda: story.store.find("run")):
            with pytest.raises(ResultExpired) as caught:
                ask()
            assert caught.value.expired_at == story.clock.now()
        with pytest.raises((NoSuchRun, ResultExpired)):
            story.values("a")

    def test_a_run_that_goes_on_is_not_forgotten(self, story: Story) -> None:
        """Cancel it first."""
        story.submit(call("a"))

        with pytest.raises(UsageError, match="cancel"):
            story.store.forget(RunId("run"))

        assert story.state("a") is State.QUEUED

    def test_the_epoch_stays_as_long_as_nothing_is_lost(self, story: Story) -> None:
        """It is no clock, and no counter of what happened."""
        epoch = story.store.epoch()
        story.submit(call("a"))
        story.run("a")
        story.store.forget(RunId("run"))

        assert story.store.epoch() == epoch

    def test_forgetting_the_unknown_is_an_error(self, story: Story) -> None:
        """It is likely a typing error."""
        with pytest.raises(NoSuchRun):
            story.store.forget(RunId("nothing-like-it"))

    def test_a_run_that_others_wait_for_is_not_forgotten(self, story: Story) -> None:
        """Its values are inputs of what is still to run, its pages are items of a rerun."""
        story.submit(call("a"), run="first")
        story.run("a")
        story.submit(array("b", 2, "a"), run="second")
        good, bad = story.claim(2)
        story.succeed(good)
        story.fail(bad)
        names = story.rerun("second", "third")

        for needed in ("first", "second"):
            with pytest.raises(UsageError, match="need"):
                story.store.forget(RunId(needed))
        story.run(names["b"])
        for ended_ in ("first", "second"):
            story.store.forget(RunId(ended_))

        story.check()
        assert [view.id for view in story.store.runs()] == ["third"]
        assert story.values(names["b"]) == ["value", names["b"]]

    def test_sweeping_forgets_what_ended_long_ago(self, story: Story) -> None:
        """And neither what is younger nor what goes on nor what is needed."""
        story.submit(call("a"), run="old")
        story.submit(call("b"), run="needed")
        story.run("a", "b")
        story.submit(call("c", "b"), run="live")
        story.clock.advance(100)
        story.submit(call("d", priority=1), run="young")
        story.run("d")

        swept = story.store.sweep(age_s=50, size_bytes=1 << 40)

        story.check()
        assert swept["runs"] == 1
        assert {view.id for view in story.store.runs()} == {"needed", "live", "young"}
        with pytest.raises(ResultExpired):
            story.run_view("old")
        story.run("c")


class Watching(Told):
    """A snapshot, then events."""

    def test_a_snapshot_and_then_the_events_after_it_are_everything(self, story: Story) -> None:
        """Nothing is missed between the two, nothing is told twice."""
        story.submit(call("a"), array("b", 2, "a"))
        lease = story.take()
        view, cursor = story.store.snapshot(RunId("run"))

        story.succeed(lease)

        assert {node.id: node.state for node in view.nodes} == {"a": State.RUNNING, "b": State.BLOCKED}
        told = [
            (event.run, event.node, event.lo, event.hi, event.state) for event in story.events(since=cursor)
        ]
        assert told == [("run", "a", 0, 1, State.SUCCEEDED), ("run", "b", 0, 0, State.QUEUED)]
        assert {event.at for event in story.events(since=cursor)} == {story.clock.now()}

    def test_the_cursor_of_a_snapshot_is_that_of_the_newest_event(self, story: Story) -> None:
        """And ``-1`` asks for just that event."""
        story.submit(call("a"))
        story.take()

        (newest,) = story.store.events(-1)

        assert newest.cursor == story.store.snapshot(RunId("run"))[1]
        assert (newest.node, newest.state) == ("a", State.RUNNING)
        assert story.store.events(newest.cursor) == []

    def test_an_empty_store_has_no_events(self, story: Story) -> None:
        """Nor a newest one."""
        assert story.store.events(0) == []
        assert story.store.events(-1) == []

    def test_events_come_in_order_and_in_pieces(self, story: Story) -> None:
        """Piece by piece they are the same as at once."""
        story.submit(*(call(f"n{i}") for i in range(30)))
        for lease in story.claim(30):
            story.succeed(lease)
        whole = story.store.events(0)

        pieces, at = [], 0
        while batch := story.store.events(at, limit=7):
            assert len(batch) <= 7
            pieces += batch
            at = batch[-1].cursor

        assert pieces == whole
        assert [event.cursor for event in whole] == sorted({event.cursor for event in whole})

    def test_every_item_and_the_run_end_in_exactly_one_event(self, story: Story) -> None:
        """Whatever happened before."""
        story.submit(call("a"), array("b", 4, keep("a")), call("c", "b"))
        story.retry(story.take())
        story.fail(story.take())
        for lease in story.claim(4):
            story.fail(lease) if lease.key.lo == 2 else story.succeed(lease)

        ends = [event for event in story.events() if event.state in TERMINAL]
        items = [(event.node, i) for event in ends for i in range(event.lo, event.hi)]
        assert sorted(items) == [("a", 0), ("b", 0), ("b", 1), ("b", 2), ("b", 3), ("c", 0)]
        assert [(event.lo, event.hi, event.state) for event in ends if event.node == ""] == [
            (0, 0, State.FAILED)
        ]
        assert ends[-1].node == ""

    def test_runs_are_listed_newest_first(self, story: Story) -> None:
        """By number, state, name and the beginning of their id."""
        for name in ("one", "two", "three"):
            story.submit(call(f"n-{name}"), run=f"r-{name}", name=f"census {name}")
        story.run("n-one")

        assert [view.id for view in story.store.runs()] == ["r-three", "r-two", "r-one"]
        assert [view.id for view in story.store.runs(limit=2)] == ["r-three", "r-two"]
        assert [view.id for view in story.store.runs(states=[State.SUCCEEDED])] == ["r-one"]
        assert [view.id for view in story.store.runs(match="sus t")] == ["r-three", "r-two"]
        assert [view.id for view in story.store.runs(match="r-o")] == ["r-one"]
        assert story.store.runs(match="-o") == []
        assert {view.nodes for view in story.store.runs()} == {()}
        assert story.store.runs()[2].counts == {State.SUCCEEDED: 1}

    def test_a_beginning_of_an_id_is_enough(self, story: Story) -> None:
        """When it is the beginning of one; a whole id always is."""
        story.submit(call("node-x"), call("node-y"), run="abc-1")
        story.submit(call("z"), run="abc-12")
        find = story.store.find

        assert find("abc-12") == ("abc-12", None)
        assert find("abc-1") == ("abc-1", None)
        assert find("node-x") == ("abc-1", "node-x")
        assert find("z") == ("abc-12", "z")
        for ambiguous in ("abc", "node"):
            with pytest.raises(NoSuchRun, match="begin"):
                find(ambiguous)
        with pytest.raises(NoSuchRun, match="knows no"):
            find("q")

    def test_values_are_those_of_the_items_asked_for(self, story: Story) -> None:
        """Segments that touch the range, in order of index, of what has ended."""
        story.submit(array("a", 6), call("b"))
        leases = story.claim(5)
        for lease in reversed(leases):
            story.succeed(lease, str(lease.key.lo))
        names = [NodeId("a"), NodeId("b")]

        found = story.store.values(names, lo=1, hi=4)
        everything = story.store.values(names)

        assert [(s.node, s.lo, s.hi, s.value) for s in found[names[0]]] == [
            ("a", i, i + 1, value(str(i))) for i in (1, 2, 3)
        ]
        assert len(everything[names[0]]) == 5
        assert found[names[1]] == everything[names[1]] == []

    def test_asking_for_an_unknown_node_is_an_error(self, story: Story) -> None:
        """In whichever way."""
        asked = NodeId("nothing-like-it")
        asks = (
            lambda: story.store.values([asked]),
            lambda: story.store.items(asked),
            lambda: story.store.logs(asked),
            lambda: story.store.snapshot(RunId(asked)),
        )

        for ask in asks:
            with pytest.raises(NoSuchRun, match="nothing-like-it"):
                ask()

    def test_a_result_table_has_a_row_for_every_story(self, story: Story) -> None:
        """Items without one share a row."""
        story.submit(array("a", 1000))
        leases = story.claim(3)
        story.retry(leases[1], delay_s=5)
        story.fail(leases[2])

        rows = story.store.items(NodeId("a"))

        assert [(row.lo, row.hi, row.state) for row in rows] == [
            (0, 1, State.RUNNING), (1, 2, State.WAITING), (2, 3, State.FAILED), (3, 1000, State.QUEUED)
        ]  # fmt: skip
        assert [row.error for row in rows] == [None, ERROR, ERROR, None]
        assert rows[1].until == story.clock.now() + 5

    def test_what_tasks_print_is_kept_by_item(self, story: Story) -> None:
        """While they run and when they end."""
        story.submit(array("a", 3))
        leases = story.claim(3)
        notes = [Note(leases[i].key, "log", {"text": text}) for i, text in ((2, "two"), (0, "zero"))]

        story.store.note(notes)
        story.settle(leases[0], one(leases[0], Kind.SUCCEEDED, log="the end"))

        assert story.store.logs(NodeId("a")) == [(0, "zero"), (0, "the end"), (2, "two")]
        assert story.store.logs(NodeId("a"), index=2) == [(2, "two")]
        assert story.store.logs(NodeId("a"), index=1) == []

    def test_a_zombie_has_nothing_to_say(self, story: Story) -> None:
        """Notes of lost leases are dropped; so are those of unknown nodes."""
        story.submit(call("a"))
        zombie = story.take()
        story.wait(16)
        owner = story.take(worker="w2")

        story.store.note(
            [Note(zombie.key, "log", {"text": "zombie"}), Note(owner.key, "log", {"text": "owner"})]
        )
        story.store.note([Note(zombie.key._replace(node=NodeId("x")), "log", {"text": "nobody"})])

        assert story.store.logs(NodeId("a")) == [(0, "owner")]

    def test_what_a_running_item_says_last_is_kept_while_it_runs(self, story: Story) -> None:
        """Of each kind; an event of its node tells that there is something new."""
        story.submit(call("a"))
        lease = story.take()
        before = story.cursor()

        story.store.note([Note(lease.key, "progress", {"done": n}) for n in (1, 2)])
        story.store.note([Note(lease.key, "state", {"state": "PROGRESS"}, b"\xff sealed \0")])

        (row,) = story.store.items(NodeId("a"))
        assert dict(row.said) == {
            "progress": Said("progress", {"done": 2}, None, lease.key.fence),
            "state": Said("state", {"state": "PROGRESS"}, b"\xff sealed \0", lease.key.fence),
        }
        told = [tuple(event)[3:] for event in story.store.events(before)]
        assert told == [("a", 0, 0, State.RUNNING)] * 2

        story.succeed(lease)
        assert [dict(row.said) for row in story.store.items(NodeId("a"))] == [{}]

    def test_a_value_that_is_not_said_again_is_forgotten(self, story: Story) -> None:
        """The next note of its kind takes its place, with all of it."""
        story.submit(call("a"))
        lease = story.take()

        story.store.note([Note(lease.key, "state", {"state": "ONE"}, b"one")])
        story.store.note([Note(lease.key, "state", {"state": "TWO"})])

        (row,) = story.store.items(NodeId("a"))
        assert row.said["state"] == Said("state", {"state": "TWO"}, None, lease.key.fence)

    def test_an_item_of_a_range_speaks_for_itself(self, story: Story) -> None:
        """What the items before it said is over with them; what it says comes though a part has ended."""
        story.submit(array("a", 4))
        lease = story.take(pace_s={"f": 0.0001}, share=1)
        assert lease.key[1:3] == (0, 4)
        story.store.note([Note(lease.key, "progress", {"index": 1, "done": 5})])
        assert [(r.lo, r.hi, "progress" in r.said) for r in story.store.items(NodeId("a"))] == [
            (0, 1, False), (1, 2, True), (2, 4, False)
        ]  # fmt: skip

        story.settle(lease._replace(key=lease.key._replace(hi=2)), Outcome(0, 2, Kind.SUCCEEDED, b"v"))
        assert [dict(r.said) for r in story.store.items(NodeId("a"))] == [{}, {}]

        story.store.note(
            [
                Note(lease.key, "progress", {"index": 0, "done": 9}),
                Note(lease.key, "progress", {"index": 3, "done": 6}),
                Note(lease.key, "log", {"index": 3, "text": "three"}),
            ]
        )
        rows = story.store.items(NodeId("a"))
        assert [(r.lo, r.hi, r.said["progress"].data["done"]) for r in rows if r.said] == [(3, 4, 6)]
        assert story.store.logs(NodeId("a")) == [(3, "three")]

    def test_a_zombie_does_not_speak_for_its_heir(self, story: Story) -> None:
        """Nor does what it said before outlive its lease."""
        story.submit(call("a"))
        zombie = story.take()
        story.store.note([Note(zombie.key, "state", {"state": "OLD"})])
        story.wait(16)
        owner = story.take(worker="w2")
        before = story.cursor()

        story.store.note([Note(zombie.key, "state", {"state": "ZOMBIE"})])
        assert [dict(row.said) for row in story.store.items(NodeId("a"))] == [{}]
        assert story.store.events(before) == []

        story.store.note([Note(owner.key, "state", {"state": "HEIR"})])
        assert [row.said["state"].data["state"] for row in story.store.items(NodeId("a"))] == ["HEIR"]

    def test_what_is_said_wakes_those_who_watch(self, story: Story) -> None:
        """It is pushed: nobody has to ask again and again."""
        story.submit(call("a"))
        lease = story.take()
        bell = story.store.listen("watch")
        bell.hush()

        story.store.note([Note(lease.key, "progress", {"done": 1})])

        assert select.select([bell.fileno()], [], [], 10)[0]
        bell.close()

    def test_runs_are_found_by_their_tags(self, story: Story) -> None:
        """All of those that are asked for, with just these values."""
        story.submit(
            call("a"), run="one", meta={"tags": {"exp": 7, "who": "me", "odd key.": [1, {"x": None}]}}
        )
        story.submit(call("b"), run="two", meta={"tags": {"exp": "7", "who": "me"}})
        story.submit(call("c"), run="three")

        def found(**tags: Any) -> list[str]:
            return [str(view.id) for view in story.store.runs(tags=tags)]

        assert found(who="me") == ["two", "one"]
        assert found(who="me", exp=7) == ["one"]
        assert found(exp="7") == ["two"]
        assert found(**{"odd key.": [1, {"x": None}]}) == ["one"]
        assert found(exp=8) == found(other=None) == []
        assert found() == ["three", "two", "one"]

    def test_runs_are_found_by_what_they_are_remembered_by(self, story: Story) -> None:
        """The newest first, reruns too; those that were forgotten are not there."""
        for run, name in (("one", "f"), ("two", "f"), ("three", "g")):
            story.submit(call(run), run=run, meta={"memo": {"name": name, "fn": run}})
        story.submit(call("plain"), run="four", meta={"about": "memo"})
        assert [view.id for view in story.store.runs(memo="g")] == ["three"]
        story.fail(story.take())
        story.rerun("one", "again")
        story.run("two", "three", "plain", "again.0")

        assert [view.id for view in story.store.runs(memo="f")] == ["again", "two", "one"]
        assert [view.id for view in story.store.runs(memo="f", limit=2)] == ["again", "two"]
        assert story.store.runs(memo="f", states=[State.FAILED])[0].meta["memo"] == {"name": "f", "fn": "one"}
        assert story.store.runs(memo="x") == []
        story.store.forget(RunId("two"))
        story.clock.advance(100)
        story.store.sweep(age_s=200, size_bytes=1 << 40)
        assert [view.id for view in story.store.runs(memo="f")] == ["again", "one"]
        story.store.sweep(age_s=50, size_bytes=1 << 40)
        assert story.store.runs(memo="f") == []


class Showing(Told):
    """Workers, queues, dead letters."""

    def test_workers_are_those_seen_in_the_last_minute(self, story: Story) -> None:
        """Unless they said that they go."""
        for name in ("w1", "w2"):
            story.store.announce(_worker(name, story.clock.now()))
        assert [view.id for view in story.store.workers()] == ["w1", "w2"]
        assert story.store.workers()[0].info == {"python": "3.11"}

        story.store.announce(_worker("w1", story.clock.now()), gone=True)
        assert [view.id for view in story.store.workers()] == ["w2"]
        story.clock.advance(61)

        assert story.store.workers() == []

    def test_a_worker_that_speaks_again_is_the_same_worker(self, story: Story) -> None:
        """Its last word counts."""
        story.store.announce(_worker("w1", story.clock.now()))
        story.clock.advance(50)
        story.store.announce(_worker("w1", story.clock.now(), busy=2))
        story.clock.advance(50)

        (view,) = story.store.workers()

        assert (view.busy, view.seen_at, view.queues) == (2, story.clock.now() - 50, ("default", "gpu"))

    def test_queues_say_what_waits_in_them(self, story: Story) -> None:
        """Items, not nodes; what is blocked is in none."""
        story.submit(
            array("a", 10), call("b", queue="gpu"), call("c", "b", queue="gpu"), call("d", delay_s=9)
        )
        leases = story.claim(3)
        story.retry(leases[1], delay_s=5)
        story.retry(leases[2])

        assert [dict(line) for line in story.store.queues()] == [
            {"queue": "default", "queued": 8, "waiting": 2, "running": 1, "paused": False},
            {"queue": "gpu", "queued": 1, "waiting": 0, "running": 0, "paused": False},
        ]

    def test_of_a_paused_queue_nothing_is_handed_out(self, story: Story, other: Store) -> None:
        """What runs goes on, what comes waits, and others are served."""
        story.submit(call("a"), call("b", "a"), call("c", queue="gpu"))
        running = story.take()

        assert other.pause("default")
        assert not other.pause("default")
        story.submit(call("d", priority=9), run="later")
        story.succeed(running)
        (served,) = story.claim(5, queues=("default", "gpu"))
        lines = {line["queue"]: (line["queued"], line["paused"]) for line in story.store.queues()}

        assert served.key.node == "c"
        assert lines == {"default": (2, True), "gpu": (0, False)}
        assert other.pause("default", resume=True)
        assert not other.pause("default", resume=True)
        assert [lease.key.node for lease in story.claim(5)] == ["d", "b"]

    def test_an_empty_queue_that_is_paused_is_shown(self, story: Story) -> None:
        """Or nobody would know why nothing runs."""
        story.store.pause("gpu")

        assert [(line["queue"], line["paused"]) for line in story.store.queues()] == [("gpu", True)]

    def test_the_bell_for_work_rings_when_a_queue_is_resumed(self, story: Story, other: Store) -> None:
        """Who found nothing looks again."""
        story.submit(call("a"))
        story.store.pause("default")
        bell = other.listen("work")
        bell.hush()

        story.store.pause("default", resume=True)

        assert _rang(bell)
        bell.close()

    def test_a_store_finds_itself_well(self, story: Story) -> None:
        """And says of what it made sure."""
        story.submit(call("a"))

        found = story.store.check()

        assert found
        assert all(well and what and words for what, well, words in found)

    def test_the_bell_for_work_rings_when_there_is_some(self, story: Story, other: Store) -> None:
        """Something new, something returned, something cancelled."""
        bell = other.listen("work")

        story.submit(call("a"))
        submitted = _rang(bell)
        lease = story.take()
        bell.hush()
        silent = _rang(bell)
        story.release(lease)
        returned = _rang(bell)
        story.take()
        bell.hush()
        story.cancel("a")
        cancelled = _rang(bell)
        bell.close()

        assert (submitted, silent, returned, cancelled) == (True, False, True, True)

    def test_the_bell_for_readers_rings_when_something_happened(self, story: Story, other: Store) -> None:
        """And is silent after it was hushed."""
        bell = other.listen("watch")
        before = _rang(bell)

        story.submit(call("a"))
        rang = _rang(bell)
        bell.hush()
        hushed = _rang(bell)
        story.run("a")
        again = _rang(bell)
        bell.close()

        assert (before, rang, hushed, again) == (False, True, False, True)

    def test_a_worker_that_found_nothing_is_called_when_there_is_something(
        self, story: Story, other: Store
    ) -> None:
        """And another one by who leaves work behind; a bell for all rings anyway."""
        first, second = (other.listen("work", worker=name) for name in ("w1", "w2"))
        bell = other.listen("work")
        story.claim(1, worker=WorkerId("w1"))
        story.submit(call("a"), call("b"))
        called = _rang(first)
        everyone = _rang(bell)
        first.hush()
        story.claim(2, worker=WorkerId("w2"))
        story.claim(2, worker=WorkerId("w2"))
        second.hush()
        story.submit(call("c"), call("d"), call("e"), run="more")
        again = _rang(second)
        for bells in (first, second, bell):
            bells.close()

        assert (called, everyone, again) == (True, True, True)

    @pytest.mark.parametrize("turns", [(), (0,)])
    def test_who_takes_no_more_passes_the_call_on(
        self, story: Story, other: Store, turns: tuple[int, ...]
    ) -> None:
        """A worker that is drained, say, and asks for no slots; which of two is called is left to chance."""
        drained = other.listen("work", worker="w1")
        for round_ in range(6):
            bell = other.listen("work", worker="w2")
            story.claim(1, worker=WorkerId("w1"), turns=turns)
            story.claim(1, worker=WorkerId("w2"), turns=turns)
            story.submit(call(f"a{round_}"), run=f"first {round_}")
            story.claim(0, worker=WorkerId("w1"), turns=turns)
            called = _rang(bell)
            bell.hush()
            story.claim(2, worker=WorkerId("w2"), turns=turns)
            story.submit(call(f"b{round_}"), run=f"second {round_}")
            again = _rang(bell)
            story.claim(1, worker=WorkerId("w2"), turns=turns)
            bell.close()
            assert (called, again) == (True, True)
        drained.close()

    def test_who_leaves_work_behind_calls_another_worker(self, story: Story, other: Store) -> None:
        """However few were called when it came."""
        story.submit(call("a"))
        bell = other.listen("work", worker="w2")
        (lease,) = story.claim(2, worker=WorkerId("w1"))
        story.claim(2, worker=WorkerId("w2"))
        bell.hush()
        story.submit(array("b", 5), run="more")
        story.claim(1, worker=WorkerId("w1"))
        rang = _rang(bell)
        bell.close()

        assert rang
        assert story.succeed(lease)

    def test_a_worker_hears_of_work_that_soon_is_too_late(self, story: Story, other: Store) -> None:
        """Also when it has no slot for it: before all would look by themselves."""
        bell = other.listen("work", worker="w1")
        try:
            bell.hush()
            story.submit(call("a", expires_s=5))

            assert select.select([bell], [], [], 1)[0]
            assert not bell.hush().is_turn
        finally:
            bell.close()

    def test_of_what_ends_there_is_a_bell(self, story: Story, other: Store) -> None:
        """For who waits for ends alone."""
        story.submit(call("a"))
        bell = other.listen("ends")
        lease = story.take()
        bell.hush()

        story.succeed(lease)

        assert _rang(bell)
        bell.close()

    def test_a_closed_bell_disturbs_nobody(self, story: Story, other: Store) -> None:
        """The store goes on."""
        first, second = other.listen("work"), other.listen("work")

        first.close()
        story.submit(call("a"))

        assert _rang(second)
        second.close()


def _rang(bell: Bell) -> bool:
    """Whether it rang by now; what rings on another machine takes a moment."""
    return bool(select.select([bell], [], [], 0.05)[0])


def _worker(name: str, now: float, *, busy: int = 0) -> WorkerView:
    return WorkerView(
        WorkerId(name), "host", 1, ("default", "gpu"), slots=2, busy=busy, started_at=now, seen_at=now,
        info={"python": "3.11"},
    )  # fmt: skip
