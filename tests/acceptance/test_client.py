"""The client: options, collecting, looking, attaching; over real workers."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import taskflow
from taskflow import Client, RetryPolicy
from taskflow.errors import (
    CannotPickle,
    ConfigError,
    NoSuchRun,
    ResultExpired,
    SoftTimeLimitExceeded,
    TaskCancelled,
    TaskExpired,
    TaskTimedOut,
    UsageError,
    VersionMismatch,
    WaitTimedOut,
)
from taskflow.states import State
from tests.acceptance.stage import DEADLINE_S, opened, run_script, until, url_in


def fail(text: str = "no") -> None:
    raise ValueError(text)


def odd_only(x: int) -> int:
    if x % 2 == 0:
        raise ValueError(f"{x} is even")
    return x


class Pair(NamedTuple):
    first: Any
    second: Any


# ── options ──────────────────────────────────────────────────────────────────────────


def test_an_unknown_option_names_the_nearest(client: Client) -> None:
    with pytest.raises(ConfigError, match=r"no option 'prority'\. Did you mean 'priority'\?"):
        client.options(prority=3)


def test_options_are_those_of_the_view_alone(client: Client) -> None:
    view = client.options(label="named", tags={"team": "a"})

    assert view.submit(abs, -1).label == "named"
    assert client.submit(abs, -1).label == "abs"
    assert view.options(priority=3)._sender.options.label == "named"


@pytest.mark.parametrize(
    ("given", "hint"),
    [({"pool": "proces"}, "process"), ({"mode": "in-line"}, "inline"), ({"workers": "many"}, "'auto'")],
)
def test_an_impossible_client_says_what_is_possible(given: dict[str, Any], hint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=hint):
        Client(str(tmp_path / "s.db"), **given)


def test_an_unknown_scheme_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'sqlite'"):
        Client("sqlit:///x.db")


def test_a_failed_task_is_retried_as_the_policy_says(client: Client, tmp_path: Path) -> None:
    def third_time_lucky(path: str) -> int:
        with Path(path).open("a") as file:
            file.write("x")
        if Path(path).stat().st_size < 3:
            raise OSError("not yet")
        return taskflow.current().attempt

    policy = RetryPolicy(3, on=OSError, delay=0.01, jitter=None)
    future = client.options(retry=policy).submit(third_time_lucky, str(tmp_path / "count"))

    assert future.result(DEADLINE_S) == 3


def test_a_backoff_is_kept_by_the_store(client: Client) -> None:
    future = client.options(retry=RetryPolicy(3, delay=60, jitter=None)).submit(fail)

    until(lambda: future.state is State.WAITING)

    (item,) = client._engine.store.items(future.node_id)
    assert item.attempts == 1
    assert item.until is not None
    assert 50 < item.until - time.time() <= 60
    assert future.cancel()


def test_an_error_outside_of_the_policy_is_not_retried(client: Client) -> None:
    future = client.options(retry=RetryPolicy(3, on=OSError, delay=0)).submit(fail)

    with pytest.raises(ValueError, match="no"):
        future.result(DEADLINE_S)
    assert client._engine.store.items(future.node_id)[0].attempts == 1


def test_a_hard_limit_kills_and_the_slot_comes_back(client: Client) -> None:
    with pytest.raises(TaskTimedOut) as caught:
        client.options(time_limit=0.3).submit(time.sleep, 60).result(DEADLINE_S)

    assert caught.value.limit_s == 0.3
    assert client.submit(abs, -1).result(DEADLINE_S) == 1


def test_a_soft_limit_can_be_caught(client: Client) -> None:
    def patient() -> str:
        try:
            time.sleep(60)
        except SoftTimeLimitExceeded:
            return "cleaned up"
        return "slept"

    assert client.options(soft_time_limit=0.2).submit(patient).result(DEADLINE_S) == "cleaned up"


def test_a_late_task_expires(client: Client) -> None:
    future = client.options(countdown=60, expires=0.2).submit(abs, -1)

    with pytest.raises(TaskExpired):
        future.result(DEADLINE_S)


def test_a_countdown_and_an_eta_are_waited_for(client: Client) -> None:
    began = time.time()
    at = datetime.now(UTC) + timedelta(seconds=0.3)

    by_countdown = client.options(countdown=0.3).submit(time.time)
    by_eta = client.options(eta=at).submit(time.time)

    assert by_countdown.result(DEADLINE_S) - began >= 0.3
    assert by_eta.result(DEADLINE_S) >= at.timestamp()


def test_a_higher_priority_runs_first_and_equals_in_order(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    log = tmp_path / "log"

    def note(word: str) -> None:
        with log.open("a") as file:
            file.write(word)

    with opened(tmp_path, workers=0) as client:
        futures = [
            client.options(priority=p).submit(note, word)
            for word, p in zip("abcdef", (0, 5, 0, 9, 5, 0), strict=True)
        ]
        client.scale(1)
        client.gather(futures)

    assert log.read_text() == "dbeacf"


def test_a_queue_is_served_by_those_who_name_it(tmp_path: Path) -> None:
    with opened(tmp_path, workers=1, queues=("gpu",)) as client:
        assert client.options(queue="gpu").submit(abs, -1).result(DEADLINE_S) == 1

        waiting = client.submit(abs, -1)
        with pytest.raises(WaitTimedOut, match="No worker serves the queue 'default'"):
            waiting.result(0.3)


def test_tags_are_shown(client: Client) -> None:
    future = client.options(tags={"week": 7}).submit(abs, -1)

    table = client.runs(match=future.id)

    assert list(table["tags"]) == [{"week": 7}]


def test_a_key_makes_a_second_submit_the_first(client: Client, tmp_path: Path) -> None:
    once = client.options(key="nightly 7")
    path = str(tmp_path / "count")

    def count() -> int:
        with Path(path).open("a") as file:
            return file.write("x")

    first, second = once.submit(count), once.submit(count)

    assert first.id == second.id
    assert (first.result(DEADLINE_S), second.result(DEADLINE_S)) == (1, 1)
    assert once.submit(count).result(DEADLINE_S) == 1
    assert Path(path).stat().st_size == 1


def test_a_key_makes_a_second_map_the_first(client: Client) -> None:
    once = client.options(key="weekly")

    first, second = once.map(abs, [-1, -2]), once.map(abs, [-1, -2])

    assert first.id == second.id
    assert first.results() == second.results() == [1, 2]


# ── collecting ───────────────────────────────────────────────────────────────────────


def test_gather_keeps_the_nesting(client: Client) -> None:
    one, two = client.submit(abs, -1), client.submit(abs, -2)
    run = client.map(abs, [-3, -4])

    found = client.gather({"a": [one, (two, 5)], "b": run, "c": Pair(one, {"d": two}), "e": "text"})

    assert found == {"a": [1, (2, 5)], "b": [3, 4], "c": Pair(1, {"d": 2}), "e": "text"}
    assert type(found["c"]) is Pair


def test_gather_raises_returns_or_skips(client: Client) -> None:
    bad = client.submit(fail, "bad")
    gone = client.options(countdown=60).submit(abs, -1)
    gone.cancel()
    mixed = [client.submit(abs, -1), bad, gone, client.submit(ValueError, "a value")]

    with pytest.raises(ValueError, match="bad"):
        client.gather(mixed)
    returned = client.gather(mixed, errors="return")
    assert [type(one) for one in returned] == [int, ValueError, TaskCancelled, ValueError]
    skipped = client.gather({"list": mixed, "bad": bad}, errors="skip")
    assert skipped["list"][0] == 1
    assert str(skipped["list"][1]) == "a value"
    assert list(skipped) == ["list"]
    with pytest.raises(ConfigError, match="Did you mean 'skip'"):
        client.gather(mixed, errors="skp")  # type: ignore[arg-type]


def test_as_completed_gives_the_quick_before_the_slow(client: Client) -> None:
    slow, quick = client.submit(time.sleep, 0.4), client.submit(abs, -1)

    assert list(client.as_completed([slow, quick])) == [quick, slow]
    assert list(client.as_completed([quick], with_results=True)) == [(quick, 1)]
    assert sorted(f.result() for f in client.as_completed(client.map(abs, range(-20, 0)))) == list(
        range(1, 21)
    )


# ── maps ─────────────────────────────────────────────────────────────────────────────


def test_a_map_of_many_items_is_one_run(client: Client) -> None:
    run = client.map(lambda x: x * x, range(20_000))

    assert len(run) == 20_000
    assert sum(run) == sum(x * x for x in range(20_000))
    assert run.progress.total == 20_000
    assert run.state is State.SUCCEEDED
    assert list(run) == []
    assert run.results()[-3:] == [19_997**2, 19_998**2, 19_999**2]


def test_results_come_before_the_last_item_ends(client: Client) -> None:
    run = client.map(time.sleep, [0, 0, 20])

    assert [next(run), next(run)] == [None, None]
    assert not run.done()
    assert len(run.partial()) == 2
    assert run.cancel()
    with pytest.raises(TaskCancelled):
        next(run)


def test_items_of_a_map_fail_alone(client: Client) -> None:
    run = client.map(odd_only, range(6))

    with pytest.raises(ValueError, match="0 is even"):
        run.results()
    assert run.results("skip") == [1, 3, 5]
    assert [type(v) for v in run.results("return")] == [ValueError, int, ValueError, int, ValueError, int]
    assert [(index, failure.message) for index, failure in run.failed] == [
        (0, "0 is even"),
        (2, "2 is even"),
        (4, "4 is even"),
    ]
    with pytest.raises(ConfigError, match="Did you mean 'return'"):
        run.results("retrun")  # type: ignore[arg-type]


def test_each_item_has_a_future(client: Client) -> None:
    run = client.map(odd_only, range(5))
    third = run[3]

    assert third.result(DEADLINE_S) == 3
    assert run[3] is third
    assert isinstance(run[-1].exception(DEADLINE_S), ValueError)
    assert [f.index for f in run.futures] == [0, 1, 2, 3, 4]
    assert run.futures[1].result(DEADLINE_S) == 1
    with pytest.raises(IndexError):
        _ = run[5]


def test_the_futures_of_a_large_map_are_quick(client: Client) -> None:
    run = client.map(abs, range(-5000, 0)).wait(DEADLINE_S)
    began = time.process_time()

    futures = run.futures

    assert [f.result(0) for f in futures] == list(range(5000, 0, -1))
    assert time.process_time() - began < 2


def test_futures_that_were_asked_for_early_are_all_told(client: Client) -> None:
    run = client.map(abs, range(-500, 0), chunksize=7)

    assert [f.result(DEADLINE_S) for f in run.futures] == list(range(500, 0, -1))


def test_one_item_of_a_map_can_be_cancelled(client: Client) -> None:
    run = client.options(countdown=0.3).map(abs, [-1, -2, -3])

    assert run[1].cancel()

    assert run.results("skip") == [1, 3]
    assert run[1].cancelled()


def test_a_cancelled_map_ends_all_its_futures(client: Client) -> None:
    run = client.options(countdown=60).map(abs, [-1, -2, -3])
    futures = run.futures

    assert run.cancel()

    until(lambda: all(f.done() for f in futures))
    assert all(f.cancelled() for f in futures)
    assert run.results("skip") == []
    assert not run.cancel()


def test_only_failed_items_run_again(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def through(x: int) -> tuple[int, int]:
        (tmp_path / f"ran-{x}-{time.monotonic_ns()}").touch()
        if x == 2 and not gate.exists():
            raise OSError("closed")
        return x, x * 10

    first = client.map(through, range(4)).wait(DEADLINE_S)
    gate.touch()
    again = first.retry_failed()

    assert again.results() == [(0, 0), (1, 10), (2, 20), (3, 30)]
    assert sorted(p.name[:5] for p in tmp_path.glob("ran-*")) == ["ran-0", "ran-1", "ran-2", "ran-2", "ran-3"]
    assert again.retry_failed() is again


def test_a_failed_task_can_be_sent_again(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def through() -> str:
        return gate.read_text()

    future = client.submit(through)
    assert isinstance(future.exception(DEADLINE_S), FileNotFoundError)
    gate.write_text("open")

    assert client.retry(future).result(DEADLINE_S) == "open"
    assert client.retry(future.id).result(DEADLINE_S) == "open"


def test_what_has_ended_is_told_while_the_item_behind_it_runs(client: Client, tmp_path: Path) -> None:
    list(client.map(abs, range(2000)))
    for turn in range(12):
        gate = str(tmp_path / str(turn))

        def last_waits(x: int, gate: str = gate) -> int:
            while x == 3 and not os.path.exists(gate):  # noqa: PTH110 - the worker imports nothing for it
                time.sleep(0.005)
            return x

        run = client.map(last_waits, range(4), chunksize=4)
        try:
            assert [run[x].result(DEADLINE_S / 4) for x in range(3)] == [0, 1, 2]
        finally:
            Path(gate).touch()
        assert run[3].result(DEADLINE_S) == 3


def test_a_map_is_folded_on_a_worker(client: Client) -> None:
    total = client.map(abs, range(-100, 0)).reduce(lambda a, b: a + b)

    assert total.result(DEADLINE_S) == 5050


def test_a_map_is_shown_as_a_table(client: Client) -> None:
    run = client.map(odd_only, range(4)).wait(DEADLINE_S)

    table = run.to_frame()

    assert list(table["index"]) == [0, 1, 2, 3]
    assert list(table["state"]) == ["failed", "succeeded", "failed", "succeeded"]
    assert table["error"][0] == "ValueError: 0 is even"
    assert set(run.partial()["value"].dropna()) == {1, 3}


def test_what_items_print_is_kept(client: Client) -> None:
    run = client.map(print, ["hello", "world"]).wait(DEADLINE_S)

    assert run.logs == {0: "hello\n", 1: "world\n"}
    assert run[1].logs == "world\n"


def test_a_map_needs_something_to_map_over(client: Client) -> None:
    with pytest.raises(UsageError, match="at least one iterable"):
        client.map(abs)


def test_random_numbers_do_not_depend_on_grouping_or_retries(client: Client) -> None:
    def draw(_: int) -> float:
        rng = taskflow.rng()
        if taskflow.current().attempt == 1 and taskflow.current().index == 3:
            raise OSError("once")
        return float(rng.random())

    seeded = client.options(seed=7, retry=RetryPolicy(2, delay=0, jitter=None))

    one = seeded.map(draw, range(8), chunksize=2).results()
    two = seeded.map(draw, range(8)).results()
    other = client.options(seed=8, retry=RetryPolicy(2, delay=0)).map(draw, range(8)).results()

    assert one == two
    assert len(set(one)) == 8
    assert one != other


# ── attaching ────────────────────────────────────────────────────────────────────────


def test_a_second_client_finds_everything(client: Client) -> None:
    single, run = client.submit(abs, -1), client.map(abs, [-1, -2])
    failed = client.submit(fail, "seen from afar")
    client.flush()

    with Client(client.url, workers=0) as other:
        assert other.future(single.id).result(DEADLINE_S) == 1
        assert other.future(run[1].id).result(DEADLINE_S) == 2
        assert other.attach(run.id).results() == [1, 2]
        assert other.attach(single.id).result(DEADLINE_S) == 1
        with pytest.raises(ValueError, match="seen from afar"):
            other.future(failed.id).result(DEADLINE_S)
        with pytest.raises(UsageError, match=r"is a map of 2 items: attach"):
            other.future(run.id)
        with pytest.raises(NoSuchRun):
            other.future("ffffffff-nothing")


def test_two_handles_of_one_task_both_end(client: Client) -> None:
    first = client.options(countdown=0.2).submit(abs, -1)
    second = client.future(first.id)
    run = client.options(countdown=0.2).map(abs, [-1])
    again = client.attach(run.id)

    assert (first.result(DEADLINE_S), second.result(DEADLINE_S)) == (1, 1)
    assert run.results() == again.results() == [1]


def test_a_prefix_of_an_id_is_enough(tmp_path: Path) -> None:
    with opened(tmp_path, workers=1) as client:
        future = client.submit(abs, -1)

        assert client.future(future.id[:13]).result(DEADLINE_S) == 1


def test_the_newest_live_run_is_attached_by_default(tmp_path: Path) -> None:
    with opened(tmp_path, workers=1) as client:
        client.submit(abs, -1).result(DEADLINE_S)
        with pytest.raises(NoSuchRun, match="no run that has not ended"):
            client.attach()
        run = client.options(countdown=0.2).map(abs, [-1])

        assert client.attach().id == run.id


def test_a_name_attaches_the_newest_run_of_that_name(tmp_path: Path) -> None:
    with opened(tmp_path, workers=1) as client:
        runs = [client.options(label="thumbs").map(abs, [n]) for n in range(2)]
        client.options(label="thumbs-of-others").map(abs, [3])

        assert client.attach("thumbs").id == runs[-1].id
        with pytest.raises(NoSuchRun, match="thum"):
            client.attach("thum")


def test_another_process_goes_on_with_a_run(tmp_path: Path) -> None:
    with opened(tmp_path, workers=0) as client:
        run = client.map(abs, range(-50, 0))

    out = run_script(
        tmp_path,
        f"import taskflow\nwith taskflow.Client(workers=1) as c:\n    print(sum(c.attach({run.id[:20]!r})))",
    )

    assert out.split() == ["1275"]


def test_several_clients_of_a_process_share_their_workers(client: Client) -> None:
    with Client(client.url, workers=2) as other:
        assert other.submit(os.getpid).result(DEADLINE_S) > 0
        assert len(client.workers()) == 1

    assert client.submit(abs, -1).result(DEADLINE_S) == 1


def test_several_processes_share_one_store(client: Client) -> None:
    code = (
        "import sys, taskflow\nwith taskflow.Client(sys.argv[1], workers=1) as c:\n"
        "    print(sum(c.map(abs, range(-200, 0))), sum(c.gather([c.submit(abs, -i) for i in range(50)])))"
    )
    import subprocess

    scripts = [
        subprocess.Popen([sys.executable, "-c", code, client.url], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    mine = sum(client.map(abs, range(-200, 0)))
    outs = [script.communicate(timeout=DEADLINE_S)[0].split() for script in scripts]

    assert mine == 20_100
    assert outs == [["20100", "1225"]] * 2


# ── scattering ───────────────────────────────────────────────────────────────────────


def blobs_of(client: Client) -> list[Path]:
    folder = Path(client.url.removeprefix("sqlite:///") + ".d") / "blobs"
    return [path for path in folder.rglob("*") if path.is_file()]


def bytes_in_blobs(client: Client) -> int:
    return sum(path.stat().st_size for path in blobs_of(client))


def test_a_scattered_object_is_stored_once_and_given_as_itself(client: Client) -> None:
    numpy = pytest.importorskip("numpy")
    data = numpy.arange(200_000)
    before = len(blobs_of(client))

    ref = client.scatter(data)
    again = client.scatter(data.copy())
    total = client.submit(lambda a, deep: int(a.sum() + deep["x"][0].sum()), ref, {"x": [ref]})

    assert ref.id == again.id
    assert len(blobs_of(client)) <= before + 2  # the object, and the function
    assert ref.nbytes >= data.nbytes
    assert ref.type == "numpy.ndarray"
    assert (ref.get() == data).all()
    assert total.result(DEADLINE_S) == 2 * int(data.sum())
    assert client.map(lambda a, i: int(a[i]), [ref] * 3, [1, 2, 3]).results() == [1, 2, 3]


def test_a_result_does_not_hold_again_what_it_shares_with_an_argument(client: Client) -> None:
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    table = pandas.DataFrame({name: numpy.arange(100_000) for name in "abcd"})
    column_bytes = table["a"].nbytes
    ref = client.scatter(table)
    before = bytes_in_blobs(client)

    wider = client.submit(lambda part: part.assign(z=part.a + part.b), ref)
    widest = client.submit(lambda part: part.assign(y=part.z * 2), wider.result(DEADLINE_S)).result(
        DEADLINE_S
    )

    expected = table.assign(z=table.a + table.b)
    pandas.testing.assert_frame_equal(widest, expected.assign(y=expected.z * 2))
    assert 2 * column_bytes <= bytes_in_blobs(client) - before < 3 * column_bytes


def test_a_ref_among_large_arguments_is_found_too(client: Client) -> None:
    ref = client.scatter(b"x" * 50_000)

    future = client.submit(lambda a, b, c: (len(a), len(b), len(c[0])), ref, b"y" * 60_000, [ref])

    assert future.result(DEADLINE_S) == (50_000, 60_000, 50_000)


def test_a_ref_that_a_function_captures_is_refused_with_a_hint(client: Client) -> None:
    ref = client.scatter([1, 2, 3])

    with pytest.raises(CannotPickle, match="Pass the Ref as an argument") as caught:
        client.submit(lambda: len(ref))
    assert caught.value.culprit == "ref"


def test_a_ref_of_another_store_is_refused(client: Client, tmp_path: Path) -> None:
    with opened(tmp_path, workers=0) as other:
        ref = other.scatter(["only", "there"])

    with pytest.raises(ResultExpired, match="scatter it again"):
        client.submit(len, ref)


# ── looking ──────────────────────────────────────────────────────────────────────────


def test_tables_say_what_there_is(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        client.submit(fail, "dead letter").exception(DEADLINE_S)
        client.map(abs, [-1, -2]).wait(DEADLINE_S)
        client.options(countdown=60).submit(abs, -1)
        until(lambda: len(client.workers()) == 1)

        assert list(client.runs()["state"]) == ["running", "succeeded", "failed"]
        assert list(client.runs(states=["failed"])["name"]) == ["fail"]
        assert list(client.queues()["waiting"]) == [1]
        assert list(client.dead_letters()["error"]) == ["ValueError: dead letter"]
        assert list(client.workers()["slots"]) == [2]
        assert client.doctor()["well"].all()
        versions = client.versions(check=True)
        assert set(versions["side"]) == {"client", client.workers()["worker"][0]}
        assert versions["python"].nunique() == 1


def test_tables_are_rows_without_pandas(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.submit(abs, -1).result(DEADLINE_S)
    monkeypatch.setitem(sys.modules, "pandas", None)

    assert isinstance(client.runs(), list)
    assert client.runs(limit=1)[0]["items"] == 1
    assert all(isinstance(t(), list) for t in (client.workers, client.queues, client.doctor, client.versions))


def test_versions_that_differ_are_told_apart() -> None:
    from taskflow.versions import compare

    compare({"client": {"python": "3.11.4"}, "worker": {"python": "3.11.9"}})
    with pytest.raises(VersionMismatch, match=r"python +worker +3\.12\.0"):
        compare({"client": {"python": "3.11.4"}, "worker": {"python": "3.12.0"}})


def test_packages_that_differ_are_warned_of() -> None:
    from taskflow.versions import compare

    compare({"client": {"pandas": "2.1.0"}, "worker": {"pandas": "2.3.0"}, "other": {}})
    with pytest.warns(UserWarning, match=r"pandas +worker +3\.0\.0"):
        compare({"client": {"pandas": "2.1.0"}, "worker": {"pandas": "3.0.0"}})


def test_a_frame_for_other_packages_is_warned_of_in_the_output_of_its_task(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    pandas = pytest.importorskip("pandas")
    from taskflow.codec import payload

    real = payload.header
    monkeypatch.setattr(payload, "header", lambda *args: real(*args) | {"packages": {"pandas": "0.25.3"}})
    call = client.submit(lambda frame: int(frame["a"].sum()), pandas.DataFrame({"a": [1, 2]}))

    assert call.result(DEADLINE_S) == 3
    assert "pandas          0.25.3" in call.logs


def test_a_client_can_have_more_slots(tmp_path: Path) -> None:
    with opened(tmp_path, workers=1) as client:
        client.submit(abs, -1).result(DEADLINE_S)

        client.scale(3)

        until(lambda: list(client.workers()["slots"]) == [3])
        assert client._max_workers == 3
        with pytest.raises(ConfigError, match="above 0"):
            client.scale(0)


def test_a_function_runs_once_in_every_worker(client: Client) -> None:
    until(lambda: len(client.workers()) >= 1)

    found = client.run(abs, -1, workers=[client.workers()["worker"][0]])

    assert list(found.values()) == [1]


def test_several_things_are_cancelled_at_once(client: Client) -> None:
    later = client.options(countdown=60)
    single, run, by_id = later.submit(abs, -1), later.map(abs, [-1]), later.submit(abs, -2)

    assert client.cancel([single, run, by_id.id]) == 3
    assert client.cancel(single) == 0
    until(by_id.cancelled)


def test_a_worker_process_that_was_killed_is_started_again(tmp_path: Path) -> None:
    with opened(tmp_path, workers=1) as client:
        client.submit(abs, -1).result(DEADLINE_S)
        os.kill(client.workers()["pid"][0], 9)

        assert client.submit(abs, -2).result(DEADLINE_S) == 2


def test_a_client_says_what_it_is(client: Client) -> None:
    assert repr(client) == f"<Client {client.url}, 2 slots of its own>"
    assert url_in(Path("/x")) == "sqlite:////x/runs.db"


def test_threads_of_numeric_libraries_can_be_set(tmp_path: Path) -> None:
    with Client(f"sqlite:///{tmp_path}/threads.db", workers=1, threads=3) as client:
        assert client.submit(lambda: __import__("os").environ["OMP_NUM_THREADS"]).result(15) == "3"

    with pytest.raises(ConfigError, match="threads"):
        Client(mode="inline", threads=0)


def test_runs_are_found_and_cancelled_by_their_tags(client: Client) -> None:
    later = client.options(countdown=600, tags={"exp": 7, "part": "a"})
    mine = [later.submit(abs, -1), later.map(abs, [-2, -3])]
    other = client.options(countdown=600, tags={"exp": 8}).submit(abs, -4)

    found = client.runs(tags={"exp": 7})
    rows = found.to_dict("records") if hasattr(found, "to_dict") else found

    assert len(rows) == 2
    assert client.cancel(tags={"exp": 7}) == 2
    with pytest.raises(TaskCancelled):
        mine[0].result(DEADLINE_S)
    assert not other.done()
    assert client.cancel(other, tags={"exp": 7}) == 1


class DeadAtOnce:
    """A worker process that ends as soon as it has begun."""

    pid = 0

    def poll(self) -> int:
        return 1


@pytest.mark.parametrize("wait", ["future", "map", "progress"])
def test_a_wait_ends_when_the_worker_dies_at_every_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: str
) -> None:
    monkeypatch.setattr("taskflow.worker.process.spawn", lambda *_, **__: DeadAtOnce())
    with opened(tmp_path, workers=1) as client:
        future, run = client.submit(abs, -1), client.map(abs, [-1])

        with pytest.raises(WaitTimedOut, match="dies at every start"):
            {"future": future.result, "map": run.results, "progress": lambda: run.wait(progress=True)}[wait]()


def test_a_store_in_memory_has_no_workers_and_says_what_to_use() -> None:
    with pytest.raises(ConfigError, match="mode='inline'"):
        Client("memory://")


def test_a_paused_queue_waits_and_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        client.submit(abs, -1).result(DEADLINE_S)
        client.pause()
        waiting = client.submit(abs, -2)
        until(lambda: list(client.queues()["queued"]) == [1])

        assert not waiting.done()
        assert list(client.queues()["paused"]) == [True]
        client.resume()
        assert waiting.result(DEADLINE_S) == 2
