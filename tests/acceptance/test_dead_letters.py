"""What failed for good is listed, and run again when a person says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskflow import Client, Reject, Workflow
from taskflow.errors import NoSuchRun, TaskRejected, UsageError
from tests.acceptance.stage import DEADLINE_S, opened
from tests.acceptance.test_limits import records


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with opened(tmp_path) as client:
        yield client


def needs_file(path: str, value: int) -> int:
    """Refuses its work while a file is not there."""
    if not Path(path).exists():
        raise Reject(f"{Path(path).name} is not there")
    with Path(path).open("a") as lines:
        lines.write(f"{value}\n")
    return value


def double(value: int) -> int:
    return 2 * value


def test_all_dead_letters_are_run_again_once(client: Client, tmp_path: Path) -> None:
    """Calls, maps and what depends on them; asked again it is what was sent the first time."""
    path = str(tmp_path / "there")
    call = client.submit(needs_file, path, 1)
    mapped = client.map(needs_file, [path] * 3, [10, 20, 30])
    flow = Workflow("flow")
    first = flow.add(needs_file, path, 5, name="first")
    flow.add(double, first, name="second")
    run = client.submit_workflow(flow)
    assert isinstance(call.exception(DEADLINE_S), TaskRejected)
    mapped.wait(DEADLINE_S)
    run.wait(DEADLINE_S)
    assert len(client.dead_letters()) == 5
    (tmp_path / "there").touch()

    handles = client.requeue()
    again = client.requeue()

    by_kind = {type(handle).__name__: handle for handle in handles}
    assert by_kind["Future"].result(DEADLINE_S) == 1
    assert by_kind["MapRun"].results() == [10, 20, 30]
    assert by_kind["WorkflowRun"].result("second", DEADLINE_S) == 10
    assert len(handles) == len(again) == 3
    assert sorted((tmp_path / "there").read_text().split()) == ["1", "10", "20", "30", "5"]


def test_a_part_of_the_table_is_run_again(client: Client, tmp_path: Path) -> None:
    """By rows, or by ids; of calls that were sent together only those that are meant."""
    names = [str(tmp_path / name) for name in ("a", "b", "c")]
    calls = [client.submit(needs_file, name, n) for n, name in enumerate(names * 4)]
    for call in calls:
        call.exception(DEADLINE_S)
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    letters = client.dead_letters()
    wanted = letters[letters["error"].str.contains("a is not")] if hasattr(letters, "loc") else None
    rows = [row for row in records(letters) if "a is not" in row["error"]]

    handles = client.requeue(rows if wanted is None else wanted)
    one = client.requeue(calls[1].id)

    assert sorted(handle.result(DEADLINE_S) for handle in handles) == [0, 3, 6, 9]
    assert [handle.result(DEADLINE_S) for handle in one] == [1]
    assert (tmp_path / "b").read_text() == "1\n"


def test_what_is_no_dead_letter_is_refused(client: Client, tmp_path: Path) -> None:
    """Before anything is sent."""
    with pytest.raises(UsageError, match="dead_letters"):
        client.requeue([3])
    with pytest.raises(NoSuchRun):
        client.requeue("nothing")
    waits = client.options(countdown=60).submit(double, 1)
    with pytest.raises(UsageError, match="not ended"):
        client.requeue(waits.id)
    done = client.submit(double, 1)
    assert done.result(DEADLINE_S) == 2
    assert client.requeue(done.id) == []
