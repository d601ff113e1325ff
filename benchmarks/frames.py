"""Measure frames: `map_partitions` beside the engine's own map, groupby-agg beside pandas, Dask and polars.

::

    python -m benchmarks.frames                          two minutes; writes benchmarks/RESULTS-frames.md
    python -m benchmarks.frames --scale 0.1 --rounds 1   does it all work?

Each contestant has a process of its own and two workers (polars: two threads); they take turns, round by
round, in turned order, and the table shows medians. Every answer is checked against that of pandas.
"""

from __future__ import annotations

import argparse
import os
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
from benchmarks.cases import touch
from benchmarks.setting import Setting, versions_of
from benchmarks.subject import WORKERS

ROWS = 10_000_000
GROUPS = 1_000
PARTS = 8
TURNS = 3
RESULTS = Path(__file__).parent / "RESULTS-frames.md"
SPEC = {"x": ["sum", "mean", "std"], "y": ["min", "max", "count"]}
_TIMEOUT_S = 600


# ── the data, and what is asked of it ────────────────────────────────────────────────


def rows(scale: float) -> Any:
    """Ten million rows of three columns, with a thousand keys; always the same."""
    import numpy as np
    import pandas as pd

    count, chance = int(ROWS * scale), np.random.default_rng(3)
    keys, values = chance.integers(0, GROUPS, count), chance.random(count)
    return pd.DataFrame({"k": keys, "x": values, "y": chance.integers(0, 100, count)})


def check(found: Any, wanted: Any) -> None:
    """Nothing counts that is wrong."""
    import pandas as pd

    found.columns = wanted.columns
    pd.testing.assert_frame_equal(found.sort_index(), wanted, check_dtype=False, check_index_type=False)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what it gave."""
    begin = perf_counter()
    answer = call()
    return perf_counter() - begin, answer


# ── the contestants ──────────────────────────────────────────────────────────────────


def by_pandas(scale: float) -> dict[str, float]:
    """One process, one thread: what everybody else is compared with."""
    df = rows(scale)
    df.iloc[:1000].groupby("k").agg(SPEC)
    return {"agg_here": timed(lambda: df.groupby("k").agg(SPEC))[0]}


def by_polars(scale: float) -> dict[str, float]:
    """Two threads of one process."""
    os.environ["POLARS_MAX_THREADS"] = str(WORKERS)
    import polars as pl

    df = rows(scale)
    x, y = pl.col.x, pl.col.y
    asked = [
        x.sum(),
        x.mean().alias("m"),
        x.std().alias("s"),
        y.min(),
        y.max().alias("a"),
        y.count().alias("c"),
    ]

    def agg(table: Any) -> Any:
        return table.group_by("k").agg(asked).to_pandas().set_index("k")

    table = pl.from_pandas(df)
    agg(table[:1000])
    took, found = timed(lambda: agg(table))
    check(found, df.groupby("k").agg(SPEC))
    return {"agg_there": took, "agg_whole": timed(lambda: agg(pl.from_pandas(df)))[0]}


def by_dask(scale: float) -> dict[str, float]:
    """A LocalCluster of processes with one thread each."""
    import dask
    import dask.dataframe as dd
    from distributed import Client, LocalCluster

    dask.config.set({"logging.distributed": "error"})
    df = rows(scale)
    wanted = df.groupby("k").agg(SPEC)

    def agg(data: Any) -> Any:
        return data.groupby("k").agg(SPEC).compute()

    how = {"n_workers": WORKERS, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**how) as cluster, Client(cluster) as client:
        check(agg(dd.from_pandas(df.iloc[:1000], npartitions=2)).iloc[:0], wanted.iloc[:0])
        whole, found = timed(lambda: agg(dd.from_pandas(df, npartitions=PARTS)))
        check(found, wanted)
        kept = client.persist(dd.from_pandas(df, npartitions=PARTS))
        _ = len(kept)
        there, found = timed(lambda: agg(kept))
        check(found, wanted)
    return {"agg_whole": whole, "agg_there": there}


def by_taskflow(scale: float) -> dict[str, float]:
    """A client with an embedded store in a new file; partitions and results are kept in it."""
    import taskflow

    df = rows(scale)
    wanted = df.groupby("k").agg(SPEC)
    with _client() as client:

        def agg(frame: Any) -> Any:
            return frame.groupby("k").agg(SPEC).to_pandas()

        agg(taskflow.from_pandas(df.iloc[:1000], 4, client=client))
        touch(df)
        whole, found = timed(lambda: agg(taskflow.from_pandas(df, PARTS, client=client)))
        check(found, wanted)
        frame = taskflow.from_pandas(df, PARTS, client=client)
        there, found = timed(lambda: agg(frame))
        check(found, wanted)
    return {"agg_whole": whole, "agg_there": there}


def by_taskflow_maps(scale: float) -> dict[str, float]:
    """`map_partitions`, and the same by the engine's own `map`, in turns."""
    import pandas as pd

    import taskflow

    whole = work.frame(int(work.FRAME_BYTES * scale))
    found: dict[str, float] = {}
    with _client() as client:
        for name in ("summary", "widened", "ranked"):
            fn = getattr(work, name)
            for call in _ways(client, whole.iloc[:1600], fn, pd, taskflow).values():
                call()
            ways = _ways(client, whole, fn, pd, taskflow)
            took: dict[str, list[float]] = {way: [] for way in ways}
            for turn in range(TURNS):
                for way in list(ways)[:: -1 if turn % 2 else 1]:
                    touch(whole)
                    took[way].append(timed(ways[way])[0])
            found |= {f"{way}_{name}": statistics.median(some) for way, some in took.items()}
    return found


def _ways(client: Any, whole: Any, fn: Any, pd: Any, taskflow: Any) -> dict[str, Callable[[], Any]]:
    count = work.PARTITIONS
    return {
        "engine": lambda: pd.concat(list(client.map(fn, work.split(whole)))),
        "frames": lambda: taskflow.map_partitions(
            whole, fn, npartitions=count, client=client, progress=False
        ),
    }


@contextmanager
def _client() -> Iterator[Any]:
    import taskflow

    with tempfile.TemporaryDirectory(prefix="taskflow-bench-") as folder:
        Path(folder).chmod(0o700)
        with taskflow.Client(f"sqlite:///{folder}/runs.db", workers=WORKERS) as client:
            yield client


CONTESTANTS: dict[str, Callable[[float], dict[str, float]]] = {
    "pandas": by_pandas,
    "polars": by_polars,
    "Dask": by_dask,
    "taskflow": by_taskflow,
    "maps": by_taskflow_maps,
}


# ── the table ────────────────────────────────────────────────────────────────────────


def main() -> None:
    """Run what the command line asks for."""
    options = _arguments()
    if options.one:
        tell(CONTESTANTS[options.one](options.scale))
        return
    setting = Setting()

    def command_of(name: str) -> list[str]:
        python = str(options.rivals / "bin" / "python") if name == "Dask" else sys.executable
        return [python, "-m", "benchmarks.frames", "--one", name, "--scale", str(options.scale)]

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
    maps = {key: statistics.median(values) for key, values in found["maps"].items()}
    size_mb = work.FRAME_BYTES * options.scale / 1e6
    lines = [
        "# Frames, measured",
        "",
        f"{setting.describe()} Two workers each; medians of {options.rounds} rounds. Processes that wanted a"
        f" processor in the last minute: {setting.load[0]:.1f} before, {setting.load[-1]:.1f} after"
        + (
            ": the machine was busy with other work, and single figures swing by half."
            if setting.was_busy
            else "."
        ),
        "",
        f"## `map_partitions`, {size_mb:.0f} MB in {work.PARTITIONS} partitions",
        "",
        "| result | `client.map` and `concat`, s | `map_partitions`, s | ratio |",
        "|---|---|---|---|",
    ]
    for name, words in (("summary", "small"), ("widened", "full-size"), ("ranked", "small, after much work")):
        if f"frames_{name}" in maps:
            engine, frames = maps[f"engine_{name}"], maps[f"frames_{name}"]
            lines.append(f"| {words} | {engine:.2f} | {frames:.2f} | {frames / engine:.2f}× |")
    lines += [
        "",
        f"## groupby-agg, {ROWS * options.scale:,.0f} rows, {GROUPS:,} groups, six aggregations",
        "",
        "| | from a pandas frame, s | data is there, s | against Dask |",
        "|---|---|---|---|",
    ]
    dask = {key: statistics.median(values) for key, values in found["Dask"].items()}
    for name in ("taskflow", "Dask", "polars", "pandas"):
        values = {key: statistics.median(some) for key, some in found[name].items()}
        shown = [values.get("agg_whole"), values.get("agg_there", values.get("agg_here"))]
        ratio = [
            f"{dask[key] / value:.1f}×"
            for key, value in zip(("agg_whole", "agg_there"), shown, strict=True)
            if value and key in dask
        ]
        cells = ["" if value is None else f"{value:.2f}" for value in shown]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {', '.join(ratio)} |")
    lines += [
        "",
        "*Against Dask*: how many times as fast, from a pandas frame and with the data there. *There* is a"
        " frame of `from_pandas` in the store, a persisted Dask frame, a polars table; pandas has its data"
        " where it is. taskflow keeps every partition and result in its store; the others keep nothing.",
        *(f"\n- {name} is missing: {reason}" for name, reason in why.items()),
        "",
    ]
    return "\n".join(lines)


def _versions_of(rivals: Path) -> dict[str, str]:
    names: dict[str, tuple[str, ...]] = {sys.executable: ("pandas", "numpy", "polars", "pyarrow")}
    if (rivals / "bin" / "python").exists():
        names[str(rivals / "bin" / "python")] = ("dask", "distributed")
    return {
        name: version
        for python, some in names.items()
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
    return parser.parse_args()


if __name__ == "__main__":
    main()
