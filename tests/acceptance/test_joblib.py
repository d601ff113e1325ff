"""joblib's `Parallel`, run by the workers of a client: what it gives, what it is like when it fails."""

from __future__ import annotations

import gc
import math
import os
import re
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from multiprocessing import TimeoutError as ParallelTimedOut
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed, effective_n_jobs, parallel_config

import taskflow
import taskflow.contrib.joblib
from taskflow import Client
from taskflow.contrib.joblib import TaskflowBackend
from taskflow.errors import CannotPickle, ConfigError, TaskCancelled, UsageError
from taskflow.hooks import using
from taskflow.states import State
from tests.acceptance.stage import Script, opened, run_script, until
from tests.servers import running


@pytest.fixture(autouse=True)
def _on_workers(client: Client) -> Iterator[None]:
    """Each test is inside of such a context, as programs are."""
    with parallel_config("taskflow", client=client):
        yield


def square(x: int) -> int:
    return x * x


def where() -> int:
    return os.getpid()


def picky(x: int) -> int:
    if x == 3:
        raise ValueError(f"not {x}")
    return x


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.005)


def meet(folder: Path, name: int, others: int = 2) -> int:
    """Return when so many are here: they run at once."""
    (folder / f"{os.getpid()}-{threading.get_ident()}-{name}").touch()
    end = time.monotonic() + 30
    while len(list(folder.iterdir())) < others:
        assert time.monotonic() < end
        time.sleep(0.005)
    return name


def newest(client: Client) -> Any:
    """The newest run that was sent by the client."""
    return client._engine.store.runs(limit=1)[0]


# ── what it gives ────────────────────────────────────────────────────────────────────


def test_results_come_in_order_from_other_processes() -> None:
    assert Parallel()(delayed(square)(x) for x in range(50)) == [x * x for x in range(50)]
    assert os.getpid() not in Parallel()(delayed(where)() for _ in range(10))


def test_the_backend_can_be_named_in_the_parallel_itself(client: Client) -> None:
    with using(client):
        assert Parallel(n_jobs=2, backend="taskflow")(delayed(square)(x) for x in range(5)) == [
            0,
            1,
            4,
            9,
            16,
        ]
        assert Parallel(n_jobs=2, backend=TaskflowBackend(client))([delayed(square)(3)]) == [9]


def test_closures_and_functions_of_several_kinds_travel_together() -> None:
    base = 7

    assert Parallel()([delayed(lambda x: x + base)(1), delayed(square)(2), delayed(max)(3, 4)]) == [8, 4, 4]


def test_two_calls_run_at_once(tmp_path: Path) -> None:
    assert Parallel(n_jobs=2, timeout=60)(delayed(meet)(tmp_path, x) for x in range(2)) == [0, 1]


def test_nothing_to_do_is_an_empty_list() -> None:
    assert Parallel(n_jobs=2)(iter(())) == []


def test_a_parallel_call_is_one_run_with_an_item_for_each_call(client: Client) -> None:
    Parallel(batch_size=4)(delayed(square)(x) for x in range(30))

    run = newest(client)
    assert (run.name, run.state) == ("square", State.SUCCEEDED)
    assert [node.width for node in nodes(client)] == [1, 30]  # beside it stands who adds to it


def test_one_parallel_can_be_called_again_and_again(client: Client) -> None:
    with Parallel(n_jobs=2) as parallel:
        first = parallel(delayed(square)(x) for x in range(5))
        with pytest.raises(ValueError, match="not 3"):
            parallel(delayed(picky)(x) for x in range(5))
        again = parallel(delayed(square)(x) for x in range(5))

    assert first == again == [0, 1, 4, 9, 16]


def test_options_of_the_calls_are_options_of_the_backend(client: Client, tmp_path: Path) -> None:
    def second_time() -> str:
        mark = tmp_path / "was here"
        if not mark.exists():
            mark.touch()
            raise OSError("not yet")
        return "done"

    with parallel_config("taskflow", client=client, retry=2, label="patient"):
        assert Parallel(n_jobs=2)([delayed(second_time)()]) == ["done"]

    assert newest(client).name == "patient"


def test_quick_calls_are_sent_in_ever_larger_batches() -> None:
    parallel = Parallel(n_jobs=2)

    parallel(delayed(square)(x) for x in range(3000))

    assert parallel.n_dispatched_batches < 500


def test_no_more_is_read_than_pre_dispatch_says(tmp_path: Path) -> None:
    read: list[int] = []
    gate = tmp_path / "gate"

    def calls() -> Iterator[Any]:
        for x in range(20):
            read.append(x)
            if x == 6:
                gate.touch()
            yield delayed(wait_for)(gate if x >= 4 else tmp_path)

    Parallel(n_jobs=2, pre_dispatch=5, batch_size=1)(calls())

    assert read == list(range(20))
    read.clear()
    gate.unlink()
    pending = Parallel(n_jobs=2, pre_dispatch=3, batch_size=1, return_as="generator")(
        delayed(wait_for)(gate)
        for x in range(20)
        if not read.append(x)  # type: ignore[func-returns-value]
    )
    assert len(read) == 3
    gate.touch()
    assert len(list(pending)) == 20


# ── how many ─────────────────────────────────────────────────────────────────────────


def test_as_many_run_as_the_client_has_slots(client: Client) -> None:
    assert [effective_n_jobs(n) for n in (-1, None, 1, 2, 8, -2, -8)] == [2, 2, 1, 2, 2, 1, 1]
    with pytest.raises(ValueError, match="no meaning"):
        effective_n_jobs(0)


def test_fewer_run_at_once_when_fewer_are_asked_for(client: Client, tmp_path: Path) -> None:
    client.scale(3)
    try:
        Parallel(n_jobs=2)(delayed(square)(x) for x in range(4))
        (node,) = [n for n in client._engine.store.snapshot(newest(client).id)[0].nodes if n.width == 4]
        assert client._engine.store.call(node.id).policy.max_parallel == 2
    finally:
        client.scale(2)


def test_one_job_is_done_here(client: Client) -> None:
    assert Parallel(n_jobs=1)(delayed(where)() for _ in range(2)) == [os.getpid()] * 2


def test_an_inline_client_does_all_here() -> None:
    with Client(mode="inline") as inline, parallel_config("taskflow", client=inline):
        assert Parallel()(delayed(where)() for _ in range(2)) == [os.getpid()] * 2


# ── one after another ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_results_are_had_while_others_are_still_to_come(return_as: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def late(x: int) -> int:
        if x == 5:
            wait_for(gate)
        return x

    results = Parallel(n_jobs=2, return_as=return_as, batch_size=1)(delayed(late)(x) for x in range(8))

    first = [next(results) for _ in range(5)]
    gate.touch()
    rest = list(results)
    assert sorted(first + rest) == list(range(8))
    assert return_as == "generator_unordered" or first + rest == list(range(8))


def test_a_generator_that_nobody_wants_any_more_cancels_the_rest(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "never"
    results = Parallel(n_jobs=2, return_as="generator", batch_size=1)(
        delayed(wait_for)(gate if x else tmp_path) for x in range(9)
    )
    next(results)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joblib tells how many were not used
        del results
        gc.collect()

    until(lambda: newest(client).state is State.CANCELLED)


def test_memory_stays_as_it_is_while_a_generator_runs(client: Client) -> None:
    results = Parallel(n_jobs=2, return_as="generator_unordered")(delayed(square)(x) for x in range(4000))

    for _ in range(3900):
        next(results)
    call = results.gi_frame.f_locals["self"]._backend._call

    assert len(call.run._waiting) <= 100
    assert len(list(results)) == 100


# ── what goes wrong ──────────────────────────────────────────────────────────────────


def test_an_exception_has_the_traceback_of_the_worker(client: Client) -> None:
    with pytest.raises(ValueError, match="not 3") as caught:
        Parallel(n_jobs=2)(delayed(picky)(x) for x in range(9))

    assert 'raise ValueError(f"not {x}")' in "".join(traceback.format_exception(caught.value))


def test_with_frames_a_debugger_finds_the_variables_of_the_worker(client: Client) -> None:
    with (
        parallel_config("taskflow", client=client, frames=True),
        pytest.raises(ValueError, match="not 3") as caught,
    ):
        Parallel(n_jobs=2)(delayed(picky)(x) for x in range(9))

    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert (frames[-1].f_code.co_name, frames[-1].f_locals["x"]) == ("picky", 3)


def test_the_first_failure_cancels_the_others(client: Client, tmp_path: Path) -> None:
    def fails_or_waits(x: int) -> None:
        if x == 1:
            raise KeyError("no such key")
        wait_for(tmp_path / "never")

    with pytest.raises(KeyError, match="no such key"):
        Parallel(n_jobs=2, batch_size=1)(delayed(fails_or_waits)(x) for x in range(20))

    until(lambda: newest(client).state in (State.CANCELLED, State.FAILED))
    until(lambda: not any(i.state is State.RUNNING for n in nodes(client) for i in items(client, n)))


def nodes(client: Client) -> list[Any]:
    return list(client._engine.store.snapshot(newest(client).id)[0].nodes)


def items(client: Client, node: Any) -> list[Any]:
    return list(client._engine.store.items(node.id))


def test_what_takes_longer_than_the_timeout_is_cancelled(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ParallelTimedOut):
        Parallel(n_jobs=2, timeout=0.2)(delayed(wait_for)(tmp_path / "never") for _ in range(4))

    until(lambda: newest(client).state is State.CANCELLED)


def test_an_argument_that_cannot_travel_is_named() -> None:
    with pytest.raises(CannotPickle, match="lock"):
        Parallel(n_jobs=2)(delayed(repr)(x if x < 2 else threading.Lock()) for x in range(5))


def test_what_the_iterator_raises_is_raised() -> None:
    def calls() -> Iterator[Any]:
        yield from (delayed(square)(x) for x in range(10))
        raise RuntimeError("no more of that")

    with pytest.raises(RuntimeError, match="no more of that"):
        Parallel(n_jobs=2)(calls())


def test_a_run_that_somebody_else_cancels_ends_the_parallel(client: Client, tmp_path: Path) -> None:
    results = Parallel(n_jobs=2, return_as="generator")(
        delayed(wait_for)(tmp_path / "never") for _ in range(2)
    )
    client.cancel(newest(client).id)

    with pytest.raises(TaskCancelled):
        next(results)


def test_a_worker_that_is_killed_costs_nothing_but_time(client: Client, tmp_path: Path) -> None:
    def dies_once(x: int) -> int:
        if x == 7 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    assert Parallel(n_jobs=2)(delayed(dies_once)(x) for x in range(40)) == list(range(40))
    assert (tmp_path / "died").exists()


def test_a_worker_process_that_is_killed_is_started_anew(tmp_path: Path) -> None:
    with opened(tmp_path) as client, parallel_config("taskflow", client=client):
        results = Parallel(n_jobs=2, return_as="generator", batch_size=1)(
            delayed(square)(x) for x in range(300)
        )
        first = [next(results) for _ in range(20)]
        os.kill(client._engine.crew._process.pid, signal.SIGKILL)

        assert first + list(results) == [x * x for x in range(300)]


def test_unknown_options_name_the_nearest(client: Client) -> None:
    with pytest.raises(ConfigError, match="retry"):
        parallel_config("taskflow", client=client, retyr=3)
    with pytest.raises(ConfigError, match="key= is not for the calls"):
        parallel_config("taskflow", client=client, key="one")
    with pytest.raises(ConfigError, match="unique= is not for the calls"):
        Parallel(n_jobs=2, backend=TaskflowBackend(client), unique=True)([delayed(square)(1)])
    with pytest.raises(ConfigError, match="not both"):
        taskflow.contrib.joblib.register(client, workers=3)


def test_ctrl_c_cancels_what_runs(tmp_path: Path) -> None:
    script = Script(
        tmp_path,
        """
import time, joblib, taskflow
import taskflow.contrib.joblib

def begin(x):
    open(f"began{x}", "w").close()
    time.sleep(60)

client = taskflow.Client(workers=2)
try:
    with joblib.parallel_config("taskflow", client=client):
        joblib.Parallel(n_jobs=2)(joblib.delayed(begin)(x) for x in range(6))
except KeyboardInterrupt:
    (run,) = client._engine.store.runs(limit=9)
    print(client.attach(run.id).wait(30, progress=False).state)
    client.shutdown(wait=False)
""",
    )
    try:
        until(lambda: (tmp_path / "began0").exists() and (tmp_path / "began1").exists())
        script.process.send_signal(signal.SIGINT)
        code, out, err = script.end()
    finally:
        script.stop()

    assert (code, "cancelled" in out) == (0, True), (out, err)


# ── inside of each other ─────────────────────────────────────────────────────────────


def test_a_parallel_inside_a_call_runs_in_threads_and_below_that_in_sequence() -> None:
    def names(level: int) -> list[Any]:
        backend = joblib.parallel.get_active_backend()[0]
        below = Parallel(n_jobs=2)(delayed(names)(level - 1) for _ in range(1)) if level else []
        return [type(backend).__name__, *[name for some in below for name in some]]

    (found,) = Parallel(n_jobs=2)([delayed(names)(2)])

    assert found == ["ThreadingBackend", "SequentialBackend", "SequentialBackend"]


def test_a_parallel_inside_that_names_the_backend_is_run_by_the_same_workers(client: Client) -> None:
    def inner(x: int) -> int:
        parallel = Parallel(n_jobs=2, backend="taskflow")
        return sum(parallel(delayed(square)(x + i) for i in range(3)))

    found = Parallel(n_jobs=2, timeout=90)(delayed(inner)(x) for x in range(6))

    assert found == [sum((x + i) ** 2 for i in range(3)) for x in range(6)]


def test_numeric_libraries_have_the_threads_they_are_given(client: Client) -> None:
    def threads() -> set[int]:
        from threadpoolctl import threadpool_info

        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with parallel_config("taskflow", client=client, inner_max_num_threads=1):
        assert Parallel(n_jobs=2)([delayed(threads)()]) == [{1}]


def test_an_initializer_is_called_once_in_each_process() -> None:
    def initialize(by: int) -> None:
        math.told = getattr(math, "told", 0) + by  # type: ignore[attr-defined]

    def told() -> int:
        return int(math.told)  # type: ignore[attr-defined]

    found = Parallel(n_jobs=2, initializer=initialize, initargs=(2,), batch_size=1)(
        delayed(told)() for _ in range(20)
    )

    assert set(found) == {2}


def test_what_the_calls_print_and_warn_of_is_printed_here(capsys: pytest.CaptureFixture[str]) -> None:
    def speak(x: int) -> None:
        print("said", x)
        warnings.warn(f"beware of {x}", stacklevel=1)

    Parallel(n_jobs=2)(delayed(speak)(x) for x in range(3))

    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("said")] == ["said 0", "said 1", "said 2"]
    assert "UserWarning: beware of 2" in out


def test_verbose_still_prints(capsys: pytest.CaptureFixture[str]) -> None:
    Parallel(n_jobs=2, verbose=1)(delayed(square)(x) for x in range(4))

    err = capsys.readouterr().err
    assert "Using backend TaskflowBackend with 2 concurrent workers" in err
    assert "Done   4 out of   4" in err


# ── large arguments ──────────────────────────────────────────────────────────────────


def blobs_of(client: Client) -> set[str]:
    """What large data the store of a client holds."""
    place = Path(client.url.removeprefix("sqlite:///") + ".d") / "blobs"
    return {path.name for path in place.rglob("*") if path.is_file() and path.stat().st_size > 100_000}


def test_a_large_array_is_stored_once_and_is_its_own_in_each_call(client: Client) -> None:
    data = np.arange(200_000.0)
    before = blobs_of(client)

    def change(array: Any, x: int) -> float:
        array[0] = x
        return float(array.sum())

    found = Parallel(n_jobs=2)(delayed(change)(data, x=x) for x in range(20))

    assert found == [data.sum() + x for x in range(20)]
    assert data[0] == 0
    assert len(blobs_of(client) - before) == 1


@pytest.mark.parametrize("kind", ["frame", "sparse", "list"])
def test_large_tables_matrices_and_lists_are_stored_once(kind: str, client: Client) -> None:
    from scipy import sparse

    pd = pytest.importorskip("pandas")
    made: dict[str, Callable[[], Any]] = {
        "frame": lambda: pd.DataFrame({"x": np.arange(60_000)}),
        "sparse": lambda: sparse.csr_matrix(np.ones((300, 300))),
        "list": lambda: [f"a text {x}" for x in range(20_000)],
    }
    data = made[kind]()
    before = blobs_of(client)

    found = Parallel(n_jobs=2)(delayed(kind_and_length)(data) for _ in range(10))

    assert found == [kind_and_length(data)] * 10
    assert len(blobs_of(client) - before) == 1


def kind_and_length(data: Any) -> tuple[str, Any]:
    return type(data).__name__, getattr(data, "shape", None) or len(data)


def test_arrays_that_differ_are_not_taken_for_each_other() -> None:
    found = Parallel(n_jobs=2)(delayed(np.sum)(np.full(10_000, x)) for x in range(30))

    assert found == [10_000 * x for x in range(30)]


def test_without_mapping_arrays_travel_with_each_call() -> None:
    data = np.arange(20_000.0)

    assert Parallel(n_jobs=2, max_nbytes=None)(delayed(np.sum)(data) for _ in range(3)) == [data.sum()] * 3


def test_calls_write_to_an_array_that_is_mapped_for_writing(tmp_path: Path) -> None:
    out = np.memmap(tmp_path / "out", dtype=float, shape=(4, 10), mode="w+")

    def fill(row: Any, x: int) -> None:
        row[:] = x

    Parallel(n_jobs=2)(delayed(fill)(out[x], x) for x in range(4))
    Parallel(n_jobs=2)([delayed(fill)(out[3, 5:], 7)])

    assert out.sum(axis=1).tolist() == [0, 10, 20, 50]
    with pytest.raises(UsageError, match="in several pieces"):
        Parallel(n_jobs=2)([delayed(fill)(out[:, 1], 7)])


# ── elsewhere ────────────────────────────────────────────────────────────────────────


def test_a_redis_store_serves_as_well() -> None:
    data = np.arange(100_000.0)
    for server in running("valkey"):
        with (
            Client(server.url) as nobody,
            parallel_config("taskflow", client=nobody),
            pytest.raises(UsageError, match="taskflow worker"),
        ):
            Parallel()(delayed(square)(x) for x in range(5))
        with Client(server.url, workers=2) as client, parallel_config("taskflow", client=client):
            assert Parallel()(delayed(square)(x) for x in range(50)) == [x * x for x in range(50)]
            assert Parallel()(delayed(np.sum)(data) for _ in range(9)) == [data.sum()] * 9
            with pytest.raises(ValueError, match="not 3"):
                Parallel()(delayed(picky)(x) for x in range(9))


def test_a_client_that_is_closed_ends_a_generator(tmp_path: Path) -> None:
    with opened(tmp_path) as client, parallel_config("taskflow", client=client):
        results = Parallel(n_jobs=2, return_as="generator", batch_size=1)(
            delayed(square)(x) for x in range(10_000)
        )
        assert next(results) == 0
        client.shutdown()

        with pytest.raises((RuntimeError, taskflow.errors.TaskflowError)), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            list(results)


def test_a_registered_client_is_the_one_of_the_backend(tmp_path: Path) -> None:
    out = run_script(
        tmp_path,
        """
import joblib, taskflow
import taskflow.contrib.joblib

taskflow.contrib.joblib.register(workers=2, make_default=True)
assert joblib.effective_n_jobs(-1) == 2
print(joblib.Parallel(n_jobs=-1)(joblib.delayed(abs)(-x) for x in range(4)))
print(type(joblib.parallel.get_active_backend()[0]).__name__)
print(type(joblib.parallel.get_active_backend(prefer="threads")[0]).__name__)
""",
    )

    assert out.splitlines() == ["[0, 1, 2, 3]", "TaskflowBackend", "ThreadingBackend"]


def test_the_examples_of_the_guide_are_true(client: Client) -> None:
    pytest.importorskip("sklearn")
    guide = Path(__file__).parents[2] / "docs" / "joblib.md"
    session: dict[str, Any] = {"__name__": "__main__"}

    with using(client):
        exec(
            "\n".join(re.findall(r"```python\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)),
            session,
        )

    session["client"].shutdown()
    assert session["areas"] == [0, 2, 4, 6]
    assert session["roots"] == [1.0, 2.0, 3.0]
    assert session["search"].best_params_ == {"max_depth": 3}
