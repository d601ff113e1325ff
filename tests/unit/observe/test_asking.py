"""Questions of who looks at a run: rows, output, reasons; and what he may do about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.errors import NoSuchRun, UsageError
from taskflow.ids import NodeId, RunId, WorkerId
from taskflow.observe.asking import SIZE, act, answer
from taskflow.records import Failure, Kind, Plan
from taskflow.states import TERMINAL, State
from taskflow.stores.memory import MemoryStore
from taskflow.testing import ManualClock, Story
from taskflow.testing.story import after, array, call, one, outcome, value

RUN = RunId("run")
SORTS = ("index", "state", "worker", "attempts", "started_at", "took_s")


def ask(story: Story, preview: Any = None, /, **query: Any) -> dict[str, Any]:
    told = answer(story.store, RUN, query, preview)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    return told


def places(told: Mapping[str, Any]) -> list[tuple[str, int | None]]:
    return [(row["label"], row["index"]) for row in told["rows"]]


def busy(story: Story) -> None:
    """Thirty items and a call, of every kind."""
    story.submit(array("map", 30), call("lone"))
    for number in range(20):
        lease = story.take(worker=WorkerId(f"w{number % 3}"))
        story.clock.advance(0.1 + number % 4)
        if number % 7 in (3, 5):
            (story.fail if number % 7 == 3 else story.retry)(lease)
        else:
            story.settle(lease, outcome(lease, Kind.SUCCEEDED, value=value(), took_s=number % 4))
    story.cancel("map", 29)
    story.take(worker=WorkerId("w9"))


# ── rows ─────────────────────────────────────────────────────────────────────────────


def test_a_row_for_each_item(story: Story) -> None:
    story.submit(array("map", 3), call("lone"))
    lease = story.take()
    story.settle(lease, outcome(lease, Kind.SUCCEEDED, value=value(), started_at=1000.0, took_s=2.0))
    story.fail(story.take())

    told = ask(story, what="rows")

    assert places(told) == [("map", 0), ("map", 1), ("map", 2), ("lone", None)]
    assert (told["matching"], told["page"], told["size"]) == (4, 0, SIZE)
    first, second, third, _ = told["rows"]
    assert (first["state"], first["worker"], first["attempts"]) == ("succeeded", "w1", 1)
    assert (first["started_at"], first["took_s"], first["error"]) == (1000.0, 2.0, None)
    assert (second["state"], second["error"]) == ("failed", "builtins.ValueError: no")
    assert (third["state"], third["started_at"], third["took_s"], third["attempts"]) == (
        "queued",
        None,
        None,
        0,
    )


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("size", [1, 7, 500])
def test_pages_cover_each_item_exactly_once_in_order(story: Story, sort: str, down: bool, size: int) -> None:
    busy(story)
    rows: list[dict[str, Any]] = []

    while page := ask(story, what="rows", sort=sort, down=down, size=size, page=len(rows) // size)["rows"]:
        rows += page
        if len(page) < size:
            break

    assert sorted((row["label"], row["index"] or 0) for row in rows) == [
        ("lone", 0),
        *(("map", i) for i in range(30)),
    ]
    if sort == "index":
        upwards = [("map", i) for i in range(30)] + [("lone", None)]
        assert [(row["label"], row["index"]) for row in rows] == (upwards[::-1] if down else upwards)
        return
    values = [row[sort] for row in rows]
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=down)
    assert values[: len(known)] == known


@pytest.mark.parametrize("state", ["", "failed", *State])
def test_rows_of_one_state(story: Story, state: str) -> None:
    busy(story)
    wanted = {"failed": {"failed", "dead", "expired"}, "": {str(each) for each in State}}.get(state, {state})

    told = ask(story, what="rows", state=state, size=500)

    everything = ask(story, what="rows", size=500)["rows"]
    assert told["rows"] == [row for row in everything if row["state"] in wanted]
    assert told["matching"] == len(told["rows"])


def test_rows_of_one_step(story: Story) -> None:
    busy(story)

    assert places(ask(story, what="rows", label="lone")) == [("lone", None)]
    assert ask(story, what="rows", label="map")["matching"] == 30
    assert ask(story, what="rows", label="none of them")["matching"] == 0


def test_what_only_prepares_a_map_has_no_row(story: Story) -> None:
    story.submit(call("h", label="items of map"), array("map", None, "h"))

    assert "items of map" not in [row["label"] for row in ask(story, what="rows")["rows"]]


def test_a_page_beyond_the_last_is_empty(story: Story) -> None:
    story.submit(array("map", 3))

    assert ask(story, what="rows", page=10**9) == {"rows": [], "matching": 3, "page": 10**9, "size": SIZE}


def test_previews_are_asked_for_what_succeeded_on_this_page_and_nothing_else(story: Story) -> None:
    story.submit(array("map", 10), call("lone"))
    for number in range(8):
        (story.fail if number == 2 else story.succeed)(story.take())
    asked: list[tuple[str, int, int]] = []

    def preview(node: NodeId, lo: int, hi: int) -> list[str]:
        asked.append((node, lo, hi))
        return [f"{node} {index}" + "!" * 1_000 for index in range(lo, hi)]

    rows = ask(story, preview, what="rows", size=6)["rows"]

    assert asked == [("map", 0, 2), ("map", 3, 6)]
    told = [row["preview"] for row in rows]
    assert told[2] is None
    assert [text.split("!")[0] for text in told if text] == [f"map {i}" for i in (0, 1, 3, 4, 5)]
    assert max(len(text) for text in told if text) == 300


def test_without_leave_nothing_is_opened(story: Story) -> None:
    story.submit(array("map", 2))
    story.run("map", "map")

    assert {row["preview"] for row in ask(story, what="rows")["rows"]} == {None}


def test_a_row_is_short(story: Story) -> None:
    story.submit(call("lone", label="l" * 100_000))
    lease = story.take()
    error = Failure("failed", "t" * 100_000, "m" * 100_000, "b" * 100_000).to_json()
    story.settle(lease, one(lease, Kind.FAILED, error=error))

    (row,) = ask(story, what="rows")["rows"]

    assert len(json.dumps(row)) < 2_000
    assert ask(story, what="rows", label=row["label"])["matching"] == 1


# ── output and errors ────────────────────────────────────────────────────────────────


def printed(story: Story, *texts: str) -> None:
    for text in texts:
        lease = story.take()
        story.settle(lease, outcome(lease, Kind.SUCCEEDED, value=b"\x01", log=text or None))


def test_what_tasks_have_printed(story: Story) -> None:
    story.submit(array("map", 4), call("lone"))
    printed(story, "one\n", "", "three\n", "", "last\n")

    told = ask(story, what="logs")

    assert [(row["label"], row["index"], row["text"]) for row in told["rows"]] == [
        ("map", 0, "one\n"),
        ("map", 2, "three\n"),
        ("lone", None, "last\n"),
    ]
    assert told["matching"] == 3
    assert ask(story, what="logs", size=2, page=1)["rows"] == told["rows"][2:]
    assert ask(story, what="log", label="map", index=2) == {"text": "three\n"}
    assert ask(story, what="log", label="map", index=1) == {"text": ""}
    assert ask(story, what="log", label="lone", index=None) == {"text": "last\n"}


def test_of_long_output_the_end_is_told(story: Story) -> None:
    story.submit(call("lone"))
    printed(story, "x" * 100_000 + "the end")

    alone, among = ask(story, what="log", label="lone")["text"], ask(story, what="logs")["rows"][0]["text"]

    assert (len(alone) < 65_000, len(among) < 1_500) == (True, True)
    assert (alone.endswith("the end"), among.endswith("the end")) == (True, True)
    assert alone.startswith("… 36,007 characters before …")


def test_why_something_failed(story: Story) -> None:
    story.submit(array("map", 2))
    story.succeed(story.take())
    story.fail(story.take())

    assert ask(story, what="error", label="map", index=1) == {
        "type": "builtins.ValueError",
        "message": "no",
        "traceback": "",
    }


def test_what_has_not_failed_has_no_reason(story: Story) -> None:
    story.submit(array("map", 2))
    story.succeed(story.take())

    for index in (0, 1, 7):
        told = ask(story, what="error", label="map", index=index)
        assert told == {"type": "", "message": "", "traceback": ""}


def test_steps_of_one_name_are_told_apart(story: Story) -> None:
    story.submit(call("a", label="step"), call("b", label="step"))
    printed(story, "from a")
    lease = story.take()
    story.settle(lease, one(lease, Kind.FAILED, error=Failure("failed", "E", "of b").to_json()))

    first, second = ask(story, what="rows")["rows"]

    assert first["node"] != second["node"]
    assert ask(story, what="log", node=first["node"], label="step")["text"] == "from a"
    assert ask(story, what="log", node=second["node"], label="step")["text"] == ""
    assert ask(story, what="error", node=second["node"], label="step")["message"] == "of b"


# ── wrong questions ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"what": "row"}, "'rows'"),
        ({}, "no question None"),
        ({"what": ["rows"]}, "no question"),
        ({"what": "rows", "state": "suceeded"}, "'succeeded'"),
        ({"what": "rows", "state": 5}, "no state 5"),
        ({"what": "rows", "sort": "wroker"}, "'worker'"),
        ({"what": "rows", "sort": ["index"]}, "cannot be sorted"),
        ({"what": "rows", "size": 0}, "from 1 to 500"),
        ({"what": "rows", "size": 501}, "from 1 to 500"),
        ({"what": "rows", "size": True}, "from 1 to 500"),
        ({"what": "rows", "page": -1}, "from 0"),
        ({"what": "logs", "page": "1"}, "from 0"),
        ({"what": "log", "label": "mpa"}, "'map'"),
        ({"what": "error", "label": "map", "index": -1}, "from 0"),
        ({"what": "error", "node": "elsewhere"}, "no step"),
        ([], "no question"),
        ("rows", "no question"),
        (None, "no question"),
    ],
)
def test_a_wrong_question_is_said_to_be_one(story: Story, query: Any, told: str) -> None:
    story.submit(array("map", 2))

    with pytest.raises(UsageError, match=told):
        answer(story.store, RUN, query)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
WORDS = ("what", "state", "label", "sort", "down", "page", "size", "index", "node")
QUERIES = st.fixed_dictionaries(
    {"what": st.sampled_from(["rows", "logs", "log", "error"])},
    optional={name: ANYTHING | st.sampled_from(["map", "index", 0, 1]) for name in WORDS[1:]},
)


@given(QUERIES | ANYTHING)
def test_whatever_is_asked_there_is_an_answer_or_a_reason(query: Any) -> None:
    clock = ManualClock(1000.0)
    story = Story(MemoryStore(clock=clock), clock)
    story.submit(array("map", 2))
    story.fail(story.take())

    try:
        told = answer(story.store, RUN, query)
    except UsageError as error:
        assert len(str(error)) > 10
    else:
        assert isinstance(json.dumps(told), str)


def test_a_run_that_nobody_knows(story: Story) -> None:
    with pytest.raises(NoSuchRun):
        answer(story.store, RUN, {"what": "rows"})


# ── what may be done ─────────────────────────────────────────────────────────────────


def test_a_run_can_be_cancelled(story: Story) -> None:
    story.submit(array("map", 2))

    assert act(story.store, RUN, "cancel") == {"changed": True}
    assert story.items("map") == [State.CANCELLED] * 2
    assert act(story.store, RUN, "cancel") == {"changed": False}
    assert "who looked at it" in story.failure("map").message


def test_what_gave_no_value_can_be_run_again(story: Story) -> None:
    story.submit(array("map", 2))
    story.succeed(story.take())
    story.fail(story.take())

    new = act(story.store, RUN, "retry")["run"]

    assert new != RUN
    again = story.store.snapshot(RunId(new))[0]
    assert sum(node.width or 0 for node in again.nodes) in (1, 2)
    assert again.state not in TERMINAL


def test_there_may_be_nothing_to_run_again(story: Story) -> None:
    story.submit(array("map", 1))
    story.run("map")

    assert act(story.store, RUN, "retry") == {"run": None}


@pytest.mark.parametrize("verb", ["cancle", "", "None", "delete"])
def test_other_verbs_there_are_none(story: Story, verb: str) -> None:
    story.submit(array("map", 1))

    with pytest.raises(UsageError, match="no verb" if verb != "cancle" else "'cancel'"):
        act(story.store, RUN, verb)
    assert story.items("map") == [State.QUEUED]


# ── large runs ───────────────────────────────────────────────────────────────────────


def test_a_page_of_a_large_map_is_short(story: Story) -> None:
    story.store.submit([Plan(RUN, (array("map", 10_000), call("sum", after("map"))))])

    told = ask(story, what="rows", page=100, sort="took_s", down=True)

    assert told["matching"] == 10_001
    assert len(told["rows"]) == SIZE
    assert len(json.dumps(told)) < 20_000
