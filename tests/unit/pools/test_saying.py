"""What a running item says of itself reaches the pool: the last always, and not more often than is seen."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from taskflow.records import Kind
from taskflow.testing.workbench import FENCE, Workbench
from tests.unit.pools.conftest import Open

MODES = pytest.mark.parametrize("mode", ["process", "thread", "async"])


def _speak(count: int, here: str, go: str, large: int = 0) -> None:
    from taskflow.pools.context import report_state

    for number in range(count):
        report_state("PROGRESS", {"current": number, "total": count, "more": "x" * large})
    Path(here).touch()
    while not Path(go).exists():
        time.sleep(0.01)


def _told(bench: Workbench, node: Any) -> list[int]:
    return [
        bench.codec.load_said(node, note.at, FENCE, note.value)["current"]
        for note in bench.notes
        if note.kind == "state" and note.value
    ]


@MODES
def test_the_last_of_many_is_heard_while_the_task_runs(open_bench: Open, tmp_path: Path, mode: str) -> None:
    bench = open_bench(1, mode=mode)
    here, go = tmp_path / "here", tmp_path / "go"
    lease = bench.call(_speak, 3000, str(here), str(go))
    began = time.monotonic()
    bench.start(lease)

    bench.until(lambda: 2999 in _told(bench, lease.key.node))
    seconds = time.monotonic() - began

    assert lease.key.node not in bench.outcomes
    told = _told(bench, lease.key.node)
    assert told == sorted(told)
    assert len(told) <= 2 + seconds / 0.1
    go.touch()
    bench.until(lambda: lease.key.node in bench.outcomes)


def test_what_is_too_long_for_the_board_is_heard_too(bench: Workbench, tmp_path: Path) -> None:
    go = tmp_path / "go"
    lease = bench.call(_speak, 3, str(tmp_path / "here"), str(go), large=50_000)
    bench.start(lease)

    bench.until(lambda: _told(bench, lease.key.node) == [0, 1, 2])

    go.touch()
    bench.until(lambda: lease.key.node in bench.outcomes)


def test_what_cannot_be_told_is_an_error_of_the_task(bench: Workbench) -> None:
    def shouts() -> None:
        from taskflow.pools.context import report_state

        report_state("PROGRESS", {"all": "x" * 300_000})

    outcome = bench.one(bench.call(shouts))

    assert outcome.kind == Kind.FAILED
    assert "262,144 bytes at most" in (outcome.error or "")


def test_a_task_speaks_for_itself_only(bench: Workbench) -> None:
    def speaks(task_id: str) -> None:
        from taskflow.pools.context import current, report_state

        report_state("PROGRESS", task_id=task_id or current().id)

    mine = bench.one(bench.call(speaks, ""))
    other = bench.one(bench.call(speaks, "another"))

    assert mine.kind == Kind.SUCCEEDED
    assert other.kind == Kind.FAILED
    assert "each task speaks for itself" in (other.error or "")


def test_items_of_a_range_say_what_they_are(bench: Workbench, tmp_path: Path) -> None:
    go = str(tmp_path / "go")

    def item(number: int) -> None:
        from taskflow.pools.context import report_state

        if number == 2:
            report_state("TWO", {"current": number})
            while not Path(go).exists():
                time.sleep(0.01)

    lease = bench.array(item, range(4))
    bench.start(lease)

    bench.until(lambda: _told(bench, lease.key.node) == [2])
    assert {note.at for note in bench.notes} == {2}

    Path(go).touch()
    bench.until(lambda: bench.complete(lease))


def test_progress_tells_how_far_a_loop_is(bench: Workbench, tmp_path: Path) -> None:
    go = str(tmp_path / "go")

    def loop() -> int:
        import taskflow

        total = sum(taskflow.progress(range(50_000), desc="adding"))
        while not Path(go).exists():
            time.sleep(0.01)
        return total

    lease = bench.call(loop)
    bench.start(lease)

    bench.until(lambda: any(note.data.get("done") == 50_000 for note in bench.notes))
    last = bench.notes[-1]
    assert (last.kind, dict(last.data)) == (
        "progress", {"index": 0, "done": 50_000, "total": 50_000, "desc": "adding"}
    )  # fmt: skip

    Path(go).touch()
    bench.until(lambda: lease.key.node in bench.outcomes)
    assert bench.value(lease) == sum(range(50_000))


def test_metrics_stand_beside_the_bar(bench: Workbench, tmp_path: Path) -> None:
    go = str(tmp_path / "go")

    def train() -> None:
        import taskflow

        for epoch in taskflow.progress(range(2)):
            taskflow.report(loss=1 / (epoch + 1), name="net")
        while not Path(go).exists():
            time.sleep(0.01)

    lease = bench.call(train)
    bench.start(lease)
    wanted = {"index": 0, "done": 2, "total": 2, "loss": 0.5, "name": "net"}

    bench.until(lambda: bool(bench.notes) and dict(bench.notes[-1].data) == wanted)

    Path(go).touch()
    bench.until(lambda: lease.key.node in bench.outcomes)


def test_outside_of_a_task_a_loop_is_a_loop() -> None:
    import taskflow

    assert list(taskflow.progress(iter("abc"), total=3)) == ["a", "b", "c"]
    taskflow.report(loss=0.5)
