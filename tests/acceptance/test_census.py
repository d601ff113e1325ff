"""The main job, as a person runs it: the census as a script, killed with SIGKILL, and resumed.

The script knows nothing of its test. A `sitecustomize` beside it writes down every file that any
process parses, and holds the workers after the first few until the test opens a gate.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from taskflow.ids import RunId
from taskflow.records import ItemView
from taskflow.states import TERMINAL
from taskflow.stores import open_store

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "stdlib_census.py"
DEADLINE_S = 80.0
FREE = 8  # so many files are parsed before the gate holds the workers

WITNESS = """
import ast, os, time

HERE = os.path.dirname(__file__)
LOG, GATE = f"{HERE}/log", f"{HERE}/gate"
parse = ast.parse

def note(what, name):
    with open(LOG, "a") as log:
        log.write(f"{os.getpid()} {what} {os.path.basename(name)}\\n")

def ended():
    with open(LOG) as log:
        return log.read().count(" end ")

def witnessed(source, filename="<unknown>", *args, **kwargs):
    if os.path.basename(os.path.dirname(filename)) != "library":
        return parse(source, filename, *args, **kwargs)
    note("begin", filename)
    if not os.path.exists(GATE) and ended() >= int(os.environ["FREE"]):
        note("held", filename)
        while not os.path.exists(GATE):
            time.sleep(0.005)
    try:
        return parse(source, filename, *args, **kwargs)
    finally:
        note("end", filename)

ast.parse = witnessed
"""


class Census:
    """The script over a small library, and what its witness saw."""

    def __init__(self, folder: Path) -> None:
        self.library = folder / "library"
        self.store_path = folder / "census.db"
        self._site = folder / "site"
        self._site.mkdir()
        (self._site / "sitecustomize.py").write_text(WITNESS)
        (self._site / "log").touch()
        self.script: subprocess.Popen[str] | None = None

    def start(self, *options: str) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(self._site), str(ROOT)])
        self.script = subprocess.Popen(
            [sys.executable, SCRIPT, self.library, "--store", self.store_path, "--workers", "2", *options],
            env={**os.environ, "PYTHONPATH": path, "FREE": str(FREE)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.script

    def output(self) -> str:
        """Everything it still prints, when it ends well."""
        assert self.script is not None
        out, err = self.script.communicate(timeout=DEADLINE_S)
        assert self.script.returncode == 0, out + err
        return out

    def open_the_gate(self) -> None:
        (self._site / "gate").touch()

    def log(self) -> list[tuple[int, str, str]]:
        """Who did what to which file: process, ``begin``, ``held`` or ``end``, name."""
        lines = (line.split() for line in (self._site / "log").read_text().splitlines())
        return [(int(pid), what, name) for pid, what, name in lines]

    def parsed(self, since: int = 0) -> Counter[str]:
        """How often each file was begun in a worker, after so many lines of the log."""
        assert self.script is not None
        return Counter(
            name for pid, what, name in self.log()[since:] if what == "begin" and pid != self.script.pid
        )

    def run_id(self) -> RunId:
        """The run of the script, from the first line it prints."""
        assert self.script is not None and self.script.stdout is not None
        found = re.search(r"run (\S+)", self.script.stdout.readline())
        assert found, "the script did not say which run it is"
        return RunId(found[1])

    def items(self, run: RunId) -> dict[str, ItemView]:
        """The rows of the store, by name of the file."""
        store = open_store(str(self.store_path))
        names = [path.name for path in sorted(self.library.rglob("*.py"))]
        try:
            node = store.snapshot(run)[0].nodes[0]
            return {names[i]: row for row in store.items(node.id) for i in range(row.lo, row.hi)}
        finally:
            store.close()

    def finished(self, run: RunId) -> dict[str, ItemView]:
        return {name: item for name, item in self.items(run).items() if item.state in TERMINAL}

    def until_held(self, run: RunId) -> None:
        """Wait until the workers are held in the middle of two files, and what they ended is told.

        Some more than `FREE` may have ended: a file can begin just before the last of these ends.
        """
        until(self.script, lambda: len(self.held()) == 2 and self.ended() <= self.finished(run).keys())

    def ended(self) -> set[str]:
        """The files that have been parsed, told or not."""
        return {name for _, what, name in self.log() if what == "end"}

    def held(self) -> dict[int, str]:
        """The file that the gate holds each worker at, by process."""
        last = {pid: (what, name) for pid, what, name in self.log()}
        return {pid: name for pid, (what, name) in last.items() if what == "held"}

    def supervisor(self) -> int:
        """The worker process that lives."""
        store = open_store(str(self.store_path))
        try:
            return max(store.workers(), key=lambda worker: worker.seen_at).pid
        finally:
            store.close()


def until(script: subprocess.Popen[str] | None, true: Callable[[], object]) -> None:
    """Look again and again, until it is so."""
    assert script is not None and script.stderr is not None
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert script.poll() is None, script.communicate()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def census(tmp_path: Path) -> Iterator[Census]:
    tmp_path.chmod(0o700)
    library = tmp_path / "library"
    library.mkdir()
    stdlib = Path(sysconfig.get_path("stdlib"))
    for path in sorted(stdlib.glob("*.py"), key=lambda path: path.stat().st_size)[20:58]:
        shutil.copy(path, library)
    (library / "aa_broken.py").write_text("def broken(:\n")
    (library / "zz_also_broken.py").write_bytes(b"x = '\xf6'\n")
    made = Census(tmp_path)
    yield made
    made.open_the_gate()
    if made.script is not None and made.script.poll() is None:
        made.script.kill()  # its workers follow it
        made.script.communicate()


def test_the_census_of_a_slice_of_the_standard_library_equals_that_of_one_process(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    done = subprocess.run(
        [sys.executable, SCRIPT, "--quick", "--store", tmp_path / "census.db", "--workers", "2"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for title in ("Top identifiers", "Top call sites", "Longest functions", "Errors: "):
        assert title in done.stdout
    assert "self" in done.stdout
    assert "times as fast" in done.stdout
    assert "equals the one of a single process" in done.stdout
    assert done.stderr == ""


def test_files_that_do_not_parse_are_shown_with_their_reason_and_the_rest_goes_on(census: Census) -> None:
    census.open_the_gate()
    census.start()
    out = census.output()
    assert "40 files" in out
    assert re.search(r"Errors: 2\n +aa_broken.py +SyntaxError: .*\n +zz_also_broken.py +SyntaxError: ", out)
    assert "equals the one of a single process" in out
    assert set(census.parsed().values()) == {1}


def test_a_census_that_is_resumed_after_its_last_file_reads_none_again(census: Census) -> None:
    census.open_the_gate()
    census.start()
    tables = census.output().partition("Top identifiers")[2].partition("40 files in")[0]
    seen = len(census.log())
    census.start("--resume", "last")
    assert tables in census.output()
    assert not census.parsed(since=seen)


def test_a_census_that_was_killed_with_its_workers_is_resumed_without_reading_a_finished_file_again(
    census: Census,
) -> None:
    script = census.start()
    run = census.run_id()
    census.until_held(run)
    worker = census.supervisor()
    script.kill()
    with suppress(ProcessLookupError):  # it may have gone with the script
        os.kill(worker, signal.SIGKILL)
    script.communicate()
    done, seen = census.finished(run), len(census.log())
    assert FREE <= len(done) < 40

    census.open_the_gate()
    census.start("--resume", "last")
    assert census.run_id() == run
    out = census.output()

    assert "Errors: 2" in out
    assert "equals the one of a single process" in out
    items = census.items(run)
    assert all(item.state in TERMINAL for item in items.values())
    again = census.parsed(since=seen)
    assert not again.keys() & done.keys()
    assert again == Counter(items.keys() - done.keys())
    assert {name: story(items[name]) for name in done} == {name: story(item) for name, item in done.items()}
    assert all(item.deliveries == 1 for item in done.values())


def test_a_census_whose_children_are_killed_goes_on_by_itself(census: Census) -> None:
    census.start()
    run = census.run_id()
    census.until_held(run)
    done, held = census.finished(run), census.held()
    for child in held:
        os.kill(child, signal.SIGKILL)
    census.open_the_gate()
    out = census.output()

    assert "Errors: 2" in out
    assert "equals the one of a single process" in out
    read = census.parsed()
    assert read == Counter(dict.fromkeys(read, 1)) + Counter(held.values())
    items = census.items(run)
    assert {items[name].deliveries for name in held.values()} == {2}
    assert {items[name].deliveries for name in done} == {1}


def test_a_census_whose_worker_process_is_killed_goes_on_by_itself(census: Census) -> None:
    census.start()
    run = census.run_id()
    census.until_held(run)
    done, seen = census.finished(run), len(census.log())
    os.kill(census.supervisor(), signal.SIGKILL)
    census.open_the_gate()
    out = census.output()

    assert "Errors: 2" in out
    assert "equals the one of a single process" in out
    items = census.items(run)
    again = census.parsed(since=seen)
    assert {name: story(items[name]) for name in done} == {name: story(item) for name, item in done.items()}
    assert not again.keys() & done.keys()


def test_after_ctrl_c_it_says_how_to_go_on_and_does_so(census: Census) -> None:
    script = census.start()
    run = census.run_id()
    census.until_held(run)
    done, seen = census.finished(run), len(census.log())
    script.send_signal(signal.SIGINT)
    _, err = script.communicate(timeout=DEADLINE_S)
    assert script.returncode == 130
    assert "--resume last" in err
    assert "Traceback" not in err

    census.open_the_gate()
    census.start("--resume", run)
    assert census.run_id() == run
    assert "equals the one of a single process" in census.output()
    assert not census.parsed(since=seen).keys() & done.keys()


def story(item: ItemView) -> tuple[object, ...]:
    """What would change if an item were run again."""
    return item.state, item.attempts, item.deliveries, item.worker, item.started_at
