"""What fails in a worker, looked at here: frames with their variables, and calls that are run once more."""

from __future__ import annotations

import asyncio
import gc
import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import taskflow
from taskflow import Client, Workflow
from taskflow.errors import ConfigError, GraphError, UsageError
from taskflow.maprun import MapRun
from taskflow.shells import FRAMES
from tests.acceptance.stage import opened
from tests.servers import running

SECRET = b"correct-horse-battery"


def spell(codes: list[int]) -> int:
    """Only here, in a variable, is the word whole."""
    word = bytes(code ^ 1 for code in codes)
    return len(word) // (len(codes) - len(word))


CODES = [code ^ 1 for code in SECRET]


def ratio(n: int) -> float:
    share = n * 2
    return 12 / (share - 6)


def heavy(n: int) -> None:
    mine = n.to_bytes(4, "big") * 50_000
    raise ValueError(f"item {n} of {len(mine)}")


def add(a: int, b: int) -> float:
    return 1 / (a + b - 6)


async def slow_ratio(n: int) -> float:
    await asyncio.sleep(0)
    return ratio(n)


def frames_of(error: BaseException | None) -> list[Any]:
    assert error is not None
    found, trace = [], error.__traceback__
    while trace is not None:
        found.append(trace.tb_frame)
        trace = trace.tb_next
    return found


def error_of(future: Any) -> BaseException:
    error = future.exception(60)
    assert error is not None
    return error  # type: ignore[no-any-return]


def stored(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What somebody types into a debugger."""
    lines = io.StringIO()
    monkeypatch.setattr(sys, "stdin", lines)
    yield lines


class TestFrames:
    def test_they_come_along_when_they_are_asked_for(self, client: Client) -> None:
        run = client.options(frames=True).map(ratio, range(5))

        error = error_of(run[3])

        assert isinstance(error, ZeroDivisionError)
        assert frames_of(error)[-1].f_locals["share"] == 6
        assert "Raised by" in error.__notes__[0]

    def test_not_otherwise(self, client: Client) -> None:
        error = error_of(client.submit(ratio, 3))

        assert frames_of(error) == []
        assert "12 / (share - 6)" in str(error.__cause__)

    @pytest.mark.parametrize("frames", [True, False])
    def test_variables_are_stored_only_then(self, tmp_path: Path, frames: bool) -> None:
        with opened(tmp_path, workers=1) as client:
            error_of(client.options(frames=frames or None).submit(spell, CODES))
            client.shutdown()

        assert (SECRET in stored(tmp_path)) is frames

    def test_a_worker_may_refuse(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(FRAMES, "0")
        with opened(tmp_path, workers=1) as client:
            error = error_of(client.options(frames=True).submit(spell, CODES))
            client.shutdown()

        assert frames_of(error) == [] and SECRET not in stored(tmp_path)

    def test_the_environment_may_ask(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(FRAMES, "1")
        with opened(tmp_path, workers=1) as client:
            error = error_of(client.submit(ratio, 3))

        assert frames_of(error)[-1].f_locals["share"] == 6

    @pytest.mark.parametrize("pool", ["thread", "async", "inline"])
    def test_every_pool_has_them(self, tmp_path: Path, pool: Any) -> None:
        with opened(tmp_path, workers=1, pool=pool) as client:
            error = error_of(client.options(frames=True).submit(slow_ratio, 3))

        assert frames_of(error)[-1].f_locals["share"] == 6

    def test_raising_again_does_not_pile_up(self, client: Client) -> None:
        future = client.options(frames=True).submit(ratio, 3)
        seen = set()
        for _ in range(3):
            with pytest.raises(ZeroDivisionError) as caught:
                future.result(60)
            seen.add(len(frames_of(caught.value)))

        assert len(seen) == 1

    def test_a_group_in_a_task_group_keeps_its_members(self, client: Client) -> None:
        async def both() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(slow_ratio(3))
                group.create_task(slow_ratio(4))

        error = error_of(client.options(frames=True).submit(both))

        assert isinstance(error, ExceptionGroup)
        assert frames_of(error.exceptions[0])[-1].f_locals["share"] == 6

    def test_an_error_that_is_handed_on_arrives_as_before(self, client: Client) -> None:
        def receive(request: Any, error: BaseException, text: str) -> tuple[str, bool, bool]:
            return type(error).__name__, error.__traceback__ is None, "share - 6" in str(error.__cause__)

        failing = taskflow.task(ratio).s(3).on_error(taskflow.task(receive).s())
        result = client.options(frames=True).submit_canvas(failing)
        with pytest.raises(ZeroDivisionError):
            result.get(60)

        handled = [node for node in result.progress.nodes if node.label == "receive"]
        assert client.future(handled[0].id).result(60) == ("ZeroDivisionError", True, True)

    def test_ten_thousand_failures_keep_the_frames_of_a_few(self, tmp_path: Path) -> None:
        with opened(tmp_path) as client:
            run = client.options(frames=True).map(heavy, range(10_000)).wait(100)
            errors = run.results("return")
            size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())

        with_frames = [error for error in errors if error.__traceback__ is not None]
        assert len(errors) == 10_000 and 1 <= len(with_frames) <= 2 * 3
        assert size < 10_000 * 3000 + 6 * 300_000
        assert errors[0] in with_frames

    def test_different_causes_each_have_theirs(self, client: Client) -> None:
        def either(n: int) -> None:
            if n < 50:
                raise ValueError(n)
            raise LookupError(n)

        run = client.options(frames=True, chunksize=100).map(either, range(100)).wait(60)
        kinds = {type(error) for error in run.results("return") if error.__traceback__ is not None}

        assert kinds == {ValueError, LookupError}

    def test_a_variable_that_never_comes_back_holds_up_nothing(self, tmp_path: Path) -> None:
        class Stuck:
            def __reduce__(self) -> Any:
                time.sleep(1000)

        def fail() -> None:
            stuck = Stuck()
            raise ValueError(str(type(stuck)))

        with opened(tmp_path, workers=1) as client:
            error = error_of(client.options(frames=True).submit(fail))
            assert client.submit(abs, -4).result(60) == 4

        assert "no time" in repr(frames_of(error)[-1].f_locals["stuck"])

    def test_the_handles_of_another_process_have_them(self, tmp_path: Path) -> None:
        with opened(tmp_path, workers=1) as client:
            name = client.options(frames=True).map(ratio, [3]).wait(60).id
        gc.collect()
        with opened(tmp_path, workers=0) as client:
            error = error_of(client.attach(name)[0])

        assert frames_of(error)[-1].f_locals["share"] == 6

    def test_they_come_over_a_server_too_small_and_large(self) -> None:
        def large(n: int) -> None:
            mine = b"%d" % n * 100_000
            raise ValueError(len(mine))

        for server in running("valkey"):
            with Client(server.url, workers=1) as client:
                asked = client.options(frames=True)
                small, big = error_of(asked.submit(ratio, 3)), error_of(asked.submit(large, 7))

            assert frames_of(small)[-1].f_locals["share"] == 6
            assert frames_of(big)[-1].f_locals["mine"] == b"7" * 100_000


class TestRunningItAgain:
    def test_a_call_is_run_here_with_what_it_was_given(self, client: Client) -> None:
        first = client.submit(abs, -4)
        second = client.submit(add, first, b=4)
        second.result(60)

        assert second.debug() == 0.5

    def test_an_edited_function_may_take_its_place(self, client: Client) -> None:
        run = client.map(ratio, range(5)).wait(60)

        assert run.debug(3, fn=lambda n: n + 100) == 103
        assert run[3].state == "failed"

    def test_a_debugger_opens_where_it_raises(
        self, client: Client, typed: io.StringIO, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run = client.map(ratio, range(5)).wait(60)
        typed.write("p share\nq\n")
        typed.seek(0)

        with pytest.raises(ZeroDivisionError):
            run.debug()

        out = capsys.readouterr().out
        assert out.startswith("ZeroDivisionError") and "(Pdb) 6" in out

    def test_without_a_debugger_it_is_simply_raised(self, client: Client) -> None:
        future = client.submit(ratio, 3)

        with pytest.raises(ZeroDivisionError) as caught:
            future.debug(post_mortem=False)

        assert frames_of(caught.value)[-1].f_locals["share"] == 6

    def test_nothing_is_written(self, tmp_path: Path) -> None:
        with opened(tmp_path, workers=1) as client:
            run = client.map(ratio, range(5)).wait(60)
            before = client._engine.store.events(0, limit=10_000)
            with pytest.raises(ZeroDivisionError):
                run.debug(3, post_mortem=False)
            assert run.debug(4) == 6.0

            assert client._engine.store.events(0, limit=10_000) == before

    def test_a_task_knows_where_it_is(self, client: Client) -> None:
        def where(n: int) -> tuple[int, int, bool]:
            return n, taskflow.current().index, taskflow.current().worker == ""

        run = client.map(where, range(4)).wait(60)

        assert run.debug(2) == (2, 2, True)
        with pytest.raises(UsageError):
            taskflow.current()

    def test_a_node_of_a_workflow_is_run_with_what_is_before_it(self, client: Client) -> None:
        flow = Workflow("story")
        parts = flow.map(abs, [-1, -5], name="parts")
        flow.add(sum, parts, name="total")
        flow.add(ratio, 3, name="broken")
        run = flow.run(client).wait(60)

        assert run.debug("total") == 6
        assert run.debug("parts", 1) == 5
        with pytest.raises(ZeroDivisionError):
            run.debug(post_mortem=False)
        with pytest.raises(GraphError, match="parts"):
            run.debug("part")

    def test_a_coroutine_is_run_even_where_an_event_loop_runs(self, client: Client) -> None:
        future = client.submit(slow_ratio, 4)

        async def notebook() -> Any:
            asyncio.get_running_loop()
            return future.debug(), asyncio.get_running_loop().is_running()

        assert future.debug() == 6.0
        assert asyncio.run(notebook()) == (6.0, True)

    def test_what_is_not_there_is_a_usage_error(self, client: Client) -> None:
        run: MapRun[Any] = client.map(abs, [1, 2]).wait(60)
        broken = client.submit(ratio, 3)
        behind = client.submit(abs, broken)
        behind.exception(60)

        with pytest.raises(UsageError, match="No item"):
            run.debug()
        with pytest.raises(IndexError):
            run.debug(7)
        with pytest.raises(UsageError, match="skipped"):
            behind.debug()

    def test_options_name_the_nearest(self, client: Client) -> None:
        with pytest.raises(ConfigError, match="frames"):
            client.options(frame=True)
