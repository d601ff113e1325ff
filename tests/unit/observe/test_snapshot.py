"""Looking at a run again and again: what is told is short, right, and costs little."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskflow.errors import NoSuchRun, ResultExpired
from taskflow.ids import NodeId, RunId
from taskflow.observe.cells import Cells
from taskflow.observe.snapshot import INTERVAL_S, MOST_BYTES, SHARE, Snapshot, Watch, size_bytes
from taskflow.ports import Store
from taskflow.records import Failure, Growth, Kind, Note, Page, Plan, Settlement
from taskflow.states import TERMINAL, State
from taskflow.stores.memory import MemoryStore
from taskflow.testing import ManualClock, Story
from taskflow.testing.story import array, call, edge, one, value

from taskflow.records import EdgeMode  # isort: skip

RUN = RunId("run")


def watch(story: Story, store: Any = None) -> Watch:
    return Watch(store or story.store, RUN, story.clock.now)


def look(watch: Watch) -> Snapshot:
    seen = watch.look()
    assert seen is not None
    assert size_bytes(seen) < MOST_BYTES
    assert json.loads(json.dumps(seen, allow_nan=False)) == seen
    return seen


def squares(seen: Snapshot) -> list[int]:
    return list(b64decode(seen["cells"]["states"]))


def fresh_squares(store: Store, width: int, name: str = "map") -> list[int]:
    return list(Cells(width, store.items(NodeId(name))).states())


class Through:
    """A store that something happens to while it is read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.before: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        happens = self.before.pop(name, None)
        if happens is not None:
            happens()
        return getattr(self._store, name)


def expired() -> None:
    raise ResultExpired("events")


# ── what is told ─────────────────────────────────────────────────────────────────────


def test_a_map_as_it_goes_on(story: Story) -> None:
    story.submit(array("map", 4), name="clean")
    seen = watch(story)

    first = look(seen)
    story.succeed(story.take())
    story.fail(story.take())
    held = story.take()
    then = look(seen)

    assert (first["state"], first["done"], first["total"], first["name"]) == ("running", 0, 4, "clean")
    assert squares(first) == [0, 0, 0, 0]
    assert (then["state"], then["done"], then["failed"]) == ("running", 2, 1)
    assert squares(then) == [2, 3, 1, 0]
    assert [(error["type"], error["count"]) for error in then["errors"]] == [("builtins.ValueError", 1)]
    assert held and not seen.ended


def test_nothing_new_is_nothing(story: Story) -> None:
    story.submit(array("map", 4))
    story.submit(call("other"), run="another")
    seen = watch(story)

    assert look(seen)
    assert seen.look() is None
    story.run("map")
    assert look(seen)["done"] == 1
    assert seen.look() is None


def test_what_happens_to_other_runs_is_not_told(story: Story) -> None:
    story.submit(array("map", 1), run="another")
    story.submit(array("mine", 1))
    seen = watch(story)
    look(seen)

    story.run("map")

    assert seen.look() is None


def test_a_run_of_one_call_ends(story: Story) -> None:
    story.submit(call("lone"))
    seen = watch(story)
    assert look(seen)["cells"] is None

    story.run("lone")
    last = look(seen)

    assert seen.ended
    assert (last["state"], last["done"], last["ended_at"]) == ("succeeded", 1, 1000.0)
    assert last["stages"][0]["rate"] is None


@pytest.mark.parametrize("graph", [False, True])
def test_a_run_that_was_cancelled_ends(story: Story, graph: bool) -> None:
    story.submit(array("map", 3), *([call("sum", "map")] if graph else []))
    seen = watch(story)
    look(seen)

    story.cancel("run")
    last = look(seen)

    assert (seen.ended, last["state"], squares(last)) == (True, "cancelled", [4, 4, 4])
    assert last["ended_at"] is not None


def test_a_run_that_had_ended_is_told_whole(story: Story) -> None:
    story.submit(array("map", 2), call("sum", "map"))
    story.run("map", "map", "sum")
    seen = watch(story)

    only = look(seen)

    assert (seen.ended, only["state"], only["done"], squares(only)) == (True, "succeeded", 3, [2, 2])
    assert seen.look() is None


def test_a_run_that_grows_is_followed(story: Story) -> None:
    story.submit(call("first"), array("map", None, "first"))
    seen = watch(story)
    assert (look(seen)["total"], look_again(seen)) == (None, None)

    story.succeed(story.take(), grow=Growth(widths={NodeId("map"): (3, (Page(0, 3, value()),))}))
    grown = look(seen)
    story.run("map", "map", "map")
    last = look(seen)

    assert (grown["total"], grown["done"], squares(grown)) == (4, 1, [0, 0, 0])
    assert (seen.ended, last["done"], squares(last)) == (True, 4, [2, 2, 2])


def look_again(watch: Watch) -> Snapshot | None:
    return watch.look()


def test_a_map_that_is_fed_has_no_total_until_it_has_been(story: Story) -> None:
    fed = array("a", 1, edge("items of a", EdgeMode.FEEDS))
    story.submit(call("items of a", queue="own"), fed)
    lease = story.take(queues=("own",))
    seen = watch(story)

    assert look(seen)["total"] is None
    story.succeed(lease, grow=Growth(widths={NodeId("a"): (3, (Page(1, 3, value()),))}))
    story.run("a", "a", "a")
    last = look(seen)

    assert (last["total"], last["done"], last["state"], squares(last)) == (3, 3, "succeeded", [2, 2, 2])


def test_a_run_that_nobody_knows_is_said_to_be_so(story: Story) -> None:
    with pytest.raises(NoSuchRun):
        watch(story).look()


def test_secrets_of_the_store_are_not_told(clock: ManualClock) -> None:
    store = MemoryStore(url="redis://me:hunter2@host:6379/0", clock=clock)
    Story(store, clock).submit(call("lone"))

    assert "hunter2" not in json.dumps(Watch(store, RUN).look())


# ── how much is told ─────────────────────────────────────────────────────────────────


def plan(*nodes: Any, name: str = "") -> Plan:
    return Plan(RUN, nodes, name, {}, None, None)


def fail_all(story: Story, texts: list[str]) -> None:
    """Without a look at the store after each step: there are many."""
    for text in texts:
        (lease,) = story.store.claim(story.want(1))
        trace = f'  File "{text}", line 1, in f\n{text}'
        error = Failure("failed", f"mod.{text}", text, trace).to_json()
        story.store.settle([Settlement(lease.key, (one(lease, Kind.FAILED, error=error),))])


HOSTILE = ["x", "\u202e", "日", "\x00", "</script>", "\U0001f600", '"', "\\"]


def test_a_map_of_ten_thousand_items_that_fail_for_a_hundred_reasons_is_short(story: Story) -> None:
    story.store.submit([plan(array("map", 10_000), name="n" * 10_000)])
    seen = watch(story)
    look(seen)

    fail_all(story, [f"{chr(0x4E00 + i)}" * 4_000 for i in range(100)])

    assert look(seen)["failed"] == 100
    assert len(look(watch(story))["errors"]) > 1


@pytest.mark.parametrize("text", HOSTILE)
def test_long_words_of_any_kind_are_short_when_they_are_told(story: Story, text: str) -> None:
    long = text * 5_000
    nodes = [array("map", 50, label=long)]
    nodes += [call(f"n{i}", "map", label=f"{long}{i}{long}") for i in range(300)]
    story.store.submit([plan(*nodes, name=long)])

    fail_all(story, [f"{text * 3_000}{chr(0x4E00 + i)}" for i in range(20)])

    assert look(watch(story))["failed"] == 20


def chain(size: int) -> list[Any]:
    return [
        call("n0"),
        *(call(f"n{i}", f"n{i - 1}", fn=f"f{i}", label=f"{i}-{'s' * 40}") for i in range(1, size)),
    ]


def fan(size: int) -> list[Any]:
    return [call("n0"), *(call(f"n{i}", "n0", fn=f"f{i}") for i in range(1, size))]


def layers(size: int) -> list[Any]:
    wide = 20
    parents = [
        [f"n{j}" for j in range(i - i % wide - wide, i - i % wide)] if i >= wide else [] for i in range(size)
    ]
    return [call(f"n{i}", *parents[i], fn=f"f{i}", label=f"step of {i} kinds") for i in range(size)]


@pytest.mark.parametrize("shape", [chain, fan, layers])
@pytest.mark.parametrize("size", [100, 400, 2_000])
def test_a_workflow_of_many_nodes_is_short(story: Story, shape: Any, size: int) -> None:
    story.store.submit([plan(*shape(size))])
    seen = watch(story)

    first = look(seen)
    story.store.claim(story.want(1))
    then = look(seen)

    assert first["graph"] is not None
    assert then["state"] == "running"
    assert then["total"] == size


def test_stages_that_are_left_out_are_counted(story: Story) -> None:
    story.store.submit([plan(*(call(f"n{i}") for i in range(100)))])

    seen = look(watch(story))

    assert len(seen["stages"]) + seen["stages_left_out"] == 100
    assert seen["total"] == 100


# ── the graph ────────────────────────────────────────────────────────────────────────


def places(seen: Snapshot) -> dict[str, tuple[float, ...]]:
    return {box["key"]: (box["x"], box["y"], box["w"], box["h"]) for box in seen["graph"]["boxes"]}


def test_the_graph_stays_where_it_was(story: Story) -> None:
    story.submit(call("load"), array("parse", 12, "load"), call("sum", "parse"))
    seen = watch(story)
    first = look(seen)

    story.run("load")
    told = [look(seen)]
    for _ in range(12):
        story.run("parse")
        told.append(look(seen))
    story.run("sum")
    told.append(look(seen))

    moved = [places(before) != places(after) for before, after in zip([first, *told], told, strict=False)]
    assert not any(moved)
    for each in told:
        boxes = places(each)
        for link in each["graph"]["links"]:
            ends = [link["points"][0], link["points"][-1]]
            for x, y in ends:
                assert any(bx <= x <= bx + w and by - 1 <= y <= by + h + 1 for bx, by, w, h in boxes.values())
    assert [box["state"] for box in told[-1]["graph"]["boxes"]] == ["succeeded"] * 3


def test_its_picture_is_that_of_the_last_look(story: Story) -> None:
    story.submit(call("load"), call("sum", "load"), name="a <b>")
    seen = watch(story)
    assert seen.picture() is None

    look(seen)
    story.run("load", "sum")
    look(seen)

    picture = seen.picture()
    assert picture is not None
    assert "<b>" not in picture
    assert picture.count('class="succeeded"') == 2


def test_a_map_alone_has_no_picture(story: Story) -> None:
    story.submit(array("map", 4))
    seen = watch(story)

    assert look(seen)["graph"] is None
    assert seen.picture() is None


# ── what happens meanwhile ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("step", ["snapshot", "items", "events"])
def test_what_happens_while_a_graph_is_read_is_seen_in_the_squares(story: Story, step: str) -> None:
    story.submit(array("map", 4), call("sum", "map"))
    store = Through(story.store)
    seen = watch(story, store)
    look(seen)

    story.run("map")
    store.before[step] = lambda: story.run("map")
    look(seen)
    store.before.clear()
    story.run(*["map"] * story.items("map").count(State.QUEUED), "sum")
    last = look(seen)

    assert (last["done"], squares(last)) == (5, [2, 2, 2, 2])


def test_the_end_that_comes_while_it_is_read_is_the_end(story: Story) -> None:
    story.submit(array("map", 2), call("sum", "map"))
    store = Through(story.store)
    seen = watch(story, store)
    look(seen)

    story.run("map")
    store.before["snapshot"] = lambda: story.run("map", "sum")
    last = look(seen)

    assert seen.ended
    assert (last["state"], last["done"], squares(last)) == ("succeeded", 3, [2, 2])
    assert last["ended_at"] is not None


@pytest.mark.parametrize("graph", [False, True])
def test_events_that_are_kept_no_more_are_made_up_for(story: Story, graph: bool) -> None:
    story.submit(array("map", 4), *([call("sum", "map")] if graph else []))
    store = Through(story.store)
    seen = watch(story, store)
    look(seen)
    story.run("map", "map")
    story.fail(story.take())

    store.before["events"] = expired
    then = look(seen)

    assert (then["done"], then["failed"], squares(then)) == (3, 1, fresh_squares(story.store, 4))
    story.run("map")
    assert squares(look(seen)) == [2, 2, 3, 2]
    assert seen.ended


STEPS = st.sampled_from(["take", "range", "succeed", "fail", "retry", "lose", "release", "cancel", "expire"])
MOMENTS = st.sampled_from(["", "snapshot", "items", "events", "expired"])


class History:
    """What happens to a run, now or while it is read."""

    def __init__(self, graph: bool) -> None:
        self.clock = ManualClock(1000.0)
        self.story = Story(MemoryStore(clock=self.clock), self.clock)
        self.story.submit(array("map", 10), *([call("sum", "map")] if graph else []))
        self.store = Through(self.story.store)
        self.held: list[Any] = []

    def plan(self, step: str, number: int, moment: str) -> None:
        if moment in ("", "expired"):
            self.happen(step, number)
        if moment:
            name = "events" if moment == "expired" else moment
            self.store.before[name] = expired if moment == "expired" else lambda: self.happen(step, number)

    def happen(self, step: str, number: int) -> None:
        if step == "take":
            self.held += self.story.claim(1)
        elif step == "range":
            self.held += self.story.claim(1, pace_s={"f": 0.001}, batch_s=0.004)
        elif step == "cancel":
            self.story.cancel("map", number)
        elif step == "expire":
            self.story.wait(5.0)
        elif self.held:
            getattr(self.story, step)(self.held.pop(number % len(self.held)))


@settings(max_examples=150)
@given(st.lists(st.tuples(STEPS, st.integers(0, 9), MOMENTS, st.booleans()), max_size=40), st.booleans())
def test_whatever_happens_what_is_told_never_falls_and_is_right_in_the_end(
    steps: list[tuple[str, int, str, bool]], graph: bool
) -> None:
    history = History(graph)
    story, told = history.story, []
    seen = watch(story, history.store)

    told.append(seen.look())
    for step, number, moment, looks in steps:
        history.plan(step, number, moment)
        told += [seen.look()] if looks else []
    history.store.before.clear()
    story.cancel("run")
    story.wait(1_000.0)  # what ran is given up too
    told.append(seen.look())

    known = [each for each in told if each is not None]
    assert seen.ended
    assert seen.look() is None
    done = [each["done"] for each in known]
    assert done == sorted(done)
    last, fresh = known[-1], look(watch(story))
    for name in ("state", "total", "done", "failed", "cells", "ended_at"):
        assert last[name] == fresh[name]
    assert State(last["state"]) in TERMINAL
    assert sum(error["count"] for error in last["errors"]) == last["failed"]


# ── what it costs ────────────────────────────────────────────────────────────────────


def test_who_looks_rests_for_as_long_as_it_can_afford(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    story.submit(array("map", 4))
    seen = watch(story)
    spent = iter([0.0, 0.001, 1.0, 1.5])
    monkeypatch.setattr("taskflow.observe.snapshot.time.thread_time", lambda: next(spent))

    look(seen)
    assert seen.rest_s == INTERVAL_S
    seen.look()
    assert seen.rest_s == pytest.approx(0.5 / SHARE)


def test_events_of_a_map_are_read_and_nothing_else(story: Story) -> None:
    story.submit(array("map", 100))
    read: list[str] = []

    class Counted(Through):
        def __getattr__(self, name: str) -> Any:
            read.append(name)
            return super().__getattr__(name)

    seen = watch(story, Counted(story.store))
    look(seen)
    read.clear()

    story.run("map")
    look(seen)

    assert set(read) <= {"events", "url"}


def test_how_far_the_task_of_a_call_says_it_is_is_seen_at_once(story: Story) -> None:
    story.submit(call("a"))
    lease = story.take()
    watching = watch(story)
    assert look(watching)["doing"] is None

    story.store.note([Note(lease.key, "progress", {"done": 3, "total": 12, "desc": "rows"})])
    assert look(watching)["doing"] == {"share": 0.25, "text": "rows 3/12 (25%)"}
    assert watching.look() is None

    story.succeed(lease)
    assert look(watching)["doing"] is None


def test_what_items_of_a_map_say_is_in_their_rows_and_changes_no_count(story: Story) -> None:
    from taskflow.observe.asking import answer

    story.submit(array("map", 3))
    leases = story.claim(2)
    watching = watch(story)
    before = look(watching)

    story.store.note([Note(leases[1].key, "progress", {"index": 1, "loss": 0.5, "name": "\x1b[2J<b>"})])
    after = look(watching)

    assert {name: after[name] for name in ("done", "failed", "stages", "cells", "doing")} == {
        name: before[name] for name in ("done", "failed", "stages", "cells", "doing")
    }
    rows = answer(story.store, RUN, {"what": "rows"})["rows"]
    assert [row["doing"] for row in rows] == [
        None,
        {"share": None, "text": "loss 0.5, name \\x1b[2J<b>"},
        None,
    ]
