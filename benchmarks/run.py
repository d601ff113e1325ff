"""Measure taskflow and the standard library's pools in one run, print one table, keep it.

::

    python -m benchmarks.run                 all of it, a few minutes
    python -m benchmarks.run --quick         a tenth of the work, once: only to see that it runs
    python -m benchmarks.run --only submit,latency --rounds 5

Every measurement is made in a process of its own; the order of the peers is turned round from one
round to the next; the table shows medians, and ratios of the medians of the same run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import taskflow
from benchmarks import cases

RESULTS = Path(__file__).with_name("RESULTS.md")
MORE_IS_BETTER = "/s"
NOT_TIMED = ("processes",)

NOTES = """\
Medians of {rounds} rounds, each measurement in a process of its own; {workers} worker processes each; items
are `x + 1`. taskflow commits every call to a SQLite file, the others keep nothing. A ratio above 1 is in
favour of taskflow. On a shared machine trust ratios above 1.5, and no p99.

*futures* is `ProcessPoolExecutor` as it comes, *tuned* has a chunksize chosen for the map, *Pool* is
`multiprocessing.Pool`. – means not measured: an untuned `ProcessPoolExecutor.map` of 1,000,000 items takes
over a minute.
"""

Samples = dict[str, dict[str, list[float]]]
"""By figure, by peer: one number a round."""


def main() -> int:
    """Run what the command line asks for."""
    options = _arguments()
    if options.one:
        peer, case = options.one
        print(json.dumps(cases.measure(peer, case, options.scale)))
        return 0
    if options.first:
        cases.first_result(options.first)
        return 0
    chosen = options.only.split(",") if options.only else [*cases.CASES, "cold-start", "import"]
    samples = collect(chosen, rounds=options.rounds, scale=options.scale)
    text = report(samples, rounds=options.rounds, scale=options.scale)
    print(text)
    if options.scale == 1 and not options.only:
        RESULTS.write_text(text, encoding="utf-8")
        print(f"written to {os.path.relpath(RESULTS)}")
    return 0


def collect(chosen: list[str], *, rounds: int, scale: float) -> Samples:
    """All measurements, the peers in turn and in turned order."""
    samples: Samples = defaultdict(lambda: defaultdict(list))
    for round_no in range(rounds):
        for case in chosen:
            peers = [p for p in cases.PEERS if (case, p) not in cases.NOT_RUN and _applies(case, p)]
            for peer in peers if round_no % 2 == 0 else reversed(peers):
                _progress(f"round {round_no + 1} of {rounds}: {case}, {peer}")
                for figure, value in _figures(case, peer, scale).items():
                    samples[figure][peer].append(value)
        if "latency" in chosen:
            samples["pipe echo p50, µs (the floor)"]["pipe"].append(cases.pipe_echo_us())
    _progress("")
    return samples


def report(samples: Samples, *, rounds: int, scale: float = 1.0) -> str:
    """The table as Markdown."""
    peers = list(cases.PEERS)
    rivals = [p for p in peers if p != "taskflow"]
    head = ["", *peers, *(f"against {p}" for p in rivals)]
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench`. {_setting()}",
        "",
        NOTES.format(rounds=rounds, workers=cases.WORKERS),
        *([] if scale == 1 else [f"**Sizes are {scale:g} of what the table says.**", ""]),
        _row(head),
        _row(["---", *("---:" for _ in head[1:])]),
    ]
    for figure, by_peer in samples.items():
        medians = {peer: statistics.median(values) for peer, values in by_peer.items()}
        shown = [_number(medians.get(peer)) for peer in peers]
        if "pipe" in medians:
            shown = [_number(medians["pipe"]), *("" for _ in rivals)]
        lines.append(_row([figure, *shown, *(_ratio(figure, medians, rival) for rival in rivals)]))
    lines += ["", "Spread of taskflow's rounds:", ""]
    lines += [f"- {figure}: {_spread(by['taskflow'])}" for figure, by in samples.items() if "taskflow" in by]
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured (default 3)")
    parser.add_argument("--only", help="comma-separated cases: submit, latency, map-100k, …")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, one round, nothing kept")
    parser.add_argument("--scale", type=float, default=1.0, help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=2, metavar=("PEER", "CASE"), help=argparse.SUPPRESS)
    parser.add_argument("--first", metavar="PEER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.scale = 1, 0.1
    return options


def _applies(case: str, peer: str) -> bool:
    """Tuning means a chunksize, which only a map has; memory is read from Linux."""
    if case == "memory" and sys.platform != "linux":
        return False
    return case.startswith("map") or peer != "futures, tuned"


def _figures(case: str, peer: str, scale: float) -> dict[str, float]:
    again = [sys.executable, "-m", "benchmarks.run"]
    if case == "cold-start":
        return {"cold start to first result, ms": cases.cold_start_ms([*again, "--first", peer])}
    if case == "import":
        return _import_figures(peer)
    done = subprocess.run(
        [*again, "--one", peer, case, "--scale", str(scale)], stdout=subprocess.PIPE, text=True, check=True
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _import_figures(peer: str) -> dict[str, float]:
    """Names are loaded on first use, so the import alone would flatter: the class is asked for, too."""
    of_class = {
        "taskflow": "from taskflow import Client",
        "futures": "from concurrent.futures import ProcessPoolExecutor",
        "Pool": "from multiprocessing.pool import Pool",
    }[peer]
    figures = {"import of the class, ms": _import_ms(of_class)}
    if peer == "taskflow":
        figures["import taskflow, ms"] = _import_ms("import taskflow")
    return figures


def _import_ms(statement: str) -> float:
    return statistics.median(cases.import_ms(statement) for _ in range(5))


def _setting() -> str:
    return ", ".join(
        (
            f"taskflow {taskflow.__version__}",
            f"Python {platform.python_version()}",
            f"SQLite {sqlite3.sqlite_version}",
            f"{platform.system()} {platform.machine()}",
            f"{os.cpu_count()} CPUs",
            f"start method of the pools: {multiprocessing.get_start_method()}.",
        )
    )


def _ratio(figure: str, medians: dict[str, float], rival: str) -> str:
    if rival not in medians or "taskflow" not in medians or figure in NOT_TIMED:
        return "–" if "pipe" not in medians else ""
    ours, theirs = medians["taskflow"], medians[rival]
    better = ours / theirs if figure.endswith(MORE_IS_BETTER) else theirs / ours
    return f"{better:.2g} ×" if better < 10 else f"{better:.0f} ×"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _spread(values: list[float]) -> str:
    return f"{_number(min(values))} to {_number(max(values))}"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
