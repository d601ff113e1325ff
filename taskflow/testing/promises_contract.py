"""What pools promise of limits, ends and output: kept where it is promised, refused where it is not."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from taskflow.policy import Policy
from taskflow.ports import Pool, Promises
from taskflow.records import Failure, Kind, Lease
from taskflow.testing.workbench import Workbench

__all__ = ["PromisesContract", "confess_later"]

_BYTES = 400 << 20


def _spin(flag: str) -> None:
    Path(flag).touch()
    while True:
        time.sleep(0.01)


def _confess(flag: str, told: str) -> None:
    try:
        _spin(flag)
    except BaseException as error:
        Path(told).write_text(type(error).__name__, encoding="utf-8")
        raise


async def confess_later(flag: str, told: str) -> None:
    """As `PromisesContract.confess`, for pools that interrupt coroutines only."""
    Path(flag).touch()
    try:
        await asyncio.sleep(60)
    except BaseException as error:
        Path(told).write_text(type(error).__name__, encoding="utf-8")
        raise


def _deaf(flag: str) -> None:
    Path(flag).write_text(str(os.getpid()), encoding="utf-8")
    while True:
        with suppress(BaseException):  # it will not hear
            time.sleep(0.01)


def _hog(size_bytes: int) -> None:
    kept = bytearray(size_bytes)
    for at in range(0, size_bytes, 4096):
        kept[at] = 1
    time.sleep(30)


def _wait_for(flag: str) -> str:
    while not Path(flag).exists():
        time.sleep(0.01)
    return "seen"


def _print_and_wait(flag: str) -> None:
    print("half way")
    _wait_for(flag)


def _borrow(flag: str) -> str:
    from taskflow.pools.context import lend

    with lend():
        return _wait_for(flag)


def _die(flag: str) -> None:
    _wait_for(flag)
    os._exit(3)


def _call_another() -> None:
    subprocess.run([sys.executable, "-c", "print('from afar')"], check=True)


class PromisesContract:
    """A part of `PoolContract`. What a pool says of itself in ``promises`` is what it does.

    A test of what it does not promise ends at once, and is not skipped: nothing is missing.
    """

    confess: Callable[[str, str], Any] = staticmethod(_confess)
    """Runs until it is interrupted, and writes down by what."""

    @pytest.fixture
    def promises(self, pool: Pool) -> Promises:
        """Of the pool under test."""
        return pool.promises

    @pytest.fixture
    def flag(self, tmp_path: Path) -> Path:
        """A file by which tasks and the test tell each other how far they are."""
        return tmp_path / "flag"

    def test_a_soft_limit_is_raised_in_the_task(
        self, bench: Workbench, promises: Promises, flag: Path
    ) -> None:
        """It may clean up."""
        if not promises.soft_limit:
            return
        told = flag.with_name("told")

        outcome = bench.one(
            bench.call(self.confess, str(flag), str(told), policy=Policy(soft_time_limit_s=1.5))
        )

        assert outcome.kind == Kind.FAILED
        assert _type(outcome.error) == "SoftTimeLimitExceeded"
        assert told.read_text(encoding="utf-8") in ("SoftTimeLimitExceeded", "CancelledError")

    def test_a_hard_limit_is_kept_or_refused(self, bench: Workbench, promises: Promises, flag: Path) -> None:
        """Where it is kept the pool goes on; where it is not, the call does not begin."""
        if not promises.soft_limit:
            return

        outcome = bench.one(bench.call(_deaf, str(flag), policy=Policy(time_limit_s=0.6)))

        assert outcome.kind == Kind.FAILED
        if promises.hard_limit:
            assert _type(outcome.error) == "TaskTimedOut"
            assert bench.one(bench.call(len, "abc")).kind == Kind.SUCCEEDED
        else:
            assert (_type(outcome.error), flag.exists()) == ("ConfigError", False)

    def test_a_memory_limit_is_kept_or_refused(self, bench: Workbench, promises: Promises) -> None:
        """Likewise."""
        if not promises.soft_limit:
            return

        outcome = bench.one(bench.call(_hog, _BYTES, policy=Policy(memory_limit_bytes=_BYTES // 2)))

        expected = (Kind.LOST, "OOMKilled") if promises.memory_limit else (Kind.FAILED, "ConfigError")
        assert (outcome.kind, _type(outcome.error)) == expected

    def test_a_cancelled_task_is_told(self, bench: Workbench, promises: Promises, flag: Path) -> None:
        """By an exception, while it runs; a coroutine by that of its loop."""
        if not promises.interrupt:
            return
        told = flag.with_name("told")
        lease = bench.call(self.confess, str(flag), str(told))
        bench.start(lease)
        bench.until(flag.exists)

        bench.pool.kill(lease.key, "enough", grace_s=20.0)
        bench.until(lambda: bench.complete(lease))

        assert bench.outcomes[lease.key.node][0].kind == Kind.CANCELLED
        assert told.read_text(encoding="utf-8") in ("TaskCancelled", "CancelledError")

    def test_one_that_does_not_hear_is_ended_by_force(
        self, bench: Workbench, promises: Promises, flag: Path
    ) -> None:
        """Its process is gone."""
        if not promises.force:
            return
        lease = bench.call(_deaf, str(flag))
        bench.start(lease)
        bench.until(lambda: flag.exists() and bool(flag.read_text(encoding="utf-8")))

        bench.pool.kill(lease.key, "enough", grace_s=0.3)
        bench.until(lambda: bench.complete(lease))

        assert bench.outcomes[lease.key.node][0].kind == Kind.CANCELLED
        bench.until(lambda: not _lives(int(flag.read_text(encoding="utf-8"))))

    def test_a_death_is_that_of_one_call(self, bench: Workbench, promises: Promises, flag: Path) -> None:
        """What runs beside it does not notice."""
        if not (promises.dies_alone and bench.pool.slots > 1):
            return
        dies, lives = bench.call(_die, str(flag)), bench.call(_wait_for, str(flag.with_name("later")))
        bench.start(dies, lives)
        flag.touch()
        bench.until(lambda: bench.complete(dies))
        flag.with_name("later").touch()
        bench.until(lambda: bench.complete(lives))

        assert bench.outcomes[dies.key.node][0].kind == Kind.LOST
        assert bench.outcomes[lives.key.node][0].kind == Kind.SUCCEEDED

    def test_what_is_printed_is_told_while_it_runs(
        self, bench: Workbench, promises: Promises, flag: Path
    ) -> None:
        """And kept with the outcome."""
        if not promises.live:
            return
        lease = bench.call(_print_and_wait, str(flag))
        bench.start(lease)
        bench.until(lambda: any(note.kind == "log" for note in bench.notes))
        early = bench.complete(lease)
        flag.touch()
        bench.until(lambda: bench.complete(lease))

        assert not early
        assert "half way" in (bench.outcomes[lease.key.node][0].log or "")

    def test_what_other_programs_print_is_kept_or_not(self, bench: Workbench, promises: Promises) -> None:
        """As is promised."""
        outcome = bench.one(bench.call(_call_another))

        assert ("from afar" in (outcome.log or "")) == promises.deep_output

    def test_a_slot_of_one_that_waits_runs_another(
        self, bench: Workbench, promises: Promises, flag: Path
    ) -> None:
        """More of them than there are slots, and what they wait for comes last."""
        if not (promises.lends and promises.live):
            return
        waiting = [bench.call(_borrow, str(flag)) for _ in range(bench.pool.slots + 1)]
        last = bench.call(Path.touch, flag)
        bench.start(*waiting)
        bench.start(last)
        bench.until(lambda: all(bench.complete(lease) for lease in (*waiting, last)))

        assert [_only(bench, lease) for lease in waiting] == ["seen"] * len(waiting)


def _only(bench: Workbench, lease: Lease) -> object:
    value: object = bench.value(lease)
    return value


def _type(error: str | None) -> str:
    return Failure.from_json(error or "").type.rpartition(".")[2]


def _lives(pid: int) -> bool:
    """Whether a process runs; one that is dead and was not fetched yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
