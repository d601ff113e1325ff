"""Graphs of Dask on workers of taskflow: the same results, in one run, kept when the process is killed."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskflow import Client, WorkflowRun
from taskflow.errors import ConfigError, CycleError, GraphError, UnknownNode, UsageError, WorkerLost
from taskflow.hooks import using
from taskflow.states import State
from tests.acceptance.stage import ROOT, Script, processes_of, until

dask = pytest.importorskip("dask")
pd = pytest.importorskip("pandas")
np = pytest.importorskip("numpy")
pytest.importorskip("pyarrow")  # without it there are no DataFrames of Dask

import dask.array as da  # noqa: E402
import dask.bag as db  # noqa: E402
import dask.dataframe as dd  # noqa: E402
from dask import delayed  # noqa: E402

from taskflow.contrib.dask import get, scheduler, submit  # noqa: E402

ROWS = pd.DataFrame({"k": np.arange(120) % 7, "x": np.arange(120.0), "y": np.arange(120)[::-1]})


@pytest.fixture
def frame() -> Any:
    return dd.from_pandas(ROWS, npartitions=5)


@pytest.fixture(autouse=True)
def _here(client: Client) -> Iterator[None]:
    with using(client), dask.config.set(scheduler=None):
        yield


def newest(client: Client) -> Any:
    """The run that was sent last, with its nodes."""
    store = client._engine.store
    return store.snapshot(store.runs(limit=1)[0].id)[0]


def noted(path: str, word: str, value: Any, *_: Any) -> Any:
    """A value, after a line in a file."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{word}\n")
    return value


def lines(path: Path) -> Counter[str]:
    return Counter(path.read_text(encoding="utf-8").split()) if path.exists() else Counter()


# ── the same results ─────────────────────────────────────────────────────────────────


def test_a_client_is_a_scheduler_of_dask(client: Client, frame: Any) -> None:
    squares = da.arange(10, chunks=4) ** 2

    assert dask.compute(delayed(pow)(2, 5), scheduler=client) == (32,)
    assert squares.sum().compute(scheduler=client) == 285
    assert frame.x.sum().compute(scheduler=client) == ROWS.x.sum()


def test_a_groupby_gives_what_pandas_gives(frame: Any) -> None:
    found = frame.groupby("k").agg({"x": ["sum", "mean"], "y": "max"}).compute(scheduler=get)

    wanted = ROWS.groupby("k").agg({"x": ["sum", "mean"], "y": "max"})
    pd.testing.assert_frame_equal(found.sort_index(), wanted, check_dtype=False)


def test_a_merge_gives_what_pandas_gives(frame: Any) -> None:
    other = dd.from_pandas(ROWS[::3], npartitions=4)

    found = frame.merge(other, on="k").compute(scheduler=get)

    wanted = ROWS.merge(ROWS[::3], on="k")
    by = list(wanted.columns)
    pd.testing.assert_frame_equal(
        found.sort_values(by).reset_index(drop=True), wanted.sort_values(by).reset_index(drop=True)
    )


def test_a_shuffle_goes_through_the_store_and_not_through_files_of_a_process(
    client: Client, frame: Any
) -> None:
    found = frame.shuffle("k").map_partitions(lambda part: part.k.drop_duplicates()).compute(scheduler=get)

    assert sorted(found) == list(range(7)), "each key is in one partition"
    assert any("shuffle" in node.label for node in newest(client).nodes)
    assert not any("partd" in node.label for node in newest(client).nodes)


def test_arrays_bags_and_delayed_calls_give_what_they_give_elsewhere() -> None:
    a = np.arange(36.0).reshape(6, 6)
    product = da.from_array(a, chunks=2) @ da.from_array(a.T, chunks=2)
    words = db.from_sequence(["a b", "b c", "c b"], npartitions=2).str.split().flatten()
    both = delayed(sorted)([delayed(abs)(-3), 1, {"b": delayed(abs)(-2)}["b"]])

    assert np.array_equal(product.compute(scheduler=get), a @ a.T)
    assert dict(words.frequencies().compute(scheduler=get)) == {"a": 1, "b": 3, "c": 2}
    assert dask.compute(both, {"n": [delayed(len)("four")]}, scheduler=get) == ([1, 2, 3], {"n": [4]})


def test_a_graph_of_tuples_gives_values_in_the_nesting_of_its_keys(client: Client) -> None:
    graph = {"x": 1, "y": "x", "z": (sum, ["x", "y", (max, 2, 3)])}

    assert get(graph, "z", client) == 5
    assert get(graph, [["z", "y"], ["x"]], client) == ((5, 1), (1,))


def test_it_is_the_scheduler_of_all_that_follows(frame: Any) -> None:
    with dask.config.set(scheduler=get):
        assert frame.x.max().compute() == 119
        assert dask.persist(da.ones(4, chunks=2))[0].sum().compute() == 4


# ── one run ──────────────────────────────────────────────────────────────────────────


def test_the_whole_graph_is_one_run_with_names_a_person_can_read(client: Client, frame: Any) -> None:
    run = submit(frame.groupby("k").x.sum(), name="sums")

    view = run.progress
    assert (view.id, view.name) == (newest(client).id, "sums")
    assert [node.label for node in view.nodes] == [*["chunk"] * 5, "sum-tree"], "a layer is one stage"
    assert len({node.fn for node in view.nodes}) == 2, "… and shares one function"
    assert list(run.nodes) == [*(f"chunk {i}" for i in range(5)), "sum-tree 0"]
    assert run.result("chunk 0").to_dict() == ROWS[:24].groupby("k").x.sum().to_dict()


def test_a_chain_of_tasks_is_one_node_unless_each_is_to_be_kept(client: Client) -> None:
    value = delayed(0)
    for _ in range(50):
        value = delayed(lambda x: x + 1)(value)

    assert value.compute(scheduler=get) == 50
    assert len(newest(client).nodes) == 1
    assert value.compute(scheduler=get, fuse=False) == 50
    assert len(newest(client).nodes) == 50


def test_large_data_is_stored_once(tmp_path: Path, client: Client) -> None:
    data = np.random.default_rng(1).random(500_000)
    folder = Path(client.url.removeprefix("sqlite:///")).parent
    before = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

    total = delayed(sum)([delayed(lambda part, n: float(part[n]))(delayed(data), n) for n in range(8)])

    assert total.compute(scheduler=get) == pytest.approx(data[:8].sum())
    grown = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) - before
    assert data.nbytes <= grown < 2 * data.nbytes


def test_a_handle_gives_the_value_in_the_shape_of_the_collection(client: Client, frame: Any) -> None:
    run = submit(frame.groupby("k").y.min(), client=client, name="least")

    assert isinstance(run, WorkflowRun)
    pd.testing.assert_series_equal(run.result(), ROWS.groupby("k").y.min())
    pd.testing.assert_series_equal(client.attach("least").result(), ROWS.groupby("k").y.min())
    assert submit(delayed([delayed(abs)(-1), {"b": 2}]), client=client).result() == [1, {"b": 2}]


# ── what fails, and how it is treated ────────────────────────────────────────────────


def test_a_failure_is_the_original_exception_and_names_its_task() -> None:
    def parse(text: str) -> int:
        return int(text)

    with pytest.raises(ValueError, match="'two'") as caught:
        delayed(sum)([delayed(parse)("1"), delayed(parse)("two")]).compute(scheduler=get)

    assert any(note.startswith("in the Dask task parse-") for note in caught.value.__notes__)


def test_a_failure_in_a_large_graph_is_told_as_well() -> None:
    many = [delayed(divmod)(1, n, dask_key_name=("ratio", n)) for n in reversed(range(600))]

    with pytest.raises(ZeroDivisionError) as caught:
        delayed(len)(many).compute(scheduler=get)

    assert "in the Dask task ('ratio', 0)" in caught.value.__notes__


def test_a_lost_process_is_told_with_its_layer() -> None:
    with pytest.raises(WorkerLost) as caught:
        delayed(str)(delayed(os._exit)(3)).compute(scheduler=get, max_deliveries=1, fuse=False)

    assert "in the Dask task of 'exit'" in caught.value.__notes__


def test_annotations_are_options_of_their_layers(client: Client, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def flaky(path: str) -> int:
        with Path(path).open("a") as file:
            file.write("try\n")
        if Path(path).read_text().count("try") < 3:
            raise OSError("not yet")
        return 7

    with dask.annotate(retries=4):
        often = delayed(flaky)(str(log))
    with dask.annotate(queue="elsewhere", priority=9, workers=["tcp://there"]):
        away = delayed(abs)(-1)

    assert often.compute(scheduler=get) == 7
    run = submit(delayed(max)(away, 5), client=client, retries=0)
    queues = {node.label: (node.queue, node.priority) for node in run.progress.nodes}
    run.cancel()
    assert queues == {"abs": ("elsewhere", 9), "max": ("default", 0)}


def test_what_is_wrong_is_said_before_anything_is_stored(client: Client) -> None:
    before = newest(client).id

    for graph, error in [
        ({"y": (abs, ["x", (abs, "y")])}, CycleError),
        ({"x": (abs, 1)}, UnknownNode),
    ]:
        with pytest.raises(error):
            get(graph, "y", client)
    with pytest.raises(ConfigError, match="'queue'"):
        get({"y": (abs, 1)}, "y", client, queu="fast")
    with pytest.raises(UsageError, match="delayed"):
        submit([1, 2], client=client)
    with pytest.raises(GraphError, match=r"dataframe\.shuffle\.method"):
        db.range(10, 2).groupby(lambda x: x % 2).compute(scheduler=get)
    assert newest(client).id == before


# ── found again ──────────────────────────────────────────────────────────────────────


def test_what_a_name_has_computed_is_there_at_once(client: Client, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    named = scheduler(client, name="parts")

    def total(*parts: int) -> Any:
        return delayed(sum)([delayed(noted)(log, f"part{n}", n) for n in parts])

    first, again, more = (total(*parts).compute(scheduler=named) for parts in [(1, 2), (1, 2), (1, 2, 3)])

    assert (first, again, more) == (3, 3, 6)
    assert lines(Path(log)) == {"part1": 1, "part2": 1, "part3": 1}, "what is new ran, and nothing else"
    assert total(1, 2).compute(scheduler=named, resume=False) == 3
    assert lines(Path(log))["part1"] == 2


def test_a_key_names_one_run_as_anywhere(client: Client, frame: Any) -> None:
    first, again = (frame.x.sum().compute(scheduler=get, key="sum of today") for _ in range(2))
    run = newest(client).id

    third = frame.x.sum().compute(scheduler=get, key="sum of today")

    assert first == again == third == ROWS.x.sum()
    assert newest(client).id == run


def test_two_calls_that_do_the_same_are_still_two(client: Client, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    twice = delayed(sum)([delayed(noted)(log, "one", 1) for _ in range(2)])

    assert twice.compute(scheduler=scheduler(client, name="twice")) == 2
    assert lines(Path(log)) == {"one": 2}


def test_of_what_failed_only_the_rest_runs_when_it_is_mended(client: Client, tmp_path: Path) -> None:
    log = str(tmp_path / "log")

    def ratio(by: int) -> Any:
        return delayed(lambda parts, by: sum(parts) / by)(
            [delayed(noted)(log, f"p{n}", n) for n in (1, 2)], by
        )

    with pytest.raises(ZeroDivisionError):
        ratio(0).compute(scheduler=get, name="ratio")
    found = ratio(2).compute(scheduler=get, name="ratio")

    assert found == 1.5
    assert lines(Path(log)) == {"p1": 1, "p2": 1}


def test_what_was_retried_is_found_as_well_and_each_node_by_its_name(client: Client, tmp_path: Path) -> None:
    gate, log = tmp_path / "gate", str(tmp_path / "log")

    def part(n: int, gate: Path = gate) -> int:
        if n and not gate.exists():
            raise OSError(n)
        return n

    total = delayed(noted)(log, "total", 1, [delayed(part)(n, dask_key_name=("part", n)) for n in range(3)])
    with pytest.raises(OSError):
        total.compute(scheduler=get, name="retried", on_failure="continue")
    gate.touch()
    again = client.attach("retried").retry_failed()

    assert again.result("noted") == 1
    assert {name: again.result(name) for name in again.nodes if name != "noted"} == {
        f"part {n}": n for n in range(3)
    }
    assert client.attach(again.id).names == again.names
    assert total.compute(scheduler=get, name="retried") == 1
    assert lines(Path(log)) == {"total": 1}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_that_was_written_anew_is_read_anew(client: Client, tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / f"rows.{kind}")

    def total(*values: int) -> tuple[int, str]:
        if values:
            getattr(pd.DataFrame({"x": values}), f"to_{kind}")(path)
        run = submit(getattr(dd, f"read_{kind}")(path).x.sum(), client=client, name=f"total of {kind}")
        return int(run.result()), run.id

    first, again, other = total(1, 2), total(), total(1, 2, 3)

    assert [first[0], other[0]] == [3, 6]
    assert again == first


def test_the_guide_runs_as_printed(client: Client) -> None:
    guide = (ROOT / "docs" / "dask-graphs.md").read_text(encoding="utf-8")
    session: dict[str, Any] = {"client": client}

    exec("\n".join(re.findall(r"```python\n(.*?)```", guide, re.DOTALL)), session)

    assert session["means"].to_dict() == session["rows"].groupby("city").price.mean().to_dict()
    assert session["total"] == session["again"] == sum(range(100))
    assert session["highest"].to_dict() == {"Lima": 99, "Oslo": 97, "Rome": 98}


SCRIPT = """
import sys, pathlib, time
import dask, pandas as pd, dask.dataframe as dd
from dask import delayed
import taskflow
from taskflow.contrib.dask import get

here = pathlib.Path(sys.argv[1])

def note(word):
    with (here / "log").open("a") as file:
        file.write(word + "\\n")

def load(n):
    note(f"load{n}")
    return pd.DataFrame({"k": [n % 2] * 3, "x": [n, n, n]})

def slow(part):
    note("slow")
    while not (here / "gate").exists():
        time.sleep(0.01)
    return part

if __name__ == "__main__":
    with taskflow.Client(workers=2) as client:
        meta = pd.DataFrame({"k": [1], "x": [1]})
        with dask.config.set({"dataframe.convert-string": False}):
            loads = dd.from_delayed([delayed(load)(n) for n in range(4)], meta=meta, verify_meta=False)
            total = loads.groupby("k").x.sum().map_partitions(slow, meta=("x", "i8"))
            found = total.compute(scheduler=get, name="night", client=client)
        print(found.to_dict())
"""

Run = Callable[[], Script]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts the script; what is left of it ends with the test."""
    started: list[Script] = []

    def start() -> Script:
        started.append(Script(tmp_path, SCRIPT, str(tmp_path)))
        return started[-1]

    yield start
    for script in started:
        script.stop()
        until(lambda url=script.url: not processes_of(url), 10)  # type: ignore[misc]


def test_a_killed_process_loses_nothing_that_was_done(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = run()
    until(lambda: lines(log)["slow"] == 1)

    first.process.kill()
    first.process.wait(10)
    (tmp_path / "gate").touch()
    code, out, err = run().end()

    assert (code, out.strip(), err) == (0, "{0: 6, 1: 12}", "")
    with Client(first.url, workers=0) as client:
        assert len(client.runs()) == 1, "it is the run of the first, which went on"
    assert {word: count for word, count in lines(log).items() if word != "slow"} == {
        f"load{n}": 1 for n in range(4)
    }


def test_ctrl_c_cancels_the_run_and_the_next_call_goes_on_with_it(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = run()
    until(lambda: lines(log)["slow"] == 1)

    first.process.send_signal(signal.SIGINT)
    _, _, err = first.end()
    with Client(first.url, workers=0) as client:
        state = newest(client).state
    (tmp_path / "gate").touch()
    code, out, _ = run().end()

    assert "KeyboardInterrupt" in err
    assert state is State.CANCELLED
    assert (code, out.strip()) == (0, "{0: 6, 1: 12}")
    assert all(lines(log)[f"load{n}"] == 1 for n in range(4))
