"""What other processes do to a store that is shared with them; run as a program."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from taskflow.ids import NodeId, RunId, WorkerId, new_id
from taskflow.records import Kind, Node, Outcome, Plan, Settlement, Want
from taskflow.stores.sqlite import SQLiteStore


def call(queue: str = "default", args: bytes = b"") -> Plan:
    """A run of one call."""
    name = new_id()
    return Plan(RunId(name), (Node(NodeId(name), "0" * 40, args, queue=queue),))


def want(queue: str = "default", slots: int = 1) -> Want:
    return Want(WorkerId("w"), (queue,), slots, pace_s={"0" * 40: 0.001}, batch_s=0.1)


def settle_all(leases: list[Any]) -> list[Settlement]:
    return [
        Settlement(lease.key, (Outcome(lease.key.lo, lease.key.hi, Kind.SUCCEEDED, b"value"),))
        for lease in leases
    ]


def hammer(path: str, name: str, times: int) -> dict[str, Any]:
    """Submit, claim and settle so many calls one by one; what each step took."""
    store = SQLiteStore(path)
    took: list[float] = []

    def step(verb: Any, *args: Any) -> Any:
        began = time.monotonic()
        answer = verb(*args)
        took.append(time.monotonic() - began)
        return answer

    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    settled = 0
    for _ in range(times):
        step(store.submit, [call(name)])
        leases = step(store.claim, want(name))
        settled += len(leases)
        assert not step(store.settle, settle_all(leases)).lost
    seconds = time.monotonic() - began
    store.close()
    took.sort()
    return {
        "settled": settled, "seconds": seconds, "worst_s": took[-1], "p50_s": took[len(took) // 2],
        "p99_s": took[len(took) * 99 // 100],
    }  # fmt: skip


def answer(path: str, times: int) -> list[float]:
    """Wait for calls as a worker does; the time from the submit, which is in the arguments, to the claim."""
    import select

    store = SQLiteStore(path)
    bell = store.listen("work")
    print("ready", flush=True)
    delays: list[float] = []
    while len(delays) < times:
        select.select([bell], [], [], 5)
        bell.hush()
        leases = store.claim(want())
        now = time.monotonic()
        delays += [now - float(lease.args) for lease in leases]
        store.settle(settle_all(leases))
    bell.close()
    store.close()
    return delays


if __name__ == "__main__":
    verb, *values = sys.argv[1:]
    if verb == "hammer":
        found: Any = hammer(values[0], values[1], int(values[2]))
    else:
        found = answer(values[0], int(values[1]))
    print(json.dumps(found), flush=True)
