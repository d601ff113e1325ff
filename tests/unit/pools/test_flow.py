"""How work reaches children and comes back: packets, lending, cancelling, sizes, the end."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
import time
from pathlib import Path

import pytest

from taskflow.errors import ConfigError
from taskflow.ids import NodeId
from taskflow.policy import Policy
from taskflow.pools import context
from taskflow.pools.process import ProcessPool
from taskflow.records import Edge, Failure, Kind, Lease, Outcome, Segment
from taskflow.states import State
from taskflow.testing.workbench import FENCE, Given, Workbench
from tests.unit.pools.conftest import Open


def square(x: int) -> int:
    return x * x


def hold(path: Path) -> None:
    while not path.exists():
        time.sleep(0.005)


async def doze() -> None:
    await asyncio.sleep(30)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def running(bench: Workbench) -> list[NodeId]:
    return [work.lease.key.node for x in bench.pool._links.values() for _, _, _, work in x.running()]


def warm(bench: Workbench) -> None:
    """The pace of `square` is known, whatever a busy machine gave back meanwhile."""
    again, bench.again = bench.again, True
    bench.run(*[bench.call(square, x) for x in range(50)])
    bench.run(*[bench.call(square, x) for x in range(200)])
    bench.again = again


def learn(bench: Workbench, *leases: Lease) -> None:
    """Run calls so that their pace is known."""
    bench.again = True
    bench.run(*leases)
    bench.again = False


def test_quick_calls_are_buffered_twice_and_slow_ones_are_not(bench: Workbench, flag: Path) -> None:
    warm(bench)
    quick = [bench.call(square, x) for x in range(5)]
    bench.start(*quick)

    assert bench.pool.free() == 1

    bench.until(lambda: all(map(bench.complete, quick)))
    slow = bench.call(hold, flag)
    bench.start(slow)

    assert bench.pool.free() == 0
    flag.touch()
    bench.until(lambda: bench.complete(slow))


def test_what_waits_behind_a_stuck_call_is_given_back(open_bench: Open, flag: Path) -> None:
    bench = open_bench(1, again=False)
    warm(bench)

    def sometimes(path: Path, waits: bool) -> None:
        while waits and not path.exists():
            time.sleep(0.005)

    learn(bench, *[bench.call(sometimes, flag, False) for _ in range(300)])
    stuck = bench.call(sometimes, flag, True)
    behind = [bench.call(sometimes, flag, False) for _ in range(3000)]
    bench.start(stuck, *behind)
    bench.until(lambda: len(bench.released) == len(behind))

    assert not bench.complete(stuck)
    assert bench.pool.free() == 0
    flag.touch()
    bench.until(lambda: bench.complete(stuck))
    assert bench.pool.free() == 1


def test_the_rest_of_a_range_behind_a_slow_item_is_given_back(open_bench: Open, flag: Path) -> None:
    bench = open_bench(1, again=False)
    warm(bench)
    lease = bench.array(lambda x: hold(flag) if x == 120 else x, range(5000), page=1000)
    bench.start(lease)

    def settled() -> int:
        done = sum(o.hi - o.lo for o in bench.outcomes.get(lease.key.node, ()))
        return done + sum(o.hi - o.lo for _, o in bench.released)

    bench.until(lambda: settled() >= 4879)
    flag.touch()
    bench.until(lambda: settled() == 5000)

    assert all(o.lo > 120 for _, o in bench.released)


def test_a_lent_slot_runs_something_else(bench: Workbench, flag: Path) -> None:
    def wait_for_another(path: Path) -> str:
        from taskflow.pools.context import lend

        with lend():
            hold(path)
        return "both"

    outer, inner = bench.call(wait_for_another, flag), bench.call(flag.touch)
    bench.run(outer, inner)

    assert bench.value(outer) == "both"


def test_lending_gives_back_what_waits_in_the_same_packet(open_bench: Open, flag: Path) -> None:
    bench = open_bench(1, again=False)
    warm(bench)

    def sometimes(path: Path, lends: bool) -> None:
        from taskflow.pools.context import lend

        if lends:
            with lend():
                hold(path)

    learn(bench, *[bench.call(sometimes, flag, False) for _ in range(300)])
    first = bench.call(sometimes, flag, True)
    behind = [bench.call(sometimes, flag, False) for _ in range(20)]
    bench.start(first, *behind)
    bench.until(lambda: len(bench.released) == 20)

    assert not bench.complete(first)
    bench.again = True
    bench.until(lambda: all(map(bench.complete, behind)))
    flag.touch()
    bench.until(lambda: bench.complete(first))


def test_slots_can_be_lent_many_times_over(bench: Workbench, tmp_path: Path) -> None:
    def chain(directory: Path, depth: int) -> None:
        from taskflow.pools.context import lend

        if depth:
            with lend():
                hold(directory / str(depth - 1))
        (directory / str(depth)).touch()

    leases = [bench.call(chain, tmp_path, depth) for depth in (4, 3, 2, 1, 0)]
    for lease in leases:
        bench.start(lease)
        bench.step(0.05)
    bench.until(lambda: all(map(bench.complete, leases)))

    assert (tmp_path / "4").exists()


def test_a_cancelled_call_gets_the_chance_to_clean_up(bench: Workbench, flag: Path) -> None:
    def careful(path: Path) -> None:
        try:
            time.sleep(30)
        finally:
            path.touch()

    lease = bench.call(careful, flag)
    pid = bench.call(os.getpid)
    bench.run(pid)
    bench.start(lease)
    bench.until(lambda: running(bench) == [lease.key.node])
    bench.pool.kill(lease.key, "not needed")
    bench.until(lambda: bench.complete(lease))
    (outcome,) = bench.outcomes[lease.key.node]
    again = bench.call(os.getpid)
    bench.run(again)

    assert outcome.kind == Kind.CANCELLED
    assert "not needed" in Failure.from_json(outcome.error or "").message
    assert flag.exists()
    assert bench.value(again) == bench.value(pid)


@pytest.mark.parametrize("mode", ["process", "thread", "async"])
def test_a_call_that_its_child_has_read_and_not_begun_is_cancelled_too(
    open_bench: Open, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("TASKFLOW_FAULT", "child.received:stop")
    bench = open_bench(1, mode=mode)
    lease = bench.call(doze)
    bench.start(lease)
    (link,) = bench.pool._links.values()
    bench.until(lambda: link.pid is not None and state_of(link.pid) == "T")

    bench.pool.kill(lease.key, "too late")
    os.kill(link.pid, signal.SIGCONT)
    bench.until(lambda: bench.complete(lease))

    assert bench.outcomes[lease.key.node][0].kind == Kind.CANCELLED


@pytest.mark.parametrize("mode", ["thread", "async"])
def test_a_call_that_seemed_to_hold_up_others_lends_its_slot(
    open_bench: Open, flag: Path, tmp_path: Path, mode: str
) -> None:
    def waits(begin: Path, go: Path) -> None:
        hold(begin)
        with context.lend():
            hold(go)

    bench = open_bench(1, mode=mode)
    lease = bench.call(waits, flag, tmp_path / "go")
    bench.start(lease)
    bench.until(lambda: running(bench) == [lease.key.node])
    (link,) = bench.pool._links.values()
    link.stuck = True
    assert bench.pool.free() == 0

    flag.touch()
    bench.until(lambda: bench.pool.free() == 1)
    (tmp_path / "go").touch()
    bench.until(lambda: bench.complete(lease))


def test_a_cancelled_call_that_does_not_listen_is_killed(open_bench: Open) -> None:
    bench = open_bench(1, grace_s=0.2)

    def deaf() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 60))
        while True:
            time.sleep(1)

    lease = bench.call(deaf)
    bench.start(lease)
    bench.until(lambda: running(bench) == [lease.key.node])
    bench.pool.kill(lease.key, "enough")
    bench.until(lambda: bench.complete(lease))

    assert bench.outcomes[lease.key.node][0].kind == Kind.CANCELLED


def test_cancelling_spares_what_shares_the_child(bench: Workbench, flag: Path) -> None:
    warm(bench)
    first, doomed, spared = bench.call(hold, flag), bench.call(square, 2), bench.call(square, 3)
    bench.start(first, doomed, spared)
    bench.pool.kill(doomed.key, "not you")
    flag.touch()
    bench.until(lambda: all(map(bench.complete, (first, doomed, spared))))

    assert bench.outcomes[first.key.node][0].kind == Kind.SUCCEEDED
    assert bench.outcomes[doomed.key.node][0].kind in (Kind.CANCELLED, Kind.SUCCEEDED)
    assert bench.value(spared) == 9


def test_the_rest_of_a_cancelled_range_is_cancelled(bench: Workbench) -> None:
    warm(bench)
    lease = bench.array(lambda x: time.sleep(0.02), range(200))
    bench.start(lease)
    bench.until(lambda: bool(bench.outcomes.get(lease.key.node)))
    bench.pool.kill(lease.key, "stop")
    bench.until(lambda: bench.complete(lease))

    kinds = {o.kind for o in bench.outcomes[lease.key.node]}
    assert kinds == {Kind.SUCCEEDED, Kind.CANCELLED}


def test_a_pool_grows_and_shrinks(open_bench: Open, tmp_path: Path) -> None:
    bench = open_bench(1)
    bench.pool.resize(3)
    leases = [bench.call(hold, tmp_path / "go") for _ in range(3)]
    for lease in leases:
        bench.start(lease)
    bench.until(lambda: len(running(bench)) == 3)

    assert bench.pool.free() == 0
    bench.pool.resize(1)
    (tmp_path / "go").touch()
    bench.until(lambda: all(map(bench.complete, leases)))
    bench.until(lambda: len(bench.pool._links) == 1)
    assert bench.pool.free() == 1


@pytest.mark.parametrize("option", [{"recycle_after_calls": 3}, {"recycle_rss_bytes": 1}])
def test_children_are_renewed(open_bench: Open, option: dict[str, int]) -> None:
    bench = open_bench(1, **option)
    pids = []
    for _ in range(8):
        lease = bench.call(os.getpid)
        bench.run(lease)
        pids.append(bench.value(lease))

    assert 2 <= len(set(pids)) <= 8


def test_recycling_loses_nothing(open_bench: Open) -> None:
    bench = open_bench(2, recycle_after_calls=40)
    leases = [bench.call(square, x) for x in range(500)]
    bench.start(*leases)
    bench.until(lambda: all(map(bench.complete, leases)))

    assert [bench.value(lease) for lease in leases] == [x * x for x in range(500)]


def test_closing_lets_running_calls_end_and_gives_back_the_rest(open_bench: Open, flag: Path) -> None:
    bench = open_bench(1, again=False)
    warm(bench)
    first, second = bench.call(time.sleep, 0.3), bench.call(time.sleep, 0.3)
    bench.start(first, second)
    bench.until(lambda: running(bench) == [first.key.node])

    bench.take(bench.pool.close(drain_s=3))

    assert bench.outcomes[first.key.node][0].kind == Kind.SUCCEEDED
    assert [key for key, _ in bench.released] == [second.key]


def test_closing_ends_what_does_not_end(open_bench: Open) -> None:
    bench = open_bench(1, again=False, grace_s=0.2)

    def deaf() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)

    lease = bench.call(deaf)
    bench.start(lease)
    bench.until(lambda: running(bench) == [lease.key.node])
    bench.step(0.1)
    pids = [link.pid for link in bench.pool._links.values()]
    begun = time.monotonic()
    bench.take(bench.pool.close(drain_s=0.2))

    assert [key for key, _ in bench.released] == [lease.key]
    assert time.monotonic() - begun < 10
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_large_arguments_and_results_pass(bench: Workbench) -> None:
    text = "x" * 30_000
    leases = [bench.call(lambda a: a + "y", text) for _ in range(20)]
    bench.run(*leases)

    assert all(bench.value(lease) == text + "y" for lease in leases)


def test_many_inputs_pass(bench: Workbench) -> None:
    node = NodeId("parent")
    parts = [bench.codec.dump_result(node, n, n + 1, FENCE, ["z" * 5000]) for n in range(400)]
    bench.outcomes[node] = [Outcome(n, n + 1, Kind.SUCCEEDED, part) for n, part in enumerate(parts)]
    bench._pages[node] = []
    lease = bench.call(len, Given(node), inputs=[Edge(node)])
    bench.run(lease)

    assert bench.value(lease) == 400
    assert Segment(node, 0, 1, State.SUCCEEDED, None, None, 1).array is False


def test_a_page_is_sent_to_a_child_once(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    warm(bench)
    sent: list[int] = []
    link = next(iter(bench.pool._links.values()))
    send = link.line.send
    monkeypatch.setattr(link.line, "send", lambda m: sent.append(len(m[2])) or send(m))
    lease = bench.array(square, range(20_000), page=5000)
    bench.run(lease)

    assert sum(sent) == 4
    assert len(sent) > 4
    assert bench.value(lease) == [x * x for x in range(20_000)]


def test_more_pages_than_a_child_keeps_pass(bench: Workbench) -> None:
    lease = bench.array(square, range(2000), page=10)
    bench.run(lease)

    assert bench.value(lease) == [x * x for x in range(2000)]


def test_a_pace_is_that_of_a_core_which_nobody_shares(
    open_bench: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.pools.process.cpu_count", lambda: 2)
    pace_s = open_bench(3).pool.pace_s
    paces = {}
    for slots in (1, 2, 6, 12):
        pool = open_bench(1).pool
        pool.resize(slots)
        pool.pace_s.learn("f", 10, 1.2)
        paces[slots] = pool.pace_s["f"]

    pace_s.learn("f", 10, 1.2)

    assert pace_s["f"] == pytest.approx(0.08)
    assert paces == pytest.approx({1: 0.12, 2: 0.12, 6: 0.04, 12: 0.03})


def test_slots_of_one_process_do_not_crowd_each_other(
    open_bench: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.pools.process.cpu_count", lambda: 2)
    pool = open_bench(8, mode="thread").pool

    pool.pace_s.learn("f", 10, 1.2)

    assert pool.pace_s["f"] == pytest.approx(0.12)


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="process"):
        ProcessPool(1, mode="proces", blobs=tmp_path)  # type: ignore[arg-type]


def test_a_module_that_cannot_be_preloaded_is_told(open_bench: Open) -> None:
    bench = open_bench(1, preload=["no_such_module_at_all"])

    with pytest.raises(ConfigError, match="no_such_module_at_all"):
        bench.until(lambda: False)


def test_a_loaded_template_may_be_executed_instead_of_forked(open_bench: Open) -> None:
    import threading

    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        bench = open_bench(1)
        lease = bench.call(square, 5)
        bench.run(lease)
    finally:
        stop.set()
        thread.join()

    assert bench.value(lease) == 25


def test_an_idle_pool_is_not_due_and_not_readable(bench: Workbench) -> None:
    warm(bench)

    bench.until(lambda: bench.pool.due_s() is None)  # a look that was set while it ran may still be due
    assert select.select(bench.pool.filenos(), [], [], 0.2)[0] == []


@pytest.mark.parametrize("mode", ["thread", "async"])
class TestSharedChild:
    """Slots that live in one process."""

    def test_all_slots_run_at_once(self, open_bench: Open, mode: str, tmp_path: Path) -> None:
        bench = open_bench(3, mode=mode)

        def meet(directory: Path, name: str) -> int:
            (directory / name).touch()
            while len(list(directory.glob("guest*"))) < 3:
                time.sleep(0.005)
            return os.getpid()

        leases = [bench.call(meet, tmp_path, f"guest{n}") for n in range(3)]
        bench.run(*leases)

        assert len({bench.value(lease) for lease in leases}) == 1

    def test_a_hard_limit_is_refused(self, open_bench: Open, mode: str) -> None:
        bench = open_bench(2, mode=mode)

        outcome = bench.one(bench.call(square, 1, policy=Policy(time_limit_s=1)))

        assert outcome.kind == Kind.FAILED
        assert Failure.from_json(outcome.error or "").data["error"] == "ConfigError"

    def test_a_soft_limit_ends_a_call(self, open_bench: Open, mode: str) -> None:
        import asyncio

        bench = open_bench(2, mode=mode)

        async def nap() -> None:
            await asyncio.sleep(30)

        def spin() -> None:
            while True:
                time.sleep(0.01)

        outcome = bench.one(
            bench.call(nap if mode == "async" else spin, policy=Policy(soft_time_limit_s=0.2))
        )

        assert outcome.kind == Kind.FAILED
        assert Failure.from_json(outcome.error or "").type.endswith("SoftTimeLimitExceeded")

    def test_a_running_call_can_be_cancelled(self, open_bench: Open, mode: str) -> None:
        import asyncio

        bench = open_bench(2, mode=mode)

        async def nap() -> None:
            await asyncio.sleep(30)

        def spin() -> None:
            while True:
                time.sleep(0.01)

        lease = bench.call(nap if mode == "async" else spin)
        bench.start(lease)
        bench.until(lambda: running(bench) == [lease.key.node])
        bench.pool.kill(lease.key, "stop")
        bench.until(lambda: bench.complete(lease))

        assert bench.outcomes[lease.key.node][0].kind == Kind.CANCELLED

    def test_output_goes_to_the_call_that_printed(self, open_bench: Open, mode: str) -> None:
        bench = open_bench(4, mode=mode)

        def speak(x: int) -> None:
            for _ in range(20):
                print(x)
                time.sleep(0.001)

        leases = [bench.call(speak, x) for x in range(8)]
        outcomes = [o for (o,) in bench.run(*leases)]

        assert [o.log for o in outcomes] == [f"{x}\n" * 20 for x in range(8)]

    def test_a_crash_loses_what_ran_and_the_pool_goes_on(self, open_bench: Open, mode: str) -> None:
        bench = open_bench(2, mode=mode)

        outcome = bench.one(bench.call(lambda: os._exit(4)))
        lease = bench.call(square, 6)
        bench.run(lease)

        assert outcome.kind == Kind.LOST
        assert bench.value(lease) == 36

    def test_a_lent_slot_runs_something_else(self, open_bench: Open, mode: str, flag: Path) -> None:
        bench = open_bench(1, mode=mode)

        def wait_for_another(path: Path) -> str:
            from taskflow.pools.context import lend

            with lend():
                hold(path)
            return "both"

        outer, inner = bench.call(wait_for_another, flag), bench.call(flag.touch)
        bench.run(outer, inner)

        assert bench.value(outer) == "both"

    def test_it_grows(self, open_bench: Open, mode: str, tmp_path: Path) -> None:
        bench = open_bench(1, mode=mode)
        bench.run(bench.call(square, 1))
        bench.pool.resize(3)
        leases = [bench.call(hold, tmp_path / "go") for _ in range(3)]
        for lease in leases:
            bench.start(lease)
        bench.until(lambda: len(running(bench)) == 3)
        (tmp_path / "go").touch()
        bench.until(lambda: all(map(bench.complete, leases)))

        assert bench.pool.free() >= 1


def test_hundreds_of_coroutines_wait_at_once(open_bench: Open, tmp_path: Path) -> None:
    import asyncio

    bench = open_bench(200, mode="async")

    async def meet(directory: Path, x: int) -> int:
        (directory / f"guest{x}").touch()
        while len(list(directory.glob("guest*"))) < 200:
            await asyncio.sleep(0.2)
        return x

    leases = [bench.call(meet, tmp_path, x) for x in range(200)]
    bench.run(*leases)

    assert [bench.value(lease) for lease in leases] == list(range(200))


def test_a_hundred_thousand_new_items_pass(bench: Workbench) -> None:
    digest = bench.codec.function(square)
    expansion = {"**expand": "target", "**expand_fn": digest}
    lease = bench.call(lambda: ["item" * 5 + str(n) for n in range(100_000)], **expansion)
    bench.run(lease)

    assert bench.value(lease) == 100_000
    assert bench.settlements[-1].grow is not None


def test_a_fork_that_returns_from_the_task_has_no_outcome(bench: Workbench) -> None:
    def split() -> str:
        return "copy" if os.fork() == 0 else "original"

    leases = [bench.call(split) for _ in range(3)]
    bench.run(*leases)
    after = bench.call(square, 3)
    bench.run(after)

    assert [bench.value(lease) for lease in leases] == ["original"] * 3
    assert bench.value(after) == 9


def test_a_task_may_use_processes_of_its_own(bench: Workbench) -> None:
    def spread() -> list[int]:
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(2) as executor:
            return list(executor.map(abs, [-1, -2, -3]))

    lease = bench.call(spread)
    bench.run(lease)

    assert bench.value(lease) == [1, 2, 3]


def test_a_lease_that_may_be_anothers_is_ended_at_once(bench: Workbench, flag: Path) -> None:
    def careful(path: Path) -> None:
        try:
            time.sleep(30)
        finally:
            path.touch()

    lease = bench.call(careful, flag)
    bench.start(lease)
    bench.until(lambda: running(bench) == [lease.key.node])
    bench.pool.kill(lease.key, "the lease was lost", grace_s=0.0)
    bench.until(lambda: bench.complete(lease))

    assert bench.outcomes[lease.key.node][0].kind == Kind.CANCELLED
    assert not flag.exists()


def test_a_soft_limit_that_is_over_before_the_call_begins_is_raised_in_it(bench: Workbench) -> None:
    class Slow:
        def __reduce__(self) -> tuple[object, ...]:
            return time.sleep, (0.4,)

    def spin(_: object) -> None:
        while True:
            pass

    outcome = bench.one(bench.call(spin, Slow(), policy=Policy(soft_time_limit_s=0.1)))

    assert Failure.from_json(outcome.error or "").type.endswith("SoftTimeLimitExceeded")


@pytest.mark.parametrize("mode", ["process", "thread", "async"])
def test_a_value_that_is_ignored_never_leaves_the_child(open_bench: Open, mode: str) -> None:
    bench = open_bench(1, mode=mode)
    policy = Policy(ignore_result=True)
    call = bench.call(threading.Lock, policy=policy)  # It could not travel.
    items = bench.array(lambda x: "x" * 1000, range(50), policy=policy)

    outcomes, parts = bench.run(call, items)

    assert bench.value(call) is None
    assert bench.value(items) == [None] * 50
    assert sum(len(o.value or b"") for o in (*outcomes, *parts)) < 50 * 200


def test_a_failure_is_told_though_the_value_is_ignored(bench: Workbench) -> None:
    outcome = bench.one(bench.call(lambda: 1 // 0, policy=Policy(ignore_result=True)))

    assert Failure.from_json(outcome.error or "").type.endswith("ZeroDivisionError")


def test_what_has_ended_is_told_while_the_next_item_of_the_range_is_held_up(
    open_bench: Open, flag: Path
) -> None:
    bench = open_bench(1, again=False)

    def third_holds(x: int) -> int:
        if x == 3:
            hold(flag)
        return x

    learn(bench, *[bench.call(third_holds, 0) for _ in range(300)])
    lease = bench.array(third_holds, range(8), page=8)
    bench.start(lease)

    def ended() -> list[tuple[int, int]]:
        return sorted((o.lo, o.hi) for o in bench.outcomes.get(lease.key.node, ()))

    bench.until(lambda: sum(hi - lo for lo, hi in ended()) == 3 and len(bench.released) > 0)

    assert max(hi for _, hi in ended()) == 3
    assert min(o.lo for _, o in bench.released) == 4
    flag.touch()
    bench.until(lambda: sum(hi - lo for lo, hi in ended()) == 4)
    assert ended()[-1] == (3, 4)
