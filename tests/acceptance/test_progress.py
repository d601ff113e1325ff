"""What a running task says of itself: seen by its result and its future while it runs, and not after."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import taskflow
from taskflow.errors import Untrusted
from taskflow.observe.progress import Progress
from taskflow.pools.context import report_state
from taskflow.records import Note
from tests.acceptance.stage import until


class Meta:
    """Any value, not only what JSON has."""

    def __init__(self, rows: int) -> None:
        self.rows = rows


@pytest.fixture
def step(tmp_path: Path) -> Callable[[int], None]:
    """Lets a task go on, to a step."""

    def to(number: int) -> None:
        (tmp_path / str(number)).touch()

    return to


def _wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.005)


def _long(folder: Path, iterations: int) -> dict[str, Any]:
    for i in range(iterations):
        report_state("PROGRESS", {"current": i, "total": iterations})
        (folder / f"said{i}").touch()
        _wait_for(folder / str(i))
    return {"current": iterations, "total": iterations, "status": "Complete!"}


def _within(seconds: float, what: Callable[[], Any]) -> float:
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds
        time.sleep(0.002)
    return time.monotonic() - began


def test_a_result_shows_the_word_and_the_value_of_a_running_task(
    client: taskflow.Client, tmp_path: Path, step: Callable[[int], None]
) -> None:
    future = client.submit(_long, tmp_path, 3)
    result = client.async_result(future.id)
    seen = []
    for i in range(3):
        until((tmp_path / f"said{i}").exists)
        late_s = _within(5.0, lambda i=i: result.info == {"current": i, "total": 3})
        seen.append(late_s)
        assert (result.state, result.status, result.result) == ("PROGRESS", "PROGRESS", result.info)
        assert (result.ready(), result.successful(), result.failed()) == (False, False, False)
        assert future.progress == Progress(i, 3)
        step(i)

    assert result.get(timeout=20) == {"current": 3, "total": 3, "status": "Complete!"}
    assert (result.state, result.info["status"], future.progress) == ("SUCCESS", "Complete!", None)
    assert min(seen) < 0.2  # the machine may be busy; never is it late each time


def test_a_polling_loop_sees_progress_that_only_grows(client: taskflow.Client) -> None:
    """Seed A4."""

    def long_task(iterations: int) -> str:
        for i in range(iterations):
            time.sleep(0.01)
            report_state(state="PROGRESS", meta={"current": i, "total": iterations})
        return "done"

    task = client.async_result(client.submit(long_task, 60).id)
    seen = []
    while not task.ready():
        if task.state == "PROGRESS":
            meta = task.info
            if isinstance(meta, dict):
                seen.append(meta["current"])
        time.sleep(0.02)

    assert task.get(timeout=20) == "done"
    assert seen == sorted(seen)
    assert len(set(seen)) > 2


def test_the_value_may_be_anything(
    client: taskflow.Client, tmp_path: Path, step: Callable[[int], None]
) -> None:
    def says(folder: Path) -> None:
        report_state("LOADING", Meta(7))
        _wait_for(folder / "0")

    result = client.async_result(client.submit(says, tmp_path).id)

    until(lambda: result.state == "LOADING")
    assert isinstance(result.info, Meta)
    assert result.info.rows == 7
    step(0)
    assert result.get(timeout=20) is None


@pytest.mark.parametrize("word", ["SUCCESS", "FAILURE"])
def test_a_word_that_means_an_end_is_shown_until_the_end(
    client: taskflow.Client, tmp_path: Path, step: Callable[[int], None], word: str
) -> None:
    def boasts(folder: Path, word: str) -> None:
        report_state(word, "already")
        _wait_for(folder / "0")
        raise LookupError("not at all")

    result = client.async_result(client.submit(boasts, tmp_path, word).id)

    until(lambda: result.state == word)
    assert (result.info, result.ready(), result.successful()) == ("already", False, False)
    step(0)
    with pytest.raises(LookupError):
        result.get(timeout=20)
    assert result.state == "FAILURE"
    assert isinstance(result.info, LookupError)


def test_an_item_of_a_map_speaks_for_itself(
    client: taskflow.Client, tmp_path: Path, step: Callable[[int], None]
) -> None:
    def item(number: int) -> int:
        if number == 1:
            for _ in taskflow.progress(range(4), desc="rows"):
                taskflow.report(loss=0.5)
            _wait_for(tmp_path / "0")
        return number

    run = client.map(item, range(3))

    until(lambda: run.futures[1].progress == Progress(4, 4, "rows", {"loss": 0.5}))
    assert client.async_result(run.futures[1].id).state == "STARTED"
    assert run.futures[2].progress is None
    step(0)
    assert list(run) == [0, 1, 2]


def test_what_others_wrote_in_its_place_is_not_opened(
    client: taskflow.Client, tmp_path: Path, step: Callable[[int], None]
) -> None:
    future = client.submit(_long, tmp_path, 1)
    result = client.async_result(future.id)
    until(lambda: result.state == "PROGRESS")
    store = client._engine.store
    (item,) = store.items(future.node_id)
    lease = _lease_of(future.node_id, item.said["state"].fence)

    store.note([Note(lease, "state", {"state": "OPEN ME"}, b"\x01cos\nsystem\n(S'true'\ntR.")])

    assert result.state == "OPEN ME"
    with pytest.raises(Untrusted):
        _ = result.info
    step(0)
    future.result(timeout=20)


def _lease_of(node: Any, fence: int) -> Any:
    from taskflow.records import LeaseKey

    return LeaseKey(node, 0, 1, fence)
