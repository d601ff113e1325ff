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
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import taskflow

NAME = "stdlib census"
TOP = 10
FILES_PER_PART = 50

Key = tuple[str, str]
"""``("identifier", name)`` or ``("call", name)``."""
Errors = dict[Path, str]


class Function(NamedTuple):
    """A function and its length."""

    lines: int
    name: str
    path: Path


class Source(NamedTuple):
    """What was found in one file."""

    names: Counter[Key]
    functions: list[Function]


class Report(NamedTuple):
    """What the whole job is for."""

    identifiers: list[tuple[str, int]]
    calls: list[tuple[str, int]]
    longest: list[Function]


# ── what runs in the workers ─────────────────────────────────────────────────────────


def read(path: Path) -> Source:
    """Parse a file. One that is no Python raises: then this item of the map has failed, and no other."""
    with warnings.catch_warnings(action="ignore"):
        tree = ast.parse(path.read_bytes(), path)
    names: Counter[Key] = Counter()
    functions = []
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.ClassDef(name=name):
                names["identifier", name] += 1
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names["identifier", name] += 1
                functions.append(Function((node.end_lineno or 0) - node.lineno + 1, name, path))
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                names["call", name] += 1
    return Source(names, functions)


def pairs(source: Source) -> Iterable[tuple[Key, int]]:
    """Map: the names of a file and how often each is there."""
    return source.names.items()


def add(_: Key, numbers: list[int]) -> int:
    """Reduce, and combine on the worker before anything travels."""
    return sum(numbers)


@taskflow.task
def longest(functions: Iterable[Function]) -> list[Function]:
    """The longest functions of a part, in the header of the chord."""
    return heapq.nlargest(TOP, functions)


@taskflow.task
def longest_of_all(parts: list[list[Function]]) -> list[Function]:
    """The longest of the longest, in the body of the chord."""
    return heapq.nlargest(TOP, chain.from_iterable(parts))


def join(counts: dict[Key, int], functions: list[Function]) -> Report:
    """The end of the workflow: what was counted and what was found, as one report."""

    def top(kind: str) -> list[tuple[str, int]]:
        ranked = sorted((-n, name) for (what, name), n in counts.items() if what == kind)
        return [(name, -n) for n, name in ranked[:TOP]]

    return Report(top("identifier"), top("call"), functions)


# ── the job ──────────────────────────────────────────────────────────────────────────


def census(client: taskflow.Client, sources: taskflow.MapRun[Source]) -> tuple[Report, dict[Key, int]]:
    """Everything after the parsing, on the workers; gives the report and all that was counted."""
    good = sources.results("skip")
    header = (longest.s(list(functions)) for functions in parts(good))
    found = taskflow.chord(header, longest_of_all.s()).apply_async(client=client)

    workflow = taskflow.Workflow("report")
    counts = workflow.map_reduce(good, pairs, add, combiner=add, name="count")
    workflow.add(join, counts, client.future(found.task_id), name="join")
    run = workflow.run(client).wait(progress=True)
    return run.result("join"), run.result("count")


def parts(sources: list[Source]) -> Iterator[Iterator[Function]]:
    """The functions of some files at a time."""
    for lo in range(0, len(sources), FILES_PER_PART):
        yield chain.from_iterable(source.functions for source in sources[lo : lo + FILES_PER_PART])


def census_in_one_process(files: list[Path]) -> tuple[Report, dict[Key, int], Errors]:
    """The same without taskflow, to compare."""
    counts: Counter[Key] = Counter()
    functions: list[Function] = []
    errors: Errors = {}
    for path in files:
        try:
            source = read(path)
        except Exception as error:  # noqa: BLE001 - whatever it is, it goes into the table
            errors[path] = reason(type(error).__name__, str(error))
        else:
            counts.update(source.names)
            functions += source.functions
    return join(counts, heapq.nlargest(TOP, functions)), counts, errors


def reason(kind: str, message: str) -> str:
    """An error on one line."""
    return f"{kind}: {message.splitlines()[0] if message else ''}"


def source_files(folder: Path, limit: int | None) -> list[Path]:
    """The files to read; a limit takes so many of them, spread evenly."""
    files = sorted(path for path in folder.rglob("*.py") if "site-packages" not in path.parts)
    return files[:: max(1, len(files) // limit)][:limit] if limit else files


def begin(client: taskflow.Client, files: list[Path]) -> taskflow.MapRun[Source]:
    """Send the map."""
    return client.options(label=NAME).map(read, files)


def resume(client: taskflow.Client, run: str) -> Any:
    """Find the map that an earlier process sent; workers go on with it at once."""
    if run == "last":
        found = client.runs(match=NAME, limit=1)  # a DataFrame where pandas is installed
        rows = found.to_dict("records") if hasattr(found, "to_dict") else found
        if not rows:
            sys.exit(f"No census was begun in {client.url}.")
        run = rows[0]["run"]
    return client.attach(run)


# ── the program ──────────────────────────────────────────────────────────────────────


def main() -> int:
    """Run the census; the exit code tells whether the answer is the right one."""
    options = arguments()
    files = source_files(options.folder, options.limit)
    began = time.perf_counter()
    # After Ctrl-C the run shall stay as it is, to be resumed, instead of being cancelled.
    with taskflow.Client(options.store, workers=options.workers, cancel_on_interrupt=False) as client:
        sources = resume(client, options.resume) if options.resume else begin(client, files)
        if len(sources) != len(files):
            sys.exit(f"That run is over {len(sources)} files, not {len(files)}: give the options it had.")
        print(f"{len(files):,} files of {options.folder}, run {sources.id}", flush=True)
        try:
            sources.wait()  # draws a progress bar, if this is a terminal
            errors = {files[i]: reason(failure.type, failure.message) for i, failure in sources.failed}
            report, counts = census(client, sources)
        except KeyboardInterrupt:
            print(f"\nStopped. Go on with: {sys.argv[0]} --resume {sources.id}", file=sys.stderr)
            return 130
    took_s = time.perf_counter() - began

    show(report, errors, options.folder)
    began = time.perf_counter()
    same = (report, counts, errors) == census_in_one_process(files)
    alone_s = time.perf_counter() - began
    print(f"\n{len(files):,} files in {took_s:.1f} s, in one process {alone_s:.1f} s", end="")
    print(" (a part was done before)" if options.resume else f": {alone_s / took_s:.2f} times as fast")
    print(f"The answer {'equals' if same else 'DIFFERS FROM'} the one of a single process.")
    return 0 if same else 1


def show(report: Report, errors: Errors, folder: Path) -> None:
    """Print the tables."""
    print_table("Top identifiers", [(f"{n:,}", name) for name, n in report.identifiers])
    print_table("Top call sites", [(f"{n:,}", f"{name}()") for name, n in report.calls])
    functions = [(f"{f.lines:,}", f"{f.name}()  {f.path.relative_to(folder)}") for f in report.longest]
    print_table("Longest functions, in lines", functions)
    failed = [(str(path.relative_to(folder)), why) for path, why in errors.items()]
    print_table(f"Errors: {len(errors)} files", failed)


def print_table(title: str, rows: list[tuple[str, str]]) -> None:
    """Print two columns under a title; numbers are aligned to the right."""
    width = max((len(left) for left, _ in rows), default=0)
    print(f"\n{title}")
    for left, right in rows:
        left = left.rjust(width) if left[0].isdigit() else left.ljust(width)
        print(f"  {left}  {right}")


def arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    stdlib = Path(sysconfig.get_path("stdlib"))
    parser.add_argument("folder", nargs="?", type=Path, default=stdlib, help="another folder to read")
    parser.add_argument("--workers", default="auto", type=lambda n: n if n == "auto" else int(n))
    parser.add_argument("--store", metavar="URL", help="where runs are kept (a store of your own)")
    parser.add_argument("--limit", metavar="N", type=int, help="only N files, spread over all")
    parser.add_argument("--quick", dest="limit", action="store_const", const=60, help="the same as --limit 60")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run, by its id; 'last': the newest")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
