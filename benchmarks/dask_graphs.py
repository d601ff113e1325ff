"""Measure graphs of Dask on taskflow: a groupby beside Dask's own schedulers, small nodes beside Ray as well.

::

    python -m benchmarks.dask_graphs                          two minutes; writes benchmarks/RESULTS-dask.md
    python -m benchmarks.dask_graphs --scale 0.1 --rounds 1   does it all work?

Each contestant has a process of its own and two workers; they take turns, round by round, in turned order,
and the table shows medians. Every answer is checked. The groupby reads Parquet files, as they are cached by
the system; the small nodes are a graph of `dask.delayed`, built before the clock starts, but for Ray, whose
graph is built as it is sent.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import work
from benchmarks.apart import in_rounds, tell
from benchmarks.setting import Setting, versions_of
from benchmarks.subject import WORKERS

ROWS = 2_000_000
FILES = 16
GROUPS = 1_000
SPEC = {"x": ["sum", "mean"], "y": ["min", "max", "count"]}
LAYERS, WIDTH = 100, 20
TURNS = 3
RESULTS = Path(__file__).parent / "RESULTS-dask.md"
_TIMEOUT_S = 300

Schedule = Callable[..., Any] | str
Figures = dict[str, float]


# ── what is asked ────────────────────────────────────────────────────────────────────


def write_rows(folder: Path, scale: float) -> None:
    """Two million rows of three columns, with a thousand keys, in sixteen files; always the same."""
    import numpy as np
    import pandas as pd

    count, chance = int(ROWS * scale) // FILES, np.random.default_rng(3)
    for number in range(FILES):
        columns = {"k": chance.integers(0, GROUPS, count), "x": chance.random(count)}
        pd.DataFrame({**columns, "y": chance.integers(0, 100, count)}).to_parquet(
            folder / f"{number:02}.parquet"
        )


def groupby(folder: Path, schedule: Schedule, **how: Any) -> Figures:
    """A groupby over the files; the first time only once, for what is made then."""
    import dask.dataframe as dd
    import pandas as pd

    wanted = pd.read_parquet(folder).groupby("k").agg(SPEC)

    def once() -> float:
        frame = dd.read_parquet(folder).groupby("k").agg(SPEC)
        begin = perf_counter()
        found = frame.compute(scheduler=schedule, **how)
        took_s = perf_counter() - begin
        pd.testing.assert_frame_equal(found.sort_index(), wanted, check_dtype=False, check_index_type=False)
        return took_s

    once()
    return {"groupby_s": statistics.median(once() for _ in range(TURNS))}


def nodes(schedule: Schedule, **how: Any) -> Figures:
    """Layers of trivial calls with two parents each."""
    graph = work.layered(LAYERS, WIDTH)

    def once() -> float:
        last = _delayed(graph)
        begin = perf_counter()
        found = last.compute(scheduler=schedule, **how)
        took_s = perf_counter() - begin
        assert found == work.answer(graph), "a wrong answer counts for nothing"
        return took_s

    once()
    return {"nodes_s": statistics.median(once() for _ in range(TURNS))}


def _delayed(graph: work.Graph) -> Any:
    """All nodes are needed: also those that no other one asks for are summed."""
    from dask import delayed

    leaf, join = delayed(work.leaf, pure=False), delayed(work.join, pure=False)
    above = [leaf(*node) for node in graph[0]]
    for layer in graph[1:]:
        above = [join(above[left], above[right]) for left, right in layer]
    return delayed(work.total, pure=False)(above)


# ── the contestants ──────────────────────────────────────────────────────────────────


def by_threads(folder: Path) -> Figures:
    """Dask's threads: one process, nothing is copied."""
    return groupby(folder, "threads", num_workers=WORKERS) | nodes("threads", num_workers=WORKERS)


def by_processes(folder: Path) -> Figures:
    """Dask's pool of processes."""
    return groupby(folder, "processes", num_workers=WORKERS) | nodes("processes", num_workers=WORKERS)


def by_distributed(folder: Path) -> Figures:
    """A LocalCluster of processes with one thread each."""
    import dask
    from distributed import Client, LocalCluster

    dask.config.set({"logging.distributed": "error"})
    how = {"n_workers": WORKERS, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**how) as cluster, Client(cluster) as client:
        return groupby(folder, client.get) | nodes(client.get)


def by_ray(_: Path) -> Figures:
    """Ray has no DataFrames of Dask."""
    from benchmarks.subjects.ray import Ray

    subject, graph = Ray(), work.layered(LAYERS, WIDTH)
    subject.start()
    try:

        def once() -> float:
            begin = perf_counter()
            assert subject.graph(graph)() == work.answer(graph), "a wrong answer counts for nothing"
            return perf_counter() - begin

        once()
        return {"nodes_s": statistics.median(once() for _ in range(TURNS))}
    finally:
        subject.stop()


def by_taskflow(folder: Path) -> Figures:
    """`taskflow.contrib.dask.get` with an embedded store in a new file."""
    from taskflow.contrib.dask import scheduler

    with _client() as client:
        get = scheduler(client, progress=False)
        return groupby(folder, get) | nodes(get)


@contextmanager
def _client() -> Iterator[Any]:
    import taskflow

    with tempfile.TemporaryDirectory(prefix="taskflow-bench-") as folder:
        Path(folder).chmod(0o700)
        with taskflow.Client(f"sqlite:///{folder}/runs.db", workers=WORKERS) as client:
            yield client


CONTESTANTS: dict[str, Callable[[Path], Figures]] = {
    "taskflow": by_taskflow,
    "Dask, distributed": by_distributed,
    "Dask, processes": by_processes,
    "Dask, threads": by_threads,
    "Ray": by_ray,
}


# ── the table ────────────────────────────────────────────────────────────────────────


def main() -> None:
    """Run what the command line asks for."""
    options = _arguments()
    if options.one:
        tell(CONTESTANTS[options.one](options.folder))
        return
    setting = Setting()
    with tempfile.TemporaryDirectory(prefix="taskflow-bench-") as folder:
        write_rows(Path(folder), options.scale)

        def command_of(name: str) -> list[str]:
            python = sys.executable if name == "taskflow" else str(options.rivals / "bin" / "python")
            return [python, "-m", "benchmarks.dask_graphs", "--one", name, "--folder", folder]

        found, why = in_rounds(CONTESTANTS, options.rounds, command_of, _TIMEOUT_S)
    setting.look_again()
    setting.versions = _versions_of(options.rivals)
    text = table(found, why, setting, options)
    print(text)
    if options.scale == 1:
        RESULTS.write_text(text, encoding="utf-8")


def table(
    found: dict[str, dict[str, list[float]]],
    why: dict[str, str],
    setting: Setting,
    options: argparse.Namespace,
) -> str:
    """What was found, as Markdown."""
    busy = ": the machine was busy with other work, and single figures swing by half"
    count = LAYERS * WIDTH + 1
    lines = [
        "# Graphs of Dask, measured",
        "",
        f"{setting.describe()} Two workers each; medians of {options.rounds} rounds of {TURNS}."
        f" Processes that wanted a processor in the last minute: {setting.load[0]:.1f} before,"
        f" {setting.load[-1]:.1f} after{busy if setting.was_busy else ''}.",
        "",
        f"| | groupby-agg of {ROWS * options.scale:,.0f} rows in {FILES} Parquet files, s"
        f" | graph of {count:,} small nodes, s | nodes/s |",
        "|---|---|---|---|",
    ]
    for name, some in found.items():
        values = {key: statistics.median(each) for key, each in some.items()}
        cells = [f"{values[key]:.2f}" if key in values else "" for key in ("groupby_s", "nodes_s")]
        rate = f"{count / values['nodes_s']:,.0f}" if "nodes_s" in values else ""
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {rate} |")
    lines += [
        "",
        "taskflow commits every node and result to its store; the others keep nothing. Ray's graph is built"
        " as it is sent; those of Dask are there before.",
        *(f"\n- {name} is missing: {reason}" for name, reason in why.items()),
        "",
    ]
    return "\n".join(lines)


def _versions_of(rivals: Path) -> dict[str, str]:
    names = {
        sys.executable: ("dask", "pandas", "pyarrow"),
        str(rivals / "bin" / "python"): ("distributed", "ray"),
    }
    return {
        name: version
        for python, some in names.items()
        if Path(python).exists()
        for name, version in versions_of(python, some).items()
        if version
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rivals", type=Path, default=Path(".venv-rivals"))
    parser.add_argument("--one", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
