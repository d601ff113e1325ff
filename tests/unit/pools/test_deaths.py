"""A child that dies is an outcome of the item that ran, and of that one only."""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from taskflow.policy import Policy
from taskflow.records import Failure, Kind, Outcome
from taskflow.testing.workbench import Workbench
from tests.unit.pools.conftest import Open


def square(x: int) -> int:
    return x * x


def failure(outcome: Outcome) -> Failure:
    return Failure.from_json(outcome.error or "")


def gone(pid: int) -> bool:
    """Whether a process ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def eventually(bench: Workbench, done) -> None:
    bench.until(done)


def running(bench: Workbench) -> bool:
    return any(list(link.running()) for link in bench.pool._links.values())


@pytest.mark.parametrize(
    ("die", "exit_code", "number"),
    [
        (lambda: os._exit(3), 3, None),
        (lambda: os._exit(0), 0, None),
        (os.abort, None, signal.SIGABRT),
        (lambda: ctypes.string_at(0), None, signal.SIGSEGV),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), None, signal.SIGKILL),
    ],
)
def test_a_death_is_told_with_exit_code_or_signal(bench: Workbench, die, exit_code, number) -> None:
    bench.run(bench.call(square, 1))
    begun = time.monotonic()

    outcome = bench.one(bench.call(die))
    lease = bench.call(square, 5)
    bench.run(lease)

    assert outcome.kind == Kind.LOST
    assert failure(outcome).data["error"] == "WorkerLost"
    assert (failure(outcome).exit_code, failure(outcome).signal) == (exit_code, number)
    assert bench.value(lease) == 25
    assert time.monotonic() - begun < 10


def test_an_interrupt_in_a_child_is_a_failure(bench: Workbench) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    outcome = bench.one(bench.call(interrupt))

    assert outcome.kind == Kind.FAILED
    assert failure(outcome).type.endswith("KeyboardInterrupt")


def test_a_child_killed_from_outside_loses_its_item_only(open_bench: Open) -> None:
    bench = open_bench(2)
    victim, other = bench.call(time.sleep, 30), bench.call(time.sleep, 0.3)
    bench.start(victim)
    eventually(bench, lambda: running(bench))
    (link,) = [link for link in bench.pool._links.values() if list(link.running())]
    bench.start(other)

    os.kill(link.pid, signal.SIGKILL)
    bench.until(lambda: bench.complete(victim) and bench.complete(other))
    (lost,), (fine,) = bench.outcomes[victim.key.node], bench.outcomes[other.key.node]

    assert lost.kind == Kind.LOST
    assert fine.kind == Kind.SUCCEEDED


def test_what_a_dead_child_printed_is_kept(bench: Workbench) -> None:
    def crash() -> None:
        print("almost there")
        sys.stderr.write("oops\n")
        ctypes.string_at(0)

    outcome = bench.one(bench.call(crash))

    assert "almost there" in (outcome.log or "")
    assert "oops" in (outcome.log or "")
    assert "Segmentation fault" in (outcome.log or "")


def test_only_the_item_of_a_range_that_ran_is_lost(open_bench: Open) -> None:
    bench = open_bench(1)

    def work(x: int) -> int:
        if x == 40:
            time.sleep(0.08)  # so that what was before it is reported
            os._exit(9)
        return x

    (outcomes,) = bench.run(bench.array(work, range(100)))

    (lost,) = [o for o in outcomes if o.kind == Kind.LOST]
    assert (lost.lo, lost.hi) == (40, 41)
    assert all(o.kind in (Kind.LOST, Kind.SUCCEEDED) for o in outcomes)


def test_a_poisoned_item_does_not_stop_the_others(bench: Workbench) -> None:
    lease = bench.array(lambda x: os._exit(1) if x == 250 else x, range(500))

    (outcomes,) = bench.run(lease)

    assert [o.lo for o in outcomes if o.kind == Kind.LOST] == [250]
    assert sum(o.hi - o.lo for o in outcomes if o.kind == Kind.SUCCEEDED) == 499


def test_a_hard_limit_ends_a_c_loop_that_ignores_signals(bench: Workbench) -> None:
    def deaf() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 60))
        ctypes.PyDLL(None).usleep(30_000_000)  # holds the interpreter lock

    begun = time.monotonic()
    outcome = bench.one(bench.call(deaf, policy=Policy(time_limit_s=0.3)))

    assert outcome.kind == Kind.FAILED
    assert failure(outcome).data == {"error": "TaskTimedOut", "limit_s": 0.3}
    assert time.monotonic() - begun < 10


def test_a_hard_limit_ends_a_stopped_child(bench: Workbench) -> None:
    outcome = bench.one(
        bench.call(lambda: os.kill(os.getpid(), signal.SIGSTOP), policy=Policy(time_limit_s=0.3))
    )

    assert failure(outcome).data["error"] == "TaskTimedOut"


def test_a_hard_limit_is_for_each_item_of_a_range(bench: Workbench) -> None:
    lease = bench.array(
        lambda x: time.sleep(30 if x == 3 else 0.05), range(6), policy=Policy(time_limit_s=0.25)
    )

    (outcomes,) = bench.run(lease)

    assert [o.lo for o in outcomes if o.kind == Kind.FAILED] == [3]
    assert sum(o.hi - o.lo for o in outcomes if o.kind == Kind.SUCCEEDED) == 5


def test_a_soft_limit_is_raised_in_the_task(bench: Workbench) -> None:
    def endless() -> None:
        while True:
            pass

    outcome = bench.one(bench.call(endless, policy=Policy(soft_time_limit_s=0.2)))

    assert outcome.kind == Kind.FAILED
    assert failure(outcome).type.endswith("SoftTimeLimitExceeded")


def test_a_soft_limit_may_be_caught(bench: Workbench) -> None:
    def careful() -> str:
        from taskflow.errors import SoftTimeLimitExceeded

        try:
            time.sleep(30)
        except SoftTimeLimitExceeded:
            return "clean"
        return "late"

    lease = bench.call(careful, policy=Policy(soft_time_limit_s=0.2, time_limit_s=3))
    bench.run(lease)

    assert bench.value(lease) == "clean"


def test_a_hog_is_killed_at_its_memory_limit(bench: Workbench) -> None:
    def hog() -> None:
        kept = []
        while True:
            kept.append(bytearray(1 << 20))
            time.sleep(0.001)

    outcome = bench.one(bench.call(hog, policy=Policy(memory_limit_bytes=100 << 20)))

    assert outcome.kind == Kind.LOST
    assert failure(outcome).data["error"] == "OOMKilled"
    assert failure(outcome).data["limit_bytes"] == 100 << 20
    assert failure(outcome).data["rss_peak_bytes"] > 100 << 20


def test_the_memory_of_grandchildren_counts(bench: Workbench) -> None:
    def hog() -> None:
        code = "x = bytearray(150 << 20)\nimport time; time.sleep(30)"
        subprocess.run([sys.executable, "-c", code], check=False)

    outcome = bench.one(bench.call(hog, policy=Policy(memory_limit_bytes=100 << 20)))

    assert failure(outcome).data["error"] == "OOMKilled"


def test_a_kill_by_the_kernel_for_memory_is_recognised(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.pools.ledger.oom_kills", itertools.count(10**9).__next__)  # more each time

    outcome = bench.one(bench.call(lambda: os.kill(os.getpid(), signal.SIGKILL)))

    assert failure(outcome).data["error"] == "OOMKilled"


def test_memory_errors_end_the_child_but_not_the_task_of_another(bench: Workbench) -> None:
    def burst() -> int:
        raise MemoryError

    first, pid = bench.call(os.getpid), bench.call(os.getpid)
    bench.run(first)
    outcome = bench.one(bench.call(burst))
    bench.run(pid)

    assert outcome.kind == Kind.FAILED
    assert bench.value(first) != bench.value(pid)


def test_a_task_that_kills_its_parent_loses_what_ran_and_the_pool_goes_on(open_bench: Open) -> None:
    bench = open_bench(2)

    outcome = bench.one(bench.call(lambda: os.kill(os.getppid(), signal.SIGKILL) or time.sleep(5)))
    lease = bench.call(square, 4)
    bench.run(lease)

    assert outcome.kind == Kind.LOST
    assert bench.value(lease) == 16


def test_only_the_killer_of_the_template_is_charged(open_bench: Open, flag: Path) -> None:
    bench = open_bench(3, again=False)

    def kill() -> None:
        while len(flag.read_text()) < 2:
            time.sleep(0.01)
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(5)

    def innocent() -> int:
        with flag.open("a") as file:
            file.write("x")
        time.sleep(0.4)
        return 5

    flag.touch()
    others = [bench.call(innocent) for _ in range(2)]
    killer = bench.call(kill)
    bench.start(*others, killer)
    bench.until(lambda: all(map(bench.complete, [*others, killer])))

    assert [o.kind for o in bench.outcomes[killer.key.node]] == [Kind.LOST]
    assert [bench.value(other) for other in others] == [5, 5]
    assert not bench.released


def test_a_killer_that_succeeds_does_not_make_another_pay(open_bench: Open) -> None:
    bench = open_bench(2, again=False)
    sleeper = bench.call(time.sleep, 0.5)
    killers = [bench.call(lambda: os.kill(os.getppid(), signal.SIGKILL)) for _ in range(3)]
    bench.start(sleeper)
    eventually(bench, lambda: running(bench))

    bench.start(*killers)
    bench.until(lambda: bench.complete(sleeper))

    assert bench.outcomes[sleeper.key.node][0].kind == Kind.SUCCEEDED


def test_cells_end_when_no_suspect_is_left(open_bench: Open) -> None:
    bench = open_bench(2)
    outcome = bench.one(bench.call(lambda: os.kill(os.getppid(), signal.SIGKILL) or time.sleep(5)))

    eventually(bench, lambda: len(bench.pool._links) == 2 and bench.pool.free() == 2)

    assert outcome.kind == Kind.LOST
    assert not bench.pool._children.cells._cells


def test_a_suspect_that_waits_may_be_cancelled(open_bench: Open) -> None:
    bench = open_bench(1, again=False)
    lease = bench.array(lambda x: time.sleep(60), range(5))
    bench.start(lease)
    eventually(bench, lambda: running(bench))
    (link,) = bench.pool._links.values()
    bench.pool._children.cells.take(link.give_up())

    bench.pool.kill(lease.key, "enough", grace_s=0)

    def gone() -> int:
        told = [*bench.outcomes.get(lease.key.node, ()), *(o for _, o in bench.released)]
        return sum(o.hi - o.lo for o in told)

    # What lay behind the long item is given back when that takes too long: then it was no suspect.
    bench.until(lambda: gone() == 5)
    assert {o.kind for o in bench.outcomes[lease.key.node]} == {Kind.CANCELLED}


def test_suspects_that_wait_are_released_at_the_end(open_bench: Open) -> None:
    bench = open_bench(1, again=False)
    lease = bench.array(lambda x: time.sleep(60), range(5))
    bench.start(lease)
    eventually(bench, lambda: running(bench))
    (link,) = bench.pool._links.values()
    bench.pool._children.cells.take(link.give_up())

    bench.take(bench.pool.close(drain_s=0))

    assert sum(o.hi - o.lo for _, o in bench.released) == 5


def test_a_child_that_dies_while_it_reports_is_charged_to_its_item(bench: Workbench) -> None:
    outcome = bench.one(bench.call(os.closerange, 0, 256))
    lease = bench.call(square, 5)
    bench.run(lease)

    assert outcome.kind == Kind.LOST
    assert "could not report" in failure(outcome).message
    assert bench.value(lease) == 25


def test_quick_items_beside_one_that_closes_every_file_do_not_pay_for_it(bench: Workbench) -> None:
    bench.run(bench.array(lambda x: x, range(300)))

    lease = bench.array(lambda x: os.closerange(0, 256) if x == 20 else x, range(40))
    (outcomes,) = bench.run(lease)

    assert [o.lo for o in outcomes if o.kind == Kind.LOST] == [20]
    assert sum(o.hi - o.lo for o in outcomes if o.kind == Kind.SUCCEEDED) == 39


def test_threads_beside_one_that_ends_their_process_do_not_pay_for_it(open_bench: Open) -> None:
    bench = open_bench(3, mode="thread")
    sleeper = bench.call(time.sleep, 0.5)
    bench.start(sleeper)
    eventually(bench, lambda: running(bench))

    outcome = bench.one(bench.call(os._exit, 3))
    bench.until(lambda: bench.complete(sleeper))

    assert outcome.kind == Kind.LOST
    assert bench.outcomes[sleeper.key.node][0].kind == Kind.SUCCEEDED


def test_children_that_die_at_their_start_are_made_more_and_more_slowly(bench: Workbench) -> None:
    bench.run(bench.call(square, 1))
    made = bench.pool._children._numbers
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        for link in bench.pool._links.values():
            if link.pid and not link.flying:
                with suppress(ProcessLookupError):
                    os.kill(link.pid, signal.SIGKILL)
        bench.step(0.02)
    lease = bench.call(square, 5)
    bench.until(bench.pool.free)
    bench.run(lease)

    assert bench.pool._children._numbers - made <= 8
    assert bench.value(lease) == 25


def test_what_a_dead_child_left_running_is_killed(bench: Workbench) -> None:
    def leave() -> None:
        subprocess.Popen(["sleep", "60"])
        daemon = subprocess.Popen(["sleep", "60"], start_new_session=True)
        print(daemon.pid, flush=True)
        os._exit(1)

    outcome = bench.one(bench.call(leave))
    daemon = int((outcome.log or "").split()[0])

    eventually(bench, lambda: gone(daemon))


def test_a_swarm_of_forks_ends_with_its_task(open_bench: Open, flag: Path) -> None:
    bench = open_bench(2, again=False)
    beside = bench.call(time.sleep, 1.5)
    bench.start(beside)

    def swarm() -> None:
        for n in range(60):
            if os.fork() == 0:
                if n % 3 == 0:
                    os.setsid()
                time.sleep(60)
                os._exit(0)
        with flag.open("w") as file:
            file.write(Path(f"/proc/self/task/{os.getpid()}/children").read_text())
        time.sleep(60)

    outcome = bench.one(bench.call(swarm, policy=Policy(time_limit_s=1.0)))

    assert failure(outcome).data["error"] == "TaskTimedOut"
    pids = [int(pid) for pid in flag.read_text().split()]
    assert len(pids) == 60
    eventually(bench, lambda: all(map(gone, pids)))
    bench.until(lambda: bench.complete(beside))
    assert bench.outcomes[beside.key.node][0].kind == Kind.SUCCEEDED


def test_children_die_with_the_process_of_the_pool(tmp_path: Path) -> None:
    code = f"""
import os, select, sys
from taskflow.pools.process import ProcessPool
pool = ProcessPool(2, blobs={str(tmp_path / "blobs")!r})
while not all(link.pid for link in pool._links.values()):
    select.select(pool.filenos(), [], [], 1)
    pool.finished()
print(pool._children.template.pid, *[link.pid for link in pool._links.values()], flush=True)
os.kill(os.getpid(), 9)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pids = [int(pid) for pid in ended.stdout.split()]

    assert len(pids) == 3
    end = time.monotonic() + 10
    while not all(map(gone, pids)):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_dead_pool_leaves_no_open_files(open_bench: Open) -> None:
    bench = open_bench(1)
    bench.run(bench.call(square, 1))
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(5):
        bench.one(bench.call(lambda: os._exit(1)))
    bench.run(bench.call(square, 1))

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_files_of_a_new_child_are_heard_though_dead_ones_had_their_numbers(
    open_bench: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = open_bench(2)
    children = bench.pool._children
    select = children._selector.select

    def the_template_first(wait_s: float) -> list[object]:
        """All that a death makes readable, in an order in which epoll may tell it."""
        if select(wait_s):
            time.sleep(0.01)
        return sorted(select(0), key=lambda ready: ready[0].fd != children.template.fd)

    bench.run(*[bench.call(square, x) for x in range(4)])
    monkeypatch.setattr(children._selector, "select", the_template_first)
    for _ in range(8):
        doomed = [bench.call(lambda: os.kill(os.getpid(), signal.SIGKILL)) for _ in range(2)]
        assert [o.kind for (o,) in bench.run(*doomed)] == [Kind.LOST] * 2
        heard = children._selector.get_map()
        assert all(link.reports.fd in heard and link.leak.fd in heard for link in children.links.values())
        bench.run(*[bench.call(square, x) for x in range(4)])
