"""Words of 1 GB of text are counted, and nobody holds much of it: neither the client nor a worker."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.stage import run_script

GIB = 1 << 30
PIECE_BYTES = 1 << 20
PROSE_BYTES = 1 << 16  # of each piece; words take much longer to count than bytes take to pass
MOST_BYTES = 150 * 1_000_000
DEADLINE_S = 240.0

SCRIPT = """
import json, os, sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
import taskflow

def words(text):
    return Counter(text.split())

def add(_, counts):
    return sum(counts)

def status(pid):
    return dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())

def below(pid, parents):
    for child, parent in parents.items():
        if parent == pid:
            yield child
            yield from below(child, parents)

def peak(pid):
    # Unlike the maximum that `getrusage` tells, this does not count what was there before `exec`.
    return int(status(pid)["VmHWM"].split()[0]) * 1024

def peaks():
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            parents[path.name] = status(path.name)["PPid"].strip()
    return [peak(pid) for pid in below(str(os.getpid()), parents)]

with taskflow.Client(workers=2) as client:
    found = taskflow.map_reduce(taskflow.blocks(sys.argv[1]), words, add, combiner=add)
    workers = peaks()
print(json.dumps({"counts": found, "client_bytes": peak("self"), "worker_bytes": workers}))
"""


def real_text() -> bytes:
    """About a megabyte in whole lines: some of Python's own modules, and rules as long as a page."""
    modules = sorted(Path(os.__file__).parent.glob("*.py"))
    text = b"".join(path.read_bytes() for path in modules)[:PROSE_BYTES]
    rule = b"=" * 4095 + b"\n"
    return text[: text.rindex(b"\n") + 1] + rule * ((PIECE_BYTES - PROSE_BYTES) // len(rule))


@pytest.fixture
def piece_and_text(tmp_path: Path) -> Iterator[tuple[bytes, int, Path]]:
    """A piece of text, how often it is repeated, and the file."""
    if shutil.disk_usage(tmp_path).free < 5 * GIB:
        pytest.skip("less than 5 GB of disk are free")
    piece, path = real_text(), tmp_path / "text"
    times = -(-GIB // len(piece))
    try:
        with path.open("wb") as file:
            for _ in range(times):
                file.write(piece)
        yield piece, times, path
    finally:
        path.unlink()


@pytest.mark.slow
@pytest.mark.timeout(DEADLINE_S + 30)
def test_the_words_of_a_gigabyte_are_counted_in_little_memory(
    piece_and_text: tuple[bytes, int, Path], tmp_path: Path
) -> None:
    piece, times, path = piece_and_text
    assert path.stat().st_size >= GIB

    told = json.loads(run_script(tmp_path, SCRIPT, str(path), deadline_s=DEADLINE_S))

    expected: dict[str, int] = {}
    for word in piece.decode().split():
        expected[word] = expected.get(word, 0) + times
    assert told["counts"] == expected
    assert told["client_bytes"] < MOST_BYTES
    assert len(told["worker_bytes"]) >= 3  # a supervisor and two children, at least
    assert max(told["worker_bytes"]) < MOST_BYTES
