"""Everything at once: each item ends exactly once, whatever happens to children meanwhile."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress

import pytest

from taskflow.records import Failure, Kind, Lease
from taskflow.testing.workbench import Workbench
from tests.unit.pools.conftest import Open


def live(kind: int, x: int) -> int:
    """One of many lives of a task."""
    from taskflow.pools.context import lend

    if kind == 1:
        print("x" * x)
    elif kind == 2:
        raise ValueError(x)
    elif kind == 3:
        os._exit(3)
    elif kind == 4:
        time.sleep(0.002 * (x % 7))
    elif kind == 5:
        os.chdir("/")
    elif kind == 6:
        with lend():
            time.sleep(0.01)
    elif kind == 7:
        raise MemoryError
    return x * 2


def live_item(x: int) -> int:
    """As an item: rarely anything but quick."""
    return live({13: 3, 14: 2, 15: 1, 16: 4}.get(x % 97, 0), x)


def check(bench: Workbench, lease: Lease, kind: int, x: int, killed: int) -> None:
    (outcome,) = bench.outcomes[lease.key.node]
    if outcome.kind == Kind.LOST and kind != 3:
        assert killed, Failure.from_json(outcome.error or "").message
        return
    wanted = {2: Kind.FAILED, 7: Kind.FAILED, 3: Kind.LOST}.get(kind, Kind.SUCCEEDED)
    assert outcome.kind == wanted
    if wanted == Kind.SUCCEEDED:
        assert bench.value(lease) == x * 2
    if kind == 1:
        assert outcome.log == "x" * x + "\n"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("murder", [False, True])
def test_every_item_ends_once(open_bench: Open, seed: int, murder: bool) -> None:
    rng = random.Random(seed)
    bench = open_bench(2, recycle_after_calls=rng.choice([None, 30]), preload=[__name__])
    kinds = [0] * 12 + [1, 1, 2, 3, 4, 4, 5, 6, 7]
    calls = [(bench.call(live, kind, x), kind, x) for x in range(150) if (kind := rng.choice(kinds)) >= 0]
    ranges = [bench.array(live_item, range(400), page=rng.choice([7, 50, 400])) for _ in range(2)]
    waiting = [lease for lease, _, _ in calls] + ranges
    everything = list(waiting)
    rng.shuffle(waiting)
    killed, end = 0, time.monotonic() + 100
    while not all(map(bench.complete, everything)):
        assert time.monotonic() < end
        if waiting and bench.pool.free():
            bench.start(*[waiting.pop() for _ in range(min(len(waiting), rng.randint(1, 20)))])
        if murder and rng.random() < 0.05 and killed < 20:
            pids = [link.pid for link in bench.pool._links.values() if link.pid]
            with suppress(OSError, IndexError):
                os.kill(rng.choice(pids), signal.SIGKILL)
                killed += 1
        if rng.random() < 0.02:
            bench.pool.resize(rng.randint(1, 3))
        bench.step(0.02)

    for lease, kind, x in calls:
        check(bench, lease, kind, x, killed)
    for lease in ranges:
        for outcome in bench.outcomes[lease.key.node]:
            if outcome.kind == Kind.LOST and outcome.lo % 97 != 13:
                assert killed
            elif outcome.kind == Kind.SUCCEEDED:
                got = bench.codec.load_result(lease.key.node, outcome.lo, outcome.hi, 7, outcome.value or b"")
                assert got == [x * 2 for x in range(outcome.lo, outcome.hi)]
    assert all(not link.counts for link in bench.pool._links.values())
