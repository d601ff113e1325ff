"""Bars of tqdm: in a task they are seen by whoever watches it, around a map they know how long that is."""

from __future__ import annotations

import asyncio
import io
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

import taskflow
from taskflow import Client
from taskflow.errors import MissingExtra
from taskflow.observe.asking import answer
from taskflow.observe.progress import Progress
from tests.acceptance.stage import DEADLINE_S, opened, run_script, until

pytest.importorskip("tqdm", reason="tqdm is not installed: pip install -e '.[test]'")
tqdm = pytest.importorskip("tqdm").tqdm


def _wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.005)


def _said(future: Any) -> Progress:
    return future.progress or Progress()


def plain(gate: Path) -> int:
    from tqdm import tqdm

    done = 0
    for _ in tqdm(range(4), desc="rows", mininterval=0):
        done += 1
        if done == 3:
            _wait_for(gate)
    return done


def auto(gate: Path) -> int:
    from tqdm.auto import trange

    return sum(_waits(gate, n) for n in trange(4, desc="rows", mininterval=0))


def in_notebook(gate: Path) -> int:
    from tqdm.notebook import tqdm

    return sum(_waits(gate, n) for n in tqdm(range(4), desc="rows", mininterval=0))


def by_hand(gate: Path) -> int:
    from tqdm import tqdm

    with tqdm(total=4, desc="rows") as bar:
        bar.update(2)
        bar.refresh()
        _wait_for(gate)
        bar.update(2)
    return int(bar.n)


def global_bar(gate: Path) -> int:
    return sum(_waits(gate, n) for n in tqdm(range(4), desc="rows", mininterval=0))


def _waits(gate: Path, n: int) -> int:
    if n == 2:
        _wait_for(gate)
    return n


@pytest.mark.parametrize("fn", [plain, auto, in_notebook, by_hand, global_bar])
def test_a_bar_in_a_task_is_what_the_task_says_of_itself(
    client: Client, tmp_path: Path, fn: Callable[[Path], int]
) -> None:
    future = client.submit(fn, tmp_path / "gate")

    until(lambda: _said(future).done == 2)
    said = _said(future)

    assert (said.total, said.desc, said.share) == (4, "rows", 0.5)
    assert str(said).startswith("rows 2/4 (50%), rate ")
    (tmp_path / "gate").touch()
    assert future.result(DEADLINE_S) in (4, 6)
    assert future.logs == ""


@pytest.mark.parametrize("pool", ["thread", "async"])
def test_bars_of_tasks_in_one_process_do_not_meet(tmp_path: Path, pool: Any) -> None:
    def counts(gate: Path, total: int) -> int:
        from tqdm import trange

        return sum(_waits(gate, n) for n in trange(total, desc=f"of {total}", mininterval=0))

    with opened(tmp_path, pool=pool) as client:
        run = client.map(counts, [tmp_path / "gate"] * 2, [4, 5], chunksize=1)
        until(lambda: [_said(future).total for future in run.futures] == [4, 5])
        assert [_said(future).desc for future in run.futures] == ["of 4", "of 5"]
        (tmp_path / "gate").touch()
        assert list(run) == [6, 10]


def test_bars_within_a_bar_are_told_beside_it(client: Client, tmp_path: Path) -> None:
    def trains(folder: Path) -> None:
        from tqdm import tqdm, trange

        for epoch in trange(3, desc="epochs", mininterval=0):
            bar = tqdm(total=10, desc="batches", leave=False, mininterval=0)
            bar.set_postfix(loss=0.5)
            bar.update(epoch + 5)
            _wait_for(folder / f"inner{epoch}")
            bar.close()
            _wait_for(folder / f"outer{epoch}")

    future = client.submit(trains, tmp_path)

    until(lambda: _said(future).metrics.get("batches") == "5/10")
    assert (_said(future).done, _said(future).total, _said(future).desc) == (0, 3, "epochs")
    (tmp_path / "inner0").touch()
    until(lambda: "batches" not in _said(future).metrics)
    (tmp_path / "outer0").touch()
    until(lambda: _said(future).metrics.get("batches") == "6/10")
    assert _said(future).done == 1
    future.cancel()


def test_what_is_put_beside_a_bar_is_told(client: Client, tmp_path: Path) -> None:
    def reads(gate: Path) -> None:
        from tqdm import tqdm

        bar = tqdm(total=4096, unit="B", unit_scale=True, unit_divisor=1024)
        bar.set_postfix(loss=0.25, epoch=3)
        bar.update(1024)
        bar.refresh()
        _wait_for(gate)

    future = client.submit(reads, tmp_path / "gate")

    until(lambda: _said(future).metrics.get("rate"))
    said = _said(future)
    assert (said.done, said.total) == (1024, 4096)
    assert (said.metrics["loss"], said.metrics["epoch"]) == ("0.25", "3")
    assert said.metrics["rate"].endswith("B/s")
    (tmp_path / "gate").touch()


def test_one_bar_after_another_is_the_bar_of_the_task(client: Client, tmp_path: Path) -> None:
    def twice(gate: Path) -> None:
        from tqdm import tqdm

        list(tqdm(range(7), desc="first"))
        with tqdm(desc="second") as bar:
            bar.update(3)
            bar.refresh()
            _wait_for(gate)

    future = client.submit(twice, tmp_path / "gate")

    until(lambda: _said(future).desc == "second" and _said(future).done == 3)
    assert _said(future).total is None
    (tmp_path / "gate").touch()
    future.result(DEADLINE_S)


def test_the_output_of_a_task_has_one_line_for_a_long_bar_and_none_for_the_rest(client: Client) -> None:
    def works() -> None:
        from tqdm import tqdm, trange

        for _ in trange(12, desc="steps"):
            for _ in trange(20, desc="inner"):
                time.sleep(0.005)
        tqdm.write("that was it")

    future = client.submit(works)
    future.result(DEADLINE_S)

    first, second = future.logs.splitlines()
    assert first.startswith("steps: 100%")
    assert "12/12" in first
    assert second == "that was it"


def test_a_bar_that_is_drawn_into_a_file_of_its_own_is_left_alone(client: Client, tmp_path: Path) -> None:
    def writes(path: Path) -> None:
        from tqdm import tqdm

        with path.open("w", encoding="utf-8") as file:
            list(tqdm(range(3), desc="mine", file=file))
        list(tqdm(range(3), disable=True))

    client.submit(writes, tmp_path / "bar").result(DEADLINE_S)

    assert "mine: 100%" in (tmp_path / "bar").read_text(encoding="utf-8")


def test_bars_of_a_task_that_fails_harm_nobody(client: Client) -> None:
    def fails(x: int) -> int:
        from tqdm import tqdm

        for n in tqdm(range(3)):
            if n == 1 and x % 2:
                raise ValueError("no")
        return x

    found = client.map(fails, range(20)).results(errors="return")

    assert [type(one).__name__ for one in found] == ["int", "ValueError"] * 10


def test_bars_are_seen_in_the_table_of_a_run(client: Client, tmp_path: Path) -> None:
    run = client.map(plain, [tmp_path / "gate"])
    until(lambda: _said(run.futures[0]).done == 2)

    rows = answer(client._engine.store, run.id, {"what": "rows"}, lambda _: None)["rows"]

    assert rows[0]["doing"]["share"] == 0.5
    assert rows[0]["doing"]["text"].startswith("rows 2/4")
    (tmp_path / "gate").touch()
    assert list(run) == [4]


def test_a_child_that_needs_no_bars_does_not_load_them(tmp_path: Path) -> None:
    def loaded() -> list[str]:
        return [name for name in sys.modules if name == "tqdm" or name.startswith("tqdm.")]

    with opened(tmp_path, workers=1) as client:
        assert client.submit(loaded).result(DEADLINE_S) == []


def test_outside_of_taskflow_a_task_has_its_plain_bar(tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    code = f"from tests.acceptance.test_tqdm import *; print(plain(Path({str(tmp_path / 'gate')!r})))"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == "4"
    assert "rows: 100%" in done.stderr


# ── around maps ──────────────────────────────────────────────────────────────────────


class Bar(tqdm):  # type: ignore[misc, valid-type]
    """Notes that it was made, and draws nothing."""

    made: ClassVar[list[Bar]] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"file": io.StringIO()})
        Bar.made.append(self)


def test_a_bar_around_a_map_knows_how_long_it_is(client: Client) -> None:
    bar = Bar(client.map(abs, range(-50, 0)))

    assert list(bar) == list(range(50, 0, -1))
    assert (bar.total, bar.n) == (50, 50)


def test_a_bar_around_what_comes_knows_how_much_that_is(client: Client) -> None:
    futures = [client.submit(abs, -n) for n in range(5)]
    wf = taskflow.Workflow()
    wf.add(abs, wf.add(int, -3, name="first"), name="second")

    bars = [
        Bar(taskflow.as_completed(futures)),
        Bar(client.map(abs, range(7)).as_completed()),
        Bar(client.submit_workflow(wf, {}).as_completed()),
    ]

    assert [bar.total for bar in bars] == [5, 7, 2]
    assert [len(list(bar)) for bar in bars] == [5, 7, 2]


def test_a_bar_around_a_generator_counts_without_an_end(client: Client) -> None:
    bar = Bar(client.map(abs, (n for n in range(2000)), buffersize=10))

    assert (bar.total, len(list(bar))) == (None, 2000)


def test_a_bar_around_a_map_in_an_event_loop(client: Client) -> None:
    from tqdm.asyncio import tqdm_asyncio

    async def main() -> list[int]:
        return [value async for value in tqdm_asyncio(client.map(abs, [-1, -2]), disable=True)]

    assert asyncio.run(main()) == [1, 2]


def test_code_for_tqdm_s_process_map_runs_on_a_client(client: Client) -> None:
    from taskflow.contrib.tqdm import process_map, thread_map

    Bar.made.clear()
    found = process_map(pow, range(5), [2] * 5, client=client, tqdm_class=Bar, desc="squares", max_workers=2)

    assert found == [0, 1, 4, 9, 16]
    assert [(bar.total, bar.n, bar.desc) for bar in Bar.made] == [(5, 5, "squares")]
    assert thread_map is process_map


def test_without_tqdm_it_says_what_to_install(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from taskflow.contrib.tqdm import process_map

    monkeypatch.setitem(sys.modules, "tqdm.auto", None)

    with pytest.raises(MissingExtra, match=r"pip install 'jupyter-taskflow\[tqdm\]'"):
        process_map(abs, [-1], client=client)


def test_what_was_loaded_before_the_worker_was_made_speaks_too(tmp_path: Path) -> None:
    said = run_script(
        tmp_path,
        """
import time, tqdm, taskflow

def counts():
    bar = tqdm.tqdm(total=3, desc="early")
    bar.update(2)
    bar.refresh()
    time.sleep(60)

with taskflow.Client(workers=1) as client:
    future = client.submit(counts)
    while not (future.progress and future.progress.done == 2):
        time.sleep(0.01)
    print(future.progress.desc)
    future.cancel()
""",
    )

    assert said.strip() == "early"


GUIDE = Path(__file__).parents[2] / "docs" / "progress.md"


def test_the_examples_of_the_guide_are_true(tmp_path: Path) -> None:
    source = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL))

    fitted, trained, *said = run_script(tmp_path, source).splitlines()

    assert re.fullmatch(r"rows \d+/100 \(\d+%\), loss [\d.]+", fitted) or re.fullmatch(r"loss 1", fitted)
    assert re.match(r"epochs \d/5 \(\d+%\)", trained)
    assert said == ["5", "3", "2", "1", "[0, 1, 4, 9]"]
