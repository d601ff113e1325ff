"""Measure scikit-learn's `GridSearchCV` on taskflow beside loky, cold: 200 fits, two workers.

::

    python -m benchmarks.search                          two minutes; writes benchmarks/RESULTS-search.md
    python -m benchmarks.search --rounds 1               does it all work?

Each search has a process of its own, whose whole life is measured: the interpreter, the imports, the start of
its workers, 200 fits, and the end of all that. The contestants take turns, round by round, in turned order.
What is found is compared with what one process finds. Beside the time stands what all processes of a search
have used of the processors, which says more on a machine that has other work.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from benchmarks.apart import MARK, tell
from benchmarks.setting import Setting, versions_of
from benchmarks.subject import WORKERS

RESULTS = Path(__file__).parent / "RESULTS-search.md"
CONTESTANTS = ("loky", "taskflow")
FOLDS = 5
_TIMEOUT_S = 300


# ── what is searched ─────────────────────────────────────────────────────────────────


def quick() -> tuple[Any, dict[str, list[Any]], Any, Any]:
    """A fit takes some milliseconds."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.tree import DecisionTreeClassifier

    data, target = load_breast_cancer(return_X_y=True)
    grid = {"max_depth": [2, 3, 4, 5, 6, 7, 8, 9], "min_samples_leaf": [1, 2, 4, 8, 16]}
    return DecisionTreeClassifier(random_state=0), grid, data, target


def usual() -> tuple[Any, dict[str, list[Any]], Any, Any]:
    """A fit takes some tens of milliseconds."""
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC

    data, target = load_digits(return_X_y=True)
    grid = {"C": [0.1, 0.3, 1.0, 3.0, 10.0], "gamma": [1e-4, 2e-4, 4e-4, 6e-4, 8e-4, 1e-3, 2e-3, 4e-3]}
    return SVC(), grid, data[:900], target[:900]


SEARCHES: dict[str, Callable[[], tuple[Any, dict[str, list[Any]], Any, Any]]] = {
    "quick": quick,
    "usual": usual,
}


def search(name: str, contestant: str, folder: str) -> dict[str, Any]:
    """Run a search in this process; seconds of the search itself, and what it has found."""
    import joblib
    from sklearn.model_selection import GridSearchCV

    estimator, grid, data, target = SEARCHES[name]()
    found = GridSearchCV(estimator, grid, cv=FOLDS)
    begin = perf_counter()
    if contestant == "alone":
        found.fit(data, target)
    elif contestant == "loky":
        with joblib.parallel_config("loky", n_jobs=WORKERS):
            found.fit(data, target)
    else:
        import taskflow
        import taskflow.contrib.joblib

        url = f"sqlite:///{folder}/runs.db"
        with (
            taskflow.Client(url, workers=WORKERS) as client,
            joblib.parallel_config("taskflow", client=client),
        ):
            found.fit(data, target)
    return {"search_s": perf_counter() - begin, "scores": found.cv_results_["mean_test_score"].tolist()}


# ── beside each other ────────────────────────────────────────────────────────────────


class Measured(NamedTuple):
    """What a search took, and what it found."""

    wall_s: float
    cpu_s: float
    scores: list[float]


def main() -> None:
    """Run what the command line asks for."""
    options = _arguments()
    if options.one:
        tell(search(*options.one))
        return
    setting = Setting()
    took: dict[tuple[str, str], list[Measured]] = {}
    for name in SEARCHES:
        wanted = measured(name, "alone").scores
        for round_no in range(options.rounds):
            for contestant in CONTESTANTS[:: -1 if round_no % 2 else 1]:
                one = measured(name, contestant)
                if one.scores != wanted:
                    raise SystemExit(f"{contestant} has found something else in the {name} search")
                took.setdefault((name, contestant), []).append(one)
                print(f"{name}, round {round_no + 1}: {contestant} {one.wall_s:.2f} s", file=sys.stderr)
    setting.look_again()
    names = ("joblib", "scikit-learn", "numpy")
    setting.versions = {k: v for k, v in versions_of(sys.executable, names).items() if v}
    text = table(took, setting, options.rounds)
    print(text)
    if options.rounds > 1:
        RESULTS.write_text(text, encoding="utf-8")


def measured(name: str, contestant: str) -> Measured:
    """A search in a process of its own, from the start of that to its end."""
    with tempfile.TemporaryDirectory(prefix="taskflow-bench-") as folder:
        Path(folder).chmod(0o700)
        command = [sys.executable, "-m", "benchmarks.search", "--one", name, contestant, folder]
        with (Path(folder) / "out").open("w+", encoding="utf-8") as out:
            begin = perf_counter()
            process = subprocess.Popen(command, stdout=out)
            _, status, used = os.wait4(process.pid, 0)
            wall_s = perf_counter() - begin
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            line = next((line for line in out if line.startswith(MARK)), None)
    if line is None:
        raise SystemExit(f"{contestant} has ended with {process.returncode}")
    scores = json.loads(line.removeprefix(MARK))["scores"]
    return Measured(wall_s, used.ru_utime + used.ru_stime, scores)


def table(took: dict[tuple[str, str], list[Measured]], setting: Setting, rounds: int) -> str:
    """What was found, as Markdown."""
    lines = [
        "# Searches of scikit-learn, measured",
        "",
        f"{setting.describe()} Two workers each, {rounds} rounds in turned order. Processes that wanted a"
        f" processor in the last minute: {setting.load[0]:.1f} before, {setting.load[-1]:.1f} after"
        + (
            ": the machine was busy with other work, and times from start to end swing widely: go by what was"
            " used of the processors."
            if setting.was_busy
            else "."
        ),
        "",
        "| `GridSearchCV`, 200 fits, cold | | loky, s | taskflow, s | ratio | ratio of the best rounds |",
        "|---|---|---|---|---|---|",
    ]
    words = {"quick": "fits of some milliseconds", "usual": "fits of some tens of milliseconds"}
    for name in SEARCHES:
        for what in ("from start to end", "of the processors"):
            loky, ours = (
                [one.wall_s if what == "from start to end" else one.cpu_s for one in took[name, who]]
                for who in CONTESTANTS
            )
            medians = statistics.median(loky), statistics.median(ours)
            lines.append(
                f"| {words[name]} | {what} | {medians[0]:.2f} | {medians[1]:.2f} |"
                f" {medians[1] / medians[0]:.2f}× | {min(ours) / min(loky):.2f}× |"
            )
    lines += [
        "",
        "A Python process from its start to its end: imports, the start of two workers, the search and the"
        " end; medians. *Of the processors* is what all of its processes have used together. taskflow keeps"
        " each fit in a new store on disk; loky keeps nothing.",
        "",
    ]
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--one", nargs=3, metavar=("SEARCH", "CONTESTANT", "FOLDER"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
