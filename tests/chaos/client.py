"""A client of the chaos: submits its share, writes down what it submitted, and looks at every result.

It is run as ``python -m tests.chaos.client`` and may be killed at any moment: started again with the same
number it submits the same work under the same keys, which must double nothing.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from taskflow import Client
from taskflow.errors import StoreError, WaitTimedOut
from tests.crash import tasks
from tests.crash.server_stage import Graph

T = TypeVar("T")
WAIT_S = 60.0
WIDEST = 1000
DELIVERIES = 100


def main() -> None:
    options = _options()
    client = again(lambda: Client(options.url, workers=0)).options(max_deliveries=DELIVERIES)
    handles: list[tuple[Any, Any]] = []
    batches = list(planned(options))
    for number, (kind, lo, size) in enumerate(batches):
        handles += SENDERS[kind](client, options, f"{options.number}-{number}", lo, size)
        rest_s = options.began + options.spread * (number + 1) / len(batches) - time.monotonic()
        time.sleep(max(0.0, rest_s))
    write(options.journal, {"kind": "submitted", "client": options.number})
    counts = {"right": 0, "wrong": 0, "unreachable": 0}
    for get, value in handles:
        counts[look(get, value)] += 1
    write(options.journal, {"kind": "seen", "client": options.number, **counts})
    client.shutdown(wait=False)


def planned(options: Any) -> Iterator[tuple[str, int, int]]:
    """What to submit, in batches: a kind, where it begins, how much."""
    chance = random.Random(options.number)
    kinds = ("map", "calls") if options.keyed else ("map", "calls", "burst")
    batches, at = [], options.number * 1_000_000
    left = options.tasks
    while left:
        kind = chance.choice(kinds)
        size = min(left, chance.randrange(1, WIDEST + 1) if kind == "map" else chance.randrange(1, 100))
        batches.append((kind, at, size))
        at, left = at + size, left - size
    batches += [("graph", options.number * 1000 + graph, options.steps) for graph in range(options.graphs)]
    chance.shuffle(batches)
    yield from batches


def again(deed: Callable[[], T]) -> T:
    """Do what may be done twice until the store takes it."""
    while True:
        try:
            return deed()
        except StoreError:
            time.sleep(0.1)


def send_map(client: Any, options: Any, key: str, lo: int, size: int) -> list[tuple[Any, Any]]:
    square = functools.partial(tasks.square, options.ledger, options.pause)
    run = again(lambda: client.options(key=key).map(square, range(lo, lo + size)))
    write(options.journal, {"kind": "squares", "run": run.id, "node": run.node_id, "values": [lo, lo + size]})
    return [(lambda s: run.wait(s).results(), [x * x for x in range(lo, lo + size)])]


def send_calls(client: Any, options: Any, key: str, lo: int, size: int) -> list[tuple[Any, Any]]:
    found = []
    for x in range(lo, lo + size):
        keyed = client.options(key=f"{key}-{x}")
        call = again(lambda keyed=keyed, x=x: keyed.submit(tasks.square, options.ledger, options.pause, x))
        write(
            options.journal,
            {"kind": "squares", "run": call.run_id, "node": call.node_id, "values": [x, x + 1]},
        )
        found.append((call.result, x * x))
    return found


def send_burst(client: Any, options: Any, _key: str, lo: int, size: int) -> list[tuple[Any, Any]]:
    calls = [client.submit(tasks.square, options.ledger, options.pause, x) for x in range(lo, lo + size)]
    again(client.flush)
    for x, call in enumerate(calls, lo):
        where = {"run": call.run_id, "node": call.node_id, "index": call.index or 0}
        write(options.journal, {"kind": "square", **where, "value": x})
    return [(call.result, x * x) for x, call in enumerate(calls, lo)]


def send_graph(client: Any, options: Any, key: str, seed: int, steps: int) -> list[tuple[Any, Any]]:
    graph = graph_of(options.ledger, steps, seed, options.pause)
    run = again(lambda: graph.workflow.run(client.options(key=key)))
    line = {"kind": "graph", "run": run.id, "seed": seed, "steps": steps, "names": dict(run.names)}
    write(options.journal, line)
    return [(lambda s: run.wait(s).gather(), graph.values)]


SENDERS = {"map": send_map, "calls": send_calls, "burst": send_burst, "graph": send_graph}


def graph_of(ledger: str, steps: int, seed: int, pause_s: float) -> Graph:
    """The graph with that number."""
    return Graph(ledger, steps, seed, pause_s, width=50)


def look(get: Callable[[float], Any], value: Any) -> str:
    """What a waiting client is given."""
    for _ in range(3):
        try:
            return "right" if get(WAIT_S) == value else "wrong"
        except StoreError:  # the server is away: wait again
            continue
        except WaitTimedOut:
            return "unreachable"
        except Exception:  # noqa: BLE001 - counted, and explained by the history checker
            return "wrong"
    return "unreachable"


def write(path: str, line: dict[str, Any]) -> None:
    """Append a line in one write."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, (json.dumps(line) + "\n").encode())
    finally:
        os.close(fd)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("url", "ledger", "journal"):
        parser.add_argument(name)
    for name in ("number", "tasks", "graphs", "steps"):
        parser.add_argument(f"--{name}", type=int, default=0)
    for name in ("pause", "spread", "began"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--keyed", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
