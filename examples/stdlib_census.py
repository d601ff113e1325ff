"""A census of Python's standard library: every source file, parsed in worker processes.

::

    python examples/stdlib_census.py                  # then press Ctrl-C, or kill -9 it
    python examples/stdlib_census.py --resume last    # goes on where it was

What is shown here: a map whose items may fail, a chord, progress, a run that outlives the process that
began it; and a workflow with a map-reduce, a map whose width another step decides, a tree that folds as parts
arrive, a branch, and a step that fails, is mended, and resumed.
"""

from __future__ import annotations

import argparse
import ast
import heapq
import operator
import sys
import sysconfig
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import taskflow

NAME = "stdlib census"
TOP = 10
FILES_PER_PART = 50

Function = tuple[int, str, str]
"""How many lines it has, its name, its file."""
Source = tuple[Counter[str], Counter[str], list[Function]]
"""Of a file: its identifiers, its call sites, its longest functions."""
Key = tuple[str, str]
"""``("identifier", name)`` or ``("call", name)``."""
Tables = dict[str, list[tuple[Any, ...]]]
"""Rows by title."""


# ── what runs in the workers ─────────────────────────────────────────────────────────


def read(path: Path) -> Source:
    """Parse a file. One that is not Python raises: that item of the map has failed, and no other."""
    with warnings.catch_warnings(action="ignore"):
        tree = ast.parse(path.read_bytes(), path)
    identifiers: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    functions: list[Function] = []
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.ClassDef(name=name):
                identifiers[name] += 1
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                identifiers[name] += 1
                functions.append((1 + (node.end_lineno or 0) - node.lineno, name, str(path)))
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                calls[name] += 1
    return identifiers, calls, heapq.nlargest(TOP, functions)


def pairs(source: Source) -> Iterator[tuple[Key, int]]:
    """Map: what a file has, and how often."""
    identifiers, calls, _ = source
    yield from ((("identifier", name), times) for name, times in identifiers.items())
    yield from ((("call", name), times) for name, times in calls.items())


def add(_: Key, times: list[int]) -> int:
    """Reduce; and combine on the worker, before anything travels."""
    return sum(times)


@taskflow.task
def longest(functions: list[Function]) -> list[Function]:
    """The longest functions of some files: the header of the chord."""
    return heapq.nlargest(TOP, functions)


@taskflow.task
def longest_of_all(parts: list[list[Function]]) -> list[Function]:
    """The longest of the longest: the body of the chord."""
    return heapq.nlargest(TOP, chain.from_iterable(parts))


def packages_of(paths: list[Path], folder: Path) -> list[tuple[str, list[Path]]]:
    """The files of each package: how wide the next step is, is known only when this has run."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        parts = path.relative_to(folder).parts
        found.setdefault(parts[0] if len(parts) > 1 else "(single modules)", []).append(path)
    return sorted(found.items())


def lines_of(package: tuple[str, list[Path]]) -> Counter[str]:
    """How many lines a package has."""
    name, paths = package
    return Counter({name: sum(path.read_bytes().count(b"\n") for path in paths)})


def first_line(path: Path) -> str:
    """What a file that is not Python begins with. One that is not even text makes this fail."""
    return path.read_text(encoding="utf-8").partition("\n")[0]


def first_line_of_any(path: Path) -> str:
    """The same, mended."""
    return path.read_text(encoding="utf-8", errors="backslashreplace").partition("\n")[0]


def report(
    counts: dict[Key, int], functions: list[Function], lines: Counter[str], beginnings: list[str] | None
) -> Tables:
    """The end of the workflow: what was counted and what was found, side by side."""

    def top(wanted: str) -> list[tuple[Any, ...]]:
        ranked = sorted((-times, name) for (kind, name), times in counts.items() if kind == wanted)
        return [(-times, name) for times, name in ranked[:TOP]]

    return {
        "Top identifiers": top("identifier"),
        "Top call sites": top("call"),
        "Longest functions, in lines": list(functions),
        "Largest packages, in lines": [(n, name) for name, n in sorted(lines.items(), key=largest)[:TOP]],
        "Not Python": [(text[:60],) for text in beginnings or ()],
    }


def largest(package: tuple[str, int]) -> tuple[int, str]:
    """Sorts the largest first, and equals by name."""
    name, lines = package
    return -lines, name


# ── the job ──────────────────────────────────────────────────────────────────────────


def census(options: argparse.Namespace, files: list[Path]) -> tuple[Tables, dict[Key, int]]:
    """All of it on workers: the tables, and how often each name was counted."""
    # After Ctrl-C the run shall stay as it is, to be resumed, instead of being cancelled.
    with taskflow.Client(options.store, workers=options.workers, cancel_on_interrupt=False) as client:
        if options.resume:
            sources = resume(client, options.resume)
        else:
            sources = client.options(label=NAME).map(read, files)
        if len(sources) != len(files):
            sys.exit(f"That run is over {len(sources)} files, not {len(files)}: give the options it had.")
        print(f"{len(files):,} files of {options.folder}, run {sources.id}", flush=True)
        sources.wait()  # draws a progress bar, if this is a terminal
        broken = [Path(files[index]) for index, _ in sources.failed]
        tables, counts = summary(client, sources.results("skip"), files, broken, options.folder)
        tables["Errors"] = [
            (str(files[index]), one_line(failure.type, failure.message)) for index, failure in sources.failed
        ]
        return tables, counts


def resume(client: taskflow.Client, run: str) -> taskflow.MapRun[Source]:
    """The map that an earlier process sent; workers go on with what is left of it."""
    if run == "last":
        found = client.runs(match=NAME, limit=1)  # a DataFrame where pandas is installed
        rows = found.to_dict("records") if hasattr(found, "to_dict") else found
        if not rows:
            sys.exit(f"No census was begun in {client.url}.")
        run = rows[0]["run"]
    sources: taskflow.MapRun[Source] = client.attach(run)
    return sources


def summary(
    client: taskflow.Client, sources: list[Source], files: list[Path], broken: list[Path], folder: Path
) -> tuple[Tables, dict[Key, int]]:
    """What follows the parsing: a chord, and the workflow of the report."""
    functions = [functions for _, _, functions in sources]
    parts = (functions[lo : lo + FILES_PER_PART] for lo in range(0, len(functions), FILES_PER_PART))
    header = (longest.s(list(chain.from_iterable(part))) for part in parts)
    found = taskflow.chord(header, longest_of_all.s()).apply_async(client=client)
    longest_functions = client.future(found.task_id)

    drawn = draw(sources, longest_functions, files, broken, folder, first_line)
    run = drawn.run(client).wait(progress=True)
    if run.failures:
        name, _, failure = run.failures[0]
        print(
            f"The step {name!r} failed: {one_line(failure.type, failure.message)}. It is mended, and resumed."
        )
        drawn = draw(sources, longest_functions, files, broken, folder, first_line_of_any)
        run = drawn.run(client, resume=run).wait(progress=True)
        print(f"{len(run.progress.nodes)} tasks ran again, the others were kept.")
    return run.result("report"), run.result("count")


def draw(
    sources: list[Source], functions: Any, files: list[Path], broken: list[Path], folder: Path,
    beginning: Callable[[Path], str],
) -> taskflow.Workflow:  # fmt: skip
    """The workflow of the report; `beginning` is the step that may need to be mended."""
    workflow = taskflow.Workflow("report", on_failure="continue")
    counts = workflow.map_reduce(sources, pairs, add, combiner=add, name="count")

    packages = workflow.add(packages_of, files, folder, name="packages")
    lines = workflow.map(lines_of, packages, name="lines")
    all_lines = workflow.reduce(operator.add, lines, tree=True, initial=Counter(), name="all lines")

    are_any = workflow.add(bool, broken, name="any broken")
    beginnings = workflow.map(beginning, broken, name="beginnings")
    if_any = workflow.branch(are_any, beginnings, name="if any")

    workflow.add(report, counts, functions, all_lines, if_any, name="report")
    return workflow


def census_in_one_process(files: list[Path], folder: Path) -> tuple[Tables, dict[Key, int]]:
    """The same without taskflow, to compare."""
    counts: Counter[Key] = Counter()
    functions: list[Function] = []
    errors: list[tuple[str, str]] = []
    broken: list[Path] = []
    for path in files:
        try:
            source = read(path)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told in the table
            errors.append((str(path), one_line(type(error).__name__, str(error))))
            broken.append(path)
        else:
            counts.update(dict(pairs(source)))
            functions += source[2]
    lines = sum(map(lines_of, packages_of(files, folder)), Counter[str]())
    tables = report(counts, longest(functions), lines, [first_line_of_any(path) for path in broken])
    return {**tables, "Errors": errors}, counts


def one_line(kind: str, message: str) -> str:
    """What is told of an error."""
    return f"{kind}: {''.join(message.splitlines()[:1])}"


# ── the program ──────────────────────────────────────────────────────────────────────


def main() -> int:
    """Run the census and compare it; the exit code tells whether the answers are equal."""
    options = arguments()
    files = source_files(options.folder, options.limit)
    began = time.perf_counter()
    tables, counts = census(options, files)
    took_s = time.perf_counter() - began
    for title, rows in tables.items():
        show(title, rows, options.folder)

    began = time.perf_counter()
    same = (tables, counts) == census_in_one_process(files, options.folder)
    alone_s = time.perf_counter() - began
    print(f"\n{len(files):,} files in {took_s:.1f} s, in one process {alone_s:.1f} s", end="")
    print(" (a part was done before)" if options.resume else f": {alone_s / took_s:.2f} times as fast")
    print(f"The answer {'equals' if same else 'DIFFERS FROM'} the one of a single process.")
    return 0 if same else 1


def source_files(folder: Path, limit: int | None) -> list[Path]:
    """The files to read; a limit takes so many of them, spread evenly."""
    files = sorted(path for path in folder.rglob("*.py") if "site-packages" not in path.parts)
    return files[:: max(1, len(files) // limit)][:limit] if limit else files


def show(title: str, rows: list[tuple[Any, ...]], folder: Path) -> None:
    """Print a table; numbers are aligned to the right, files are told from the folder on."""
    cells = [
        [f"{cell:7,}" if isinstance(cell, int) else cell.removeprefix(f"{folder}/") for cell in row]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{title}: {len(rows)}" if title == "Errors" else f"\n{title}")
    for row in cells:
        print(" ", "  ".join(map(str.ljust, row, widths)).rstrip())


def arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    stdlib = Path(sysconfig.get_path("stdlib"))
    parser.add_argument("folder", nargs="?", type=Path, default=stdlib, help="another folder to read")
    parser.add_argument("--workers", default="auto", type=lambda n: n if n == "auto" else int(n))
    parser.add_argument("--store", metavar="URL", help="where runs are kept (a store of your own)")
    parser.add_argument("--limit", metavar="N", type=int, help="only N files, spread over all")
    parser.add_argument("--quick", dest="limit", action="store_const", const=60, help="that is --limit 60")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run, by its id; 'last': the newest")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nStopped. To go on, run it again with: --resume last", file=sys.stderr)
        sys.exit(130)
