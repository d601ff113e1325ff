"""Beats: each tick is sent once, whoever sends it."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskflow import Unique, chord, crontab, group, once, signature
from taskflow.codec import Keyring
from taskflow.codec.keys import new_key
from taskflow.errors import ConfigError, NoSuchSchedule, StoreUnavailable, Untrusted, UsageError
from tests.unit.beat.stage import NOON, Stage, add, fails, soon, turns


def test_what_is_due_becomes_a_run(stage: Stage) -> None:
    stage.schedules.add("sum", add, 30.0, (16,), {"y": 16})
    beat = stage.beat()

    stage.go(29.9)
    assert beat.turn() == pytest.approx(0.1)
    assert stage.runs("sum") == []

    stage.go(0.1)
    turns(beat)
    (run,) = stage.runs("sum")
    assert stage.client.attach(run.id).get() == 32
    row = stage.row("sum")
    assert (row["last"], row["next"], row["count"], row["last_run"]) == (soon(30), soon(60), 1, run.id)


def test_a_tick_is_sent_once_by_any_number_of_beats(stage: Stage) -> None:
    stage.schedules.add("sum", add, 10, (1,))
    beats = [stage.beat() for _ in range(3)]

    for _ in range(20):
        stage.go(10)
        for beat in beats:
            beat.turn()

    assert len(stage.runs("sum")) == stage.row("sum")["count"] == 20


def test_beats_that_have_not_heard_of_each_other_send_the_same_run(stage: Stage, monkeypatch: Any) -> None:
    """One of them was stopped between looking and sending."""
    stage.schedules.add("sum", add, 10, (1,))
    slow, quick = stage.beat(), stage.beat()
    known = slow._book.ran()
    stage.go(10)
    quick.turn()
    monkeypatch.setattr(slow._book, "ran", lambda: known)

    slow.turn()

    assert len(stage.runs("sum")) == stage.row("sum")["count"] == 1


def test_a_beat_that_dies_after_sending_has_sent_it_once(stage: Stage, monkeypatch: Any) -> None:
    stage.schedules.add("sum", add, 10, (1,))
    dying = stage.beat()
    monkeypatch.setattr(dying._book, "settle", lambda done: (_ for _ in ()).throw(StoreUnavailable("gone")))
    stage.go(10)
    with pytest.raises(StoreUnavailable):
        dying.turn()
    assert len(stage.runs("sum")) == 1

    turns(stage.beat())

    assert len(stage.runs("sum")) == stage.row("sum")["count"] == 1


def test_late_turns_do_not_move_the_ticks(stage: Stage) -> None:
    stage.schedules.add("sum", add, 10, (1,))
    beat = stage.beat()

    for late_s in (0.4, 0.9, 3.3, 0.0):
        stage.at("12:00:00")
        stage.go(10 + late_s)
        turns(beat)
        assert stage.row("sum")["last"].second == 10
        assert stage.row("sum")["next"].microsecond == 0
    assert stage.row("sum")["count"] == 1


@pytest.mark.parametrize(("missed", "sent"), [("skip", 0), ("once", 1), ("all", 60)])
def test_missed_ticks_are_treated_as_the_entry_says(stage: Stage, missed: Any, sent: int) -> None:
    stage.schedules.add("sum", add, 60, (1,), missed=missed, overlap="allow")

    stage.go(3600 + 45)
    turns(stage.beat())

    assert len(stage.runs("sum")) == stage.row("sum")["count"] == sent
    assert stage.row("sum")["last"] == soon(3600)
    stage.go(20)
    turns(stage.beat())
    assert len(stage.runs("sum")) == sent + 1


def test_a_tick_that_is_a_little_late_was_not_missed(stage: Stage) -> None:
    stage.schedules.add("sum", add, 3600, (1,), missed="skip")

    stage.go(3600 + 29)
    turns(stage.beat())

    assert len(stage.runs("sum")) == 1


def test_many_missed_ticks_are_sent_bit_by_bit(stage: Stage) -> None:
    stage.schedules.add("sum", add, 1, (1,), missed="all", overlap="allow")

    stage.go(250)
    stage.beat().turn()
    assert stage.row("sum")["count"] == 100
    turns(stage.beat())

    assert stage.row("sum")["count"] == 250


def test_while_a_run_goes_on_its_next_tick_is_left_out(idle: Stage) -> None:
    idle.schedules.add("sum", add, 10, (1,))
    beat = idle.beat()
    for _ in range(3):
        idle.go(10)
        turns(beat)
    assert len(idle.runs("sum")) == idle.row("sum")["count"] == 1
    assert idle.row("sum")["last"] == soon(30)

    idle.end("sum")
    idle.go(10)
    turns(beat)

    assert len(idle.runs("sum")) == idle.row("sum")["count"] == 2


def test_a_tick_waits_for_the_run_before(idle: Stage) -> None:
    idle.schedules.add("sum", group(signature(add, (i,)) for i in range(3)), 10, overlap="queue")
    beat = idle.beat()

    for _ in range(3):
        idle.go(10)
        turns(beat)

    store = idle.client._engine.store
    first, second, third = (store.snapshot(view.id)[0] for view in idle.runs("sum"))
    assert [first.nodes[0].state, second.nodes[0].state, third.nodes[0].state] == [
        "queued", "blocked", "blocked",
    ]  # fmt: skip
    store.cancel(first.id)
    assert [store.snapshot(view.id)[0].nodes[0].state for view in (second, third)] == ["queued", "blocked"]


def test_a_run_before_that_was_forgotten_is_not_waited_for(idle: Stage) -> None:
    idle.schedules.add("sum", add, 10, (1,), overlap="queue")
    beat = idle.beat()
    idle.go(10)
    turns(beat)
    idle.end("sum")
    idle.client._engine.store.forget(idle.runs("sum")[0].id)

    idle.go(10)
    turns(beat)

    assert [view.counts for view in idle.runs("sum")] == [{"queued": 1}]


def test_runs_may_go_on_beside_each_other(idle: Stage) -> None:
    idle.schedules.add("sum", add, 10, (1,), overlap="allow")
    beat = idle.beat()

    for _ in range(3):
        idle.go(10)
        turns(beat)

    assert idle.row("sum")["count"] == 3
    assert [view.counts for view in idle.runs("sum")] == [{"queued": 1}] * 3


def test_what_is_unique_keeps_to_its_own_lock(idle: Stage) -> None:
    idle.schedules.add("sum", add, 10, (1,), unique=Unique("one"), overlap="allow")
    beat = idle.beat()

    for _ in range(3):
        idle.go(10)
        turns(beat)

    assert len(idle.runs("sum")) == 1


def test_jitter_holds_back_by_what_follows_from_the_tick(idle: Stage) -> None:
    entry = idle.schedules.add("sum", add, 10, (1,), jitter=5)

    held = [entry.hold_s(soon(10 * number)) for number in range(200)]

    assert held == [idle.schedules["sum"].hold_s(soon(10 * number)) for number in range(200)]
    assert all(0 <= hold_s < 5 for hold_s in held)
    assert max(Counter(int(hold_s) for hold_s in held).values()) < 80
    idle.go(10)
    turns(idle.beat())
    (run,) = idle.runs("sum")
    assert idle.client._engine.store.snapshot(run.id)[0].nodes[0].state == "waiting"


def test_a_canvas_runs_as_a_whole(stage: Stage) -> None:
    header = [signature(add, (number,)) for number in range(4)]
    stage.schedules.add("chord", chord(header, signature(sum)) | signature(add), 10)
    beat = stage.beat()

    for _ in range(2):
        stage.go(10)
        turns(beat)

    first, second = stage.runs("chord")
    assert [stage.client.attach(view.id).get() for view in (first, second)] == [11, 11]
    assert not {node.id for node in stage.client._engine.store.snapshot(first.id)[0].nodes} & {
        node.id for node in stage.client._engine.store.snapshot(second.id)[0].nodes
    }


def test_options_and_failures_are_those_of_any_call(stage: Stage) -> None:
    stage.schedules.add("fails", fails, 10, tags={"team": "ops"}, label="the failing one", queue="gpu")

    stage.go(10)
    turns(stage.beat())

    (run,) = stage.runs("fails")
    assert (run.state, run.name, run.meta["tags"]) == (
        "failed", "the failing one", {"team": "ops", "schedule": "fails"},
    )  # fmt: skip
    assert stage.client._engine.store.snapshot(run.id)[0].nodes[0].queue == "gpu"


def test_a_crontab_means_its_zone(stage: Stage) -> None:
    stage.schedules.add("tokyo", add, crontab(0, 9, day_of_week="tue"), (1,), tz="Asia/Tokyo")

    stage.at("23:59:59")
    turns(stage.beat())
    assert stage.runs("tokyo") == []

    stage.at("2026-06-02T00:00:00")
    turns(stage.beat())
    assert len(stage.runs("tokyo")) == 1
    assert str(stage.row("tokyo")["next"]) == "2026-06-09 09:00:00+09:00"


def test_once_is_once(stage: Stage) -> None:
    stage.schedules.add("once", add, once(NOON + timedelta(hours=1)), (1,))
    beat = stage.beat()

    stage.go(3600)
    turns(beat)
    stage.go(36000)
    turns(beat)

    assert len(stage.runs("once")) == 1
    assert (stage.row("once")["state"], stage.row("once")["next"]) == ("over", None)


def test_what_would_never_run_is_refused(stage: Stage) -> None:
    with pytest.raises(ConfigError, match="never run"):
        stage.schedules.add("once", add, once(NOON - timedelta(hours=1)), (1,))
    with pytest.raises(ConfigError, match="never run"):
        stage.schedules.add("ended", add, 10, (1,), end=NOON)
    assert len(stage.schedules) == 0


def test_start_and_end_bound_the_ticks(stage: Stage) -> None:
    stage.schedules.add(
        "sum", add, 60, (1,), start=NOON + timedelta(seconds=90), end=datetime(2026, 6, 1, 12, 3, 30),
        missed="all",
    )  # fmt: skip
    beat = stage.beat()

    found = [row["at"] for row in stage.schedules.next_rows(10)]
    stage.go(600)
    turns(beat)

    assert found == [soon(90), soon(150), soon(210)]
    assert stage.row("sum")["count"] == 3


# ── changes ──────────────────────────────────────────────────────────────────────────


def test_a_paused_schedule_does_not_run_and_makes_up_for_nothing(stage: Stage) -> None:
    stage.schedules.add("sum", add, 10, (1,), missed="all")
    beat = stage.beat()

    stage.schedules.pause("sum")
    stage.go(100)
    turns(beat)
    assert (stage.runs("sum"), stage.row("sum")["state"], stage.row("sum")["next"]) == ([], "paused", None)

    stage.schedules.resume("sum")
    turns(beat)
    assert stage.runs("sum") == []
    stage.go(10)
    turns(beat)
    assert len(stage.runs("sum")) == 1


def test_a_changed_schedule_goes_on_with_its_runs(stage: Stage) -> None:
    before = stage.schedules.add("sum", add, 10, (1,))
    beat = stage.beat()
    stage.go(10)
    turns(beat)

    after = stage.schedules.update("sum", schedule=60, tz="Asia/Tokyo", missed="all")
    assert (after.uid, after.template, after.tz) == (before.uid, before.template, "Asia/Tokyo")
    stage.go(59)
    turns(beat)
    assert stage.row("sum")["count"] == 1
    stage.go(1)
    turns(beat)

    assert stage.row("sum")["count"] == 2


def test_what_it_runs_is_changed_as_a_whole(stage: Stage) -> None:
    stage.schedules.add("sum", add, 10, (1,))

    with pytest.raises(ConfigError, match="task= too"):
        stage.schedules.update("sum", args=(5,))
    stage.schedules.update("sum", task=add, args=(5,), options={"label": "five"})

    assert stage.schedules.run_now("sum").get() == 6
    assert stage.runs("sum")[-1].name == "five"


def test_a_cell_that_is_run_again_changes_nothing(stage: Stage) -> None:
    first = stage.schedules.add("sum", add, 10, (1,))
    stage.go(10)
    turns(stage.beat())
    stage.go(5)

    again = stage.schedules.add("sum", add, 10, (1,))

    assert (again.uid, again.since, again.after) == (first.uid, first.since, first.after)
    assert stage.row("sum")["next"] == soon(20)
    assert stage.row("sum")["count"] == 1


def test_an_impossible_change_leaves_all_as_it_was(stage: Stage) -> None:
    before = stage.schedules.add("sum", add, 10, (1,))

    for changes, text in [
        ({"scedule": 3}, "Did you mean 'schedule'"),
        ({"schedule": "often"}, "no schedule"),
        ({"missed": "al"}, "Did you mean 'all'"),
        ({"overlap": "wait"}, "not known"),
        ({"jitter": -1}, "jitter"),
        ({"tz": "Asia/Tokio"}, "Did you mean 'Asia/Tokyo'"),
        ({"start": NOON, "end": NOON - timedelta(days=1)}, "before start"),
    ]:
        with pytest.raises(ConfigError, match=text):
            stage.schedules.update("sum", **changes)
    assert stage.schedules["sum"] == before


def test_a_removed_schedule_is_gone_with_what_was_noted_of_it(stage: Stage) -> None:
    stage.schedules.add("one", add, 10, (1,))
    stage.schedules.add("two", add, 10, (1,))
    beat = stage.beat()
    stage.go(10)
    turns(beat)
    gone = stage.schedules["one"].uid

    stage.schedules.remove("one")
    stage.go(10)
    turns(beat)

    assert list(stage.schedules) == ["two"]
    assert "one" not in stage.schedules
    assert len(stage.runs("one")) == 1
    assert gone not in stage.schedules.book.ran()


def test_an_unknown_name_names_the_nearest(stage: Stage) -> None:
    stage.schedules.add("nightly", add, 10, (1,))

    for verb in (
        stage.schedules.pause,
        stage.schedules.resume,
        stage.schedules.remove,
        stage.schedules.run_now,
    ):
        with pytest.raises(NoSuchSchedule, match="Did you mean 'nightly'"):
            verb("nigthly")
    with pytest.raises(KeyError):
        stage.schedules["nigthly"]
    assert stage.schedules.get("nigthly") is None
    with pytest.raises(UsageError, match="Name one"):
        stage.schedules.pause()


def test_run_now_is_beside_the_ticks(stage: Stage) -> None:
    stage.schedules.add("sum", add, 10, (1,), {"y": 2})

    assert stage.schedules.run_now("sum").get() == 3

    assert stage.row("sum")["count"] == 0
    assert stage.row("sum")["next"] == soon(10)
    assert len(stage.runs("sum")) == 1


def test_the_next_runs_of_all_are_told_in_order(stage: Stage) -> None:
    stage.schedules.add("b", add, 20, (1,))
    stage.schedules.add("a", add, crontab(), (1,))
    stage.schedules.add("c", add, 7, (1,), enabled=False)

    found = [(row["schedule"], row["at"]) for row in stage.schedules.next_rows(5)]

    assert found == [("b", soon(20)), ("b", soon(40)), ("b", soon(60)), ("a", soon(60)), ("b", soon(80))]
    assert [row["at"] for row in stage.schedules.next_rows(2, "a")] == [soon(60), soon(120)]
    assert list(stage.schedules.next_runs(2).columns) == ["at", "schedule", "runs"]
    assert list(stage.schedules.table()["name"]) == ["b", "a", "c"]


def test_a_page_shows_no_markup_of_others(stage: Stage) -> None:
    stage.schedules.add("<script>", add, 10, ("<b>",))

    page = stage.schedules._repr_html_()

    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page


# ── what cannot be sent ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"eta": NOON}, "eta= is for one call"),
        ({"expires": NOON}, "counts from each tick"),
        ({"memo": True}, "memo"),
        ({"quue": "gpu"}, "Did you mean 'queue'"),
    ],
)
def test_options_of_a_single_call_are_refused(stage: Stage, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        stage.schedules.add("sum", add, 10, (1,), **options)
    assert len(stage.schedules) == 0


def test_what_is_too_large_is_refused(stage: Stage) -> None:
    with pytest.raises(ConfigError, match="256 at most"):
        stage.schedules.add("large", add, 10, (b"x" * 300_000,))
    assert len(stage.schedules) == 0


def test_large_arguments_that_fit_are_kept_with_the_schedule(stage: Stage) -> None:
    """The store may forget what no run refers to; a schedule brings it along."""
    text = "x" * 100_000
    stage.schedules.add("large", len, 10, (text,))
    template = stage.schedules["large"].template
    assert len(template.blobs) == 2
    blobs: Any = stage.client._engine.store.blobs
    blobs._blobs.clear() if hasattr(blobs, "_blobs") else blobs.sweep((), age_s=-1.0)
    assert not any(blobs.has(name) for name in template.blobs)
    stage.client._engine.codec.distrust()

    stage.go(10)
    turns(stage.beat())

    assert stage.client.attach(stage.runs("large")[0].id).get() == 100_000


def test_one_that_cannot_be_sent_does_not_hold_up_the_others(
    stage: Stage, monkeypatch: Any, caplog: Any
) -> None:
    stage.schedules.add("bad", add, 10, (1,))
    stage.schedules.add("good", add, 10, (1,))
    beat = stage.beat()
    submit = stage.client._engine._store.submit

    def refusing(plans: Any) -> Any:
        if plans[0].meta["tags"]["schedule"] == "bad":
            raise ConfigError("not this one")
        return submit(plans)

    monkeypatch.setattr(stage.client._engine._store, "submit", refusing)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            stage.go(10)
            assert beat.turn() == 1.0

    assert len(stage.runs("good")) == 3
    assert caplog.text.count("not this one") == 1


def test_schedules_of_a_stranger_are_not_sent(stage: Stage) -> None:
    from taskflow.posting import Paper

    stage.schedules.add("mine", add, 10, (1,))
    store = stage.client._engine.store
    found = store.posted("schedules")
    assert found is not None
    other = Paper(store, Keyring.ephemeral(), "schedules", {})
    other.revision = found.revision
    assert store.post("schedules", found.revision, other._sealed({}, found.revision + 1))
    stage.go(10)

    with pytest.raises(Untrusted):
        stage.beat().turn()
    assert stage.runs("mine") == []


def test_schedules_outlive_the_key_that_sealed_them(stage: Stage) -> None:
    """A key that was replaced opens for two weeks; until then a beat has sealed them anew."""
    codec = stage.client._engine.codec
    old = codec.keyring.signer
    stage.schedules.add("sum", signature(add, (1,)) | signature(add), 10)
    stage.schedules.add("map", group(signature(add, (i,)) for i in range(3)), 10)
    before = {name: entry.template.key for name, entry in stage.schedules.items()}
    fresh = replace(new_key(), created=old.created + 1)
    codec.keyring._take([replace(old, use="verify"), fresh])
    stage.beat().turn()
    codec.keyring._take([fresh])
    codec.distrust()

    stage.go(10)
    turns(stage.beat())

    assert {entry.template.key for entry in stage.schedules.values()}.isdisjoint(before.values())
    assert stage.client.attach(stage.runs("sum")[0].id).get() == 3
    assert stage.client.attach(stage.runs("map")[0].id).get() == [1, 2, 3]


def test_an_entry_goes_through_json(stage: Stage) -> None:
    import json

    from taskflow.beat import Entry

    entry = stage.schedules.add(
        "sum", add, crontab(0, 9), (1,), start=NOON, end=NOON + timedelta(days=9), jitter=3, tz="Asia/Tokyo"
    )

    assert Entry.from_json(json.loads(json.dumps(entry.to_json()))) == entry
    assert (
        entry.run_at(NOON) == entry.run_at(NOON.astimezone(UTC)) != entry.run_at(NOON + timedelta(seconds=1))
    )
