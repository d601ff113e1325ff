"""A census of Python's standard library: every source file, parsed in worker processes.

::

    python examples/stdlib_census.py                  # then press Ctrl-C, or kill -9 it
    python examples/stdlib_census.py --resume last    # goes on where it was

What is shown here: a map whose items may fail, a chord, a map-reduce inside a workflow, progress,
and a run that outlives the process that began it.
"""

from __future__ import annotations

import argparse
import ast
import heapq
import sys
import sysconfig
import time
import warnings
from collections import Counter
from collections.abc import Iterator
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


def report(counts: dict[Key, int], functions: list[Function]) -> Tables:
    """The end of the workflow: what was counted and what was found, side by side."""

    def top(wanted: str) -> list[tuple[Any, ...]]:
        ranked = sorted((-times, name) for (kind, name), times in counts.items() if kind == wanted)
        return [(-times, name) for times, name in ranked[:TOP]]

    return {
        "Top identifiers": top("identifier"),
        "Top call sites": top("call"),
        "Longest functions, in lines": list(functions),
    }


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
        tables, counts = summary(client, sources.results("skip"))
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


def summary(client: taskflow.Client, sources: list[Source]) -> tuple[Tables, dict[Key, int]]:
    """What follows the parsing: a chord, a map-reduce, and a workflow that joins them."""
    functions = [functions for _, _, functions in sources]
    parts = (functions[lo : lo + FILES_PER_PART] for lo in range(0, len(functions), FILES_PER_PART))
    header = (longest.s(list(chain.from_iterable(part))) for part in parts)
    found = taskflow.chord(header, longest_of_all.s()).apply_async(client=client)

    workflow = taskflow.Workflow("report")
    counts = workflow.map_reduce(sources, pairs, add, combiner=add, name="count")
    workflow.add(report, counts, client.future(found.task_id), name="report")
    run = workflow.run(client).wait(progress=True)
    return run.result("report"), run.result("count")


def census_in_one_process(files: list[Path]) -> tuple[Tables, dict[Key, int]]:
    """The same without taskflow, to compare."""
    counts: Counter[Key] = Counter()
    functions: list[Function] = []
    errors: list[tuple[str, str]] = []
    for path in files:
        try:
            source = read(path)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told in the table
            errors.append((str(path), one_line(type(error).__name__, str(error))))
        else:
            counts.update(dict(pairs(source)))
            functions += source[2]
    return {**report(counts, longest(functions)), "Errors": errors}, counts


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
    same = (tables, counts) == census_in_one_process(files)
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
