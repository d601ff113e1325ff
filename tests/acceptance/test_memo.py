"""What ran well need not run again: memo, over functions that change, processes and stores."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import taskflow
from taskflow import Client
from taskflow.errors import ConfigError, TaskflowError, UsageError
from taskflow.states import State
from tests.acceptance.stage import opened, until
from tests.servers import running


@pytest.fixture(scope="module", params=["sqlite", "memory", "redis", "valkey"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One over each store."""
    if request.param == "memory":
        with Client(mode="inline") as client:
            yield client
    elif request.param == "sqlite":
        with opened(tmp_path_factory.mktemp("store")) as client:
            yield client
    else:
        for server in running(request.param):
            with Client(f"{server.url}?namespace=memo", workers=2) as client:
                yield client


@pytest.fixture
def ran(tmp_path: Path) -> Callable[[], list[str]]:
    """What ran since the last time, as it noted by itself."""
    folder = tmp_path / "ran"
    folder.mkdir()

    def since() -> list[str]:
        names = sorted(path.name for path in folder.iterdir())
        for name in names:
            (folder / name).unlink()
        return names

    since.folder = str(folder)  # type: ignore[attr-defined]
    return since


def noting(ran: Any, body: str = "return x * 2") -> Any:
    """A function, as a cell defines it, that notes each item it runs for."""
    space = {"__name__": "__main__", "FOLDER": ran.folder}
    name = f"work_{zlib.crc32(ran.folder.encode())}"
    source = f"def {name}(x):\n    open(FOLDER + '/' + str(x), 'w').close()\n    {body}\n"
    exec(compile(source, f"<cell {os.urandom(4).hex()}>", "exec"), space)
    return space[name]


def cached(client: Client, run: Any) -> int:
    return int(client._engine.store.snapshot(run.id)[0].meta.get("cached", 0))


FAILING = "return 1 // (x - 2)"
FIXED = "return 100 if x == 2 else 1 // (x - 2)"


def test_running_a_cell_again_runs_only_what_failed(client: Client, ran: Any) -> None:
    memo = client.options(memo=True)
    first = memo.map(noting(ran, FAILING), range(6))
    assert [index for index, _ in first.wait().failed] == [2]
    assert len(ran()) == 6

    again = memo.map(noting(ran, FAILING), range(6))

    with pytest.raises(ZeroDivisionError):
        again.results()
    assert ran() == ["2"]
    assert cached(client, again) == 5


def test_a_fixed_function_runs_for_what_failed_and_an_edited_one_for_all(client: Client, ran: Any) -> None:
    client.options(memo=True).map(noting(ran, FAILING), [1, 2, 3, 4]).wait()
    ran()

    edited = client.options(memo="edited").map(noting(ran, FIXED), [4, 1, 2, 3, 5])

    assert edited.results() == [0, -1, 100, 1, 0]
    assert ran() == ["2", "5"]
    assert client.options(memo=True).map(noting(ran, FIXED), [1, 2]).results() == [-1, 100]
    assert ran() == ["1"], "this version has run for 2 and 5 only"


def test_a_map_of_known_items_has_ended_when_map_returns(client: Client, ran: Any) -> None:
    memo, items = client.options(memo=True), ["a", "b", ("c", 1), None]
    memo.map(noting(ran), items[:2]).wait()
    memo.map(noting(ran, "return [x]"), items).wait()
    ran()

    run = memo.map(noting(ran, "return [x]"), items)

    assert len(run) == 4
    assert run.wait(timeout=20) is run
    assert list(run) == [["a"], ["b"], [("c", 1)], [None]]
    assert [future.result(20) for future in run.futures] == [["a"], ["b"], [("c", 1)], [None]]
    assert {item.state for item in run.items()} == {State.SUCCEEDED}
    assert len(client.attach(run.id).results()) == 4
    assert run.retry_failed() is run
    assert ran() == []


def test_results_are_found_wherever_the_items_stand_now(client: Client, ran: Any) -> None:
    memo = client.options(memo=True)
    memo.map(noting(ran), list(range(100, 120))).wait()
    memo.map(noting(ran), list(range(200, 220))).wait()
    ran()
    mixed = [105, 210, 7, 106, 107, 211, 105, 8, 219, 100]

    run = memo.map(noting(ran), mixed)

    assert run.results() == [2 * x for x in mixed]
    assert ran() == ["7", "8"]
    assert cached(client, run) == 8
    assert run.partial()["value"].tolist() == [2 * x for x in mixed]


def test_a_call_that_succeeded_is_not_made_again(client: Client, ran: Any) -> None:
    memo = client.options(memo=True)
    first = memo.submit(noting(ran), 21)
    assert first.result() == 42

    again = memo.submit(noting(ran), 21)

    assert (again.result(20), again.id) == (42, first.id)
    assert ran() == ["21"]
    assert memo.submit(noting(ran), 22).result() == 44
    assert memo.submit(noting(ran, "return x * 3"), 21).result() == 63
    assert ran() == ["21", "22"]
    assert client.options(memo="edited").submit(noting(ran, "return x * 4"), 21).result() in (42, 63)
    assert ran() == []


def test_a_call_that_failed_is_made_again(client: Client, ran: Any) -> None:
    memo = client.options(memo=True)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            memo.submit(noting(ran, FAILING), 2).result()
        assert ran() == ["2"]


def test_several_iterables_and_other_options_are_told_apart(client: Client) -> None:
    memo = client.options(memo=True)
    assert memo.map(pow, [2, 3], [3, 2]).results() == [8, 9]

    assert cached(client, memo.map(pow, (2, 3), (3, 2))) == 2
    assert cached(client, memo.map(pow, [2, 3], [3, 3])) == 1
    assert cached(client, memo.options(seed=1).map(pow, [2, 3], [3, 2])) == 0


def test_large_results_and_arrays_are_taken_from_where_they_lie(client: Client) -> None:
    def grown(frame: pd.DataFrame) -> np.ndarray[Any, Any]:
        return np.full(50_000, frame["a"].sum())

    def frames(*sums: int) -> list[pd.DataFrame]:
        return [pd.DataFrame({"a": np.arange(10_000) * 0 + n, "b": ["x", "y"] * 5000}) for n in sums]

    memo = client.options(memo=True)
    memo.map(grown, frames(1, 2, 3)).wait()

    run = memo.map(grown, frames(3, 1, 4))

    assert [int(result[0]) for result in run.results()] == [30_000, 10_000, 40_000]
    assert cached(client, run) == 2
    client._engine.store.forget(next(r.id for r in client._engine.store.runs() if "cached" not in r.meta))
    assert [int(result[0]) for result in run.results()] == [30_000, 10_000, 40_000]


def test_what_was_forgotten_runs_again(client: Client, ran: Any) -> None:
    memo = client.options(memo=True)
    run = memo.map(noting(ran, "return x * 5"), [1, 2])
    future = memo.submit(noting(ran, "return x * 5"), 1)
    assert (run.results(), future.result()) == ([5, 10], 5)
    ran()

    for id_ in (run.id, future.run_id):
        client._engine.store.forget(id_)

    assert memo.map(noting(ran, "return x * 5"), [1, 2]).results() == [5, 10]
    assert memo.submit(noting(ran, "return x * 5"), 1).result() == 5
    assert ran() == ["1", "2"]


def test_a_rerun_of_a_remembered_map_is_remembered_too(client: Client, ran: Any, tmp_path: Path) -> None:
    body = f"assert x != 1 or __import__('os').path.exists({str(tmp_path / 'ready')!r})\n    return x"
    memo = client.options(memo=True)
    run = memo.map(noting(ran, body), [0, 1, 2])
    run.wait()
    (tmp_path / "ready").touch()
    ran()

    assert run.retry_failed().results() == [0, 1, 2]
    assert ran() == ["1"]
    assert memo.map(noting(ran, body), [0, 1, 2]).results() == [0, 1, 2]
    assert ran() == []


@pytest.mark.parametrize(
    ("options", "call", "words"),
    [
        ({"memo": "edit"}, lambda c: c, "Did you mean 'edited'"),
        ({"memo": 1}, lambda c: c, "memo=1 is not known"),
        ({"memo": True, "key": "k"}, lambda c: c, "memo= and key= exclude each other"),
        ({"memo": True, "countdown": 5}, lambda c: c, "memo= and countdown= exclude"),
        ({"memo": True}, lambda c: c.map(abs, iter([1])), "give a list"),
        ({"memo": True}, lambda c: c.map(abs, [1], buffersize=3), "give a list"),
        ({"memo": True}, lambda c: c.submit(abs, c.options(memo=False).submit(abs, 1)), "future among"),
        ({"memo": True}, lambda c: c.map(abs, [c.options(memo=False).submit(abs, 1)]), "future among"),
        ({"memo": "edited"}, lambda c: c.map(lambda x: x, [1]), "define it with def"),
        ({"memo": True}, lambda c: c.submit_canvas(taskflow.task(abs).s(1)), "this is a canvas"),
        ({}, lambda c: taskflow.task(memo=True)(abs), r"client.options\(memo=True\)"),
        ({"memo": True}, lambda c: c.map(abs, range(1_000_001)), "at most 1,000,000"),
    ],
)  # fmt: skip
def test_what_cannot_be_remembered_is_refused(
    options: dict[str, Any], call: Callable[[Client], Any], words: str
) -> None:
    with Client(mode="inline") as client, pytest.raises((ConfigError, UsageError), match=words):
        call(client.options(**options))


# ── an edited function for what failed ───────────────────────────────────────────────


def test_what_failed_runs_again_with_the_edited_function(client: Client, ran: Any) -> None:
    two = client.submit(abs, -2)
    run = client.options(tags={"of": "me"}).map(noting(ran, FAILING), [two, 1, 3, 4])
    run.wait()
    assert ran() == ["1", "2", "3", "4"]

    again = run.retry_failed(noting(ran, FIXED))

    assert again.results() == [100, -1, 1, 0]
    assert ran() == ["2"]
    assert again.retry_failed(noting(ran, FIXED)) is again
    assert client._engine.store.snapshot(again.id)[0].meta["tags"] == {"of": "me"}
    assert client.attach(again.id).results() == [100, -1, 1, 0]
    assert [index for index, _ in run.failed] == [0], "the first run stays what it was"


def test_retries_of_the_first_run_hold_for_the_edited_function(client: Client, ran: Any) -> None:
    run = client.options(retry=1).map(noting(ran, FAILING), [2, 3])
    run.wait()

    again = client.retry(run, noting(ran, "raise KeyError(x)"))

    with pytest.raises(KeyError):
        again.results()
    assert [(item.lo, item.attempts) for item in again.items()] == [(0, 2), (1, 0)]
    assert client.retry(again.id, noting(ran, "return x * 7")).results() == [14, 1]


def test_a_call_runs_again_with_the_edited_function(client: Client, ran: Any) -> None:
    failing, fixed = noting(ran, FAILING), noting(ran, FIXED)
    before = client.submit(abs, -2)
    one, burst = client.submit(failing, before), [client.submit(failing, x) for x in [2] * 40]
    mapped = client.map(failing, [1, 2])[1]
    for future in (one, *burst, mapped):
        assert isinstance(future.exception(60), ZeroDivisionError)

    assert one.retry(fixed).result(60) == 100
    assert client.retry(one.id, fixed).result(60) == 100
    assert burst[-1].retry(fixed).result(60) == 100
    assert mapped.retry(fixed).result(60) == 100
    assert isinstance(mapped.retry().exception(60), ZeroDivisionError)
    with pytest.raises(TaskflowError, match="has not failed"):
        before.retry(fixed)


def test_a_map_that_was_retried_with_an_edited_function_is_remembered_as_such(
    client: Client, ran: Any
) -> None:
    memo = client.options(memo=True)
    memo.map(noting(ran, FAILING), [1, 2]).wait().retry_failed(noting(ran, FIXED)).wait()
    ran()

    assert memo.map(noting(ran, FIXED), [1, 2]).results() == [-1, 100]
    assert ran() == ["1"], "what it was given is of the version before"


def test_an_edited_function_is_refused_where_others_follow(tmp_path: Path, ran: Any) -> None:
    with Client(mode="inline") as client:
        flow = taskflow.Workflow()
        mapped = flow.map(noting(ran, FAILING), [1, 2], name="m")
        flow.add(list, mapped, name="l")
        run = flow.run(client).wait()

        with pytest.raises(UsageError, match="is a step of a larger run"):
            run.nodes["m"].retry_failed(noting(ran, FIXED))
        with pytest.raises(UsageError, match="this is WorkflowRun"):
            client.retry(run, noting(ran, FIXED))


def test_what_has_not_ended_is_not_retried(tmp_path: Path) -> None:
    with Client(f"sqlite:///{tmp_path}/runs.db", workers=1) as client:
        blocked = client.options(queue="nobody").map(abs, [1])

        with pytest.raises(UsageError, match="has not ended"):
            blocked.retry_failed(abs)
        blocked.cancel()


CELL = """
import sys
import zlib
from taskflow import Client, Workflow

LIMIT = {{"small", "medium", "large"}}
NOTED = sys.argv[2]
{blank}
def helper(x):{comment}
    return x if "small" in LIMIT else -x

def work(x):
    with open(NOTED, "a") as file:
        print(x, file=file)
    return helper(x) {body}

if __name__ == "__main__":
    with Client(sys.argv[1], workers=1) as client:
        print(client.options(memo={memo!r}).map(work, [1, 2, 3]).results())
        print(client.options(memo={memo!r}).submit(work, 1).result())
        flow = Workflow(memo=True)
        flow.add(sum, flow.map(work, flow.add(range, 5, 7), name="map"), name="sum")
        print(flow.run(client).result())
"""


def test_another_process_finds_the_results_after_edits_that_change_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    noted = tmp_path / "noted"

    def kernel(number: int, **changes: Any) -> tuple[str, int]:
        script = tmp_path / f"kernel_{number}.py"
        script.write_text(CELL.format(**{"blank": "", "comment": "", "body": "* 2", "memo": True} | changes))
        noted.write_text("")
        done = subprocess.run(
            [sys.executable, str(script), f"sqlite:///{tmp_path / 'runs.db'}", str(noted)],
            env={**os.environ, "PYTHONHASHSEED": str(number)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout, len(noted.read_text().split())

    assert kernel(1) == ("[2, 4, 6]\n2\n22\n", 6)
    assert kernel(2, blank="\n" * 9, comment="  # as it is") == ("[2, 4, 6]\n2\n22\n", 0)
    assert kernel(3, body="* 3", memo="edited") == ("[2, 4, 6]\n2\n33\n", 2)
    assert kernel(4, body="* 3") == ("[3, 6, 9]\n3\n33\n", 4)


def test_workflows_of_such_a_client_remember_their_steps(tmp_path: Path, ran: Any) -> None:
    with opened(tmp_path, workers=1) as client:
        for lines in (0, 30):
            flow = taskflow.Workflow("flow")
            flow.add(noting(ran, "# more\n    " * lines + "return x + 1"), 1, name="a")
            assert flow.run(client.options(memo=True)).gather() == {"a": 2}
        assert ran() == ["1"]
        with pytest.raises(ConfigError, match="memo=True"):
            flow.run(client.options(memo="edited"))


def test_each_worker_is_asked_for_itself(tmp_path: Path) -> None:
    with opened(tmp_path, workers=1) as client:
        assert client.submit(abs, -1).result() == 1
        until(client._engine.store.workers)
        for _ in range(2):
            (pid,) = client.options(memo=True).run(os.getpid).values()
        assert [run.meta for run in client._engine.store.runs()] == [{}, {}, {}]
        assert pid != os.getpid()
