"""What a task prints goes with its outcome, and what it changes does not outlive it."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from taskflow.records import Kind
from taskflow.testing.workbench import Workbench
from tests.unit.pools.conftest import Open


def test_both_streams_are_captured_and_tell_their_item(bench: Workbench) -> None:
    def speak(x: int) -> None:
        if x % 10 == 3:
            print("out", x)
            print("err", x, file=sys.stderr)

    lease = bench.array(speak, range(30))
    (outcomes,) = bench.run(lease)

    told = {o.lo: o.log for o in outcomes if o.log}
    assert told == {x: f"out {x}\nerr {x}\n" for x in (3, 13, 23)}
    assert all(o.hi == o.lo + 1 for o in outcomes if o.log)


def test_each_of_many_calls_has_its_own_output(bench: Workbench) -> None:
    leases = [bench.call(print, x) for x in range(100)]

    outcomes = [o for (o,) in bench.run(*leases)]

    assert [o.log for o in outcomes] == [f"{x}\n" for x in range(100)]


def test_logging_and_warnings_are_captured(bench: Workbench) -> None:
    def complain() -> None:
        import warnings

        logging.getLogger("mine").error("it broke")
        warnings.warn("careful", stacklevel=1)

    outcome = bench.one(bench.call(complain))

    assert "it broke" in (outcome.log or "")
    assert "careful" in (outcome.log or "")


def test_output_of_subprocesses_and_of_the_file_itself_is_captured(bench: Workbench) -> None:
    def shout() -> None:
        subprocess.run(["echo", "from a subprocess"], check=True)
        os.write(1, b"from the file\n")
        sys.stdout.buffer.write(b"from the buffer\n")

    outcome = bench.one(bench.call(shout))

    assert set((outcome.log or "").splitlines()) == {"from a subprocess", "from the file", "from the buffer"}


def test_much_output_keeps_its_beginning_and_its_end(bench: Workbench) -> None:
    def flood() -> None:
        for n in range(200_000):
            print("line", n)

    log = bench.one(bench.call(flood)).log or ""

    assert log.startswith("line 0\n")
    assert log.endswith("line 199999\n")
    assert "left out" in log
    assert len(log) < 40_000


def test_a_flood_from_a_subprocess_does_not_block_and_is_bounded(bench: Workbench) -> None:
    def flood() -> None:
        code = "print('x' * 99)\nfor _ in range(50000): print('y' * 99)"
        subprocess.run([sys.executable, "-c", code], check=True)

    log = bench.one(bench.call(flood)).log or ""

    assert log.startswith("xxx")
    assert 30_000 < len(log) < 45_000


def test_bytes_that_are_no_text_and_escapes_arrive(bench: Workbench) -> None:
    def rude() -> None:
        os.write(1, b"\xff\xfe\x1b]0;title\x07")
        print("\ud800")

    log = bench.one(bench.call(rude)).log or ""

    assert "\ufffd" in log
    assert "\\ud800" in log


def test_a_long_call_is_heard_while_it_runs(bench: Workbench, flag: Path) -> None:
    def talk() -> None:
        print("started")
        while not flag.exists():
            time.sleep(0.01)

    lease = bench.call(talk)
    bench.start(lease)
    bench.until(lambda: bool(bench.notes))
    still_runs = not bench.complete(lease)
    flag.touch()
    bench.run()
    bench.until(lambda: bench.complete(lease))

    assert still_runs
    assert (bench.notes[0].kind, bench.notes[0].data["text"]) == ("log", "started\n")
    assert bench.outcomes[lease.key.node][0].log == "started\n"


def test_a_task_without_output_has_no_log(bench: Workbench) -> None:
    assert bench.one(bench.call(time.sleep, 0.01)).log is None


def test_what_a_task_changes_is_put_back(bench: Workbench) -> None:
    def look() -> tuple[object, ...]:
        umask = os.umask(0)
        os.umask(umask)
        handler = signal.getsignal(signal.SIGTERM)
        return (
            str(Path.cwd()),
            umask,
            os.environ.get("CHANGED"),
            os.environ.get("PATH"),
            handler == signal.SIG_DFL,
        )

    def mess() -> None:
        os.chdir("/")
        os.umask(0o123)
        os.environ["CHANGED"] = "1"
        del os.environ["PATH"]
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    before, after = bench.call(look), bench.call(look)
    bench.run(before)
    bench.run(bench.call(mess), after)

    assert bench.value(after) == bench.value(before)


def test_streams_that_a_task_closed_or_replaced_are_put_back(bench: Workbench) -> None:
    def mess() -> None:
        sys.stdout = None  # type: ignore[assignment]
        sys.stderr.close()
        os.close(1)
        os.close(2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def speak() -> None:
        print("python")
        subprocess.run(["echo", "file"], check=True)

    bench.run(bench.call(mess))
    outcome = bench.one(bench.call(speak))

    assert outcome.kind == Kind.SUCCEEDED
    assert set((outcome.log or "").split()) == {"python", "file"}


def test_timers_and_blocked_signals_do_not_reach_the_next_task(bench: Workbench) -> None:
    def arm() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
        signal.setitimer(signal.ITIMER_REAL, 0.05)

    def wait() -> set[int]:
        time.sleep(0.1)
        return set(signal.pthread_sigmask(signal.SIG_BLOCK, []))

    lease = bench.call(wait)
    bench.run(bench.call(arm), lease)

    assert bench.value(lease) == set()


def test_tracing_ends_with_its_task(bench: Workbench) -> None:
    lease = bench.call(sys.gettrace)
    bench.run(bench.call(lambda: sys.settrace(lambda *_: None)), lease)

    assert bench.value(lease) is None


def test_children_do_not_draw_the_same_numbers(open_bench: Open) -> None:
    bench = open_bench(2)

    def draw() -> tuple[int, float]:
        time.sleep(0.1)
        return os.getpid(), random.random()

    one, two = bench.call(draw), bench.call(draw)
    bench.run(one, two)

    assert bench.value(one)[0] != bench.value(two)[0]
    assert bench.value(one)[1] != bench.value(two)[1]


def test_numeric_libraries_share_the_cores(open_bench: Open) -> None:
    bench = open_bench(1, threads_per_slot=3)
    lease = bench.call(lambda: os.environ.get("OPENBLAS_NUM_THREADS"))
    bench.run(lease)

    assert bench.value(lease) == "3"
